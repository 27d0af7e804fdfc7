# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a snapshot of the database back, and the release that fits it: what was written since is lost.

Only with a yes, never without a snapshot of what is there now, and behind the maintenance page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from . import activate, aliases, database, maintenance, process_units, snapshots, uploads
from .errors import EngineError, in_words
from .events import Progress
from .prepare import site_target
from .releases import Release, live_release, read_release
from .request import Request
from .sites import Site
from .snapshots import Snapshot


def loss(site: Site, snapshot: Snapshot, now: datetime, databases: Sequence[str] = ()) -> dict[str, Any]:
    """What putting a snapshot back would lose and change, as data.

    :param databases: aliases of all that are put back with it.
    """
    live, target = live_release(site.name), target_of(site, snapshot)
    made = datetime.fromisoformat(snapshot.created)
    return {
        "snapshot": snapshot.name,
        **({"databases": list(databases)} if set(databases) - {aliases.DEFAULT} else {}),
        "created": snapshot.created,
        "minutes": round((now - made).total_seconds() / 60),
        "release": target.id if target else None,
        "live": live.id if live else None,
    }


def target_of(site: Site, snapshot: Snapshot) -> Release | None:
    """The release that was live when a snapshot was made, if it is kept."""
    return read_release(site.paths.releases / snapshot.release) if snapshot.release else None


def warning(site: Site, found: dict[str, Any]) -> list[str]:
    """What would be lost, for a person."""
    lines = [
        f"{found['snapshot']} was made {found['created']}, {found['minutes']} minutes ago.",
        f"Everything written to {which(found.get('databases', ()))} of {site.name} since then would be lost.",
    ]
    if found["release"] and found["release"] != found["live"]:
        lines.append(f"The release that was live then, {found['release']}, would be live again.")
    elif not found["release"]:
        lines.append("The release that was live then is not kept; the present one would stay, and may not fit.")
    return lines


def which(databases: Sequence[str]) -> str:
    """The databases for a person; those of nobody's naming are the one and only."""
    return f"the databases {', '.join(databases)}" if len(databases) > 1 else " ".join(["the database", *databases])


def half_way(site: Site, undo: Snapshot | None, done: Sequence[str] = ()) -> str:
    """What to do when snapshots were put back in part.

    :param done: aliases of the databases that are back already.
    """
    told = f"{which(done)} went back, the next did not" if done else "a part of the database may be missing"
    if undo is None:
        return f"the page stays up: {told}"
    command = snapshots.restore_command(site.name, undo.together)
    return f"the page stays up, because {told}; what was there before: {command} --yes"


def refuse_unknown(live: Release, found: Sequence[Snapshot]) -> None:
    """:raises EngineError: when the live release does not know a database of which there is a copy."""
    known = aliases.migrated(live)
    unknown = [one for one in found if one.database not in known]
    if unknown:
        known_names = [one.name for one in found if one.database in known]
        raise EngineError(
            f"{unknown[0].name} is a copy of the database {unknown[0].database}, which the live release does not have",
            f"put {', '.join(known_names)} back alone, or name it in `databases` again"
            if known_names and unknown[0].group
            else "name it in `databases` of the site again, and run site.yml",
        )


def restore(site: Site, request: Request, progress: Progress) -> dict[str, Any]:
    """Put a snapshot back.

    :param request: `revision` names the snapshot, `accept_loss` is the yes.
    :returns: facts of the result.
    :raises EngineError: without a yes; when there is no such snapshot; and when it could not be put back: the
        database is then as it was.
    """
    together = snapshots.named(site, request.revision or "")
    snapshot, databases = together[0], tuple(one.database for one in together)
    live = live_release(site.name)
    if live is None:
        raise EngineError(f"{site.name} has no live release whose settings would name its database", "deploy one first")
    refuse_unknown(live, together)
    found = loss(site, snapshot, datetime.now(UTC), databases)
    target = target_of(site, snapshot)
    links = uploads.going_back(site, target, live)
    for line in (*warning(site, found), *uploads.told_of_way_back(links, site)):
        progress.say(line)
    if stay := [alias for alias in aliases.migrated(live) if alias not in databases]:
        progress.say(f"No copy of {which(stay)} was made then: as it is, it stays.")
    if request.check:
        return {**found, "changed": True, "message": f"{site.name} would go back to the snapshot {snapshot.name}"}
    if not request.accept_loss:
        raise EngineError(
            "nothing was restored: it needs a yes", f"{snapshots.restore_command(site.name, snapshot.name)} --yes"
        )
    present = site_target(site, live)
    snapshots.require_room(site, present, databases)
    undo = snapshots.take(site, present, live.id, progress, databases)
    whole = snapshots.whole_or_not(together)
    if not whole:
        several = f"{len(together)} databases cannot be put back" if len(together) > 1 else ""
        told = several or "the database cannot put it back"
        progress.say(f"{told} in one transaction: the page stays up if that fails half way")
    database.close(site, f"the snapshot {snapshot.name} is put back", live.id, progress)
    done: list[str] = []
    try:
        for one in together:
            snapshots.put_back(site, present, one, progress)
            done.append(one.database)
    except Exception as error:
        if done or together[len(done)].kind == snapshots.MYSQL:
            maintenance.on(site, f"the snapshot {snapshot.name} was put back in part")  # no later run may open it
            raise in_words(error).with_hint(half_way(site, undo, done)) from error
        maintenance.off(site)
        process_units.go_on(site)
        raise
    try:
        if target is not None and target.id != live.id:
            uploads.withdraw(links)
            activate.go_live(site, target, progress, closed=True, watched=False)
    except EngineError as error:
        told = undo.together if undo else ""
        hint = f"the page stays up; what was there before: {snapshots.restore_command(site.name, told)} --yes"
        raise error.with_hint(hint) from error
    maintenance.off(site)
    process_units.go_on(site)
    now = live_release(site.name)
    return {
        **found,
        "changed": True,
        "undo": undo.together if undo else None,
        "before": live.revision,
        "after": now.revision if now else None,
        "message": f"{site.name} is back at the snapshot {snapshot.name}, with {now.id if now else 'no release'}"
        + (f"; what was there before is {undo.together}" if undo else ""),
    }
