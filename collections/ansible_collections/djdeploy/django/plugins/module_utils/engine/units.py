# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units of releases."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import runner, unit_lines
from .errors import EngineError
from .paths import ReleasePaths, SitePaths

CGROUPS = Path("/sys/fs/cgroup")
LONGEST = 600.0  # seconds for a word to systemd: ten thousand units, or a host that hardly moves
# systemd's message that a unit failed (sd-messages.h), and from systemd itself: who writes to the journal says any
# MESSAGE_ID, but only journald says who wrote (systemd.journal-fields(7), "Trusted Journal Fields").
FAILED = ("MESSAGE_ID=d9b373ed55a64feb8242e02dbe79a49c", "_PID=1")


@dataclass(frozen=True)
class UnitState:
    """What systemd says about a unit.

    :param restarts: how often systemd had to start it again; more than 0 means it died.
    """

    active: str
    sub: str
    restarts: int
    result: str

    @property
    def broken(self) -> bool:
        return self.active == "failed" or self.restarts > 0 or self.sub == "auto-restart"


def parse_show(text: str) -> UnitState:
    """Read `systemctl show -p ActiveState,SubState,NRestarts,Result`."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return UnitState(
        values.get("ActiveState", "unknown"),
        values.get("SubState", "unknown"),
        int(values.get("NRestarts") or 0),
        values.get("Result", ""),
    )


def systemctl(*words: str, run: runner.Runner = runner.run, timeout: float = LONGEST) -> runner.Completed:
    return run(["systemctl", *words], timeout=timeout)


def state(unit: str, run: runner.Runner = runner.run) -> UnitState:
    return parse_show(systemctl("show", unit, "-p", "ActiveState,SubState,NRestarts,Result", run=run).stdout)


def parse_bytes(text: str) -> int | None:
    """A number of bytes as systemd shows it; None for `[not set]` and for its word for infinity."""
    return int(text) if text.strip().isdecimal() and int(text) < 1 << 63 else None


def memory(paths: SitePaths, unit: str, cgroups: Path = CGROUPS) -> int | None:
    """Bytes a unit of a site uses now, as the kernel counts them; None when it does not run or nobody counts."""
    try:
        return int((cgroups / parent_slice(paths.slice) / paths.slice / unit / "memory.current").read_text())
    except (OSError, ValueError):
        return None


def parent_slice(name: str) -> str:
    """The slice that a slice lies in, which is part of its name (systemd.slice(5))."""
    return f"{name.rpartition('-')[0]}.slice"


def journal_tail(unit: str, lines: int = 20, run: runner.Runner = runner.run) -> str:
    """The last lines a unit wrote, without systemd's own prefix."""
    run(["journalctl", "--sync"])  # on a busy host they are not there yet when the unit has ended
    asked = 2 * lines  # what is shown first may have begun before
    words = ["journalctl", "--unit", unit, "--lines", str(asked), "--no-pager", "--output", "json"]
    words += ["--all", "--output-fields", unit_lines.FIELDS]  # without --all, long ones are null
    records = run(words, bounded=runner.STDOUT, kept=unit_lines.KEPT).stdout.split("\n")
    records = [record for record in records if record]
    return unit_lines.text_of(records, lines, full=len(records) >= asked)


def failure_since(unit: str, since: float, run: runner.Runner = runner.run) -> str:
    """How a unit failed last (Result of systemd) since a moment, though it may run again; empty when it did not.

    :param since: seconds since 1970.
    """
    run(["journalctl", "--sync"])
    words = ["journalctl", "--unit", unit, "--since", f"@{int(since)}", "--output", "cat", "--no-pager", *FAILED]
    return parse_failure(run(words, bounded=runner.STDOUT).stdout)


def parse_failure(text: str) -> str:
    """The result in the last of systemd's messages that a unit failed."""
    found = re.findall(r"Failed with result '([\w-]+)'", text)
    return found[-1] if found else ""


def start(release: ReleasePaths, *, again: bool = True, run: runner.Runner = runner.run) -> None:
    """Start a release on its own socket; the service is only asked for, proving it is another matter.

    It counts as started as soon as it runs, so waiting for systemd proves nothing.

    :param again: whether its units may have run before: how they ended then is forgotten.
    :raises EngineError: when systemd refuses, with what it said.
    """
    if again:
        systemctl("reset-failed", release.service_unit, release.socket_unit, run=run)
    for words in (["start", release.socket_unit], ["start", "--no-block", release.service_unit]):
        answer = systemctl(*words, run=run)
        if answer.returncode:
            raise EngineError(
                f"systemd could not start {words[-1]}",
                f"see: journalctl -u {words[-1]}",
                answer.stderr + journal_tail(words[-1], run=run),
            )


def kill(release: ReleasePaths, run: runner.Runner = runner.run) -> None:
    """End a release that never had a visitor: nothing it does is worth waiting for."""
    systemctl("kill", "--signal", "KILL", release.service_unit, run=run)
    stop(release, block=True, run=run)


def stop(release: ReleasePaths, *, block: bool, run: runner.Runner = runner.run) -> None:
    """Stop a release. In one transaction systemd stops the service before its socket.

    So whatever still connects meanwhile waits in a socket that exists, and is not reset.

    :param block: wait until it has ended, which takes as long as its longest request.
    """
    flags = [] if block else ["--no-block"]
    systemctl("stop", *flags, release.socket_unit, release.service_unit, run=run)
    if block:
        systemctl("reset-failed", release.service_unit, release.socket_unit, run=run)


def spare(release: ReleasePaths, *, proc: Path = Path("/proc"), run: runner.Runner = runner.run) -> None:
    """Let a release that is live now no longer be the first the kernel ends when memory runs out.

    Its processes marked themselves when they started beside a live one; what they start
    from now on takes after them. A mark that stays is no reason to undo a switch.
    """
    answer = systemctl("show", release.service_unit, "-p", "MainPID", "--value", run=run).stdout.strip()
    family = [int(answer)] if answer.isdecimal() and answer != "0" else []
    for pid in family:  # grows while it is walked: parents come before their children
        try:
            (proc / str(pid) / "oom_score_adj").write_text("0")
            family += map(int, (proc / str(pid) / "task" / str(pid) / "children").read_text().split())
        except OSError as error:
            sys.stderr.write(f"{error.filename}: {error.strerror}\n")


def parse_instances(text: str, site: str) -> set[str]:
    """Release ids named in `systemctl list-units --plain --no-legend` output."""
    return set(re.findall(rf"djdeploy-{re.escape(site)}@(\S+?)\.(?:service|socket)", text))


def running_releases(site: str, run: runner.Runner = runner.run) -> set[str]:
    """Ids of all releases of a site that systemd holds units of."""
    pattern = f"{SitePaths(site).unit_prefix}@*"
    return parse_instances(systemctl("list-units", "--all", "--plain", "--no-legend", pattern, run=run).stdout, site)


def parse_states(text: str, site: str) -> dict[str, set[str]]:
    """Release id -> the states (ActiveState) of its units, of the same output."""
    found: dict[str, set[str]] = {}
    pattern = rf"djdeploy-{re.escape(site)}@(\S+?)\.(?:service|socket)\s+\S+\s+(\S+)"
    for release_id, active in re.findall(pattern, text):
        found.setdefault(release_id, set()).add(active)
    return found


def states(site: str, run: runner.Runner = runner.run) -> dict[str, set[str]]:
    """Release id -> the states of its units, of all releases of a site that systemd holds units of."""
    pattern = f"{SitePaths(site).unit_prefix}@*"
    return parse_states(systemctl("list-units", "--all", "--plain", "--no-legend", pattern, run=run).stdout, site)


def forget(release: ReleasePaths, run: runner.Runner = runner.run) -> None:
    """Let systemd no longer tell how units ended that have ended."""
    systemctl("reset-failed", release.service_unit, release.socket_unit, run=run)


def parse_backlog(text: str) -> int:
    """Connections that wait to be accepted: Recv-Q of `ss -xlnH` (ss(8)), 0 when nothing listens."""
    return sum(int(line.split()[2]) for line in text.splitlines() if len(line.split()) > 2)


def drain(release: ReleasePaths, *, timeout: float = 60.0, run: runner.Runner = runner.run) -> None:
    """Wait until nothing waits in the backlog of a release any more.

    Servers close their listener first when they stop; what sits in the backlog then is reset.
    Three looks at an empty backlog in a row were enough to lose nothing under load. Only a release that hangs lets
    the time pass: whoever waits in its backlog is not answered in any case.

    :param timeout: seconds, after which it is stopped as it is.
    """
    calm, end = 0, time.monotonic() + timeout
    while calm < 3 and time.monotonic() < end:
        waiting = parse_backlog(run(["ss", "-xlnH", "src", str(release.socket)]).stdout)
        calm = calm + 1 if waiting == 0 else 0
        time.sleep(0.1)
