# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project runs beside its web server: queue workers, clocks, daemons, jobs at a time. Which, and how they end.

Nothing here asks systemd; that is `process_units.py`. What is decided is kept in the record of a release.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import beneath
from .errors import EngineError
from .paths import ReleasePaths
from .runner import BASE_ENVIRONMENT
from .tree import make_directory, write_file

PROCFILE = "Procfile"
LINE = re.compile(r"([A-Za-z0-9_-]+)\s*:\s*(\S.*)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
COPIES = 8  # of a job that may run beside itself
WORKER_SECONDS, OTHER_SECONDS = 600, 60  # to finish what a process has at hand, unless the site says otherwise

# Kinds: a worker shares a queue with others of its kind, so the old one may finish beside the new one. Of a clock
# there is never more than one; nor of a program nobody knows.
WORKER, CLOCK, OTHER = "worker", "clock", "other"

SHELL = re.compile(r"[$|&;<>()`*?~\n]|^\s*[A-Za-z_]\w*=")
CLOCK_NAMES = frozenset({"beat", "clock", "cron", "scheduler"})
RUNNERS = (("poetry", "run"), ("pipenv", "run"), ("uv", "run"), ("pdm", "run"), ("exec",))
WORKERS = frozenset({"rqworker", "rqworker-pool", "run_huey", "db_worker", "qcluster", "rundramatiq", "dramatiq"})
CLOCKS = frozenset({"rqscheduler", "rqcron", "runapscheduler", "run_apscheduler"})
HUEY = frozenset({"run_huey", "huey_consumer", "huey_consumer.py"})
OURS = re.compile(r"(?:\S*python\S*\s+)?(?:\./)?(?:manage\.py|django-admin)\s+(?:migrate|collectstatic)((?:\s+-\S+)*)$")


@dataclass(frozen=True)
class Process:
    """A program of a release that runs as long as the release does, or as a job at its times.

    :param kind: WORKER, CLOCK or OTHER.
    :param alone: whether the one before must have ended when this one begins.
    :param count: how many of it run.
    :param signal: what asks it to finish and end.
    :param stop_timeout: seconds it gets for that, then it is killed.
    :param timeout: seconds a job may take; 0: a process, which has no end.
    :param memory_max: as systemd's MemoryMax; empty: no limit.
    :param within: `project` (where manage.py is) or `code` (the tree), from where it is started.
    :param source: where it is written, for messages.
    """

    name: str
    command: str
    kind: str = OTHER
    alone: bool = True
    count: int = 1
    signal: str = "TERM"
    stop_timeout: int = OTHER_SECONDS
    timeout: int = 0
    memory_max: str = ""
    within: str = "project"
    source: str = ""

    @property
    def copies(self) -> list[str]:
        return [f"{self.name}.{number}" for number in range(1, self.count + 1)]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Process:
        """From a record; what a later version may have added is left out."""
        return cls(**{name: value for name, value in data.items() if name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Layout:
    """All a release runs beside its web server.

    :param release_command: runs once for each release, after its migrations and before its start.
    :param told: lines for who pushed.
    """

    processes: list[Process] = field(default_factory=list)
    jobs: list[Process] = field(default_factory=list)
    release_command: str = ""
    told: list[str] = field(default_factory=list)


# --- what is written ------------------------------------------------------------------------------


def parse_procfile(text: str) -> dict[str, str]:
    """Name -> command. A line that begins with # says nothing.

    :raises EngineError: for any other line that is none, and for a name that comes twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            raise EngineError(
                f"{PROCFILE} line {number}: {line.strip()[:60]!r} is not `name: command`",
                f"mend {PROCFILE}, for example: worker: celery -A shop worker",
            )
        if match[1] in found:
            raise EngineError(f"{PROCFILE} line {number}: {match[1]} is there twice", "give one of them another name")
        found[match[1]] = match[2].strip()
    return found


def needs_shell(command: str) -> bool:
    """Whether a command means something else to a shell than its words."""
    return bool(SHELL.search(command))


def words_of(command: str) -> list[str]:
    """The words of a command, without those of a shell, an interpreter or a project manager before its program."""
    try:
        words = shlex.split(command.rsplit("&&", 1)[-1], comments=False)
    except ValueError:
        words = command.split()
    while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]):
        words = words[1:]
    words = without_runner(words)
    if words and re.fullmatch(r"(?:.*/)?python[0-9.]*", words[0]):
        words = words[1:]
        while words and words[0].startswith("-"):
            words = words[1:]
    if words and re.fullmatch(r"(?:.*/)?(?:manage\.py|django-admin|django)", words[0]):
        words = words[1:]
    return [words[0].rsplit("/", 1)[-1], *words[1:]] if words else []


def without_runner(words: list[str]) -> list[str]:
    """Words without `poetry run` and the like: the environment is made already."""
    for runner in RUNNERS:
        if tuple(words[: len(runner)]) == runner:
            return words[len(runner) :]
    return words


def kind_of(name: str, command: str) -> str:
    """Whether a command is a worker of a queue, a clock, or something nobody knows."""
    words = words_of(command)
    program, rest = (words[0], set(words[1:])) if words else ("", set())
    if program == "celery" and ("beat" in rest or rest & {"-B", "--beat"}):
        return CLOCK
    if program in CLOCKS or (program == "rq" and rest & {"scheduler", "cron"}):
        return CLOCK
    if program in WORKERS | HUEY or (program in ("celery", "rq", "procrastinate") and rest & {"worker", "worker-pool"}):
        return WORKER
    return CLOCK if name in CLOCK_NAMES else OTHER


def with_beat_schedule(command: str, shared: str) -> str:
    """celery beat keeps a file, by default in the directory it is started from, which is read-only here."""
    words = words_of(command)
    own = ("-s", "--schedule", "-S", "--scheduler")
    if words[:1] != ["celery"] or "beat" not in words or any(word.split("=")[0] in own for word in words):
        return command
    return f"{command} --schedule {shared}/celerybeat-schedule"


def release_command(command: str) -> str:
    """What is left of the Procfile's `release` without what is done anyway: migrate and collectstatic."""
    parts = [part.strip() for part in command.split("&&")]
    return " && ".join(part for part in parts if not OURS.match(part))


def process(name: str, said: Mapping[str, Any], source: str, within: str, shared: str) -> Process:
    """One process as it will run.

    :param said: `command`, and what else the site says of it.
    :raises EngineError: for a command that cannot run under systemd, and for two of a clock.
    """
    command = str(said["command"]).strip()
    try:
        shlex.split(command)
    except ValueError as error:
        raise EngineError(f"{source}: {name}: {command!r}: {error}", "close the quotation") from None
    words = words_of(command)
    if words[:2] == ["celery", "multi"] or {"--detach", "--daemonize"} & set(words):
        raise EngineError(
            f"{source}: {name} puts itself in the background ({command!r}), where systemd cannot watch it",
            "write the worker itself: celery -A shop worker",
        )
    kind, count = kind_of(name, command), int(said.get("count") or 1)
    if kind == CLOCK and count > 1:
        raise EngineError(f"{source}: {name}.count is {count}, and of a clock only one may run", "leave `count` out")
    if not needs_shell(command):
        command = shlex.join(without_runner(shlex.split(command)))
    return Process(
        name=name,
        command=with_beat_schedule(command, shared),
        kind=kind,
        alone=kind == CLOCK or (kind == OTHER and count == 1),
        count=count,
        signal="INT" if words and words[0] in HUEY else "TERM",  # huey cuts its tasks on SIGTERM (consumer.py)
        stop_timeout=int(said.get("stop_timeout") or (WORKER_SECONDS if kind == WORKER else OTHER_SECONDS)),
        memory_max=str(said.get("memory_max") or ""),
        within=within,
        source=source,
    )


def section(value: Any) -> Mapping[str, Any]:
    """A text in the place of a section is its command."""
    return value if isinstance(value, Mapping) else {"command": value}


def plan(
    said: Mapping[str, Any],
    schedule: Mapping[str, Any],
    procfile: str | None,
    *,
    first: bool = True,
    within: str = "code",
    shared: str = "/srv/site/shared",
    packages: Collection[str] = (),
    environment: Collection[str] = (),
    package: str = "PROJECT",
) -> Layout:
    """What a release runs beside its web server.

    :param said: the site's `processes`; they win over those of the same name in the Procfile.
    :param schedule: the site's `schedule`.
    :param procfile: the text of the project's Procfile; None when it has none.
    :param first: whether this is the first of the site's hosts: what may be there only once runs on that one.
    :param within: where the Procfile is: `project` or `code`.
    :param packages: what is installed, for a hint at a queue nobody works at.
    :param environment: names of the variables the site has, for the same.
    :param package: of the project, where Celery's application usually is.
    :raises EngineError: when one of them cannot run.
    """
    told: list[str] = []
    found: list[Process] = []
    prelude = ""
    written = parse_procfile(procfile) if procfile is not None else {}
    for name, command in written.items():
        if name == "web":
            told.append(f"{PROCFILE}: web ({command[:60]}) is not started: `web` of the site serves the application")
        elif name == "release":
            prelude = release_command(command)
            told.append(
                f"{PROCFILE}: release runs before the start: {prelude}" if prelude
                else f"{PROCFILE}: release ({command}) is left out: migrate and collectstatic are done anyway"
            )  # fmt: skip
        elif name not in said:
            found.append(process(name, {"command": command}, PROCFILE, within, shared))
    for name, value in said.items():
        if value is not False and value is not None:
            found.append(process(name, section(value), f"processes.{name}", "project", shared))
    hosts = {name: section(value).get("hosts") for name, value in said.items() if isinstance(value, Mapping)}
    elsewhere = [] if first else [each for each in found if (hosts.get(each.name) or default_hosts(each)) == "first"]
    found = [each for each in found if each not in elsewhere]
    told += [f"{each.name} runs on the first host of the site only" for each in elsewhere]
    jobs = [job(name, value, shared) for name, value in schedule.items() if value]
    told += unattended(found + elsewhere, packages, environment, package)
    return Layout(sorted(found, key=lambda each: each.name), jobs, prelude, told)


def default_hosts(each: Process) -> str:
    return "first" if each.kind == CLOCK or each.alone else "all"


def job(name: str, said: Mapping[str, Any], shared: str) -> Process:
    """One entry of `schedule` as it will run.

    :raises EngineError: for a command whose quotation does not end.
    """
    command = str(said["command"]).strip()
    try:
        shlex.split(command)
    except ValueError as error:
        raise EngineError(f"schedule.{name}: {command!r}: {error}", "close the quotation") from None
    count = COPIES if said.get("concurrency") == "allow" else 1
    return Process(
        name=name, command=command, count=count, timeout=int(said.get("timeout") or 3600), source=f"schedule.{name}"
    )


# package -> (its words, an example, the variables that name its broker)
QUEUES: dict[str, tuple[str, str]] = {
    "celery": ("Celery", "celery -A PROJECT worker"),
    "django-rq": ("RQ", "python manage.py rqworker"),
    "huey": ("huey", "python manage.py run_huey"),
    "django-q2": ("Django Q", "python manage.py qcluster"),
    "django-dramatiq": ("dramatiq", "python manage.py rundramatiq"),
    "django-tasks-db": ("tasks of django-tasks", "python manage.py db_worker"),
    "django-tasks": ("tasks of django-tasks", "python manage.py db_worker"),
}
BROKERS = frozenset({"REDIS_URL", "CELERY_BROKER_URL", "BROKER_URL", "AMQP_URL", "RABBITMQ_URL", "CLOUDAMQP_URL"})


def unattended(
    found: Collection[Process], packages: Collection[str], environment: Collection[str], package: str
) -> list[str]:
    """What to tell of a queue that is installed: that nobody works at it, or that nobody said where it is."""
    used = [name for name in QUEUES if name in packages]
    if not used:
        return []
    words, example = QUEUES[used[0]]
    if not any(each.kind == WORKER for each in found):
        example = example.replace("PROJECT", package)
        return [
            f"the project uses {words}, and nobody runs its worker; processes: {{worker: {example}}}, or a {PROCFILE}"
        ]
    if used[0] in ("celery", "django-rq", "huey") and not BROKERS & set(environment):
        return [f"{words} is told of no broker; redis: {{enabled: true}} of the site gives it one, if it needs it"]
    return []


# --- in the release -------------------------------------------------------------------------------


def shell_line(command: str) -> str:
    """A command as the last line of a script, which becomes it where a shell need not stay for its parts."""
    if not needs_shell(command):
        return f"exec {shlex.join(shlex.split(command))}"
    head, _and, last = (part.strip() for part in command.rpartition("&&"))
    if not re.search(r"[|;(\n]|&\s*$", last) and not last.startswith("exec "):
        last = f"exec env {last}" if re.match(r"[A-Za-z_]\w*=", last) else f"exec {last}"
    return f"{head} && {last}" if head else last


def run_text(each: Process, copy: str, environment: Path) -> str:
    """The program a unit starts: it becomes the command, so that systemd's signals reach it."""
    line = shell_line(each.command)
    if each.timeout:
        line = f"exec timeout --kill-after=30 {each.timeout} /bin/sh -c {shlex.quote(line)}"
    return f"#!/bin/sh\nPATH={environment}/bin:$PATH\nDJDEPLOY_PROCESS={copy}\nexport PATH DJDEPLOY_PROCESS\n{line}\n"


def stop_text(each: Process) -> str:
    """The program that lets a process finish: its own signal, its own patience; systemd would know only one for all."""
    return (
        "#!/bin/sh\n"
        '[ -n "$MAINPID" ] || exit 0\n'
        f'kill -s {each.signal} "$MAINPID" || exit 0\n'
        f'timeout {each.stop_timeout} tail -s 0.2 -f /dev/null --pid="$MAINPID" && exit 0\n'
        f'echo "it did not end within {each.stop_timeout} s (stop_timeout), and is killed"\n'
        'kill -s KILL "$MAINPID"\n'
    )


def programs(each: Process) -> Iterator[str]:
    """What a command starts first, if that can be told."""
    if not needs_shell(each.command):
        words = shlex.split(each.command)
        yield words[0]


def require_programs(found: Iterable[Process], paths: ReleasePaths, which: Callable[..., Any] = shutil.which) -> None:
    """See that what the processes start is installed.

    :raises EngineError: else; a process would only die again and again.
    """
    searched = f"{paths.environment}/bin:{BASE_ENVIRONMENT['PATH']}"
    for each in found:
        for program in programs(each):
            beside = (paths.root / each.within / program).is_file() if "/" in program else False
            if not beside and which(program, path=searched) is None:
                raise EngineError(
                    f"{each.source}: {each.name} starts {program!r}, which is not installed",
                    f"list the package that brings {program} in the project's requirements, or mend the command",
                )


def lay_out(layout: Layout, paths: ReleasePaths, gid: int) -> None:
    """Write what the units of a release start: a directory for each, named by its unit's instance."""
    for directory, found in ((paths.processes, layout.processes), (paths.jobs, layout.jobs)):
        if found:
            make_directory(directory, 0o755)
        for each in found:
            for copy in each.copies:
                place = directory / copy
                make_directory(place, 0o755)
                write_file(place / "run", run_text(each, copy, paths.environment), 0o755, gid)
                write_file(place / "stop", stop_text(each), 0o755, gid)
                beneath.link(place / "project", f"../../{each.within}")
                beneath.link(place / "release.env", "../../release.env")
