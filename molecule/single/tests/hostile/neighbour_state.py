# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host as root: has what no attack may change still the names, owners, modes and contents it had?

    python3 neighbour_state.py keep|compare NEIGHBOUR OTHER...

`keep` notes them, `compare` prints what is different since then, a line for each file, and notes it anew. OTHER are the
sites that attack: what the host says of them may change.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator

NOTED = "/run/djdeploy-test-neighbour.json"
LARGE = 1 << 20  # bytes; from there on, and in a virtualenv, the kernel's times stand for the content
# What changes by itself, or because somebody reads: SQLite's files beside a database that is open.
BY_ITSELF = re.compile(r"/srv/[^/]+/shared/db\.sqlite3-(wal|shm|journal)")


def places(neighbour: str) -> list[str]:
    """Where nothing changes. Of what is only written on, by its visitors and by each site.yml, owner and mode count."""
    return [
        f"/srv/{neighbour}",
        f"/var/lib/djdeploy/{neighbour}",
        f"/var/cache/djdeploy/{neighbour}",
        "/usr/local/lib/djdeploy",
        "/etc",
    ]


def of_others(others: list[str]) -> re.Pattern[str]:
    """Files of /etc that are said of the sites that attack: their settings, units, slices, servers and keys."""
    names = "|".join(re.escape(name) for each in others for name in (each, each.replace("-", "\\x2d")))
    return re.compile(rf"/etc/(?:[^/]*/)*?(?:djdeploy-)?(?:{names})(?:[@.][^/]*)?(?:/.*)?")


def walked(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """A directory and all that is below it, with what lstat(2) says: some ten thousand times, so each once."""
    yield top, os.lstat(top)
    left = [top]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                yield entry.path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)


def told(path: str, found: os.stat_result) -> str:
    """What a file is, in one line: type and mode, owner, and what is in it."""
    said = f"{found.st_mode:o} {found.st_uid}:{found.st_gid}"
    if stat.S_ISREG(found.st_mode):
        if found.st_size > LARGE or "/venvs/" in path:
            return f"{said} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"  # nobody sets the last one
        with open(path, "rb") as file:
            return f"{said} {found.st_size} {hashlib.sha256(file.read()).hexdigest()[:16]}"
    return f"{said} -> {os.readlink(path)}" if stat.S_ISLNK(found.st_mode) else said


def times(found: os.stat_result) -> str:
    """What is another one after each change of a file, whoever makes it: nobody sets the time of its last change."""
    return f"{found.st_dev} {found.st_ino} {found.st_ctime_ns}"


def state(neighbour: str, others: list[str], before: dict[str, list[str]]) -> dict[str, list[str]]:
    """Every file and directory: what it is, and its times.

    :param before: the same of an earlier look; what has its times is not read again.
    """
    passed_over = of_others(others)
    found = {}
    for top in places(neighbour):
        for path, status in walked(top):
            if not BY_ITSELF.fullmatch(path) and not passed_over.fullmatch(path):
                known, its_times = before.get(path, ("", "")), times(status)
                found[path] = [known[0] if known[1] == its_times else told(path, status), its_times]
    logs = [f"/var/log/nginx/djdeploy-{neighbour}.{kind}.log" for kind in ("access", "error")]
    for path in (*logs, f"/var/lib/djdeploy/{neighbour}/journal.jsonl"):
        status = os.lstat(path)
        found[path] = [f"{status.st_mode:o} {status.st_uid}:{status.st_gid}", ""]
    return found


def main() -> None:
    verb, neighbour, *others = sys.argv[1:]
    before = {}
    if os.path.exists(NOTED):
        with open(NOTED) as file:
            before = json.load(file)
    now = state(neighbour, others, before)
    if verb == "compare":
        absent = ("not there", "")
        for path in sorted({*before, *now}):
            (was, _times), (found, _now) = before.get(path, absent), now.get(path, absent)
            if was != found:
                print(f"{path}: {was} => {found}")
    with open(NOTED, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        json.dump(now, file)


if __name__ == "__main__":
    main()
