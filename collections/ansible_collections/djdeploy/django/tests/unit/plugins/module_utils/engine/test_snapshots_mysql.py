# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a MariaDB database: what is run, and that a damaged copy costs nothing."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    agent_databases,
    database,
    restore,
    snapshots,
    snapshots_mysql,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.snapshots import Snapshot
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import Target


class Wrapper:
    def __init__(self, **given: Any) -> None:
        self.given = given
        self.settings_dict = {"NAME": "shop"}

    def get_connection_params(self) -> dict[str, Any]:
        return {"conv": {}, "charset": "utf8mb4", **self.given}


@pytest.mark.parametrize(
    ("given", "words", "env"),
    [
        pytest.param(
            {"user": "shop", "unix_socket": "/run/mysqld/mysqld.sock"},
            ["--no-defaults", "--socket=/run/mysqld/mysqld.sock", "--user=shop"],
            {},
            id="by the socket",
        ),
        pytest.param(
            {"user": "shop", "password": "secret", "host": "db", "port": 3307, "ssl": {"ca": "/ca.pem"}},
            ["--no-defaults", "--host=db", "--port=3307", "--user=shop", "--ssl-ca=/ca.pem"],
            {"MYSQL_PWD": "secret"},
            id="over the network",
        ),
        pytest.param({"passwd": "secret"}, ["--no-defaults"], {"MYSQL_PWD": "secret"}, id="as Django 4.2 says it"),
        pytest.param(
            {"read_default_file": "/etc/shop.cnf"}, ["--defaults-file=/etc/shop.cnf"], {}, id="a file of options"
        ),
    ],
)
def test_programs_connect_as_django_does(given: dict[str, Any], words: list[str], env: dict[str, str]) -> None:
    place = agent_databases.mysql(Wrapper(**given))
    assert place == {"words": words, "env": env, "name": "shop"}
    for argv in (snapshots_mysql.dump_words(place), snapshots_mysql.load_words(place)):
        assert "secret" not in " ".join(map(str, argv))
        assert argv[-1] == "shop"


def test_options_come_first() -> None:
    """The programs take --no-defaults and --defaults-file only as their first argument."""
    words = snapshots_mysql.dump_words({"words": ["--no-defaults", "--user=shop"], "name": "shop"})
    assert words[words.index("mariadb-dump") + 1] == "--no-defaults"
    assert snapshots_mysql.load_words({"words": ["--no-defaults"], "name": "shop"})[1] == "--no-defaults"


def test_a_damaged_copy_is_found_before_anything_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "one.sql.gz"
    copy.write_bytes(gzip.compress(b"SELECT 1;\n" * 1000)[:-20])
    monkeypatch.setattr(snapshots_mysql, "installed", lambda: True)
    monkeypatch.setattr(snapshots_mysql, "load_words", lambda _place: pytest.fail("it was begun"))
    with copy.open("rb") as file, pytest.raises(EngineError, match=r"one\.sql\.gz is damaged; nothing was touched"):
        snapshots_mysql.put_back({"words": [], "env": {}, "name": "shop"}, file, user=None, timeout=60)


def test_a_whole_copy_is_read_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read to its end, to see that it is whole."""
    copy, place = tmp_path / "one.sql.gz", {"words": [], "env": {}, "name": "shop"}
    copy.write_bytes(gzip.compress(b"SELECT 1;\n" * 1000))
    monkeypatch.setattr(snapshots_mysql, "installed", lambda: True)
    monkeypatch.setattr(snapshots_mysql, "load_words", lambda _place: ["tee", tmp_path / "read"])
    with copy.open("rb") as file:
        snapshots_mysql.put_back(place, file, user=None, timeout=60)
    assert (tmp_path / "read").read_text() == snapshots_mysql.CLEAR + "SELECT 1;\n" * 1000


def test_a_host_without_the_programs_is_told(
    shop: Site, keep: Callable[..., Release], progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(progress, "say", told.append)
    monkeypatch.setattr(snapshots, "connection", lambda _target, _alias: {"vendor": "mysql", "size": 1, "mysql": {}})
    monkeypatch.setattr(snapshots_mysql, "installed", lambda: False)
    assert snapshots.take(shop, Target(Path("python"), Path("/"), {}, None), "r1", progress) is None
    assert told == [snapshots_mysql.ABSENT] and "mariadb-client" in told[0]


@pytest.mark.parametrize(("taken", "says"), [("r1", "djdeploy restore shop r1 --yes"), (None, "may be missing")])
def test_a_restore_that_fails_half_way_says_how_to_go_on(shop: Site, taken: str | None, says: str) -> None:
    undo = Snapshot(taken, "r0", "r1", "2026-01-02T03:04:05+00:00", 1, 1.0, "mysql") if taken else None
    assert says in restore.half_way(shop, undo)
    assert not undo or not snapshots.whole_or_not([undo])


@pytest.mark.parametrize(
    ("half", "snapshot", "says"),
    [
        ("shop.0003_x", "r1", "djdeploy restore shop r1 --yes"),
        ("shop.0003_x", "", ""),
        ("", "r1", ""),
    ],
)
def test_a_migration_that_failed_half_way_names_the_snapshot(
    shop: Site, keep: Callable[..., Release], half: str, snapshot: str, says: str
) -> None:
    found = database.before_it(shop, replace(keep("r1"), snapshot=snapshot), half)
    assert says in found and bool(says) == bool(found)


def test_on_the_first_push_there_is_nothing_to_lose(shop: Site, keep: Callable[..., Release]) -> None:
    first, mariadb = keep("r1", "failed"), Site("shop", {**shop.config, "database": "mariadb"})
    assert "DROP DATABASE `shop`" in database.before_it(mariadb, first, "shop.0001_initial")
    assert database.before_it(shop, first, "shop.0001_initial") == "", "who knows what else is in it"
    keep("r0", "live")
    assert database.before_it(mariadb, first, "shop.0001_initial") == ""
