#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: loaddata
short_description: Load fixtures into a database of a Django project
version_added: 0.1.0
description:
  - Loads fixtures, all of them in one transaction.
  - Loading writes every object of a fixture, whether it is there already or not. So each object is compared with what
    was there before, and the task is changed exactly when one of them differs.
  - Check mode does the same work and takes it back. For that moment it holds the locks the work needs.
  - The diff names the objects and the fields that differ. Values of fields that look like secrets are hidden.
  - Signal handlers of the project may write more. Tables they changed by whatever means are found, too, and named in
    RV(elsewhere). In check mode that is taken back in every database.
options:
  fixtures:
    description: Names of fixtures, as C(manage.py loaddata) takes them, or absolute paths of files on the host.
    type: list
    elements: str
    required: true
  database:
    description: Alias of the database.
    type: str
    default: default
  app_label:
    description: Label of the only app in whose fixtures is looked.
    type: str
  exclude:
    description: Labels of apps or models to leave out.
    type: list
    elements: str
  ignore_nonexistent:
    description: Pass over models and fields that do not exist any more.
    type: bool
    default: false
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
notes:
  - What a fixture leaves out gets its default each time. When the default is the present time, or when an object has
    neither a primary key nor a natural key, every run changes something, and the task says so.
  - Of tables with more than 10000 rows only those objects are compared that are saved or deleted with signals. What
    triggers and functions of the database write is not seen.
  - On PostgreSQL check mode uses up numbers of a sequence for objects without a primary key, as any transaction does
    that is rolled back.
seealso:
  - module: djdeploy.django.dumpdata
  - module: djdeploy.django.flush
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Have the countries in the database
  djdeploy.django.loaddata:
    site: shop
    fixtures: [countries]

- name: See which countries a release would change
  djdeploy.django.loaddata:
    site: shop
    fixtures: [countries]
  check_mode: true
  diff: true
  register: shop_countries

- name: Stop when one would be overwritten
  ansible.builtin.assert:
    that: not shop_countries.updated

- name: Load two files of any project
  djdeploy.django.loaddata:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    fixtures: [countries, currencies]
    exclude: [contenttypes]
"""

RETURN = r"""
database:
  description: Alias of the database.
  returned: success
  type: str
  sample: default
before:
  description: Number of objects created and updated before the task; always 0.
  returned: success
  type: dict
  sample: {created: 0, updated: 0}
after:
  description: Number of objects that were created and updated, or would be.
  returned: success
  type: dict
  sample: {created: 3, updated: 1}
created:
  description:
    - The objects that were not there, as model and primary key. An object the fixture gives no primary key is told by
      its natural key, or as C((new)). Null where check mode found no tables.
  returned: success
  type: list
  elements: str
  sample: [shop.country 49]
updated:
  description: The objects that were there and differed.
  returned: success
  type: list
  elements: str
  sample: [shop.country 33]
elsewhere:
  description:
    - Tables that hold something else afterwards, though none of the objects compared accounts for it. Signal handlers
      wrote to them. Those of another database are preceded by its alias.
  returned: success
  type: list
  elements: str
  sample: [shop_searchindex, archive.shop_log]
unmodified:
  description: Number of objects that were as the fixtures have them.
  returned: success
  type: int
  sample: 190
msg:
  description: Why nothing more is told.
  returned: in check mode, where the database has no tables yet
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
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(fixture).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.data import LOADDATA
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(LOADDATA)


if __name__ == "__main__":
    main()
