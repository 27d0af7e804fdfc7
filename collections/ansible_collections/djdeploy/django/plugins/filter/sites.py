# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that let playbooks and templates ask the engine what it knows about sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    environment,
    paths,
    sandbox,
    schema,
    site_values,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.provision import site_packages


def resolved_sites(
    sites: Mapping[str, Any] | None,
    host_sites: Mapping[str, Any] | None,
    host_name: str,
    group_names: list[str],
) -> dict[str, dict[str, Any]]:
    """The sites a host serves, every key present; see resolved_sites.yml."""
    problems = schema.validate_sites(sites or {}, {host_name: host_sites})
    if problems:
        lines = [f"{problem.message}; {problem.hint}" if problem.hint else problem.message for problem in problems]
        raise AnsibleFilterError("the sites are not valid: " + " / ".join(lines))
    return schema.resolve_for_host(sites or {}, host_sites, host_name, group_names)


def database_packages(sites: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Debian packages the databases of sites need on their web hosts; see database_packages.yml."""
    return site_packages.for_databases(list(sites.values()))


def site_paths(site: str) -> dict[str, str]:
    """Every path and unit name of a site; see site_paths.yml."""
    problems = site_values.check_site_name(site)
    if problems:
        raise AnsibleFilterError(problems[0])
    return paths.SitePaths(str(site)).as_dict()


def unit_view(_site: str) -> dict[str, Any]:
    """What the units of a site have in common; see unit_view.yml."""
    return {"hidden": sandbox.hidden(), "told": sandbox.told(), "confined": list(sandbox.CONFINED)}


def site_record(site: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved site without its secrets; see site_record.yml."""
    return schema.without_secrets(site)


def environment_file(variables: Mapping[str, str]) -> str:
    """The text of an EnvironmentFile=; see environment_file.yml."""
    try:
        return environment.serialize(variables)
    except EngineError as error:
        raise AnsibleFilterError(f"{error.message}; {error.hint}" if error.hint else error.message) from None


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "resolved_sites": resolved_sites,
            "database_packages": database_packages,
            "site_paths": site_paths,
            "unit_view": unit_view,
            "site_record": site_record,
            "environment_file": environment_file,
        }
