#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Django project is and in which state."""

from __future__ import annotations

DOCUMENTATION = r"""
module: info
short_description: Read what a Django project is and in which state
version_added: 0.1.0
description:
  - Tells versions, settings, apps, databases and migrations of a project, as Django itself sees them. Use the answers
    in C(when) of later tasks.
  - Nothing is ever changed. The task is the same in check mode.
  - Passwords are never told.
options:
  gather:
    description:
      - What to tell, besides what is always told.
      - V(databases) and V(migrations) open databases; the others do not. A database that is down does not fail the
        task, it has C(reachable) false and the C(reason).
      - A SQLite file that the first migrate makes counts as an empty database, and is not made.
    type: list
    elements: str
    choices: [apps, databases, migrations, settings, static]
    default: [apps, settings, static]
  settings_values:
    description:
      - Names of settings whose values are returned.
      - Names that look like secrets are refused, by the rule of Django's error reports
        (C(SafeExceptionReporterFilter)). Such keys inside a setting are masked.
    type: list
    elements: str
  database:
    description: Alias of the database whose migrations are gathered.
    type: str
    default: default
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.check
  - module: djdeploy.django.migrate
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: See what the site is
  djdeploy.django.info:
    site: shop
    gather: [settings, databases, migrations]
  register: shop

- name: Refuse to go on with debug on
  ansible.builtin.assert:
    that: not shop.debug

- name: Announce a pause only when there is something to migrate
  ansible.builtin.debug:
    msg: "to be applied: {{ shop.pending | join(', ') }}"
  when: shop.databases.default.reachable and shop.pending

- name: Read two settings of a project of its own
  djdeploy.django.info:
    project_path: /srv/blog
    venv: /srv/blog/venv
    gather: []
    settings_values: [TIME_ZONE, LANGUAGES]
"""

RETURN = r"""
python:
  description: Version of Python.
  returned: success
  type: str
  sample: 3.13.5
django:
  description: Version of Django.
  returned: success
  type: str
  sample: 5.2.8
settings_module:
  description: Dotted path of the settings.
  returned: success
  type: str
  sample: mysite.settings
debug:
  description: Whether C(DEBUG) is on.
  returned: success
  type: bool
  sample: false
allowed_hosts:
  description: C(ALLOWED_HOSTS).
  returned: success
  type: list
  elements: str
  sample: [shop.example.com]
databases:
  description:
    - The databases by alias. C(reachable), C(version) and C(reason) are there only where the database was asked, see
      O(gather).
  returned: success
  type: dict
  sample:
    default: {engine: django.db.backends.postgresql, vendor: postgresql, name: shop, host: "", port: "",
              reachable: true, version: "17.2", reason: ""}
apps:
  description: The installed apps, in their order. C(migrations) tells whether an app has any.
  returned: when gathered
  type: list
  elements: dict
  sample: [{label: shop, name: shop, path: /srv/shop/shop, migrations: true}]
static_url:
  description: C(STATIC_URL).
  returned: when V(static) is gathered
  type: str
  sample: /static/
static_root:
  description: C(STATIC_ROOT); null when there is none.
  returned: when V(static) is gathered
  type: str
static_storage:
  description: Class of the storage of static files.
  returned: when V(static) is gathered
  type: str
media_url:
  description: C(MEDIA_URL); null when there is none.
  returned: when V(static) is gathered
  type: str
media_root:
  description: C(MEDIA_ROOT); null when there is none.
  returned: when V(static) is gathered
  type: str
user_model:
  description: C(AUTH_USER_MODEL).
  returned: when V(settings) is gathered
  type: str
  sample: auth.User
time_zone:
  description: C(TIME_ZONE).
  returned: when V(settings) is gathered
  type: str
  sample: Europe/Berlin
use_tz:
  description: C(USE_TZ).
  returned: when V(settings) is gathered
  type: bool
  sample: true
language:
  description: C(LANGUAGE_CODE).
  returned: when V(settings) is gathered
  type: str
  sample: en-us
caches:
  description: Classes of the caches, by alias.
  returned: when V(settings) is gathered
  type: dict
  sample: {default: django.core.cache.backends.locmem.LocMemCache}
email_backend:
  description: Class that sends email.
  returned: when V(settings) is gathered
  type: str
  sample: django.core.mail.backends.smtp.EmailBackend
migrations:
  description: By app, the names of its applied, pending and conflicting migrations. C(applied) and C(pending) are null
    when the database cannot be reached.
  returned: when gathered
  type: dict
  sample: {shop: {applied: ["0001_initial"], pending: ["0002_price"], conflicts: []}}
pending:
  description: All pending migrations in the order they would be applied; null when the database cannot be reached.
  returned: when V(migrations) is gathered
  type: list
  elements: str
  sample: [shop.0002_price]
conflicts:
  description: Labels of the apps whose migrations have several ends.
  returned: when V(migrations) is gathered
  type: list
  elements: str
  sample: []
settings_values:
  description: The settings of O(settings_values). What JSON has no form for is text.
  returned: success
  type: dict
  sample: {TIME_ZONE: Europe/Berlin}
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
  description: What kind of thing is wrong, for example V(import_error), V(settings), V(database) or V(user).
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.project import INFO
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(INFO)


if __name__ == "__main__":
    main()
