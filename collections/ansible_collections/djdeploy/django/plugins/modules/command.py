#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any management command of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: command
short_description: Run a management command of a Django project
version_added: 0.1.0
description:
  - Runs any command of C(manage.py), with the same words and the same exit status.
  - What the command does is not known here, so the task is changed unless O(read_only) says otherwise. Prefer the
    module of the command where there is one.
options:
  argv:
    description: The command and its arguments, one list item each. No shell reads them.
    type: list
    elements: str
  cmd:
    description: The same as one text, split as a shell splits words. No shell reads it either.
    type: str
  read_only:
    description:
      - The command changes nothing. The task is then never changed.
      - Check mode runs only such commands.
    type: bool
    default: false
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.check
  - module: djdeploy.django.migrate
  - module: djdeploy.django.collectstatic
  - module: djdeploy.django.superuser
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Delete expired sessions
  djdeploy.django.command:
    site: shop
    argv: [clearsessions]

- name: Make the cache tables, by the words a person would type
  djdeploy.django.command:
    site: shop
    cmd: createcachetable --verbosity 0

- name: Read which migrations are applied
  djdeploy.django.command:
    site: shop
    argv: [showmigrations, --plan]
    read_only: true
  register: shop_migrations
"""

RETURN = r"""
argv:
  description: What was run.
  returned: when Django could be set up
  type: list
  elements: str
  sample: [clearsessions]
rc:
  description: Exit status; null when check mode did not run it.
  returned: when Django could be set up
  type: int
  sample: 0
msg:
  description: Tells that the command was not run.
  returned: in check mode
  type: str
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
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(command).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.commands import COMMAND
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(COMMAND)


if __name__ == "__main__":
    main()
