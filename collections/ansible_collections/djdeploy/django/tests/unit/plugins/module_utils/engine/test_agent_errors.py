# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong in projects, and the one line a person gets to read about it."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_words import not_permitted
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError


@dataclass(frozen=True)
class Case:
    id: str
    kind: str
    message: str  # a regular expression
    prepare: Callable[[Any], None]
    step: dict[str, Any]
    hint: str = ""
    at: str | None = None  # the step that fails, if not the one asked for


CHECK = {"name": "check"}
MIGRATE = {"name": "migrate"}
APPLICATION = {"name": "application", "path": "mysite.wsgi:application"}
ANN = {"name": "superuser", "username": "ann", "password": "new-secret"}


def migration(name: str, body: str, dependency: str = "0001_initial") -> Callable[[Any], None]:
    return lambda project: project.write(
        f"shop/migrations/{name}.py",
        f"""
from django.db import migrations

def fail(apps, schema_editor):
    raise ValueError("no such thing")

class Migration(migrations.Migration):
    dependencies = [("shop", "{dependency}")]
    {body}
""",
    )


def inconsistent(project: Any) -> None:
    project.run(MIGRATE)
    lines = (
        "from django.db import connection as c;"
        "c.cursor().execute(\"delete from django_migrations where app='shop' and name='0001_initial'\")"
    )
    project.run({"name": "command", "argv": ["shell", "-c", lines]})


def refused_by_postgresql(project: Any) -> None:
    if subprocess.run(
        [project.target().python, "-c", "import psycopg"], stderr=subprocess.DEVNULL, check=False
    ).returncode:
        pytest.skip("no driver for PostgreSQL here")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    project.settings(
        'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "127.0.0.1", '
        f'"PORT": {port}, "PASSWORD": "very-secret"}}}}'
    )


def forced_by_celery(project: Any) -> None:
    project.write("mysite/celery.py", "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.local'\n")
    project.write("mysite/__init__.py", "from . import celery\n")


def with_reference_to_nothing(project: Any) -> None:
    project.write("shop/static/shop/site.css", "a { background: url(nosuch.png) }")
    backend = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    project.settings(f'STORAGES = {{"staticfiles": {{"BACKEND": "{backend}"}}}}')


CASES = [
    Case(
        "settings_make_a_directory_where_nobody_may",
        "settings",
        r"Permission denied: 'data' \(mysite/settings\.py line \d+\)",
        lambda project: project.settings("raise PermissionError(13, 'Permission denied', 'data')"),
        CHECK,
        "let the user who runs the project write .*/data, or name another path in the settings",
        "setup",
    ),
    Case(
        "log_file_where_nobody_may",
        "settings",
        r"ValueError: Unable to configure handler 'file': .*/nosuch/x\.log",
        lambda project: project.settings(
            "import logging\n\nclass Refused(logging.Handler):\n    def __init__(self):\n"
            "        raise OSError(30, 'Read-only file system', '/nosuch/x.log')\n\n"
            "LOGGING = {'version': 1, 'handlers': {'file': {'()': Refused}}, 'root': {'handlers': ['file']}}"
        ),
        CHECK,
        "write /nosuch/x.log, or name another path",
        "setup",
    ),
    Case(
        "missing_package_names_who_imports_it",
        "import_error",
        r"No module named 'nosuch', imported by shop/models\.py line \d+",
        lambda project: project.append("shop/models.py", "\nimport nosuch.thing\n"),
        CHECK,
        "requirements",
        "setup",
    ),
    Case(
        "missing_name_of_the_project_itself",
        "import_error",
        r"cannot import name 'nosuch' from 'shop'.*imported by shop/models\.py line \d+",
        lambda project: project.append("shop/models.py", "\nfrom shop import nosuch\n"),
        CHECK,
        "mend that import",
        "setup",
    ),
    Case(
        "missing_app",
        "import_error",
        "No module named 'nosuch', named 'nosuch' in INSTALLED_APPS of mysite.settings",
        lambda project: project.settings('INSTALLED_APPS += ["nosuch"]'),
        CHECK,
        "INSTALLED_APPS",
        "setup",
    ),
    Case(
        "missing_settings_module",
        "settings",
        "the settings module 'mysite.nosuch' is not there",
        lambda project: project.env.update(DJANGO_SETTINGS_MODULE="mysite.nosuch"),
        CHECK,
        "`settings`",
        "setup",
    ),
    Case(
        "no_settings_module",
        "settings",
        "DJANGO_SETTINGS_MODULE is not set",
        lambda project: (project.root / "manage.py").unlink(),
        CHECK,
        "`settings`",
        "setup",
    ),
    Case(
        "syntax_error",
        "import_error",
        r"syntax error in shop/models\.py line \d+: ",
        lambda project: project.append("shop/models.py", "\nclass :\n"),
        CHECK,
        at="setup",
    ),
    Case(
        "missing_variable",
        "settings",
        r"the environment variable SHOP_TOKEN is not set \(mysite/settings\.py line \d+\)",
        lambda project: project.settings('import os\nTOKEN = os.environ["SHOP_TOKEN"]'),
        CHECK,
        "`secrets`",
        "setup",
    ),
    Case(
        "missing_variables",
        "settings",
        r"the environment variable SHOP_TOKEN is not set \(mysite/settings\.py line \d+\)",
        lambda project: project.settings(
            "import os\nfrom django.core.exceptions import ImproperlyConfigured\n"
            "def env(name):\n    if name not in os.environ:\n"
            '        raise ImproperlyConfigured(f"Set the {name} environment variable")\n'
            'TOKEN, DEBUG, MORE = env("SHOP_TOKEN"), env("DJANGO_SETTINGS_MODULE"), env("SHOP_PASSWORD")'
        ),
        CHECK,
        "give it, and SHOP_PASSWORD, which nobody sets either, under `env` or `secrets`",
        "setup",
    ),
    Case(
        "error_in_the_settings",
        "settings",
        r"ZeroDivisionError: division by zero \(mysite/settings\.py line \d+\)",
        lambda project: project.settings("1 / 0"),
        CHECK,
        at="setup",
    ),
    Case(
        "empty_secret_key",
        "settings",
        "SECRET_KEY setting must not be empty",
        lambda project: project.settings('SECRET_KEY = ""'),
        {"name": "command", "argv": ["shell", "-c", "from django.conf import settings; settings.SECRET_KEY"]},
    ),
    Case(
        "settings_end_python",
        "command",
        "the project's code ended Python with status 'no' \\(mysite/settings.py",
        lambda project: project.settings('import sys\nsys.exit("no")'),
        CHECK,
        at="setup",
    ),
    Case(
        "check_fails",
        "check",
        r"the system check fails: shop\.Product\.name: \(fields\.E121\) .* \(and 1 more\)",
        lambda project: project.write(
            "shop/models.py",
            "from django.db import models\nclass Product(models.Model):\n"
            '    name = models.CharField(max_length="x")\n    price = models.CharField(max_length="x")\n',
        ),
        CHECK,
    ),
    Case(
        "check_fails_by_its_level",
        "check",
        r"\(security\.W0\d\d\)",
        lambda project: None,
        {"name": "check", "deploy": True, "tags": ["security"], "fail_level": "WARNING"},
    ),
    Case("unknown_tag", "request", "tag 'nosuch'", lambda project: None, {"name": "check", "tags": ["nosuch"]}),
    Case(
        "missing_application",
        "import_error",
        "the application 'mysite.nosuch:application' is not there",
        lambda project: None,
        {"name": "application", "path": "mysite.nosuch:application"},
        "`application",
    ),
    Case(
        "missing_attribute",
        "import_error",
        r"mysite/wsgi\.py has no 'app'",
        lambda project: None,
        {"name": "application", "path": "mysite.wsgi:app"},
        "`application",
    ),
    Case(
        "missing_attribute_of_a_package_without_a_file",
        "import_error",
        "^shop.static has no 'application'$",
        lambda project: None,
        {"name": "application", "path": "shop.static"},
    ),
    Case(
        "application_that_is_no_name",
        "request",
        "'mysite.wsgi:make\\(open\\)' is not of the form",
        lambda project: None,
        {"name": "application", "path": "mysite.wsgi:make(open)"},
    ),
    Case(
        "factory_that_fails",
        "application",
        r"AttributeError: .* has no attribute 'nosuch' \(mysite/factory\.py line 2\)",
        lambda project: project.write("mysite/factory.py", "def create():\n    return ''.nosuch\n"),
        {"name": "application", "path": "mysite.factory:create()"},
    ),
    Case(
        "nothing_to_call",
        "import_error",
        "is a str, nothing gunicorn can call",
        lambda project: None,
        {"name": "application", "path": "mysite.settings:ROOT_URLCONF"},
    ),
    Case(
        "wsgi_that_forces_its_settings",
        "settings",
        r"mysite/wsgi\.py line \d+ sets DJANGO_SETTINGS_MODULE to 'mysite\.local', but .* 'mysite\.settings'",
        lambda project: project.append("mysite/wsgi.py", '\nos.environ["DJANGO_SETTINGS_MODULE"] = "mysite.local"\n'),
        APPLICATION,
        r'setdefault\("DJANGO_SETTINGS_MODULE", \'mysite.local\'\)',
    ),
    Case(
        "celery_that_forces_its_settings",
        "settings",
        r"mysite/celery\.py line 2 sets DJANGO_SETTINGS_MODULE",
        forced_by_celery,
        APPLICATION,
    ),
    Case(
        "database_refused",
        "database",
        r"the database 'default' \(postgresql 'shop' at 127\.0\.0\.1:\d+\) cannot be reached: .*refused",
        refused_by_postgresql,
        MIGRATE,
    ),
    Case(
        "database_file_without_a_directory",
        "database",
        r"the database 'default' \(sqlite '.*/nowhere/db' *\) cannot be reached: unable to open database file",
        lambda project: project.settings('DATABASES["default"]["NAME"] = BASE_DIR / "nowhere/db"'),
        MIGRATE,
    ),
    Case(
        "unknown_database",
        "request",
        "no database 'nosuch' in DATABASES, only default",
        lambda project: None,
        {"name": "migrate", "database": "nosuch"},
    ),
    Case(
        "conflicting_migrations",
        "migration",
        r"conflicting migrations.*\(shop: 0002_other, 0002_price\)",
        migration("0002_other", "operations = []"),
        MIGRATE,
        "makemigrations --merge",
    ),
    Case("inconsistent_history", "migration", "0002_price is applied before its dependency", inconsistent, MIGRATE),
    Case(
        "migration_of_a_missing_parent",
        "migration",
        "0003_orphan dependencies reference nonexistent parent",
        migration("0003_orphan", "operations = []", "0002_nosuch"),
        MIGRATE,
    ),
    Case(
        "migration_fails",
        "migration",
        r"migration shop\.0003_fail fails: ValueError: no such thing",
        migration("0003_fail", "operations = [migrations.RunPython(fail)]", "0002_price"),
        MIGRATE,
        r"applied before that and stays: .*shop\.0002_price",
    ),
    Case(
        "migration_fails_in_the_middle",
        "migration",
        r"migration shop\.0003_fail fails: ",
        migration("0003_fail", "atomic = False\n    operations = [migrations.RunPython(fail)]", "0002_price"),
        MIGRATE,
        "is not atomic",
    ),
    Case(
        "unknown_app", "migration", "no app 'nosuch' with", lambda project: None, {"name": "migrate", "app": "nosuch"}
    ),
    Case(
        "ambiguous_target",
        "migration",
        "more than one migration of shop starts with '000'",
        lambda project: None,
        {"name": "migrate", "app": "shop", "target": "000"},
    ),
    Case(
        "no_static_root",
        "settings",
        "STATIC_ROOT",
        lambda project: project.settings("STATIC_ROOT = None"),
        {"name": "collectstatic"},
    ),
    Case(
        "static_reference_to_nothing",
        "static",
        "nosuch.png",
        with_reference_to_nothing,
        {"name": "collectstatic"},
    ),
    Case("superuser_before_migrate", "database", "'auth_user' does not exist", lambda project: None, ANN, "`migrate`"),
    Case(
        "superuser_with_an_unknown_field",
        "user",
        "auth.User has no field 'nosuch'",
        lambda project: project.run(MIGRATE),
        {**ANN, "fields": {"nosuch": 1}},
    ),
    Case("command_unknown", "command", "ended with status 1", lambda project: None, {"name": "command", "argv": ["x"]}),
    Case(
        "command_fails",
        "command",
        "manage.py loaddata ended with status 1",
        lambda project: None,
        {"name": "command", "argv": ["loaddata", "nosuch"]},
    ),
    Case(
        "command_with_settings",
        "request",
        "comes too late",
        lambda project: None,
        {"name": "command", "argv": ["check", "--settings=x"]},
    ),
    Case("unknown_step", "request", "no step 'nosuch'", lambda project: None, {"name": "nosuch"}, "migrate"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_error_names_the_cause(project: Any, case: Case) -> None:
    case.prepare(project)
    with pytest.raises(StepError) as caught:
        project.run(case.step)
    error = caught.value
    assert re.search(case.message, error.message), error.message
    assert "\n" not in error.message
    assert re.search(case.hint, error.hint), error.hint
    assert (error.kind, error.step) == (case.kind, case.at or case.step["name"])
    assert "very-secret" not in repr(vars(error))


RELEASE = {"DJDEPLOY_RELEASE": "20260301T120000-abcdef0", "HOME": "/srv/shop/shared"}


@pytest.mark.parametrize(
    ("error", "environ", "hint"),
    [
        (PermissionError(13, "Permission denied", "/nosuch/data"), RELEASE, "read-only: .* below /srv/shop/shared"),
        (OSError(30, "Read-only file system", "/nosuch/data"), RELEASE, "read-only: .* below /srv/shop/shared"),
        (PermissionError(1, "Operation not permitted", "/nosuch/data"), {}, "write /nosuch/data, or name another path"),
        (FileNotFoundError(2, "No such file or directory", "/nosuch/data"), RELEASE, "^$"),
        (PermissionError(13, "Permission denied"), RELEASE, "^$"),
        (PermissionError(13, "Permission denied", 7), RELEASE, "^$"),
        (ValueError("nosuch"), RELEASE, "^$"),
        (None, RELEASE, "^$"),
    ],
)
def test_what_the_kernel_does_not_permit(error: BaseException | None, environ: dict[str, str], hint: str) -> None:
    assert re.search(hint, not_permitted(error, environ))


def test_error_keeps_the_results_before_it(project: Any) -> None:
    with pytest.raises(StepError) as caught:
        project.run({"name": "migrate"}, {"name": "command", "argv": ["loaddata", "nosuch"]}, {"name": "describe"})
    assert [result.name for result in caught.value.done] == ["migrate"]
    assert "nosuch" in caught.value.stderr and caught.value.facts["rc"] == 1


def test_failed_migration_tells_what_was_applied(project: Any) -> None:
    migration("0003_fail", "operations = [migrations.RunPython(fail)]", "0002_price")(project)
    with pytest.raises(StepError) as caught:
        project.run({"name": "migrate", "app": "shop"})
    assert caught.value.facts["applied"] == ["shop.0001_initial", "shop.0002_price"]
    assert "0003_fail.py" in caught.value.detail
