# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, directories and links as they should be: one plan for all of them, carried out as planned.

`plan` compares, `apply` does exactly what the plan says and `diff` shows it, so what check mode
promises is what a run does.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ..engine import beneath
from ..engine.errors import EngineError
from ..engine.runner import Runner

STATES = ("file", "directory", "link", "absent", "log")
ROTATED = re.compile(r"(\.\d+|-\d{8})(\.(gz|xz|zst))?")  # how logrotate(8) calls a log afterwards
EXCHANGED = 1000  # times something may be put in the place of a directory, each some microseconds after we looked


@dataclass(frozen=True)
class Wanted:
    """How one path should be.

    :param dest: absolute path.
    :param state: one of `STATES`. A log is a file that others write: it is made if it is missing, with its owner and
        mode, and what is in it is neither read nor changed.
    :param content: what a file holds.
    :param target: where a link points; not resolved.
    :param mode: permission bits of a file or directory.
    """

    dest: str
    state: str = "file"
    content: str = ""
    target: str = ""
    owner: str = "root"
    group: str = "root"
    mode: int = 0o644


@dataclass(frozen=True)
class Found:
    """How one path is; a link is described itself, never what it points at.

    :param kind: "file", "directory", "link", "absent" or "other" (a socket, a device).
    """

    kind: str = "absent"
    content: bytes = b""
    target: str = ""
    owner: str = ""
    group: str = ""
    mode: int = 0


@dataclass(frozen=True)
class Change:
    """One path that has to change, and in what: of kind, content, target, owner, group, mode."""

    wanted: Wanted
    found: Found
    differs: tuple[str, ...]


def owner_name(uid: int) -> str:
    """The name of a user, or its number as text when no account has it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or its number as text when no group has it."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def kind_of(state: str) -> str:
    """What a path of this state is on the disk."""
    return "file" if state == "log" else state


def with_rotated(wanted: Wanted) -> list[Wanted]:
    """A log and what was rotated away from it: that was made with the mode of its day, and is as private."""
    if wanted.state != "log":
        return [wanted]
    folder, name = os.path.split(wanted.dest)
    try:
        present = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        present = []
    earlier = [each for each in present if each.startswith(name) and ROTATED.fullmatch(each[len(name) :])]
    return [wanted, *(replace(wanted, dest=os.path.join(folder, each)) for each in earlier)]


def look(path: str, *, content: bool = True) -> Found:
    """Describe what is at `path` now.

    :param content: whether to read what is in a file.
    :raises EngineError: when a link on the way may be somebody else's than root's.
    """
    for again in reversed(range(EXCHANGED)):
        try:
            with beneath.parent(path) as (handle, name):
                return look_at(handle, name, content=content)
        except (FileNotFoundError, NotADirectoryError):
            return Found()
        except OSError as error:
            # It was another thing a moment ago: no link any more (readlink(2)), no file, or a link by now.
            if error.errno not in {*beneath.IS_LINK, errno.EINVAL, errno.EISDIR} or not again:
                raise cannot("read", path, error) from error
    return Found()


def look_at(handle: int, name: str, *, content: bool) -> Found:
    """The same in an open directory.

    :raises OSError: also when it becomes another thing meanwhile.
    """
    status = os.stat(name, dir_fd=handle, follow_symlinks=False)
    kind, text, target = "other", b"", ""
    if stat.S_ISREG(status.st_mode):
        kind, text = "file", beneath.read_at(handle, name) if content else b""
    elif stat.S_ISDIR(status.st_mode):
        kind = "directory"
    elif stat.S_ISLNK(status.st_mode):
        kind, target = "link", os.readlink(name, dir_fd=handle)
    return Found(kind, text, target, owner_name(status.st_uid), group_name(status.st_gid), stat.S_IMODE(status.st_mode))


def cannot(do: str, path: str, error: OSError) -> EngineError:
    return EngineError(
        f"cannot {do} {path}: {error.strerror or error}", "look at it on the host (ls -ld), and run site.yml again"
    )


def differences(wanted: Wanted, found: Found) -> tuple[str, ...]:
    """Name what of `found` is not as `wanted`; nothing when all is.

    :raises EngineError: when getting there would delete something nobody asked to delete.
    """
    if kind_of(wanted.state) != found.kind:
        if found.kind in ("directory", "other"):
            raise EngineError(
                f"{wanted.dest} is a {found.kind if found.kind == 'directory' else 'special file'},"
                f" but should be {kind_of(wanted.state)}",
                f"look at it on the host; when nobody needs it, move {wanted.dest} away and run site.yml again",
            )
        return ("kind",)
    if wanted.state == "absent":
        return ()
    if wanted.state == "link":
        return ("target",) if wanted.target != found.target else ()
    pairs: dict[str, tuple[object, object]] = {
        "owner": (wanted.owner, found.owner),
        "group": (wanted.group, found.group),
        "mode": (wanted.mode, found.mode),
    }
    if wanted.state == "file":
        pairs = {"content": (wanted.content.encode(), found.content), **pairs}
    return tuple(name for name, (want, have) in pairs.items() if want != have)


def plan(wanted: Iterable[Wanted], found: Mapping[str, Found]) -> list[Change]:
    """Name every path that is not as wanted, in the order given.

    :param found: path -> what is there now; a missing entry is an absent path.
    :raises EngineError: when a path is wanted in two ways, or see `differences`.
    """
    changes: list[Change] = []
    seen: dict[str, Wanted] = {}
    for item in wanted:
        if item.dest in seen:
            if seen[item.dest] != item:
                raise EngineError(f"{item.dest} is described in two ways", "mend the task that lists it")
            continue
        seen[item.dest] = item
        present = found.get(item.dest, Found())
        differs = differences(item, present)
        if differs:
            changes.append(Change(item, present, differs))
    return changes


def apply(changes: Sequence[Change], run: Runner, validate: Sequence[str] = ()) -> None:
    """Carry out a plan; all of it, or, when `validate` refuses the result, nothing of it.

    :param validate: a program and its arguments that looks at the files in their places (`nginx -t`).
    :raises EngineError: when a path cannot be written or `validate` fails.
    """
    done: list[Change] = []
    try:
        for change in changes:
            put(change.wanted, change.differs)
            done.append(change)
        if validate and changes:
            completed = run(validate)
            if completed.returncode != 0:
                raise EngineError(
                    f"{' '.join(validate)} refuses the new files, so the ones from before were put back",
                    f"mend what they are made from: {', '.join(change.wanted.dest for change in changes)}",
                    completed.stderr + completed.stdout,
                )
    except EngineError:
        for change in reversed(done):
            restore(change)
        raise


def put(wanted: Wanted, differs: Sequence[str]) -> None:
    """Make one path as wanted. A file appears whole or not at all.

    Who may write the directory may exchange what is in it at any moment, so what was planned for is looked at again.

    :raises EngineError: when the owner does not exist or the system refuses.
    """
    try:
        if wanted.state == "absent":
            beneath.unlink(wanted.dest)
        elif wanted.state == "link":
            beneath.replace_by_link(wanted.dest, wanted.target)
        elif wanted.state == "directory":
            make_directory(wanted)
        elif {"kind", "content"} & set(differs):
            write(wanted, wanted.content.encode())
        else:
            set_access(wanted)
    except OSError as error:
        raise cannot("write", wanted.dest, error) from error


def write(wanted: Wanted, content: bytes) -> None:
    """Replace a file as a whole; owner and permissions are right before anyone can open it.

    :raises EngineError: when the user or the group does not exist.
    """
    beneath.write(wanted.dest, content, wanted.mode, *ids(wanted), sync=True)


def make_directory(wanted: Wanted) -> None:
    """Make a directory, or set owner and permissions of the one that is there; a file or link in its place goes.

    :raises EngineError: when the user or the group does not exist, or something else is put in its place all the time.
    """
    uid, gid = ids(wanted)
    with beneath.parent(wanted.dest) as (handle, name):
        for _time in range(EXCHANGED):
            try:
                os.close(beneath.directory_at(handle, name, wanted.mode, uid, gid))
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in beneath.IS_LINK:
                    raise
            else:
                return
            with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                os.unlink(name, dir_fd=handle)
    raise EngineError(
        f"{wanted.dest} cannot be made a directory: something else is put in its place again and again",
        f"end what does that (its directory belongs to {wanted.owner}), and run site.yml again",
    )


def ids(wanted: Wanted) -> tuple[int, int]:
    """Owner and group as numbers.

    :raises EngineError: when one of them does not exist.
    """
    try:
        return pwd.getpwnam(wanted.owner).pw_uid, grp.getgrnam(wanted.group).gr_gid
    except KeyError:
        raise EngineError(
            f"{wanted.dest} should belong to {wanted.owner}:{wanted.group}, which does not exist on this host",
            "run site.yml without --tags or --start-at-task: it creates the accounts first",
        ) from None


def set_access(wanted: Wanted) -> None:
    """Set owner, group and permission bits of a file.

    :raises EngineError: when the user or the group does not exist.
    """
    uid, gid = ids(wanted)
    with beneath.parent(wanted.dest) as (handle, name):
        descriptor = beneath.open_file(handle, name)
        try:
            beneath.own(descriptor, uid, gid, wanted.mode)
        finally:
            os.close(descriptor)


def restore(change: Change) -> None:
    """Put back what was there before a change."""
    found, dest = change.found, change.wanted.dest
    if change.wanted.state == "directory" and found.kind != "directory":
        with beneath.parent(dest) as (handle, name):
            os.rmdir(name, dir_fd=handle)
    if found.kind == "absent":
        beneath.unlink(dest)
    elif found.kind == "link":
        beneath.replace_by_link(dest, found.target)
    else:
        before = Wanted(dest, found.kind, "", "", found.owner, found.group, found.mode)
        if found.kind == "directory":
            make_directory(before)
        elif {"kind", "content"} & set(change.differs):
            write(before, found.content)
        else:
            set_access(before)


def described(kind: str, owner: str, group: str, mode: int) -> str:
    return "absent" if kind == "absent" else f"{kind}, {mode:04o} {owner}:{group}"


def diff(change: Change) -> dict[str, str]:
    """One change as Ansible shows a difference."""
    wanted, found = change.wanted, change.found
    before = described(found.kind, found.owner, found.group, found.mode)
    after = described(kind_of(wanted.state), wanted.owner, wanted.group, wanted.mode)
    texts = {"before": "", "after": ""}
    if "file" in (wanted.state, found.kind) and {"kind", "content"} & set(change.differs):
        texts["before"] = found.content.decode(errors="replace")
        texts["after"] = wanted.content if wanted.state == "file" else ""
        if found.kind == wanted.state and {"owner", "group", "mode"}.isdisjoint(change.differs):
            return {**texts, "before_header": wanted.dest, "after_header": wanted.dest}
    elif wanted.state == "link" or found.kind == "link":
        texts["before"] = f"link to {found.target}\n" if found.kind == "link" else f"{found.kind}\n"
        texts["after"] = f"link to {wanted.target}\n" if wanted.state == "link" else f"{wanted.state}\n"
        return {**texts, "before_header": wanted.dest, "after_header": wanted.dest}
    else:
        texts = {"before": before + "\n", "after": after + "\n"}
    return {
        **texts,
        "before_header": f"{wanted.dest} ({before})",
        "after_header": f"{wanted.dest} ({after})",
    }
