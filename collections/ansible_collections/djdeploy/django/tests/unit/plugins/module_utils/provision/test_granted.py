# SPDX-License-Identifier: GPL-3.0-or-later
"""Several inventories on one host: who is refused, who left, what everybody keeps, and that turns change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import records
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.provision import granted
from ansible_collections.djdeploy.django.plugins.module_utils.provision.authorized_keys import authorized_keys

ANN, BOB = "ssh-ed25519 QW5u ann@laptop", "ssh-ed25519 Qm9i bob@laptop"


def said(name: str, *keys: str, **more: Any) -> dict[str, Any]:
    """A site as an inventory says it of a host that serves it and has its database."""
    own = {"served": True, "domains": [f"{name}.test"], "deploy_keys": list(keys or [ANN]), "databases": [name]}
    return {**own, "addresses": [], **more}


def record(settings: dict[str, Any] | None = None, **sites: dict[str, Any]) -> dict[str, Any]:
    """A host that carries sites; `environment` stands in each."""
    full = {name: {**said(name), "described": True, **site} for name, site in sites.items()}
    return {"sites": full, "settings": settings or {}}


PROD, STAGING = {"environment": "prod"}, {"environment": "staging"}
NOBODY: dict[str, Any] = {"environment": "", "described": False}


@pytest.mark.parametrize(
    ("known", "sites", "left", "unowned", "owner"),
    [
        pytest.param({}, ["shop"], (), (), {"shop": "prod"}, id="a bare host"),
        pytest.param(record(shop=PROD), ["shop"], (), (), {"shop": "prod"}, id="once more"),
        pytest.param(record(blog=STAGING), ["shop"], (), (), {"blog": "staging", "shop": "prod"}, id="beside another"),
        pytest.param(
            record(shop=PROD, wiki=PROD), ["shop"], ("wiki",), (), {"shop": "prod", "wiki": "prod"}, id="left"
        ),
        pytest.param(record(wiki=PROD), [], ("wiki",), (), {"wiki": "prod"}, id="the last one left"),
        pytest.param(record(shop=NOBODY), ["shop"], (), (), {"shop": "prod"}, id="nobody's is taken over"),
        pytest.param(record(old=NOBODY), ["shop"], (), ("old",), {"old": "", "shop": "prod"}, id="nobody's stays"),
    ],
)
def test_whose_sites_there_are(
    known: dict[str, Any], sites: list[str], left: tuple[str, ...], unowned: tuple[str, ...], owner: dict[str, str]
) -> None:
    judged = granted.judge(known, "prod", {name: said(name) for name in sites}, {})
    assert judged.refused == ()
    assert (judged.left, judged.unowned) == (left, unowned)
    assert {name: own["environment"] for name, own in judged.record["sites"].items()} == owner
    assert set(judged.others) == owner.keys() - set(sites)
    described = {name for name, own in judged.record["sites"].items() if own["described"]}
    assert described == owner.keys() - set(left) - ({"old"} if unowned else set())
    warned = granted.warnings(judged, "prod")
    assert [name for name in (*left, *unowned) if f"the site {name!r}" not in "\n".join(warned)] == []
    assert len(warned) == len(left) + len(unowned)


@pytest.mark.parametrize(
    ("known", "sites", "settings", "says"),
    [
        pytest.param(
            record(shop=STAGING), {"shop": said("shop")}, {},
            ["'shop' of this host belongs to the environment 'staging'", "of 'prod'", "another name in djdeploy_sites",
             "djdeploy_environment: staging"],
            id="a name",
        ),
        pytest.param(
            record(shop={**STAGING, "served": False}), {"shop": said("shop")}, {},
            ["'shop' of this host belongs to the environment 'staging'"], id="a name on a database host",
        ),
        pytest.param(
            record(shop={**STAGING, "described": False}), {"shop": said("shop")}, {},
            ["'shop' of this host belongs to the environment 'staging'"], id="a name, though it left",
        ),
        pytest.param(
            record(blog=STAGING), {"shop": said("shop", domains=["shop.test", "blog.test"])}, {},
            ["blog.test, and so is 'blog' of this host, which belongs to the environment 'staging'"], id="a domain",
        ),
        pytest.param(
            record({"engine_uv_version": {**STAGING, "value": "0.1"}}, blog=STAGING), {"shop": said("shop")},
            {"engine_uv_version": "0.2"},
            ["engine_uv_version holds for the whole host", "'staging' set it to \"0.1\"", "of 'prod' says \"0.2\"",
             "run site.yml of 'staging' first"],
            id="a setting",
        ),
        pytest.param(
            record({"postgres_settings": {**STAGING, "value": None}}, blog=STAGING), {"shop": said("shop")},
            {"postgres_settings": {"work_mem": "'8MB'"}}, ["'staging' set it to its default"], id="a default",
        ),
    ],
)  # fmt: skip
def test_refused_by_name(
    known: dict[str, Any], sites: dict[str, Any], settings: dict[str, Any], says: list[str]
) -> None:
    (problem,) = granted.judge(known, "prod", sites, settings).refused
    assert [words for words in says if words not in problem] == []
    assert "\n" not in problem


@pytest.mark.parametrize("owner", [PROD, NOBODY], ids=["it left", "nobody's"])
def test_a_domain_of_a_site_nobody_describes_is_only_told(owner: dict[str, Any]) -> None:
    judged = granted.judge(record(old=owner), "prod", {"new": said("new", domains=["old.test"])}, {})
    assert judged.refused == ()
    told = granted.warnings(judged, "prod")[-1]
    assert told.startswith("old.test is a domain of the site 'old' too")


@pytest.mark.parametrize(
    ("set_by", "sites", "kept"),
    [
        pytest.param(PROD, {"shop": PROD}, ("prod", 2), id="who set it changes it"),
        pytest.param({"environment": "build"}, {}, ("prod", 2), id="who set it has no sites any more"),
        pytest.param({**STAGING, "value": 2}, {}, ("staging", 2), id="the same is no change"),
    ],
)
def test_who_may_change_a_setting(set_by: dict[str, Any], sites: dict[str, Any], kept: tuple[str, int]) -> None:
    known = record({"x": {"value": 1, **set_by}, "y": {"value": 1, **STAGING}}, blog=STAGING, **sites)
    judged = granted.judge(known, "prod", {"shop": said("shop")}, {"x": 2})
    assert judged.refused == ()
    assert judged.record["settings"]["x"] == {"environment": kept[0], "value": kept[1]}
    assert judged.record["settings"]["y"] == known["settings"]["y"]


def test_turns_of_two_inventories_change_nothing() -> None:
    """And whatever is written for all sites is the same by either of them."""
    says = {
        "prod": ({"shop": said("shop", ANN), "wiki": said("wiki", ANN, BOB)}, {"engine_uv_version": "0.2"}),
        "staging": ({"trial": said("trial", BOB)}, {"engine_uv_version": "0.2"}),
    }
    known: dict[str, Any] = {}
    for environment, (sites, settings) in says.items():
        known = granted.judge(known, environment, sites, settings).record
    lines = []
    for environment, (sites, settings) in says.items():
        judged = granted.judge(json.loads(json.dumps(known)), environment, sites, settings)
        assert (judged.refused, judged.record) == ((), known)
        keys = {name: own["deploy_keys"] for name, own in {**judged.others, **sites}.items()}
        lines.append(authorized_keys(keys))
    assert lines[0] == lines[1]
    assert [line.split('"')[1].split()[3:] for line in lines[0]] == [["shop", "wiki"], ["trial", "wiki"]]


def test_a_site_that_left_is_described_again() -> None:
    sites = {"shop": said("shop"), "wiki": said("wiki")}
    first = granted.judge({}, "prod", sites, {}).record
    without = granted.judge(first, "prod", {"shop": said("shop")}, {}).record
    assert without["sites"]["wiki"] == {**first["sites"]["wiki"], "described": False}
    assert granted.judge(without, "prod", {"shop": said("shop")}, {}).record == without
    assert granted.judge(without, "prod", sites, {}).record == first


def test_two_inventories_of_one_name_touch_nothing_of_each_other() -> None:
    """Both lie in a directory called prod: each takes the other's sites for some that left it, and names them."""
    ours, theirs = {"shop": said("shop")}, {"wiki": said("wiki", [BOB], addresses=["10.0.0.7"])}
    known = granted.judge({}, "prod", ours, {}).record
    for inventory, other in ((theirs, ours), (ours, theirs)) * 2:
        judged = granted.judge(known, "prod", inventory, {})
        known = judged.record
        assert judged.refused == () and list(judged.others) == list(judged.left) == list(other)
        if known["sites"].keys() >= {"shop", "wiki"}:
            for name, site in {**ours, **theirs}.items():
                assert {key: known["sites"][name][key] for key in site} == site, "what it was granted"
        (warned,) = granted.warnings(judged, "prod")
        assert "set djdeploy_environment to a name of its own" in warned


def test_another_inventory_does_not_say_that_a_site_left() -> None:
    known = record(blog={**STAGING, "described": False}, wiki=STAGING)
    sites = granted.judge(known, "prod", {}, {}).record["sites"]
    assert (sites["blog"]["described"], sites["wiki"]["described"]) == (False, True)


# --- a host without a record ----------------------------------------------------------------------

ACCESS = """# Managed by Ansible

host all backup 10.0.0.9/32 scram-sha-256
local all postgres peer
local "shop","shop_reports" "shop" peer map=djdeploy
local "blog" "blog" peer
hostssl "shop","shop_reports" "shop" 10.0.0.2/32 scram-sha-256
hostssl "shop","shop_reports" "shop" fd00::2/128 scram-sha-256
"""


def test_adopted_is_what_was_written() -> None:
    keys = "\n".join(
        ["# Managed", *authorized_keys({"shop": [ANN, BOB], "blog": [BOB]}), "ssh-ed25519 aGFuZA== by-hand"]
    )
    found = granted.adopted({"shop": {"domains": ["shop.test"]}, "mute": {}}, keys, [ACCESS])
    shop = {"served": True, "domains": ["shop.test"], "databases": ["shop", "shop_reports"]}
    assert found["sites"]["shop"] == {
        **shop, "addresses": ["10.0.0.2", "fd00::2"], "deploy_keys": [ANN, BOB], "environment": "", "described": False,
    }  # fmt: skip
    assert found["sites"]["blog"]["deploy_keys"] == [BOB]
    assert found["sites"]["blog"]["databases"] == ["blog"]
    assert found["sites"]["mute"]["databases"] == []
    assert sorted(found["sites"]) == ["blog", "mute", "shop"]


def test_adopted_keys_give_the_same_lines() -> None:
    lines = authorized_keys({"shop": [ANN, "ssh-ed25519 bm9uZQ=="], "blog": [BOB, ANN]})
    found = granted.adopted({}, "\n".join(lines), [])["sites"]
    assert authorized_keys({name: own["deploy_keys"] for name, own in found.items()}) == lines


def test_a_bare_host_has_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines somebody else wrote for PostgreSQL of a host we were never on are not taken for ours."""
    (tmp_path / "postgresql/17/main").mkdir(parents=True)
    (tmp_path / "postgresql/17/main/pg_hba.conf").write_text('local "app" "app" peer\n')
    monkeypatch.setattr(granted, "CLUSTERS", tmp_path / "postgresql")
    monkeypatch.setattr(granted, "GRANTED", tmp_path / "djdeploy/granted.json")
    monkeypatch.setattr(granted, "AUTHORIZED_KEYS", tmp_path / "djdeploy/keys")
    monkeypatch.setattr(granted, "SITES_CONFIG", tmp_path / "djdeploy/sites")
    assert granted.look() == {"sites": {}, "settings": {}}
    (tmp_path / "djdeploy/sites").mkdir(parents=True)
    (tmp_path / "djdeploy/sites/shop.json").write_text('{"domains": ["shop.test"]}')
    assert sorted(granted.look()["sites"]) == ["app", "shop"]


# --- what the host tells of it --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "names", "told"),
    [
        pytest.param({}, ["shop"], {}, id="no record"),
        pytest.param(record(shop=PROD), ["shop"], {}, id="described"),
        pytest.param(
            record(shop={**PROD, "described": False}), ["shop"],
            {"shop": "the inventory of prod does not describe it any more"}, id="left",
        ),
        pytest.param(
            record(shop=PROD, old=NOBODY), ["shop", "older"],
            dict.fromkeys(("old", "older"), "no inventory has described it since this host knows of inventories"),
            id="nobody's",
        ),
    ],
)  # fmt: skip
def test_undescribed(known: dict[str, Any], names: list[str], told: dict[str, str]) -> None:
    assert records.undescribed(known, names) == told


def test_a_record_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    path = tmp_path / "granted.json"
    assert records.read(path) == {}
    path.write_text(json.dumps(record(shop=PROD)))
    assert records.read(path)["sites"]["shop"]["environment"] == "prod"
    for text in ("", "{}", "[]", '{"sites": []}'):
        path.write_text(text)
        with pytest.raises(EngineError, match="does not say any more whose sites"):
            records.read(path)
