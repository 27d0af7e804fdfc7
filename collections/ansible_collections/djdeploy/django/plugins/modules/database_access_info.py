# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What other hosts need to reach databases on this one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_access_info
short_description: Read what other hosts need to reach the databases of this one
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Returns the passwords M(djdeploy.django.databases) made and the certificate PostgreSQL answers with.
    Use it with C(no_log) and C(delegate_to).
options:
  sites:
    description: Names of the sites.
    type: list
    elements: str
    required: true
  certificate:
    description: The server's certificate.
    type: path
    default: /etc/ssl/certs/ssl-cert-snakeoil.pem
attributes:
  check_mode:
    support: full
    description: Changes nothing, ever. In check mode, what is not there yet is left out instead of being an error.
  diff_mode:
    support: none
    description: Changes nothing, ever.
"""

EXAMPLES = r"""
- name: Read how this host reaches the database of its site
  djdeploy.django.database_access_info:
    sites: [shop]
  delegate_to: db1.example.com
  register: database_access
  no_log: true
"""

RETURN = r"""
passwords:
  description: Names of sites to passwords.
  returned: success
  type: dict
  sample: {shop: "********"}
certificate:
  description: The certificate as PEM text.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----"
"""

from pathlib import Path

from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import databases

ARGUMENTS = {
    "sites": {"type": "list", "elements": "str", "required": True},
    "certificate": {"type": "path", "default": "/etc/ssl/certs/ssl-cert-snakeoil.pem"},
}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    certificate = Path(module.params["certificate"])
    try:
        passwords = {site: databases.kept_password(databases.password_path(site)) for site in module.params["sites"]}
        without = [site for site, password in passwords.items() if not password]
        if not module.check_mode and (without or not certificate.is_file()):
            raise EngineError(
                f"this database host has nothing yet for: {', '.join(without) or certificate}",
                "run site.yml without --limit, so that the database host is set up first",
            )
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    module.exit_json(
        changed=False,
        passwords={site: password for site, password in passwords.items() if password},
        certificate=certificate.read_text(encoding="ascii") if certificate.is_file() else "",
    )


if __name__ == "__main__":
    main()
