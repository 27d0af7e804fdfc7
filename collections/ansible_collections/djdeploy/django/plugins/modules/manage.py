#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several modules of the family in one Django process."""

from __future__ import annotations

DOCUMENTATION = r"""
module: manage
short_description: Do several kinds of manage.py work in one Django process
version_added: 0.1.0
description:
  - Runs other modules of this collection one after the other, in one connection to the host and one start of Django.
    Starting is most of what such a task costs.
  - All options of all steps are looked at before the first one begins.
  - The first step that fails ends the task. What the steps before it did stays done, and is in RV(results).
  - In check mode each step is predicted on the state there is now, not on the one the steps before it would leave.
options:
  steps:
    description:
      - What to do, in order. Each item has one key, the name of a module, with the options of that module as its value.
      - "The modules are those which take the options below: V(migrate), V(collectstatic), V(superuser), ..."
      - Which project it is, and as whom, is said once for all of them.
    type: list
    elements: dict
    required: true
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.migrate
  - module: djdeploy.django.collectstatic
  - module: djdeploy.django.superuser
  - module: djdeploy.django.command
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Bring a project to the new code another tool has put there
  djdeploy.django.manage:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    env_file: /etc/legacy.env
    run_as: legacy
    steps:
      - check: {deploy: true}
      - migrate:
      - collectstatic:
          ignore: ["*.scss"]
      - superuser:
          username: ann
          email: ann@example.com
  become: true
  notify: Reload legacy

- name: Two things of the live release of a site
  djdeploy.django.manage:
    site: shop
    steps:
      - clearsessions:
      - command: {argv: [showmigrations, --plan], read_only: true}
  register: shop_upkeep
"""

RETURN = r"""
results:
  description: What each step returned, in order, with its name as C(step). Those of a failed task end before the step
    that failed.
  returned: when Django could be set up
  type: list
  elements: dict
  sample: [{step: migrate, changed: true, applied: [catalog.0008_price], before: [], after: [catalog.0008_price]}]
seconds:
  description: Time all steps took, without setting Django up.
  returned: success
  type: float
  sample: 0.41
step:
  description: The step that failed.
  returned: failure
  type: str
kind:
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(migration).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.every import FAMILY
from ansible_collections.djdeploy.django.plugins.module_utils.manage import steps_module


def main() -> None:
    steps_module(FAMILY)


if __name__ == "__main__":
    main()
