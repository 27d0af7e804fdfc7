# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd as they should be: running or not, started at boot or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..engine.errors import EngineError
from ..engine.runner import Runner

STATES = ("started", "stopped", "restarted", "reloaded")
PROPERTIES = ("Id", "Names", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


@dataclass(frozen=True)
class Wanted:
    """How one unit should be.

    :param name: full name, with its suffix: `nginx.service`.
    :param state: one of `STATES`; None leaves it as it is.
    :param enabled: whether it starts at boot; None leaves it as it is.
    """

    name: str
    state: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True)
class Found:
    """What systemd says of one unit."""

    loaded: bool = False
    active: str = "inactive"
    file_state: str = ""
    stale: bool = False

    @property
    def running(self) -> bool:
        return self.active in ("active", "activating", "reloading")

    @property
    def enabled(self) -> bool:
        return self.file_state in ("enabled", "static", "alias", "indirect", "generated")


@dataclass(frozen=True)
class Action:
    """One call of systemctl.

    :param verb: "start", "stop", "restart", "reload", "enable", "disable" or "daemon-reload".
    :param unit: empty for "daemon-reload".
    """

    verb: str
    unit: str = ""

    @property
    def argv(self) -> tuple[str, ...]:
        return ("systemctl", self.verb, self.unit) if self.unit else ("systemctl", self.verb)


def parse_show(text: str) -> dict[str, Found]:
    """Read `systemctl show --property=...` of several units, by every name each of them goes by."""
    units: dict[str, Found] = {}
    for block in text.split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" not in fields:
            continue
        found = Found(
            loaded=fields.get("LoadState") not in ("not-found", None),
            active=fields.get("ActiveState", "inactive"),
            file_state=fields.get("UnitFileState", ""),
            stale=fields.get("NeedDaemonReload") == "yes",
        )
        for name in {fields["Id"], *fields.get("Names", "").split()}:
            units[name] = found
    return units


def plan(wanted: Iterable[Wanted], found: Mapping[str, Found], reload_manager: bool = False) -> list[Action]:
    """Say what to tell systemd, in order.

    :param found: unit name -> what systemd says of it.
    :param reload_manager: whether unit files have changed that no unit named here was made from.
    """
    wanted = list(wanted)
    actions: list[Action] = []
    if reload_manager or any(found.get(unit.name, Found()).stale for unit in wanted):
        actions.append(Action("daemon-reload"))
    for unit in wanted:
        present = found.get(unit.name, Found())
        if unit.enabled is not None and unit.enabled != present.enabled:
            actions.append(Action("enable" if unit.enabled else "disable", unit.name))
        if unit.state == "stopped":
            if present.running:
                actions.append(Action("stop", unit.name))
        elif unit.state == "started" or (unit.state == "reloaded" and not present.running):
            if not present.running:
                actions.append(Action("start", unit.name))
        elif unit.state == "restarted":
            actions.append(Action("restart", unit.name))
        elif unit.state == "reloaded":
            actions.append(Action("reload", unit.name))
    return actions


def look(names: Iterable[str], run: Runner) -> dict[str, Found]:
    """Ask systemd about units.

    :raises EngineError: when systemd does not answer.
    """
    completed = run(["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *names])
    if completed.returncode != 0:
        raise EngineError(
            "systemd does not answer on this host",
            "djdeploy needs a host that was booted with systemd; look at: systemctl status",
            completed.stderr,
        )
    return parse_show(completed.stdout)


def apply(actions: Iterable[Action], run: Runner) -> None:
    """Carry out a plan.

    :raises EngineError: with the unit's last journal lines, when systemd refuses.
    """
    for action in actions:
        completed = run(action.argv)
        if completed.returncode == 0:
            continue
        detail = completed.stderr
        if action.unit:
            journal = run(["journalctl", f"--unit={action.unit}", "--lines=20", "--no-pager", "--output=cat"])
            detail += journal.stdout
        raise EngineError(
            f"systemctl {action.verb} {action.unit} failed on this host".replace("  ", " "),
            f"look at it there: journalctl --unit={action.unit or 'init.scope'}",
            detail,
        )
