# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Debian packages a host needs, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: packages
short_description: Install the Debian packages a host needs
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Installs what is missing, without recommended packages and keeping changed configuration files. Never removes
    or upgrades anything.
  - Works in check mode on a bare host, where C(python3-apt) and apt's lists of packages may not be there yet and
    M(ansible.builtin.apt) has to give up. When nothing is missing it is one look at dpkg's records.
  - Waits while another apt (unattended upgrades, a first boot) is at work.
options:
  name:
    description: Names of the packages.
    type: list
    elements: str
    required: true
  cache_valid_time:
    description: Seconds for which apt's lists of packages are good. They are only looked at when something is missing.
    type: int
    default: 3600
  lock_timeout:
    description: Seconds to wait for another apt.
    type: int
    default: 300
  not_started:
    description:
      - Names of packages to lists of units that Debian would start with them. Where the module installs such a package,
        it masks the units before; where the package is there already, it leaves them alone.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the names of the packages.
"""

EXAMPLES = r"""
- name: Install everything in one go
  djdeploy.django.packages:
    name: [git, nginx, postgresql]

- name: Install redis, and no instance that is nobody's
  djdeploy.django.packages:
    name: [redis-server]
    not_started: {redis-server: [redis-server.service]}
"""

RETURN = r"""
installed:
  description: What was installed, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [nginx]
masked:
  description: The units that were masked before that, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [redis-server.service]
"""

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import packages

ARGUMENTS = {
    "name": {"type": "list", "elements": "str", "required": True},
    "cache_valid_time": {"type": "int", "default": 3600},
    "lock_timeout": {"type": "int", "default": 300},
    "not_started": {"type": "dict", "default": {}},
}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    names = module.params["name"]
    try:
        missing = packages.missing(names, packages.look(names, run))
        masked = packages.to_mask(missing, module.params["not_started"])
        if missing and not module.check_mode:
            packages.mask(masked, run)
            packages.install(
                missing, run, valid=module.params["cache_valid_time"], lock_timeout=module.params["lock_timeout"]
            )
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    lines = [*missing, *(f"{unit} masked" for unit in masked)]
    module.exit_json(
        changed=bool(missing),
        installed=missing,
        masked=masked,
        diff={"before": "", "after": "".join(f"{line}\n" for line in lines)},
    )


if __name__ == "__main__":
    main()
