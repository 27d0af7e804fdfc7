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
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """Refuse a command line."""
    print(f"script/test: {what}\n  {remedy}", file=sys.stderr)
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
        if name.startswith("molecule-"):
            found.append(scenario_part(name.removeprefix("molecule-"), keep_failed))
        elif name in known:
            found.append(known[name])
        else:
            complain(f"there is no part called {name}", f"choose of: all molecule {' '.join(known)}")
    return found


@dataclass
class Run:
    """One run of script/test.

    :param keep_failed: whether the hosts of a failed scenario stay up.
    :param memory: what passed for this tree, in a full run.
    """

    parts: dict[str, Part]
    full: bool
    lanes: int
    keep_failed: bool
    memory: resume.Memory | None
    console: Console = field(default_factory=Console)
    children: Children = field(default_factory=Children)
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: int = 0

    def ring(self, name: str) -> str:
        return self.parts[name].ring_of_run(self.full)

    def items(self) -> list[schedule.Item]:
        """What is to run, with the seconds each is likely to take."""
        sources = (times.read(times.LOCAL), times.read(times.COMMITTED))
        seconds = {name: times.expected_seconds(part, self.ring(name), sources) for name, part in self.parts.items()}
        return schedule.items_of(list(self.parts), {name: part.needs for name, part in self.parts.items()}, seconds)

    def started(self, name: str, running_names: Sequence[str], waiting: Sequence[str]) -> None:
        self.console.say(f"{name} ... ({report.progress(running_names, waiting)})")

    def run(self, name: str) -> Outcome:
        """Run one part, and keep its time and that it passed."""
        outcome = running.run_part(self.parts[name], self.ring(name), self.children)
        is_whole = "/" not in name and not any(os.environ.get(variable) for variable in NARROWING)
        if is_whole and not self.children.ended:
            self.keep(outcome)
        return outcome

    def keep(self, outcome: Outcome) -> None:
        """Write down how long a part took and, in a full run, that it passed for the files as they still are."""
        now = datetime.datetime.now()
        part, ring = outcome.part, outcome.ring
        time = times.Time(
            seconds=round(outcome.seconds), passed=outcome.passed, date=f"{now:%Y-%m-%d}", cores=os.cpu_count() or 1
        )
        with self.lock:
            times.write_whole(times.LOCAL, times.recorded(times.read(times.LOCAL), part, ring, time))
            if self.memory and outcome.passed and not part.setup:
                if resume.digest(ROOT) == self.memory.tree:
                    self.memory.remember(part.name, f"{now:%Y-%m-%d %H:%M}")
                else:
                    self.console.say(f"{part.name} passed, but files have changed since the start: not remembered")

    def finished(self, outcome: Outcome) -> None:
        self.ended += 1
        number = f"[{self.ended}/{len(self.parts)}] {outcome.part.name}"
        if outcome.passed:
            self.console.say(f"{number}: passed after {outcome.seconds:.0f} s")
        else:
            state = "not run" if outcome.kept_back else f"FAILED after {outcome.seconds:.0f} s"
            self.console.say(f"{number}: {state}", *report.explained(outcome, self.keep_failed))

    def kept_back(self, item: schedule.Item) -> Outcome:
        return Outcome(self.parts[item.name], self.ring(item.name), kept_back=item.needs)

    def go(self) -> bool:
        """Run everything and report.

        :returns: whether all passed.
        """
        lanes = Lanes(self.lanes, self.children, self.run, self.started, self.finished)
        outcomes = lanes.go(self.items(), self.kept_back)
        for text in report.closing(outcomes, self.console.seconds(), self.lanes, self.keep_failed):
            print(text, flush=True)
        return all(outcome.passed for outcome in outcomes)


def tell_memory(memory: resume.Memory, names: Sequence[str]) -> None:
    """Say what has passed for this tree and when, and what is left."""
    for name in names:
        if name in memory.passed:
            print(f"passed {memory.passed[name]}: {name}")
    print(f"left: {', '.join(memory.left(names)) or 'nothing'} (script/test --full --again begins anew)", flush=True)


def renew_times(known: dict[str, Part]) -> None:
    """After a full run that passed: the committed copy of the times and the page that shows it."""
    committed, local = times.read(times.COMMITTED), times.read(times.LOCAL)
    times.write_whole(times.COMMITTED, times.renewed(committed, local, known.values()))
    subprocess.run([parts.BIN / "python", ROOT / "script/docs"], cwd=ROOT, check=True)
    print("everything has passed for this tree; tests/times.json and docs/testing.md have the times")


def show_list(known: dict[str, Part], full: bool, as_json: bool) -> None:
    """Print the parts that run; without `--full` not those that run only there."""
    sources = (times.read(times.LOCAL), times.read(times.COMMITTED))
    shown = [part for part in known.values() if full or part.ring == parts.EVERY]
    entries = [report.described(part, full, known, sources) for part in shown]
    print(json.dumps(entries) if as_json else report.listing(entries))


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
    return options


def run_all(options: argparse.Namespace, known: dict[str, Part], keep_failed: bool) -> int:
    """Run what is asked for.

    :returns: exit status.
    """
    asked = chosen(options.words, known, options.full, keep_failed)
    whole = options.full and {part.name for part in asked} >= set(parts.parts_of_run(known, full=True))
    memory = None
    if options.full:
        memory = resume.Memory.of_tree(resume.MEMORY, resume.digest(ROOT), options.again)
    if memory and not options.words:
        tell_memory(memory, [part.name for part in asked])
        asked = [part for part in asked if part.name not in memory.passed]
    together = known | {part.name: part for part in asked}
    names = parts.with_needs([part.name for part in asked], together)
    run = Run({name: together[name] for name in names}, options.full, options.jobs, keep_failed, memory)
    passed = run.go() if names else True
    if passed and whole and memory and not memory.left(parts.parts_of_run(known, full=True)):
        renew_times(known)
    return 0 if passed else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """:returns: exit status: 0 all passed, 1 something failed, 2 the command line was not understood."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "alone" in words:
        return alone.main(words)
    options = command_line(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep_failed = not os.environ.get("CI")
    known = parts.all_parts(keep_failed=keep_failed)
    if options.list:
        show_list(known, options.full, options.json)
        return 0
    return run_all(options, known, keep_failed)
