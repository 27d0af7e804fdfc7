# SPDX-License-Identifier: GPL-3.0-or-later
"""Units as wanted."""

from __future__ import annotations

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.provision import services
from ansible_collections.djdeploy.django.plugins.module_utils.provision.services import Action, Found, Wanted

RUNNING = Found(True, "active", "enabled")
STOPPED = Found(True, "inactive", "disabled")
UNIT = "nginx.service"


@pytest.mark.parametrize(
    ("wanted", "found", "actions"),
    [
        pytest.param(Wanted(UNIT, "started", True), RUNNING, [], id="as it should be"),
        pytest.param(Wanted(UNIT, "started", True), STOPPED, ["enable", "start"], id="stopped"),
        pytest.param(Wanted(UNIT, "started", True), Found(), ["enable", "start"], id="not installed yet"),
        pytest.param(Wanted(UNIT, "started"), Found(True, "failed", "enabled"), ["start"], id="failed"),
        pytest.param(Wanted(UNIT, "started"), Found(True, "activating", "enabled"), [], id="on its way"),
        pytest.param(Wanted(UNIT, "stopped", False), RUNNING, ["disable", "stop"], id="to be stopped"),
        pytest.param(Wanted(UNIT, "reloaded"), RUNNING, ["reload"], id="reload"),
        pytest.param(Wanted(UNIT, "reloaded"), STOPPED, ["start"], id="nothing to reload"),
        pytest.param(Wanted(UNIT, "restarted"), RUNNING, ["restart"], id="restart"),
        pytest.param(Wanted(UNIT, enabled=True), Found(True, "active", "static"), [], id="cannot be enabled"),
    ],
)
def test_plan(wanted: Wanted, found: Found, actions: list[str]) -> None:
    assert services.plan([wanted], {UNIT: found}) == [Action(verb, UNIT) for verb in actions]


def test_plan_reads_unit_files_first_when_one_is_newer() -> None:
    stale = Found(True, "inactive", "enabled", stale=True)
    assert services.plan([Wanted(UNIT, "started")], {UNIT: stale}) == [Action("daemon-reload"), Action("start", UNIT)]
    assert services.plan([], {}, reload_manager=True) == [Action("daemon-reload")]


def test_parse_show() -> None:
    text = """Id=ssh.service
Names=ssh.service sshd.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=no

Id=nginx.service
Names=nginx.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no
"""
    units = services.parse_show(text)
    assert units["sshd.service"] == units["ssh.service"] == RUNNING
    assert units["nginx.service"] == Found()
