# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a snapshot of the database back, and the release that fits it: what was written since is lost.

Only with a yes, never without a snapshot of what is there now, and behind the maintenance page.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from . import activate, database, maintenance, process_units, snapshots
from .errors import EngineError, in_words
from .events import Progress
from .prepare import site_target
from .releases import Release, live_release, read_release
from .request import Request
from .sites import Site
from .snapshots import Snapshot


def loss(site: Site, snapshot: Snapshot, now: datetime) -> dict[str, Any]:
    """What putting a snapshot back would lose and change, as data."""
    live, target = live_release(site.name), target_of(site, snapshot)
    made = datetime.fromisoformat(snapshot.created)
    return {
        "snapshot": snapshot.name,
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
        f"Everything written to the database of {site.name} since then would be lost.",
    ]
    if found["release"] and found["release"] != found["live"]:
        lines.append(f"The release that was live then, {found['release']}, would be live again.")
    elif not found["release"]:
        lines.append("The release that was live then is not kept; the present one would stay, and may not fit.")
    return lines


def half_way(site: Site, undo: Snapshot | None) -> str:
    """What to do when a snapshot was put back in part."""
    if undo is None:
        return "the page stays up: a part of the database may be missing"
    return (
        "the page stays up, because a part of the database may be missing; what was there before: "
        f"{snapshots.restore_command(site.name, undo.name)} --yes"
    )


def restore(site: Site, request: Request, progress: Progress) -> dict[str, Any]:
    """Put a snapshot back.

    :param request: `revision` names the snapshot, `accept_loss` is the yes.
    :returns: facts of the result.
    :raises EngineError: without a yes; when there is no such snapshot; and when it could not be put back: the
        database is then as it was.
    """
    snapshot = snapshots.named(site, request.revision or "")
    live = live_release(site.name)
    if live is None:
        raise EngineError(f"{site.name} has no live release whose settings would name its database", "deploy one first")
    found = loss(site, snapshot, datetime.now(UTC))
    for line in warning(site, found):
        progress.say(line)
    if request.check:
        return {**found, "changed": True, "message": f"{site.name} would go back to the snapshot {snapshot.name}"}
    if not request.accept_loss:
        raise EngineError(
            "nothing was restored: it needs a yes", f"{snapshots.restore_command(site.name, snapshot.name)} --yes"
        )
    present = site_target(site, live)
    snapshots.require_room(site, present)
    undo = snapshots.take(site, present, live.id, progress)
    if not snapshots.whole_or_not(snapshot):
        progress.say("the database cannot put it back in one transaction: the page stays up if that fails half way")
    database.close(site, f"the snapshot {snapshot.name} is put back", live.id, progress)
    try:
        snapshots.put_back(site, present, snapshot, progress)
    except Exception as error:
        if not snapshots.whole_or_not(snapshot):
            maintenance.on(site, f"the snapshot {snapshot.name} was put back in part")  # no later run may open it
            raise in_words(error).with_hint(half_way(site, undo)) from error
        maintenance.off(site)
        process_units.go_on(site)
        raise
    target = target_of(site, snapshot)
    try:
        if target is not None and target.id != live.id:
            activate.go_live(site, target, progress, closed=True, watched=False)
    except EngineError as error:
        told = undo.name if undo else ""
        hint = f"the page stays up; what was there before: {snapshots.restore_command(site.name, told)} --yes"
        raise error.with_hint(hint) from error
    maintenance.off(site)
    process_units.go_on(site)
    now = live_release(site.name)
    return {
        **found,
        "changed": True,
        "undo": undo.name if undo else None,
        "before": live.revision,
        "after": now.revision if now else None,
        "message": f"{site.name} is back at the snapshot {snapshot.name}, with {now.id if now else 'no release'}"
        + (f"; what was there before is {undo.name}" if undo else ""),
    }
