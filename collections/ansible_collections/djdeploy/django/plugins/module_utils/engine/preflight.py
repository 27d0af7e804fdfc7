# SPDX-License-Identifier: GPL-3.0-or-later
"""Is there room for a release? Asked before one is made: a disk that runs full hurts what is live, too.

What the live release takes is the best guess for the next one. Nothing is known before the first; then
only the reserve counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import beneath, units
from .errors import EngineError
from .events import Progress
from .releases import current_id
from .sites import Site
from .tree import keep_reserve

MIB = 1 << 20
RESERVE_BYTES, RESERVE_INODES = 64 * MIB, 1000  # left over for uploads, the repository, and a database on the same disk
STATE_BYTES, STATE_INODES = MIB, 16  # the journal of a deploy and what is written beside it

# How the programs that make a release say it: C library, Python, uv, PostgreSQL's client.
NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|\bos error (?:28|122)\b|\bErrno (?:28|122)\b")


@dataclass(frozen=True)
class Room:
    """What is free on the file system of a path.

    :param inodes: None where the file system counts none (btrfs).
    :param device: the file system's number; paths of the same one share its room.
    """

    bytes: int
    inodes: int | None
    device: int

    def __str__(self) -> str:
        return amount(self.bytes, self.inodes)


@dataclass(frozen=True)
class Need:
    """Room that is going to be taken below a path."""

    path: Path
    bytes: int
    inodes: int


def amount(size: int, inodes: int | None) -> str:
    """`12 MiB and 340 inodes`."""
    told = f"{size / MIB:.0f} MiB" if size >= 10 * MIB else f"{size / MIB:.1f} MiB"
    return told if inodes is None else f"{told} and {inodes} inodes"


def shortage(needs: Sequence[Need], rooms: Mapping[Path, Room]) -> str:
    """What is missing where, as one sentence; empty when there is room for everything together.

    :param rooms: path of each need -> its room.
    """
    for device in dict.fromkeys(rooms[need.path].device for need in needs):
        together = [need for need in needs if rooms[need.path].device == device]
        size, inodes = sum(need.bytes for need in together), sum(need.inodes for need in together)
        room = rooms[together[0].path]
        if size > room.bytes or inodes > (inodes if room.inodes is None else room.inodes):
            wanted = amount(size, None if room.inodes is None else inodes)
            return f"{' and '.join(str(need.path) for need in together)}: needed {wanted}, free {room}"
    return ""


def tight_memory(available: int, used: int | None) -> str:
    """A warning, where the live release and the next one will hardly fit beside each other.

    Never more than a warning: workers share memory, caches give way, and if it was not enough the release that is
    not proven yet is the first the kernel ends.

    :param available: bytes the kernel could still give (MemAvailable and free swap).
    :param used: bytes the live release uses now; None when that is not known.
    """
    if used is None or used <= available:
        return ""
    return (
        f"memory is tight: the live release uses {used / MIB:.0f} MiB, {available / MIB:.0f} MiB are available, "
        "and both run for a moment; lower web.workers, or give the host memory"
    )


def available_memory(meminfo: str) -> int:
    """Bytes that new processes could have, read from /proc/meminfo (proc_meminfo(5))."""
    found = {name: int(kib) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE)}
    return (found.get("MemAvailable", 0) + found.get("SwapFree", 0)) << 10


def taken(roots: Iterable[Path]) -> tuple[int, int]:
    """Bytes and inodes that directories take, without what their links point at; what cannot be walked counts less."""
    size = inodes = 0
    for root in roots:
        with suppress(FileNotFoundError, NotADirectoryError, EngineError), beneath.opened(root) as top:
            for folder in beneath.walk(top):
                found = [os.fstat(folder.handle), *folder.others.values()]
                size += sum(told.st_blocks for told in found) * 512
                inodes += len(found)
    return size, inodes


def room(path: Path) -> Room:
    """What is free for users other than root, who build the release."""
    found = os.statvfs(path)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None, path.stat().st_dev)


def missing(needs: Sequence[Need]) -> str:
    """What is short now; empty when nothing is."""
    return shortage(needs, {need.path: room(need.path) for need in needs})


def require(site: Site, needs: Sequence[Need]) -> None:
    """:raises EngineError: when the disk has not the room."""
    said = missing(needs)
    if said:
        raise EngineError(f"not enough room on {said}", cure(site))


def release_needs(site: Site, live: str | None) -> list[Need]:
    """Room for another release like the live one, and for its journal."""
    size, inodes = taken([site.paths.release(live).root]) if live else (0, 0)
    release = Need(site.paths.releases, size + RESERVE_BYTES, inodes + RESERVE_INODES)
    return [release, Need(site.paths.state, STATE_BYTES, STATE_INODES)]


def cure(site: Site) -> str:
    return (
        f"make room (df -h {site.paths.root}; df -i {site.paths.root}), or lower keep_releases of {site.name} "
        f"({site.config['keep_releases']} now), then do it again"
    )


def before_release(site: Site, progress: Progress) -> None:
    """Look before the first file of a release is written; a second look, at memory, only warns.

    :raises EngineError: when the disk has not the room for another release like the live one.
    """
    live = current_id(site.name)
    require(site, release_needs(site, live))
    keep_reserve(site.paths.reserve)
    if live:
        available = available_memory(Path("/proc/meminfo").read_text())
        warning = tight_memory(available, units.memory(site.paths, site.paths.release(live).service_unit))
        if warning:
            progress.say(f"warning: {warning}")


def before_environment(site: Site) -> None:
    """Look before a virtualenv is built; most releases need no new one.

    :raises EngineError: when the disk has not the room for another one like that of the live release.
    """
    live = current_id(site.name)
    if live:
        size, inodes = taken([site.paths.release(live).environment.resolve()])
        require(site, [Need(site.paths.environments, size + RESERVE_BYTES, inodes + RESERVE_INODES)])


def full_disk(site: Site, error: BaseException) -> EngineError | None:
    """The one cause behind what many programs say in many words; None when it was something else.

    Asked before what was half made is removed, which makes room again.
    """
    said = [str(error), getattr(error, "detail", ""), getattr(error, "stderr", "")]
    if not NO_ROOM.search("\n".join(said)):
        return None
    size, inodes = taken([site.paths.releases, site.paths.environments])
    return EngineError(
        f"the disk is full: {site.paths.root}: free {room(site.paths.root)}, "
        f"the releases and virtualenvs of {site.name} take {amount(size, inodes)}",
        cure(site),
        "\n".join(filter(None, said)),
    )
