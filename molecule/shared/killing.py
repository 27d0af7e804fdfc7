# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys whose deployer is killed at a system call or in a phase, while the site has visitors.

strace kills it (`--inject=CALL:signal=KILL:when=K`) as it enters its K-th call of a kind; so every state between
two calls is one it can die in. A trial run counts the calls first. What serves then, what is left, and whether the
next deploy goes live with nobody's help is asked at each point.
"""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import projects
from hosts import Site
from load import UPDATED, Visitors

HERE = Path(__file__).resolve().parent
# Calls that change a file, a process or what somebody is told; reading changes nothing.
CALLS = """
    openat rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat rmdir
    fsync fdatasync ftruncate fallocate chown fchown lchown fchownat chmod fchmod fchmodat flock
    write pwrite64 sendto sendmsg connect clone clone3 fork vfork kill recvfrom
""".split()  # noqa: SIM905  (a table is easier to read)
WRITES = re.compile(r"O_CREAT|O_TRUNC|O_WRONLY|O_RDWR")
LINE = re.compile(r"(\w+)\(")
PHASE = re.compile(r'"event\\?": \\?"phase\\?", \\?"name\\?": \\?"([^"\\]+)\\?", \\?"state\\?": \\?"started')
ASKED = re.compile(r'^recvfrom\(0, "\{\\"op\\"')
DEPLOY, MIGRATION, CONTRACT, ENVIRONMENT, PUSH, PUSH_MIGRATION, ROLLBACK = KINDS = (
    "deploy",
    "with a migration",
    "with a migration the old code cannot live with",
    "with a new virtualenv",
    "push",
    "push with a migration",
    "rollback",
)
PATIENCE = 300.0  # seconds for anything that is waited for
SWEEP = 45  # points of each kind that are all of them: any two calls of a run have one close to both
TRIES = 6  # points of one part until one is reached
COLUMN = re.compile(r"^    (extra_\d+) = .*\n", re.MULTILINE)
MARK = re.compile(r"<p>code (\w+), template (\w+)</p>")
STYLE = re.compile(r"/\* mark (\w+) \*/")
VIEW = "\n\nMARK = {mark!r}\n"
FRONT = """\
{{% load static %}}<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Notes</title><link rel="stylesheet" href="{{% static 'notes/style.css' %}}"></head>
<body>
<p>code {{{{ mark }}}}, template {mark}</p>
<ul>{{% for note in notes %}}<li>{{{{ note.text }}}}</li>{{% endfor %}}</ul>
</body>
</html>
"""


@dataclass(frozen=True)
class Point:
    """Where the deployer is to die.

    :param kind: of the operation, one of `KINDS`.
    :param call: the system call, and the how manieth of its kind.
    :param phase: in which it was when calls were counted.
    """

    kind: str
    call: str
    count: int
    phase: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.call} {self.count} ({self.phase})"


@dataclass
class Outcome:
    """What became of one point.

    :param killed: whether the deployer really died there; calls differ a little from run to run.
    :param served: `old` or `new`: what was live after it.
    :param wrong: promises that did not hold, one line for each.
    :param seconds: from the request that is killed to the end of the deploy after it.
    """

    point: Point
    killed: bool = False
    served: str = ""
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def points_of(kind: str, lines: Sequence[str]) -> list[Point]:
    """The points of a run, in their order: from its request on, files only where they are written.

    :param lines: of strace, of a run that was let live.
    """
    counts: Counter[str] = Counter()
    asked, phase, found = False, "before the first phase", []
    for line in lines:
        match = LINE.match(line)
        if match is None or match[1] not in CALLS:
            continue
        call = match[1]
        counts[call] += 1
        asked = asked or bool(ASKED.match(line))
        if begun := PHASE.search(line):
            phase = begun[1]
        if asked and call != "recvfrom" and (call != "openat" or WRITES.search(line)):
            found.append(Point(kind, call, counts[call], phase))
    return found


def distinct(points: Sequence[Point], most: int = 6) -> list[Point]:
    """The points without those that are like others: of a call that comes hundreds of times in a phase only a few.

    :param most: how many of each call in each phase are left, evenly over all of them.
    """
    alike: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        alike.setdefault((point.phase, point.call), []).append(point)
    kept: set[Point] = set()
    for same in alike.values():
        step = max(1.0, (len(same) - 1) / max(1, most - 1))
        kept.update(same[round(number * step)] for number in range(min(most, len(same))))
    return [point for point in points if point in kept]


def spread(points: Sequence[Point], wanted: int, seed: int) -> list[list[Point]]:
    """The points in `wanted` equal parts, so that none is left out for long; those of a part in an order of chance."""
    chance, many = random.Random(seed), len(points)
    edges = [round(number * many / wanted) for number in range(wanted + 1)]
    parts = [list(points[low:high]) for low, high in pairwise(edges) if high > low]
    for part in parts:
        chance.shuffle(part)
    return parts


def told(outcomes: Sequence[Outcome]) -> list[str]:
    """What went wrong, and where, for a person."""
    return [f"{outcome.point}: {line}" for outcome in outcomes for line in outcome.wrong]


def whole(page: str, style: str) -> str | None:
    """Whether a page and its stylesheet are not of one release; the maintenance page is of none."""
    if UPDATED in page + style:
        return None
    told, styled = MARK.search(page), STYLE.search(style)
    if not told or not styled:
        return "mix: parts are missing"
    parts = {told[1], told[2], styled[1]}
    return None if len(parts) == 1 else f"mix of {', '.join(sorted(parts))}"


class Agent:
    """The program on the host that does what is asked, over one ssh connection."""

    def __init__(self, site: Site) -> None:
        text = (HERE / "killing_host.py").read_text()
        self.process = subprocess.Popen(
            site.machine.ssh_words(f"python3 -uc {shlex.quote(text)}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, do: str, **words: Any) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        self.ask(do, **words)
        return self.answer()

    def ask(self, do: str, **words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program on the host has ended"
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        self.process.communicate(timeout=PATIENCE)


class Killer:
    """A site whose deploys are killed.

    :param site: its project is one of kind `notes`.
    :param key: the file of the key that pushes.
    """

    def __init__(self, site: Site, *, key: str = "laptop") -> None:
        self.site, self.key = site, key
        self.number = 0
        self.commits: list[str] = []
        self.agent = Agent(site)
        self.live = ""

    @contextmanager
    def ready(self) -> Iterator[Killer]:
        """Have the first release live and the wrapper around the deployer."""
        install = "command -v strace || DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends"
        said = self.agent("command", words=["sh", "-c", f"{install} strace"])
        assert said["status"] == 0, said["said"]
        self.commit()
        self.push(self.commits[-1])
        try:
            self.agent("set_up")
            yield self
        finally:
            self.agent("take_down")
            self.agent.close()

    # --- what is deployed -------------------------------------------------------------------------

    def commit(self, kind: str = DEPLOY) -> str:
        """Commit a change of code, template and static file, with a migration or another virtualenv if it is to be."""
        self.number += 1
        project, mark = self.site.project, f"r{self.number}"
        views = project / "notes/views.py"
        text = views.read_text()
        if "MARK" not in text:
            text = text.replace('context = {"greeting"', 'context = {"mark": MARK, "greeting"') + VIEW.format(mark="r0")
        projects.write(project, "notes/views.py", re.sub(r"^MARK = .*", f"MARK = {mark!r}", text, flags=re.MULTILINE))
        projects.write(project, "notes/templates/notes/front.html", FRONT.format(mark=mark))
        projects.write(project, "notes/static/notes/style.css", f"/* mark {mark} */\n")
        if kind in (MIGRATION, PUSH_MIGRATION):
            self.add_column(project, f"extra_{self.number}")
        if kind == CONTRACT:
            self.drop_column(project)
        if kind == ENVIRONMENT:
            projects.write(project, "requirements.txt", f"Django~=5.2\nsqlparse>=0.5,<{self.number + 1}\n")
        self.commits.append(projects.commit(project, f"Mark {mark}"))
        return self.commits[-1]

    def add_column(self, project: Path, name: str) -> None:
        """A migration the release that is live can live with."""
        models = project / "notes/models.py"
        line = f"    {name} = models.IntegerField(null=True)\n"
        models.write_text(models.read_text().replace("\n    def __str__", f"{line}\n    def __str__", 1))
        self.add_migration(project, name, f'migrations.AddField("Note", "{name}", models.IntegerField(null=True))')

    def drop_column(self, project: Path) -> None:
        """A migration it cannot live with, and that loses data when it is taken back."""
        models = project / "notes/models.py"
        name = COLUMN.findall(models.read_text())[0]
        models.write_text(COLUMN.sub("", models.read_text(), count=1))
        self.add_migration(project, f"without_{name}", f'migrations.RemoveField("Note", "{name}")')

    def add_migration(self, project: Path, name: str, operation: str) -> None:
        last = max(path.stem for path in (project / "notes/migrations").glob("0*.py"))
        projects.write(
            project,
            f"notes/migrations/{int(last[:4]) + 1:04}_{name}.py",
            "from django.db import migrations, models\n\n\n"
            "class Migration(migrations.Migration):\n"
            f'    dependencies = [("notes", "{last}")]\n'
            f"    operations = [{operation}]\n",
        )

    def push(self, revision: str, branch: str = "main", *, fails: bool = False) -> str:
        """git push, and what the pusher reads."""
        done = self.site.push(f"{revision}:refs/heads/{branch}", key=self.key)
        assert fails or done.status == 0, done.output
        return done.output

    def words(self, kind: str, revision: str) -> list[str]:
        """The command on the host that is killed."""
        if kind == ROLLBACK:
            return ["djdeploy", "rollback", self.site.name]
        allowed = ["--allow", "contract"] if kind == CONTRACT else []
        return ["djdeploy", "deploy", self.site.name, revision, *allowed]

    # --- points -----------------------------------------------------------------------------------

    def count(self, kind: str) -> list[Point]:
        """The points of an operation, from one that is let live."""
        if kind == ROLLBACK:  # the way back may not lead over a migration of the operations before
            self.push(self.commit())
            self.agent("at_rest", site=self.site.name)
        revision = self.store(kind)
        self.agent("arm", options=f"-e trace={','.join(CALLS)}")
        if kind in (PUSH, PUSH_MIGRATION):
            self.push(revision)
        else:
            done = self.agent("command", words=self.words(kind, revision))
            assert done["status"] == 0, done["said"]
        after = self.agent("at_rest", site=self.site.name)
        assert not after["stray"], after["stray"]
        return points_of(kind, self.agent("trace")["lines"])

    def store(self, kind: str) -> str:
        """Something new to deploy, in the repository of the host unless it comes by a push of its own."""
        if kind == CONTRACT and not COLUMN.search((self.site.project / "notes/models.py").read_text()):
            self.push(self.commit(PUSH_MIGRATION))
            self.agent("at_rest", site=self.site.name)
        revision = self.commit(kind)
        if kind not in (PUSH, PUSH_MIGRATION, ROLLBACK):
            self.push(revision, "stored")
        return revision

    def kill(self, point: Point) -> Outcome:
        """Die at a point; see what serves and what is left; deploy again."""
        outcome = Outcome(point)
        revision = self.store(point.kind)
        before = self.agent("at_rest", site=self.site.name)
        began = time.monotonic()
        options = f"-e trace={point.call} -e inject={point.call}:signal=KILL:when={point.count}"
        self.agent("arm", options=options)
        if point.kind in (PUSH, PUSH_MIGRATION):
            self.push(revision, fails=True)
        else:
            self.agent("command", words=self.words(point.kind, revision))
        after = self.agent("at_rest", site=self.site.name)
        outcome.killed = self.agent("trace")["killed"]
        self.judge(outcome, before, after, revision)
        self.follow(outcome, self.commit(PUSH))
        outcome.seconds = time.monotonic() - began
        return outcome

    def kill_in(self, phase: str, kind: str) -> Outcome:
        """Die by a kill from outside as soon as a phase has begun; the same questions."""
        outcome = Outcome(Point(kind, "kill -9", 1, phase))
        revision = self.store(kind)
        before = self.agent("at_rest", site=self.site.name)
        began = time.monotonic()
        if kind in (PUSH, PUSH_MIGRATION):
            self.agent.ask("wait_and_kill", site=self.site.name, phase=phase)
            self.push(revision, fails=True)
            outcome.killed = self.agent.answer()["killed"]
        else:
            words = self.words(kind, revision)
            outcome.killed = self.agent("kill_at", site=self.site.name, phase=phase, words=words)["killed"]
        self.judge(outcome, before, self.agent("at_rest", site=self.site.name), revision)
        self.follow(outcome, self.commit(PUSH))
        outcome.seconds = time.monotonic() - began
        return outcome

    def judge(self, outcome: Outcome, before: dict[str, Any], after: dict[str, Any], revision: str) -> None:
        """What must be so after the deployer died and before anybody did anything about it."""
        if after["live"] == before["live"]:
            outcome.served = "old"
        elif outcome.point.kind == ROLLBACK or after["revision"] == revision:
            outcome.served = "new"
        else:
            outcome.wrong.append(f"{after['live']} is live, neither the old release nor the new one")
        outcome.wrong += [f"left: {line}" for line in after["stray"]]
        pushed = outcome.point.kind in (PUSH, PUSH_MIGRATION)
        expected = after["revision"] if pushed else before["branch"]
        if after["branch"] != expected:
            outcome.wrong.append(f"the branch is at {after['branch'][:7]}, not at {expected[:7]}")
        page = self.site.get("/")
        told = MARK.search(page.text)
        number = self.commits.index(after["revision"]) + 1
        if page.status != 200 or not told or told[1] != f"r{number}":
            shown = told[1] if told else "no mark"
            outcome.wrong.append(f"the page is of {shown} ({page.status}), what is live of r{number}")

    def follow(self, outcome: Outcome, revision: str) -> None:
        """The next deploy goes live with nobody's help, and leaves nothing."""
        options = ["-o", "allow=contract"] if outcome.point.kind == CONTRACT else []
        done = self.site.push(*options, f"{revision}:refs/heads/main", key=self.key)
        after = self.agent("at_rest", site=self.site.name)
        if done.status:
            said = [line for line in done.output.splitlines() if line.startswith("remote:")]
            outcome.wrong.append(f"the next push failed: {said[-2:]}")
        if after["revision"] != revision or after["branch"] != revision:
            outcome.wrong.append(f"the next push is not live: {after['revision'][:7]}, branch {after['branch'][:7]}")
        outcome.wrong += [f"left by the next push: {line}" for line in after["stray"]]

    def visited(self) -> Visitors:
        """Visitors who notice if a page, its template and its stylesheet are not of one release."""
        return Visitors(self.site, threads=3, pause=0.05, pair=whole)

    def sweep(self, kind: str, wanted: int, seed: int) -> Iterator[Outcome]:
        """Die at so many points of an operation, spread over all of it.

        Which calls there are differs a little from run to run (threads of the deployer, and how often it has to wait):
        where a point is not reached, others of its part are tried.
        """
        for part in spread(distinct(self.count(kind)), wanted, seed):
            for point in part[:TRIES]:
                outcome = self.kill(point)
                yield outcome
                if outcome.killed:
                    break
