# SPDX-License-Identifier: GPL-3.0-or-later
"""A full run that was ended in the middle of a scenario goes on behind the tests that had passed.

`script/test --full` names a file (testrun/resume.py), whose first line says for which files of the checkout it holds;
each test that passes adds a line. Those that stand there when pytest starts are left out.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

#: Names the file.
VARIABLE = "DJDEPLOY_PASSED_TESTS"
#: What xdist adds to an id for its group; a "@" of a parameter has its bracket behind it.
GROUP = re.compile(r"@[^\]]*$")


def own_id(reported: str) -> str:
    """The id of a test as pytest collects it, from one that xdist reported."""
    return GROUP.sub("", reported)


def passed_before(path: Path) -> list[str]:
    """The tests in a file, which `script/test` has made ready."""
    return path.read_text().splitlines()[1:]


class PassedTests:
    """A plugin of pytest.

    :param path: where passed tests are added; None in a worker of xdist, which only leaves out.
    :param before: those that had passed.
    """

    def __init__(self, path: Path | None, before: list[str]) -> None:
        self.path, self.before = path, before
        self.running: dict[str, list[str]] = {}

    def pytest_report_header(self) -> str:
        return f"passed before it was interrupted, and not run again: {len(self.before)} tests"

    def pytest_configure_node(self, node: Any) -> None:
        """All workers of xdist have to leave out the same tests, also one that is started later."""
        node.workerinput[VARIABLE] = self.before

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        before = set(self.before)
        if left := [item for item in items if item.nodeid in before]:
            items[:] = [item for item in items if item.nodeid not in before]
            config.hook.pytest_deselected(items=left)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has passed when its teardown has, too."""
        outcomes = self.running.setdefault(report.nodeid, [])
        outcomes.append(report.outcome)
        if report.when == "teardown":
            del self.running[report.nodeid]
            if self.path and set(outcomes) == {"passed"}:
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
    given: list[str] | None = getattr(config, "workerinput", {}).get(VARIABLE)
    if given is not None:
        config.pluginmanager.register(PassedTests(None, given))
    elif os.environ.get(VARIABLE) and not hasattr(config, "workerinput"):
        path = Path(os.environ[VARIABLE])
        config.pluginmanager.register(PassedTests(path, passed_before(path)))
