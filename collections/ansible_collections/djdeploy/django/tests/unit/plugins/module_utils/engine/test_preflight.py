# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether there is room for a release: sums over numbers, and a look at real directories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import preflight, tree, units
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.preflight import MIB, Need, Room
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

A = "20260301T120000-aaaaaaa"
SITES, STATE = Path("/srv/shop/releases"), Path("/var/lib/djdeploy/shop")
NEEDS = [Need(SITES, 100 * MIB, 3000), Need(STATE, MIB, 16)]
PLENTY = Room(500 * MIB, 90_000, 1)


# --- disk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sites", "state", "said"),
    [
        pytest.param(PLENTY, PLENTY, "", id="plenty"),
        pytest.param(Room(101 * MIB, 3016, 1), Room(101 * MIB, 3016, 1), "", id="just_enough"),
        pytest.param(
            replace(PLENTY, bytes=101 * MIB - 1),
            replace(PLENTY, bytes=101 * MIB - 1),
            f"{SITES} and {STATE}: needed 101 MiB and 3016 inodes, free 101 MiB and 90000 inodes",
            id="one_file_system_for_both",
        ),
        pytest.param(
            replace(PLENTY, bytes=5 * MIB),
            replace(PLENTY, device=2),
            f"{SITES}: needed 100 MiB and 3000 inodes, free 5.0 MiB and 90000 inodes",
            id="bytes",
        ),
        pytest.param(
            replace(PLENTY, inodes=7),
            replace(PLENTY, device=2),
            f"{SITES}: needed 100 MiB and 3000 inodes, free 500 MiB and 7 inodes",
            id="inodes",
        ),
        pytest.param(
            PLENTY,
            Room(0, 50, 2),
            f"{STATE}: needed 1.0 MiB and 16 inodes, free 0.0 MiB and 50 inodes",
            id="only_the_other_one",
        ),
        pytest.param(replace(PLENTY, inodes=None), replace(PLENTY, inodes=None), "", id="no_inodes_counted"),
        pytest.param(
            Room(MIB, None, 1),
            Room(MIB, None, 1),
            f"{SITES} and {STATE}: needed 101 MiB, free 1.0 MiB",
            id="no_inodes_told",
        ),
    ],
)
def test_shortage(sites: Room, state: Room, said: str) -> None:
    assert preflight.shortage(NEEDS, {SITES: sites, STATE: state}) == said


def test_taken_counts_blocks_and_never_follows_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "big").write_bytes(b"x" * MIB)
    (tmp_path / "release" / "code").mkdir(parents=True)
    (tmp_path / "release" / "code" / "views.py").write_bytes(b"x" * 100_000)
    (tmp_path / "release" / ".venv").symlink_to("../elsewhere")
    (tmp_path / "release" / ".sock").symlink_to("/run/nowhere")
    size, inodes = preflight.taken([tmp_path / "release"])
    assert inodes == 5, "two directories, a file and two links"
    assert 100_000 <= size < MIB


def rooms(monkeypatch: pytest.MonkeyPatch, free: dict[str, Room]) -> None:
    monkeypatch.setattr(preflight, "room", lambda path: free.get(path.name, PLENTY))
    monkeypatch.setattr(units, "memory", lambda _paths, unit: None)


def test_before_release_measures_the_live_one(
    shop: Site, keep: Callable[..., Release], progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(A, "live")
    (shop.paths.release(A).root / "code").write_bytes(b"x" * 3 * MIB)
    rooms(monkeypatch, {"releases": Room(66 * MIB, 90_000, 2)})
    with pytest.raises(EngineError, match=r"not enough room on .*/shop/releases: needed 67 MiB .* free 66 MiB") as told:
        preflight.before_release(shop, progress)
    assert f"df -h {shop.paths.root}" in told.value.hint and "keep_releases of shop (5 now)" in told.value.hint
    rooms(monkeypatch, {"releases": Room(68 * MIB, 90_000, 2)})
    preflight.before_release(shop, progress)
    assert shop.paths.reserve.stat().st_size == tree.RESERVE


def test_before_the_first_release_only_the_reserve_counts(
    shop: Site, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms(monkeypatch, {"releases": Room(65 * MIB, 1100, 2)})
    preflight.before_release(shop, progress)
    preflight.before_environment(shop)
    rooms(monkeypatch, {"releases": Room(63 * MIB, 1100, 2)})
    with pytest.raises(EngineError, match="not enough room"):
        preflight.before_release(shop, progress)


def test_before_environment_measures_the_live_one(
    shop: Site, keep: Callable[..., Release], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(A, "live")
    (shop.paths.environments / "one").mkdir()
    (shop.paths.environments / "one" / "package.py").write_bytes(b"x" * 9 * MIB)
    shop.paths.release(A).environment.symlink_to("../../venvs/one")
    rooms(monkeypatch, {"venvs": Room(70 * MIB, 90_000, 1)})
    with pytest.raises(EngineError, match=r"not enough room on .*/shop/venvs: needed 73 MiB"):
        preflight.before_environment(shop)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        pytest.param(OSError(28, "No space left on device", "/srv/shop/releases/x/code"), True, id="written_by_us"),
        pytest.param(OSError(122, "Disk quota exceeded"), True, id="quota"),
        pytest.param(EngineError("tar failed (status 2)", detail="tar: a: No space left on device"), True, id="tar"),
        pytest.param(EngineError("uv failed", detail="failed to write (os error 28)"), True, id="uv"),
        pytest.param(EngineError("tar failed (status 2)", detail="tar: a: Permission denied"), False, id="another"),
        pytest.param(KeyError("path"), False, id="defect"),
    ],
)
def test_full_disk(shop: Site, error: Exception, full: bool) -> None:
    told = preflight.full_disk(shop, error)
    assert (told is not None) == full
    if told:
        assert told.message.startswith(f"the disk is full: {shop.paths.root}: free ")
        assert str(error) in told.detail


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("available", "used", "warns"),
    [
        pytest.param(500 * MIB, 120 * MIB, False, id="plenty"),
        pytest.param(120 * MIB, 120 * MIB, False, id="just_enough"),
        pytest.param(119 * MIB, 120 * MIB, True, id="tight"),
        pytest.param(0, None, False, id="nobody_counts"),
    ],
)
def test_tight_memory(available: int, used: int | None, warns: bool) -> None:
    said = preflight.tight_memory(available, used)
    assert ("the live release uses 120 MiB, 119 MiB are available" in said) == warns and bool(said) == warns


def test_before_release_warns_of_memory_and_goes_on(
    shop: Site, keep: Callable[..., Release], progress: Progress, said: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(A, "live")
    rooms(monkeypatch, {})
    monkeypatch.setattr(units, "memory", lambda _paths, unit: 1 << 60 if A in unit else None)
    preflight.before_release(shop, progress)
    assert [event["text"][:24] for event in said] == ["warning: memory is tight"]


def test_available_memory_counts_swap() -> None:
    text = "MemTotal:  8000 kB\nMemFree:  10 kB\nMemAvailable:  3000 kB\nSwapTotal: 2000 kB\nSwapFree:  1000 kB\n"
    assert preflight.available_memory(text) == 4000 << 10


@pytest.mark.parametrize(("text", "size"), [("127496192\n", 127496192), ("max\n", None), (None, None)])
def test_memory_of_a_unit(tmp_path: Path, text: str | None, size: int | None) -> None:
    place = tmp_path / "djdeploy.slice" / "djdeploy-shop\\x2deu.slice" / "x.service" / "memory.current"
    place.parent.mkdir(parents=True)
    if text is not None:
        place.write_text(text)
    assert units.memory(SitePaths("shop-eu"), "x.service", tmp_path) == size
