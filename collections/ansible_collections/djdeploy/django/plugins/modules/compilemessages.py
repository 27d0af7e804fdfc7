#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Translations of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compilemessages
short_description: Compile the translations of a Django project
version_added: 0.1.0
description:
  - Compiles C(.po) files to C(.mo) files, in every directory C(locale) below the project and in C(LOCALE_PATHS).
  - The task is changed exactly when the content of a C(.mo) file was not what its C(.po) file compiles to. The times
    of files, which a checkout does not keep, do not count.
  - When one file has an error, none is written.
  - Needs C(msgfmt) on the host, of the Debian package C(gettext), as soon as there is a C(.po) file.
  - The virtual environment is left out when it is below the project.
  - Processes that run already keep the translations they have read, until they are restarted.
options:
  locales:
    description: Names of the locales to compile, as their directories are called, for example V(pt_BR). By default all.
    type: list
    elements: str
  exclude:
    description: Names of locales to leave out.
    type: list
    elements: str
  use_fuzzy:
    description: Use translations that are marked as fuzzy, too.
    type: bool
    default: false
  ignore:
    description: Glob patterns of directories to leave out.
    type: list
    elements: str
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.collectstatic
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Compile the translations of any project
  djdeploy.django.compilemessages:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    exclude: [en]
    ignore: [node_modules]

- name: Compile the translations of a site
  djdeploy.django.compilemessages:
    site: shop
"""

RETURN = r"""
before:
  description: Number of files that were current, outdated and missing.
  returned: success
  type: dict
  sample: {current: 3, outdated: 1, missing: 2}
after:
  description: The same now, or as it would be.
  returned: success
  type: dict
  sample: {current: 6, outdated: 0, missing: 0}
compiled:
  description: The C(.mo) files that were written, or would be; below the project, relative to it.
  returned: success
  type: list
  elements: str
  sample: [locale/de/LC_MESSAGES/django.mo]
unmodified:
  description: Number of files that were current.
  returned: success
  type: int
  sample: 3
msg:
  description: Why there was nothing to compile.
  returned: when the project has no such C(.po) file
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.static import COMPILEMESSAGES
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(COMPILEMESSAGES)


if __name__ == "__main__":
    main()
