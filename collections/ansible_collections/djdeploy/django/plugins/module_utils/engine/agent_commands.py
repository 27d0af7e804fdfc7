# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps that run what the project brings: `command`."""

# pylint: disable=ansible-bad-function  # a program: it prints and exits; Ansible forbids that to modules
# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import sys

from .agent_words import Failure, Outcome, Request, outcome


def command(request: Request, predict: bool) -> Outcome:
    """Any manage.py command, with the words and the exit status manage.py would have."""
    from django.core.management import ManagementUtility

    argv = [str(word) for word in request["argv"]]
    if not argv:
        raise Failure("request", "no manage.py command was given")
    for word in argv:
        if word.split("=")[0] in ("--settings", "--pythonpath"):
            raise Failure("request", f"{word} comes too late: Django is already set up", "use the option of that name")
    changed = not request.get("read_only")
    if predict and changed:
        return outcome(True, argv=argv, rc=None, reason="not run in check mode")
    rc = 0
    try:
        ManagementUtility(["manage.py", *argv]).fetch_command(argv[0]).run_from_argv(["manage.py", *argv])
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        rc = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if rc:
        raise Failure("command", f"manage.py {argv[0]} ended with status {rc}", argv=argv, rc=rc)
    return outcome(changed, argv=argv, rc=rc)
