# SPDX-License-Identifier: GPL-3.0-or-later
"""A full run goes on where it ended, for the files that are here and no others."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testrun import resume
from testrun.resume import Memory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with a committed file, a new one and an ignored one."""
    root = tmp_path / "tree"
    (root / "tests").mkdir(parents=True)
    for name in ("tracked", "tests/times.json", "ignored"):
        (root / name).write_text("one\n")
    (root / ".gitignore").write_text("ignored\n")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    (root / "new").write_text("one\n")
    return root


def staged(root: Path) -> None:
    (root / "tracked").write_text("two\n")
    subprocess.run(["git", "-C", root, "add", "tracked"], check=True)


CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "nothing": (lambda root: None, False),
    "a tracked file": (lambda root: (root / "tracked").write_text("two\n"), True),
    "a tracked file, staged": (staged, True),
    "a tracked file is removed": (lambda root: (root / "tracked").unlink(), True),
    "a tracked file may be run": (lambda root: (root / "tracked").chmod(0o755), True),
    "a new file": (lambda root: (root / "new").write_text("two\n"), True),
    "one more new file": (lambda root: (root / "newer").write_text(""), True),
    "an ignored file": (lambda root: (root / "ignored").write_text("two\n"), False),
    "the times, which the run writes": (lambda root: (root / "tests/times.json").write_text("two\n"), False),
}


@pytest.mark.parametrize(("change", "other"), CHANGES.values(), ids=CHANGES)
def test_digest(tree: Path, change: Callable[[Path], object], other: bool) -> None:
    before = resume.digest(tree)
    change(tree)
    assert (resume.digest(tree) != before) is other


def test_a_commit_changes_nothing(tree: Path) -> None:
    before = resume.digest(tree)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", tree, "add", "."], check=True)
    subprocess.run(["git", "-C", tree, *identity, "commit", "--quiet", "-m", "one"], check=True)
    assert resume.digest(tree) == before


NAMES = ("lint", "unit", "sanity")


@pytest.mark.parametrize(
    ("of_tree", "again", "left"),
    [("this", False, ["lint", "sanity"]), ("another", False, list(NAMES)), ("this", True, list(NAMES))],
)
def test_memory(tmp_path: Path, of_tree: str, again: bool, left: list[str]) -> None:
    path = tmp_path / "results/full.json"
    Memory.of_tree(path, "this", again=False).remember("unit", "2026-11-29 13:00")
    assert Memory.of_tree(path, of_tree, again).left(NAMES) == left
    # who says --again and is interrupted before anything has passed has begun anew
    assert Memory.of_tree(path, of_tree, again=False).left(NAMES) == left
