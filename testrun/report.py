# SPDX-License-Identifier: GPL-3.0-or-later
"""What is printed: the list of parts, the progress, and at the end the table and what failed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from testrun import failures, schedule
from testrun.parts import EVERY, FULL, LANES, Part, with_needs
from testrun.running import Outcome
from testrun.times import Times, last_passed

#: A part that takes this much more than its budget is marked.
TOLERATED = 1.3


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Rows as lines with columns as wide as they have to be.

    :param right: numbers of the columns that end under one another.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            f"{cell:>{width}}" if number in right else f"{cell:<{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def over_budget(seconds: float, minutes: float) -> str:
    """What the table says of a part that took far longer than its budget; else nothing."""
    share = seconds / (minutes * 60)
    return f"over its budget by {share - 1:.0%}" if share > TOLERATED else ""


def closing_row(outcome: Outcome) -> tuple[str, ...]:
    """A part as a row of the closing table. A folder of a scenario's tests has no budget."""
    minutes = outcome.part.budget.minutes(outcome.ring) if outcome.part.is_whole else 0.0
    if outcome.kept_back:
        state, remark = "not run", f"needs {', '.join(outcome.kept_back)}"
    else:
        state = "passed" if outcome.passed else "FAILED"
        remark = (outcome.error or "; ".join(map(failures.typed, outcome.failed)))[:90]
    over = over_budget(outcome.seconds, minutes) if minutes else ""
    remarks = "; ".join(filter(None, (over, remark, outcome.remark)))
    return outcome.part.name, f"{outcome.seconds:.0f}", f"{minutes * 60:.0f}" if minutes else "", state, remarks


def closing_table(outcomes: Sequence[Outcome], seconds: float, lanes: int) -> str:
    """What took how long of which budget and how it ended, and the sums.

    :param seconds: from the beginning to the end.
    """
    rows = [("part", "seconds", "budget", "state", ""), *map(closing_row, outcomes)]
    work = sum(outcome.seconds for outcome in outcomes) / 60
    beside = f"{lanes} lane{'s' if lanes > 1 else ''}"
    total = f"total: {seconds:.0f} s ({seconds / 60:.1f} minutes); parts: {work:.1f} minutes in {beside}"
    return "\n".join([*aligned(rows, right=(1, 2)), total])


def explained(outcome: Outcome, kept: bool) -> list[str]:
    """What failed in a part and what to do next."""
    if outcome.kept_back:
        return [f"not run, since it needs {', '.join(outcome.kept_back)}"]
    log = outcome.part.log.read_text(errors="replace")
    error = [outcome.error] if outcome.error else []
    return error + failures.explanation(outcome.part, outcome.ring, outcome.failed, log, kept)


def logs(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The logs of what failed, whole; of the others what pytest said last."""
    for outcome in sorted((each for each in outcomes if not each.kept_back), key=lambda each: not each.passed):
        part, log = outcome.part, outcome.part.log.read_text(errors="replace")
        if not outcome.passed:
            yield f"\n========== {part.name} failed; {failures.shown(part.log)} ==========\n{log}"
        for line in failures.closing_lines(log):
            yield f"{part.name}:\n{line}"


def closing(outcomes: Sequence[Outcome], seconds: float, lanes: int, kept: bool) -> Iterator[str]:
    """All that is printed when the last part has ended."""
    yield from logs(outcomes)
    yield f"\n{closing_table(outcomes, seconds, lanes)}"
    for outcome in outcomes:
        if not outcome.passed:
            lines = "\n".join(f"  {line}" for line in explained(outcome, kept))
            yield f"\n{outcome.part.name}: {'not run' if outcome.kept_back else 'FAILED'}\n{lines}"


def progress(running: Sequence[str], waiting: Sequence[str]) -> str:
    """Which parts run, and which are next."""
    following = ", ".join(waiting[:3]) + (f" and {len(waiting) - 3} more" if len(waiting) > 3 else "")
    return f"running: {', '.join(running)}; next: {following or 'nothing'}"


def interrupted(running: Sequence[Part], command: str, goes_on: bool) -> list[str]:
    """What is said when somebody ends the run.

    :param running: what was at work.
    :param command: what was typed.
    :param goes_on: whether the same command leaves out what has passed by now.
    """
    lines = [f"interrupted; running: {', '.join(part.name for part in running) or 'nothing'}"]
    if any("setup-hosts" in part.needs for part in running):
        lines.append("  hosts may still be up: script/host list; to remove them: script/host down --all")
    return [*lines, f"  {'go on' if goes_on else 'again'}: {command}"]


def last_seconds(part: Part, ring: str, sources: Sequence[Times]) -> int | None:
    """The time a part took when it last passed in a ring, if that is known."""
    time = last_passed(part.name, ring, sources)
    return time["seconds"] if time else None


def described(part: Part, full: bool, parts: Mapping[str, Part], sources: Sequence[Times]) -> dict[str, Any]:
    """A part as `--list --json` gives it.

    `timeout_minutes` is for a machine that runs nothing else: `script/test NAME` there runs what the part needs too, in
    as many lanes as ever.
    """
    ring = part.ring_of_run(full)
    names = with_needs([part.name], parts)
    limits = {name: parts[name].longest(ring) for name in names}
    items = schedule.items_of(names, {name: parts[name].needs for name in names}, limits)
    return {
        "name": part.name,
        "ring": part.ring,
        "setup": part.setup,
        "budget_minutes": {EVERY: part.budget.every, FULL: part.budget.full},
        "limit_minutes": part.limit(ring),
        "timeout_minutes": int(schedule.length(schedule.plan(items, LANES)) + 10),
        "last_seconds": {each: last_seconds(part, each, sources) for each in (EVERY, FULL)},
        "needs": list(part.needs),
    }


def listing(entries: Sequence[Mapping[str, Any]], left_out: Sequence[str] = ()) -> str:
    """The parts as a table.

    :param left_out: names of those that only a full run has.
    """

    def cell(value: float | None, unit: str) -> str:
        return "" if value is None else f"{value:g} {unit}"

    rows: list[Sequence[str]] = [("part", "ring", "every run", "last", "in full", "last", "needs")]
    for entry in entries:
        cells = []
        for ring in (EVERY, FULL):
            cells += [cell(entry["budget_minutes"][ring], "min"), cell(entry["last_seconds"][ring], "s")]
        rows.append((entry["name"], entry["ring"], *cells, " ".join(entry["needs"])))
    more = [f"only script/test --full runs: {', '.join(left_out)}"] if left_out else []
    return "\n".join([*aligned(rows, right=(2, 3, 4, 5)), *more])
