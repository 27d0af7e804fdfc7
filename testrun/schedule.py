# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order parts start: what takes longest first, so that the lanes end together.

Only data: names, seconds they are likely to take, and what has to pass before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """Something to run.

    :param seconds: what it is likely to take.
    :param needs: names of what has to pass before. A name that is not to be run counts as passed.
    """

    name: str
    seconds: float
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """When a lane runs something, in seconds since the beginning."""

    name: str
    lane: int
    start: float
    end: float


def chains(items: Sequence[Item]) -> dict[str, float]:
    """For each name the seconds from its start to the end of the longest chain of those that wait for it.

    What others wait for comes before what is as long and keeps nobody waiting.
    """
    found: dict[str, float] = {}

    def chain(item: Item) -> float:
        if item.name not in found:
            after = [chain(other) for other in items if item.name in other.needs]
            found[item.name] = item.seconds + max(after, default=0.0)
        return found[item.name]

    for item in items:
        chain(item)
    return found


def in_order(items: Sequence[Item]) -> list[Item]:
    """The items by importance: those with the longest chain first."""
    length = chains(items)
    return sorted(items, key=lambda item: -length[item.name])


def next_of(waiting: Sequence[Item], unfinished: Collection[str]) -> Item | None:
    """What a free lane takes: the first of those in order of which nothing needed is unfinished.

    :param unfinished: names that wait or run.
    """
    return next((item for item in waiting if not set(item.needs) & set(unfinished)), None)


def kept_back(waiting: Sequence[Item], failed: Collection[str]) -> list[Item]:
    """Those that can no longer run, since something they need has failed or is itself kept back."""
    lost = set(failed)
    found: list[Item] = []
    while more := [item for item in waiting if item not in found and set(item.needs) & lost]:
        found += more
        lost |= {item.name for item in more}
    return found


def plan(items: Sequence[Item], lanes: int) -> list[Slot]:
    """What each lane runs when, if everything takes as long as it is said to."""
    waiting, running, slots = in_order(items), list[Slot](), list[Slot]()
    now = 0.0
    while waiting or running:
        free = [lane for lane in range(lanes) if lane not in {slot.lane for slot in running}]
        unfinished = [*(item.name for item in waiting), *(slot.name for slot in running)]
        item = next_of(waiting, unfinished) if free else None
        if item:
            waiting.remove(item)
            running.append(Slot(item.name, free[0], now, now + item.seconds))
            continue
        first = min(running, key=lambda slot: slot.end)
        now = first.end
        running.remove(first)
        slots.append(first)
    return slots


def length(slots: Sequence[Slot]) -> float:
    """When the last lane ends."""
    return max((slot.end for slot in slots), default=0.0)


def tail(slots: Sequence[Slot], lanes: int) -> float:
    """How long the last lane runs after the first has ended."""
    ends = [max((slot.end for slot in slots if slot.lane == lane), default=0.0) for lane in range(lanes)]
    return max(ends) - min(ends)


def items_of(names: Sequence[str], needs: Mapping[str, tuple[str, ...]], seconds: Mapping[str, float]) -> list[Item]:
    """The items of these names, with needs only among themselves."""
    return [Item(name, seconds[name], tuple(need for need in needs[name] if need in names)) for name in names]
