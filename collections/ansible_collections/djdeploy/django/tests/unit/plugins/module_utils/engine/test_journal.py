# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of an operation, and that a journal which cannot be written stops none."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import journal
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.journal import Operation, journal_sink
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request

NEW, OLD = "b" * 40, "a" * 40
CONTEXT = {"id": "20260301T120000-1f3c", "site": "shop", "op": "deploy", "door": "push", "who": "ada@laptop"}
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
BEGINS = {"event": "phase", "name": "prove", "state": "started"}
FAILS = {"event": "phase", "name": "prove", "state": "failed", "seconds": 0.25, "note": "500"}
NAMED = {"event": "release", "release": "20260301T120000-bbbbbbb", "revision": NEW, "subject": "Sell more"}
PLAN = {"event": "plan", "lines": ["plan  no downtime"], "plan": {"id": "abc"}}
OK: Event = {"event": "result", "ok": True, "changed": False, "message": ""}


def operation(asked: str = "deploy", **facts: Any) -> Operation:
    known: dict[str, Any] = {"id": CONTEXT["id"], "revision": NEW, "before": OLD, "process": "12.345"}
    return Operation("shop", asked, "push", "ada@laptop", **{**known, **facts})


def names(entries: list[Event]) -> list[str]:
    return [f"{entry['event']} {entry['state']}" if "state" in entry else entry["event"] for entry in entries]


# --- what is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "events", "kept"),
    [
        pytest.param("deploy", [{"event": "say", "text": "on it"}, {"event": "unheard of"}], [], id="no_chatter"),
        pytest.param("deploy", [BEGINS, FAILS], ["begin", "phase started", "phase failed"], id="begins_once"),
        pytest.param("deploy", [OK], ["result"], id="one_line_for_nothing_to_do"),
        pytest.param("deploy", [NAMED, BEGINS, OK], ["begin", "phase started", "result"], id="named_in_time"),
        pytest.param("deploy", [BEGINS, NAMED], ["begin", "phase started", "release"], id="named_later"),
        pytest.param("deploy", [BEGINS, NAMED, NAMED], ["begin", "phase started", "release"], id="named_once"),
        pytest.param("deploy", [BEGINS, PLAN, {**OK, "plan": {"id": "abc"}}],
                     ["begin", "phase started", "plan", "result"], id="plan_once"),
        pytest.param("deploy", [BEGINS, {**OK, "plan": {"id": "abc"}}],
                     ["begin", "phase started", "plan", "result"], id="plan_of_the_result"),
        pytest.param("receive", [OK], [], id="let_in_with_nothing_done"),
        pytest.param("receive", [BEGINS, OK], ["begin", "phase started", "accepted"], id="let_in"),
        pytest.param("receive", [{**OK, "ok": False}], ["result"], id="refused"),
    ],
)  # fmt: skip
def test_see(asked: str, events: list[Event], kept: list[str]) -> None:
    at_work = operation(asked)
    assert names([entry for event in events for entry in at_work.see(event)]) == kept


def test_see_two_halves_of_a_push_as_one() -> None:
    push = operation("receive")
    kept = [*push.see(BEGINS), *push.see(OK)]
    assert push.again(Request("pushed", "shop", "push", "ada@laptop"))
    kept += [*push.see(BEGINS), *push.see({**OK, "changed": True, "after": NEW})]
    assert names(kept) == ["begin", "phase started", "accepted", "phase started", "result"]
    assert json.loads(push.line(kept[-1], NOW))["op"] == "push"


@pytest.mark.parametrize(
    ("request_", "let_in"),
    [
        pytest.param(Request("pushed", "shop", "push", "ada@laptop"), False, id="was_not_let_in"),
        pytest.param(Request("pushed", "blog", "push", "ada@laptop"), True, id="another_site"),
        pytest.param(Request("pushed", "shop", "push", "eve"), True, id="another_key"),
        pytest.param(Request("receive", "shop", "push", "ada@laptop"), True, id="wants_in_again"),
    ],
)
def test_again_is_another_operation(request_: Request, let_in: bool) -> None:
    push = operation("receive")
    if let_in:
        push.see(OK)
    assert not push.again(request_)
    assert push.asked == "receive"


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        pytest.param(FAILS, FAILS, id="phase"),
        pytest.param(
            {"event": "result", "ok": False, "message": "it broke", "hint": "mend it", "detail": "PASSWORD=hunter2"},
            {"event": "result", "ok": False, "message": "it broke", "hint": "mend it"},
            id="no_detail_a_traceback_may_show_secrets",
        ),
        pytest.param(
            {"event": "result", "ok": True, "changed": True, "phases": [{"name": "prove"}], "migrations": ["a.0001"]},
            {"event": "result", "ok": True, "changed": True, "migrations": ["a.0001"]},
            id="no_phases_they_have_lines_of_their_own",
        ),
        pytest.param(
            {"event": "result", "ok": True, "message": "größer\nals gedacht"},
            {"event": "result", "ok": True, "message": "größer\nals gedacht"},
            id="a_line_break_stays_in_one_line",
        ),
    ],
)
def test_line(event: Event, kept: dict[str, Any]) -> None:
    at_work = operation()
    at_work.see(BEGINS)
    (entry,) = at_work.see(event)
    line = at_work.line(entry, NOW)
    assert line.endswith("\n") and line.count("\n") == 1
    told = json.loads(line)
    assert told.pop("seconds", 0) >= 0
    kept = {key: value for key, value in kept.items() if key != "seconds"}
    assert told == {"at": "2026-03-01T12:00:00.123+00:00", **CONTEXT, **kept}


def test_first_line_says_what_is_to_be_done() -> None:
    at_work = operation()
    at_work.see(NAMED)
    begin = at_work.see(BEGINS)[0]
    assert begin == {
        "event": "begin", "revision": NEW, "before": OLD, "process": "12.345",
        "release": NAMED["release"], "subject": "Sell more",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("op", "ok", "changed", "accepted", "word"),
    [
        ("push", True, True, True, "live"),
        ("deploy", True, True, False, "live"),
        ("rollback", True, True, False, "rolled_back"),
        ("restore", True, True, False, "restored"),
        ("deploy", True, False, False, "unchanged"),
        ("push", False, False, False, "refused"),
        ("push", False, False, True, "failed"),
        ("deploy", False, False, False, "failed"),
        ("rollback", False, False, False, "failed"),
    ],
)
def test_outcome(op: str, ok: bool, changed: bool, accepted: bool, word: str) -> None:
    assert journal.outcome(op, {"ok": ok, "changed": changed}, accepted=accepted) == word


def test_operation_ids_differ_within_a_second() -> None:
    ids = {journal.operation_id(NOW) for _time in range(20)}
    assert len(ids) > 1
    assert all(name.startswith("20260301T120000-") for name in ids)


def test_is_alive() -> None:
    me = journal.this_process()
    assert journal.is_alive(me)
    assert not journal.is_alive(f"{me}0"), "another process has its number now"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        process = f"{other.pid}.{journal.started_at(other.pid)}"
        assert journal.is_alive(process)
        other.communicate(b"\n")
    assert not journal.is_alive(process)
    assert not journal.is_alive("") and not journal.is_alive("12.")


# --- the file -------------------------------------------------------------------------------------


def told(path: Path) -> list[dict[str, Any]]:
    # Who meets a line that is being written may take it for torn and end it: an empty line, which nobody reads.
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def test_journal_sink_appends_and_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "journal.jsonl"
    for number in range(2):  # a sink for each deploy
        Progress([journal_sink(path, operation(id=f"x-{number}"))]).emit(OK)
    assert [line["id"] for line in told(path)] == ["x-0", "x-1"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, "messages tell of a site's inside"


@pytest.mark.parametrize(("identity", "event"), [("", OK), ("x-1", {"event": "say", "text": "on it"})])
def test_journal_sink_makes_no_file_of_a_check_or_chatter(tmp_path: Path, identity: str, event: Event) -> None:
    path = tmp_path / "shop" / "journal.jsonl"
    Progress([journal_sink(path, operation(id=identity))]).emit(event)
    assert not path.parent.exists()


def test_journal_sink_writes_each_line_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    progress = Progress([journal_sink(path, operation())])
    with pytest.raises(ZeroDivisionError), progress.phase("migrate"):
        assert names(told(path)) == ["begin", "phase started"], "a crash now must leave a trace"
        raise ZeroDivisionError
    assert names(told(path)) == ["begin", "phase started", "phase failed"]


def test_append_after_a_torn_line_begins_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"id": "x-1"}\n{"id": "x-')
    journal.append(path, '{"id": "x-2"}\n')
    assert path.read_text().splitlines() == ['{"id": "x-1"}', '{"id": "x-', '{"id": "x-2"}']


def test_append_of_many_at_once_loses_and_mixes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROTATE_AT", 5_000)  # 60 lines of 120 bytes: it rotates once
    path = tmp_path / "journal.jsonl"

    def write(writer: int) -> None:
        for number in range(10):
            journal.append(path, json.dumps({"id": f"{writer}-{number}", "fill": "x" * 90}) + "\n")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [line["id"] for each in (journal.rotated(path), path) for line in told(each)]
    assert sorted(found) == sorted(f"{writer}-{number}" for writer in range(6) for number in range(10))


def test_append_keeps_one_older_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "ROTATE_AT", 40)
    path = tmp_path / "journal.jsonl"
    for number in range(9):
        journal.append(path, f'{{"id": "{number}", "a": "b"}}\n')
    assert sorted(tmp_path.iterdir()) == [path, journal.rotated(path)]
    assert [line["id"] for each in (journal.rotated(path), path) for line in told(each)] == ["6", "7", "8"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0


def test_rotate_by_the_second_of_two_leaves_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("old\n")
    descriptors = [os.open(path, os.O_RDWR) for _time in range(2)]
    for descriptor in descriptors:
        assert journal.rotate(path, descriptor)
        os.close(descriptor)
        path.write_text("new\n")
    assert (journal.rotated(path).read_text(), path.read_text()) == ("old\n", "new\n")


def a_directory_in_its_place(path: Path) -> None:
    path.mkdir(parents=True)


def a_file_in_the_place_of_its_directory(path: Path) -> None:
    path.parent.write_text("")


def a_full_disk(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to("/dev/full")


@pytest.mark.parametrize("hinder", [a_directory_in_its_place, a_file_in_the_place_of_its_directory, a_full_disk])
def test_journal_sink_that_cannot_write_stops_nothing(
    tmp_path: Path, hinder: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop" / "journal.jsonl"
    hinder(path)
    journal_sink(path, operation())({"event": "result", "ok": True})
    assert f"{path} could not be written" in capsys.readouterr().err
