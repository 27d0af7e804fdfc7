# SPDX-License-Identifier: GPL-3.0-or-later
"""loaddata, dumpdata and flush: what is predicted is what is done, whatever a project does on the way."""

from __future__ import annotations

import bz2
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import (
    StepError,
    Target,
    run_steps,
)

from ...programs import PYTHON, forked

Step = dict[str, Any]
FLUSH: Step = {"name": "flush", "confirm": "default"}
MODELS = """
from django.db import models

class Tags(models.Manager):
    def get_by_natural_key(self, name):
        return self.get(name=name)

class Tag(models.Model):
    name = models.CharField(max_length=20, unique=True)
    objects = Tags()

    def natural_key(self):
        return (self.name,)

class Book(models.Model):
    title = models.CharField(max_length=20)
    sequel = models.ForeignKey("self", models.SET_NULL, null=True)
    tags = models.ManyToManyField(Tag)
    main = models.ForeignKey(Tag, models.CASCADE, null=True, related_name="+")
    api_key = models.CharField(max_length=20, default="")

class Special(Book):
    note = models.CharField(max_length=20, default="")

class Sale(models.Model):
    at = models.DateTimeField()
    price = models.DecimalField(max_digits=6, decimal_places=2)
    changed = models.DateTimeField(auto_now=True)

class Log(models.Model):
    text = models.CharField(max_length=50)
"""
APPS = """
from django.apps import AppConfig

class Library(AppConfig):
    name = "library"

    def ready(self):
        import handlers
"""
TWO = 'DATABASES["other"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "other.sqlite3"}'


@pytest.fixture(scope="module")
def made(startproject: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with an app `library`, after `migrate`."""
    root = Path(shutil.copytree(startproject, tmp_path_factory.mktemp("made") / "project"))
    for folder in ("library/migrations", "library/fixtures", "seeds"):
        (root / folder).mkdir(parents=True)
    (root / "library/migrations/__init__.py").touch()
    (root / "library/__init__.py").touch()
    (root / "library/models.py").write_text(MODELS)
    (root / "library/apps.py").write_text(APPS)
    (root / "handlers.py").touch()
    with (root / "mysite/settings.py").open("a") as settings:
        settings.write(f'{TWO}\nINSTALLED_APPS += ["library"]\nFIXTURE_DIRS = [BASE_DIR / "seeds"]\n')
    steps = [{"name": "command", "argv": ["makemigrations", "library"]}, {"name": "migrate"}]
    run_steps(Target.for_project(root, PYTHON), [*steps, {"name": "migrate", "database": "other"}], run=forked)
    return root


@pytest.fixture
def library(project: Any, made: Path) -> Any:
    shutil.copytree(made, project.root, dirs_exist_ok=True)
    return project


def loads(*fixtures: str, **options: Any) -> Step:
    return {"name": "loaddata", "fixtures": list(fixtures), **options}


def fixture(project: Any, name: str, *objects: tuple[str, int | None, dict[str, Any]]) -> None:
    found = [{"model": model, **({"pk": pk} if pk else {}), "fields": fields} for model, pk, fields in objects]
    project.write(f"library/fixtures/{name}.json", json.dumps(found))


def shell(project: Any, code: str) -> None:
    project.run({"name": "shell", "code": f"from library.models import *\n{code}"})


# --- loaddata ---------------------------------------------------------------------------------------------------------


def test_relations_and_natural_keys(library: Any) -> None:
    """References to what comes later, and an object without a primary key that is found by its natural one."""
    book = {"title": "x", "sequel": 2, "tags": [["red"], ["blue"]], "main": ["red"], "api_key": "long-secret"}
    tags = [("library.tag", None, {"name": name}) for name in ("red", "blue")]
    fixture(library, "first", ("library.book", 1, book), ("library.book", 2, {"title": "y"}), *tags)
    done = library.proven(loads("first"))
    assert done.facts["created"] == ["library.book 1", "library.book 2", "library.tag red", "library.tag blue"]
    assert "    main: red\n" in done.diff["after"] and "    tags: ['red', 'blue']\n" in done.diff["after"]
    assert "api_key: ********" in done.diff["after"] and "long-secret" not in str(done)
    assert library.rows("SELECT sequel_id, main_id FROM library_book WHERE id = 1") == [(2, 1)]

    fixture(
        library, "second", ("library.tag", None, {"name": "green"}), ("library.book", 1, {**book, "tags": [["green"]]})
    )
    done = library.proven(loads("second"))
    assert done.diff["before"] == "library.book 1\n    tags: [1, 2]\n"
    assert done.diff["after"] == "library.tag green\n    name: green\nlibrary.book 1\n    tags: ['green']\n"
    assert done.facts["elsewhere"] == [] and library.rows("SELECT tag_id FROM library_book_tags") == [(3,)]

    fixture(library, "child", ("library.special", 1, {"note": "n"}))
    assert library.proven(loads("child")).facts["created"] == ["library.special 1"]


def test_values_are_compared_as_they_are_stored(library: Any) -> None:
    sale = {"at": "2026-01-01T00:00:00", "price": "1.5", "changed": "2026-01-01T00:00:00Z"}
    fixture(library, "sale", ("library.sale", 1, sale))
    library.proven(loads("sale"))
    assert library.rows("SELECT at, changed FROM library_sale") == [("2026-01-01 00:00:00",) * 2]


def test_an_object_without_any_key_is_another_one_each_time(library: Any) -> None:
    fixture(library, "keyless", ("library.book", None, {"title": "x"}))
    assert library.proven(loads("keyless"), settled=False).facts["created"] == ["library.book (new)"]
    assert library.rows("SELECT count(*) FROM library_book") == [(2,)]


def test_where_fixtures_are_found(library: Any) -> None:
    text = '[{"model": "library.tag", "pk": %d, "fields": {"name": "%s"}}]'
    (library.root / "seeds/packed.json.gz").write_bytes(gzip.compress((text % (5, "z")).encode()))
    library.write("seeds/plain.json", text % (6, "y"))
    library.write("seeds/empty.json", "[]")
    assert library.proven(loads("packed", "plain")).facts["created"] == ["library.tag 5", "library.tag 6"]
    (same, nothing, excluded) = library.run(
        loads(str(library.root / "seeds/plain.json")), loads("empty"), loads("packed", exclude=["library"])
    )
    assert [each.changed for each in (same, nothing, excluded)] == [False, False, False]
    library.write("seeds/lines.jsonl", '{"model": "library.tag", "pk": 7, "fields": {"name": "x", "gone": 1}}\n')
    assert "no field named 'gone'" in library.refused(loads("lines")).message
    library.proven(loads("lines", ignore_nonexistent=True))
    assert library.rows("SELECT id, name FROM library_tag ORDER BY id") == [(5, "z"), (6, "y"), (7, "x")]


TAG = '{"model": "library.tag", "pk": %s, "fields": {"name": "x"}}'
BOOK = '[{"model": "library.book", "pk": 1, "fields": {"title": "x", %s}}]'
NO_TAG = "library_book_tags.tag_id contains a value '77' that does not have a corresponding value"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"model"', "fixture '*.json': Expecting ':' delimiter: line 1 column 10"),
        (b"", "fixture '*.json': Expecting value: line 1 column 1"),
        (b'[{"model": "\xff"}]', "fixture '*.json': 'utf-8' codec can't decode byte 0xff"),
        (b'[{"model": "library.tagg", "fields": {}}]', "App 'library' doesn't have a 'tagg' model"),
        (b'[{"pk": 1}]', ": an object has no 'model'"),
        (BOOK % '"titel": "x"', "Book has no field named 'titel'"),
        (BOOK % '"sequel": 99', "library_book.sequel_id contains a value '99' that does not have"),
        (BOOK % '"main": ["none"]', "Tag matching query does not exist"),
        # SQLite looks at tables between two models only at the end of the transaction.
        (BOOK % '"tags": [77]', NO_TAG),
        (BOOK % '"title": null', "Could not load library.Book(pk=1): NOT NULL constraint failed"),
        (f"[{TAG % 1}, {TAG % 2}]", "Could not load library.Tag(pk=2): UNIQUE constraint failed"),
        ("[" + TAG % '"x"' + "]", "value must be an integer."),
    ],
)
def test_fixtures_that_are_wrong(library: Any, content: bytes | str, said: str) -> None:
    (library.root / "library/fixtures/wrong.json").write_bytes(
        content.encode() if isinstance(content, str) else content
    )
    error = library.refused(loads("wrong"))
    assert error.kind == "fixture" and error.hint == "mend the fixture"
    assert said.replace("*", str(library.root / "library/fixtures/wrong")) in error.message


def test_a_fixture_for_a_table_that_is_missing(library: Any) -> None:
    library.append("library/models.py", "\nclass Late(models.Model):\n    pass\n")
    fixture(library, "late", ("library.late", 1, {}))
    error = library.refused(loads("late"))
    assert error.kind == "database" and error.hint == "run `migrate` first"
    assert "no such table: library_late" in error.message


def test_a_dump_of_a_table_that_is_missing(library: Any) -> None:
    """A play that is predicted has not migrated yet when it comes to the dump; it will have."""
    library.append("library/models.py", "\nclass Late(models.Model):\n    pass\n")
    dump = {"name": "dumpdata", "dest": "all.json"}
    (predicted,) = library.run(dump, check=True)
    assert predicted.changed and predicted.facts["reason"] == "what all.json would hold cannot be told before `migrate`"
    with pytest.raises(StepError, match="no such table: library_late") as caught:
        library.run(dump)
    assert caught.value.kind == "database" and caught.value.hint == "run `migrate` first"
    assert not (library.root / "all.json").exists()


HANDLER = """
from django.db import connections
from django.db.models.signals import %s as signal
from library.models import *

def handler(sender, instance, raw, using, **more):
    assert raw
    %s

signal.connect(handler, sender=Book)
"""
BY_UPDATE = "Tag.objects.using(using).filter(name='t').update(name='touched')"
BY_SQL = """connections[using].cursor().execute("%s UPDATE library_tag SET name = 'touched' WHERE name = 't'")"""


@pytest.mark.parametrize(
    ("signal", "does"),
    [("post_save", BY_UPDATE), ("pre_save", BY_SQL % ""), ("pre_save", BY_SQL % "WITH x AS (SELECT 1)")],
)
def test_a_signal_handler_that_changes_another_table(library: Any, signal: str, does: str) -> None:
    """It sends no signals itself, and the object of the fixture is as it was."""
    shell(library, "Book.objects.create(pk=1, title='x')\nTag.objects.create(pk=1, name='t')")
    shell(library, "Tag.objects.create(pk=2, name='u')")
    fixture(library, "book", ("library.book", 1, {"title": "x"}))
    library.write("handlers.py", HANDLER % (signal, does))
    done = library.proven(loads("book"))
    assert done.facts["elsewhere"] == ["library_tag"] and done.facts["unmodified"] == 1
    assert done.diff == {"before": "library_tag: 1 row as before\n", "after": "library_tag: 1 row written on the way\n"}
    assert library.rows("SELECT name FROM library_tag ORDER BY id") == [("touched",), ("u",)]


def test_a_signal_handler_that_changes_nothing_in_the_end(library: Any) -> None:
    shell(library, "Book.objects.create(pk=1, title='x')\nTag.objects.create(pk=1, name='t')")
    fixture(library, "book", ("library.book", 1, {"title": "x"}))
    library.write("handlers.py", HANDLER % ("post_save", "Tag.objects.using(using).update(name='t')"))
    assert library.proven(loads("book"), changed=False).facts["elsewhere"] == []


def test_a_signal_handler_that_writes_to_another_database(library: Any) -> None:
    fixture(library, "book", ("library.book", 1, {"title": "x"}))
    library.write("handlers.py", HANDLER % ("post_save", "Log.objects.using('other').create(text='saved')"))
    done = library.proven(loads("book"), settled=False)
    assert done.facts["elsewhere"] == ["other.library_log"]
    assert done.diff["after"].endswith("other.library_log: 1 row written on the way\n")
    assert library.rows("SELECT count(*) FROM library_log", "other.sqlite3") == [(2,)]
    assert library.rows("SELECT count(*) FROM library_log") == [(0,)]


ROUTER = """
class Router:
    def db_for_read(self, model, **hints):
        return "default"

    db_for_write = db_for_read

    def allow_relation(self, *objects, **hints):
        return True

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return db == "default" if model_name == "log" else None
"""


def test_a_router_that_sends_writes_elsewhere(library: Any) -> None:
    """As Django does it: objects go where they are told to, what a router keeps out is passed over, and only
    many-to-many relations go where the router says."""
    library.write("routing.py", ROUTER)
    library.settings('DATABASE_ROUTERS = ["routing.Router"]')
    tags, log = ("library.tag", None, {"name": "red"}), ("library.log", 1, {"text": "t"})
    fixture(library, "plain", tags, ("library.book", 1, {"title": "x"}), log)
    untouched = library.contents()["db.sqlite3"]
    done = library.proven(loads("plain", database="other"))
    assert done.facts["created"] == ["library.tag red", "library.book 1"] and done.facts["database"] == "other"
    assert library.contents()["db.sqlite3"] == untouched
    assert library.rows("SELECT count(*) FROM library_log", "other.sqlite3") == [(0,)]

    fixture(library, "related", tags, ("library.book", 1, {"title": "x", "tags": [["red"]]}))
    for check in (True, False):
        with pytest.raises(StepError, match=r"FOREIGN KEY constraint failed|has an invalid foreign key"):
            library.run(loads("related", database="other"), check=check)
    assert library.rows("SELECT count(*) FROM library_book_tags") == [(0,)]
    library.proven(loads("plain"))
    assert library.proven(loads("related", database="other")).facts["elsewhere"] == ["default.library_book_tags"]

    untouched = library.contents()["db.sqlite3"]
    done = library.proven({"name": "flush", "database": "other", "confirm": "other"})
    assert library.contents()["db.sqlite3"] == untouched
    assert done.before["library_book"] == 1 and "library_book" not in done.after


def test_users_of_another_model(project: Any) -> None:
    project.write("people/__init__.py", "")
    project.write("people/migrations/__init__.py", "")
    project.write(
        "people/models.py",
        "from django.contrib.auth.models import AbstractUser\nclass Person(AbstractUser):\n    pass\n",
    )
    project.settings('INSTALLED_APPS += ["people"]\nAUTH_USER_MODEL = "people.Person"')
    project.run({"name": "command", "argv": ["makemigrations", "people"]}, {"name": "migrate"})
    project.run({"name": "group", "group": "editors"})
    fields = {"username": "ann", "password": "!long-secret", "groups": [["editors"]], "date_joined": "2026-01-01"}
    project.write("people/fixtures/ann.json", json.dumps([{"model": "people.person", "fields": fields}]))
    done = project.proven(loads("ann"))
    assert "groups: [1]" in done.diff["after"] and "long-secret" not in str(done)
    project.write("people/fixtures/old.json", json.dumps([{"model": "auth.user", "pk": 9, "fields": fields}]))
    assert project.refused(loads("old")).kind in ("fixture", "database")
    done = project.proven(FLUSH)
    assert done.before["people_person"] == 1 and "people_person" not in done.after


# --- dumpdata ---------------------------------------------------------------------------------------------------------


def test_what_is_dumped(library: Any) -> None:
    shell(library, "tag = Tag.objects.create(name='t')\nBook.objects.create(title='x', main=tag).tags.add(tag)")
    dump: Step = {"name": "dumpdata", "dest": "dump.json", "apps": ["library"]}
    file = library.root / "dump.json"
    done = library.proven(dump)
    assert done.before is None and done.after == {"bytes": file.stat().st_size, "mode": "0600"}
    plain = file.read_bytes()
    for more in ({"indent": 2}, {"exclude": ["library.tag"]}, {"natural_foreign": True, "natural_primary": True}):
        before = file.read_bytes()
        library.proven({**dump, **more})
        assert file.read_bytes() != before
    assert json.loads(file.read_text())[1]["fields"]["tags"] == [["t"]]
    assert library.proven({**dump, "mode": "0640"}).after["mode"] == "0640"
    assert file.stat().st_mode & 0o777 == 0o640
    # As `dumpdata --output` does it, so that `loaddata` can read it again.
    library.proven({**dump, "dest": "dump.json.gz"})
    library.proven({**dump, "dest": "dump.json.bz2"})
    assert gzip.decompress((library.root / "dump.json.gz").read_bytes()) == plain
    assert bz2.decompress((library.root / "dump.json.bz2").read_bytes()) == plain
    library.proven(FLUSH)
    library.proven(loads(str(library.root / "dump.json.gz")))


@pytest.mark.parametrize(
    ("more", "kind", "said"),
    [
        ({"dest": "missing/dump.json"}, "file", "there is no directory missing"),
        ({"dest": "seeds"}, "file", "seeds: Is a directory"),
        ({"dest": "manage.py/dump.json"}, "file", "manage.py/dump.json: Not a directory"),
        ({"dest": ""}, "request", "no file was given"),
        ({"mode": "4755"}, "request", "mode: '4755' is not a mode of a file"),
        ({"exclude": ["nope"]}, "command", "No installed app with label 'nope'."),
        ({"apps": ["library.nope"]}, "command", "Unknown model: library.nope"),
        ({"database": "nope"}, "request", "there is no database 'nope'"),
    ],
)
def test_dumps_that_cannot_be(library: Any, more: Step, kind: str, said: str) -> None:
    error = library.refused({"name": "dumpdata", "dest": "dump.json", **more})
    assert error.kind == kind and error.message.startswith(said)


# --- flush ------------------------------------------------------------------------------------------------------------


def test_flush_only_when_confirmed(library: Any) -> None:
    shell(library, "Book.objects.create(title='x').tags.create(name='t')")
    for confirm in ("", "Default", "other", None):
        error = library.refused({**FLUSH, "confirm": confirm})
        assert error.hint == "if that is what you want: `confirm: default`"
    done = library.proven(FLUSH)
    assert {table: done.before[table] for table in done.before if table not in done.after} == {
        "library_book": 1,
        "library_book_tags": 1,
        "library_tag": 1,
    }
    assert library.rows("SELECT count(*) FROM library_tag") == [(0,)]


FILL = """
from django.db.models.signals import post_migrate
from library.models import *

def fill(using, **more):
    Tag.objects.using(using).get_or_create(name="always")
    Log.objects.using("other").get_or_create(text="x")

post_migrate.connect(fill)
"""


def test_flush_with_a_handler_that_fills_tables_again(library: Any) -> None:
    """The tables have as many rows as before, but not the same; and a handler that fails brings all of them back."""
    library.write("handlers.py", FILL)
    shell(library, "Tag.objects.create(name='t')")
    library.proven(FLUSH)
    assert library.rows("SELECT id, name FROM library_tag") == [(1, "always")]
    assert library.rows("SELECT text FROM library_log", "other.sqlite3") == [("x",)]
    library.write("handlers.py", FILL.replace("Tag.objects", "1 / 0; Tag.objects"))
    with pytest.raises(StepError, match="ZeroDivisionError"):
        library.run(FLUSH)
    assert library.rows("SELECT id, name FROM library_tag") == [(1, "always")]


def test_flush_before_everything_is_migrated(project: Any) -> None:
    (done,) = project.run(FLUSH)
    assert not done.changed and done.before == {}
    project.run({"name": "migrate", "app": "contenttypes"})
    error = project.refused(FLUSH)
    assert error.message == "no such table: auth_permission" and error.hint == "run `migrate` first"
