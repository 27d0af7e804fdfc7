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
  - The task is changed exactly when the plan of migrations was not empty. Check mode returns the plan.
  - With C(--diff) the SQL of each migration is shown, as C(manage.py sqlmigrate) collects it, forwards and backwards,
    and which migrations are applied before and afterwards. It is collected only then, and nothing of it is run.
  - A comment stands where there is no SQL, as for C(RunPython), and where it depends on what an earlier migration of
    the same plan does.
  - A plan that goes back is refused before it begins when one of its migrations cannot be reversed.
  - When a migration fails, the result tells which one, and which were applied before it.
  - On PostgreSQL, MariaDB and MySQL one host at a time migrates a database. The others wait, and then find nothing
    to do.
  - There a migration that finds its table locked gives way to visitors and is tried again; when it gives up, the
    result names who holds the lock. One that is not atomic and half applied is never tried again; on MariaDB and MySQL
    none is that is half applied, since they take no change of tables back. When the server restarts meanwhile, it is
    waited for, and the migration tried once more.
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
      - Seconds a statement waits for a lock before it gives way. MariaDB and MySQL know whole seconds only.
      - A migration that waits makes every query on that table wait behind it.
      - What is done C(CONCURRENTLY) may wait longer, since nobody waits behind it.
    type: float
    default: 2
  statement_timeout:
    description: Seconds a statement may take; V(0) is no limit. There is none on MySQL and SQLite.
    type: float
    default: 900
  attempts:
    description: How often a migration that found its table locked is tried, with growing pauses; once on SQLite.
    type: int
    default: 10
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

- name: Apply a migration that takes an hour
  djdeploy.django.migrate:
    site: shop
    statement_timeout: 7200

- name: See the SQL a release would run, without running it
  djdeploy.django.migrate:
    site: shop
  check_mode: true
  diff: true
  register: shop_migrations

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
diff:
  description: What a person reads.
  returned: with C(--diff)
  type: dict
  contains:
    before:
      description: Which of the planned migrations were applied.
      type: str
      sample: |
        catalog.0008_price: not applied
    after:
      description: The SQL of the plan, and which of its migrations are applied then.
      type: str
      sample: |
        -- Migration catalog.0008_price
        BEGIN;
        -- Add field price to product
        ALTER TABLE "catalog_product" ADD COLUMN "price" integer NULL;
        COMMIT;

        catalog.0008_price: applied
waited:
  description: Seconds until no other host was migrating.
  returned: when there was something to do
  type: float
  sample: 0.0
tries:
  description: How often the last migration was tried; 0 where the database is SQLite.
  returned: when there was something to do
  type: int
  sample: 1
blockers:
  description: Who was last in the way of a migration, on MariaDB and MySQL a guess; without values of statements.
  returned: when a migration failed
  type: list
  elements: dict
  sample: [{pid: 4711, user: shop, application: psql, client: null, state: idle in transaction,
    backend_type: client backend, since: "2026-01-02 03:04:05 UTC", query: LOCK TABLE catalog_product}]
invalid_indexes:
  description: Indexes an interrupted C(CREATE INDEX CONCURRENTLY) left, each with the statement that removes it.
  returned: when a migration failed
  type: list
  elements: dict
  sample: [{index: by_name, table: catalog_product, mend: DROP INDEX CONCURRENTLY public.by_name}]
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.migrations import MIGRATE
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(MIGRATE)


if __name__ == "__main__":
    main()
