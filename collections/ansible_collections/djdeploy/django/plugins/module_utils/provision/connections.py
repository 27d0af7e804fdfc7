# SPDX-License-Identifier: GPL-3.0-or-later
"""How many connections to its database server a site may have, so that none takes them all (site key `limits`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..engine import databases_said, limits, servers

RELEASES = 2  # that run at once during a deploy
PER_PROCESS = servers.MOST + 1  # a queue worker has a child for each processor, and each of these a connection
PER_JOB = 2
SPARE = 10  # migrations with their lock, copies, manage.py, what the project's Procfile adds
THREADED = (servers.GUNICORN, servers.UWSGI)  # serve a request in a thread of a worker, which has its connections
LEAST = 30  # for each database: what PgBouncer holds of it, and SPARE (see `pooler`)
SHARE = 0.75  # of all connections of the server: the most one site gets unless it says otherwise
SHARED = 0.9  # of the same: what the sites get together; the rest is for superusers, backups, people
FEW = servers.MOST // 2  # workers each site gets connections for, however many sites there are


def needed(site: Mapping[str, Any], databases: int, workers: int = servers.MOST) -> int:
    """Connections that what a host runs of a site may come to, two releases of it.

    A worker is counted with all its threads.

    :param site: as that host serves it, resolved.
    :param databases: of the kind that is counted: each thread may have a connection to each.
    :param workers: where the site does not say how many there are; the default is as many as are ever chosen: the host
        of the database need not know those of the sites.
    """
    web = site["web"]
    serving = int(web["workers"] or workers) * int(web["threads"])
    beside = sum(int(said["count"]) * PER_PROCESS for said in site["processes"].values() if said)
    jobs = sum(PER_JOB for said in site["schedule"].values() if said)
    return ((serving + beside) * RELEASES + jobs) * databases


def bounds(sites: Sequence[Mapping[str, Any]], databases: int, max_connections: int) -> tuple[int, int]:
    """The connections a site has to have, and those it may have at most.

    uvicorn serves many requests at the same time, and Django gives each of them connections of its own
    (https://docs.djangoproject.com/en/stable/topics/async/): where a site does not say that another server is to serve
    it, no number of workers tells how many, and it gets the most one may.

    :param sites: the site as each of its hosts serves it.
    :param databases: how many of one kind it has.
    :param max_connections: the server's own setting.
    """
    if said := [each for site in sites if (each := limits.of(site)["database_connections"])]:
        return max(map(int, said)), max(map(int, said))
    most = max(1, int(max_connections * SHARE))

    def within(wanted: int) -> int:
        return min(max(wanted + SPARE, LEAST * databases), most)

    least = within(sum(needed(site, databases, FEW) for site in sites))
    if any(site["web"]["server"] not in THREADED for site in sites):
        return least, most
    return least, within(sum(needed(site, databases) for site in sites))


def shares(
    sites: Mapping[str, Sequence[Mapping[str, Any]]],
    databases: Mapping[str, int],
    max_connections: int,
    others: int = 0,
) -> dict[str, int]:
    """The connections each site may have: an equal share of what the server has, within what it needs and can use.

    Of a site that says its limit, that is it, and the others share the rest. Where a server has too few for what all
    sites need, each gets what it needs, and they may meet the server's own limit.

    :param sites: name -> the site as each of its hosts serves it.
    :param databases: name -> how many of one kind it has.
    :param others: sites on the server that are in another inventory: each counts as one share.
    """
    found = {name: bounds(each, databases[name], max_connections) for name, each in sites.items()}
    together = int(max_connections * SHARED)

    def at(level: int) -> dict[str, int]:
        return {name: max(least, min(most, level)) for name, (least, most) in found.items()}

    fits = (level for level in range(together, 0, -1) if sum(at(level).values()) + others * level <= together)
    return at(next(fits, 0))


def of_kind(site: Mapping[str, Any], name: str, kind: str) -> int:
    """How many databases of a kind a site has on a server of the group database."""
    return sum(1 for each in databases_said.wanted(site, name) if each.served and each.kind == kind)
