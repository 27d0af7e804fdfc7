# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for what another site has, and writes down what it found. Part of a hostile project: runs in its processes."""

import json
import os
import subprocess
import sys
import time

OTHER = "treasure"
NAMES = (
    f"/srv/{OTHER}",
    f"/srv/{OTHER}/current/code/manage.py",
    f"/srv/{OTHER}/current/release.env",
    f"/srv/{OTHER}/shared/db.sqlite3",
    f"/srv/{OTHER}/shared/media",
    f"/srv/{OTHER}/shared/media/attachments/upload.txt",
    f"/srv/{OTHER}/repo.git/HEAD",
    f"/srv/{OTHER}/venvs",
    f"/srv/{OTHER}/current/.venv/bin/python",
    f"/etc/djdeploy/sites/{OTHER}.gunicorn.py",
    f"/etc/djdeploy/sites/{OTHER}.env",
    f"/etc/djdeploy/sites/{OTHER}.json",
    f"/etc/djdeploy/sites/{OTHER}.secrets",
    f"/var/lib/djdeploy/{OTHER}",
    f"/var/lib/djdeploy/{OTHER}/journal.jsonl",
    f"/var/cache/djdeploy/{OTHER}",
    f"/run/djdeploy/{OTHER}/locks/deploy",
    "/etc/shadow",
)


def opened(name):
    """Whether something can be read, or a directory listed."""
    try:
        os.listdir(name) if os.path.isdir(name) else open(name, "rb").close()
    except OSError:
        return False
    return True


def listed(name):
    try:
        return sorted(os.listdir(name))
    except OSError:
        return []


def look(where):
    """Write to $HOME what can be seen from here; both kinds of user may write there."""
    found = {
        "sites": listed("/srv"),
        "caches": listed("/var/cache/djdeploy"),
        "there": [name for name in NAMES[:-1] if os.path.lexists(name)],
        "opened": [name for name in NAMES if opened(name)],
        "umask": os.umask(0o022),
    }
    os.umask(found["umask"])
    with open(os.path.join(os.environ["HOME"], f"probe-{where}.json"), "w") as file:
        json.dump(found, file)


def stay(seconds):
    """Leave a process behind that nobody's polite word ends; the number tells whose it is."""
    subprocess.Popen(
        ["/bin/sh", "-c", f"trap '' TERM HUP INT; while :; do sleep {seconds}; done"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


if __name__ == "__main__":
    look(sys.argv[1])
    while sys.argv[1] == "worker":
        time.sleep(60)
