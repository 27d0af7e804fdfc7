# SPDX-License-Identifier: GPL-3.0-or-later
"""PgBouncer on a host: which databases it leads to, how many connections each of them gets, and who may have none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..engine import databases_said, schema
from ..engine.schema import HOST_SITES_VARIABLE, SITES_VARIABLE, Problem

#: More backends at work than this make PostgreSQL slower on most hosts, not faster: they wait for cores and disks.
MOST = 20


def databases(
    sites: Mapping[str, Mapping[str, Any]], *, kept: bool = False, others: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, str]:
    """The databases PgBouncer of a host leads to, with the site each belongs to; none where no site wants it.

    All sites of the host are in it as soon as one wants it, and stay in it: a release that was made with the pooler
    lives on for a while after the key is gone, and one may go back to it. A site comes in as itself only, so
    nobody reaches more by that.

    :param sites: of one host, resolved.
    :param kept: whether the host has it already.
    :param others: the sites of the host that other inventories describe, as the host's record has them.
    """
    if not kept and not any((site.get("pgbouncer") or {}).get("enabled") for site in sites.values()):
        return {}
    recorded = {
        database: name for name, other in (others or {}).items() if other["served"] for database in other["databases"]
    }
    return recorded | {
        each.name: name
        for name, site in sites.items()
        for each in databases_said.wanted(site, name)
        if each.kind == databases_said.POSTGRESQL
    }


def pool_size(count: int, max_connections: int) -> int:
    """Connections to PostgreSQL for each database, so that all of them together leave half of them to others.

    The other half is for what goes straight: sites without the pooler, migrations, copies, people.

    :param count: databases behind it.
    :param max_connections: PostgreSQL's own setting.
    """
    return max(1, min(MOST, max_connections // 2 // max(1, count)))


def misplaced(
    variables: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Collection[str]],
    database_hosts: Mapping[str, object],
) -> Iterator[Problem]:
    """Sites with the key `pgbouncer` whose PostgreSQL is on another host, where they come in with a password.

    :param variables: host name -> those of `INVENTORY_KEYS` it has; sites that are not valid are left to others.
    :param groups: group name -> hosts, as Ansible's `groups`.
    :param database_hosts: host name -> its `djdeploy_database_host`, where it has one.
    """
    for host in sorted(groups.get("web") or ()) if groups.get("database") else ():
        own = variables.get(host, {})
        sites, overlay = own.get(SITES_VARIABLE), own.get(HOST_SITES_VARIABLE)
        if not isinstance(sites, Mapping) or schema.validate_sites(sites, {host: overlay}):
            continue
        server = database_hosts.get(host)
        if host in (groups.get("database") or ()) and server in (None, host):
            continue
        names = sorted(name for name, hosts in groups.items() if host in hosts)
        for name, site in schema.resolve_for_host(sites, overlay, host, names).items():
            if (site.get("pgbouncer") or {}).get("enabled"):
                yield Problem(
                    f"site '{name}': pgbouncer needs the database on the web host, and {host} has its databases on "
                    f"{server or 'another one'}",
                    (SITES_VARIABLE, name, "pgbouncer"),
                    f"put {host} into the group database, or take pgbouncer out",
                )
