# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running deploy says, as data and as the lines a pusher reads."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import events
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress


@pytest.mark.parametrize(
    ("event", "line"),
    [
        pytest.param({"event": "say", "text": "hello"}, "  hello", id="say"),
        pytest.param({"event": "phase", "name": "prove", "state": "started"}, None, id="phase_started"),
        pytest.param(
            {"event": "phase", "name": "prove", "state": "ended", "seconds": 1.26, "note": "200 on /"},
            "  prove       ok        1.3 s  200 on /",
            id="phase_ended",
        ),
        pytest.param(
            {"event": "phase", "name": "virtualenv", "state": "failed", "seconds": 120.0, "note": ""},
            "  virtualenv  FAILED  120.0 s",
            id="phase_failed",
        ),
        pytest.param({"event": "result", "ok": True, "message": "shop is live"}, "shop is live", id="result"),
        pytest.param({"event": "result", "ok": True, "message": ""}, "", id="result_without_words"),
        pytest.param({"event": "result", "ok": False, "message": "no"}, "no", id="failure"),
        pytest.param(
            {"event": "result", "ok": False, "message": "no", "hint": "do this", "detail": "line 1\nline 2\n"},
            "    line 1\n    line 2\nno\n  -> do this",
            id="failure_with_detail_first",
        ),
        pytest.param({"event": "of a later version"}, None, id="unknown"),
    ],
)
def test_rendered(event: Event, line: str | None) -> None:
    assert events.rendered(event) == line


def test_rendered_shows_the_end_of_a_long_detail() -> None:
    detail = "\n".join(f"line {number}" for number in range(100))
    lines = events.rendered_result({"ok": False, "message": "no", "detail": detail}).splitlines()
    assert lines[0] == "    line 80"
    assert lines[-2:] == ["    line 99", "no"]


@pytest.mark.parametrize(
    ("said", "detail", "told"),
    [
        pytest.param(["  running build_ext", "no gcc"], "running build_ext\n\nno gcc\n", True, id="all_of_it"),
        pytest.param(["running build_ext"], "running build_ext\nno gcc", False, id="not_its_end"),
        pytest.param(["line 90"], "\n".join(["begun", *["line 90"] * 20]), True, id="the_part_a_person_sees"),
        pytest.param(["hello"], "", False, id="no_detail"),
        pytest.param(["", "hello"], "\n \n", False, id="empty_lines"),
    ],
)
def test_a_detail_that_was_said_is_not_shown_again(said: list[str], detail: str, told: bool) -> None:
    progress = Progress([])
    for line in said:
        progress.say(line)
    assert progress.has_told(detail) == told
    event = {"event": "result", "ok": False, "message": "no", "detail": "line", "told": told}
    assert events.rendered(event) == ("no" if told else "    line\nno")


def test_phase_tells_every_sink_and_is_remembered() -> None:
    one: list[Event] = []
    two: list[Event] = []
    progress = Progress([one.append, two.append])
    with progress.phase("prove") as note:
        note.text = "200 on /"
    assert one == two
    assert [event["state"] for event in one] == ["started", "ended"]
    assert one[1]["note"] == "200 on /" and one[1]["seconds"] >= 0
    assert progress.phases == one[1:]


def test_phase_that_fails_is_told_and_goes_on_failing() -> None:
    said: list[dict[str, Any]] = []
    with pytest.raises(KeyError), Progress([said.append]).phase("checks"):
        raise KeyError("x")
    assert said[-1]["state"] == "failed"


def test_sink_may_be_added_while_it_runs() -> None:
    progress, late = Progress([]), []
    progress.say("nobody hears this")
    progress.sinks.append(late.append)
    progress.say("hello")
    assert late == [{"event": "say", "text": "hello"}]
