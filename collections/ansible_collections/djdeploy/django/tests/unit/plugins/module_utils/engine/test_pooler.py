# SPDX-License-Identifier: GPL-3.0-or-later
"""PgBouncer: which databases and which processes go through it, and what the settings become there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    config_shown,
    doctor,
    overlay_data,
    overlay_pooled,
    pooler,
    schema,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.overlay import close_gaps

ON = {"pgbouncer": {"enabled": True, "direct": []}}
DIRECT = {"DATABASE_URL": "postgresql:///shop"}
POOLED = {"DATABASE_URL": "postgresql:///shop?host=/run/pgbouncer&port=6432"}
REMOTE = "postgresql://shop:secret@10.0.0.5:5432/shop?sslmode=verify-ca"


@pytest.mark.parametrize(
    ("config", "environment", "wanted"),
    [
        pytest.param({}, DIRECT, {}, id="a host set up before there was the key"),
        pytest.param({"pgbouncer": {"enabled": False}}, DIRECT, {}, id="off"),
        pytest.param(ON, DIRECT, POOLED, id="on"),
        pytest.param(ON, {"DATABASE_URL": REMOTE}, {}, id="on another host"),
        pytest.param(ON, {}, {}, id="no variable"),
        pytest.param({**ON, "database": "sqlite"}, {"DATABASE_URL": "sqlite:////srv/x"}, {}, id="SQLite"),
        pytest.param(
            {**ON, "database": "sqlite", "databases": {"reports": "postgresql", "old": "external"}},
            {"REPORTS_DATABASE_URL": "postgresql:///shop_reports", "OLD_DATABASE_URL": "postgresql:///old"},
            {"REPORTS_DATABASE_URL": "postgresql:///shop_reports?host=/run/pgbouncer&port=6432"},
            id="only those that are the site's own",
        ),
    ],
)
def test_what_goes_through_it(config: dict[str, Any], environment: dict[str, str], wanted: dict[str, str]) -> None:
    assert pooler.variables(pooler.pooled(config, "shop", environment)) == wanted


@pytest.mark.parametrize(
    ("direct", "all_known", "says"),
    [
        ([], True, ""),
        (["listener"], True, ""),
        (["listner"], True, "names listner, which is no process or job of the site; there are: listener, worker"),
        (["listner"], False, ""),
    ],
    ids=["none", "one", "misspelt", "another host runs it"],
)
def test_what_goes_straight(direct: list[str], all_known: bool, says: str) -> None:
    config = {"pgbouncer": {"enabled": True, "direct": direct}}
    if says:
        with pytest.raises(EngineError, match=says):
            pooler.straight(config, ["worker", "listener"], all_known=all_known)
    else:
        assert pooler.straight(config, ["worker", "listener"], all_known=all_known) == set(direct)


@pytest.mark.parametrize(
    ("site", "says"),
    [
        ({}, ""),
        ({"pgbouncer": {"enabled": False}, "database": "sqlite"}, ""),
        ({"pgbouncer": {"enabled": True}}, ""),
        ({"pgbouncer": {"enabled": True}, "database": "sqlite"}, "pgbouncer has no database"),
        ({"pgbouncer": {"enabled": True}, "database": "sqlite", "databases": {"reports": "postgresql"}}, ""),
        ({"pgbouncer": {"enabled": True}, "secrets": {"DATABASE_URL": "x"}}, "secrets holds DATABASE_URL"),
        ({"pgbouncer": {"enabled": True}, "env": {"DATABASE_URL": "x"}}, "env holds DATABASE_URL"),
        ({"pgbouncer": "yes"}, "pgbouncer is text, not a mapping"),
    ],
    ids=["none", "off", "on", "no PostgreSQL", "a further one", "in secrets", "in env", "no section"],
)
def test_a_key_that_would_lead_nowhere_is_refused(site: dict[str, Any], says: str) -> None:
    problems = schema.validate_sites({"shop": {"domains": ["shop.example.com"], **site}})
    found = [problem.message for problem in problems]
    assert (not found) if not says else any(says in message for message in found), found


# --- the settings ---------------------------------------------------------------------------------

RELEASE = "/srv/shop/releases/20260101T000000-abcdef0"
SITE: dict[str, Any] = {
    "name": "shop",
    "domains": ["shop.example.com"],
    "static_root": f"{RELEASE}/static",
    "shared": "/srv/shop/shared",
    "code": f"{RELEASE}/code",
    "database": "postgresql",
    "pooled": ["default"],
}
ENGINE = "django.db.backends.postgresql"
# As django-environ and dj-database-url read the URL.
READ = {"ENGINE": ENGINE, "NAME": "shop", "OPTIONS": {"host": "/run/pgbouncer", "port": 6432}}


def default(own: dict[str, Any], environment: dict[str, str], site: dict[str, Any] | None = None) -> dict[str, Any]:
    gaps = close_gaps({"DATABASES": {"default": own}}, site or SITE, environment)
    found: dict[str, Any] = gaps["DATABASES"][0]["default"] if "DATABASES" in gaps else own
    return found


@pytest.mark.parametrize(
    "own",
    [
        pytest.param({}, id="settings that read nothing"),
        pytest.param({"ENGINE": "django.db.backends.sqlite3", "NAME": f"{RELEASE}/code/db.sqlite3"}, id="SQLite"),
        pytest.param(READ, id="a reader of URLs"),
        pytest.param(overlay_data.parse_database_url(POOLED["DATABASE_URL"]), id="our reader"),
        pytest.param({"ENGINE": ENGINE, "NAME": "dev", "OPTIONS": {"prepare_threshold": 5}}, id="prepared statements"),
    ],
)
def test_behind_it_nothing_belongs_to_a_session(own: dict[str, Any]) -> None:
    found = default(own, POOLED)
    assert (found["NAME"], found["HOST"], str(found["PORT"])) == ("shop", "/run/pgbouncer", "6432")
    assert found["DISABLE_SERVER_SIDE_CURSORS"] is True
    assert "prepare_threshold" not in found.get("OPTIONS", {})
    assert "DISABLE_SERVER_SIDE_CURSORS" not in default(own if own != READ else {}, DIRECT)


@pytest.mark.parametrize(
    ("own", "checked"),
    [
        ({}, None),
        ({"CONN_MAX_AGE": 0}, None),
        ({"CONN_MAX_AGE": 60}, True),
        ({"CONN_MAX_AGE": None}, True),
        ({"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": False}, False),
    ],
    ids=["Django's default", "none last", "some last", "all last", "the project says no"],
)
def test_a_connection_that_lasts_is_looked_at_first(own: dict[str, Any], checked: bool | None) -> None:
    assert default({"ENGINE": ENGINE, "NAME": "dev", **own}, POOLED).get("CONN_HEALTH_CHECKS") is checked


@pytest.mark.parametrize("environment", [DIRECT, POOLED], ids=["manage.py", "web"])
@pytest.mark.parametrize("option", sorted(overlay_pooled.BOUND))
def test_options_of_a_session_are_refused_at_the_push(option: str, environment: dict[str, str]) -> None:
    own = {"ENGINE": ENGINE, "NAME": "dev", "OPTIONS": {option: "-c search_path=shop"}}
    with pytest.raises(ValueError, match=f"has '{option}' in its OPTIONS"):
        default(own, environment)
    assert default(own, DIRECT, {**SITE, "pooled": []})["OPTIONS"] == own["OPTIONS"]


def test_the_project_s_own_other_database_behind_it() -> None:
    settings = {"DATABASES": {"default": {}, "replica": READ}}
    new, reason = close_gaps(settings, SITE, POOLED)["DATABASES"]
    assert new["replica"]["DISABLE_SERVER_SIDE_CURSORS"] and "default, replica" in reason


# --- what people are told -------------------------------------------------------------------------


def test_config_names_it() -> None:
    assert config_shown.pooled({}) == {}
    told = config_shown.pooled({"pgbouncer": {"enabled": True, "direct": ["listener"]}})
    assert (
        told["pgbouncer"][0] == "default" and "manage.py, listener and migrations go straight" in told["pgbouncer"][1]
    )


@pytest.mark.parametrize(
    ("service", "socket", "ok"),
    [("active", "active", True), ("failed", "active", False), ("inactive", "inactive", False)],
)
def test_doctor_tells_that_it_is_down(service: str, socket: str, ok: bool) -> None:
    found = doctor.pooler_finding(service, socket)
    assert found.ok is ok and "systemctl restart pgbouncer.socket" in found.cure


def test_lay_out_links_all_but_those_that_go_straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.djdeploy.django.plugins.module_utils.engine import paths, processes, sites

    monkeypatch.setattr(paths, "SITES_ROOT", tmp_path)
    monkeypatch.setattr(sites.Site, "environment", lambda _site: dict(DIRECT))
    site = sites.Site("shop", {"pgbouncer": {"enabled": True, "direct": ["listener"]}})
    beside = processes.Layout(
        processes=[processes.Process(name=name, command="true") for name in ("worker", "listener")],
        jobs=[processes.Process(name="mail", command="true")],
    )
    places = site.paths.release("20260101T000000-abcdef0")
    for directory, names in ((places.processes, ("worker.1", "listener.1")), (places.jobs, ("mail.1",))):
        for name in names:
            (directory / name).mkdir(parents=True)
    pooler.lay_out(site, beside, places, os.getgid())
    found = sorted(str(path.relative_to(places.root)) for path in places.root.rglob("pooled.env"))
    assert found == ["jobs/mail.1/pooled.env", "pooled.env", "processes/worker.1/pooled.env"]
    linked = (places.processes / "worker.1" / "pooled.env").read_text()
    assert linked == 'DATABASE_URL="postgresql:///shop?host=/run/pgbouncer&port=6432"\n'
