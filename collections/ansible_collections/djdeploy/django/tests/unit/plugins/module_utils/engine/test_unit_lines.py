# SPDX-License-Identifier: GPL-3.0-or-later
"""What a unit wrote is whole again where journald cut it, and where it cannot be, halves of secrets are not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import runner
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_secrets import covered, cut_mark, forms
from ansible_collections.djdeploy.django.plugins.module_utils.engine.unit_lines import LINE_MAX, text_of

SOME = cut_mark(None)
SECRET = "c4n4ry-and-k4n0ry-10-rest"


def record(message: Any, stream: str | None = "a", goes_on: str = "", pid: int = 7) -> str:
    told: dict[str, Any] = {"__CURSOR": "s=1", "MESSAGE": message, "_PID": str(pid)}
    if stream:
        told["_STREAM_ID"] = stream
    if goes_on:
        told["_LINE_BREAK"] = goes_on
    return json.dumps(told, ensure_ascii=False)


def long(message: Any, stream: str = "a", pid: int = 7) -> str:
    return record(message, stream, "line-max", pid)


def half(message: Any, pid: int) -> str:
    return record(message, "a", "pid-change", pid)


@pytest.mark.parametrize(
    ("records", "text"),
    [
        pytest.param([], "", id="nothing"),
        pytest.param([record("one"), record("two", None)], "one\ntwo\n", id="whole ones"),
        pytest.param([long("one "), record("line")], "one line\n", id="a cut one"),
        pytest.param([long("a"), long("b"), long("c"), record("d"), record("e")], "abcd\ne\n", id="cut often"),
        pytest.param(
            [long("a1 "), long("b1 ", "b"), record("a2"), record("b2", "b")], "a1 a2\nb1 b2\n", id="two streams mixed"
        ),
        pytest.param([long("a1 "), record("systemd", None), record("a2")], "a1 a2\nsystemd\n", id="systemd between"),
        pytest.param(
            [half("a1 ", 1), half("b1 ", 2), half("a2 ", 1), record("b2", pid=2), record("a3", pid=1)],
            "a1 a2 a3\nb1 b2\n",
            id="two processes mixed",
        ),
        pytest.param([half("ready", 1), record("ValueError: x", pid=2)], "ready\nValueError: x\n", id="no end of line"),
        pytest.param([record("a", goes_on="eof"), record("b", goes_on="nul"), record("c")], "a\nb\nc\n", id="ended"),
        pytest.param([record("one"), long("cut")], f"one\ncut{SOME}\n", id="cut at the end"),
        pytest.param([record(list(b"\x1b[31mred"))], "\x1b[31mred\n", id="bytes"),
        pytest.param([record([0xE4, 0x62])], "\ufffdb\n", id="bytes that are no text"),
        pytest.param([long([0x61, 0xE2, 0x82]), record([0xAC, 0x62])], "a\u20acb\n", id="cut in a character"),
        pytest.param([record([])], "\n", id="no bytes"),
        pytest.param([record(["one", list(b"two")])], "one\ntwo\n", id="there twice"),
        pytest.param([record(None), record("b")], f"{SOME}\nb\n", id="null"),
        pytest.param([json.dumps({"_STREAM_ID": "a"})], f"{SOME}\n", id="no message"),
        pytest.param([record("a\r\nb\rc\u2028d\ne", None)], "a\nb\nc\u2028d\ne\n", id="ends of lines"),
        pytest.param(["-- No entries --"], "-- No entries --\n", id="a word of journalctl's"),
        pytest.param(['{"MESSAGE":[99,', record("b", None)], f"{SOME}\nb\n", id="a record that is not whole"),
        pytest.param(
            [long("a1"), cut_mark(9), record("a2"), record("a3"), record("b", None)],
            f"a1{SOME}\n{cut_mark(9)}\n{SOME}a2\na3\nb\n",
            id="records left out",
        ),
        pytest.param(["5", "[]"], "5\n[]\n", id="JSON that is no record"),
    ],
)
def test_lines(records: list[str], text: str) -> None:
    assert text_of(records, 100, full=False) == text


@pytest.mark.parametrize(
    ("records", "text"),
    [
        pytest.param([record("a"), record("b"), record("c"), record("d")], "c\nd\n", id="others"),
        pytest.param([record("a"), long("b"), record("c"), record("d")], "bc\nd\n", id="it begins before"),
        pytest.param([long("a"), long("b"), record("c"), record("d")], f"{SOME}abc\nd\n", id="perhaps earlier still"),
        pytest.param([record("a"), record("b"), record("c", "b"), record("d")], "c\nd\n", id="another stream"),
    ],
)
def test_of_more_than_is_shown(records: list[str], text: str) -> None:
    assert text_of(records, 2, full=True) == text


@pytest.mark.parametrize("at", range(1, len(SECRET)))
def test_no_half_of_a_secret_is_shown(at: int) -> None:
    known = forms((), [SECRET])
    front, rest = f"{'q' * (LINE_MAX - at)}{SECRET[:at]}", f"{SECRET[at:]} behind"
    assert len(front) == LINE_MAX
    said = {
        "joined": text_of([long(front), record(rest)], 20, full=False),
        "without its beginning": text_of(["x"] * 3 + [cut_mark(5), record(rest)], 20, full=False),
        "without its end": text_of([long(front)], 20, full=False),
        "at the edge": text_of([long(rest), record("the end")], 1, full=True),
    }
    for how, text in said.items():
        after = covered(text, known)
        assert "********" in after, how
        assert SECRET[:4] not in after and SECRET[-4:] not in after, (how, after[-80:])


def test_blanks_at_the_cut_are_missed() -> None:
    """journald removes those at the end of a record."""
    secret = "four words and c4n4ry"
    front = "q" * (LINE_MAX - 5) + "four"
    after = covered(text_of([long(front), record("words and c4n4ry")], 20, full=False), forms((), [secret]))
    assert after.endswith(f"q********{SOME}********\n")


def test_it_is_bounded() -> None:
    flood = [record(f"{number:05} " + "x" * 1000) for number in range(3000)]
    text = text_of([*flood, record("y" * 1_000_000), record("ValueError: last")], 10_000, full=False)
    assert text.startswith("00000 ") and text.endswith("y\nValueError: last\n")
    assert len(text) < 2 * runner.KEPT + 4 * runner.LONGEST_LINE
