# SPDX-License-Identifier: GPL-3.0-or-later
"""Each step of the agent against a real project: what it predicts is what it does, and then nothing is left to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

Prepare = Callable[[Any], None]


@dataclass(frozen=True)
class Case:
    id: str
    step: dict[str, Any]
    before: Any
    after: Any
    new: str = ""  # what the second side of the diff must hold
    prepare: Prepare = lambda project: None
    facts: dict[str, Any] = field(default_factory=dict)  # of the real run


def migrated(project: Any) -> None:
    project.run({"name": "migrate"})


def collected(project: Any) -> None:
    project.run({"name": "collectstatic"})


def with_old_css(project: Any) -> None:
    collected(project)
    os.utime(project.root / "collected/shop/site.css", (0, 0))


def without_admin(project: Any) -> None:
    project.settings('INSTALLED_APPS = ["django.contrib.staticfiles", "shop"]')


def with_manifest(project: Any) -> None:
    without_admin(project)
    backend = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    project.settings(f'STORAGES = {{"staticfiles": {{"BACKEND": "{backend}"}}}}')


def with_stale_static(project: Any) -> None:
    without_admin(project)
    project.write("collected/old/gone.css", "")


def with_user(project: Any) -> None:
    migrated(project)
    lines = (
        'from django.contrib.auth.models import User; User.objects.create_user("ann", "old@example.com", "old-secret")'
    )
    project.run({"name": "command", "argv": ["shell", "-c", lines]})


def with_own_user_model(project: Any) -> None:
    project.write("people/__init__.py", "")
    project.write("people/migrations/__init__.py", "")
    project.write(
        "people/models.py",
        """
from django.contrib.auth.models import AbstractUser
from django.db import models

class Person(AbstractUser):
    username = None
    email = models.EmailField(unique=True)
    born = models.DateField()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["born"]

    class People(models.Manager):
        def create_superuser(self, email, password=None, **fields):
            person = self.model(email=email, **fields)
            person.set_password(password)
            person.save(using=self._db)
            return person

    objects = People()
""",
    )
    project.settings('INSTALLED_APPS += ["people"]\nAUTH_USER_MODEL = "people.Person"')
    project.run({"name": "command", "argv": ["makemigrations", "people"]})
    migrated(project)


def with_data(project: Any) -> None:
    project.write("uploads/a/one.txt", "1")
    project.write("uploads/two.txt", "2")
    project.write("start.sqlite3", "not a database")
    (project.root / "shared/media").mkdir(parents=True)


def with_relocated_data(project: Any) -> None:
    with_data(project)
    project.settings('DJDEPLOY_RELOCATED = [("uploads", "shared/media"), ("none", "shared/none")]')


ADMIN = {"is_staff": True, "is_superuser": True, "is_active": True}

CASES = [
    Case(
        "migrate_everything",
        {"name": "migrate"},
        [],
        20,
        "shop.0002_price\n    Add field price to product\n",
        facts={"database": "default"},
    ),
    Case(
        "migrate_one_app",
        {"name": "migrate", "app": "shop"},
        [],
        ["shop.0001_initial", "shop.0002_price"],
        "shop.0001_initial\n    Create model Product\n",
        facts={
            "pending": ["shop.0001_initial", "shop.0002_price"],
            "applied": ["shop.0001_initial", "shop.0002_price"],
        },
    ),
    Case(
        "migrate_to_a_target",
        {"name": "migrate", "app": "shop", "target": "0001"},
        [],
        ["shop.0001_initial"],
        facts={"applied": ["shop.0001_initial"]},
    ),
    Case(
        "migrate_backwards",
        {"name": "migrate", "app": "shop", "target": "0001"},
        ["shop.0002_price"],
        [],
        prepare=migrated,
        facts={"applied": ["shop.0002_price"]},
    ),
    Case(
        "migrate_to_zero",
        {"name": "migrate", "app": "shop", "target": "zero"},
        ["shop.0001_initial", "shop.0002_price"],
        [],
        prepare=migrated,
    ),
    Case("migrate_fake", {"name": "migrate", "app": "shop", "fake": True}, [], 2),
    Case(
        "collectstatic_into_nothing",
        {"name": "collectstatic"},
        {"current": 0, "outdated": 2, "surplus": 0},
        {"current": 2, "outdated": 0, "surplus": 0},
        "shop/site.css\nshop/site.js\n",
        without_admin,
        {"copied": 2, "unmodified": 0, "deleted": 0, "post_processed": 0},
    ),
    Case(
        "collectstatic_one_changed",
        {"name": "collectstatic", "ignore": ["admin"]},
        {"current": 1, "outdated": 1, "surplus": 0},
        {"current": 2, "outdated": 0, "surplus": 0},
        "shop/site.css\n",
        with_old_css,
        {"copied": 1, "unmodified": 1},
    ),
    Case(
        "collectstatic_with_a_manifest",
        {"name": "collectstatic"},
        {"current": 0, "outdated": 2, "surplus": 0},
        {"current": 2, "outdated": 0, "surplus": 0},
        prepare=with_manifest,
        facts={"copied": 2, "post_processed": 2},
    ),
    Case(
        "superuser_before_and_after_migrate",
        {"name": "superuser", "username": "ann", "email": "Ann@EXAMPLE.com", "password": "new-secret"},
        None,
        {"username": "ann", "email": "Ann@example.com", **ADMIN},
        "email: Ann@example.com\n",
        migrated,
        {"created": True, "password_changed": True},
    ),
    Case(
        "superuser_made_of_a_user",
        {"name": "superuser", "username": "ann", "password": "new-secret"},
        {"username": "ann", "is_staff": False, "is_superuser": False, "is_active": True},
        {"username": "ann", **ADMIN},
        "is_staff: True\n",
        with_user,
        {"created": False, "password_changed": False},
    ),
    Case(
        "superuser_new_password",
        {"name": "superuser", "username": "ann", "password": "new-secret", "update_password": "always"},
        {"username": "ann", "is_staff": False, "is_superuser": False, "is_active": True},
        {"username": "ann", **ADMIN},
        "password: (the given one)\n",
        with_user,
        {"created": False, "password_changed": True},
    ),
    Case(
        "superuser_of_another_model",
        {
            "name": "superuser",
            "username": "ann@EXAMPLE.com",
            "password": "new-secret",
            "fields": {"born": "1990-01-31"},
        },
        None,
        {"born": "1990-01-31", "email": "ann@example.com", **ADMIN},
        prepare=with_own_user_model,
        facts={"created": True},
    ),
    Case(
        "seed",
        {"name": "seed", "files": [["uploads", "shared/media"], ["start.sqlite3", "shared/db.sqlite3"]]},
        {"missing": 2},
        {"missing": 0},
        "shared/media\nshared/db.sqlite3\n",
        with_data,
        {"seeded": ["shared/media", "shared/db.sqlite3"], "kept": [], "absent": []},
    ),
    Case(
        "seed_what_the_settings_relocate",
        {"name": "seed"},
        {"missing": 1},
        {"missing": 0},
        prepare=with_relocated_data,
        facts={"seeded": ["shared/media"], "absent": ["none"]},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_prediction_run_and_rerun(project: Any, case: Case) -> None:
    case.prepare(project)
    untouched = project.contents()

    (predicted,) = project.run(case.step, check=True)
    assert project.contents() == untouched, "check mode changed a file"
    (done,) = project.run(case.step)
    (again,) = project.run(case.step)

    assert done.changed and done.before == case.before
    assert len(done.after) == case.after if isinstance(case.after, int) else done.after == case.after
    assert case.new in done.diff["after"]
    assert {name: done.facts[name] for name in case.facts} == case.facts
    assert (predicted.changed, predicted.before, predicted.after) == (done.changed, done.before, done.after)
    assert predicted.diff == done.diff
    assert not again.changed and again.diff["before"] == again.diff["after"]


def test_describe_asks_the_project(project: Any) -> None:
    project.settings('ALLOWED_HOSTS = ["shop.example.com"]\nDATABASES["default"]["PASSWORD"] = "very-secret"')
    (result,) = project.run({"name": "describe"})
    facts = result.facts
    assert not result.changed
    assert facts["settings"] == "mysite.settings"
    assert facts["wsgi_application"] == "mysite.wsgi.application"
    assert facts["allowed_hosts"] == ["shop.example.com"]
    assert facts["static_url"] == "/static/" and facts["static_root"].endswith("/project/collected")
    assert facts["media_url"] is None and facts["media_root"] is None
    assert facts["static_storage"] == "django.contrib.staticfiles.storage.StaticFilesStorage"
    assert facts["databases"]["default"]["engine"] == "django.db.backends.sqlite3"
    assert set(facts["databases"]["default"]) == {"engine", "name", "host", "port"}
    assert facts["migrations"]["shop"] == ["0002_price"]
    assert facts["debug"] is True and facts["installed_apps"] == 7


def test_check_returns_warnings_and_goes_on(project: Any) -> None:
    (plain, deploy) = project.run({"name": "check"}, {"name": "check", "deploy": True, "tags": ["security"]})
    assert plain.facts["messages"] == []
    assert "security.W018" in [message["id"] for message in deploy.facts["messages"]]
    assert deploy.facts["counts"]["WARNING"] == len(deploy.facts["messages"])


@pytest.mark.parametrize(
    ("path", "interface"),
    [
        ("mysite.wsgi:application", "wsgi"),
        ("mysite.wsgi", "wsgi"),
        ("mysite.asgi:application", "asgi"),
        ("mysite.factory:create('x', debug=False)", "wsgi"),
    ],
)
def test_application_is_found_as_gunicorn_finds_it(project: Any, path: str, interface: str) -> None:
    project.write("mysite/factory.py", "def create(name, debug):\n    return lambda environ, start: [name.encode()]\n")
    (result,) = project.run({"name": "application", "path": path})
    assert result.facts["interface"] == interface


def test_migrate_plan_only_changes_nothing(project: Any) -> None:
    (plan,) = project.run({"name": "migrate", "plan_only": True})
    (real,) = project.run({"name": "migrate"})
    assert plan.changed and plan.facts["applied"] == []
    assert plan.facts["pending"] == real.facts["applied"]


def test_check_mode_does_not_create_an_sqlite_file(project: Any) -> None:
    project.run({"name": "migrate"}, {"name": "superuser", "username": "ann", "password": "new-secret"}, check=True)
    assert not (project.root / "db.sqlite3").exists()


def test_collectstatic_clear_counts_what_it_deletes(project: Any) -> None:
    with_stale_static(project)
    step = {"name": "collectstatic", "clear": True}
    (predicted,) = project.run(step, check=True)
    assert (project.root / "collected/old/gone.css").exists()
    (done,) = project.run(step)
    (again,) = project.run(step)
    assert (done.facts["copied"], done.facts["deleted"], done.diff["before"]) == (2, 1, "old/gone.css\n")
    assert (predicted.facts["copied"], predicted.facts["deleted"]) == (2, 1)
    assert again.changed and (again.facts["copied"], again.facts["deleted"]) == (2, 2)


def test_projects_that_lack_what_a_step_is_about(project: Any) -> None:
    project.settings('INSTALLED_APPS = ["shop"]\nDATABASES = {}')
    static, migrate = project.run({"name": "collectstatic"}, {"name": "migrate"})
    assert not static.changed and "INSTALLED_APPS" in static.facts["reason"]
    assert not migrate.changed and "no database" in migrate.facts["reason"]


def test_superuser_keeps_a_known_password(project: Any) -> None:
    migrated(project)
    step = {"name": "superuser", "username": "ann", "password": "new-secret", "update_password": "always"}
    first, second = project.run(step, step)
    (third,) = project.run({**step, "password": "another-secret"})
    assert [first.changed, second.changed, third.changed] == [True, False, True]
    assert third.before == third.after and third.diff["before"] != third.diff["after"]


def test_seed_never_touches_what_is_there(project: Any) -> None:
    with_data(project)
    project.write("shared/media/mine.txt", "mine")
    project.write("shared/db.sqlite3", "mine")
    step = {"name": "seed", "files": [["uploads", "shared/media"], ["start.sqlite3", "shared/db.sqlite3"]]}
    (result,) = project.run(step)
    assert not result.changed and result.facts["kept"] == ["shared/media", "shared/db.sqlite3"]
    assert (project.root / "shared/db.sqlite3").read_text() == "mine"
    assert sorted(path.name for path in (project.root / "shared/media").iterdir()) == ["mine.txt"]


def test_command_has_the_words_and_status_of_manage_py(project: Any) -> None:
    project.write("shop/management/__init__.py", "")
    project.write("shop/management/commands/__init__.py", "")
    project.write(
        "shop/management/commands/speak.py",
        """
import logging, os, sys
from django.core.management.base import BaseCommand

class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("words", nargs="*")
        parser.add_argument("--loud", action="store_true")

    def handle(self, *args, words, loud, **options):
        self.stdout.write(" ".join(words).upper() if loud else " ".join(words))
        print("printed")
        logging.getLogger("shop").warning("logged")
        os.write(1, b'{"event": "not one of ours"}\\n')
        print(sys.argv, input_is_closed())

def input_is_closed():
    return sys.stdin.read() == ""
""",
    )
    (result,) = project.run({"name": "command", "argv": ["speak", "a b", "--loud"]})
    assert result.stdout == "A B\nprinted\n['manage.py', 'speak', 'a b', '--loud'] True\n"
    assert result.stderr == "logged\n"
    assert result.changed and result.facts["rc"] == 0


def test_command_in_check_mode_runs_only_what_reads(project: Any) -> None:
    writing, reading = project.run(
        {"name": "command", "argv": ["migrate"]},
        {"name": "command", "argv": ["diffsettings"], "read_only": True},
        check=True,
    )
    assert writing.changed and writing.facts["rc"] is None
    assert not reading.changed and "mysite.urls" in reading.stdout
    assert not (project.root / "db.sqlite3").exists()
