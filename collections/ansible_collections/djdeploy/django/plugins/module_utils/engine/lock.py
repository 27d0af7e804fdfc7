# SPDX-License-Identifier: GPL-3.0-or-later
"""One deploy of a site at a time. The lock dies with its holder and says who that is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import EngineError
from .tree import FULL

TOLD_AFTER = 1.0  # seconds of waiting before anybody is told; the end of a deploy takes less


def holder_in_words(holder: dict[str, Any]) -> str:
    """The holder of a lock, as part of a sentence."""
    return f"{holder['what']} by {holder['who']} since {holder['since']} (process {holder['pid']})"


def describe_holder(text: str) -> str:
    """The holder written into a lock file, as part of a sentence."""
    try:
        return holder_in_words(json.loads(text))
    except (ValueError, KeyError, TypeError):
        return "another deploy"


def held_by(path: Path) -> dict[str, Any] | None:
    """Who holds a lock: `who`, `what`, `since`, `pid`. None when nobody does, or nobody could write it down."""
    try:
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go at once: whoever waits tries again soon
            except BlockingIOError:
                holder = dict(json.load(file))
                return holder if {"who", "what", "since", "pid"} <= holder.keys() else None
    except (OSError, ValueError, TypeError):
        pass
    return None


def make_private(directory: Path) -> None:
    """Make a directory for locks that nobody but root may enter, in the site's directory below /run.

    Whoever can open a file may lock it for ever, whether or not they may write it (flock(2)).
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.parent.chmod(0o755)  # nginx goes through to the sockets of releases, whatever our umask
    directory.mkdir(mode=0o700, exist_ok=True)


def private(path: str, flags: int) -> int:
    """An `opener` of files for root alone."""
    return os.open(path, flags, 0o600)


def always() -> bool:
    """Whose turn it is where nobody stands in a queue."""
    return True


@contextmanager
def site_lock(
    path: Path,
    *,
    who: str,
    what: str,
    say: Callable[[str], None],
    wait: float = 7200.0,
    turn: Callable[[], bool] = always,
) -> Iterator[None]:
    """Hold a site's lock (flock(2), so a killed holder never leaves one behind).

    :param who: the key name or unix user, told to whoever has to wait.
    :param what: what for, told to them, too.
    :param wait: seconds to wait before giving up.
    :param turn: whether others may not come first; asked again and again.
    :raises EngineError: when it could not be had in time.
    """
    make_private(path.parent)
    with open(path, "a+", opener=private) as file:
        began, told = time.monotonic(), False
        while True:
            try:
                if not turn():
                    raise BlockingIOError
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - began
                if waited > wait:
                    file.seek(0)
                    raise EngineError(f"gave up waiting for {describe_holder(file.read())}") from None
                if waited > TOLD_AFTER and not told:
                    file.seek(0)
                    say(f"waiting for {describe_holder(file.read())}")
                    told = True
                time.sleep(0.05)
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        name_holder(file.fileno(), json.dumps({"who": who, "what": what, "since": since, "pid": os.getpid()}))
        try:
            yield
        finally:
            name_holder(file.fileno(), "")


def name_holder(descriptor: int, text: str) -> None:
    """Say in the lock file who holds it. The lock is held all the same where there is no room to say so."""
    os.ftruncate(descriptor, 0)
    try:
        os.pwrite(descriptor, text.encode(), 0)
    except OSError as error:
        if error.errno not in FULL:
            raise
