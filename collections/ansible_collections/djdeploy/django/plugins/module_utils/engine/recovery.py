# SPDX-License-Identifier: GPL-3.0-or-later
"""After a run that was killed, and after a boot: bring what is there to a state the next run understands."""

from __future__ import annotations

from collections.abc import Iterable

from . import database, requirements, units
from .errors import EngineError
from .events import Progress
from .git import Repository
from .push import NO_COMMIT
from .releases import (
    RELEASE_ID,
    Release,
    all_releases,
    current_id,
    live_release,
    note_release,
    read_release,
    serve_again,
    settled,
)
from .sites import Site
from .tree import remove_tree


def recover(site: Site, progress: Progress) -> None:
    """Bring what a killed or rebooted run left behind to a state the next run understands.

    The pointer is the truth; records, units and half-made directories are made to agree with it.

    :raises EngineError: when the pointer leads nowhere, or is none; only a person can say what should be live.
    """
    live = current_id(site.name)
    if live is not None and not (site.paths.releases / live).is_dir():
        raise EngineError(
            f"{site.paths.current} points at {live}, which does not exist",
            f"rm {site.paths.current} && {serve_again(site.name)}",
        )
    for path in site.paths.releases.iterdir():
        if not RELEASE_ID.match(path.name) or path.name == live:
            continue  # what a person put there is theirs
        record = read_release(path)
        if record is None or record.state == "preparing":
            progress.say(f"removing {path.name}: an earlier run was interrupted while making it")
            remove_tree(path)
    for record in settled(all_releases(site.name), live):
        note_release(record)
    for path in site.paths.environments.iterdir():
        if not requirements.is_complete(path):
            remove_tree(path)
    database.reopen(site, progress)


def boot(site: Site) -> None:
    """Start what `current` points at. Run once at boot, so that a boot asks the one pointer, too.

    Then the records and the branch are made to agree with it, as a run that was cut off would have done.
    """
    live = live_release(site.name)
    if live is not None:
        units.start(site.paths.release(live.id))
    records = all_releases(site.name)
    repository = Repository(site.paths.repository)
    tip = repository.commit(site.ref)
    if tip and was_cut_off(records, tip, live):
        repository.move(site.ref, live.revision if live else NO_COMMIT, tip)
    for record in settled(records, live.id if live else None):
        note_release(record)


def was_cut_off(records: Iterable[Release], tip: str, live: Release | None) -> bool:
    """Whether the branch is at a commit whose deploy never ended: it was prepared, and neither went live nor failed.

    The branch goes back to what is live then, else git would call the next push of that commit up to date.
    """
    if live is not None and live.revision == tip:
        return False
    return any(record.revision == tip and record.state == "prepared" for record in records)
