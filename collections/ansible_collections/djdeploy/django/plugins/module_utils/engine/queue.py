# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is to put a revision live: each in the order of arrival, and none that is out of date by then.

Every request that wants a revision live takes a ticket before it waits for the site's lock. A ticket is a file
that its process keeps locked (flock(2)), so it ends with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .push import last_update
from .request import DEPLOY, PUSHED, RECEIVE, Request
from .sites import Site
from .tree import FULL


@dataclass(frozen=True)
class Ticket:
    """The place of a request in the queue.

    :param number: greater than that of all who wait already.
    :param revision: what it wants live: a commit, or the name of one.
    """

    number: int
    op: str
    who: str
    revision: str
    pid: int = 0

    def __str__(self) -> str:
        return f"{short(self.revision)} of {self.who}"


def short(revision: str) -> str:
    """A commit as people write it; another name as it is."""
    return revision[:7] if len(revision) == 40 else revision


def wanted(site: Site, request: Request) -> str:
    """The revision a request wants live; empty when it wants none in particular, or is only a check.

    A deploy without a revision puts the configuration live, for whatever revision is live then.
    """
    update = last_update(request.updates, site.ref)
    if request.op == PUSHED and update is not None:
        return update.new
    if request.op != DEPLOY or request.check:
        return ""
    config = site.config
    return str(request.revision or config["revision"] or (config["branch"] if config["repository"] else None) or "")


def purpose(site: Site, request: Request) -> str:
    """What a request is for, as others who have to wait for it read it."""
    update = last_update(request.updates, site.ref)
    if request.op in (PUSHED, RECEIVE):
        what = f"push of {short(update.new)}" if update else "push"
        return f"the checks of a {what}" if request.op == RECEIVE else what
    revision = request.revision or ""
    what = "check" if request.check else request.op
    return f"{what} of {short(revision)}" if revision else what


def overtaken(mine: Ticket, tickets: Iterable[Ticket]) -> Ticket | None:
    """The newest request behind mine, if it makes mine pointless.

    A push is never overtaken here: git says which of them counts, by the branch. What it was told to be live must
    not depend on somebody else's deploy of another revision, which comes after it anyway.

    :param tickets: of all who wait; whoever has ended, well or not, is not among them.
    """
    newest = max(
        (ticket for ticket in tickets if ticket.number > mine.number), key=lambda each: each.number, default=None
    )
    if mine.op == PUSHED or newest is None or newest.revision == mine.revision:
        return None
    return newest


# --- tickets as files -------------------------------------------------------------------------------


@contextmanager
def at_the_counter(queue: Path) -> Iterator[None]:
    """Nobody else takes, reads or clears away a ticket meanwhile."""
    descriptor = os.open(queue, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def living(queue: Path) -> Iterator[Ticket]:
    """The tickets whose process is alive, oldest first; others are cleared away. Only at the counter."""
    for path in sorted(queue.glob("*.json")):
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield Ticket(**json.load(file))
            else:
                path.unlink()


def waiting(queue: Path) -> list[Ticket]:
    """Everybody who has a ticket, the one at work among them, oldest first."""
    if not queue.is_dir():
        return []
    with at_the_counter(queue):
        return list(living(queue))


def is_next(queue: Path, mine: Ticket | None) -> bool:
    """Whether nobody with a ticket came before; whoever has none waits for nobody but the lock."""
    if mine is None:
        return True
    with at_the_counter(queue):
        return next(living(queue), mine).number >= mine.number


@contextmanager
def ticket(queue: Path, op: str, who: str, revision: str) -> Iterator[Ticket | None]:
    """Stand in the queue of a site while the block runs.

    :param revision: what is wanted live; nobody stands in the queue who wants none. On a full disk nobody does
        either: the lock alone is enough to do no harm.
    """
    taken = take(queue, op, who, revision) if revision else None
    if taken is None:
        yield None
        return
    mine, path, descriptor = taken
    try:
        yield mine
    finally:
        with at_the_counter(queue):
            path.unlink(missing_ok=True)
            os.close(descriptor)


def take(queue: Path, op: str, who: str, revision: str) -> tuple[Ticket, Path, int] | None:
    """Take the next ticket.

    :returns: it, its file, and the descriptor that holds it; None when there is no room for it.
    """
    descriptor = -1
    try:
        queue.mkdir(mode=0o700, parents=True, exist_ok=True)
        with at_the_counter(queue):
            number = max((each.number for each in living(queue)), default=0) + 1
            mine, path = Ticket(number, op, who, revision, os.getpid()), queue / f"{number:08d}.json"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, json.dumps(asdict(mine)).encode())
            return mine, path, descriptor
    except OSError as error:
        if error.errno not in FULL:
            raise
        if descriptor >= 0:
            os.close(descriptor)  # what is left of it is a ticket of nobody, which the next one clears away
        return None
