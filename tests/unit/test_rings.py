# SPDX-License-Identifier: GPL-3.0-or-later
"""The two rings: what is left to full runs is counted, and the sample of a matrix leaves no pair of values out."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule/shared"))
rings = importlib.import_module("rings")

AXES = (("4.2", "5.2", "6"), ("sqlite", "postgresql", "mariadb"), ("plain", "wagtail", "intranet"))
TESTS = """
import pytest

@pytest.fixture(scope="session")
def fleet():  # of a scenario: no host is asked for anything
    return {}

@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.full)])
def test_one(number):
    assert number

@pytest.mark.full
def test_two():
    pass
"""


@pytest.mark.parametrize("axes", [AXES, (("a",), ("b",), ("c",)), (range(5), range(5, 10), range(10, 15))])
def test_each_two_values_meet_exactly_once(axes) -> None:
    worlds = rings.latin_square(*axes)
    for one, other in combinations(range(3), 2):
        pairs = [(world[one], world[other]) for world in worlds]
        assert sorted(pairs) == sorted(product(axes[one], axes[other]))


@pytest.mark.parametrize("axes", [AXES[:2], (*AXES[:2], ("plain", "wagtail"))])
def test_other_axes_are_refused(axes) -> None:
    with pytest.raises(ValueError, match="three axes of one length"):
        rings.latin_square(*axes)


@pytest.mark.parametrize("conftest", ["molecule/conftest.py", "tests/unit/conftest.py"])
@pytest.mark.parametrize("workers", [(), ("-p", "xdist", "-n", "2")], ids=["one process", "two"])
@pytest.mark.parametrize(
    ("full", "counted"), [("", "1 passed, 2 deselected"), ("1", "3 passed")], ids=["every run", "full"]
)
def test_what_is_left_to_full_is_counted(tmp_path: Path, conftest: str, workers, full: str, counted: str) -> None:
    folder = (tmp_path / conftest).parent
    folder.mkdir(parents=True)
    (tmp_path / "molecule").mkdir(exist_ok=True)
    (tmp_path / "molecule/shared").symlink_to(ROOT / "molecule/shared")
    shutil.copy(ROOT / conftest, folder)
    (folder / "test_rings.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--strict-markers", "--rootdir", tmp_path, *workers, folder],
        env={**environment, "DJDEPLOY_FULL": full},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert counted in done.stdout
