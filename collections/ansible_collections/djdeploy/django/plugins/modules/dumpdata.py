#!/usr/bin/python
# Copyright: djdeploy contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of a Django project in a file."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dumpdata
short_description: Write data of a Django project into a file
version_added: 0.1.0
description:
  - Writes objects as a fixture into a file of the host. The task is changed exactly when the file does not hold the
    same already, with the same mode.
  - The file is written aside and renamed, so nobody finds half of it. What it holds is neither shown nor returned.
  - This is for fixtures and for moving data. It is no backup of a big database, which C(pg_dump) makes faster.
options:
  dest:
    description:
      - The file. Its directory must be there, and the user the work is done as must be able to write to it.
      - It is compressed when its name ends in C(.gz), C(.bz2), C(.lzma) or C(.xz).
    type: path
    required: true
  mode:
    description: Mode of the file, as an octal number in quotes.
    type: str
    default: "0600"
  apps:
    description: Labels of apps or models, as V(shop) or V(shop.product). By default all of them.
    type: list
    elements: str
  exclude:
    description: Labels of apps or models to leave out.
    type: list
    elements: str
  database:
    description: Alias of the database.
    type: str
    default: default
  format:
    description: Format of the file. V(yaml) needs PyYAML in the project's virtual environment.
    type: str
    choices: [json, jsonl, xml, yaml]
    default: json
  indent:
    description: Number of spaces a level is indented by. By default everything is on one line.
    type: int
  natural_foreign:
    description: Refer to objects by their natural keys where they have one.
    type: bool
    default: false
  natural_primary:
    description: Leave out the primary key of objects that have a natural key.
    type: bool
    default: false
  all:
    description: Use the base manager of each model, so that objects come along which its default manager hides.
    type: bool
    default: false
extends_documentation_fragment:
  - djdeploy.django.manage
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.loaddata
author: djdeploy contributors (@djdeploy)
"""

EXAMPLES = r"""
- name: Keep the catalog as a fixture
  djdeploy.django.dumpdata:
    site: shop
    dest: /srv/shop/shared/catalog.json
    apps: [catalog]
    indent: 2

- name: Write all data of any project, to be loaded elsewhere
  djdeploy.django.dumpdata:
    project_path: /srv/legacy/app
    venv: /srv/legacy/venv
    run_as: legacy
    dest: /srv/legacy/data.json
    exclude: [contenttypes, auth.permission, sessions]
    natural_foreign: true
"""

RETURN = r"""
database:
  description: Alias of the database.
  returned: success
  type: str
  sample: default
dest:
  description: The file.
  returned: success
  type: str
  sample: /srv/shop/shared/catalog.json
before:
  description: Size in bytes and mode of the file as it was. Null when it was not there.
  returned: success
  type: dict
  sample: {bytes: 10240, mode: "0600"}
after:
  description: The same now, or as it would be.
  returned: success
  type: dict
  sample: {bytes: 10311, mode: "0600"}
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

from ansible_collections.djdeploy.django.plugins.module_utils.family.data import DUMPDATA
from ansible_collections.djdeploy.django.plugins.module_utils.manage import manage_module


def main() -> None:
    manage_module(DUMPDATA)


if __name__ == "__main__":
    main()
