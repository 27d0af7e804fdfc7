# SPDX-License-Identifier: GPL-3.0-or-later
"""How many pushes are served at once, so that no key and no site keeps the others of the host waiting.

Each push that is served has a file that its deployer keeps locked, as the tickets of a queue (see `queue`). What root
asks for is never counted, nor is it ever turned away; it has a socket of its own (see roles/engine).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import queue
from .errors import EngineError
from .paths import PUSHES_AT_WORK
from .request import RECEIVE, Request

OF_A_KEY = 16  # pushes at once, to all sites: the one at work and those that wait for their turn
OF_A_SITE = 16  # the same, of all keys


def refusal(before: Iterable[queue.Ticket], who: str, site: str) -> EngineError | None:
    """Why a push is not served now; None when it is.

    :param before: those that are served already; of each, `revision` is the site.
    :param who: the name of the key.
    """
    others = list(before)
    of_key = sum(1 for each in others if each.who == who)
    of_site = sum(1 for each in others if each.revision == site)
    wait = "wait until some of them have ended (djdeploy status on the host names them), then push again"
    if of_key >= OF_A_KEY:
        return EngineError(f"{of_key} pushes of the key {who} are at work, and {OF_A_KEY} of a key may be", wait)
    if of_site >= OF_A_SITE:
        return EngineError(f"{of_site} pushes to {site} are at work, and {OF_A_SITE} to a site may be", wait)
    return None


@contextmanager
def place(request: Request, *, pushes: bool, directory: Path = PUSHES_AT_WORK) -> Iterator[None]:
    """Serve a request of the git user as long as the block lasts, and count it.

    A push that git has let in already is served in any case: its branch has moved.

    :param pushes: whether it is the git user who asks.
    :raises EngineError: when too many are served.
    """
    if not pushes:
        yield
        return
    with queue.ticket(directory, request.op, request.who, request.site) as mine:
        if mine is not None and request.op == RECEIVE:
            earlier = [each for each in queue.waiting(directory) if each.number < mine.number]
            if refused := refusal(earlier, request.who, request.site):
                raise refused
        yield
