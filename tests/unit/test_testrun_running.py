# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of parts that are no real ones: how each ends, what is remembered, and what is told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
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


@pytest.mark.parametrize(("spare", "removed"), [(0, False), (5, True)])
def test_what_removes_hosts_has_its_time_after_a_part_that_hung(
    spare: float, removed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Part, "limit", lambda *_: 0.01)
    hangs = Command(("sh", "-c", f"sleep {LONG}"))
    removes = Command(("sh", "-c", "sleep 2; echo removed"), spare=spare)
    outcome = run_part(Part("one", (hangs, removes)))
    assert outcome.failed == ((hangs,) if removed else (hangs, removes))
    assert ("\nremoved\n" in outcome.part.log.read_text()) is removed


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


@pytest.mark.parametrize(
    ("name", "minutes", "marked"), [("a", 0.001, True), ("a", 10, False), ("a/folder", 0.001, False)]
)
def test_a_part_over_its_budget_is_marked_and_passes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, minutes: float, marked: bool
) -> None:
    """A folder of a scenario's tests has no budget: its scenario's tells nothing of it."""
    monkeypatch.setitem(BUDGETS, "a", Budget(minutes, minutes))
    assert a_run(part(name, "sleep 0.2")).go()
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

#: Files of a checkout: one that counts for all parts, one of a scenario, a page.
CODE, PUSH, PAGE = "script/host", "molecule/push/tests/test_push.py", "docs/page.md"


@pytest.fixture
def checkout(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose files decide what is remembered; its memory and its committed times are its own."""
    root = results / "checkout"
    for name in (CODE, PUSH, PAGE):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("one\n")
    subprocess.run(["git", "init", "--quiet", root], check=True)
    real = resume.tree
    monkeypatch.setattr(resume, "tree", lambda: real(root))
    monkeypatch.setattr(resume, "MEMORY", results / "full.json")
    return root


@pytest.fixture
def renewed(monkeypatch: pytest.MonkeyPatch, checkout: Path) -> list[list[str]]:
    """The parts of which the committed times were renewed, each time they were. That writes a page."""
    calls: list[list[str]] = []

    def renew(known: dict[str, Part]) -> None:
        calls.append(list(known))
        (checkout / PAGE).write_text(f"times {len(calls)}\n")

    monkeypatch.setattr(main, "renew_times", renew)
    return calls


def full_run(known: Sequence[Part], *words: str) -> int:
    options = main.command_line(["--full", "--jobs", "1", *words])
    return main.run_all(options, {one.name: one for one in known}, keep_failed=True)


def left(*names: str) -> list[str]:
    """What of these is not remembered for the files as they are."""
    return resume.Memory.read(resume.MEMORY).left(resume.states(names))


NAMES = ("lint", "molecule-push", "molecule-fleet")


class Parts(list[Part]):
    """Parts that write down that they ran."""

    def __init__(self, results: Path, failing: str = "") -> None:
        self.log = results / "ran"
        texts = {name: f"echo {name} >>{self.log}" for name in NAMES}
        super().__init__(part(name, text, f"test {name} != '{failing}'") for name, text in texts.items())

    def ran(self) -> list[str]:
        """Those that ran since somebody asked, by name."""
        names = sorted(self.log.read_text().split()) if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return names


def test_what_passed_is_remembered_though_another_part_failed(renewed: list[list[str]], results: Path) -> None:
    assert full_run(Parts(results, failing="lint")) == 1
    assert left(*NAMES) == ["lint"]
    assert renewed == []


EDITS = [
    # edited files, which parts run again
    ([], []),
    ([PAGE], ["lint"]),
    ([PUSH], ["lint", "molecule-push"]),
    ([CODE], sorted(NAMES)),
    (["molecule/push/tests/test_new.py"], ["lint", "molecule-push"]),
]


@pytest.mark.parametrize("words", [[], ["all"]], ids=["", "all"])
@pytest.mark.parametrize(("edited", "again"), EDITS)
def test_after_an_edit_only_what_it_can_change_runs_again(
    renewed: list[list[str]],
    checkout: Path,
    results: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    edited: list[str],
    again: list[str],
) -> None:
    known = Parts(results)
    assert full_run(known, *words) == 0
    assert known.ran() == sorted(NAMES)
    before = {name: (checkout / name).read_text() for name in edited if (checkout / name).exists()}
    for name in edited:
        (checkout / name).write_text("two\n")
    # an edit that is taken back brings back what was remembered
    for name in edited:
        (checkout / name).write_text(before[name]) if name in before else (checkout / name).unlink()
    assert full_run(known, *words) == 0
    assert known.ran() == []
    for name in edited:
        (checkout / name).write_text("three\n")
    capsys.readouterr()
    assert full_run(known, *words) == 0
    assert known.ran() == again
    out = capsys.readouterr().out
    assert f"left: {', '.join(name for name in NAMES if name in again) or 'nothing'} (" in out
    assert out.splitlines()[-1] == "left: nothing"
    assert len(renewed) == 3


def test_a_full_run_goes_on_where_it_ended_and_renews_the_times_when_all_passed(
    renewed: list[list[str]], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing, mended = Parts(results, failing="lint"), Parts(results)
    assert full_run(failing) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["left: lint", "  go on: script/test --full"]
    assert failing.ran() == sorted(NAMES)
    assert renewed == []
    assert full_run(mended) == 0
    assert mended.ran() == ["lint"]
    assert renewed == [list(NAMES)]
    # the times are written by us; nothing runs again for them
    assert left(*NAMES) == []
    assert full_run(mended, "lint") == 0
    assert mended.ran() == ["lint"]
    assert full_run(mended, "--again") == 0
    assert mended.ran() == sorted(NAMES)


def test_a_named_part_that_fails_for_the_same_files_is_left(renewed: list[list[str]], results: Path) -> None:
    assert full_run(Parts(results)) == 0
    assert full_run(Parts(results, failing="lint"), "lint") == 1
    assert left(*NAMES) == ["lint"]


@pytest.mark.parametrize("back", ["", f"echo one >{{0}}/{PUSH}"], ids=["edited", "edited and taken back"])
def test_what_is_edited_while_a_part_runs_is_not_remembered_of_it(
    renewed: list[list[str]], checkout: Path, results: Path, capsys: pytest.CaptureFixture[str], back: str
) -> None:
    known = [
        part("molecule-push", f"echo two >{checkout}/{PUSH}", back.format(checkout) or "true"),
        part("molecule-fleet", "true"),
    ]
    assert full_run(known) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if re.match(r"molecule-push +\d", line))
    assert "passed" in row and "not remembered: files that can change it were edited while it ran" in row
    assert out.splitlines()[-2:] == ["left: molecule-push", "  go on: script/test --full"]
    assert left("molecule-push", "molecule-fleet") == ["molecule-push"]
    assert renewed == []


@pytest.mark.parametrize("variable", main.NARROWING)
def test_of_a_choice_of_the_tests_nothing_is_kept(
    renewed: list[list[str]], results: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "celery")
    assert full_run(Parts(results)) == 0
    assert left(*NAMES) == list(NAMES)
    assert not times.LOCAL.exists()
    assert renewed == []


def scenario_part(*texts: str) -> Part:
    """A scenario of a full run, whose tests are shell."""
    return replace(part("molecule-push", *texts), scenario="push")


def noted() -> list[str]:
    """The tests of it that need not be run again."""
    path = resume.Memory.read(resume.MEMORY).tests_of("molecule-push").path
    return path.read_text().splitlines()[1:] if path.exists() else []


NOTE = 'echo test-$(wc -l <"$DJDEPLOY_PASSED_TESTS") >>"$DJDEPLOY_PASSED_TESTS"'


def test_a_scenario_that_failed_leaves_its_tests_out_that_passed(
    renewed: list[list[str]], results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert full_run([scenario_part(NOTE, "false")]) == 1
    assert noted() == ["test-1"]
    assert full_run([scenario_part(NOTE, "false")]) == 1
    assert noted() == ["test-1", "", "test-3"]  # an empty line stands between two runs
    assert full_run([scenario_part("true")]) == 0
    assert "left out what of its independent tests had passed earlier, for the same files" in capsys.readouterr().out
    assert noted() == []  # who asks for it by name now gets all of it
    assert left("molecule-push") == []


WHILE_IT_RAN = {
    "edited while it ran": f"echo two >{{0}}/{PUSH}",
    "edited and taken back while it ran": f"echo two >{{0}}/{PUSH}; echo one >{{0}}/{PUSH}",
}


@pytest.mark.parametrize("edit", ["edited", *WHILE_IT_RAN, "again"])
def test_tests_that_passed_for_other_files_run_again(
    renewed: list[list[str]], checkout: Path, results: Path, edit: str
) -> None:
    meanwhile = WHILE_IT_RAN.get(edit, "true").format(checkout)
    assert full_run([scenario_part(NOTE, meanwhile, "false")]) == 1
    if edit == "edited":
        (checkout / PUSH).write_text("two\n")
    seen = results / "seen"
    words = ["--again"] if edit == "again" else []
    assert full_run([scenario_part(f'wc -l <"$DJDEPLOY_PASSED_TESTS" >{seen}')], *words) == 0
    assert seen.read_text().strip() == "1"


@pytest.mark.parametrize("of", ["every run", "a part that is no scenario", "a choice of its tests"])
def test_passed_tests_are_noted_in_full_scenarios_only(
    renewed: list[list[str]], monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    tried = part("molecule-push", 'test -z "$DJDEPLOY_PASSED_TESTS"')
    if of != "a part that is no scenario":
        tried = replace(tried, scenario="push")
    if of == "a choice of its tests":
        monkeypatch.setenv(main.NARROWING[0], "celery")
    options = main.command_line([] if of == "every run" else ["--full"])
    assert main.run_all(options, {tried.name: tried}, keep_failed=True) == 0


# --- the program ---

PROGRAM = """\
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from testrun import main, parts, resume, times
parts.RESULTS = Path({results!r})
times.LOCAL = parts.RESULTS / "times.json"
resume.MEMORY = parts.RESULTS / "full.json"
one = parts.Part("one", (parts.Command(("sh", "-c", {text!r})),) * 2, {needs!r})
parts.all_parts = lambda **_: {{"setup-hosts": parts.Part("setup-hosts", (), (), setup=True), "one": one}}
sys.exit(main.main({words!r}))
"""


def program(results: Path, text: str, words: Sequence[str], needs: tuple[str, ...] = ()) -> list[str]:
    """script/test with one part, as a program of its own."""
    given = PROGRAM.format(root=str(ROOT), results=str(results), text=text, words=list(words), needs=needs)
    return [sys.executable, "-c", given]


INTERRUPTIONS = [
    # signal, words, what the part needs, what is said
    (signal.SIGTERM, ["one"], (), "  again: script/test one"),
    (signal.SIGINT, ["--full", "one"], (), "  again: script/test --full one"),
    (signal.SIGINT, ["--full", "all"], ("setup-hosts",), "  go on: script/test --full all"),
    (signal.SIGINT, ["--full", "--again"], ("setup-hosts",), "  go on: script/test --full"),
]


@pytest.mark.parametrize(("number", "words", "needs", "again"), INTERRUPTIONS)
def test_whoever_interrupts_us_interrupts_the_parts_and_is_told_how_to_go_on(
    results: Path, number: signal.Signals, words: list[str], needs: tuple[str, ...], again: str
) -> None:
    fifo = results / "begun"
    os.mkfifo(fifo)
    slow = f"until [ -e {fifo}.told ]; do sleep 0.05; done; exit 1"
    argv = program(results, f"trap '{slow}' TERM; echo $$ >{fifo}; sleep {LONG} & wait", words, needs)
    ours = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    pid = int(fifo.read_text())
    ours.send_signal(number)
    assert ours.stderr
    first = ours.stderr.readline()
    Path(f"{fifo}.told").touch()  # only now the part ends: nobody waits for it to be told
    others = ours.stderr.read().splitlines()
    assert ours.wait(timeout=LONG / 2) == 128 + number
    assert gone(pid)
    assert "one" not in times.read(results / "times.json")
    assert first == "interrupted; running: one\n"
    assert others[-1] == again
    assert any("script/host list" in line and "script/host down" in line for line in others) is bool(needs)
    assert not any("Traceback" in line for line in others)


UNREAD = [
    # words, whether Python writes at once (PYTHONUNBUFFERED), status
    (["--list"], False, 128 + signal.SIGPIPE),
    (["--list"], True, 128 + signal.SIGPIPE),
    (["one"], False, 128 + signal.SIGPIPE),
    (["one"], True, 128 + signal.SIGPIPE),
    (["--help"], False, 128 + signal.SIGPIPE),
    (["--help"], True, 0),  # argparse passes over what it cannot write, and nothing is left to be written at the end
]


@pytest.mark.parametrize(("words", "at_once", "status"), UNREAD)
def test_whoever_stops_reading_ends_it_without_a_traceback(
    results: Path, words: list[str], at_once: bool, status: int
) -> None:
    argv = program(results, f"sleep {LONG}" if "one" in words else "true", words)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1" if at_once else ""}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        argv, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=LONG / 2, env=environment
    )
    os.close(writing)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.returncode == status


REFUSED = [
    # words, what is said in one line
    (["--jobs", "0"], "--jobs takes a number from 1 on, not 0"),
    (["--jobs", "-1"], "--jobs takes a number from 1 on, not -1"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_cannot_be_is_refused_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main.command_line(words)
    assert refused.value.code == 2
    assert capsys.readouterr().err == f"script/test: {said}\n"
