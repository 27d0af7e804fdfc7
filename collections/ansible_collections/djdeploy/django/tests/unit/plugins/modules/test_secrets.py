# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a project does with a secret: nothing a module says holds it, in any form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ..programs import run_module

PLAIN = "hunter2-hunter2"
ODD = 'it\'s "quoted" \\ ünd\nhas a second line'  # what repr, JSON and tracebacks write in another way
FILES = {
    "shop/management/__init__.py": "",
    "shop/management/commands/__init__.py": "",
    # Says the value of a variable or a setting in many ways, and how it is called.
    "shop/management/commands/leak.py": """
import json, logging, os, subprocess, sys, time, warnings
from django.conf import settings
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("how")
        parser.add_argument("where")

    def handle(self, *args, how, where, **options):
        value = os.environ.get(where) or settings
        for part in where.split(".") if value is settings else ():
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        getattr(self, how)(value)

    def say(self, value):
        print(value, repr(value), json.dumps(value), file=sys.stderr)
        self.stdout.write(value)
        logging.getLogger("shop").warning("it is %r", value)
        warnings.warn(value)

    def fail(self, value):
        raise ValueError(value)

    def miss(self, value):
        {}[value]

    def end(self, value):
        sys.exit(value)

    def die(self, value):
        self.say(value)
        os._exit(3)

    def hang(self, value):
        self.say(value)
        time.sleep(60)

    def child(self, value):
        subprocess.run(["sh", "-c", 'echo "$0"; echo "$0" >&2', value])
        os.kill(os.getpid(), 9)

    def data(self, value):
        print(json.dumps({"key": value, "list": [value]}))
""",
    "shop/loud.py": """
import os
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core.checks import Warning, register

class Hasher(MD5PasswordHasher):
    algorithm = "loud"

    def encode(self, password, salt):
        print("hashing", password)
        if os.environ.get("RAISE"):
            raise ValueError(password)
        return super().encode(password, salt)

class Storage(StaticFilesStorage):
    def save(self, name, content, max_length=None):
        raise OSError(os.environ["STORAGE_TOKEN"])

@register
def loud(app_configs, **options):
    value = os.environ.get("CHECKED_PASSWORD")
    return [Warning("it is " + value, hint=value, id="shop.W001")] if value else []
""",
}
MIGRATION = """
import os
from django.db import migrations

def loud(apps, schema_editor):
    value = os.environ["DB_PASSWORD"]
    print(value)
    if os.environ.get("RAISE"):
        raise ValueError(value)

class Migration(migrations.Migration):
    dependencies = [("shop", "0002_price")]
    operations = [
        migrations.RunSQL("SELECT '" + os.environ.get("DB_PASSWORD", "").replace("'", "''") + "'", ""),
        migrations.RunPython(loud),
    ]
"""

# What anybody may read of the process of the step and of the module's own. The words are put together here, since what
# is found would be hidden.
LOOKING = """
import os
lines = [open(f"/proc/{pid}/cmdline").read() for pid in (os.getpid(), os.getppid())]
result = [all(lines), [line for line in lines if "hunter" + "2" in line or "hunter" + "3" in line]]
"""


@dataclass(frozen=True)
class Case:
    """A task, and the secrets its output must not hold.

    :param said: what the output must hold, so that the case is known to come as far as it should.
    """

    id: str
    module: str
    args: dict[str, Any]
    secrets: tuple[str, ...] = (PLAIN,)
    said: str = "********"
    settings: str = ""
    env_file: str = ""
    files: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    diff: bool = False
    fresh: bool = False


def leak(how: str, where: str, **more: Any) -> dict[str, Any]:
    return {"argv": ["leak", how, where], **more}


def given(value: str = PLAIN, name: str = "DB_PASSWORD", **more: str) -> dict[str, Any]:
    return {"environment": {name: value, **more}}


CASES = [
    *(
        Case(f"variable_{how}", "command", leak(how, "DB_PASSWORD", **given(secret)), (secret,))
        for how, secret in {"say": ODD, "fail": ODD, "miss": ODD, "end": PLAIN, "die": ODD, "child": PLAIN}.items()
    ),
    Case("variable_hang", "command", leak("hang", "DB_PASSWORD", timeout=4, **given()), said="did not end within 4 s"),
    Case("variable_data", "command", leak("data", "DB_PASSWORD", parse="json", **given(ODD)), (ODD,)),
    Case("variable_in_small_letters", "command", leak("fail", "mail_pwd", **given(name="mail_pwd"))),
    Case(
        "address_with_a_password",
        "command",
        leak("say", "CACHE_URL", **given("redis://shop:hunter2%2Dhunter2@localhost/0", "CACHE_URL")),
        (PLAIN, "hunter2%2Dhunter2"),
    ),
    Case(
        "address_that_is_a_key",
        "command",
        leak("fail", "REPORTS", **given("https://0123456789abcdef0123@reports.example.com/1", "REPORTS")),
        ("0123456789abcdef0123",),
    ),
    Case("file_of_variables", "command", leak("die", "DB_PASSWORD"), env_file=f'DB_PASSWORD="{PLAIN}"\nDEBUG=1\n'),
    Case(
        "file_of_variables_and_a_result",
        "shell",
        {"code": "import os; result = {os.environ['DB_PASSWORD']: [os.environ['DB_PASSWORD']]}"},
        env_file=f"DB_PASSWORD={PLAIN}\n",
    ),
    Case("setting", "command", leak("say", "EMAIL_HOST_PASSWORD"), settings=f"EMAIL_HOST_PASSWORD = {PLAIN!r}"),
    Case(
        "setting_within_settings",
        "command",
        leak("fail", "SERVICES.other.options.password"),
        settings=f"SERVICES = {{'other': {{'options': {{'password': {PLAIN!r}}}}}}}",
    ),
    Case("old_key", "command", leak("fail", "OLD"), settings=f"OLD, SECRET_KEY_FALLBACKS = {PLAIN!r}, [{PLAIN!r}]"),
    Case(
        "shell_says_it",
        "shell",
        {"code": "print(secrets['a']['b'], secrets); changed = False; result = secrets", "secrets": {"a": {"b": ODD}}},
        (ODD,),
    ),
    Case(
        "shell_raises_it",
        "shell",
        {"code": "raise ValueError(secrets)", "secrets": {"a": ODD, "pin": 4711, "b": [PLAIN]}},
        (ODD, PLAIN, "4711"),
    ),
    Case("shell_with_a_short_one", "shell", {"code": "print(secrets['a'] * 1)", "secrets": {"a": "7Qx"}}, ("7Qx",)),
    Case(
        "shell_dies",
        "shell",
        {"code": "import os; os.write(2, secrets['a'].encode()); os._exit(3)", "secrets": {"a": PLAIN}},
    ),
    Case(
        "migration_says_it",
        "migrate",
        {"app": "shop", **given(ODD)},
        (ODD,),
        files={"shop/migrations/0003_loud.py": MIGRATION},
        diff=True,
    ),
    Case(
        "migration_raises_it",
        "migrate",
        {"app": "shop", **given(ODD, RAISE="1")},
        (ODD,),
        files={"shop/migrations/0003_loud.py": MIGRATION},
    ),
    Case("check_says_it", "check", given(name="CHECKED_PASSWORD"), settings="import shop.loud"),
    Case(
        "storage_raises_it",
        "collectstatic",
        given(name="STORAGE_TOKEN"),
        settings="STORAGES = {'staticfiles': {'BACKEND': 'shop.loud.Storage'}}",
    ),
    *(
        Case(
            f"{module}_{'raises' if raising else 'says'}_it",
            module,
            {"username": "ann", "password": secret, "environment": {"RAISE": raising}},
            (secret,),
            settings="PASSWORD_HASHERS = ['shop.loud.Hasher']",
            before=("migrate",),
            diff=True,
        )
        for module, raising, secret in [("superuser", "1", ODD), ("superuser", "", PLAIN), ("user", "1", "7Qx&")]
    ),
    Case(
        "field_of_a_user_model",
        "superuser",
        {"username": "ann", "fields": {"last_name": "Lee", "api_token": PLAIN}},
        said="Lee",
        settings="AUTH_USER_MODEL = 'people.Person'; INSTALLED_APPS += ['people']",
        files={
            "people/__init__.py": "",
            "people/models.py": """
from django.contrib.auth.models import AbstractUser
from django.db import models

class Person(AbstractUser):
    api_token = models.CharField(max_length=50)
""",
        },
        before=("makemigrations people", "migrate"),
        diff=True,
    ),
    Case(
        "values_for_a_snippet",
        "manage",
        {
            "steps": [
                {"shell": {"code": "print(args); result = args", "args": {"n": "tea", "key": {"password": PLAIN}}}}
            ]
        },
        said="tea",
    ),
    Case("settings_say_it", "info", given(), settings="import os; raise ValueError(os.environ['DB_PASSWORD'])"),
    Case(
        "steps_say_it",
        "manage",
        {"steps": [{"shell": {"code": "print(secrets['a'])", "secrets": {"a": ODD}}}, {"command": leak("end", "K")}]}
        | given(name="K_TOKEN", K=PLAIN),
        (ODD,),
    ),
    Case(
        "steps_that_cannot_be_read",
        "manage",
        {
            "steps": [
                {"nothing": {"pasword": ODD, "token": PLAIN}},
                {"shell": {"code": "1", "secrets": {"a": "4711-4711"}}},
                {"superuser": {"username": "ann", "password": "s3cr3t-s3cr3t"}},
            ],
            "environment": {"DB_PASSWORD": "env-env-env"},
        },
        (PLAIN, "4711-4711", "s3cr3t-s3cr3t", "env-env-env"),
        said="step 1: nothing is not the name of one module",
    ),
    Case(
        "step_without_options",
        "manage",
        {"steps": [{"superuser": PLAIN}]},
        said="step 1, superuser: options are wanted, not str",
    ),
    Case(
        "who_lists_the_processes_of_the_host",
        "shell",
        {
            "code": LOOKING,
            "secrets": {"a": "hunter3-hunter3"},
            "read_only": True,
            **given(),
        },
        (PLAIN, "hunter3-hunter3"),
        said='"result": [true, []]',
        fresh=True,  # a fork has the command line of the process it is from
    ),
]


def forms(secret: str) -> set[str]:
    """A secret as it may stand in a text, also in the JSON a module prints."""
    lines = {secret, *(line for line in secret.splitlines() if "\n" in secret)}
    written = {form for line in lines for form in (line, repr(line)[1:-1], json.dumps(line)[1:-1])}
    return written | {json.dumps(form)[1:-1] for form in written}


def texts(value: Any) -> Iterator[str]:
    """Every text within a result, names included."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    else:
        yield str(value)


@pytest.mark.parametrize(
    "case", [pytest.param(each, id=each.id, marks=[pytest.mark.fresh_process] * each.fresh) for each in CASES]
)
def test_nothing_of_a_secret_comes_out(project: Any, case: Case) -> None:
    for path, text in {**FILES, **case.files}.items():
        project.write(path, text)
    project.settings(case.settings)
    args = {"project_path": str(project.root), "python": str(project.target().python), **case.args}
    if case.env_file:
        project.write("variables", case.env_file)
        args["env_file"] = str(project.root / "variables")
    for words in case.before:
        project.run({"name": "command", "argv": words.split()})
    result, output = run_module(case.module, {**args, "_ansible_diff": case.diff}, fresh=project.fresh)
    whole = [output, *texts(result)]
    found = [text for text in whole for secret in case.secrets for form in forms(secret) if form in text]
    assert not found, found[-1]
    assert case.said in output, output
