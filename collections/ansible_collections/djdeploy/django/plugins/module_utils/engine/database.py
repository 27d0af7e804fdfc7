# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release does to the database of its site, from the gate to the way back.

What the migrations mean is decided in `migrations.py`; here it is asked for, obeyed and undone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import activate, aliases, databases_said, maintenance, migrations, process_units, snapshots
from .errors import EngineError, in_words
from .events import Progress
from .plan import judged
from .plan_facts import snapshot_wanted
from .prepare import site_target
from .releases import Release, all_releases, live_release, read_release, write_release
from .request import Request
from .sites import Site
from .steps import LONGEST, StepError, run_steps

ALWAYS_SAID = re.compile(
    r"Operations to perform:|Running migrations:|\s+(Apply all migrations|Synchronize unmigrated apps|Target specific"
    r" migrations?|Unapply all migrations|No migrations to apply|Applying|Unapplying)\b|\s+Rendering model states\b"
)
LONGEST_MIGRATION = 6 * 3600  # seconds for all of a release; `statement_timeout` bounds each statement


def breaking(planned: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the migrations that code which does not know them cannot live with.

    :param planned: judged migrations as a release's record keeps them.
    """
    return [one["name"] for one in planned if one["kind"] in (migrations.CONTRACT, migrations.UNKNOWN)]


def gate(site: Site, release: Release, request: Request) -> migrations.Gate:
    """Whether the migrations of a release may run, and whether behind the maintenance page.

    :raises EngineError: when they may not, with the way round for each.
    """
    allowed = {*site.config["migrations"]["allow"], *request.allow}
    decision = migrations.gate(judged(release.migrations), allowed)
    if decision.refused:
        raise migrations.refusal(decision, site.name)
    return decision


def migrate(site: Site, release: Release, progress: Progress, *, closed: bool) -> Release:
    """Apply what is pending: snapshot first, and behind the maintenance page where old code would break.

    :param closed: whether visitors must not reach the application meanwhile.
    :returns: the release as recorded, with what was applied.
    """
    if not release.pending:
        return release
    if snapshot_wanted(site, release) is True:
        taken = snapshots.take(site, site_target(site, release), release.id, progress, aliases.holding(release))
        if taken is not None:
            release = replace(release, snapshot=taken.together)
            write_release(release)
    if closed:
        close(site, f"{release.short} changes the database", release.id, progress)
    release = replace(release, applied=apply(site, release, progress))
    write_release(release)
    return release


def apply(site: Site, release: Release, progress: Progress) -> list[str]:
    """Apply what the code of a release has and its databases lack, one database after the other.

    :returns: the migrations that were applied.
    """
    concerned = aliases.migrated(release)
    with progress.phase("migrate") as note:
        try:
            done = run_steps(
                site_target(site, release),
                aliases.steps({"name": "migrate", **bounds(site)}, concerned),
                timeout=LONGEST_MIGRATION,
                on_stderr=telling(progress),
            )
        except StepError as error:
            alias = str(error.facts.get("database") or aliases.DEFAULT)
            told = before_it(site, release, error.facts.get("half_applied", ""), alias)
            raise error.with_hint(told) from error
        applied = [
            aliases.qualified(alias, name)
            for alias, one in zip(concerned, done, strict=True)
            for name in one.facts.get("applied", ())
        ]
        note.text = shortened(applied) or "nothing to apply"
    return applied


def before_it(site: Site, release: Release, half_applied: str, alias: str = aliases.DEFAULT) -> str:
    """How to get the database from before a migration of which a part stays: without that it cannot run again."""
    if not half_applied:
        return ""
    if not release.snapshot:
        wanted = {each.alias: each for each in databases_said.wanted(site.config, site.name)}.get(alias)
        anew = live_release(site.name) is None and wanted is not None and wanted.kind == databases_said.MARIADB
        return (
            "if you have put nothing into the database yourself, begin anew: "
            f"mariadb -e 'DROP DATABASE `{wanted.name}`', and site.yml; then mend the migration and push again"
            if anew and wanted
            else ""
        )
    again = snapshots.restore_command(site.name, release.snapshot)
    return (
        f"the snapshot {release.snapshot} has the database from before {half_applied}; what was written since would be "
        f"lost: {again} --yes; then mend the migration and push again"
    )


def telling(progress: Progress) -> Callable[[str], None]:
    """Pass on what is said while migrations run, but for what Django always says: the phase names them."""

    def tell(line: str) -> None:
        if line.strip() and not ALWAYS_SAID.match(line):
            progress.say(line.strip())

    return tell


def bounds(site: Site) -> dict[str, Any]:
    """How long a migration may wait and take, and the lock that all hosts of the site share."""
    names = ("lock_timeout", "statement_timeout", "attempts")
    return {"lock_name": site.name, **{name: site.config["migrations"][name] for name in names}}


def close(site: Site, reason: str, release: str, progress: Progress) -> None:
    """Put the maintenance page up and let the requests under way finish; the site's other processes before it."""
    process_units.pause(site, progress)
    with progress.phase("maintenance") as note:
        maintenance.on(site, reason, release=release)
        try:
            maintenance.drain(site)
        except EngineError:
            maintenance.off(site)
            process_units.go_on(site)
            raise
        note.text = "the page is up, no request under way"


def shortened(names: Sequence[str], most: int = 4) -> str:
    """Names for one line: all of a few, else the first and the last of many."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{len(names)}: {names[0]} ... {names[-1]}"


# --- the way back -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """How the database differs from what a release knows.

    :param stays: applied migrations it does not know and can live with.
    :param breaks: applied migrations it does not know and cannot live with.
    :param lacks: migrations it needs that are not applied.
    """

    stays: list[str] = field(default_factory=list)
    breaks: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)


def difference(
    known: Mapping[str, Sequence[str]], applied: Iterable[str], records: Mapping[str, Mapping[str, Any]]
) -> Difference:
    """What going back to code that knows only `known` means for the database as it is.

    :param known: app -> migrations of the code gone back to.
    :param applied: `app.name` of all in the database.
    :param records: what is recorded of each migration; one nobody judged counts as one that breaks.
    """
    here = list(applied)
    names = {f"{app}.{name}" for app, names in known.items() for name in names}
    beyond = aliases.concerned([name for name in here if name not in names], known)
    broken = {name for name in beyond if name not in records or breaking([records[name]])}
    return Difference(
        [name for name in beyond if name not in broken],
        [name for name in beyond if name in broken],
        sorted(names - set(here)),
    )


def recorded(site: str) -> dict[str, dict[str, Any]]:
    """What the kept releases tell of each migration they brought."""
    return {one["name"]: one for release in all_releases(site) for one in release.migrations}


def snapshot_before(site: str, names: Iterable[str]) -> str:
    """The snapshot that was taken before any of these migrations; empty when there is none."""
    wanted = set(names)
    for release in all_releases(site):
        if release.snapshot and wanted & set(release.applied or release.pending):
            return release.snapshot
    return ""


def compare(site: Site, live: Release, target: Release) -> Difference:
    """How the database differs from what `target` knows; no Django is started where the code knows the same."""
    if target.known == live.known:
        return Difference()
    return difference(target.known, state(site, live).applied, recorded(site.name))


@dataclass(frozen=True)
class State:
    """What the databases of a release hold.

    :param applied: `app.name` of all that is applied, of whichever code.
    :param known: app -> migrations of the release's code.
    """

    applied: list[str]
    known: dict[str, list[str]]


def state(site: Site, release: Release) -> State:
    """Ask the databases of a release what is applied, in one process."""
    concerned = aliases.migrated(release)
    found = run_steps(
        site_target(site, release), aliases.steps({"name": "migration_state"}, concerned), timeout=LONGEST
    )
    each = list(zip(concerned, found, strict=True))
    return State(
        [aliases.qualified(alias, name) for alias, one in each for name in one.facts["applied"]],
        {aliases.qualified(alias, app): names for alias, one in each for app, names in one.facts["known"].items()},
    )


def told(found: Difference) -> list[str]:
    """The exact difference, for whoever goes back."""
    lines = [f"stays in the database, the old code does not mind: {', '.join(found.stays)}"] if found.stays else []
    lines += [f"the old code cannot live with: {', '.join(found.breaks)}"] if found.breaks else []
    lines += [f"the old code wants, and the database lacks: {', '.join(found.lacks)}"] if found.lacks else []
    return lines


def way_back(site: Site, live: Release, names: Sequence[str]) -> list[migrations.Reversal]:
    """The whole reverse plan with a verdict on each operation, made by the code that knows the migrations."""
    groups = aliases.grouped(names)
    planned = run_steps(site_target(site, live), unapplying(groups), check=True, timeout=LONGEST)
    return [
        replace(one, name=aliases.qualified(alias, one.name))
        for alias, each in zip(groups, planned, strict=True)
        for one in migrations.judge_reverse(each.facts["plan"], each.facts["tables"])
    ]


def unapplying(groups: Mapping[str, Sequence[str]], **more: Any) -> list[dict[str, Any]]:
    """The steps that take migrations back, one for each database.

    :param groups: alias -> migrations.
    """
    return [
        step
        for alias, names in groups.items()
        for step in aliases.steps({"name": "unapply", "migrations": list(names), **more}, [alias])
    ]


def require_way_back(
    site: Site, plan: Sequence[migrations.Reversal], names: Sequence[str], *, accept_loss: bool
) -> None:
    """See that a reverse plan may run.

    :raises EngineError: when it cannot be run at all, or would lose data nobody has agreed to lose.
    """
    snapshot = snapshot_before(site.name, names)
    restore = snapshots.restore_command(site.name, snapshot) if snapshot else ""
    detail = "\n".join(f"{one.verdict:<13} {one.name}: {one.operation} ({one.why})" for one in plan)
    for one in plan:
        if one.verdict == migrations.IRREVERSIBLE:
            hint = f"the snapshot from before it: {snapshot}; put it back with: {restore}" if snapshot else ""
            raise EngineError(
                f"{one.name} cannot be taken back ({one.operation}), and the old code cannot live with it",
                hint or "no snapshot from before it is kept; go on from here: mend and push again",
                detail,
            )
    lossy = [one for one in plan if one.verdict == migrations.LOSSY]
    if lossy and not accept_loss:
        raise EngineError(
            f"going back would lose data: {lossy[0].name}: {lossy[0].operation} ({lossy[0].why})",
            f"if that may be lost: djdeploy rollback {site.name} --accept-loss"
            + (f"; or put the snapshot {snapshot} back: {restore}" if restore else ""),
            detail,
        )


def take_back(site: Site, newer: Release, names: Sequence[str], progress: Progress) -> None:
    """Take migrations back with the code of the release that knows them."""
    with progress.phase("take back") as note:
        groups = aliases.grouped(names)
        done = run_steps(
            site_target(site, newer),
            unapplying(groups, **bounds(site)),
            timeout=LONGEST_MIGRATION,
            on_stderr=telling(progress),
        )
        back = [
            aliases.qualified(alias, name)
            for alias, one in zip(groups, done, strict=True)
            for name in one.facts["taken_back"]
        ]
        note.text = shortened(back) or "nothing to take back"


def after_failure(site: Site, release: Release, progress: Progress) -> str:
    """A release failed after its migrations: what the old code cannot live with is taken back, if nothing is lost.

    Otherwise the maintenance page stays: old code on a schema it does not know would fail, or do harm.

    :returns: what to tell besides the failure; empty when visitors have the old release again.
    """
    if not breaking(release.migrations):
        maintenance.off(site)
        process_units.go_on(site)
        return ""
    try:
        applied = set(state(site, release).applied)
        names = [name for name in breaking(release.migrations) if name in applied]
        if names:
            maintenance.on(site, f"{release.short} failed after it changed the database", release=release.id)
            plan = way_back(site, release, names)
            require_way_back(site, plan, names, accept_loss=False)
            take_back(site, release, names, progress)
    except Exception as error:
        told = in_words(error)
        return (
            f"the maintenance page stays up, because the old code cannot live with the database as it is now: "
            f"{told.message}" + (f"\n  -> {told.hint}" if told.hint else "")
        )
    maintenance.off(site)
    process_units.go_on(site)
    return ""


def reopen(site: Site, progress: Progress) -> None:
    """A run that was killed may have left the page up: give the live release a database it can live with, and open.

    A page that names no release was put up by hand, and stays.
    """
    said = maintenance.state(site)
    live = live_release(site.name)
    if said is None or not said["release"] or live is None:
        return
    progress.say(f"an interrupted run left the maintenance page up ({said['reason']})")
    here = state(site, live)
    found = difference(live.known or here.known, here.applied, recorded(site.name))
    newer = read_release(site.paths.releases / said["release"])
    if found.breaks and newer is not None:
        plan = way_back(site, newer, found.breaks)
        try:
            require_way_back(site, plan, found.breaks, accept_loss=False)
        except EngineError:
            if newer.state != "prepared":  # it failed already, and the page was left up on purpose
                raise
            go_forward(site, newer, progress)
            return
        take_back(site, newer, found.breaks, progress)
    if found.lacks:
        apply(site, live, progress)
    maintenance.off(site)
    progress.say("the maintenance page is gone")


def go_forward(site: Site, newer: Release, progress: Progress) -> None:
    """A run was killed between migrations that cannot be taken back without loss and the switch: do the rest of it."""
    progress.say(f"there is no way back that loses nothing, so {newer.short} goes live as it was to")
    apply(site, newer, progress)
    newer = process_units.run_release_command(newer, site_target(site, newer), progress)
    activate.go_live(site, newer, progress, closed=True, watched=False)
    progress.say("the maintenance page is gone")
