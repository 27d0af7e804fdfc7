#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few lines of Python inside a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: shell
short_description: Run Python code inside a Django project
version_added: 0.1.0
description:
  - Runs a snippet after Django is set up, in a namespace of its own, and returns what it leaves in C(result).
  - What the snippet does is not known here. It may tell by setting C(changed) to true or false; without that the task
    is changed unless O(read_only) says otherwise.
  - In check mode only a snippet with O(read_only) runs. Any other is read for syntax errors, and the task is changed.
options:
  code:
    description:
      - The Python code. It has the variables C(args) and C(secrets).
      - C(result) must be what JSON can hold; dates, times, decimals and UUIDs become text.
    type: str
    required: true
  args:
    description: Values for the code, in its variable C(args). Never build the code of values with a template.
    type: dict
  secrets:
    description:
      - The same for values that must not be shown, in its variable C(secrets).
      - They are hidden in all that is returned, also in the traceback and in C(result).
    type: dict
  transaction:
    description: Run in one transaction on O(database), undone when the code fails.
    type: bool
    default: false
  database:
    description: Alias of the database of O(transaction).
    type: str
    default: default
  read_only:
    description:
      - The code changes nothing. The task is then never changed, and check mode runs it.
      - To be sure, it runs in a transaction on every database that can be reached, and all of them are rolled back.
        Files and other servers cannot be.
    type: bool
    default: false
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.command
  - module: djdeploy.django.info
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Count the orders
  djdeploy.django.shell:
    site: shop
    read_only: true
    code: |
      from shop.models import Order
      result = Order.objects.filter(state=args["state"]).count()
    args:
      state: open
  register: open_orders

- name: Keep the key of the payment service
  djdeploy.django.shell:
    project_path: /srv/shop
    venv: /srv/shop/venv
    transaction: true
    code: |
      from shop.models import Gateway
      gateway = Gateway.objects.get(name="card")
      changed = gateway.key != secrets["key"]
      if changed:
          gateway.key = secrets["key"]
          gateway.save()
    secrets:
      key: "{{ vault_shop_card_key }}"
"""

RETURN = r"""
result:
  description: What the code left in C(result); null without, and when check mode did not run it.
  returned: success
  type: raw
  sample: 17
msg:
  description: Tells that the code was not run.
  returned: in check mode
  type: str
line:
  description: Line of the code that failed.
  returned: when the code raised an exception
  type: int
  sample: 2
stdout:
  description: What Django printed.
  returned: success
  type: str
stderr:
  description: What Django printed as errors and warnings, log lines included.
  returned: success
  type: str
seconds:
  description: Time the work took, without setting Django up.
  returned: success
  type: float
  sample: 0.41
kind:
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(user).
  returned: failure
  type: str
hint:
  description: Where to mend it.
  returned: failure
  type: str
detail:
  description: The traceback, or what else a person reads after the message.
  returned: failure
  type: str
"""

from ansible_collections.djdeploy.django.plugins.module_utils.family.commands import SHELL
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(SHELL)


if __name__ == "__main__":
    main()
