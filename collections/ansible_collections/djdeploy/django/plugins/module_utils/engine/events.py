# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running deploy says: the same events for the pusher, the module, the journal and a terminal.

An event is a JSON object with a key `event`:

say     {"text"}                                    one line for a person
release {"release", "revision", "subject"}          what is to go live, as soon as it has a name; for the journals
plan    {"lines", "plan"}                           what the release will change, before that is done
phase   {"name", "state": started|ended|failed, "seconds", "note"}
result  {"ok", "changed", "message", "hint", "detail", ...}   always the last one; "told": its detail was said before
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
Sink = Callable[[Event], None]
DETAIL_LINES = 20  # the end of a detail, of which a person sees no more


@dataclass
class Note:
    """What a phase has to say for itself, set while it runs."""

    text: str = ""


@dataclass
class Progress:
    """Tells sinks what happens and how long it took.

    :param sinks: called with every event; one that fails (a pusher who went away) must not raise.
    :param mask: what every event goes through before any sink has it; see `site_secrets.Mask`.
    """

    sinks: list[Sink]
    mask: Callable[[Event], Event] = field(default=lambda event: event)
    phases: list[Event] = field(default_factory=list)
    said: deque[str] = field(default_factory=lambda: deque(maxlen=500))

    def emit(self, event: Event) -> None:
        told = self.mask(event)
        for sink in self.sinks:
            sink(told)

    def say(self, text: str) -> None:
        self.said.append(text.strip())
        self.emit({"event": "say", "text": text})

    def has_told(self, detail: str) -> bool:
        """Whether a person has read the end of a detail already, as a program printed it."""
        shown = shown_of(detail)
        return bool(shown) and {line.strip() for line in shown} <= {*self.said, ""}

    def release(self, release_id: str, revision: str, subject: str) -> None:
        self.emit({"event": "release", "release": release_id, "revision": revision, "subject": subject})

    @contextmanager
    def phase(self, name: str) -> Iterator[Note]:
        """Wrap one phase; its duration and its note are told when it ends, however it ends."""
        note, began = Note(), time.monotonic()
        self.emit({"event": "phase", "name": name, "state": "started"})
        state = "failed"
        try:
            yield note
            state = "ended"
        finally:
            event = {
                "event": "phase",
                "name": name,
                "state": state,
                "seconds": round(time.monotonic() - began, 3),
                "note": note.text,
            }
            self.phases.append(event)
            self.emit(event)


def rendered(event: Event) -> str | None:
    """The line a person reads for an event, or None where there is nothing to read."""
    match event["event"]:
        case "say":
            return f"  {event['text']}"
        case "plan":
            return "\n".join(f"  {line}" for line in event["lines"])
        case "phase" if event["state"] != "started":
            mark = "ok" if event["state"] == "ended" else "FAILED"
            return f"  {event['name']:<12}{mark:<7}{event['seconds']:>6.1f} s  {event['note']}".rstrip()
        case "result":
            return rendered_result(event)
    return None


def rendered_result(event: Event) -> str:
    """The last lines: what broke, detail before the verdict, so that the verdict is what stays in sight."""
    if event["ok"]:
        return str(event["message"])
    lines = [] if event.get("told") else [f"    {line}" for line in shown_of(str(event.get("detail") or ""))]
    lines.append(str(event["message"]))
    if event.get("hint"):
        lines.append(f"  -> {event['hint']}")
    return "\n".join(lines)


def shown_of(detail: str) -> list[str]:
    """What a person sees of a detail: its last lines."""
    return detail.rstrip().splitlines()[-DETAIL_LINES:]
