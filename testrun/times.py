# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each part took the last time: in this checkout, and in the copy that is committed with it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypedDict

from testrun.parts import EVERY, FULL, RESULTS, ROOT, Part

LOCAL = RESULTS / "times.json"
COMMITTED = ROOT / "tests/times.json"
RINGS = (EVERY, FULL)


class Time(TypedDict):
    """How long a part took, when, on how many cores, and whether it passed."""

    seconds: int
    passed: bool
    date: str
    cores: int


#: Name of a part -> ring -> its last time.
Times = dict[str, dict[str, Time]]


def read(path: Path) -> Times:
    """The times of a file; none if there is no such file."""
    try:
        times: Times = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return times


def write_whole(path: Path, value: object) -> None:
    """Write JSON so that whoever reads meanwhile finds the old file or the new one."""
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    scratch.replace(path)


def recorded(times: Times, part: Part, ring: str, time: Time) -> Times:
    """The times with one more; of what sets up the longest is kept, for both rings."""
    of_part = times.get(part.name, {})
    if not part.setup:
        return times | {part.name: of_part | {ring: time}}
    longest = longest_setup(part, [{part.name: {ring: time}}, times])
    return times | {part.name: dict.fromkeys(RINGS, longest)} if longest else times


def longest_setup(part: Part, sources: Iterable[Times]) -> Time | None:
    """The longest time of a part that sets up: it does the same in both rings, and nothing where all is there."""
    known = (one for times in sources for one in times.get(part.name, {}).values() if one["passed"])
    return max(known, key=lambda one: one["seconds"], default=None)


def last_passed(name: str, ring: str, sources: Iterable[Times]) -> Time | None:
    """The time of a part in the first source where it passed in this ring."""
    found = (times.get(name, {}).get(ring) for times in sources)
    return next((time for time in found if time and time["passed"]), None)


def expected_seconds(part: Part, ring: str, sources: Iterable[Times]) -> float:
    """What a part is likely to take: its time in the first source where it passed in this ring, else its budget."""
    time = last_passed(part.name, ring, sources)
    return float(time["seconds"]) if time else part.budget.minutes(ring) * 60


def renewed(committed: Times, local: Times, parts: Iterable[Part]) -> Times:
    """The copy to commit: of each part there is, the last time it passed in each ring; of what sets up the longest."""
    result: Times = {}
    sources = (local, committed)
    for part in parts:
        of_part = {}
        for ring in RINGS:
            time = longest_setup(part, sources) if part.setup else last_passed(part.name, ring, sources)
            if time:
                of_part[ring] = time
        if of_part:
            result[part.name] = of_part
    return result


def rows(times: Times, parts: Mapping[str, Part]) -> Iterator[tuple[str, ...]]:
    """The times as the rows of a table, its head first. What was not measured is left open."""
    yield "part", "every run", "budget", "in full", "budget", "measured"
    for part in parts.values():
        of_part = times.get(part.name, {})
        measured = {f"{time['date']}, {time['cores']} cores" for time in of_part.values()}
        cells = []
        for ring in RINGS:
            runs = ring == FULL or part.ring == EVERY
            cells.append(f"{of_part[ring]['seconds']} s" if ring in of_part else "")
            cells.append(f"{part.budget.minutes(ring):g} min" if runs else "not run")
        yield f"`{part.name}`", *cells, "; ".join(sorted(measured))
