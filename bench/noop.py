# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml with nothing to do: one host, one site; against `ansible -m ping`, which is one task on one host."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .host import BIN, NAME, ROOT, Host, Trouble, our_environment, run
from .report import Goal, Result, median, table

ROUNDS = 5
SHOWN = 10


@dataclass(frozen=True)
class Task:
    """A task of a run, and the seconds until the next one began."""

    name: str
    seconds: float


def tasks_of(lines: Sequence[tuple[float, str]], ended: float) -> list[Task]:
    """The tasks of a run, read off its headings.

    :param lines: what Ansible printed, each line with the time it came.
    """
    heading = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(.*)\] \**$")
    begun = [(at, match[1]) for at, line in lines if (match := heading.match(line))]
    # A play that begins, or the recap, ends the task before it, too.
    marks = [at for at, line in lines if heading.match(line) or line.startswith(("PLAY [", "PLAY RECAP"))] + [ended]
    return [Task(name, min(mark for mark in marks if mark > at) - at) for at, name in begun]


def changed(lines: Iterable[tuple[float, str]]) -> int:
    """How much the recap says was changed, on all hosts."""
    return sum(int(match[1]) for _, line in lines if (match := re.search(r"\bok=\d+\s+changed=(\d+)", line)))


def notable(lines: Iterable[tuple[float, str]]) -> list[str]:
    """What changed or failed, each with the heading of its task before it."""
    told, task = [], ""
    for _, line in lines:
        if line.startswith(("TASK [", "RUNNING HANDLER [")):
            task = line.rstrip(" *")
        elif line.startswith(("changed:", "failed:", "fatal:", "ERROR", "[ERROR]")):
            told += [task, f"  {line}"]
    return told


def timed_playbook(host: Host) -> tuple[float, list[Task]]:
    """Run site.yml.

    :returns: seconds, and its tasks.
    :raises Trouble: when it fails, or changes something.
    """
    words = [str(BIN / "ansible-playbook"), "-i", str(host.inventory), "site.yml"]
    began = time.monotonic()
    with subprocess.Popen(
        words,
        cwd=ROOT,
        env=our_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as playbook:
        assert playbook.stdout is not None
        lines = [(time.monotonic(), line.rstrip()) for line in playbook.stdout]
    ended = time.monotonic()
    if playbook.returncode or changed(lines):
        said = "\n".join(f"    {line}" for line in notable(lines))
        raise Trouble(f"site.yml was to have nothing to do, but it changed something or failed:\n{said}")
    return ended - began, tasks_of(lines, ended)


def timed_ping(host: Host) -> float:
    began = time.monotonic()
    run([BIN / "ansible", NAME, "-i", host.inventory, "-m", "ansible.builtin.ping"])
    return time.monotonic() - began


def measure(host: Host, *, rounds: int = ROUNDS) -> Result:
    """Ping and site.yml in turn; both over the ssh connection that Ansible keeps open."""
    timed_ping(host)
    host.playbook("site.yml")  # may change something, if the checkout was edited since the host was set up
    pings, runs, tasks = [], [], list[list[Task]]()
    for _ in range(rounds):
        pings.append(timed_ping(host))
        took, done = timed_playbook(host)
        runs.append(took)
        tasks.append(done)
    ping, whole, count = median(pings), median(runs), len(tasks[0])
    # the names may repeat (a handler, a role used twice), so tasks are told apart by their place
    each = [Task(task.name, median(run[place].seconds for run in tasks)) for place, task in enumerate(tasks[0])]
    slowest = sorted(each, key=lambda task: -task.seconds)[:SHOWN]
    ratio = median(one / other for one, other in zip(runs, pings, strict=True))
    result = Result("noop", goals=[Goal("site.yml with nothing to do / ansible -m ping", round(ratio, 1), "x")])
    rows = [["site.yml", f"{whole:.2f} s"], ["ansible -m ping", f"{ping:.2f} s"]]
    rows += [[f"tasks: {count}, for each", f"{whole / count:.3f} s"]]
    rows += [[f"  {task.name}", f"{task.seconds:.3f} s"] for task in slowest]
    result.text = [f"medians of {rounds} rounds, in turn; the {len(slowest)} slowest tasks", *table(rows)]
    result.figures = {
        "rounds": rounds,
        "seconds": round(whole, 3),
        "ping_seconds": round(ping, 3),
        "tasks": count,
        "slowest": {task.name: round(task.seconds, 3) for task in slowest},
    }
    return result
