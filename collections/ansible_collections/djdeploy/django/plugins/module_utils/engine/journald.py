# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # used by programs only; Ansible forbids printing to modules
"""The system's journal, over journald's own protocol, so that what a deploy does can be asked for by field.

journalctl _UID=0 DJDEPLOY_SITE=shop DJDEPLOY_PHASE=migrate

Everybody on the host may write to the journal, with any of these fields and our SYSLOG_IDENTIFIER; _UID and
_SYSTEMD_UNIT are what journald itself says of the writer, and ours is root.
https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ and systemd.journal-fields(7).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from .events import Event, Sink, rendered
from .journal import Operation, outcome
from .request import RECEIVE

SOCKET = Path("/run/systemd/journal/socket")
LONGEST = 65_536  # bytes of one value; a datagram has room for about 200,000 (unix(7), SO_SNDBUF)

ERROR, NOTICE, INFORMATION, DEBUG = "3", "5", "6", "7"  # syslog(3)


def datagram(fields: Mapping[str, str]) -> bytes:
    """Fields as journald reads them; a value of several lines goes with its length in front."""
    data = bytearray()
    for name, value in fields.items():
        if not value:
            continue
        text = value.encode(errors="replace")[:LONGEST]
        if b"\n" in text:
            data += name.encode() + b"\n" + struct.pack("<Q", len(text)) + text + b"\n"
        else:
            data += name.encode() + b"=" + text + b"\n"
    return bytes(data)


def message(event: Event) -> tuple[str, str]:
    """What is said of an event, and its priority; nothing of what says nothing to a person.

    A phase is told when it begins, too: what a deploy that was killed was at is the last line of it.
    """
    if event["event"] == "phase" and event["state"] == "started":
        return f"{event['name']} begins", DEBUG
    text = (rendered(event) or "").strip()
    if event["event"] == "phase":
        return text, ERROR if event["state"] == "failed" else INFORMATION
    if event["event"] == "result":
        if not event["ok"]:  # the verdict first: a line is what most tools show
            text = "\n".join(filter(None, (event["message"], event.get("hint"), event.get("detail"))))
            return text, ERROR
        return text, NOTICE if event.get("changed") else INFORMATION
    return text, INFORMATION


def fields(event: Event, operation: Operation | None) -> dict[str, str]:
    """The fields of an event; none when there is nothing to say.

    :param operation: it has seen the event; None as long as nobody knows what is asked for.
    """
    text, priority = message(event)
    if not text:
        return {}
    told = {"MESSAGE": text, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "djdeploy"}
    if operation is None:
        return told
    if text.split(maxsplit=1)[0].rstrip(":") != operation.site:
        told["MESSAGE"] = f"{operation.site}: {text}"
    told |= {
        "DJDEPLOY_SITE": operation.site,
        "DJDEPLOY_OPERATION": operation.id,
        "DJDEPLOY_OP": operation.op,
        "DJDEPLOY_DOOR": operation.door,
        "DJDEPLOY_WHO": operation.who,
        "DJDEPLOY_REVISION": operation.revision,
        "DJDEPLOY_RELEASE": operation.release,
        "DJDEPLOY_PHASE": event["name"] if event["event"] == "phase" else operation.phase,
    }
    if event["event"] == "result" and not (event["ok"] and operation.asked == RECEIVE):
        told["DJDEPLOY_RESULT"] = outcome(operation.op, event, accepted=operation.accepted)
    return told


def send(told: Mapping[str, str]) -> bool:
    """:returns: whether the system's journal has it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect(str(SOCKET))
            connection.send(datagram(told))
    except OSError:
        return False
    return True


def unit_journal_sink(operation: Operation | None = None) -> Sink:
    """A sink for the system's journal; what it does not take goes to standard output, which ends there as well."""

    def sink(event: Event) -> None:
        told = fields(event, operation)
        if told and not send(told):
            print(told["MESSAGE"], flush=True)

    return sink
