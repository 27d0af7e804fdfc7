#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of a Django project's database caches."""

from __future__ import annotations

DOCUMENTATION = r"""
module: createcachetable
short_description: Create the cache tables of a Django project
version_added: 0.1.0
description:
  - Creates the tables of the caches in C(CACHES) whose backend is Django's database cache.
  - The task is changed exactly when a table was missing. A table that is no cache table makes it fail.
  - A table that the project's database routers do not allow in O(database) is left out, as Django does.
options:
  tables:
    description: Names of the tables. Without them, those of all database caches in C(CACHES).
    type: list
    elements: str
  database:
    description: Alias of the database.
    type: str
    default: default
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.migrate
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Create the cache tables of a site
  djdeploy.django.createcachetable:
    site: shop

- name: Create one cache table of any project in its second database
  djdeploy.django.createcachetable:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    database: archive
    tables: [legacy_cache]
"""

RETURN = r"""
before:
  description: The wanted cache tables that were there.
  returned: success
  type: list
  elements: str
  sample: []
after:
  description: Those that are there now, or would be.
  returned: success
  type: list
  elements: str
  sample: [shop_cache]
database:
  description: Alias of the database.
  returned: success
  type: str
  sample: default
tables:
  description: The tables that were asked for, or that C(CACHES) names.
  returned: success
  type: list
  elements: str
  sample: [shop_cache]
created:
  description: The tables that were created, or would be. The diff shows their SQL.
  returned: success
  type: list
  elements: str
  sample: [shop_cache]
skipped:
  description: The tables that the project's routers keep out of this database.
  returned: success
  type: list
  elements: str
  sample: []
msg:
  description: Why there was no table to create.
  returned: when no cache is in a database, or none is allowed in this one
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.upkeep import CREATECACHETABLE
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(CREATECACHETABLE)


if __name__ == "__main__":
    main()
