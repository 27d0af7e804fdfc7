# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and records of releases, and what may be done with which."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import paths, releases
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
REVISION = "abcdef0123456789abcdef0123456789abcdef01"


def record(
    name: str, state: str = "retired", *, replaced: str = "", served: bool | None = None, **facts: str
) -> Release:
    """A release called by one letter; its revision repeats the letter."""
    served = state in ("live", "retired", "void") if served is None else served
    return Release(
        name,
        "shop",
        facts.pop("revision", name * 40),
        state=state,
        replaced=replaced,
        live_since="2026-01-01" if served else "",
        **facts,  # type: ignore[arg-type]
    )


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        pytest.param([], "20260301T120000-abcdef0", id="first"),
        pytest.param(["20260301T115959-1111111"], "20260301T120000-abcdef0", id="clock_goes_on"),
        pytest.param(["20260301T120000-1111111"], "20260301T120000.01-abcdef0", id="same_second"),
        pytest.param(
            ["20260301T120000-1111111", "20260301T120000.01-1111111"],
            "20260301T120000.02-abcdef0",
            id="third_in_second",
        ),
        pytest.param(["20260301T120000.09-1111111"], "20260301T120000.10-abcdef0", id="counter_of_two_digits"),
        pytest.param(["20270101T000000-1111111"], "20270101T000000.01-abcdef0", id="clock_went_back"),
        pytest.param(["20270101T000000.99-1111111"], "20270101T000001-abcdef0", id="counter_is_full"),
        pytest.param(["20271231T235959.99-1111111"], "20280101T000000-abcdef0", id="counter_is_full_at_new_year"),
        pytest.param(
            ["20260301T120000-1111111", "20250101T000000.50-1111111"], "20260301T120000.01-abcdef0", id="newest_counts"
        ),
        pytest.param(["lost+found", "20990101T000000", "notes.txt"], "20260301T120000-abcdef0", id="foreign_names"),
    ],
)
def test_new_release_id(taken: list[str], expected: str) -> None:
    assert releases.new_release_id(NOON, REVISION, taken) == expected


def test_new_release_id_is_later_than_all_before_whatever_the_clock_does() -> None:
    taken: list[str] = []
    for step in range(300):  # a clock that hangs, jumps ahead, and goes back by hours
        now = NOON + timedelta(seconds=[0, 0, 1, 7200, -3600][step % 5])
        taken.append(releases.new_release_id(now, f"{step:07x}", taken))
    assert taken == sorted(set(taken))
    assert all(releases.RELEASE_ID.match(name) for name in taken)


# --- records --------------------------------------------------------------------------------------


def test_write_release_is_read_back_as_it_was(host: Path) -> None:
    release = record("20260301T120000-abcdef0", "prepared", revision=REVISION)
    release = dataclasses.replace(release, facts={"static_url": "/s/"}, pending=["shop.0002_price"], import_paths=["x"])
    path = paths.SitePaths("shop").release(release.id)
    path.root.mkdir()
    releases.write_release(release)
    assert releases.read_release(path.root) == release
    assert path.record.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.root.iterdir()] == ["release.json"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty_after_power_cut"),
        pytest.param('{"id": "x', id="cut_off"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="list"),
        pytest.param("{}", id="without_what_it_must_have"),
        pytest.param('{"id": "x", "site": "shop"}', id="without_revision"),
        pytest.param(b"\xff\xfe", id="not_utf8"),
    ],
)
def test_read_release_that_cannot_be_read(tmp_path: Path, text: str | bytes | None) -> None:
    if text is not None:
        (tmp_path / "release.json").write_bytes(text.encode() if isinstance(text, str) else text)
    assert releases.read_release(tmp_path) is None


def test_read_release_passes_over_keys_of_a_later_version(tmp_path: Path) -> None:
    data = {"id": "x", "site": "shop", "revision": REVISION, "mood": "fine"}
    (tmp_path / "release.json").write_text(json.dumps(data))
    assert releases.read_release(tmp_path) == Release("x", "shop", REVISION)


def test_all_releases_are_sorted_and_only_releases(host: Path, keep: Callable[..., Release]) -> None:
    names = ["20260301T120000.01-bbbbbbb", "20260301T120000-ccccccc", "20250301T120000-ddddddd"]
    for name in names:
        keep(name)
    (paths.SitePaths("shop").releases / "20260301T130000-eeeeeee").mkdir()
    (paths.SitePaths("shop").releases / "backup-of-mine").mkdir()
    assert [release.id for release in releases.all_releases("shop")] == [names[2], names[1], names[0]]


def test_all_releases_of_a_site_that_was_never_set_up(host: Path) -> None:
    assert releases.all_releases("blog") == []


# --- the pointer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("releases/20260301T120000-abcdef0", "20260301T120000-abcdef0"),
        ("releases/20260301T120000-abcdef0/", "20260301T120000-abcdef0"),
        ("/srv/shop/releases/20260301T120000-abcdef0", "20260301T120000-abcdef0"),
    ],
)
def test_current_id(host: Path, target: str, expected: str) -> None:
    paths.SitePaths("shop").current.symlink_to(target)
    assert releases.current_id("shop") == expected


def test_current_id_before_the_first_release(host: Path) -> None:
    assert releases.current_id("shop") is None
    assert releases.live_release("shop") is None


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_current_id_when_a_hand_made_it(host: Path, kind: str) -> None:
    current = paths.SitePaths("shop").current
    current.mkdir() if kind == "directory" else current.write_text("")
    with pytest.raises(EngineError, match=f"must be a symlink to a release, but it is a {kind}") as raised:
        releases.current_id("shop")
    assert f"mv {current} {current}.moved" in raised.value.hint


def test_live_release_when_its_record_is_gone(host: Path, keep: Callable[..., Release]) -> None:
    live = keep("20260301T120000-abcdef0", "live")
    assert releases.live_release("shop") == live
    paths.SitePaths("shop").release(live.id).record.unlink()
    assert releases.live_release("shop") is None


# --- records and pointer brought together ---------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "current", "expected"),
    [
        pytest.param([record("a"), record("b", "live")], "b", {}, id="agree"),
        pytest.param([record("a", "failed"), record("b", "void")], None, {}, id="nothing_live"),
        pytest.param(
            [record("a", "live"), record("b", "prepared", prepared_beside="a", created="t")],
            "b",
            {"a": ("retired", "2026-01-01", ""), "b": ("live", "t", "a")},
            id="crash_after_switch",
        ),
        pytest.param(
            [record("a", replaced="0"), record("b", "live", replaced="a")],
            "a",
            {"a": ("live", "2026-01-01", "0"), "b": ("retired", "2026-01-01", "a")},
            id="crash_after_rollback",
        ),
        pytest.param(
            [record("a", "failed", reason="it answers 500", created="t")], "a", {"a": ("live", "t", "")}, id="by_hand"
        ),
        pytest.param([record("a", "live")], None, {"a": ("retired", "2026-01-01", "")}, id="pointer_removed"),
    ],
)
def test_settled(records: list[Release], current: str | None, expected: dict[str, tuple[str, str, str]]) -> None:
    mended = releases.settled(records, current)
    assert {item.id: (item.state, item.live_since, item.replaced) for item in mended} == expected
    assert all(item.reason == "" for item in mended if item.state == "live")
    everything = {**{item.id: item for item in records}, **{item.id: item for item in mended}}
    assert releases.settled(list(everything.values()), current) == [], "settling twice mends nothing more"


# --- going back -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "current", "expected"),
    [
        pytest.param([record("a"), record("b", "live", replaced="a")], "b", "a", id="the_one_before"),
        pytest.param(
            [record("a"), record("b", "failed"), record("c", "live", replaced="a")], "c", "a", id="not_the_failed"
        ),
        pytest.param(
            [record("a"), record("b", "prepared"), record("c", "live", replaced="a")], "c", "a", id="not_the_prepared"
        ),
        pytest.param(
            [record("a"), record("b", replaced="a"), record("c", "live", replaced="a")],
            "c",
            "a",
            id="what_it_replaced_and_not_what_is_newer",
        ),
        pytest.param(
            [record("a"), record("b", "void", replaced="a"), record("c", "live", replaced="b")],
            "c",
            "a",
            id="through_a_void_one",
        ),
        pytest.param(
            [record("a"), record("b"), record("c", "void", replaced="a"), record("d", "live", replaced="c")],
            "d",
            "a",
            id="through_a_void_one_and_not_what_is_newer",
        ),
        pytest.param(
            [record("a"), record("b", "live", replaced="c"), record("c", "void", replaced="b")],
            "b",
            "a",
            id="after_a_rollback",
        ),
        pytest.param(
            [record("a"), record("b", replaced="a"), record("c", "live", replaced="gone")],
            "c",
            "b",
            id="replaced_one_was_pruned",
        ),
        pytest.param([record("a"), record("b", "live")], "b", "a", id="record_does_not_say"),
        pytest.param(
            [record("a", "retired", served=False), record("b"), record("c", "live", replaced="a")],
            "c",
            "b",
            id="never_what_did_not_serve",
        ),
    ],
)
def test_rollback_target(records: list[Release], current: str, expected: str) -> None:
    assert releases.rollback_target(records, current).id == expected
    assert releases.rollback_target(records, current, "").id == expected


@pytest.mark.parametrize(
    ("records", "current", "says"),
    [
        pytest.param([], None, "nothing is live", id="nothing_live"),
        pytest.param([record("a")], "b", "nothing is live", id="live_one_has_no_record"),
        pytest.param([record("a", "live")], "a", "no earlier release that served is kept", id="only_one"),
        pytest.param(
            [record("a", "live", replaced="b"), record("b", "void", replaced="c"), record("c", "void", replaced="a")],
            "a",
            "no earlier release that served is kept",
            id="after_two_rollbacks_to_the_first",
        ),
        pytest.param(
            [record("a", "failed"), record("b", "prepared"), record("c", "live", replaced="a")],
            "c",
            "no earlier release that served is kept",
            id="only_failed_ones",
        ),
    ],
)
def test_rollback_target_there_is_none(records: list[Release], current: str | None, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        releases.rollback_target(records, current)


KEPT = [
    record("20260101T000000-aaaaaaa", revision="a" * 40),
    record("20260102T000000-aaabbbb", "failed", revision="aaabbbb" + "0" * 33, reason="it answers 500"),
    record("20260103T000000-ccccccc", "void", revision="c" * 40),
    record("20260104T000000-ccccccc", "failed", revision="c" * 40),
    record("20260105T000000-ddddddd", revision="d" * 40),
    record("20260106T000000-ddddddd", revision="d" * 40),
    record("20260107T000000-eeeeeee", "live", revision="e" * 40, replaced="20260106T000000-ddddddd"),
    record("20260108T000000-fffffff", "prepared", revision="f" * 40),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param("20260105T000000-ddddddd", "20260105T000000-ddddddd", id="by_id"),
        pytest.param("d" * 40, "20260106T000000-ddddddd", id="by_commit_newest"),
        pytest.param("ddd", "20260106T000000-ddddddd", id="by_prefix"),
        pytest.param("ccccccc", "20260103T000000-ccccccc", id="void_when_named_and_not_the_failed_newer"),
        pytest.param("aaa", "20260101T000000-aaaaaaa", id="prefix_of_a_served_and_a_failed"),
    ],
)
def test_rollback_target_named(wanted: str, expected: str) -> None:
    assert releases.rollback_target(KEPT, KEPT[6].id, wanted).id == expected
    assert releases.rollback_target(KEPT, None, wanted).id == expected, "works when `current` was taken away"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        pytest.param("nosuch", "no kept release is called 'nosuch'", id="unknown"),
        pytest.param("20260107T000000-eeeeeee", "is live already", id="live"),
        pytest.param("aaab", r"20260102T000000-aaabbbb never served \(failed: it answers 500\)", id="failed"),
        pytest.param("f", r"20260108T000000-fffffff never served \(prepared: not proven\)", id="prepared"),
        pytest.param("d" * 39 + "e", "no kept release is called", id="other_commit"),
        pytest.param("../../etc", "no kept release is called", id="path"),
    ],
)
def test_rollback_target_named_but_impossible(wanted: str, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        releases.rollback_target(KEPT, KEPT[6].id, wanted)


def test_rollback_target_named_by_too_little() -> None:
    kept = [record("x", revision="ab" + "1" * 38), record("y", revision="ab" + "2" * 38), record("z", "live")]
    with pytest.raises(EngineError, match="'ab' could be any of x, y"):
        releases.rollback_target(kept, "z", "ab")
    assert releases.rollback_target(kept, "z", "ab1").id == "x"


def test_rollback_target_unknown_tells_what_is_kept() -> None:
    with pytest.raises(EngineError) as raised:
        releases.rollback_target(KEPT, KEPT[6].id, "nosuch")
    assert "20260101T000000-aaaaaaa" in raised.value.hint
    assert "aaabbbb" not in raised.value.hint, "a release that never served is none to name"


# --- pruning --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "current", "keep_releases", "expected"),
    [
        pytest.param({"a": "retired", "b": "live"}, "b", 5, "", id="few"),
        pytest.param({"a": "retired", "b": "retired", "c": "live"}, "c", 2, "a", id="oldest_goes"),
        pytest.param({"a": "retired", "b": "failed", "c": "live"}, "c", 2, "", id="failed_takes_no_place"),
        pytest.param({"a": "retired", "b": "void", "c": "void", "d": "live"}, "d", 2, "b", id="target_stays"),
        pytest.param({"a": "live", "b": "failed", "c": "failed", "d": "failed"}, "a", 2, "b", id="live_one_stays"),
        pytest.param({"a": "retired", "b": "live", "c": "void", "d": "void"}, "b", 2, "", id="after_two_rollbacks"),
        pytest.param({"a": "retired", "b": "prepared", "c": "live"}, "c", 5, "b", id="prepared_goes_at_once"),
        pytest.param({"a": "retired", "b": "prepared"}, "b", 5, "", id="prepared_but_pointed_at"),
        pytest.param({"a": "failed", "b": "failed", "c": "failed"}, None, 2, "a", id="nothing_ever_live"),
        pytest.param({}, None, 5, "", id="nothing"),
    ],
)
def test_releases_to_prune(states: dict[str, str], current: str | None, keep_releases: int, expected: str) -> None:
    records = [record(name, state) for name, state in states.items()]
    assert "".join(item.id for item in releases.releases_to_prune(records, current, keep_releases)) == expected


@pytest.mark.parametrize("keep_releases", range(2, 6))
@pytest.mark.parametrize("current", "abcdef")
def test_releases_to_prune_never_what_is_live_or_gone_back_to(current: str, keep_releases: int) -> None:
    states = dict(zip("abcdef", ["retired", "void", "retired", "failed", "retired", "retired"], strict=True))
    states[current] = "live"
    records = [record(name, state, replaced="a") for name, state in states.items()]
    gone = {item.id for item in releases.releases_to_prune(records, current, keep_releases)}
    assert current not in gone
    if current != "a":
        assert releases.rollback_target(records, current).id not in gone
    assert len(records) - len(gone) >= keep_releases


# --- a full disk, a hand at the pointer -----------------------------------------------------------


def test_note_release_on_a_full_disk_is_no_failure(
    keep: Callable[..., Release], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release = keep("20260301T120000-aaaaaaa", "prepared")

    def refuse(number: int) -> Callable[..., None]:
        def write(_release: Release) -> None:
            raise OSError(number, "refused")

        return write

    monkeypatch.setattr(releases, "write_release", refuse(28))
    releases.note_release(dataclasses.replace(release, state="live"))
    assert "20260301T120000-aaaaaaa could not be written: refused" in capsys.readouterr().err
    monkeypatch.setattr(releases, "write_release", refuse(5))
    with pytest.raises(OSError, match="refused"):
        releases.note_release(release)


@pytest.mark.parametrize(
    ("states", "command"),
    [
        pytest.param([], "djdeploy deploy shop", id="nothing_ever_served"),
        pytest.param(["failed", "prepared"], "djdeploy deploy shop", id="none_that_served"),
        pytest.param(["retired", "retired"], "djdeploy rollback shop --to 20260302T120000-aaaaaaa", id="newest"),
        pytest.param(["live", "void"], "djdeploy rollback shop --to 20260301T120000-aaaaaaa", id="what_was_live"),
        pytest.param(["retired", "void"], "djdeploy rollback shop --to 20260301T120000-aaaaaaa", id="not_void"),
        pytest.param(["void"], "djdeploy rollback shop --to 20260301T120000-aaaaaaa", id="only_void"),
    ],
)
def test_serve_again(keep: Callable[..., Release], states: list[str], command: str) -> None:
    for day, state in enumerate(states, start=1):
        keep(f"2026030{day}T120000-aaaaaaa", state)
    assert releases.serve_again("shop") == command
