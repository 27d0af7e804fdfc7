# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps for going back: what is applied, and taking migrations back with the code that knows them."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

from typing import Any

from .agent_databases import connection_for, named
from .agent_locks import migration_failure, session_for
from .agent_operations import described_operations
from .agent_words import Failure, Outcome, Request, outcome


def migration_state(request: Request, predict: bool) -> Outcome:
    """Which migrations this code has, and which of any code are in the database."""
    from django.db.migrations.loader import MigrationLoader

    connection = connection_for(request, predict=True)
    if connection.settings_dict["ENGINE"] == "django.db.backends.dummy":
        return outcome(False, applied=[], known={})
    loader = MigrationLoader(connection, ignore_no_migrations=True)
    known: dict[str, list[str]] = {}
    for app, name in sorted(loader.disk_migrations):
        known.setdefault(app, []).append(name)
    return outcome(False, applied=[".".join(key) for key in loader.applied_migrations], known=known)


def unapply(request: Request, predict: bool) -> Outcome:
    """Take migrations back, and with them everything applied that depends on them.

    The plan is made whole before anything is touched: Django itself looks at one migration after the
    other, and would stop at one that cannot be reversed with those before it undone.
    """
    from django.db.migrations.executor import MigrationExecutor

    connection = connection_for(request, predict)
    executor = MigrationExecutor(connection)
    wanted = [tuple(name.split(".", 1)) for name in request["migrations"]]
    plan = backwards(executor, wanted)
    names = [f"{migration.app_label}.{migration.name}" for migration, _undo in plan]
    details, facts = described_operations(connection, plan)
    entries = [{"migration": name, "backwards": True, **detail} for name, detail in zip(names, details, strict=True)]
    stuck = [name for name, (migration, _undo) in zip(names, plan, strict=True) if not reversible(migration)]
    if stuck and not predict:
        raise Failure("migration", f"{stuck[0]} cannot be reversed, so nothing was taken back")
    if plan and not predict:
        session = session_for(connection, request)
        try:
            with session.opened():
                session.carry_out(lambda: take_back(connection, wanted))
        except Exception as error:
            raise named(migration_failure(error, session, plan), connection) from error
    return outcome(bool(plan), names, [], plan=entries, tables=facts["tables"], taken_back=[] if predict else names)


def take_back(connection: Any, wanted: list[Any]) -> None:
    """Take back what of these migrations is applied now."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    executor.migrate([], plan=backwards(executor, wanted))


def backwards(executor: Any, wanted: list[Any]) -> list[Any]:
    """The migrations to take back, each after all that depend on it.

    :raises Failure: for a migration this code does not have.
    """
    graph, applied = executor.loader.graph, executor.loader.applied_migrations
    order: list[Any] = []
    for key in wanted:
        if key not in graph.nodes:
            raise Failure("migration", f"{'.'.join(key)} is applied, but not among the migrations of this code")
        order += [node for node in graph.backwards_plan(key) if node in applied and node not in order]
    return [(graph.nodes[node], True) for node in order]


def reversible(migration: Any) -> bool:
    return all(operation.reversible for operation in migration.operations)
