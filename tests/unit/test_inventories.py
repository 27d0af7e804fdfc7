# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventories people start from are complete, valid, and tell the truth about defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.djdeploy.django.plugins.action import validate
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema
from ansible_collections.djdeploy.django.plugins.plugin_utils import inventory

from tests.unit.scripts import script

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ["prod", "staging"]
SITE = {"prod": "shop", "staging": "shop-staging"}  # one host could carry both
# A setting that is not set: '# name: value', or '# - item' below one.
COMMENTED = re.compile(r"^( *)# ( *)((?!SPDX-)(?:[\w.-]+:(?: |$)|- ).*)$", re.MULTILINE)


def uncommented(text: str) -> str:
    return COMMENTED.sub(r"\1\2\3", text)


def files(environment: str, *, all_set: bool) -> list[inventory.VariablesFile]:
    found = inventory.read_files([ROOT / "inventories" / environment], ROOT)
    if not all_set:
        return found
    return [inventory.VariablesFile(file.name, uncommented(file.text), file.scope) for file in found]


def variables(environment: str, *, all_set: bool) -> dict[str, Any]:
    """Every variable of the files, of whatever scope."""
    result: dict[str, Any] = {}
    for file in files(environment, all_set=all_set):
        if file.scope != "inventory":
            result.update(yaml.safe_load(file.text) or {})
    return result


def groups(environment: str, *, all_set: bool) -> dict[str, list[str]]:
    (hosts,) = (file for file in files(environment, all_set=all_set) if file.scope == "inventory")
    children = yaml.safe_load(hosts.text)["all"]["children"]
    return {name: list(group["hosts"]) for name, group in children.items()}


@pytest.mark.parametrize("all_set", [False, True], ids=["as it is", "all comments removed"])
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_is_valid(environment: str, all_set: bool) -> None:
    given, members = variables(environment, all_set=all_set), groups(environment, all_set=all_set)
    own = dict.fromkeys({host for hosts in members.values() for host in hosts}, given)
    problems = list(validate.problems_of_values(own, members, []))
    read = files(environment, all_set=all_set)
    known = inventory.role_variables(validate.ROLES)
    names = inventory.check_names(inventory.defined_variables(read), known, given.get("djdeploy_foreign_variables", []))
    assert [*problems, *names, *inventory.check_repeated_keys(read)] == []


SECTIONS = tuple(key.name for key in schema.SITE_KEYS if key.kind == "section")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_shows_every_key_and_every_variable(environment: str) -> None:
    given = variables(environment, all_set=True)
    site = given["djdeploy_sites"][SITE[environment]]
    shown = {*site, *(f"{name}.{key}" for name in SECTIONS for key in site[name])}
    assert shown == set(schema.key_names())
    docs = script("docs")
    set_by_playbooks = docs.set_by_playbooks(ROOT / "playbooks")
    expected = {key.name for key in schema.INVENTORY_KEYS}
    for spec in docs.role_specs(docs.COLLECTION / "roles").values():
        for name, option in spec.get("options", {}).items():
            if name not in set_by_playbooks and docs.wired_to(option) is None:
                expected.add(name)
    assert {name for name in given if not name.startswith("ansible_")} == expected


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_commented_is_the_default_where_there_is_one(environment: str) -> None:
    given = variables(environment, all_set=True)
    live = variables(environment, all_set=False)
    site, live_site = (each["djdeploy_sites"][SITE[environment]] for each in (given, live))
    shown = {}
    for key in schema.SITE_KEYS:
        for inner in key.keys if key.kind == "section" else (key,):
            value = site[key.name][inner.name] if key.kind == "section" else site[key.name]
            if key.name not in live_site and inner.default not in (None, [], {}):
                shown[inner.name] = (value, inner.default)
    for spec in script("docs").role_specs(ROOT / "collections/ansible_collections/djdeploy/django/roles").values():
        for name, option in spec.get("options", {}).items():
            default = option.get("default")
            if name in given and default not in (None, [], {}) and "{{" not in str(default):
                shown[name] = (given[name], default)
    assert {name for name, (value, default) in shown.items() if value != default} == set()
    assert len(shown) > 10


def test_environments_are_the_same_tree_and_share_nothing() -> None:
    trees, hosts, domains, names_of_sites = [], [], [], []
    for environment in ENVIRONMENTS:
        names = {
            Path(file.name).relative_to(f"inventories/{environment}") for file in files(environment, all_set=False)
        }
        trees.append({name if "host_vars" not in name.parts else Path(name.name) for name in names})
        hosts.append({host for members in groups(environment, all_set=True).values() for host in members})
        sites = variables(environment, all_set=True)["djdeploy_sites"]
        names_of_sites.append(set(sites))
        domains.append({domain for site in sites.values() for domain in site["domains"]})
    assert trees[0] == trees[1]
    assert not hosts[0] & hosts[1]
    assert not domains[0] & domains[1]
    assert not names_of_sites[0] & names_of_sites[1]


def test_only_staging_lets_history_be_replaced() -> None:
    live = {name: variables(name, all_set=False)["djdeploy_sites"][SITE[name]] for name in ENVIRONMENTS}
    assert "force_push" not in live["prod"]
    assert live["staging"]["force_push"] is True


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_readme_names_files_that_are_there(environment: str) -> None:
    base = ROOT / "inventories" / environment
    named = re.findall(r"`((?:group_vars|host_vars)/[^`]*\.yml|[\w.]+\.yml)`", (base / "README.md").read_text())
    assert len(named) > 5
    for name in named:
        pattern = re.sub(r"<\w+>", "*", name).replace("vault.yml", "vault.yml.sample")
        assert list(base.rglob(pattern)), name


@pytest.mark.parametrize("name", ["variables.md", "projects.md"])
def test_generated_page_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == script("docs").PAGES[name](), "run: script/docs"
