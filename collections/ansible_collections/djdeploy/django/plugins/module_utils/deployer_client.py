# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of the release family share: ask the deployer, answer as Ansible wants it."""

from __future__ import annotations

import os
from typing import Any

from .engine import client, plan
from .engine.events import Event, rendered
from .engine.paths import DEPLOYER_SOCKET, SitePaths
from .engine.request import Request
from .printable import PrintableModule


def who_runs_this() -> str:
    """The person behind the playbook, as far as the host can know."""
    return os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or "root"


def ask_deployer(module: PrintableModule, operation: str, revision: str | None, **options: Any) -> None:
    """Send one request, wait for its result and end the module with it.

    In a check of a host that does not have the site yet, nothing can be built to learn more; but
    whether there is anything to deploy is known.

    :param options: more of `Request`, for one operation only.
    """
    site = module.params["site"]
    if module.check_mode and not (DEPLOYER_SOCKET.exists() and SitePaths(site).config.exists()):
        configured = bool(revision or (options.get("config") or {}).get("repository"))
        said = "its first release would be made" if configured else "it would wait for its first push"
        module.exit_json(changed=configured, msg=f"{site} is not on this host yet; {said}")
    request = Request(
        op=operation,
        site=site,
        door="ansible",
        who=who_runs_this(),
        revision=revision,
        check=module.check_mode,
        **options,
    )
    log: list[str] = []
    outcome: Event = {}
    for event in client.ask(request):
        text = rendered(event)
        if event["event"] == "result":
            outcome = event
        elif text:
            log.append(text)
    answer = as_ansible(outcome, log)
    if not outcome["ok"]:
        hint = f"\n-> {outcome['hint']}" if outcome.get("hint") else ""
        answer["msg"] = f"{outcome['message']}{hint}"
        module.fail_json(**answer)
    module.exit_json(**answer)


def as_ansible(outcome: Event, log: list[str]) -> dict[str, Any]:
    """The result event as the return value of a module."""
    kept = ("changed", "before", "after", "release", "previous", "migrations", "database", "url", "plan", "phases")
    answer: dict[str, Any] = {name: outcome[name] for name in kept if name in outcome}
    answer["msg"] = outcome["message"]
    answer["log"] = log
    if outcome.get("plan"):
        answer["plan_id"] = outcome["plan"]["id"]
    if outcome.get("detail"):
        answer["detail"] = outcome["detail"]
    if "before" in outcome:
        answer["diff"] = diff(outcome)
    return answer


def diff(outcome: Event) -> dict[str, str]:
    """What changes about the live release, as the two texts `--diff` compares."""
    before, after = f"revision: {outcome.get('before')}\n", f"revision: {outcome.get('after')}\n"
    if outcome.get("plan"):
        before, after = plan.diff_texts(plan.Plan.from_mapping(outcome["plan"]))
    if not outcome.get("changed"):
        after = before
    return {"before_header": "live", "after_header": "live", "before": before, "after": after}
