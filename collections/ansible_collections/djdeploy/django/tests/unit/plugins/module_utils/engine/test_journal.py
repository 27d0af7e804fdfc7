# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of a deploy, and that a journal which cannot be written stops none."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.journal import journal_line, journal_sink

CONTEXT = {"site": "shop", "op": "deploy", "door": "push", "who": "ada@laptop"}
NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
AT = {"at": "2026-03-01T12:00:00.123+00:00"}


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        pytest.param(
            {"event": "phase", "name": "prove", "state": "started"},
            {"event": "phase", "name": "prove", "state": "started"},
            id="phase_begins",
        ),
        pytest.param(
            {"event": "phase", "name": "prove", "state": "failed", "seconds": 0.25, "note": "500"},
            {"event": "phase", "name": "prove", "state": "failed", "seconds": 0.25, "note": "500"},
            id="phase_fails",
        ),
        pytest.param(
            {"event": "result", "ok": False, "message": "it broke", "hint": "mend it", "detail": "PASSWORD=hunter2"},
            {"event": "result", "ok": False, "message": "it broke", "hint": "mend it"},
            id="no_detail_a_traceback_may_show_secrets",
        ),
        pytest.param(
            {"event": "result", "ok": True, "changed": True, "phases": [{"name": "prove"}], "plan": {"packages": []}},
            {"event": "result", "ok": True, "changed": True},
            id="no_phases_they_have_lines_of_their_own",
        ),
        pytest.param(
            {"event": "result", "ok": True, "message": "größer\nals gedacht"},
            {"event": "result", "ok": True, "message": "größer\nals gedacht"},
            id="a_line_break_stays_in_one_line",
        ),
    ],
)
def test_journal_line(event: Event, kept: dict[str, Any]) -> None:
    line = journal_line(event, CONTEXT, NOW)
    assert line is not None
    assert line.endswith("\n") and line.count("\n") == 1
    assert json.loads(line) == {**AT, **CONTEXT, **kept}


@pytest.mark.parametrize("event", [{"event": "say", "text": "on it"}, {"event": "unheard of"}], ids=["say", "unknown"])
def test_journal_line_of_chatter(event: Event) -> None:
    assert journal_line(event, CONTEXT, NOW) is None


def test_journal_sink_appends_and_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "journal.jsonl"
    for number in range(2):  # a sink for each deploy
        Progress([journal_sink(path, {**CONTEXT, "who": f"ada{number}"})]).emit({"event": "result", "ok": True})
    assert [json.loads(line)["who"] for line in path.read_text().splitlines()] == ["ada0", "ada1"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0, "messages tell of a site's inside"


def test_journal_sink_makes_no_file_for_chatter(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "journal.jsonl"
    Progress([journal_sink(path, CONTEXT)]).say("on it")
    assert not path.parent.exists()


def test_journal_sink_writes_each_line_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    progress = Progress([journal_sink(path, CONTEXT)])
    with pytest.raises(ZeroDivisionError), progress.phase("migrate"):
        assert json.loads(path.read_text())["state"] == "started", "a crash now must leave a trace"
        raise ZeroDivisionError
    assert [json.loads(line)["state"] for line in path.read_text().splitlines()] == ["started", "failed"]


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
    if hinder is a_full_disk and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    path = tmp_path / "shop" / "journal.jsonl"
    hinder(path)
    journal_sink(path, CONTEXT)({"event": "result", "ok": True})
    assert f"{path} could not be written" in capsys.readouterr().err
