# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tests: those of every run, or the parts that are named. What a part needs is installed first.

Two parts run beside one another (one where there is a single core: a host that boots is not small), those that take
longest first. Each writes a log of its own, test-results/<part>.log; at the end the logs of failed parts are shown
whole, of the others what pytest said last, a table tells what took how long, and for each test that failed the
command that runs it alone. The status is 0 only if every part passed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from testrun import alone, parts, report, resume, running, schedule, times
from testrun.parts import ROOT, Part
from testrun.running import Children, Console, Lanes, Outcome

EPILOG = """\
examples:
  script/test                             what every run runs
  script/test lint unit                   these parts
  script/test molecule push fleet         these scenarios
  script/test molecule single/broken      one folder of the tests of a scenario
  script/test alone 'molecule/push/tests/test_push.py::test_x[y]'
                                          one test, on the hosts that are up
  script/test --full                      everything there is; again: what has not passed yet
  script/test --list                      the parts, their budgets and times
"""


#: Variables by which somebody runs a choice of the tests. Then nothing is kept: it is not the whole part that passed.
NARROWING = ("DJDEPLOY_CASES", "PYTEST_ADDOPTS")


def complain(what: str, remedy: str = "see: script/test --help") -> NoReturn:
    """Refuse a command line, in one line if there is no remedy beside it."""
    print(f"script/test: {what}", *filter(None, [remedy]), sep="\n  ", file=sys.stderr)
    raise SystemExit(2)


def scenario_part(name: str, keep_failed: bool) -> Part:
    """The part of a scenario, `push`, or of one folder of its tests, `single/broken`.

    :raises SystemExit: when there is none.
    """
    scenario, _, folder = name.partition("/")
    if scenario not in parts.scenarios():
        complain(f"there is no scenario {scenario}", f"choose of: {' '.join(parts.scenarios())}")
    folders = parts.test_folders(scenario)
    if folder and folder not in folders:
        complain(f"scenario {scenario} has no folder of tests {folder}", f"it has: {' '.join(folders) or 'none'}")
    return parts.molecule(scenario, folder, keep_failed=keep_failed)


def chosen(words: Sequence[str], known: dict[str, Part], full: bool, keep_failed: bool) -> list[Part]:
    """The parts asked for, without what they need.

    :raises SystemExit: when a part or a scenario is named that does not exist.
    """
    if list(words) in ([], ["all"]):
        return [known[name] for name in parts.parts_of_run(known, full)]
    if list(words) == ["molecule"]:
        return [known[name] for name in parts.parts_of_run(known, full) if known[name].scenario]
    if words[0] == "molecule":
        return [scenario_part(name, keep_failed) for name in words[1:]]
    found = []
    for name in words:
        if name.startswith(parts.SCENARIO):
            found.append(scenario_part(name.removeprefix(parts.SCENARIO), keep_failed))
        elif name in known:
            found.append(known[name])
        elif name in ("all", "molecule"):
            complain(
                f"{name} comes first, and no part goes with it",
                "a scenario among parts: script/test unit molecule-push",
            )
        elif name.partition("/")[0] in parts.scenarios():
            complain(f"there is no part called {name}: script/test molecule {name}", "")
        else:
            complain(f"there is no part called {name}", f"choose of: all molecule {' '.join(known)}")
    return found


@dataclass
class Run:
    """One run of script/test.

    :param keep_failed: whether the hosts of a failed scenario stay up.
    :param memory: what passed, in a full run.
    :param command: what was typed, for whoever interrupts it.
    :param everything: whether no part was named; one that is named always runs.
    """

    parts: dict[str, Part]
    full: bool
    lanes: int
    keep_failed: bool
    memory: resume.Memory | None
    command: str = "script/test"
    everything: bool = True
    console: Console = field(default_factory=Console)
    children: Children = field(default_factory=Children)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: int = 0
    at_work: set[str] = field(default_factory=set)

    def ring(self, name: str) -> str:
        return self.parts[name].ring_of_run(self.full)

    def items(self) -> list[schedule.Item]:
        """What is to run, with the seconds each is likely to take."""
        sources = (times.read(times.LOCAL), times.read(times.COMMITTED))
        seconds = {name: times.expected_seconds(part, self.ring(name), sources) for name, part in self.parts.items()}
        return schedule.items_of(list(self.parts), {name: part.needs for name, part in self.parts.items()}, seconds)

    def started(self, name: str, running_names: Sequence[str], waiting: Sequence[str]) -> None:
        self.at_work.add(name)
        self.console.say(f"{name} ... ({report.progress(running_names, waiting)})")

    def run(self, name: str) -> Outcome:
        """Run one part, and keep its time and that it passed."""
        remembers = self.memory is not None and not self.parts[name].setup
        before = resume.states([name])[name] if remembers else None
        narrowed = any(os.environ.get(variable) for variable in NARROWING)
        part, whole = self.parts[name], self.parts[name].is_whole and not narrowed
        tests = self.memory.tests_of(name) if self.memory and before and whole and part.scenario else None
        earlier = tests.begin(before.digest) if tests and before else 0
        outcome = running.run_part(part, self.ring(name), self.children, tests.path if tests else None)
        edited = bool(before) and resume.states([name])[name] != before
        if tests and (outcome.passed or edited):
            tests.end()
        if not whole or self.children.ended:
            return outcome
        with self.lock:
            if not earlier:
                self.keep_time(outcome)
            outcome = self.kept(outcome, before, edited) if before else outcome
        return replace(outcome, remark=outcome.remark or remark_of(earlier))

    def keep_time(self, outcome: Outcome) -> None:
        """Write down how long a part took."""
        part, seconds, cores = outcome.part, round(outcome.seconds), os.cpu_count() or 1
        time = times.Time(seconds=seconds, passed=outcome.passed, date=f"{datetime.date.today()}", cores=cores)
        times.write_whole(times.LOCAL, times.recorded(times.read(times.LOCAL), part, outcome.ring, time))

    def kept(self, outcome: Outcome, before: resume.State, edited: bool) -> Outcome:
        """Write down, in a full run, how a part ended for the files it met.

        :param before: the files when it started.
        :param edited: whether they are others now: nobody knows which of them it met.
        """
        assert self.memory is not None
        name = outcome.part.name
        if not outcome.passed:
            self.memory.forget(name, before.digest)
            return outcome
        if edited:
            return replace(outcome, remark="not remembered: files that can change it were edited while it ran")
        self.memory.remember(name, before.digest, f"{datetime.datetime.now():%Y-%m-%d %H:%M}")
        return outcome

    def finished(self, outcome: Outcome) -> None:
        self.ended += 1
        self.at_work.discard(outcome.part.name)
        number = f"[{self.ended}/{len(self.parts)}] {outcome.part.name}"
        if outcome.passed:
            self.console.say(f"{number}: passed after {outcome.seconds:.0f} s", *filter(None, [outcome.remark]))
        else:
            state = "not run" if outcome.kept_back else f"FAILED after {outcome.seconds:.0f} s"
            self.console.say(f"{number}: {state}", *report.explained(outcome, self.keep_failed))

    def kept_back(self, item: schedule.Item) -> Outcome:
        return Outcome(self.parts[item.name], self.ring(item.name), kept_back=item.needs)

    def interrupted(self) -> None:
        at_work = [self.parts[name] for name in sorted(self.at_work)]
        goes_on = self.memory is not None and self.everything
        print(*report.interrupted(at_work, self.command, goes_on), sep="\n", file=sys.stderr, flush=True)

    def go(self) -> bool:
        """Run everything and report.

        :returns: whether all passed.
        """
        lanes = Lanes(self.lanes, self.children, self.run, self.started, self.finished, self.interrupted)
        outcomes = lanes.go(self.items(), self.kept_back)
        for text in report.closing(outcomes, self.console.seconds(), self.lanes, self.keep_failed):
            print(text, flush=True)
        return all(outcome.passed for outcome in outcomes)


def remark_of(earlier: int) -> str:
    """What is said of a part some of whose tests had passed before it was interrupted or failed."""
    return "left out what of its independent tests had passed earlier, for the same files" if earlier else ""


def renew_times(known: dict[str, Part]) -> None:
    """After a full run that passed: the committed copy of the times and the page that shows it."""
    committed, local = times.read(times.COMMITTED), times.read(times.LOCAL)
    times.write_whole(times.COMMITTED, times.renewed(committed, local, known.values()))
    subprocess.run([parts.BIN / "python", ROOT / "script/docs"], cwd=ROOT, check=True)
    print("everything has passed for these files; tests/times.json and docs/testing.md have the times")


def end_full(memory: resume.Memory, known: dict[str, Part], passed: bool) -> None:
    """Say what is left of a full run; when nothing is, renew the times, which is no edit for which anything runs again.

    :param passed: whether all was asked for, and what was run of it just now passed.
    """
    names = parts.parts_of_run(known, full=True)
    now = resume.states(names)
    print(f"\n{resume.ending(memory, now)}", flush=True)
    if passed and not memory.left(now):
        renew_times(known)
        memory.carry_over(now, resume.states(names))


def show_list(known: dict[str, Part], full: bool, as_json: bool) -> None:
    """Print the parts that run; without `--full` of those that run only there only the names."""
    sources = (times.read(times.LOCAL), times.read(times.COMMITTED))
    shown = [part for part in known.values() if full or part.ring == parts.EVERY]
    entries = [report.described(part, full, known, sources) for part in shown]
    left_out = [part.name for part in known.values() if part not in shown]
    print(json.dumps(entries) if as_json else report.listing(entries, left_out))


def command_line(arguments: Sequence[str] | None) -> argparse.Namespace:
    """:raises SystemExit: when it is not understood."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="script/test", description=__doc__, epilog=EPILOG, formatter_class=layout)
    parser.add_argument("words", nargs="*", metavar="PART", help="all (default), parts, molecule [SCENARIO...]")
    parser.add_argument("--full", action="store_true", help="everything; goes on where the last full run ended")
    parser.add_argument("--again", action="store_true", help="with --full: forget what has passed")
    parser.add_argument("--list", action="store_true", help="show the parts and run nothing")
    parser.add_argument("--json", action="store_true", help="with --list: for programs, on one line")
    parser.add_argument(
        "--jobs", type=int, default=min(parts.LANES, os.cpu_count() or 1), help="parts at the same time"
    )
    options = parser.parse_args(arguments)
    if options.again and not options.full:
        complain("--again goes with --full")
    if options.json and not options.list:
        complain("--json goes with --list")
    if options.jobs < 1:
        complain(f"--jobs takes a number from 1 on, not {options.jobs}", "")
    return options


def run_all(options: argparse.Namespace, known: dict[str, Part], keep_failed: bool) -> int:
    """Run what is asked for.

    :returns: exit status.
    """
    asked = chosen(options.words, known, options.full, keep_failed)
    everything = options.words in ([], ["all"])
    memory = resume.Memory.read(resume.MEMORY, options.again) if options.full else None
    if memory and everything:
        now = resume.states([part.name for part in asked])
        print(*resume.beginning(memory, now), sep="\n", flush=True)
        asked = [part for part in asked if part.name in memory.left(now)]
    together = known | {part.name: part for part in asked}
    names = parts.with_needs([part.name for part in asked], together)
    command = shlex.join(["script/test", *(["--full"] if options.full else []), *options.words])
    run_parts = {name: together[name] for name in names}
    run = Run(run_parts, options.full, options.jobs, keep_failed, memory, command, everything)
    passed = run.go() if names else True
    if memory:
        end_full(memory, known, passed and everything)
    return 0 if passed else 1


def run_words(words: list[str]) -> int:
    """:returns: exit status."""
    if "alone" in words:
        return alone.main(words)
    options = command_line(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    keep_failed = not os.environ.get("CI")
    known = parts.all_parts(keep_failed=keep_failed)
    if options.list:
        show_list(known, options.full, options.json)
        return 0
    return run_all(options, known, keep_failed)


def main(arguments: Sequence[str] | None = None) -> int:
    """:returns: exit status: 0 all passed, 1 something failed, 2 the command line was not understood."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return run_words(words)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has gone (| head). Python would write what is left once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
