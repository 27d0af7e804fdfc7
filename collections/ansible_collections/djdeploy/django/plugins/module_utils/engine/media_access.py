# SPDX-License-Identifier: GPL-3.0-or-later
"""What nginx may read of a site's `shared`: its uploads and its `protected_media`, and nothing else.

`shared` can be entered by the site's user and by nginx's group alone, and the processes of a site make files for their
own user and group (UMask=0027). What they make in a directory that has nginx's group and the setgid bit has that group
(inode(7)), so nginx reads it; a database file beside it has the site's.

The deployer may set no setgid bit (RestrictSUIDSGID=), so a unit of root's own does that, when something is not as it
should be: at a site's first deploy, and when MEDIA_ROOT or `protected_media` names another directory.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import secrets
import stat
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from . import beneath, runner
from .errors import EngineError
from .paths import ENGINE_LINK, SitePaths
from .tree import write_file

NGINX_GROUP = "www-data"
OPEN = 0o2750
ON_THE_WAY = 0o710  # what lies between `shared` and a directory that is served: nginx goes through
FOR_OTHERS = 0o007
PRIVATE = 0o1770  # what is left when it is closed: the deployer may set no mode with a setuid or setgid bit
LATE = 3600.0  # seconds to walk the directories of all uploads once
# What the unit may: own and mark directories that a site's user owns. Left out: RestrictSUIDSGID=, which is what it is
# for, and User=, for the same reason.
PROPERTIES = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateMounts=yes",
    "PrivateNetwork=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "RestrictAddressFamilies=AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
)


def below(shared: Path, roots: Iterable[str | Path]) -> list[str]:
    """Those of some absolute paths that lie below `shared`, relative to it; never `shared` itself."""
    found = (Path(os.path.normpath(root)) for root in roots)
    return sorted({str(path.relative_to(shared)) for path in found if shared in path.parents})


# -- looking ---------------------------------------------------------------------------------


def identity(shared: Path, directory: str, uid: int, group: int) -> list[int] | None:
    """Device and inode of a directory that is as it should be, reached through no link; None for any other.

    :param directory: relative to `shared`.
    """
    handle = beneath.open_directory(shared)
    try:
        for part in Path(directory).parts:
            inner = beneath.open_at(handle, part)
            os.close(handle)
            handle = inner
        told = os.fstat(handle)
    except OSError:
        return None
    finally:
        os.close(handle)
    if (told.st_uid, told.st_gid, stat.S_IMODE(told.st_mode)) != (uid, group, OPEN):
        return None
    return [told.st_dev, told.st_ino]


def links_of(release: Path) -> list[str]:
    """Where the uploads of a release are, by the links nginx follows; root's, as the release is."""
    place = release / "uploads"
    found = []
    for folder, names, files in os.walk(place):
        found += [os.readlink(path) for name in (*names, *files) if (path := Path(folder, name)).is_symlink()]
    return found


# -- doing -----------------------------------------------------------------------------------


def open_up(paths: SitePaths, directories: Collection[str], run: runner.Runner = runner.run) -> None:
    """Let nginx read directories below `shared`, and what comes into them.

    Each is walked to its end once: `media_access.json` in the site's state knows which have been.

    :param directories: relative to `shared`.
    :raises EngineError: when something else than a directory is in the way.
    """
    uid, group = pwd.getpwnam(paths.user).pw_uid, grp.getgrnam(NGINX_GROUP).gr_gid
    record = paths.state / "media_access.json"
    try:
        known = dict(json.loads(beneath.read(record)))
    except (OSError, ValueError):
        known = {}
    there = {each: identity(paths.shared, each, uid, group) for each in directories}
    wanted = [each for each in directories if there[each] is None or known.get(each) != there[each]]
    if not wanted:
        return
    answer = run(words(paths, uid, group, wanted), timeout=LATE)
    if answer.returncode:
        raise EngineError(
            f"the uploads of {paths.site} cannot be opened to nginx: {', '.join(wanted)} below {paths.shared}",
            "move away what is there, or name another directory",
            answer.stderr,
        )
    known |= {each: identity(paths.shared, each, uid, group) for each in wanted}
    write_file(record, json.dumps(known) + "\n", 0o600)


def words(paths: SitePaths, uid: int, group: int, directories: Sequence[str]) -> list[str]:
    """The words that run this module as root in a unit of its own."""
    return [
        *("systemd-run", "--pipe", "--wait", "--collect", "--quiet", "--service-type=exec"),
        f"--unit={paths.unit_prefix}.uploads-{secrets.token_hex(6)}.service",
        f"--description=Open the uploads of {paths.site} to nginx",
        *(f"--property={said}" for said in (*PROPERTIES, f"ReadWritePaths={paths.shared}")),
        f"--setenv=PYTHONPATH={ENGINE_LINK}",
        "--",
        *("/usr/bin/python3", "-sP", "-m", __name__, str(paths.shared), str(uid), str(group)),
        *(directory.replace("$", "$$") for directory in directories),
    ]


def make(shared: Path, directories: Collection[str], uid: int, group: int) -> None:
    """Make directories that the site's user writes and nginx reads, and let it read those in them.

    The site's user owns `shared`: so each step is taken from an open directory, and no link of that user is followed.
    Directories that are not that user's are left alone; of files, nginx's group comes by what they are made in.
    Those on the way to one can be gone through, not read.

    :param group: of nginx.
    :raises OSError: where something else than a directory is in the way.
    :raises EngineError: when they are too deep.
    """
    for directory in directories:
        handle, here = beneath.open_directory(shared), Path()
        try:
            for part in Path(directory).parts:
                here /= part
                inner = beneath.directory_at(handle, part, ON_THE_WAY, uid, group, only_new=True)
                os.close(handle)
                handle = inner
                before = os.fstat(handle)
                if before.st_uid != uid:
                    raise EngineError(
                        f"{shared / here} belongs to the user {before.st_uid}, so it is not opened to nginx",
                        "give it to the site's user (chown), or name another directory",
                    )
                by_another_name = (before.st_gid, stat.S_IMODE(before.st_mode)) == (group, OPEN)
                served = by_another_name or is_served(here, directories)
                beneath.own(handle, uid, group, OPEN if served else ON_THE_WAY)
            for folder in beneath.walk(handle):
                told = os.fstat(folder.handle)
                if folder.path and told.st_uid == uid:
                    beneath.own(folder.handle, -1, group, stat.S_IMODE(told.st_mode) | 0o2050)
        finally:
            os.close(handle)


def is_served(place: Path, directories: Iterable[str]) -> bool:
    """Whether a directory is one of some, or in one of them."""
    return any(place == Path(each) or Path(each) in place.parents for each in directories)


def close_rest(shared: Path, served: Collection[str], uid: int) -> list[str]:
    """Take from others what they may do with what lies in `shared` and is not served: a database file above all.

    nginx may enter `shared` and what lies on the way to what is served, so a file there that everybody may read would
    be one that it may. Of a file with a second name nobody knows what else it is, so it is left.

    :param served: directories that nginx reads, relative to `shared`.
    :returns: what was closed, relative to `shared`.
    """
    with beneath.opened(shared) as handle:
        return _close_in(handle, Path(), served, uid)


def _close_in(handle: int, here: Path, served: Collection[str], uid: int) -> list[str]:
    closed, found = [], beneath.look(handle, str(here))
    files = (name for name, told in found.others.items() if stat.S_ISREG(told.st_mode))
    for name in sorted([*found.folders, *files]):
        place = here / name
        if is_served(place, served):
            continue
        try:
            inner = (beneath.open_at if name in found.folders else beneath.open_file)(handle, name)
        except (OSError, EngineError):
            continue  # it is gone or another thing by now, or somebody else's with a second name
        try:
            told = os.fstat(inner)
            if any(place in Path(each).parents for each in served):
                if stat.S_ISDIR(told.st_mode):
                    closed += _close_in(inner, place, served, uid)
                continue
            is_file = stat.S_ISREG(told.st_mode) and told.st_nlink == 1
            if told.st_uid == uid and told.st_mode & FOR_OTHERS and (is_file or stat.S_ISDIR(told.st_mode)):
                os.fchmod(inner, stat.S_IMODE(told.st_mode) & PRIVATE)
                closed.append(str(place))
        finally:
            os.close(inner)
    return closed


def settle(paths: SitePaths, uploads: Iterable[str], protected: Collection[str], live: Path | None) -> list[str]:
    """Let nginx read what a release serves of `shared`, and nothing else of it.

    :param uploads: absolute paths of the release's uploads.
    :param protected: directories of `protected_media`, relative to `shared`.
    :param live: the release that serves meanwhile; what it serves stays open.
    :returns: what is to be told: uploads behind a link, which an operator made, go on as they were.
    :raises EngineError: as `open_up`, for protected files.
    """
    found, told = below(paths.shared, uploads), []
    open_up(paths, protected)
    try:
        open_up(paths, found)
    except EngineError as error:
        told.append(f"warning: {error.message}; what others may not read of it is not served")
    wanted = [*found, *protected]
    served = [*wanted, *below(paths.shared, links_of(live) if live else ())]
    close_rest(paths.shared, {"media", *served}, pwd.getpwnam(paths.user).pw_uid)
    return told


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]), sys.argv[4:], int(sys.argv[2]), int(sys.argv[3]))
    except OSError as trouble:
        raise SystemExit(f"{trouble.filename}: {trouble.strerror}") from trouble
    except EngineError as trouble:
        raise SystemExit(trouble.message) from trouble
