# SPDX-License-Identifier: GPL-3.0-or-later
"""How script/bench reads what it measured, as tables; what it measures is never asserted anywhere."""

from __future__ import annotations

import errno
import http.client
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench import deploy, load, noop, projects, servers
from bench.host import Trouble
from bench.report import Goal, Result, percentile, report, table
from tests.unit.scripts import script

ROOT = Path(__file__).resolve().parents[2]
BEGAN = 1_000.0


def line(at: float, **event: Any) -> dict[str, Any]:
    """A line of the journal of deploys, `at` seconds after the push began."""
    return {"at": datetime.fromtimestamp(BEGAN + at, UTC).isoformat(timespec="milliseconds"), "op": "push", **event}


def phase(name: str, began: float, ended: float) -> list[dict[str, Any]]:
    seconds = round(ended - began, 3)
    return [
        line(began, event="phase", name=name, state="started"),
        line(ended, event="phase", name=name, state="ended", seconds=seconds),
    ]


JOURNAL = [
    *phase("export", -9.0, -8.0),
    *phase("export", 0.5, 0.6),
    *phase("checks", 0.7, 1.0),
    line(1.0, event="accepted"),
    *phase("start", 1.25, 1.3),
    *phase("prove", 1.3, 1.9),
    line(2.0, event="result", ok=True),
    *phase("settle", 2.0, 2.5),
]


def test_parts_of_a_push_add_up_to_the_whole():
    parts = deploy.parts_of_push(JOURNAL, BEGAN, BEGAN + 2.25)
    expected = {
        "before": 0.5,
        "export": 0.1,
        "checks": 0.3,
        "between": 0.25,
        "start": 0.05,
        "prove": 0.6,
        "after": 0.25,
    }
    expected |= {"records": 0.2, "settle": 0.5, "host": 1.5}
    assert parts == pytest.approx(expected)
    assert sum(parts.values()) - parts["settle"] - parts["host"] == pytest.approx(2.25)


@pytest.mark.parametrize("journal", [[], JOURNAL[:6], JOURNAL[:2]], ids=["empty", "refused", "only_earlier"])
def test_parts_of_a_push_need_a_whole_push(journal):
    with pytest.raises(Trouble, match="journal"):
        deploy.parts_of_push(journal, BEGAN, BEGAN + 2.25)


def test_parts_of_the_plain_script():
    marks = "begin 1000.2\ntree 1000.3\ndjango 1000.7\nproven 1001.5\nend 1001.6\n"
    parts = deploy.parts_of_plain_push(marks, BEGAN, BEGAN + 2)
    expected = {"before": 0.2, "tree": 0.1, "django": 0.4, "proven": 0.8, "end": 0.1, "after": 0.4, "host": 1.4}
    assert parts == pytest.approx(expected)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), "ECONNRESET"),
        (OSError(errno.EADDRNOTAVAIL, "no port"), "EADDRNOTAVAIL"),
        (TimeoutError("timed out"), "TimeoutError"),
        (http.client.RemoteDisconnected("closed"), "RemoteDisconnected"),
        (http.client.BadStatusLine("x"), "BadStatusLine"),
    ],
)
def test_failure_name(error, name):
    assert load.failure_name(error) == name


def test_a_failed_request_breaks_a_promise_but_a_port_of_our_own_does_not():
    answers = [load.Answered("keep-alive", load.DEPLOY, 0.1)] * 200
    own = load.Answered("new connection", load.DEPLOY, 0.0, "EADDRNOTAVAIL")
    assert not load.reported(Result("load"), [*answers, own], 1).broken
    reset = load.Answered("keep-alive", load.DEPLOY, 0.1, "ECONNRESET")
    result = load.reported(Result("load"), [*answers, own, reset], 1)
    assert [goal.value for goal in result.goals] == [1]
    assert result.broken
    assert "  1 x keep-alive: ECONNRESET, deploys" in result.text


def test_too_few_requests_prove_nothing():
    assert load.reported(Result("load"), [load.Answered("keep-alive", load.REST, 0.1)], 20).broken


def test_tasks_end_where_the_next_thing_begins():
    said = [
        "PLAY [one] ***",
        "TASK [a] ***",
        "ok: [x]",
        "TASK [role : b] ***",
        "PLAY [two] ***",
        "RUNNING HANDLER [c] ***",
    ]
    said += ["PLAY RECAP ***", "x : ok=3    changed=0    unreachable=0"]
    lines = [(float(at), text) for at, text in enumerate(said)]
    assert noop.tasks_of(lines, 9.0) == [noop.Task("a", 2.0), noop.Task("role : b", 1.0), noop.Task("c", 1.0)]
    assert noop.changed(lines) == 0


def test_what_changed_is_told_with_its_task():
    said = [
        "TASK [a] ***",
        "ok: [x]",
        "TASK [b] ***",
        "changed: [x]",
        "RUNNING HANDLER [c] ***",
        "fatal: [x]: FAILED! => ...",
    ]
    told = noop.notable([(0.0, text) for text in said])
    assert told == ["TASK [b]", "  changed: [x]", "RUNNING HANDLER [c]", "  fatal: [x]: FAILED! => ..."]


def test_changes_are_summed_over_hosts():
    recap = ["a : ok=3    changed=2    unreachable=0", "b : ok=3    changed=1    unreachable=0"]
    assert noop.changed([(0.0, text) for text in recap]) == 3


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([], 0.5, 0.0),
        ([3.0], 0.99, 3.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 3.0),
        (list(range(100)), 0.99, 99),
        ([2.0, 1.0], 1.0, 2.0),
    ],
)
def test_percentile(values, part, expected):
    assert percentile(values, part) == expected


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        (Goal("a / b", 1.21, "x", 1.5), "a / b: 1.21x (goal: at most 1.5x)"),
        (Goal("a / b", 1.6, "x", 1.5), "a / b: 1.60x (goal: at most 1.5x)  MISSED"),
        (Goal("resident", 0, " MB", 0), "resident: 0 MB (goal: none)"),
        (Goal("a / b", 16.3, "x"), "a / b: 16.30x"),
    ],
)
def test_goal(goal, text):
    assert str(goal) == text


def test_the_goals_come_last():
    first = Result("one", ["how", "  1"], [Goal("a", 1, "x", 2)])
    second = Result("two", ["how"], broken=["a request failed"])
    assert report([first, second], "today")[-2:] == ["a: 1x (goal: at most 2x)", "BROKEN: a request failed"]


def test_table_is_aligned():
    assert table([["", "a"], ["long", "10"]]) == ["         a", "  long  10"]


def test_words_after_projects_are_cases():
    assert script("bench").with_cases(["load", "projects", "uv", "celery"]) == (["load", "projects"], ["uv", "celery"])
    assert script("bench").with_cases(["load", "noop"]) == (["load", "noop"], [])


@pytest.mark.parametrize(
    ("name", "why"),
    [("celry", "there is no case celry"), ("pipfile", "it is refused")],
)
def test_cases_that_cannot_be_measured(name, why):
    with pytest.raises(Trouble, match=why):
        projects.chosen([name])


def test_case_that_goes_nowhere_but_to_debian_12_cannot_be_measured():
    case = projects.chosen(["uv"])[1]
    assert projects.unfit(case) == ""
    assert projects.unfit(replace(case, hosts=("projects-bookworm",))) == "it is not pushed to Debian 13"


def test_cases_are_held_against_a_bare_startproject():
    assert [case.name for case in projects.chosen(["uv", "nothing"])] == ["nothing", "uv"]
    everything = [case.name for case in projects.chosen(["all"])]
    assert everything[0] == "nothing" and len(everything) > 20
    assert not {"pipfile", "s3"} & set(everything), "refused, with a server beside it"
    first = {name: {"whole": 9.0, "virtualenv": 7.0, "prove": 1.0} for name in ("nothing", "uv")}
    again = {
        "nothing": [{"whole": 1.0, "checks": 0.5}, {"whole": 2.0, "checks": 0.75}, {"whole": 3.0, "checks": 1.0}],
        "uv": [{"whole": 3.0, "prove": 1.2}] * 3,
    }
    result = projects.told(Result("projects"), first, again)
    assert result.text[-2:] == [
        "  nothing       9.0 s  virtualenv 7.0      2.0 s  checks 0.8           1.00x",
        "  uv            9.0 s  virtualenv 7.0      3.0 s   prove 1.2           1.50x",
    ]
    assert result.figures["uv"]["ratio"] == 1.5


def test_servers_are_told_side_by_side():
    times = {"p50": 0.007, "p99": 0.04, "max": 0.1}
    kinds = {servers.SHOWN: {load.REST: {**times, "p99": 0.02}, load.DEPLOY: times}}
    fine = Result("load", figures={"requests": 1000, "failed": 0, "kinds": kinds})
    bad = Result("load", figures={"requests": 500, "failed": 2, "kinds": kinds}, broken=["2 requests failed"])
    result = servers.told(Result("servers"), {"gunicorn, threads": fine, "uWSGI": bad})
    assert result.broken == ["uWSGI: 2 requests failed"]
    assert [str(goal) for goal in result.goals] == [
        "requests failed of 1500 over 5 deploys with each server: 2 (goal: none)  MISSED"
    ]
    assert any("1,000" in line and "2.00x" in line for line in result.text)
