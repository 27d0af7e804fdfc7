# SPDX-License-Identifier: GPL-3.0-or-later
"""What is live, and since when: for `djdeploy status`, for `release_info`, for a person or a program."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from . import aliases, history, maintenance, move, process_units, queue, records, units
from .errors import EngineError
from .lock import held_by, holder_in_words
from .releases import Release, all_releases, current_id, read_release
from .sites import Site

PUBLIC_FIELDS = (
    "id", "revision", "subject", "state", "door", "who", "created", "live_since", "live_until", "replaced", "reason",
    "applied", "snapshot",
)  # fmt: skip


def release_facts(release: Release) -> dict[str, Any]:
    """The part of a record that is worth telling."""
    data = asdict(release)
    return {name: data[name] for name in PUBLIC_FIELDS}


def site_status(site: Site) -> dict[str, Any]:
    """Everything about one site.

    :returns: `state` is `serving`, `closed` (the maintenance page is up), `waiting` (no release yet), `down` or
        `broken` (the pointer is no link).
    """
    facts: dict[str, Any] = {
        "site": site.name,
        "url": site.url,
        "domains": site.config["domains"],
        "branch": site.branch,
        "live": None,
        "releases": [release_facts(release) for release in all_releases(site.name)],
        "problem": "",
        "undescribed": undescribed(site.name),
        "last": last.as_dict(whole=False) if (last := history.last_told(site.name)) else None,
        "at_work": held_by(site.paths.lock),
    }
    working = facts["at_work"] or {"pid": None}
    facts["queue"] = [asdict(each) for each in queue.waiting(site.paths.queue) if each.pid != working["pid"]]
    try:
        live = current_id(site.name)
    except EngineError as error:
        return {**facts, "state": "broken", "problem": error.message}
    if live is None:
        return {**facts, "state": "waiting"}
    record = read_release(site.paths.releases / live)
    if record is None:
        return {**facts, "state": "broken", "problem": f"{site.paths.current} points at {live}, which has no record"}
    service = units.state(site.paths.release(live).service_unit)
    facts["live"] = release_facts(record)
    if record.facts.get("further"):
        facts["databases"] = databases_told(record)
    # Its units read pooled.env only while the site says so: see release.service.j2.
    facts["pooled"] = record.facts.get("pooled", []) if site.config.get("pgbouncer", {}).get("enabled") else []
    facts["configuration_current"] = record.fingerprint == site.fingerprint()
    if process_units.concerned([record]):
        found = process_units.look(site.name)
        facts["processes"] = process_units.states(site, record, found)
        facts["finishing"] = [asdict(unit) for unit in process_units.finishing(record, found)]
    if service.active != "active":
        return {**facts, "state": "down", "problem": f"its service is {service.active} ({service.sub})"}
    closed = maintenance.state(site)
    if closed:
        since = f" since {history.when(closed['since'])} UTC" if closed["since"] else ""
        return {**facts, "state": "closed", "problem": f"the maintenance page is up{since}: {closed['reason']}"}
    return {**facts, "state": "serving"}


def undescribed(name: str) -> str:
    """That no inventory describes a site any more; empty when one does. A damaged record is told in its place."""
    try:
        return records.undescribed(records.read(), [name]).get(name, "")
    except EngineError as error:
        return error.message


def databases_told(release: Release) -> list[str]:
    """Each database of a release that has several: its alias and where it is."""
    return [f"{alias:<12} {move.where_told(release.facts, alias)}" for alias in aliases.migrated(release)]


def status_lines(facts: dict[str, Any]) -> list[str]:
    """The status of a site for a person."""
    live = facts["live"]
    lines = [f"{facts['site']:<15} {facts['state']:<8} {facts['url']}"]
    if live:
        lines.append(f"  live      {live['revision'][:7]} {live['subject']!r}")
        since = history.when(live["live_since"])
        lines.append(f"  release   {live['id']} by {live['who']} ({live['door']}), live since {since} UTC")
        if not facts["configuration_current"]:
            lines.append(f"  note      its configuration changed since; run: djdeploy deploy {facts['site']}")
        lines += [f"  database  {told}" for told in facts.get("databases", ())]
        if facts.get("pooled"):
            lines.append(f"  pgbouncer {', '.join(facts['pooled'])}: web processes and workers go through it")
    for each in facts.get("processes", ()):
        lines.append(f"  process   {each['name']:<12} {each['state']} ({each['sub']})  {each['command'][:60]}")
    for each in facts.get("finishing", ()):
        what = "job runs" if each["what"] == process_units.JOBS else "finishes"
        lines.append(f"  process   {each['copy']:<12} of {each['release']} {what}")
    if facts["state"] == "waiting":
        lines.append(f"  no release yet: git push ssh://git@HOST/{facts['site']} {facts['branch']}")
    if facts.get("last"):
        first, *more = history.last_lines(history.Deploy(**facts["last"]), live["id"] if live else None)
        lines += [f"  last      {first}", *(f"            {line}" for line in more)]
    if facts.get("at_work"):
        lines.append(f"  at work   {holder_in_words(facts['at_work'])}")
    lines += [f"  waits     {queue.Ticket(**each)}" for each in facts.get("queue", ())]
    if facts.get("undescribed"):
        lines.append(f"  note      {facts['undescribed']}")
    if facts["problem"]:
        lines.append(f"  problem   {facts['problem']}; run: djdeploy doctor {facts['site']}")
    return lines


def release_lines(facts: dict[str, Any]) -> list[str]:
    """The kept releases of a site for a person, newest first."""
    lines = [f"{'release':<27}{'state':<10}{'live since':<21}{'by':<26}subject"]
    for release in reversed(facts["releases"]):
        since = release["live_since"][:19].replace("T", " ") or "-"
        what = release["subject"] + (f"  [{release['reason']}]" if release["reason"] else "")
        lines.append(f"{release['id']:<27}{release['state']:<10}{since:<21}{release['who']:<25} {what}")
    return lines
