#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: user
short_description: Keep a user of a Django project, or see that it is gone
version_added: 0.1.0
description:
  - Creates the user when it is missing, and brings what is given to the described state. What is not given stays.
  - A user model of the project is respected, with its C(USERNAME_FIELD) and C(REQUIRED_FIELDS).
options:
  username:
    description: Value of the user model's C(USERNAME_FIELD), which may be an email address.
    type: str
    required: true
  email:
    description: Email address; without it, that of an existing user stays.
    type: str
  password:
    description: Password. A user created without one cannot log in by password.
    type: str
  update_password:
    description:
      - V(on_create) sets O(password) only for a user that is created.
      - V(always) sets it whenever it is not the one the user has.
    type: str
    choices: [on_create, always]
    default: on_create
  active:
    description: Whether the user may log in. A new user may, unless told otherwise.
    type: bool
  staff:
    description: Whether the user may enter the admin.
    type: bool
  superuser:
    description: Whether the user has all permissions.
    type: bool
  groups:
    description: Names of the groups the user is in. Without it, nothing is done about groups.
    type: list
    elements: str
  append:
    description: Leave the user in other groups, too.
    type: bool
    default: false
  fields:
    description: Other fields of the user model, for example those in its C(REQUIRED_FIELDS).
    type: dict
  state:
    description: Whether the user is to be there.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - With O(state=absent), delete also what cannot be without the user.
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
  - module: djdeploy.django.superuser
  - module: djdeploy.django.group
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Keep an editor
  djdeploy.django.user:
    site: shop
    username: bea
    email: bea@example.com
    password: "{{ vault_shop_admin_password }}"
    staff: true
    groups: [editors]

- name: Let somebody not log in any more
  djdeploy.django.user:
    site: shop
    username: carl
    active: false

- name: Delete a user of any project, who has nothing in the database
  djdeploy.django.user:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    username: carl
    state: absent
"""

RETURN = r"""
before:
  description: The given fields as they were, without the password. Null when there was no such user.
  returned: success
  type: dict
  sample: {username: ann, email: ann@example.com, is_staff: false, is_superuser: false, is_active: true}
after:
  description: The same now, or as it would be.
  returned: success
  type: dict
  sample: {username: ann, email: ann@example.com, is_staff: true, is_superuser: true, is_active: true}
username:
  description: The username as it is stored.
  returned: success
  type: str
  sample: ann
created:
  description: Whether the user was missing.
  returned: success
  type: bool
  sample: true
password_changed:
  description: Whether the password was set.
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.users import USER
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(USER)


if __name__ == "__main__":
    main()
