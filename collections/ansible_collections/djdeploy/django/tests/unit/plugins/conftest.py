# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Django projects for the tests of the steps, as `django-admin startproject` makes them."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import runner
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import (
    StepError,
    StepResult,
    Target,
    run_steps,
)

from .programs import MADE, PYTHON, forked, made_once

FULL = os.environ.get("DJDEPLOY_FULL") == "1"

SHOP = {
    "shop/__init__.py": "",
    "shop/models.py": """
from django.db import models

class Product(models.Model):
    name = models.CharField(max_length=50)
    price = models.IntegerField(default=0)
""",
    "shop/migrations/__init__.py": "",
    "shop/migrations/0001_initial.py": """
from django.db import migrations, models

class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Product", [
            ("id", models.BigAutoField(primary_key=True, auto_created=True, serialize=False, verbose_name="ID")),
            ("name", models.CharField(max_length=50)),
        ]),
    ]
""",
    "shop/migrations/0002_price.py": """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [migrations.AddField("product", "price", models.IntegerField(default=0))]
""",
    "shop/static/shop/site.css": "body { color: black }\n",
    "shop/static/shop/site.js": "let shop;\n",
}
SETTINGS = """
INSTALLED_APPS += ["shop"]
STATIC_ROOT = BASE_DIR / "collected"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""


@dataclass
class Project:
    """A project in a directory of its own, with an app `shop` that has two migrations and two static files.

    :param fresh: whether the agent, or the module of a test, is started as on a host, as a new process: a test says so
        by `@pytest.mark.fresh_process`. Else it is forked from a process that has imported Django.
    """

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    fresh: bool = False

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def append(self, path: str, text: str) -> None:
        self.write(path, (self.root / path).read_text() + text)

    def settings(self, text: str) -> None:
        self.append("mysite/settings.py", f"\n{text}\n")

    def target(self) -> Target:
        return Target.for_project(self.root, PYTHON, env=self.env)

    def run(self, *steps: dict[str, Any], **options: Any) -> list[StepResult]:
        return run_steps(self.target(), steps, run=runner.run if self.fresh else forked, **options)

    def proven(self, step: dict[str, Any], *, changed: bool = True, settled: bool = True) -> StepResult:
        """Predict, run, run again; the run's result.

        :param changed: whether the first run is to change something.
        :param settled: whether the second run finds nothing left to do.
        """
        untouched = self.contents()
        (predicted,) = self.run(step, check=True)
        assert self.contents() == untouched, "check mode changed a file"
        done, again = self.run(step, step)
        assert (predicted.changed, predicted.before, predicted.after) == (done.changed, done.before, done.after)
        assert (predicted.diff, predicted.facts) == (done.diff, done.facts)
        assert done.changed == changed
        assert again.changed != settled
        if not again.changed:
            assert again.diff["before"] == again.diff["after"] and not again.facts.get("created")
        return done

    def refused(self, step: dict[str, Any]) -> StepError:
        """What the step is refused with, in check mode as without; and nothing is changed."""
        untouched, errors = self.contents(), []
        for check in (True, False):
            with pytest.raises(StepError) as caught:
                self.run(step, check=check)
            errors.append(caught.value)
            assert self.contents() == untouched
        predicted, error = errors
        assert (predicted.kind, predicted.message, predicted.hint) == (error.kind, error.message, error.hint)
        assert "\n" not in error.message and "Error:" not in error.message
        return error

    def rows(self, query: str, file: str = "db.sqlite3") -> list[tuple[Any, ...]]:
        """What a query answers, asked of the SQLite file itself."""
        with contextlib.closing(sqlite3.connect(self.root / file)) as database:
            return database.execute(query).fetchall()

    def contents(self) -> dict[str, str]:
        """Every file with a digest of what it holds; what Python caches does not count."""
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fresh_process: the agent is started as a new process, as on a host")
    config.addinivalue_line("markers", "full: only in script/test --full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What belongs to the full run only is left out of the others."""
    if not FULL:
        left_out = [item for item in items if item.get_closest_marker("full")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """What is there by now stays where it is: else each fork's garbage collector would copy it by looking at it."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    shutil.rmtree(MADE, ignore_errors=True)


@pytest.fixture(scope="session")
def startproject() -> Path:
    def make(root: Path) -> None:
        subprocess.run([PYTHON, "-m", "django", "startproject", "mysite", root], check=True)
        project = Project(root)
        for path, text in SHOP.items():
            project.write(path, text)
        project.settings(SETTINGS)

    return made_once("startproject", make)


@pytest.fixture
def project(startproject: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    root = Path(shutil.copytree(startproject, tmp_path / "project"))
    return Project(root, fresh=request.node.get_closest_marker("fresh_process") is not None)
