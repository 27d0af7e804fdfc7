# SPDX-License-Identifier: GPL-3.0-or-later
"""What is live and since when, for a program and for a person."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import queue, records, status, units
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.lock import site_lock
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

OLD, NEW = "20260301T120000-aaaaaaa", "20260302T120000-bbbbbbb"
LIVE = {
    "id": NEW,
    "revision": "b" * 40,
    "subject": "Sell more",
    "state": "live",
    "door": "push",
    "who": "ada",
    "live_since": "2026-03-02T12:00:05+00:00",
    "reason": "",
}
FACTS = {
    "site": "shop",
    "state": "serving",
    "url": "http://shop.example.com/",
    "branch": "main",
    "live": LIVE,
    "configuration_current": True,
    "releases": [],
    "problem": "",
}
Keep = Callable[..., Release]


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def says(active: str, sub: str) -> None:
        monkeypatch.setattr(units, "state", lambda unit: units.UnitState(active, sub, 0, ""))

    says("active", "running")
    return says


# --- for a program --------------------------------------------------------------------------------


def test_release_facts_tells_nothing_of_the_inside() -> None:
    release = Release(NEW, "shop", "b" * 40, fingerprint="f", environment="e", facts={"databases": ["x"]})
    facts = status.release_facts(release)
    assert list(facts) == list(status.PUBLIC_FIELDS)
    assert not {"facts", "environment", "fingerprint", "pending"} & facts.keys()


def test_site_status_tells_that_nobody_describes_a_site(shop: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status.site_status(shop)["undescribed"] == ""
    sites = {"shop": {"environment": "prod", "described": False}}
    monkeypatch.setattr(records, "read", lambda: {"sites": sites, "settings": {}})
    facts = status.site_status(shop)
    assert facts["undescribed"] == "the inventory of prod does not describe it any more"
    assert f"  note      {facts['undescribed']}" in status.status_lines(facts)


def test_site_status_goes_on_where_the_record_of_the_host_is_damaged(
    shop: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged() -> None:
        raise EngineError("granted.json does not say any more whose sites this host carries")

    monkeypatch.setattr(records, "read", damaged)
    assert "granted.json does not say" in "\n".join(status.status_lines(status.site_status(shop)))


def test_site_status_waiting(shop: Site) -> None:
    facts = status.site_status(shop)
    assert (facts["state"], facts["live"], facts["releases"], facts["problem"]) == ("waiting", None, [], "")
    assert (facts["site"], facts["url"], facts["branch"]) == ("shop", "http://shop.example.com/", "main")


@pytest.mark.parametrize(
    ("active", "sub", "state", "problem"),
    [
        ("active", "running", "serving", ""),
        ("failed", "failed", "down", "its service is failed (failed)"),
        ("activating", "auto-restart", "down", "its service is activating (auto-restart)"),
        ("inactive", "dead", "down", "its service is inactive (dead)"),
    ],
)
def test_site_status_live(
    shop: Site, keep: Keep, systemd: Callable[[str, str], None], active: str, sub: str, state: str, problem: str
) -> None:
    keep(OLD)
    keep(NEW, "live", fingerprint=shop.fingerprint())
    systemd(active, sub)
    facts = status.site_status(shop)
    assert (facts["state"], facts["problem"]) == (state, problem)
    assert facts["live"]["id"] == NEW and facts["configuration_current"] is True
    assert [release["id"] for release in facts["releases"]] == [OLD, NEW]
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            '{"reason": "bbbbbbb changes the database", "release": "x", "since": "2026-03-02T12:00:05+00:00"}',
            "the maintenance page is up since 2026-03-02 12:00:05 UTC: bbbbbbb changes the database",
            id="ours",
        ),
        pytest.param("back at noon\n", "the maintenance page is up: back at noon", id="by_hand"),
    ],
)
def test_site_status_closed(
    shop: Site, keep: Keep, systemd: Callable[[str, str], None], text: str, problem: str
) -> None:
    keep(NEW, "live", revision="b" * 40)
    shop.paths.env_file.parent.mkdir(parents=True, exist_ok=True)
    shop.paths.maintenance.write_text(text)
    facts = status.site_status(shop)
    assert (facts["state"], facts["problem"]) == ("closed", problem)


def test_site_status_configuration_changed(shop: Site, keep: Keep, systemd: Callable[[str, str], None]) -> None:
    keep(NEW, "live", fingerprint=shop.fingerprint())
    edited = replace(shop, config={**shop.config, "env": {"A": "b"}})
    assert status.site_status(edited)["configuration_current"] is False


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("directory", "must be a symlink to a release, but it is a directory"),
        ("dangling", f"points at {NEW}, which has no record"),
    ],
)
def test_site_status_broken(shop: Site, keep: Keep, kind: str, problem: str) -> None:
    keep(OLD)
    if kind == "directory":
        shop.paths.current.mkdir()
    else:
        shop.paths.current.symlink_to(f"releases/{NEW}")
    facts = status.site_status(shop)
    assert (facts["state"], facts["live"]) == ("broken", None)
    assert problem in facts["problem"]
    assert len(facts["releases"]) == 1
    assert problem in "\n".join(status.status_lines(facts))


def test_site_status_tells_who_is_at_work_and_who_waits(shop: Site) -> None:
    with (
        queue.ticket(shop.paths.queue, "deploy", "ada", "a" * 40) as mine,
        site_lock(shop.paths.lock, who="ada", what="deploy of aaaaaaa", say=print),
    ):
        facts = status.site_status(shop)
        assert mine and (facts["at_work"]["what"], facts["at_work"]["pid"]) == ("deploy of aaaaaaa", mine.pid)
        assert facts["queue"] == [], "who is at work does not wait"
        waits = asdict(replace(mine, number=2, who="bob", revision="b" * 40, pid=1))
        lines = status.status_lines({**facts, "queue": [waits]})
        assert lines[-2].startswith("  at work   deploy of aaaaaaa by ada since ")
        assert lines[-1] == "  waits     bbbbbbb of bob"
    facts = status.site_status(shop)
    assert (facts["at_work"], facts["queue"]) == (None, [])


# --- for a person ---------------------------------------------------------------------------------

SERVING = [
    "shop            serving  http://shop.example.com/",
    "  live      bbbbbbb 'Sell more'",
    f"  release   {NEW} by ada (push), live since 2026-03-02 12:00:05 UTC",
]

FAILED = {
    "id": "20260303T090000-1f3c",
    "at": "2026-03-03T09:00:00.000+00:00",
    "site": "shop",
    "op": "push",
    "door": "push",
    "who": "bob",
    "result": "failed",
    "before": "b" * 40,
    "after": "c" * 40,
    "seconds": 3.2,
    "reason": "it answers 500 on /",
}


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({}, SERVING),
        (
            {"configuration_current": False},
            [*SERVING, "  note      its configuration changed since; run: djdeploy deploy shop"],
        ),
        (
            {"state": "down", "problem": "its service is failed (failed)"},
            [
                "shop            down     http://shop.example.com/",
                *SERVING[1:],
                "  problem   its service is failed (failed); run: djdeploy doctor shop",
            ],
        ),
        (
            {"last": FAILED},
            [
                *SERVING,
                "  last      push of ccccccc by bob (push), 2026-03-03 09:00:00 UTC: failed, 3.2 s",
                "            it answers 500 on /",
            ],
        ),
        (
            {"last": {**FAILED, "result": "interrupted", "seconds": None, "reason": "interrupted during migrate"}},
            [
                *SERVING,
                "  last      push of ccccccc by bob (push), 2026-03-03 09:00:00 UTC: interrupted during migrate",
                "            to do it again: djdeploy deploy shop ccccccc",
            ],
        ),
        (
            {"state": "waiting", "live": None},
            [
                "shop            waiting  http://shop.example.com/",
                "  no release yet: git push ssh://git@HOST/shop main",
            ],
        ),
        (
            {"state": "broken", "live": None, "problem": "the pointer is a directory"},
            [
                "shop            broken   http://shop.example.com/",
                "  problem   the pointer is a directory; run: djdeploy doctor shop",
            ],
        ),
    ],
    ids=["serving", "configuration changed", "failed since", "interrupted since", "down", "waiting", "broken"],
)
def test_status_lines(facts: dict[str, Any], lines: list[str]) -> None:
    assert status.status_lines({**FACTS, **facts}) == lines


def test_release_lines_newest_first() -> None:
    releases = [
        {**LIVE, "id": OLD, "state": "failed", "live_since": "", "who": "bob", "reason": "it answers 500 on /"},
        LIVE,
    ]
    head, *lines = status.release_lines({**FACTS, "releases": releases})
    assert [line.split() for line in lines] == [
        [NEW, "live", "2026-03-02", "12:00:05", "ada", "Sell", "more"],
        [OLD, "failed", "-", "bob", "Sell", "more", "[it", "answers", "500", "on", "/]"],
    ]
    for line in lines:  # the columns stand below their titles
        assert line.index("Sell more") == head.index("subject")
        assert line[head.index("by") :].startswith(("ada", "bob"))
        assert line[head.index("state") :].startswith(("live", "failed"))


def test_release_lines_none() -> None:
    assert len(status.release_lines({**FACTS, "releases": []})) == 1


def test_each_of_several_databases_is_shown(shop: Site, keep: Keep, systemd: Callable[[str, str], None]) -> None:
    there = {"engine": "django.db.backends.postgresql", "host": "", "port": ""}
    databases = {"default": {**there, "name": "shop"}, "reports": {**there, "name": "shop_reports"}}
    keep(NEW, "live", facts={"databases": databases, "further": {"reports": {}}})
    facts = status.site_status(shop)
    assert facts["databases"] == ["default      PostgreSQL (shop)", "reports      PostgreSQL (shop_reports)"]
    assert "  database  reports      PostgreSQL (shop_reports)" in status.status_lines(facts)
