# SPDX-License-Identifier: GPL-3.0-or-later
"""A full run goes on where it ended: each part has passed for the files it met, and no others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from testrun import parts, resume
from testrun.resume import Memory, State

PUSH = "molecule/push/tests/test_push.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with committed files, a new one and an ignored one."""
    root = tmp_path / "tree"
    for name in ("tracked", "docs/page.md", PUSH, "ignored"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("one\n")
    (root / ".gitignore").write_text("ignored\n")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    (root / "new").write_text("one\n")
    return root


def state(root: Path, part: str = "molecule-fleet") -> State:
    return resume.state(part, resume.tree(root))


def edited(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text("two\n")


def staged(root: Path) -> None:
    (root / "tracked").write_text("two\n")
    subprocess.run(["git", "-C", root, "add", "tracked"], check=True)


def committed(root: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", root, "add", "."], check=True)
    subprocess.run(["git", "-C", root, *identity, "commit", "--quiet", "-m", "one"], check=True)


CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "nothing": (lambda root: None, False),
    "a commit": (committed, False),
    "a tracked file": (edited("tracked"), True),
    "a tracked file, staged": (staged, True),
    "a tracked file is removed": (lambda root: (root / "tracked").unlink(), True),
    "a tracked file is renamed": (lambda root: (root / "tracked").rename(root / "renamed"), True),
    "a tracked file may be run": (lambda root: (root / "tracked").chmod(0o755), True),
    "a new file": (edited("new"), True),
    "one more new file": (edited("newer"), True),
    "a new link": (lambda root: (root / "link").symlink_to("new"), True),
    "an ignored file": (edited("ignored"), False),
    "a page": (edited("docs/page.md"), False),
    "another scenario's test": (edited(PUSH), False),
}


@pytest.mark.parametrize(("change", "other"), CHANGES.values(), ids=CHANGES)
def test_state_of_a_scenario(tree: Path, change: Callable[[Path], object], other: bool) -> None:
    before = state(tree)
    change(tree)
    assert (state(tree).digest != before.digest) is other
    assert (state(tree) != before) is other


@pytest.mark.parametrize(
    ("part", "file", "other"),
    [("lint", "docs/page.md", True), ("molecule-push", PUSH, True), ("sanity", PUSH, False), ("unit", PUSH, True)],
)
def test_each_part_has_files_of_its_own(tree: Path, part: str, file: str, other: bool) -> None:
    before = state(tree, part)
    edited(file)(tree)
    assert (state(tree, part).digest != before.digest) is other


def test_an_edit_that_was_taken_back_is_the_same_content_but_was_an_edit(tree: Path) -> None:
    before = state(tree)
    edited("tracked")(tree)
    (tree / "tracked").write_text("one\n")
    assert state(tree).digest == before.digest
    assert state(tree) != before


def test_what_images_have_at_hand_counts_for_those_who_boot_them(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases of every corpus decide it; a case that changes nothing of it changes nothing for other scenarios."""
    monkeypatch.setattr(parts, "provisioned_suites", {"single": ["trixie"], "push": []}.get)
    case = tree / "molecule/projects/corpus/one/case.toml"
    case.parent.mkdir(parents=True)
    said = []
    for text in ("", "# a comment", '[site]\npackages = ["gettext"]', '[site]\npackages = ["jq"]', "[site"):
        case.write_text(text)
        said.append(resume.at_hand("single", tree))
        assert resume.at_hand("push", tree) == resume.at_hand("", tree) == ""
    assert said[0] == said[1]
    assert len({*said}) == 4
    assert resume.state("molecule-single", {}, said[1]) != resume.state("molecule-single", {}, said[2])


def test_states_of_this_checkout_tell_the_parts_apart() -> None:
    found = resume.states(["lint", "molecule-push", "molecule-single"])
    assert list(found) == ["lint", "molecule-push", "molecule-single"]
    assert len({one.digest for one in found.values()}) == 3


ONE, TWO = State("one", "1"), State("two", "2")


def test_each_part_is_remembered_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "results/full.json"
    Memory.read(path).remember("unit", "one", "2026-11-29 13:00")
    Memory.read(path).remember("lint", "two", "2026-11-29 13:10")
    memory = Memory.read(path)
    assert memory.left({"lint": ONE, "unit": ONE, "sanity": ONE}) == ["lint", "sanity"]
    assert memory.left({"lint": TWO, "unit": TWO}) == ["unit"]
    # an edit that is taken back before the part has run again takes nothing away
    assert memory.left({"lint": TWO, "unit": ONE}) == []


@pytest.mark.parametrize(("digest", "left"), [("one", ["unit"]), ("two", [])])
def test_a_failure_counts_for_the_files_it_met(tmp_path: Path, digest: str, left: list[str]) -> None:
    path = tmp_path / "full.json"
    Memory.read(path).remember("unit", "one", "2026-11-29 13:00")
    Memory.read(path).forget("unit", digest)
    assert Memory.read(path).left({"unit": ONE}) == left


def test_who_begins_anew_and_is_interrupted_has_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "full.json"
    Memory.read(path).remember("unit", "one", "2026-11-29 13:00")
    assert Memory.read(path, again=True).left({"unit": ONE}) == ["unit"]
    assert Memory.read(path).left({"unit": ONE}) == ["unit"]


def test_a_memory_of_the_whole_tree_is_none(tmp_path: Path) -> None:
    """As it was written before each part was remembered by itself."""
    path = tmp_path / "full.json"
    path.write_text(json.dumps({"tree": "one", "passed": {"unit": "2026-11-29 13:00"}}))
    assert Memory.read(path).left({"unit": ONE}) == ["unit"]


def test_what_we_write_ourselves_takes_nothing_away_and_adds_nothing(tmp_path: Path) -> None:
    memory = Memory.read(tmp_path / "full.json")
    memory.remember("unit", "one", "13:00")
    memory.remember("lint", "old", "13:10")
    memory.carry_over({"unit": ONE, "lint": ONE}, {"unit": TWO, "lint": TWO})
    assert Memory.read(tmp_path / "full.json").left({"unit": TWO, "lint": TWO}) == ["lint"]
    assert memory.passed["unit"]["when"] == "13:00"


def test_what_is_said_first_and_last(tmp_path: Path) -> None:
    memory = Memory.read(tmp_path / "full.json")
    memory.remember("unit", "one", "13:00")
    memory.remember("lint", "one", "13:10")
    now = {"unit": ONE, "lint": TWO, "sanity": ONE}
    assert resume.beginning(memory, now) == [
        "passed 13:00: unit",
        "passed 13:10: lint, but files that can change that are others now",
        "left: lint, sanity (script/test --full --again begins anew)",
    ]
    assert resume.ending(memory, now) == "left: lint, sanity\n  go on: script/test --full"
    assert resume.ending(memory, {"unit": ONE}) == "left: nothing"
