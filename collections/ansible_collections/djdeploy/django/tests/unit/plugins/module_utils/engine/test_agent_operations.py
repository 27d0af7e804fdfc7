# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent tells of planned operations, asked of a real project; nothing of it changes anything."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import migrations
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepResult

LOOK = {"name": "migrate", "plan_only": True, "detail": True}

MIGRATION = """
import uuid
from django.db import migrations, models
{module}

class Migration(migrations.Migration):
    {head}
    dependencies = [("shop", "{after}")]
    operations = [
        {operations}
    ]
"""


def write(project: Any, operations: str, *, name: str = "0003_case", after: str = "0002_price", **more: str) -> None:
    text = MIGRATION.format(operations=operations, after=after, **{"module": "", "head": "", **more})
    project.write(f"shop/migrations/{name}.py", text)


def look(project: Any, **more: Any) -> StepResult:
    (result,) = project.run({**LOOK, **more})
    return result


@pytest.fixture
def applied(project: Any) -> Any:
    """The project of the tests with all its migrations applied."""
    project.run({"name": "migrate"})
    return project


PRICE = 'migrations.{}("product", "price", {}),'


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        pytest.param(
            'migrations.AddField("product", "size", models.CharField(max_length=5, null=True)),',
            [
                {
                    "type": "AddField",
                    "text": "Add field size to product",
                    "table": "shop_product",
                    "model": "Product",
                    "nothing": False,
                    "field.column": "size",
                    "field.type": "varchar(5)",
                    "field.null": True,
                    "field.default": False,
                    "field.db_default": None,
                    "field.code": "models.CharField(max_length=5, null=True)",
                }
            ],
            id="add_nullable",
        ),
        pytest.param(
            'migrations.AddField("product", "size", models.CharField(max_length=5, default="x", unique=True)),',
            [{"field.null": False, "field.default": True, "field.unique": True, "field.index": False}],
            id="add_not_null_and_unique",
        ),
        pytest.param(
            'migrations.AddField("product", "key", models.UUIDField(default=uuid.uuid4, db_index=True)),',
            [{"field.default": True, "field.kept": None, "field.index": True}],
            id="add_with_a_function_as_default",
        ),
        pytest.param(
            'migrations.AddField("product", "when", models.DateTimeField(auto_now_add=True)),',
            [{"field.default": True}],
            id="add_timestamp",
        ),
        pytest.param(
            'migrations.AddField("product", "like", models.ForeignKey("shop.Product", models.CASCADE, null=True)),',
            [{"field.column": "like_id", "field.relation": "shop_product", "field.constraint": True}],
            id="add_foreign_key",
        ),
        pytest.param(
            'migrations.AddField("product", "like", models.ManyToManyField("shop.Product")),',
            [{"field.m2m.table": "shop_product_like", "field.m2m.auto": True}],
            id="add_many_to_many",
        ),
        pytest.param(
            PRICE.format("AlterField", "models.PositiveBigIntegerField(default=1, null=True)"),
            [
                {
                    "altered": True,
                    "old.type": "integer",
                    "field.null": True,
                    "old.null": False,
                    "field.check": '"price" >= 0',
                }
            ],
            id="alter",
        ),
        pytest.param(
            PRICE.format("AlterField", 'models.IntegerField("Price", default=0, help_text="in cents")'),
            [{"altered": False}],
            id="alter_what_the_database_does_not_know",
        ),
        pytest.param(
            'migrations.AlterField("product", "id", models.AutoField(primary_key=True)),',
            [{"old.auto": True, "field.auto": True, "field.primary_key": True, "referring": []}],
            id="alter_key",
        ),
        pytest.param(
            'migrations.RenameField("product", "price", "cost"),',
            [{"old.column": "price", "field.column": "cost", "new_column": False}],
            id="rename_field",
        ),
        pytest.param(
            'migrations.RenameModel("Product", "Article"),',
            [{"old_table": "shop_product", "table": "shop_article", "renamed": []}],
            id="rename_model",
        ),
        pytest.param(
            'migrations.AddField("product", "like", models.ManyToManyField("shop.Product")),\n'
            '        migrations.AlterModelTable("product", "goods"),',
            [{"type": "AddField"}, {"type": "AlterModelTable", "old_table": "shop_product", "table": "goods"}],
            id="rename_table",
        ),
        pytest.param(
            'migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True))]),\n'
            '        migrations.AddField("shelf", "a", models.IntegerField()),\n'
            '        migrations.AddIndex("shelf", models.Index(fields=["a"], name="shelf_a")),\n'
            '        migrations.RenameModel("Shelf", "Board"),\n'
            '        migrations.AddField("board", "b", models.IntegerField()),\n'
            '        migrations.DeleteModel("Board"),',
            [{"new_table": True}] * 6,
            id="new_table",
        ),
        pytest.param(
            'migrations.AddField("product", "a", models.IntegerField(null=True)),\n'
            '        migrations.RenameField("product", "a", "b"),\n'
            '        migrations.AlterField("product", "b", models.IntegerField()),\n'
            '        migrations.RemoveField("product", "b"),',
            [{"new_column": False}, {"new_column": True}, {"new_column": True}, {"new_column": True}],
            id="new_column",
        ),
        pytest.param(
            'migrations.AddIndex("product", models.Index(fields=["price"], name="by_price")),',
            [{"type": "AddIndex", "name": "by_price", "code": "models.Index(fields=['price'], name='by_price')"}],
            id="index",
        ),
        pytest.param(
            'migrations.AddConstraint("product", models.UniqueConstraint(fields=["name", "price"], name="once")),',
            [{"kind": "unique", "name": "once", "columns": ["name", "price"], "harmless": False, "not_valid": False}],
            id="unique_constraint",
        ),
        pytest.param(
            'migrations.AddField("product", "a", models.IntegerField(null=True)),\n'
            '        migrations.AddConstraint("product", models.UniqueConstraint(fields=["name", "a"], name="once")),',
            [{}, {"kind": "unique", "harmless": True}],
            id="unique_constraint_of_a_new_column",
        ),
        pytest.param(
            'migrations.AlterUniqueTogether("product", {("name", "price")}),',
            [{"added": [["name", "price"]], "removed": []}],
            id="unique_together",
        ),
        pytest.param(
            'migrations.AlterOrderWithRespectTo("product", None),',
            [{"field": None, "comes": False}],
            id="order",
        ),
        pytest.param(
            'migrations.AlterModelOptions("product", {"ordering": ["name"]}),',
            [{"type": "AlterModelOptions"}],
            id="options",
        ),
        pytest.param(
            'migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("product", "price")]),',
            [{"nothing": True}],
            id="state_only",
        ),
        pytest.param(
            "migrations.SeparateDatabaseAndState(\n"
            '    database_operations=[migrations.RemoveField("product", "price"), migrations.RunSQL("SELECT 1")]\n'
            "        ),",
            [{"type": "RemoveField", "field.column": "price"}, {"type": "RunSQL", "statements": ["SELECT 1"]}],
            id="database_only",
        ),
        pytest.param(
            'migrations.CreateModel("View", [("id", models.IntegerField(primary_key=True))], {"managed": False}),',
            [{"nothing": True}],
            id="unmanaged",
        ),
        pytest.param(
            "migrations.RunPython(migrations.RunPython.noop),\n"
            "        migrations.RunPython(print, migrations.RunPython.noop),\n"
            "        migrations.RunPython(print, print, elidable=True),",
            [
                {"noop": True, "reverse": "none", "reversible": False},
                {"noop": False, "reverse": "noop", "reversible": True, "function": "print"},
                {"reverse": "code", "elidable": True},
            ],
            id="python",
        ),
        pytest.param(
            'migrations.RunSQL(""),\n'
            '        migrations.RunSQL([("SELECT %s", [1]), "SELECT 2"], migrations.RunSQL.noop),\n'
            '        migrations.RunSQL("SELECT 3", "SELECT 4"),',
            [
                {"noop": True, "reverse": "none", "statements": []},
                {"noop": False, "reverse": "noop", "statements": ["SELECT %s", "SELECT 2"]},
                {"reverse": "code"},
            ],
            id="sql",
        ),
    ],
)
def test_operation_is_told_in_the_words_of_the_database(applied: Any, operations: str, expected: list[Any]) -> None:
    write(applied, operations)
    before = applied.contents()
    result = look(applied)
    assert applied.contents() == before
    (entry,) = result.facts["plan"]
    assert entry["migration"] == "shop.0003_case"
    assert len(entry["details"]) == len(expected)
    for detail, wanted in zip(entry["details"], expected, strict=True):
        for path, value in wanted.items():
            found = detail
            for key in path.split("."):
                found = found[key]
            assert found == value, path


def test_facts_beside_the_plan(applied: Any) -> None:
    write(applied, PRICE.format("RemoveField", "").replace(", ),", "),"), head='djdeploy = "contract"')
    result = look(applied)
    (entry,) = result.facts["plan"]
    assert (entry["declared"], entry["fresh"], entry["new_app"], entry["package"]) == ("contract", False, False, False)
    assert result.facts["known"]["shop"] == ["0001_initial", "0002_price", "0003_case"]
    assert "0001_initial" in result.facts["known"]["auth"]
    assert result.facts["recorded"] > 2
    assert (result.facts["vendor"], result.facts["tables"], result.facts["invalid_indexes"]) == ("sqlite", {}, [])
    assert any('ALTER TABLE "shop_product" DROP COLUMN "price"' in line for line in entry["sql"])


def test_without_being_asked_nothing_is_looked_at(applied: Any) -> None:
    write(applied, "migrations.RunPython(print),")
    result = look(applied, detail=False)
    assert set(result.facts["plan"][0]) == {"migration", "backwards", "operations", "atomic", "reversible"}
    assert "known" not in result.facts


def test_empty_database_has_nobody_to_harm(project: Any) -> None:
    plan = look(project).facts["plan"]
    assert all(entry["fresh"] for entry in plan)
    assert {entry["migration"].partition(".")[0]: entry["package"] for entry in plan} == {
        "admin": True,
        "auth": True,
        "contenttypes": True,
        "sessions": True,
        "shop": False,
    }
    judged = migrations.judge(plan, {}, vendor="sqlite", declared={}, big_table=1)
    assert {one.kind for one in judged} == {"additive"}


def test_app_that_is_new_to_the_database(applied: Any) -> None:
    applied.write("news/__init__.py", "")
    applied.write("news/migrations/__init__.py", "")
    applied.write(
        "news/migrations/0001_initial.py",
        "from django.db import migrations\n\nclass Migration(migrations.Migration):\n"
        "    operations = [migrations.RunPython(print)]\n",
    )
    applied.settings('INSTALLED_APPS += ["news"]')
    (entry,) = look(applied).facts["plan"]
    assert (entry["fresh"], entry["new_app"], entry["package"]) == (False, True, False)
    (judged,) = migrations.judge([entry], {}, vendor="sqlite", declared={}, big_table=1)
    assert judged.kind == "unknown"


def test_several_migrations_see_what_those_before_them_did(applied: Any) -> None:
    write(applied, 'migrations.CreateModel("Shelf", [("id", models.BigAutoField(primary_key=True))]),', name="0003_a")
    write(applied, 'migrations.AddField("shelf", "a", models.IntegerField()),', name="0004_b", after="0003_a")
    write(applied, 'migrations.RemoveField("shelf", "a"),', name="0005_c", after="0004_b")
    plan = look(applied).facts["plan"]
    assert [entry["details"][0]["new_table"] for entry in plan] == [True, True, True]
    assert plan[2]["details"][0]["field"]["type"] == "integer"


def test_backwards_tells_the_same_operations_and_the_statements_of_the_way_back(applied: Any) -> None:
    write(applied, 'migrations.AddField("product", "size", models.IntegerField(null=True)),')
    applied.run({"name": "migrate"})
    plan = look(applied, app="shop", target="0001").facts["plan"]
    assert [(entry["migration"], entry["backwards"]) for entry in plan] == [
        ("shop.0003_case", True),
        ("shop.0002_price", True),
    ]
    assert [entry["details"][0]["text"] for entry in plan] == [
        "Add field size to product",
        "Add field price to product",
    ]
    assert any('DROP COLUMN "size"' in line for line in plan[0]["sql"])
    judged = migrations.judge(plan, {}, vendor="sqlite", declared={}, big_table=1)
    assert [one.kind for one in judged] == ["contract", "contract"]
    assert [found.verdict for found in migrations.judge_reverse(plan)] == ["lossy", "lossy"]


OWN = """
class Better(migrations.AddField):
    pass

class Shard(migrations.AddField):
    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        open("ran", "w").close()
"""


def test_somebody_elses_operation_is_unknown_and_never_run(applied: Any) -> None:
    operations = (
        'Better("product", "a", models.IntegerField(null=True)),\n'
        '        Shard("product", "b", models.IntegerField(null=True)),'
    )
    write(applied, operations, module=OWN)
    (entry,) = look(applied).facts["plan"]
    assert [detail["type"] for detail in entry["details"]] == ["AddField", "unknown"]
    assert entry["details"][1]["class"].endswith("Shard")
    assert entry["sql"][-1] == "-- this is not Django's code: it is not asked for its SQL before it runs"
    assert not (applied.root / "ran").exists()


def test_statements_that_cannot_be_shown_before_they_run(applied: Any) -> None:
    write(applied, 'migrations.RunSQL([("one", "two", "three")]),')
    (entry,) = look(applied).facts["plan"]
    assert entry["sql"][-1].startswith("-- the rest cannot be shown before it runs: ValueError: Expected a 2-tuple")
    (judged,) = migrations.judge([entry], {}, vendor="sqlite", declared={}, big_table=1)
    assert judged.kind == "unknown"
