# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, directories and links as they should be: one plan for all of them, carried out as planned.

`plan` compares, `apply` does exactly what the plan says and `diff` shows it, so what check mode
promises is what a run does.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..engine.errors import EngineError
from ..engine.runner import Runner

STATES = ("file", "directory", "link", "absent", "log")
ROTATED = re.compile(r"(\.\d+|-\d{8})(\.(gz|xz|zst))?")  # how logrotate(8) calls a log afterwards


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
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Found()
    kind, text, target = "other", b"", ""
    if stat.S_ISREG(status.st_mode):
        kind, text = "file", Path(path).read_bytes() if content else b""
    elif stat.S_ISDIR(status.st_mode):
        kind = "directory"
    elif stat.S_ISLNK(status.st_mode):
        kind, target = "link", os.readlink(path)
    return Found(kind, text, target, owner_name(status.st_uid), group_name(status.st_gid), stat.S_IMODE(status.st_mode))


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

    :raises EngineError: when the owner does not exist or the system refuses.
    """
    try:
        if wanted.state == "absent":
            os.unlink(wanted.dest)
        elif wanted.state == "link":
            replace_with_link(wanted.dest, wanted.target)
        elif wanted.state == "directory" or not {"kind", "content"} & set(differs):
            if wanted.state == "directory" and "kind" in differs:
                if os.path.islink(wanted.dest) or os.path.isfile(wanted.dest):
                    os.unlink(wanted.dest)
                os.mkdir(wanted.dest, 0o700)
            set_access(wanted.dest, wanted)
        else:
            write(wanted, wanted.content.encode())
    except OSError as error:
        raise EngineError(f"cannot write {wanted.dest}: {error.strerror or error}") from error


def write(wanted: Wanted, content: bytes) -> None:
    """Replace a file as a whole; owner and permissions are right before anyone can open it."""
    descriptor, temporary = tempfile.mkstemp(prefix=".djdeploy-", dir=os.path.dirname(wanted.dest))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        set_access(temporary, wanted)
        os.replace(temporary, wanted.dest)
    except BaseException:
        os.unlink(temporary)
        raise


def replace_with_link(path: str, target: str) -> None:
    """Point `path` at `target` by rename(2): nobody ever sees it missing."""
    temporary = f"{path}.djdeploy-new"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)


def set_access(path: str, wanted: Wanted) -> None:
    """Set owner, group and permission bits.

    :raises EngineError: when the user or the group does not exist.
    """
    try:
        uid, gid = pwd.getpwnam(wanted.owner).pw_uid, grp.getgrnam(wanted.group).gr_gid
    except KeyError:
        raise EngineError(
            f"{wanted.dest} should belong to {wanted.owner}:{wanted.group}, which does not exist on this host",
            "run site.yml without --tags or --start-at-task: it creates the accounts first",
        ) from None
    status = os.stat(path)
    if (status.st_uid, status.st_gid) != (uid, gid):
        os.chown(path, uid, gid)
    os.chmod(path, wanted.mode)


def restore(change: Change) -> None:
    """Put back what was there before a change."""
    found, dest = change.found, change.wanted.dest
    if found.kind == "absent":
        if change.wanted.state == "directory":
            os.rmdir(dest)
        else:
            os.unlink(dest)
    elif found.kind == "link":
        replace_with_link(dest, found.target)
    else:
        before = Wanted(dest, found.kind, "", "", found.owner, found.group, found.mode)
        if found.kind == "file" and change.wanted.state != "log":
            write(before, found.content)
        else:
            set_access(dest, before)


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
