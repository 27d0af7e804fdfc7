# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases of a site: their names, their records, and what may be done with which.

A record (`release.json`) tells the state of its release:

preparing  being built; removed by the next run if that never ends
prepared   built and checked, not live yet
live       what `current` points at
retired    was live, was replaced, can be gone back to
failed     could not be built, started or proven; kept as evidence
void       was live and was rolled back from; never chosen again unless named
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .errors import EngineError
from .paths import SitePaths
from .tree import FULL, even_when_full

RELEASE_ID = re.compile(r"^\d{8}T\d{6}(\.\d{2})?-[0-9a-f]{7}$")
STAMP = "%Y%m%dT%H%M%S"
FAILED_KEPT = 2


@dataclass(frozen=True)
class Release:
    """The record of one release.

    :param id: `<UTC yyyymmddThhmmss>[.<counter>]-<first 7 of the revision>`; sorts by time.
    :param fingerprint: `Site.fingerprint()` when it was made.
    :param environment: name of the virtualenv in `venvs/`.
    :param import_paths: directories of the tree that manage.py alone would put on sys.path.
    :param choices: what was found out about the project: name -> [value, reason].
    :param server: the program that serves it (see `servers`); empty of early releases, which gunicorn serves.
    :param facts: what Django answered when asked (settings, application, static, media, ...).
    :param static_sent: whether its static files are where the project keeps them, if that is not on this host.
    :param pending: migrations that were not applied when it was prepared, as `app.name`.
    :param known: app label -> names of the migrations its code has.
    :param migrations: what was planned to be applied for it, each as `migrations.Judged` told it.
    :param applied: migrations it really applied, as `app.name`, in their order.
    :param snapshot: name of the snapshot made before they were applied.
    :param digests: what the next release is compared with: of `settings`, `environment` and `configuration`.
    :param plan: what going live with it was to change, as `plan.Plan` told it.
    :param processes: what runs beside the web server as long as it is live, each as `processes.Process`.
    :param jobs: what runs at its times, the same.
    :param release_command: what runs once, after its migrations and before its start; empty: nothing.
    :param release_command_ran: whether it did.
    :param django_start: seconds Django took to start when it was checked; 0 of early releases.
    :param prepared_beside: id of the release that was live when it was prepared.
    :param replaced: id of the release that was live before this one.
    """

    id: str
    site: str
    revision: str
    subject: str = ""
    state: str = "preparing"
    door: str = ""
    who: str = ""
    created: str = ""
    fingerprint: str = ""
    environment: str = ""
    project_path: str = "."
    import_paths: list[str] = field(default_factory=list)
    settings: str = ""
    application: str = ""
    choices: dict[str, list[str]] = field(default_factory=dict)
    server: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    static_sent: bool = False
    pending: list[str] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)
    migrations: list[dict[str, Any]] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    snapshot: str = ""
    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    processes: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    release_command: str = ""
    release_command_ran: bool = False
    django_start: float = 0.0
    prepared_beside: str = ""
    live_since: str = ""
    live_until: str = ""
    replaced: str = ""
    reason: str = ""

    @property
    def short(self) -> str:
        return self.revision[:7]

    @property
    def served(self) -> bool:
        return bool(self.live_since)


def new_release_id(now: datetime, revision: str, taken: Iterable[str]) -> str:
    """A name later than all that are taken, even when the clock went back or two come in one second."""
    stamp = now.strftime(STAMP)
    stamps = sorted(name.rsplit("-", 1)[0] for name in taken if RELEASE_ID.match(name))
    newest = stamps[-1] if stamps else ""
    if newest[:15] >= stamp:
        count = int(newest[16:] or 0) + 1
        stamp = f"{newest[:15]}.{count:02d}"
        if count > 99:  # a clock that was far ahead once: every release since counts on from there
            stamp = (datetime.strptime(newest[:15], STAMP) + timedelta(seconds=1)).strftime(STAMP)
    return f"{stamp}-{revision[:7]}"


def read_release(path: Path) -> Release | None:
    """The record in a release directory, or None where there is none that can be read."""
    known = {item.name for item in fields(Release)}
    try:
        data = json.loads((path / "release.json").read_text())
        return Release(**{key: data[key] for key in known & data.keys()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def write_release(release: Release, *, group: int | None = None) -> None:
    """Write the record: aside, then rename, so that it is never half there."""
    path = SitePaths(release.site).release(release.id).record
    aside = path.with_suffix(".json.new")

    def write() -> None:
        with open(aside, "w", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
            json.dump(asdict(release), file, indent=1)
            file.write("\n")

    even_when_full(SitePaths(release.site).reserve, write)
    os.chown(aside, 0, group if group is not None else path.parent.stat().st_gid)
    aside.rename(path)


def note_release(release: Release) -> None:
    """Write a record that only follows what has happened already, if the disk has room for it.

    Where it has none, nothing that went well is called a failure: the pointer is the truth, and the
    next run mends the record (`settled`).
    """
    try:
        write_release(release)
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.stderr.write(f"the record of {release.id} could not be written: {error.strerror}; the next run mends it\n")


def all_releases(site: str) -> list[Release]:
    """Every release of a site that has a record, oldest first."""
    root = SitePaths(site).releases
    if not root.is_dir():
        return []
    records = (read_release(path) for path in root.iterdir() if RELEASE_ID.match(path.name))
    return sorted((record for record in records if record is not None), key=lambda record: record.id)


def current_id(site: str) -> str | None:
    """The release `current` points at.

    :raises EngineError: when `current` is not a symlink, which only a hand can have done.
    """
    pointer = SitePaths(site).current
    if pointer.is_symlink():
        return os.readlink(pointer).rstrip("/").rsplit("/", 1)[-1]
    if pointer.exists():
        raise EngineError(
            f"{pointer} must be a symlink to a release, but it is a {'directory' if pointer.is_dir() else 'file'}",
            f"mv {pointer} {pointer}.moved && {serve_again(site)}",
        )
    return None


def serve_again(site: str) -> str:
    """The command that makes a site without a pointer serve: back to what served last, or a new release."""
    served = [record for record in all_releases(site) if record.served]
    served.sort(key=lambda record: (record.state == "live", record.state == "retired", record.id))
    return f"djdeploy rollback {site} --to {served[-1].id}" if served else f"djdeploy deploy {site}"


def live_release(site: str) -> Release | None:
    """The record of the live release, or None before the first one."""
    release_id = current_id(site)
    return read_release(SitePaths(site).releases / release_id) if release_id else None


def settled(records: Sequence[Release], current: str | None) -> list[Release]:
    """The records whose state does not agree with the pointer, mended.

    The rename of `current` is the commit point; a record is written after it. A crash between
    the two leaves the record behind, and the pointer is right. A release that never served before
    replaced the one it was prepared beside.
    """
    mended = []
    for record in records:
        if record.id == current and record.state != "live":
            replaced = record.replaced or record.prepared_beside
            since = record.live_since or record.created
            mended.append(replace(record, state="live", live_since=since, replaced=replaced, reason=""))
        elif record.id != current and record.state == "live":
            mended.append(replace(record, state="retired"))
    return mended


def rollback_target(records: Sequence[Release], current: str | None, wanted: str | None = None) -> Release:
    """The release to go back to: the one that served before the live one, unless one is named.

    Never one that failed, was left by a rollback, or never served; order comes from the
    records, never from file times.

    :param wanted: a release id, or the start of a revision; of several releases of one revision the newest.
    :raises EngineError: when there is none, or the named one cannot serve.
    """
    by_id = {record.id: record for record in records}
    if wanted:
        matches = [record for record in records if record.id == wanted or record.revision.startswith(wanted)]
        matches = [record for record in matches if record.served] or matches
        if not matches:
            raise EngineError(
                f"no kept release is called {wanted!r}",
                f"kept releases: {', '.join(record.id for record in records if record.served) or 'none'}",
            )
        if len({record.revision for record in matches}) > 1:
            raise EngineError(
                f"{wanted!r} could be any of {', '.join(record.id for record in matches)}", "name one of them whole"
            )
        target = matches[-1]
        if target.id == current:
            raise EngineError(f"{target.id} is live already")
        if not target.served:
            raise EngineError(f"{target.id} never served ({target.state}: {target.reason or 'not proven'})")
        return target
    if current is None or current not in by_id:
        raise EngineError("nothing is live, so there is nothing to roll back from")
    seen, candidate = {current}, by_id[current].replaced
    while candidate and candidate not in seen:
        seen.add(candidate)
        record = by_id.get(candidate)
        if record is None:
            break
        if record.state == "retired" and record.served:
            return record
        candidate = record.replaced
    older = [record for record in records if record.state == "retired" and record.served and record.id < current]
    if older:
        return older[-1]
    raise EngineError("no earlier release that served is kept", "see: djdeploy releases SITE")


def releases_to_prune(
    records: Sequence[Release], current: str | None, keep: int, spared: Collection[str] = ()
) -> list[Release]:
    """What may go: all but the newest `keep` that served, and never the live one nor the one to go back to.

    Of those that failed the newest few stay as evidence, and take no place from the others. A
    release that was prepared and never went live was prepared beside another live one; it can
    never be used, so it goes at once.

    :param spared: releases with processes that still run, which need their code; a later run removes them.
    """
    stale = [record for record in records if record.state == "prepared" and record.id != current]
    records = [record for record in records if record not in stale]
    served = [record.id for record in records if record.served]
    failed = [record.id for record in records if not record.served]
    safe = {current, *served[-keep:], *failed[-FAILED_KEPT:]}
    try:
        safe.add(rollback_target(records, current).id)
    except EngineError:
        pass
    return [record for record in stale + [each for each in records if each.id not in safe] if record.id not in spared]
