# SPDX-License-Identifier: GPL-3.0-or-later
"""How many connections to its database server a site may have, so that none takes them all (site key `limits`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..engine import databases_said, limits, servers

RELEASES = 2  # that run at once during a deploy
PER_PROCESS = servers.MOST + 1  # a queue worker has a child for each processor, and each of these a connection
PER_JOB = 2
SPARE = 10  # migrations with their lock, copies, manage.py, what the project's Procfile adds
THREADED = (servers.GUNICORN, servers.UWSGI)  # serve a request in a thread of a worker, which has its connections
LEAST = 30  # for each database: what PgBouncer holds of it, and SPARE (see `pooler`)
SHARE = 0.75  # of all connections of the server: the most one site gets unless it says otherwise


def needed(site: Mapping[str, Any], databases: int) -> int:
    """Connections that what a host runs of a site may come to, two releases of it.

    A worker is counted with all its threads; where the site does not say how many workers there are, as many as are
    ever chosen: the host of the database need not know those of the sites.

    :param site: as that host serves it, resolved.
    :param databases: of the kind that is counted: each thread may have a connection to each.
    """
    web = site["web"]
    serving = int(web["workers"] or servers.MOST) * int(web["threads"])
    beside = sum(int(said["count"]) * PER_PROCESS for said in site["processes"].values() if said)
    jobs = sum(PER_JOB for said in site["schedule"].values() if said)
    return ((serving + beside) * RELEASES + jobs) * databases


def limit(sites: Iterable[Mapping[str, Any]], databases: int, max_connections: int) -> int:
    """The connections a site may have.

    uvicorn serves many requests at the same time, and Django gives each of them connections of its own
    (https://docs.djangoproject.com/en/stable/topics/async/): where a site does not say that another server is to serve
    it, no number of workers tells how many, and it gets the most one may.

    :param sites: the site as each of its hosts serves it.
    :param databases: how many of one kind it has.
    :param max_connections: the server's own setting.
    """
    served = list(sites)
    said = [limits.of(site)["database_connections"] for site in served]
    if any(said):
        return max(int(each) for each in said if each)
    most = max(1, int(max_connections * SHARE))
    if any(site["web"]["server"] not in THREADED for site in served):
        return most
    wanted = sum(needed(site, databases) for site in served) + SPARE
    return min(max(wanted, LEAST * databases), most)


def of_kind(site: Mapping[str, Any], name: str, kind: str) -> int:
    """How many databases of a kind a site has on a server of the group database."""
    return sum(1 for each in databases_said.wanted(site, name) if each.served and each.kind == kind)
