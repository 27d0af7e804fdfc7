# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases: closed to each other, passwords known to nobody who need not know them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.provision import databases
from ansible_collections.djdeploy.django.plugins.module_utils.provision.databases import Wanted

SALT = b"0123456789abcdef"
VERIFIER = databases.scram_verifier("secret", SALT)
ROLE = {"login": True, "powerful": False, "password": ""}
DATABASE = {"owner": "shop", "encoding": "UTF8", "public": False}


def found(role: dict[str, Any] | None = None, database: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "roles": {} if role is None else {"shop": ROLE | role},
        "databases": {} if database is None else {"shop": DATABASE | database},
    }


@pytest.mark.parametrize(
    ("password", "present", "statements"),
    [
        pytest.param("", {}, ["CREATE ROLE", "CREATE DATABASE", "REVOKE ALL"], id="no server yet"),
        pytest.param("", found(), ["CREATE ROLE", "CREATE DATABASE", "REVOKE ALL"], id="new"),
        pytest.param("", found({}, {}), [], id="as it should be"),
        pytest.param("", found({"login": False}, {}), ["ALTER ROLE"], id="cannot log in"),
        pytest.param("", found({}, {"public": True}), ["REVOKE ALL"], id="open to other roles"),
        pytest.param("secret", found({}, {}), ["ALTER ROLE"], id="runs on another host now"),
        pytest.param("secret", found({"password": VERIFIER}, {}), [], id="same password"),
        pytest.param("other", found({"password": VERIFIER}, {}), ["ALTER ROLE"], id="another password"),
        pytest.param("", found({"password": VERIFIER}, {}), ["ALTER ROLE"], id="a password nobody needs"),
        pytest.param("secret", found({"password": "md5abc"}, {}), ["ALTER ROLE"], id="an old kind of password"),
    ],
)
def test_plan(password: str, present: dict[str, Any], statements: list[str]) -> None:
    planned = databases.plan([Wanted("shop", password)], present, SALT)
    assert [" ".join(statement.sql.split()[:2]) for statement in planned] == statements


@pytest.mark.parametrize(
    ("wanted", "present", "expected"),
    [
        (40, found(), ['ALTER ROLE "shop" CONNECTION LIMIT 40']),
        (40, found({"connections": -1}, {}), ['ALTER ROLE "shop" CONNECTION LIMIT 40']),
        (40, found({"connections": 40}, {}), []),
        (None, found({"connections": 40}, {}), []),
    ],
    ids=["new", "without a limit", "as it should be", "not ours to say"],
)
def test_plan_limits_connections(wanted: int | None, present: dict[str, Any], expected: list[str]) -> None:
    planned = databases.plan([Wanted("shop", connections=wanted)], present, SALT)
    assert [statement.sql for statement in planned if "CONNECTION" in statement.sql] == expected


@pytest.mark.parametrize(
    ("present", "says"),
    [
        (found({"powerful": True}), "administrative rights"),
        (found({}, {"owner": "postgres"}), "belongs to 'postgres'"),
        (found({}, {"encoding": "SQL_ASCII"}), "encoded in SQL_ASCII"),
    ],
)
def test_plan_refuses_what_is_not_a_site_s(present: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineError, match=says):
        databases.plan([Wanted("shop")], present, SALT)


def test_a_password_is_neither_sent_nor_shown() -> None:
    planned = databases.plan([Wanted("shop", "secret")], {}, SALT)
    assert "secret" not in "".join(statement.sql + statement.shown for statement in planned)
    assert VERIFIER not in "".join(statement.shown for statement in planned)
    assert "secret" not in repr(Wanted("shop", "secret"))


def test_scram_verifier_is_the_one_of_the_standard() -> None:
    """The exchange printed in RFC 7677, section 3: its signatures follow from the two stored keys."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert databases.scram_verifier("pencil", salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_names_are_quoted() -> None:
    assert databases.quoted('a-b"c') == '"a-b""c"'
    assert databases.literal("it's") == "'it''s'"
    assert 'CREATE ROLE "my-shop" LOGIN' in [s.sql for s in databases.plan([Wanted("my-shop")], {}, SALT)]


@pytest.mark.parametrize(
    ("present", "statements"),
    [
        pytest.param(
            {}, ["CREATE ROLE", "CREATE DATABASE", "REVOKE ALL"] + ["CREATE DATABASE", "REVOKE ALL"], id="new"
        ),
        pytest.param(
            {"shop": {"owner": "shop", "encoding": "UTF8", "public": False}},
            ["CREATE ROLE", "CREATE DATABASE", "REVOKE ALL"],
            id="one_is_there",
        ),
    ],
)
def test_several_databases_of_one_site(present: dict[str, Any], statements: list[str]) -> None:
    wanted = [Wanted("shop", databases=("shop", "shop_reports"))]
    planned = [statement.sql for statement in databases.plan(wanted, {"databases": present}, b"salt")]
    assert [" ".join(sql.split()[:2]) for sql in planned] == statements
    assert any(sql.startswith('CREATE DATABASE "shop_reports" OWNER "shop"') for sql in planned)


def test_another_database_that_belongs_to_somebody_else_is_refused() -> None:
    other = {"shop_reports": {"owner": "ann", "encoding": "UTF8", "public": False}}
    with pytest.raises(EngineError, match="'shop_reports' exists and belongs to 'ann'") as caught:
        databases.plan([Wanted("shop", databases=("shop", "shop_reports"))], {"databases": other}, b"salt")
    assert 'ALTER DATABASE "shop_reports" OWNER TO "shop"' in caught.value.hint
