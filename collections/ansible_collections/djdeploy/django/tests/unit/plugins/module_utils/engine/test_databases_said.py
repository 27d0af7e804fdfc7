# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases a site has."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import databases_said as said
from ansible_collections.djdeploy.django.plugins.module_utils.engine.databases_said import Database


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ({"name": "shop"}, (Database("default", "postgresql", "shop", "DATABASE_URL"),)),
        ({"name": "shop", "database": None}, (Database("default", "postgresql", "shop", "DATABASE_URL"),)),
        ({"name": "shop", "database": "mariadb"}, (Database("default", "mariadb", "shop", "DATABASE_URL"),)),
        ({"name": "shop", "database": "sqlite"}, (Database("default", "sqlite", "", "DATABASE_URL"),)),
        ({"name": "shop", "database": "external"}, (Database("default", "external", "", "DATABASE_URL"),)),
        ({"name": "shop", "database": "project"}, ()),
    ],
)
def test_wanted(site: dict[str, Any], expected: tuple[Database, ...]) -> None:
    assert said.wanted(site) == expected
    assert said.wanted({**site, "name": ""}, "shop") == expected


@pytest.mark.parametrize(
    ("database", "served", "postgresql", "needs", "url"),
    [
        ("postgresql", True, True, (), "postgresql:///shop"),
        (
            "mariadb",
            True,
            False,
            ("build-essential", "default-libmysqlclient-dev", "pkg-config", "python3-dev"),
            "mysql://shop@localhost/shop?unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4",
        ),
        ("sqlite", False, False, (), "sqlite:////srv/shop/shared/db.sqlite3"),
        ("external", False, False, (), ""),
        ("project", False, False, (), ""),
    ],
)
def test_what_a_kind_means(database: str, served: bool, postgresql: bool, needs: tuple[str, ...], url: str) -> None:
    site = {"name": "shop", "database": database}
    assert (said.served(site), said.served(site, "postgresql")) == (served, postgresql)
    assert said.packages([site, site]) == list(needs)
    assert "".join(said.local_url(each, "/srv/shop/shared") for each in said.wanted(site)) == url


@pytest.mark.parametrize(
    ("database", "url", "expected"),
    [
        ("postgresql", "", ("postgresql",)),
        ("sqlite", "", ("sqlite",)),
        ("external", "mysql://db/shop", ("mariadb",)),
        ("external", "postgis://db/shop", ("postgresql",)),
        ("external", "oracle://db/shop", ()),
        ("external", "", ()),
        ("project", "postgresql://db/shop", ()),
    ],
)
def test_spoken(database: str, url: str, expected: tuple[str, ...]) -> None:
    assert said.spoken({"name": "shop", "database": database}, {"DATABASE_URL": url}) == expected


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        ("django.db.backends.postgresql", "postgresql"),
        ("psqlextra.backend", "postgresql"),
        ("django.contrib.gis.db.backends.postgis", "postgresql"),
        ("django.contrib.gis.db.backends.mysql", "mariadb"),
        ("django.contrib.gis.db.backends.spatialite", "sqlite"),
        ("mssql", ""),
        (None, ""),
    ],
)
def test_kind_of_engine(engine: str | None, kind: str) -> None:
    assert said.kind_of_engine(engine) == kind


SEVERAL = {
    "name": "shop",
    "database": "sqlite",
    "databases": {"reports": "postgresql", "log": "mariadb", "old": "external"},
}


def test_several_databases() -> None:
    assert said.wanted(SEVERAL) == (
        Database("default", "sqlite", "", "DATABASE_URL"),
        Database("reports", "postgresql", "shop_reports", "REPORTS_DATABASE_URL", "shop"),
        Database("log", "mariadb", "shop_log", "LOG_DATABASE_URL", "shop"),
        Database("old", "external", "", "OLD_DATABASE_URL"),
    )
    assert [each.alias for each in said.wanted({**SEVERAL, "database": "project"})] == ["reports", "log", "old"]
    assert said.default_kind({**SEVERAL, "database": "project"}) == "project"
    assert said.served(SEVERAL, "postgresql") and said.served(SEVERAL, "mariadb")
    assert said.packages([SEVERAL]) == said.packages([{"name": "blog", "database": "mariadb"}])


@pytest.mark.parametrize(
    ("environment", "kinds"),
    [
        ({}, ("mariadb", "postgresql", "sqlite")),
        ({"OLD_DATABASE_URL": "mysql://h/x"}, ("mariadb", "postgresql", "sqlite")),
    ],
)
def test_drivers_of_several(environment: dict[str, str], kinds: tuple[str, ...]) -> None:
    assert said.spoken(SEVERAL, environment) == kinds
    (old,) = said.spoken({"database": "project", "databases": {"old": "external"}}, {"OLD_DATABASE_URL": "mysql://h/x"})
    assert old == "mariadb"


@pytest.mark.parametrize(
    ("alias", "variable"),
    [("default", "DATABASE_URL"), ("reports", "REPORTS_DATABASE_URL"), ("read-replica", "READ_REPLICA_DATABASE_URL")],
)
def test_variable(alias: str, variable: str) -> None:
    assert said.variable_of(alias) == variable


def test_builds_reach_no_data() -> None:
    assert set(said.for_builds(SEVERAL).values()) == {"sqlite://:memory:"}
