# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Environment files of the sites, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment
short_description: Keep the environment file of each site
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Writes the file systemd gives to every process of a site, readable by root only.
  - Besides what is given, it sets C(ALLOWED_HOSTS), C(DEBUG=False), C(DATABASE_URL), C(REDIS_URL),
    C(CELERY_BROKER_URL) and C(SECRET_KEY), unless they are given. C(SECRET_KEY) is made once on the host and kept.
  - C(DJANGO_ALLOWED_HOSTS), C(DJANGO_DEBUG) and C(DJANGO_SECRET_KEY) have the same values, unless they are given.
options:
  sites:
    description: The sites.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the site.
        type: str
        required: true
      env:
        description: Variables everybody may see.
        type: dict
        default: {}
      secrets:
        description: Variables nobody may see.
        type: dict
        default: {}
      secret_files:
        description:
          - Names to texts of files only root and the site may read; the variable C(<name>_FILE) holds the path of each.
        type: dict
        default: {}
      project_files:
        description: Paths in the project's tree to texts; the engine lays them into each release.
        type: dict
        default: {}
      build_secrets:
        description: Variables of build commands that fetch packages, and of nothing else.
        type: dict
        default: {}
      package_indexes:
        description: Names to URLs of indexes of Python packages; C(default) stands in for PyPI.
        type: dict
        default: {}
      secret_key_fallbacks:
        description: How many earlier keys stay in C(SECRET_KEY_FALLBACKS) when C(SECRET_KEY) changes.
        type: int
        default: 2
      domains:
        description: Domain names the site is served under.
        type: list
        elements: str
        default: []
      database_url:
        description: How the site reaches its database. Empty when the project says so itself.
        type: str
        default: ""
      database_urls:
        description: Variables to URLs of the databases the site has besides; secret like O(sites[].database_url).
        type: dict
        default: {}
      redis_socket:
        description: Path of the socket of the site's own redis. Empty when it has none.
        type: str
        default: ""
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows names and values, but only the names of O(sites[].secrets), C(SECRET_KEY),
      C(SECRET_KEY_FALLBACKS) and C(DATABASE_URL), and of files only that they change.
"""

EXAMPLES = r"""
- name: Write the environment of a site
  djdeploy.django.environment:
    sites:
      - name: shop
        domains: [shop.example.com]
        env: {EMAIL_HOST: mail.example.com}
        secrets: {EMAIL_HOST_PASSWORD: "{{ vault_shop_email_password }}"}
        database_url: postgresql:///shop
"""

RETURN = r"""
changed_paths:
  description: The files that differ.
  returned: success
  type: list
  elements: str
  sample: [/etc/djdeploy/sites/shop.env]
"""

import os

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import files, site_environment

SITE = {
    "name": {"type": "str", "required": True},
    "env": {"type": "dict", "default": {}},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "secret_files": {"type": "dict", "default": {}, "no_log": True},
    "project_files": {"type": "dict", "default": {}, "no_log": True},
    "build_secrets": {"type": "dict", "default": {}, "no_log": True},
    "package_indexes": {"type": "dict", "default": {}, "no_log": True},
    "secret_key_fallbacks": {"type": "int", "default": 2, "no_log": False},
    "domains": {"type": "list", "elements": "str", "default": []},
    "database_url": {"type": "str", "default": "", "no_log": True},
    "database_urls": {"type": "dict", "default": {}, "no_log": True},
    "redis_socket": {"type": "str", "default": ""},
}
ARGUMENTS = {"sites": {"type": "list", "elements": "dict", "required": True, "options": SITE}}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    diffs, names, wanted, found = [], {}, {}, {}
    try:
        for given in module.params["sites"]:
            site = site_environment.Given(**{**given, "domains": tuple(given["domains"])})
            path = str(SitePaths(site.name).env_file)
            names[path], found[path] = site.name, files.look(path)
            before = site_environment.read(found[path].content.decode())
            after = site_environment.complete(site, before)
            wanted[path] = files.Wanted(path, content=site_environment.text(after), mode=0o600)
            diffs.append(site_environment.diff(path, site, before, after))
            folder = SitePaths(site.name).secret_files
            for file in site_environment.wanted_files(site, os.listdir(folder) if folder.is_dir() else ()):
                wanted[file.dest], found[file.dest] = file, files.look(file.dest)
        changes = files.plan(wanted.values(), found)
        if not module.check_mode:
            files.apply(changes, run)
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    changed = {change.wanted.dest for change in changes}
    texts = {diff["before_header"] for diff in diffs}
    diffs += [site_environment.diff_of_file(change) for change in changes if change.wanted.dest not in texts]
    module.exit_json(
        changed=bool(changes),
        changed_paths=sorted(changed),
        diff=[diff for diff in diffs if diff["before_header"] in changed],
    )


if __name__ == "__main__":
    main()
