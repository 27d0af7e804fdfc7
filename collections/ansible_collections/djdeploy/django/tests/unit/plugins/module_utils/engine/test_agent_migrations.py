# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL in the diff of the step `migrate`: what would run, told in check mode and by the run alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError

MIGRATION = """
from django.db import migrations, models
{module}

class Migration(migrations.Migration):
    {head}
    dependencies = [("shop", "{after}")]
    operations = [{operations}]
"""
TOUCHING = """
def touch(apps, schema_editor):
    open("touched", "a").close()
"""
OWN = """
class Own(migrations.operations.base.Operation):
    reversible = True

    def state_forwards(self, app_label, state):
        pass

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        schema_editor.connection.cursor().execute("CREATE TABLE IF NOT EXISTS shop_own (x integer)")

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        pass

    def describe(self):
        return "Do something of its own"
"""


def write(project: Any, operations: str, *, name: str = "0003_case", after: str = "0002_price", **more: str) -> None:
    text = MIGRATION.format(operations=operations, after=after, **{"module": "", "head": "", **more})
    project.write(f"shop/migrations/{name}.py", text)


@dataclass(frozen=True)
class Case:
    """A migration of the project after 0002, and what the diff shows of it."""

    id: str
    operations: str
    shown: tuple[str, ...]  # regular expressions, found one after the other
    not_shown: tuple[str, ...] = ()
    module: str = ""
    head: str = ""
    first: str = ""  # operations of a migration before it, in the same plan
    first_applied: bool = False
    back: bool = False  # it is taken back


CASES = [
    Case(
        "column",
        'migrations.AddField("product", "size", models.CharField(max_length=5, null=True))',
        (
            "^-- Migration shop.0003_case\nBEGIN;\n-- Add field size to product\n",
            'ALTER TABLE "shop_product" ADD COLUMN "size" varchar',
            "\nCOMMIT;\n\nshop.0003_case: applied\n$",
        ),
    ),
    Case(
        "column_taken_back",
        'migrations.AddField("product", "size", models.CharField(max_length=5, null=True))',
        (
            "^-- Migration shop.0003_case, taken back\nBEGIN;\n-- Add field size to product\n",
            'DROP COLUMN "size"',
            "\nCOMMIT;\n\nshop.0003_case: not applied\n$",
        ),
        back=True,
    ),
    Case(
        "table_made_anew",
        'migrations.AlterField("product", "price", models.BigIntegerField(default=7, unique=True))',
        ('CREATE TABLE "new__shop_product"', "INSERT INTO", 'DROP TABLE "shop_product"', "RENAME TO"),
    ),
    Case(
        "order_taken_back",
        'migrations.RunSQL("SELECT 1", "SELECT 11"), migrations.RunSQL("SELECT 2", "SELECT 22")',
        ("SELECT 22", "SELECT 11"),
        ("SELECT 1;", "SELECT 2;"),
        back=True,
    ),
    Case(
        "python",
        'migrations.RunPython(touch, touch), migrations.RunSQL("SELECT 7", "SELECT 8")',
        ("-- Raw Python operation\n-- this is Python code: there is no SQL to show\n", "SELECT 7"),
        module=TOUCHING,
    ),
    Case(
        "only_python",
        "migrations.RunPython(touch, touch)",
        ("^-- Migration shop.0003_case\n-- Raw Python operation\n-- this is Python code", "shop.0003_case: applied"),
        ("BEGIN", "COMMIT"),
        module=TOUCHING,
    ),
    Case(
        "python_hidden_in_another_operation",
        "migrations.SeparateDatabaseAndState([migrations.RunPython(touch, touch), migrations.RunSQL('SELECT 7', '')])",
        ("-- Raw Python operation\n-- this is Python code", "SELECT 7"),
        module=TOUCHING,
    ),
    Case(
        "python_hidden_in_another_operation_taken_back",
        "migrations.SeparateDatabaseAndState([migrations.RunPython(touch, touch), migrations.RunSQL('', 'SELECT 7')])",
        ("SELECT 7", "-- Raw Python operation\n-- this is Python code"),
        module=TOUCHING,
        back=True,
    ),
    Case(
        "state_only",
        'migrations.SeparateDatabaseAndState(state_operations=[migrations.AlterModelOptions("product", {})]),'
        'migrations.AlterModelOptions("product", {"ordering": ["name"]})',
        ("-- Custom state.*\n-- nothing to do in the database\n-- Change Meta.*\n-- nothing to do in the database\n",),
        ("BEGIN",),
    ),
    Case(
        "code_that_is_not_of_django",
        "Own()",
        ("-- Do something of its own\n-- this is not Django's code",),
        ("CREATE",),
        module=OWN,
    ),
    Case("not_atomic", 'migrations.RunSQL("SELECT 7", "")', ("SELECT 7",), ("BEGIN", "COMMIT"), head="atomic = False"),
    Case(
        "asks_for_a_constraint_that_is_not_there_yet",
        'migrations.AlterUniqueTogether("product", set()), migrations.RunSQL("SELECT 7", "")',
        (
            'CREATE UNIQUE INDEX "shop_product_name_price',
            "\n-- Alter unique_together.*\n-- the rest cannot be shown before it runs: ValueError: Found wrong number",
            "SELECT 7",
            "shop.0002b_first: applied\nshop.0003_case: applied\n$",
        ),
        first='migrations.AlterUniqueTogether("product", {("name", "price")})',
    ),
    Case(
        "asks_about_a_table_that_is_changed_before",
        'migrations.AddField("product", "a", models.IntegerField(null=True)),'
        'migrations.AlterUniqueTogether("product", set())',
        (
            "DROP INDEX .*\n-- the database is asked about shop_product now; the statements above may change it",
            "^shop.0003_case: applied\n$",
        ),
        ("0002b",),
        first='migrations.AlterUniqueTogether("product", {("name", "price")})',
        first_applied=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_diff_shows_the_sql(project: Any, case: Case) -> None:
    after = "0002_price"
    if case.first:
        write(project, case.first, name="0002b_first")
        after = "0002b_first"
    write(project, case.operations, after=after, module=case.module, head=case.head)
    step = {"name": "migrate", "app": "shop", "sql": True}
    if case.back:
        project.run({"name": "migrate"})
        step["target"] = "0002_price"
    else:
        project.run({"name": "migrate", "app": "shop", "target": after if case.first_applied else "0002_price"})
    (project.root / "touched").unlink(missing_ok=True)
    before = project.contents()
    (predicted,) = project.run(step, check=True)
    assert project.contents() == before, "showing the SQL changed something"
    (done,) = project.run(step)
    (again,) = project.run(step)

    said = done.diff["after"]
    assert re.search("(?s:.*)".join(case.shown), said, re.MULTILINE), said
    assert not [word for word in case.not_shown if word in said], said
    assert predicted.changed and done.changed and predicted.diff == done.diff
    assert done.diff["before"].splitlines()[-1] == f"shop.0003_case: {'' if case.back else 'not '}applied"
    assert not again.changed and again.diff == {"before": "", "after": ""}


def test_whole_plan_of_a_new_project(project: Any) -> None:
    (done,) = project.run({"name": "migrate", "sql": True})
    said = done.diff["after"]
    assert [name for name in done.facts["pending"] if f"-- Migration {name}\n" not in said] == []
    assert 'CREATE TABLE "auth_user"' in said and "cannot be shown" not in said


def test_migrations_that_are_only_noted_show_no_sql(project: Any) -> None:
    steps = [
        {"name": "migrate", "app": "shop", "target": "0001", "fake": True, "sql": True},
        {"name": "migrate", "app": "shop", "target": "zero", "fake": True, "sql": True},
    ]
    there, back = project.run(*steps)
    fake = "-- Migration shop.0001_initial\n-- noted as applied and not run (fake)\n\nshop.0001_initial: applied\n"
    assert there.diff == {"before": "shop.0001_initial: not applied\n", "after": fake}
    assert "taken back\n-- noted as not applied and not run (fake)\n" in back.diff["after"]


def test_initial_migrations_whose_tables_exist(project: Any) -> None:
    project.run({"name": "migrate", "app": "shop", "target": "0001"})
    project.run({"name": "migrate", "app": "shop", "target": "zero", "fake": True})
    step = {"name": "migrate", "app": "shop", "fake_initial": True, "sql": True}
    (predicted,) = project.run(step, check=True)
    (done,) = project.run(step)
    assert predicted.diff == done.diff
    assert "-- Migration shop.0001_initial\n-- noted as applied and not run (fake)\n\n" in done.diff["after"]
    assert "-- Migration shop.0002_price\nBEGIN;\n" in done.diff["after"]


def test_without_being_asked_no_sql_is_shown(project: Any) -> None:
    (plain,) = project.run({"name": "migrate", "app": "shop"})
    assert plain.diff["after"].startswith("shop.0001_initial\n    Create model Product\n")


@pytest.mark.parametrize("check", [True, False])
def test_what_cannot_be_reversed_stops_a_plan_before_it_begins(project: Any, check: bool) -> None:
    write(project, 'migrations.RunSQL("SELECT 1")')
    write(project, 'migrations.RunSQL("SELECT 2", "SELECT 3")', name="0004_back", after="0003_case")
    project.run({"name": "migrate"})
    with pytest.raises(StepError) as error:
        project.run({"name": "migrate", "app": "shop", "target": "0001"}, check=check)
    assert error.value.message == "shop.0003_case cannot be reversed (Raw SQL operation), so nothing is taken back"
    (faked,) = project.run({"name": "migrate", "app": "shop", "target": "0001", "fake": True, "sql": True})
    assert faked.facts["applied"] == ["shop.0004_back", "shop.0003_case", "shop.0002_price"]


def test_python_hidden_in_another_operation_is_not_run_by_a_plan_either(project: Any) -> None:
    project.run({"name": "migrate"})
    write(project, "migrations.SeparateDatabaseAndState([migrations.RunPython(touch)])", module=TOUCHING)
    (plan,) = project.run({"name": "migrate", "plan_only": True, "detail": True})
    assert plan.facts["plan"][0]["sql"][-1] == "-- this is Python code: there is no SQL to show"
    assert not (project.root / "touched").exists()
