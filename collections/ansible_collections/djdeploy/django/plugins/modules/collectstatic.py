#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Static files of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: collectstatic
short_description: Collect the static files of a Django project
version_added: 0.1.0
description:
  - Copies the static files of all apps to C(STATIC_ROOT).
  - The task is changed exactly when a file was copied or deleted; Django decides by the files' times.
  - A project without C(django.contrib.staticfiles) has nothing to collect and is unchanged.
options:
  clear:
    description:
      - Delete everything in C(STATIC_ROOT) first, as Django's C(--clear) does.
      - All files are copied again then, so that the task is always changed.
    type: bool
    default: false
  link:
    description: Make symbolic links instead of copies.
    type: bool
    default: false
  ignore:
    description: Glob patterns of files to leave out.
    type: list
    elements: str
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.release
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Collect the static files after another tool has put new code there
  djdeploy.django.collectstatic:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    env_file: /etc/legacy.env
    run_as: legacy
    ignore: ["*.scss"]
  become: true
  notify: Reload legacy

- name: Collect the static files in a handler, when the code was changed
  djdeploy.django.collectstatic:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
  listen: New code of legacy

- name: Predict how many files would be copied
  djdeploy.django.collectstatic:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
  check_mode: true
  register: legacy_static

- name: Tell it
  ansible.builtin.debug:
    msg: "{{ legacy_static.before.outdated }} files are not current"
  when: legacy_static is changed
"""

RETURN = r"""
before:
  description: Number of files in C(STATIC_ROOT) that were current, outdated (or missing) and to be deleted.
  returned: success
  type: dict
  sample: {current: 120, outdated: 7, surplus: 0}
after:
  description: The same now, or as it would be.
  returned: success
  type: dict
  sample: {current: 127, outdated: 0, surplus: 0}
copied:
  description: Number of files copied or linked, or that would be.
  returned: success
  type: int
  sample: 7
unmodified:
  description: Number of files that were current.
  returned: success
  type: int
  sample: 120
deleted:
  description: Number of files deleted.
  returned: success
  type: int
  sample: 0
post_processed:
  description: Number of files the storage made hashed copies of. Null in check mode, which cannot know it.
  returned: success
  type: int
  sample: 127
msg:
  description: Why there was nothing to collect.
  returned: when the project has no staticfiles app
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
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(static).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.static import COLLECTSTATIC
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(COLLECTSTATIC)


if __name__ == "__main__":
    main()
