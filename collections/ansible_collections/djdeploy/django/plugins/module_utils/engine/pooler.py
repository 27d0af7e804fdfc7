# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes of a site reach PostgreSQL through PgBouncer (site key `pgbouncer`).

The site's variables always lead straight to PostgreSQL: for migrations, copies, manage.py. A release of a site with
a pooler holds another file of variables, `pooled.env`, which only units read that serve, work or run at their times.
It belongs to the release, so that going back to one made before there was a pooler goes back to the straight way.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from . import beneath, databases_said, overlay_pooled
from .environment import serialize
from .errors import EngineError
from .paths import ReleasePaths
from .processes import Layout
from .sites import Site
from .tree import write_file


def pooled(config: Mapping[str, Any], name: str, environment: Mapping[str, str]) -> tuple[databases_said.Database, ...]:
    """The databases of a site that its processes reach through PgBouncer.

    :param environment: the site's; a variable that leads elsewhere than to the host's own PostgreSQL stays.
    """
    if not (config.get("pgbouncer") or {}).get("enabled"):
        return ()
    return tuple(
        each
        for each in databases_said.wanted(config, name)
        if each.kind == databases_said.POSTGRESQL and environment.get(each.variable) == databases_said.local_url(each)
    )


def of(site: Site) -> tuple[databases_said.Database, ...]:
    """The same of a site on this host; one that does not ask for it has nothing read."""
    is_wanted = (site.config.get("pgbouncer") or {}).get("enabled")
    return pooled(site.config, site.name, site.environment()) if is_wanted else ()


def aliases(site: Site) -> list[str]:
    """Of the databases behind PgBouncer, in DATABASES."""
    return [each.alias for each in of(site)]


def variables(found: Collection[databases_said.Database]) -> dict[str, str]:
    """What differs in the environment of processes that go through PgBouncer; no secret."""
    return {each.variable: overlay_pooled.url(each.name) for each in found}


def straight(config: Mapping[str, Any], names: Collection[str], *, all_known: bool = True) -> frozenset[str]:
    """The processes and jobs that need sessions of their own (`pgbouncer.direct`).

    :param names: of all processes and jobs of the release.
    :param all_known: False on a host that does not run all of them.
    :raises EngineError: when one of them is none of these.
    """
    wanted = frozenset((config.get("pgbouncer") or {}).get("direct") or ())
    unknown = sorted(wanted - set(names))
    if unknown and all_known:
        there = f"there are: {', '.join(sorted(names))}" if names else "there are none"
        raise EngineError(
            f"pgbouncer.direct names {', '.join(unknown)}, which is no process or job of the site; {there}",
            "mend the name, or take it out",
        )
    return wanted


def lay_out(site: Site, beside: Layout, paths: ReleasePaths, gid: int) -> None:
    """Write the variables of what goes through PgBouncer, and link them to each process that does.

    :raises EngineError: as `straight` does.
    """
    found = of(site)
    if not found:
        return
    names = [each.name for each in (*beside.processes, *beside.jobs)]
    direct = straight(site.config, names, all_known=not site.paths.not_first.exists())
    write_file(paths.pooled_env, serialize(variables(found)), 0o640, gid)
    for directory, several in ((paths.processes, beside.processes), (paths.jobs, beside.jobs)):
        for each in several:
            for copy in each.copies if each.name not in direct else ():
                link: Path = directory / copy / paths.pooled_env.name
                beneath.link(link, f"../../{paths.pooled_env.name}")
