# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes visitors wait on MariaDB, which is not what does on PostgreSQL."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import migrations
from ansible_collections.djdeploy.django.plugins.module_utils.engine.migrations_mysql import in_backticks

FIELD: dict[str, Any] = {
    "name": "price",
    "kind": "IntegerField",
    "column": "price",
    "type": "integer",
    "check": None,
    "collation": None,
    "null": True,
    "unique": False,
    "primary_key": False,
    "index": False,
    "auto": False,
    "default": False,
    "db_default": None,
    "volatile": False,
    "generated": None,
    "relation": None,
    "constraint": False,
    "m2m": None,
    "code": "models.IntegerField()",
    "nullable": "models.IntegerField(null=True)",
    "kept": "",
}
KEY = {"relation": "shop_owner", "constraint": True, "index": True}
TABLES = {"shop_big": {"rows": 10_000_000, "bytes": 1 << 30}, "shop_small": {"rows": 10, "bytes": 16384}}


def kinds(type_: str, /, table: str = "shop_big", vendor: str = "mysql", **detail: Any) -> list[str]:
    one = {"type": type_, "text": "it", "table": table, "model": "Product", **detail}
    entry = {"migration": "shop.0002_x", "details": [one]}
    (judged,) = migrations.judge([entry], TABLES, vendor=vendor, declared={}, big_table=1_000_000)
    return [reason.kind for reason in judged.reasons]


@pytest.mark.parametrize(
    ("kind", "detail", "found"),
    [
        pytest.param("AddIndex", {"name": "i"}, [], id="an index is built beside visitors"),
        pytest.param("AddField", {"field": FIELD}, [], id="a column"),
        pytest.param("AddField", {"field": {**FIELD, "index": True}}, [], id="a column with an index"),
        pytest.param("AddField", {"field": {**FIELD, **KEY}}, ["blocking"], id="a column with a foreign key"),
        pytest.param("AddField", {"field": {**FIELD, "null": False}}, ["contract"], id="an INSERT without it fails"),
        pytest.param("AlterField", {"types": ("varchar(20)", "varchar(60)")}, [], id="a longer varchar"),
        pytest.param("AlterField", {"types": ("varchar(60)", "varchar(100)")}, ["blocking"], id="over 255 bytes"),
        pytest.param("AlterField", {"types": ("varchar(100)", "varchar(200)")}, [], id="beyond 255 bytes before"),
        pytest.param("AlterField", {"types": ("integer", "bigint")}, ["blocking"], id="a larger number"),
        pytest.param(
            "AddConstraint", {"kind": "check", "name": "c"}, ["contract", "blocking"], id="a check reads each row"
        ),
        pytest.param("AddConstraint", {"kind": "unique", "name": "c"}, ["contract"], id="a unique constraint"),
        pytest.param("DeleteModel", {}, ["contract"], id="a table that goes"),
    ],
)
def test_big_tables(kind: str, detail: dict[str, Any], found: list[str]) -> None:
    if types := detail.get("types"):
        detail = {"old": {**FIELD, "type": types[0]}, "field": {**FIELD, "type": types[1]}}
    assert kinds(kind, **detail) == found
    assert "blocking" not in kinds(kind, table="shop_small", **detail), "nobody notices it"


def test_postgresql_is_judged_as_before() -> None:
    assert kinds("AddIndex", vendor="postgresql", name="i") == ["blocking"]


def test_recipes_quote_as_the_database_does() -> None:
    recipe = """migrations.RunSQL('ALTER TABLE "shop_a" DROP COLUMN "b"')\n  djdeploy = "additive" """
    assert (
        in_backticks(recipe)
        == """migrations.RunSQL('ALTER TABLE `shop_a` DROP COLUMN `b`')\n  djdeploy = "additive" """
    )
