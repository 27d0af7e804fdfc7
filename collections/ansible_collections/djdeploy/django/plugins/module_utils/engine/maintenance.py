# SPDX-License-Identifier: GPL-3.0-or-later
"""The maintenance page of a site: a file that nginx looks for, so nothing is reloaded to close or to open it.

While the file is there, visitors get a 503 with Retry-After (RFC 9110, 15.6.4) and nothing reaches the
application. It says why it is there and for which release, so that a run after a crash can judge
whether the site may be opened again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from . import health, requirements, runner, servers
from .errors import EngineError
from .paths import ReleasePaths
from .releases import current_id, read_release
from .sites import Site
from .tree import flush_directory, write_file

CALM = 3  # looks in a row without a request under way
PAUSE = 0.1  # seconds between two looks
# Seconds that connections to an ASGI server get before its workers are asked to end. It decides nothing: a request
# that takes longer is finished all the same, and only websockets, which nobody could wait for, are told to come again.
HASTE = 3.0
SPARE = 30.0  # seconds beyond the server's own, in which it ends what takes too long and the kernel closes connections


def on(site: Site, reason: str, *, release: str = "") -> None:
    """Close the site.

    :param reason: one line for whoever finds the file.
    :param release: id of the release this is done for.
    """
    said = {"reason": reason, "release": release, "since": datetime.now(UTC).isoformat(timespec="seconds")}
    aside = site.paths.maintenance.with_name(".maintenance.new")
    write_file(aside, json.dumps(said) + "\n", 0o644)
    aside.rename(site.paths.maintenance)
    flush_directory(site.paths.root)


def off(site: Site) -> None:
    """Open the site; nothing happens when it is open."""
    site.paths.maintenance.unlink(missing_ok=True)


def state(site: Site) -> dict[str, Any] | None:
    """Why the site is closed (reason, release, since), or None when it is open. A file made by hand counts, too."""
    try:
        text = site.paths.maintenance.read_text()
    except FileNotFoundError:
        return None
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    return {"reason": text.strip(), "release": "", "since": ""} | (said if isinstance(said, dict) else {})


def requests_under_way(text: str) -> int:
    """Connections to a unix socket that are open or wait to be accepted, from `ss -xnH src PATH` (ss(8))."""
    return sum(1 for line in text.splitlines() if line.split()[1:2] == ["ESTAB"])


def drain(
    site: Site, *, run: runner.Runner = runner.run, end_workers: Callable[[str], None] = health.end_workers
) -> None:
    """Wait until the live release has no request under way any more; call it when the page is up.

    nginx opens a connection for each request, so an open connection is a request, or a websocket, which may stay open
    for days. Where the server speaks those, its workers are asked to end after `HASTE`: they close websockets (1012,
    the client comes again), finish requests, and their master starts others in case that the release serves on. What
    is still open then is no request that could be waited for.

    :param end_workers: asks the workers of a unit to end.
    :raises EngineError: when requests still run after the site's `web.graceful_timeout`.
    """
    live = current_id(site.name)
    if live is None:
        return
    paths, record = ReleasePaths(site.name, live), read_release(site.paths.releases / live)
    websockets = record is not None and record.server == servers.UVICORN
    may_end = websockets and servers.respawns(requirements.installed_packages(paths.environment))
    patience = max(site.config["web"]["timeout"], site.config["web"]["graceful_timeout"]) + SPARE
    calm, began = 0, time.monotonic()
    while calm < CALM:
        under_way = requests_under_way(run(["ss", "-xnH", "src", str(paths.socket)]).stdout)
        calm = calm + 1 if under_way == 0 else 0
        passed = time.monotonic() - began
        if may_end and passed > HASTE:
            may_end, began = False, time.monotonic()  # they get the whole time from now on
            end_workers(paths.service_unit)
        elif passed > patience and websockets:
            return
        elif passed > patience:
            raise EngineError(
                f"{under_way} requests are still under way after {patience:g} s",
                "see what they do, or raise web.graceful_timeout of the site; nothing was changed",
            )
        time.sleep(PAUSE)
