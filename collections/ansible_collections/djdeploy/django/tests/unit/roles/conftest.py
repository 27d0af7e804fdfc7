# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates of the roles, rendered as Ansible renders them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths

COLLECTION = Path(__file__).resolve().parents[3]
ROLES = COLLECTION / "roles"
FACTS = {
    "distribution": "Debian",
    "distribution_major_version": "13",
    "processor_nproc": 2,
    "default_ipv4": {"address": "10.0.0.1"},
}

Render = Callable[..., str]


def defaults(role: str) -> dict[str, Any]:
    """What a role sets when the inventory says nothing."""
    variables: dict[str, Any] = {}
    for part in ("defaults", "vars"):
        path = ROLES / role / part / "main.yml"
        if path.exists():
            variables |= yaml.safe_load(path.read_text()) or {}
    return variables


def trusted(value: Any) -> Any:
    """Variables as if they came from a playbook: Ansible renders only what it was told to trust."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return value


@pytest.fixture(scope="session", autouse=True)
def _plugins() -> None:
    init_plugin_loader([str(COLLECTION.parents[2])])
    # pytest may have imported the collection as plain packages; Ansible looks for what its own importer leaves there.
    package: Any = importlib.import_module("ansible_collections.djdeploy.django")
    if not hasattr(package, "_collection_meta"):
        package._collection_meta = {"plugin_routing": {}}
    filters = importlib.import_module("ansible_collections.djdeploy.django.plugins.filter")
    if getattr(filters, "__file__", None) is None:
        filters.__file__ = str(COLLECTION / "plugins" / "filter" / "__init__.py")


@pytest.fixture
def render() -> Render:
    """Render `<role>/templates/<name>` for the first of some sites, with variables of the inventory laid over."""

    def rendered(template: str, sites: dict[str, Any] | None = None, **variables: Any) -> str:
        role, name = template.split("/")
        resolved = schema.resolve_for_host(sites or {"shop": {"domains": ["shop.example.com"]}}, {}, "web1", ["web"])
        site = next(iter(resolved.values()))
        known = {
            **defaults(role),
            f"{role}_sites": resolved,
            "ansible_managed": "Managed",
            "ansible_facts": FACTS,
            "site": site,
            "paths": SitePaths(site["name"]).as_dict(),
            **variables,
        }
        templar = Templar(loader=DataLoader(), variables=trusted(known))
        text = (ROLES / role / "templates" / name).read_text()
        return str(templar.template(trust_as_template(text), escape_backslashes=False, overrides={"trim_blocks": True}))

    return rendered
