# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to the deployer: send one request, read events until the result."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

from .errors import EngineError
from .events import Event
from .paths import DEPLOYER_SOCKET, DEPLOYER_UNIT
from .request import Request


def connect(path: Path = DEPLOYER_SOCKET) -> socket.socket:
    """Call a deployer: systemd starts one for the connection, and it waits for the request.

    :raises EngineError: when it cannot be reached.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        if isinstance(error, PermissionError):
            raise EngineError("only root may ask the deployer", "run it again with sudo") from None
        raise EngineError(
            f"the deployer does not answer ({path}: {error.strerror})",
            f"see: systemctl status {DEPLOYER_UNIT}.socket; site.yml sets it up",
        ) from None
    return connection


def ask(request: Request, connection: socket.socket | None = None) -> Iterator[Event]:
    """Yield the events of a request; the last one is its result.

    Whoever stops listening does not stop the deploy.

    :param connection: one made before; it is closed in the end.
    :raises EngineError: when the deployer cannot be reached or went away before the result.
    """
    with connection or connect() as connection:
        for event in conversation(connection, request):
            yield event
            if event["event"] == "result":
                return
    raise EngineError(
        "the deployer stopped before it had a result",
        f"see: journalctl -u '{DEPLOYER_UNIT}@*' -n 50; then: djdeploy status {request.site}",
    )


def has_ended(connection: socket.socket) -> bool:
    """Whether the deployer at the other end is gone and has nothing more to say."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def conversation(connection: socket.socket, request: Request) -> Iterator[Event]:
    """Send the request and yield what comes back whole; a deployer that dies ends it early, without an exception."""
    try:
        connection.sendall(json.dumps(request.as_dict()).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)
    except OSError:
        return
