# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes visitors wait on MariaDB and MySQL (InnoDB), in place of what does on PostgreSQL.

The facts are those of MariaDB's documentation (InnoDB Online DDL Operations with the INPLACE, NOCOPY and INSTANT
algorithms), and hold for every version since 10.6:

* An index, unique or not, is built while others read and write. ADD COLUMN touches no row.
* A foreign key, a CHECK, a column of another type and a stored generated column copy the whole table, and nobody can
  write it meanwhile. Django adds the key of a new column in the same statement as the column.
* A varchar grows in place, but not over 255 bytes from below, for then its length takes two bytes. A character of
  utf8mb4 counts as four.
* NOT NULL is preceded by Django's UPDATE of the rows that are NULL, which locks them.

What an old release could not live with is the same on every database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Detail = Mapping[str, Any]
Objection = tuple[str, str, str]

CONTRACT, BLOCKING = "contract", "blocking"  # of `migrations`, which imports this
SHORT = 255  # bytes of a varchar whose length takes one byte
BYTES = 4  # of a character of utf8mb4
SQL = re.compile(r"(?:ALTER|DROP) TABLE .*")
RECIPE = (
    "Run it when few are here, behind the maintenance page. Or change the table beside the site, with a tool that\n"
    "copies it in pieces (pt-online-schema-change, gh-ost), and let Django only know:\n"
    "  migrations.SeparateDatabaseAndState(state_operations=[...])"
)


def adapted(found: Sequence[Objection], detail: Detail, is_big: Callable[[str], bool]) -> list[Objection]:
    """What speaks against an operation, as it is on this kind of database.

    :param found: what would speak against it on PostgreSQL.
    :param is_big: whether visitors would notice that a table is copied.
    """
    kept = [(kind, why, in_backticks(recipe)) for kind, why, recipe in found if kind != BLOCKING]
    tables = [detail["table"], *(detail.get("referring") or ())] if detail.get("table") else []
    big = [table for table in tables if is_big(table)]
    if not big:
        return kept
    # A type that changes in a key changes in every table that points to it; nothing else reaches so far.
    why = copies(detail) if is_big(detail["table"]) else ""
    why = why or (retyped(detail) if detail["type"] == "AlterField" else "")
    if not why:
        return kept
    return [*kept, (BLOCKING, f"{why}: {', '.join(big)} is copied, and nobody can write it meanwhile", RECIPE)]


def copies(detail: Detail) -> str:
    """Why the table of an operation is copied; empty when it is not."""
    new, old, kind = detail.get("field"), detail.get("old"), detail["type"]
    if kind in ("AddConstraint", "AddConstraintNotValid"):
        return "the check is held against each row" if detail.get("kind") == "check" else ""
    if not new or new.get("m2m") or kind not in ("AddField", "AlterField"):
        return ""
    column = f"{detail['table']}.{new['column']}"
    if kind == "AddField" or detail.get("new_column") or not old:
        if new["constraint"]:
            return f"the foreign key {column} is made with the column"
        if new["generated"] == "stored" or new["auto"] or new["check"]:
            return f"{column} has to be computed or checked for each row"
        return ""
    if not detail.get("altered", True) or old.get("m2m"):
        return ""
    if new["constraint"]:
        return f"the foreign key {column} is made anew"
    if old["null"] and not new["null"]:
        return f"{column} is filled where it is NULL"
    if new["check"] and new["check"] != old["check"]:
        return f"the check of {column} is held against each row"
    return ""


def retyped(detail: Detail) -> str:
    """Why a column of another type is no matter of a moment; empty when it is, or the type stays."""
    old, new = detail["old"], detail["field"]
    if not detail.get("altered", True) or old["m2m"] or new["m2m"] or old["type"] == new["type"]:
        return ""
    before, after = characters(old["type"]), characters(new["type"])
    if before and before <= after and (before * BYTES > SHORT or after * BYTES <= SHORT):
        return ""
    return f"{detail['table']}.{old['column']} changes from {old['type']} to {new['type']}"


def characters(column_type: str | None) -> int:
    """How many characters a varchar holds; 0 for another type."""
    found = re.fullmatch(r"varchar\((\d+)\)", column_type or "")
    return int(found[1]) if found else 0


def in_backticks(recipe: str) -> str:
    """A recipe whose SQL quotes names as this kind of database does."""
    return SQL.sub(lambda statement: re.sub(r'"(\w+)"', r"`\1`", statement[0]), recipe)
