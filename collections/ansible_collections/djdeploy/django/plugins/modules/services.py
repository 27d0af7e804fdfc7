# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Units of systemd as they should be, all of them in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: services
short_description: Keep units of systemd running and enabled, in one round trip
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Starts, stops, reloads and enables units. All of them in one call.
  - Works in check mode before the packages that bring the units are installed,
    which M(ansible.builtin.systemd_service) does not.
  - Tells systemd to read its unit files again when one of the units is older than its file.
options:
  units:
    description: The units, in the order to act on them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Full name of the unit, with its suffix.
        type: str
        required: true
      state:
        description:
          - V(started) and V(stopped) act when the unit is not so.
          - V(restarted) always acts. V(reloaded) does, too, and starts a unit that does not run.
        type: str
        choices: [started, stopped, restarted, reloaded]
      enabled:
        description: Whether the unit starts when the host boots.
        type: bool
  daemon_reload:
    description: Tell systemd to read its unit files again, because some were changed.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the calls of systemctl.
"""

EXAMPLES = r"""
- name: Keep nginx running
  djdeploy.django.services:
    units:
      - {name: nginx.service, state: started, enabled: true}
"""

RETURN = r"""
actions:
  description: What systemd was told, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [systemctl start nginx.service]
"""

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import services

UNIT = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": list(services.STATES)},
    "enabled": {"type": "bool"},
}
ARGUMENTS = {
    "units": {"type": "list", "elements": "dict", "required": True, "options": UNIT},
    "daemon_reload": {"type": "bool", "default": False},
}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        wanted = [services.Wanted(**unit) for unit in module.params["units"]]
        found = services.look([unit.name for unit in wanted], run)
        actions = services.plan(wanted, found, module.params["daemon_reload"])
        if not module.check_mode:
            services.apply(actions, run)
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    commands = [" ".join(action.argv) for action in actions]
    module.exit_json(
        changed=bool(actions),
        actions=commands,
        diff={"before": "", "after": "".join(f"{command}\n" for command in commands)},
    )


if __name__ == "__main__":
    main()
