# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrating on MariaDB: its numbers and words; what needs a server is in the scenario `projects`."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_locks import (
    LOST,
    REFUSED,
    Running,
    Session,
    session_for,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_mysql import (
    MySQLSession,
    lock_name,
    number_of,
    seconds,
)


class OperationalError(Exception):
    """As MySQLdb's: its arguments are the number and the text."""


class DatabaseError(Exception):
    """As the drivers and Django have it."""


class DriverError(DatabaseError):
    pass


class Cursor:
    """Answers what it was told to, statement by statement."""

    def __init__(self, answers: dict[str, list[tuple[Any, ...]]], asked: list[tuple[str, Any]]) -> None:
        self.answers, self.asked = answers, asked
        self.rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def execute(self, sql: str, params: Any = None) -> None:
        self.asked.append((" ".join(sql.split()), params))
        self.rows = next((rows for words, rows in self.answers.items() if words in sql), [(7,)])

    def fetchone(self) -> tuple[Any, ...] | None:
        return self.rows[0] if self.rows else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows


class Wrapper:
    """As much of a connection of Django's as a session asks for."""

    vendor = "mysql"
    alias = "default"
    in_atomic_block = False

    def __init__(self, answers: dict[str, list[tuple[Any, ...]]] | None = None, *, mariadb: bool = True) -> None:
        self.mysql_is_mariadb = mariadb
        self.answers = answers or {}
        self.asked: list[tuple[str, Any]] = []
        self.usable = True
        self.connection: Any = object()
        self.settings_dict: dict[str, Any] = {"OPTIONS": {}}

    def cursor(self) -> Cursor:
        return Cursor(self.answers, self.asked)

    def is_usable(self) -> bool:
        assert self.connection is not None, "as Django's would fail"
        return self.usable

    def copy(self) -> Wrapper:
        return Wrapper(self.answers)

    def inc_thread_sharing(self) -> None:
        pass

    def close(self) -> None:
        self.usable = False


def session(wrapper: Wrapper | None = None, **request: Any) -> MySQLSession:
    found = session_for(wrapper or Wrapper(), request)
    assert isinstance(found, MySQLSession)
    return found


def test_each_database_has_its_kind_of_session() -> None:
    class Other(Wrapper):
        vendor = "postgresql"

    assert not isinstance(session_for(Other(), {}), type(session()))
    assert isinstance(session_for(Other(), {}), Session) and session().bounded


@pytest.mark.parametrize(("value", "whole"), [(0, 1), (0.2, 1), (1, 1), (2.0, 2), (2.1, 3)])
def test_a_lock_is_waited_for_in_whole_seconds_and_never_not_at_all(value: float, whole: int) -> None:
    assert seconds(value) == whole


def test_bounds() -> None:
    bounds = session(lock_timeout=2, statement_timeout=900).bounds()
    assert bounds == {"lock_wait_timeout": 2, "innodb_lock_wait_timeout": 2, "max_statement_time": 900}
    assert "max_statement_time" not in session(Wrapper(mariadb=False)).bounds(), "MySQL does not know it"


def test_the_name_of_the_lock_fits_and_is_the_same_on_every_host() -> None:
    assert lock_name("shop", "shop") == lock_name("shop", "shop")
    assert len({lock_name(*pair) for pair in (("a", "bc"), ("ab", "c"), ("abc", ""))}) == 3
    assert len(lock_name("x" * 64, "y" * 64)) <= 64


@pytest.mark.parametrize(
    ("error", "number", "kind"),
    [
        (DatabaseError(1205, "Lock wait timeout exceeded"), 1205, REFUSED),
        (DatabaseError(1213, "Deadlock found"), 1213, REFUSED),
        (DatabaseError(2006, "Server has gone away"), 2006, LOST),
        (DatabaseError(2013, "Lost connection"), 2013, LOST),
        (DatabaseError(1060, "Duplicate column name"), 1060, ""),
        (DriverError(1969, "max_statement_time exceeded"), 1969, ""),
        (ValueError(1205), 0, ""),
        (ValueError("no"), 0, ""),
    ],
)
def test_errors(error: Exception, number: int, kind: str) -> None:
    assert number_of(error) == number
    assert session().trouble(error) == kind


def test_a_broken_connection_is_known_by_asking() -> None:
    wrapper = Wrapper()
    assert session(wrapper).trouble(OperationalError("(0, '')")) == ""
    wrapper.usable = False
    assert session(wrapper).trouble(OperationalError("(0, '')")) == LOST
    wrapper.connection = None
    assert session(wrapper).trouble(OperationalError("(0, '')")) == LOST


def test_nothing_half_done_is_tried_again() -> None:
    class Atomic:
        app_label, name, atomic = "shop", "0002_x", True

    tried = session(attempts=5)
    tried.tries = 1
    where = Running(Atomic())
    assert tried.may_try_again(REFUSED, where)
    tried.observer.committed = ["ALTER TABLE"]
    assert not tried.may_try_again(REFUSED, where), "atomic or not: ALTER TABLE has committed"


def test_the_note_that_a_migration_is_done_is_known_by_its_backticks() -> None:
    tried = session()
    tried.observer.note("ALTER TABLE `a` ADD COLUMN `b` int")
    assert tried.observer.committed
    tried.observer.note("INSERT INTO `django_migrations` (`app`, `name`) VALUES (%s, %s)")
    assert not tried.observer.committed


def test_who_is_in_the_way_is_a_guess_and_said_so() -> None:
    wrapper = Wrapper({"COUNT(*)": [(1,)], "SELECT ID, USER": [(12, "shop", "localhost", "Sleep", 40, None)]})
    waiting = session(wrapper)
    (found,) = waiting.look(wrapper, 7)
    assert waiting.told_blocker(found) == "probably connection 12 (shop, localhost) sleep for 40 s"
    assert waiting.ending(found) == "KILL 12"
    assert waiting.look(Wrapper({"COUNT(*)": [(0,)]}), 7) == [], "it does not wait"


def test_the_lock_is_taken_and_given_back() -> None:
    wrapper = Wrapper({"GET_LOCK": [(1,)], "DATABASE()": [("shop",)]})
    taken = session(wrapper, lock_name="shop")
    taken.take_lock()
    holder = taken.holder
    taken.release()
    assert [words for words, _params in holder.asked if "_LOCK(" in words] == [
        "SELECT GET_LOCK(%s, 0)",
        "SELECT RELEASE_LOCK(%s)",
    ]


def test_what_an_earlier_try_left_is_told() -> None:
    tried = session()
    assert "earlier try" in tried.remarks(DatabaseError(1060, "Duplicate column name"))[0]
    assert tried.remarks(DatabaseError(1048, "cannot be null")) == []
    tried.observer.committed = ["ALTER TABLE"]
    assert tried.remarks(DatabaseError(1060, "Duplicate column name")) == [], "this try itself left it"


def test_the_bounds_go_when_the_migrations_are_done() -> None:
    wrapper = Wrapper()
    session(wrapper).unbind()
    assert [words for words, _params in wrapper.asked] == [
        "SET SESSION lock_wait_timeout = DEFAULT",
        "SET SESSION innodb_lock_wait_timeout = DEFAULT",
        "SET SESSION max_statement_time = DEFAULT",
    ]
    wrapper.connection = None
    session(wrapper).unbind()
