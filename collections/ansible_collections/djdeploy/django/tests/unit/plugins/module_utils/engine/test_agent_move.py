# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying all rows of an SQLite file into another database: here a second file, in molecule/single PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import agent_move
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import (
    StepError,
    StepResult,
    Target,
    run_steps,
)

PYTHON = os.environ.get("DJDEPLOY_TEST_PYTHON", sys.executable)
MODELS = """
import uuid
from django.db import models

class Tag(models.Model):
    word = models.CharField(primary_key=True, max_length=20)
    near = models.ManyToManyField("self")

class Book(models.Model):
    title = models.CharField(max_length=20)
    sequel = models.ForeignKey("self", models.SET_NULL, null=True)
    tags = models.ManyToManyField(Tag)
    facts = models.JSONField(null=True)
    price = models.DecimalField(max_digits=6, decimal_places=2, null=True)
    pages = models.IntegerField(default=0)
    at = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    changed = models.DateTimeField(auto_now=True)
    cover = models.BinaryField(null=True)
    token = models.UUIDField(default=uuid.uuid4)

class Special(Book):
    note = models.CharField(max_length=20, default="")

class Hidden(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(shown=True)

class Veiled(models.Model):
    shown = models.BooleanField(default=False)
    objects = Hidden()

    class Meta:
        base_manager_name = "objects"

    def save(self, *args, **kwargs):
        raise RuntimeError("never called")

class Elsewhere(models.Model):
    class Meta:
        managed = False
        db_table = "elsewhere"
"""
FILL = """
import datetime
from library.models import *
from django.contrib.auth.models import User
red, blue = Tag.objects.create(word="röd 🎉"), Tag.objects.create(word="blue")
red.near.add(blue)
facts = {"b": [1.5, None], "a": "ü"}
first = Book.objects.create(title="日本語", facts=facts, price="1.50", pages=-7, cover=b"\\0\\xff")
Book.objects.create(title="", sequel=first, at=datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.timezone.utc))
Book.objects.filter(pk=first.pk).update(sequel_id=2, day=datetime.date(1, 1, 1))
first.tags.add(red, blue)
Special.objects.create(title="child", note="n")
Book.objects.create(title="gone", id=90).delete()
Veiled.objects.bulk_create(Veiled(shown=n % 2) for n in range(4))
User.objects.create_user("ann", password="secret")
"""
SETTINGS = """
import os
DATABASES["default"]["NAME"] = BASE_DIR / os.environ.get("TEST_FILE", "db.sqlite3")
INSTALLED_APPS += ["library"]
USE_TZ = True
"""


@pytest.fixture(scope="module")
def made(startproject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with rows in its file."""
    root = Path(shutil.copytree(startproject, tmp_path_factory.mktemp("made") / "project"))
    (root / "library/migrations").mkdir(parents=True)
    for name in ("library/__init__.py", "library/migrations/__init__.py"):
        (root / name).touch()
    (root / "library/models.py").write_text(MODELS)
    with (root / "mysite/settings.py").open("a") as settings:
        settings.write(SETTINGS)
    steps = [{"name": "command", "argv": ["makemigrations", "library"]}, {"name": "migrate"}]
    run_steps(Target.for_project(root, PYTHON), [*steps, {"name": "shell", "code": FILL}])
    sql(root / "db.sqlite3", "UPDATE library_book SET facts = 'null' WHERE id = 2")
    return root


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "project"))


def sql(file: Path, statement: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(file)
    try:
        found = connection.execute(statement, values).fetchall()
        connection.commit()
    finally:
        connection.close()
    return found


def step(project: Path, name: str, **more: Any) -> StepResult:
    """One step with a second file as the target, which is migrated first."""
    target = Target.for_project(project, PYTHON, env={"TEST_FILE": "target.sqlite3"})
    source = {"file": str(project / "db.sqlite3"), "engine": "django.db.backends.sqlite3"}
    return run_steps(target, [{"name": "migrate"}, {"name": name, "source": source, **more}])[-1]


def dumped(project: Path, file: str) -> Any:
    (done,) = run_steps(
        Target.for_project(project, PYTHON, env={"TEST_FILE": file}),
        [{"name": "command", "argv": ["dumpdata", "--all", "--exclude", "sessions", "--exclude", "library.elsewhere"]}],
    )
    return json.loads(done.stdout)


def test_copy_is_the_same_row_for_row(project: Path) -> None:
    checked = step(project, "move_check")
    done = step(project, "move_copy")
    assert done.facts["rows"] == checked.facts["rows"] > 20
    assert dumped(project, "target.sqlite3") == dumped(project, "db.sqlite3")
    for column in ("changed", "facts", "token"):
        query = f"SELECT id, {column} FROM library_book ORDER BY id"
        assert sql(project / "target.sqlite3", query) == sql(project / "db.sqlite3", query), "nothing was made anew"
    assert sql(project / "target.sqlite3", "SELECT count(*) FROM library_veiled") == [(4,)], "no manager hides a row"
    assert "library.Book: 3 rows" in done.stdout


def test_copy_takes_the_place_of_what_migrations_filled(project: Path) -> None:
    """A second attempt after one that was cut off finds a full target, and gives the same."""
    sql(project / "db.sqlite3", "UPDATE django_content_type SET id = id + 100 WHERE model = 'tag'")
    sql(
        project / "db.sqlite3",
        "UPDATE auth_permission SET content_type_id = content_type_id + 100 WHERE codename LIKE '%_tag'",
    )
    step(project, "move_copy")
    step(project, "move_copy")
    assert dumped(project, "target.sqlite3") == dumped(project, "db.sqlite3")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE library_book SET price = 'much' WHERE id = 1", "library.Book 1: price cannot be read"),
        ("UPDATE library_book SET price = 123456 WHERE id = 1", "library.Book 1: price"),
        ("UPDATE library_book SET pages = 1.5 WHERE id = 2", "library.Book 2: pages is no whole number"),
        ("UPDATE library_book SET pages = 'many' WHERE id = 2", "library.Book 2: pages cannot be written"),
        ("UPDATE library_book SET day = 'yesterday' WHERE id = 2", "library.Book 2: day is no date or time"),
        ("UPDATE library_book SET title = printf('%.*c', 21, 'x') WHERE id = 3", "title has 21 characters, and 20 fit"),
        ("UPDATE library_book SET token = 'x' WHERE id = 3", "library.Book 3: token cannot be read"),
        ("UPDATE library_special SET book_ptr_id = 77", "refers to one that is not there"),
        ("DELETE FROM django_migrations WHERE app = 'library'", "lacks migrations of the live code: library.0001"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_named(project: Path, statement: str, said: str) -> None:
    sql(project / "db.sqlite3", statement)
    with pytest.raises(StepError) as caught:
        step(project, "move_check")
    assert said in caught.value.message
    assert sql(project / "target.sqlite3", "SELECT count(*) FROM library_book") == [(0,)]


def test_target_that_holds_rows_is_refused(project: Path) -> None:
    step(project, "move_copy")
    with pytest.raises(StepError, match=r"holds .* rows already") as caught:
        step(project, "move_check")
    assert "library_book 3" in caught.value.message
    assert step(project, "move_check", may_clear=True).facts["rows"]


def test_what_stays_in_the_file_is_told(project: Path) -> None:
    sql(project / "db.sqlite3", "CREATE TABLE elsewhere (id integer primary key)")
    sql(project / "db.sqlite3", "CREATE TABLE old_app (id integer primary key)")
    sql(project / "db.sqlite3", "INSERT INTO old_app VALUES (1)")
    assert step(project, "move_check").facts["told"] == [
        "library.Elsewhere is not managed by Django: the table elsewhere is not copied",
        "old_app belongs to no model: its 1 rows stay in the file",
    ]


def test_failure_leaves_the_target_as_it_was(project: Path) -> None:
    step(project, "rows")
    sql(
        project / "target.sqlite3",
        "CREATE TRIGGER t AFTER INSERT ON library_book BEGIN UPDATE library_book SET pages = 8; END",
    )
    before = dumped(project, "target.sqlite3")
    with pytest.raises(StepError, match=r"library.Book: what the target holds is not what was copied"):
        step(project, "move_copy")
    assert dumped(project, "target.sqlite3") == before


def test_rows_counts_what_is_of_worth(project: Path) -> None:
    assert step(project, "rows").facts == {"rows": {}, "total": 0}
    (found,) = run_steps(Target.for_project(project, PYTHON), [{"name": "rows"}])
    assert found.facts["rows"]["library_book"] == 3 and "django_migrations" not in found.facts["rows"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True),
        (1e300, 10**300, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": "1"}, False),
        ([], {}, False),
        (None, "None", False),
        ([1, 2], [2, 1], False),
    ],
)
def test_plain_json(one: Any, other: Any, same: bool) -> None:
    assert (repr(agent_move.plain_json(one)) == repr(agent_move.plain_json(other))) == same
