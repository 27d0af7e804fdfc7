# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about what is in a database: `loaddata`, `dumpdata` and `flush`."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .agent_databases import connection_for
from .agent_words import Failure, Outcome, Request, first_line, listing, outcome

SECRET = re.compile("PASSW|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)  # names of fields whose values are not shown
# PostgreSQL, SQLite, MySQL
MISSING_TABLE = re.compile("relation .* does not exist|no such table|Table .* doesn't exist")
HIDDEN = "********"
SMALL = 10_000  # rows of one table that are still compared one by one

Key = tuple[str, Any]  # label of a model and primary key
Row = dict[str, Any]


# --- loaddata --------------------------------------------------------------------------------------------------


def loaddata(request: Request, predict: bool) -> Outcome:
    """Load fixtures in one transaction; each object is compared with what was there before.

    Loading writes every object again, changed or not, so Django's count of objects says nothing about changes.
    """
    from django.core.management import call_command
    from django.db import transaction

    connection = connection_for(request, predict)
    alias, fixtures = connection.alias, [str(name) for name in request["fixtures"]]
    if not fixtures:
        raise Failure("request", "no fixture was given", "name one or more under `fixtures`")
    if predict and not connection.introspection.table_names():
        return outcome(
            True, database=alias, created=None, updated=None,
            reason="the database has no tables yet: what the fixtures hold would be created",
        )  # fmt: skip
    if not connection.features.supports_transactions:
        raise Failure(
            "database",
            f"the database {alias!r} has no transactions, so fixtures could be loaded by half",
            "let its tables be InnoDB, or run `loaddata` as a command",
        )
    touched: dict[Key, Row | None] = {}
    options = {name: request[name] for name in ("app_label", "exclude") if request.get(name)}
    with transaction.atomic(using=alias), watching(touched, alias), sequences_left(connection, predict):
        try:
            call_command(
                "loaddata", *fixtures, database=alias, verbosity=0,
                ignore=bool(request.get("ignore_nonexistent")), **options,
            )  # fmt: skip
        except Exception as error:
            raise unloadable(error) from error
        after = {key: row_of(key, alias) for key in touched}
        if predict:
            transaction.set_rollback(True, using=alias)
    created = [named(key) for key in touched if touched[key] is None and after[key] is not None]
    updated = [named(key) for key in touched if touched[key] is not None and touched[key] != after[key]]
    differing = [key for key in touched if touched[key] != after[key]]
    return outcome(
        bool(differing),
        {"created": 0, "updated": 0},
        {"created": len(created), "updated": len(updated)},
        old="".join(text_of(key, touched[key], after[key]) for key in differing),
        new="".join(text_of(key, after[key], touched[key]) for key in differing),
        database=alias,
        created=created,
        updated=updated,
        unmodified=len(touched) - len(differing),
    )


@contextmanager
def watching(touched: dict[Key, Row | None], alias: str) -> Iterator[None]:
    """Note of each object that is saved or deleted what it was before; None where there was none."""
    from django.db.models.signals import post_save, pre_delete, pre_save

    def before(sender: Any, instance: Any, using: str, **more: Any) -> None:
        key = (sender._meta.label_lower, instance.pk)
        if using == alias and instance.pk is not None and key not in touched:
            touched[key] = row_of(key, alias)

    def after(sender: Any, instance: Any, using: str, **more: Any) -> None:
        if using == alias:  # only now has an object that names no key got one
            touched.setdefault((sender._meta.label_lower, instance.pk), None)

    pre_save.connect(before, weak=False)
    pre_delete.connect(before, weak=False)
    post_save.connect(after, weak=False)
    try:
        yield
    finally:
        pre_save.disconnect(before)
        pre_delete.disconnect(before)
        post_save.disconnect(after)


@contextmanager
def sequences_left(connection: Any, predict: bool) -> Iterator[None]:
    """In a prediction leave the sequences of PostgreSQL alone: setval() is not taken back by a rollback."""
    if predict:
        connection.ops.sequence_reset_sql = lambda *arguments: []
    try:
        yield
    finally:
        if predict:
            del connection.ops.sequence_reset_sql


def row_of(key: Key, alias: str) -> Row | None:
    """An object as a fixture would hold it, many-to-many relations included; None when it is not there."""
    from django.apps import apps
    from django.core import serializers

    found = apps.get_model(key[0])._base_manager.using(alias).filter(pk=key[1])
    rows: list[dict[str, Any]] = serializers.serialize("python", found)
    return (
        {
            name: sorted(value, key=str) if isinstance(value, list) else value
            for name, value in rows[0]["fields"].items()
        }
        if rows
        else None
    )


def named(key: Key) -> str:
    return f"{key[0]} {key[1]}"


def text_of(key: Key, row: Row | None, other: Row | None) -> str:
    """One side of the difference of an object: its fields that are not the same on the other side."""
    if row is None:
        return ""
    fields = {name: value for name, value in row.items() if other is None or other.get(name) != value}
    shown = {name: HIDDEN if SECRET.search(name) and value else value for name, value in fields.items()}
    return f"{named(key)}\n" + "".join(f"    {name}: {value}\n" for name, value in shown.items())


def unloadable(error: Exception) -> Failure:
    """What is wrong with a fixture, in one line."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = first_line(error).rstrip(": ")
    cause = error.__cause__ or error.__context__
    if "DeserializationError" in names and cause is not None and first_line(cause) not in text:
        text = f"{text}: {first_line(cause)}"
    if "CommandError" in names or "DeserializationError" in names:
        return Failure("fixture", text, "mend the fixture, or its name; they are looked for in `fixtures` of each app")
    if names & {"OperationalError", "ProgrammingError"} and MISSING_TABLE.search(text):
        return Failure("database", text, "run `migrate` first")
    return Failure("fixture", text, "mend the fixture")


# --- dumpdata --------------------------------------------------------------------------------------------------


def dumpdata(request: Request, predict: bool) -> Outcome:
    """Write objects into a file, if it does not hold the same already. What it holds is never shown."""
    from django.core.management import CommandError, call_command

    connection, dest = connection_for(request, predict), str(request["dest"])
    kind, said = request.get("format") or "json", io.StringIO()
    try:
        call_command(
            "dumpdata",
            *(request.get("apps") or ()),
            database=connection.alias,
            format=kind,
            indent=request.get("indent"),
            exclude=list(request.get("exclude") or ()),
            use_natural_foreign_keys=bool(request.get("natural_foreign")),
            use_natural_primary_keys=bool(request.get("natural_primary")),
            use_base_manager=bool(request.get("all")),
            verbosity=0,
            stdout=said,
        )
    except CommandError as error:
        raise Failure("command", first_line(error), "see which apps and models there are: the module info") from error
    content, mode = said.getvalue().encode(), mode_of(request)
    try:
        old = content_of(dest)
        changed = old != (content, mode)
        if changed and not os.path.isdir(os.path.dirname(dest) or "."):
            raise Failure("file", f"there is no directory {os.path.dirname(dest)}", "make it, owned by the site's user")
        if changed and not os.access(os.path.dirname(dest) or ".", os.W_OK | os.X_OK):
            raise Failure("file", f"{os.path.dirname(dest)} cannot be written to by this user", "choose another `dest`")
        if changed and not predict:
            write(dest, content, mode)
    except OSError as error:
        raise Failure("file", f"{dest}: {error.strerror}", "choose another `dest`") from error
    before = None if old is None else {"bytes": len(old[0]), "mode": f"{old[1]:04o}"}
    after = {"bytes": len(content), "mode": f"{mode:04o}"}
    return outcome(
        changed,
        before,
        after,
        old=f"{dest} ({before['bytes']} bytes, {before['mode']})\n" if before and changed else "",
        new=f"{dest} ({after['bytes']} bytes, {after['mode']})\n" if changed else "",
        database=connection.alias,
        dest=dest,
    )


def mode_of(request: Request) -> int:
    """:raises Failure: when it is no mode."""
    text = str(request.get("mode") or "0600")
    if not re.fullmatch("0?[0-7]{3}", text):
        raise Failure("request", f"mode: {text!r} is not a mode of a file", 'as in "0640"')
    return int(text, 8)


def content_of(path: str) -> tuple[bytes, int] | None:
    """What a file holds, and its mode; None when it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read(), os.stat(file.fileno()).st_mode & 0o777
    except FileNotFoundError:
        return None


def write(path: str, content: bytes, mode: int) -> None:
    """Write aside, then rename: nobody ever finds half of it, nor a mode that is too wide."""
    aside = f"{path}.{os.getpid()}"
    try:
        with open(aside, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        if os.path.lexists(aside):
            os.unlink(aside)


# --- flush -----------------------------------------------------------------------------------------------------


def flush(request: Request, predict: bool) -> Outcome:
    """Delete everything in a database, as Django's own command does; it then holds what `migrate` puts there again.

    Where a transaction can take it back, a prediction is the same work, taken back.
    """
    from django.core.management import call_command
    from django.db import transaction

    connection = connection_for(request, predict)
    alias = connection.alias
    if request.get("confirm") != alias:
        raise Failure(
            "request",
            f"flush deletes all data in the database {alias!r}, and that is not confirmed",
            f"if that is what you want: `confirm: {alias}`",
        )
    tables = sorted(connection.introspection.django_table_names(only_existing=True, include_views=False))
    before = counts(connection, tables)
    if predict and connection.vendor == "mysql":  # TRUNCATE ends a transaction there
        changed = bool(before)
        return outcome(
            changed, before, None, old=lines(before), database=alias, deleted=before,
            reason="what MySQL would hold afterwards cannot be told before",
        )  # fmt: skip
    kept = contents(connection, tables, before)
    if predict:
        with transaction.atomic(using=alias):
            call_command("flush", database=alias, interactive=False, verbosity=0)
            after = counts(connection, tables)
            same = after == before and contents(connection, tables, after) == kept
            transaction.set_rollback(True, using=alias)
    else:
        call_command("flush", database=alias, interactive=False, verbosity=0)
        after = counts(connection, tables)
        same = after == before and contents(connection, tables, after) == kept
    return outcome(
        not same,
        before,
        after,
        old="" if same else lines(before),
        new="" if same else lines(after),
        database=alias,
        deleted={} if same else before,
    )


def counts(connection: Any, tables: list[str]) -> dict[str, int]:
    """Rows of each table that has any."""
    found = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT COUNT(*) FROM {connection.ops.quote_name(table)}")
            found[table] = int(cursor.fetchone()[0])
    return {table: count for table, count in found.items() if count}


def contents(connection: Any, tables: list[str], filled: dict[str, int]) -> dict[str, list[str]]:
    """What the small tables hold: content types, permissions and the first Site come again after a flush."""
    found = {}
    with connection.cursor() as cursor:
        for table in tables:
            if 0 < filled.get(table, 0) <= SMALL:
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                found[table] = sorted(repr(row) for row in cursor.fetchall())
    return found


def lines(filled: dict[str, int]) -> str:
    return listing([f"{table}: {count} row{'' if count == 1 else 's'}" for table, count in filled.items()])
