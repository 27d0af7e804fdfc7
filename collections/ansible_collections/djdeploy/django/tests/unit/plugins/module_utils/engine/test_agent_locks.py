# SPDX-License-Identifier: GPL-3.0-or-later
"""The words and numbers of migrating on PostgreSQL; what needs a server is in the scenario `migrations`."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_locks import (
    LOST,
    REFUSED,
    Observer,
    Running,
    Session,
    ending,
    half_applied,
    headline,
    key_halves,
    lock_key,
    milliseconds,
    one_line,
    pause_after,
    refuse_shared,
    refuse_unkept,
    session_for,
    sqlstate,
    told_blocker,
    told_done,
    told_holder,
    trouble,
    way_out,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_words import Failure

BLOCKER = {
    "pid": 4711,
    "user": "shop",
    "application": "psql",
    "client": "10.0.0.3",
    "state": "idle in transaction",
    "backend_type": "client backend",
    "since": "2026-01-02 03:04:05 UTC",
    "query": "LOCK TABLE product",
}


# --- the lock ---------------------------------------------------------------------------------------------------


def test_key_is_the_same_on_every_host() -> None:
    """Hosts of one site may run different releases of this program: the number is part of the contract."""
    assert lock_key("shop", "shop") == 886660763571672603


def test_keys_differ_and_fit_into_a_bigint() -> None:
    names = ["", "a", "b", "ab", "shop", "shop2"]
    keys = [lock_key(*pair) for pair in itertools.product(names, names)]
    assert len(set(keys)) == len(names) ** 2, "the border between database and site counts"
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert min(keys) < 0 < max(keys)


@pytest.mark.parametrize(
    ("key", "halves"),
    [(0, (0, 0)), (1, (0, 1)), (-1, (0xFFFFFFFF, 0xFFFFFFFF)), (2**32 + 7, (1, 7)), (-(2**63), (0x80000000, 0))],
)
def test_halves_as_pg_locks_shows_them(key: int, halves: tuple[int, int]) -> None:
    assert key_halves(key) == halves


def test_pauses_grow_and_end_at_the_longest() -> None:
    assert [pause_after(tries) for tries in range(1, 9)] == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert pause_after(10_000) == 15


# --- what a request says ----------------------------------------------------------------------------------------


class Wrapper:
    """As much of a connection of Django's as a session asks for before it is opened."""

    alias = "default"

    def __init__(self, vendor: str = "postgresql") -> None:
        self.vendor = vendor
        self.in_atomic_block = False
        self.run_on_commit: list[tuple[Any, ...]] = []

    def on_commit(self, function: Any) -> None:
        self.run_on_commit.append((set(), function, False))

    def commit(self) -> None:
        self.in_atomic_block = False
        for _names, function, _robust in self.run_on_commit:
            function()
        self.run_on_commit = []

    def roll_back(self) -> None:
        self.in_atomic_block = False
        self.run_on_commit = []


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({}, (2.0, 900.0, 10, 3600.0)),
        ({"lock_timeout": None, "statement_timeout": None, "attempts": None}, (2.0, 900.0, 10, 3600.0)),
        ({"lock_timeout": 5, "statement_timeout": 0, "attempts": 3, "queue": 60}, (5.0, 0.0, 3, 60.0)),
        ({"attempts": 0}, (2.0, 900.0, 1, 3600.0)),
    ],
)
def test_request(request_: dict[str, Any], told: tuple[float, ...]) -> None:
    session = session_for(Wrapper(), request_)
    assert (session.lock_timeout, session.statement_timeout, session.attempts, session.queue) == told


@pytest.mark.parametrize(
    ("lock", "statement", "told"),
    [(2, 900, (2000, 900_000)), (0.25, 0, (250, 0)), (0, 0, (1, 0))],
)
def test_bounds_are_milliseconds_and_waiting_for_a_lock_is_never_unbounded(
    lock: float, statement: float, told: tuple[int, int]
) -> None:
    session = session_for(Wrapper(), {"lock_timeout": lock, "statement_timeout": statement})
    assert session.bounds() == {"lock_timeout": told[0], "statement_timeout": told[1]}


@pytest.mark.parametrize("vendor", ["sqlite", "oracle"])
def test_other_databases_are_simply_migrated(vendor: str) -> None:
    """No second connection, no settings, no second try: the connection is asked for nothing."""
    done = []
    with session_for(Wrapper(vendor), {"attempts": 5}).opened() as session:
        session.carry_out(lambda: done.append(1))
        with pytest.raises(ValueError, match="no"):
            session.carry_out(lambda: int("no"))
    assert done == [1]
    assert session.tries == 0


@pytest.mark.parametrize(
    ("shown", "number"),
    [
        ("0", 0),
        ("250ms", 250),
        ("2s", 2000),
        ("15min", 900_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("", -1),
        ("on", -1),
        ("2 weeks", -1),
    ],
)
def test_timeouts_as_postgresql_shows_them(shown: str, number: int) -> None:
    assert milliseconds(shown) == number


WANTED = {"lock_timeout": 2000, "statement_timeout": 900_000}
KEPT = {"lock_timeout": "2s", "statement_timeout": "15min"}


def test_connection_that_keeps_its_settings_is_used() -> None:
    refuse_unkept(WANTED, KEPT)
    refuse_shared(10, 10, 11)


@pytest.mark.parametrize(
    ("shown", "says"),
    [
        pytest.param({**KEPT, "lock_timeout": "0"}, "does not keep lock_timeout", id="lost"),
        pytest.param({**KEPT, "statement_timeout": "30s"}, "statement_timeout.*shows 30s", id="other"),
    ],
)
def test_connection_that_does_not_is_refused(shown: dict[str, str], says: str) -> None:
    with pytest.raises(Failure, match=says) as refused:
        refuse_unkept(WANTED, shown)
    assert "pool" in refused.value.hint


@pytest.mark.parametrize(
    "pids",
    [
        pytest.param((10, 12, 11), id="another_server_process_each_time"),
        pytest.param((10, 10, 10), id="the_lock_is_on_the_same_one"),
    ],
)
def test_shared_connection_is_refused(pids: tuple[int, int, int]) -> None:
    with pytest.raises(Failure, match="not a session of its own") as refused:
        refuse_shared(*pids)
    assert "pool_mode = session" in refused.value.hint


# --- what went wrong --------------------------------------------------------------------------------------------


def raised(name: str, *bases: type, **facts: Any) -> Exception:
    error = type(name, bases or (Exception,), facts)("what the server said")
    assert isinstance(error, Exception)
    return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class OperationalError(Exception):
    """By the name that drivers and Django have in common."""


OF_PSYCOPG = caused(OperationalError("x"), raised("LockNotAvailable", OperationalError, sqlstate="55P03"))
OF_PSYCOPG2 = caused(OperationalError("x"), raised("LockNotAvailable", OperationalError, pgcode="55P03"))


@pytest.mark.parametrize(
    ("error", "alive", "verdict"),
    [
        pytest.param(OF_PSYCOPG, True, REFUSED, id="psycopg"),
        pytest.param(OF_PSYCOPG2, True, REFUSED, id="psycopg2"),
        pytest.param(caused(ValueError("mine"), OF_PSYCOPG), True, REFUSED, id="wrapped_by_the_project"),
        pytest.param(raised("DeadlockDetected", sqlstate="40P01"), True, REFUSED, id="deadlock"),
        pytest.param(raised("AdminShutdown", sqlstate="57P01"), False, LOST, id="restart"),
        pytest.param(raised("CrashShutdown", sqlstate="57P02"), False, LOST, id="crash"),
        pytest.param(raised("CannotConnectNow", sqlstate="57P03"), False, LOST, id="starting"),
        pytest.param(raised("ConnectionFailure", sqlstate="08006"), False, LOST, id="connection"),
        pytest.param(OperationalError("the connection is lost"), False, LOST, id="without_a_code"),
        pytest.param(raised("InterfaceError"), False, LOST, id="closed"),
        pytest.param(OperationalError("of another kind"), True, "", id="connection_still_answers"),
        pytest.param(raised("QueryCanceled", OperationalError, sqlstate="57014"), True, "", id="statement_timeout"),
        pytest.param(raised("DuplicateColumn", sqlstate="42701"), True, "", id="wrong_sql"),
        pytest.param(ValueError("mine"), False, "", id="of_the_project"),
    ],
)
def test_trouble(error: Exception, alive: bool, verdict: str) -> None:
    assert trouble(error, lambda: alive) == verdict


def test_code_of_an_error_without_one() -> None:
    circle = caused(ValueError("a"), ValueError("b"))
    assert circle.__cause__ is not None
    circle.__cause__.__cause__ = circle
    assert sqlstate(circle) == ""


# --- what a migration has done ----------------------------------------------------------------------------------

NOTE = 'INSERT INTO "django_migrations" ("app", "name", "applied") VALUES (%s, %s, %s)'
ALTER = 'ALTER TABLE "a" ADD COLUMN "b" integer NULL'


def seen(*steps: str) -> list[str]:
    """What an observer takes for committed after statements, `(`: a transaction, `)`: its commit, `!`: its rollback."""
    connection = Wrapper()
    observer = Observer(connection)
    for step in steps:
        match step:
            case "(":
                connection.in_atomic_block = True
            case ")":
                connection.commit()
            case "!":
                connection.roll_back()
            case _:
                observer(lambda *_all: None, step, None, False, {})
    return observer.committed


@pytest.mark.parametrize(
    ("steps", "committed"),
    [
        pytest.param(["SELECT 1", "SHOW x", "SET y = 1", "SAVEPOINT s"], [], id="reading_is_no_change"),
        pytest.param([ALTER], [ALTER], id="by_itself"),
        pytest.param(["(", ALTER, ")"], [ALTER], id="committed"),
        pytest.param(["(", ALTER, "!"], [], id="rolled_back"),
        pytest.param(["(", ALTER], [], id="still_open"),
        pytest.param([ALTER, NOTE], [], id="complete_by_itself"),
        pytest.param(["(", ALTER, NOTE, ")"], [], id="complete_at_once"),
        pytest.param(["(", ALTER, NOTE, ")", ALTER], [ALTER], id="the_next_one_has_begun"),
        pytest.param(["(", ALTER, NOTE, "!", "(", "UPDATE a", ")"], ["UPDATE a"], id="rolled_back_note_does_not_count"),
        pytest.param(["(", "UPDATE a", ")", "(", "UPDATE b", "!"], ["UPDATE a"], id="in_batches"),
        pytest.param(["(", "UPDATE a", "UPDATE b", ")"], ["UPDATE a", "UPDATE b"], id="two_in_one"),
    ],
)
def test_committed_statements_are_known(steps: list[str], committed: list[str]) -> None:
    assert seen(*steps) == committed


def test_failed_statement_is_named_only_for_its_own_error() -> None:
    observer, error = Observer(Wrapper()), OperationalError("held")

    def fail(*_all: Any) -> None:
        raise error

    with pytest.raises(OperationalError):
        observer(fail, ALTER, None, False, {})
    assert observer.statement(error) == ALTER
    assert observer.statement(caused(ValueError("mine"), error)) == ALTER
    assert observer.statement(ValueError("another")) == ""
    assert observer.committed == []


@pytest.mark.parametrize(
    ("statement", "unhurried"),
    [
        ('CREATE INDEX CONCURRENTLY "i" ON "t" ("c")', True),
        ('create unique index concurrently "i" on "t" ("c")', True),
        ('DROP INDEX CONCURRENTLY IF EXISTS "i"', True),
        ("REINDEX INDEX CONCURRENTLY i", True),
        ('CREATE INDEX "i" ON "t" ("c")', False),
        ('CREATE INDEX "i" ON "t" ("concurrently")', False),
        ("SELECT 'CREATE INDEX CONCURRENTLY'", False),
        ("ALTER TABLE t ADD COLUMN c int", False),
    ],
)
def test_only_what_nobody_waits_behind_may_wait(statement: str, unhurried: bool) -> None:
    entered = []

    class Seen(Observer):
        @contextmanager
        def unhurried(self) -> Any:
            entered.append(statement)
            yield

    Seen(Wrapper())(lambda *_all: None, statement, None, False, {})
    assert bool(entered) is unhurried


class Migration:
    app_label, name = "shop", "0002_half"

    def __init__(self, atomic: bool) -> None:
        self.atomic = atomic


@pytest.mark.parametrize(
    ("kind", "atomic", "committed", "tries", "restarts", "again"),
    [
        pytest.param(REFUSED, True, [], 1, 0, True, id="atomic"),
        pytest.param(REFUSED, True, ["x"], 1, 0, True, id="atomic_whatever_else_was_committed"),
        pytest.param(REFUSED, True, [], 3, 0, False, id="often_enough"),
        pytest.param(REFUSED, False, [], 1, 0, True, id="nothing_of_it_is_there"),
        pytest.param(REFUSED, False, ["x"], 1, 0, False, id="half_applied"),
        pytest.param(LOST, True, [], 1, 0, True, id="restart"),
        pytest.param(LOST, True, [], 3, 0, True, id="restart_on_the_last_try"),
        pytest.param(LOST, True, [], 1, 1, False, id="restart_again"),
        pytest.param(LOST, False, ["x"], 1, 0, False, id="restart_half_way"),
    ],
)
def test_when_to_try_again(
    kind: str, atomic: bool, committed: list[str], tries: int, restarts: int, again: bool
) -> None:
    session = session_for(Wrapper(), {"attempts": 3})
    session.tries, session.restarts, session.observer.committed = tries, restarts, committed
    assert session.may_try_again(kind, Running(Migration(atomic))) is again


# --- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT  1\n FROM t", "SELECT 1 FROM t"),
        ("UPDATE t SET a = 'secret' WHERE b = 'it''s'", "UPDATE t SET a = '...' WHERE b = '...''...'"),
        ("SELECT E'a\\'b' || 'c'", "SELECT '...' || '...'"),
        ("SELECT $$secret$$, $x$a $$ b$x$", "SELECT '...', '...'"),
        ("INSERT INTO t VALUES ('cut off in the mid", "INSERT INTO t VALUES ('...'"),
        ('ALTER TABLE "t" ADD COLUMN "c" integer', 'ALTER TABLE "t" ADD COLUMN "c" integer'),
    ],
)
def test_statements_are_shown_without_values(sql: str, shown: str) -> None:
    assert one_line(sql) == shown


def test_statement_is_cut() -> None:
    shown = one_line("SELECT " + "x, " * 200)
    assert len(shown) == 200 and shown.endswith("...")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        pytest.param(
            {},
            "pid 4711 (shop, psql, 10.0.0.3) idle in transaction since 2026-01-02 03:04:05 UTC: LOCK TABLE product",
            id="whole",
        ),
        pytest.param(
            {"client": None, "application": "", "since": None, "query": ""},
            "pid 4711 (shop, this host) idle in transaction",
            id="little_is_known",
        ),
        pytest.param(
            {"state": None, "backend_type": None, "since": None, "query": "<insufficient privilege>"},
            "pid 4711 (shop, psql, 10.0.0.3), what it does is shown only to a superuser",
            id="of_somebody_else",
        ),
        pytest.param(
            {"user": None, "application": "", "client": None, "state": "active", "backend_type": "autovacuum worker"},
            "pid 4711 (autovacuum worker) active since 2026-01-02 03:04:05 UTC: LOCK TABLE product",
            id="of_the_server",
        ),
        pytest.param({"pid": 0}, "a prepared transaction (see pg_prepared_xacts)", id="prepared"),
    ],
)
def test_who_is_in_the_way(changed: dict[str, Any], told: str) -> None:
    assert told_blocker({**BLOCKER, **changed}) == told


def test_way_out_names_the_statement_that_ends_it() -> None:
    (told,) = way_out([BLOCKER, {**BLOCKER, "pid": 12}])
    assert "pid 4711" in told and "(and 1 more)" in told
    assert "SELECT pg_terminate_backend(4711)" in told
    assert way_out([]) == ["another session held the lock; try again when it is done"]
    assert ending({"pid": 0}) == "" and "pg_terminate" not in way_out([{**BLOCKER, "pid": 0}])[0]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ((7, "10.0.0.3", "2026 UTC"), "pid 7, from 10.0.0.3, since 2026 UTC"),
        ((7, None, None), "pid 7, from the host of the database"),
    ],
)
def test_who_migrates(row: tuple[Any, ...], told: str) -> None:
    assert told_holder(row) == told


def test_queue_that_does_not_end() -> None:
    waiting = Session(Wrapper(), "", 2, 900, 1, 60)
    failure = waiting.queue_failure((7, "10.0.0.3", None))
    assert failure.message == "another host migrates for more than 60 s: pid 7, from 10.0.0.3"
    assert "SELECT pg_terminate_backend(7)" in failure.hint
    assert "pg_locks" in waiting.queue_failure(None).hint


@pytest.mark.parametrize(
    ("kind", "error", "tries", "restarts", "told"),
    [
        (REFUSED, OF_PSYCOPG, 1, 0, f"migration shop.0002 does not get its lock within 2 s, tried once: {ALTER}"),
        (REFUSED, OF_PSYCOPG, 3, 0, f"migration shop.0002 does not get its lock within 2 s, tried 3 times: {ALTER}"),
        (
            REFUSED,
            raised("DeadlockDetected", sqlstate="40P01"),
            2,
            0,
            f"migration shop.0002 and another session wait for each other (deadlock), tried 2 times: {ALTER}",
        ),
        (
            LOST,
            OperationalError("server closed the connection\nat once"),
            1,
            1,
            "migration shop.0002 lost the connection to the database, again (server closed the connection): " + ALTER,
        ),
        ("", ValueError("no such thing"), 1, 0, f"migration shop.0002 fails: ValueError: no such thing ({ALTER})"),
    ],
)
def test_headline(kind: str, error: Exception, tries: int, restarts: int, told: str) -> None:
    session = session_for(Wrapper(), {})
    session.tries, session.restarts = tries, restarts
    assert headline("shop.0002", kind, session, ALTER, error) == told


def test_half_applied_names_what_is_there_and_what_is_not() -> None:
    where = Running(Migration(False), ("Add field a", "Add field b"), "Add field c")
    told = half_applied(where, [f"statement {number}" for number in range(8)])
    for part in ("0002_half is not atomic", "done: Add field a, Add field b", "not done: Add field c", "(3 more)"):
        assert part in told
    assert "statement 2" not in told and "statement 7" in told


@pytest.mark.parametrize(
    ("done", "backwards", "told"),
    [
        ([], False, "no migration was applied"),
        ([], True, "no migration was taken back"),
        (["a.1"], False, "it was applied before that and stays: a.1"),
        (["a.1"], True, "it was taken back before that and stays: a.1"),
        (None, False, "what was applied cannot be told: the database does not answer"),
    ],
)
def test_what_was_done(done: list[str] | None, backwards: bool, told: str) -> None:
    assert told_done(done, [(None, backwards)]) == told


def test_session_is_for_postgresql_alone() -> None:
    assert Session(Wrapper(), "", 2, 900, 1, 1).bounded
    assert not Session(Wrapper("mysql"), "", 2, 900, 1, 1).bounded
