# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the site's configuration that are laid into the tree of a release: a local_settings.py, a .env."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from . import beneath
from .errors import EngineError
from .project import Tree


def folders(paths: Iterable[str]) -> list[str]:
    """Every directory these files need, each behind the one it lies in."""
    found = set()
    for path in paths:
        while path := posixpath.dirname(path):
            found.add(path)
    return sorted(found)


def refuse(wanted: Iterable[str], tracked: Collection[str], links: Collection[str]) -> None:
    """See that no file would replace one of the repository, or be written through one of its links.

    :param tracked: paths of the files of the tree.
    :param links: paths of its symlinks.
    :raises EngineError: naming the file and what to do.
    """
    for path in sorted(wanted):
        if path in tracked or path in links:
            raise EngineError(
                f"{path} is in the repository, and project_files would replace it",
                f"git rm --cached {path} and push again, or take it out of project_files",
            )
        for folder in folders([path]):
            if folder in links or folder in tracked:
                kind = "link" if folder in links else "file"
                raise EngineError(
                    f"project_files has {path}, but {folder} is a {kind} in the repository",
                    "give another path in project_files",
                )
        if any(other.startswith(f"{path}/") for other in tracked):
            raise EngineError(
                f"project_files has {path}, but that is a directory in the repository",
                "give the path of a file in project_files",
            )


def lay(files: Mapping[str, str], tree: Tree, code: Path, builder: int, gid: int) -> None:
    """Write the files into a tree that was just unpacked, readable by the site and not by whoever builds.

    :param files: path -> text.
    :param tree: the tree as it was pushed.
    :param builder: uid that owns the tree now.
    :param gid: group of the site.
    :raises EngineError: see `refuse`; nothing is written then.
    """
    refuse(files, tree.paths, tree.links)
    fill(files, code, builder, gid)


@contextmanager
def hollowed(files: Mapping[str, str], code: Path, builder: int, gid: int) -> Iterator[None]:
    """Have nothing in the files while build commands run, and what they hold again when those are through.

    Nothing is mounted over them: systemd makes what it mounts over as root, and goes by its name.

    :param files: path -> text, as they were laid.
    :raises EngineError: when a command put something in the way of one.
    """
    fill(dict.fromkeys(files, ""), code, builder, gid)
    yield
    fill(files, code, builder, gid)


def fill(files: Mapping[str, str], code: Path, builder: int, gid: int) -> None:
    """Write the files where they are laid, in the place of whatever file or link is there.

    :raises EngineError: when the directory of one is no directory any more, or it is one itself.
    """
    with beneath.opened(code) as top:
        for path, text in files.items():
            content = text.encode(errors="surrogateescape")
            try:
                beneath.put(top, path, content, 0o640, 0, gid, folders=(0o750, builder, gid))
            except OSError as error:
                raise EngineError(
                    f"{path} of project_files cannot be laid again after the build commands: {error.strerror}",
                    "a command put something in its way: see the site's build and project_files",
                ) from error
