# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about files made of a project's sources: `collectstatic`."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from .agent_words import Outcome, Request, listing, outcome


def collectstatic(request: Request, predict: bool) -> Outcome:
    """Collect static files; the numbers are lengths of Django's own lists, never read from text."""
    from django.apps import apps
    from django.core.management import call_command, get_commands, load_command_class

    if not apps.is_installed("django.contrib.staticfiles"):
        return outcome(
            False, copied=0, unmodified=0, deleted=0, post_processed=0,
            reason="django.contrib.staticfiles is not in INSTALLED_APPS",
        )  # fmt: skip
    owner = get_commands()["collectstatic"]
    command = load_command_class(owner, "collectstatic") if isinstance(owner, str) else owner
    clear = bool(request.get("clear"))
    deleted = sorted(stored_files(command.storage)) if clear else []
    call_command(
        command,
        interactive=False,
        dry_run=predict,
        clear=clear,
        link=bool(request.get("link")),
        ignore_patterns=list(request.get("ignore") or []),
        verbosity=0,
    )
    copied = sorted(command.copied_files + command.symlinked_files)
    if predict and clear:  # a dry run compares with files that would be gone by then
        copied = sorted({*copied, *command.unmodified_files})
    unmodified = 0 if clear else len(command.unmodified_files)
    # Django's dry run does not post-process, so a prediction has no number for it.
    processed = None if predict and hasattr(command.storage, "post_process") else len(command.post_processed_files)
    return outcome(
        bool(copied or deleted),
        {"current": unmodified, "outdated": len(copied), "surplus": len(deleted)},
        {"current": unmodified + len(copied), "outdated": 0, "surplus": 0},
        old=listing(deleted),
        new=listing(copied),
        copied=len(copied),
        unmodified=unmodified,
        deleted=len(deleted),
        post_processed=processed,
    )


def stored_files(storage: Any, folder: str = "") -> Iterator[str]:
    """All files of a storage, as `collectstatic --clear` finds them."""
    if not storage.exists(folder):
        return
    folders, files = storage.listdir(folder)
    for name in files:
        yield os.path.join(folder, name)
    for name in folders:
        yield from stored_files(storage, os.path.join(folder, name))
