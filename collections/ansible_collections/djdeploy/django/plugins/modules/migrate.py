#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migrate
short_description: Bring a database to the migrations of a Django project
version_added: 0.1.0
description:
  - Applies the migrations that are not applied yet, or goes back to an earlier one.
  - The task is changed exactly when the plan of migrations was not empty. Check mode returns the plan, and the
    diff names each migration with its operations.
  - When a migration fails, the result tells which one, and which were applied before it.
options:
  app:
    description: Label of the only app to migrate. By default all of them.
    type: str
  target:
    description:
      - The migration of O(app) to go to, by the beginning of its name, forwards or backwards.
      - V(zero) takes all migrations of the app back.
    type: str
  database:
    description: Alias of the database.
    type: str
    default: default
  fake:
    description: Note the migrations as applied without running them.
    type: bool
    default: false
  fake_initial:
    description: Note initial migrations as applied where their tables exist.
    type: bool
    default: false
  lock_timeout:
    description:
      - Seconds a statement may wait for a lock of PostgreSQL before the migration fails.
      - A migration that waits makes every query on that table wait behind it.
    type: float
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.check
  - module: djdeploy.django.release
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Migrate the live release of a site
  djdeploy.django.migrate:
    site: shop
    lock_timeout: 5

- name: Go back to an earlier migration of one app
  djdeploy.django.migrate:
    site: shop
    app: catalog
    target: "0007"

- name: Migrate the second database of any project
  djdeploy.django.migrate:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    settings: legacy.settings.production
    database: archive
"""

RETURN = r"""
database:
  description: Alias of the database.
  returned: success
  type: str
  sample: default
before:
  description: Those of the planned migrations that were applied.
  returned: success
  type: list
  elements: str
  sample: []
after:
  description: Those of the planned migrations that are applied now, or would be.
  returned: success
  type: list
  elements: str
  sample: [catalog.0008_price]
pending:
  description: The planned migrations, in order.
  returned: success
  type: list
  elements: str
  sample: [catalog.0008_price]
applied:
  description: The migrations this task carried out; none in check mode.
  returned: when a plan could be made
  type: list
  elements: str
  sample: [catalog.0008_price]
plan:
  description: The planned migrations, in order.
  returned: success
  type: list
  elements: dict
  contains:
    migration:
      description: App and name.
      type: str
      sample: catalog.0008_price
    backwards:
      description: Whether it is taken back.
      type: bool
    operations:
      description: What it does, in Django's words.
      type: list
      elements: str
      sample: [Add field price to product]
    atomic:
      description: Whether it is applied as a whole or not at all, where the database can do that.
      type: bool
    reversible:
      description: Whether it could be taken back.
      type: bool
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

from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module

OPTIONS = {
    "app": {"type": "str"},
    "target": {"type": "str"},
    "database": {"type": "str", "default": "default"},
    "fake": {"type": "bool", "default": False},
    "fake_initial": {"type": "bool", "default": False},
    "lock_timeout": {"type": "float"},
}


def main() -> None:
    manage_module("migrate", OPTIONS, ("database", "pending", "applied", "plan"))


if __name__ == "__main__":
    main()
