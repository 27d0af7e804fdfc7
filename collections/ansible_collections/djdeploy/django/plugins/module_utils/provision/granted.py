# SPDX-License-Identifier: GPL-3.0-or-later
"""Several inventories on one host: whose each site is, and what those of others keep when a file of all is written.

Pure: `judge` takes the host's record (`engine/records.py`) and what an inventory says of the host, and answers who is
refused, who left the inventory, what the sites nobody speaks for are granted, and the record to write. Only `look`
reads files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine import beneath, records
from ..engine.errors import EngineError
from ..engine.paths import AUTHORIZED_KEYS, COMMAND, GRANTED, SITES_CONFIG

CLUSTERS = Path("/etc/postgresql")

#: What a site is granted on a host. `served`: it runs there, with these `domains` and `deploy_keys`. `databases` are
#: those PostgreSQL of the host has of it, and `addresses` the other hosts it comes in from.
NOTHING: dict[str, Any] = {"served": False, "domains": [], "deploy_keys": [], "databases": [], "addresses": []}

# The lines written for a site: by provision/authorized_keys.py, and by pg_hba.conf.j2 of the role postgres.
KEY_LINE = re.compile(rf'restrict,command="{re.escape(str(COMMAND))} receive --key=\S+ (?P<sites>[^"]+)" (?P<key>.+)')
ACCESS_LINE = re.compile(
    r'(?:local|hostssl) "(?P<databases>[^ ]+)" "(?P<site>[a-z0-9_-]+)" '
    r"(?:peer(?: map=djdeploy)?|(?P<address>[0-9a-fA-F.:]+)/(?:32|128) scram-sha-256)"
)


@dataclass(frozen=True)
class Judged:
    """What follows from a host's record for one inventory.

    :param refused: each a problem in words, with what to do; nothing may be touched while there is one.
    :param record: the host's record as it is to be from now on.
    :param others: the sites of the host the inventory does not describe: name -> what they keep (see `NOTHING`).
    :param left: of those, the ones that belong to its environment: they are in the inventory no more.
    :param unowned: of those, the ones that no inventory has described since the host has a record.
    """

    refused: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    unowned: tuple[str, ...] = ()


def judge(
    record: Mapping[str, Any],
    environment: str,
    sites: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> Judged:
    """Hold what an inventory says of a host against the host's record.

    A setting of the whole host belongs to the environment that set it first, as long as that one has sites there: it
    may change it, and another inventory has to say the same.

    :param record: as `records.read` or `adopted` returns it.
    :param environment: the inventory's, `djdeploy_environment`.
    :param sites: of the inventory on this host: name -> keys of `NOTHING`.
    :param settings: the host's settings by the inventory: name of the variable -> value; None: a default.
    """
    known = record.get("sites", {})
    others = {name: {**NOTHING, **own} for name, own in known.items() if name not in sites}
    refused = [
        *taken_names(known, environment, sites),
        *taken_domains(others, environment, sites),
        *differing_settings(record, environment, settings),
    ]
    now = {name: {**NOTHING, **said, "environment": environment, "described": True} for name, said in sites.items()}
    for name, own in others.items():
        now[name] = {**own, "described": bool(own.get("described")) and own.get("environment") != environment}
    keeps = owners(record, environment)
    set_by = {name: own for name, own in record.get("settings", {}).items() if own["environment"] in keeps}
    for name, value in settings.items():
        if set_by.get(name, {}).get("environment", environment) == environment:
            set_by[name] = {"environment": environment, "value": value}
    return Judged(
        tuple(refused),
        {"sites": now, "settings": set_by},
        others,
        tuple(sorted(name for name, own in others.items() if own.get("environment") == environment)),
        tuple(sorted(name for name, own in others.items() if not own.get("environment"))),
    )


def owners(record: Mapping[str, Any], environment: str) -> set[str]:
    """The environments that have sites on the host, and the one that is asking."""
    return {environment, *(own["environment"] for own in record.get("sites", {}).values() if own.get("environment"))}


def taken_names(known: Mapping[str, Mapping[str, Any]], environment: str, sites: Mapping[str, object]) -> Iterator[str]:
    """Sites of the inventory whose name another environment's site has."""
    for name in sorted(sites):
        owner = known.get(name, {}).get("environment") or environment
        if owner != environment:
            yield (
                f"the site {name!r} of this host belongs to the environment {owner!r}, and the inventory of"
                f" {environment!r} describes one of the same name. Give that another name in djdeploy_sites. If both"
                f" inventories are one environment, write djdeploy_environment: {owner} into its"
                " group_vars/all/djdeploy.yml"
            )


def taken_domains(
    others: Mapping[str, Mapping[str, Any]], environment: str, sites: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Domains of the inventory's sites under which another environment's site is served: nginx would take one only."""
    for name, domain, other in both_served(others, sites):
        owner = others[other].get("environment")
        if owner and owner != environment:
            yield (
                f"the site {name!r} is to be served under {domain}, and so is {other!r} of this host, which belongs to"
                f" the environment {owner!r}. Take the domain out of one of them in djdeploy_sites"
            )


def of_another(environment: str) -> str:
    """What to do about a site that did not leave: directories of two inventories may be called the same."""
    return (
        f". If it is another inventory's, whose directory is called {environment!r}, too, set djdeploy_environment to a"
        " name of its own there"
    )


def both_served(
    others: Mapping[str, Mapping[str, Any]], sites: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, str]]:
    """Each domain of two sites: a site of the inventory, the domain, and the other site."""
    served = {domain: name for name, own in others.items() if own["served"] for domain in own["domains"]}
    for name in sorted(sites):
        for domain in sites[name].get("domains", ()):
            if domain in served:
                yield name, domain, served[domain]


def differing_settings(record: Mapping[str, Any], environment: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings of the whole host that the inventory says differently from the environment that set them."""
    for name, own in sorted(record.get("settings", {}).items()):
        owner = own["environment"]
        if owner == environment or owner not in owners(record, environment):
            continue
        if name in settings and settings[name] != own["value"]:
            yield (
                f"{name} holds for the whole host: the environment {owner!r} set it to {shown(own['value'])}, and the"
                f" inventory of {environment!r} says {shown(settings[name])}. Write the same into both; to change it,"
                f" run site.yml of {owner!r} first"
            )


def shown(value: object) -> str:
    return "its default" if value is None else json.dumps(value, sort_keys=True)


def warnings(judged: Judged, environment: str) -> list[str]:
    """What whoever runs the playbook should know of sites nobody describes, a line each."""
    own = {name: site for name, site in judged.record["sites"].items() if name not in judged.others}
    left = f"is not described by the inventory of {environment!r} any more"
    unowned = "is described by no inventory since the host has a record of them"
    told = [
        f"the site {name!r} {what}; nothing of it is touched: it is served and pushed to as before{more}"
        for names, what, more in ((judged.left, left, of_another(environment)), (judged.unowned, unowned, ""))
        for name in names
    ]
    return told + [
        f"{domain} is a domain of the site {other!r} too, which nobody describes: nginx serves one of them only"
        for _name, domain, other in both_served(judged.others, own)
        if other in (*judged.left, *judged.unowned)
    ]


# --- a host that was set up before there was a record ----------------------------------------------


def adopted(configured: Mapping[str, Mapping[str, Any]], keys: str, access: Iterable[str]) -> dict[str, Any]:
    """The record of a host that has none, from what was written for its sites; whose they are, nobody knows yet.

    :param configured: site -> its keys, of the sites the host serves.
    :param keys: the text of the git user's authorized_keys.
    :param access: the texts of the pg_hba.conf there are.
    """
    sites: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        fresh = {key: list(value) if isinstance(value, list) else value for key, value in NOTHING.items()}
        return sites.setdefault(name, {**fresh, "environment": "", "described": False})

    for name, config in configured.items():
        of(name).update(served=True, domains=list(config.get("domains") or ()))
    for match in filter(None, map(KEY_LINE.fullmatch, keys.splitlines())):
        for name in match["sites"].split():
            of(name)["deploy_keys"].append(match["key"])
    for match in filter(None, (ACCESS_LINE.fullmatch(line) for text in access for line in text.splitlines())):
        own = of(match["site"])
        own["databases"] += [each for each in match["databases"].split('","') if each not in own["databases"]]
        if match["address"] and match["address"] not in own["addresses"]:
            own["addresses"].append(match["address"])
    return {"sites": sites, "settings": {}}


def look() -> dict[str, Any]:
    """The host's record, or where there is none what its files tell.

    :raises EngineError: when there is one that cannot be read.
    """
    if GRANTED.exists():
        return records.read()
    configured = {path.stem: json.loads(text_of(path)) for path in sorted(SITES_CONFIG.glob("*.json"))}
    keys = text_of(AUTHORIZED_KEYS) if AUTHORIZED_KEYS.exists() else ""
    ours = SITES_CONFIG.parent.is_dir()  # else PostgreSQL was never set up by djdeploy
    access = [text_of(path) for path in sorted(CLUSTERS.glob("*/main/pg_hba.conf"))] if ours else []
    return adopted(configured, keys, access)


def text_of(path: Path) -> str:
    """What a file holds; those of a cluster belong to PostgreSQL's user, so no link in their place is followed.

    :raises EngineError: when it cannot be read.
    """
    try:
        return beneath.read(path).decode()
    except OSError as error:
        raise EngineError(
            f"cannot read {path}: {error.strerror or error}",
            "look at it on the host (ls -l): it must be a file; then run site.yml again",
        ) from error
