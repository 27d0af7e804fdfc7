# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""System accounts, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: accounts
short_description: Make system accounts, and never take over one that is somebody else's
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Makes each account with a group of its own name, without a password and without creating its home.
  - An account of the name with another home, or a group of the name without such an account, is not ours.
    The module then fails before it has changed anything.
options:
  accounts:
    description: The accounts.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the account and of its group.
        type: str
        required: true
      home:
        description: Home directory.
        type: path
        required: true
      shell:
        description: Login shell.
        type: path
        default: /usr/sbin/nologin
      comment:
        description: What the account is for, one line.
        type: str
        default: ""
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the programs that make the accounts.
"""

EXAMPLES = r"""
- name: Make the account of a site
  djdeploy.django.accounts:
    accounts:
      - {name: shop, home: /srv/shop/shared, comment: the Django site shop}
"""

RETURN = r"""
commands:
  description: The programs that were run, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["useradd --system --user-group --no-create-home --home-dir /srv/shop/shared shop"]
"""

import shlex

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import accounts

ACCOUNT = {
    "name": {"type": "str", "required": True},
    "home": {"type": "path", "required": True},
    "shell": {"type": "path", "default": "/usr/sbin/nologin"},
    "comment": {"type": "str", "default": ""},
}
ARGUMENTS = {"accounts": {"type": "list", "elements": "dict", "required": True, "options": ACCOUNT}}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        wanted = [accounts.Wanted(**account) for account in module.params["accounts"]]
        commands = accounts.plan(wanted, {account.name: accounts.look(account.name) for account in wanted})
        if not module.check_mode:
            accounts.apply(commands, run)
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    texts = [shlex.join(command) for command in commands]
    module.exit_json(
        changed=bool(commands),
        commands=texts,
        diff={"before": "", "after": "".join(f"{text}\n" for text in texts)},
    )


if __name__ == "__main__":
    main()
