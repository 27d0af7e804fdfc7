# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of the manage.py modules, run on a real project: predicted, done, and done again."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.djdeploy.django.plugins.module_utils.family.every import FAMILY
from ansible_collections.djdeploy.django.plugins.module_utils.manage import TARGET_OPTIONS

from ..conftest import Project
from ..programs import COLLECTION, made_once
from .test_manage_modules import perform

# Which project it is, the test says; the rest is as it is printed.
ELSEWHERE = {*TARGET_OPTIONS} - {"timeout"}
HERE = {
    "{{ vault_shop_admin_password }}": "a-long-secret",
    "{{ vault_shop_card_key }}": "another-secret",
    "0007": "0001",
    "/srv/shop/shared/catalog.json": "catalog.json",
    "/srv/legacy/data.json": "data.json",
}
# May be changed by every run, or is not run to predict.
AS_OFTEN_AS_ASKED = {"command", "shell", "manage"}

# The world the examples speak of.
SETTINGS = """
INSTALLED_APPS += ["django.contrib.sites", "people", "catalog"]
AUTH_USER_MODEL = "people.Person"
SITE_ID = 1
DATABASES["archive"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "archive.sqlite3"}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cached"}}
DEBUG = False
ALLOWED_HOSTS = ["shop.example.com"]
SECRET_KEY = "abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijklmnopqrstuvwxyz"
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = 31536000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
"""
FILES = {
    "people/__init__.py": "",
    "people/migrations/__init__.py": "",
    "people/models.py": """
from django.contrib.auth.models import AbstractUser
from django.db import models

class Person(AbstractUser):
    date_of_birth = models.DateField(null=True)
""",
    "catalog/__init__.py": "",
    "catalog/migrations/__init__.py": "",
    "catalog/models.py": """
from django.db import models

class Shelf(models.Model):
    name = models.CharField(max_length=50)
""",
    "shop/fixtures/countries.json": '[{"model": "shop.product", "pk": 49, "fields": {"name": "Tea"}}]',
    "shop/fixtures/currencies.json": "[]",
    "shop/management/commands/import_prices.py": """
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--noinput", action="store_true")

    def handle(self, **options):
        print("3 new")
""",
}
MODELS = """
class Order(models.Model):
    state = models.CharField(max_length=20)

class Gateway(models.Model):
    name = models.CharField(max_length=20)
    key = models.CharField(max_length=50)
"""
CARD = """\
from django.contrib.auth.models import Group
from shop.models import Gateway
Gateway.objects.create(name='card', key='old')
Group.objects.create(name='editors')
"""


@pytest.fixture(scope="session")
def world(startproject: Path) -> Path:
    def make(root: Path) -> None:
        shutil.copytree(startproject, root, dirs_exist_ok=True)
        project = Project(root)
        for path, text in FILES.items():
            project.write(path, text)
        project.append("shop/models.py", MODELS)
        project.settings(SETTINGS)
        project.run(
            {"name": "command", "argv": ["makemigrations", "people", "catalog", "shop"]},
            {"name": "migrate"},
            {"name": "migrate", "database": "archive", "app": "catalog", "target": "zero"},
            {"name": "command", "argv": ["shell", "-c", CARD]},
        )

    return made_once("world", make)


def examples() -> list[Any]:
    found = []
    for name in (*FAMILY, "manage"):
        text = importlib.import_module(f"{COLLECTION}.plugins.modules.{name}").EXAMPLES
        for task in yaml.safe_load(text):
            if f"djdeploy.django.{name}" in task:  # beside them stand those that use a result
                found += [pytest.param(name, task, id=f"{name}: {task['name']}")]
    return found


def at_home(value: Any) -> Any:
    """The value of an option, with what the world has in place of a vault and of a name."""
    if isinstance(value, dict):
        return {key: at_home(item) for key, item in value.items()}
    if isinstance(value, list):
        return [at_home(item) for item in value]
    return HERE.get(value, value) if isinstance(value, str) else value


@pytest.mark.parametrize(("name", "task"), examples())
def test_example_does_what_it_says(world: Path, tmp_path: Path, name: str, task: dict[str, Any]) -> None:
    project = Project(Path(shutil.copytree(world, tmp_path / "project")))
    options = task[f"djdeploy.django.{name}"] or {}
    assert "site" in options or "project_path" in options
    own = {key: at_home(value) for key, value in options.items() if key not in ELSEWHERE}
    predicted = perform(project, {"module": name, "args": own, "check": True, "diff": True})
    done = perform(project, {"module": name, "args": own, "diff": True})
    assert "failed" not in predicted, predicted["msg"]
    assert "failed" not in done, done["msg"]
    if name not in AS_OFTEN_AS_ASKED:
        assert {key: done[key] for key in ("changed", "before", "after", "diff")} == {
            key: predicted[key] for key in ("changed", "before", "after", "diff")
        }
        assert not perform(project, {"module": name, "args": own})["changed"] or own.get("clear")
