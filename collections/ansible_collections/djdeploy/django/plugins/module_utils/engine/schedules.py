# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs at their times: a timer of systemd asks for each, and a small program starts it in the live release.

The job runs in a unit of its own, made from a template like that of a process; so a deploy, which only moves the
pointer, neither cuts a job that runs nor starts it again.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Collection
from typing import Any

from . import process_units, runner, units
from .errors import EngineError
from .lock import make_private, private
from .paths import SYSTEMD_UNITS
from .process_units import HOLDS, JOBS, Unit, jobs_of
from .processes import COPIES
from .releases import live_release
from .sites import Site

FORBID, REPLACE, ALLOW = "forbid", "replace", "allow"
HELD = 2.0  # seconds between two looks while jobs are held back


def timer(site: str, name: str) -> str:
    """The timer of a job; no name of a site holds a dot, so it is nobody else's."""
    return f"djdeploy-{site}.{name}.timer"


def decide(policy: str, running: Collection[str]) -> tuple[str, str]:
    """What to do about a job whose time has come.

    :param policy: `concurrency` of the job.
    :param running: its copies that have not ended: `clean.1`.
    :returns: `skip`, `replace` or `start`, and the number of the copy to start.
    """
    if not running:
        return "start", "1"
    if policy == REPLACE:
        return "replace", "1"
    if policy == ALLOW:
        taken = {copy.rsplit(".", 1)[-1] for copy in running}
        free = [str(number) for number in range(1, COPIES + 1) if str(number) not in taken]
        if free:
            return "start", free[0]
    return "skip", ""


def run_due(
    site: Site,
    name: str,
    say: Callable[[str], None],
    *,
    run: runner.Runner = runner.run,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Start a job whose time has come. A timer asks for it; nobody waits for the job's end.

    :raises EngineError: when systemd refuses.
    """
    said = (site.config.get("schedule") or {}).get(name)
    if not said:
        say(f"{name} is no job of {site.name} any more; its timer goes")
        forget(site.name, name, run)
        return
    make_private(site.paths.hold.parent)  # no release was made since the boot
    while True:
        with open(site.paths.hold, "a+", opener=private) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            file.seek(0)
            if not file.read():
                start_due(site, name, said["concurrency"], say, run)
                return
        sleep(HELD)


def start_due(site: Site, name: str, policy: str, say: Callable[[str], None], run: runner.Runner) -> None:
    """Start a job in the release that is live, or leave it, as its policy says.

    :raises EngineError: when systemd refuses.
    """
    live = live_release(site.name)
    job = next((each for each in jobs_of(live) if each.name == name), None)
    if live is None or job is None:
        say(f"{name} is not started: the live release of {site.name} does not have it yet")
        return
    running = [unit for unit in process_units.look(site.name, run) if is_run_of(unit, name)]
    action, number = decide(policy, [unit.copy for unit in running])
    if action == "skip":
        say(f"{name} is skipped: its last run has not ended ({', '.join(unit.release for unit in running)})")
        return
    if action == "replace":
        process_units.stop([unit.name for unit in running], wait=float(job.stop_timeout), run=run)
    unit = process_units.unit_name(site.name, live.id, JOBS, f"{name}.{number}")
    answer = units.systemctl("start", "--no-block", unit, run=run)
    if answer.returncode:
        raise EngineError(f"systemd could not start {unit}", "run site.yml", answer.stderr)
    say(f"{name} begins in {live.id}")


def is_run_of(unit: Unit, name: str) -> bool:
    return unit.what == JOBS and unit.process == name and unit.active in HOLDS


def forget(site: str, name: str, run: runner.Runner = runner.run) -> None:
    """Remove the timer of a job that is not in the schedule any more."""
    units.systemctl("disable", "--now", timer(site, name), run=run)
    for suffix in ("timer", "service"):
        (SYSTEMD_UNITS / f"djdeploy-{site}.{name}.{suffix}").unlink(missing_ok=True)
    units.systemctl("daemon-reload", run=run)


# --- told -----------------------------------------------------------------------------------------


def parse_timers(text: str) -> dict[str, dict[str, str]]:
    """Timer -> properties, of `systemctl show` of several."""
    found = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in values:
            found[values["Id"]] = values
    return found


def overview(site: Site, run: runner.Runner = runner.run) -> list[dict[str, Any]]:
    """Each job of a site: when it ran last and runs next, how it ended, and whether it runs now."""
    schedule = {name: said for name, said in (site.config.get("schedule") or {}).items() if said}
    if not schedule:
        return []
    timers = [timer(site.name, name) for name in schedule]
    properties = "Id,ActiveState,NextElapseUSecRealtime,LastTriggerUSec"
    shown = parse_timers(units.systemctl("show", *timers, "-p", properties, run=run).stdout)
    found = process_units.look(site.name, run)
    told = []
    for name, said in schedule.items():
        values = shown.get(timer(site.name, name), {})
        ended = process_units.read_text(site.paths.job_results / name).split()
        told.append(
            {
                "name": name,
                "at": said["at"],
                "command": said["command"],
                "concurrency": said["concurrency"],
                "active": values.get("ActiveState") == "active",
                "last": values.get("LastTriggerUSec") or None,
                "next": values.get("NextElapseUSecRealtime") or None,
                "result": ended[0] if ended else None,
                "status": ended[1] if len(ended) > 1 else None,
                "ended": ended[2] if len(ended) > 2 else None,
                "running": [unit.release for unit in found if is_run_of(unit, name)],
            }
        )
    return told


def lines(jobs: Collection[dict[str, Any]]) -> list[str]:
    """The overview for a person."""
    told = []
    for job in jobs:
        state = "" if job["active"] else "  its timer is off: run site.yml"
        told.append(f"{job['name']:<16} {job['at']:<18} next {job['next'] or '-'}{state}")
        ended = f", ended {job['ended']}" if job["ended"] else ""
        result = f"{job['result']} ({job['status']}){ended}" if job["result"] else "never ended yet"
        told.append(f"  last {job['last'] or '-'}: {result}")
        told += [f"  runs now, in {release}" for release in job["running"]]
    return told
