# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to the deployer: send one request, read events until the result."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from .errors import EngineError
from .events import Event
from .paths import DEPLOYER_SOCKET, DEPLOYER_UNIT, PUSH_SOCKET, PUSH_UNIT
from .request import LONGEST_REQUEST, Request


def own_socket(uid: int) -> tuple[Path, str]:
    """Where a unix user asks, and the unit of systemd that listens there without its suffix."""
    return (DEPLOYER_SOCKET, DEPLOYER_UNIT) if uid == 0 else (PUSH_SOCKET, PUSH_UNIT)


def connect(path: Path | None = None, *, connection: socket.socket | None = None) -> socket.socket:
    """Call a deployer: systemd starts one for the connection, and it waits for the request.

    :param path: where; None: at root's socket, or at that of pushes for everybody else.
    :param connection: a socket to do it with, that others of the same push hold, too; it may be connected already.
    :raises EngineError: when it cannot be reached.
    """
    path = path or own_socket(os.geteuid())[0]
    connection = connection or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError as error:
        if error.errno == errno.EISCONN:
            return connection
        connection.close()
        if isinstance(error, PermissionError):
            raise EngineError("only root may ask the deployer", "run it again with sudo") from None
        raise EngineError(
            f"the deployer does not answer ({path}: {error.strerror})",
            f"see: systemctl status {own_socket(os.geteuid())[1]}.socket; site.yml sets it up",
        ) from None
    return connection


def ask(request: Request, connection: socket.socket | None = None) -> Iterator[Event]:
    """Yield the events of a request; the last one is its result.

    Whoever stops listening does not stop the deploy.

    :param connection: one made before; it is closed in the end.
    :raises EngineError: when the request is too long, the deployer cannot be reached, or went away before the result.
    """
    text = json.dumps(request.as_dict()).encode() + b"\n"
    if len(text) > LONGEST_REQUEST:
        raise EngineError(
            f"{len(request.updates)} branches and tags are more than one push may hold",
            "push them in parts: git push REMOTE 'refs/tags/v1*', and the branch that goes live by itself",
        )
    heard = False
    with connection or connect() as connection:
        for event in conversation(connection, text):
            heard = True
            yield event
            if event["event"] == "result":
                return
    unit = own_socket(os.geteuid())[1]
    raise EngineError(
        "the deployer stopped before it had a result",
        f"see: journalctl -u '{unit}@*' -n 50; then: djdeploy status {request.site}"
        # systemd closes a connection it has no place for without a word (systemd.socket(5), MaxConnections=).
        + ("" if heard else f"; or all places of {unit}.socket were taken (MaxConnections=): try again in a while"),
    )


def has_ended(connection: socket.socket) -> bool:
    """Whether the deployer at the other end is gone and has nothing more to say."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def conversation(connection: socket.socket, request: bytes) -> Iterator[Event]:
    """Send a request, a line of JSON, and yield what comes back whole; a deployer that dies ends it, with no error."""
    try:
        connection.sendall(request)
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)
    except OSError:
        return
