#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An empty database of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flush
short_description: Delete all data from a database of a Django project
version_added: 0.1.0
description:
  - Deletes every row of every table that belongs to a model, and lets Django put back what it makes by itself, such as
    permissions and content types. Tables and migrations stay.
  - B(The data is gone afterwards.) Nothing happens unless O(confirm) names the database.
  - The task is unchanged when the database holds nothing else already.
  - Check mode does the same work and takes it back. For that moment it locks all tables.
options:
  confirm:
    description: The alias of the database once more, as V(default). Anything else refuses the task.
    type: str
    required: true
  database:
    description: Alias of the database.
    type: str
    default: default
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.loaddata
  - module: djdeploy.django.dumpdata
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Empty the database of a staging site
  djdeploy.django.flush:
    site: shop_staging
    confirm: default

- name: Empty the second database of any project
  djdeploy.django.flush:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    database: archive
    confirm: archive
"""

RETURN = r"""
database:
  description: Alias of the database.
  returned: success
  type: str
  sample: default
before:
  description: Number of rows of each table that had any.
  returned: success
  type: dict
  sample: {shop_order: 1204, django_content_type: 12}
after:
  description: The same now, or as it would be.
  returned: success
  type: dict
  sample: {django_content_type: 12}
deleted:
  description: Number of rows of each table that was emptied, those included that Django puts back.
  returned: success
  type: dict
  sample: {shop_order: 1204, django_content_type: 12}
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
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(request).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.data import FLUSH
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(FLUSH)


if __name__ == "__main__":
    main()
