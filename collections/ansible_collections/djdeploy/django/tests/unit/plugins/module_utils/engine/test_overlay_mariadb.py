# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a site with its database in MariaDB."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import databases_said
from ansible_collections.djdeploy.django.plugins.module_utils.engine.overlay import close_gaps, parse_database_url

RELEASE = "/srv/shop/releases/20260101T000000-abcdef0"
SITE: dict[str, Any] = {
    "name": "shop",
    "project_settings": "shop.settings",
    "domains": ["shop.example.com"],
    "static_root": f"{RELEASE}/static",
    "shared": "/srv/shop/shared",
    "code": f"{RELEASE}/code",
    "database": "mariadb",
}
URL = databases_said.local_url(databases_said.wanted(SITE)[0])
SOCKET = "/run/mysqld/mysqld.sock"
MYSQL = "django.db.backends.mysql"
ADVISED = {
    "charset": "utf8mb4",
    "init_command": "SET sql_mode='STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "isolation_level": "read committed",
}


def default(present: dict[str, Any]) -> dict[str, Any]:
    gaps = close_gaps({"DATABASES": {"default": present}}, SITE, {"DATABASE_URL": URL})
    found: dict[str, Any] = gaps["DATABASES"][0]["default"] if "DATABASES" in gaps else present
    return found


@pytest.mark.parametrize(
    "present",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"ENGINE": "django.db.backends.sqlite3", "NAME": f"{RELEASE}/code/db.sqlite3"}, id="SQLite"),
        pytest.param({"ENGINE": "django.db.backends.postgresql", "NAME": "other", "HOST": "db"}, id="PostgreSQL"),
        pytest.param({"ENGINE": MYSQL, "NAME": "dev", "USER": "root", "PASSWORD": "x", "HOST": "db"}, id="MySQL"),
    ],
)
def test_default_is_the_site_s_own(present: dict[str, Any]) -> None:
    found = default(present)
    assert {name: found[name] for name in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")} == {
        "ENGINE": MYSQL,
        "NAME": "shop",
        "USER": "shop",
        "PASSWORD": "",
        "HOST": SOCKET,
        "PORT": "",
    }
    assert found["OPTIONS"] == ADVISED


def test_what_the_project_says_of_how_to_connect_stays() -> None:
    own = {"init_command": "SET sql_mode='ANSI'", "read_default_file": "/home/me/.my.cnf", "connect_timeout": 5}
    found = default({"ENGINE": MYSQL, "NAME": "dev", "HOST": "db", "CONN_MAX_AGE": 60, "OPTIONS": own})
    assert found["OPTIONS"] == {**ADVISED, "init_command": "SET sql_mode='ANSI'", "connect_timeout": 5}
    assert found["CONN_MAX_AGE"] == 60


def test_a_project_that_leads_there_itself_is_left_alone() -> None:
    present = parse_database_url(URL)
    assert default(present) == present


def test_another_driver_keeps_its_engine_and_gets_no_option_of_django_s() -> None:
    found = default({"ENGINE": "mysql.connector.django", "NAME": "dev"})
    assert found["ENGINE"] == "mysql.connector.django" and found["HOST"] == SOCKET
    assert "isolation_level" not in found["OPTIONS"]
