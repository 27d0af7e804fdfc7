# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host as root: one function of the engine, again and again, against a process that exchanges names.

    python3 descriptors_races.py OPERATION ROUNDS USER GROUND

Below GROUND, which root owns, lies `tree`, which USER owns and may change, and `canary`, which is root's alone. A
process of USER puts links to the canary in the place of files and directories of the tree all the time. What root did
is told as JSON: how often it went through, how often it refused, how often names were exchanged, and what became of
the canary. `naive` is the operation as a shell script would do it, to show that the other side wins against that.
"""

from __future__ import annotations

import gzip
import json
import os
import pwd
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from djdeploy_engine import beneath, builds, media_access, project, project_files, static_files, tree
from djdeploy_engine.errors import EngineError

SECRET = "canary-7f3b " * 100
OWN = "own text of the site " * 100
# What can be done several times in a round, because the tree stays the site's.
AGAIN = {"naive": 50, "open_uploads": 10, "read": 2, "lay_files": 3, "let_site_read": 5}


def lay(ground: Path, uid: int, closed: bool) -> None:
    """The tree as a build or collectstatic leaves it, in the place of the one before; `closed` to others, or open."""
    fresh, top = ground / "fresh", ground / "tree"
    for name in ("a.css", "media/b.css", "media/node_modules/c.css", "d/e.css"):
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OWN)
    for path in (*fresh.rglob("*"), fresh):
        path.chmod((0o777 if path.is_dir() else 0o666) & (0o700 if closed else 0o777))
        os.chown(path, uid, uid)
    shutil.rmtree(top, ignore_errors=True)
    fresh.rename(top)


def exchange(ground: Path, counter: int) -> None:
    """What the other side does, for ever."""
    targets = [("media", ground / "canary"), ("a.css", ground / "canary/secret"), ("d/e.css", ground / "canary/secret")]
    done = 0
    while True:
        with suppress(OSError):
            os.chdir(ground / "tree")
        for name, target in targets:
            link, other = f"{name}.link", f"{name}.other"
            with suppress(OSError):
                os.symlink(target, link)
            for _time in range(20):
                for before, after in ((name, other), (link, name), (name, link), (other, name)):
                    with suppress(OSError):
                        os.rename(before, after)
                        done += 1
        os.pwrite(counter, str(done).encode(), 0)


def operations(ground: Path, uid: int) -> dict[str, Callable[[], object]]:
    """Name -> what root does once."""
    top = ground / "tree"
    account = SimpleNamespace(pw_uid=uid)

    def naive() -> None:
        place = top / "media"
        if not place.is_symlink():
            os.chown(place, account.pw_uid, account.pw_uid)

    def take_and_compress() -> None:
        beneath.take(top)
        static_files.drop_links(top)
        static_files.finish(top, None)

    def take_environment() -> None:
        beneath.take(top, mode=beneath.plain)
        beneath.write(top / "a.css", b"{}", 0o644)

    def read() -> None:
        seen = project.DirectoryTree(top)
        for path in seen.paths:
            assert "canary" not in seen.read(path)
        assert "canary" not in seen.read("a.css") + seen.read("media/b.css")

    def lay_files() -> None:
        given = {"media/local.py": "text", "media/more/.env": "text", "new/file": "text"}
        project_files.lay(given, project.TextTree({}), top, uid, uid)

    return {
        "naive": naive,
        "open_uploads": lambda: media_access.make(top, ["media", "media/node_modules"], uid, uid),
        "close_rest": lambda: media_access.close_rest(top, ["media/node_modules"], uid),
        "take_and_compress": take_and_compress,
        "take_environment": take_environment,
        "let_site_read": lambda: builds.let_site_read(top, uid),
        "read": read,
        "lay_files": lay_files,
        "dropped": lambda: builds.dropped(top, [], []),
        "remove": lambda: tree.remove_tree(top),
    }


def told(path: Path) -> list[object]:
    """Owner, modes and content of the canary."""
    found = [path, *sorted(path.rglob("*"))]
    return [
        [each.name, each.stat().st_uid, each.stat().st_gid, each.stat().st_mode, each.stat().st_nlink]
        + ([each.read_bytes() == SECRET.encode()] if each.is_file() else [])
        for each in found
    ]


def leaks(top: Path) -> list[str]:
    """Files of the tree in which the canary can be read, compressed ones too; links are not followed."""
    found = []
    for folder, _folders, files in os.walk(top):
        for name in files:
            path = Path(folder, name)
            if path.is_symlink():
                continue
            content = path.read_bytes()
            if name.endswith(".gz"):
                content = gzip.decompress(content)
            if b"canary" in content:
                found.append(str(path))
    return found


def main() -> None:
    operation, rounds, user, ground = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    shutil.rmtree(ground, ignore_errors=True)
    (ground / "canary" / "node_modules").mkdir(parents=True)
    ground.chmod(0o755)
    for path in (ground / "canary/secret", ground / "canary/node_modules/c.css", ground / "canary/b.css"):
        path.write_text(SECRET)
        path.chmod(0o600)
    (ground / "canary").chmod(0o700)
    before = told(ground / "canary")
    closed = operation == "let_site_read"
    lay(ground, uid, closed)
    counter = os.open(ground / "counter", os.O_RDWR | os.O_CREAT, 0o600)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        exchange(ground, counter)
    act = operations(ground, uid)[operation]
    outcome: dict[str, object] = {"done": 0, "refused": 0, "leaks": [], "errors": []}
    try:
        for number in range(rounds):
            os.kill(child, signal.SIGCONT)
            time.sleep(0.001 + number % 7 * 0.0003)  # it meets us at another step each time
            for _time in range(AGAIN.get(operation, 1)):
                try:
                    act()
                    outcome["done"] += 1  # type: ignore[operator]
                except AssertionError:
                    outcome["leaks"] += [operation]  # type: ignore[operator]
                except (OSError, EngineError) as error:
                    outcome["refused"] += 1  # type: ignore[operator]
                    outcome["errors"] = sorted({*outcome["errors"], type(error).__name__})  # type: ignore[misc]
            os.kill(child, signal.SIGSTOP)
            os.waitpid(child, os.WUNTRACED)
            outcome["leaks"] += leaks(ground / "tree")  # type: ignore[operator]
            if told(ground / "canary") != before:
                break
            lay(ground, uid, closed)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    after = told(ground / "canary")
    swapped = int(os.pread(counter, 20, 0) or b"0")
    shutil.rmtree(ground)
    sys.stdout.write(json.dumps({**outcome, "swapped": swapped, "unchanged": after == before, "canary": after}))


if __name__ == "__main__":
    main()
