# SPDX-License-Identifier: GPL-3.0-or-later
"""What of `script/test --full` has passed already, for exactly the files that are here."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testrun.parts import RESULTS, ROOT
from testrun.times import COMMITTED, write_whole

MEMORY = RESULTS / "full.json"
#: What a full run writes itself at its end.
WRITTEN_BY_US = (str(COMMITTED.relative_to(ROOT)), "docs/testing.md")


def digest(root: Path, ignored: Sequence[str] = WRITTEN_BY_US) -> str:
    """One word for the contents of all files that are tracked or could be, as they are on disk."""
    listed = subprocess.check_output(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], text=True
    )
    result = hashlib.sha256()
    for name in sorted(set(listed.split("\0")) - {"", *ignored}):
        path = root / name
        if path.is_symlink():
            content, kind = os.readlink(path).encode(), "link"
        elif path.is_file():
            content, kind = path.read_bytes(), "program" if os.access(path, os.X_OK) else "file"
        else:
            continue  # removed, but not yet from git's index
        result.update(f"{kind} {name} {len(content)}\n".encode() + content)
    return result.hexdigest()


@dataclass
class Memory:
    """Which parts passed in full for one tree.

    :param passed: name -> when.
    """

    path: Path
    tree: str
    passed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_tree(cls, path: Path, tree: str, again: bool) -> Memory:
        """What is remembered of this tree; nothing if it is another one, or if all is to be run again."""
        memory = cls(path, tree)
        if again:
            path.unlink(missing_ok=True)
        if path.exists():
            stored = json.loads(path.read_text())
            if stored["tree"] == tree:
                memory.passed = stored["passed"]
        return memory

    def remember(self, name: str, when: str) -> None:
        """Keep that a part passed, at once: whoever is interrupted goes on from here."""
        self.passed[name] = when
        write_whole(self.path, {"tree": self.tree, "passed": self.passed})

    def left(self, names: Sequence[str]) -> list[str]:
        """Those of the names that have not passed yet."""
        return [name for name in names if name not in self.passed]
