# SPDX-License-Identifier: GPL-3.0-or-later
"""What a migration does to the release that is live while it runs, and what going back would cost.

Between `migrate` and `switch` the code of the release before works on the new schema, and after a rollback it does
so for days. So each planned migration is judged by what it does to *that* code:

* `additive`: it keeps working, and nobody waits longer than a moment.
* `contract`: it would break: what it reads is gone, or what it writes is refused.
* `blocking`: it would wait: a big table is locked while it is read or rewritten.
* `unknown`: Python or SQL of the project's own, which only a person can judge.

Everything here is a function of what `agent_operations.py` tells. The facts about PostgreSQL are those of its
manual, pages ALTER TABLE (Notes), CREATE INDEX (Building Indexes Concurrently) and Explicit Locking, and hold for
every version since 11 (those about MariaDB are in `migrations_mysql.py`):

* ADD COLUMN with a default that is not volatile touches no row; with a volatile one, and with GENERATED ... STORED,
  it rewrites the table under ACCESS EXCLUSIVE.
* ADD COLUMN with CHECK or UNIQUE, or REFERENCES and a default, reads the whole table under that lock. REFERENCES
  without a default does not: there is nothing to validate.
* ALTER COLUMN TYPE rewrites the table, except where the old values are valid as they are: a longer varchar, varchar
  to text, numeric with more digits and the same scale.
* SET NOT NULL and ADD CONSTRAINT read the whole table; VALIDATE CONSTRAINT does so, too, but lets others read and
  write. CREATE INDEX lets others read only; with CONCURRENTLY they may write.

And about Django: a Python `default` fills existing rows and is then dropped from the table, so an INSERT that does
not name the column fails on NOT NULL (`db_default`, Django 5.0, stays). Each ALTER of a column with a foreign key
drops that key and makes it anew, which reads the whole table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import migrations_mysql, recipes
from .errors import EngineError

ADDITIVE, CONTRACT, BLOCKING, UNKNOWN = "additive", "contract", "blocking", "unknown"
BY_WEIGHT = (CONTRACT, BLOCKING, UNKNOWN, ADDITIVE)  # a migration has the first of these that one of its reasons has
DECLARABLE = (ADDITIVE, CONTRACT, BLOCKING)
LOSSLESS, LOSSY, IRREVERSIBLE = "lossless", "lossy", "irreversible"
VERDICTS = (IRREVERSIBLE, LOSSY, LOSSLESS)  # the worst first

Detail = Mapping[str, Any]
Tables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Reason:
    """Why a migration is not additive, or by which word it is.

    :param operation: the operation in Django's words.
    :param recipe: how to do the same without harm: lines for a person, empty where there is nothing to do.
    """

    kind: str
    operation: str
    why: str
    recipe: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"kind": self.kind, "operation": self.operation, "why": self.why, "recipe": self.recipe}


@dataclass(frozen=True)
class Judged:
    """A planned migration with its class.

    :param name: `app.name`.
    :param reasons: every one of them, also those that are less heavy than the class.
    :param sql: the statements it will run, as `manage.py sqlmigrate` shows them.
    :param atomic: whether it happens whole or not at all.
    :param reverse: lossless, lossy or irreversible: what taking it back would cost.
    """

    name: str
    kind: str
    reasons: tuple[Reason, ...] = ()
    sql: tuple[str, ...] = ()
    atomic: bool = True
    reverse: str = LOSSLESS

    @property
    def kinds(self) -> tuple[str, ...]:
        """All classes its reasons have, the heaviest first."""
        found = {self.kind, *(reason.kind for reason in self.reasons)}
        return tuple(kind for kind in BY_WEIGHT if kind in found and (kind != ADDITIVE or self.kind == ADDITIVE))

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "reasons": [reason.as_dict() for reason in self.reasons],
            "sql": list(self.sql),
            "atomic": self.atomic,
            "reverse": self.reverse,
        }


@dataclass(frozen=True)
class Gate:
    """What may run.

    :param refused: migrations that may not.
    :param maintenance: whether those that may run need the site closed meanwhile.
    """

    refused: tuple[Judged, ...] = ()
    maintenance: bool = False


@dataclass(frozen=True)
class Reversal:
    """What taking one operation back would cost.

    :param name: the migration as `app.name`.
    :param verdict: lossless, lossy or irreversible.
    """

    name: str
    operation: str
    verdict: str
    why: str


@dataclass(frozen=True)
class Sizes:
    """How large the tables are, and from where on that matters.

    :param big: rows from which reading or rewriting a table counts as blocking.
    """

    tables: Tables
    vendor: str
    big: int

    def rows(self, table: str) -> int | None:
        rows = self.tables.get(table, {}).get("rows")
        return None if rows is None else int(rows)

    def is_big(self, table: str) -> bool:
        """Whether visitors would notice; what cannot be measured is taken for big. SQLite locks the file anyway."""
        rows = self.rows(table)
        return self.vendor != "sqlite" and (rows is None or rows >= self.big)

    def words(self, table: str) -> str:
        rows = self.rows(table)
        return f"{table} (size unknown)" if rows is None else f"{table} (about {rows:,} rows)"


# --- The class of a migration -------------------------------------------------------------------------------


def judge(
    plan: Sequence[Mapping[str, Any]],
    tables: Tables,
    *,
    vendor: str,
    declared: Mapping[str, str],
    big_table: int,
) -> list[Judged]:
    """The class of each planned migration.

    A class an operator declares holds, whatever the migration looks like: `declared` says somebody has read it. What
    the migration says of itself (`djdeploy = "additive"`) answers only what cannot be judged; it may make the class
    heavier, never lighter.

    :param plan: entries of the step `migrate` with `detail`.
    :param tables: table -> {"rows": estimate or None, "bytes": n}.
    :param declared: `app.name` or `app.*` -> class.
    :param big_table: rows.
    """
    sizes = Sizes(tables, vendor, big_table)
    return [judged(entry, sizes, declared) for entry in plan]


def judged(entry: Mapping[str, Any], sizes: Sizes, declared: Mapping[str, str]) -> Judged:
    """The class of one migration."""
    name = str(entry["migration"])
    chosen = declared.get(name) or declared.get(f"{name.partition('.')[0]}.*")
    if chosen:
        found = [Reason(chosen, name, f"declared {chosen} for this site")] if chosen != ADDITIVE else []
    else:
        found = own_word(entry, reasons_of(entry, sizes))
    kinds = {reason.kind for reason in found}
    return Judged(
        name,
        next((kind for kind in BY_WEIGHT if kind in kinds), ADDITIVE),
        tuple(sorted(found, key=lambda reason: BY_WEIGHT.index(reason.kind))),
        tuple(entry.get("sql") or ()),
        bool(entry.get("atomic", True)),
        worst(reversal.verdict for reversal in reversals(entry, sizes.tables)),
    )


def reasons_of(entry: Mapping[str, Any], sizes: Sizes) -> list[Reason]:
    """What speaks against running a migration under the code that is live."""
    if entry.get("fresh"):
        return []  # no migration was ever applied: there is no release that could break, and no row to wait for
    details = entry.get("details")
    if details is None:
        return [Reason(UNKNOWN, str(entry["migration"]), "its operations could not be read", recipes.DECLARE)]
    found = []
    for detail in details:
        shown = mirrored(detail) if entry.get("backwards") else detail
        for kind, why, recipe in objections_here({**shown, "migration": entry["migration"], **origin(entry)}, sizes):
            found.append(Reason(kind, str(detail["text"]), why, recipe))
    return found


def origin(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a migration came with an installed package, and is among the first of its app."""
    return {key: bool(entry.get(key)) for key in ("new_app", "package")}


def own_word(entry: Mapping[str, Any], found: list[Reason]) -> list[Reason]:
    """Take what the Migration class says of itself into account."""
    word = entry.get("declared")
    if word is None:
        return found
    if word not in DECLARABLE:
        why = f"it says djdeploy = {word!r}, which is none of {', '.join(DECLARABLE)}"
        return [*found, Reason(UNKNOWN, str(entry["migration"]), why, recipes.DECLARE)]
    kept = [reason for reason in found if reason.kind != UNKNOWN]
    if word == ADDITIVE:
        return kept
    return [*kept, Reason(word, str(entry["migration"]), f"the migration itself says: {word}")]


def gate(judged_plan: Iterable[Judged], allow: Collection[str]) -> Gate:
    """Which migrations may not run, and whether the others need the site closed.

    All classes of a migration have to be allowed. One that nobody could judge passes when everything is allowed:
    it cannot be worse.

    :param allow: `contract`, `blocking`.
    """
    plan = list(judged_plan)
    passing = {ADDITIVE, *allow} | ({UNKNOWN} if {CONTRACT, BLOCKING} <= set(allow) else set())
    return Gate(
        tuple(one for one in plan if not set(one.kinds) <= passing),
        any(one.kind != ADDITIVE for one in plan),
    )


REFUSED_FOR = {
    CONTRACT: "would break the release that is live",
    BLOCKING: "would make visitors wait",
    UNKNOWN: "cannot be judged from outside",
}


def refusal(gate: Gate, site: str) -> EngineError:
    """Why nothing was touched, how it is done without harm, and how to do it all the same."""
    first = gate.refused[0]
    reason = next(reason for reason in first.reasons if reason.kind == first.kind)
    what = "it" if reason.operation == first.name else f"{reason.operation!r}"
    message = f"{first.name} is not run: {what} {REFUSED_FOR[first.kind]}: {reason.why}"
    if len(gate.refused) > 1:
        message += f" (and {len(gate.refused) - 1} more)"
    needed = {kind for one in gate.refused for kind in one.kinds}
    hints = []
    if UNKNOWN in needed:
        hints.append(declaring([one.name for one in gate.refused if UNKNOWN in one.kinds], site))
    if classes := [kind for kind in (CONTRACT, BLOCKING) if kind in needed]:
        hints.append(allowing(classes, site))
    return EngineError(message, "; ".join(hints), "\n\n".join(advice(one) for one in gate.refused))


def allowing(classes: Sequence[str], site: str) -> str:
    """How to let these classes run this once."""
    words = ",".join(classes)
    return (
        f"follow the recipe above, or let it run this once behind the maintenance page: "
        f"git push -o allow={words} HOST main, djdeploy deploy {site} REV --allow {words} or -e allow={words}; "
        f"for good: migrations: {{allow: [{', '.join(classes)}]}} of the site"
    )


def declaring(names: Sequence[str], site: str) -> str:
    """How to say what migrations are that cannot be judged."""
    names = list(dict.fromkeys(name.rpartition(":")[2] for name in names))  # one word counts in every database
    first = names[0]
    options = " ".join(f"-o declare={name}={ADDITIVE}" for name in names)
    words = " ".join(f"--declare {name}={ADDITIVE}" for name in names)
    return (
        f'read it, and if the release that is live can work with it, say so: djdeploy = "{ADDITIVE}" in its Migration '
        f"class, git push {options} HOST main, djdeploy deploy {site} REV {words} "
        f"or migrations: {{declared: {{{first}: {ADDITIVE}}}}} of the site"
    )


def advice(one: Judged) -> str:
    """All reasons of a migration with their recipes, for people."""
    lines = [f"{one.name} ({', '.join(one.kinds)})"]
    for reason in one.reasons:
        operation = "" if reason.operation == one.name else f"{reason.operation}: "
        lines.append(f"  {reason.kind}: {operation}{reason.why}")
        lines += [f"    {line}".rstrip() for line in reason.recipe.splitlines()]
    return "\n".join(lines)


# --- What speaks against an operation: [(class, why, recipe)] ---------------------------------------------------

Objection = tuple[str, str, str]

# Nothing that is live reads or writes these, or they change nothing it would notice.
HARMLESS = frozenset(
    {
        "CreateModel",
        "RemoveIndex",
        "RemoveIndexConcurrently",
        "RenameIndex",
        "AddIndexConcurrently",
        "RemoveConstraint",
        "ValidateConstraint",
        "AlterConstraint",
        "AlterModelOptions",
        "AlterModelManagers",
        "AlterModelTableComment",
        "CreateExtension",
        "CreateCollation",
    }
)


def objections_here(detail: Detail, sizes: Sizes) -> list[Objection]:
    """What speaks against one operation on the database it is for."""
    found = objections(detail, sizes)
    if sizes.vendor != "mysql" or detail.get("nothing") or detail.get("new_table"):
        return found
    return migrations_mysql.adapted(found, detail, sizes.is_big) if detail["type"] in RULES else found


def objections(detail: Detail, sizes: Sizes) -> list[Objection]:
    """What speaks against one operation. Nobody uses a table that is made in the same plan."""
    if detail.get("nothing") or detail["type"] in HARMLESS:
        return []
    if detail["type"] in OF_CODE:
        return OF_CODE[detail["type"]](detail)
    if detail["type"] not in RULES:
        return [(UNKNOWN, f"{detail.get('class') or detail['type']} is no operation of Django's", recipes.DECLARE)]
    return [] if detail.get("new_table") else RULES[detail["type"]](detail, sizes)


def of_code(detail: Detail) -> list[Objection]:
    """RunPython and RunSQL: nobody can know, except where they do nothing.

    A package that is installed for the first time fills tables of its own; nothing that is live knows them.
    """
    if detail.get("noop") or (detail["new_app"] and detail["package"]):
        return []
    if detail["type"] == "RunSQL":
        statement = " ".join(str(next(iter(detail.get("statements") or ()), "")).split())
        shown = statement if len(statement) <= 80 else f"{statement[:77]}..."
        return [(UNKNOWN, f"SQL of its own: {shown}", recipes.DECLARE)]
    return [(UNKNOWN, f"Python of its own: {detail.get('function') or 'a function'}", recipes.DECLARE)]


def add_field(detail: Detail, sizes: Sizes) -> list[Objection]:
    """A new column, in the eyes of code that does not know it."""
    field, table = detail["field"], detail["table"]
    column = f"{table}.{field['column']}"
    if field["m2m"]:
        return []  # a table of its own
    found: list[Objection] = []
    db_default = field["db_default"] is not None
    if field["primary_key"]:
        found.append((CONTRACT, f"{table} gets another primary key", recipes.in_two_tables(detail)))
    elif not (field["null"] or db_default or field["generated"]):
        why = f"{column} is NOT NULL without a default in the database, so an INSERT of the live code fails"
        found.append((CONTRACT, why, recipes.nullable_first(detail)))
    elif field["unique"] and db_default and not field["volatile"]:
        why = f"{column} is unique, and the live code would write the same default into each row"
        found.append((CONTRACT, why, recipes.nullable_first(detail)))
    if sizes.is_big(table):
        where = sizes.words(table)
        if field["generated"] == "stored":
            why = f"a stored generated column rewrites {where} while nobody can read it"
            found.append((BLOCKING, why, recipes.fill_in_the_background(detail)))
        elif field["volatile"] or field["auto"]:
            why = f"a default that differs for each row rewrites {where} while nobody can read it"
            found.append((BLOCKING, why, recipes.fill_in_the_background(detail)))
        elif field["check"]:
            found.append(
                (BLOCKING, f"the check of {column} reads {where} while nobody can", recipes.check_later(detail))
            )
        elif field["constraint"] and db_default:
            why = f"the foreign key {column} with a default reads {where} while nobody can"
            found.append((BLOCKING, why, recipes.nullable_first(detail)))
        if field["unique"] or field["index"]:
            sort = "unique index" if field["unique"] else "index"
            found.append(
                (BLOCKING, f"the {sort} on {column} locks {where} while it is built", recipes.index_later(detail))
            )
    return found


def remove_field(detail: Detail, sizes: Sizes) -> list[Objection]:
    """A column or a many-to-many table that goes."""
    field, table = detail["field"], detail["table"]
    if detail.get("new_column"):
        return []
    if field["m2m"]:
        if not field["m2m"]["auto"]:
            return []
        why = f"the live code still reads and writes {field['m2m']['table']}, which is dropped"
        return [(CONTRACT, why, recipes.stop_using_field(detail, f'DROP TABLE "{field["m2m"]["table"]}"'))]
    statement = f'ALTER TABLE "{table}" DROP COLUMN "{field["column"]}"'
    why = f"the live code still names {table}.{field['column']} in each SELECT and INSERT"
    return [(CONTRACT, why, recipes.stop_using_field(detail, statement))]


def delete_model(detail: Detail, sizes: Sizes) -> list[Objection]:
    """A table that goes."""
    why = f"the live code still reads and writes {detail['table']}, which is dropped"
    recipe = (
        f"This release: nothing uses {detail['model']} any more; its table stays. In the migration:\n"
        f'  migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("{detail["model"]}")])\n'
        f"A later release drops it:\n"
        + recipes.drop_later('"additive"  # no release uses the table any more', f'DROP TABLE "{detail["table"]}"')
    )
    return [(CONTRACT, why, recipe)]


def rename_field(detail: Detail, sizes: Sizes) -> list[Objection]:
    """Another name; the column need not change with it."""
    old, new = detail["old"], detail["field"]
    if detail.get("new_column"):
        return []
    if old["m2m"] or new["m2m"]:
        if old["m2m"] == new["m2m"]:
            return []
        why = f"{old['m2m']['table']} is renamed, and the live code still uses the old name"
        recipe = recipes.keep_the_table(detail)
        return [(CONTRACT, why, recipe)]
    if old["column"] == new["column"]:
        return []
    why = f"the live code still names {detail['table']}.{old['column']} in each SELECT and INSERT"
    return [(CONTRACT, why, recipes.rename_without_rename(detail))]


def rename_model(detail: Detail, sizes: Sizes) -> list[Objection]:
    """Another name; the table need not change with it."""
    found: list[Objection] = []
    if detail["old_table"] != detail["table"]:
        why = f"{detail['old_table']} is renamed to {detail['table']}, and the live code still uses the old name"
        recipe = f'Keep the table: class Meta of {detail["model"]} gets\n  db_table = "{detail["old_table"]}"'
        found.append((CONTRACT, why, recipe))
    for renamed in detail.get("renamed") or ():
        why = f"{renamed} changes its name with it, and the live code still uses the old one"
        recipe = (
            f"Keep the names: db_column or db_table for what hangs on {detail['model']}, or a new model beside the\n"
            f"old one, filled in the background, and the old one dropped in a later release."
        )
        found.append((CONTRACT, why, recipe))
    return found


def alter_table_name(detail: Detail, sizes: Sizes) -> list[Objection]:
    if detail["old_table"] == detail["table"] and not detail.get("renamed"):
        return []
    what = ", ".join([detail["old_table"], *(detail.get("renamed") or ())])
    why = f"{what} is renamed, and the live code still uses the old name"
    return [(CONTRACT, why, f'Keep it: class Meta of {detail["model"]} keeps db_table = "{detail["old_table"]}".')]


def alter_field(detail: Detail, sizes: Sizes) -> list[Objection]:
    """Everything an ALTER TABLE of one column may mean."""
    old, new, table = detail["old"], detail["field"], detail["table"]
    if not detail.get("altered", True):
        return []
    if detail.get("new_column"):  # what the live code meets is a column that comes as it is in the end
        return add_field(detail, sizes)
    if old["m2m"] or new["m2m"]:
        if old["m2m"] == new["m2m"]:
            return []
        why = f"{(old['m2m'] or new['m2m'])['table']} changes, and the live code still uses it as it was"
        return [(CONTRACT, why, recipes.rename_without_rename(detail))]
    found: list[Objection] = []
    column, where, big = f"{table}.{old['column']}", sizes.words(table), sizes.is_big(table)
    if old["column"] != new["column"]:
        why = f"{column} is renamed to {new['column']}, and the live code still names it"
        found.append((CONTRACT, why, recipes.rename_without_rename(detail)))
    found += change_of_type(detail, sizes)
    if old["null"] and not new["null"]:
        why = f"{column} becomes NOT NULL, and the live code may still write NULL"
        found.append((CONTRACT, why, recipes.not_null_later(detail)))
        if big:
            why = f"NOT NULL fills and reads {where} while nobody can write it"
            found.append((BLOCKING, why, recipes.not_null_without_waiting(detail)))
    if old["db_default"] is not None and new["db_default"] is None:
        why = f"{column} loses its default in the database, and the live code relies on it"
        found.append((CONTRACT, why, recipes.default_later(detail)))
    if new["unique"] and not old["unique"]:
        why = f"{column} becomes unique, and the live code may still write a value twice"
        found.append((CONTRACT, why, recipes.unique_later(detail)))
        if big:
            why = f"the unique index on {column} locks {where} while it is built"
            found.append((BLOCKING, why, recipes.unique_without_waiting(detail)))
    elif new["index"] and not old["index"] and big:
        why = f"the index on {column} locks {where} while it is built"
        found.append((BLOCKING, why, recipes.index_later(detail)))
    if new["check"] and new["check"] != old["check"]:
        why = f"{column} gets a check ({new['check']}), and the live code may still write what it refuses"
        found.append((CONTRACT, why, recipes.check_after_code(detail)))
        if big:
            found.append(
                (BLOCKING, f"the check of {column} reads {where} while nobody can", recipes.check_later(detail))
            )
    found += change_of_foreign_key(detail, sizes)
    if old["primary_key"] != new["primary_key"]:
        found.append((CONTRACT, f"the primary key of {table} changes", recipes.in_two_tables(detail)))
    return found


def change_of_type(detail: Detail, sizes: Sizes) -> list[Objection]:
    """What the column holds, and whether its rows have to be rewritten for that."""
    old, new, table = detail["old"], detail["field"], detail["table"]
    told = f"{table}.{old['column']} changes from {old['type']} to {new['type']}"
    found: list[Objection] = []
    if old["generated"] != new["generated"] or old["auto"] != new["auto"]:
        found.append(
            (CONTRACT, f"{table}.{old['column']} is filled in another way", recipes.rename_without_rename(detail))
        )
    if old["collation"] != new["collation"]:
        why = f"{table}.{old['column']} changes its collation: what is equal and what comes first"
        found.append((CONTRACT, why, recipes.rename_without_rename(detail)))
    if old["type"] == new["type"]:
        return found
    if not fits(old["type"], new["type"], sizes.vendor):
        found.append((CONTRACT, f"{told}, and what the live code writes may not fit", recipes.new_column(detail)))
    # A type that changes in a key changes in every table that points to it.
    rewritten = [one for one in [table, *(detail.get("referring") or ())] if sizes.is_big(one)]
    if rewritten and not fits_untouched(old["type"], new["type"]):
        where = ", ".join(sizes.words(one) for one in rewritten)
        found.append((BLOCKING, f"{told}, which rewrites {where} while nobody can read it", recipes.new_column(detail)))
    elif sizes.is_big(table) and (old["index"] or old["unique"]) and not new["type"].startswith("varchar"):
        why = f"the index for LIKE on {table}.{old['column']} is built anew and locks {sizes.words(table)}"
        found.append((BLOCKING, why, recipes.new_column(detail)))
    return found


def change_of_foreign_key(detail: Detail, sizes: Sizes) -> list[Objection]:
    """A foreign key that comes, points elsewhere, or is made anew along with a change of its column."""
    old, new, table = detail["old"], detail["field"], detail["table"]
    if not new["constraint"]:
        return []
    found: list[Objection] = []
    if not old["constraint"] or old["relation"] != new["relation"]:
        why = f"{table}.{new['column']} gets a foreign key to {new['relation']}, and the live code may write others"
        found.append((CONTRACT, why, recipes.foreign_key_later(detail)))
    if sizes.is_big(table):
        recipe = recipes.foreign_key_later(detail) if found else recipes.keep_the_key(detail)
        why = f"the foreign key of {table}.{new['column']} is made anew, which reads {sizes.words(table)} while locked"
        found.append((BLOCKING, why, recipe))
    return found


def add_index(detail: Detail, sizes: Sizes) -> list[Objection]:
    if not sizes.is_big(detail["table"]):
        return []
    why = f"nobody can write {sizes.words(detail['table'])} while the index is built"
    return [(BLOCKING, why, recipes.concurrently(detail))]


def add_constraint(detail: Detail, sizes: Sizes) -> list[Objection]:
    """A rule that the live code was not written for."""
    table, kind = detail["table"], detail["kind"]
    if detail.get("harmless"):
        return scan(detail, sizes) if sizes.is_big(table) else []
    what = {
        "check": "a row that the constraint refuses",
        "unique": "a value twice",
        "exclusion": "a row that excludes another",
    }.get(kind, "a row that the constraint refuses")
    why = f"the live code may still write {what} into {table}"
    found = [(CONTRACT, why, recipes.constraint_after_code(detail))]
    return found + (scan(detail, sizes) if sizes.is_big(table) else [])


def scan(detail: Detail, sizes: Sizes) -> list[Objection]:
    """A constraint on a big table; one that is not validated yet reads nothing."""
    if detail.get("not_valid"):
        return []
    if detail["kind"] == "check":
        why = f"the constraint reads {sizes.words(detail['table'])} while nobody can"
        return [(BLOCKING, why, recipes.validate_apart(detail))]
    why = f"the index of the constraint locks {sizes.words(detail['table'])} while it is built"
    return [(BLOCKING, why, recipes.constraint_without_waiting(detail))]


def alter_unique_together(detail: Detail, sizes: Sizes) -> list[Objection]:
    if not detail.get("added"):
        return []
    table = detail["table"]
    columns = "; ".join(", ".join(group) for group in detail["added"])
    one = {**detail, "kind": "unique", "name": f"{table}_unique", "columns": detail["added"][0]}
    found = [
        (CONTRACT, f"the live code may still write ({columns}) twice into {table}", recipes.constraint_after_code(one))
    ]
    return found + (scan(one, sizes) if sizes.is_big(table) else [])


def alter_index_together(detail: Detail, sizes: Sizes) -> list[Objection]:
    return add_index(detail, sizes) if detail.get("added") else []


def alter_order(detail: Detail, sizes: Sizes) -> list[Objection]:
    """`order_with_respect_to` is a column `_order` that comes or goes."""
    if detail.get("field") is None:
        return []
    if not detail["comes"]:
        return remove_field(detail, sizes)
    return [(kind, why, recipes.order_of_its_own(detail)) for kind, why, _recipe in add_field(detail, sizes)]


def remove_collation(detail: Detail, sizes: Sizes) -> list[Objection]:
    why = "the live code may still name the collation in its queries"
    return [(CONTRACT, why, "Drop the collation in a later release, when no code names it any more.")]


OF_CODE: dict[str, Callable[[Detail], list[Objection]]] = {"RunPython": of_code, "RunSQL": of_code}
RULES: dict[str, Callable[[Detail, Sizes], list[Objection]]] = {
    "AddField": add_field,
    "RemoveField": remove_field,
    "DeleteModel": delete_model,
    "RenameField": rename_field,
    "RenameModel": rename_model,
    "AlterModelTable": alter_table_name,
    "AlterField": alter_field,
    "AddIndex": add_index,
    "AddConstraint": add_constraint,
    "AddConstraintNotValid": add_constraint,
    "AlterUniqueTogether": alter_unique_together,
    "AlterIndexTogether": alter_index_together,
    "AlterOrderWithRespectTo": alter_order,
    "RemoveCollation": remove_collation,
}

WHOLE_NUMBERS = ("smallint", "integer", "bigint")


def shape(column_type: str) -> tuple[str, tuple[int, ...]]:
    """A type as (name, numbers in its brackets): `numeric(6, 2)` -> ("numeric", (6, 2))."""
    found = re.fullmatch(r"([^(]*)\(([\d, ]*)\)", column_type)
    if not found:
        return column_type.strip(), ()
    return found.group(1).strip(), tuple(int(number) for number in re.findall(r"\d+", found.group(2)))


def fits_untouched(old: str, new: str) -> bool:
    """Whether every old value is a new one bit by bit, so that PostgreSQL touches no row."""
    (old_name, before), (new_name, after) = shape(old), shape(new)
    if old_name == "varchar" and new_name in ("varchar", "text"):
        return new_name == "text" or not after or (bool(before) and after >= before)
    if old_name == "text":
        return new_name == "varchar" and not after
    if old_name == new_name == "numeric" and len(after) == len(before) == 2:
        return after[0] >= before[0] and after[1] == before[1]
    return old_name == new_name == "numeric" and not after


def fits(old: str, new: str, vendor: str) -> bool:
    """Whether the live code can read and write as before: each value it writes is kept as it is."""
    if fits_untouched(old, new):
        return True
    names = [column_type.removesuffix(" unsigned") for column_type in (old, new)]
    if not set(names) <= set(WHOLE_NUMBERS):
        return False
    # SQLite has one storage class for all of them.
    return vendor == "sqlite" or WHOLE_NUMBERS.index(names[0]) <= WHOLE_NUMBERS.index(names[1])


def mirrored(detail: Detail) -> Detail:
    """The operation that does what taking this one back does."""
    opposites = {
        "AddField": "RemoveField",
        "CreateModel": "DeleteModel",
        "AddIndex": "RemoveIndex",
        "AddConstraint": "RemoveConstraint",
    }
    opposites |= {back: forth for forth, back in opposites.items()}
    opposites |= {"AddConstraintNotValid": "RemoveConstraint"}
    opposites |= {"AddIndexConcurrently": "RemoveIndexConcurrently", "RemoveIndexConcurrently": "AddIndexConcurrently"}
    opposites |= {"CreateCollation": "RemoveCollation", "RemoveCollation": "CreateCollation"}
    # What is new in a plan is so in the direction of the plan: backwards there is nothing new.
    turned = {**detail, "type": opposites.get(detail["type"], detail["type"]), "new_table": False, "new_column": False}
    if "old" in detail:
        turned |= {"old": detail["field"], "field": detail["old"]}
    if "old_table" in detail:
        turned |= {"old_table": detail["table"], "table": detail["old_table"]}
    if "added" in detail:
        turned |= {"added": detail["removed"], "removed": detail["added"]}
    if "comes" in detail:
        turned["comes"] = not detail["comes"]
    if detail["type"] in OF_CODE:
        turned["noop"] = detail.get("reverse") == "noop"
    return turned


# --- What going back would cost ------------------------------------------------------------------------------------


def judge_reverse(plan: Sequence[Mapping[str, Any]], tables: Tables | None = None) -> list[Reversal]:
    """What taking migrations back would cost, operation by operation, in the order they would be taken back.

    `reversible` of Django only says that it would try. Here counts what is in the tables: a column that comes back
    is empty.

    :param plan: entries of the step `migrate` with `detail`; whether forwards or backwards makes no difference.
    :param tables: as for `judge`; a table of unknown size is taken to hold rows.
    """
    return [reversal for entry in plan for reversal in reversals(entry, tables or {})]


def worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return next((verdict for verdict in VERDICTS if verdict in found), LOSSLESS)


def reversals(entry: Mapping[str, Any], tables: Tables) -> list[Reversal]:
    """What taking one migration back would cost, last operation first."""
    name, details = str(entry["migration"]), entry.get("details")
    if details is None:
        return [Reversal(name, name, IRREVERSIBLE, "its operations could not be read")]
    if entry.get("fresh"):
        return [Reversal(name, name, LOSSY, "drops what was made in an empty database")]
    found = []
    for detail in reversed(details):
        verdict, why = way_back(detail, tables)
        found.append(Reversal(name, str(detail["text"]), verdict, why))
    return found


def way_back(detail: Detail, tables: Tables) -> tuple[str, str]:
    """(verdict, why) of taking one operation back."""
    kind, table = detail["type"], detail.get("table")
    if detail.get("nothing"):
        return LOSSLESS, "it changes nothing in the database"
    if kind in OF_CODE:
        return {
            "noop": (LOSSLESS, "its way back does nothing"),
            "code": (LOSSY, "its way back is code of its own"),
        }.get(str(detail.get("reverse")), (IRREVERSIBLE, "it has no way back"))
    if not detail.get("reversible", True):
        return IRREVERSIBLE, "Django has no way back for it"
    if kind == "CreateModel":
        return LOSSY, f"drops {table} with all its rows"
    if kind == "DeleteModel":
        return LOSSY, f"makes {table} anew, empty"
    if kind == "AlterOrderWithRespectTo" and detail.get("field"):
        return LOSSY, f"the order of {table} is lost"
    if kind in ("AddField", "RemoveField"):
        return column_back(detail, tables)
    if kind == "AlterField":
        return alteration_back(detail)
    if kind in RULES or kind in HARMLESS:
        return LOSSLESS, "no row is touched"
    return IRREVERSIBLE, f"nothing is known of {detail.get('class') or kind}"


def column_back(detail: Detail, tables: Tables) -> tuple[str, str]:
    """Taking AddField or RemoveField back."""
    field, table = detail["field"], detail["table"]
    what = field["m2m"]["table"] if field["m2m"] else f"{table}.{field['column']}"
    if field["m2m"] and not field["m2m"]["auto"]:
        return LOSSLESS, "it changes nothing in the database"
    if detail["type"] == "AddField":
        if field["generated"]:
            return LOSSLESS, f"{what} is computed from other columns"
        return LOSSY, f"drops {what} with all it holds"
    filled = field["m2m"] or field["null"] or field["default"] or field["db_default"] is not None or field["generated"]
    if not filled and tables.get(table, {}).get("rows") != 0:
        return IRREVERSIBLE, f"{what} is NOT NULL without a default: it cannot come back while {table} has rows"
    return LOSSY, f"{what} comes back without what it held"


def alteration_back(detail: Detail) -> tuple[str, str]:
    """Taking AlterField back."""
    old, new = detail["old"], detail["field"]
    if not detail.get("altered", True) or old == new:
        return LOSSLESS, "it changes nothing in the database"
    if bool(old["m2m"]) != bool(new["m2m"]):
        return IRREVERSIBLE, "a column and a table cannot become one another"
    if old["type"] != new["type"] and not fits(new["type"], old["type"], "postgresql"):
        return LOSSY, f"{new['type']} goes back to {old['type']}: what does not fit is cut or refused"
    if new["null"] and not old["null"]:
        return LOSSY, f"{old['column']} becomes NOT NULL again: NULL written since then is filled or refused"
    return LOSSLESS, "every value stays as it is"
