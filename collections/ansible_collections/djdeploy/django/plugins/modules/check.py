#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""System checks of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: check
short_description: Run the system checks of a Django project
version_added: 0.1.0
description:
  - Runs Django's system checks and returns their messages as data.
  - Fails when a message is as grave as O(fail_level). Nothing is ever changed.
options:
  tags:
    description: Run only checks with one of these tags. By default all but those of databases.
    type: list
    elements: str
  deploy:
    description: Run the checks for deployment, too.
    type: bool
    default: false
  fail_level:
    description: The least grave message that makes the task fail.
    type: str
    choices: [DEBUG, INFO, WARNING, ERROR, CRITICAL]
    default: ERROR
  databases:
    description: Aliases of the databases whose checks are run; they need a connection.
    type: list
    elements: str
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes.info
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Check the live release of a site, with its database
  djdeploy.django.check:
    site: shop
    databases: [default]

- name: Let a warning about security fail the play
  djdeploy.django.check:
    site: shop
    deploy: true
    tags: [security]
    fail_level: WARNING

- name: Check a project that another tool has put there, as its own user
  djdeploy.django.check:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    env_file: /etc/legacy.env
    run_as: legacy
  become: true

- name: Look before new code is used, without failing
  djdeploy.django.check:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    fail_level: CRITICAL
  register: legacy_checks

- name: Say what is wrong
  ansible.builtin.debug:
    msg: "{{ legacy_checks.messages | map(attribute='message') | join(', ') }}"
  when: legacy_checks.counts.ERROR > 0
"""

RETURN = r"""
messages:
  description: All messages that are not silenced, the gravest first; also returned when the checks fail.
  returned: when the checks were run
  type: list
  elements: dict
  contains:
    level:
      description: How grave it is.
      type: str
      sample: WARNING
    id:
      description: Django's name of the message; may be empty.
      type: str
      sample: security.W004
    message:
      description: What is wrong.
      type: str
    hint:
      description: What to do about it.
      type: str
    object:
      description: The model, field or other thing it is about.
      type: str
      sample: shop.Order
counts:
  description: Number of messages of each level.
  returned: success
  type: dict
  sample: {CRITICAL: 0, ERROR: 0, WARNING: 2, INFO: 0, DEBUG: 0}
silenced:
  description: Number of messages the project silences.
  returned: success
  type: int
  sample: 0
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
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(check).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.checks import CHECK
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(CHECK)


if __name__ == "__main__":
    main()
