# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders what the module djdeploy.django.files writes, so that a whole set costs one round trip."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.terminal import printable

MANAGED = "Managed by Ansible (djdeploy): change the inventory and run site.yml. What is changed here is overwritten."
PLACED = ("dest", "target", "owner", "group")


class ActionModule(ActionBase):
    """Controller side of djdeploy.django.files."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = self._task.args
        files, site_files = arguments.get("files") or [], arguments.get("site_files") or []
        sites = arguments.get("sites") or {}
        for option, items in (("files", files), ("site_files", site_files)):
            if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
                raise AnsibleActionFail(
                    printable(f"{option} must be a list of mappings: dest and what should be there")
                )
        if not isinstance(sites, Mapping):
            raise AnsibleActionFail(
                printable("sites must be a mapping of names to sites, as the filter resolved_sites returns it")
            )
        rendered = [self._rendered(item, task_vars) for item in files]
        for name, site in sites.items():
            places = SitePaths(name).as_dict()
            variables = {**task_vars, "site": site, "paths": places}
            rendered += [self._rendered(placed(item, places), variables) for item in site_files]
        sent = {name: value for name, value in arguments.items() if name not in ("sites", "site_files")}
        return self._execute_module(
            module_name="djdeploy.django.files", module_args={**sent, "files": rendered}, task_vars=task_vars
        )

    def _rendered(self, item: Mapping[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """One entry with the text of its template instead of the template's name."""
        result = {name: value for name, value in item.items() if name not in ("src", "vars")}
        if item.get("src") is not None:
            result["content"] = self._text(item["src"], item.get("dest"), {**variables, **(item.get("vars") or {})})
        return result

    def _text(self, src: str, dest: str | None, variables: dict[str, Any]) -> str:
        try:
            source = self._find_needle("templates", src)
        except AnsibleError as error:
            raise AnsibleActionFail(printable(f"there is no template {src}: {error}")) from error
        search = [os.path.dirname(source)]
        for directory in variables.get("ansible_search_path", []):
            search += [os.path.join(directory, "templates"), directory]
        variables = {
            "ansible_managed": MANAGED,
            **variables,
            "template_path": src,
            "template_fullpath": source,
            "template_destpath": dest,
        }
        templar = self._templar.copy_with_new_env(searchpath=search, available_variables=variables)
        template = trust_as_template(self._loader.get_text_file_contents(source))
        try:
            text = templar.template(template, escape_backslashes=False, overrides={"trim_blocks": True})
        except AnsibleError as error:
            raise AnsibleActionFail(printable(f"{src} for {dest}: {error.message}"), obj=template) from error
        return "" if text is None else str(text)


def placed(item: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """An entry for one site: `{media}` becomes the place of that name; see `SitePaths`."""

    def place(match: re.Match[str]) -> str:
        if match[1] not in places:
            raise AnsibleActionFail(printable(f"a site has no place {match[0]}; it has {', '.join(sorted(places))}"))
        return places[match[1]]

    return {
        key: re.sub(r"\{(\w+)\}", place, value) if key in PLACED and isinstance(value, str) else value
        for key, value in item.items()
    }
