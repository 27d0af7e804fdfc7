#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A group of users of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: group
short_description: Keep a group of users of a Django project, or see that it is gone
version_added: 0.1.0
description:
  - Creates the group when it is missing, and gives it its permissions.
  - Permissions of a model are made by C(migrate), so a group follows the migrations of what it is about.
options:
  name:
    description: Name of the group.
    type: str
    required: true
  permissions:
    description:
      - Permissions as V(app_label.codename), for example V(shop.change_product).
      - Without it, those the group has stay.
    type: list
    elements: str
  append:
    description: Leave the group its other permissions, too.
    type: bool
    default: false
  state:
    description: Whether the group is to be there.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - With O(state=absent), delete also what cannot be without the group.
      - Without it the task fails and tells what that would be.
    type: bool
    default: false
  database:
    description: Alias of the database.
    type: str
    default: default
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.user
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Let editors change products
  djdeploy.django.group:
    site: shop
    name: editors
    permissions: [shop.add_product, shop.change_product]

- name: One permission more, whatever else the group has
  djdeploy.django.group:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    name: editors
    permissions: [shop.view_product]
    append: true
"""

RETURN = r"""
before:
  description: Name and permissions as they were. Null when there was no such group.
  returned: success
  type: dict
  sample: {name: editors, permissions: [shop.change_product]}
after:
  description: The same now, or as it would be.
  returned: success
  type: dict
  sample: {name: editors, permissions: [shop.add_product, shop.change_product]}
created:
  description: Whether the group was missing.
  returned: success
  type: bool
  sample: true
removed:
  description: Number of objects of other models that went along, or would, by model.
  returned: success
  type: dict
  sample: {shop.order: 3}
stdout:
  description: What Django printed.
  returned: when the project could be started
  type: str
stderr:
  description: What Django printed as errors and warnings, log lines included.
  returned: when the project could be started
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.users import GROUP
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(GROUP)


if __name__ == "__main__":
    main()
