# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a release: as tables, and in real Django processes over generated projects."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    overlay,
    prepare,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.overlay import (
    brought_static,
    close_gaps,
    parse_database_url,
    relocations,
)

POSTGRESQL, POSTGIS = "django.db.backends.postgresql", "django.contrib.gis.db.backends.postgis"
RELEASE = "/srv/shop/releases/20260101T000000-abcdef0"
SITE: dict[str, Any] = {
    "project_settings": "shop.settings",
    "domains": ["shop.example.com", "www.shop.example.com"],
    "https": True,
    "static_root": f"{RELEASE}/static",
    "shared": "/srv/shop/shared",
    "code": f"{RELEASE}/code",
    "database": "project",
}
KEY = "8Zt1qLr4vXw7Yb2Nc5Md0Pf3Sg6Hj9KaEeUuTtIiOoRrQqWwZzXx"
OWN = {"SECRET_KEY": KEY[::-1]}
ORIGINS = ["https://shop.example.com", "https://www.shop.example.com"]
SQLITE = "django.db.backends.sqlite3"

#: Settings in which nothing is left to do.
SOUND: dict[str, Any] = {
    "DEBUG": False,
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": ["shop.example.com", "www.shop.example.com"],
    "CSRF_TRUSTED_ORIGINS": ORIGINS,
    "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
    "STATIC_ROOT": f"{RELEASE}/static",
    "STATIC_URL": "static/",
    "MEDIA_ROOT": "/srv/shop/shared/media",
    "MEDIA_URL": "/media/",
    "DATABASES": {"default": {"ENGINE": "django.db.backends.mysql", "NAME": "shop"}},
    "LOGGING": {"version": 1},
    "MIDDLEWARE": ["djdeploy_speak.RequestId"],
}


def closed(
    settings: Mapping[str, Any], site: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Any:
    gaps = close_gaps({**SOUND, **settings}, {**SITE, **(site or {})}, OWN if environ is None else environ)
    assert all(reason for _value, reason in gaps.values())
    return {name: value for name, (value, _reason) in gaps.items()}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in SOUND.items() if key != name}


def test_sound_settings_are_left_alone() -> None:
    assert closed({}) == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"DEBUG": True}, {"DEBUG": False}),
        ({"SECRET_KEY": ""}, {"SECRET_KEY": OWN["SECRET_KEY"]}),
        ({"SECRET_KEY": "django-insecure-" + KEY}, {"SECRET_KEY": OWN["SECRET_KEY"]}),
        ({"SECRET_KEY": "short"}, {"SECRET_KEY": OWN["SECRET_KEY"]}),
        ({"SECRET_KEY": "abcd" * 20}, {"SECRET_KEY": OWN["SECRET_KEY"]}),
        ({"SECRET_KEY": OWN["SECRET_KEY"]}, {}),
        ({"ALLOWED_HOSTS": ["*"]}, {"ALLOWED_HOSTS": SITE["domains"]}),
        ({"ALLOWED_HOSTS": []}, {"ALLOWED_HOSTS": SITE["domains"]}),
        ({"ALLOWED_HOSTS": ("a.example", "shop.example.com")}, {"ALLOWED_HOSTS": ["a.example", *SITE["domains"]]}),
        ({"ALLOWED_HOSTS": "shop.example.com"}, {}),
        ({"CSRF_TRUSTED_ORIGINS": ["https://a.example"]}, {"CSRF_TRUSTED_ORIGINS": ["https://a.example", *ORIGINS]}),
        ({"SECURE_PROXY_SSL_HEADER": None}, {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}),
        ({"SECURE_PROXY_SSL_HEADER": ("HTTP_X_PROTO", "https")}, {}),
        ({"STATIC_ROOT": f"{RELEASE}/code/static"}, {"STATIC_ROOT": SITE["static_root"]}),
        ({"STATIC_ROOT": PurePosixPath(SITE["static_root"])}, {}),
        (
            {"STATIC_ROOT": f"{RELEASE}/code/static", "COMPRESS_ROOT": f"{RELEASE}/code/static"},
            {"STATIC_ROOT": SITE["static_root"], "COMPRESS_ROOT": SITE["static_root"]},
        ),
        (
            {"STATIC_ROOT": f"{RELEASE}/code/static", "COMPRESS_ROOT": "/elsewhere"},
            {"STATIC_ROOT": SITE["static_root"]},
        ),
        ({"STATIC_URL": None}, {"STATIC_URL": "/static/"}),
        ({"STATIC_URL": "https://cdn.example/"}, {}),
        ({"MEDIA_ROOT": ""}, {"MEDIA_ROOT": "/srv/shop/shared/media"}),
        ({"MEDIA_ROOT": "", "MEDIA_URL": ""}, {"MEDIA_ROOT": "/srv/shop/shared/media", "MEDIA_URL": "/media/"}),
        ({"MEDIA_ROOT": PurePosixPath(f"{RELEASE}/code/media")}, {"MEDIA_ROOT": "/srv/shop/shared/media"}),
        ({"MEDIA_ROOT": f"{RELEASE}/code/web/up/"}, {"MEDIA_ROOT": "/srv/shop/shared/web/up"}),
        ({"MEDIA_ROOT": "uploads"}, {"MEDIA_ROOT": "/srv/shop/shared/uploads"}),
        ({"MEDIA_ROOT": f"{RELEASE}/project/media"}, {"MEDIA_ROOT": "/srv/shop/shared/media"}),
        ({"MEDIA_ROOT": f"{RELEASE}/media"}, {"MEDIA_ROOT": "/srv/shop/shared/media"}),
        ({"MEDIA_ROOT": "/mnt/uploads"}, {}),
        ({"MEDIA_ROOT": f"{RELEASE}/code-of-another"}, {"MEDIA_ROOT": "/srv/shop/shared/code-of-another"}),
        ({"MEDIA_ROOT": "", "STORAGES": {"default": {"BACKEND": "storages.backends.s3.S3Storage"}}}, {}),
        ({"MEDIA_ROOT": "", "DEFAULT_FILE_STORAGE": "storages.backends.s3.S3Storage"}, {}),
    ],
)
def test_close_gaps(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    assert closed(settings) == expected


@pytest.mark.parametrize("name", ["DEBUG", "LOGGING", "CSRF_TRUSTED_ORIGINS", "DATABASES", "MEDIA_URL", "SECRET_KEY"])
def test_close_gaps_of_settings_that_are_not_there(name: str) -> None:
    gaps = close_gaps(without(name), SITE, OWN)
    assert set(gaps) <= {name}


def test_key_stays_where_the_site_has_none() -> None:
    assert closed({"SECRET_KEY": "short"}, environ={}) == {}


def test_plain_http_is_a_trusted_origin_until_there_is_https() -> None:
    origins = closed({"CSRF_TRUSTED_ORIGINS": []}, {"https": False})["CSRF_TRUSTED_ORIGINS"]
    assert "http://shop.example.com" in origins
    assert "https://shop.example.com" in origins


def test_project_in_a_subdirectory() -> None:
    site = {"code": f"{RELEASE}/code/backend"}
    assert closed({"MEDIA_ROOT": f"{RELEASE}/code/backend/media"}, site)["MEDIA_ROOT"] == "/srv/shop/shared/media"
    assert closed({"MEDIA_ROOT": f"{RELEASE}/code/media"}, site)["MEDIA_ROOT"] == "/srv/shop/shared/media"


def test_settings_are_not_changed_in_place() -> None:
    settings = {
        **SOUND,
        "ALLOWED_HOSTS": ["a"],
        "DATABASES": {"default": {"ENGINE": SQLITE, "NAME": f"{RELEASE}/code/db.sqlite3"}},
        "LOGGING": {"version": 1, "handlers": {"f": {"filename": "x.log"}}},
    }
    before = json.dumps(settings)
    close_gaps(settings, SITE, OWN)
    assert json.dumps(settings) == before


# -- stored files, caches, logs --------------------------------------------------------------


def test_storage_location() -> None:
    files = {"BACKEND": overlay.FILE_STORAGE, "OPTIONS": {"location": f"{RELEASE}/code/private", "base_url": "/p/"}}
    static = {"BACKEND": overlay.FILE_STORAGE, "OPTIONS": {"location": f"{RELEASE}/code/x"}}
    found = closed({"STORAGES": {"default": files, "staticfiles": static}})["STORAGES"]
    assert found["default"]["OPTIONS"] == {"location": "/srv/shop/shared/private", "base_url": "/p/"}
    assert found["staticfiles"] is static


def test_file_cache() -> None:
    backend = "django.core.cache.backends.filebased.FileBasedCache"
    caches = {"default": {"BACKEND": backend, "LOCATION": f"{RELEASE}/code/cache", "TIMEOUT": 5}, "b": {"BACKEND": "x"}}
    assert closed({"CACHES": caches})["CACHES"] == {
        "default": {"BACKEND": backend, "LOCATION": "/srv/shop/shared/cache", "TIMEOUT": 5},
        "b": {"BACKEND": "x"},
    }
    assert closed({"CACHES": {"default": {"BACKEND": backend, "LOCATION": "/var/tmp/cache"}}}) == {}


def test_log_file() -> None:
    logging = {"version": 1, "handlers": {"file": {"class": "logging.FileHandler", "filename": "logs/a.log"}, "c": {}}}
    found = closed({"LOGGING": logging})["LOGGING"]
    assert found["handlers"]["file"]["filename"] == "/srv/shop/shared/logs/a.log"
    assert found["handlers"]["c"] == {}


@pytest.mark.parametrize("settings", [{"LOGGING": {}}, {"LOGGING": None}])
def test_errors_reach_the_journal(settings: dict[str, Any]) -> None:
    found = closed(settings)["LOGGING"]
    assert found["root"]["handlers"] == ["journal"]
    assert found["disable_existing_loggers"] is False


def test_logging_that_the_project_sets_up_by_code() -> None:
    assert closed({"LOGGING": {}, "LOGGING_CONFIG": None}) == {}


# -- databases -------------------------------------------------------------------------------

LOCAL = {"DATABASE_URL": "postgresql:///shop", **OWN}
REMOTE_URL = "postgresql://shop:p%40ss%2Fw%3Ard@db1.example:5432/shop?sslmode=verify-ca&sslrootcert=/etc/ssl/db.pem"
REMOTE = {"DATABASE_URL": REMOTE_URL, **OWN}
POSTGRESQL_APP = "django.contrib.postgres"
ADDRESS = {"NAME": "shop", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql:///shop", {"ENGINE": POSTGRESQL, **ADDRESS}),
        ("postgres://u@/shop", {"ENGINE": POSTGRESQL, **ADDRESS, "USER": "u"}),
        ("postgis:///shop", {"ENGINE": POSTGIS, **ADDRESS}),
        ("postgresql://%2Frun%2Fpostgresql/shop", {"ENGINE": POSTGRESQL, **ADDRESS, "HOST": "/run/postgresql"}),
        (
            "postgresql:///shop?host=/run/postgresql&port=5433",
            {"ENGINE": POSTGRESQL, **ADDRESS, "HOST": "/run/postgresql", "PORT": "5433"},
        ),
        (
            "postgresql://[::1]:5433/my%20shop",
            {"ENGINE": POSTGRESQL, **ADDRESS, "NAME": "my shop", "HOST": "::1", "PORT": "5433"},
        ),
        (
            REMOTE_URL,
            {
                "ENGINE": POSTGRESQL,
                "NAME": "shop",
                "USER": "shop",
                "PASSWORD": "p@ss/w:rd",
                "HOST": "db1.example",
                "PORT": "5432",
                "OPTIONS": {"sslmode": "verify-ca", "sslrootcert": "/etc/ssl/db.pem"},
            },
        ),
    ],
)
def test_parse_database_url(url: str, expected: dict[str, Any]) -> None:
    assert parse_database_url(url, "postgresql") == expected


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/x", "postgresql://u:hunter2@h", "postgresql://u:hun#ter2@h:x/y", ""]
)
def test_parse_database_url_refuses_without_telling_the_password(url: str) -> None:
    with pytest.raises(ValueError, match="DATABASE_URL") as error:
        parse_database_url(url, "postgresql")
    assert "hun" not in str(error.value)


@pytest.mark.parametrize(
    ("default", "environ", "expected"),
    [
        ({}, LOCAL, {"ENGINE": POSTGRESQL, **ADDRESS}),
        ({"ENGINE": SQLITE, "NAME": "db.sqlite3"}, LOCAL, {"ENGINE": POSTGRESQL, **ADDRESS}),
        (
            {"ENGINE": SQLITE, "NAME": "x", "OPTIONS": {"timeout": 20}, "ATOMIC_REQUESTS": True, "CONN_MAX_AGE": 60},
            LOCAL,
            {"ENGINE": POSTGRESQL, **ADDRESS, "ATOMIC_REQUESTS": True, "CONN_MAX_AGE": 60},
        ),
        ({"ENGINE": "django.contrib.gis.db.backends.spatialite", "NAME": "x"}, LOCAL, {"ENGINE": POSTGIS, **ADDRESS}),
        (
            {"ENGINE": POSTGRESQL, "NAME": "dev", "USER": "dev", "PASSWORD": "dev", "HOST": "localhost"},
            LOCAL,
            {"ENGINE": POSTGRESQL, **ADDRESS},
        ),
        # A name that happens to be the site's is no proof that the rest is.
        ({"ENGINE": POSTGRESQL, "NAME": "shop", "HOST": "localhost"}, LOCAL, {"ENGINE": POSTGRESQL, **ADDRESS}),
        (
            {
                "ENGINE": "django_prometheus.db.backends.postgresql",
                "NAME": "dev",
                "OPTIONS": {"pool": True, "sslmode": "disable", "service": "dev"},
                "DISABLE_SERVER_SIDE_CURSORS": True,
            },
            LOCAL,
            {
                "ENGINE": "django_prometheus.db.backends.postgresql",
                **ADDRESS,
                "OPTIONS": {"pool": True},
                "DISABLE_SERVER_SIDE_CURSORS": True,
            },
        ),
        ({"ENGINE": POSTGRESQL, **ADDRESS, "CONN_MAX_AGE": 600}, LOCAL, None),
        ({"ENGINE": POSTGRESQL, "NAME": "shop", "PORT": None}, LOCAL, None),
        (parse_database_url(REMOTE_URL), REMOTE, None),
        ({**parse_database_url(REMOTE_URL), "OPTIONS": {}}, REMOTE, parse_database_url(REMOTE_URL)),
    ],
)
def test_postgresql(default: dict[str, Any], environ: dict[str, str], expected: dict[str, Any] | None) -> None:
    settings = {"DATABASES": {"default": default, "other": {"ENGINE": "x"}}, "INSTALLED_APPS": [POSTGRESQL_APP]}
    found = closed(settings, {"database": "postgresql"}, environ)
    if expected is None:
        assert found == {}
    else:
        assert found == {"DATABASES": {"default": expected, "other": {"ENGINE": "x"}}}


MYSQL = "django.db.backends.mysql"
SHARED_FILE = "/srv/shop/shared/db.sqlite3"
SOCKET = "/run/mysqld/mysqld.sock"
MARIADB_URL = "mysql://shop@localhost/shop?unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4"
TUNED = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


@pytest.mark.parametrize(
    ("default", "django", "expected"),
    [
        ({}, (5, 2), {"ENGINE": SQLITE, "NAME": SHARED_FILE, "OPTIONS": TUNED}),
        ({}, (5, 1), {"ENGINE": SQLITE, "NAME": SHARED_FILE, "OPTIONS": TUNED}),
        ({}, (4, 2), {"ENGINE": SQLITE, "NAME": SHARED_FILE, "OPTIONS": {"timeout": 20}}),
        # The project's own file stays the one it is.
        (
            {"ENGINE": SQLITE, "NAME": f"{RELEASE}/code/data/own.db", "OPTIONS": {"timeout": 5}, "CONN_MAX_AGE": 5},
            (5, 2),
            {
                "ENGINE": SQLITE,
                "NAME": "/srv/shop/shared/data/own.db",
                "OPTIONS": {**TUNED, "timeout": 5},
                "CONN_MAX_AGE": 5,
            },
        ),
        ({"ENGINE": SQLITE, "NAME": "/var/x"}, (5, 2), {"ENGINE": SQLITE, "NAME": "/var/x", "OPTIONS": TUNED}),
        ({"ENGINE": SQLITE, "NAME": ":memory:"}, (5, 2), {"ENGINE": SQLITE, "NAME": SHARED_FILE, "OPTIONS": TUNED}),
        (
            {"ENGINE": POSTGRESQL, "NAME": "dev", "HOST": "localhost", "CONN_MAX_AGE": 60},
            (5, 2),
            {"ENGINE": SQLITE, "NAME": SHARED_FILE, "OPTIONS": TUNED, "CONN_MAX_AGE": 60},
        ),
        (
            {"ENGINE": "django.contrib.gis.db.backends.postgis", "NAME": "dev"},
            (5, 2),
            {"ENGINE": "django.contrib.gis.db.backends.spatialite", "NAME": SHARED_FILE, "OPTIONS": TUNED},
        ),
    ],
)  # fmt: skip
def test_sqlite_for_many_processes(default: dict[str, Any], django: tuple[int, int], expected: dict[str, Any]) -> None:
    found = closed({"DATABASES": {"default": default}}, {"database": "sqlite", "django": django}, {})
    assert found == {"DATABASES": {"default": expected}}


@pytest.mark.parametrize(
    ("database", "url", "default", "expected"),
    [
        (
            "mariadb",
            MARIADB_URL,
            {"ENGINE": SQLITE, "NAME": "db.sqlite3"},
            {"ENGINE": MYSQL, **ADDRESS, "USER": "shop", "HOST": SOCKET, "OPTIONS": overlay._MARIADB_OPTIONS},
        ),
        ("external", "postgres://u:p@db/x", {}, parse_database_url("postgres://u:p@db/x")),
        ("external", "postgres://u:p@db/x", parse_database_url("postgres://u:p@db/x"), None),
        (
            "external",
            "mysql://u:p@db/x",
            {"ENGINE": POSTGRESQL, "NAME": "dev", "OPTIONS": {"pool": True}},
            parse_database_url("mysql://u:p@db/x"),
        ),
        ("external", "sqlite:////data/x.db", {}, {"ENGINE": SQLITE, "NAME": "/data/x.db"}),
        ("external", "sqlite:///x.db", {}, {"ENGINE": SQLITE, "NAME": "/srv/shop/shared/x.db"}),
    ],
)  # fmt: skip
def test_another_database(database: str, url: str, default: dict[str, Any], expected: dict[str, Any] | None) -> None:
    settings = {"DATABASES": {"default": default}, "INSTALLED_APPS": [POSTGRESQL_APP]}
    found = closed(settings, {"database": database}, {"DATABASE_URL": url})
    assert found == ({} if expected is None else {"DATABASES": {"default": expected}})


@pytest.mark.parametrize(
    ("database", "url", "said"),
    [
        ("external", "", "the site's database is external, but DATABASE_URL is not in the environment"),
        ("external", "oracle://u:hunter2@db/x", "DATABASE_URL is of the kind 'oracle'; known are"),
        ("external", "hunter2:x", "DATABASE_URL is no URL; known are"),
        ("mariadb", "", "the site's database is MariaDB, but DATABASE_URL is not in the environment"),
        ("mariadb", "postgresql://u:hunter2@db/x", "DATABASE_URL is of the kind 'postgresql', not mariadb"),
    ],
)
def test_url_that_does_not_lead_there(database: str, url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        closed({"DATABASES": {}}, {"database": database}, {"DATABASE_URL": url})
    assert "hunter2" not in str(caught.value)


TUNED_BY_HAND = """
import django
from unittest import mock
django.VERSION = (4, 2, 0, "final", 0)
import djdeploy_settings as found
options = found.DATABASES["default"]["OPTIONS"]
django.setup()
from django.db import connection, transaction
said = []
with connection.execute_wrapper(lambda execute, sql, *rest: (said.append(sql), execute(sql, *rest))[1]):
    with transaction.atomic():
        pass
with connection.cursor() as cursor:
    mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
print(sorted(options), mode, said)
"""


def test_sqlite_of_a_django_without_the_options(tmp_path: Path) -> None:
    """Told by what the connection does; the Django that runs is a newer one that was told to be older."""
    release = lay_out(tmp_path, "conf", database="sqlite")
    (release / "code").mkdir()
    (release / "code" / "conf.py").write_text("INSTALLED_APPS = []\n")
    shown = run_python(release, TUNED_BY_HAND)
    assert shown.returncode == 0, shown.stderr
    said = "['PRAGMA journal_mode=WAL', 'PRAGMA synchronous=NORMAL', 'BEGIN IMMEDIATE']"
    assert shown.stdout == f"['timeout'] wal {said}\n"


@pytest.mark.parametrize(
    ("engine", "database", "apps", "expected"),
    [
        (SQLITE, "postgresql", ["a"], ["a", POSTGRESQL_APP]),
        (SQLITE, "postgresql", ["a", "django.contrib.postgres.apps.PostgresConfig"], None),
        (SQLITE, "project", ["a"], None),
        # A project made for PostgreSQL has the app if it needs it.
        (POSTGRESQL, "postgresql", ["a"], None),
        (POSTGIS, "postgresql", ["a"], None),
        ("django_prometheus.db.backends.postgresql", "postgresql", ["a"], None),
    ],
)
def test_a_project_moved_to_postgresql_gets_its_app(
    engine: str, database: str, apps: list[str], expected: list[str] | None
) -> None:
    settings = {"DATABASES": {"default": {"ENGINE": engine, "NAME": "x"}}, "INSTALLED_APPS": apps}
    assert closed(settings, {"database": database}, LOCAL).get("INSTALLED_APPS") == expected


def test_postgresql_without_its_url() -> None:
    with pytest.raises(ValueError, match="DATABASE_URL"):
        closed({}, {"database": "postgresql"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (PurePosixPath(f"{RELEASE}/code/db.sqlite3"), "/srv/shop/shared/db.sqlite3"),
        ("db.sqlite3", "/srv/shop/shared/db.sqlite3"),
        (f"{RELEASE}/code/data/db.sqlite3", "/srv/shop/shared/data/db.sqlite3"),
        (":memory:", None),
        ("file:x?mode=memory", None),
        ("/var/lib/shop/db.sqlite3", None),
    ],
)
def test_sqlite(name: Any, expected: str | None) -> None:
    databases = {"default": {"ENGINE": SQLITE, "NAME": name, "OPTIONS": {"timeout": 5}}}
    found = closed({"DATABASES": databases})
    wanted = {"default": {"ENGINE": SQLITE, "NAME": expected, "OPTIONS": {"timeout": 5}}}
    assert found == ({"DATABASES": wanted} if expected else {})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"STATIC_ROOT": f"{RELEASE}/code/staticfiles"}, f"{RELEASE}/code/staticfiles"),
        ({"STATIC_ROOT": Path(f"{RELEASE}/code/a/../built")}, f"{RELEASE}/code/built"),
        ({"STATIC_ROOT": "/srv/shop/venvs/1/lib/python3.13/site-packages/pretix/static.dist"}, "as it is"),
        ({"STATIC_ROOT": f"{RELEASE}/code"}, ""),
        ({"STATIC_ROOT": "/var/www/static"}, ""),
        ({"STATIC_ROOT": f"{RELEASE}/static"}, ""),
        ({"STATIC_ROOT": f"{RELEASE}/code/public", "MEDIA_ROOT": f"{RELEASE}/code/public/media"}, ""),
        ({"STATIC_ROOT": f"{RELEASE}/code/public", "MEDIA_ROOT": f"{RELEASE}/code/public"}, ""),
        ({"STATIC_ROOT": f"{RELEASE}/code/public", "MEDIA_ROOT": f"{RELEASE}/code/public-media"}, "as it is"),
        ({"STATIC_ROOT": None}, ""),
        ({}, ""),
    ],
)
def test_static_files_that_came_in_the_projects_own_root(settings: dict[str, Any], expected: str) -> None:
    assert brought_static(settings, SITE) == (settings["STATIC_ROOT"] if expected == "as it is" else expected)


def test_relocations() -> None:
    settings = {
        "MEDIA_ROOT": f"{RELEASE}/code/media",
        "DATABASES": {
            "default": {"ENGINE": SQLITE, "NAME": "db.sqlite3"},
            "old": {"ENGINE": SQLITE, "NAME": f"{RELEASE}/code/old/db.sqlite3"},
        },
    }
    media = (f"{RELEASE}/code/media", "/srv/shop/shared/media")
    old = (f"{RELEASE}/code/old/db.sqlite3", "/srv/shop/shared/old/db.sqlite3")
    assert relocations(settings, SITE) == [media, (f"{RELEASE}/code/db.sqlite3", "/srv/shop/shared/db.sqlite3"), old]
    assert relocations(settings, {**SITE, "database": "postgresql"}) == [media, old]
    assert relocations(SOUND, SITE) == []


# -- the module itself -----------------------------------------------------------------------


def test_overlay_needs_nothing_but_the_standard_library() -> None:
    """It runs in the site's process, where neither the engine nor djdeploy is."""
    allowed = {*sys.stdlib_module_names, "django", "asgiref"}
    parts = {module.__name__.rpartition(".")[2] for module in prepare.overlay_parts().values()}
    for module in prepare.overlay_parts().values():
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
            if isinstance(node, ast.Import):
                assert all(alias.name.partition(".")[0] in allowed for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level:
                assert node.module is None and {each.name for each in node.names} <= parts
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] in allowed


def lay_out(root: Path, settings: str, **site: Any) -> Path:
    """A release around a project that lies in root/shop/releases/r1/code."""
    release = root / "shop" / "releases" / "r1"
    (release / "settings").mkdir(parents=True)
    (root / "shop" / "shared").mkdir()
    for name, module in prepare.overlay_parts().items():
        (release / "settings" / name).write_text(Path(module.__file__ or "").read_text())
    facts = {
        **SITE,
        "project_settings": settings,
        "static_root": str(release / "static"),
        "shared": str(root / "shop" / "shared"),
        "code": str(release / "code"),
        **site,
    }
    (release / "settings" / "site.json").write_text(json.dumps(facts))
    return release


def run_python(release: Path, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=release / "code",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{release}/settings:{release}/code",
            "DJANGO_SETTINGS_MODULE": "djdeploy_settings",
            "PYTHONDONTWRITEBYTECODE": "1",
            **OWN,
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def generate(command: list[str], release: Path) -> None:
    (release / "code").mkdir()
    done = subprocess.run(
        [sys.executable, *command, str(release / "code")], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


SHOW = """
import json
from django.conf import settings
names = ("DEBUG", "ALLOWED_HOSTS", "STATIC_ROOT", "MEDIA_ROOT", "DATABASES", "SECRET_KEY", "DJDEPLOY_GAPS")
print(json.dumps({name: getattr(settings, name) for name in names}, default=str))
"""
CHECK = "import django; django.setup(); from django.core.management import call_command; call_command('check')"
WAGTAIL_START = ["-c", "from wagtail.bin.wagtail import main; main()", "start", "shop"]


@pytest.mark.parametrize(
    ("command", "settings"),
    [(["-m", "django", "startproject", "shop"], "shop.settings"), (WAGTAIL_START, "shop.settings.production")],
    ids=["startproject", "wagtail start"],
)
def test_an_untouched_project_goes_live(tmp_path: Path, command: list[str], settings: str) -> None:
    release = lay_out(tmp_path, settings, database="postgresql")
    generate(command, release)
    shown = run_python(release, SHOW, DATABASE_URL="postgresql:///shop")
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["DEBUG"] is False
    assert found["ALLOWED_HOSTS"] == SITE["domains"]
    assert found["STATIC_ROOT"] == str(release / "static")
    assert found["MEDIA_ROOT"] == str(tmp_path / "shop" / "shared" / "media")
    assert found["SECRET_KEY"] == OWN["SECRET_KEY"]
    assert found["DATABASES"]["default"]["ENGINE"] == POSTGRESQL
    assert found["DATABASES"]["default"]["NAME"] == "shop"
    assert {"SECRET_KEY", "DATABASES", "STATIC_ROOT"} <= set(found["DJDEPLOY_GAPS"])

    # The same with its own SQLite, so that no database driver is needed to load its models.
    facts = json.loads((release / "settings" / "site.json").read_text())
    (release / "settings" / "site.json").write_text(json.dumps({**facts, "database": "project"}))
    checked = run_python(release, CHECK)
    assert checked.returncode == 0, checked.stderr
    assert "no issues" in checked.stdout
    shown = json.loads(run_python(release, SHOW).stdout)
    assert shown["DATABASES"]["default"]["NAME"] == str(tmp_path / "shop" / "shared" / "db.sqlite3")


def test_a_project_that_reads_its_environment_is_left_alone(tmp_path: Path) -> None:
    release = lay_out(tmp_path, "conf")
    (release / "code").mkdir()
    (release / "code" / "conf.py").write_text(
        "import os\nSECRET_KEY = os.environ['SECRET_KEY']\nDEBUG = os.environ.get('DEBUG') == 'True'\n"
        "ALLOWED_HOSTS = os.environ['ALLOWED_HOSTS'].split(',')\nINSTALLED_APPS = []\n"
    )
    shown = run_python(release, SHOW, ALLOWED_HOSTS=",".join(SITE["domains"]), DEBUG="False")
    assert shown.returncode == 0, shown.stderr
    assert not {"SECRET_KEY", "DEBUG", "ALLOWED_HOSTS"} & set(json.loads(shown.stdout)["DJDEPLOY_GAPS"])


def test_a_log_file_in_the_code_does_not_stop_the_start(tmp_path: Path) -> None:
    release = lay_out(tmp_path, "conf")
    (release / "code").mkdir()
    (release / "code" / "conf.py").write_text(
        "LOGGING = {'version': 1, 'handlers': {'f': {'class': 'logging.FileHandler', 'filename': 'logs/a.log'}},"
        "'root': {'handlers': ['f']}}\n"
    )
    done = run_python(release, "import django; django.setup(); import logging; logging.error('seen')")
    assert done.returncode == 0, done.stderr
    assert "seen" in (tmp_path / "shop" / "shared" / "logs" / "a.log").read_text()


def test_an_error_of_the_project_is_shown_in_its_own_file(tmp_path: Path) -> None:
    release = lay_out(tmp_path, "conf")
    (release / "code").mkdir()
    (release / "code" / "conf.py").write_text("import os\n\nos.environ['PAYMENT_KEY']\n")
    done = run_python(release, SHOW)
    assert done.returncode != 0
    assert f'File "{release}/code/conf.py", line 3' in done.stderr
    assert done.stderr.strip().endswith("KeyError: 'PAYMENT_KEY'")


@pytest.mark.parametrize(("error", "told"), [("error", True), ("info", False)])
def test_what_reaches_the_journal(tmp_path: Path, error: str, told: bool) -> None:
    release = lay_out(tmp_path, "conf")
    (release / "code").mkdir()
    (release / "code" / "conf.py").write_text("INSTALLED_APPS = []\n")
    code = f"import django; django.setup(); import logging; logging.getLogger('app').{error}('broken')"
    done = run_python(release, code)
    assert ("ERROR app: broken" in done.stderr) is told
    django = run_python(
        release, "import django; django.setup(); import logging; logging.getLogger('django.x').info('hi')"
    )
    assert django.stderr == "INFO django.x: hi\n"


@pytest.mark.parametrize(("code", "public"), [('SECRET_KEY = "{key}"', "published.settings"), ("", "")])
def test_key_of_an_installed_package_is_public(tmp_path: Path, code: str, public: str) -> None:
    """Its code can be read by everybody; a key it reads from elsewhere does not stand there."""
    file = tmp_path / "site-packages" / "published" / "settings.py"
    file.parent.mkdir(parents=True)
    file.write_text(code.format(key=KEY))
    module = ModuleType("published.settings")
    module.__file__, module.SECRET_KEY = str(file), KEY  # type: ignore[attr-defined]
    found = overlay._published_in(KEY, [module, ModuleType("without_file")])
    assert found == public
    gaps = overlay.close_gaps({"SECRET_KEY": KEY}, {**SITE, "public_key_in": found}, OWN)
    assert ("SECRET_KEY" in gaps) is bool(public)
