# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders what the module djdeploy.django.files writes, so that a whole set costs one round trip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

MANAGED = "Managed by Ansible (djdeploy): change the inventory and run site.yml. What is changed here is overwritten."
NAMED = ("dest", "target", "owner", "group")


class ActionModule(ActionBase):
    """Controller side of djdeploy.django.files."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        task_vars = task_vars or {}
        arguments = self._task.args
        items = arguments.get("files")
        each = arguments.get("for_each")
        if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
            raise AnsibleActionFail("files must be a list of mappings with dest and what should be there")
        if each is not None and not isinstance(each, Mapping):
            raise AnsibleActionFail("for_each must be a mapping of names to values")
        if each is None:
            rendered = [self._rendered(item, task_vars) for item in items]
        else:
            variable = arguments.get("as", "item")
            rendered = [
                self._rendered(named(item, name), {**task_vars, variable: value, f"{variable}_name": name})
                for name, value in each.items()
                for item in items
            ]
        sent = {name: value for name, value in arguments.items() if name not in ("for_each", "as")}
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
            raise AnsibleActionFail(f"there is no template {src}: {error}") from error
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
            raise AnsibleActionFail(f"{src} for {dest}: {error.message}", obj=template) from error
        return "" if text is None else str(text)


def named(item: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An entry for one name of for_each: `{name}` becomes the name."""
    return {
        key: value.replace("{name}", name) if key in NAMED and isinstance(value, str) else value
        for key, value in item.items()
    }
