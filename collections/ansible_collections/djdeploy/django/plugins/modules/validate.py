# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the action plugin of the same name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: validate
short_description: Say everything that is wrong with the inventory before anything is touched
version_added: 0.1.0
author:
  - djdeploy contributors (@djdeploy)
description:
  - Checks C(djdeploy_sites) and every host's C(djdeploy_host_sites) against the schema of a site, the names of
    variables against those the roles know, and whether the groups C(web) and C(database) have hosts.
  - Names all problems at once, one line each, with the file and the line to mend, and what was probably meant.
  - Never repeats the value of an environment variable or a secret.
notes:
  - Runs once per play on the machine that runs Ansible, and connects to no host.
  - All hosts of the inventory are looked at, whatever C(--limit) says.
  - A variable that begins like those of a role but belongs to another one is listed in C(djdeploy_foreign_variables).
attributes:
  action:
    description: Runs as an action on the controller.
    support: full
  async:
    description: Can be run in the background.
    support: none
  bypass_host_loop:
    description: Runs once for all hosts of the play.
    support: full
  check_mode:
    description: Says the same in check mode, since it changes nothing.
    support: full
  diff_mode:
    description: Has nothing to show as a difference.
    support: none
  platform:
    description: Operating systems the module is for.
    support: full
    platforms: posix
"""

EXAMPLES = r"""
- name: Check what the inventory says
  hosts: all
  gather_facts: false
  tasks:
    - name: Validate the inventory
      djdeploy.django.validate:
"""

RETURN = r"""
msg:
  description: All problems, one per line; only when there is one.
  returned: failure
  type: str
  sample: |-
    1 problem in the inventory; nothing was touched.
    inventories/prod/group_vars/all/sites.yml:7: unknown key 'domain' in site 'shop'; did you mean 'domains'?
    Then run: ansible-playbook site.yml -i inventories/prod --check
"""
