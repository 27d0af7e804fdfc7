#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Module djdeploy.django.rollback."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Go back to the release of a site that served before
version_added: 0.1.0
description:
  - Starts a kept release again, proves it, and makes it live by one rename, with no request lost.
  - Goes to the release that served before the live one, never to one that failed or was itself rolled back from.
    The release that is left is kept, marked C(void), and not chosen again unless it is named.
  - Migrations the old code can live with stay applied. Others (a dropped column, a rename) are first taken back with
    the newer release's code, behind the maintenance page and after a snapshot. The whole reverse plan is judged
    before anything is touched. It is refused where it is irreversible, and where it would lose data unless
    O(accept_loss=true).
  - Running it twice goes back twice. It is an action, not a state.
options:
  site:
    description: Name of a site of this host, a key of C(djdeploy_sites).
    type: str
    required: true
  release:
    description: Id or commit of a kept release, to go to that one. Without it, the one that served before.
    type: str
  accept_loss:
    description: Take migrations back even where that loses data that only the newer schema holds.
    type: bool
    default: false
extends_documentation_fragment:
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.release
  - module: djdeploy.django.release_info
author:
  - The djdeploy authors (@djdeploy)
"""

EXAMPLES = r"""
- name: Go back
  djdeploy.django.rollback:
    site: shop

- name: Go back to a release by its commit
  djdeploy.django.rollback:
    site: shop
    release: 1b7d0e2
"""

RETURN = r"""
before:
  description: Commit that was live.
  returned: success
  type: str
  sample: 3f2a9c1d54f0f4f2f3d1e0b8a7c6d5e4f3a2b1c0
after:
  description: Commit that is live now, or would be.
  returned: success
  type: str
  sample: 1b7d0e2c54f0f4f2f3d1e0b8a7c6d5e4f3a2b1c0
release:
  description: Id of the release gone back to.
  returned: success
  type: str
  sample: 20260821T090000-1b7d0e2
previous:
  description: Id of the release that was left.
  returned: success
  type: str
  sample: 20260822T101500-3f2a9c1
phases:
  description: Each phase with its name, state, duration in seconds and note.
  returned: success
  type: list
  elements: dict
log:
  description: What happened, line by line.
  returned: always
  type: list
  elements: str
database:
  description:
    - How the database differs from what the release knows.
    - C(stays) lists applied migrations it can live with, C(breaks) those it cannot, C(lacks) those it needs.
    - C(reverse) is the plan to take C(breaks) back, each operation with its verdict.
  returned: success
  type: dict
  sample: {stays: [catalog.0003_stars], breaks: [], lacks: []}
url:
  description: Where the site answers.
  returned: success
  type: str
  sample: http://shop.example.com/
"""

from ansible_collections.djdeploy.django.plugins.module_utils.deployer_client import ask_deployer
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import ROLLBACK
from ansible_collections.djdeploy.django.plugins.module_utils.manage import failing_as
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule


def main() -> None:
    """Entry point."""
    module = PrintableModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "release": {"type": "str"},
            "accept_loss": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    with failing_as(module):
        ask_deployer(module, ROLLBACK, module.params["release"], accept_loss=module.params["accept_loss"])


if __name__ == "__main__":
    main()
