# SPDX-License-Identifier: GPL-3.0-or-later
"""MariaDB: an account for each site that needs no password and reaches its own database only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.provision import mariadb

ACCOUNT = {"powerful": False, "by_socket": True, "locked": False}
DATABASE = {"character_set": "utf8mb4"}
OWN = {"shop@localhost": True}


def found(
    account: dict[str, Any] | None = None, database: dict[str, Any] | None = None, **grants: bool
) -> dict[str, Any]:
    return {
        "accounts": {} if account is None else {"shop": ACCOUNT | account},
        "databases": {} if database is None else {"shop": DATABASE | database},
        "grants": {"shop": {f"{user}@localhost": whole for user, whole in grants.items()}} if grants else {},
    }


@pytest.mark.parametrize(
    ("present", "statements"),
    [
        pytest.param({}, ["CREATE DATABASE", "CREATE USER", "GRANT ALL"], id="no server yet"),
        pytest.param(found(), ["CREATE DATABASE", "CREATE USER", "GRANT ALL"], id="new"),
        pytest.param(found({}, {}, shop=True), [], id="as it should be"),
        pytest.param(found({}, {}, shop=True, reports=False), [], id="somebody may read besides"),
        pytest.param(found({}, {}, shop=False), ["GRANT ALL"], id="a privilege was taken away"),
        pytest.param(found({}, {}), ["GRANT ALL"], id="no privilege"),
        pytest.param(found({"by_socket": False}, {}, shop=True), ["ALTER USER"], id="a password"),
        pytest.param(found({"locked": True}, {}, shop=True), ["ALTER USER"], id="locked"),
        pytest.param(found(None, {}), ["CREATE USER", "GRANT ALL"], id="a restored database"),
        pytest.param(found({}, None, shop=True), ["CREATE DATABASE"], id="a dropped database"),
    ],
)
def test_plan(present: dict[str, Any], statements: list[str]) -> None:
    planned = mariadb.plan(["shop"], present)
    assert [" ".join(statement.split()[:2]) for statement in planned] == statements
    assert not any("IDENTIFIED BY" in statement or "PASSWORD" in statement for statement in planned)


@pytest.mark.parametrize(
    ("wanted", "present", "expected"),
    [
        ({"shop": 40}, found(), ["ALTER USER 'shop'@'localhost' WITH MAX_USER_CONNECTIONS 40"]),
        ({"shop": 40}, found({"connections": 0}, {}), ["ALTER USER 'shop'@'localhost' WITH MAX_USER_CONNECTIONS 40"]),
        ({"shop": 40}, found({"connections": 40}, {}), []),
        ({}, found({"connections": 40}, {}), []),
    ],
    ids=["new", "without a limit", "as it should be", "not ours to say"],
)
def test_plan_limits_connections(wanted: dict[str, int], present: dict[str, Any], expected: list[str]) -> None:
    planned = mariadb.plan(["shop"], present, connections=wanted)
    assert [statement for statement in planned if "CONNECTIONS" in statement] == expected


@pytest.mark.parametrize(
    ("present", "says"),
    [
        (found({"powerful": True}), "global privileges"),
        (found(None, {}, other=True), "used by other@localhost"),
        (found({}, {"character_set": "latin1"}, shop=True), "encoded in latin1"),
    ],
)
def test_plan_refuses_what_is_not_a_site_s(present: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineError, match=says):
        mariadb.plan(["shop"], present)


def test_a_grant_reaches_one_database_only() -> None:
    """`_` in GRANT stands for any character: without a backslash my_shop may do everything in my-shop."""
    assert "GRANT ALL PRIVILEGES ON `my\\_shop`.* TO 'my_shop'@'localhost'" in mariadb.plan(["my_shop"], {})
    assert "CREATE DATABASE `my-shop`" in mariadb.plan(["my-shop"], {})[0]
    assert mariadb.quoted("a`b") == "`a``b`"
    with pytest.raises(ValueError, match="apostrophe"):
        mariadb.account("a'b")


def test_what_the_server_answers() -> None:
    lines = [
        {"kind": "account", "name": "my_shop", "powerful": False, "by_socket": True, "locked": False},
        {"kind": "database", "name": "my_shop", "character_set": "utf8mb4"},
        {"kind": "grant", "database": "my\\_shop", "user": "my_shop", "host": "localhost", "whole": 1},
    ]
    answer = mariadb.understood([json.dumps(line) for line in lines] + [""])
    assert mariadb.plan(["my_shop"], answer) == []


@pytest.mark.parametrize(
    ("groups", "chosen", "says"),
    [
        pytest.param({"web": ["web1"], "database": ["web1"]}, {}, [], id="one host"),
        pytest.param({"web": ["web1", "web2"], "database": ["web1", "web2"]}, {}, [], id="each has its own"),
        pytest.param({"web": ["web1"], "database": ["db1"]}, {}, ["site 'shop'"], id="another host"),
        pytest.param(
            {"web": ["web1"], "database": ["web1", "db1"]}, {"web1": "db1"}, ["are on db1"], id="another host by name"
        ),
        pytest.param({"web": ["web1"], "database": ["web1"]}, {"web1": "web1"}, [], id="itself by name"),
        pytest.param({"web": ["web1"]}, {}, [], id="no group: that is told already"),
    ],
)
def test_mariadb_on_another_host_is_refused(
    groups: dict[str, list[str]], chosen: dict[str, str], says: list[str]
) -> None:
    sites = {
        "shop": {"domains": ["shop.example.com"], "database": "mariadb"},
        "blog": {"domains": ["blog.example.com"]},
    }
    hosts = {host for names in groups.values() for host in names}
    problems = list(mariadb.misplaced({host: {"djdeploy_sites": sites} for host in hosts}, groups, chosen))
    assert len(problems) == len(says)
    for problem, words in zip(problems, says, strict=True):
        assert words in problem.message and "database: external" in (problem.hint or "")
        assert problem.path == ("djdeploy_sites", "shop", "database")


def test_several_databases_of_one_site() -> None:
    present = found({}, {}, shop=True)
    planned = mariadb.plan(["shop"], present, {"shop": ["shop", "shop_reports"]})
    assert [statement.partition(" CHARACTER")[0] for statement in planned] == [
        "CREATE DATABASE `shop_reports`",
        "GRANT ALL PRIVILEGES ON `shop\\_reports`.* TO 'shop'@'localhost'",
    ]
    only = mariadb.plan(["shop"], {}, {"shop": ["shop_reports"]})
    assert not any("`shop`" in statement for statement in only), "its default database is elsewhere"
