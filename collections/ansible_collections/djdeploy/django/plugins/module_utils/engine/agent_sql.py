# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL of planned migrations, collected as `sqlmigrate` does; nothing of it is run.

`sqlmigrate` enters its schema editor and asks every operation. Here no transaction is begun, only code of Django's own
is asked, and a statement that would do more than read is refused: collecting must be harmless in check mode.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# Features are asked for within a transaction (sqlite3/features.py, supports_json_field).
HARMLESS = ("SELECT", "SHOW", "PRAGMA", "DESCRIBE", "EXPLAIN", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
NOT_KNOWN = (
    "-- the database is asked about {names} now; the statements above may change it, and then others would be run"
)

Transition = tuple[Any, Any, Any]  # an operation, and the models before and after it


@dataclass
class Piece:
    """What one operation would run.

    :param title: comment that names it; empty where there is nothing to name.
    :param lines: statements, and comments where there are none.
    :param asked: the tables the database was asked about meanwhile, in lower case.
    """

    title: str
    lines: list[str]
    asked: set[str] = field(default_factory=set)

    def whole(self) -> list[str]:
        return [self.title, *self.lines] if self.title else self.lines


def transitions(migration: Any, state: Any) -> tuple[list[Transition], Any]:
    """The operations of a migration, each with the models around it, and the models after all of them."""
    ran: list[Transition] = []
    state.apps  # noqa: B018  (made here once, and from then on only changed)
    for operation in migration.operations:
        after = state.clone()
        operation.state_forwards(migration.app_label, after)
        ran.append((operation, state, after))
        state = after
    return ran, state


def reaching(operation: Any, app: str, before: Any, after: Any) -> list[Transition]:
    """The operations that reach the database.

    SeparateDatabaseAndState has some of its own. It says that it is SQL whatever they are, and would run their Python.
    """
    from .agent_operations import kind_of

    if kind_of(operation) != "SeparateDatabaseAndState":
        return [(operation, before, after)]
    found: list[Transition] = []
    for inner in operation.database_operations:
        changed = before.clone()
        inner.state_forwards(app, changed)
        found += reaching(inner, app, before, changed)
        before = changed
    return found


def pieces_of(connection: Any, app: str, ran: Iterable[Transition], *, backwards: bool) -> list[Piece]:
    """What the operations of one migration would run, in the order in which they would."""
    editor = connection.schema_editor(collect_sql=True, atomic=False)
    editor.deferred_sql = []
    each: list[tuple[Any, ...]] = []
    for operation, before, after in ran:
        each += reaching(operation, app, before, after) or [(operation,)]
    found = [
        piece_of(connection, editor, app, operation, states, backwards=backwards)
        for operation, *states in (reversed(each) if backwards else each)
    ]
    with asking(connection):
        late = collected(editor, lambda: [editor.execute(statement) for statement in editor.deferred_sql])
    return [*found, Piece("-- at the end of the migration", late)] if late else found


def piece_of(connection: Any, editor: Any, app: str, operation: Any, states: list[Any], *, backwards: bool) -> Piece:
    """Let one operation write its statements into the editor.

    :param states: the models before it and after it; none when it does not reach the database.
    """
    title = f"-- {operation.describe()}"
    reason = not_sql(operation, states, backwards)
    if reason:
        return Piece(title, [f"-- {reason}"])
    before, after = states
    with asking(connection) as names:
        if backwards:
            lines = collected(editor, lambda: operation.database_backwards(app, editor, after, before))
        else:
            lines = collected(editor, lambda: operation.database_forwards(app, editor, before, after))
    asked = {table for state in states for table in tables_of(state) & names} if names else names
    return Piece(title, lines or ["-- nothing to do in the database"], asked)


def tables_of(state: Any) -> set[str]:
    return {model._meta.db_table.lower() for model in state.apps.get_models(include_auto_created=True)}


def not_sql(operation: Any, states: list[Any], backwards: bool) -> str:
    """Why an operation has no SQL to show; empty when it has."""
    from .agent_operations import kind_of

    if not states:
        return "nothing to do in the database"
    if kind_of(operation) == "unknown":
        return "this is not Django's code: it is not asked for its SQL before it runs"
    if not operation.reduces_to_sql:
        return "this is Python code: there is no SQL to show"
    if backwards and not operation.reversible:
        return "this cannot be taken back"
    return ""


def collected(editor: Any, work: Any) -> list[str]:
    """The statements `work` writes into the editor; a comment when it cannot say all of them yet."""
    known = len(editor.collected_sql)
    try:
        work()
        late = []
    except Exception as error:  # whatever it is, it is only about showing them
        said = " ".join(f"{type(error).__name__}: {error}".split())
        late = [f"-- the rest cannot be shown before it runs: {said}"]
    return [str(line) for line in editor.collected_sql[known:] if str(line).strip()] + late


@contextmanager
def asking(connection: Any) -> Iterator[set[str]]:
    """Let the body ask the database and do nothing else to it; gives the lower-case names it asked about."""
    names: set[str] = set()

    def only_reading(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = str(sql)
        word = text.split(None, 1)[0].upper() if text.strip() else ""
        if not word.startswith(HARMLESS) or (word == "PRAGMA" and "=" in text):
            raise RuntimeError(f"it would run {' '.join(text.split())[:80]}")
        names.update(name.lower() for name in re.findall(r'["`]([^"`]+)["`]', text))
        given = params.values() if isinstance(params, dict) else params or ()
        names.update(value.lower() for value in given if isinstance(value, str))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(only_reading):
        yield names


# --- The text a person reads -----------------------------------------------------------------------------------


def sql_of(connection: Any, plan: list[Any], *, fake: bool, fake_initial: bool) -> str:
    """All statements of a plan, under a comment for each migration; never fails, since it is only about showing them.

    :param fake: the migrations are only noted.
    :param fake_initial: those are whose tables exist.
    """
    from .agent_operations import Walk

    found: dict[Any, list[Piece] | None] = {}
    if not fake and plan:
        walk = Walk(connection, plan)
        undo = walk.backwards()

        def visit(migration: Any, state: Any) -> Any:
            if fake_initial and not undo and walk.executor.detect_soft_applied(state, migration)[0]:
                found[migration] = None
                return migration.mutate_state(state, preserve=False)
            ran, state = transitions(migration, state)
            found[migration] = pieces_of(connection, migration.app_label, ran, backwards=undo)
            return state

        try:
            walk.through(visit)
        except Exception as error:  # models that cannot be made; the run itself will say more
            said = " ".join(f"{type(error).__name__}: {error}".split())
            for migration, _undo in plan:
                found.setdefault(migration, [Piece("", [f"-- this cannot be shown before it runs: {said}"])])
    known: set[str] = set()
    return "\n".join(
        "".join(f"{line}\n" for line in section(connection, migration, undo, found.get(migration), known))
        for migration, undo in plan
    )


def section(connection: Any, migration: Any, undo: bool, pieces: list[Piece] | None, known: set[str]) -> list[str]:
    """The lines of one migration.

    :param pieces: None when it is only noted.
    :param known: lower-case words of all statements before it; those of this one are added.
    """
    head = f"-- Migration {migration.app_label}.{migration.name}" + (", taken back" if undo else "")
    if pieces is None:
        return [head, f"-- noted as {'not applied' if undo else 'applied'} and not run (fake)"]
    lines: list[str] = []
    for each in pieces:
        lines += each.whole()
        again = sorted(each.asked & known)
        if again and not each.lines[-1].startswith("-- the rest"):
            lines.append(NOT_KNOWN.format(names=", ".join(again)))
        for line in each.lines:
            if not line.startswith("--"):
                known.update(re.findall(r"\w+", line.lower()))
    if not any(not line.startswith("--") for line in lines):
        return [head, *lines]
    if migration.atomic and connection.features.can_rollback_ddl:
        lines = [connection.ops.start_transaction_sql(), *lines, connection.ops.end_transaction_sql()]
    return [head, *lines]
