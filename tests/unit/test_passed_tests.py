# SPDX-License-Identifier: GPL-3.0-or-later
"""A full run that is ended in the middle of a scenario goes on behind the tests that had passed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testrun.resume import PassedTests

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import os, pathlib, pytest
BROKEN = os.environ["BROKEN"] == "True"

@pytest.fixture
def untidy():
    yield
    assert not BROKEN

def test_one():
    pass

def test_torn_down(untidy):
    pass

@pytest.mark.xdist_group("a group")
@pytest.mark.parametrize("who", ["you@example.com", "a b"])
def test_grouped(who):
    assert not BROKEN or who == "a b"
"""
ONE = "test_one"
TORN_DOWN = "test_torn_down"
GROUPED = ["test_grouped[you@example.com]", "test_grouped[a b]"]


class Scenario:
    """A folder of tests below molecule/, with the conftest.py of all scenarios."""

    def __init__(self, root: Path, workers: tuple[str, ...]) -> None:
        self.root, self.workers = root, workers
        self.passed = PassedTests(root / "passed/molecule-x.txt")
        tests = root / "molecule/x"
        tests.mkdir(parents=True)
        (root / "molecule/shared").symlink_to(ROOT / "molecule/shared")
        shutil.copy(ROOT / "molecule/conftest.py", root / "molecule")
        (tests / "test_x.py").write_text(TESTS)

    def run(self, broken: bool = False) -> tuple[int, str]:
        """:returns: pytest's status and what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        ours = {"DJDEPLOY_PASSED_TESTS": str(self.passed.path), "BROKEN": str(broken)}
        argv = [sys.executable, "-m", "pytest", "-v", "--rootdir", self.root, *self.workers, "molecule/x"]
        done = subprocess.run(argv, cwd=self.root, env=environment | ours, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def noted(self) -> list[str]:
        return sorted(line.rpartition("::")[2] for line in self.passed.path.read_text().splitlines()[1:])


@pytest.fixture(
    params=[(), ("-p", "xdist", "-n", "2", "--dist", "loadgroup")], ids=["one process", "two with their groups"]
)
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Scenario:
    return Scenario(tmp_path, request.param)


def test_only_what_had_not_passed_runs_again(scenario: Scenario) -> None:
    assert scenario.passed.begin("digest") == 0
    status, _ = scenario.run(broken=True)
    assert status == 1
    assert scenario.noted() == sorted([ONE, GROUPED[1]])
    assert scenario.passed.begin("digest") == 2
    status, out = scenario.run()
    assert status == 0, out
    assert "2 passed" in out
    assert "not run again: 2 tests" in out
    assert scenario.noted() == sorted([ONE, TORN_DOWN, *GROUPED])
    # interrupted behind the last of them
    status, out = scenario.run()
    assert status == 0, out
    assert " passed in " not in out


def test_a_run_that_was_begun_anew_meanwhile_notes_nothing(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, ())
    scenario.passed.begin("digest")
    test = f"import pathlib\ndef test_it():\n    pathlib.Path({str(scenario.passed.path)!r}).unlink()\n"
    (tmp_path / "molecule/x/test_a.py").write_text(test)
    status, out = scenario.run()
    assert status == 0, out
    assert not scenario.passed.path.exists()


@pytest.mark.parametrize(
    ("before", "digest", "counted", "after"),
    [
        (None, "new", 0, "new\n"),
        ("old\na::b\n", "new", 0, "new\n"),
        ("same\na::b\nc::d\n", "same", 2, "same\na::b\nc::d\n"),
        ("same\na::b\nc::", "same", 1, "same\na::b\n"),  # the machine stopped while it was written
        ("same", "same", 0, "same\n"),
        ("", "same", 0, "same\n"),
    ],
)
def test_passed_tests_count_for_the_files_they_passed_for(
    tmp_path: Path, before: str | None, digest: str, counted: int, after: str
) -> None:
    passed = PassedTests(tmp_path / "passed/molecule-x.txt")
    if before is not None:
        passed.path.parent.mkdir()
        passed.path.write_text(before)
    assert passed.begin(digest) == counted
    assert passed.path.read_text() == after
    passed.end()
    assert not passed.path.exists()
