# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending what a build or an installer left running, before root touches what it could still write.

A build user runs nothing but what makes a release, and one release of a site is made at a time: so whatever has its
uid then is left over. Most of what runs as it, and all that runs code of a project as the site's user, is in a unit of
its own (`sandbox`), which systemd ends as a whole. This ends the rest: what unpacks and compiles is the deployer's own
child, and a process may have found a way out of its unit, by cron or by another service that starts something for it.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from . import runner
from .errors import EngineError

PATIENCE = 10.0  # seconds; a process that has SIGKILL is gone as soon as it leaves the kernel
PAUSE = 0.01  # seconds between two looks
PROC = Path("/proc")

Look: TypeAlias = Callable[[], dict[int, str]]


def is_of(status: str, uid: int) -> bool:
    """Whether a process that still runs has a uid in any of its parts, from its /proc/PID/status (proc(5))."""
    if re.search(r"^State:\s+[ZX]", status, re.MULTILINE):
        return False
    found = re.search(r"^Uid:\s+(.+)$", status, re.MULTILINE)
    return found is not None and str(uid) in found[1].split()


def read(pid: str, name: str) -> str:
    """A file of a process in /proc; empty when the process is gone."""
    try:
        return (PROC / pid / name).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def living(uid: int) -> dict[int, str]:
    """The processes of a uid: number -> name."""
    found = {}
    for pid in os.listdir(PROC):
        if not pid.isdigit():
            continue
        status = read(pid, "status")
        if is_of(status, uid):
            found[int(pid)] = status.partition("\n")[0].removeprefix("Name:").strip()
    return found


def kill(pid: int, uid: int) -> None:
    """Send SIGKILL to a process, if it is still one of that uid: its number may have gone to another one."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        try:
            if is_of(read(str(pid), "status"), uid):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)


def end(user: str) -> None:
    """End every process of a user that runs nothing but what makes a release: SIGKILL until none is left.

    :param user: the site's build user.
    :raises EngineError: when one cannot be ended; it names the process.
    """
    uid = uid_of(user)
    if uid is not None:
        # By the kernel in one go (kill(2), -1): who forks faster than we look is met all the same.
        everything = ["/bin/sh", "-c", "kill -KILL -1"]
        end_all(user, uid, lambda: living(uid), lambda: runner.run(everything, user=user, timeout=PATIENCE))


def uid_of(user: str) -> int | None:
    """The uid whose processes may be ended; None where nobody's may: without root, or of root itself."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(user).pw_uid or None
    except KeyError:
        return None


def end_all(user: str, uid: int, look: Look, sweep: Callable[[], object] = lambda: None) -> None:
    """SIGKILL what `look` finds until it finds nothing.

    :param sweep: sends it to all at once; only asked where something was found.
    :raises EngineError: when something is left after `PATIENCE`.
    """
    end_at = time.monotonic() + PATIENCE
    while found := look():
        if time.monotonic() > end_at:
            pid, name = next(iter(found.items()))
            raise EngineError(
                f"process {pid} ({name!r}) of {user} cannot be ended, and may still write to what is built",
                f"see what it waits for (cat /proc/{pid}/stack), end it, and push again",
            )
        sweep()
        for pid in found:
            kill(pid, uid)
        time.sleep(PAUSE)
