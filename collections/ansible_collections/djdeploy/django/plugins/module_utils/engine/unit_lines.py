# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit wrote, of what journalctl tells as JSON: lines that journald made several records of are whole again.

It cuts a line that is longer than LineMax= (journald.conf(5), 48 KiB), and one in the midst of which another process
begins to write; a secret that stands across such a cut would be shown in two halves. `_LINE_BREAK` says so of a record
(systemd.journal-fields(7)), and the line goes on in the next one of the same stream that is of the same process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import runner
from .agent_secrets import cut_mark
from .agent_written import encoded_in_utf8

FIELDS = "MESSAGE,_STREAM_ID,_PID,_LINE_BREAK"
TOO_LONG, ANOTHER_PROCESS = "line-max", "pid-change"
LINE_MAX = 48 << 10  # bytes; journald's own, and nobody here sets another
STRIPPED = 1 << 10  # blanks at the end of a record that journald has removed, at most
KEPT = 2 << 20  # bytes of each end of the records; as JSON 48 KiB take up to 200 KB: the number of every byte

Writer = tuple[str, str]


@dataclass
class Line:
    """A line, or what one call wrote to the journal itself.

    :param data: of all of its records that were read.
    :param last: the number of the last of these.
    :param length: bytes of that.
    :param goes_on: `_LINE_BREAK` of that.
    """

    data: bytes
    last: int
    length: int = 0
    goes_on: str = ""


def text_of(records: Sequence[str], lines: int, *, full: bool) -> str:
    """The last lines of a unit, bounded as `runner` bounds what a program says.

    Where a part of a line is missing stands the mark beside which halves of secrets are found; see `agent_written`.

    :param records: of journalctl, as `runner` leaves them, which cuts the middle out of many and out of a long one.
    :param lines: how many records are shown; others only for what began in them and goes on in one that is.
    :param full: whether there may be records before these.
    """
    found: list[Line] = []
    unfinished: dict[Writer, Line] = {}
    seen: set[Writer] = set()
    hidden = max(0, len(records) - lines)
    gap = False  # whether records are missing in front of these
    for number, text in enumerate(records):
        record = parsed(text)
        if record is None:  # what else stands there is `runner`'s mark, or a word of journalctl's own
            lost = text.startswith(("{", "[..."))
            found.append(Line((cut_mark(None) if text.startswith("{") else text).encode(errors="replace"), number))
            if lost:
                finish(unfinished)
                seen.clear()
                gap = True
            continue
        writer = writer_of(record)
        line = unfinished.pop(writer, None) if writer else None
        if line and line.goes_on == TOO_LONG and 0 < LINE_MAX - line.length < STRIPPED:
            line.data += cut_mark(None).encode()  # of the blanks before the cut
        if line is None:
            line = Line(b"", number)
            found.append(line)
            if writer and writer not in seen and (gap or (full and number < hidden)):
                line.data = cut_mark(None).encode()  # it may have begun in a record that is not here
        said = message(record.get("MESSAGE"))
        line.data += said
        line.last, line.length, line.goes_on = number, len(said), str(record.get("_LINE_BREAK", ""))
        if writer:
            seen.add(writer)
            if line.goes_on in (TOO_LONG, ANOTHER_PROCESS):
                unfinished[writer] = line
    # A process need not end its line before another one writes; one that is too long does go on.
    finish({writer: line for writer, line in unfinished.items() if line.goes_on == TOO_LONG})
    ends = runner.Ends()
    for line in found:
        if line.last >= hidden:
            for each in line.data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
                ends.add(runner.shortened(f"{each}\n", 0, bounded=True))
    return ends.text()


def finish(unfinished: dict[Writer, Line]) -> None:
    """Mark lines of which no more is there."""
    for line in unfinished.values():
        line.data += cut_mark(None).encode()
    unfinished.clear()


def parsed(text: str) -> dict[str, Any] | None:
    """A record; None where it is none, or not whole."""
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def writer_of(record: dict[str, Any]) -> Writer | None:
    """Whose text it goes on with; None for what did not come as a stream, and so was not cut."""
    return (str(record["_STREAM_ID"]), str(record.get("_PID", ""))) if "_STREAM_ID" in record else None


def message(value: Any) -> bytes:
    """A field, which is a text, the numbers of bytes that are no UTF-8, a list of these where it is there several
    times, or null where journalctl left it out.
    """
    if isinstance(value, str):
        return encoded_in_utf8(value)
    if not isinstance(value, list):
        return cut_mark(None).encode()
    try:
        return bytes(value)
    except (TypeError, ValueError):
        return b"\n".join(message(each) for each in value)
