# SPDX-License-Identifier: GPL-3.0-or-later
"""What systemd and ss say, read; and what they are asked, in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import units
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import ReleasePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed

RELEASE = ReleasePaths("shop", "20260301T120000-abcdef0")
SERVICE = "djdeploy-shop@20260301T120000-abcdef0.service"
SOCKET = "djdeploy-shop@20260301T120000-abcdef0.socket"


class Host:
    """A Runner that keeps what it was asked and answers as `answer` says."""

    def __init__(self, answer: Callable[[str], str | Completed] = lambda line: "") -> None:
        self.asked: list[str] = []
        self.answer = answer

    def __call__(self, argv: Sequence[str | Path], **options: Any) -> Completed:
        words = tuple(str(word) for word in argv)
        self.asked.append(" ".join(words))
        answer = self.answer(self.asked[-1])
        return answer if isinstance(answer, Completed) else Completed(words, 0, answer, "")


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "state", "broken"),
    [
        (
            "ActiveState=active\nSubState=running\nNRestarts=0\nResult=success\n",
            units.UnitState("active", "running", 0, "success"),
            False,
        ),
        (
            "NRestarts=0\nResult=success\nActiveState=activating\nSubState=start\n",
            units.UnitState("activating", "start", 0, "success"),
            False,
        ),
        (
            "ActiveState=inactive\nSubState=dead\nNRestarts=0\nResult=success\n",
            units.UnitState("inactive", "dead", 0, "success"),
            False,
        ),
        (
            "ActiveState=failed\nSubState=failed\nNRestarts=0\nResult=exit-code\n",
            units.UnitState("failed", "failed", 0, "exit-code"),
            True,
        ),
        (
            "ActiveState=active\nSubState=running\nNRestarts=3\nResult=success\n",
            units.UnitState("active", "running", 3, "success"),
            True,
        ),
        (
            "ActiveState=activating\nSubState=auto-restart\nNRestarts=0\nResult=exit-code\n",
            units.UnitState("activating", "auto-restart", 0, "exit-code"),
            True,
        ),
        (
            "ActiveState=active\nSubState=listening\nResult=success\n",
            units.UnitState("active", "listening", 0, "success"),
            False,
        ),
        ("ActiveState=active\nNRestarts=\n", units.UnitState("active", "unknown", 0, ""), False),
        ("Result=a=b\n\nnonsense\n", units.UnitState("unknown", "unknown", 0, "a=b"), False),
        ("", units.UnitState("unknown", "unknown", 0, ""), False),
    ],
    ids=[
        "running",
        "any order",
        "dead",
        "failed",
        "restarted",
        "waits to restart",
        "socket",
        "empty",
        "noise",
        "nothing",
    ],
)
def test_parse_show(text: str, state: units.UnitState, broken: bool) -> None:
    assert units.parse_show(text) == state
    assert state.broken is broken


@pytest.mark.parametrize(
    ("text", "waiting"),
    [
        ("", 0),
        ("u_str LISTEN 0 2048 /run/djdeploy/shop/20260301T120000-abcdef0.sock 12345 * 0\n", 0),
        ("u_str LISTEN 7      2048   /run/djdeploy/shop/20260301T120000-abcdef0.sock 12345      * 0   \n", 7),
        ("u_str LISTEN 2 128 /run/a.sock 1 * 0\nu_str LISTEN 3 128 /run/b.sock 2 * 0\n", 5),
        ("\nu_str LISTEN 4 128 /run/a.sock 1 * 0\n\n", 4),
    ],
    ids=["nothing listens", "calm", "waiting", "two listeners", "empty lines"],
)
def test_parse_backlog(text: str, waiting: int) -> None:
    assert units.parse_backlog(text) == waiting


LISTED = """\
djdeploy-shop@20260301T120000-abcdef0.service loaded active   running   Release 20260301T120000-abcdef0 of shop
djdeploy-shop@20260301T120000-abcdef0.socket  loaded active   running   Socket of it
djdeploy-shop@20260302T120000.01-1234567.socket loaded active listening Socket of it
djdeploy-my-shop@20260303T120000-aaaaaaa.service loaded active running Another
djdeploy-shop-two@20260304T120000-bbbbbbb.service loaded active running Another
djdeploy-shop.service loaded active exited Starts what is live
djdeploy-deployer@7-0.service loaded active running The deployer
system-djdeploy\\x2dshop.slice loaded active active A slice
"""


@pytest.mark.parametrize(
    ("text", "site", "found"),
    [
        ("", "shop", set()),
        (LISTED, "shop", {"20260301T120000-abcdef0", "20260302T120000.01-1234567"}),
        (LISTED, "my-shop", {"20260303T120000-aaaaaaa"}),
        (LISTED, "shop-two", {"20260304T120000-bbbbbbb"}),
        (LISTED, "sho", set()),
        (LISTED, "s.op", set()),
        (
            "● djdeploy-shop@20260301T120000-abcdef0.service not-found failed failed",
            "shop",
            {"20260301T120000-abcdef0"},
        ),
    ],
    ids=[
        "nothing",
        "both kinds of unit",
        "longer at the front",
        "longer at the end",
        "shorter",
        "no pattern",
        "failed",
    ],
)
def test_parse_instances(text: str, site: str, found: set[str]) -> None:
    assert units.parse_instances(text, site) == found


def test_parse_states() -> None:
    assert units.parse_states(LISTED, "shop") == {
        "20260301T120000-abcdef0": {"active"},
        "20260302T120000.01-1234567": {"active"},
    }
    failed = "djdeploy-shop@20260301T120000-abcdef0.service not-found failed failed x\n"
    assert units.parse_states(failed + LISTED, "shop")["20260301T120000-abcdef0"] == {"active", "failed"}


def test_running_releases_asks_for_the_site_alone() -> None:
    host = Host(lambda line: LISTED)
    assert units.running_releases("shop", run=host) == {"20260301T120000-abcdef0", "20260302T120000.01-1234567"}
    assert host.asked == ["systemctl list-units --all --plain --no-legend djdeploy-shop@*"]


def test_state_reads_what_systemd_shows() -> None:
    host = Host(lambda line: "ActiveState=active\nSubState=running\nNRestarts=1\nResult=success\n")
    assert units.state("nginx.service", run=host) == units.UnitState("active", "running", 1, "success")
    assert host.asked == ["systemctl show nginx.service -p ActiveState,SubState,NRestarts,Result"]


def test_journal_tail_is_bounded_and_whole() -> None:
    cut = '{"MESSAGE":"one\u2028 ","_STREAM_ID":"a","_LINE_BREAK":"line-max"}\n{"MESSAGE":"line","_STREAM_ID":"a"}\n'
    host = Host(lambda line: "" if "--sync" in line else cut)
    assert units.journal_tail(SERVICE, 5, run=host) == "one\u2028 line\n"
    asked = f"journalctl --unit {SERVICE} --lines 10 --no-pager --output json --all --output-fields "
    assert host.asked == ["journalctl --sync", asked + "MESSAGE,_STREAM_ID,_PID,_LINE_BREAK"]


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("x.service: Failed with result 'exit-code'.\n", "exit-code"),
        ("x.service: Failed with result 'exit-code'.\nx.service: Failed with result 'oom-kill'.\n", "oom-kill"),
    ],
    ids=["never", "once", "the last counts"],
)
def test_parse_failure(text: str, result: str) -> None:
    assert units.parse_failure(text) == result


def test_failure_since_asks_for_what_came_later() -> None:
    host = Host(lambda _line: "x.service: Failed with result 'signal'.\n")
    assert units.failure_since(SERVICE, 1700000000.9, run=host) == "signal"
    words = f"journalctl --unit {SERVICE} --since @1700000000 --output cat --no-pager "
    assert host.asked[-1].startswith(words)
    fields = dict(word.split("=") for word in host.asked[-1].removeprefix(words).split())
    assert fields["_PID"] == "1", "a site may write what systemd would, to the journal of its own unit"
    assert len(fields["MESSAGE_ID"]) == 32


# --- what is asked --------------------------------------------------------------------------------


def test_start_socket_first_and_waits_for_no_service() -> None:
    host = Host()
    units.start(RELEASE, run=host)
    assert host.asked == [
        f"systemctl reset-failed {SERVICE} {SOCKET}",
        f"systemctl start {SOCKET}",
        f"systemctl start --no-block {SERVICE}",
    ]
    new = Host()
    units.start(RELEASE, again=False, run=new)
    assert new.asked == host.asked[1:], "of what never ran nothing is to be forgotten"


@pytest.mark.parametrize("refused", [SOCKET, SERVICE], ids=["socket", "service"])
def test_start_refused(refused: str) -> None:
    def answer(line: str) -> str | Completed:
        if line.startswith("systemctl start") and line.endswith(refused):
            return Completed((), 1, "", "Job failed.\n")
        return "Bad unit file setting.\n" if line.startswith("journalctl") else ""

    host = Host(answer)
    with pytest.raises(EngineError) as raised:
        units.start(RELEASE, run=host)
    assert raised.value.message == f"systemd could not start {refused}"
    assert raised.value.hint == f"see: journalctl -u {refused}"
    assert raised.value.detail == "Job failed.\nBad unit file setting.\n"
    assert any(line.startswith(f"journalctl --unit {refused} ") for line in host.asked)


def test_start_of_a_unit_systemd_does_not_know_yet() -> None:
    host = Host(lambda line: Completed((), 1, "", "not loaded") if "reset-failed" in line else "")
    units.start(RELEASE, run=host)
    assert len(host.asked) == 3, "reset-failed of what never ran is no error"


@pytest.mark.parametrize(
    ("block", "asked"),
    [
        (False, [f"systemctl stop --no-block {SOCKET} {SERVICE}"]),
        (True, [f"systemctl stop {SOCKET} {SERVICE}", f"systemctl reset-failed {SERVICE} {SOCKET}"]),
    ],
    ids=["no-block", "block"],
)
def test_stop_both_in_one_transaction(block: bool, asked: list[str]) -> None:
    host = Host()
    units.stop(RELEASE, block=block, run=host)
    assert host.asked == asked


def test_kill_does_not_wait_for_requests() -> None:
    host = Host()
    units.kill(RELEASE, run=host)
    assert host.asked[:2] == [f"systemctl kill --signal KILL {SERVICE}", f"systemctl stop {SOCKET} {SERVICE}"]


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of waiting, played: it passes by sleeping only."""
    slept: list[float] = []
    monkeypatch.setattr(units, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("backlog", "looks"),
    [([0], 3), ([2, 0, 1, 0], 6)],
    ids=["calm at once", "not calm yet"],
)
def test_drain_looks_until_calm(backlog: list[int], looks: int) -> None:
    def answer(line: str) -> str:
        waiting = backlog[min(len(host.asked), len(backlog)) - 1]
        return f"u_str LISTEN {waiting} 2048 {RELEASE.socket} 1 * 0\n"

    host = Host(answer)
    units.drain(RELEASE, run=host)
    assert host.asked == [f"ss -xlnH src {RELEASE.socket}"] * looks


@pytest.mark.usefixtures("played")
def test_drain_gives_up_in_the_end() -> None:
    host = Host(lambda line: f"u_str LISTEN 9 2048 {RELEASE.socket} 1 * 0\n")
    units.drain(RELEASE, timeout=0.25, run=host)
    assert len(host.asked) == 3


# --- memory ---------------------------------------------------------------------------------------


def test_spare_takes_the_mark_off_a_whole_family(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for pid, children in {"10": "11 12", "11": "", "12": "13 14", "13": ""}.items():  # 14 has ended meanwhile
        (tmp_path / pid / "task" / pid).mkdir(parents=True)
        (tmp_path / pid / "oom_score_adj").write_text("500")
        (tmp_path / pid / "task" / pid / "children").write_text(children)
    (tmp_path / "99").mkdir()
    (tmp_path / "99" / "oom_score_adj").write_text("500")
    units.spare(RELEASE, proc=tmp_path, run=lambda argv, **_options: Completed(tuple(argv), 0, "10\n", ""))
    marks = {path.parent.name: path.read_text() for path in tmp_path.glob("*/oom_score_adj")}
    assert marks == {"10": "0", "11": "0", "12": "0", "13": "0", "99": "500"}
    assert "14/oom_score_adj: No such file" in capsys.readouterr().err
