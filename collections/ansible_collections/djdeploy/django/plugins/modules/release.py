#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Module djdeploy.django.release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release
short_description: Put a revision of a site live
version_added: 0.1.0
description:
  - Brings a site to the wanted revision and to what is configured for it, with no request lost.
  - The release is built beside the live one, checked, started on a socket of its own and asked for its
    health page before one rename makes it live. If any of that fails, the old release never stopped serving.
  - Nothing is built when the live release already is of the wanted revision and configuration.
options:
  site:
    description: Name of a site of this host, a key of C(djdeploy_sites).
    type: str
    required: true
  revision:
    description:
      - Branch, tag or commit to put live.
      - Without it, the site's C(revision), the tip of its C(branch) in its C(repository), or, for a site that
        is only pushed to, the revision that is live. A site without any of these waits for its first push
        and is reported as unchanged.
    type: str
  force:
    description: Make a new release even when nothing differs, for example to install newer packages.
    type: bool
    default: false
  config:
    description:
      - The site as it will be configured, without its secrets. P(djdeploy.django.site_record#filter) gives it.
      - Read in check mode only, where the tasks before this one have not written it to the host.
    type: dict
  changed_files:
    description:
      - Files on the host that tasks before this one have written, or in check mode would have.
      - Read in check mode only, to tell that a release would be made anew for them.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - djdeploy.django.attributes
seealso:
  - module: djdeploy.django.rollback
  - module: djdeploy.django.release_info
author:
  - The djdeploy authors (@djdeploy)
"""

EXAMPLES = r"""
- name: Put live what is configured
  djdeploy.django.release:
    site: shop

- name: Put a tag live
  djdeploy.django.release:
    site: shop
    revision: v1.4.2
"""

RETURN = r"""
before:
  description: Commit that was live, null before the first release.
  returned: success
  type: str
  sample: 1b7d0e2c54f0f4f2f3d1e0b8a7c6d5e4f3a2b1c0
after:
  description: Commit that is live now, or would be.
  returned: success
  type: str
  sample: 3f2a9c1d54f0f4f2f3d1e0b8a7c6d5e4f3a2b1c0
release:
  description: Id of the live release.
  returned: when a release is live and check mode is off
  type: str
  sample: 20260822T101500-3f2a9c1
previous:
  description: Id of the release that was live before.
  returned: changed
  type: str
  sample: 20260821T090000-1b7d0e2
migrations:
  description: Migrations that were applied.
  returned: changed
  type: list
  elements: str
  sample: [catalog.0002_price]
plan:
  description: What would change, as data - commits, packages, migrations, and whether the configuration did.
  returned: in check mode, when something would change
  type: dict
phases:
  description: Each phase with its name, state, duration in seconds and note.
  returned: success
  type: list
  elements: dict
log:
  description: What a pusher would have read.
  returned: always
  type: list
  elements: str
url:
  description: Where the site answers.
  returned: when a release is live
  type: str
  sample: http://shop.example.com/
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.djdeploy.django.plugins.module_utils.deployer_client import ask_deployer
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import DEPLOY
from ansible_collections.djdeploy.django.plugins.module_utils.manage import failing_as


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "revision": {"type": "str"},
            "force": {"type": "bool", "default": False},
            "config": {"type": "dict"},
            "changed_files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    with failing_as(module):
        options = {name: module.params[name] for name in ("force", "config")}
        options["changed_files"] = tuple(module.params["changed_files"])
        ask_deployer(module, DEPLOY, module.params["revision"], **options)


if __name__ == "__main__":
    main()
