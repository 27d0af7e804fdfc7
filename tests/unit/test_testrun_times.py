# SPDX-License-Identifier: GPL-3.0-or-later
"""Times of the parts: what is kept, what decides the order, what is committed and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testrun import times
from testrun.parts import EVERY, FULL, Part
from testrun.times import Time, Times

UNIT = Part("unit", ())
LARGE = Part("molecule-large", ())
IMAGES = Part("images", (), setup=True)


def time(seconds: int, **different: Any) -> Time:
    result = Time(seconds=seconds, passed=True, date="2026-11-29", cores=2)
    result.update(**different)
    return result


EXPECTED: list[tuple[list[Times], str, float]] = [
    # sources, ring, seconds
    ([{"unit": {EVERY: time(100)}}, {"unit": {EVERY: time(200)}}], EVERY, 100),
    ([{}, {"unit": {EVERY: time(200)}}], EVERY, 200),
    ([{"unit": {EVERY: time(5, passed=False)}}, {"unit": {EVERY: time(200)}}], EVERY, 200),
    ([{"unit": {EVERY: time(100)}}], FULL, UNIT.budget.full * 60),
    ([], EVERY, UNIT.budget.minutes(EVERY) * 60),
]


@pytest.mark.parametrize(("sources", "ring", "seconds"), EXPECTED)
def test_expected_seconds(sources: list[Times], ring: str, seconds: float) -> None:
    assert times.expected_seconds(UNIT, ring, sources) == seconds


RECORDED: list[tuple[Part, Times, Time, int]] = [
    # part, times before, its time now, seconds kept
    (UNIT, {}, time(10), 10),
    (UNIT, {"unit": {EVERY: time(50)}}, time(10), 10),
    (IMAGES, {"images": {EVERY: time(50)}}, time(1), 50),
    (IMAGES, {"images": {EVERY: time(50)}}, time(60), 60),
    (IMAGES, {"images": {EVERY: time(50, passed=False)}}, time(1), 1),
]


@pytest.mark.parametrize(("part", "before", "now", "kept"), RECORDED)
def test_recorded(part: Part, before: Times, now: Time, kept: int) -> None:
    others: Times = {"lint": {EVERY: time(7)}}
    after = times.recorded(others | before, part, EVERY, now)
    assert after[part.name][EVERY]["seconds"] == kept
    assert after["lint"] == {EVERY: time(7)}


def test_a_ring_is_recorded_by_itself_but_what_sets_up_is_the_same_in_both() -> None:
    known: Times = {"unit": {FULL: time(8)}, "images": {FULL: time(8)}}
    assert times.recorded(known, UNIT, EVERY, time(3))["unit"] == {FULL: time(8), EVERY: time(3)}
    assert times.recorded(known, IMAGES, EVERY, time(90))["images"] == {FULL: time(90), EVERY: time(90)}
    assert times.recorded({}, IMAGES, EVERY, time(90, passed=False)) == {}


def test_the_committed_copy_has_the_last_time_of_each_part_there_is() -> None:
    committed: Times = {"unit": {EVERY: time(1), FULL: time(2)}, "gone": {EVERY: time(3)}}
    local: Times = {"unit": {FULL: time(4)}, "molecule-large": {FULL: time(5, passed=False)}}
    assert times.renewed(committed, local, [UNIT, LARGE]) == {"unit": {EVERY: time(1), FULL: time(4)}}


def test_the_committed_copy_has_the_longest_time_of_what_sets_up() -> None:
    committed: Times = {"images": {EVERY: time(148)}}
    here = time(148)
    assert times.renewed(committed, {"images": {FULL: time(1)}}, [IMAGES]) == {"images": {EVERY: here, FULL: here}}


def test_the_table_leaves_open_what_was_not_measured() -> None:
    known: Times = {"unit": {EVERY: time(301), FULL: time(350)}}
    _, *rows = times.rows(known, {"unit": UNIT, "molecule-large": LARGE})
    every, full = (f"{UNIT.budget.minutes(ring):g} min" for ring in (EVERY, FULL))
    assert rows[0] == ("`unit`", "301 s", every, "350 s", full, "2026-11-29, 2 cores")
    assert rows[1] == ("`molecule-large`", "", "not run", "", f"{LARGE.budget.full:g} min", "")


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "results/times.json"
    assert times.read(path) == {}
    times.write_whole(path, {"unit": {EVERY: time(1)}})
    times.write_whole(path, {"unit": {EVERY: time(2)}})
    assert times.read(path) == {"unit": {EVERY: time(2)}}
    assert list(path.parent.iterdir()) == [path]


def test_the_committed_copy_is_of_passed_parts() -> None:
    committed = json.loads(times.COMMITTED.read_text())
    assert [name for name, rings in committed.items() for one in rings.values() if not one["passed"]] == []
