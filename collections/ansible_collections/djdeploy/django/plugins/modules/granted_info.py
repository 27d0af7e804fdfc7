# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whose sites a host carries, and what those of other inventories keep."""

from __future__ import annotations

DOCUMENTATION = r"""
module: granted_info
short_description: Read whose sites a host carries, and refuse what would take away from others
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Holds what an inventory says of a host against the host's record (C(/etc/djdeploy/granted.json)), where each site
    stands with the environment it belongs to. On a host without a record, the sites are found in what was written for
    them.
  - Fails when a site or a domain of the inventory belongs to another environment, or a setting of the whole host is
    said differently by the environment that set it. All is said at once.
  - Warns of sites that are in their inventory no more. The role C(host) writes RV(record).
options:
  said:
    description: What the inventory says of the host, as P(djdeploy.django.host_grants#filter) returns it.
    type: dict
    required: true
    suboptions:
      environment:
        description: Name of the inventory's environment.
        type: str
        required: true
      sites:
        description: Names of its sites on the host to what each is granted.
        type: dict
        required: true
      settings:
        description:
          - Names of variables that hold for the whole host to their values. Null is a default that is found out.
        type: dict
        required: true
attributes:
  check_mode:
    support: full
    description: Changes nothing, ever.
  diff_mode:
    support: none
    description: Changes nothing, ever.
"""

EXAMPLES = r"""
- name: See whose sites the host carries
  djdeploy.django.granted_info:
    said: "{{ hostvars | djdeploy.django.host_grants(inventory_hostname, groups, djdeploy_sites) }}"
  register: granted
"""

RETURN = r"""
record:
  description: The host's record as it is to be, C(sites) and C(settings).
  returned: success
  type: dict
others:
  description: Names of the host's sites that the inventory does not describe to what they keep.
  returned: success
  type: dict
  sample:
    blog:
      environment: prod
      described: true
      served: true
      domains: [blog.example.com]
      deploy_keys: [ssh-ed25519 AAAA... ann@laptop]
      databases: [blog]
      addresses: []
left:
  description: Names of those that belong to the inventory's environment.
  returned: success
  type: list
  elements: str
  sample: []
unowned:
  description: Names of those that no inventory has described since the host has a record.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import granted

SAID = {
    "environment": {"type": "str", "required": True},
    "sites": {"type": "dict", "required": True},
    "settings": {"type": "dict", "required": True},
}
ARGUMENTS = {"said": {"type": "dict", "required": True, "options": SAID}}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    said = module.params["said"]
    try:
        judged = granted.judge(granted.look(), said["environment"], said["sites"], said["settings"])
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    if judged.refused:
        count = "1 problem" if len(judged.refused) == 1 else f"{len(judged.refused)} problems"
        lines = [f"{count} with what other inventories have on this host; nothing was touched.", *judged.refused]
        module.fail_json(msg="\n".join([*lines, "Then run site.yml again."]))
    for line in granted.warnings(judged, said["environment"]):
        module.warn(line)
    module.exit_json(
        changed=False,
        record=judged.record,
        others=judged.others,
        left=list(judged.left),
        unowned=list(judged.unowned),
    )


if __name__ == "__main__":
    main()
