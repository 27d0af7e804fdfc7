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
  allow:
    description:
      - Classes of migrations that this one release may run although the release that is live would break
        (V(contract)) or its visitors would wait (V(blocking)). They run behind the maintenance page.
      - Besides those that the site's C(migrations.allow) names for every release.
    type: list
    elements: str
    choices: [contract, blocking]
    default: []
  declared:
    description:
      - What migrations are that cannot be judged from outside, such as one that runs Python of the project.
      - Keys are C(app.name) or C(app.*), values are C(additive), C(contract) or C(blocking).
    type: dict
    default: {}
  plan:
    description:
      - The RV(plan_id) of a check. When something else would change by now, nothing is changed and the task fails.
    type: str
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

- name: See what a tag would change; with --diff it is shown
  djdeploy.django.release:
    site: shop
    revision: v1.5.0
  check_mode: true
  register: planned

- name: Put it live if that is still all it would change
  djdeploy.django.release:
    site: shop
    revision: v1.5.0
    plan: "{{ planned.plan_id }}"

- name: Put a release live that drops a column, behind the maintenance page
  djdeploy.django.release:
    site: shop
    revision: v1.6.0
    allow: [contract]
    declared:
      catalog.0007_slugs: additive
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
plan_id:
  description: Stands for what would change; the same content has the same id whoever asks, and when.
  returned: when something changed, or would
  type: str
  sample: 5f0c3a9e71b2
plan:
  description: What changed, or in check mode would, as data. Never a value of a setting or of a variable.
  returned: when something changed, or would
  type: dict
  contains:
    id:
      description: The same as RV(plan_id).
      returned: always
      type: str
    revision:
      description: The commits C(before) and C(after); C(before) is null for a first release.
      returned: always
      type: dict
    commits:
      description: One line for each new commit, newest first, at most 20.
      returned: always
      type: list
      elements: str
    packages:
      description: C(name), C(before) and C(after) of each package that differs; null where there is none.
      returned: always
      type: list
      elements: dict
    migrations:
      description:
        - Each migration to be applied, in order. C(name); C(kind), its class; C(reasons) for that; C(sql);
          whether it is C(atomic); and C(reverse), what taking it back would cost.
      returned: always
      type: list
      elements: dict
    static:
      description:
        - How many static files are C(added), C(removed) and C(changed), the C(bytes) that are new, and the
          C(names) of the first ones.
      returned: always
      type: dict
    settings:
      description: Names of the Django settings that are C(added), C(removed) and C(changed).
      returned: always
      type: dict
    environment:
      description: Names of the environment variables that are C(added), C(removed) and C(changed).
      returned: always
      type: dict
    configuration:
      description: Keys of the site in C(djdeploy_sites) that differ from those the live release was made with.
      returned: always
      type: list
      elements: str
    processes:
      description: Processes that are started anew.
      returned: always
      type: list
      elements: str
    snapshot:
      description: Whether the database is copied before the migrations (C(taken)), C(why) not, and its C(bytes).
      returned: always
      type: dict
    downtime:
      description: Whether the maintenance page is C(expected), and C(why), the migrations that need it.
      returned: always
      type: dict
    refused:
      description: Migrations that keep the release from going live; empty when it may.
      returned: always
      type: list
      elements: str
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

from ansible_collections.djdeploy.django.plugins.module_utils.deployer_client import ask_deployer
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import ALLOWABLE
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import DEPLOY
from ansible_collections.djdeploy.django.plugins.module_utils.manage import failing_as
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule


def main() -> None:
    """Entry point."""
    module = PrintableModule(
        argument_spec={
            "site": {"type": "str", "required": True},
            "revision": {"type": "str"},
            "force": {"type": "bool", "default": False},
            "config": {"type": "dict"},
            "changed_files": {"type": "list", "elements": "path", "default": []},
            "allow": {"type": "list", "elements": "str", "choices": list(ALLOWABLE), "default": []},
            "declared": {"type": "dict", "default": {}},
            "plan": {"type": "str"},
        },
        supports_check_mode=True,
    )
    with failing_as(module):
        options = {name: module.params[name] for name in ("force", "config", "declared", "plan")}
        options |= {name: tuple(module.params[name]) for name in ("changed_files", "allow")}
        ask_deployer(module, DEPLOY, module.params["revision"], **options)


if __name__ == "__main__":
    main()
