# SPDX-License-Identifier: GPL-3.0-or-later
"""A websocket as a browser opens one (RFC 6455), for one text there and one back."""

from __future__ import annotations

import base64
import os
import socket
from typing import BinaryIO

from hosts import PATIENCE, Machine

TEXT = 0x81  # a whole message of text
MASKED = 0x80


def exchange(machine: Machine, domain: str, path: str, text: str, *, timeout: float = PATIENCE) -> str:
    """Send a text of less than 126 bytes and return the first message that comes back.

    :raises AssertionError: when the site does not open a websocket there.
    :raises OSError: when nothing answers in time.
    """
    with socket.create_connection((machine.address, machine.http_port), timeout=timeout) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET {path} HTTP/1.1",
            f"Host: {domain}",
            f"Origin: http://{domain}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        )
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        answer = connection.makefile("rb")
        status = answer.readline().decode()
        assert " 101 " in status, status
        while answer.readline().strip():
            pass
        body, mask = text.encode(), os.urandom(4)
        frame = bytes((TEXT, MASKED | len(body))) + mask
        connection.sendall(frame + bytes(byte ^ mask[number % 4] for number, byte in enumerate(body)))
        return _message(answer)


def _message(answer: BinaryIO) -> str:
    while True:
        kind, length = answer.read(2)
        body = answer.read(length)
        if kind == TEXT:  # anything else is the server's ping
            return body.decode()
