# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a site with databases besides the default one."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.overlay import close_gaps, relocations
from ansible_collections.djdeploy.django.plugins.module_utils.engine.overlay_data import unused

RELEASE = "/srv/shop/releases/20260101T000000-abcdef0"
POSTGRESQL, SQLITE, MYSQL = (f"django.db.backends.{name}" for name in ("postgresql", "sqlite3", "mysql"))
URL = "postgresql:///shop_reports"


def site(kind: str = "postgresql", database: str = "project") -> dict[str, Any]:
    return {
        "name": "shop",
        "project_settings": "shop.settings",
        "domains": ["shop.example.com"],
        "static_root": f"{RELEASE}/static",
        "shared": "/srv/shop/shared",
        "code": f"{RELEASE}/code",
        "database": database,
        "databases": {"reports": kind},
    }


def closed(databases: dict[str, Any], url: str = URL, kind: str = "postgresql") -> dict[str, Any] | None:
    gaps = close_gaps({"DATABASES": databases}, site(kind), {"REPORTS_DATABASE_URL": url})
    return dict(gaps["DATABASES"][0]) if "DATABASES" in gaps else None


LED = {"ENGINE": POSTGRESQL, "NAME": "shop_reports", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}
OWN = {"ENGINE": MYSQL, "NAME": "main", "HOST": "db"}


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        pytest.param({"default": OWN}, {"default": OWN, "reports": LED}, id="added"),
        pytest.param(
            {"default": OWN, "reports": {"ENGINE": SQLITE, "NAME": f"{RELEASE}/code/reports.sqlite3"}},
            {"default": OWN, "reports": LED},
            id="a_file_for_development",
        ),
        pytest.param(
            {"default": OWN, "reports": {"ENGINE": POSTGRESQL, "NAME": "dev", "HOST": "localhost", "CONN_MAX_AGE": 60}},
            {"default": OWN, "reports": {**LED, "CONN_MAX_AGE": 60}},
            id="how_it_connects_stays",
        ),
        pytest.param({"default": OWN, "reports": LED}, None, id="it_leads_there_itself"),
        pytest.param(
            {"default": OWN, "reports": {"ENGINE": SQLITE, "NAME": "/x", "TEST": {"MIRROR": "default"}}},
            {"default": OWN, "reports": {**LED, "TEST": {"MIRROR": "default"}}},
            id="a_mirror_stays_one",
        ),
        pytest.param(
            {"default": OWN, "more": {"ENGINE": MYSQL, "NAME": "more"}},
            {"default": OWN, "more": {"ENGINE": MYSQL, "NAME": "more"}, "reports": LED},
            id="others_stay",
        ),
    ],
)
def test_led(present: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert closed(present) == expected


def test_default_and_another() -> None:
    environ = {"DATABASE_URL": "postgresql:///shop", "REPORTS_DATABASE_URL": URL}
    value, reason = close_gaps({"DATABASES": {}}, site(database="postgresql"), environ)["DATABASES"]
    assert {alias: entry["NAME"] for alias, entry in value.items()} == {"default": "shop", "reports": "shop_reports"}
    assert "reports is the site's own PostgreSQL (REPORTS_DATABASE_URL)" in reason


def test_mariadb_is_used_as_django_advises() -> None:
    found = closed({}, "mysql://shop@localhost/shop_reports", "mariadb")
    assert found is not None and found["reports"]["OPTIONS"]["isolation_level"] == "read committed"


def test_a_file_that_is_led_elsewhere_is_not_kept() -> None:
    settings = {"DATABASES": {"reports": {"ENGINE": SQLITE, "NAME": f"{RELEASE}/code/reports.sqlite3"}}}
    assert relocations(settings, site()) == []
    assert relocations(settings, {**site(), "databases": {}})


@pytest.mark.parametrize(
    ("environ", "kind", "says"),
    [
        ({}, "postgresql", "the site's database reports is PostgreSQL, but REPORTS_DATABASE_URL is not in the"),
        ({"REPORTS_DATABASE_URL": "mysql://h/x"}, "postgresql", "REPORTS_DATABASE_URL is of the kind 'mysql'"),
        ({"REPORTS_DATABASE_URL": "secret"}, "external", "REPORTS_DATABASE_URL is no URL"),
    ],
)
def test_a_url_that_does_not_fit(environ: dict[str, str], kind: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        close_gaps({"DATABASES": {}}, site(kind), environ)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"), [({}, True), ({"DATABASE_ROUTERS": ["x"]}, False), ({"DATABASES": {"reports": OWN}}, False)]
)
def test_an_alias_nothing_speaks_of_is_told(settings: dict[str, Any], told: bool) -> None:
    found = dict(unused(settings, site(), {"REPORTS_DATABASE_URL": URL}, {}))
    assert ("databases.reports" in found) == told
