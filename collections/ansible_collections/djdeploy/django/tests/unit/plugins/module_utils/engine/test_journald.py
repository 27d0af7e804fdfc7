# SPDX-License-Identifier: GPL-3.0-or-later
"""What the system's journal is told, and how it is written on the wire."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import journald
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event
from ansible_collections.djdeploy.django.plugins.module_utils.engine.journal import Operation

NEW = "b" * 40
MIGRATED = {"event": "phase", "name": "migrate", "state": "ended", "seconds": 0.8, "note": "catalog.0003"}


def push(asked: str = "pushed", **facts: Any) -> Operation:
    return Operation("shop", asked, "push", "laptop", **{"id": "x-1", "revision": NEW, "accepted": True, **facts})


def length(number: int) -> bytes:
    return struct.pack("<Q", number)


@pytest.mark.parametrize(
    ("told", "data"),
    [
        pytest.param({"MESSAGE": "live", "PRIORITY": "5"}, b"MESSAGE=live\nPRIORITY=5\n", id="plain"),
        pytest.param({"MESSAGE": "a=b"}, b"MESSAGE=a=b\n", id="equals_sign"),
        pytest.param({"MESSAGE": "größer"}, "MESSAGE=größer\n".encode(), id="utf8"),
        pytest.param(
            {"MESSAGE": "no\nway", "PRIORITY": "3"},
            b"MESSAGE\n" + length(6) + b"no\nway\nPRIORITY=3\n",
            id="several_lines_with_their_length",
        ),
        pytest.param({"MESSAGE": "x\n"}, b"MESSAGE\n" + length(2) + b"x\n\n", id="line_break_at_the_end"),
        pytest.param({"MESSAGE": "x", "DJDEPLOY_RELEASE": ""}, b"MESSAGE=x\n", id="nothing_of_what_is_not_known"),
        pytest.param({"MESSAGE": "a\udcff"}, b"MESSAGE=a?\n", id="what_is_no_utf8"),
    ],
)
def test_datagram(told: dict[str, str], data: bytes) -> None:
    assert journald.datagram(told) == data


def test_datagram_fits_into_one() -> None:
    assert len(journald.datagram({"MESSAGE": "x\n" * 1_000_000})) < 100_000


@pytest.mark.parametrize(
    ("event", "told"),
    [
        pytest.param({"event": "phase", "name": "migrate", "state": "started"},
                     {"MESSAGE": "shop: migrate begins", "PRIORITY": "7", "DJDEPLOY_PHASE": "migrate"}, id="begins"),
        pytest.param(MIGRATED, {"PRIORITY": "6", "DJDEPLOY_PHASE": "migrate"}, id="ended"),
        pytest.param({**MIGRATED, "state": "failed"}, {"PRIORITY": "3", "DJDEPLOY_PHASE": "migrate"}, id="failed"),
        pytest.param({"event": "say", "text": "waiting for ada"},
                     {"MESSAGE": "shop: waiting for ada", "PRIORITY": "6", "DJDEPLOY_PHASE": ""}, id="said"),
        pytest.param({"event": "result", "ok": True, "changed": True, "message": "shop bbbbbbb is live"},
                     {"MESSAGE": "shop bbbbbbb is live", "PRIORITY": "5", "DJDEPLOY_RESULT": "live"}, id="live"),
        pytest.param({"event": "result", "ok": True, "changed": False, "message": "nothing to do"},
                     {"PRIORITY": "6", "DJDEPLOY_RESULT": "unchanged"}, id="unchanged"),
        pytest.param({"event": "result", "ok": False, "message": "it broke", "hint": "mend it", "detail": "Traceback"},
                     {"MESSAGE": "shop: it broke\nmend it\nTraceback", "PRIORITY": "3", "DJDEPLOY_RESULT": "failed"},
                     id="failed_result"),
    ],
)  # fmt: skip
def test_fields(event: Event, told: dict[str, str]) -> None:
    found = journald.fields(event, push())
    assert {name: found[name] for name in told} == told
    assert {name: found[name] for name in found if name.startswith("DJDEPLOY") and name not in told} | {
        "DJDEPLOY_SITE": "shop", "DJDEPLOY_OPERATION": "x-1", "DJDEPLOY_OP": "push", "DJDEPLOY_DOOR": "push",
        "DJDEPLOY_WHO": "laptop", "DJDEPLOY_REVISION": NEW,
    } == {name: found[name] for name in found if name.startswith("DJDEPLOY") and name not in told}  # fmt: skip
    assert found["SYSLOG_IDENTIFIER"] == "djdeploy"


def test_fields_of_what_is_said_within_a_phase() -> None:
    at_work = push()
    at_work.see({"event": "phase", "name": "migrate", "state": "started"})
    assert journald.fields({"event": "say", "text": "waits"}, at_work)["DJDEPLOY_PHASE"] == "migrate"
    at_work.see(MIGRATED)
    assert journald.fields({"event": "say", "text": "waits"}, at_work)["DJDEPLOY_PHASE"] == ""


@pytest.mark.parametrize(
    ("event", "operation"),
    [
        pytest.param({"event": "release", "release": "x", "revision": NEW}, push(), id="not_for_people"),
        pytest.param({"event": "result", "ok": True, "message": ""}, push(asked="receive"), id="let_in_is_no_result"),
    ],
)
def test_fields_of_nothing_to_say(event: Event, operation: Operation) -> None:
    assert journald.fields(event, operation) == {}


def test_fields_before_anybody_knows_what_is_asked() -> None:
    found = journald.fields({"event": "result", "ok": False, "message": "no"}, None)
    assert found == {"MESSAGE": "no", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "djdeploy"}


def test_unit_journal_sink_is_told_once(
    short_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journald, "SOCKET", short_directory / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listens:
        listens.bind(str(journald.SOCKET))
        journald.unit_journal_sink(push())(MIGRATED)
        assert b"DJDEPLOY_PHASE=migrate\n" in listens.recv(10_000)
        assert capsys.readouterr().out == ""
    journald.unit_journal_sink(push())(MIGRATED)
    assert "migrate" in capsys.readouterr().out, "nobody listens: it is printed"
