# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build command reaches, as JSON: each attempt with `done` or the name of what refused it.

probe.py <a directory to write to> <file for the result>
"""

from __future__ import annotations

import glob
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve()
SITE = "build-commands"
ROOT = Path("/srv") / SITE


def attempt(act: Callable[[], object]) -> str:
    try:
        act()
    except Exception as error:
        return type(error).__name__
    return "done"


def connect(family: int, address: object) -> None:
    with socket.socket(family) as plug:
        plug.settimeout(5)
        plug.connect(address)


def write(path: Path) -> None:
    path.write_text("x")
    path.unlink()


def other_site() -> None:
    """List the uploads of another site."""
    os.listdir(next(path for path in glob.glob("/srv/*/shared") if not path.startswith(f"{ROOT}/")))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "the site's environment file": lambda: Path(f"/etc/djdeploy/sites/{SITE}.env").read_text(),
    "what the host knows of the site": lambda: Path(f"/etc/djdeploy/sites/{SITE}.json").read_text(),
    "another site's uploads": other_site,
    "the site's uploads": lambda: os.listdir(ROOT / "shared"),
    "the journal": lambda: os.listdir(f"/var/lib/djdeploy/{SITE}"),
    "a secret of the site": lambda: os.environ["NOTES_SECRET"],
    "nginx by network": lambda: connect(socket.AF_INET, ("127.0.0.1", 80)),
    "sshd by network": lambda: connect(socket.AF_INET, ("127.0.0.1", 22)),
    "an interface that leads out": lambda: next(name for _n, name in socket.if_nameindex() if name != "lo"),
    "the database's socket": lambda: connect(socket.AF_UNIX, "/run/postgresql/.s.PGSQL.5432"),
    "the deployer's socket": lambda: connect(socket.AF_UNIX, "/run/djdeploy/push.sock"),
    "the bus": lambda: connect(socket.AF_UNIX, "/run/dbus/system_bus_socket"),
    "a file in current": lambda: write(ROOT / "current/written"),
    "a file in the release": lambda: write(HERE.parent.parent / "written"),
    "a file in shared": lambda: write(ROOT / "shared/written"),
    "a file in /usr": lambda: write(Path("/usr/local/written")),
    "a directory of its own": lambda: write(Path(sys.argv[1], "written")),
}

if __name__ == "__main__":
    found = {name: attempt(act) for name, act in ATTEMPTS.items()}
    found["NOTES_GREETING"] = os.environ.get("NOTES_GREETING", "")
    found["SECRET_KEY"] = os.environ.get("SECRET_KEY", "")
    Path(sys.argv[2]).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
