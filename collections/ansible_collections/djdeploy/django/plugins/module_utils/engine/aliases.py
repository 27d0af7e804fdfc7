# SPDX-License-Identifier: GPL-3.0-or-later
"""What several databases of one site have to do with migrations: which are migrated, and how each migration is called.

A migration of `default` is called `app.name`, as everywhere; one of another database `alias:app.name`. So records,
plans and the way back keep plain lists of names. All of it is pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from . import databases_said, migrations

DEFAULT = databases_said.DEFAULT
MARK = ":"  # in no alias and in no name of a migration


class Recorded(Protocol):
    """The part of a release's record that counts here."""

    @property
    def facts(self) -> dict[str, Any]: ...

    @property
    def pending(self) -> list[str]: ...

    @property
    def known(self) -> dict[str, list[str]]: ...


def qualified(alias: str, name: str) -> str:
    """The name of a migration, or of an app, of one database."""
    return name if alias == DEFAULT else f"{alias}{MARK}{name}"


def split(name: str) -> tuple[str, str]:
    """(alias, name within that database)."""
    alias, found, rest = name.partition(MARK)
    return (alias, rest) if found else (DEFAULT, name)


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """Alias -> names within it, in the order of the names."""
    found: dict[str, list[str]] = {}
    for alias, name in map(split, names):
        found.setdefault(alias, []).append(name)
    return found


def migrated(release: Recorded) -> tuple[str, ...]:
    """The databases whose migrations a release brings: `default`, and those the site named when it was made.

    What the project's own settings hold besides is its own business.
    """
    return (DEFAULT, *(release.facts.get("further") or {}))


def steps(step: Mapping[str, Any], aliases: Iterable[str]) -> list[dict[str, Any]]:
    """One step for each database."""
    return [dict(step) if alias == DEFAULT else {**step, "database": alias} for alias in aliases]


def planning(site: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps that tell what each database of a site lacks; one that only mirrors another lacks nothing.

    :param site: its keys.
    """
    plain = {"name": "migrate", "plan_only": True, "detail": True}
    further = steps({**plain, "unless_mirror": True}, [each.alias for each in databases_said.further(site)])
    return [plain, *further]


# --- what a release records -----------------------------------------------------------------------------------


@dataclass
class Planned:
    """The plans of all databases of a release, as its record keeps them.

    :param further: alias -> `recorded`, how many migrations were applied there, and `touched`, whether the plan
        changes anything in it but the list of migrations.
    :param default_touched: the same of `default`; only looked at beside others.
    :param told: what the person who deploys should know of them.
    """

    pending: list[str] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)
    migrations: list[dict[str, Any]] = field(default_factory=list)
    further: dict[str, dict[str, Any]] = field(default_factory=dict)
    default_touched: bool = True
    told: list[str] = field(default_factory=list)


def planned(found: Sequence[Mapping[str, Any]], *, declared: Mapping[str, str], big_table: int) -> Planned:
    """Put the plans of the databases of a site together.

    :param found: facts of the step `migrate` of each, `default` first.
    :param declared: `app.name` or `app.*` -> class, for every database.
    :param big_table: rows.
    """
    told = Planned()
    for facts in found:
        alias = str(facts.get("database") or DEFAULT)
        if facts.get("mirror"):
            told.told.append(f"the database {alias} mirrors another one, so it is neither migrated nor copied")
            continue
        plan = facts.get("plan", ())
        judged = migrations.judge(
            plan,
            facts.get("tables", {}),
            vendor=facts.get("vendor", ""),
            declared=declared,
            big_table=big_table,
        )
        told.pending += [qualified(alias, str(entry["migration"])) for entry in plan]
        told.known |= {qualified(alias, app): list(names) for app, names in facts.get("known", {}).items()}
        told.migrations += [renamed(one, alias).as_dict() for one in judged]
        if alias == DEFAULT:
            told.default_touched = any(map(touches, plan))
        else:
            told.further[alias] = {"recorded": facts.get("recorded"), "touched": any(map(touches, plan))}
            if plan and facts.get("unrouted"):
                told.told.append(
                    f"no router of the project says what belongs into {alias} (allow_migrate), so every migration runs "
                    "there, too"
                )
    return told


def renamed(one: migrations.Judged, alias: str) -> migrations.Judged:
    """A judged migration under its name among those of all databases."""
    if alias == DEFAULT:
        return one
    name = qualified(alias, one.name)
    reasons = tuple(
        replace(reason, operation=name) if reason.operation == one.name else reason for reason in one.reasons
    )
    return replace(one, name=name, reasons=reasons)


def touches(entry: Mapping[str, Any]) -> bool:
    """Whether a planned migration changes anything in its database; the routers keep many out of most."""
    details = entry.get("details")
    return details is None or bool(entry.get("fresh")) or any(not detail.get("nothing") for detail in details)


def holding(release: Recorded) -> tuple[str, ...]:
    """The databases that hold something, and that the migrations of a release change: those to copy before."""
    pending, further = grouped(release.pending), release.facts.get("further") or {}
    found = []
    for alias in (DEFAULT, *further):
        if not pending.get(alias):
            continue
        facts = further.get(alias) or {"recorded": release.facts.get("migrations_recorded")}
        if alias == DEFAULT and further:
            facts["touched"] = release.facts.get("default_touched", True)
        everything = sum(len(names) for app, names in release.known.items() if split(app)[0] == alias)
        # Squashed migrations come with those they replace, which nothing will ever run: then fewer are pending than
        # known.
        is_empty = facts.get("recorded") == 0 or len(pending[alias]) >= everything
        if not is_empty and facts.get("touched", True):
            found.append(alias)
    return tuple(found)


def concerned(names: Iterable[str], apps: Iterable[str]) -> list[str]:
    """Those migrations that are in databases some code knows at all: what it never asks cannot break it.

    :param apps: keys of what the code knows.
    """
    aliases = {DEFAULT, *(split(app)[0] for app in apps)}
    return [name for name in names if split(name)[0] in aliases]
