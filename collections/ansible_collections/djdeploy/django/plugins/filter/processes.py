# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn what sites say about their processes into what the roles processes and redis hand to modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SYSTEMD_UNITS, SitePaths

Sites = Mapping[str, Mapping[str, Any]]


def job_units(
    sites: Sites, hosts: Mapping[str, Sequence[str]], host: str, changed_paths: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """Files and units of what runs at its times; see job_units.yml."""
    times, files, units = [], [], []
    for name, site in sites.items():
        first = (hosts.get(name) or [host])[0] == host
        marker: dict[str, Any] = {"dest": str(SitePaths(name).not_first), "state": "absent"}
        files.append(marker if first else {**marker, "state": "file", "content": "", "mode": "0644"})
        for job, said in site["schedule"].items() if first else ():
            if not said:
                continue
            variables = {"site": name, "job": job, "said": said, "current": str(SitePaths(name).current)}
            base = f"{SitePaths(name).unit_prefix}.{job}"
            timer, starter = SYSTEMD_UNITS / f"{base}.timer", SYSTEMD_UNITS / f"{base}.service"
            times.append({"site": name, "job": job, "at": said["at"]})
            files += [
                {"dest": str(starter), "src": "schedule.service.j2", "mode": "0644", "vars": variables},
                {"dest": str(timer), "src": "schedule.timer.j2", "mode": "0644", "vars": variables},
                {
                    "dest": str(SYSTEMD_UNITS / "timers.target.wants" / timer.name),
                    "state": "link",
                    "target": str(timer),
                },
            ]
            units.append({"name": timer.name, "state": "restarted" if str(timer) in changed_paths else "started"})
    return {"times": times, "files": files, "units": units}


def redis_units(sites: Sites, changed_paths: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The instances of redis-server@.service of the sites; see redis_units.yml."""
    wanted = {name: SitePaths(name) for name, site in sites.items() if site["redis"]["enabled"]}
    if changed_paths is None:
        return [{"name": places.redis_unit, "state": "started", "enabled": True} for places in wanted.values()]
    return [
        {"name": places.redis_unit, "state": "restarted"}
        for places in wanted.values()
        if str(places.redis_config) in changed_paths
        or any(f"/{places.redis_unit}.d/" in path for path in changed_paths)
    ]


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"job_units": job_units, "redis_units": redis_units}
