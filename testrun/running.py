# SPDX-License-Identifier: GPL-3.0-or-later
"""The doing: programs with their logs, parts in lanes, lines that tell what goes on."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from testrun import failures, schedule
from testrun.parts import (
    BIN,
    CACHE,
    FULL,
    FULL_VARIABLE,
    PASSED_VARIABLE,
    PYTHON_VERSION,
    TESTS_VARIABLE,
    Command,
    Part,
)

# ansible-test fetches a script from the network to get pip into its environments. Python brings pip along.
PIP_FROM_PYTHON = """\
import os
import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
os.execv(sys.executable, [sys.executable, "-m", "pip", "install", "--quiet", *packages])
"""


#: Seconds between two moments in which a signal is surely heard. One that comes just before a thread begins to wait
#: does not end its waiting: Python remembers it, and runs the handler when the thread goes on.
LISTENING = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a part ended.

    :param failed: the programs that failed.
    :param error: why it could not be run at all.
    :param kept_back: what it needs and did not get; it never started then.
    :param remark: what else the table says of it.
    """

    part: Part
    ring: str
    seconds: float = 0.0
    failed: tuple[Command, ...] = ()
    error: str = ""
    kept_back: tuple[str, ...] = ()
    remark: str = ""

    @property
    def passed(self) -> bool:
        return not (self.failed or self.error or self.kept_back)


class Console:
    """Lines of several parts, one at a time, with the seconds since the beginning."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.lock = threading.Lock()

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def say(self, *lines: str) -> None:
        """Print a line, and others indented below it."""
        with self.lock:
            first, *others = lines
            print(f"{self.seconds():6.0f} s  {first}", *(f"          {line}" for line in others), sep="\n", flush=True)


def send(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal a program and all it has started, if it is in a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(child.pid) == child.pid:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)


class Children:
    """The programs that run, so that whoever interrupts us ends them too: they run in sessions of their own."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()
        self.lock = threading.Lock()
        self.ended = False

    def start(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start a program.

        :raises InterruptedError: after the end was said.
        """
        with self.lock:
            if self.ended:
                raise InterruptedError("interrupted")
            child = start()
            self.running.add(child)
            return child

    def end(self) -> None:
        """End those that run and start no others."""
        with self.lock:
            self.ended = True
            for child in list(self.running):
                send(child, signal.SIGTERM)


def our_environment() -> dict[str, str]:
    """No colours, no questions, no caches beside the code; the tools of .venv first."""
    foreign = ("ANSIBLE_", "MOLECULE_", FULL_VARIABLE, TESTS_VARIABLE, PASSED_VARIABLE)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return inherited | {
        "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
        "VIRTUAL_ENV": str(BIN.parent),
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
        "PY_COLORS": "0",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def environment_of(ring: str, passed_tests: Path | None = None) -> dict[str, str]:
    """Our environment, with what says that this is the full run, and where tests that pass are noted."""
    full = {FULL_VARIABLE: "1"} if ring == FULL else {}
    return our_environment() | full | ({PASSED_VARIABLE: str(passed_tests)} if passed_tests else {})


@functools.cache
def python_version() -> str:
    """The version of the Python of .venv, as ansible-test wants it named: "3.11"."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.check_output([BIN / "python", "-c", question], text=True).strip()


def bring_pip_for_ansible_test() -> None:
    """Put our way to get pip where ansible-test keeps the one it would download."""
    question = (
        "import sys, types; from ansible_test._internal.python_requirements import get_venv_packages as packages; "
        "print(packages(types.SimpleNamespace(version='%d.%d' % sys.version_info[:2]))['pip'])"
    )
    version = subprocess.check_output([BIN / "python", "-c", question], text=True).strip()
    file = CACHE / ".ansible/test/cache" / f"get_pip_{version.replace('.', '_')}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PIP_FROM_PYTHON)


PREPARATIONS: dict[str, Callable[[], None]] = {"": lambda: None, "pip-for-ansible-test": bring_pip_for_ansible_test}


def run(command: Command, log_path: Path, environment: Mapping[str, str], limit: float, children: Children) -> bool:
    """Run a program with its output in the log.

    :param limit: seconds after which it is ended and counts as failed.
    :returns: whether it passed.
    """
    with log_path.open("ab") as log:
        log.write(f"\n$ {failures.typed(command)}\n".encode())
        log.flush()
        if shutil.which(command.argv[0], path=environment["PATH"]) is None:
            log.write(f"{command.argv[0]} is not installed; see requirements-dev.txt\n".encode())
            return False
        child = children.start(
            lambda: subprocess.Popen(
                command.argv,
                cwd=command.directory,
                env={**environment, **command.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=not command.asks,
            )
        )
        try:
            return child.wait(timeout=max(limit, 1.0)) == 0
        except subprocess.TimeoutExpired:
            send(child, signal.SIGKILL)
            child.wait()
            log.write(f"\n{failures.HUNG} ({limit:.0f} s were left of it)\n".encode())
            return False
        finally:
            children.running.discard(child)


def complete(command: Command) -> Command:
    """A command with what only .venv can say."""
    argv = tuple(python_version() if argument == PYTHON_VERSION else argument for argument in command.argv)
    return replace(command, argv=argv)


def run_commands(part: Part, ring: str, children: Children, passed_tests: Path | None) -> list[Command]:
    """Run all programs of a part, also after one has failed.

    :param passed_tests: where tests that pass are noted.
    :returns: those that failed.
    """
    deadline = time.monotonic() + part.limit(ring) * 60
    environment = environment_of(ring, passed_tests)
    PREPARATIONS[part.prepare]()
    failed: list[Command] = []
    for command in map(complete, part.commands):
        if command.only_if_passed and failed:
            continue
        left = max(deadline - time.monotonic(), command.spare * 60)
        if not run(command, part.log, environment, left, children):
            failed.append(command)
    return failed


def run_part(part: Part, ring: str, children: Children, passed_tests: Path | None = None) -> Outcome:
    """Run a part with a log of its own and tell how it ended.

    :param passed_tests: the file in which a scenario notes its tests that pass, and whose tests it leaves out.
    """
    began = time.monotonic()
    part.log.parent.mkdir(exist_ok=True)
    part.log.write_bytes(b"")
    failed, problem = list[Command](), ""
    try:
        failed = run_commands(part, ring, children, passed_tests)
    except (OSError, subprocess.SubprocessError) as error:
        problem = f"{part.name} could not be run: {error}"
        with part.log.open("a") as log:
            log.write(f"{problem}\n")
    return Outcome(part, ring, time.monotonic() - began, tuple(failed), problem)


@dataclass
class Lanes:
    """Parts that run beside one another.

    :param children: the programs of all of them; they end when we are interrupted.
    :param run: runs one part.
    :param started: called when a part starts, with (its name, names that run, names that wait in order).
    :param finished: called with its outcome when a part has ended, in the thread of the caller.
    :param interrupted: called at once when somebody ends us, while the programs are still ending.
    """

    count: int
    children: Children
    run: Callable[[str], Outcome]
    started: Callable[[str, Sequence[str], Sequence[str]], None]
    finished: Callable[[Outcome], None]
    interrupted: Callable[[], None]

    def go(self, items: Sequence[schedule.Item], kept_back: Callable[[schedule.Item], Outcome]) -> list[Outcome]:
        """Run all of them; what needs a part that failed is kept back.

        :returns: outcomes in the order they ended.
        :raises SystemExit: when we are interrupted; the programs have been ended then.
        """
        waiting, outcomes, running = schedule.in_order(items), list[Outcome](), set[str]()
        events: queue.SimpleQueue[concurrent.futures.Future[Outcome] | int] = queue.SimpleQueue()
        with (
            concurrent.futures.ThreadPoolExecutor(self.count) as pool,
            ending(self.children, self.interrupted),
            heard(events.put),
        ):
            while waiting or running:
                while len(running) < self.count and (item := self._next(waiting, running)):
                    waiting.remove(item)
                    running.add(item.name)
                    pool.submit(self.run, item.name).add_done_callback(events.put)
                    self.started(item.name, sorted(running), [each.name for each in waiting])
                try:
                    event = events.get(timeout=LISTENING)
                except queue.Empty:
                    continue
                if isinstance(event, int):
                    raise SystemExit(128 + event)
                outcomes.append(event.result())
                running.remove(outcomes[-1].part.name)
                self.finished(outcomes[-1])
                failed = {outcome.part.name for outcome in outcomes if not outcome.passed}
                for item in schedule.kept_back(waiting, failed):
                    waiting.remove(item)
                    outcomes.append(kept_back(item))
                    self.finished(outcomes[-1])
        return outcomes

    @staticmethod
    def _next(waiting: Sequence[schedule.Item], running: Collection[str]) -> schedule.Item | None:
        return schedule.next_of(waiting, [*(item.name for item in waiting), *running])


@contextlib.contextmanager
def heard(tell: Callable[[int], None]) -> Iterator[None]:
    """Tell of a signal that interrupts us, and do nothing else when it comes.

    An exception that a signal raises anywhere may leave a lock of the threads held for ever: `threading` and
    `concurrent.futures` take theirs in Python. SimpleQueue.put may be called from the handler of a signal.
    """
    before = {
        number: signal.signal(number, lambda number, _frame: tell(number)) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending(children: Children, tell: Callable[[], None]) -> Iterator[None]:
    """Whoever interrupts us interrupts the programs too, and is told of it."""
    try:
        yield
    except BaseException:
        children.end()
        tell()
        raise
