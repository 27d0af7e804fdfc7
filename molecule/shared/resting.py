# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites that nobody asks any more are stopped, and started again for a test that comes later, alone.

The processes of many sites wake once a second: fifty idle sites take a quarter of a processor, and more than that
where memory is slow.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from hosts import Site

#: The units of a site that run: of its releases, its processes and its schedule; its redis.
RUNNING = """\
systemctl list-units --plain --no-legend --state=active --type=service,socket,timer \
    'djdeploy-{name}@*' 'djdeploy-{name}.*' 'redis-server@{name}.*' | cut -d ' ' -f 1
"""


def note_of(site: Site) -> Path:
    """Where the units are noted that were stopped."""
    return site.folder / f"{site.name}.stopped"


def stop(site: Site) -> None:
    """Stop what runs of a site, and note it."""
    if units := site.machine.root(RUNNING.format(name=site.name)).split():
        note_of(site).write_text(shlex.join(units))
        site.machine.root(f"systemctl stop {shlex.join(units)}")


def wake(site: Site) -> None:
    """Start what `stop` has stopped, if it has."""
    note = note_of(site)
    if note.exists():
        site.machine.root(f"systemctl start {note.read_text()}")
        note.unlink()
