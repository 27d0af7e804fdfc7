# SPDX-License-Identifier: GPL-3.0-or-later
"""One `module_defaults` for all modules that are about a project."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.djdeploy.django.plugins.module_utils.family.every import FAMILY

ROOT = Path(__file__).parents[3]


def test_the_group_has_every_module_of_the_family() -> None:
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    assert groups == {"manage": sorted([*FAMILY, "manage"])}


def test_and_no_other_takes_the_same_options() -> None:
    members = {
        path.stem for path in (ROOT / "plugins/modules").glob("*.py") if "djdeploy.django.manage\n" in path.read_text()
    }
    assert members == {*FAMILY, "manage"}
