# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role says it takes is what it takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from ansible_collections.djdeploy.django.plugins.module_utils.engine import paths

from .conftest import ROLES

NAMES = sorted(path.parent.name for path in ROLES.glob("*/tasks"))


def load(role: str, path: str) -> Any:
    return yaml.safe_load((ROLES / role / path).read_text())


@pytest.mark.parametrize("role", NAMES)
def test_options_are_the_defaults(role: str) -> None:
    options = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == load(role, "defaults/main.yml")


def test_no_site_can_be_called_as_a_unit_of_the_host() -> None:
    """`djdeploy-<this>` and what systemd calls after it; a new unit has to be named in the engine's paths."""
    tasks = "\n".join(path.read_text() for path in ROLES.glob("*/tasks/*.yml"))
    units = set(re.findall(rf"/{paths.UNIT_PREFIX}([a-z-]+)@?\.(?:service|socket|timer|slice|target|path)", tasks))
    assert {"deployer", "recover"} <= units <= paths.OWN_NAMES.keys()


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_described_and_named_after_its_role(role: str) -> None:
    options = load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    for name, option in options.items():
        assert name.startswith(f"{role}_"), name
        assert option["description"], name
        assert option["type"], name


@pytest.mark.parametrize("role", NAMES)
def test_paths_of_tasks_are_those_of_the_engine(role: str) -> None:
    """A role may spell out a place of djdeploy, but only one the engine knows, too."""
    known = {str(value) for value in vars(paths).values() if isinstance(value, paths.Path)}
    for task in load(role, "tasks/main.yml"):
        given = task.get("djdeploy.django.files", {}).get("files", [])
        for item in [] if isinstance(given, str) else given:
            dest = item["dest"]
            if dest.startswith(
                ("/etc/djdeploy", "/var/lib/djdeploy", "/var/cache/djdeploy", "/usr/local/lib", "/usr/local/bin")
            ):
                assert any(dest == place or dest.startswith(place + "/") for place in known), dest
