# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying migrations out on MariaDB and MySQL: one host at a time, within bounds, and again where nothing was done.

As on PostgreSQL a statement that waits for a lock on a table makes every later query of it wait, so it waits for a
short time only. Unlike there, ALTER TABLE cannot be rolled back: each statement that changes a table commits, and
what a migration had done when it failed stays. So it is tried again only when nothing of it is in the database.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import hashlib
import math
from typing import Any

from .agent_locks import LOST, REFUSED, Blocker, Session, causes, one_line
from .agent_words import Failure

# Errors by number (MariaDB knowledge base, Error Codes; MySQL reference, Server and Client Error Messages).
LOCK_NUMBERS = frozenset({1205, 3572})  # lock wait timeout; NOWAIT
DEADLOCK = 1213
LOST_NUMBERS = frozenset({1053, 1077, 1079, 1152, 1927, 2002, 2003, 2006, 2013, 2055, 4031})
LEFT_BEFORE = frozenset({1050, 1060, 1061, 1091, 1826})  # a table, column, key or constraint is there, or is not
TOO_LONG = frozenset({1969, 3024})  # max_statement_time of MariaDB, max_execution_time of MySQL
LONGEST_IDLE = 24 * 3600  # seconds the lock's connection may be silent; it is held for all of a run
NAMES = ("pid", "user", "client", "state", "since", "query")

SESSIONS = """
SELECT ID, USER, HOST, COMMAND, TIME, INFO FROM information_schema.PROCESSLIST
WHERE DB = DATABASE() AND ID NOT IN (%s, CONNECTION_ID()) AND COMMAND <> 'Daemon' ORDER BY TIME DESC, ID
"""
WAITS = """
SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = %s AND STATE LIKE 'Waiting for%%lock%%'
"""


def number_of(error: BaseException) -> int:
    """The number the server or the client library gave an error; 0 when there is none."""
    for each in causes(error):
        number = getattr(each, "errno", None) or (each.args[0] if each.args else None)
        names = {kind.__name__ for kind in type(each).__mro__}
        if isinstance(number, int) and names & {"DatabaseError", "InterfaceError", "Error", "MySQLError"}:
            return number
    return 0


def lock_name(database: str, name: str) -> str:
    """The name of the lock of one database and site: the same on every host, 64 characters at most."""
    return "djdeploy " + hashlib.sha256("\0".join((database, name)).encode()).hexdigest()[:40]


def seconds(value: float) -> int:
    """A bound as MariaDB takes it: whole seconds, one at least, for 0 would not wait at all."""
    return max(math.ceil(value), 1)


class MySQLSession(Session):
    """One run of migrations on MariaDB or MySQL."""

    transactional = False
    stays = "failed on a database that takes no change of tables back"
    sessions = "PROCESSLIST"

    def begin(self) -> None:
        self.bounded = True
        self.name = ""

    # --- bounds ---

    def bounds(self) -> dict[str, Any]:
        """The settings of the migrating connection, in seconds."""
        found: dict[str, Any] = {
            "lock_wait_timeout": seconds(self.lock_timeout),
            "innodb_lock_wait_timeout": seconds(self.lock_timeout),
        }
        if self.connection.mysql_is_mariadb:  # MySQL bounds nothing but SELECT
            found["max_statement_time"] = self.statement_timeout
        return found

    def bind(self) -> None:
        """Set the bounds; a connection that breaks and is made again gets them, too."""
        with self.connection.cursor() as cursor:
            for name, value in self.bounds().items():
                cursor.execute(f"SET SESSION {name} = %s", [value])
            cursor.execute("SELECT CONNECTION_ID()")
            (self.pid,) = cursor.fetchone()

    def unbind(self) -> None:
        """What comes after the migrations in this process has the settings of the server again."""
        if self.alive():
            with self.connection.cursor() as cursor:
                for name in self.bounds():
                    cursor.execute(f"SET SESSION {name} = DEFAULT")

    def alive(self) -> bool:
        """Whether the connection answers; Django itself does not expect to be asked that of a closed one."""
        return self.connection.connection is not None and bool(self.connection.is_usable())

    def verify(self) -> None:
        """See that the connection keeps what was set on it.

        :raises Failure: when it does not: then nothing would bound the migration.
        """
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID(), @@SESSION.lock_wait_timeout")
            pid, kept = cursor.fetchone()
        if pid != self.pid or int(kept) != self.bounds()["lock_wait_timeout"]:
            raise Failure(
                "database",
                "the connection for migrations is not a session of its own",
                "something between the site and the database hands out connections by transaction (a proxy): "
                "give the migrations a direct one",
            )

    # --- one host at a time ---

    def refuse_unfit(self) -> None:
        """Nothing to ask before the lock is taken; `verify` sees whether the bounds are kept."""

    def name_lock(self, cursor: Any) -> None:
        cursor.execute("SET SESSION wait_timeout = %s", [LONGEST_IDLE])
        cursor.execute("SELECT DATABASE()")
        self.name = lock_name(cursor.fetchone()[0], self.lock_name)

    def try_lock(self, cursor: Any) -> bool:
        cursor.execute("SELECT GET_LOCK(%s, 0)", [self.name])
        return bool(cursor.fetchone()[0] == 1)

    def unlock(self, cursor: Any) -> None:
        cursor.execute("SELECT RELEASE_LOCK(%s)", [self.name])

    def migrating_elsewhere(self, cursor: Any) -> tuple[Any, ...] | None:
        cursor.execute(
            "SELECT ID, HOST, NULL FROM information_schema.PROCESSLIST WHERE ID = IS_USED_LOCK(%s)", [self.name]
        )
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def told_holder(self, row: tuple[Any, ...]) -> str:
        return f"connection {row[0]}, from {row[1]}"

    def holding(self) -> bool:
        """Whether the lock is ours still: some drivers connect anew by themselves, and without it."""
        if self.holder is None or self.holder.connection is None or not self.holder.is_usable():
            return False
        with self.holder.cursor() as cursor:
            cursor.execute("SELECT IS_USED_LOCK(%s) = CONNECTION_ID()", [self.name])
            return bool(cursor.fetchone()[0])

    # --- who is in the way ---

    def look(self, connection: Any, pid: int) -> list[Blocker]:
        """Whom a connection may wait for now: the server does not tell a site's account which one it is.

        Sessions of other accounts are not shown either.
        """
        with connection.cursor() as cursor:
            cursor.execute(WAITS, [pid])
            if not cursor.fetchone()[0]:
                return []
            cursor.execute(SESSIONS, [pid])
            found = []
            for id_, user, client, command, since, query in cursor.fetchall():
                state = f"{command.lower()} for {since} s"
                found.append(dict(zip(NAMES, (id_, user, client, state, "", one_line(query or "")), strict=True)))
            return found

    def told_blocker(self, blocker: Blocker) -> str:
        query = f": {blocker['query']}" if blocker["query"] else ""
        return (
            f"probably connection {blocker['pid']} ({blocker['user']}, {blocker['client']}) {blocker['state']}{query}"
        )

    def ending(self, blocker: Blocker) -> str:
        return f"KILL {blocker['pid']}"

    # --- errors ---

    def trouble(self, error: BaseException) -> str:
        number = number_of(error)
        if number in LOCK_NUMBERS or number == DEADLOCK:
            return REFUSED
        if number in LOST_NUMBERS:
            return LOST
        names = {kind.__name__ for each in causes(error) for kind in type(each).__mro__}
        return LOST if names & {"OperationalError", "InterfaceError"} and not self.alive() else ""

    def deadlocked(self, error: BaseException) -> bool:
        return number_of(error) == DEADLOCK

    def remarks(self, error: BaseException) -> list[str]:
        if number_of(error) not in LEFT_BEFORE or self.observer.committed:
            return []
        return [
            "that may be what an earlier try left, for the database takes no change of tables back: put the snapshot "
            "from before that try back, or undo by hand what it left"
        ]

    def took_too_long(self, error: BaseException) -> bool:
        return number_of(error) in TOO_LONG
