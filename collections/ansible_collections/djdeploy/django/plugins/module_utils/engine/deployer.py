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
from dataclasses import replace
from datetime import UTC, datetime

from . import admission, databases_said, deploy
from .errors import EngineError, in_words
from .events import Event, Progress, Sink
from .journal import Operation, journal_sink, operation_id, this_process
from .journald import unit_journal_sink
from .paths import GIT_USER
from .push import last_update
from .releases import live_release
from .request import LONGEST_REQUEST, RECEIVE, RECOVER, Request, may_ask
from .site_secrets import Mask
from .sites import Site, load_site


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


def failure(request: Request | None, error: Exception, progress: Progress) -> Event:
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
        "told": progress.has_told(told.detail),
        **told.result_facts,
    }


def begun(site: Site, request: Request) -> Operation:
    """A request as an operation of its own; a check is none that anybody will ask for later."""
    update = last_update(request.updates, site.ref)
    try:
        live = live_release(site.name)
    except EngineError:  # a broken pointer is told by the operation itself
        live = None
    return Operation(
        site=site.name,
        asked=request.op,
        door=request.door,
        who=request.who,
        id="" if request.check or request.op == RECOVER else operation_id(datetime.now(UTC)),
        revision=request.revision or (update.new if update else ""),
        before=live.revision if live else "",
        process=this_process(),
    )


def foreseen(site: Site, progress: Progress) -> Site:
    """A site as a check can look at it before its files are written.

    What leads to a database besides `default` is a variable; where that comes with the files, nobody can look yet.
    """
    if str(site.paths.env_file) not in site.changed_files:
        return site
    untold = databases_said.untold(site.config, site.environment())
    for alias in untold:
        variable = databases_said.variable_of(alias)
        progress.say(f"database {alias} is not looked at: {variable} is written by the same run")
    kept = {alias: kind for alias, kind in (site.config.get("databases") or {}).items() if alias not in untold}
    return replace(site, config={**site.config, "databases": kept}) if untold else site


def serve(connection: socket.socket) -> None:
    """Answer the one request of a connection, or the two of a push: what wants in, and then that it is in."""
    operation = None
    with connection.makefile("rb") as stream:
        while operation := answer(connection, stream.readline(LONGEST_REQUEST), operation):
            pass


def answer(connection: socket.socket, line: bytes, before: Operation | None = None) -> Operation | None:
    """Answer one request.

    :param line: the request; empty when the caller has gone.
    :param before: what the connection asked for first, which this request may go on with.
    :returns: the operation, if another request may follow.
    """
    if not line:
        return None
    progress = Progress([unit_journal_sink(), caller_sink(connection)])
    request = None
    try:
        request = Request.from_mapping(json.loads(line))
        uid = peer_uid(connection)
        if not may_ask(request, uid=uid, git_uid=git_uid()):
            raise EngineError(f"user id {uid} may not ask for {request.op!r}", "run it again with sudo")
        site = load_site(request.site)
        progress.mask = Mask(site.paths)
        if request.check and request.config is not None:
            site = foreseen(Site(site.name, request.config, frozenset(request.changed_files)), progress)
        with admission.place(request, pushes=uid != 0):
            operation = before if before and before.again(request) else begun(site, request)
            # First the journal of the site: it tells the operation of each event. The caller may ask for it at once.
            progress.sinks[:1] = [journal_sink(site.paths.journal, operation), unit_journal_sink(operation)]
            deploy.carry_out(site, request, progress)
    except Exception as error:  # the caller must get a result, whatever happened
        progress.emit(failure(request, error, progress))
        return None
    return operation if request.op == RECEIVE else None


def main() -> int:
    """Entry of `djdeploy-deployer@.service` and `djdeploy-deployer.push@.service`: the connection is standard input."""
    with socket.socket(fileno=0) as connection:
        serve(connection)
    sys.stdin = None  # the descriptor is closed with the socket; Python must not close it again
    return 0
