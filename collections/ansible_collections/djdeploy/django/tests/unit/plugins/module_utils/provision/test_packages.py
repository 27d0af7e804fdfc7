# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages: what is missing, and patience with another apt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.provision import packages


def test_parse_installed_counts_only_what_is_whole() -> None:
    text = "ii  git\nrc  nginx\nun  postgresql\niU  half\nhi  held\n"
    assert packages.parse_installed(text) == {"git", "half", "held"} - {"half"}


def test_missing_names_each_once() -> None:
    assert packages.missing(["nginx", "git", "nginx", "curl"], {"git"}) == ["curl", "nginx"]


NOT_STARTED = {"redis-server": ["redis-server.service"], "cups": ["cups.socket", "cups.service"]}


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (["redis-server", "nginx"], ["redis-server.service"]),
        (["cups"], ["cups.service", "cups.socket"]),
        (["nginx"], []),  # redis is there: somebody may use it
    ],
)
def test_only_what_we_install_is_masked(missing: list[str], expected: list[str]) -> None:
    assert packages.to_mask(missing, NOT_STARTED) == expected


@pytest.mark.parametrize("units", [[], ["redis-server.service"]])
def test_mask(units: list[str]) -> None:
    calls: list[list[str]] = []

    def run(argv: Sequence[str | Path], **_: object) -> Completed:
        calls.append([str(word) for word in argv])
        return Completed((), len(calls) - 1, "", "Failed to connect to bus")

    packages.mask(units, run)
    assert calls == ([["systemctl", "mask", "--", "redis-server.service"]] if units else [])
    if units:
        with pytest.raises(EngineError, match="systemctl mask redis"):
            packages.mask(units, run)


@pytest.mark.parametrize(
    ("updated", "expected"), [(None, True), (0.0, True), (6400.0, False), (6399.0, True), (10000.0, False)]
)
def test_stale(updated: float | None, expected: bool) -> None:
    assert packages.stale(updated, now=10000.0, valid=3600) is expected


def test_last_update_of_a_bare_host(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    assert packages.last_update(tmp_path) is None
    (tmp_path / "deb_dists_trixie_main_binary-amd64_Packages").touch()
    assert packages.last_update(tmp_path) is not None


class Apt:
    """apt-get whose lock is held for the first calls."""

    def __init__(self, locked: int) -> None:
        self.locked = locked
        self.calls: list[Sequence[str | Path]] = []

    def __call__(self, argv: Sequence[str | Path], **_: object) -> Completed:
        self.calls.append(argv)
        held = len(self.calls) <= self.locked
        return Completed(tuple(map(str, argv)), 100 if held else 0, "", "E: Could not get lock" if held else "")


@pytest.mark.parametrize(("locked", "timeout", "calls", "code"), [(0, 10, 1, 0), (2, 10, 3, 0), (99, 6, 3, 100)])
def test_patiently(locked: int, timeout: float, calls: int, code: int) -> None:
    apt, time = Apt(locked), [0.0]

    def sleep(seconds: float) -> None:
        time[0] += seconds

    completed = packages.patiently(["apt-get"], apt, timeout, clock=lambda: time[0], sleep=sleep)
    assert (len(apt.calls), completed.returncode) == (calls, code)


def test_install_never_takes_recommended_packages_nor_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "last_update", lambda: None)
    apt = Apt(0)
    packages.install(["nginx"], apt, valid=3600, lock_timeout=300)
    update, install = apt.calls
    assert list(update[:2]) == ["apt-get", "update"]
    assert {"--yes", "--no-install-recommends", "DPkg::Lock::Timeout=300"} <= set(install)
    assert list(install[-2:]) == ["--", "nginx"]


def test_install_says_which_packages_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "last_update", lambda: 1e12)

    def run(argv: Sequence[str | Path], **_: object) -> Completed:
        return Completed((), 100, "", "E: Unable to locate package ngnix")

    with pytest.raises(EngineError, match="could not install ngnix") as caught:
        packages.install(["ngnix"], run, valid=3600, lock_timeout=0)
    assert "djdeploy_sites" in caught.value.hint
