# SPDX-License-Identifier: GPL-3.0-or-later
"""Small things done to directories and links of a site, each so that a crash leaves the old or the new."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from . import beneath

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # no byte, no inode, or a quota at its end
RESERVE = 1 << 20  # bytes; one inode comes with them
GONE = ".gone"  # ends the name of what is being removed


def point(link: Path, target: str) -> None:
    """Make `link` a symlink to `target` by rename(2): whoever looks sees the old one or the new one.

    The directory is flushed to disk, so that a power cut does not bring the old pointer back.
    """
    aside = link.with_name(f".{link.name}.new")
    aside.unlink(missing_ok=True)
    even_when_full(link.with_name(".reserve"), lambda: aside.symlink_to(target))
    os.rename(aside, link)
    flush_directory(link.parent)


def keep_reserve(path: Path) -> None:
    """Set a file aside that can be given up, so that a full disk can still be gone back on.

    :raises OSError: when there is no room for it.
    """
    if path.exists():
        return
    aside = path.with_name(f"{path.name}.new")
    try:
        with open(aside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE)
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)


def even_when_full(reserve: Path, act: Callable[[], object]) -> None:
    """Do something small; where the disk has no room for it, give up the reserve and do it again.

    :param act: may be done twice.
    :raises OSError: when that was not enough, or no reserve is left.
    """
    try:
        act()
    except OSError as error:
        if error.errno not in FULL or not reserve.exists():
            raise
        reserve.unlink()
        act()


def flush_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path, mode: int, uid: int = 0, gid: int = 0) -> None:
    beneath.make_directory(path, mode, uid, gid)


def write_file(path: Path, text: str, mode: int, gid: int = 0) -> None:
    beneath.write(path, text.encode(errors="surrogateescape"), mode, 0, gid)


def remove_tree(path: Path) -> None:
    """Remove a directory: first its name, then what is in it, so that a half of it is never taken for the whole."""
    if not path.is_dir() or path.is_symlink():
        return
    gone = path.with_name(f".{path.name}{GONE}")
    beneath.remove(gone)
    try:
        beneath.rename(path, gone.name)
    except OSError as error:
        if error.errno not in FULL:
            raise
        gone = path
    beneath.remove(gone)


def keep_links(source: Path, kept: Path) -> int:
    """Hard-link the files of `source` into `kept`, replacing those of the same name.

    Of a link, what it leads to within `source`: among the files of other releases it could lead elsewhere, out of both.

    :returns: how many files are new there.
    """
    added, aside, real = 0, kept / ".new", os.path.realpath(source)
    aside.unlink(missing_ok=True)
    for folder, _folders, files in os.walk(source):
        place = kept / Path(folder).relative_to(source)
        if place.is_symlink() or place.is_file():
            place.unlink()
        if not place.is_dir():
            beneath.make_directory(place, 0o755, -1, -1, parents=True)  # nginx's to read, whatever our umask
        for name in files:
            origin, link = Path(folder, name), place / name
            if origin.is_symlink():
                origin = Path(os.path.realpath(origin))
                if not origin.is_relative_to(real) or not origin.is_file():
                    continue
            if os.path.lexists(link):
                if link.lstat().st_ino == origin.lstat().st_ino:
                    continue
                remove_tree(link)
            # Aside, then rename: what earlier pages still ask for is never missing, on a full disk neither.
            os.link(origin, aside)
            os.rename(aside, link)
            added += 1
    return added


def drop_last_links(kept: Path, after: float) -> int:
    """Remove files that no release holds any more: their link count tells.

    :param after: seconds a file stays when its last release is gone, whose removal set its ctime (inode(7)).
    :returns: how many went.
    """
    dropped, end = 0, time.time() - after
    for folder, directories, files in os.walk(kept, topdown=False):
        for name in files:
            path = Path(folder, name)
            status = path.lstat()
            if status.st_nlink == 1 and status.st_ctime <= end:
                path.unlink()
                dropped += 1
        for name in directories:
            try:
                Path(folder, name).rmdir()
            except OSError:
                pass  # not empty: a release still has files there
    return dropped
