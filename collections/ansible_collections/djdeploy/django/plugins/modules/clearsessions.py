#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Expired sessions of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: clearsessions
short_description: Remove the expired sessions of a Django project
version_added: 0.1.0
description:
  - Removes expired sessions from the store that C(SESSION_ENGINE) names.
  - The task is changed exactly when a session was removed. They are counted in the store itself, which works for the
    engines C(db), C(cached_db) and C(file) of Django and for engines derived from them.
  - Of any other engine the task is unchanged and does nothing. Sessions in a cache or a signed cookie expire by
    themselves.
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Remove the expired sessions of a site
  djdeploy.django.clearsessions:
    site: shop

- name: Remove the expired sessions of any project
  djdeploy.django.clearsessions:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
"""

RETURN = r"""
before:
  description: Number of expired sessions there were.
  returned: success
  type: dict
  sample: {expired: 1204}
after:
  description: Number of those that are left, or would be.
  returned: success
  type: dict
  sample: {expired: 0}
engine:
  description: The session engine of the project.
  returned: success
  type: str
  sample: django.contrib.sessions.backends.db
removed:
  description: Number of sessions that were removed, or would be.
  returned: success
  type: int
  sample: 1204
msg:
  description: Why there was nothing to remove.
  returned: when the engine is none whose sessions can be counted
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
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(file).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.upkeep import CLEARSESSIONS
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(CLEARSESSIONS)


if __name__ == "__main__":
    main()
