# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages a host needs.

Works where nothing is there yet: neither python3-apt nor a list of packages, which is how the
first check mode meets a bare host. And what is installed is one short look at dpkg's own records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..engine.errors import EngineError
from ..engine.runner import Completed, Runner

LISTS = Path("/var/lib/apt/lists")
STAMP = LISTS / "partial"  # apt writes here with each update
OPTIONS = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
NO_QUESTIONS = {"DEBIAN_FRONTEND": "noninteractive", "APT_LISTCHANGES_FRONTEND": "none"}
RETRY = 3.0


def parse_installed(text: str) -> set[str]:
    """Read `dpkg-query --show --showformat='${db:Status-Abbrev} ${Package}\\n'`: names of what is installed."""
    rows = (line.split() for line in text.splitlines())
    return {row[1] for row in rows if len(row) == 2 and row[0][1:2] == "i"}


def missing(wanted: Iterable[str], installed: set[str]) -> list[str]:
    """What has to be installed, each name once, in the order of the alphabet."""
    return sorted(set(wanted) - installed)


def locked(completed: Completed) -> bool:
    """Whether apt only failed because another apt is at work."""
    return completed.returncode != 0 and "Could not get lock" in completed.stderr


def stale(updated: float | None, now: float, valid: float) -> bool:
    """Whether the lists of packages must be fetched again.

    :param updated: when that was last done, seconds since the epoch; None: never.
    :param valid: seconds the lists are good for.
    """
    return updated is None or now - updated > valid


def look(wanted: Iterable[str], run: Runner) -> set[str]:
    """Which of the wanted packages are installed."""
    names = list(wanted)
    if not names:
        return set()
    completed = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\\n", "--", *names])
    return parse_installed(completed.stdout)  # it fails when one is unknown, and still lists the others


def last_update(lists: Path = LISTS) -> float | None:
    """When the lists of packages were fetched; None when there are none."""
    if not any(lists.glob("*_Packages*")):
        return None
    return (lists / STAMP.name).stat().st_mtime if (lists / STAMP.name).exists() else lists.stat().st_mtime


def patiently(
    argv: list[str],
    run: Runner,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Completed:
    """Run apt-get; while another apt is at work, wait for it.

    :param timeout: seconds to wait for the other one.
    """
    until = clock() + timeout
    while True:
        completed = run(argv, env=NO_QUESTIONS)
        if not locked(completed) or clock() >= until:
            return completed
        sleep(RETRY)


def to_mask(missing: Iterable[str], not_started: Mapping[str, Iterable[str]]) -> list[str]:
    """Units that are masked before packages are installed, so that Debian never starts them; sorted.

    :param missing: what will be installed. A package that is there already was somebody else's choice.
    :param not_started: package -> its units.
    """
    return sorted({unit for name in missing for unit in not_started.get(name, ())})


def mask(units: Iterable[str], run: Runner) -> None:
    """Mask units; systemd takes the name of one that is not there yet, too.

    :raises EngineError: when systemd refuses.
    """
    units = list(units)
    completed = run(["systemctl", "mask", "--", *units]) if units else None
    if completed and completed.returncode != 0:
        raise EngineError(
            f"systemctl mask {' '.join(units)} failed on this host",
            "nothing was installed; look at: systemctl status",
            completed.stderr,
        )


def install(names: Iterable[str], run: Runner, *, valid: float, lock_timeout: float) -> None:
    """Install packages, with fresh lists.

    :param valid: seconds the lists of packages are good for.
    :param lock_timeout: seconds to wait for another apt.
    :raises EngineError: when apt fails.
    """
    names = list(names)
    if stale(last_update(), time.time(), valid):
        completed = patiently(["apt-get", "update", "-q"], run, lock_timeout)
        if completed.returncode != 0:
            raise EngineError(
                "apt-get update failed on this host",
                "look at the host's /etc/apt/sources.list and sources.list.d; behind a proxy that"
                " opens TLS, name its certificate in djdeploy_ca_certificates",
                completed.stderr,
            )
    argv = ["apt-get", "install", "-q", "--yes", "--no-install-recommends", *OPTIONS]
    argv += ["-o", f"DPkg::Lock::Timeout={lock_timeout:.0f}", "--", *names]
    completed = patiently(argv, run, lock_timeout)
    if completed.returncode != 0:
        raise EngineError(
            f"apt-get could not install {' '.join(names)}",
            "the names come from the roles and from `packages` of a site in djdeploy_sites;"
            " look for the right one with: apt-cache search NAME",
            completed.stderr or completed.stdout,
        )
