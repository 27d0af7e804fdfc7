# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `check`: Django's system checks."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

from typing import Any

from .agent_words import Failure, Outcome, Request, outcome

LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


def check(request: Request, predict: bool) -> Outcome:
    """Django's system checks. Messages below `fail_level` are returned, never fatal."""
    from django.core import checks

    deploy, tags = bool(request.get("deploy")), request.get("tags") or None
    unknown = [tag for tag in tags or [] if not checks.tag_exists(tag, deploy)]
    if unknown:
        raise Failure("request", f"there is no system check with the tag {unknown[0]!r}")
    found = checks.run_checks(tags=tags, include_deployment_checks=deploy, databases=request.get("databases") or None)
    shown = sorted((message for message in found if not message.is_silenced()), key=lambda message: -message.level)
    messages = [
        {
            "level": LEVELS.get(message.level, str(message.level)),
            "id": message.id or "",
            "message": str(message.msg),
            "hint": str(message.hint or ""),
            "object": named(message.obj),
        }
        for message in shown
    ]
    fail_level = request.get("fail_level") or "ERROR"
    fatal = [message for message in shown if message.level >= getattr(checks, fail_level)]
    if fatal:
        first = str(fatal[0]).splitlines()[0]
        more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
        raise Failure(
            "check",
            f"the system check fails: {first}{more}",
            str(fatal[0].hint or "") or "run `manage.py check` in the project and mend what it names",
            "\n".join(str(message) for message in shown),
            messages=messages,
        )
    counts = {level: sum(message["level"] == level for message in messages) for level in LEVELS.values()}
    return outcome(False, messages=messages, counts=counts, silenced=len(found) - len(shown), fail_level=fail_level)


def named(thing: Any) -> str:
    """The object of a system check as a person knows it: `shop.Order` rather than a class's repr."""
    meta = getattr(thing, "_meta", None)
    return "" if thing is None else str(getattr(meta, "label", thing))
