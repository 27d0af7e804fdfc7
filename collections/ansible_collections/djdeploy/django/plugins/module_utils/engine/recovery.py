# SPDX-License-Identifier: GPL-3.0-or-later
"""After a run that was killed, and after a boot: bring what is there to a state the next run understands.

The pointer `current` is the truth. Records, units, the branch and half-made things are made to agree with it.
Every operation begins with this; systemd asks for it when a deployer did not end by itself, and at boot.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from . import database, leftovers, move, process_units, queue, requirements, sandbox, snapshots, units
from .errors import EngineError
from .events import Progress
from .git import Repository
from .lock import site_lock
from .paths import SitePaths
from .push import RefUpdate
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
from .tree import GONE, flush_directory, make_directory, remove_tree

HALF_MADE = (".current.new", ".maintenance.new", ".reserve.new")  # what is renamed when it is whole (see `tree`)


def recover(site: Site, progress: Progress, pushed: Iterable[RefUpdate] = ()) -> EngineError | None:
    """Bring what a killed or rebooted run left behind to a state the next run understands. Needs the site's lock.

    :param pushed: refs whose deploy is just asked for; their branch is not taken back.
    :returns: why the site is closed to visitors, if it has to stay so.
    :raises EngineError: when the pointer leads nowhere, or is none; only a person can say what should be live.
    """
    sandbox.end_left(site.paths)
    leftovers.end(site.paths.build_user)
    live = current_id(site.name)
    if live is not None and not (site.paths.releases / live).is_dir():
        raise EngineError(
            f"{site.paths.current} points at {live}, which does not exist",
            f"rm {site.paths.current} && {serve_again(site.name)}",
        )
    for path in sorted(site.paths.releases.iterdir()):
        if path.name.endswith(GONE):
            remove_tree(path)
        if not RELEASE_ID.match(path.name) or path.name == live:
            continue  # what a person put there is theirs
        record = read_release(path)
        if record is None or record.state == "preparing":
            progress.say(f"removing {path.name}: an earlier run was interrupted while making it")
            remove_tree(path)
    records = all_releases(site.name)
    for record in records:
        site.paths.release(record.id).record.with_suffix(".json.new").unlink(missing_ok=True)
    for record in settled(records, live):
        note_release(record)
    for name in HALF_MADE:
        (site.paths.root / name).unlink(missing_ok=True)
    for folder in (site.paths.root, site.paths.state, site.paths.environments):
        for path in folder.glob(".*.new"):  # see `beneath.aside`
            path.unlink(missing_ok=True)
    for path in site.paths.environments.iterdir():
        if path.name.endswith(GONE) or not requirements.is_complete(path):
            remove_tree(path)
    snapshots.remove_half_made(site)
    queue.waiting(site.paths.queue)  # who looks clears the tickets of the dead away
    move.recover(site, progress)
    closed = why_closed(site, progress)
    end_orphans(site, current_id(site.name), progress)  # opening it may have put another release live
    if closed is None and process_units.concerned(records):
        keep_processes(site, progress)
    take_branches_back(site, {update.new for update in pushed}, progress)
    return closed


def why_closed(site: Site, progress: Progress) -> EngineError | None:
    """Open the site if the maintenance page of a killed run is up, or say why that cannot be.

    That is no reason to refuse what is asked for: a deploy or a restore may be what mends it.
    """
    try:
        database.reopen(site, progress)
    except EngineError as error:
        progress.say(f"the maintenance page stays up: {error.message}")
        return error
    return None


def keep_processes(site: Site, progress: Progress) -> None:
    """Let the processes of the live release run, and no others. A deploy may be what mends those that cannot."""
    try:
        process_units.keep(site, live_release(site.name))
    except EngineError as error:
        progress.say(f"its processes do not all run: {error.message}")


def orphans(states: Mapping[str, set[str]], live: str | None, served: Iterable[str]) -> tuple[list[str], list[str]]:
    """Releases whose units run, or have ended and are still told of, though another one is live.

    One that is just stopping is none.

    :param states: what `units.states` found.
    :param served: ids of the releases that ever had a visitor.
    :returns: those to let finish, and those to end at once.
    """
    left = sorted(name for name, found in states.items() if name != live and "deactivating" not in found)
    had_visitors = set(served)
    return [name for name in left if name in had_visitors], [name for name in left if name not in had_visitors]


def end_orphans(site: Site, live: str | None, progress: Progress) -> None:
    """Stop releases that a killed run started and did not put live, and those it did not come to stop."""
    records = all_releases(site.name)
    states = units.states(site.name)
    finish, end = orphans(states, live, [record.id for record in records if record.served])
    for release_id in end:
        progress.say(f"ending {release_id}: an earlier run was interrupted before it was live")
        units.kill(site.paths.release(release_id))
    for release_id in finish:
        paths = site.paths.release(release_id)
        if states[release_id] & {"active", "activating", "reloading"}:
            progress.say(f"stopping {release_id}: it is not live any more")
            units.drain(paths)
            units.stop(paths, block=False)
        else:
            units.forget(paths)


# --- pushes ---------------------------------------------------------------------------------------
#
# git moves the branch between the two requests of a push, and does not move it back. So the move is
# noted before it, and the note is locked as long as the deployer of the push lives (flock(2)).

_held: dict[str, tuple[Path, int]] = {}  # the new commit of a push of this process -> its note, and the locked file


def let_in(site: Site, update: RefUpdate) -> None:
    """Note that a push is let in, before git moves its branch."""
    make_directory(site.paths.pushes, 0o700)
    path = site.paths.pushes / f"{time.time_ns()}.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _held[update.new] = path, descriptor
    os.write(descriptor, json.dumps(asdict(update)).encode())
    os.fsync(descriptor)
    flush_directory(site.paths.pushes)


def at_its_end(update: RefUpdate) -> None:
    """A push is live, or its branch was taken back."""
    path, descriptor = _held.pop(update.new, (None, -1))
    if path is not None:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def abandoned(paths: SitePaths) -> Iterator[tuple[Path, RefUpdate | None]]:
    """The pushes whose deployer is gone: the note, and what it says; None where it was never written."""
    for path in sorted(paths.pushes.glob("*.json")):
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            try:
                yield path, RefUpdate(**json.load(file))
            except (ValueError, TypeError):
                yield path, None


def take_branches_back(site: Site, pushed: set[str], progress: Progress) -> None:
    """Let the branch say again what it said before a push whose deploy was cut off.

    Else git would call the next push of that commit up to date. What was pushed since stays.
    """
    for path, update in abandoned(site.paths):
        if update is not None and update.new not in pushed:
            live, repository = live_release(site.name), Repository(site.paths.repository)
            cut_off = live is None or live.revision != update.new
            if cut_off and repository.commit(update.ref) == update.new:
                before = branch_before(site, update)
                if not repository.move(update.ref, before, update.new):
                    continue  # no room for git's lock, most likely; the next run tries again
                back = "nothing" if update.creates else before[:7]
                progress.say(f"{site.branch} is back at {back}: the deploy of {update.new[:7]} was interrupted")
        path.unlink(missing_ok=True)


def branch_before(site: Site, update: RefUpdate) -> str:
    """Where a branch goes back to: where it was before a push.

    If what it was at was overtaken by this push, and so never went live, it is what is live; unless somebody still
    waits to put it live.
    """
    live = live_release(site.name)
    states = {record.state for record in all_releases(site.name) if record.revision == update.old}
    waits = any(ticket.revision == update.old for ticket in queue.waiting(site.paths.queue))
    return live.revision if live and states == {"prepared"} and not waits else update.old


# --- at boot --------------------------------------------------------------------------------------


def boot(site: Site, progress: Progress) -> Release | None:
    """Start what `current` points at, then mend what the boot cut off. So a boot asks the one pointer, too.

    :returns: what is live.
    """
    live = live_release(site.name)
    if live is not None:
        units.start(site.paths.release(live.id))
    with site_lock(site.paths.lock, who="systemd", what="boot", say=progress.say):
        recover(site, progress)
    return live_release(site.name)
