# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a release whether it serves: over its own socket before the switch, through nginx after it."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import units
from .errors import EngineError
from .paths import ReleasePaths

# A page may redirect, want a login or not exist (an untouched project has no page at `/`): all that is the
# application answering. 400 is not: it is what Django says to a host name that ALLOWED_HOSTS lacks.
HEALTHY = frozenset({*range(200, 400), 401, 403, 404, 405})

OUT_OF_MEMORY = ("Perhaps out of memory?", "killed by the OOM killer")


@dataclass(frozen=True)
class Answer:
    """What came back: a status, or why none did."""

    status: int | None
    error: str = ""
    body: str = ""

    def __str__(self) -> str:
        return str(self.status) if self.status is not None else self.error


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(connection: http.client.HTTPConnection, path: str, host: str, *, https: bool = False) -> Answer:
    """One GET as a visitor's browser would send it through nginx."""
    headers = {
        "Host": host,
        "X-Forwarded-Proto": "https" if https else "http",
        "X-Forwarded-For": "127.0.0.1",
        "User-Agent": "djdeploy health check",
        "Connection": "close",
    }
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, body=response.read(4000).decode(errors="replace"))
    except TimeoutError:
        return Answer(None, "no answer in time")
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def is_healthy(status: int | None, statuses: list[int] | None = None) -> bool:
    """:param statuses: what the site's `health.statuses` says; None for the default set."""
    return status in (HEALTHY if statuses is None else statuses)


def out_of_memory(state: units.UnitState, journal: str) -> bool:
    """Whether the kernel ended processes of a unit: systemd's word for it, or gunicorn's, which counts its workers."""
    return state.result == "oom-kill" or any(words in journal for words in OUT_OF_MEMORY)


def prove(
    release: ReleasePaths,
    host: str,
    health: dict[str, Any],
    *,
    unit_state: Callable[[str], units.UnitState] = units.state,
    journal: Callable[[str], str] = units.journal_tail,
) -> str:
    """Ask a started release over its own socket until it is healthy, or is known not to be.

    Its unit is watched beside: a release whose workers die would otherwise leave the question
    waiting in the socket systemd holds.

    :param health: the site's `health` (path, statuses, timeout in seconds).
    :returns: what to tell: `200 on /`.
    :raises EngineError: with the cause and the unit's last lines.
    """
    end = time.monotonic() + float(health["timeout"])
    path, answer = str(health["path"]), Answer(None, "no answer in time")
    patience = 1.0
    while time.monotonic() < end:
        answer = ask(UnixConnection(release.socket, min(patience, max(0.1, end - time.monotonic()))), path, host)
        if is_healthy(answer.status, health["statuses"]):
            return f"{answer} on {path}"
        if answer.status not in (None, 503):  # 503 is what an application says while it warms up
            break
        state = unit_state(release.service_unit)
        # A worker the kernel ends is started anew and ended again, for as long as anybody waits.
        if state.broken or answer.error == "no answer in time":
            said = journal(release.service_unit)
            if out_of_memory(state, said):
                raise EngineError(
                    "it ran out of memory while starting",
                    "raise web.memory_max of the site, lower web.workers, or give the host memory; "
                    f"see: journalctl -u {release.service_unit}",
                    said,
                )
            if state.broken:
                raise EngineError(
                    "its processes died while starting", f"see: journalctl -u {release.service_unit}", said
                )
        if answer.error != "no answer in time":
            time.sleep(0.1)
            continue
        patience *= 2  # a short first wait notices a dead process early; a slow page needs a long one
    if answer.status is not None:
        message = f"it answers {answer.status} on {path}"
    else:
        message = f"it did not answer {path} within {health['timeout']} s ({answer.error})"
    raise EngineError(
        message,
        f"health.path is {path}; see: journalctl -u {release.service_unit}",
        journal(release.service_unit),
    )


def through_nginx(host: str, health: dict[str, Any], *, port: int = 80) -> str:
    """Ask the site as a visitor would, on this host.

    :raises EngineError: when nginx or the site does not answer as it should.
    """
    answer = ask(http.client.HTTPConnection("127.0.0.1", port, timeout=10), str(health["path"]), host)
    if not is_healthy(answer.status, health["statuses"]):
        if answer.error.startswith(ConnectionRefusedError.__name__):
            raise EngineError(
                f"nginx does not run, so nobody can see {host}", "nginx -t && systemctl start nginx, then do it again"
            )
        raise EngineError(f"nginx answers {answer} for {host}{health['path']}", "see: journalctl -u nginx; nginx -t")
    return f"{answer} from nginx"


def watch(release: ReleasePaths, host: str, health: dict[str, Any], seconds: float) -> str:
    time.sleep(seconds)
    return "stub"
