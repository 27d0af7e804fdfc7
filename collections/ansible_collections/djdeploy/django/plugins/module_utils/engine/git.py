# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a site's bare repository. Everything runs as the user who owns it, never as root."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import runner
from .errors import EngineError
from .paths import GIT_HOME, GIT_USER
from .push import NO_COMMIT, QUARANTINE_VARIABLES
from .runner import Completed, pipe

COMMITS_TOLD = 20


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

    def git(self, *words: str, timeout: float | None = 3600) -> Completed:
        return self.run(["git", f"--git-dir={self.path}", *words], user=GIT_USER, env=self.env, timeout=timeout)

    def commit(self, name: str) -> str | None:
        """The full id of the commit a name stands for, or None."""
        answer = self.git("rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        return answer.stdout.strip() if answer.returncode == 0 else None

    def subject(self, revision: str) -> str:
        return self.git("log", "-1", "--format=%s", revision).stdout.strip()

    def commits_between(self, old: str | None, new: str) -> list[str]:
        """One line per commit that is new, newest first, at most `COMMITS_TOLD`."""
        span = [f"{old}..{new}"] if old else [new]
        return self.git("log", "--format=%h %s", f"-{COMMITS_TOLD}", *span).stdout.splitlines()

    def is_ancestor(self, old: str, new: str) -> bool:
        return self.git("merge-base", "--is-ancestor", old, new).returncode == 0

    def export(self, revision: str, target: Path, *, user: str) -> None:
        """Write the tree of a revision into an existing directory that `user` owns.

        Unpacked by that user and not by root: a tree somebody pushed is input, not ours.
        """
        pipe(
            ["git", f"--git-dir={self.path}", "archive", "--format=tar", revision],
            ["tar", "-x", "-C", target, "--no-same-owner", "--no-same-permissions"],
            producer_user=GIT_USER,
            consumer_user=user,
            producer_env=self.env,
        )

    def gitlinks(self, revision: str) -> list[str]:
        """Paths of a tree at which it names a commit of another repository (mode 160000), whose files it has not."""
        entries = self.git("ls-tree", "-r", "-z", "--full-tree", revision).stdout.split("\0")
        return [entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")]

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
