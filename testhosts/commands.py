# SPDX-License-Identifier: GPL-3.0-or-later
"""Running programs, and telling the person who waits: progress goes to stderr, results to stdout."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator


class Problem(Exception):
    """Something the caller can put right: what is wrong, and what to do next."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Tell what was done and how long it took."""
    start = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - start:.1f} s")


def run(*command: str, stdin: bytes | None = None) -> str:
    """Run a program and return what it printed; a failure becomes a Problem carrying what it complained."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    except FileNotFoundError:
        raise Problem(f"{command[0]} is not installed", "run script/setup hosts") from None
    if done.returncode:
        complaint = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise Problem(f"{command[0]} failed: {complaint[-1]}", "\n".join([*complaint[:-1], shlex.join(command)]))
    return done.stdout.decode(errors="replace")


def podman(*arguments: str, stdin: bytes | None = None) -> str:
    """Run podman."""
    return run("podman", *arguments, stdin=stdin)


def succeeds(*command: str) -> bool:
    """Tell whether a program exits with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
