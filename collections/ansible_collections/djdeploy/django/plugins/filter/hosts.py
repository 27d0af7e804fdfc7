# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn sites and hosts of the inventory into what the roles hand to modules."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.djdeploy.django.plugins.module_utils.engine import databases_said, schema
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.provision import authorized_keys as keys
from ansible_collections.djdeploy.django.plugins.module_utils.provision import connections, pooler

Sites = Mapping[str, Mapping[str, Any]]
TLS = "sslmode=verify-ca&sslrootcert="


def authorized_keys(sites: Sites, others: Sites | None = None) -> list[str]:
    """Lines for sshd; see authorized_keys.yml."""
    try:
        every = {**(others or {}), **sites}
        return keys.authorized_keys({name: site["deploy_keys"] for name, site in every.items()})
    except EngineError as error:
        raise AnsibleFilterError(f"{error.message}; {error.hint}") from None


def site_accounts(sites: Sites) -> list[dict[str, str]]:
    """The two accounts of each site; see site_accounts.yml."""
    accounts = []
    for name in sites:
        places = SitePaths(name)
        accounts += [
            {"name": places.user, "home": str(places.shared), "comment": f"runs the Django site {name}"},
            {"name": places.build_user, "home": str(places.cache), "comment": f"builds releases of {name}"},
        ]
    return accounts


def site_environments(sites: Sites, remote: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the module djdeploy.django.environment wants to know; see site_environments.yml."""
    return [
        {
            "name": name,
            "env": site["env"],
            "secrets": site["secrets"],
            "secret_files": site.get("secret_files", {}),
            "project_files": site.get("project_files", {}),
            "build_secrets": site.get("build_secrets", {}),
            "package_indexes": site.get("package_indexes", {}),
            "secret_key_fallbacks": site.get("secret_key_fallbacks", 2),
            "domains": site["domains"],
            "database_url": own_database_url(name, site, remote),
            "database_urls": further_database_urls(name, site, remote),
            "redis_socket": str(SitePaths(name).redis_socket) if site.get("redis", {}).get("enabled") else "",
        }
        for name, site in sites.items()
    ]


def own_database_url(name: str, site: Mapping[str, Any], remote: Mapping[str, Any]) -> str:
    """Where the default database that djdeploy makes for a site is; empty where it makes none."""
    for database in databases_said.wanted(site, name):
        if database.alias == databases_said.DEFAULT:
            return made_database_url(database, name, remote)
    return ""


def further_database_urls(name: str, site: Mapping[str, Any], remote: Mapping[str, Any]) -> dict[str, str]:
    """Where the other databases that djdeploy makes for a site are, by the variable that tells it."""
    urls = {each.variable: made_database_url(each, name, remote) for each in databases_said.further(site, name)}
    return {variable: url for variable, url in urls.items() if url}


def made_database_url(database: databases_said.Database, name: str, remote: Mapping[str, Any]) -> str:
    """Where one database of a site is; empty where djdeploy makes none."""
    if database.kind == databases_said.POSTGRESQL:
        return database_url(name, remote, database.name)
    return databases_said.local_url(database, str(SitePaths(name).shared))


def database_url(site: str, remote: Mapping[str, Any], database: str = "") -> str:
    """Where a site's database is: behind the socket of its own host, or on another one.

    :param remote: `address`, `certificate` (a path) and `passwords` (by site) of the other host; empty: none.
    :param database: its name; empty: the site's.
    """
    if not remote:
        return f"postgresql:///{database or site}"
    address = f"[{remote['address']}]" if ":" in remote["address"] else remote["address"]
    password = quote(remote["passwords"].get(site, ""), safe="")
    return f"postgresql://{site}:{password}@{address}:5432/{database or site}?{TLS}{remote['certificate']}"


def host_address(hostvars: Mapping[str, Any], host: str) -> str:
    """The address other hosts reach one by; see host_address.yml."""
    variables = hostvars[host]
    facts = variables.get("ansible_facts") or {}
    address = variables.get("djdeploy_address") or (facts.get("default_ipv4") or {}).get("address")
    if not address:
        raise AnsibleFilterError(
            f"the address of {host} is not known; run without --limit, or set djdeploy_address in its host_vars"
        )
    return str(address)


def database_host(hostvars: Mapping[str, Any], host: str, database_hosts: Sequence[str]) -> str:
    """The host that has the databases of a host's sites; see database_host.yml."""
    chosen = hostvars[host].get("djdeploy_database_host")
    if chosen:
        return str(chosen)
    if host in database_hosts or not database_hosts:
        return host
    if len(database_hosts) == 1:
        return database_hosts[0]
    raise AnsibleFilterError(
        f"{host} could use any of {', '.join(database_hosts)} for its databases; say which one by"
        " djdeploy_database_host in group_vars/all or in its host_vars"
    )


def database_sites(
    hostvars: Mapping[str, Any],
    server: str,
    web_hosts: Sequence[str],
    database_hosts: Sequence[str],
    sites: Sites,
    kind: str = databases_said.POSTGRESQL,
) -> dict[str, list[str]]:
    """The sites whose database is on one host, with the other hosts they run on; see database_sites.yml."""
    found: dict[str, list[str]] = {}
    for host in web_hosts:
        variables = hostvars[host]
        served = schema.resolve_for_host(
            sites, variables.get("djdeploy_host_sites"), host, variables.get("group_names") or []
        )
        names = [name for name, site in served.items() if databases_said.served(site, kind)]
        if not names or database_host(hostvars, host, database_hosts) != server:
            continue
        for name in names:
            addresses = found.setdefault(name, [])
            if host != server:
                addresses.append(host_address(hostvars, host))
    return found


def database_names(
    hostvars: Mapping[str, Any], web_hosts: Sequence[str], sites: Sites, kind: str = databases_said.POSTGRESQL
) -> dict[str, list[str]]:
    """The databases of one kind that each site has, on whichever host; see database_names.yml."""
    found: dict[str, list[str]] = {}
    for host in web_hosts:
        variables = hostvars[host]
        for name, site in schema.resolve_for_host(
            sites, variables.get("djdeploy_host_sites"), host, variables.get("group_names") or []
        ).items():
            for each in databases_said.wanted(site, name):
                if each.served and each.kind == kind and each.name not in found.setdefault(name, []):
                    found[name].append(each.name)
    return {name: names for name, names in found.items() if names}


def served_sites(sites: Sites, kind: str = databases_said.POSTGRESQL) -> list[str]:
    """The sites that have a database of one kind on a server; see served_sites.yml."""
    return [name for name, site in sites.items() if databases_said.served(site, kind)]


def pooled_databases(sites: Sites, kept: bool = False, others: Sites | None = None) -> dict[str, str]:
    """The databases PgBouncer of a host leads to; see pooled_databases.yml."""
    return pooler.databases(sites, kept=kept, others=others)


def database_access(
    sites: Mapping[str, Sequence[str]],
    databases: Mapping[str, Sequence[str]] | None = None,
    others: Sites | None = None,
) -> dict[str, dict[str, list[str]]]:
    """Who may reach which database of a host, and from where; see database_access.yml."""
    own = {name: {"databases": (databases or {}).get(name, [name]), "addresses": sites[name]} for name in sites}
    every = {**{name: other for name, other in (others or {}).items() if other["databases"]}, **own}
    return {
        name: {"databases": list(every[name]["databases"]), "addresses": sorted(set(every[name]["addresses"]))}
        for name in sorted(every)
    }


# Whatever these roles take holds for the whole host, but for what is of single sites or found out.
HOST_ROLES = {"web": ("engine", "git_repo", "nginx"), "database": ("mariadb", "pgbouncer", "postgres")}
OF_SITES = {
    *(
        "git_repo_sites",
        "git_repo_granted",
        "nginx_sites",
        "nginx_brotli",
        "mariadb_sites",
        "mariadb_databases",
        "mariadb_connections",
    ),
    *("pgbouncer_databases", "pgbouncer_max_connections"),
    *("postgres_sites", "postgres_databases", "postgres_connections", "postgres_granted", "postgres_pooler"),
}
ROLES = Path(__file__).resolve().parents[2] / "roles"


def host_settings(variables: Mapping[str, Any], group_names: Sequence[str]) -> dict[str, Any]:
    """The variables that hold for a whole host as an inventory says them, or by their defaults.

    A default that is found out on the host, or follows from another variable, is null. A certificate the host trusts is
    one file for all by its name, so what is in it counts.
    """
    found = {}
    for group, roles in HOST_ROLES.items():
        for role in roles if group in group_names else ():
            defaults = yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {}
            for name, default in defaults.items():
                if name not in OF_SITES:
                    plain = None if isinstance(default, str) and "{{" in default else default
                    found[name] = variables.get(name, plain)
    for given in variables.get("host_ca_certificates", variables.get("djdeploy_ca_certificates")) or ():
        path = Path(given).expanduser()
        if path.is_file():  # else the role finds it elsewhere, or says that it is missing
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            found[f"{path.name} of djdeploy_ca_certificates"] = f"a file with the SHA-256 {digest}..."
    if "database" in group_names:
        found["djdeploy_address"] = variables.get("djdeploy_address")  # PostgreSQL listens there
    return found


def host_grants(
    hostvars: Mapping[str, Any], host: str, groups: Mapping[str, Sequence[str]], sites: Sites
) -> dict[str, Any]:
    """What an inventory says of one host; see host_grants.yml."""
    variables = hostvars[host]
    members = variables.get("group_names") or []
    web, servers = groups.get("web") or [], groups.get("database") or []
    granted: dict[str, dict[str, Any]] = {}
    if host in web:
        served = schema.resolve_for_host(sites, variables.get("djdeploy_host_sites"), host, members)
        for name, site in served.items():
            granted[name] = {"served": True, "domains": site["domains"], "deploy_keys": site["deploy_keys"]}
    if host in servers:
        names = database_names(hostvars, web, sites)
        for name, addresses in database_sites(hostvars, host, web, servers, sites).items():
            granted.setdefault(name, {}).update(databases=names[name], addresses=sorted(set(addresses)))
        for name in database_sites(hostvars, host, web, servers, sites, databases_said.MARIADB):
            granted.setdefault(name, {})
    directory = Path(str(variables.get("inventory_dir") or "inventory")).name
    return {
        "environment": str(variables.get("djdeploy_environment") or directory),
        "sites": granted,
        "settings": host_settings(variables, members),
    }


def pool_size(databases: Mapping[str, str], max_connections: int | str = 100) -> int:
    """Connections each of these databases gets; see pool_size.yml."""
    return pooler.pool_size(len(databases), int(max_connections))


def database_connections(
    hostvars: Mapping[str, Any],
    web_hosts: Sequence[str],
    sites: Sites,
    max_connections: int | str = 100,
    kind: str = databases_said.POSTGRESQL,
    others: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, int]:
    """Connections each site may have to its database server; see database_connections.yml."""
    served: dict[str, list[Mapping[str, Any]]] = {}
    for host in web_hosts:
        variables = hostvars[host]
        for name, site in schema.resolve_for_host(
            sites, variables.get("djdeploy_host_sites"), host, variables.get("group_names") or []
        ).items():
            if connections.of_kind(site, name, kind):
                served.setdefault(name, []).append(site)
    counts = {name: connections.of_kind(each[0], name, kind) for name, each in served.items()}
    # What a host keeps of others tells their databases in PostgreSQL only: those without may have some in MariaDB.
    on_it = [
        own for own in (others or {}).values() if bool(own.get("databases")) == (kind == databases_said.POSTGRESQL)
    ]
    return connections.shares(served, counts, int(max_connections), len(on_it))


def site_hosts(hostvars: Mapping[str, Any], web_hosts: Sequence[str], sites: Sites) -> dict[str, list[str]]:
    """The hosts that serve each site, in the order of the inventory; see site_hosts.yml."""
    found: dict[str, list[str]] = {}
    for host in web_hosts:
        variables = hostvars[host]
        for name in schema.resolve_for_host(
            sites, variables.get("djdeploy_host_sites"), host, variables.get("group_names") or []
        ):
            found.setdefault(name, []).append(host)
    return found


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "authorized_keys": authorized_keys,
            "database_access": database_access,
            "host_grants": host_grants,
            "site_accounts": site_accounts,
            "site_environments": site_environments,
            "host_address": host_address,
            "database_host": database_host,
            "database_sites": database_sites,
            "database_names": database_names,
            "served_sites": served_sites,
            "pooled_databases": pooled_databases,
            "pool_size": pool_size,
            "database_connections": database_connections,
            "site_hosts": site_hosts,
        }
