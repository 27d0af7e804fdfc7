# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a site's bare repository. Everything runs as the user who owns it, never as root."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, cast

from . import runner
from .errors import EngineError
from .paths import GIT_HOME, GIT_MEMORY, GIT_USER
from .push import NO_COMMIT, QUARANTINE_VARIABLES
from .runner import Completed, pipe

COMMITS_TOLD = 20
SUBJECT = 200  # characters of the subject of a commit, which may have millions and goes into releases and journals
LINKS_KEPT = 100
ENTRY = 16 << 10  # bytes of an entry of a tree that are read at once: its mode, its id and its path
LISTED_WITHIN = 600.0  # seconds for git to list a tree
BLOCK = 4096  # bytes; what the smallest file, link or directory takes on a disk
MARGIN = 1 << 20  # bytes an archive may be larger than what is in it
# As many bytes as are agreed on, and no more: attributes in the tree (export-subst, working-tree-encoding, see
# gitattributes(5)) let a file become larger than git lists it.
UNPACK = 'head -c "$1" | tar -x -C "$2" --no-same-owner --no-same-permissions'
CUT_OFF = "Unexpected EOF in archive"  # tar's word for it
TOO_LONG = "File name too long"  # ENAMETOOLONG (path_resolution(7)), in the C locale


class Larger(EngineError):
    """A tree takes more room than it may."""


def taken(sizes: Iterable[bytes], most: int) -> int:
    """Bytes that files, links and directories of these sizes take, counted only until it is more than `most`.

    :param sizes: a line each; what is no file has none (`-`).
    """
    total = 0
    for line in sizes:
        blocks = -(-int(line) // BLOCK) if line.strip().isdigit() else 1
        total += max(blocks, 1) * BLOCK
        if total > most:
            break
    return total


def brief(text: str) -> str:
    """A subject, without its end if it is long."""
    return text if len(text) <= SUBJECT else f"{text[: SUBJECT - 1]}…"


def linked(entries: IO[bytes]) -> list[str]:
    """Paths of the first gitlinks among the entries of a tree, as `git ls-tree` lists them, in bounded memory.

    :param entries: a line each: mode, kind, id, a tab, the path (in quotes where it holds control characters).
    """
    found: list[str] = []
    begins = True
    while len(found) < LINKS_KEPT and (piece := entries.readline(ENTRY)):
        if begins and piece.startswith(b"160000 "):
            found.append(piece.decode(errors="replace").rstrip("\n").partition("\t")[2])
        begins = piece.endswith(b"\n")
    return found


class Repository:
    """A site's bare repository.

    :param quarantine: the variables of a push under way, so that its objects can be read too.
    """

    def __init__(
        self, path: Path, *, quarantine: Mapping[str, str] | None = None, run: runner.Runner = runner.run
    ) -> None:
        self.path = path
        self.run = run
        self.env = {"HOME": str(GIT_HOME), "GIT_TERMINAL_PROMPT": "0", **quarantined(path, quarantine or {})}

    def git(self, *words: str, timeout: float | None = 3600, bounded: Collection[str] = ()) -> Completed:
        argv = ["git", f"--git-dir={self.path}", *words]
        return self.run(argv, user=GIT_USER, env=self.env, timeout=timeout, bounded=bounded)

    def commit(self, name: str) -> str | None:
        """The full id of the commit a name stands for, or None."""
        answer = self.git("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        return answer.stdout.strip() if answer.returncode == 0 else None

    def subject(self, revision: str) -> str:
        """What a commit is called, `SUBJECT` characters of it at most."""
        return brief(self.git("log", "-1", "--format=%s", revision, bounded=runner.STDOUT).stdout.strip())

    def commits_between(self, old: str | None, new: str) -> list[str]:
        """One line per commit that is new, newest first, at most `COMMITS_TOLD`, each as short as a subject."""
        span = [f"{old}..{new}"] if old else [new]
        answer = self.git("log", "--format=%h %s", f"-{COMMITS_TOLD}", *span, bounded=runner.STDOUT)
        return [brief(line) for line in answer.stdout.splitlines()]

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.git("merge-base", "--is-ancestor", old, new).returncode == 0

    def exceeds(self, revision: str, most: int) -> bool:
        """Whether the tree of a revision takes more than `most` bytes when it is unpacked, by git's own listing.

        What is small when it is pushed can be large, and can hold one tree a thousand times: nothing is unpacked to
        know it, and nobody waits for the end of the list.

        :raises EngineError: when git cannot list it.
        """
        words = ["git", f"--git-dir={self.path}", "ls-tree", "-r", "-t", "--format=%(objectsize)", revision]
        null, pipe_end = subprocess.DEVNULL, subprocess.PIPE
        with (
            tempfile.TemporaryFile() as said,
            runner.started(words, null, pipe_end, said, GIT_USER, self.env, LISTED_WITHIN) as process,
        ):
            if taken(process.stdout or (), most) > most:
                return True
            process.wait()
            runner.require_success(words, process, said)
        return False

    def export(self, revision: str, target: Path, *, user: str, most: int = 1 << 62) -> None:
        """Write the tree of a revision into an existing directory that `user` owns.

        Unpacked by that user and not by root: a tree somebody pushed is input, not ours.

        :param most: bytes it may take, for what git does not list: see `exceeds`, which is asked first.
        :raises Larger: when it becomes more than that.
        """
        try:
            pipe(
                # "$Format:%B$" of a .gitattributes file is replaced in memory, by what a message is long.
                ["git", f"--git-dir={self.path}", "archive", "--format=tar", revision],
                ["/bin/sh", "-c", UNPACK, "unpack", str(most + MARGIN), target],
                producer_user=GIT_USER,
                consumer_user=user,
                producer_env=self.env,
                producer_memory=GIT_MEMORY,
            )
        except EngineError as error:
            if CUT_OFF in error.detail:
                raise Larger(error.message) from error
            if TOO_LONG in error.detail:
                raise EngineError(
                    "the name of a file is too long for this host, or the path to it (255 and 4095 bytes)",
                    f"rename it: git ls-tree -r --name-only {revision[:7]} | awk 'length > 200'",
                ) from error
            raise

    def gitlinks(self, revision: str) -> list[str]:
        """Paths of a tree at which it names a commit of another repository (mode 160000), whose files it has not.

        The first `LINKS_KEPT` of them: a tree of few bytes can name millions.

        :raises EngineError: when git cannot list it.
        """
        words = ["git", f"--git-dir={self.path}", "-c", "core.quotePath=false"]
        words += ["ls-tree", "-r", "--full-tree", revision]
        null, pipe_end = subprocess.DEVNULL, subprocess.PIPE
        with (
            tempfile.TemporaryFile() as said,
            runner.started(words, null, pipe_end, said, GIT_USER, self.env, LISTED_WITHIN) as process,
        ):
            found = linked(cast("IO[bytes]", process.stdout))
            if len(found) < LINKS_KEPT:
                process.wait()
                runner.require_success(words, process, said)
        return found

    def fetch(self, url: str, ref: str) -> str:
        """Fetch one branch, tag or commit from elsewhere; the local branches do not move.

        :raises EngineError: naming the URL and what git said.
        """
        answer = self.git("fetch", "--no-tags", "--force", url, ref)
        if answer.returncode:
            raise EngineError(
                f"cannot fetch {ref!r} from {url}",
                "see `repository` and `revision` of the site in djdeploy_sites",
                answer.stderr,
            )
        fetched = self.commit("FETCH_HEAD")
        if fetched is None:
            raise EngineError(f"{ref!r} of {url} is not a commit")
        return fetched

    def move(self, ref: str, new: str, old: str) -> bool:
        """Set a ref, only if it still is what the caller saw. `NO_COMMIT` as `new` deletes it."""
        words = ["-d", ref, old] if new == NO_COMMIT else [ref, new, old]
        return self.git("update-ref", "-m", "djdeploy", *words).returncode == 0


def quarantined(path: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """The quarantine variables of a push, accepted only if they lie inside the repository.

    They come from the pusher's side of the door; a path elsewhere would make git read it.

    :raises EngineError: for a path outside the repository.
    """
    kept = {name: variables[name] for name in QUARANTINE_VARIABLES if variables.get(name)}
    objects = path.resolve() / "objects"
    for value in kept.values():
        for entry in value.split(":"):
            if not Path(path, entry).resolve().is_relative_to(objects):
                raise EngineError(f"a push may not name objects outside its repository: {entry}")
    # Relative names are relative to the repository for a hook, but not for us.
    return {name: ":".join(str(Path(path, entry)) for entry in value.split(":")) for name, value in kept.items()}
