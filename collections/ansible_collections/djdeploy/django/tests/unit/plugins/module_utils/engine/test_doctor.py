# SPDX-License-Identifier: GPL-3.0-or-later
"""What doctor calls wrong, and what it says to run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    doctor,
    health,
    preflight,
    records,
    requirements,
    units,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

ID = "20260302T120000-bbbbbbb"
GIB = 1 << 30
Keep = Callable[..., Release]


@pytest.mark.parametrize(
    ("free_bytes", "free_inodes", "ok", "said"),
    [
        (50 * GIB, 3_000_000, True, "50.0 GiB and 3000000 inodes free on /srv"),
        (GIB, 20_000, True, "1.0 GiB and 20000 inodes free on /srv"),
        (GIB - 1, 3_000_000, False, "1.0 GiB and 3000000 inodes free on /srv"),
        (GIB // 2, 3_000_000, False, "0.5 GiB and 3000000 inodes free on /srv"),
        (50 * GIB, 19_999, False, "50.0 GiB and 19999 inodes free on /srv"),
        (0, 0, False, "0.0 GiB and 0 inodes free on /srv"),
    ],
    ids=["plenty", "just enough", "a byte short", "half", "inodes", "full"],
)
def test_room(free_bytes: int, free_inodes: int, ok: bool, said: str) -> None:
    finding = doctor.room(free_bytes, free_inodes)
    assert (finding.about, finding.ok, finding.said) == ("disk", ok, said)
    assert "keep_releases" in finding.cure


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (doctor.Finding("uv", True, "it is there", "run site.yml"), "ok   uv            it is there"),
        (doctor.Finding("uv", False, "missing", "run site.yml"), "BAD  uv            missing\n     -> run site.yml"),
        (doctor.Finding("uv", False, "missing"), "BAD  uv            missing"),
    ],
    ids=["ok needs no cure", "bad with its cure", "bad without one"],
)
def test_finding_for_a_person(finding: doctor.Finding, text: str) -> None:
    assert str(finding) == text


def test_finding_for_a_program() -> None:
    finding = doctor.Finding("uv", False, "missing", "run site.yml")
    assert finding.as_dict() == {"about": "uv", "ok": False, "said": "missing", "cure": "run site.yml"}


@pytest.mark.parametrize(
    ("files", "available", "ok"),
    [(1_000_000, 500_000, True), (1_000_000, 0, False), (0, 0, True)],
    ids=["free", "all used", "btrfs counts none"],
)
def test_host_findings_inodes(monkeypatch: pytest.MonkeyPatch, files: int, available: int, ok: bool) -> None:
    answer = os.statvfs_result((4096, 4096, 1 << 30, 1 << 29, 1 << 29, files, available, available, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: answer)
    assert next(doctor.host_findings()).ok is ok


# --- the host -------------------------------------------------------------------------------------


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A host on which everything is there and runs."""
    places = {name: tmp_path / name.lower() for name in ("ENGINE_LINK", "DEPLOYER_SOCKET", "PUSH_SOCKET", "UV")}
    for name, path in places.items():
        path.touch()
        monkeypatch.setattr(doctor, name, path)
    monkeypatch.setattr(units, "state", lambda unit: units.UnitState("active", "running", 0, ""))
    return places


def test_host_findings_sound(sound: dict[str, Path]) -> None:
    found = {finding.about: finding.ok for finding in doctor.host_findings()}
    found.pop("disk")  # is as it is where the tests run
    assert found == {"engine": True, "deployer": True, "uv": True, "nginx": True}


@pytest.mark.parametrize(
    ("missing", "about", "cure"),
    [
        ("ENGINE_LINK", "engine", "run site.yml"),
        ("DEPLOYER_SOCKET", "deployer", "systemctl start djdeploy-deployer.socket"),
        ("PUSH_SOCKET", "deployer", "systemctl start djdeploy-deployer.push.socket"),
        ("UV", "uv", "run site.yml"),
    ],
)
def test_host_findings_missing(sound: dict[str, Path], missing: str, about: str, cure: str) -> None:
    sound[missing].unlink()
    bad = [finding for finding in doctor.host_findings() if not finding.ok and finding.about != "disk"]
    assert [(finding.about, finding.cure) for finding in bad] == [(about, cure)]


@pytest.mark.parametrize(
    ("config", "closed"),
    [
        ("bind 127.0.0.1 -::1\nport 6379\n# requirepass foobared\n", False),
        ("port 6379\nrequirepass long\n", True),
        ("  RequirePass long\n", True),
        ("aclfile /etc/redis/users.acl\n", True),
        ("port 0\nunixsocket /run/redis/redis.sock\n", True),
        ("port 0\nport 6379\n", False),
    ],
)
@pytest.mark.parametrize("active", ["active", "inactive"])
def test_redis_of_debian_is_told_when_it_is_open(
    sound: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, closed: bool, active: str
) -> None:
    monkeypatch.setattr(doctor, "REDIS_SERVER_CONFIG", tmp_path / "redis.conf")
    monkeypatch.setattr(units, "state", lambda unit: units.UnitState(active, "", 0, ""))
    assert list(doctor.redis_findings()) == []
    (tmp_path / "redis.conf").write_text(config)
    found = [finding for finding in doctor.redis_findings() if not finding.ok]
    assert [finding.about for finding in found] == ([] if closed or active == "inactive" else ["redis"])
    assert all("systemctl mask redis-server.service" in finding.cure for finding in found)


def test_sites_nobody_describes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = {"shop": {"environment": "prod", "described": True}, "wiki": {"environment": "prod", "described": False}}
    monkeypatch.setattr(records, "read", lambda: {"sites": sites, "settings": {}})
    (finding,) = doctor.undescribed_findings(["shop", "wiki"])
    assert (finding.about, finding.ok) == ("wiki", False)
    assert "inventory of prod" in finding.said and "djdeploy_sites" in finding.cure


def test_a_damaged_record_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged() -> None:
        raise EngineError("granted.json does not say any more", "put it back")

    monkeypatch.setattr(records, "read", damaged)
    (finding,) = doctor.undescribed_findings(["shop"])
    assert (finding.about, finding.ok, finding.cure) == ("record", False, "put it back")


@pytest.mark.parametrize(("stopped", "about"), [("nginx.service", "nginx"), ("djdeploy-deployer.socket", "deployer")])
def test_host_findings_stopped(
    sound: dict[str, Path], monkeypatch: pytest.MonkeyPatch, stopped: str, about: str
) -> None:
    monkeypatch.setattr(
        units, "state", lambda unit: units.UnitState("inactive" if unit == stopped else "active", "", 0, "")
    )
    bad = [finding for finding in doctor.host_findings() if not finding.ok and finding.about != "disk"]
    assert [finding.about for finding in bad] == [about]
    assert "systemctl" in bad[0].cure


# --- a site ---------------------------------------------------------------------------------------


@pytest.fixture
def serving(shop: Site, keep: Keep, sound: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site that serves."""
    keep(ID, "live", environment="0123456789abcdef", fingerprint=shop.fingerprint())
    venv = shop.paths.environments / "0123456789abcdef"
    venv.mkdir()
    (venv / requirements.MARKER).touch()
    monkeypatch.setattr(health, "prove", lambda release, host, settings: "200 on /")
    monkeypatch.setattr(health, "through_nginx", lambda host, settings: "200 from nginx")
    yield shop


def test_site_findings_sound(serving: Site) -> None:
    assert [(finding.ok, finding.said) for finding in doctor.site_findings(serving)] == [
        (True, f"djdeploy-shop@{ID}.service is active (running)"),
        (True, "virtualenv 0123456 is complete"),
        (True, "own socket: 200 on /"),
        (True, "through nginx: 200 from nginx"),
        (True, "there is room for another release"),
        (True, "configuration is live"),
    ]


def test_site_findings_waits(shop: Site) -> None:
    (finding,) = doctor.site_findings(shop)
    assert (finding.ok, finding.said) == (True, "waits for its first push")


def test_site_findings_current_is_a_directory(shop: Site) -> None:
    shop.paths.current.mkdir()
    (finding,) = doctor.site_findings(shop)
    assert not finding.ok and "must be a symlink" in finding.said
    assert finding.cure == f"mv {shop.paths.current} {shop.paths.current}.moved && djdeploy deploy shop"


@pytest.mark.parametrize("there", [False, True], ids=["nothing", "no record"])
def test_site_findings_current_points_at_no_release(shop: Site, there: bool) -> None:
    """Nothing serves then, and it is not that nobody pushed."""
    shop.paths.current.symlink_to(f"releases/{ID}")
    if there:
        shop.paths.release(ID).root.mkdir()
    (finding,) = doctor.site_findings(shop)
    assert (finding.ok, finding.said) == (False, f"{shop.paths.current} points at {ID}, which has no record")
    assert finding.cure == ("" if there else f"rm {shop.paths.current} && ") + "djdeploy deploy shop"


def refuse(*arguments: Any) -> str:
    raise EngineError("it answers 500 on /", "see: journalctl")


def broken_unit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(units, "state", lambda unit: units.UnitState("failed", "failed", 0, "exit-code"))


def damaged(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.paths.environments / "0123456789abcdef" / requirements.MARKER).unlink()


def silent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "prove", refuse)


def unreachable(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "through_nginx", refuse)


def edited(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.config["env"] = {"A": "b"}


def full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "shortage", lambda needs, rooms: "the disk: needed 70 MiB, free 3.0 MiB")


@pytest.mark.parametrize(
    ("harm", "said", "cure"),
    [
        (broken_unit, f"djdeploy-shop@{ID}.service is failed (failed)", f"journalctl -u djdeploy-shop@{ID}.service"),
        (damaged, "virtualenv 0123456 is damaged", "djdeploy deploy shop --force"),
        (silent, "own socket: it answers 500 on /", "see: journalctl"),
        (unreachable, "through nginx: it answers 500 on /", "see: journalctl"),
        (full, "not enough room on the disk: needed 70 MiB, free 3.0 MiB", "make room (df -h"),
        (edited, "configuration changed since the release was made", "djdeploy deploy shop"),
    ],
    ids=["unit", "virtualenv", "socket", "nginx", "room", "configuration"],
)
def test_site_findings_one_thing_wrong(
    serving: Site, monkeypatch: pytest.MonkeyPatch, harm: Callable[..., None], said: str, cure: str
) -> None:
    harm(serving, monkeypatch)
    found = list(doctor.site_findings(serving))
    assert len(found) == 6, "one thing wrong does not end the looking"
    (bad,) = [finding for finding in found if not finding.ok]
    assert bad.said == said
    assert bad.cure.startswith(cure)


def test_each_of_several_databases_is_asked(shop: Site, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"engine": "django.db.backends.postgresql", "host": "", "port": ""}
    databases = {"default": {**there, "name": "shop"}, "reports": {**there, "name": "shop_reports"}}

    def connection(_target: object, alias: str) -> dict[str, Any]:
        if alias == "reports":
            raise EngineError("it does not answer", "start it")
        return {"size": 12 << 20}

    monkeypatch.setattr(doctor.snapshots, "connection", connection)
    monkeypatch.setattr(doctor, "site_target", lambda *_words: None)
    several = keep(ID, facts={"databases": databases, "further": {"reports": {}}})
    assert [(each.ok, each.said, each.cure) for each in doctor.database_findings(shop, several)] == [
        (True, "database default: PostgreSQL (shop), 12 MiB", ""),
        (False, "database reports: PostgreSQL (shop_reports): it does not answer", "start it"),
    ]
    single = keep("20260303T120000-ccccccc", facts={"databases": databases})
    assert list(doctor.database_findings(shop, single)) == [], "it shows by serving"
