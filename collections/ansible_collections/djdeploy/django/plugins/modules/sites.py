#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Site of a Django project."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sites
short_description: Keep the domain and the name of a Django Site
version_added: 0.1.0
description:
  - Brings a Site of C(django.contrib.sites) to a domain and a name, and creates it when it is missing.
  - The Site C(example.com) which the first C(migrate) makes is changed in place; it keeps its number.
  - A domain that another Site has is refused, whatever the case of its letters.
  - Processes that run already keep the Site they have read, until they are reloaded.
options:
  id:
    description: Number of the Site. Without it, C(SITE_ID) of the settings.
    type: int
  domain:
    description: Domain, with a port if need be, without a scheme.
    type: str
    required: true
  name:
    description:
      - Name for people, of 50 characters at most.
      - Without it, the name of an existing Site stays, unless it was the domain. Then it is the new domain, as for a
        Site that is created.
    type: str
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
- name: Tell the project its domain
  djdeploy.django.sites:
    site: shop
    domain: shop.example.com
    name: The shop

- name: Tell it in a handler, after a domain was changed elsewhere
  djdeploy.django.sites:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    env_file: /etc/legacy.env
    run_as: legacy
    domain: legacy.example.com
  become: true
  listen: New domain of legacy

- name: Keep a second Site of any project
  djdeploy.django.sites:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    id: 2
    domain: blog.example.com
"""

RETURN = r"""
before:
  description: The Site as it was. Null when there was none of this number.
  returned: success
  type: dict
  sample: {id: 1, domain: example.com, name: example.com}
after:
  description: The Site now, or as it would be.
  returned: success
  type: dict
  sample: {id: 1, domain: shop.example.com, name: The shop}
id:
  description: Number of the Site.
  returned: success
  type: int
  sample: 1
database:
  description: Alias of the database.
  returned: success
  type: str
  sample: default
created:
  description: Whether the Site was missing.
  returned: success
  type: bool
  sample: true
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.upkeep import SITES
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(SITES)


if __name__ == "__main__":
    main()
