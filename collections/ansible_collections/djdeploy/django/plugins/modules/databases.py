# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Databases and roles of the sites, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: databases
short_description: Keep a database and its role for each site in the host's own PostgreSQL
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Makes for each site a role and a database of its name that the role owns, closed to every other role.
    Never drops anything, and refuses a name that belongs to something else.
  - Sites that run on other hosts get a password, made once on this host and kept where only root reads it. Neither
    PostgreSQL's log nor Ansible ever sees it.
  - One look tells all about all sites, so an unchanged host costs one round trip, and check mode works before
    PostgreSQL is installed.
  - Fails when the server reads its access rules (C(pg_hba.conf)) with errors.
options:
  sites:
    description: Names of the sites.
    type: list
    elements: str
    required: true
  remote_sites:
    description: Those among O(sites) that run on other hosts and need a password.
    type: list
    elements: str
    default: []
  databases:
    description: Names of sites to the names of their databases. A site that is not in it has one of its own name.
    type: dict
    default: {}
  connections:
    description:
      - Names of sites to the number of connections their roles may have at once (C(CONNECTION LIMIT)). The limit of
        a site that is not in it stays as it is.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the SQL statements, passwords masked.
"""

EXAMPLES = r"""
- name: Make the databases of two sites, one of which runs on another host
  djdeploy.django.databases:
    sites: [blog, shop]
    remote_sites: [shop]
"""

RETURN = r"""
statements:
  description: The SQL statements that were run, or in check mode would be, passwords masked.
  returned: success
  type: list
  elements: str
  sample: ["CREATE ROLE \"shop\" LOGIN"]
pending_restart:
  description: Settings of the server that wait for a restart.
  returned: success
  type: list
  elements: str
  sample: [listen_addresses]
"""

import os

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import databases

ARGUMENTS = {
    "sites": {"type": "list", "elements": "str", "required": True},
    "remote_sites": {"type": "list", "elements": "str", "default": []},
    "databases": {"type": "dict", "default": {}},
    "connections": {"type": "dict", "default": {}},
}
SALT_BYTES = 16
TO_BE_MADE = "made when the playbook runs"


def password(site: str, check: bool) -> str:
    """The site's password, made now unless there is one or nothing may change."""
    path = databases.password_path(site)
    return databases.kept_password(path) or (TO_BE_MADE if check else databases.make_password(path))


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    remote = set(module.params["remote_sites"])
    try:
        found = databases.look(run)
        wanted = [
            databases.Wanted(
                site,
                password(site, module.check_mode) if site in remote else "",
                tuple(module.params["databases"].get(site, ())),
                int(module.params["connections"][site]) if site in module.params["connections"] else None,
            )
            for site in module.params["sites"]
        ]
        statements = databases.plan(wanted, found, os.urandom(SALT_BYTES))
        if not module.check_mode:
            databases.apply(statements, run)
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    shown = [statement.shown for statement in statements]
    module.exit_json(
        changed=bool(statements),
        statements=shown,
        pending_restart=found.get("pending_restart", []),
        diff={"before": "", "after": "".join(f"{text};\n" for text in shown)},
    )


if __name__ == "__main__":
    main()
