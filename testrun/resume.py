# SPDX-License-Identifier: GPL-3.0-or-later
"""What of `script/test --full` has passed already: each part, for the files that can change its verdict."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypedDict

from testhosts import provisioned
from testrun import parts
from testrun.parts import RESULTS, ROOT
from testrun.times import write_whole
from testrun.verdicts import counting

MEMORY = RESULTS / "full.json"


class File(NamedTuple):
    """A file as it is on disk.

    :param content: one word for its kind and what is in it.
    :param touched: when it was last written, renamed or allowed something, in nanoseconds.
    """

    content: str
    touched: int


class State(NamedTuple):
    """The files that can change the verdict of a part.

    :param digest: one word for their names and contents.
    :param touched: one word that differs also when one was changed and changed back.
    """

    digest: str
    touched: str


def tree(root: Path = ROOT) -> dict[str, File]:
    """All files that are tracked or could be, as they are on disk."""
    listed = subprocess.check_output(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], text=True
    )
    found = {}
    for name in set(listed.split("\0")) - {""}:
        path = root / name
        try:
            if path.is_symlink():
                kind, content = "link", os.readlink(path).encode()
            elif path.is_file():
                kind, content = "program" if os.access(path, os.X_OK) else "file", path.read_bytes()
            else:
                continue  # removed, but not yet from git's index
            found[name] = File(f"{kind} {hashlib.sha256(content).hexdigest()}", path.lstat().st_ctime_ns)
        except FileNotFoundError:
            continue  # just now
    return found


def word(lines: Iterable[object]) -> str:
    """One word for some lines."""
    return hashlib.sha256("\n".join(map(str, lines)).encode()).hexdigest()


def at_hand(scenario: str, root: Path = ROOT) -> str:
    """What the images of a scenario's hosts have at hand for later, which all scenarios together decide."""
    if not scenario or not parts.provisioned_suites(scenario):
        return ""
    try:
        return word([*provisioned.later_packages(root), *provisioned.later_requirements(root)])
    except (OSError, ValueError) as error:  # a case that is just being written
        return str(error)


def state(part: str, files: Mapping[str, File], more: str = "") -> State:
    """What decides the verdict of a part.

    :param files: all there are.
    :param more: what decides besides.
    """
    names = counting(part, files, parts.scenarios())
    contents = [more, *(f"{files[name].content} {name}" for name in names)]
    return State(word(contents), word([*contents, *(files[name].touched for name in names)]))


def states(names: Iterable[str]) -> dict[str, State]:
    """What decides the verdicts of these parts, as the checkout is now."""
    files = tree()
    return {name: state(name, files, at_hand(parts.scenario_of(name))) for name in names}


@dataclass(frozen=True)
class PassedTests:
    """Independent tests of a part that passed before it was ended, in a file.

    Its first line is the digest of the files they passed for; molecule/shared/passed_tests.py adds the others. An empty
    line stands between two runs.
    """

    path: Path

    def begin(self, digest: str) -> int:
        """Make the file ready; what it holds stays if the files are still the same.

        :returns: how many had passed in earlier runs.
        """
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        if lines[:1] != [f"{digest}\n"]:
            lines = [f"{digest}\n"]
        # A last line without its end was being written when the machine stopped; the next would be joined to it.
        lines = [line for line in lines if line.endswith("\n")]
        earlier = len({line for line in lines[1:] if line != "\n"})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join([*lines, "\n"] if earlier else lines))
        return earlier

    def end(self) -> None:
        """The part has passed: whoever asks for it again gets all of it."""
        self.path.unlink(missing_ok=True)


class Passed(TypedDict):
    """That a part passed: for which files, and when."""

    digest: str
    when: str


@dataclass
class Memory:
    """Which parts passed in full, each for files of its own."""

    path: Path
    passed: dict[str, Passed] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, again: bool = False) -> Memory:
        """What is remembered; nothing if all is to be run again."""
        if again:
            path.unlink(missing_ok=True)
            for file in cls(path).folder.glob("*.txt"):
                file.unlink()
        stored: dict[str, Passed] = json.loads(path.read_text()) if path.exists() else {}
        return cls(path, {name: one for name, one in stored.items() if "digest" in one})

    @property
    def folder(self) -> Path:
        """Where passed independent tests of scenarios are noted that were ended before their end."""
        return self.path.parent / "passed"

    def tests_of(self, part: str) -> PassedTests:
        """Where those of one scenario are noted."""
        return PassedTests(self.folder / f"{part}.txt")

    def write(self) -> None:
        write_whole(self.path, self.passed)

    def remember(self, name: str, digest: str, when: str) -> None:
        """Keep that a part passed, at once: whoever is interrupted goes on from here."""
        self.passed[name] = Passed(digest=digest, when=when)
        self.write()

    def forget(self, name: str, digest: str) -> None:
        """A part has failed: that it once passed for the same files does not count any more."""
        if self.holds(name, digest):
            del self.passed[name]
            self.write()

    def holds(self, name: str, digest: str) -> bool:
        """Whether a part passed for these files."""
        return name in self.passed and self.passed[name]["digest"] == digest

    def left(self, now: Mapping[str, State]) -> list[str]:
        """Those that have not passed yet for the files as they are now."""
        return [name for name, one in now.items() if not self.holds(name, one.digest)]

    def carry_over(self, before: Mapping[str, State], now: Mapping[str, State]) -> None:
        """Keep what was held before we ourselves wrote files that change no verdict."""
        for name in set(before) - set(self.left(before)):
            self.passed[name] = Passed(digest=now[name].digest, when=self.passed[name]["when"])
        self.write()


def beginning(memory: Memory, now: Mapping[str, State]) -> list[str]:
    """What a full run says first: what passed when, what has changed since, and what is left."""
    lines = []
    for name, one in now.items():
        if name in memory.passed:
            changed = "" if memory.holds(name, one.digest) else ", but files that can change that are others now"
            lines.append(f"passed {memory.passed[name]['when']}: {name}{changed}")
    return [*lines, f"left: {', '.join(memory.left(now)) or 'nothing'} (script/test --full --again begins anew)"]


def ending(memory: Memory, now: Mapping[str, State]) -> str:
    """What a full run says last: what is left, and how to go on."""
    left = memory.left(now)
    return f"left: {', '.join(left)}\n  go on: script/test --full" if left else "left: nothing"
