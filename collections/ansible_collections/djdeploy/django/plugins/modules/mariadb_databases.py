# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Databases and accounts of the sites in MariaDB, in one round trip."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mariadb_databases
short_description: Keep a database and its account for each site in the host's own MariaDB
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Makes for each site a database of its name, encoded in utf8mb4, and an account of its name that comes in by the
    socket as the unix user of that name and may do everything in that database and nothing elsewhere. There is no
    password. Never drops anything, and refuses a name that belongs to something else.
  - One look tells all about all sites, so an unchanged host costs one round trip, and check mode works before
    MariaDB is installed.
options:
  sites:
    description: Names of the sites.
    type: list
    elements: str
    required: true
  databases:
    description: Names of sites to the names of their databases. A site that is not in it has one of its own name.
    type: dict
    default: {}
  connections:
    description:
      - Names of sites to the number of connections their accounts may have at once (C(MAX_USER_CONNECTIONS)). The
        limit of a site that is not in it stays as it is.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the SQL statements.
"""

EXAMPLES = r"""
- name: Make the databases of two sites
  djdeploy.django.mariadb_databases:
    sites: [blog, shop]
"""

RETURN = r"""
statements:
  description: The SQL statements that were run, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: ["CREATE USER 'shop'@'localhost' IDENTIFIED VIA unix_socket"]
"""

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import mariadb

ARGUMENTS = {
    "sites": {"type": "list", "elements": "str", "required": True},
    "databases": {"type": "dict", "default": {}},
    "connections": {"type": "dict", "default": {}},
}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        statements = mariadb.plan(
            module.params["sites"], mariadb.look(run), module.params["databases"], module.params["connections"]
        )
        if not module.check_mode:
            mariadb.apply(statements, run)
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    module.exit_json(
        changed=bool(statements),
        statements=statements,
        diff={"before": "", "after": "".join(f"{text};\n" for text in statements)},
    )


if __name__ == "__main__":
    main()
