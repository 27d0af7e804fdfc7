# SPDX-License-Identifier: GPL-3.0-or-later
"""How to do without harm what a migration would do with it: lines for a person, with the names of that very operation.

Each takes the operation as `agent_operations.py` tells it. The pattern is always the same: first what the old and the
new code can both live with (expand), and in a later release, when no old code is left, the rest (contract).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Detail = Mapping[str, Any]

DECLARE = (
    "Read what it does. If the code that is live keeps working meanwhile and afterwards, and no table is locked\n"
    'for long, say so in the migration:  djdeploy = "additive"\n'
    'If not, say that:  djdeploy = "contract"  or  djdeploy = "blocking"'
)


def class_text(*lines: str, declared: str = "", atomic: bool = True) -> str:
    """A Migration class, two spaces in."""
    text = ["  class Migration(migrations.Migration):"]
    text += [f"      djdeploy = {declared}"] if declared else []
    text += [] if atomic else ["      atomic = False"]
    return "\n".join([*text, "      operations = [", *(f"          {line}," for line in lines), "      ]"])


def drop_later(declared: str, statement: str) -> str:
    return class_text(f"migrations.RunSQL('{statement}')", declared=declared)


def say_so(detail: Detail) -> str:
    """A later release may do it: then somebody says that the code of the release before is ready."""
    return (
        f"When the release that is live already keeps to it, say so with the push:\n"
        f"  git push -o declare={detail['migration']}=additive HOST main"
    )


def on(detail: Detail) -> str:
    return f'"{str(detail["model"]).lower()}", "{detail["field"]["name"]}"'


def nullable_first(detail: Detail) -> str:
    """The new column must not trouble an INSERT that does not know it."""
    field = detail["field"]
    lines = []
    if field["kept"] and not field["relation"] and not field["unique"]:
        lines.append(
            f"Let the database keep the default, then this release is all there is to do:\n"
            f"  {field['name']} = {field['kept']}\n"
            f"Or in two steps:"
        )
    return "\n".join(
        [
            *lines,
            f"This release: {field['name']} = {field['nullable']}",
            f"A later release, when every release that may be live writes {field['name']}: fill what is NULL, then",
            f"  {field['name']} = {field['code']}",
        ]
    )


def order_of_its_own(detail: Detail) -> str:
    return (
        "Django makes the column _order without a default in the database. A field of your own does the same:\n"
        '  position = models.IntegerField(db_default=0), and ordering = ["position"] in class Meta'
    )


def stop_using_field(detail: Detail, statement: str) -> str:
    field = detail["field"]
    lines = []
    if not (field["m2m"] or field["null"] or field["db_default"] is not None):
        lines.append(f"migrations.AlterField({on(detail)}, {field['nullable']})")
    lines.append(f"migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField({on(detail)})])")
    return (
        f"This release: nothing uses {field['name']} any more; what holds it stays. The migration:\n"
        + class_text(*lines)
        + "\nA later release drops it:\n"
        + drop_later('"additive"  # no release uses it any more', statement)
    )


def rename_without_rename(detail: Detail) -> str:
    old, new = detail["old"], detail["field"]
    if old["column"] and new["column"] and old["name"] != new["name"]:
        return (
            f"Keep the column, rename the field only:\n"
            f"  {new['name']} = {with_argument(new['code'], 'db_column', old['column'])}"
        )
    return new_column(detail)


def keep_the_table(detail: Detail) -> str:
    field, table = detail["field"], detail["old"]["m2m"]["table"]
    return (
        f"Keep the table, rename the field only:\n  {field['name']} = {with_argument(field['code'], 'db_table', table)}"
    )


def with_argument(code: str, name: str, value: str) -> str:
    """A field's text with one more argument."""
    opened = code if code.endswith(")") else f"{code}()"
    inside = opened[:-1]
    return f'{inside}{"" if inside.endswith("(") else ", "}{name}="{value}")'


def new_column(detail: Detail) -> str:
    name, table = detail["field"]["name"], detail["table"]
    return (
        f"Give the new form a column of its own beside {table}.{detail['old']['column']}:\n"
        f"  1. this release adds {name}_new (null=True) and writes both\n"
        f"  2. a job or a declared RunPython fills {name}_new in batches\n"
        f"  3. a later release reads {name}_new only, and the one after it drops {name}"
    )


def fill_in_the_background(detail: Detail) -> str:
    """A column whose values differ from row to row."""
    field = detail["field"]
    if field["generated"]:
        return (
            f"Compute {field['name']} when it is asked for (annotate), or make it an ordinary nullable column that\n"
            f"the code writes, and fill the old rows in batches, in the background."
        )
    return (
        f"This release: {field['name']} = models.{field['kind']}(null=True), without a default in the database.\n"
        f"The code writes it; fill the old rows in batches, in the background. A later release sets the default."
    )


def in_two_tables(detail: Detail) -> str:
    return (
        f"Make a table with the new key beside {detail['table']}, write both, fill it in the background, and drop\n"
        f"the old one in a later release."
    )


def index_later(detail: Detail) -> str:
    field = detail["field"]
    name = f"{detail['table']}_{field['column']}_idx"[:30]
    if field["unique"]:
        return (
            f"This release: the column without unique=True. Then, in a migration of its own,\n"
            f"{unique_steps(detail['table'], [field['column']], name, on(detail))}"
        )
    return (
        f"The field with db_index=False, and the index in class Meta of the model:\n"
        f'  indexes = [models.Index(fields=["{field["name"]}"], name="{name}")]\n'
        f"made without a lock, in a migration of its own (from django.contrib.postgres.operations import "
        f"AddIndexConcurrently):\n"
        + class_text(
            f'AddIndexConcurrently("{str(detail["model"]).lower()}", '
            f'models.Index(fields=["{field["name"]}"], name="{name}"))',
            atomic=False,
        )
    )


def concurrently(detail: Detail) -> str:
    index = detail.get("code") or f'models.Index(..., name="{detail.get("name", "")}")'
    return (
        "Make it without a lock, in a migration of its own (from django.contrib.postgres.operations import "
        "AddIndexConcurrently):\n"
        + class_text(f'AddIndexConcurrently("{str(detail["model"]).lower()}", {index})', atomic=False)
    )


def default_later(detail: Detail) -> str:
    return (
        f"This release: the code writes {detail['field']['name']} itself; the default stays.\n"
        f"A later release drops it. {say_so(detail)}"
    )


def not_null_later(detail: Detail) -> str:
    field = detail["field"]
    return (
        f"This release: the code always writes {field['name']}; the column stays nullable.\n"
        f"Fill what is NULL, then a later release makes it NOT NULL. {say_so(detail)}"
    )


def not_null_without_waiting(detail: Detail) -> str:
    table, column = detail["table"], detail["field"]["column"]
    name = f"{table}_{column}_not_null"[:63]
    return (
        f"A check that is validated apart spares SET NOT NULL its look at each row. Three migrations, one transaction "
        f"each:\n"
        f'  1. RunSQL(\'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" CHECK ("{column}" IS NOT NULL) NOT VALID\')\n'
        f'  2. RunSQL(\'ALTER TABLE "{table}" VALIDATE CONSTRAINT "{name}"\')\n'
        f"  3. SeparateDatabaseAndState: AlterField({on(detail)}, ...) in the state, and in the database\n"
        f'     RunSQL(\'ALTER TABLE "{table}" ALTER "{column}" SET NOT NULL, DROP CONSTRAINT "{name}"\')'
    )


def unique_later(detail: Detail) -> str:
    return (
        f"This release: the code never writes a value of {detail['field']['name']} twice, and old duplicates go.\n"
        f"A later release makes it unique. {say_so(detail)}"
    )


def unique_without_waiting(detail: Detail) -> str:
    name = f"{detail['table']}_{detail['field']['column']}_uniq"[:63]
    return unique_steps(detail["table"], [detail["field"]["column"]], name, on(detail))


def unique_steps(table: str, columns: Sequence[str], name: str, field: str = "") -> str:
    listed = ", ".join(f'"{column}"' for column in columns)
    state = f"AlterField({field}, ...)" if field else "the AddConstraint"
    return (
        f"Two steps, the first in a migration with atomic = False:\n"
        f'  1. RunSQL(\'CREATE UNIQUE INDEX CONCURRENTLY "{name}" ON "{table}" ({listed})\')\n'
        f"  2. SeparateDatabaseAndState: {state} in the state, and in the database\n"
        f'     RunSQL(\'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" UNIQUE USING INDEX "{name}"\')'
    )


def check_after_code(detail: Detail) -> str:
    return (
        f"This release: the code writes only what the check lets pass, and old rows are mended.\n"
        f"A later release adds the check. {say_so(detail)}"
    )


def check_later(detail: Detail) -> str:
    field, table = detail["field"], detail["table"]
    name = f"{table}_{field['column']}_check"[:63]
    return (
        f"A field without a check of its own (models.IntegerField), and the check as a constraint in two migrations\n"
        f"(from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint):\n"
        f'  1. AddConstraintNotValid("{str(detail["model"]).lower()}", models.CheckConstraint(..., name="{name}"))\n'
        f'  2. ValidateConstraint("{str(detail["model"]).lower()}", "{name}")'
    )


def constraint_after_code(detail: Detail) -> str:
    return (
        f"This release: the code already keeps to {detail.get('name') or 'it'}, and old rows are mended.\n"
        f"A later release adds the constraint. {say_so(detail)}"
    )


def validate_apart(detail: Detail) -> str:
    model, code = str(detail["model"]).lower(), detail.get("code") or f'..., name="{detail.get("name", "")}"'
    return (
        f"Two migrations, so that the rows are read while others work\n"
        f"(from django.contrib.postgres.operations import AddConstraintNotValid, ValidateConstraint):\n"
        f'  1. AddConstraintNotValid("{model}", {code})\n'
        f'  2. ValidateConstraint("{model}", "{detail.get("name", "")}")'
    )


def constraint_without_waiting(detail: Detail) -> str:
    if detail["kind"] == "unique":
        return unique_steps(detail["table"], detail.get("columns") or ["..."], str(detail.get("name", "")))
    return "An exclusion constraint cannot be made without the lock: allow it for a time when few are here."


def keep_the_key(detail: Detail) -> str:
    """Django would drop a foreign key and make it anew for whatever changes of its column."""
    old, field, table = detail["old"], detail["field"], detail["table"]
    change = "DROP NOT NULL" if field["null"] and not old["null"] else "..."
    return (
        f"Change only what changes, so that the key stays:\n"
        f"  migrations.SeparateDatabaseAndState(\n"
        f"      state_operations=[migrations.AlterField({on(detail)}, ...)],\n"
        f"      database_operations=[migrations.RunSQL(\n"
        f'          \'ALTER TABLE "{table}" ALTER COLUMN "{field["column"]}" {change}\')],\n'
        f"  )"
    )


def foreign_key_later(detail: Detail) -> str:
    field, table = detail["field"], detail["table"]
    name = f"{table}_{field['column']}_fk"[:63]
    return (
        f"Change the column without its foreign key (db_constraint=False), then add the key in two migrations:\n"
        f'  1. RunSQL(\'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" FOREIGN KEY ("{field["column"]}") REFERENCES '
        f'"{field["relation"]}" DEFERRABLE INITIALLY DEFERRED NOT VALID\')\n'
        f'  2. RunSQL(\'ALTER TABLE "{table}" VALIDATE CONSTRAINT "{name}"\')'
    )
