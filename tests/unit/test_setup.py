# SPDX-License-Identifier: GPL-3.0-or-later
"""script/setup: when .venv is made, completed or left alone. A program that takes notes plays Python and pip."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.scripts import ROOT

# Makes .venv with a copy of itself as its Python, and notes that it did, and what pip is to install.
PYTHON = """\
#!/bin/sh
case "$*" in
    *version_info* | *ensurepip*) ;;
    "-m pip --version") [ -z "${CUT_OFF:-}" ] ;;
    *sys.base_prefix*) echo "${VERSION:-3.11} /usr" ;;
    "-m venv --clear .venv")
        rm -rf .venv && mkdir -p .venv/bin && cp -p "$0" .venv/bin/python && echo venv >>notes
        sed -i "s/{VERSION:-3.11}/{NOTHING:-${VERSION:-3.11}}/" .venv/bin/python
        ;;
    *"pip install"*) echo "pip $(echo "$*" | grep -o 'requirements.*')" >>notes; exit "${PIP_STATUS:-0}" ;;
    *) exit 3 ;;
esac
"""


class Checkout:
    """A directory with script/setup and lists of requirements, and a Python that takes notes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "script").mkdir(parents=True)
        shutil.copy2(ROOT / "script/setup", root / "script/setup")
        for name in ("requirements.txt", "requirements-dev.txt"):
            shutil.copy2(ROOT / name, root / name)
        (root / "python").write_text(PYTHON)
        (root / "python").chmod(0o755)

    def setup(self, part: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [self.root / "script/setup", part]
        variables = os.environ | {"PYTHON": str(self.root / "python")} | environment
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    def notes(self) -> list[str]:
        """What was done since this was last asked."""
        notes = self.root / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.mark.parametrize(
    ("before", "part", "done"),
    [
        pytest.param([], "controller", ["venv", "pip requirements.txt"], id="for_a_demo"),
        pytest.param([], "venv", ["venv", "pip requirements-dev.txt"], id="for_tests"),
        pytest.param(["controller"], "controller", [], id="again_for_a_demo"),
        pytest.param(["venv"], "venv", [], id="again_for_tests"),
        pytest.param(["controller"], "venv", ["pip requirements-dev.txt"], id="the_demo_s_is_completed"),
        pytest.param(["venv"], "controller", [], id="the_tests_has_all_a_demo_needs"),
        pytest.param(["controller", "venv"], "controller", [], id="a_completed_one_has_too"),
    ],
)
def test_venv_is_made_completed_or_left_alone(
    checkout: Checkout, before: list[str], part: str, done: list[str]
) -> None:
    for each in before:
        checkout.setup(each)
    checkout.notes()
    assert checkout.setup(part).returncode == 0
    assert checkout.notes() == done


@pytest.mark.parametrize(
    ("changed", "part", "done"),
    [
        pytest.param("requirements.txt", "controller", ["pip requirements.txt"], id="the_short_list"),
        pytest.param("requirements.txt", "venv", ["pip requirements-dev.txt"], id="the_short_list_is_in_the_long_one"),
        pytest.param("requirements-dev.txt", "venv", ["pip requirements-dev.txt"], id="the_long_list"),
        pytest.param("requirements-dev.txt", "controller", [], id="the_long_list_is_nothing_to_a_demo"),
    ],
)
def test_a_changed_list_is_installed(checkout: Checkout, changed: str, part: str, done: list[str]) -> None:
    checkout.setup("venv")
    checkout.notes()
    with (checkout.root / changed).open("a") as text:
        text.write("more\n")
    assert checkout.setup(part).returncode == 0
    assert checkout.notes() == done


def test_another_python_makes_it_anew(checkout: Checkout) -> None:
    checkout.setup("venv")
    checkout.notes()
    assert checkout.setup("venv", VERSION="3.13").returncode == 0
    assert checkout.notes() == ["venv", "pip requirements-dev.txt"]


def test_one_that_was_cut_off_is_made_anew(checkout: Checkout) -> None:
    checkout.setup("controller")
    checkout.notes()
    (checkout.root / ".venv/.installed-requirements.txt").unlink()
    assert checkout.setup("controller", CUT_OFF="1").returncode == 0
    assert checkout.notes() == ["venv", "pip requirements.txt"]


def test_what_pip_could_not_install_is_tried_again(checkout: Checkout) -> None:
    failed = checkout.setup("controller", PIP_STATUS="1")
    assert failed.returncode == 1
    assert "script/setup: pip could not install what requirements.txt names\n" in failed.stderr
    checkout.notes()
    assert checkout.setup("controller").returncode == 0
    assert checkout.notes() == ["pip requirements.txt"]


def test_pip_is_silent_when_it_succeeds(checkout: Checkout) -> None:
    (checkout.root / "python").write_text(PYTHON.replace('echo "pip $', 'echo WARNING: odd >&2; echo "pip $'))
    done = checkout.setup("controller")
    assert done.stdout == ""
    assert done.stderr == "making .venv from requirements.txt\n"


def test_no_part_of_that_name(checkout: Checkout) -> None:
    refused = checkout.setup("nothing")
    assert refused.returncode == 1
    assert "there is no part called nothing\n  choose of: python hosts controller venv\n" in refused.stderr
