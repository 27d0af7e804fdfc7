# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine puts itself on a host: a directory of its own per content, one link flipped last.

Copied first and flipped last, so that a push during an upgrade never imports half of each; and
the one before stays, because programs that were started from it may still import.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..engine import __version__
from ..engine.errors import EngineError

PACKAGE = "djdeploy_engine"
LINK = "engine"
DIGEST_LENGTH = 12


@dataclass(frozen=True)
class Installed:
    """What is on a host.

    :param target: name of the directory the link points at; empty when there is none.
    :param directories: names of all directories of engines.
    :param sources: the files of `target`, name -> digest.
    """

    target: str = ""
    directories: tuple[str, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """What has to happen.

    :param target: name of the directory that holds the engine.
    :param write: whether its files have to be written.
    :param flip: whether the link has to be pointed at it.
    :param prune: names of directories nobody needs any more.
    """

    target: str
    write: bool
    flip: bool
    prune: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return self.write or self.flip or bool(self.prune)


def digests(sources: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The digest of each file, in the order of the names."""
    return tuple((name, hashlib.sha256(sources[name].encode()).hexdigest()) for name in sorted(sources))


def directory_name(sources: Mapping[str, str], version: str = __version__) -> str:
    """The directory of an engine: `engine-<version>-<digest of all files>`."""
    whole = hashlib.sha256(repr(digests(sources)).encode()).hexdigest()
    return f"engine-{version}-{whole[:DIGEST_LENGTH]}"


def plan(sources: Mapping[str, str], installed: Installed, version: str = __version__) -> Plan:
    """Say what makes the host's engine the one of `sources`.

    A directory whose files are not what its name says (somebody edited them) is written again.

    :param sources: file name -> text of every file of the package.
    """
    target = directory_name(sources, version)
    intact = target == installed.target and installed.sources == digests(sources)
    keep = {target, installed.target}
    prune = tuple(sorted(set(installed.directories) - keep)) if target != installed.target else ()
    return Plan(target, not intact, target != installed.target, prune)


def look(library: Path) -> Installed:
    """Describe the engines under `library`."""
    link = library / LINK
    target = os.readlink(link) if link.is_symlink() else ""
    package = library / target / PACKAGE
    sources = {}
    if target and package.is_dir():
        sources = {path.name: path.read_text(encoding="utf-8") for path in package.glob("*.py")}
    directories = tuple(sorted(path.name for path in library.glob("engine-*-*") if path.is_dir()))
    return Installed(target, directories, digests(sources))


def apply(steps: Plan, sources: Mapping[str, str], library: Path) -> None:
    """Carry out a plan.

    :param library: directory that holds the engines; made when missing.
    :raises EngineError: when the system refuses.
    """
    try:
        library.mkdir(mode=0o755, parents=True, exist_ok=True)
        if steps.write:
            write(sources, library / steps.target)
        if steps.flip:
            temporary = library / f".{LINK}.new"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(steps.target)
            temporary.replace(library / LINK)
        for name in steps.prune:
            shutil.rmtree(library / name)
    except OSError as error:
        raise EngineError(f"cannot install the engine under {library}: {error}") from error


def write(sources: Mapping[str, str], directory: Path) -> None:
    """Write the package beside its place and move it there whole, byte-compiled."""
    fresh = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    package = fresh / PACKAGE
    package.mkdir(parents=True)
    for path in (fresh, package):
        path.chmod(0o755)
    for name, text in sources.items():
        (package / name).write_text(text, encoding="utf-8")
        (package / name).chmod(0o644)
    compileall.compile_dir(str(package), quiet=2, stripdir=str(fresh), prependdir=str(directory))
    for path in (package / "__pycache__").glob("*.pyc"):
        path.chmod(0o644)
    if directory.exists():
        stale = directory.with_name(f".{directory.name}.old")
        shutil.rmtree(stale, ignore_errors=True)
        directory.rename(stale)
        fresh.rename(directory)
        shutil.rmtree(stale)
    else:
        fresh.rename(directory)


def described(pairs: Iterable[tuple[str, str]], target: str) -> str:
    """An engine as text for a diff: its directory and the digest of each file."""
    lines = [f"{target}\n"] if target else []
    return "".join([*lines, *(f"  {name} {digest[:DIGEST_LENGTH]}\n" for name, digest in pairs)])


def diff(steps: Plan, sources: Mapping[str, str], installed: Installed, library: Path) -> dict[str, str]:
    """The difference a plan makes, as Ansible shows it."""
    return {
        "before_header": str(library / LINK),
        "after_header": str(library / LINK),
        "before": described(installed.sources, installed.target),
        "after": described(digests(sources), steps.target),
    }
