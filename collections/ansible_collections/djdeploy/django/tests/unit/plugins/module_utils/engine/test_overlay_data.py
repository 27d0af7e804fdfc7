# SPDX-License-Identifier: GPL-3.0-or-later
"""URLs of the environment as settings: read as their senders meant them, and only where the project reads none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import overlay_data as data

CACHE = "django.core.cache.backends."
REDIS, LOCMEM = f"{CACHE}redis.RedisCache", f"{CACHE}locmem.LocMemCache"
SQLITE, MYSQL = "django.db.backends.sqlite3", "django.db.backends.mysql"
S3 = "storages.backends.s3.S3Storage"
SITE: dict[str, Any] = {"name": "shop", "database": "project"}


# -- URLs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "mysql://u:p%40@db:3306/shop",
            {"ENGINE": MYSQL, "NAME": "shop", "USER": "u", "PASSWORD": "p@", "HOST": "db", "PORT": "3306"},
        ),
        ("mariadb://db/shop", {"ENGINE": MYSQL, "NAME": "shop", "USER": "", "PASSWORD": "", "HOST": "db", "PORT": ""}),
        (
            "mysql:///shop?unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4&ssl-ca=/ca.pem",
            {
                "ENGINE": MYSQL, "NAME": "shop", "USER": "", "PASSWORD": "", "PORT": "",
                "HOST": "/run/mysqld/mysqld.sock",
                "OPTIONS": {"charset": "utf8mb4", "ssl": {"ca": "/ca.pem"}},
            },
        ),
        ("sqlite:///db.sqlite3", {"ENGINE": SQLITE, "NAME": "db.sqlite3"}),
        ("sqlite:////srv/db.sqlite3", {"ENGINE": SQLITE, "NAME": "/srv/db.sqlite3"}),
        ("sqlite://", {"ENGINE": SQLITE, "NAME": ":memory:"}),
        ("sqlite://:memory:", {"ENGINE": SQLITE, "NAME": ":memory:"}),
    ],
)  # fmt: skip
def test_database_url(url: str, expected: dict[str, Any]) -> None:
    assert data.parse_database_url(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:pw@db:6379/1", {"BACKEND": REDIS, "LOCATION": "redis://:pw@db:6379/1"}),
        ("rediss://db", {"BACKEND": REDIS, "LOCATION": "rediss://db"}),
        ("unix:///run/redis.sock?db=2", {"BACKEND": REDIS, "LOCATION": "unix:///run/redis.sock?db=2"}),
        ("redis+socket:///run/redis.sock", {"BACKEND": REDIS, "LOCATION": "unix:///run/redis.sock"}),
        (
            "redis://db/0?timeout=60&key_prefix=shop&health_check_interval=5",
            {"BACKEND": REDIS, "LOCATION": "redis://db/0?health_check_interval=5", "TIMEOUT": 60, "KEY_PREFIX": "shop"},
        ),
        ("memcached://a:1,b:1", {"BACKEND": f"{CACHE}memcached.PyMemcacheCache", "LOCATION": ["a:1", "b:1"]}),
        ("pylibmc:///run/m.sock", {"BACKEND": f"{CACHE}memcached.PyLibMCCache", "LOCATION": ["unix:/run/m.sock"]}),
        ("db://cache_table", {"BACKEND": f"{CACHE}db.DatabaseCache", "LOCATION": "cache_table"}),
        ("file:///var/cache/x", {"BACKEND": f"{CACHE}filebased.FileBasedCache", "LOCATION": "/var/cache/x"}),
        ("dummy://", {"BACKEND": f"{CACHE}dummy.DummyCache"}),
        ("locmem://", {"BACKEND": LOCMEM}),
    ],
)  # fmt: skip
def test_cache_url(url: str, expected: dict[str, Any]) -> None:
    assert data.parse_cache_url(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail", ("mail", 25, "", "", False, False)),
        ("smtp://u%40x:p%2F@mail:2525", ("mail", 2525, "u@x", "p/", False, False)),
        ("smtp://u:p@mail:587?tls=true", ("mail", 587, "u", "p", True, False)),
        ("smtp://mail:465?ssl=True", ("mail", 465, "", "", False, True)),
        ("smtp+tls://mail", ("mail", 587, "", "", True, False)),
        ("submission://mail", ("mail", 587, "", "", True, False)),
        ("smtp+ssl://mail", ("mail", 465, "", "", False, True)),
        ("smtps://mail", ("mail", 465, "", "", False, True)),
        ("smtps://mail:465", ("mail", 465, "", "", False, True)),
        ("smtps://mail:587", ("mail", 587, "", "", True, False)),
        ("smtp://", ("localhost", 25, "", "", False, False)),
    ],
)
def test_email_url(url: str, expected: tuple[Any, ...]) -> None:
    found = data.parse_email_url(url)
    assert found["BACKEND"] == data.SMTP
    names = ("host", "port", "username", "password", "use_tls", "use_ssl")
    assert tuple(found["OPTIONS"][name] for name in names) == expected


def test_email_url_that_sends_nothing() -> None:
    assert data.parse_email_url("consolemail://")["BACKEND"] == "django.core.mail.backends.console.EmailBackend"
    assert data.parse_email_url("filemail:///tmp/mail")["OPTIONS"] == {"file_path": "/tmp/mail"}
    assert data.parse_email_url("smtp://a?timeout=5")["OPTIONS"]["timeout"] == 5


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "s3://k:s%2F@minio:9000/files",
            {"bucket_name": "files", "endpoint_url": "https://minio:9000", "access_key": "k", "secret_key": "s/"},
        ),
        (
            "s3://minio/files?tls=false&region_name=eu",
            {"bucket_name": "files", "endpoint_url": "http://minio", "region_name": "eu"},
        ),
        (
            "s3://files.s3.eu-1.amazonaws.com/?querystring_auth=false&max_memory_size=5",
            {
                "bucket_name": "files", "endpoint_url": "https://s3.eu-1.amazonaws.com", "querystring_auth": False,
                "max_memory_size": 5,
            },
        ),
        (
            "s3://k:s@files.s3.eu-central-1.amazonaws.com/?domain=cdn.example.com&prefix=up",
            {
                "bucket_name": "files", "region_name": "eu-central-1", "access_key": "k", "secret_key": "s",
                "custom_domain": "cdn.example.com", "location": "up",
            },
        ),
        ("s3://s3.us-gov-west-1.amazonaws.com/files", {"bucket_name": "files", "region_name": "us-gov-west-1"}),
        ("s3://s3.amazonaws.com/files?acl=private", {"bucket_name": "files", "default_acl": "private"}),
        (
            "s3://k:s@fsn1.example.com/files?region=fsn1",
            {
                "bucket_name": "files", "endpoint_url": "https://fsn1.example.com", "region_name": "fsn1",
                "access_key": "k", "secret_key": "s",
            },
        ),
        ("s3://files", {"bucket_name": "files"}),
        ("s3://files?signature_version=s3", {"bucket_name": "files", "signature_version": "s3"}),
    ],
)  # fmt: skip
def test_storage_dsn_s3(url: str, expected: dict[str, Any]) -> None:
    assert data.parse_storage_dsn(url) == {"BACKEND": S3, "OPTIONS": {"signature_version": "s3v4", **expected}}


def test_storage_dsn_elsewhere() -> None:
    assert data.parse_storage_dsn("file:///mnt/up?url=/up/")["OPTIONS"] == {"location": "/mnt/up", "base_url": "/up/"}
    assert data.parse_storage_dsn("gs://files")["OPTIONS"] == {"bucket_name": "files"}


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("DATABASE_URL", "oracle://u:hunter2@db/x"),
        ("DATABASE_URL", "mysql://u:hunter2@db/"),
        ("DATABASE_URL", "mysql://u:hunter2#x@db:y/z"),
        ("CACHE_URL", "etcd://:hunter2@db"),
        ("CACHE_URL", "redis://:hunter2@db?timeout=x"),
        ("EMAIL_URL", "imap://u:hunter2@mail"),
        ("EMAIL_URL", "smtp://u:hunter2@mail?tls=1&ssl=1"),
        ("EMAIL_URL", "smtp://u:hunter2@mail:x"),
        ("DEFAULT_STORAGE_DSN", "azure://k:hunter2@x"),
        ("DEFAULT_STORAGE_DSN", "s3://"),
    ],
)
def test_a_url_that_is_not_understood_is_named_and_not_shown(variable: str, url: str) -> None:
    with pytest.raises(ValueError, match=variable) as caught:
        data.close_gaps({}, SITE, {variable: url})
    assert "hunter2" not in str(caught.value)


# -- what the project has already ------------------------------------------------------------


def closed(settings: dict[str, Any], environ: dict[str, str], **site: Any) -> dict[str, Any]:
    return {name: value for name, (value, _why) in data.close_gaps(settings, {**SITE, **site}, environ).items()}


POSTGRESQL = "django.db.backends.postgresql"
FILE = {"default": {"ENGINE": SQLITE, "NAME": "/code/db.sqlite3", "CONN_MAX_AGE": 5}}
POSTGRES = {
    "ENGINE": POSTGRESQL,
    "NAME": "shop",
    "USER": "",
    "PASSWORD": "",
    "HOST": "db",
    "PORT": "",
}


@pytest.mark.parametrize(
    ("databases", "url", "expected"),
    [
        ({}, "postgres://db/shop", {"default": POSTGRES}),
        (FILE, "postgres://db/shop", {"default": {**POSTGRES, "CONN_MAX_AGE": 5}}),
        (FILE, "sqlite:///db.sqlite3", None),
        (FILE, "sqlite:////code/db.sqlite3", None),
        (
            {"default": {"ENGINE": POSTGRESQL, "NAME": "shop", "HOST": "db"}},
            "postgres://db/shop",
            None,
        ),
        ({"default": {"ENGINE": "psqlextra.backend", "NAME": "shop", "HOST": "db"}}, "postgres://db/shop", None),
        ({"default": {"ENGINE": MYSQL, "NAME": "shop"}}, "postgres://db/shop", None),
        (
            {**FILE, "other": {"ENGINE": POSTGRESQL, "NAME": "shop", "HOST": "db"}},
            "postgres://db/shop",
            None,
        ),
        ({"default": {"ENGINE": "mssql", "NAME": "shop"}}, "mssql://db/shop", None),
    ],
)
def test_database_of_a_project_that_reads_nothing(
    databases: dict[str, Any], url: str, expected: dict[str, Any] | None
) -> None:
    found = closed({"DATABASES": databases}, {"DATABASE_URL": url})
    assert found == ({} if expected is None else {"DATABASES": expected})
    assert closed({"DATABASES": databases}, {"DATABASE_URL": url}, database="postgresql") == {}


@pytest.mark.parametrize(
    ("settings", "applied"),
    [
        ({}, True),
        ({"CACHES": {"default": {"BACKEND": LOCMEM}, "other": {"BACKEND": LOCMEM}}}, True),
        ({"CACHES": {"default": {"BACKEND": REDIS, "LOCATION": "redis://cache/1"}}}, False),
        ({"CACHES": {"default": {"BACKEND": LOCMEM}, "r": {"BACKEND": REDIS, "LOCATION": "redis://cache/0"}}}, False),
        ({"CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://x"}}}, False),
    ],
)
def test_cache_of_a_project_that_reads_nothing(settings: dict[str, Any], applied: bool) -> None:
    found = closed(settings, {"CACHE_URL": "redis://cache/0"})
    assert bool(found) is applied
    if applied:
        assert found["CACHES"]["default"] == {"BACKEND": REDIS, "LOCATION": "redis://cache/0"}
        assert set(found["CACHES"]) >= set(settings.get("CACHES", {}))


@pytest.mark.parametrize(
    ("settings", "version", "expected"),
    [
        ({}, (4, 2), "settings"),
        ({}, (6, 1), "settings"),
        ({}, (7, 0), "mailers"),
        ({"EMAIL_HOST": "localhost", "EMAIL_PORT": 25}, (5, 2), "settings"),
        ({"EMAIL_HOST": "own"}, (5, 2), None),
        ({"EMAIL_PORT": 587}, (5, 2), None),
        ({"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}, (6, 0), None),
        ({"MAILERS": {}}, (6, 1), "mailers"),
        ({"MAILERS": {"default": {"OPTIONS": {"timeout": 9}}, "bulk": {"BACKEND": "x"}}}, (6, 1), "mailers"),
        ({"MAILERS": {"default": {"BACKEND": "x.Backend"}}}, (6, 1), None),
        ({"MAILERS": {"default": {"OPTIONS": {"host": "own"}}}}, (6, 1), None),
        ({"MAILERS": {"default": {"OPTIONS": {"host": "own"}}}}, (5, 2), "settings"),
    ],
)
def test_mail_of_a_project_that_reads_nothing(
    settings: dict[str, Any], version: tuple[int, int], expected: str | None
) -> None:
    found = closed(settings, {"EMAIL_URL": "smtp+tls://u:p@mail"}, django=version)
    if expected is None:
        assert found == {}
    elif expected == "settings":
        assert found == {
            "EMAIL_BACKEND": data.SMTP,
            "EMAIL_HOST": "mail",
            "EMAIL_PORT": 587,
            "EMAIL_HOST_USER": "u",
            "EMAIL_HOST_PASSWORD": "p",
            "EMAIL_USE_TLS": True,
            "EMAIL_USE_SSL": False,
        }
    else:
        assert set(found) == {"MAILERS"}, "Django refuses EMAIL_* beside MAILERS"
        default = found["MAILERS"]["default"]
        before = settings.get("MAILERS", {})
        assert default["OPTIONS"].items() >= {"host": "mail", "password": "p", "use_tls": True}.items()
        assert default["OPTIONS"].items() >= before.get("default", {}).get("OPTIONS", {}).items()
        assert set(found["MAILERS"]) == {"default", *before}


@pytest.mark.parametrize(
    ("settings", "applied"),
    [
        ({}, True),
        ({"STORAGES": {"default": {"BACKEND": data.FILE_STORAGE}, "staticfiles": {"BACKEND": "own"}}}, True),
        ({"STORAGES": {"default": {"BACKEND": data.FILE_STORAGE, "OPTIONS": {"location": "/x"}}}}, False),
        ({"STORAGES": {"default": {"BACKEND": "own"}}}, False),
        ({"DEFAULT_FILE_STORAGE": "own"}, False),
        ({"STATICFILES_STORAGE": "own"}, False),
    ],
)
def test_storage_of_a_project_that_reads_nothing(settings: dict[str, Any], applied: bool) -> None:
    found = closed(settings, {"DEFAULT_STORAGE_DSN": "s3://files"})
    assert bool(found) is applied
    if applied:
        static = settings.get("STORAGES", {}).get("staticfiles", {"BACKEND": data.STATIC_STORAGE})
        wanted = {"BACKEND": S3, "OPTIONS": {"bucket_name": "files", "signature_version": "s3v4"}}
        assert found["STORAGES"] == {"default": wanted, "staticfiles": static}


@pytest.mark.parametrize(
    ("settings", "dsn", "expected"),
    [
        ({}, "file:///srv/up", {"MEDIA_ROOT": "/srv/up", "MEDIA_URL": "/media/"}),
        ({"MEDIA_URL": "/m/"}, "file:///srv/up", {"MEDIA_ROOT": "/srv/up"}),
        ({"MEDIA_ROOT": "/o", "MEDIA_URL": "/m/"}, "file:///srv?url=/up/", {"MEDIA_ROOT": "/srv", "MEDIA_URL": "/up/"}),
        ({"MEDIA_ROOT": "/srv/up", "MEDIA_URL": "/m/"}, "file:///srv/up", {}),
        ({"STATICFILES_STORAGE": "own", "MEDIA_URL": "/m/"}, "file:///srv/up", {"MEDIA_ROOT": "/srv/up"}),
        ({"DEFAULT_FILE_STORAGE": "own"}, "file:///srv/up", {}),
        ({"STORAGES": {"default": {"BACKEND": "own"}}}, "file:///srv/up", {}),
    ],
)  # fmt: skip
def test_storage_that_is_a_directory(settings: dict[str, Any], dsn: str, expected: dict[str, Any]) -> None:
    """It becomes MEDIA_ROOT, which nginx serves."""
    assert closed(settings, {"DEFAULT_STORAGE_DSN": dsn}) == expected


EMAIL = {"from_address": "Shop <shop@example.com>", "admins": ["Ann <a@example.com>", "b@example.com"]}


@pytest.mark.parametrize(
    ("version", "people"),
    [
        ((5, 2), [("Ann", "a@example.com"), ("b@example.com", "b@example.com")]),
        ((6, 0), ["Ann <a@example.com>", "b@example.com"]),
    ],
)
def test_addresses(version: tuple[int, int], people: list[Any]) -> None:
    assert closed({}, {}, email=EMAIL, django=version) == {
        "DEFAULT_FROM_EMAIL": "Shop <shop@example.com>",
        "SERVER_EMAIL": "Shop <shop@example.com>",
        "ADMINS": people,
        "MANAGERS": people,
        "EMAIL_SUBJECT_PREFIX": "[shop] ",
    }


def test_addresses_of_the_project_stay() -> None:
    own = {
        "DEFAULT_FROM_EMAIL": "a@b.de", "SERVER_EMAIL": "a@b.de", "ADMINS": [("A", "a@b.de")], "MANAGERS": ["x"],
        "EMAIL_SUBJECT_PREFIX": "[own] ",
    }  # fmt: skip
    assert closed(own, {}, email=EMAIL) == {}
    assert closed({}, {}, email={}) == {}
    assert closed({}, {}, email={"subject_prefix": "[x] "}) == {"EMAIL_SUBJECT_PREFIX": "[x] "}


def mysql(name: str) -> dict[str, Any]:
    return {"DATABASES": {"default": {"ENGINE": MYSQL, "NAME": name, "HOST": "db"}}}


# -- what is told ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "environ", "site", "names"),
    [
        ({}, {}, {}, []),
        ({}, {"CACHE_URL": "redis://c", "EMAIL_URL": "smtp://m", "DEFAULT_STORAGE_DSN": "s3://f"}, {}, []),
        ({"CACHES": {"default": {"BACKEND": "own"}}}, {"CACHE_URL": "redis://c"}, {}, ["CACHE_URL"]),
        ({"CACHES": {"default": {"BACKEND": "own", "LOCATION": "redis://c:1"}}}, {"CACHE_URL": "redis://c:1"}, {}, []),
        ({"EMAIL_HOST": "own"}, {"EMAIL_URL": "smtp://m"}, {}, ["EMAIL_URL"]),
        ({"EMAIL_HOST": "m.x"}, {"EMAIL_URL": "smtp://m.x"}, {}, []),
        ({"STATICFILES_STORAGE": "own"}, {"DEFAULT_STORAGE_DSN": "s3://f"}, {}, ["DEFAULT_STORAGE_DSN"]),
        ({}, {"DEFAULT_STORAGE_DSN": "file:///srv/up"}, {}, []),
        ({"MEDIA_ROOT": "/srv/up", "MEDIA_URL": "/m/"}, {"DEFAULT_STORAGE_DSN": "file:///srv/up"}, {}, []),
        ({"DEFAULT_FILE_STORAGE": "own"}, {"DEFAULT_STORAGE_DSN": "file:///srv/up"}, {}, ["DEFAULT_STORAGE_DSN"]),
        ({"STORAGES": {"default": {"BACKEND": "a"}}}, {"DEFAULT_STORAGE_DSN": "a://x"}, {}, ["DEFAULT_STORAGE_DSN"]),
        (mysql("x"), {"DATABASE_URL": "mysql://db/y"}, {}, ["DATABASE_URL"]),
        (mysql("y"), {"DATABASE_URL": "mysql://db/y"}, {}, []),
        ({}, {"DATABASE_URL": "postgresql:///x"}, {"database": "postgresql"}, []),
        ({}, {}, {"email": EMAIL}, ["email.admins"]),
        ({"EMAIL_HOST": "own"}, {}, {"email": EMAIL}, []),
        ({}, {"EMAIL_URL": "smtp://m"}, {"email": EMAIL}, []),
    ],
)  # fmt: skip
def test_unused(settings: dict[str, Any], environ: dict[str, str], site: dict[str, Any], names: list[str]) -> None:
    whole = {**SITE, **site}
    gaps = data.close_gaps(settings, whole, environ)
    assert [name for name, _why in data.unused(settings, whole, environ, gaps)] == names


def test_missing_packages() -> None:
    gaps = data.close_gaps({}, SITE, {"CACHE_URL": "redis://c", "DEFAULT_STORAGE_DSN": "s3://f"})
    assert data.missing(gaps, lambda module: False) == [("CACHES", "redis"), ("STORAGES", "storages")]
    assert data.missing(gaps, lambda module: True) == []
    assert data.missing(data.close_gaps({}, SITE, {"CACHE_URL": "db://t"}), lambda module: False) == []
