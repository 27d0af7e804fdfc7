# SPDX-License-Identifier: GPL-3.0-or-later
"""Root's file work below directories that somebody else can write: by descriptors, never by a name alone.

Between a look at a path and what is then done to it, whoever may write one of its directories can put a link in the
place of a part of it (path_resolution(7), symlink(7)). So here each part of a path is opened by itself, from the root
of the file system down and without following links, and what is done is done to what was opened. Three rules:

- A link is followed only where root alone can have made it: it belongs to root, and so does the directory it lies in,
  which nobody else may write. `open_inside` follows links of a project's tree, as long as they stay in the tree.
- A new file is new (O_EXCL), gets its owner and mode before it has its name, and then takes the name by rename(2).
- A tree that root takes over is taken from the top: once a directory belongs to root, nobody exchanges a name in it.
  A file of it with several names is replaced by a copy, for the other name may lie where its owner can write; one that
  belonged to somebody else is refused (proc_sys_fs(5), protected_hardlinks, keeps users from making such ones).

openat2(2) with RESOLVE_BENEATH would do less of this: Python has no name for it, and the kernel of Debian's oldest
supported host has it only where no seccomp filter of a container stands in the way.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO

from .errors import EngineError

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # on the way: asks for no permission to read
# A pipe in the place of a file must not make us wait for somebody to write to it.
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
IS_LINK = frozenset({errno.ELOOP, errno.ENOTDIR})  # what open(2) says of a link; of another thing, too
LINKS = 40  # in one path, as the kernel has it (path_resolution(7))
DEEPEST = 200  # directories in one another; each takes a descriptor, and a service has 1024 of them
OTHERS_WRITE = 0o022


class Outside(OSError):
    """A link that leads out of the tree it lies in; its number is the one openat2(2) would give."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EXDEV, "it leads out of its tree", path)


# --- opening ------------------------------------------------------------------------------------------


def open_directory(path: str | Path, *, start: int | None = None, step: bool = False) -> int:
    """Open a directory part by part.

    :param path: absolute, unless `start` is given.
    :param step: whether what is in it need not be listed.
    :param start: a descriptor it is relative to; stays open.
    :returns: a descriptor, the caller's to close.
    :raises OSError: when it is not there, or something else is in the way.
    :raises EngineError: for a link that somebody else than root may have made.
    """
    text = os.fspath(path)
    if start is None:
        handle, text = os.open("/", STEP), os.path.join(os.getcwd(), text)
    else:
        handle = os.dup(start)
    left, links = text.split("/")[::-1], 0
    try:
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            try:
                inner = os.open(name, STEP, dir_fd=handle)
            except OSError as error:
                if error.errno not in IS_LINK:
                    error.filename = text
                    raise
                links += 1
                target = target_of_roots_link(handle, name, text)
                if links > LINKS:
                    raise OSError(errno.ELOOP, "too many links", text) from None
                inner = os.open("/", STEP) if target.startswith("/") else os.dup(handle)
                left.extend(target.split("/")[::-1])
            os.close(handle)
            handle = inner
        if not step:
            inner = os.open(".", DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = inner
    except BaseException:
        os.close(handle)
        raise
    return handle


def target_of_roots_link(handle: int, name: str, path: str) -> str:
    """Where a link leads that only root can have made.

    :param path: for the message.
    :raises NotADirectoryError: when it is no link.
    :raises EngineError: when it may be somebody else's.
    """
    told = os.stat(name, dir_fd=handle, follow_symlinks=False)
    if not stat.S_ISLNK(told.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    folder, ours = os.fstat(handle), {0, os.geteuid()}
    if told.st_uid not in ours or folder.st_uid not in ours or folder.st_mode & OTHERS_WRITE:
        raise EngineError(
            f"{name!r} in {path} is a link that root does not follow: somebody else may have made it",
            f"look at it (ls -ld {path}), and put a directory or file in its place",
        )
    return os.readlink(name, dir_fd=handle)


def open_at(handle: int, name: str) -> int:
    """Open a directory in an open one; no link is followed.

    :raises OSError: when something else has the name.
    """
    return os.open(name, DIRECTORY, dir_fd=handle)


@contextmanager
def opened(path: str | Path, *, start: int | None = None) -> Iterator[int]:
    """`open_directory` for the time of the body."""
    handle = open_directory(path, start=start)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def parent(path: str | Path) -> Iterator[tuple[int, str]]:
    """The directory of an absolute path, open for the time of the body, and the last name."""
    folder, name = os.path.split(os.fspath(path))
    handle = open_directory(folder, step=True)
    try:
        yield handle, name
    finally:
        os.close(handle)


def open_file(handle: int, name: str) -> int:
    """Open a regular file in an open directory.

    :raises OSError: when it is a link, or anything else that is no file.
    :raises EngineError: when it has further names and is not of whom the directory is.
    """
    descriptor = os.open(name, FILE, dir_fd=handle)
    try:
        told = os.fstat(descriptor)
        if not stat.S_ISREG(told.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", name)
        if told.st_nlink > 1 and told.st_uid != os.fstat(handle).st_uid:
            raise second_name(name)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def second_name(path: str) -> EngineError:
    return EngineError(
        f"{path} has a second name (a hard link) and belongs to somebody else",
        "see that sysctl fs.protected_hardlinks is 1 on this host, and do it again",
    )


def open_inside(top: int, path: str, *, root: str | Path | None = None) -> int:
    """Open a regular file of a tree; its links are followed as long as they stay in the tree.

    :param top: the open directory of the tree.
    :param path: relative to it.
    :param root: the absolute path by which links of the tree may lead into it; without one, none may be absolute.
    :raises Outside: when a link leads out.
    :raises OSError: when there is no such file.
    """
    handles, left, links = [os.dup(top)], path.split("/")[::-1], 0
    try:
        while left:
            name = left.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(handles) == 1:
                    raise Outside(path)
                os.close(handles.pop())
                continue
            try:
                if not left:
                    return open_file(handles[-1], name)
                handles.append(os.open(name, DIRECTORY, dir_fd=handles[-1]))
            except OSError as error:
                if error.errno not in IS_LINK:
                    raise
                try:
                    target = os.readlink(name, dir_fd=handles[-1])
                except OSError:
                    raise error from None  # it is no link
                links += 1
                if links > LINKS:
                    raise OSError(errno.ELOOP, "too many links", path) from None
                if target.startswith("/"):
                    if root is None or not f"{target}/".startswith(f"{root}/"):
                        raise Outside(path) from None
                    target = target.removeprefix(str(root))
                    while len(handles) > 1:
                        os.close(handles.pop())
                left.extend(target.split("/")[::-1])
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    finally:
        for handle in handles:
            os.close(handle)


# --- reading ------------------------------------------------------------------------------------------


@contextmanager
def reading(path: str | Path) -> Iterator[BufferedReader]:
    """A file, open for reading; `open_file` says what is refused."""
    with parent(path) as (handle, name):
        descriptor = open_file(handle, name)
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read(path: str | Path, limit: int = -1) -> bytes:
    """What a file holds.

    :param limit: bytes read at most.
    """
    with reading(path) as file:
        return file.read(limit)


def read_at(handle: int, name: str, limit: int = -1) -> bytes:
    """The same of a file in an open directory."""
    with os.fdopen(open_file(handle, name), "rb") as file:
        return file.read(limit)


def read_inside(top: int, path: str, limit: int = -1) -> bytes:
    """The same of a file of a tree, as `open_inside` opens it."""
    with os.fdopen(open_inside(top, path), "rb") as file:
        return file.read(limit)


def same(one: tuple[int, str], other: tuple[int, str]) -> bool:
    """Whether two files, each named by its open directory and its name, hold the same."""
    with os.fdopen(open_file(*one), "rb") as first, os.fdopen(open_file(*other), "rb") as second:
        if os.path.sameopenfile(first.fileno(), second.fileno()):
            return True
        while True:
            part = first.read(1 << 16)
            if part != second.read(1 << 16):
                return False
            if not part:
                return True


@dataclass(frozen=True)
class Folder:
    """One directory of a walk.

    :param path: relative to where the walk began; empty for the top.
    :param handle: open until the walk goes on.
    :param folders: names of directories in it; what is taken out is not walked.
    :param others: name -> status of everything else, links too, which are not followed.
    """

    path: str
    handle: int
    folders: list[str]
    others: dict[str, os.stat_result]

    def inner(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


def look(handle: int, path: str) -> Folder:
    """What is in an open directory."""
    folders, others = [], {}
    with os.scandir(handle) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
                continue
            with suppress(FileNotFoundError):
                others[entry.name] = entry.stat(follow_symlinks=False)
    return Folder(path, handle, sorted(folders), others)


@contextmanager
def folder_at(top: int | None, path: str) -> Iterator[Folder | None]:
    """A directory within another one; None where there is none. No link is followed, not even one of root's: those in
    releases of earlier versions were the project's once.

    :param top: open; None: there is none either.
    :param path: relative to `top`; empty for itself.
    """
    if top is None:
        yield None
        return
    handle = os.dup(top)
    try:
        yield _within(handle, path)
    finally:
        os.close(handle)


def _within(handle: int, path: str) -> Folder | None:
    """Look into a directory by a descriptor, which leads there afterwards."""
    try:
        for part in Path(path).parts:
            inner = open_at(handle, part)
            os.dup2(inner, handle, inheritable=False)
            os.close(inner)
        return look(handle, path)
    except OSError as error:
        if error.errno not in {*IS_LINK, errno.ENOENT}:
            raise
        return None


def walk(top: int, enter: Callable[[int], None] | None = None) -> Iterator[Folder]:
    """Every directory of a tree, each before those in it.

    :param top: the open directory of the tree; stays open.
    :param enter: called with each directory before it is looked at; then one that is exchanged is an error.
    :raises EngineError: when it is deeper than `DEEPEST`.
    """

    def found(handle: int, path: str) -> Folder:
        if enter is not None:
            enter(handle)
        return look(handle, path)

    folder = found(top, "")
    yield folder
    stack = [(folder, os.dup(top), iter(folder.folders))]  # what is taken out of `folders` is taken out by now
    try:
        while stack:
            outer, handle, names = stack[-1]
            name = next(names, None)
            if name is None:
                os.close(handle)
                stack.pop()
                continue
            path = outer.inner(name)
            if len(stack) > DEEPEST:
                raise EngineError(
                    f"{path[:60]}… lies more than {DEEPEST} directories deep", "make the tree less deep, and push again"
                )
            try:
                inner = os.open(name, DIRECTORY, dir_fd=handle)
            except OSError as error:
                if enter is None and error.errno in {*IS_LINK, errno.ENOENT}:
                    continue  # it was a directory a moment ago
                raise
            stack.append((outer, inner, iter(())))
            folder = found(inner, path)
            yield folder
            stack[-1] = folder, inner, iter(folder.folders)
    finally:
        for _folder, handle, _names in stack:
            os.close(handle)


# --- writing ------------------------------------------------------------------------------------------


def own(handle: int, uid: int, gid: int, mode: int) -> None:
    """Set who an open file or directory belongs to, and what they may.

    :param uid: -1 leaves it; `gid`, too.
    """
    told = os.fstat(handle)
    if uid not in (-1, told.st_uid) or gid not in (-1, told.st_gid):
        os.fchown(handle, uid, gid)  # which takes setuid and setgid away, so it comes first (chown(2))
    os.fchmod(handle, mode)


def aside(name: str) -> str:
    return f".{name[:80]}.{secrets.token_hex(6)}.new"


def write_at(
    handle: int,
    name: str,
    content: bytes | IO[bytes],
    mode: int,
    uid: int = 0,
    gid: int = 0,
    *,
    times: tuple[int, int] | None = None,
    sync: bool = False,
) -> None:
    """Write a file in an open directory. It appears whole, and replaces what has its name without opening it.

    :param times: of access and change, in nanoseconds.
    :param sync: whether it is on the disk before it has its name.
    :raises OSError: also when a directory has the name.
    """
    new = aside(name)
    descriptor = os.open(new, NEW_FILE, 0o600, dir_fd=handle)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                copy_content(content, file)
            file.flush()
            own(file.fileno(), uid, gid, mode)
            if times is not None:
                os.utime(file.fileno(), ns=times)
            if sync:
                os.fsync(file.fileno())
        os.rename(new, name, src_dir_fd=handle, dst_dir_fd=handle)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(new, dir_fd=handle)
        raise


def copy_content(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a file from its beginning, or all that comes out of something else. Holes stay holes (lseek(2)).

    A file of some blocks may say that it has terabytes: its copy takes no more room than it.
    """
    try:
        told = os.fstat(source.fileno())
    except OSError:  # no file of the system's: io.UnsupportedOperation
        told = None
    if told is None or not stat.S_ISREG(told.st_mode):
        shutil.copyfileobj(source, target, 1 << 20)
        return
    origin, copy, at = source.fileno(), target.fileno(), 0
    while at < told.st_size:
        try:
            start = os.lseek(origin, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                break
            raise
        at = min(os.lseek(origin, start, os.SEEK_HOLE), told.st_size)
        os.lseek(origin, start, os.SEEK_SET)
        os.lseek(copy, start, os.SEEK_SET)
        while start < at and (part := os.read(origin, min(at - start, 1 << 20))):
            start += os.write(copy, part)
    os.ftruncate(copy, told.st_size)


def write(path: str | Path, content: bytes, mode: int, uid: int = 0, gid: int = 0, *, sync: bool = False) -> None:
    """`write_at` by an absolute path."""
    with parent(path) as (handle, name):
        write_at(handle, name, content, mode, uid, gid, sync=sync)


def put(
    top: int,
    path: str,
    content: bytes | IO[bytes],
    mode: int,
    uid: int = 0,
    gid: int = 0,
    *,
    folders: tuple[int, int, int] = (0o755, 0, 0),
) -> None:
    """Write a file somewhere in a tree, with the directories it needs.

    :param path: relative to `top`.
    :param folders: mode, uid and gid of directories that were not there.
    :raises OSError: also when a link or a file is in the way.
    """
    *outer, name = path.split("/")
    handle = os.dup(top)
    try:
        for part in outer:
            inner = directory_at(handle, part, *folders, only_new=True)
            os.close(handle)
            handle = inner
        write_at(handle, name, content, mode, uid, gid)
    finally:
        os.close(handle)


def directory_at(handle: int, name: str, mode: int, uid: int = 0, gid: int = 0, *, only_new: bool = False) -> int:
    """Make a directory in an open one, or open what is there; no link is followed.

    :param only_new: leave owner and mode of one that is there as they are.
    :returns: a descriptor of it, the caller's to close.
    """
    try:
        os.mkdir(name, 0o700, dir_fd=handle)
        is_new = True
    except FileExistsError:
        is_new = False
    inner = os.open(name, DIRECTORY, dir_fd=handle)
    try:
        if is_new or not only_new:
            own(inner, uid, gid, mode)
    except BaseException:
        os.close(inner)
        raise
    return inner


def make_directory(path: str | Path, mode: int, uid: int = 0, gid: int = 0, *, parents: bool = False) -> None:
    """Make a directory or take the one that is there, with its owner and mode.

    :param parents: make those it lies in, too (0755, root's).
    :raises OSError: when something else is in the way.
    """
    if parents and not os.path.isdir(os.path.dirname(path)):
        make_directory(os.path.dirname(path), 0o755, uid if uid == -1 else 0, gid if gid == -1 else 0, parents=True)
    with parent(path) as (handle, name):
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=handle)
        with opened(name, start=handle) as inner:  # an administrator may have put a link to a larger disk here
            own(inner, uid, gid, mode)


def make_directories(path: str | Path, below: str | Path, mode: int, uid: int, gid: int) -> None:
    """Make a directory somewhere below another one, and each that it lies in, with one owner and mode.

    :param path: absolute; is there.
    :param below: relative to `path`.
    :raises OSError: when something else than a directory is in the way.
    """
    handle = open_directory(path)
    try:
        for part in Path(below).parts:
            inner = directory_at(handle, part, mode, uid, gid)
            os.close(handle)
            handle = inner
    finally:
        os.close(handle)


def link(path: str | Path, target: str | Path) -> None:
    """Make a symbolic link where nothing is.

    :raises FileExistsError: else.
    """
    with parent(path) as (handle, name):
        os.symlink(target, name, dir_fd=handle)


def own_link(path: str | Path, uid: int, gid: int) -> None:
    """Set who a link belongs to, whatever it leads to.

    :raises FileNotFoundError: when nothing is there.
    """
    with parent(path) as (handle, name):
        os.chown(name, uid, gid, dir_fd=handle, follow_symlinks=False)


def replace_by_link(path: str | Path, target: str | Path) -> None:
    """Point `path` at `target` by rename(2): nobody ever sees it missing."""
    with parent(path) as (handle, name):
        new = aside(name)
        os.symlink(target, new, dir_fd=handle)
        try:
            os.rename(new, name, src_dir_fd=handle, dst_dir_fd=handle)
        except BaseException:
            os.unlink(new, dir_fd=handle)
            raise


def hard_link(origin: tuple[int, str], place: tuple[int, str]) -> None:
    """Let one name be the same file as another, at once; each is an open directory and a name in it."""
    with suppress(FileExistsError):
        os.link(origin[1], place[1], src_dir_fd=origin[0], dst_dir_fd=place[0], follow_symlinks=False)
        return
    new = aside(place[1])
    os.link(origin[1], new, src_dir_fd=origin[0], dst_dir_fd=place[0], follow_symlinks=False)
    try:
        os.rename(new, place[1], src_dir_fd=place[0], dst_dir_fd=place[0])
    finally:
        with suppress(FileNotFoundError):  # rename(2) leaves it when both were the same file already
            os.unlink(new, dir_fd=place[0])


def rename(path: str | Path, name: str) -> None:
    """Give what is at an absolute path another name in the same directory."""
    with parent(path) as (handle, before):
        os.rename(before, name, src_dir_fd=handle, dst_dir_fd=handle)


def unlink(path: str | Path) -> None:
    """Remove a file or link; nothing happens when there is none."""
    with suppress(FileNotFoundError), parent(path) as (handle, name):
        os.unlink(name, dir_fd=handle)


# --- whole trees --------------------------------------------------------------------------------------


def not_others(mode: int) -> int:
    """Permission bits as they are, but for setuid, setgid, sticky, and writing by others than the owner."""
    return mode & 0o755


def plain(mode: int) -> int:
    """What everybody may read, and run if the owner may."""
    return 0o755 if mode & 0o100 else 0o644


def take(
    path: str | Path,
    uid: int = 0,
    gid: int = 0,
    *,
    mode: Callable[[int], int] = not_others,
    top_mode: int | None = None,
    linked: Collection[tuple[int, int]] = (),
    copied: bool = False,
    before: str | Path | None = None,
) -> None:
    """Make a tree root's that somebody else wrote, and may still try to write.

    From the top: when a directory is looked at it is root's already. Links stay their maker's, so that nobody who
    goes by the owner of a link (nginx's `disable_symlinks if_not_owner`, `open_directory`) takes one for root's. Pipes,
    sockets and devices go: whoever opens one waits.

    :param mode: what becomes of permission bits.
    :param top_mode: of the top; None: as the others.
    :param linked: device and number of files with several names that root linked itself.
    :param copied: whether each file of its maker's is replaced by a copy: who has it open, or was given a descriptor of
        it by who made it, goes on writing what is not in the tree any more.
    :param before: with `copied`, a tree whose files may take the place of copies where path and content are the same:
        root's alone, with the access that is wanted here. They get the times of what they replace.
    :raises EngineError: when a file with several names was of somebody else than the tree, or the tree is too deep.
    """
    copies: dict[tuple[int, int], str] = {}
    with ExitStack() as stack:
        top = stack.enter_context(opened(path))
        old_top = None
        with suppress(FileNotFoundError):
            old_top = stack.enter_context(opened(before)) if before else None
        maker = os.fstat(top).st_uid

        def enter(handle: int) -> None:
            own(handle, uid, gid, mode(stat.S_IMODE(os.fstat(handle).st_mode) | stat.S_IXUSR))

        for folder in walk(top, enter):
            with folder_at(old_top, folder.path) as old:
                for name, told in folder.others.items():
                    if stat.S_ISLNK(told.st_mode):
                        continue
                    if not stat.S_ISREG(told.st_mode):
                        os.unlink(name, dir_fd=folder.handle)
                        continue
                    wanted = mode(stat.S_IMODE(told.st_mode))
                    several = told.st_nlink > 1 and (told.st_dev, told.st_ino) not in linked
                    if several or (copied and told.st_uid == maker):
                        if told.st_uid != maker:
                            raise second_name(os.path.join(path, folder.inner(name)))
                        access = wanted, uid, gid
                        if not (old and takes_place(old, folder, name, told, access)):
                            copy_in_place(top, folder, name, told, access, copies)
                        continue
                    is_ours = uid in (-1, told.st_uid) and gid in (-1, told.st_gid)
                    # By name, for the directory is root's: nobody but root exchanges what is in it.
                    if not is_ours:
                        os.chown(name, uid, gid, dir_fd=folder.handle, follow_symlinks=False)
                    if not is_ours or wanted != stat.S_IMODE(told.st_mode):
                        os.chmod(name, wanted, dir_fd=folder.handle)
        if top_mode is not None:
            os.fchmod(top, top_mode)


def takes_place(old: Folder, folder: Folder, name: str, told: os.stat_result, access: tuple[int, int, int]) -> bool:
    """Let a file of another tree take the place of one with the same content, with its times.

    :param access: mode, uid and gid that it must have for that; -1 for any.
    :returns: whether it did.
    """
    other = old.others.get(name)
    if other is None or not stat.S_ISREG(other.st_mode) or other.st_size != told.st_size:
        return False
    mode, uid, gid = access
    has_it = stat.S_IMODE(other.st_mode) == mode and uid in (-1, other.st_uid) and gid in (-1, other.st_gid)
    if not has_it or not same((old.handle, name), (folder.handle, name)):
        return False
    hard_link((old.handle, name), (folder.handle, name))
    os.utime(name, ns=(told.st_atime_ns, told.st_mtime_ns), dir_fd=folder.handle, follow_symlinks=False)
    return True


def copy_in_place(
    top: int,
    folder: Folder,
    name: str,
    told: os.stat_result,
    access: tuple[int, int, int],
    copies: dict[tuple[int, int], str],
) -> None:
    """Replace a file by a copy, whatever else names it; names of one file in the tree stay names of one.

    :param access: mode, uid and gid of the copy.
    :param copies: device and number of a file -> path of its copy in the tree.
    """
    key = told.st_dev, told.st_ino
    if key in copies:
        where, base = os.path.split(copies[key])
        with opened(where, start=top) as other:
            hard_link((other, base), (folder.handle, name))
        return
    with os.fdopen(os.open(name, FILE, dir_fd=folder.handle), "rb") as source:
        write_at(folder.handle, name, source, *access, times=(told.st_atime_ns, told.st_mtime_ns))
    copies[key] = folder.inner(name)


def give(path: str | Path, uid: int, gid: int) -> None:
    """Give a tree of root's away: what is in a directory before the directory, so that none of it is exchanged yet.

    :raises EngineError: when it is too deep.
    """
    with opened(path) as top:
        give_what_is_in(top, uid, gid, 0)
        os.fchown(top, uid, gid)


def give_what_is_in(handle: int, uid: int, gid: int, depth: int) -> None:
    """:raises EngineError: when it is too deep."""
    if depth > DEEPEST:
        raise EngineError(f"a tree of more than {DEEPEST} directories in one another", "make it less deep")
    folder = look(handle, "")
    for name in folder.others:
        os.chown(name, uid, gid, dir_fd=handle, follow_symlinks=False)
    for name in folder.folders:
        with opened(name, start=handle) as inner:
            give_what_is_in(inner, uid, gid, depth + 1)
            os.fchown(inner, uid, gid)


def names_of_links(path: str | Path) -> frozenset[tuple[int, int]]:
    """Device and number of every file of a tree that has several names: for `take`, when root lends the tree."""
    with opened(path) as top:
        return frozenset(
            (told.st_dev, told.st_ino)
            for folder in walk(top)
            for told in folder.others.values()
            if stat.S_ISREG(told.st_mode) and told.st_nlink > 1
        )


def remove(path: str | Path) -> None:
    """Remove whatever is at an absolute path, with all that is in it; nothing happens when there is nothing."""
    with suppress(FileNotFoundError), parent(path) as (handle, name):
        remove_at(handle, name)


def remove_at(handle: int, name: str) -> None:
    """The same in an open directory. Links are removed themselves."""
    try:
        os.unlink(name, dir_fd=handle)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):  # the second is POSIX's word for a directory (unlink(2))
        inner = os.open(name, DIRECTORY, dir_fd=handle)
        try:
            empty(inner, inner, 0)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=handle)


def empty(handle: int, top: int, depth: int) -> None:
    """Remove all that is in a directory. It is taken first: who still writes there would never let it be empty.

    :param top: where directories are moved that lie too deep; they are removed there.
    """
    told = os.fstat(handle)
    if told.st_uid != os.geteuid() or told.st_mode & OTHERS_WRITE:
        own(handle, os.geteuid(), -1, 0o700)
    while names := os.listdir(handle):
        for name in names:
            try:
                os.unlink(name, dir_fd=handle)
            except FileNotFoundError:
                continue
            except (IsADirectoryError, PermissionError):
                if depth >= DEEPEST:
                    os.rename(name, aside("deep"), src_dir_fd=handle, dst_dir_fd=top)
                    continue
                inner = os.open(name, DIRECTORY, dir_fd=handle)
                try:
                    empty(inner, top, depth + 1)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=handle)
