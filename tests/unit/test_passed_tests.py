# SPDX-License-Identifier: GPL-3.0-or-later
"""A full run that is ended in the middle of a scenario does not run independent tests again that had passed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from testrun.resume import PassedTests

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import os, pathlib, pytest
HOST = pathlib.Path(os.environ["HOST"])  # what tests leave there is gone when they run again
BROKEN = os.environ["BROKEN"] == "True"

@pytest.fixture
def untidy():
    yield
    assert not BROKEN

@pytest.mark.independent
def test_one():
    pass

@pytest.mark.independent
def test_torn_down(untidy):
    pass

@pytest.mark.independent
@pytest.mark.xdist_group("a group")
@pytest.mark.parametrize("who", ["you@example.com", "a b"])
def test_of_each(who):
    assert not BROKEN or who == "a b"

@pytest.mark.xdist_group("needs the one before")
def test_push():
    (HOST / "pushed").touch()

@pytest.mark.xdist_group("needs the one before")
def test_rollback():
    assert (HOST / "pushed").exists() and not BROKEN

@pytest.mark.xdist_group("needs the one before")
@pytest.mark.independent("shop")
def test_push_shop():
    (HOST / "shop").touch()

@pytest.mark.xdist_group("needs the one before")
@pytest.mark.independent("shop")
def test_rollback_of_shop():
    assert (HOST / "shop").exists() and not BROKEN

@pytest.mark.independent("blog")
@pytest.mark.parametrize("page", [1, 2])
def test_blog(page):
    pass
"""
#: Hosts that are nowhere, and say what they are called.
HOSTS = """
import pytest

class Host:
    name = "somewhere"
    def ssh_words(self, *argv):
        return ["echo", "journal line"]

@pytest.fixture(scope="session")
def fleet():
    return {"somewhere": Host()}
"""
#: Those that pass in a broken run and are noted, which need not run again, and which need to.
FIRST = ["test_blog[1]", "test_blog[2]", "test_of_each[a b]", "test_one", "test_push_shop"]
NOT_AGAIN = ["test_blog[1]", "test_blog[2]", "test_of_each[a b]", "test_one"]
AGAIN = [
    "test_of_each[you@example.com]", "test_push", "test_push_shop", "test_rollback", "test_rollback_of_shop",
    "test_torn_down",
]  # fmt: skip
DEPENDENT = ["test_push", "test_rollback"]


class Scenario:
    """A folder of tests below molecule/, with the conftest.py of all scenarios."""

    def __init__(self, root: Path, workers: tuple[str, ...]) -> None:
        self.root, self.workers = root, workers
        self.passed = PassedTests(root / "passed/molecule-x.txt")
        tests = root / "molecule/x"
        tests.mkdir(parents=True)
        (root / "molecule/shared").symlink_to(ROOT / "molecule/shared")
        shutil.copy(ROOT / "molecule/conftest.py", root / "molecule")
        (tests / "conftest.py").write_text(HOSTS)
        (tests / "test_x.py").write_text(TESTS)

    def run(self, broken: bool = False) -> tuple[int, str]:
        """:returns: pytest's status and what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        host = tempfile.mkdtemp(dir=self.root)
        ours = {"DJDEPLOY_PASSED_TESTS": str(self.passed.path), "BROKEN": str(broken), "HOST": host}
        argv = [sys.executable, "-m", "pytest", "-v", "--rootdir", self.root, *self.workers, "molecule/x"]
        done = subprocess.run(argv, cwd=self.root, env=environment | ours, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def noted(self) -> list[str]:
        return sorted({line.rpartition("::")[2] for line in self.passed.path.read_text().splitlines()[1:]} - {""})


@pytest.fixture(
    params=[(), ("-p", "xdist", "-n", "2", "--dist", "loadgroup")], ids=["one process", "two with their groups"]
)
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Scenario:
    return Scenario(tmp_path, request.param)


def passed(out: str) -> list[str]:
    """The tests that passed, as pytest lists them; xdist says it in the other order, and adds its group."""
    lines = re.findall(r"::(test_\S+(?: b\])?)(?:@\S.*?)? PASSED|PASSED \S*::(test_\w+(?:\[.*?\])?)", out)
    return sorted(first or second for first, second in lines)


def test_only_what_is_independent_and_had_passed_is_left_out(scenario: Scenario) -> None:
    assert scenario.passed.begin("digest") == 0
    status, out = scenario.run(broken=True)
    assert status == 1, out
    assert scenario.noted() == FIRST
    assert scenario.passed.begin("digest") == len(FIRST)
    status, out = scenario.run()
    assert status == 0, out
    assert passed(out) == AGAIN
    assert "are left out, and count as deselected" in out
    assert f"{len(NOT_AGAIN)} deselected" in out
    assert scenario.noted() == sorted({*FIRST, *AGAIN} - set(DEPENDENT))
    # ended behind the last of them
    status, out = scenario.run()
    assert status == 0, out
    assert passed(out) == DEPENDENT


def test_those_of_a_name_have_passed_when_they_did_in_one_run(scenario: Scenario) -> None:
    """Else a failure would be forgotten: the one passes in the first run and fails in the second, the other not."""
    fails_once = "assert (HOST.parent / '{0}').exists() or (HOST.parent / '{0}').touch()"
    text = "import os, pathlib, pytest\nHOST = pathlib.Path(os.environ['HOST'])\n"
    for name, line in (("push", "pass"), ("rollback", fails_once.format("rollback"))):
        text += f"@pytest.mark.independent('shop')\n@pytest.mark.xdist_group('one')\ndef test_{name}(): {line}\n"
    tests = scenario.root / "molecule/x/test_x.py"
    tests.write_text(text)
    scenario.passed.begin("digest")
    assert scenario.run()[0] == 1
    scenario.passed.begin("digest")
    tests.write_text(text.replace("def test_push(): pass", f"def test_push(): {fails_once.format('push')}"))
    assert scenario.run()[0] == 1
    scenario.passed.begin("digest")
    status, out = scenario.run()
    assert status == 0, out
    assert passed(out) == ["test_push", "test_rollback"]


FAILING = {
    "the test": "def test_it(): assert 0",
    "a fixture": "@pytest.fixture\ndef broken(): assert 0\ndef test_it(broken): pass",
    "a fixture of the session": "@pytest.fixture(scope='session')\ndef broken(): assert 0\ndef test_it(broken): pass",
}


@pytest.mark.parametrize("text", FAILING.values(), ids=list(FAILING))
def test_journals_of_the_hosts_are_shown_whatever_fails(tmp_path: Path, text: str) -> None:
    scenario = Scenario(tmp_path, ())
    (tmp_path / "molecule/x/test_x.py").write_text(f"import pytest\n{text}\n")
    scenario.passed.begin("digest")
    status, out = scenario.run()
    assert status == 1
    assert "journal of somewhere" in out
    assert "journal line" in out


def test_nothing_is_left_to_run(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, ())
    (tmp_path / "molecule/x/test_x.py").write_text("import pytest\n@pytest.mark.independent\ndef test_it(): pass\n")
    scenario.passed.begin("digest")
    for closing in ("1 passed", "1 deselected"):
        status, out = scenario.run()
        assert status == 0, out
        assert closing in out


def test_a_run_that_was_begun_anew_meanwhile_notes_nothing(tmp_path: Path) -> None:
    scenario = Scenario(tmp_path, ())
    scenario.passed.begin("digest")
    test = (
        "import pathlib, pytest\n@pytest.mark.independent\ndef test_it():\n"
        f"    pathlib.Path({str(scenario.passed.path)!r}).unlink()\n"
    )
    (tmp_path / "molecule/x/test_a.py").write_text(test)
    status, out = scenario.run()
    assert status == 0, out
    assert not scenario.passed.path.exists()


@pytest.mark.parametrize(
    ("before", "digest", "counted", "after"),
    [
        (None, "new", 0, "new\n"),
        ("old\na::b\n", "new", 0, "new\n"),
        ("same\na::b\nc::d\n", "same", 2, "same\na::b\nc::d\n\n"),
        ("same\na::b\nc::", "same", 1, "same\na::b\n\n"),  # the machine stopped while it was written
        ("same", "same", 0, "same\n"),
        ("same\na::b\n\na::b\nc::d\n", "same", 2, "same\na::b\n\na::b\nc::d\n\n"),
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
