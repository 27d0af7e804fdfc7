# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Files, directories and links of a host in one round trip; the rendering is done by the action plugin."""

from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Keep files, directories and links of a host as they should be, in one round trip
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Renders templates on the controller, as M(ansible.builtin.template) does, and compares and writes all of them
    in one call on the host. A file appears whole or not at all, with its owner and permissions.
  - With O(validate) the set is all or nothing. When the program refuses the new files, those from before are put back.
  - Never deletes a directory and never replaces one by something else.
options:
  files:
    description: What should be where, in the order it has to be made.
    type: list
    elements: dict
    default: []
    suboptions: &item
      dest:
        description: Absolute path.
        type: path
        required: true
      state:
        description:
          - What should be there.
          - V(log) is a file that others write. It is made when it is missing, what is in it stays, and what logrotate
            put aside beside it gets the same owner and permissions.
        type: str
        choices: [file, directory, link, absent, log]
        default: file
      src:
        description: Template of a file, looked up like the O(ansible.builtin.template#module:src) of a template task.
        type: str
      content:
        description: Text of a file, instead of O(files[].src).
        type: str
      vars:
        description: Variables for this template only.
        type: dict
        default: {}
      target:
        description: Where a link points.
        type: str
      owner:
        description: User that owns the file or directory.
        type: str
        default: root
      group:
        description: Group of the file or directory.
        type: str
        default: root
      mode:
        description: Permissions of a file, log or directory, as octal text. Required for each of them.
        type: str
  site_files:
    description:
      - What should be there for each of the O(sites), after O(files).
      - "Templates see the site as C(site) and its places as C(paths). In O(site_files[].dest), O(site_files[].target),
        O(site_files[].owner) and O(site_files[].group), the name of a place in braces becomes that place: C({media}),
        C({user})."
    type: list
    elements: dict
    default: []
    suboptions: *item
  sites:
    description: Sites as P(djdeploy.django.resolved_sites#filter) returns them.
    type: dict
    default: {}
  validate:
    description: A program and its arguments that looks at the files in their places. Not run in check mode.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the full text of every file that differs.
"""

EXAMPLES = r"""
- name: Write two configuration files, or none of them when nginx does not like them
  djdeploy.django.files:
    files:
      - {src: djdeploy.conf.j2, dest: /etc/nginx/conf.d/djdeploy.conf, mode: "0644"}
      - {dest: /etc/nginx/sites-enabled/default, state: absent}
    validate: [nginx, -t]
  notify: Reload nginx

- name: Write one file for each site
  djdeploy.django.files:
    sites: "{{ nginx_sites }}"
    site_files:
      - {src: site.conf.j2, dest: "{nginx_server}", mode: "0644"}
"""

RETURN = r"""
changed_paths:
  description: The paths that were changed, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [/etc/nginx/conf.d/djdeploy.conf]
"""

import re

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import files

ITEM = {
    "dest": {"type": "path", "required": True},
    "state": {"type": "str", "choices": list(files.STATES), "default": "file"},
    "src": {"type": "str"},
    "content": {"type": "str"},
    "vars": {"type": "dict", "default": {}},
    "target": {"type": "str"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
    "mode": {"type": "str"},
}
ITEMS = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": ITEM,
    "required_if": [
        ("state", "file", ["mode"]),
        ("state", "directory", ["mode"]),
        ("state", "log", ["mode"]),
        ("state", "link", ["target"]),
    ],
}
ARGUMENTS = {
    "files": ITEMS,
    "site_files": ITEMS,
    "sites": {"type": "dict", "default": {}},
    "validate": {"type": "list", "elements": "str", "default": []},
}


def wanted(item: dict) -> files.Wanted:
    """One entry of the option `files`, rendered.

    :raises EngineError: when something is left that only the controller can do, or the mode is no octal text.
    """
    if item["src"] is not None or (item["state"] == "file" and item["content"] is None):
        raise EngineError(f"{item['dest']} has no content", "give it src (a template) or content")
    mode = item["mode"] or "0"
    if not re.fullmatch(r"[0-7]{1,4}", mode):
        raise EngineError(f"{item['dest']} has the mode {mode!r}", 'write it as octal text: mode: "0644"')
    return files.Wanted(
        dest=item["dest"],
        state=item["state"],
        content=item["content"] or "",
        target=item["target"] or "",
        owner=item["owner"],
        group=item["group"],
        mode=int(mode, 8),
    )


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        items = [each for item in module.params["files"] for each in files.with_rotated(wanted(item))]
        found = {item.dest: files.look(item.dest, content=item.state != "log") for item in items}
        changes = files.plan(items, found)
        if not module.check_mode:
            files.apply(changes, run, module.params["validate"])
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    module.exit_json(
        changed=bool(changes),
        changed_paths=[change.wanted.dest for change in changes],
        diff=[files.diff(change) for change in changes],
    )


if __name__ == "__main__":
    main()
