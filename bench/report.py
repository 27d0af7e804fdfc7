# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures for people: medians, tables, and one line for each goal."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Goal:
    """One figure that is looked for first.

    :param unit: written behind the value: `x` for a ratio, ` MB`, ...
    :param at_most: what was promised, in the same unit; None where nothing was.
    """

    what: str
    value: float
    unit: str
    at_most: float | None = None

    @property
    def met(self) -> bool:
        return self.at_most is None or self.value <= self.at_most

    def __str__(self) -> str:
        goal = "" if self.at_most is None else f" (goal: at most {self.at_most:g}{self.unit})"
        if self.at_most == 0:
            goal = " (goal: none)"
        return f"{self.what}: {number(self.value)}{self.unit}{goal}{'' if self.met else '  MISSED'}"


@dataclass
class Result:
    """What a benchmark found.

    :param text: lines for people.
    :param figures: the same as data.
    :param broken: promises that did not hold whatever the machine: requests that failed, pushes that are not live.
    """

    name: str
    text: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        goals = [
            {
                "what": goal.what,
                "value": goal.value,
                "unit": goal.unit.strip(),
                "at_most": goal.at_most,
                "met": goal.met,
            }
            for goal in self.goals
        ]
        return {**self.figures, "goals": goals, "broken": self.broken}


def number(value: float) -> str:
    """Two decimals, none for a whole number."""
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"


def median(values: Iterable[float]) -> float:
    """The median, 0 of nothing."""
    known = list(values)
    return statistics.median(known) if known else 0.0


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` (0..1) of all do not exceed, 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def table(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows as aligned lines: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        (
            indent
            + "  ".join(
                [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
            )
        ).rstrip()
        for row in rows
    ]


def machine() -> str:
    """The class of machine it was measured on, and when; nothing that names it."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{now}, {os.cpu_count()} cores, {pages * size / 2**30:.0f} GiB; host and client share the machine"


def report(results: Sequence[Result], measured_on: str) -> list[str]:
    """Everything, the goals last: they are what one looks for."""
    lines = [measured_on]
    for result in results:
        lines += ["", f"{result.name}: {result.text[0]}" if result.text else result.name, *result.text[1:]]
    lines.append("")
    for result in results:
        lines += [str(goal) for goal in result.goals]
        lines += [f"BROKEN: {promise}" for promise in result.broken]
    return lines
