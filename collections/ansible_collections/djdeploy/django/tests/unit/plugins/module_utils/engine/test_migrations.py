# SPDX-License-Identifier: GPL-3.0-or-later
"""The class of each operation, what may run, and what going back would cost: tables over plain data."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import migrations
from ansible_collections.djdeploy.django.plugins.module_utils.engine.migrations import Gate, Judged, Reason

TABLES = {
    "shop_small": {"rows": 10, "bytes": 8192},
    "shop_big": {"rows": 5_000_000, "bytes": 2**30},
    "shop_edge": {"rows": 100_000, "bytes": 2**24},
    "shop_below": {"rows": 99_999, "bytes": 2**24},
    "shop_strange": {"rows": None, "bytes": 0},
    "shop_empty": {"rows": 0, "bytes": 0},
}
M2M = {"table": "shop_small_tags", "columns": ["small_id", "tag_id"], "auto": True}


def field(**facts: Any) -> dict[str, Any]:
    """A nullable integer column without anything, as the agent describes one, but for what is given."""
    usual = {
        "name": "price", "kind": "IntegerField", "column": "price", "type": "integer", "check": None,
        "collation": None, "null": True, "unique": False, "primary_key": False, "index": False, "auto": False,
        "default": False, "db_default": None, "volatile": False, "generated": None, "relation": None,
        "constraint": False, "m2m": None, "code": "models.IntegerField()",
        "nullable": "models.IntegerField(null=True)", "kept": None,
    }  # fmt: skip
    return {**usual, **facts}


def operation(of_type: str, table: str = "shop_small", /, **facts: Any) -> dict[str, Any]:
    usual = {"type": of_type, "class": f"django.{of_type}", "text": of_type, "reversible": True, "nothing": False}
    return {**usual, "model": "Product", "table": table, "new_table": False, "new_column": False, **facts}


def entry(*details: dict[str, Any], **facts: Any) -> dict[str, Any]:
    usual = {"migration": "shop.0002_x", "backwards": False, "atomic": True, "sql": ["SELECT 1;"], "declared": None}
    return {**usual, "fresh": False, "new_app": False, "package": False, "details": list(details), **facts}


def judged(*entries: dict[str, Any], vendor: str = "postgresql", declared: dict[str, str] | None = None) -> Judged:
    (one,) = migrations.judge(entries, TABLES, vendor=vendor, declared=declared or {}, big_table=100_000)
    return one


def add(table: str = "shop_small", **facts: Any) -> dict[str, Any]:
    return operation("AddField", table, field=field(**facts))


def alter(table: str = "shop_small", old: dict[str, Any] | None = None, **new: Any) -> dict[str, Any]:
    return operation("AlterField", table, old=field(**(old or {})), field=field(**new), altered=True)


def retype(old: str, new: str, table: str = "shop_small", **both: Any) -> dict[str, Any]:
    return alter(table, {"type": old, **both}, type=new, **both)


def constraint(kind: str, table: str = "shop_small", /, **facts: Any) -> dict[str, Any]:
    given = {"kind": kind, "name": "rule", "columns": ["price"], "not_valid": False, "harmless": False, "code": "C()"}
    return operation("AddConstraint", table, **{**given, **facts})


NOT_NULL: dict[str, Any] = {"null": False}
KEY: dict[str, Any] = {"relation": "shop_owner", "constraint": True}

OPERATIONS = [
    # --- tables
    ("create_model", operation("CreateModel"), ""),
    ("delete_model", operation("DeleteModel"), "contract"),
    ("delete_model_of_the_same_plan", operation("DeleteModel", new_table=True), ""),
    ("delete_unmanaged_model", operation("DeleteModel", nothing=True), ""),
    ("rename_model", operation("RenameModel", old_table="shop_old", renamed=[]), "contract"),
    ("rename_model_same_table", operation("RenameModel", old_table="shop_small", renamed=[]), ""),
    ("rename_model_many_to_many", operation("RenameModel", old_table="shop_small", renamed=["a_b"]), "contract"),
    ("rename_table", operation("AlterModelTable", old_table="shop_old", renamed=[]), "contract"),
    ("rename_table_same", operation("AlterModelTable", old_table="shop_small", renamed=[]), ""),
    # --- columns that come
    ("add_nullable", add("shop_big"), ""),
    ("add_nullable_with_python_default", add("shop_big", default=True), ""),
    ("add_not_null", add(null=False), "contract"),
    ("add_not_null_with_python_default", add(null=False, default=True), "contract"),
    ("add_not_null_new_table", {**add(null=False), "new_table": True}, ""),
    ("add_db_default", add("shop_big", null=False, db_default="5"), ""),
    ("add_volatile_small", add(null=False, db_default="RANDOM()", volatile=True), ""),
    ("add_volatile_big", add("shop_big", null=False, db_default="RANDOM()", volatile=True), "blocking"),
    ("add_stored_small", add(null=False, generated="stored"), ""),
    ("add_stored_big", add("shop_big", null=False, generated="stored"), "blocking"),
    ("add_virtual_big", add("shop_big", null=False, generated="virtual"), ""),
    ("add_unique_small", add(unique=True), ""),
    ("add_unique_big", add("shop_big", unique=True), "blocking"),
    ("add_unique_constant", add(null=False, unique=True, db_default="1"), "contract"),
    ("add_unique_volatile", add(null=False, unique=True, db_default="R()", volatile=True), ""),
    ("add_index_small", add(index=True), ""),
    ("add_index_big", add("shop_big", index=True), "blocking"),
    ("add_check_big", add("shop_big", check='"price" >= 0'), "blocking"),
    ("add_key_small", add(index=True, **KEY), ""),
    ("add_key_big", add("shop_big", index=True, **KEY), "blocking"),
    ("add_key_big_without_index", add("shop_big", **KEY), ""),
    ("add_key_big_with_default", add("shop_big", null=False, db_default="1", **KEY), "blocking"),
    ("add_primary_key", add(null=False, primary_key=True, unique=True, auto=True), "contract"),
    ("add_many_to_many", add("shop_big", m2m=M2M, column=None), ""),
    ("add_not_null_big_indexed", add("shop_big", null=False, index=True), "contract blocking"),
    ("order_comes", operation("AlterOrderWithRespectTo", comes=True, field=field(null=False)), "contract"),
    ("order_goes", operation("AlterOrderWithRespectTo", comes=False, field=field(null=False)), "contract"),
    ("order_stays", operation("AlterOrderWithRespectTo", comes=True, field=None), ""),
    # --- columns that go or change their name
    ("remove_field", operation("RemoveField", field=field()), "contract"),
    ("remove_field_of_the_same_plan", operation("RemoveField", field=field(), new_column=True), ""),
    ("remove_many_to_many", operation("RemoveField", field=field(m2m=M2M)), "contract"),
    ("remove_through", operation("RemoveField", field=field(m2m={**M2M, "auto": False})), ""),
    ("rename_field", operation("RenameField", old=field(), field=field(name="cost", column="cost")), "contract"),
    ("rename_field_same_column", operation("RenameField", old=field(), field=field(name="cost")), ""),
    (
        "rename_many_to_many",
        operation("RenameField", old=field(m2m=M2M), field=field(m2m={**M2M, "table": "other"})),
        "contract",
    ),
    # --- columns that change
    ("alter_nothing", {**alter(null=False, default=True), "altered": False}, ""),
    ("alter_help_text", alter(), ""),
    ("to_not_null", alter(null=False), "contract"),
    ("to_not_null_big", alter("shop_big", null=False), "contract blocking"),
    ("to_nullable", alter("shop_big", NOT_NULL), ""),
    ("nullable_key_big", alter("shop_big", {**NOT_NULL, **KEY}, **KEY), "blocking"),
    ("nullable_key_small", alter("shop_small", {**NOT_NULL, **KEY}, **KEY), ""),
    ("column_renamed", alter(column="cost"), "contract"),
    ("db_default_comes", alter("shop_big", NOT_NULL, null=False, db_default="1"), ""),
    ("db_default_changes", alter("shop_big", {"db_default": "1"}, db_default="2"), ""),
    ("db_default_goes", alter("shop_small", {"db_default": "1"}), "contract"),
    ("unique_comes", alter(unique=True), "contract"),
    ("unique_comes_big", alter("shop_big", unique=True), "contract blocking"),
    ("unique_goes", alter("shop_big", {"unique": True}), ""),
    ("index_comes_small", alter(index=True), ""),
    ("index_comes_big", alter("shop_big", index=True), "blocking"),
    ("index_goes", alter("shop_big", {"index": True}), ""),
    ("check_comes", alter(check='"price" >= 0'), "contract"),
    ("check_comes_big", alter("shop_big", check='"price" >= 0'), "contract blocking"),
    ("check_goes", alter("shop_big", {"check": '"price" >= 0'}), ""),
    ("key_comes", alter(**KEY), "contract"),
    ("key_comes_big", alter("shop_big", **KEY), "contract blocking"),
    ("key_goes", alter("shop_big", KEY, relation="shop_owner"), ""),
    ("key_points_elsewhere", alter("shop_small", KEY, relation="shop_other", constraint=True), "contract"),
    ("primary_key_changes", alter(primary_key=True), "contract"),
    ("collation_changes", alter(collation="de"), "contract"),
    ("becomes_auto", alter(auto=True), "contract"),
    ("many_to_many_changes", alter("shop_small", {"m2m": M2M}, m2m={**M2M, "table": "other"}), "contract"),
    ("many_to_many_stays", alter("shop_small", {"m2m": M2M}, m2m=M2M), ""),
    ("new_column_to_not_null", {**alter(null=False), "new_column": True}, "contract"),
    ("new_column_stays_nullable", {**alter(unique=True), "new_column": True}, ""),
    # --- types
    ("longer_varchar", retype("varchar(5)", "varchar(6)", "shop_big"), ""),
    ("unbounded_varchar", retype("varchar(5)", "varchar", "shop_big"), ""),
    ("varchar_to_text", retype("varchar(5)", "text", "shop_big"), ""),
    ("varchar_to_text_indexed", retype("varchar(5)", "text", "shop_big", index=True), "blocking"),
    ("longer_varchar_indexed", retype("varchar(5)", "varchar(6)", "shop_big", index=True), ""),
    ("shorter_varchar", retype("varchar(6)", "varchar(5)"), "contract"),
    ("shorter_varchar_big", retype("varchar(6)", "varchar(5)", "shop_big"), "contract blocking"),
    ("text_to_varchar", retype("text", "varchar(5)"), "contract"),
    ("text_to_unbounded_varchar", retype("text", "varchar", "shop_big"), ""),
    ("wider_integer", retype("integer", "bigint"), ""),
    ("wider_integer_big", retype("integer", "bigint", "shop_big"), "blocking"),
    ("wider_integer_big_elsewhere", {**retype("integer", "bigint"), "referring": ["shop_big"]}, "blocking"),
    ("narrower_integer", retype("bigint", "integer"), "contract"),
    ("more_digits", retype("numeric(6, 2)", "numeric(8, 2)", "shop_big"), ""),
    ("other_scale", retype("numeric(6, 2)", "numeric(8, 3)", "shop_big"), "contract blocking"),
    ("fewer_digits", retype("numeric(8, 2)", "numeric(6, 2)"), "contract"),
    ("other_type", retype("integer", "varchar(9)"), "contract"),
    ("longer_array", retype("varchar(5)[]", "varchar(6)[]"), "contract"),
    # --- indexes and constraints
    ("index_small", operation("AddIndex", "shop_small"), ""),
    ("index_below", operation("AddIndex", "shop_below"), ""),
    ("index_edge", operation("AddIndex", "shop_edge"), "blocking"),
    ("index_big", operation("AddIndex", "shop_big"), "blocking"),
    ("index_size_unknown", operation("AddIndex", "shop_strange"), "blocking"),
    ("index_table_unknown", operation("AddIndex", "shop_unheard_of"), "blocking"),
    ("index_new_table", operation("AddIndex", "shop_unheard_of", new_table=True), ""),
    ("index_concurrently", operation("AddIndexConcurrently", "shop_big"), ""),
    ("remove_index", operation("RemoveIndex", "shop_big"), ""),
    ("rename_index", operation("RenameIndex", "shop_big"), ""),
    ("check", constraint("check"), "contract"),
    ("check_big", constraint("check", "shop_big"), "contract blocking"),
    ("check_not_valid_big", constraint("check", "shop_big", type="AddConstraintNotValid", not_valid=True), "contract"),
    ("unique_constraint", constraint("unique"), "contract"),
    ("unique_constraint_big", constraint("unique", "shop_big"), "contract blocking"),
    ("unique_constraint_of_new_column", constraint("unique", harmless=True), ""),
    ("unique_constraint_of_new_column_big", constraint("unique", "shop_big", harmless=True), "blocking"),
    ("exclusion", constraint("exclusion"), "contract"),
    ("exclusion_big", constraint("exclusion", "shop_big"), "contract blocking"),
    ("constraint_new_table", constraint("unique", "shop_unheard_of", new_table=True), ""),
    ("validate", operation("ValidateConstraint", "shop_big"), ""),
    ("remove_constraint", operation("RemoveConstraint", "shop_big"), ""),
    ("unique_together", operation("AlterUniqueTogether", added=[["a", "b"]], removed=[]), "contract"),
    ("unique_together_goes", operation("AlterUniqueTogether", added=[], removed=[["a", "b"]]), ""),
    ("index_together_big", operation("AlterIndexTogether", "shop_big", added=[["a"]], removed=[]), "blocking"),
    ("index_together_goes", operation("AlterIndexTogether", "shop_big", added=[], removed=[["a"]]), ""),
    # --- the rest
    ("options", operation("AlterModelOptions"), ""),
    ("extension", operation("CreateExtension"), ""),
    ("collation_goes", operation("RemoveCollation"), "contract"),
    ("python", operation("RunPython", noop=False, function="fill"), "unknown"),
    ("python_noop", operation("RunPython", noop=True), ""),
    ("python_elsewhere", operation("RunPython", noop=False, nothing=True), ""),
    ("sql", operation("RunSQL", noop=False, statements=["DROP TABLE x"]), "unknown"),
    ("sql_new_table", operation("RunSQL", noop=False, statements=["DROP TABLE x"], new_table=True), "unknown"),
    ("sql_noop", operation("RunSQL", noop=True, statements=[]), ""),
    ("third_party", operation("unknown", **{"class": "acme.Shard"}), "unknown"),
    ("third_party_new_table", operation("unknown", new_table=True), "unknown"),
]


@pytest.mark.parametrize(("detail", "kinds"), [pytest.param(d, k, id=i) for i, d, k in OPERATIONS])
def test_class_of_an_operation(detail: dict[str, Any], kinds: str) -> None:
    found = judged(entry(detail))
    assert found.kinds == (tuple(kinds.split()) or ("additive",))
    assert found.kind == (kinds.split() or ["additive"])[0]
    assert found.sql == ("SELECT 1;",)
    for reason in found.reasons:
        assert reason.operation == detail["text"]
        assert reason.why and reason.recipe
        assert "None" not in reason.why + reason.recipe


@pytest.mark.parametrize(("detail", "kinds"), [pytest.param(d, k, id=i) for i, d, k in OPERATIONS])
def test_sqlite_has_the_same_rules_but_no_locks(detail: dict[str, Any], kinds: str) -> None:
    expected = tuple(kind for kind in kinds.split() if kind != "blocking") or ("additive",)
    if detail["type"] == "AlterField" and (detail["old"]["type"], detail["field"]["type"]) == ("bigint", "integer"):
        expected = ("additive",)  # one storage class for all whole numbers
    assert judged(entry(detail), vendor="sqlite").kinds == expected


def test_migration_has_the_worst_of_its_operations() -> None:
    python = operation("RunPython", noop=False, function="fill")
    found = judged(entry(add("shop_big", index=True), python, operation("RemoveField", field=field())))
    assert found.kind == "contract"
    assert [reason.kind for reason in found.reasons] == ["contract", "blocking", "unknown"]
    assert judged(entry(python, add("shop_big", index=True))).kind == "blocking"


PYTHON = operation("RunPython", noop=False, function="fill")
BREAKS = operation("RemoveField", field=field())


@pytest.mark.parametrize(
    ("facts", "details", "declared", "kind"),
    [
        pytest.param({"declared": "additive"}, [PYTHON], {}, "additive", id="says_of_itself"),
        pytest.param({"declared": "contract"}, [PYTHON], {}, "contract", id="says_that_it_breaks"),
        pytest.param({"declared": "blocking"}, [PYTHON], {}, "blocking", id="says_that_it_waits"),
        pytest.param({"declared": "safe"}, [PYTHON], {}, "unknown", id="says_no_word_of_ours"),
        pytest.param({"declared": "safe"}, [], {}, "unknown", id="a_word_nobody_knows_is_not_passed_over"),
        pytest.param({"declared": True}, [], {}, "unknown", id="not_even_a_word"),
        pytest.param({"declared": "additive"}, [BREAKS], {}, "contract", id="never_lighter_than_judged"),
        pytest.param({"declared": "additive"}, [BREAKS, PYTHON], {}, "contract", id="answers_only_what_is_unknown"),
        pytest.param({"declared": "contract"}, [], {}, "contract", id="may_be_heavier"),
        pytest.param({}, [PYTHON], {"shop.0002_x": "additive"}, "additive", id="operator_declares"),
        pytest.param({}, [BREAKS], {"shop.0002_x": "additive"}, "additive", id="operator_has_the_last_word"),
        pytest.param({"declared": "additive"}, [PYTHON], {"shop.0002_x": "blocking"}, "blocking", id="also_over_it"),
        pytest.param({}, [PYTHON], {"shop.*": "additive"}, "additive", id="a_whole_app"),
        pytest.param({}, [PYTHON], {"shop.*": "additive", "shop.0002_x": "contract"}, "contract", id="nearest_wins"),
        pytest.param({}, [PYTHON], {"shop.0002": "additive", "shopper.*": "additive"}, "unknown", id="another_one"),
        pytest.param({"fresh": True}, [PYTHON, BREAKS], {}, "additive", id="an_empty_database_has_no_live_code"),
        pytest.param({"new_app": True, "package": True}, [PYTHON], {}, "additive", id="package_fills_its_tables"),
        pytest.param({"new_app": True, "package": True}, [BREAKS], {}, "contract", id="package_breaks_others"),
        pytest.param({"new_app": True}, [PYTHON], {}, "unknown", id="an_app_of_the_project"),
        pytest.param({"package": True}, [PYTHON], {}, "unknown", id="package_that_was_there"),
        pytest.param({"details": None}, [], {}, "unknown", id="could_not_be_read"),
    ],
)
def test_what_is_declared(facts: dict[str, Any], details: list[Any], declared: dict[str, str], kind: str) -> None:
    assert judged({**entry(*details), **facts}, declared=declared).kind == kind


@pytest.mark.parametrize(
    ("detail", "kind"),
    [
        pytest.param(add(), "contract", id="column_goes"),
        pytest.param(operation("CreateModel", new_table=True), "contract", id="table_goes"),
        pytest.param(operation("DeleteModel"), "additive", id="table_comes"),
        pytest.param(operation("RemoveField", field=field()), "additive", id="column_comes"),
        pytest.param(operation("RemoveField", field=field(null=False)), "contract", id="not_null_column_comes"),
        pytest.param(retype("integer", "bigint"), "contract", id="type_narrows"),
        pytest.param(retype("varchar(9)", "varchar(5)"), "additive", id="type_widens"),
        pytest.param(operation("RemoveIndex", "shop_big"), "blocking", id="index_comes"),
        pytest.param(operation("AddIndex", "shop_big"), "additive", id="index_goes"),
        pytest.param(operation("RenameModel", old_table="shop_old", renamed=[]), "contract", id="renamed"),
        pytest.param(operation("RunPython", noop=False, reverse="noop"), "additive", id="code_without_way_back"),
        pytest.param(operation("RunPython", noop=True, reverse="code"), "unknown", id="code_of_the_way_back"),
        pytest.param(
            operation("AlterUniqueTogether", added=[], removed=[["a"]]), "contract", id="unique_together_comes"
        ),
        pytest.param(
            operation("AlterOrderWithRespectTo", comes=False, field=field(null=False)), "contract", id="order_comes"
        ),
    ],
)
def test_backwards_counts_what_is_done(detail: dict[str, Any], kind: str) -> None:
    assert judged(entry(detail, backwards=True)).kind == kind


def one(kind: str, *more: str, name: str = "shop.0002_x") -> Judged:
    kinds = [each for each in (kind, *more) if each != "additive"]
    return Judged(name, kind, tuple(Reason(each, "Alter it", f"it is {each}", "Do it so.") for each in kinds))


@pytest.mark.parametrize(
    ("plan", "allow", "refused", "maintenance"),
    [
        pytest.param([], [], 0, False, id="nothing"),
        pytest.param([one("additive")], [], 0, False, id="additive"),
        pytest.param([one("contract")], [], 1, True, id="contract"),
        pytest.param([one("contract")], ["contract"], 0, True, id="contract_allowed"),
        pytest.param([one("contract")], ["blocking"], 1, True, id="another_class_allowed"),
        pytest.param([one("contract", "blocking")], ["contract"], 1, True, id="only_one_of_its_classes"),
        pytest.param([one("contract", "blocking")], ["blocking", "contract"], 0, True, id="all_of_its_classes"),
        pytest.param([one("unknown")], ["contract"], 1, True, id="unknown"),
        pytest.param([one("unknown")], ["contract", "blocking"], 0, True, id="unknown_is_no_worse_than_all"),
        pytest.param([one("additive"), one("contract"), one("blocking")], ["blocking"], 1, True, id="several"),
    ],
)
def test_gate(plan: list[Judged], allow: list[str], refused: int, maintenance: bool) -> None:
    found = migrations.gate(plan, allow)
    assert (len(found.refused), found.maintenance) == (refused, maintenance)


def test_refusal_of_what_would_break() -> None:
    gate = Gate((one("contract", "blocking", name="shop.0007_drop"), one("blocking", name="shop.0008_index")))
    error = migrations.refusal(gate, "shop")
    assert error.message == (
        "shop.0007_drop is not run: 'Alter it' would break the release that is live: it is contract (and 1 more)"
    )
    assert "git push -o allow=contract,blocking HOST main" in error.hint
    assert "djdeploy deploy shop REV --allow contract,blocking" in error.hint
    assert "-e allow=contract,blocking" in error.hint
    assert "migrations: {allow: [contract, blocking]}" in error.hint
    assert "declare" not in error.hint
    assert error.detail.splitlines() == [
        "shop.0007_drop (contract, blocking)",
        "  contract: Alter it: it is contract",
        "    Do it so.",
        "  blocking: Alter it: it is blocking",
        "    Do it so.",
        "",
        "shop.0008_index (blocking)",
        "  blocking: Alter it: it is blocking",
        "    Do it so.",
    ]


def test_refusal_of_what_nobody_can_judge() -> None:
    error = migrations.refusal(Gate((one("unknown", name="shop.0007_fill"),)), "shop")
    assert "shop.0007_fill is not run: 'Alter it' cannot be judged from outside" in error.message
    for way in (
        'djdeploy = "additive"',
        "git push -o declare=shop.0007_fill=additive HOST main",
        "djdeploy deploy shop REV --declare shop.0007_fill=additive",
        "migrations: {declared: {shop.0007_fill: additive}}",
    ):
        assert way in error.hint
    assert "allow" not in error.hint


@pytest.mark.parametrize(
    ("detail", "lines"),
    [
        pytest.param(
            operation("RemoveField", field=field(null=False)),
            [
                'migrations.AlterField("product", "price", models.IntegerField(null=True))',
                'SeparateDatabaseAndState(state_operations=[migrations.RemoveField("product", "price")])',
                'djdeploy = "additive"',
                'ALTER TABLE "shop_small" DROP COLUMN "price"',
            ],
            id="remove_field",
        ),
        pytest.param(
            add(null=False, kept="models.IntegerField(db_default=3)"),
            ["price = models.IntegerField(db_default=3)", "price = models.IntegerField(null=True)"],
            id="add_not_null",
        ),
        pytest.param(
            operation("AddIndex", "shop_big", name="by_price", code='models.Index(fields=["price"], name="by_price")'),
            ["atomic = False", 'AddIndexConcurrently("product", models.Index(fields=["price"], name="by_price"))'],
            id="index",
        ),
        pytest.param(
            operation("RenameField", old=field(), field=field(name="cost", column="cost")),
            ['cost = models.IntegerField(db_column="price")'],
            id="rename_field",
        ),
        pytest.param(
            operation("RenameModel", old_table="shop_old", renamed=[]),
            ['db_table = "shop_old"'],
            id="rename_model",
        ),
        pytest.param(
            constraint("check", "shop_big"),
            ["-o declare=shop.0002_x=additive", 'AddConstraintNotValid("product", C())', "ValidateConstraint("],
            id="check_on_a_big_table",
        ),
        pytest.param(
            constraint("unique", "shop_big"),
            ['CREATE UNIQUE INDEX CONCURRENTLY "rule" ON "shop_big" ("price")', 'UNIQUE USING INDEX "rule"'],
            id="unique_on_a_big_table",
        ),
        pytest.param(
            alter("shop_big", null=False),
            ['CHECK ("price" IS NOT NULL) NOT VALID', 'ALTER "price" SET NOT NULL'],
            id="not_null_on_a_big_table",
        ),
    ],
)
def test_recipe_names_what_is_there(detail: dict[str, Any], lines: list[str]) -> None:
    recipe = "\n".join(reason.recipe for reason in judged(entry(detail)).reasons)
    for line in lines:
        assert line in recipe


@pytest.mark.parametrize(
    ("detail", "verdict"),
    [
        pytest.param(operation("CreateModel"), "lossy", id="create_model"),
        pytest.param(operation("DeleteModel"), "lossy", id="delete_model"),
        pytest.param(add(), "lossy", id="add_field"),
        pytest.param(add(generated="stored"), "lossless", id="add_computed"),
        pytest.param(add(m2m=M2M), "lossy", id="add_many_to_many"),
        pytest.param(add(m2m={**M2M, "auto": False}), "lossless", id="add_through"),
        pytest.param(operation("RemoveField", field=field()), "lossy", id="remove_nullable"),
        pytest.param(operation("RemoveField", field=field(null=False)), "irreversible", id="remove_not_null"),
        pytest.param(operation("RemoveField", "shop_empty", field=field(null=False)), "lossy", id="remove_from_empty"),
        pytest.param(
            operation("RemoveField", "shop_strange", field=field(null=False)), "irreversible", id="remove_from_unknown"
        ),
        pytest.param(operation("RemoveField", field=field(null=False, default=True)), "lossy", id="remove_default"),
        pytest.param(operation("RemoveField", field=field(null=False, db_default="1")), "lossy", id="remove_kept"),
        pytest.param(operation("RemoveField", field=field(m2m=M2M)), "lossy", id="remove_many_to_many"),
        pytest.param(operation("RenameField", old=field(), field=field(column="b")), "lossless", id="rename_field"),
        pytest.param(operation("RenameModel", old_table="a", renamed=[]), "lossless", id="rename_model"),
        pytest.param(operation("AlterModelTable", old_table="a", renamed=[]), "lossless", id="rename_table"),
        pytest.param(retype("varchar(5)", "varchar(9)"), "lossy", id="widened_narrows_back"),
        pytest.param(retype("varchar(9)", "varchar(5)"), "lossless", id="narrowed_widens_back"),
        pytest.param(retype("integer", "bigint"), "lossy", id="wider_integer"),
        pytest.param(retype("bigint", "integer"), "lossless", id="narrower_integer"),
        pytest.param(retype("integer", "text"), "lossy", id="other_type"),
        pytest.param(alter("shop_small", NOT_NULL), "lossy", id="nullable"),
        pytest.param(alter(null=False), "lossless", id="not_null"),
        pytest.param(alter("shop_small", {"m2m": M2M}), "irreversible", id="table_to_column"),
        pytest.param(alter(index=True), "lossless", id="indexed"),
        pytest.param(operation("AddIndex"), "lossless", id="index"),
        pytest.param(constraint("unique"), "lossless", id="constraint"),
        pytest.param(operation("AlterModelOptions"), "lossless", id="options"),
        pytest.param(operation("RunPython", noop=False, reverse="noop"), "lossless", id="python_noop"),
        pytest.param(operation("RunPython", noop=False, reverse="code"), "lossy", id="python_code"),
        pytest.param(operation("RunPython", noop=True, reverse="none"), "irreversible", id="python_none"),
        pytest.param(operation("RunSQL", noop=False, reverse="none"), "irreversible", id="sql_none"),
        pytest.param(operation("AddField", field=field(), reversible=False), "irreversible", id="django_says_so"),
        pytest.param(operation("unknown"), "irreversible", id="third_party"),
        pytest.param(operation("DeleteModel", nothing=True), "lossless", id="state_only"),
        pytest.param(
            operation("AlterOrderWithRespectTo", comes=True, field=field(null=False)), "lossy", id="order_comes"
        ),
    ],
)
def test_way_back(detail: dict[str, Any], verdict: str) -> None:
    plan = [entry(detail)]
    (found,) = migrations.judge_reverse(plan, TABLES)
    assert (found.name, found.operation, found.verdict) == ("shop.0002_x", detail["text"], verdict)
    assert found.why
    assert judged(*plan).reverse == verdict


def test_way_back_is_the_last_operation_first_and_the_worst_of_all() -> None:
    plan = [entry(operation("AddIndex"), add(), operation("RunPython", noop=False, reverse="none"))]
    assert [found.verdict for found in migrations.judge_reverse(plan)] == ["irreversible", "lossy", "lossless"]
    assert judged(*plan).reverse == "irreversible"
    assert judged(entry()).reverse == "lossless"
    assert judged(entry(details=None)).reverse == "irreversible"
    assert judged(entry(fresh=True)).reverse == "lossy"


def test_as_dict_is_plain() -> None:
    found = judged(entry(operation("RemoveField", field=field()), atomic=False)).as_dict()
    assert {key: found[key] for key in ("name", "kind", "atomic", "reverse", "sql")} == {
        "name": "shop.0002_x",
        "kind": "contract",
        "atomic": False,
        "reverse": "lossy",
        "sql": ["SELECT 1;"],
    }
    assert set(found["reasons"][0]) == {"kind", "operation", "why", "recipe"}
