# SPDX-License-Identifier: GPL-3.0-or-later
"""One test alone: what runs it, and what is said when it cannot run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from testrun import alone, running
from testrun.parts import EVERY, ROOT, SCENARIOS, TESTS_VARIABLE

SCENARIO_TEST = next(SCENARIOS.glob("push/tests/**/test_*.py")).relative_to(ROOT)
THIS = Path(__file__).relative_to(ROOT)

#: A test of the scenario; its hosts need not be up to know that it is there.
A_TEST = f"{SCENARIO_TEST}::{alone.TEST.findall((ROOT / SCENARIO_TEST).read_text())[0]}"

PLACES = [
    # a test, its scenario
    (f"{A_TEST}[a::b]", "push"),
    (f"{THIS}::test_missing_hosts", None),
    ("collections/ansible_collections/djdeploy/django/tests/unit", None),
    ("molecule/conftest.py", None),
]


@pytest.mark.parametrize(("test", "scenario"), PLACES)
def test_scenario_of(test: str, scenario: str | None) -> None:
    assert alone.scenario_of(test) == scenario


NOWHERE = "test_is_" + "nowhere"
MISSING = [
    # a test that is not there, what is said
    ("tests/test_nothing.py::test_x", "there is no tests/test_nothing.py"),
    (f"{THIS}::{NOWHERE}", f"{THIS} has no {NOWHERE}"),
    (f"{THIS}::{NOWHERE}[a::b]", f"{THIS} has no {NOWHERE}"),
    (f"{THIS}::{'Test' + 'No'}::test_missing_hosts", f"{THIS} has no {'Test' + 'No'}"),
    (f"{SCENARIO_TEST}::{NOWHERE}", f"{SCENARIO_TEST} has no {NOWHERE}"),
]


@pytest.mark.parametrize(("test", "said"), MISSING)
def test_a_test_that_is_not_there_is_refused_in_one_line_with_what_is(
    capsys: pytest.CaptureFixture[str], test: str, said: str
) -> None:
    assert alone.main(["alone", test]) == 2
    what, remedy = capsys.readouterr().err.splitlines()
    assert what == f"script/test: {said}"
    assert remedy.startswith(("  name the test as pytest does", "  it has: test_"))


def test_tests_of_two_scenarios_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert alone.main(["alone", str(SCENARIO_TEST), str(THIS)]) == 2
    assert "several scenarios" in capsys.readouterr().err


def test_missing_hosts() -> None:
    listed = [{"name": "a", "state": "running"}, {"name": "b", "state": "exited"}]
    assert alone.missing_hosts(["c", "b", "a"], listed) == ["b", "c"]


def test_hosts_that_are_not_up_are_named_with_how_to_boot_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def output(argv: list[str], **_: object) -> str:
        return '{"_meta": {"hostvars": {"push-one": {}}}}' if "--inventory" in argv else "[]"

    monkeypatch.setattr(subprocess, "check_output", output)
    assert alone.main(["alone", A_TEST]) == 2
    said = capsys.readouterr().err
    assert "push-one of scenario push is not up" in said
    assert "molecule converge -s push" in said


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["alone", f"{THIS}::test_missing_hosts"], 0, "1 passed"),
        (["--full", "alone", f"{THIS}::test_missing_hosts"], 0, "1 passed"),
        (["alone", str(THIS), "--", "-k", "missing", "--collect-only"], 0, "test_missing_hosts"),
        (["alone", str(THIS), "--", "-k", "nothing_like_this"], 5, "script/test --full alone"),
        (["alone", f"{THIS}::test_scenario_of[x]"], 4, f"those there are: script/test alone {THIS} -- --collect-only"),
    ],
)
def test_a_test_without_hosts_runs(words: list[str], status: int, said: str) -> None:
    argv = [sys.executable, str(ROOT / "script/test"), *words]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr


AS_JSON = """\
#!{python}
import json, os, sys
from pathlib import Path
Path({answer!r}).write_text(json.dumps([os.getcwd(), sys.argv[1:], dict(os.environ)]))
"""
#: Beginnings of the variables that tests and playbooks read.
OURS = ("ANSIBLE_", "DJDEPLOY_", "MOLECULE_", "HOME", "LC_ALL", "PATH", "VIRTUAL_ENV")


def started(tmp_path: Path, *argv: str) -> tuple[str, list[str], dict[str, str]]:
    """How a program starts pytest: (directory, words, environment)."""
    answer = tmp_path / "answer"
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin/pytest").write_text(AS_JSON.format(python=sys.executable, answer=str(answer)))
    (tmp_path / "bin/pytest").chmod(0o755)
    # a scenario that runs meanwhile keeps its files to itself
    ours = running.environment_of(EVERY) | {"MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path / "ephemeral")}
    ours["PATH"] = f"{tmp_path}/bin:{ours['PATH']}"
    subprocess.run(argv, cwd=ROOT, env=ours, capture_output=True, check=True)
    directory, words, environment = json.loads(answer.read_text())
    return directory, words, {name: value for name, value in environment.items() if name.startswith(OURS)}


def options_of(words: list[str]) -> list[str]:
    return sorted(word for word in words if not word.startswith(f"{SCENARIOS}/"))


def test_a_test_of_a_scenario_is_started_as_molecule_verify_would(tmp_path: Path) -> None:
    test = str(ROOT / SCENARIO_TEST)
    directory, words, environment = started(tmp_path, "molecule", "verify", "--scenario-name", "push")
    ours = started(tmp_path, "python", "-m", "testrun.verifying", "push", f"{test}::test_x")
    assert (ours[0], options_of(ours[1]), ours[2]) == (directory, options_of(words), environment)
    assert f"{test}::test_x" in ours[1]
    assert test in words
    assert environment["MOLECULE_SCENARIO_DIRECTORY"] == directory == str(SCENARIOS / "push")


def test_one_folder_of_tests_is_verified(tmp_path: Path) -> None:
    """What parts.molecule() says to molecule by a variable: here with the tests of another scenario."""
    said = f"{TESTS_VARIABLE}=../default/tests"
    _, words, _ = started(tmp_path, "env", said, "molecule", "verify", "--scenario-name", "push")
    files = [word for word in words if word.startswith(f"{SCENARIOS}/")]
    assert files
    assert [file for file in files if file.startswith(f"{SCENARIOS}/push/tests")] == []
