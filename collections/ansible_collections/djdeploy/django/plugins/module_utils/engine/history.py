# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done to a site, by whom, and how it ended: its journal read for people and programs.

`deploys` is a function of the journal's lines. An operation without a result is `running` as long as its
process is, and `interrupted` from then on (killed, or the power was cut).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from . import plan as planning
from .errors import EngineError
from .events import Event, rendered
from .journal import (
    FAILED,
    INTERRUPTED,
    PUSH,
    REFUSED,
    RUNNING,
    UNCHANGED,
    is_alive,
    outcome,
    rotated,
)
from .paths import SitePaths
from .request import DEPLOY, RESTORE

BEFORE_ANYTHING = "before its first phase"


@dataclass(frozen=True)
class Deploy:
    """One operation. The names and meanings of these keys stay as they are: programs read them.

    :param id: unique; `djdeploy history SITE ID` tells all of it.
    :param at: when it began, UTC, ISO 8601.
    :param op: `push`, `deploy`, `rollback` or `restore`.
    :param door: `push`, `ansible` or `host`.
    :param who: key name or unix user.
    :param result: `live`, `rolled_back`, `restored`, `failed`, `refused` (a push git took nothing of),
        `interrupted`, `running` or `unchanged` (there was nothing to do).
    :param before: revision that was live when it began; empty when none was.
    :param after: revision it was to make live, or made live; empty when that was never known.
    :param release: id of the release it made or went back to.
    :param subject: of the commit, where it is known.
    :param seconds: what it took until its result; None while there is none.
    :param migrations: those it applied or took back, as `app.name`.
    :param snapshot: name of the one it made of the database.
    :param message: what its result says.
    :param reason: why it failed or where it was interrupted; empty for what went well.
    :param hint: what to do about it.
    :param phases: `name`, `state` (`started`, `ended`, `failed`), `seconds` and `note` of each, in their order.
    :param plan: what it was to change; empty when it came to no plan.
    """

    id: str
    at: str
    site: str
    op: str
    door: str
    who: str
    result: str
    before: str = ""
    after: str = ""
    release: str = ""
    subject: str = ""
    seconds: float | None = None
    migrations: list[str] = field(default_factory=list)
    snapshot: str = ""
    message: str = ""
    reason: str = ""
    hint: str = ""
    phases: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The part of its id that is enough to name it."""
        return self.id.rpartition("-")[2]

    @property
    def pending(self) -> bool:
        """Whether it never ended: the next operation clears up behind it."""
        return self.result == INTERRUPTED

    def as_dict(self, *, whole: bool = True) -> dict[str, Any]:
        """As plain data.

        :param whole: with phases and plan.
        """
        return {name: value for name, value in asdict(self).items() if whole or name not in ("phases", "plan")}


# --- Reading ---------------------------------------------------------------------------------------------------


def entries(lines: Iterable[str]) -> dict[str, list[Event]]:
    """The lines of each operation by its id, in the order of their first ones; what is torn is left out.

    The order is that of the file: a clock may be set back.
    """
    found: dict[str, list[Event]] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            found.setdefault(entry["id"], []).append(entry)
        except (ValueError, KeyError, TypeError):
            continue
    return found


def deploys(lines: Iterable[str], *, alive: Callable[[str], bool] = is_alive) -> list[Deploy]:
    """The operations a journal tells of, oldest first.

    :param alive: whether the process of an operation, as its first line names it, is still at work.
    """
    return [deploy_of(told, alive) for told in entries(lines).values()]


def deploy_of(told: Sequence[Event], alive: Callable[[str], bool]) -> Deploy:
    """One operation of its lines; those a rotation took away are missed by nobody."""
    by_event: dict[str, list[Event]] = {}
    for entry in told:
        by_event.setdefault(entry["event"], []).append(entry)
    results = by_event.get("result", [])
    facts: Event = {}
    for entry in (*by_event.get("begin", ()), *by_event.get("release", ()), *results[:1]):
        facts |= {key: value for key, value in entry.items() if value is not None}
    phases = phases_of(by_event.get("phase", ()))
    common: dict[str, Any] = {name: told[0].get(name, "") for name in ("id", "at", "site", "op", "door", "who")}
    common |= {name: facts.get(name, "") for name in ("before", "release", "subject", "snapshot", "message", "hint")}
    common["after"] = facts.get("after") or facts.get("revision") or ""
    common["migrations"] = list(facts.get("migrations") or ())
    common["plan"] = by_event["plan"][0]["plan"] if "plan" in by_event else {}
    common["phases"] = phases
    accepted = "accepted" in by_event or bool(facts.get("accepted"))
    if not results:
        running = alive(str(facts.get("process", "")))
        reason = "" if running else interruption(common["op"], phases, accepted=accepted)
        return Deploy(**common, result=RUNNING if running else INTERRUPTED, reason=reason)
    ended = outcome(common["op"], results[0], accepted=accepted)
    reason = common["message"] if ended in (FAILED, REFUSED) else ""
    if not reason:  # it had succeeded, and then the old processes could not be ended
        reason = next((f"afterwards: {entry['message']}" for entry in results[1:] if not entry["ok"]), "")
    return Deploy(**common, result=ended, reason=reason, seconds=facts.get("seconds"))


def phases_of(told: Iterable[Event]) -> list[dict[str, Any]]:
    """The phases with what became of them."""
    phases: list[dict[str, Any]] = []
    for entry in told:
        phase = {"name": entry["name"], "state": entry["state"], "seconds": entry.get("seconds")}
        phase["note"] = entry.get("note", "")
        if phases and phases[-1]["name"] == phase["name"] and phases[-1]["state"] == "started":
            phases[-1] = phase
        else:
            phases.append(phase)
    return phases


def interruption(op: str, phases: Sequence[dict[str, Any]], *, accepted: bool) -> str:
    """What an operation without a result was at."""
    open_phases = [phase["name"] for phase in phases if phase["state"] == "started"]
    if open_phases:
        return f"interrupted during {open_phases[-1]}"
    if op == PUSH and accepted and phases[-1]["name"] == "checks":
        return "interrupted when it was let in, before it asked to go live"
    return f"interrupted after {phases[-1]['name']}" if phases else f"interrupted {BEFORE_ANYTHING}"


def recorded(site: str) -> list[Deploy]:
    """What the journal of a site on this host tells, oldest first.

    :raises EngineError: when only root may read it.
    """
    lines: list[str] = []
    journal = SitePaths(site).journal
    for path in (rotated(journal), journal):
        try:
            lines += path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            continue
        except PermissionError:
            raise EngineError(f"only root may read {path}", "run it again with sudo") from None
    return deploys(lines)


def worth_telling(found: Iterable[Deploy]) -> list[Deploy]:
    """Without what had nothing to do."""
    return [deploy for deploy in found if deploy.result != UNCHANGED]


def last_told(site: str) -> Deploy | None:
    """The last operation that did something, or tried to."""
    found = worth_telling(recorded(site))
    return found[-1] if found else None


def chosen(found: Sequence[Deploy], wanted: str) -> Deploy:
    """The operation of an id, or of its last part.

    :raises EngineError: when there is none, or several.
    """
    matches = [deploy for deploy in found if wanted in (deploy.id, deploy.short)]
    if not matches:
        raise EngineError(f"no operation is called {wanted!r}", "see: djdeploy history SITE --all")
    if len(matches) > 1:
        raise EngineError(
            f"{wanted!r} could be any of {', '.join(deploy.id for deploy in matches)}", "name one of them whole"
        )
    return matches[0]


# --- For people ------------------------------------------------------------------------------------------------


def history_lines(found: Sequence[Deploy]) -> list[str]:
    """A line for each operation, newest first.

    :param found: oldest first, as `deploys` gives them.
    """
    rows = [("when (UTC)", "id", "what", "by", "revision", "result", "took", "migrations")]
    rows += [
        (
            when(deploy.at),
            deploy.short,
            deploy.op,
            by(deploy),
            f"{shortened(deploy.before) or '-'} -> {shortened(deploy.after) or '-'}",
            deploy.result.replace("_", " "),
            took(deploy),
            f"{len(deploy.migrations) or ''}",
        )
        for deploy in reversed(found)
    ]
    reasons = ["", *(one_line(deploy.reason) for deploy in reversed(found))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)), reason]).rstrip()
        for row, reason in zip(rows, reasons, strict=True)
    ]


def deploy_lines(deploy: Deploy) -> list[str]:
    """All about one operation."""
    told = {
        "id": deploy.id,
        "began": f"{when(deploy.at)} UTC",
        "by": by(deploy),
        "revision": f"{deploy.before or '-'} -> {deploy.after or '-'}",
        "subject": deploy.subject,
        "release": deploy.release,
        "result": deploy.result.replace("_", " ") + (f" after {took(deploy)}" if deploy.seconds is not None else ""),
        "reason": deploy.reason,
        "hint": deploy.hint,
        "migrations": ", ".join(deploy.migrations),
        "snapshot": deploy.snapshot,
    }
    lines = [f"{deploy.op} of {deploy.site}"]
    lines += [f"  {name:<11} {value}".replace("\n", f"\n{'':<14}") for name, value in told.items() if value]
    if deploy.phases:
        lines += ["phases", *map(phase_line, deploy.phases)]
    if deploy.plan:
        lines += [f"plan {deploy.plan.get('id', '')}", *(f"  {line}" for line in plan_lines(deploy.plan))]
    return lines


def phase_line(phase: dict[str, Any]) -> str:
    if phase["state"] == "started":
        return f"  {phase['name']:<12}not ended"
    return rendered({"event": "phase", **phase}) or ""


def plan_lines(told: dict[str, Any]) -> list[str]:
    """A plan for people, or its keys when an engine of another version wrote it."""
    try:
        return planning.lines(planning.Plan.from_mapping(told))
    except (KeyError, TypeError):
        return [f"{name:<12}{json.dumps(value)}" for name, value in told.items() if value and name != "id"]


def last_lines(deploy: Deploy, live: str | None) -> list[str]:
    """The last operation for somebody who looks at the site as it is, with what to run if it never ended.

    :param live: id of the release that is live.
    """
    parts = [deploy.reason if deploy.pending else deploy.result.replace("_", " ")]
    if deploy.seconds is not None:
        parts.append(took(deploy))
    if deploy.migrations:
        parts.append(planning.counted(len(deploy.migrations), "migration"))
    what = " of ".join(filter(None, (deploy.op, shortened(deploy.after))))
    lines = [f"{what} by {by(deploy)}, {when(deploy.at)} UTC: {', '.join(parts)}"]
    if deploy.reason and not deploy.pending:
        lines.append(one_line(deploy.reason))
    if deploy.pending and deploy.release != live:
        lines.append(f"to do it again: djdeploy {again(deploy)}")
    return lines


def again(deploy: Deploy) -> str:
    """The words of the command that does an operation anew."""
    if deploy.op in (PUSH, DEPLOY) and deploy.after:
        return f"deploy {deploy.site} {shortened(deploy.after)}"
    if deploy.op == RESTORE:  # it was asked for by the name of a snapshot
        return f"restore {deploy.site} {deploy.after}"
    return f"{deploy.op} {deploy.site}"


def by(deploy: Deploy) -> str:
    return f"{deploy.who} ({deploy.door})"


def took(deploy: Deploy) -> str:
    return "" if deploy.seconds is None else f"{deploy.seconds:.1f} s"


def shortened(revision: str) -> str:
    """A commit or a release id as people say it; a branch or a tag as it is."""
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision[:7]
    return re.sub(r"^\d{8}T\d{6}(\.\d{2})?-", "", revision)


def one_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def when(at: str) -> str:
    """A time of a record for people, in UTC: `2026-03-01 12:00:00`."""
    try:
        return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return at or "-"
