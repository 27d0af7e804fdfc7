# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about what is in a database: `loaddata`, `dumpdata` and `flush`."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import hashlib
import io
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .agent_databases import connection_for, routed_by
from .agent_secrets import HIDDEN
from .agent_words import OF_SQLITE, Failure, Outcome, Request, first_line, frames_of, listing, outcome

SECRET = re.compile("PASSW|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)  # names of fields whose values are not shown
# PostgreSQL, SQLite, MySQL
MISSING_TABLE = re.compile("relation .* does not exist|no such table|Table .* doesn't exist")
# Statements that change no table. Whatever else there is may do so.
READING = re.compile(
    r"[\s(]*(SELECT|VALUES|SHOW|PRAGMA|EXPLAIN|SET|BEGIN|START|SAVEPOINT|RELEASE|ROLLBACK|COMMIT)\b", re.IGNORECASE
)
# Statements that end a transaction in MySQL (its manual, "Statements That Cause an Implicit Commit").
COMMITTING = re.compile(
    r"[\s(]*(ALTER|CREATE|DROP|RENAME|TRUNCATE|GRANT|REVOKE|LOCK|ANALYZE|CACHE|CHECK|FLUSH|LOAD|OPTIMIZE|REPAIR|RESET)\b"
    r"(?!\s+TEMPORARY\b)",
    re.IGNORECASE,
)
SMALL = 10_000  # rows of one table that are still compared one by one

Key = tuple[str, Any]  # label of a model and primary key
Row = dict[str, Any]
Rows = Counter[bytes]  # a digest of each row of a table
Place = tuple[str, str]  # alias of a database and table


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
    names: dict[Key, str] = {}
    written: dict[Place, Rows | None] = {}
    options = {name: request[name] for name in ("app_label", "exclude") if request.get(name)}
    with (
        others_taken_back(alias, predict),
        transaction.atomic(using=alias),
        sequences_left(connection, predict),
        noticing(written),
    ):
        try:
            with watching(touched, names, alias):
                call_command(
                    "loaddata", *fixtures, database=alias, verbosity=0,
                    ignore=bool(request.get("ignore_nonexistent")), **options,
                )  # fmt: skip
            after = {key: row_of(key, alias) for key in touched}
            differing = [key for key in touched if touched[key] != after[key]]
            tables = differing_tables(written)
            refuse_violations(tables)
        except Exception as error:
            raise unloadable(error) from error
        if predict:
            transaction.set_rollback(True, using=alias)
    created = [named(key, names) for key in touched if touched[key] is None and after[key] is not None]
    updated = [named(key, names) for key in touched if touched[key] is not None and touched[key] != after[key]]
    told = {(alias, table) for key in differing for table in tables_of(key)}
    elsewhere = {
        table if place == alias else f"{place}.{table}": rows
        for (place, table), rows in sorted(tables.items())
        if (place, table.lower()) not in told
    }
    return outcome(
        bool(differing or elsewhere),
        {"created": 0, "updated": 0},
        {"created": len(created), "updated": len(updated)},
        old="".join(text_of(key, touched[key], after[key], names) for key in differing)
        + "".join(f"{table}: {counted(gone)} as before\n" for table, (gone, _come) in elsewhere.items() if gone),
        new="".join(text_of(key, after[key], touched[key], names) for key in differing)
        + "".join(
            f"{table}: {counted(come)} written on the way\n" for table, (_gone, come) in elsewhere.items() if come
        ),
        database=alias,
        created=created,
        updated=updated,
        elsewhere=sorted(elsewhere),
        unmodified=len(touched) - len(differing),
    )


@contextmanager
def watching(touched: dict[Key, Row | None], names: dict[Key, str], alias: str) -> Iterator[None]:
    """Note of each object that is saved or deleted what it was before; None where there was none.

    :param names: what to call the objects whose primary key the database chose: the next time it chooses another.
    """
    from django.db.models.signals import post_save, pre_delete, pre_save

    def before(sender: Any, instance: Any, using: str, **more: Any) -> None:
        key = (sender._meta.label_lower, instance.pk)
        if using == alias and instance.pk is not None and key not in touched:
            touched[key] = row_of(key, alias)

    def after(sender: Any, instance: Any, using: str, **more: Any) -> None:
        key = (sender._meta.label_lower, instance.pk)
        if using == alias and key not in touched:  # only now has an object that names no key got one
            touched[key] = None
            natural = instance.natural_key() if hasattr(instance, "natural_key") else ["(new)"]
            names[key] = " ".join(map(str, natural))

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
def noticing(kept: dict[Place, Rows | None]) -> Iterator[None]:
    """Keep what each table held before the first statement that may write to it; None for a big table.

    Signal handlers of the project write what they like, also by `update()` and by SQL, which send no signals.
    A statement is not understood: any table it only names is kept, too, and will be found as it was.
    """
    from django.db import connections

    def notice_in(connection: Any) -> Any:
        names: list[str] = []
        asking = False

        def notice(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            nonlocal asking
            text = str(sql)
            if not asking and not READING.match(text):
                asking, text = True, text.lower()
                try:
                    names[:] = names or connection.introspection.table_names()
                    for table in names:
                        if table.lower() in text and (connection.alias, table) not in kept:
                            kept[connection.alias, table] = rows_of(connection, table)
                finally:
                    asking = False
            return execute(sql, params, many, context)

        return notice

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(notice_in(connection)))
        yield


def differing_tables(kept: dict[Place, Rows | None]) -> dict[Place, tuple[int, int]]:
    """The tables that hold something else now; how many rows are gone, and how many have come."""
    from django.db import connections

    found = {}
    for (alias, table), old in kept.items():
        new = None if old is None else rows_of(connections[alias], table)
        if old is not None and old != new:
            new = new or Counter()
            found[alias, table] = ((old - new).total(), (new - old).total())
    return found


def refuse_violations(tables: Collection[Place]) -> None:
    """Let the databases look at foreign keys now; Django does so only for the tables of the fixtures' models.

    Of others they think at the end of a transaction, which a prediction does not reach.
    """
    from django.db import connections

    for alias in sorted({place for place, _table in tables}):
        connections[alias].check_constraints(table_names=[table for place, table in tables if place == alias])


def rows_of(connection: Any, table: str) -> Rows | None:
    """What a table holds; None when that is too much to be compared."""
    limit = connection.ops.limit_offset_sql(0, SMALL + 1)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)} {limit}")
        rows = cursor.fetchall()
    return None if len(rows) > SMALL else Counter(map(digest_of, rows))


def digest_of(row: Any) -> bytes:
    plain = [bytes(value) if isinstance(value, memoryview) else value for value in row]
    return hashlib.sha256(repr(plain).encode("utf-8", "backslashreplace")).digest()


def tables_of(key: Key) -> set[str]:
    """The tables an object is in, with those of its many-to-many relations."""
    from django.apps import apps

    meta = apps.get_model(key[0])._meta
    return {meta.db_table.lower()} | {field.m2m_db_table().lower() for field in meta.local_many_to_many}


@contextmanager
def others_taken_back(alias: str, predict: bool) -> Iterator[None]:
    """In a prediction take back what is written to any other database; one nobody asks is not connected to."""
    from django.db import connections, transaction
    from django.db.backends.signals import connection_created

    with ExitStack() as stack:

        def begin(connection: Any, **more: Any) -> None:
            if connection.vendor == "mysql":
                stack.enter_context(connection.execute_wrapper(uncommitted))
            if connection.alias != alias:
                stack.enter_context(transaction.atomic(using=connection.alias))
                stack.callback(end, connection)

        def end(connection: Any) -> None:
            # A block that was just entering when the connection was made does not know that it is not the outermost.
            connection.in_atomic_block = True
            transaction.set_rollback(True, using=connection.alias)

        if predict:
            connection_created.connect(begin)
            stack.callback(connection_created.disconnect, begin)
            for connection in connections.all(initialized_only=True):
                if connection.connection is not None:
                    begin(connection)
        yield


def uncommitted(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Let nothing through that would keep what a prediction wrote: what it deleted would be gone.

    :raises Failure: for such a statement; nothing has happened then.
    """
    if match := COMMITTING.match(str(sql)):
        raise Failure(
            "database",
            f"this cannot be predicted on MySQL: a handler of the project says {match.group().strip()}, which ends"
            " the transaction of the prediction",
            "run it without check mode",
        )
    return execute(sql, params, many, context)


class Reading:
    """A database router that reads everything from one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias


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
    # Its relations are read where the object is, not from a replica that knows nothing of it yet.
    with routed_by(Reading(alias)):
        rows: list[dict[str, Any]] = serializers.serialize("python", found)
    return (
        {
            name: sorted(value, key=str) if isinstance(value, list) else value
            for name, value in rows[0]["fields"].items()
        }
        if rows
        else None
    )


def named(key: Key, names: dict[Key, str]) -> str:
    return f"{key[0]} {names.get(key, key[1])}"


def text_of(key: Key, row: Row | None, other: Row | None, names: dict[Key, str]) -> str:
    """One side of the difference of an object: its fields that are not the same on the other side."""
    from django.apps import apps

    if row is None:
        return ""
    shown = {name: value for name, value in row.items() if other is None or other.get(name) != value}
    for name, value in shown.items():
        model = apps.get_model(key[0])._meta.get_field(name).related_model
        if SECRET.search(name) and value:
            shown[name] = HIDDEN
        elif model is not None:
            label = model._meta.label_lower
            known = [names.get((label, each), each) for each in (value if isinstance(value, list) else [value])]
            shown[name] = known if isinstance(value, list) else known[0]
    return f"{named(key, names)}\n" + "".join(f"    {name}: {value}\n" for name, value in shown.items())


def unloadable(error: Exception) -> Failure:
    """What is wrong with a fixture, in one line."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = first_line(error).rstrip(":. ")
    cause = error.__cause__ or error.__context__
    if "DeserializationError" in names and isinstance(cause, KeyError):
        text = text.removesuffix(str(cause)).rstrip(": ") + f": an object has no {cause}"
    elif "DeserializationError" in names and cause is not None and first_line(cause) not in text:
        text = f"{text}: {first_line(cause)}"
    files = [frame.f_locals.get("fixture_file") for frame in frames_of(error) if frame.f_code.co_name == "load_label"]
    if files and files[0] and "fixture '" not in text:
        text = f"Problem installing fixture '{files[0]}': {text}"
    if names & {"OperationalError", "ProgrammingError"} and MISSING_TABLE.search(text):
        return Failure("database", text, "run `migrate` first")
    for said, (_meant, hint) in OF_SQLITE.items():
        if "DatabaseError" in names and text.endswith(said):
            return Failure("database", text, hint)
    if "CommandError" in names:
        return Failure("fixture", text, "mend its name; fixtures are looked for in `fixtures` of each app")
    return Failure("fixture", text, "mend the fixture")


# --- dumpdata --------------------------------------------------------------------------------------------------


def dumpdata(request: Request, predict: bool) -> Outcome:
    """Write objects into a file, if it does not hold the same already. What it holds is never shown."""
    from django.core.management import CommandError, call_command

    connection, dest = connection_for(request, predict), str(request["dest"])
    kind, said = request.get("format") or "json", io.StringIO()
    if not dest:
        raise Failure("request", "no file was given", "name it under `dest`")
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
        if MISSING_TABLE.search(first_line(error)) and predict:
            reason = f"what {dest} would hold cannot be told before `migrate`"
            return outcome(True, None, None, database=connection.alias, dest=dest, reason=reason)
        if MISSING_TABLE.search(first_line(error)):
            raise Failure("database", first_line(error), "run `migrate` first") from error
        raise Failure("command", first_line(error), "see which apps and models there are: the module info") from error
    content, mode = packed(dest, said.getvalue().encode()), mode_of(request)
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


def packed(dest: str, content: bytes) -> bytes:
    """Compressed as the name says: `loaddata` goes by it, and so does `dumpdata --output`."""
    kind = os.path.splitext(dest)[1]
    if kind == ".gz":
        import gzip

        return gzip.compress(content, mtime=0)  # the time would be another one each time
    if kind == ".bz2":
        import bz2

        return bz2.compress(content)
    if kind in (".lzma", ".xz"):
        import lzma

        return lzma.compress(content, format=lzma.FORMAT_XZ if kind == ".xz" else lzma.FORMAT_ALONE)
    return content


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
    kept = contents(connection, tables, before)
    try:
        # One transaction, so that a handler of post_migrate that fails brings everything back.
        with others_taken_back(alias, predict), transaction.atomic(using=alias):
            if predict:
                emptied(connection)
            else:
                call_command("flush", database=alias, interactive=False, verbosity=0)
            after = counts(connection, tables)
            same = after == before and contents(connection, tables, after) == kept
            if predict:
                transaction.set_rollback(True, using=alias)
    except Exception as error:
        if MISSING_TABLE.search(first_line(error)):
            raise Failure("database", first_line(error), "run `migrate` first") from error
        raise
    return outcome(
        not same,
        before,
        after,
        old="" if same else lines(before),
        new="" if same else lines(after),
        database=alias,
        deleted={} if same else before,
    )


def emptied(connection: Any) -> None:
    """Do what the command does, in a way that can be taken back.

    Its TRUNCATE ends a transaction in MySQL (MySQL manual, "Statements That Cause an Implicit Commit"), DELETE
    does not.
    """
    from django.core.management import call_command
    from django.core.management.color import no_style
    from django.core.management.sql import emit_post_migrate_signal, sql_flush

    if connection.vendor != "mysql":
        call_command("flush", database=connection.alias, interactive=False, verbosity=0)
        return
    connection.ops.execute_sql_flush(sql_flush(no_style(), connection, reset_sequences=False))
    emit_post_migrate_signal(0, False, connection.alias)


def counts(connection: Any, tables: list[str]) -> dict[str, int]:
    """Rows of each table that has any."""
    found = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT COUNT(*) FROM {connection.ops.quote_name(table)}")
            found[table] = int(cursor.fetchone()[0])
    return {table: count for table, count in found.items() if count}


def contents(connection: Any, tables: list[str], filled: dict[str, int]) -> dict[str, Rows | None]:
    """What the small tables hold: content types, permissions and the first Site come again after a flush."""
    return {table: rows_of(connection, table) for table in tables if 0 < filled.get(table, 0) <= SMALL}


def counted(number: int) -> str:
    return f"{number} row{'' if number == 1 else 's'}"


def lines(filled: dict[str, int]) -> str:
    return listing([f"{table}: {counted(count)}" for table, count in filled.items()])
