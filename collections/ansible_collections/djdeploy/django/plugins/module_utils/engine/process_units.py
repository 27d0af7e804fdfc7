# SPDX-License-Identifier: GPL-3.0-or-later
"""The units of what runs beside the web server: started with a release, and left to finish by the next one.

A unit is an instance of one template of its site. Its instance is the escaped path of what it starts
(systemd.unit(5), "specifiers"): `<release>/processes/<name>.<copy>`, or `<release>/jobs/<name>.<copy>`. A site
whose releases have no processes and no jobs is never asked for any.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import runner, units
from .errors import EngineError
from .events import Note, Progress
from .lock import make_private, private
from .paths import SitePaths
from .processes import Process
from .releases import Release, live_release, note_release, read_release
from .sites import Site
from .steps import LONGEST, Target

PROVEN_AFTER = 3.0  # seconds a new process has to live at least before the old ones are let go
STARTS = 3  # starts of Django it has to outlive: most die when they import, and a worker imports its queue, too
TICK = 0.25  # seconds between two looks
MANY = 3  # times a process may come to its end by itself, and well, while it is looked at
WAIT_FOR_JOBS = 600.0  # `migrations.wait_for_jobs` of a site that was written before there was such a key
RUNS = frozenset({"active", "activating", "reloading"})
HOLDS = RUNS | {"deactivating"}  # needs the code of its release
PROCESSES, JOBS = "process", "job"


@dataclass(frozen=True)
class Unit:
    """A unit as systemd lists it.

    :param what: PROCESSES or JOBS.
    :param copy: name and number: `worker.1`.
    :param active: its ActiveState.
    """

    name: str
    what: str
    release: str
    copy: str
    active: str
    sub: str = ""

    @property
    def process(self) -> str:
        return self.copy.rsplit(".", 1)[0]


# --- names ----------------------------------------------------------------------------------------


def escape(path: str) -> str:
    """As `systemd-escape` does it: `/` becomes `-`, all but letters, digits, `:`, `_` and `.` their number."""
    return "".join(
        "-" if letter == "/" else letter if re.fullmatch(r"[A-Za-z0-9:_.]", letter) else f"\\x{ord(letter):02x}"
        for letter in path
    )


def unescape(text: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text.replace("-", "/"))


def unit_name(site: str, release: str, what: str, copy: str) -> str:
    folder = {PROCESSES: "processes", JOBS: "jobs"}[what]
    return f"{SitePaths(site).unit_prefix}.{what}@{escape(f'{release}/{folder}/{copy}')}.service"


def parse_units(text: str, site: str) -> list[Unit]:
    """Units of a site in the output of `systemctl list-units --all --plain --no-legend`."""
    found = []
    pattern = rf"^\s*(djdeploy-{re.escape(site)}\.(process|job)@(\S+)\.service)\s+\S+\s+(\S+)\s+(\S+)"
    for name, what, instance, active, sub in re.findall(pattern, text, re.MULTILINE):
        release, _slash, rest = unescape(instance).partition("/")
        found.append(Unit(name, what, release, rest.rsplit("/", 1)[-1], active, sub))
    return found


def look(site: str, run: runner.Runner = runner.run) -> list[Unit]:
    """All units beside the web server that systemd holds of a site, whatever their state."""
    pattern = f"{SitePaths(site).unit_prefix}.*@*.service"
    answer = units.systemctl("list-units", "--all", "--plain", "--no-legend", "--full", pattern, run=run)
    return parse_units(answer.stdout, site)


def concerned(records: Iterable[Release]) -> bool:
    """Whether any of the releases has something that runs beside its web server."""
    return any(record.processes or record.jobs for record in records)


def processes_of(release: Release | None) -> list[Process]:
    return [Process.of(data) for data in release.processes] if release else []


def jobs_of(release: Release | None) -> list[Process]:
    return [Process.of(data) for data in release.jobs] if release else []


def names(site: str, release: str, found: Iterable[Process]) -> list[str]:
    """The units of processes of a release, one for each copy."""
    return [unit_name(site, release, PROCESSES, copy) for each in found for copy in each.copies]


# --- starting and stopping ------------------------------------------------------------------------


def start(site: str, release: str, found: Sequence[Process], run: runner.Runner = runner.run) -> None:
    """Start processes of a release; one that is just finishing begins anew when it has. Nobody waits here.

    :raises EngineError: when systemd refuses, with what it said.
    """
    if not found:
        return
    for each in found:
        if each.memory_max:
            for name in names(site, release, [each]):
                units.systemctl("set-property", "--runtime", name, f"MemoryMax={each.memory_max}", run=run)
    wanted = names(site, release, found)
    answer = units.systemctl("start", "--no-block", *wanted, run=run)
    if answer.returncode:
        raise EngineError(
            f"systemd could not start {', '.join(each.name for each in found)} of {release}",
            "run site.yml, if the host was set up before there were processes; see: systemctl status djdeploy-*",
            answer.stderr,
        )


def stop(wanted: Sequence[str], *, wait: float = 0.0, run: runner.Runner = runner.run) -> None:
    """Ask units to finish what they have and take nothing more.

    :param wait: seconds to wait for their end; 0: not at all.
    """
    if not wanted:
        return
    if wait:
        units.systemctl("stop", *wanted, run=run, timeout=wait + 60)
    else:
        units.systemctl("stop", "--no-block", *wanted, run=run)


def alone(site: Site, found: Iterable[Unit]) -> tuple[list[str], float]:
    """Those of some units beside which no other of their name may run, and the seconds they get to end.

    What they are stands in the record of their release; of one whose record is gone nothing is known.
    """
    wanted, patience = [], 0.0
    for release_id in sorted({unit.release for unit in found}):
        known = {each.name: each for each in processes_of(read_release(site.paths.releases / release_id))}
        for unit in found:
            each = known.get(unit.process)
            if unit.release == release_id and each is not None and each.alone:
                wanted.append(unit.name)
                patience = max(patience, float(each.stop_timeout))
    return wanted, patience


def let_go(site: Site, found: Sequence[Unit], run: runner.Runner = runner.run) -> None:
    """Ask units to finish; wait for the end of those that may not run beside another one."""
    single, patience = alone(site, found)
    stop([unit.name for unit in found if unit.active in RUNS and unit.name not in single], run=run)
    stop(single, wait=patience, run=run)


# --- watching -------------------------------------------------------------------------------------


def proof_time(start: float, came_up: float, copies: int, processors: int, longest: float) -> float:
    """Seconds a new process has to live before it counts as running.

    One that cannot run dies when it imports, and how long that takes depends on the project and on how busy the host
    is. So it has to outlive what starts took on this host a moment ago. There is no word of readiness to wait for:
    workers have none in common, and Celery tells its own only at a level of logging that is not the default.

    :param start: seconds one start of Django took when the release was checked; 0 where nobody knows.
    :param came_up: seconds its web server took just now, from its start to its first healthy answer.
    :param copies: how many processes start at once, and so share the processors.
    :param longest: `health.timeout` of the site; a start that takes longer is not waited for.
    """
    crowd = max(1.0, copies / max(processors, 1))
    return max(PROVEN_AFTER, min(STARTS * max(start * crowd, came_up), longest))


@dataclass(frozen=True)
class Look:
    """What systemd says of one process.

    :param started: when it began, by the clock of `time.monotonic`; 0: never.
    """

    active: str
    sub: str
    restarts: int
    result: str
    started: float = 0.0


SHOWN = "Id,ActiveState,SubState,NRestarts,Result,ExecMainStartTimestampMonotonic"


def parse_shown(text: str) -> dict[str, Look]:
    """Read `systemctl show` of several units, with the properties in SHOWN."""
    found = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in values:
            found[values["Id"]] = Look(
                values.get("ActiveState", ""),
                values.get("SubState", ""),
                int(values.get("NRestarts") or 0),
                values.get("Result", ""),
                int(values.get("ExecMainStartTimestampMonotonic") or 0) / 1e6,
            )
    return found


def began(look: Look) -> float | None:
    """When a process began, by the clock of `time.monotonic`; None when it did not yet.

    One that still finishes what it had as it was told to start again begins when it has: nobody waits for that.
    """
    if look.active == "deactivating":
        return 0.0
    return look.started if look.active in RUNS and look.started else None


def trouble(first: Look, now: Look, missed: str = "") -> str:
    """What is wrong with a process, as the end of a sentence about it; empty when nothing is.

    One that comes to its end by itself and well (a worker that ends after so many tasks) is started again.

    :param missed: how it ended between two looks (Result of systemd); empty: well, or not at all.
    """
    fell = now.active == "failed" or (now.sub == "auto-restart" and now.result != "success")
    if fell or missed:
        return "ran out of memory" if "oom-kill" in (now.result, missed) else "died"
    if now.restarts - first.restarts >= MANY:
        return "ends again and again"
    return ""


def last_words(said: str) -> str:
    """What Python raised last, as the end of a sentence; empty where the lines of a process hold no such thing."""
    raised = re.findall(
        r"^((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Configured|NotFound|NotReady)\b.*)$", said, re.MULTILINE
    )
    return f": {raised[-1][:300]}" if raised else ""


@dataclass
class Vigil:
    """The processes of a release, looked at again and again.

    :param since: when they were told to start, in seconds since 1970.
    """

    wanted: Sequence[str]
    copies: Sequence[str]
    run: runner.Runner = runner.run
    since: float = field(default_factory=time.time)
    first: dict[str, Look] = field(default_factory=dict)
    last: dict[str, Look] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)

    def check(self) -> None:
        """:raises EngineError: when one of them died, with its last lines."""
        if not self.wanted:
            return
        answer = units.systemctl("show", *self.wanted, "-p", SHOWN, run=self.run)
        for name, now in parse_shown(answer.stdout).items():
            before, self.last[name] = self.last.get(name), now
            if (moment := began(now)) is not None:
                self.begun.setdefault(name, moment)
            # A second after its death it is started again, and a look may come later than that.
            again = now.restarts > (before.restarts if before else 0)
            missed = units.failure_since(name, self.since, run=self.run) if again else ""
            wrong = trouble(self.first.setdefault(name, now), now, missed)
            if wrong:
                copy = dict(zip(self.wanted, self.copies, strict=True)).get(name, name)
                said = units.journal_tail(name, run=self.run)
                told = f"its process {copy.rsplit('.', 1)[0]} {wrong}{last_words(said)}"
                more = (
                    "raise its memory_max or limits.memory_max of the site in djdeploy_sites; "
                    if "memory" in wrong
                    else ""
                )
                raise EngineError(told, f"{more}see: journalctl -u '{name}'", said)

    def youngest(self) -> float | None:
        """When the last of them began, by the clock of `time.monotonic`; None while one has not."""
        if set(self.wanted) - self.begun.keys():
            return None
        return max(self.begun.values(), default=0.0)


def vigil(site: Site, release: Release, run: runner.Runner = runner.run) -> Vigil:
    found = processes_of(release)
    return Vigil(names(site.name, release.id, found), [copy for each in found for copy in each.copies], run)


# --- with a release -------------------------------------------------------------------------------


def hand_over(
    site: Site,
    release: Release,
    note: Note,
    *,
    came_up: float = 0.0,
    run: runner.Runner = runner.run,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Vigil:
    """Let the processes of a release take the place of those before, just ahead of the switch.

    New workers are started beside the old ones and have to outlive their start; only then do the old ones take
    nothing more and finish what they have. They take nothing from the new release's web processes, so a job the
    old code does not know is never given to it. Of what may run only once, the old one has ended first.

    :param came_up: seconds the web server of the release took to its first healthy answer just now.
    :returns: whoever looks at them from now on.
    :raises EngineError: when one of them died; `give_back` undoes it.
    """
    found = processes_of(release)
    before = [unit for unit in look(site.name, run) if unit.what == PROCESSES and unit.release != release.id]
    before = [unit for unit in before if unit.active in HOLDS]
    workers, single = [each for each in found if not each.alone], [each for each in found if each.alone]
    watch = vigil(site, release, run)
    start(site.name, release.id, workers, run)
    ending, patience = alone(site, before)
    stop(ending, wait=patience, run=run)
    start(site.name, release.id, single, run)
    longest = float(site.config["health"]["timeout"])
    enough = proof_time(release.django_start, came_up, len(watch.wanted), len(os.sched_getaffinity(0)), longest)
    live_on(watch, enough, longest, now=now, sleep=sleep)
    stop([unit.name for unit in before if unit.name not in ending and unit.active in RUNS], run=run)
    told = ", ".join(f"{each.name} x{each.count}" if each.count > 1 else each.name for each in found)
    note.text = f"{told} run" + (f" for {enough:.0f} s, as starts take long now" if enough > PROVEN_AFTER else "")
    note.text += f"; {len(before)} of before finish" if before else ""
    return watch


def live_on(
    watch: Vigil, seconds: float, longest: float, *, now: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    """See that processes live for some seconds, counted from when the last of them began.

    :param longest: seconds in which they should have begun; then the count begins all the same.
    :raises EngineError: when one of them died.
    """
    told = now()
    while True:
        moment = now()
        watch.check()
        begun = watch.youngest()
        begun = told + longest if begun is None else max(begun, told)
        if moment - begun >= seconds:
            return
        sleep(TICK)


def give_back(
    site: Site, release: Release, before: str | None, *, resume: bool, run: runner.Runner = runner.run
) -> None:
    """Undo `hand_over`: what the failed release started finishes, and what was there before takes new work again.

    :param resume: false while the site is closed; who opens it starts them (`go_on`).
    """
    let_go(site, [unit for unit in look(site.name, run) if unit.what == PROCESSES and unit.release == release.id], run)
    old = read_release(site.paths.releases / before) if before and resume else None
    if old is not None:
        start(site.name, old.id, processes_of(old), run)


def settle(site: Site, live: str | None, run: runner.Runner = runner.run) -> set[str]:
    """Ask the processes of other releases to finish; jobs are left to their end.

    :returns: ids of the releases whose code is still in use.
    """
    found = look(site.name, run)
    left = [unit for unit in found if unit.what == PROCESSES and unit.release != live and unit.active in RUNS]
    stop([unit.name for unit in left], run=run)
    over = [unit.name for unit in found if unit.active == "failed" and unit.release != live]
    if over:
        units.systemctl("reset-failed", *over, run=run)
    return {unit.release for unit in found if unit.active in HOLDS}


def keep(site: Site, live: Release | None, run: runner.Runner = runner.run) -> None:
    """After a run that was killed, and at boot: the processes of the live release run, those of no other take work."""
    release_jobs(site)
    found = [unit for unit in look(site.name, run) if unit.what == PROCESSES]
    others = [unit for unit in found if live is None or unit.release != live.id]
    let_go(site, [unit for unit in others if unit.active in HOLDS], run)
    if live is not None:
        running = {unit.name for unit in found if unit.active in RUNS}
        missing = [each for each in processes_of(live) if not running.issuperset(names(site.name, live.id, [each]))]
        start(site.name, live.id, missing, run)


# --- behind the maintenance page ------------------------------------------------------------------


def pause(site: Site, progress: Progress, run: runner.Runner = runner.run) -> None:
    """Before the page goes up: let processes and jobs come to their end, and none begin.

    :raises EngineError: when a job still runs after `migrations.wait_for_jobs`; all of it runs again then.
    """
    live = live_release(site.name)
    if live is None or not concerned([live]):
        return
    with progress.phase("processes") as note:
        hold_jobs(site)
        found = look(site.name, run)
        wanted = [unit.name for unit in found if unit.what == PROCESSES and unit.active in HOLDS]
        patience = max([float(each.stop_timeout) for each in processes_of(live)], default=0.0) + 1
        try:
            stop(wanted, wait=patience, run=run)
        except EngineError:
            go_on(site, run)
            raise
        end = time.monotonic() + float(site.config["migrations"].get("wait_for_jobs") or WAIT_FOR_JOBS)
        while at_work := [unit for unit in look(site.name, run) if unit.what == JOBS and unit.active in HOLDS]:
            if time.monotonic() > end:
                go_on(site, run)
                raise EngineError(
                    f"the job {at_work[0].process} still runs, and the database is needed without it",
                    f"see: djdeploy schedule {site.name}; do it again when it has ended, or raise"
                    " migrations.wait_for_jobs; nothing was changed",
                )
            time.sleep(1)
        note.text = f"{len(wanted)} ended, none takes work"


def go_on(site: Site, run: runner.Runner = runner.run) -> None:
    """The page is gone: the processes of what is live take work again."""
    live = live_release(site.name)
    if live is None or not concerned([live]):
        return
    release_jobs(site)
    start(site.name, live.id, processes_of(live), run)


def hold_jobs(site: Site) -> None:
    """Let no job begin; one that is just being started is waited for."""
    make_private(site.paths.hold.parent)
    with open(site.paths.hold, "a", opener=private) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("a migration\n")


def release_jobs(site: Site) -> None:
    try:
        os.truncate(site.paths.hold, 0)
    except FileNotFoundError:
        pass


# --- the command of a release ---------------------------------------------------------------------


def run_release_command(
    release: Release, target: Target, progress: Progress, run: runner.Runner | None = None
) -> Release:
    """Run what the Procfile says under `release`, once for each release, as the site's user in its environment.

    :param run: starts it; None: as the target says.
    :returns: the release as recorded.
    :raises EngineError: when it fails, with its last lines.
    """
    if not release.release_command or release.release_command_ran:
        return release
    with progress.phase("release") as note:
        environment = {**target.env, "PATH": f"{target.python.parent}:{runner.BASE_ENVIRONMENT['PATH']}"}
        done = (run or target.start or runner.run)(
            ["/bin/sh", "-c", release.release_command],
            user=target.user,
            env=environment,
            cwd=target.cwd,
            timeout=LONGEST,
            on_stdout=progress.say,
            bounded=runner.BOTH,
        )
        if done.returncode:
            raise EngineError(
                f"the release command of the Procfile failed (status {done.returncode}): {release.release_command}",
                "mend it and push again",
                done.stdout + done.stderr,
            )
        note.text = release.release_command[:80]
    release = replace(release, release_command_ran=True)
    note_release(release)
    return release


# --- told -----------------------------------------------------------------------------------------


def states(site: Site, release: Release, found: Collection[Unit]) -> list[dict[str, str]]:
    """Each process of a release and how it is, for `djdeploy status`."""
    by_name = {unit.name: unit for unit in found}
    told = []
    for each in processes_of(release):
        for copy in each.copies:
            unit = by_name.get(unit_name(site.name, release.id, PROCESSES, copy))
            told.append(
                {
                    "name": copy if each.count > 1 else each.name,
                    "kind": each.kind,
                    "state": unit.active if unit else "inactive",
                    "sub": unit.sub if unit else "dead",
                    "command": each.command,
                }
            )
    return told


def finishing(release: Release, found: Iterable[Unit]) -> list[Unit]:
    """What of other releases still finishes, and the jobs that run."""
    return [unit for unit in found if unit.active in HOLDS and (unit.what == JOBS or unit.release != release.id)]


def log_patterns(site: str, release: str | None) -> list[str]:
    """Units for journalctl: all beside the web server, or those of one release."""
    prefix = SitePaths(site).unit_prefix
    if release is None:
        return [f"{prefix}.*"]
    return [f"{prefix}.{what}@{escape(release).replace(chr(92), '?')}-*.service" for what in (PROCESSES, JOBS)]


def read_text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
