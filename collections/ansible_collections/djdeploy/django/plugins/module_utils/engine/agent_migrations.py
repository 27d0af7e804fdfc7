# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `migrate`: what one database still lacks, and how it gets it."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import io
import sys
from typing import Any

from .agent_databases import connection_for, is_mirror, named, unrouted
from .agent_locks import Session, migration_failure, session_for
from .agent_operations import described_operations
from .agent_sql import sql_of
from .agent_words import Failure, Outcome, Request, outcome


def migrate(request: Request, predict: bool) -> Outcome:
    """Bring one database to the migrations of the code; the plan alone decides whether that is a change."""
    from django.db.migrations.recorder import MigrationRecorder

    connection = connection_for(request, predict)
    app, target = request.get("app"), request.get("target")
    if connection.settings_dict["ENGINE"] == "django.db.backends.dummy":
        nothing: dict[str, Any] = {"pending": [], "applied": [], "plan": [], "reason": "the project has no database"}
        return outcome(False, [], [], database=connection.alias, **nothing)
    if request.get("unless_mirror") and is_mirror(connection):
        same: dict[str, Any] = {"pending": [], "applied": [], "plan": [], "mirror": True}
        return outcome(False, [], [], database=connection.alias, reason="it mirrors another database", **same)
    plan, applied = migration_plan(connection, app, target)
    if not (request.get("plan_only") or request.get("fake")):
        refuse_what_stays(plan)
    if not plan or predict or request.get("plan_only"):
        details, known = details_of(connection, request, plan)
        if request.get("unless_mirror"):
            known["unrouted"] = unrouted()
        return planned(connection.alias, plan, applied, None, details, known, shown(connection, request, plan))
    session = session_for(connection, request)
    try:
        with session.opened():
            plan, applied = migration_plan(connection, app, target)  # another host may have applied it meanwhile
            details, known = details_of(connection, request, plan)
            sql = shown(connection, request, plan)
            if plan:
                carry_out(session, request)
            now = MigrationRecorder(connection).applied_migrations()
    except Exception as error:
        raise named(migration_failure(error, session, plan), connection) from error
    known |= {"waited": session.waited, "tries": session.tries}
    return planned(connection.alias, plan, applied, now, details, known, sql)


def refuse_what_stays(plan: list[Any]) -> None:
    """Django undoes one migration after the other, and would stop in the midst of them.

    :raises Failure: when one of a plan that goes back cannot be reversed.
    """
    for migration, undo in plan:
        stays = [operation.describe() for operation in migration.operations if undo and not operation.reversible]
        if stays:
            raise Failure(
                "migration",
                f"{migration.app_label}.{migration.name} cannot be reversed ({stays[0]}), so nothing is taken back",
                "give that operation its reverse, or undo it by hand and note it with `fake`",
            )


def shown(connection: Any, request: Request, plan: list[Any]) -> str | None:
    """The SQL of a plan if it was asked for: collecting it takes as long as making all models does."""
    if not request.get("sql"):
        return None
    return sql_of(connection, plan, fake=bool(request.get("fake")), fake_initial=bool(request.get("fake_initial")))


def carry_out(session: Session, request: Request) -> None:
    """Let Django migrate.

    :raises Failure: when something is still to be done afterwards.
    """
    from django.core.management import call_command

    connection, app, target = session.connection, request.get("app"), request.get("target")
    words = [word for word in (app, target) if word]
    options = {name: True for name in ("fake", "fake_initial") if request.get(name)}

    def work() -> None:
        lines = Lines(only="pplying " if session.tries > 1 or session.restarts else "")
        try:
            call_command("migrate", *words, database=connection.alias, interactive=False, stdout=lines, **options)
        finally:
            lines.end()

    session.carry_out(work)
    if migration_plan(connection, app, target)[0]:
        raise Failure("migration", "migrate ended without an error, and migrations are still to be applied")


class Lines(io.TextIOBase):
    """Passes whole lines on to standard output: Django begins one and ends it when a migration is done.

    :param only: lines without this are left out, since they were said on the first try.
    """

    def __init__(self, only: str) -> None:
        super().__init__()
        self.only = only
        self.begun = ""

    def write(self, text: str) -> int:
        *whole, self.begun = (self.begun + text).split("\n")
        sys.stdout.write("".join(f"{line}\n" for line in whole if self.only in line))
        return len(text)

    def end(self) -> None:
        """What was begun ends here."""
        if self.begun:
            self.write("\n")


def details_of(connection: Any, request: Request, plan: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """What is told of each planned migration besides its name, and the facts beside the plan."""
    return described_operations(connection, plan) if request.get("detail") else ([{} for _each in plan], {})


def planned(
    alias: str, plan: list[Any], applied: Any, now: Any, details: list[Any], known: dict[str, Any], sql: str | None
) -> Outcome:
    """What a plan would do, or did.

    :param applied: keys of the migrations that were applied when it was made.
    :param now: the same when it was carried out; None when it was not.
    :param sql: what the diff shows instead of the operations.
    """
    keys = [(migration.app_label, migration.name) for migration, _undo in plan]
    forwards = [key for key, (_migration, undo) in zip(keys, plan, strict=True) if not undo]
    return outcome(
        bool(plan),
        sorted(".".join(key) for key in keys if key in applied),
        sorted(".".join(key) for key in (forwards if now is None else keys) if now is None or key in now),
        old=described(plan, backwards=True) if sql is None else states(plan, after=False),
        new=described(plan, backwards=False)
        if sql is None
        else "\n".join(filter(None, (sql, states(plan, after=True)))),
        database=alias,
        pending=[".".join(key) for key in keys],
        applied=[] if now is None else [".".join(key) for key in keys if (key in now) != (key in applied)],
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
            known = sorted(each for label, each in loader.disk_migrations if label == app)
            fitting = [each for each in known if each.startswith(target)]
            how_many = "more than one" if fitting else "no"
            raise Failure(
                "migration",
                f"{how_many} migration of {app} starts with {target!r}",
                f"{'they are' if fitting else 'there are'}: {', '.join(fitting or known)}",
            ) from error
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


def states(plan: list[Any], *, after: bool) -> str:
    """Which migrations of a plan are applied before it, or after it."""
    return "".join(
        f"{migration.app_label}.{migration.name}: {'not ' if undo == after else ''}applied\n"
        for migration, undo in plan
    )
