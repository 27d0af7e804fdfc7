# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for what is wrong with this host or a site, and says what to run. Changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from . import (
    aliases,
    beneath,
    databases_said,
    health,
    limits,
    move,
    preflight,
    process_units,
    records,
    runner,
    snapshots,
    units,
)
from .errors import EngineError
from .paths import (
    DEPLOYER_SOCKET,
    DEPLOYER_UNIT,
    ENGINE_LINK,
    PGBOUNCER_CONFIG,
    PUSH_SOCKET,
    PUSH_UNIT,
    REDIS_SERVER_CONFIG,
    REDIS_SERVER_UNIT,
    UV,
)
from .prepare import site_target
from .releases import Release, current_id, live_release, serve_again
from .requirements import is_complete
from .sites import Site, load_site, site_names

LEAST_FREE_BYTES = 1 << 30
LEAST_FREE_INODES = 20_000


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    :param cure: what to run; empty when all is well.
    """

    about: str
    ok: bool
    said: str
    cure: str = ""

    def as_dict(self) -> dict[str, Any]:
        return vars(self)

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'BAD '} {self.about:<13} {self.said}"
        return line if self.ok or not self.cure else f"{line}\n     -> {self.cure}"


def room(free_bytes: int, free_inodes: int) -> Finding:
    """Judge the free space of the disk that holds the sites."""
    said = f"{free_bytes / (1 << 30):.1f} GiB and {free_inodes} inodes free on /srv"
    ok = free_bytes >= LEAST_FREE_BYTES and free_inodes >= LEAST_FREE_INODES
    return Finding("disk", ok, said, "lower keep_releases, or give the disk room: a release needs about 0.3 GiB")


def host_findings() -> Iterator[Finding]:
    """What all sites of the host stand on."""
    disk, inodes = shutil.disk_usage("/srv"), os.statvfs("/srv")
    yield room(disk.free, inodes.f_favail if inodes.f_files else LEAST_FREE_INODES)  # btrfs counts none
    yield Finding("engine", ENGINE_LINK.exists(), f"{ENGINE_LINK} -> {os.path.realpath(ENGINE_LINK)}", "run site.yml")
    for unit, path in ((DEPLOYER_UNIT, DEPLOYER_SOCKET), (PUSH_UNIT, PUSH_SOCKET)):
        listens = units.state(f"{unit}.socket").active == "active" and path.exists()
        yield Finding(
            "deployer", listens, f"{path} {'listens' if listens else 'does not listen'}",
            f"systemctl start {unit}.socket",
        )  # fmt: skip
    yield Finding("uv", UV.exists(), f"{UV} {'is there' if UV.exists() else 'is missing'}", "run site.yml")
    nginx = units.state("nginx.service")
    if PGBOUNCER_CONFIG.exists():
        yield pooler_finding(units.state("pgbouncer.service").active, units.state("pgbouncer.socket").active)
    yield Finding("nginx", nginx.active == "active", f"nginx is {nginx.active}", "nginx -t; systemctl restart nginx")


def redis_findings() -> Iterator[Finding]:
    """What is to be said of Debian's own redis, which listens on the loopback for all users of the host."""
    if not REDIS_SERVER_CONFIG.exists() or units.state(REDIS_SERVER_UNIT).active != "active":
        return
    try:  # redis owns it, and the directory it lies in
        config = beneath.read(REDIS_SERVER_CONFIG).decode(errors="replace")
    except (OSError, EngineError) as error:
        yield Finding(
            "redis", False, f"{REDIS_SERVER_CONFIG} cannot be read: {error}",
            f"see that it is a file (ls -l {REDIS_SERVER_CONFIG}), and whether {REDIS_SERVER_UNIT} asks for a password",
        )  # fmt: skip
        return
    if not is_closed(config):
        yield Finding(
            "redis", False, f"{REDIS_SERVER_UNIT} lets in every user of the host, without a password",
            f"when nobody uses it (a site does if its REDIS_URL says so): systemctl disable --now {REDIS_SERVER_UNIT}; "
            f"systemctl mask {REDIS_SERVER_UNIT}; else set requirepass in {REDIS_SERVER_CONFIG}",
        )  # fmt: skip


def is_closed(config: str) -> bool:
    """Whether a redis asks who is there, or does not listen by TCP (redis.io, "Security"; redis.conf of Debian)."""
    words = [line.split() for line in config.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    said = {each[0].lower(): each[1:] for each in words}
    return bool({"requirepass", "aclfile", "user"} & said.keys()) or said.get("port") == ["0"]


def undescribed_findings(names: list[str]) -> Iterator[Finding]:
    """The sites of this host that no inventory describes any more."""
    try:
        found = records.undescribed(records.read(), names)
    except EngineError as error:
        yield Finding("record", False, error.message, error.hint)
        return
    for name, why in found.items():
        yield Finding(
            name, False, why,
            f"describe {name} in djdeploy_sites of its inventory again and run site.yml; until then it stays as it is",
        )  # fmt: skip


def pooler_finding(service: str, socket: str) -> Finding:
    """Judge PgBouncer by the ActiveState of its units: sites that go through it have no database without it."""
    said = f"pgbouncer is {service}" + ("" if socket == "active" else f", its socket {socket}")
    cure = "journalctl -u pgbouncer -n 50; systemctl restart pgbouncer.socket pgbouncer.service"
    return Finding("pgbouncer", service == socket == "active", said, cure)


def site_findings(site: Site) -> Iterator[Finding]:
    """What one site needs to serve."""
    try:
        live_id, live = current_id(site.name), live_release(site.name)
    except EngineError as error:
        yield Finding(site.name, False, error.message, error.hint)
        return
    if live is None and live_id is not None:
        gone = "" if (site.paths.releases / live_id).is_dir() else f"rm {site.paths.current} && "
        yield Finding(
            site.name, False, f"{site.paths.current} points at {live_id}, which has no record",
            f"{gone}{serve_again(site.name)}",
        )  # fmt: skip
        return
    if live is None:
        yield Finding(site.name, True, "waits for its first push")
        return
    paths = site.paths.release(live.id)
    service = units.state(paths.service_unit)
    yield Finding(
        site.name, service.active == "active", f"{paths.service_unit} is {service.active} ({service.sub})",
        f"journalctl -u {paths.service_unit} -n 50; systemctl restart {paths.service_unit}",
    )  # fmt: skip
    if live.processes:
        name = process_units.log_patterns(site.name, live.id)[0]
        for each in process_units.states(site, live, process_units.look(site.name)):
            yield Finding(
                site.name, each["state"] == "active", f"process {each['name']} is {each['state']} ({each['sub']})",
                f"journalctl -u '{name}' -n 50; djdeploy recover {site.name}",
            )  # fmt: skip
    whole = is_complete(site.paths.environments / live.environment)
    yield Finding(
        site.name, whole, f"virtualenv {live.environment[:7]} is {'complete' if whole else 'damaged'}",
        f"djdeploy deploy {site.name} --force",
    )  # fmt: skip
    at_once = {**site.config["health"], "timeout": health.answer_timeout(site.config["health"]), "prove_for": 0}
    questions: tuple[tuple[str, Callable[[], str]], ...] = (
        ("own socket", lambda: health.prove(paths, site.domain, at_once)),
        ("through nginx", lambda: health.through_nginx(site.domain, site.config["health"])),
    )
    for about, question in questions:
        try:
            yield Finding(site.name, True, f"{about}: {question()}")
        except EngineError as error:
            yield Finding(site.name, False, f"{about}: {error.message}", error.hint)
    yield from database_findings(site, live)
    yield from limit_findings(site)
    short = preflight.missing(preflight.release_needs(site, live.id))
    yield Finding(
        site.name, not short, f"not enough room on {short}" if short else "there is room for another release",
        preflight.cure(site),
    )  # fmt: skip
    same = live.fingerprint == site.fingerprint()
    yield Finding(
        site.name, same, "configuration is live" if same else "configuration changed since the release was made",
        f"djdeploy deploy {site.name}",
    )  # fmt: skip


def limit_findings(site: Site, run: runner.Runner = runner.run) -> Iterator[Finding]:
    """How near a site is to what it may take of the host and of the database servers that are here."""
    told = [*limits.judged(limits.use(site.paths.slice, run), site.name)]
    for kind in sorted({each.kind for each in databases_said.wanted(site.config, site.name) if each.served}):
        if found := limits.connections(kind, site.name, run):
            told.append(limits.connections_judged(*found, site.name))
    yield from (Finding(site.name, each.ok, each.said, each.cure) for each in told)


def database_findings(site: Site, live: Release) -> Iterator[Finding]:
    """Whether each database of a site that has several answers; one that has a single one shows it by serving."""
    for alias in aliases.migrated(live) if live.facts.get("further") else ():
        place = f"database {alias}: {move.where_told(live.facts, alias)}"
        try:
            size = snapshots.connection(site_target(site, live), alias)["size"]
            yield Finding(site.name, True, f"{place}, {preflight.amount(size, None)}")
        except EngineError as error:
            yield Finding(site.name, False, f"{place}: {error.message}", error.hint)


def findings(names: list[str] | None = None) -> Iterator[Finding]:
    """Everything, or the host and the named sites."""
    yield from host_findings()
    yield from redis_findings()
    yield from (each for each in undescribed_findings(site_names()) if not names or each.about in (*names, "record"))
    for name in names or site_names():
        yield from site_findings(load_site(name))
