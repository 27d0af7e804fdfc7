# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of parts that are no real ones: how each ends, what is remembered, and what is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from testrun import main, parts, resume, running, times
from testrun.parts import BUDGETS, EVERY, FULL, ROOT, Budget, Command, Part
from testrun.running import Children, Outcome

LONG = 300  # seconds a program would take that is ended before


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logs and times of these parts are not those of the checkout."""
    monkeypatch.setattr(parts, "RESULTS", tmp_path)
    monkeypatch.setattr(times, "LOCAL", tmp_path / "times.json")
    monkeypatch.setattr(times, "COMMITTED", tmp_path / "committed.json")
    for variable in main.NARROWING:
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def shell(text: str, **different: object) -> Command:
    return replace(Command(("sh", "-c", text)), **different)


def part(name: str, *texts: str, needs: tuple[str, ...] = ()) -> Part:
    return Part(name, tuple(map(shell, texts)), needs)


def run_part(one: Part, ring: str = EVERY) -> Outcome:
    return running.run_part(one, ring, Children())


def test_all_programs_of_a_part_run_and_one_that_fails_fails_it() -> None:
    outcome = run_part(part("one", "echo first", "echo second; exit 3", "echo third"))
    assert not outcome.passed
    assert [command.argv[-1] for command in outcome.failed] == ["echo second; exit 3"]
    log = outcome.part.log.read_text()
    assert [log.count(f"\n{word}\n") for word in ("first", "second", "third")] == [1, 1, 1]


@pytest.mark.parametrize(("status", "removed"), [(0, True), (1, False)])
def test_what_removes_the_hosts_runs_only_if_all_passed(status: int, removed: bool) -> None:
    commands = (shell(f"exit {status}"), shell("echo removed", only_if_passed=True))
    assert ("\nremoved\n" in run_part(Part("one", commands)).part.log.read_text()) is removed


def test_a_log_is_of_the_last_run() -> None:
    run_part(part("one", "echo before"))
    assert "before" not in run_part(part("one", "echo now")).part.log.read_text()


def test_a_program_that_is_not_there_fails_the_part() -> None:
    outcome = run_part(Part("one", (Command(("no-such-program",)),)))
    assert not outcome.passed
    assert "no-such-program is not installed" in outcome.part.log.read_text()


def test_a_part_that_hangs_is_ended_with_all_it_started(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    inner = results / "inner"
    seconds = 1.0
    while not inner.exists():  # a busy machine may need longer than that to start it at all
        monkeypatch.setattr(Part, "limit", lambda *_, seconds=seconds: seconds / 60)
        outcome = run_part(part("one", f"sleep {LONG} & echo $! >{inner}.new; mv {inner}.new {inner}; wait"))
        assert not outcome.passed
        assert "took longer than its limit" in outcome.part.log.read_text()
        seconds *= 4
    assert gone(int(inner.read_text()))


def gone(pid: int) -> bool:
    """Whether a process that was signalled ends, or has only not been waited for."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(("ring", "said"), [(EVERY, "unset"), (FULL, "1")])
def test_full_is_in_the_environment_of_every_part_of_a_full_run_and_of_no_other(
    monkeypatch: pytest.MonkeyPatch, ring: str, said: str
) -> None:
    monkeypatch.setenv("DJDEPLOY_FULL", "from outside")
    log = run_part(part("one", 'echo "full is ${DJDEPLOY_FULL-unset}."'), ring).part.log.read_text()
    assert f"\nfull is {said}.\n" in log


# --- several parts ---


def a_run(*given: Part, memory: resume.Memory | None = None, full: bool = False) -> main.Run:
    return main.Run({one.name: one for one in given}, full, lanes=2, keep_failed=True, memory=memory)


def test_what_needs_a_failed_part_does_not_run_and_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    passed = a_run(part("images", "exit 1"), part("single", "echo ran", needs=("images",)), part("unit", "true")).go()
    assert not passed
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith(("images ", "single ", "unit "))}
    assert "FAILED" in rows["images"]
    assert "not run" in rows["single"] and "needs images" in rows["single"]
    assert "passed" in rows["unit"]


def test_two_run_at_a_time_and_both_are_needed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of the two waits for the other: neither would end if they ran one after the other."""
    meet = "echo here >{0}/{1}; until [ -e {0}/{2} ]; do sleep 0.05; done"
    assert a_run(part("a", meet.format(results, "a", "b")), part("b", meet.format(results, "b", "a"))).go()
    assert "running: a, b; next: nothing" in capsys.readouterr().out


def test_a_part_starts_after_what_it_needs(results: Path) -> None:
    assert a_run(
        part("needs", f"test -e {results}/there", needs=("makes",)), part("makes", f"sleep 0.2; touch {results}/there")
    ).go()


def test_last_times_decide_the_order(capsys: pytest.CaptureFixture[str]) -> None:
    known = {
        name: {EVERY: times.Time(seconds=seconds, passed=True, date="2026-11-29", cores=2)}
        for name, seconds in (("a", 10), ("b", 300), ("c", 100))
    }
    times.write_whole(times.LOCAL, known)
    assert replace(a_run(part("a", "true"), part("b", "true"), part("c", "true")), lanes=1).go()
    out = capsys.readouterr().out
    assert "b ... (running: b; next: c, a)" in out
    assert out.index("b: passed") < out.index("c: passed") < out.index("a: passed")


def test_times_are_kept_with_their_ring_and_whether_it_passed() -> None:
    a_run(part("a", "true"), part("b", "exit 1"), full=True).go()
    a_run(part("a", "true"), part("one/folder", "true")).go()
    kept = json.loads(times.LOCAL.read_text())
    assert {name: {ring: one["passed"] for ring, one in rings.items()} for name, rings in kept.items()} == {
        "a": {FULL: True, EVERY: True},
        "b": {FULL: False},
    }
    assert kept["a"][FULL]["cores"] == os.cpu_count()


@pytest.mark.parametrize(("minutes", "marked"), [(0.001, True), (10, False)])
def test_a_part_over_its_budget_is_marked_and_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], minutes: float, marked: bool
) -> None:
    monkeypatch.setitem(BUDGETS, "a", Budget(minutes, minutes))
    assert a_run(part("a", "sleep 0.2")).go()
    assert ("over its budget by" in capsys.readouterr().out) is marked


def test_a_failed_test_is_told_with_its_command_when_it_fails_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = Path(__file__).relative_to(ROOT)
    one = Part(
        "unit", (shell(f"echo 'FAILED {file}::test_x[a b] - no'; echo '1 failed in 2.00s'; exit 1", tests=ROOT),)
    )
    assert not a_run(one).go()
    out = capsys.readouterr().out
    assert out.count(f"alone: script/test alone '{file}::test_x[a b]'") == 2
    table, _, closing = out.partition("total: ")
    assert "unit:\n1 failed in 2.00s" in table
    assert "unit: FAILED" in closing


# --- full runs ---


@pytest.fixture
def memory(results: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], resume.Memory]:
    """The memory of a tree; the tree is what the test says it is."""

    def of(tree: str) -> resume.Memory:
        monkeypatch.setattr(resume, "digest", lambda *_: tree)
        return resume.Memory.of_tree(results / "full.json", tree, again=False)

    return of


def test_what_passed_is_remembered_though_another_part_failed(memory: Callable[[str], resume.Memory]) -> None:
    assert not a_run(part("a", "true"), part("b", "exit 1"), memory=memory("one"), full=True).go()
    assert memory("one").left(["a", "b"]) == ["b"]


def test_what_passed_while_files_changed_is_not_remembered(
    memory: Callable[[str], resume.Memory], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = memory("one")
    monkeypatch.setattr(resume, "digest", lambda *_: "two")
    assert a_run(part("a", "true"), memory=before, full=True).go()
    assert "files have changed since the start" in capsys.readouterr().out
    assert memory("one").left(["a"]) == ["a"]


@pytest.mark.parametrize("variable", main.NARROWING)
def test_of_a_choice_of_the_tests_nothing_is_kept(
    variable: str, memory: Callable[[str], resume.Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "celery")
    assert a_run(part("a", "true"), memory=memory("one"), full=True).go()
    assert memory("one").left(["a"]) == ["a"]
    assert not times.LOCAL.exists()


def full_run(known: Sequence[Part], *words: str) -> int:
    options = main.command_line(["--full", "--jobs", "1", *words])
    return main.run_all(options, {one.name: one for one in known}, keep_failed=True)


@pytest.fixture
def renewed(monkeypatch: pytest.MonkeyPatch, results: Path) -> list[list[str]]:
    """The parts of which the committed times were renewed, each time they were."""
    monkeypatch.setattr(resume, "MEMORY", results / "full.json")
    calls: list[list[str]] = []
    monkeypatch.setattr(main, "renew_times", lambda known: calls.append(list(known)))
    return calls


def test_a_full_run_goes_on_where_it_ended_and_renews_the_times_when_all_passed(
    renewed: list[list[str]], results: Path, memory: Callable[[str], resume.Memory], capsys: pytest.CaptureFixture[str]
) -> None:
    memory("one")
    known = [part("a", f"echo a >>{results}/ran"), part("b", f"echo b >>{results}/ran; test -e {results}/mended")]
    ran = results / "ran"
    assert (full_run(known), ran.read_text(), renewed) == (1, "a\nb\n", [])
    (results / "mended").touch()
    capsys.readouterr()
    assert (full_run(known), ran.read_text(), renewed) == (0, "a\nb\nb\n", [["a", "b"]])
    out = capsys.readouterr().out
    assert "passed 20" in out and "left: b (" in out
    assert (full_run(known), ran.read_text()) == (0, "a\nb\nb\n")
    assert (full_run(known, "a"), ran.read_text()) == (0, "a\nb\nb\na\n")
    assert full_run(known, "--again") == 0
    assert sorted(ran.read_text().split()) == ["a", "a", "a", "b", "b", "b"]
    memory("two")
    assert full_run(known) == 0
    assert sorted(ran.read_text().split()) == ["a"] * 4 + ["b"] * 4


# --- the program ---

INTERRUPTED = """\
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from testrun import main, parts, times
parts.RESULTS = Path({results!r})
times.LOCAL = parts.RESULTS / "times.json"
parts.all_parts = lambda **_: {{"one": parts.Part("one", (parts.Command(("sh", "-c", {text!r})),) * 2, ())}}
sys.exit(main.main(["one"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_whoever_interrupts_us_interrupts_the_parts(results: Path, number: signal.Signals) -> None:
    fifo = results / "begun"
    os.mkfifo(fifo)
    text = f"echo $$ >{fifo}; sleep {LONG}"
    program = INTERRUPTED.format(root=str(ROOT), results=str(results), text=text)
    ours = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pid = int(fifo.read_text())
    ours.send_signal(number)
    assert ours.wait(timeout=LONG / 2) not in (0, 1)
    assert gone(pid)
    assert not times.LOCAL.exists()
