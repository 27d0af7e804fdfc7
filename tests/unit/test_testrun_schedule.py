# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts start in an order in which the lanes end together, and none before what it needs."""

from __future__ import annotations

import itertools
import random

import pytest

from testrun import schedule
from testrun.schedule import Item

LANES = 2


def optimum(items: list[Item]) -> float:
    """The shortest time two lanes can take: all ways to deal the items to them."""
    total = sum(item.seconds for item in items)
    ways = itertools.product((0.0, 1.0), repeat=len(items))
    shares = (sum(item.seconds * one for item, one in zip(items, way, strict=True)) for way in ways)
    return min(max(share, total - share) for share in shares)


def random_items(seed: int, count: int = 10) -> list[Item]:
    chance = random.Random(seed)
    return [
        Item(f"part-{number}", chance.choice((chance.uniform(1, 60), chance.uniform(60, 900))))
        for number in range(count)
    ]


def behind_a_gate(seed: int) -> list[Item]:
    """What script/test runs: setup, then parts of which some wait for the images."""
    chance = random.Random(seed)
    gates = [Item("venv", 60), Item("hosts", 90), Item("images", chance.uniform(60, 300), ("venv", "hosts"))]
    needs = [("venv",), ("venv", "hosts"), ("venv", "hosts", "images")]
    parts = [Item(f"part-{number}", chance.uniform(60, 900), chance.choice(needs)) for number in range(11)]
    return gates + parts


@pytest.mark.parametrize("seed", range(40))
def test_ends_close_to_the_optimum(seed: int) -> None:
    items = random_items(seed)
    bound = 4 / 3 - 1 / (3 * LANES)
    assert schedule.length(schedule.plan(items, LANES)) <= bound * optimum(items) + 1e-6


@pytest.mark.parametrize("items", [*map(random_items, range(10)), *map(behind_a_gate, range(10))])
def test_the_tail_is_no_longer_than_the_longest_part(items: list[Item]) -> None:
    slots = schedule.plan(items, LANES)
    assert schedule.tail(slots, LANES) <= max(item.seconds for item in items)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_starts_before_what_it_needs(seed: int) -> None:
    items = behind_a_gate(seed)
    slots = {slot.name: slot for slot in schedule.plan(items, LANES)}
    assert set(slots) == {item.name for item in items}
    early = [(item.name, need) for item in items for need in item.needs if slots[need].end > slots[item.name].start]
    assert early == []


@pytest.mark.parametrize("seed", range(40))
def test_a_gate_costs_little(seed: int) -> None:
    """No lane rests while there is something to do, so no run is longer than half of what a perfect one is, more."""
    items = behind_a_gate(seed)
    bound = max(sum(item.seconds for item in items) / LANES, max(schedule.chains(items).values()))
    assert schedule.length(schedule.plan(items, LANES)) <= (2 - 1 / LANES) * bound


@pytest.mark.parametrize("seed", range(20))
def test_lanes_run_one_thing_at_a_time(seed: int) -> None:
    slots = schedule.plan(behind_a_gate(seed), LANES)
    for lane in range(LANES):
        own = sorted((slot.start, slot.end) for slot in slots if slot.lane == lane)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(own))


def test_what_keeps_the_longest_waiting_comes_first() -> None:
    items = [Item("long", 50), Item("images", 10, ("hosts",)), Item("hosts", 10), Item("longest", 60, ("images",))]
    assert [item.name for item in schedule.in_order(items)] == ["hosts", "images", "longest", "long"]


READY = [
    # waiting, unfinished besides, what a free lane takes
    ([Item("a", 1)], [], "a"),
    ([Item("a", 1, ("images",)), Item("b", 1)], ["images"], "b"),
    ([Item("a", 1, ("images",))], ["images"], None),
    ([Item("a", 1, ("images",))], [], "a"),
    ([], [], None),
]


@pytest.mark.parametrize(("waiting", "running", "expected"), READY)
def test_next(waiting: list[Item], running: list[str], expected: str | None) -> None:
    item = schedule.next_of(waiting, [*(each.name for each in waiting), *running])
    assert (item.name if item else None) == expected


def test_what_needs_a_failed_part_is_kept_back_with_all_that_waits_for_it() -> None:
    waiting = [Item("single", 1, ("images",)), Item("images", 1, ("hosts",)), Item("unit", 1, ("venv",))]
    assert {item.name for item in schedule.kept_back(waiting, {"hosts"})} == {"images", "single"}
    assert schedule.kept_back(waiting, set()) == []
