# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the host a site may take (site key `limits`): what is said, who holds to it, and how a limit is known.

Held by the site's slice (`tasks`, `memory_max`), by the database server (`database_connections`), by git (`push_size`)
and by the engine itself (`tree_size`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import databases_said, runner, schema, units
from .errors import EngineError
from .paths import SitePaths

CGROUPS = Path("/sys/fs/cgroup")
NEARLY = 0.9  # of a limit: it is told before it is met
KEYS = next(key.keys for key in schema.SITE_KEYS if key.name == "limits")


def of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A site's limits, with the defaults where nothing is said; records of early versions say nothing at all."""
    return schema.with_defaults(KEYS, config.get("limits") or {})


def size(text: str) -> int:
    """Bytes of a value of `push_size` or `tree_size`."""
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]]


def mend(key: str, site: str) -> str:
    """What to do when a limit was met."""
    said = f"raise limits.{key} of {site} in djdeploy_sites and run site.yml, if that is what it needs"
    # What fills them leaves no room for the release that would mend it.
    ending = f"; else end what runs away: systemctl kill --signal=KILL '{SitePaths(site).unit_prefix}@*.service'"
    return said + (ending if key == "tasks" else "")


def tree_too_large(site: str, revision: str, said: str) -> EngineError:
    """:param said: the value of `tree_size`."""
    return EngineError(
        f"the tree of {revision[:7]} takes more than {said} when it is unpacked (limits.tree_size)",
        f"take out what does not belong into git (git ls-tree -r -l {revision[:7]} tells sizes);"
        f" or {mend('tree_size', site)}",
    )


# --- known by what programs say ---------------------------------------------------------------------

#: What a program of the site, a database server or Python says when a limit was met -> the key.
#: Sources: PostgreSQL's InitializeSessionUserId, MariaDB's ER_USER_LIMIT_REACHED, EAGAIN of fork(2) and
#: pthread_create(3).
_WORDS = (
    (r"too many connections for role|has exceeded the 'max_user_connections' resource", "database_connections"),
    (
        r"can't start new thread|fork: (?:retry: )?Resource temporarily unavailable|Cannot fork"
        r"|BlockingIOError: \[Errno 11\] Resource temporarily unavailable|pthread_create failed",
        "tasks",
    ),
)


def met(text: str) -> str:
    """The key of the limit that was met, told by what programs said; empty when there is no sign of one."""
    return next((key for pattern, key in _WORDS if re.search(pattern, text)), "")


def hint(text: str, site: str) -> str:
    """What to do about the limit that was met, if one was; see `met`."""
    key = met(text)
    return mend(key, site) if key else ""


# --- known by the kernel ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """What a slice uses, and what it may.

    :param tasks_met: how often a process was refused since the slice was made.
    :param memory_met: how often the kernel ended processes because the slice's own memory was used up.
    """

    tasks: int | None = None
    tasks_max: int | None = None
    memory: int | None = None
    memory_max: int | None = None
    tasks_met: int = 0
    memory_met: int = 0


def parse_use(text: str, pids_events: str = "", memory_events: str = "") -> Use:
    """Read `systemctl show` of a slice, and what the kernel counts of it (pids.events, memory.events.local)."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    tasks, tasks_max, memory, memory_max = (units.parse_bytes(values.get(name, "")) for name in SHOWN)
    return Use(tasks, tasks_max, memory, memory_max, _count(pids_events, "max"), _count(memory_events, "oom"))


SHOWN = ("TasksCurrent", "TasksMax", "MemoryCurrent", "MemoryMax")


def _count(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def use(slice_name: str, run: runner.Runner = runner.run) -> Use:
    """What a site's slice uses now."""
    shown = units.systemctl("show", slice_name, "-p", ",".join((*SHOWN, "ControlGroup")), run=run).stdout
    found = re.search(r"^ControlGroup=/(.+)$", shown, re.MULTILINE)
    return parse_use(
        shown,
        _read("pids.events", "pids", found[1] if found else ""),
        _read("memory.events.local", "memory", found[1] if found else ""),
    )


def _read(name: str, controller: str, group: str) -> str:
    """A file of a cgroup, unified or of the controller's own hierarchy; empty where there is none."""
    for path in (CGROUPS / group / name, CGROUPS / controller / group / name) if group else ():
        try:
            return path.read_text()
        except OSError:
            continue
    return ""


@dataclass(frozen=True)
class Told:
    """One limit and how near it is.

    :param cure: what to do when `ok` is not so.
    """

    ok: bool
    said: str
    cure: str


def judged(found: Use, site: str) -> Iterator[Told]:
    """What to tell of a slice's limits; nothing of one that is not in force (nothing of the site runs)."""
    rows = (
        ("tasks", found.tasks, found.tasks_max, found.tasks_met, "processes and threads", 1),
        ("memory_max", found.memory, found.memory_max, found.memory_met, "MiB of memory", 1 << 20),
    )
    for key, used, most, times, what, unit in rows:
        if used is None or most is None:
            continue
        said = f"limits.{key}: {used // unit} of {most // unit} {what}"
        # Memory that is used up by the cache of files is given back at once: only what was ended tells of too little.
        near = used >= NEARLY * most if key == "tasks" else False
        yield Told(not near and not times, f"{said}, met {times} times" if times else said, mend(key, site))


#: How each server that is on the host is asked for the connections of a site: the words, and as whom.
_ASKED: dict[str, tuple[tuple[str, ...], str | None, str]] = {
    databases_said.POSTGRESQL: (
        ("psql", "-XAtq", "postgres"),
        "postgres",
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE usename = '{site}') || ' ' || rolconnlimit"
        " FROM pg_roles WHERE rolname = '{site}'",
    ),
    databases_said.MARIADB: (
        ("mariadb", "--no-defaults", f"--socket={databases_said.MARIADB_SOCKET}", "--user=root", "-BrN"),
        None,
        "SELECT CONCAT((SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = '{site}'), ' ',"
        " COALESCE(JSON_VALUE(Priv, '$.max_user_connections'), 0))"
        " FROM mysql.global_priv WHERE User = '{site}' AND Host = 'localhost'",
    ),
}


def connections(kind: str, site: str, run: runner.Runner = runner.run) -> tuple[int, int] | None:
    """Connections a site has to a server of this host, and may have.

    :param kind: of `databases_said.KINDS`.
    :returns: None where the server is on another host, or there is no such account.
    """
    if kind not in _ASKED:
        return None
    words, user, statement = _ASKED[kind]
    try:
        return parse_connections(run(words, user=user, stdin=statement.format(site=site), timeout=60.0).stdout)
    except EngineError:  # neither the client nor its user is here
        return None


def parse_connections(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+) (-?\d+)", text.strip())
    return (int(found[1]), int(found[2])) if found else None


def connections_judged(used: int, most: int, site: str) -> Told:
    """What to tell of a site's connections to its database server.

    :param most: what the server lets it have; below 1: as many as there are.
    """
    if most < 1:
        return Told(True, f"{used} connections to its database", "")
    said = f"limits.database_connections: {used} of {most} connections"
    return Told(used < NEARLY * most, said, mend("database_connections", site))
