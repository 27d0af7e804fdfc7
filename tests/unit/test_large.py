# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about large applications: each site in it is the one that is pushed by the scenario, and is allowed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted((ROOT / "molecule/large/corpus").glob("*/case.toml"))
PAGE = (ROOT / "docs/large-applications.md").read_text()
SITES: dict[str, Any] = {}
for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
    SITES |= yaml.safe_load(block)["djdeploy_sites"]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_site_of_the_page_is_the_one_that_is_pushed(path: Path) -> None:
    written = {key: value for key, value in SITES[path.parent.name].items() if key not in ("domains", "deploy_keys")}
    assert written == tomllib.loads(path.read_text()).get("site", {})


def test_its_sites_are_allowed() -> None:
    assert len(SITES) >= len(CASES) > 3
    said = {name: {**site, "deploy_keys": []} for name, site in SITES.items()}
    assert schema.validate_sites(said, None, ("web1",)) == []
