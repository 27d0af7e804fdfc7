# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps for moving a site's data: `rows` counts it, `move_check` sees that it fits, `move_copy` moves it.

The source is an SQLite file that is only ever read; the target is the database `default` of the settings. Rows are
copied as the database has them: no `save`, no signal, no `auto_now`, no manager of the project's. Foreign keys that
Django makes are checked when the transaction ends, so the order of tables is of no account.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from .agent_databases import connection_for
from .agent_words import Failure, Outcome, Request, first_line, outcome

SOURCE = "djdeploy_source"
BATCH_ROWS, BATCH_BYTES = 1000, 4 * 2**20  # MariaDB takes 16 MiB at once
NAMED = 10  # rows that do not fit are named up to here
#: Tables whose rows are of no worth by themselves: Django makes them anew, or people log in again.
DERIVED = frozenset({"django_migrations", "django_content_type", "auth_permission", "django_session"})
#: Tables that hold what is made of other tables, in a form each database has of its own; what makes them anew.
REBUILT = {
    "wagtailsearch_indexentry": "manage.py rebuild_references_index and update_index",
    "modelsearch_indexentry": "manage.py update_index",
}

Fields = list[Any]
Table = tuple[Any, Fields]  # a model, and its fields that the table has a column for


# --- counting ---------------------------------------------------------------------------------------------------


def rows(request: Request, predict: bool) -> Outcome:
    """How many rows each table of a database holds that are of worth by themselves; empty tables are not named."""
    found = counted(connection_for(request, predict=True))
    return outcome(False, rows=found, total=sum(found.values()))


def counted(connection: Any) -> dict[str, int]:
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table not in DERIVED and not table.startswith(tuple(REBUILT)):
                cursor.execute(f"SELECT COUNT(*) FROM {connection.ops.quote_name(table)}")
                if count := cursor.fetchone()[0]:
                    found[table] = count
    return found


# --- what there is to copy ----------------------------------------------------------------------------------------


def source_of(request: Request) -> Any:
    """A connection to the SQLite file that cannot write into it.

    :param request: `source` has its `file` and `engine`.
    """
    from django.db import connections

    given = request["source"]
    connections.settings[SOURCE] = {
        **connections.settings["default"],
        "ENGINE": given["engine"],
        "NAME": f"file:{quote(given['file'])}?mode=ro",
        **dict.fromkeys(("USER", "PASSWORD", "HOST", "PORT"), ""),
        "OPTIONS": {},
        "CONN_MAX_AGE": 0,
        "ATOMIC_REQUESTS": False,
        "TIME_ZONE": time_zone_of_project(),
    }
    return connections[SOURCE]


def time_zone_of_project() -> str | None:
    """The zone in which a project keeps times in its SQLite file; Django's default is UTC."""
    generated = sys.modules.get("djdeploy_settings")
    if generated is None or not generated.__file__:
        return None
    with open(os.path.join(os.path.dirname(generated.__file__), "site.json"), encoding="utf-8") as file:
        own = import_module(json.load(file)["project_settings"])
    default = (getattr(own, "DATABASES", None) or {}).get("default") or {}
    return default.get("TIME_ZONE") if "sqlite" in str(default.get("ENGINE", "")) else None


def tables_of(source: Any) -> tuple[list[Table], list[str]]:
    """The tables to copy, those before that others refer to, and what to tell of the rest.

    :raises Failure: when the file lacks columns of a model.
    """
    from django.apps import apps
    from django.db import router

    told, found = [], {}
    with source.cursor() as cursor:
        present = set(source.introspection.table_names(cursor))
        for model in apps.get_models(include_auto_created=True):
            meta = model._meta
            if meta.proxy or meta.db_table not in present or not router.allow_migrate_model("default", model):
                continue
            if not meta.managed:
                told.append(f"{meta.label} is not managed by Django: the table {meta.db_table} is not copied")
                continue
            if meta.db_table in REBUILT:
                told.append(f"{meta.label} is not copied; make it anew afterwards: {REBUILT[meta.db_table]}")
                continue
            fields = [field for field in meta.local_concrete_fields if not getattr(field, "generated", False)]
            columns = {each.name for each in source.introspection.get_table_description(cursor, meta.db_table)}
            if absent := [field.column for field in fields if field.column not in columns]:
                raise Failure("database", f"{meta.db_table} in the SQLite file has no column {absent[0]!r}")
            found[meta.db_table] = (model, fields)
    of_nothing = present - {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    left = {name: count for name, count in counted(source).items() if name in of_nothing}
    told += [f"{name} belongs to no model: its {count} rows stay in the file" for name, count in sorted(left.items())]
    return in_order(list(found.values())), told


def in_order(tables: list[Table]) -> list[Table]:
    """Each table behind those it refers to, where they do not refer to one another."""
    by_model = {model: (model, fields) for model, fields in tables}
    done: dict[Any, Table] = {}
    begun = set()

    def visit(model: Any) -> None:
        if model in begun or model not in by_model:
            return
        begun.add(model)
        for field in by_model[model][1]:
            if field.remote_field is not None and field.remote_field.model is not None:
                visit(field.remote_field.model._meta.concrete_model)
        done[model] = by_model[model]

    for model in by_model:
        visit(model)
    return list(done.values())


def batches(table: Table, alias: str) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a table as Django reads them, some at a time."""
    from django.db.models.query import QuerySet

    model, fields = table
    query = QuerySet(model, using=alias).order_by().values_list(*[field.attname for field in fields])
    batch: list[tuple[Any, ...]] = []
    size = 0
    for row in query.iterator(chunk_size=BATCH_ROWS):
        batch.append(row)
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def is_json(field: Any) -> bool:
    from django.db.models import JSONField

    return isinstance(field, JSONField)


def json_nulls(table: Table, source: Any) -> dict[str, set[Any]]:
    """Rows in which a JSON field holds null, which Django reads as it reads no value: field -> primary keys."""
    model, fields = table
    quoted, pk = source.ops.quote_name, model._meta.pk
    found = {}
    for field in fields if pk.column else ():
        if is_json(field):
            with source.cursor() as cursor:
                cursor.execute(
                    f"SELECT {quoted(pk.column)} FROM {quoted(model._meta.db_table)}"
                    f" WHERE json_type({quoted(field.column)}) = 'null'"
                )
                keys = {row[0] for row in cursor.fetchall()}
            if keys:
                found[field.attname] = keys
    return found


# --- whether it fits ----------------------------------------------------------------------------------------------


def move_check(request: Request, predict: bool) -> Outcome:
    """See that all of it would fit into the target, and that the target holds nothing.

    :param request: `source`; `may_clear`: what the target holds is of an earlier attempt.
    :raises Failure: with the rows that do not fit: model, primary key and field of each.
    """
    from django.db import IntegrityError

    source, target = source_of(request), connection_for({}, False)
    refuse_pending(source)
    occupied = {} if request.get("may_clear") else counted(target)
    if occupied:
        some = ", ".join(f"{name} {count}" for name, count in list(occupied.items())[:5])
        raise Failure("database", f"the {target.vendor} database holds {sum(occupied.values())} rows already ({some})")
    tables, told = tables_of(source)
    try:
        source.check_constraints()
    except IntegrityError as error:
        raise Failure(
            "database", f"a row of the SQLite file refers to one that is not there: {first_line(error)}", MEND
        ) from error
    problems: list[str] = []
    total = 0
    for table in tables:
        count = 0
        for batch in readable(table, source, problems):
            count += len(batch)
            problems += misfits(table, batch, target)
            if len(problems) >= NAMED:
                break
        total += count
        problems += unread_dates(table, source)
        if len(problems) >= NAMED:
            break
    if problems:
        named = problems[:NAMED]
        raise Failure("database", f"a row does not fit: {named[0]}", MEND, "\n".join(named), problems=named)
    return outcome(False, rows=total, tables=len(tables), told=told)


MEND = "mend or remove these rows (in the admin, or with djdeploy manage SITE shell), then move again"


def refuse_pending(source: Any) -> None:
    """:raises Failure: when the file lacks migrations of the code: its tables would not be those of the models."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(source)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _back in plan[:5])
        raise Failure("migration", f"the SQLite file lacks migrations of the live code: {names}")


def readable(table: Table, source: Any, problems: list[str]) -> Iterator[list[tuple[Any, ...]]]:
    """The batches of a table; where Django cannot read one, the row is noted and the rest of the table left out."""
    try:
        yield from batches(table, SOURCE)
    except GeneratorExit:
        raise
    except Exception as error:
        problems.append(f"{unreadable(table, source) or table[0]._meta.label} cannot be read: {first_line(error)}")


def unreadable(table: Table, source: Any) -> str:
    """Which value of a table Django cannot read."""
    from django.db.models.query import QuerySet

    model, fields = table
    pk = model._meta.pk
    if not pk.column:
        return ""
    with source.cursor() as cursor:
        quoted = source.ops.quote_name
        cursor.execute(f"SELECT {quoted(pk.column)} FROM {quoted(model._meta.db_table)}")
        keys = [row[0] for row in cursor.fetchall()]
    for field in fields:
        query = QuerySet(model, using=SOURCE).order_by().values_list(field.attname)
        try:
            for _row in query.iterator(chunk_size=BATCH_ROWS):
                pass
        except Exception:
            for key in keys:
                try:
                    list(query.filter(pk=key))
                except Exception:
                    return f"{model._meta.label} {key}: {field.name}"
    return ""


def misfits(table: Table, batch: list[tuple[Any, ...]], target: Any) -> list[str]:
    """The values of some rows that the target would refuse or change."""
    model, fields = table
    names = [field.attname for field in fields]
    key = names.index(model._meta.pk.attname) if model._meta.pk.attname in names else None
    found = []
    for row in batch:
        for field, value in zip(fields, row, strict=True):
            if value is not None and (why := misfit(field, value, target)):
                found.append(f"{model._meta.label} {row[key] if key is not None else row}: {field.name} {why}")
    return found


def misfit(field: Any, value: Any, target: Any) -> str:
    """Why a value, as read, does not fit into its column of the target; empty when it does.

    SQLite keeps what it is given, whatever the type of the column says (sqlite.org, Datatypes).
    """
    while field.remote_field is not None and hasattr(field, "target_field"):
        field = field.target_field
    if isinstance(value, str):
        if "\0" in value and target.vendor == "postgresql":
            return "holds a NUL character"
        limit = field.max_length if str(field.db_type(target)).startswith(("varchar", "char")) else None
        if limit is not None and len(value) > limit:
            return f"has {len(value)} characters, and {limit} fit"
    if is_json(field):
        return misfit_of_json(field, value, target)
    try:
        field.get_db_prep_save(value, target)
    except Exception as error:
        return f"cannot be written: {first_line(error)}"
    if isinstance(value, Decimal) and getattr(field, "max_digits", None):
        whole = len(str(abs(int(value)))) if value.is_finite() and abs(value) >= 1 else 0
        if not value.is_finite() or whole > field.max_digits - field.decimal_places:
            return f"has more digits than {field.max_digits - field.decimal_places} before the point"
    bounds = target.ops.integer_field_ranges.get(field.get_internal_type())
    if bounds and isinstance(value, float) and not value.is_integer():
        return "is no whole number"
    if bounds and isinstance(value, (int, float)) and not bounds[0] <= value <= bounds[1]:
        return f"is not between {bounds[0]} and {bounds[1]}"
    return ""


def misfit_of_json(field: Any, value: Any, target: Any) -> str:
    try:
        text = json.dumps(value, cls=field.encoder, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"cannot be written: {first_line(error)}"
    if "\\u0000" in text.replace("\\\\", "") and target.vendor == "postgresql":
        return "holds a NUL character"
    return ""


def unread_dates(table: Table, source: Any) -> list[str]:
    """Values in columns for dates and times that are none: Django reads them as if there were nothing."""
    from django.db.models.query import QuerySet

    model, fields = table
    found = []
    for field in fields:
        if field.get_internal_type() in ("DateField", "DateTimeField", "TimeField") and model._meta.pk.column:
            query = QuerySet(model, using=SOURCE).order_by().filter(**{f"{field.name}__isnull": False})
            try:
                for key, value in query.values_list("pk", field.attname).iterator(chunk_size=BATCH_ROWS):
                    if value is None:
                        found.append(f"{model._meta.label} {key}: {field.name} is no date or time")
            except Exception:
                return found  # what cannot be read at all is noted already
    return found


# --- copying ------------------------------------------------------------------------------------------------------


def move_copy(request: Request, predict: bool) -> Outcome:
    """Copy all rows in one transaction, compare both sides, and set the counters of ids.

    What migrations have filled goes first: the rows of the source take its place, with the same ids.

    :raises Failure: when a row is refused, or both sides differ; the target is then as it was.
    """
    from django.db import transaction

    source, target = source_of(request), connection_for({}, False)
    tables, _told = tables_of(source)
    with transaction.atomic(using=SOURCE), transaction.atomic(using="default"), target.constraint_checks_disabled():
        clear(target, tables)
        total = 0
        for table in tables:
            sums = Sum(table[1], source)
            copy(table, source, target, sums)
            compare(table, sums, source)
            if sums.count:
                sys.stdout.write(f"{table[0]._meta.label}: {sums.count} rows\n")
            total += sums.count
        reset_counters(source, target, tables)
        target.check_constraints()
    return outcome(True, rows=total, tables=len(tables))


def clear(target: Any, tables: list[Table]) -> None:
    """Take out what migrations have filled, those first that refer to others."""
    with target.cursor() as cursor:
        for model, _fields in reversed(tables):
            cursor.execute(f"DELETE FROM {target.ops.quote_name(model._meta.db_table)}")


def copy(table: Table, source: Any, target: Any, sums: Sum) -> None:
    """Insert the rows of a table as they are.

    :raises Failure: when the target refuses one, with the row if it can be named.
    """
    from django.db import DatabaseError
    from django.db.models import Value
    from django.db.models.sql import InsertQuery

    model, fields = table
    names = [field.attname for field in fields]
    nulls = json_nulls(table, source)
    key = names.index(model._meta.pk.attname) if nulls else 0
    for batch in batches(table, SOURCE):
        sums.add(batch)
        objects = [SimpleNamespace(**dict(zip(names, row, strict=True))) for row in batch]
        for name, keys in nulls.items():
            for row, one in zip(batch, objects, strict=True):
                if row[key] in keys or str(row[key]) in keys:
                    setattr(one, name, Value(None, fields[names.index(name)]))
        query = InsertQuery(model)
        query.insert_values(fields, objects, raw=True)
        try:
            query.get_compiler(using="default").execute_sql(None)
        except DatabaseError as error:
            why = (misfits(table, batch, target) or [f"{model._meta.label}: {first_line(error)}"])[0]
            raise Failure("database", f"the {target.vendor} database refuses a row: {why}", MEND) from error


class Sum:
    """Count and checksum of rows, whatever their order: both sides are read by Django, and give equal values."""

    def __init__(self, fields: Fields, source: Any) -> None:
        self.fields = fields
        self.source = source
        self.count = 0
        self.digest = 0

    def add(self, batch: list[tuple[Any, ...]]) -> None:
        for row in batch:
            values = [plain(field, value, self.source) for field, value in zip(self.fields, row, strict=True)]
            one = hashlib.blake2b(repr(values).encode("utf-8", "backslashreplace"), digest_size=16).digest()
            self.digest = (self.digest + int.from_bytes(one, "big")) % 2**128
        self.count += len(batch)


def plain(field: Any, value: Any, source: Any) -> Any:
    """A value as both databases give it: as text where they differ only in how they write it."""
    if is_json(field):
        return plain_json(value)
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    if isinstance(value, (date, time, timedelta)):
        return str(value)
    if isinstance(value, Decimal):
        return str(value.normalize()) if value else "0"
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if field.get_internal_type() in ("GenericIPAddressField", "IPAddressField") and isinstance(value, str):
        import ipaddress

        return str(ipaddress.ip_address(value.partition("/")[0]))
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return value
    written = field.get_db_prep_save(value, source)
    return bytes(written) if isinstance(written, (bytearray, memoryview)) else str(written)


def plain_json(value: Any) -> Any:
    """PostgreSQL orders keys and has one kind of number; MariaDB keeps the text."""
    if isinstance(value, dict):
        return {name: plain_json(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [plain_json(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) < 10**308 else str(value)
    return value if value is None or isinstance(value, (str, bool, float)) else str(value)


def compare(table: Table, there: Sum, source: Any) -> None:
    """:raises Failure: when the target does not hold what was read from the source."""
    here = Sum(table[1], source)
    for batch in batches(table, "default"):
        here.add(batch)
    label = table[0]._meta.label
    if here.count != there.count:
        raise Failure("database", f"{label}: {there.count} rows were copied, and {here.count} are there")
    if here.digest != there.digest:
        raise Failure("database", f"{label}: what the target holds is not what was copied (checksums differ)")


def reset_counters(source: Any, target: Any, tables: list[Table]) -> None:
    """Let ids go on where they were: behind the highest there is, and behind those of rows deleted before."""
    from django.core.management.color import no_style

    models = [model for model, _fields in tables]
    with source.cursor() as cursor:
        present = source.introspection.table_names(cursor)
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'")
        last: dict[str, int] = {}
        if present and cursor.fetchone():
            cursor.execute("SELECT name, seq FROM sqlite_sequence")
            last = dict(cursor.fetchall())
    with target.cursor() as cursor:
        for statement in target.ops.sequence_reset_sql(no_style(), models):
            cursor.execute(statement)
        for model, fields in tables if target.vendor == "postgresql" else ():
            highest = last.get(model._meta.db_table)
            counter = next((field for field in fields if field.get_internal_type().endswith("AutoField")), None)
            if highest and counter is not None:
                name = target.ops.quote_name(model._meta.db_table)
                cursor.execute(
                    "SELECT setval(pg_get_serial_sequence(%s, %s), %s)"
                    f" WHERE %s > (SELECT COALESCE(MAX({target.ops.quote_name(counter.column)}), 0) FROM {name})",
                    [name, counter.column, highest, highest],
                )
