# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations with their class, as a person would give it: a Django project with an app for each of them.

Each app has the same base (`0001_base`, applied before) and one labelled migration (`0002_case`). So one look at the
project judges all of them, and each can be applied for real without touching another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIG = 3000  # rows of a table that counts as big
BIG_TABLE = 1000  # from where on the site of the corpus counts so
SMALL = 5

IMPORTS = """\
from django.contrib.postgres.operations import (
    AddConstraintNotValid, AddIndexConcurrently, RemoveIndexConcurrently, ValidateConstraint
)
from django.db import migrations, models
from django.db.models.functions import Now
from django.contrib.postgres.functions import RandomUUID

KEY = ("id", models.BigAutoField(primary_key=True))

"""

BASE = """\
        migrations.CreateModel("Owner", [KEY, ("name", models.CharField(max_length=50))]),
        migrations.CreateModel("Tag", [KEY, ("name", models.CharField(max_length=50))]),
        migrations.CreateModel("Leaflet", [KEY, ("text", models.TextField())]),
        migrations.CreateModel("Thing", [
            KEY,
            ("name", models.CharField(max_length=50)),
            ("code", models.CharField(max_length=20, unique=True)),
            ("shelf", models.CharField(max_length=20, db_index=True, default="")),
            ("price", models.IntegerField(default=0)),
            ("weight", models.IntegerField(db_default=7)),
            ("amount", models.DecimalField(max_digits=8, decimal_places=2, default=0)),
            ("note", models.TextField(null=True)),
            ("number", models.BigIntegerField(null=True)),
            ("owner", models.ForeignKey("Owner", models.CASCADE, null=True)),
            ("maker", models.ForeignKey("Owner", models.CASCADE, related_name="made", default=1)),
            ("loose", models.ForeignKey("Owner", models.CASCADE, null=True, related_name="+", db_constraint=False)),
            ("tags", models.ManyToManyField("Tag")),
        ]),
        migrations.AddIndex("thing", models.Index(fields=["price"], name="{app}_price")),
        migrations.AddConstraint(
            "thing", models.CheckConstraint({condition}=models.Q(price__gte=-100), name="{app}_floor")
        ),
        AddConstraintNotValid(
            "thing", models.CheckConstraint({condition}=models.Q(price__lte=10**6), name="{app}_roof")
        ),
"""

FILL = """\
def fill(apps, schema_editor):
    apps.get_model("{app}", "Thing").objects.update(note="filled")
"""
NO_DEBT = 'models.CheckConstraint({condition}=models.Q(price__gte=0), name="no_debt")'


@dataclass(frozen=True)
class Case:
    """A labelled migration.

    :param name: of its app, too.
    :param kind: the class a person gives it.
    :param operations: lines of its list.
    :param head: lines of the class before the list.
    :param module: lines before the class.
    :param base: further operations of the base.
    :param rows: in the table of things.
    :param writes: what the code of the base writes beside whole, ordinary rows: fields of a Thing, one after another.
    :param breaks: whether that code, which reads and writes as before, fails once the migration was applied; None
        where there is nothing to prove: it waits, or does who knows what.
    :param rewrites: whether PostgreSQL gives the table of things a new file.
    """

    name: str
    kind: str
    operations: str
    head: str = ""
    module: str = ""
    base: str = ""
    rows: int = SMALL
    writes: tuple[dict[str, Any], ...] = ()
    breaks: bool | None = False
    rewrites: bool = False

    @property
    def safe(self) -> bool:
        return self.kind == "additive"


def safe(name: str, operations: str, **more: Any) -> Case:
    return Case(name, "additive", operations, **more)


def breaking(name: str, operations: str, **more: Any) -> Case:
    return Case(name, "contract", operations, **{"breaks": True, **more})


def waiting(name: str, operations: str, **more: Any) -> Case:
    return Case(name, "blocking", operations, **{"rows": BIG, "breaks": False, **more})


def unjudged(name: str, operations: str, **more: Any) -> Case:
    return Case(name, "unknown", operations, **{"breaks": None, **more})


def added(field: str, name: str = "fresh") -> str:
    return f'migrations.AddField("thing", "{name}", {field}),'


def altered(name: str, field: str) -> str:
    return f'migrations.AlterField("thing", "{name}", {field}),'


SAFE = [
    safe("create_model", 'migrations.CreateModel("New", [KEY]),'),
    safe(
        "create_model_that_points",
        'migrations.CreateModel("New", [KEY, '
        '("thing", models.ForeignKey("Thing", models.CASCADE)), ("tags", models.ManyToManyField("Tag"))]),',
        rows=BIG,
    ),
    safe(
        "create_model_and_go_on_with_it",
        'migrations.CreateModel("New", [KEY, ("a", models.IntegerField())]),\n'
        'migrations.AddField("new", "b", models.IntegerField(default=3, db_index=True)),\n'
        'migrations.AddIndex("new", models.Index(fields=["a"], name="new_a")),\n'
        'migrations.AddConstraint("new", models.UniqueConstraint(fields=["a", "b"], name="new_ab")),\n'
        'migrations.AlterField("new", "a", models.BigIntegerField(null=True)),\n'
        'migrations.RenameField("new", "a", "c"),\n'
        'migrations.RenameModel("New", "Newer"),\n'
        'migrations.RemoveField("newer", "b"),',
    ),
    safe("add_nullable", added("models.IntegerField(null=True, default=3)"), rows=BIG),
    safe("add_foreign_key", added('models.ForeignKey("Owner", models.CASCADE, null=True, related_name="+")')),
    safe(
        "add_foreign_key_without_index",
        added('models.ForeignKey("Owner", models.CASCADE, null=True, related_name="+", db_index=False)'),
        rows=BIG,
    ),
    safe("add_many_to_many", added('models.ManyToManyField("Owner", related_name="+")'), rows=BIG),
    safe("add_db_default", added("models.IntegerField(db_default=5)"), rows=BIG),
    safe("add_db_default_of_now", added("models.DateTimeField(db_default=Now())"), rows=BIG),
    safe("add_unique_nullable", added("models.IntegerField(null=True, unique=True)")),
    safe(
        "add_and_constrain",
        added("models.IntegerField(null=True)")
        + '\nmigrations.AddConstraint("thing", models.UniqueConstraint(fields=["fresh", "price"], name="fresh_one")),',
    ),
    safe("add_and_drop", added("models.IntegerField(null=True)") + '\nmigrations.RemoveField("thing", "fresh"),'),
    safe(
        "add_computed",
        added(
            'models.GeneratedField(expression=models.F("price") * 2, output_field=models.IntegerField(), '
            "db_persist=True)"
        ),
        rewrites=True,
    ),
    safe("longer_varchar", altered("name", "models.CharField(max_length=80)"), rows=BIG),
    safe("varchar_to_text", altered("name", "models.TextField()"), rows=BIG),
    safe("more_digits", altered("amount", "models.DecimalField(max_digits=10, decimal_places=2, default=0)"), rows=BIG),
    safe("wider_integer", altered("price", "models.BigIntegerField(default=0)"), rewrites=True),
    safe("nullable", altered("name", "models.CharField(max_length=50, null=True)"), rows=BIG),
    safe(
        "choices",
        altered("name", 'models.CharField("Name", max_length=50, choices=[("a", "A")], help_text="!")'),
        rows=BIG,
    ),
    safe("python_default", altered("price", "models.IntegerField(default=99)"), rows=BIG),
    safe("gets_db_default", altered("price", "models.IntegerField(db_default=3)"), rows=BIG),
    safe("no_longer_unique", altered("code", "models.CharField(max_length=20)"), rows=BIG),
    safe("no_longer_indexed", altered("shelf", 'models.CharField(max_length=20, default="")'), rows=BIG),
    safe(
        "other_on_delete",
        altered("owner", 'models.ForeignKey("Owner", models.SET_NULL, null=True, related_name="all")'),
        rows=BIG,
    ),
    safe(
        "foreign_key_let_loose",
        altered("owner", 'models.ForeignKey("Owner", models.CASCADE, null=True, db_constraint=False)'),
        rows=BIG,
    ),
    safe("add_index", 'migrations.AddIndex("thing", models.Index(fields=["name"], name="thing_name")),'),
    safe(
        "add_index_concurrently",
        'AddIndexConcurrently("thing", models.Index(fields=["name"], name="thing_name_later")),',
        head="    atomic = False",
        rows=BIG,
    ),
    safe("remove_index", 'migrations.RemoveIndex("thing", "remove_index_price"),', rows=BIG),
    safe(
        "remove_index_concurrently",
        'RemoveIndexConcurrently("thing", "remove_index_concurrently_price"),',
        head="    atomic = False",
        rows=BIG,
    ),
    safe("rename_index", 'migrations.RenameIndex("thing", "renamed_price", old_name="rename_index_price"),', rows=BIG),
    safe("remove_constraint", 'migrations.RemoveConstraint("thing", "remove_constraint_floor"),', rows=BIG),
    safe("validate_constraint", 'ValidateConstraint("thing", "validate_constraint_roof"),', rows=BIG),
    safe(
        "options_and_managers",
        'migrations.AlterModelOptions("thing", {"ordering": ["name"], "verbose_name": "object"}),\n'
        'migrations.AlterModelManagers("thing", [("all_of_them", models.Manager())]),\n'
        'migrations.AlterModelTableComment("thing", "what is on the shelves"),',
        rows=BIG,
    ),
    safe(
        "stop_using_a_field",
        altered("price", "models.IntegerField(null=True)")
        + '\nmigrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("thing", "price")]),',
        base='        migrations.RemoveConstraint("thing", "stop_using_a_field_floor"),\n'
        '        migrations.RemoveConstraint("thing", "stop_using_a_field_roof"),\n'
        '        migrations.RemoveIndex("thing", "stop_using_a_field_price"),\n',
        rows=BIG,
    ),
    safe(
        "rename_field_keeping_column",
        'migrations.AlterField("thing", "note", models.TextField(null=True, db_column="note")),\n'
        'migrations.RenameField("thing", "note", "remark"),',
        rows=BIG,
    ),
    safe(
        "rename_model_keeping_table",
        'migrations.AlterModelTable("leaflet", "rename_model_keeping_table_leaflet"),\n'
        'migrations.RenameModel("Leaflet", "Flyer"),',
    ),
    safe(
        "unmanaged",
        'migrations.CreateModel("View", [KEY], options={"managed": False}),\nmigrations.DeleteModel("View"),',
    ),
    safe("python_that_does_nothing", "migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop),"),
    safe("sql_that_does_nothing", "migrations.RunSQL(migrations.RunSQL.noop, migrations.RunSQL.noop),"),
    safe(
        "declared",
        "migrations.RunPython(fill, migrations.RunPython.noop),",
        head='    djdeploy = "additive"',
        module=FILL,
    ),
]

UNSAFE = [
    breaking("add_with_python_default", added("models.IntegerField(default=3)")),
    breaking("add_boolean", added("models.BooleanField(default=False)")),
    breaking("add_blank_text", added('models.CharField(max_length=9, blank=True, default="")')),
    breaking("add_timestamp", added("models.DateTimeField(auto_now_add=True)")),
    breaking(
        "add_foreign_key_not_null", added('models.ForeignKey("Owner", models.CASCADE, default=1, related_name="+")')
    ),
    breaking("add_on_big", added("models.IntegerField(default=3)"), rows=BIG),
    breaking(
        "add_nullable_then_not",
        added("models.IntegerField(null=True)") + "\n" + altered("fresh", "models.IntegerField(default=1)"),
    ),
    breaking(
        "add_unique_default",
        added("models.IntegerField(db_default=4, unique=True)"),
        rows=1,
    ),
    breaking("remove_field", 'migrations.RemoveField("thing", "note"),'),
    breaking("remove_many_to_many", 'migrations.RemoveField("thing", "tags"),'),
    breaking("delete_model", 'migrations.DeleteModel("Leaflet"),'),
    breaking("rename_field", 'migrations.RenameField("thing", "note", "remark"),'),
    breaking("rename_many_to_many", 'migrations.RenameField("thing", "tags", "labels"),'),
    breaking("rename_model", 'migrations.RenameModel("Leaflet", "Flyer"),'),
    breaking(
        "rename_model_that_is_tagged",
        'migrations.AlterModelTable("tag", "rename_model_that_is_tagged_tag"),\n'
        'migrations.RenameModel("Tag", "Label"),',
    ),
    breaking("rename_table", 'migrations.AlterModelTable("leaflet", "other_table"),'),
    breaking("rename_column", altered("note", 'models.TextField(null=True, db_column="remark")')),
    breaking("not_null", altered("note", 'models.TextField(default="")'), writes=({"note": None},)),
    breaking("not_null_on_big", altered("note", 'models.TextField(default="")'), writes=({"note": None},), rows=BIG),
    breaking(
        "shorter_varchar",
        altered("name", "models.CharField(max_length=10)"),
        writes=({"name": "x" * 40},),
        rewrites=True,
    ),
    breaking(
        "text_to_varchar",
        altered("note", "models.CharField(max_length=10, null=True)"),
        writes=({"note": "x" * 40},),
        rewrites=True,
    ),
    breaking("text_to_number", altered("name", "models.IntegerField()"), writes=({"name": "words"},), rewrites=True),
    breaking(
        "narrower_integer",
        altered("price", "models.SmallIntegerField(default=0)"),
        writes=({"price": 99_999},),
        rewrites=True,
    ),
    breaking(
        "fewer_digits",
        altered("amount", "models.DecimalField(max_digits=5, decimal_places=2, default=0)"),
        writes=({"amount": 9999},),
        rewrites=True,
    ),
    breaking(
        "unique",
        altered("price", "models.IntegerField(default=0, unique=True)"),
        writes=({"price": 501}, {"price": 501}),
    ),
    breaking(
        "unique_constraint",
        'migrations.AddConstraint("thing", models.UniqueConstraint(fields=["name", "note"], name="once")),',
        writes=({"name": "a", "note": "b"}, {"name": "a", "note": "b"}),
        rows=1,
    ),
    breaking(
        "unique_together",
        'migrations.AlterUniqueTogether("thing", {("name", "note")}),',
        writes=({"name": "a", "note": "b"}, {"name": "a", "note": "b"}),
        rows=1,
    ),
    breaking(
        "check_constraint",
        f'migrations.AddConstraint("thing", {NO_DEBT}),',
        writes=({"price": -1},),
    ),
    breaking(
        "check_constraint_not_valid",
        f'AddConstraintNotValid("thing", {NO_DEBT}),',
        writes=({"price": -1},),
        rows=BIG,
    ),
    breaking("positive", altered("price", "models.PositiveIntegerField(default=0)"), writes=({"price": -1},)),
    breaking("drop_db_default", altered("weight", "models.IntegerField()")),
    breaking(
        "enforce_foreign_key",
        altered("loose", 'models.ForeignKey("Owner", models.CASCADE, null=True, related_name="+")'),
        writes=({"loose_id": 987_654},),
    ),
    breaking(
        "number_to_foreign_key",
        altered(
            "number", 'models.ForeignKey("Owner", models.CASCADE, null=True, db_column="number", related_name="+")'
        ),
        writes=({"number": 987_654},),
    ),
    breaking("order_with_respect_to", 'migrations.AlterOrderWithRespectTo("thing", "maker"),'),
    breaking(
        "removed_in_the_database",
        'migrations.SeparateDatabaseAndState(database_operations=[migrations.RemoveField("thing", "note")]),',
    ),
    waiting("index_on_big", 'migrations.AddIndex("thing", models.Index(fields=["name"], name="big_name")),'),
    waiting("field_gets_index_on_big", altered("name", "models.CharField(max_length=50, db_index=True)")),
    waiting("wider_integer_on_big", altered("price", "models.BigIntegerField(default=0)"), rewrites=True),
    waiting("foreign_key_on_big", added('models.ForeignKey("Owner", models.CASCADE, null=True, related_name="+")')),
    waiting("unique_nullable_on_big", added("models.IntegerField(null=True, unique=True)")),
    waiting("volatile_default_on_big", added("models.UUIDField(db_default=RandomUUID())"), rewrites=True),
    waiting(
        "computed_on_big",
        added(
            'models.GeneratedField(expression=models.F("price") * 2, output_field=models.IntegerField(), '
            "db_persist=True)"
        ),
        rewrites=True,
    ),
    waiting("positive_nullable_on_big", added("models.PositiveIntegerField(null=True)")),
    waiting(
        "foreign_key_nullable_on_big",
        altered("maker", 'models.ForeignKey("Owner", models.CASCADE, related_name="made", null=True)'),
    ),
    waiting("indexed_varchar_to_text_on_big", altered("shelf", 'models.TextField(db_index=True, default="")')),
    unjudged(
        "python_code",
        "migrations.RunPython(fill),",
        module=FILL,
    ),
    unjudged("sql_code", 'migrations.RunSQL(\'ALTER TABLE "sql_code_thing" DROP COLUMN "note"\'),', breaks=True),
    unjudged(
        "own_operation",
        'Mine("thing", "fresh", models.IntegerField(null=True)),',
        module=(
            "class Mine(migrations.AddField):\n"
            "    def database_forwards(self, app_label, schema_editor, from_state, to_state):\n"
            '        schema_editor.execute(\'ALTER TABLE "own_operation_thing" DROP COLUMN "note"\')\n'
        ),
        breaks=True,
    ),
    unjudged(
        "wrong_word",
        'migrations.CreateModel("New", [KEY]),',
        head='    djdeploy = "safe"',
    ),
]

CASES = [*SAFE, *UNSAFE]


def indented(lines: str) -> str:
    return "".join(f"        {line}\n" for line in lines.splitlines())


def migration(operations: str, depends: str, *, head: str = "", module: str = "") -> str:
    """The text of a migration."""
    return (
        f"{IMPORTS}\n{module}\n\nclass Migration(migrations.Migration):\n{head}\n"
        f"    dependencies = [{depends}]\n    operations = [\n{operations}    ]\n"
    )


def filled(text: str, app: str, condition: str) -> str:
    return text.replace("{app}", app).replace("{condition}", condition)


def write_base(project: Path, condition: str = "condition") -> None:
    """Add the app of each case with its base, which is to be applied, to a project made by startproject.

    :param condition: what CheckConstraint calls its condition: `check` before Django 5.1.
    """
    for case in CASES:
        folder = project / case.name / "migrations"
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder.parent / "__init__.py").touch()
        base = filled(BASE + case.base, case.name, condition)
        (folder / "0001_base.py").write_text(migration(base, ""))
    settings = next(project.glob("*/settings.py"))
    names = ", ".join(f'"{case.name}"' for case in CASES)
    settings.write_text(f"{settings.read_text()}\nINSTALLED_APPS += [{names}]\n")


def write_cases(project: Path, condition: str = "condition", cases: Sequence[Case] = CASES) -> None:
    """Add labelled migrations."""
    for case in cases:
        text = migration(
            filled(indented(case.operations), case.name, condition),
            f'("{case.name}", "0001_base")',
            head=case.head,
            module=filled(case.module, case.name, condition),
        )
        (project / case.name / "migrations/0002_case.py").write_text(text)
