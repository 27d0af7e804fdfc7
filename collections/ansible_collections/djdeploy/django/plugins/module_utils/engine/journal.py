# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a site: one JSON line before and after each phase of each deploy."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from .events import Event, Sink


def journal_line(event: Event, context: dict[str, str], now: datetime) -> str | None:
    """The line of an event, or None for chatter that is not history."""
    if event["event"] not in ("phase", "result"):
        return None
    kept = {key: value for key, value in event.items() if key not in ("detail", "phases", "plan")}
    return json.dumps({"at": now.isoformat(timespec="milliseconds"), **context, **kept}) + "\n"


def journal_sink(path: Path, context: dict[str, str]) -> Sink:
    """A sink that appends to the journal; `context` says which deploy, by whom, through which door.

    A full disk must not stop a deploy half-way because its history cannot be written; the unit's own
    journal has the same lines.
    """

    def sink(event: Event) -> None:
        line = journal_line(event, context, datetime.now(UTC))
        if line is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
                file.write(line)
        except OSError as error:
            sys.stderr.write(f"{path} could not be written: {error.strerror}\n")

    return sink
