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
attributes:
  check_mode:
    support: partial
    description: Tells what would change without changing it.
    details: Runs what is O(read_only), and answers for any other command that it is changed.
  diff_mode:
    support: none
    description: Shows what changed, or would.
    details: What the command changes is not known.
options:
  argv:
    description:
      - The command and its arguments, one list item each. No shell reads them.
      - Join an option and a value that begins with a dash by an equals sign, as in C(--prefix=-x).
    type: list
    elements: str
  cmd:
    description: The same as one text, split as a shell splits words. No shell reads it either.
    type: str
  read_only:
    description:
      - The command changes nothing. The task is then never changed.
      - Check mode runs only such commands. Any other it answers as changed, unless O(creates) or O(removes) tell that
        there is nothing to do.
    type: bool
    default: false
  creates:
    description: A path, relative to the directory of C(manage.py). When it exists, the command is not run and the task
      is unchanged.
    type: str
  removes:
    description: A path as in O(creates). When it does not exist, the command is not run and the task is unchanged.
    type: str
  changed_pattern:
    description:
      - A Python regular expression; C(^) and C($) match at every line. The task is changed only if it is found in what
        the command prints.
      - Check mode cannot know that and answers changed.
    type: str
  failed_pattern:
    description: The same; the task fails if it is found.
    type: str
  parse:
    description: V(json) reads what the command prints as JSON and returns it as RV(data). The task fails if it is none.
    type: str
    choices: [json]
  stdin:
    description: Text for the command's standard input. Without it a command that asks a question fails.
    type: str
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.check
  - module: djdeploy.django.migrate
  - module: djdeploy.django.collectstatic
  - module: djdeploy.django.superuser
  - module: djdeploy.django.shell
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Remove what apps left behind that are gone, by the words a person would type
  djdeploy.django.command:
    site: shop
    cmd: remove_stale_contenttypes --noinput

- name: Import prices in a handler, when their file was changed
  djdeploy.django.command:
    project_path: /srv/shop
    venv: /srv/shop/venv
    env_file: /etc/shop.env
    run_as: shop
    argv: [import_prices]
    timeout: 600
  become: true
  listen: New prices

- name: Read which migrations are applied
  djdeploy.django.command:
    site: shop
    argv: [showmigrations, --plan]
    read_only: true
  register: shop_migrations

- name: Say that there is something to apply
  ansible.builtin.debug:
    msg: "{{ shop_migrations.stdout_lines | select('match', '\\[ \\]') | list }}"
  when: "'[ ]' in shop_migrations.stdout"

- name: Import prices, changed only if there were new ones
  djdeploy.django.command:
    project_path: /srv/shop
    venv: /srv/shop/venv
    argv: [import_prices, --noinput]
    changed_pattern: "^[1-9][0-9]* new"

- name: Read the products
  djdeploy.django.command:
    site: shop
    argv: [dumpdata, shop.product]
    read_only: true
    parse: json
  register: products
"""

RETURN = r"""
argv:
  description: What was run.
  returned: when Django could be set up
  type: list
  elements: str
  sample: [import_prices, --noinput]
rc:
  description: Exit status; null when it was not run.
  returned: when Django could be set up
  type: int
  sample: 0
data:
  description: What the command printed, read as JSON; null when it was not run or O(parse) is not given.
  returned: success
  type: raw
  sample: [{model: shop.product, pk: 1, fields: {name: Tea}}]
msg:
  description: Tells that the command was not run, and why.
  returned: when it was not run
  type: str
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
