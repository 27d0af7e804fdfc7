# SPDX-License-Identifier: GPL-3.0-or-later
"""Says everything that is wrong with the inventory before anything is touched; see modules/validate.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.djdeploy.django.plugins.module_utils.engine import databases_said
from ansible_collections.djdeploy.django.plugins.module_utils.engine.schema import (
    HOST_SITES_VARIABLE,
    INVENTORY_KEYS,
    SITES_VARIABLE,
    KeyPath,
    Problem,
    validate_inventory_variables,
    validate_sites,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.terminal import printable
from ansible_collections.djdeploy.django.plugins.module_utils.provision import mariadb, pooler
from ansible_collections.djdeploy.django.plugins.plugin_utils import inventory

ROLES = Path(__file__).resolve().parents[2] / "roles"


def rendered(value: Any, render: Callable[[Any], Any], path: KeyPath, host: str, failures: list[Problem]) -> Any:
    """Plain data out of a raw variable; a part that cannot be rendered becomes a problem of its own place.

    Rendering the variable as a whole would tell only of the first such part, and of no place at all.
    The exceptions name what is undefined or cannot be decrypted, never a value.
    """
    if isinstance(value, Mapping):
        return {key: rendered(item, render, (*path, key), host, failures) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rendered(item, render, (*path, index), host, failures) for index, item in enumerate(value)]
    try:
        return render(value)
    except AnsibleError as error:
        reason = str(error).splitlines()[0].removeprefix("Error rendering template: ").strip(" .")
        name = ".".join(str(step) for step in path)
        failures.append(Problem(f"{name} cannot be read: {reason}", path, "define what it names, or mend it", host))
        return None


def overlaps(one: KeyPath, other: KeyPath) -> bool:
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def files_on_several_hosts(
    variables: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]]
) -> Iterator[Problem]:
    """Sites on SQLite that more than one host of the group web serves."""
    served: dict[str, list[str]] = {}
    found: dict[str, Mapping[str, Any]] = {}
    for host in groups.get("web", ()):
        sites, own = variables[host].get(SITES_VARIABLE), variables[host].get(HOST_SITES_VARIABLE)
        if not isinstance(sites, Mapping) or not all(isinstance(site, Mapping) for site in sites.values()):
            continue
        names = {host, "all", *(group for group, members in groups.items() if host in members)}
        for name, site in sites.items():
            wanted = site.get("hosts")
            if not isinstance(wanted, list) or not wanted or names.intersection(map(str, wanted)):
                differs = own.get(name) if isinstance(own, Mapping) else None
                found[name] = {**site, **(differs if isinstance(differs, Mapping) else {})}
                served.setdefault(name, []).append(host)
    for name, message in databases_said.shared_files(found, served):
        hint = "write database: postgresql, or name one host in its key hosts"
        yield Problem(f"site '{name}': {message}", (SITES_VARIABLE, name, "database"), hint)


def problems_of_values(
    variables: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]], failures: list[Problem]
) -> Iterator[Problem]:
    """What is wrong with the values, host by host; hosts that share their sites are judged together.

    :param variables: host name -> those of `INVENTORY_KEYS` it has.
    :param failures: what could not be rendered; problems that only follow from those are left out.
    """
    yield from failures
    names = {*variables, *groups}
    together: dict[str, list[str]] = {}
    for host, own in variables.items():
        together.setdefault(repr(own.get(SITES_VARIABLE)), []).append(host)
    needs_database = False
    for hosts in together.values():
        sites = variables[hosts[0]].get(SITES_VARIABLE)
        if sites is None:
            if not any(failure.path == (SITES_VARIABLE,) for failure in failures):
                message = f"{SITES_VARIABLE} is not set" + (f" for host {hosts[0]}" if len(together) > 1 else "")
                yield Problem(message, (SITES_VARIABLE,), "describe the sites in group_vars/all/sites.yml")
            continue
        overlays = {host: variables[host].get(HOST_SITES_VARIABLE) for host in hosts}
        for problem in validate_sites(sites, overlays, names):
            if not any(overlaps(problem.path, failure.path) for failure in failures):
                yield problem
        if isinstance(sites, Mapping):
            needs_database = needs_database or any(
                isinstance(site, Mapping) and databases_said.served(site) for site in sites.values()
            )
    yield from files_on_several_hosts(variables, groups)
    for host, own in variables.items():
        yield from validate_inventory_variables(own, host)
    chosen = {host: own.get("djdeploy_database_host") for host, own in variables.items()}
    yield from mariadb.misplaced(variables, groups, chosen)
    yield from pooler.misplaced(variables, groups, chosen)
    yield from inventory.check_groups(groups, chosen, needs_database=needs_database)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Runs once, on the controller, and opens no connection."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        task_vars = task_vars or {}
        hostvars, groups = task_vars["hostvars"], task_vars["groups"]
        sources = [str(source) for source in task_vars.get("ansible_inventory_sources") or []]
        files = inventory.read_files(sources, Path.cwd())

        failures: list[Problem] = []
        variables: dict[str, dict[str, Any]] = {}
        for host in map(str, groups["all"]):
            raw = hostvars.raw_get(host)
            templar = self._templar.copy_with_new_env(
                available_variables={**raw, "hostvars": hostvars, "groups": groups}
            )
            variables[host] = {
                key.name: rendered(raw[key.name], templar.template, (key.name,), host, failures)
                for key in INVENTORY_KEYS
                if key.name in raw
            }
        members = {str(name): [str(host) for host in hosts] for name, hosts in groups.items()}

        foreign = [str(name) for own in variables.values() for name in own.get("djdeploy_foreign_variables") or []]
        findings: list[tuple[Problem, inventory.Location | None]] = []
        findings += inventory.check_names(inventory.defined_variables(files), inventory.role_variables(ROLES), foreign)
        findings += inventory.check_repeated_keys(files)
        for problem in problems_of_values(variables, members, failures):
            findings.append((problem, inventory.locate(problem.path, files, problem.host)))

        result["changed"] = False
        if findings:
            shown = [inventory.shown_path(Path(source), Path.cwd()) for source in sources]
            result.update(failed=True, msg=printable(inventory.report(findings, shown)))
        return result
