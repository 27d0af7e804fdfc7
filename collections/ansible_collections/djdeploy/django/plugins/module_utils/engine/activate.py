# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting a prepared release live: start it aside, prove it, rename one pointer, let the old one finish."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from . import health, units
from .errors import in_words
from .events import Progress
from .prepare import site_target, url_path
from .releases import (
    Release,
    all_releases,
    current_id,
    note_release,
    read_release,
    releases_to_prune,
)
from .sites import Site
from .steps import run_steps
from .tree import drop_last_links, keep_links, point, remove_tree


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def migrate(site: Site, release: Release, progress: Progress) -> list[str]:
    """Apply what is pending; no Django is started when nothing was and nothing else went live since.

    :returns: names of the migrations that were applied.
    """
    if not release.pending and release.prepared_beside == (current_id(site.name) or ""):
        return []
    with progress.phase("migrate") as note:
        (result,) = run_steps(site_target(site, release), [{"name": "migrate"}], timeout=3600)
        applied = list(result.after)
        note.text = shortened(applied) or "nothing to apply"
    return applied


def shortened(names: list[str], most: int = 4) -> str:
    """Names for one line: all of a few, else the first and the last of many."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{len(names)}: {names[0]} ... {names[-1]}"


def go_live(site: Site, release: Release, progress: Progress) -> None:
    """Start, prove, switch, verify. Until the rename nothing a visitor sees has changed.

    :raises EngineError: when the release did not prove itself; the one before it serves on.
    """
    paths, before = site.paths.release(release.id), current_id(site.name)
    settings = site.config["health"]
    try:
        with progress.phase("start"):
            units.start(paths)
        with progress.phase("prove") as note:
            note.text = health.prove(paths, site.domain, settings) + " over its own socket"
        with progress.phase("switch"):
            keep_static(site, release)
            point(site.paths.current, f"releases/{release.id}")
        with progress.phase("verify") as note:
            note.text = health.through_nginx(site.domain, settings)
        record_switch(site, release, before)
        units.spare(paths)
    except Exception as error:
        if current_id(site.name) == release.id:
            point_back(site, before)
        try:
            fail(site, release, in_words(error).message)
        except Exception as also:  # the first cause is the one to tell; the next run stops and removes what is left
            progress.say(f"and it could not be stopped: {in_words(also).message}")
        raise


def point_back(site: Site, before: str | None) -> None:
    """Undo the switch: one rename, or no pointer again when nothing was live before."""
    if before:
        point(site.paths.current, f"releases/{before}")
    else:
        site.paths.current.unlink()


def fail(site: Site, release: Release, reason: str) -> None:
    """Stop a release that did not prove itself, and keep it as evidence."""
    units.kill(site.paths.release(release.id))
    if release.served:
        return  # a kept release that would not start again is still one that served
    note_release(replace(release, state="failed", reason=reason))


def record_switch(site: Site, release: Release, before: str | None) -> None:
    """Write into the records what the pointer says.

    A release that is gone back to keeps what it replaced when it was new: else the way back from
    it would lead forward again, to a release that came after it.
    """
    replaced = release.replaced if release.served else before or ""
    note_release(replace(release, state="live", live_since=now(), live_until="", replaced=replaced, reason=""))
    old = read_release(site.paths.releases / before) if before and before != release.id else None
    if old is not None:
        note_release(replace(old, state="retired", live_until=now()))


def keep_static(site: Site, release: Release) -> None:
    """Let pages rendered by earlier releases find their static files after the switch."""
    static = url_path(release.facts.get("static_url"))
    if static:
        keep_links(site.paths.release(release.id).static, site.paths.static_kept / static)


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
        gone = releases_to_prune(all_releases(site.name), live, site.config["keep_releases"])
        for release in gone:
            remove_tree(site.paths.release(release.id).root)
        if gone:
            drop_last_links(site.paths.static_kept)
            prune_environments(site)
        note.text = f"stopped {len(stopped)}, pruned {len(gone)}"


def prune_environments(site: Site) -> None:
    """Remove virtualenvs that no kept release links to."""
    used = {release.environment for release in all_releases(site.name)}
    for path in site.paths.environments.iterdir():
        if path.name not in used:
            remove_tree(path)
