# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `migrate`: what one database still lacks, and how it gets it."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
from typing import Any

from .agent_operations import described_operations
from .agent_words import Failure, Outcome, Request, connecting, explained, first_line, frames_of, outcome


def migrate(request: Request, predict: bool) -> Outcome:
    """Bring one database to the migrations of the code; the plan alone decides whether that is a change."""
    from django.core.management import call_command
    from django.db.migrations.recorder import MigrationRecorder

    connection = connection_for(request, predict)
    alias, app, target = connection.alias, request.get("app"), request.get("target")
    if connection.settings_dict["ENGINE"] == "django.db.backends.dummy":
        return outcome(
            False, [], [], database=alias, pending=[], applied=[], plan=[], reason="the project has no database"
        )
    plan, applied = migration_plan(connection, app, target)
    keys = [(migration.app_label, migration.name) for migration, _undo in plan]
    before = sorted(".".join(key) for key in keys if key in applied)
    after = sorted(".".join(key) for key, (_migration, undo) in zip(keys, plan, strict=True) if not undo)
    did: list[str] = []
    details, known = described_operations(connection, plan) if request.get("detail") else ([{} for _each in plan], {})
    if plan and not predict and not request.get("plan_only"):
        options = {name: True for name in ("fake", "fake_initial") if request.get(name)}
        try:
            limit_lock_wait(connection, request.get("lock_timeout"))
            words = [word for word in (app, target) if word]
            call_command("migrate", *words, database=alias, interactive=False, verbosity=1, **options)
        except Exception as error:
            raise migration_failure(error, connection, plan) from error
        if migration_plan(connection, app, target)[0]:
            raise Failure("migration", "migrate ended without an error, and migrations are still to be applied")
        now = MigrationRecorder(connection).applied_migrations()
        after = sorted(".".join(key) for key in keys if key in now)
        did = [".".join(key) for key in keys if (key in now) != (key in applied)]
    return outcome(
        bool(plan),
        before,
        after,
        old=described(plan, backwards=True),
        new=described(plan, backwards=False),
        database=alias,
        pending=[".".join(key) for key in keys],
        applied=did,
        plan=[
            {
                "migration": ".".join(key),
                "backwards": undo,
                "operations": [operation.describe() for operation in migration.operations],
                "atomic": migration.atomic,
                "reversible": all(operation.reversible for operation in migration.operations),
                **detail,
            }
            for key, (migration, undo), detail in zip(keys, plan, details, strict=True)
        ],
        **known,
    )


def connection_for(request: Request, predict: bool) -> Any:
    """The connection a step works on; when predicting, connecting never creates a missing SQLite file."""
    from django.db import connections

    alias = request.get("database") or "default"
    if alias not in list(connections):
        known = ", ".join(connections)
        raise Failure("request", f"there is no database {alias!r} in DATABASES, only {known}")
    connection = connections[alias]
    name = str(connection.settings_dict.get("NAME") or "")
    folder = os.path.dirname(os.path.abspath(name))
    if predict and connection.vendor == "sqlite" and not os.path.exists(name) and os.path.isdir(folder):
        connection.settings_dict = {**connection.settings_dict, "NAME": ":memory:"}
    return connection


def migration_plan(connection: Any, app: str | None, target: str | None) -> tuple[list[Any], Any]:
    """What `manage.py migrate [app [target]]` would do now: ([(migration, backwards)], applied).

    :raises Failure: for an unknown app or target, for conflicting leaf nodes and an inconsistent history.
    """
    from django.db.migrations.exceptions import AmbiguityError
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    loader = executor.loader
    loader.check_consistent_history(connection)
    conflicts = loader.detect_conflicts()
    if conflicts:
        names = "; ".join(f"{label}: {', '.join(sorted(leaves))}" for label, leaves in sorted(conflicts.items()))
        raise Failure(
            "migration",
            f"conflicting migrations, each the last of its app ({names})",
            "run `manage.py makemigrations --merge` in the project and commit the result",
        )
    leaves = loader.graph.leaf_nodes()
    if app and app not in loader.migrated_apps:
        raise Failure(
            "migration", f"there is no app {app!r} with migrations", "known: " + ", ".join(sorted(loader.migrated_apps))
        )
    if not app:
        targets = leaves
    elif not target:
        targets = [key for key in leaves if key[0] == app]
    elif target == "zero":
        targets = [(app, None)]
    else:
        try:
            key = (app, loader.get_migration_by_prefix(app, target).name)
        except (KeyError, AmbiguityError) as error:
            raise Failure("migration", f"no single migration of {app} starts with {target!r}") from error
        if key not in loader.graph.nodes and key in loader.replacements:
            key = loader.replacements[key].replaces[-1]
        targets = [key]
    return executor.migration_plan(targets), loader.applied_migrations


def described(plan: list[Any], *, backwards: bool) -> str:
    """The part of a plan that goes one way, as text: each migration with its operations."""
    return "".join(
        f"{migration.app_label}.{migration.name}\n"
        + "".join(f"    {operation.describe()}\n" for operation in migration.operations)
        for migration, undo in plan
        if undo == backwards
    )


def limit_lock_wait(connection: Any, seconds: float | None) -> None:
    """A migration that waits for a lock makes every later query of that table wait behind it: bound that."""
    if seconds and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{int(seconds * 1000)}ms"])


def migration_failure(error: Exception, connection: Any, plan: list[Any]) -> Failure:
    """Name the migration that failed and what is in the database now, since earlier ones stay applied."""
    from django.db import DatabaseError
    from django.db.migrations.migration import Migration
    from django.db.migrations.recorder import MigrationRecorder

    if connecting(error):
        return explained(error, "migrate")
    running = next(
        (frame for frame in frames_of(error) if isinstance(frame.f_locals.get("migration"), Migration)), None
    )
    migration = running.f_locals["migration"] if running else None
    name = f"migration {migration.app_label}.{migration.name}" if migration else "migrate"
    try:
        now = MigrationRecorder(connection).applied_migrations()
        done = [f"{one.app_label}.{one.name}" for one, undo in plan if ((one.app_label, one.name) in now) != undo]
    except DatabaseError:
        done = []  # the connection itself is gone; what was applied is then not known here
    hint = f"it was applied before that and stays: {', '.join(done)}" if done else "no migration was applied"
    if migration and not migration.atomic:
        hint += f"; {migration.name} is not atomic, a part of it may be in the database"
    if "lock timeout" in str(error):
        hint = f"another session held the table; try again when it is done ({hint})"
    return Failure("migration", f"{name} fails: {type(error).__name__}: {first_line(error)}", hint, applied=done)
