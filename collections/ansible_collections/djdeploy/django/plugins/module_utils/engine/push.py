# SPDX-License-Identifier: GPL-3.0-or-later
"""The git door: what a key may ask for, and what each pushed ref means."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from .errors import EngineError

NO_COMMIT = "0" * 40

# What receive-pack tells its hooks about objects that are not accepted yet (git-receive-pack(1), quarantine).
QUARANTINE_VARIABLES = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")

BRANCH, TAG = "refs/heads/", "refs/tags/"
ALLOWABLE = ("contract", "blocking")
DECLARABLE = ("additive", *ALLOWABLE)


@dataclass(frozen=True)
class RefUpdate:
    """One line a receive hook reads: `<old> <new> <ref>` (githooks(5))."""

    old: str
    new: str
    ref: str

    @property
    def creates(self) -> bool:
        return self.old == NO_COMMIT

    @property
    def deletes(self) -> bool:
        return self.new == NO_COMMIT


@dataclass(frozen=True)
class Verdict:
    """What becomes of a ref update.

    :param action: `deploy`, `store` or `refuse`.
    :param said: the line the pusher reads.
    """

    action: str
    said: str


def parse_update(line: str) -> RefUpdate:
    """:raises EngineError: when the line is not one of git's."""
    match = re.fullmatch(r"([0-9a-f]{40}) ([0-9a-f]{40}) (refs/\S+)", line.strip())
    if match is None:
        raise EngineError(f"not a ref update: {line!r}")
    return RefUpdate(*match.groups())


def judge(update: RefUpdate, deploy_ref: str, *, fast_forward: bool, force_push: bool) -> Verdict:
    """Decide on one ref update. Only the site's own branch ever goes live.

    :param deploy_ref: `refs/heads/<branch of the site>`.
    :param fast_forward: whether the new commit contains the old one.
    :param force_push: whether the site allows to go back in history.
    """
    name = update.ref.removeprefix(BRANCH).removeprefix(TAG)
    live_name = deploy_ref.removeprefix(BRANCH)
    if update.ref == deploy_ref:
        if update.deletes:
            return Verdict("refuse", f"{live_name} is what is live; it cannot be deleted")
        if not update.creates and not fast_forward and not force_push:
            return Verdict(
                "refuse",
                f"{live_name} would lose commits that were live (a forced push). Pull first, "
                "or set force_push: true for this site",
            )
        return Verdict("deploy", "")
    if not update.ref.startswith((BRANCH, TAG)):
        return Verdict("refuse", f"only branches and tags are taken, not {update.ref}")
    if update.deletes:
        return Verdict("store", f"{name} deleted; nothing is deployed by that")
    return Verdict("store", f"{name} stored, not deployed: only a push to {live_name} goes live")


def requested_site(command: str | None, allowed: Collection[str]) -> str:
    """The site a client's ssh command asks to push to.

    The path is looked up among the sites the key lists, and never used as a path.

    :param command: SSH_ORIGINAL_COMMAND (sshd(8)), None for a login without a command.
    :raises EngineError: for anything that is not a push to one of those sites.
    """
    sites = ", ".join(sorted(allowed)) or "none"
    hint = f"this key can push to: {sites}. Example: git push ssh://git@HOST/{min(allowed, default='SITE')} main"
    if not command:
        raise EngineError("this key can only push; there is no shell here", hint)
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:2] == ["git", "receive-pack"]:
        words[:2] = ["git-receive-pack"]
    if len(words) != 2 or words[0] != "git-receive-pack":
        raise EngineError("this key can only push; nothing else is run here", hint)
    site = words[1].strip("/").removesuffix(".git")
    if site not in allowed:
        raise EngineError(f"this key may not push to {words[1]!r}", hint)
    return site


def last_update(updates: Iterable[RefUpdate], deploy_ref: str) -> RefUpdate | None:
    """The update of the site's own branch in a push, if there is one."""
    return next((update for update in updates if update.ref == deploy_ref and not update.deletes), None)


def push_options(given: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """What `git push -o` says about migrations (git-push(1), --push-option).

    :param given: each option as it was typed: `allow=contract,blocking`, `declare=catalog.0007_slugs=additive`.
    :returns: the classes allowed for this release, and the declared migrations.
    :raises EngineError: for an option that is none of ours.
    """
    allow: list[str] = []
    declared: dict[str, str] = {}
    for option in given:
        name, _equals, value = option.partition("=")
        migration, equals, kind = value.partition("=")
        classes = [word.strip() for word in value.split(",") if word.strip()]
        if name == "allow" and classes and set(classes) <= set(ALLOWABLE):
            allow += classes
        elif name == "declare" and equals and kind in DECLARABLE and re.fullmatch(r"\w+\.(\w+|\*)", migration):
            declared[migration] = kind
        else:
            raise EngineError(
                f"the push option {option!r} is not known",
                f"there are: -o allow={'|'.join(ALLOWABLE)}, -o declare=app.name={'|'.join(DECLARABLE)}",
            )
    return tuple(dict.fromkeys(allow)), declared
