# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a site: what every push, deploy, rollback and restore did, one JSON line for each event.

Each line has `at` (UTC), `id` (of its operation), `site`, `op`, `door`, `who` and `event`:

begin     {"revision" wanted, "before" live, "process"}        before the first phase
release   {"release", "revision", "subject"}                   what is being put live, as soon as it has a name
phase     {"name", "state": started|ended|failed, "seconds", "note"}
plan      {"plan"}                                             what was to change
accepted  {}                                                   a push was let in; git moves the branch now
result    {"ok", "changed", "message", "hint", "release", "before", "after", "migrations", "seconds", ...}

What did nothing between its begin and its result is one line: a result with the keys of `begin`. The old
processes end after the result, so a phase may follow it. `history` reads all this.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .events import Event, Sink
from .request import PUSHED, RECEIVE, RESTORE, ROLLBACK, Request

ROTATE_AT = 2_500_000  # bytes; with the one before it a journal stays below 5 MB: about a thousand deploys
PUSH = "push"
LEFT_OUT = ("detail", "phases", "plan", "site")  # of a result: a traceback may show secrets, the rest has its own line

LIVE, ROLLED_BACK, RESTORED, UNCHANGED = "live", "rolled_back", "restored", "unchanged"
FAILED, REFUSED, INTERRUPTED, RUNNING = "failed", "refused", "interrupted", "running"


def outcome(op: str, result: Event, *, accepted: bool) -> str:
    """The one word for how an operation ended.

    :param op: `push`, `deploy`, `rollback` or `restore`.
    :param accepted: whether a push had been let in by then; before that, git itself refuses it.
    """
    if not result["ok"]:
        return REFUSED if op == PUSH and not accepted else FAILED
    if not result.get("changed"):
        return UNCHANGED
    return {ROLLBACK: ROLLED_BACK, RESTORE: RESTORED}.get(op, LIVE)


def operation_id(now: datetime) -> str:
    """A name for people to copy. The order of operations is that of their lines, whatever the clock did."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def started_at(pid: int) -> str:
    """When a process began, in ticks since the boot (proc_pid_stat(5), starttime); empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def this_process() -> str:
    """A name for this process that no later one gets, though it may get its number."""
    return f"{os.getpid()}.{started_at(os.getpid())}"


def is_alive(process: str) -> bool:
    """Whether the process of that name is still at work.

    The lock cannot tell: a push lets go of it while git moves the branch.
    """
    pid, _dot, began = process.partition(".")
    return pid.isdigit() and bool(began) and started_at(int(pid)) == began


@dataclass
class Operation:
    """One operation while it runs: what its lines say of it, and how far it has come.

    A push is two requests on one connection; `again` makes the second one part of it.

    :param asked: the `op` of the request at work.
    :param id: empty for a check, which is no history.
    :param revision: what was asked for, then what it turned out to be.
    :param before: revision that was live.
    :param process: who does it, as `is_alive` understands it.
    """

    site: str
    asked: str
    door: str
    who: str
    id: str = ""
    revision: str = ""
    before: str = ""
    process: str = ""
    release: str = ""
    subject: str = ""
    phase: str = ""
    begun: bool = False
    planned: bool = False
    accepted: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def op(self) -> str:
        return PUSH if self.asked in (RECEIVE, PUSHED) else self.asked

    def again(self, request: Request) -> bool:
        """Whether a request goes on with this operation; if so it does from here."""
        goes_on = request.op == PUSHED and self.accepted
        if not goes_on or (request.site, request.door, request.who) != (self.site, self.door, self.who):
            return False
        self.asked = request.op
        return True

    def see(self, event: Event) -> list[Event]:
        """Take an event to heart.

        :returns: what the journal keeps of it; nothing of chatter.
        """
        kept = self.entries(event)
        if event["event"] == "phase":
            self.phase = event["name"] if event["state"] == "started" else ""
        return kept

    def entries(self, event: Event) -> list[Event]:
        match event["event"]:
            case "phase":
                return [*self.beginning(), event]
            case "plan":
                return [*self.beginning(), *self.planning(event["plan"])]
            case "release" if event["release"] == self.release:
                return []
            case "release":
                self.release, self.revision = event["release"], event["revision"]
                self.subject = event.get("subject", "")
                return [event] if self.begun else []
            case "result" if event["ok"] and self.asked == RECEIVE:
                self.accepted = True
                return [{"event": "accepted"}] if self.begun else []
            case "result":
                self.release = event.get("release") or self.release
                self.revision = event.get("after") or self.revision
                told = {key: value for key, value in event.items() if key not in LEFT_OUT}
                told["seconds"] = round(time.monotonic() - self.started, 3)
                if self.accepted:
                    told["accepted"] = True
                if self.begun:
                    return [*self.planning(event.get("plan")), told]
                self.begun = True
                return [*self.planning(event.get("plan")), {**self.about(), **told}]
        return []

    def beginning(self) -> list[Event]:
        if self.begun:
            return []
        self.begun = True
        return [{"event": "begin", **self.about(), "process": self.process}]

    def planning(self, plan: dict[str, Any] | None) -> list[Event]:
        if self.planned or not plan:
            return []
        self.planned = True
        return [{"event": "plan", "plan": plan}]

    def about(self) -> Event:
        facts = {"revision": self.revision, "before": self.before}
        return facts | ({"release": self.release, "subject": self.subject} if self.release else {})

    def line(self, entry: Event, now: datetime) -> str:
        """An entry as a line of the journal."""
        at = now.isoformat(timespec="milliseconds")
        context = {"at": at, "id": self.id, "site": self.site, "op": self.op, "door": self.door, "who": self.who}
        return json.dumps({**context, **entry}) + "\n"


def journal_sink(path: Path, operation: Operation) -> Sink:
    """A sink that appends to the journal what an operation makes of each event.

    A full disk must not stop a deploy half-way because its history cannot be written; the system's
    journal has the same.
    """

    def sink(event: Event) -> None:
        entries = operation.see(event)
        if not entries or not operation.id:
            return
        try:
            lasting = any(entry["event"] in ("begin", "result") for entry in entries)
            append(path, "".join(operation.line(entry, datetime.now(UTC)) for entry in entries), lasting=lasting)
        except OSError as error:
            sys.stderr.write(f"{path} could not be written: {error.strerror}\n")

    return sink


def append(path: Path, text: str, *, lasting: bool = False) -> None:
    """Add whole lines by one write(2) with O_APPEND, so that those of two processes never mix.

    :param lasting: wait until it is on the disk: a power cut must leave the trace of what it cut.
    :raises OSError: when it could not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o640)
    try:
        if os.fstat(descriptor).st_size >= ROTATE_AT and rotate(path, descriptor):
            os.close(descriptor)
            descriptor = os.open(path, flags, 0o640)
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"  # a write the disk had no room for
        os.write(descriptor, (b"\n" if torn else b"") + text.encode())
        if lasting:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def rotated(path: Path) -> Path:
    """Where the older half of a journal lies."""
    return path.with_name(f"{path.name}.1")


def rotate(path: Path, descriptor: int) -> bool:
    """Make this journal the older half and the half before it go, by one rename.

    Who has it open still writes into it, so nothing is lost. Of two processes at once one renames:
    the second would put the new, nearly empty file over the older half.

    :returns: whether another file has that name now.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            path.rename(rotated(path))
    except FileNotFoundError:  # between the rename of another and its first line
        pass
    return True
