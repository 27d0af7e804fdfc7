# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed, and the command that runs it alone: read from what pytest wrote, told to whoever has to mend it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from testrun.parts import FULL, ROOT, Command, Part

#: A line of pytest's short summary. An id may hold spaces and " - "; xdist adds "@group" to it.
SUMMARY = re.compile(
    r"^(?:FAILED|ERROR) (?P<id>[^\s\[]+\.py(?:::[^\s\[]+?)?(?:\[.*?\])?)(?:@[^\s\]]+)?(?: - .*)?$",
    re.MULTILINE,
)
CLOSING = re.compile(
    r"^=* ?(?:\d+ (?:passed|failed|error|errors|skipped|deselected|xfailed|warnings?),? ?)+in [\d.]+s.*$",
    re.MULTILINE,
)
#: How the line of a log begins that says that a program was ended because its part took too long.
HUNG = "ended: the part took longer than its limit"
#: As many failed tests are named; a host that is broken fails them all.
NAMED = 10


def closing_lines(log: str) -> list[str]:
    """What pytest said last, each time it ran."""
    return CLOSING.findall(log)


def failed_ids(log: str) -> list[str]:
    """The ids of the tests that failed, as pytest printed them, each once."""
    return list(dict.fromkeys(match["id"] for match in SUMMARY.finditer(log)))


def failed_tests(part: Part, log: str, root: Path = ROOT) -> list[str]:
    """The failed tests of a part's log, with their files named from the root of the repository.

    A file that is not there belongs to a pytest that a test ran itself, and is no test of ours.
    """
    bases = [command.tests for command in part.commands if command.tests]
    found = []
    for test_id in failed_ids(log):
        file, colons, rest = test_id.partition("::")
        if base := next((base for base in bases if (base / file).exists()), None):
            found.append(f"{(base / file).relative_to(root)}{colons}{rest}")
    return found


def shown(path: Path) -> str:
    """A path as one would name it from the root of the repository."""
    return os.path.relpath(path, ROOT)


def typed(command: Command) -> str:
    """A program as one would type it."""
    return shlex.join(command.argv)


def by_hand(command: Command) -> str:
    """A program with all that has to be typed to run it in a shell at the root of the repository."""
    given = "".join(f"{name}={shlex.quote(value)} " for name, value in command.environment.items())
    directory = f"cd {shlex.quote(shown(command.directory))}; " if command.directory != ROOT else ""
    return f"(. .venv/bin/activate; {directory}{given}{typed(command)})"


def alone(test: str, ring: str) -> str:
    """The command that runs one test."""
    return f"script/test {'--full ' if ring == FULL else ''}alone {shlex.quote(test)}"


def hosts_lines(scenario: str, kept: bool, removed: bool) -> list[str]:
    """What became of the hosts of a failed scenario, and how to go on with them.

    :param kept: whether they were to stay up.
    :param removed: whether they were removed, if they were not to stay up.
    """
    activated = ". .venv/bin/activate; molecule"
    if not kept and not removed:
        return ["its hosts could not be removed, and others may wait for them: script/host list; script/host down NAME"]
    if not kept:
        return ["its hosts are removed, since CI is set", f"    to boot them: ({activated} converge -s {scenario})"]
    return [
        "its hosts are still up: script/host list; script/host ssh NAME",
        f"    to set them up again: ({activated} converge -s {scenario})",
        f"    to remove them: ({activated} destroy -s {scenario})",
    ]


def explanation(part: Part, ring: str, failed: Sequence[Command], log: str, kept: bool) -> list[str]:
    """What failed, how to run it alone, and where the logs are.

    :param failed: the programs that failed.
    :param kept: whether hosts of failed scenarios stay up.
    """
    tests = failed_tests(part, log)
    lines = []
    for test in tests[:NAMED]:
        lines += [test, f"    alone: {alone(test, ring)}"]
    if len(tests) > NAMED:
        lines.append(f"and {len(tests) - NAMED} more")
    for command in failed:
        lines.append(f"failed: {typed(command)}")
        if not part.scenario:
            lines.append(f"    alone: {by_hand(command)}")
    lines += [line for line in log.splitlines() if line.startswith(HUNG)]
    if part.scenario:
        lines += hosts_lines(part.scenario, kept, removed=part.commands[-1] not in failed)
    return [*lines, f"log: {shown(part.log)}"]
