# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and units of jobs, and of the sites' own redis."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.filter import hosts, processes
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema


def sites(**keys: Any) -> dict[str, Any]:
    return {"shop": schema.resolve("shop", {"domains": ["shop.example.com"], **keys})}


SCHEDULE = {"clean": {"command": "x", "at": "daily"}, "off": False}
TIMER = "/etc/systemd/system/djdeploy-shop.clean.timer"


def test_jobs_of_the_first_host() -> None:
    found = processes.job_units(sites(schedule=SCHEDULE), {"shop": ["web1", "web2"]}, "web1", [TIMER])
    assert [file["dest"].rsplit("/", 1)[-1] for file in found["files"]] == [
        "shop.not-first", "djdeploy-shop.clean.service", "djdeploy-shop.clean.timer", "djdeploy-shop.clean.timer",
    ]  # fmt: skip
    assert found["files"][0]["state"] == "absent"
    assert found["units"] == [{"name": "djdeploy-shop.clean.timer", "state": "restarted"}]
    assert found["times"] == [{"site": "shop", "job": "clean", "at": "daily"}]


def test_jobs_are_on_no_other_host() -> None:
    found = processes.job_units(sites(schedule=SCHEDULE), {"shop": ["web1", "web2"]}, "web2")
    assert [file.get("state") for file in found["files"]] == ["file"]
    assert found["units"] == found["times"] == []


@pytest.mark.parametrize(
    ("changed", "units"),
    [
        (None, [{"name": "redis-server@shop.service", "state": "started", "enabled": True}]),
        ([], []),
        (["/etc/djdeploy/sites/shop.redis.conf"], [{"name": "redis-server@shop.service", "state": "restarted"}]),
        (
            ["/etc/systemd/system/redis-server@shop.service.d/djdeploy.conf"],
            [{"name": "redis-server@shop.service", "state": "restarted"}],
        ),
    ],
)
def test_redis_units(changed: list[str] | None, units: list[dict[str, Any]]) -> None:
    assert processes.redis_units(sites(redis={"enabled": True}), changed) == units
    assert processes.redis_units(sites(), changed) == []


def test_site_hosts() -> None:
    said = {"shop": {"domains": ["a.test"]}, "blog": {"domains": ["b.test"], "hosts": ["web2"]}}
    hostvars = {name: {"group_names": ["web"]} for name in ("web1", "web2")}
    assert hosts.site_hosts(hostvars, ["web1", "web2"], said) == {"shop": ["web1", "web2"], "blog": ["web2"]}
