# SPDX-License-Identifier: GPL-3.0-or-later
"""What other users of the host may not read of a site is closed to them by the roles."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .conftest import ROLES


def of_sites(role: str) -> dict[str, dict[str, Any]]:
    """What a role puts there for each site, by its name."""
    tasks = yaml.safe_load((ROLES / role / "tasks/main.yml").read_text())
    asked = [task["djdeploy.django.files"] for task in tasks if "djdeploy.django.files" in task]
    return {entry["dest"]: entry for each in asked for entry in each.get("site_files", ())}


@pytest.mark.parametrize(
    ("role", "dest", "owner", "group", "mode"),
    [
        ("site", "{environments}", "root", "{user}", "0750"),
        ("site", "{shared}", "{user}", "www-data", "0710"),
        ("site", "{state}", "root", "root", "0750"),
        ("site", "{cache}", "{build_user}", "{build_user}", "0750"),
        ("site", "{config}", "root", "root", "0640"),
        ("gunicorn", "{gunicorn_config}", "root", "{user}", "0640"),
    ],
)
def test_closed_to_others(role: str, dest: str, owner: str, group: str, mode: str) -> None:
    entry = of_sites(role)[dest]
    assert (entry.get("owner", "root"), entry.get("group", "root"), entry["mode"]) == (owner, group, mode)
