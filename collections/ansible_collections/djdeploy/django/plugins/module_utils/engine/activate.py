# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a prepared release live: start it aside, prove it, rename one pointer, let the old one finish."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from . import beneath, health, maintenance, process_units, pythons, units
from .errors import in_words
from .events import Progress
from .prepare import url_path
from .releases import (
    Release,
    all_releases,
    current_id,
    note_release,
    read_release,
    releases_to_prune,
)
from .site_secrets import Mask
from .sites import Site
from .tree import drop_last_links, even_when_full, keep_links, point, remove_tree

# Seconds the static files of a pruned release stay: a page of it may have just been sent, or lie in a cache.
AFTERWARDS = 3600.0


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def go_live(
    site: Site, release: Release, progress: Progress, *, closed: bool = False, watched: bool = True, opens: bool = True
) -> Release:
    """Start, prove, switch, verify, watch. Until the rename nothing a visitor sees has changed.

    :param closed: the maintenance page is up; it goes with the switch, and comes back if the release fails after it.
    :param watched: whether to look at it for `health.watch` seconds after the switch.
    :param opens: whether the page goes with the switch, and the site is asked through nginx; else that is the caller's.
    :returns: the release as recorded.
    :raises EngineError: when the release did not prove itself; the one before it serves on.
    """
    paths, before, proposed = site.paths.release(release.id), current_id(site.name), release
    settings = site.config["health"]
    try:
        began = time.monotonic()
        with progress.phase("start"):
            units.start(paths, again=release.served)
        with progress.phase("prove") as note:
            note.text = health.prove(paths, site.domain, settings) + " over its own socket"
        came_up = max(time.monotonic() - began - float(settings.get("prove_for") or 0), 0.0)
        beside: dict[str, Any] = {}
        if release.processes:
            with progress.phase("processes") as note:
                beside["beside"] = process_units.hand_over(site, release, note, came_up=came_up).check
        with progress.phase("switch"):
            keep_static(site, release)
            point(site.paths.current, f"releases/{release.id}")
            if closed and opens:
                maintenance.off(site)
                if process_units.concerned([release]):
                    process_units.release_jobs(site)
        if opens:
            with progress.phase("verify") as note:
                note.text = health.verify(paths, site.domain, settings)
        release = record_switch(site, release, before)
        if watched and before and settings["watch"]:
            progress.say(f"{site.name} {release.short} is live: {site.url}")
            with progress.phase("watch") as note:
                note.text = health.watch(paths, site.domain, settings, settings["watch"], **beside)
        units.spare(paths)
    except Exception as error:
        if current_id(site.name) == release.id:
            if closed:
                maintenance.on(site, f"{release.short} failed after it changed the database", release=release.id)
            point_back(site, before)
        try:
            fail(site, proposed, in_words(error).message)
            take_up_again(site, before)
            if proposed.processes:
                process_units.give_back(site, proposed, before, resume=not closed)
        except Exception as also:  # the first cause is the one to tell; the next run stops and removes what is left
            progress.say(f"and it could not be stopped: {in_words(also).message}")
        raise
    return release


def point_back(site: Site, before: str | None) -> None:
    """Undo the switch: one rename, or no pointer again when nothing was live before."""
    if before:
        point(site.paths.current, f"releases/{before}")
    else:
        beneath.unlink(site.paths.current)


def take_up_again(site: Site, before: str | None) -> None:
    """Let the record of the release that serves again say so."""
    record = read_release(site.paths.releases / before) if before else None
    if record is not None and record.state == "retired":
        note_release(replace(record, state="live", live_until=""))


def fail(site: Site, release: Release, reason: str) -> None:
    """Stop a release that did not prove itself, and keep it as evidence."""
    units.kill(site.paths.release(release.id))
    record = read_release(site.paths.releases / release.id) or release
    if release.served:
        if record.state == "live":  # a kept release that would not serve again is still one that served
            note_release(replace(record, state="retired", live_until=now()))
        return
    said = Mask(site.paths).text(reason)  # the record is shown by status, and the site's own processes may read it
    note_release(replace(release, state="failed", reason=said, live_since="", live_until=""))


def record_switch(site: Site, release: Release, before: str | None) -> Release:
    """Write into the records what the pointer says.

    A release that is gone back to keeps what it replaced when it was new: else the way back from
    it would lead forward again, to a release that came after it.
    """
    replaced = release.replaced if release.served else before or ""
    live = replace(release, state="live", live_since=now(), live_until="", replaced=replaced, reason="")
    note_release(live)
    old = read_release(site.paths.releases / before) if before and before != release.id else None
    if old is not None:
        state = old.state if old.state == "void" else "retired"  # void: it was left by a rollback
        note_release(replace(old, state=state, live_until=now()))
    return live


def keep_static(site: Site, release: Release) -> None:
    """Let pages rendered by earlier releases find their static files after the switch."""
    static = url_path(release.facts.get("static_url"))
    if static:
        source, kept = site.paths.release(release.id).static, site.paths.static_kept / static
        even_when_full(site.paths.reserve, lambda: keep_links(source, kept))


def settle(site: Site, progress: Progress) -> None:
    """After the switch: let the old processes finish what they have, and prune.

    Nobody waits for this, and the next run does it if this one is killed.
    """
    live = current_id(site.name)
    with progress.phase("settle") as note:
        stopped = units.running_releases(site.name) - {live}
        for release_id in sorted(stopped):
            paths = site.paths.release(release_id)
            units.drain(paths)
            units.stop(paths, block=False)
        records = all_releases(site.name)
        spared = process_units.settle(site, live) | stopped if process_units.concerned(records) else stopped
        gone = releases_to_prune(records, live, site.config["keep_releases"], spared)
        for release in gone:
            remove_tree(site.paths.release(release.id).root)
        if gone:
            drop_last_links(site.paths.static_kept, AFTERWARDS)
            prune_environments(site)
            pythons.prune()
        note.text = f"stopped {len(stopped)}, pruned {len(gone)}"


def prune_environments(site: Site) -> None:
    """Remove virtualenvs that no kept release links to."""
    used = {release.environment for release in all_releases(site.name)}
    for path in site.paths.environments.iterdir():
        if path.name not in used:
            remove_tree(path)
