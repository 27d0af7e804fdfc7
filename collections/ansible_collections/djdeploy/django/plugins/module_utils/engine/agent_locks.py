# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying migrations out on PostgreSQL: one host at a time, within bounds, and again when a lock was not to be had.

A statement that waits for a lock on a table makes every later query of that table wait behind it. So it waits for a
short time only, gives way, and is tried again. A second connection holds the lock that keeps other hosts away, and
watches whom the first one waits for. It never is in a transaction: CREATE INDEX CONCURRENTLY would wait for that.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from .agent_operations import invalid_indexes
from .agent_words import Failure, Request, connecting, explained, first_line, frames_of

LOCK_TIMEOUT = 2.0  # seconds a statement waits for a lock
STATEMENT_TIMEOUT = 900.0  # seconds a statement may take; 0 is for ever
ATTEMPTS = 10  # how often one migration is tried
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0  # seconds between two tries
LONGEST_QUEUE = 3600.0  # seconds to wait until another host has migrated
LONGEST_RESTART = 300.0  # seconds a server may take to come back: after a crash it reads its log first
POLL = 0.25  # seconds between two looks at who is in the way
PATIENCE = 5.0  # seconds of waiting for one lock, after which it is told while it goes on
AGAIN = 60.0  # seconds, after which the same is told again
SHOWN = 200  # characters of a statement that are shown

REFUSED, LOST = "refused", "lost"  # a lock was not given in time; the connection broke
LOCK_STATES = frozenset({"55P03", "40P01"})
LOST_STATES = frozenset({"57P01", "57P02", "57P03"})  # and all of class 08
CANCELED = "57014"

HARMLESS = re.compile(
    r"\s*(SELECT|SHOW|SET|RESET|BEGIN|START|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|LOCK|ANALYZE|EXPLAIN)\b", re.IGNORECASE
)
CONCURRENT = re.compile(r"\s*(CREATE|DROP|REINDEX)\b[^;(]*\bCONCURRENTLY\b", re.IGNORECASE)
NOTED = re.compile(r"\s*(INSERT INTO|DELETE FROM)\s+[\"`]?django_migrations[\"`]?", re.IGNORECASE)
LITERAL = re.compile(r"[eE]'(?:[^'\\]|\\.|'')*(?:'|$)|'[^']*(?:'|$)|\$(\w*)\$.*?(?:\$\1\$|$)", re.DOTALL)
POOLED = (
    "something between the site and PostgreSQL hands out connections by transaction (a pooler): "
    "give the migrations a direct one, or the pooler pool_mode = session"
)
HIDDEN = "<insufficient privilege>"  # what PostgreSQL shows of other people's sessions
UNITS = {"": 1, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}

Blocker = dict[str, Any]

BLOCKERS = """
SELECT found.pid, b.usename, b.application_name, host(b.client_addr), b.state, b.backend_type,
       to_char(coalesce(b.xact_start, b.backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), b.query
FROM pg_stat_activity w
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS found(pid)
LEFT JOIN pg_stat_activity b ON b.pid = found.pid
WHERE w.pid = %s AND w.wait_event_type = 'Lock'
ORDER BY b.wait_event_type IS NOT DISTINCT FROM 'Lock', b.xact_start
"""
HOLDER = """
SELECT a.pid, host(a.client_addr),
       to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint = %s AND l.objid::bigint = %s
"""


# --- Words and numbers ------------------------------------------------------------------------------------------


def lock_key(database: str, name: str) -> int:
    """The number of the advisory lock of one database and site: the same on every host, a signed bigint."""
    text = "\0".join(("djdeploy migrations", database, name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def key_halves(key: int) -> tuple[int, int]:
    """The key as pg_locks shows it: classid and objid."""
    return (key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF


def pause_after(tries: int) -> float:
    """Seconds to leave the table alone after so many tries that failed, 1 or more."""
    return min(FIRST_PAUSE * float(1 << min(tries - 1, 10)), LONGEST_PAUSE)


def milliseconds(shown: str) -> int:
    """What SHOW says of a timeout ("2s", "15min", "0"), as a number; -1 for what is no such thing."""
    found = re.fullmatch(r"(\d+)(ms|s|min|h|d)?", shown.strip())
    return int(found[1]) * UNITS[found[2] or ""] if found else -1


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from: Django's error, then the driver's."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__


def sqlstate(error: BaseException) -> str:
    """The code PostgreSQL gave an error, by psycopg or psycopg2; empty when the server did not say any."""
    for each in causes(error):
        code = getattr(each, "sqlstate", None) or getattr(each, "pgcode", None)
        if code:
            return str(code)
    return ""


def trouble(error: BaseException, alive: Callable[[], bool]) -> str:
    """Why a migration failed, if another try may help: REFUSED, LOST or empty.

    :param alive: asks whether the connection still answers; called only when the error does not tell.
    """
    state = sqlstate(error)
    if state in LOCK_STATES:
        return REFUSED
    if state in LOST_STATES or state.startswith("08"):
        return LOST
    names = {kind.__name__ for each in causes(error) for kind in type(each).__mro__}
    if not state and names & {"OperationalError", "InterfaceError"} and not alive():
        return LOST
    return ""


def without_literals(sql: str) -> str:
    """A statement without the values in it: somebody's data has no place in a log."""
    return LITERAL.sub("'...'", sql)


def one_line(sql: str, most: int = SHOWN) -> str:
    """The beginning of a statement, values left out."""
    text = " ".join(without_literals(sql).split())
    return text if len(text) <= most else text[: most - 3] + "..."


def told_blocker(blocker: Blocker) -> str:
    """Who is in the way: pid, whose it is, what it does and since when."""
    if not blocker["pid"]:
        return "a prepared transaction (see pg_prepared_xacts)"
    kind = blocker["backend_type"] or "client backend"
    where = blocker["client"] or "this host" if kind == "client backend" else kind
    whose = ", ".join(part for part in (blocker["user"], blocker["application"], where) if part)
    state = f" {blocker['state']}" if blocker["state"] else ""
    since = f" since {blocker['since']}" if blocker["since"] else ""
    query = f": {blocker['query']}" if blocker["query"] else ""
    if blocker["query"] == HIDDEN:
        query = ", what it does is shown only to a superuser"
    return f"pid {blocker['pid']} ({whose}){state}{since}{query}"


def ending(blocker: Blocker) -> str:
    """The statement that ends who is in the way; empty where there is none."""
    return f"SELECT pg_terminate_backend({blocker['pid']})" if blocker["pid"] else ""


def counted(tries: int) -> str:
    return "once" if tries == 1 else f"{tries} times"


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


# --- What a migration has done --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """Where an error left a migration.

    :param operations: those that were carried out whole, in order, and the one that was not, if it was one of them.
    """

    migration: Any = None
    operations: tuple[str, ...] = ()
    failed: str = ""

    @property
    def name(self) -> str:
        return f"{self.migration.app_label}.{self.migration.name}" if self.migration else ""

    @property
    def atomic(self) -> bool:
        return self.migration is None or bool(self.migration.atomic)


def running(error: BaseException) -> Running:
    """Which migration an error came out of, and how far that one was: Django keeps it in its frames only."""
    from django.db.migrations.migration import Migration

    for frame in frames_of(error):
        here, name = frame.f_locals, frame.f_code.co_name
        migration = here.get("self")
        if name in ("apply", "unapply") and isinstance(migration, Migration):
            order = list(migration.operations)
            if name == "unapply":
                order.reverse()
            at = next((n for n, one in enumerate(order) if one is here.get("operation")), 0)
            said = tuple(operation.describe() for operation in order)
            return Running(migration, said[:at], said[at] if said else "")
        if isinstance(here.get("migration"), Migration):  # past its operations: what they left for the end
            migration = here["migration"]
            return Running(migration, tuple(operation.describe() for operation in migration.operations))
    return Running()


class Observer:
    """Sees each statement of the migrating connection: what it committed of the migration that runs, and what failed.

    A migration that is not atomic stays half applied when it fails; only one of which nothing was committed may be
    tried again. Statements within a transaction count when that is committed, and not when it is rolled back.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.committed: list[str] = []
        self.pending: list[str] = []
        self.noted = False
        self.failed: tuple[str, BaseException] | None = None

    def begin(self) -> None:
        """Forget what was seen: another try begins."""
        self.committed, self.pending, self.noted, self.failed = [], [], False, None

    def statement(self, error: BaseException) -> str:
        """The statement an error comes from, on one line; empty when it comes from none."""
        if self.failed and self.failed[1] in list(causes(error)):
            return one_line(self.failed[0])
        return ""

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        text = str(sql)
        try:
            # Nobody waits behind these, and they wait for every old transaction: only `statement_timeout` bounds them.
            with self.unhurried() if CONCURRENT.match(text) else ExitStack():
                result = execute(sql, params, many, context)
        except Exception as error:
            self.failed = (text, error)
            raise
        if not HARMLESS.match(text):
            self.note(text)
        return result

    def note(self, text: str) -> None:
        """A statement that changes something succeeded."""
        noted = bool(NOTED.match(text))
        if not self.connection.in_atomic_block:
            self.committed = [] if noted else [*self.committed, one_line(text)]
            return
        if not any(entry[1] == self.commit for entry in self.connection.run_on_commit):
            self.pending, self.noted = [], False
            self.connection.on_commit(self.commit)
        if len(self.pending) < 100:
            self.pending.append(one_line(text))
        self.noted = self.noted or noted

    def commit(self) -> None:
        """The transaction of what is pending was committed; with the note that it is done, a migration is complete."""
        self.committed = [] if self.noted else self.committed + self.pending
        self.pending, self.noted = [], False

    @contextmanager
    def unhurried(self) -> Iterator[None]:
        """Lift the bound on waiting for locks for one statement."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('lock_timeout'), set_config('lock_timeout', '0', false)")
            before = cursor.fetchone()[0]
        try:
            yield
        finally:
            if self.connection.is_usable():
                with self.connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])


class Watcher(threading.Thread):
    """Looks from the lock's connection at whom the migrating one waits for, and remembers the last it saw.

    :param session: tells the server process of the migrating connection, and whom it waits for.
    :param pause: seconds between two looks.
    """

    def __init__(self, session: Session, pause: float) -> None:
        super().__init__(daemon=True)
        self.session = session
        self.connection = session.holder
        self.pause = pause
        self.ended = threading.Event()
        self.seen: list[Blocker] = []

    def run(self) -> None:
        since, told = 0.0, 0.0
        while not self.ended.wait(self.pause):
            try:
                found = self.session.look(self.connection, self.session.pid)
            except Exception:  # the server is gone; who migrates will notice, and say so
                return
            now = time.monotonic()
            if not found:
                since = told = 0.0
                continue
            self.seen = found
            since = since or now
            if now - since > PATIENCE and (not told or now - told > AGAIN):
                told = now
                tell(f"waits for {self.session.told_blocker(found[0])}")

    def __enter__(self) -> Watcher:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.ended.set()
        self.join()


def blockers(connection: Any, pid: int) -> list[Blocker]:
    """Whom a server process waits for now; those who do not wait themselves come first."""
    with connection.cursor() as cursor:
        cursor.execute(BLOCKERS, [pid])
        names = ("pid", "user", "application", "client", "state", "backend_type", "since", "query")
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [{**each, "query": one_line(each["query"] or "")} for each in found]


# --- The session ------------------------------------------------------------------------------------------------


@dataclass
class Session:
    """One run of migrations on one connection, as PostgreSQL has it; `agent_mysql` has the other kind.

    SQLite has no bounds; there the work is simply done.

    :param waited: seconds until no other host was migrating.
    :param tries: how often the migration that was last under way was tried.
    :param blockers: who was in the way last, first the one to end.
    """

    connection: Any
    lock_name: str
    lock_timeout: float
    statement_timeout: float
    attempts: int
    queue: float
    waited: float = 0.0
    tries: int = 0
    restarts: int = 0
    blockers: list[Blocker] = field(default_factory=list)
    pid: int = 0

    transactional = True  # whether a migration that fails is taken back by the server
    stays = "is not atomic"  # why a part of one stays
    sessions = "pg_locks"  # where an administrator sees who holds a lock

    def __post_init__(self) -> None:
        self.observer = Observer(self.connection)
        self.holder: Any = None
        self.key = 0
        self.left_before: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Know what the server is able to."""
        self.bounded = self.connection.vendor == "postgresql"

    @contextmanager
    def opened(self) -> Iterator[Session]:
        """Take the lock, set the bounds, and give both back."""
        if not self.bounded:
            yield self
            return
        from django.db.backends.signals import connection_created

        with ExitStack() as stack:
            stack.callback(self.release)
            self.take_lock()  # before there is a lock_timeout: this wait is no harm to anybody
            connection_created.connect(self.on_connection)
            stack.callback(connection_created.disconnect, self.on_connection)
            stack.callback(self.unbind)
            stack.enter_context(self.connection.execute_wrapper(self.observer))
            self.bind()
            self.verify()
            self.left_before = [each["mend"] for each in invalid_indexes(self.connection)]
            yield self

    # --- bounds ---

    def bounds(self) -> dict[str, Any]:
        """The settings of the migrating connection, in milliseconds."""
        return {
            "lock_timeout": max(round(self.lock_timeout * 1000), 1),
            "statement_timeout": round(self.statement_timeout * 1000),
        }

    def on_connection(self, connection: Any, **_signal: Any) -> None:
        if connection is self.connection:
            self.bind()

    def bind(self) -> None:
        """Set the bounds; a connection that breaks and is made again gets them, too."""
        with self.connection.cursor() as cursor:
            for name, value in self.bounds().items():
                cursor.execute("SELECT set_config(%s, %s, false)", [name, str(value)])
            cursor.execute("SELECT pg_backend_pid()")
            (self.pid,) = cursor.fetchone()

    def unbind(self) -> None:
        """What comes after the migrations in this process has the settings of the site again."""
        if self.connection.connection is not None and self.connection.is_usable():
            with self.connection.cursor() as cursor:
                for name in self.bounds():
                    cursor.execute(f"RESET {name}")

    def verify(self) -> None:
        """See that the connection keeps what was set on it.

        :raises Failure: when it does not: then nothing would bound the migration.
        """
        shown = {}
        with self.connection.cursor() as cursor:
            for name in self.bounds():
                cursor.execute(f"SHOW {name}")
                (shown[name],) = cursor.fetchone()
        refuse_shared(self.pid, *self.server_processes())
        refuse_unkept(self.bounds(), shown)

    def server_processes(self) -> list[int]:
        """Whom the migrating and the lock's connection talk to now."""
        found = []
        for connection in (self.connection, self.holder):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                found.append(cursor.fetchone()[0])
        return found

    # --- one host at a time ---

    def take_lock(self) -> None:
        """Wait until no other host migrates this database for this site.

        :raises Failure: when that takes too long, and when the connections are shared with others.
        """
        self.release()
        holder = self.connection.copy()
        holder.settings_dict["OPTIONS"].pop("pool", None)  # a pool of one has none to spare
        holder.settings_dict["AUTOCOMMIT"] = True
        holder.inc_thread_sharing()  # the watcher looks from here
        self.holder = holder
        self.refuse_unfit()  # before a setting or a lock gets stuck in a pool
        began, told = time.monotonic(), None
        with holder.cursor() as cursor:
            self.name_lock(cursor)
            while not self.try_lock(cursor):
                row = self.migrating_elsewhere(cursor)
                if row is not None and row != told:
                    told = row
                    tell(f"waiting for another host that migrates: {self.told_holder(row)}")
                if time.monotonic() - began > self.queue:
                    raise self.queue_failure(told)
                time.sleep(POLL)
        if told is not None:
            self.waited += round(time.monotonic() - began, 1)

    def release(self) -> None:
        """Give the lock back; the server does it as well when this process dies."""
        holder, self.holder = self.holder, None
        if holder is None:
            return
        if holder.is_usable():
            with holder.cursor() as cursor:
                self.unlock(cursor)
        holder.close()

    def refuse_unfit(self) -> None:
        """:raises Failure: when the connections cannot hold a lock."""
        migrating, holding = self.server_processes()
        refuse_shared(migrating, migrating, holding)

    def name_lock(self, cursor: Any) -> None:
        """Prepare the connection that holds the lock, and know the lock by what the server calls it."""
        cursor.execute(
            "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN "
            "('lock_timeout', 'statement_timeout', 'idle_session_timeout')"
        )
        cursor.execute("SELECT set_config('application_name', %s, false)", [f"djdeploy lock {self.lock_name}"])
        cursor.execute("SELECT current_database()")
        self.key = lock_key(cursor.fetchone()[0], self.lock_name)

    def try_lock(self, cursor: Any) -> bool:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [self.key])
        return bool(cursor.fetchone()[0])

    def unlock(self, cursor: Any) -> None:
        cursor.execute("SELECT pg_advisory_unlock_all()")  # closing does not, where a pool keeps the session

    def migrating_elsewhere(self, cursor: Any) -> tuple[Any, ...] | None:
        """Who has the lock: its process, where it comes from, since when; nothing when that cannot be told."""
        cursor.execute(HOLDER, key_halves(self.key))
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row

    def told_holder(self, row: tuple[Any, ...]) -> str:
        return told_holder(row)

    def queue_failure(self, row: tuple[Any, ...] | None) -> Failure:
        """That another host migrates for too long, and how to end it."""
        who = told_holder(row) if row else "it cannot be told who"
        end = self.ending({"pid": row[0]}) if row else f"see {self.sessions}"
        return Failure(
            "migration",
            f"another host migrates for more than {self.queue:g} s: {who}",
            f"see what it does; when it is dead, end it: {end}",
        )

    def holding(self) -> bool:
        return self.holder is not None and self.holder.connection is not None and self.holder.is_usable()

    # --- trying ---

    def carry_out(self, work: Callable[[], Any]) -> None:
        """Do the work, and again when it failed for a lock that was not to be had or a server that went away.

        :param work: plans anew each time it is called: what was applied before stays so.
        """
        if not self.bounded:
            work()
            return
        under_way = ""
        while True:
            self.tries += 1
            self.observer.begin()
            watcher = Watcher(self, min(POLL, self.lock_timeout / 4))
            try:
                with watcher:
                    work()
                return
            except Exception as error:
                kind, where = self.trouble(error), running(error)
                self.blockers = watcher.seen
                if where.name != under_way:
                    under_way, self.tries = where.name, 1
                if not kind or not self.may_try_again(kind, where):
                    raise
                self.prepare_next(kind, where)

    def may_try_again(self, kind: str, where: Running) -> bool:
        """Whether nothing of the migration is in the database, and it was not tried too often."""
        if self.observer.committed and not (where.atomic and self.transactional):
            return False
        return self.tries < self.attempts if kind == REFUSED else not self.restarts

    def prepare_next(self, kind: str, where: Running) -> None:
        """Tell why, wait, and see that everything is as before the first try."""
        name = where.name or "migrate"
        if kind == LOST:
            self.restarts += 1
            tell(f"{name}: the connection to the database broke; waiting for the server")
            self.reconnect(name)
        else:
            pause = pause_after(self.tries)
            who = self.told_blocker(self.blockers[0]) if self.blockers else "another session"
            tell(
                f"{name} waits for a lock of {who}; gave way to visitors, "
                f"try {self.tries + 1} of {self.attempts} in {pause:g} s"
            )
            time.sleep(pause)
        if not self.holding():
            self.take_lock()
        self.bind()
        self.verify()
        self.clear_away()

    def reconnect(self, name: str) -> None:
        """Wait until the server answers again.

        :param name: of the migration that was under way.
        :raises Failure: when it has not come back in time.
        """
        end = time.monotonic() + LONGEST_RESTART
        while True:
            self.connection.close()
            try:
                self.connection.ensure_connection()
                return
            except Exception as error:
                if connecting(error) is None:
                    raise
                if time.monotonic() > end:
                    raise Failure(
                        "database",
                        f"{name} lost the connection to the database, and the server did not come back within "
                        f"{LONGEST_RESTART:g} s: {first_line(error)}",
                        "see why it does not run; what the migration had begun the server takes back by itself",
                    ) from error
            time.sleep(POLL)

    def clear_away(self) -> None:
        """Drop the index that the last try left half made: it has the name the next one is to have."""
        for each in self.left_by_us():
            tell(f"drops {each['index']}, an index the interrupted try left half made")
            with self.connection.cursor() as cursor:
                cursor.execute(each["mend"])

    def left_by_us(self) -> list[dict[str, Any]]:
        return [each for each in invalid_indexes(self.connection) if each["mend"] not in self.left_before]

    # --- what the server says ---

    def look(self, connection: Any, pid: int) -> list[Blocker]:
        """Whom a server process waits for now, asked over another connection."""
        return blockers(connection, pid)

    def told_blocker(self, blocker: Blocker) -> str:
        return told_blocker(blocker)

    def ending(self, blocker: Blocker) -> str:
        """The statement that ends who is in the way; empty where there is none."""
        return ending(blocker)

    def trouble(self, error: BaseException) -> str:
        """Why a migration failed, if another try may help: REFUSED, LOST or empty."""
        return trouble(error, self.connection.is_usable)

    def way_out(self) -> list[str]:
        """Who held the lock, and how to end that."""
        return way_out(self.blockers, self.told_blocker, self.ending)

    def remarks(self, error: BaseException) -> list[str]:
        """What else this kind of server lets one know of an error."""
        return []

    def deadlocked(self, error: BaseException) -> bool:
        return sqlstate(error) == "40P01"

    def took_too_long(self, error: BaseException) -> bool:
        return sqlstate(error) == CANCELED and "statement timeout" in str(error)


def session_for(connection: Any, request: Request) -> Session:
    """A session with what a request says; what it does not say has the defaults of a site."""
    kind = Session
    if connection.vendor == "mysql":
        from .agent_mysql import MySQLSession as kind

    def number(name: str, default: float) -> float:
        value = request.get(name)
        return default if value is None else float(value)

    return kind(
        connection,
        request.get("lock_name") or "",
        number("lock_timeout", LOCK_TIMEOUT),
        number("statement_timeout", STATEMENT_TIMEOUT),
        max(int(number("attempts", ATTEMPTS)), 1),
        number("queue", LONGEST_QUEUE),
    )


def refuse_unkept(wanted: dict[str, int], shown: dict[str, str]) -> None:
    """See that what was set on a connection holds.

    :param wanted: milliseconds by name.
    :param shown: what SHOW answers.
    :raises Failure: when it does not.
    """
    for name, value in wanted.items():
        if milliseconds(shown[name]) != value:
            raise Failure(
                "database",
                f"the connection does not keep {name}: set to {value} ms, and it shows {shown[name]}",
                POOLED,
            )


def refuse_shared(before: int, now: int, holding: int) -> None:
    """See that the connections are sessions of their own.

    :param before: server process of the migrating connection, earlier.
    :param now: the same now.
    :param holding: that of the lock's connection.
    :raises Failure: when they are not.
    """
    if now != before or now == holding:
        raise Failure("database", "the connection for migrations is not a session of its own", POOLED)


def told_holder(row: tuple[Any, ...]) -> str:
    """Who migrates, of the columns of HOLDER."""
    pid, client, since = row
    return f"pid {pid}, from {client or 'the host of the database'}" + (f", since {since}" if since else "")


# --- Giving up --------------------------------------------------------------------------------------------------


def migration_failure(error: Exception, session: Session, plan: list[Any]) -> Failure:
    """Name the migration that failed, who was in the way, and what is in the database now.

    :param plan: [(migration, backwards)] as it was before the first try.
    """
    if isinstance(error, Failure):
        return error
    connection, observer = session.connection, session.observer
    if connecting(error):
        return explained(error, "migrate")
    where = running(error)
    kind = session.trouble(error) if session.bounded else ""
    statement = observer.statement(error)
    done, left = state_now(connection, plan, session)
    hints = []
    stays = observer.committed if session.bounded else not where.atomic
    half = bool(where.migration and stays and not (where.atomic and session.transactional))
    if half:
        hints.append(half_applied(where, observer.committed, session.stays))
    if session.took_too_long(error):
        hints.append(f"it took longer than {session.statement_timeout:g} s: do it in smaller parts, or allow it more")
        hints += session.way_out() if session.blockers else []
    elif kind == REFUSED:
        hints += session.way_out()
    hints += [
        f"the index {each['index']} is half made, and nothing uses it; remove it: {each['mend']}" for each in left
    ]
    hints += session.remarks(error)
    hints.append(told_done(done, plan))
    return Failure(
        "migration",
        headline(where.name, kind, session, statement, error),
        "; ".join(hints),
        applied=done or [],
        waited=session.waited,
        tries=session.tries,
        blockers=session.blockers,
        invalid_indexes=left,
        half_applied=where.name if half else "",
    )


def headline(name: str, kind: str, session: Session, statement: str, error: BaseException) -> str:
    """One line: which migration, what went wrong, in which statement."""
    subject = f"migration {name}" if name else "migrate"
    at = f": {statement}" if statement else ""
    if kind == REFUSED and session.deadlocked(error):
        return f"{subject} and another session wait for each other (deadlock), tried {counted(session.tries)}{at}"
    if kind == REFUSED:
        tried = f"within {session.lock_timeout:g} s, tried {counted(session.tries)}"
        return f"{subject} does not get its lock {tried}{at}"
    if kind == LOST:
        again = ", again" if session.restarts else ""
        return f"{subject} lost the connection to the database{again} ({first_line(error)}){at}"
    return f"{subject} fails: {type(error).__name__}: {first_line(error)}" + (f" ({statement})" if statement else "")


def way_out(
    found: list[Blocker], told: Callable[[Blocker], str] = told_blocker, ends: Callable[[Blocker], str] = ending
) -> list[str]:
    """Who held the lock, and how to end that."""
    if not found:
        return ["another session held the lock; try again when it is done"]
    others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    end = ends(found[0])
    return [
        f"the lock is held by {told(found[0])}{others}; "
        + (f"end it: {end}; or try again when it is done" if end else "end it, and try again")
    ]


def half_applied(where: Running, committed: list[str], why: str = "is not atomic") -> str:
    """What of a migration that failed is in the database, and what is not."""
    parts = [f"{where.migration.name} {why}, and a part of it is in the database"]
    if where.operations:
        parts.append("done: " + ", ".join(where.operations))
    if where.failed:
        parts.append(f"not done: {where.failed}")
    if committed:
        most = 5
        cut = f"... ({len(committed) - most} more) ... " if len(committed) > most else ""
        parts.append("statements that stay: " + cut + " | ".join(committed[-most:]))
    return "; ".join(parts) + "; take that back by hand, or finish it and note it: manage.py migrate --fake"


def told_done(done: list[str] | None, plan: list[Any]) -> str:
    """What of a plan is in the database."""
    if done is None:
        return "what was applied cannot be told: the database does not answer"
    backwards = bool(plan) and plan[0][1]
    if done:
        return f"it was {'taken back' if backwards else 'applied'} before that and stays: {', '.join(done)}"
    return "no migration was taken back" if backwards else "no migration was applied"


def state_now(connection: Any, plan: list[Any], session: Session) -> tuple[list[str] | None, list[dict[str, Any]]]:
    """What of a plan was carried out, None when nobody can tell, and the indexes that are half made."""
    from django.db import Error
    from django.db.migrations.recorder import MigrationRecorder

    try:
        if session.bounded:
            connection.close_if_unusable_or_obsolete()
        now = MigrationRecorder(connection).applied_migrations()
        done = [f"{one.app_label}.{one.name}" for one, undo in plan if ((one.app_label, one.name) in now) != undo]
        return done, invalid_indexes(connection)
    except Error:
        return None, []
