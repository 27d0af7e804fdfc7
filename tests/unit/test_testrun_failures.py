# SPDX-License-Identifier: GPL-3.0-or-later
"""What failed is read from what pytest itself writes, and told with the command that runs it alone."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from testrun import failures
from testrun.parts import EVERY, FULL, ROOT, Command, Part

LINES = [
    # a line, the id in it
    ("FAILED tests/test_a.py::test_one", "tests/test_a.py::test_one"),
    ("FAILED tests/test_a.py::test_one - assert 1 == 2", "tests/test_a.py::test_one"),
    ("FAILED tests/test_a.py::TestA::test_one[x] - AssertionError: [y] - z", "tests/test_a.py::TestA::test_one[x]"),
    ("FAILED tests/test_a.py::test_one[a b - c] - KeyError: 'k'", "tests/test_a.py::test_one[a b - c]"),
    ("FAILED tests/test_a.py::test_one[[x] y]", "tests/test_a.py::test_one[[x] y]"),
    ("FAILED tests/test_a.py::test_live[celery]@projects-trixie - x", "tests/test_a.py::test_live[celery]"),
    ("FAILED tests/test_a.py::test_live@projects-trixie", "tests/test_a.py::test_live"),
    ("FAILED tests/test_a.py::test_mail[a@b.c]", "tests/test_a.py::test_mail[a@b.c]"),
    ("ERROR tests/test_a.py - ImportError: no module named x", "tests/test_a.py"),
    ("ERROR tests/test_a.py::test_one - fixture 'x' not found", "tests/test_a.py::test_one"),
    ("[gw1] FAILED tests/test_a.py::test_one ", None),
    ("[gw1] [ 50%] FAILED tests/test_a.py::test_one[x] ", None),
    ("FAILED (failures=1)", None),
    ("SKIPPED [1] tests/test_a.py:3: no", None),
    ("tests/test_a.py::test_one FAILED                      [ 50%]", None),
]


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
def test_ids(line: str, expected: str | None) -> None:
    assert failures.failed_ids(f"before\n{line}\nafter\n") == ([expected] if expected else [])


FAILING = """\
import pytest

@pytest.mark.parametrize("x", ["plain", "a b - c", "[odd] one", "ä", "a@b"])
def test_fails(x):
    assert x == "- another ]"

@pytest.fixture
def broken():
    raise RuntimeError("- broken")

def test_needs(broken):
    pass

def test_passes():
    pass
"""


@pytest.mark.parametrize("options", [[], ["-n", "2"], ["-v", "-n", "2", "--dist", "loadgroup"]], ids=" ".join)
def test_the_ids_pytest_writes_are_those_it_takes(tmp_path: Path, options: list[str]) -> None:
    """What is read from the summary, given back, runs exactly what failed."""
    (tmp_path / "test_it.py").write_text(FAILING)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}

    def run(*words: str) -> str:
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
        return subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False).stdout

    log = run(*options)
    ids = failures.failed_ids(log)
    assert len(ids) == 6
    again = run(*ids)
    assert sorted(failures.failed_ids(again)) == sorted(ids)
    assert "5 failed, 1 error in" in failures.closing_lines(again)[-1]
    assert "1 passed" in failures.closing_lines(log)[-1]


FILE = next((ROOT / "molecule/push/tests").rglob("test_*.py")).relative_to(ROOT / "molecule/push")


@pytest.fixture
def part() -> Part:
    command = Command(("molecule", "test"), tests=ROOT / "molecule/push")
    return Part("molecule-push", (command,), scenario="push")


def test_explanation_has_the_test_its_command_the_hosts_and_the_log(part: Part) -> None:
    log = f"FAILED {FILE}::test_x[a b] - assert 0\nFAILED test_of_another_run.py::test_x - assert 0\n"
    test = f"molecule/push/{FILE}::test_x[a b]"
    lines = failures.explanation(part, EVERY, [part.commands[0]], log, kept=True)
    assert lines[0] == test
    assert shlex.split(lines[1].partition(":")[2]) == ["script/test", "alone", test]
    text = "\n".join(lines)
    assert "test_of_another_run" not in text
    assert "molecule destroy -s push" in text
    assert "test-results/molecule-push.log" in text
    assert "failed: molecule test" in text


def test_explanation_of_a_full_run_and_of_removed_hosts(part: Part) -> None:
    log = f"FAILED {FILE}::test_x - assert 0\n"
    text = "\n".join(failures.explanation(part, FULL, [], log, kept=False))
    assert f"script/test --full alone molecule/push/{FILE}::test_x" in text
    assert "molecule converge -s push" in text


def test_explanation_of_a_part_that_hung_and_whose_hosts_are_still_up(part: Part) -> None:
    log = f"{failures.HUNG} (3600 s were left of it)\n"
    text = "\n".join(failures.explanation(part, EVERY, list(part.commands), log, kept=False))
    assert "took longer than its limit" in text
    assert "could not be removed" in text
    assert "are removed" not in text


def test_of_many_failures_some_are_named(part: Part) -> None:
    log = "".join(f"FAILED {FILE}::test_{number}\n" for number in range(25))
    lines = failures.explanation(part, EVERY, [], log, kept=True)
    assert sum("alone:" in line for line in lines) == failures.NAMED
    assert f"and {25 - failures.NAMED} more" in lines


CLOSING = [
    ("==== 3 passed, 2 warnings in 1.23s ====", True),
    ("1 failed, 3 passed, 2 deselected in 400.10s (0:06:40)", True),
    ("==== short test summary info ====", False),
    ("waited 3 passed", False),
]


@pytest.mark.parametrize(("line", "closes"), CLOSING)
def test_closing_lines(line: str, closes: bool) -> None:
    assert failures.closing_lines(f"x\n{line}\ny") == ([line] if closes else [])
