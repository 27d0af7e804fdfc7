# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it prints, and no module imports it; Ansible forbids that to modules
"""The program behind the socket: systemd starts one for each connection, and it ends with its work.

It runs as root in a unit of its own, so a caller that goes away stops nothing, and nothing of
ours is resident while no deploy runs.
"""

from __future__ import annotations

import json
import pwd
import socket
import struct
import sys

from . import deploy
from .errors import EngineError, in_words
from .events import Event, Progress, Sink, rendered
from .journal import journal_sink
from .paths import GIT_USER, SitePaths
from .request import RECEIVE, Request, may_ask
from .sites import Site, load_site

LONGEST_REQUEST = 1 << 20  # bytes; a push of a thousand refs takes a tenth of it


def peer_uid(connection: socket.socket) -> int:
    """The unix user at the other end, as the kernel knows it (SO_PEERCRED, unix(7))."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", data)[1])


def git_uid() -> int | None:
    try:
        return pwd.getpwnam(GIT_USER).pw_uid
    except KeyError:
        return None


def caller_sink(connection: socket.socket) -> Sink:
    """Events to the caller, until it goes away."""
    gone = False

    def sink(event: Event) -> None:
        nonlocal gone
        if gone:
            return
        try:
            connection.sendall(json.dumps(event).encode() + b"\n")
        except OSError:
            gone = True

    return sink


def unit_journal_sink(event: Event) -> None:
    """Events as lines of this unit's own journal."""
    text = rendered(event)
    if text:
        print(text, flush=True)


def failure(request: Request | None, error: Exception) -> Event:
    """The result event of a request that ended in an exception."""
    told = in_words(error)
    return {
        "event": "result",
        "ok": False,
        "changed": False,
        "site": request.site if request else "",
        "message": told.message,
        "hint": told.hint,
        "detail": told.detail,
        **told.result_facts,
    }


def serve(connection: socket.socket) -> None:
    """Answer the one request of a connection, or the two of a push: what wants in, and then that it is in."""
    with connection.makefile("rb") as stream:
        while answer(connection, stream.readline(LONGEST_REQUEST)):
            pass


def answer(connection: socket.socket, line: bytes) -> bool:
    """Answer one request.

    :param line: the request; empty when the caller has gone.
    :returns: whether another may follow.
    """
    if not line:
        return False
    progress = Progress([caller_sink(connection), unit_journal_sink])
    request = None
    try:
        request = Request.from_mapping(json.loads(line))
        uid = peer_uid(connection)
        if not may_ask(request, uid=uid, git_uid=git_uid()):
            raise EngineError(f"user id {uid} may not ask for {request.op!r}", "run it again with sudo")
        site = load_site(request.site)
        if request.check and request.config is not None:
            site = Site(site.name, request.config, frozenset(request.changed_files))
        context = {"site": site.name, "op": request.op, "door": request.door, "who": request.who}
        if not request.check:
            progress.sinks.append(journal_sink(SitePaths(site.name).journal, context))
        deploy.carry_out(site, request, progress)
    except Exception as error:  # the caller must get a result, whatever happened
        progress.emit(failure(request, error))
        return False
    return request.op == RECEIVE


def main() -> int:
    """Entry of the unit `djdeploy-deployer@.service`: the connection is standard input."""
    with socket.socket(fileno=0) as connection:
        serve(connection)
    sys.stdin = None  # the descriptor is closed with the socket; Python must not close it again
    return 0
