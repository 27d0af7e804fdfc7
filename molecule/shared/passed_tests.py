# SPDX-License-Identifier: GPL-3.0-or-later
"""A full run that was ended in the middle of a scenario does not run independent tests again that had passed.

The hosts are new then, so a test that needs what an earlier one pushed or moved would fail on them. Only a test that
says so is left out: `@pytest.mark.independent` needs nothing that another one leaves, and leaves nothing that another
one needs; `@pytest.mark.independent("a name")` does so together with all tests of that name, which run again unless all
of them passed in one run.

`script/test --full` names a file (testrun/resume.py), whose first line says for which files of the checkout it holds;
each independent test that passes adds a line, and an empty one stands between two runs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deselecting
import pytest

#: Names the file.
VARIABLE = "DJDEPLOY_PASSED_TESTS"
MARK = "independent"
#: What xdist adds to an id for its group; a "@" of a parameter has its bracket behind it.
GROUP = re.compile(r"@[^\]]*$")


def own_id(reported: str) -> str:
    """The id of a test as pytest collects it, from one that xdist reported."""
    return GROUP.sub("", reported)


def passed_before(path: Path) -> list[list[str]]:
    """The tests in a file, which `script/test` has made ready, of each run."""
    _digest, _newline, noted = path.read_text().partition("\n")
    return [run.splitlines() for run in noted.split("\n\n") if run.strip()]


def name_of(item: pytest.Item) -> str | None:
    """What a test is independent together with: the name it gives, else itself; None if it is not."""
    marker = item.get_closest_marker(MARK)
    if marker is None:
        return None
    return str(marker.args[0]) if marker.args else item.nodeid


def not_again(items: Sequence[pytest.Item], before: Sequence[Sequence[str]]) -> list[pytest.Item]:
    """Those that need not be run again: independent ones that passed, with all of their name, in one of the runs."""
    named: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if name := name_of(item):
            named[name].add(item.nodeid)
    done = {name for name, tests in named.items() if any(tests <= set(run) for run in before)}
    return [item for item in items if name_of(item) in done]


class LeaveOut:
    """A plugin of pytest.

    :param path: where passed tests are added; None in a worker of xdist, which only leaves out.
    :param before: those that had passed, of each run.
    """

    def __init__(self, path: Path | None, before: list[list[str]]) -> None:
        self.path, self.before = path, before
        self.running: dict[str, list[str]] = {}

    def pytest_report_header(self) -> list[str]:
        return ["independent tests that had passed before are left out, and count as deselected"] if self.before else []

    def pytest_configure_node(self, node: Any) -> None:
        """All workers of xdist have to leave out the same tests, also one that is started later."""
        node.workerinput[VARIABLE] = self.before

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        deselecting.leave_out(config, items, not_again(items, self.before), MARK)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        deselecting.count_once(node, MARK)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has passed when its teardown has, too."""
        outcomes = self.running.setdefault(report.nodeid, [])
        outcomes.append(report.outcome)
        if report.when == "teardown":
            del self.running[report.nodeid]
            if self.path and MARK in report.keywords and set(outcomes) == {"passed"}:
                with contextlib.suppress(FileNotFoundError):  # somebody began anew meanwhile
                    descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
                    with open(descriptor, "w") as file:
                        file.write(f"{own_id(report.nodeid)}\n")

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """There may be no test left to run."""
        if self.path and self.before and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK


def register(config: pytest.Config) -> None:
    """Take part in a full run; in any other, and in one test alone, nothing is kept."""
    config.addinivalue_line("markers", f"{MARK}(name): needs no other test, or only those of this name")
    given: list[list[str]] | None = getattr(config, "workerinput", {}).get(VARIABLE)
    if given is not None:
        config.pluginmanager.register(LeaveOut(None, given))
    elif os.environ.get(VARIABLE) and not hasattr(config, "workerinput"):
        path = Path(os.environ[VARIABLE])
        config.pluginmanager.register(LeaveOut(path, passed_before(path)))
