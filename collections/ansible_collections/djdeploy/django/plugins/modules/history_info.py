#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Module djdeploy.django.history_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: history_info
short_description: Tell what was done to sites, by whom, and how it ended
version_added: 0.1.0
description:
  - Reads the journal each site keeps on its host of every push, deploy, rollback and restore. Changes nothing.
  - What is live now is told by M(djdeploy.django.release_info).
options:
  site:
    description: Only this site. Without it, all sites of the host.
    type: str
  id:
    description:
      - Only this operation, by its id or the last part of it.
      - Needs O(site).
    type: str
  limit:
    description: How many operations of each site, the newest ones.
    type: int
    default: 20
  all:
    description: With those that had nothing to do.
    type: bool
    default: false
extends_documentation_fragment:
  - djdeploy.django.attributes
  - djdeploy.django.attributes.INFO
seealso:
  - module: djdeploy.django.release_info
author:
  - The djdeploy authors (@djdeploy)
"""

EXAMPLES = r"""
- name: Read what was done to the shop
  djdeploy.django.history_info:
    site: shop
  register: history

- name: Stop if the last deploy of the shop did not go live
  ansible.builtin.assert:
    that: history.operations[0].result in ['live', 'rolled_back', 'restored']
    fail_msg: "{{ history.operations[0].reason }}"

- name: Read all about one of them
  djdeploy.django.history_info:
    site: shop
    id: 20260301T120000-1f3c
"""

RETURN = r"""
operations:
  description: One entry for each operation, newest first within its site.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Unique name of the operation.
      type: str
      sample: 20260301T120000-1f3c
    at:
      description: When it began, UTC, ISO 8601.
      type: str
    site:
      description: Name of the site.
      type: str
    op:
      description: C(push), C(deploy), C(rollback) or C(restore).
      type: str
    door:
      description: The way it came - C(push), C(ansible) or C(host).
      type: str
    who:
      description: Name of the key, or unix user.
      type: str
    result:
      description:
        - C(live), C(rolled_back) or C(restored) for what was done.
        - C(failed), or C(refused) for a push of which git took nothing.
        - C(interrupted) for what was killed before it had a result, C(running), or C(unchanged).
      type: str
    before:
      description: Revision that was live when it began; empty when none was.
      type: str
    after:
      description: Revision it was to put live.
      type: str
    release:
      description: Id of the release it made or went back to.
      type: str
    subject:
      description: First line of the commit.
      type: str
    seconds:
      description: What it took until its result; null while there is none.
      type: float
    migrations:
      description: Names of the migrations it applied.
      type: list
      elements: str
    snapshot:
      description: Name of the copy of the database it made first.
      type: str
    message:
      description: What its result said.
      type: str
    reason:
      description: Why it failed, or where it was interrupted.
      type: str
    hint:
      description: What to do about it.
      type: str
    phases:
      description: Name, state, seconds and note of each phase. Only with O(id).
      type: list
      elements: dict
    plan:
      description: What it was to change. Only with O(id).
      type: dict
lines:
  description: The same as a person would read it.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.djdeploy.django.plugins.module_utils.engine import history
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import load_site, site_names
from ansible_collections.djdeploy.django.plugins.module_utils.manage import failing_as
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule

ARGUMENTS = {
    "site": {"type": "str"},
    "id": {"type": "str"},
    "limit": {"type": "int", "default": 20},
    "all": {"type": "bool", "default": False},
}


def main() -> None:
    """Entry point."""
    module = PrintableModule(argument_spec=ARGUMENTS, required_by={"id": ["site"]}, supports_check_mode=True)
    wanted, limit = module.params, module.params["limit"]
    if limit < 1:
        module.fail_json(msg=f"limit must be above 0, not {limit}")
    operations, lines = [], []
    with failing_as(module):
        for name in [wanted["site"]] if wanted["site"] else site_names():
            found = history.recorded(load_site(name).name)
            if wanted["id"]:
                one = history.chosen(found, wanted["id"])
                module.exit_json(changed=False, operations=[one.as_dict()], lines=history.deploy_lines(one))
            found = (found if wanted["all"] else history.worth_telling(found))[-limit:]
            operations += [deploy.as_dict(whole=False) for deploy in reversed(found)]
            lines += [name, *(f"  {line}" for line in history.history_lines(found))] if found else []
    module.exit_json(changed=False, operations=operations, lines=lines)


if __name__ == "__main__":
    main()
