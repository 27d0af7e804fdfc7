#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Module djdeploy.django.release_info."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Tell what is live on a host, and which releases are kept
version_added: 0.1.0
description:
  - Reads the pointer, the records and the units of sites. Changes nothing.
options:
  site:
    description: Only this site. Without it, all sites of the host.
    type: str
extends_documentation_fragment:
  - djdeploy.django.attributes
  - djdeploy.django.attributes.INFO
seealso:
  - module: djdeploy.django.release
  - module: djdeploy.django.history_info
author:
  - The djdeploy authors (@djdeploy)
"""

EXAMPLES = r"""
- name: Ask what is live
  djdeploy.django.release_info:
  register: releases

- name: Stop unless the shop serves
  ansible.builtin.assert:
    that: item.state == 'serving'
  loop: "{{ releases.sites }}"
  loop_control:
    label: "{{ item.site }}"
"""

RETURN = r"""
sites:
  description: One entry for each site.
  returned: success
  type: list
  elements: dict
  contains:
    site:
      description: Name of the site.
      type: str
    state:
      description: C(serving), C(waiting) for a first push, C(down), or C(broken) when the pointer leads nowhere.
      type: str
    problem:
      description: What is wrong, empty when nothing is.
      type: str
    undescribed:
      description: That no inventory describes the site any more, and which one did; empty when one does.
      type: str
    url:
      description: Where the site answers.
      type: str
    live:
      description:
        - The record of the live release - id, revision, subject, who, live_since and more.
        - Null before the first one.
      type: dict
    configuration_current:
      description: Whether the live release was made from the configuration as it is now.
      type: bool
    last:
      description:
        - The last operation that did something or tried to, as M(djdeploy.django.history_info) tells it.
        - Null before the first one.
      type: dict
    at_work:
      description:
        - Who works on the site now (C(who)), at C(what), C(since) when, as which process (C(pid)).
        - Null when nobody does.
      type: dict
    queue:
      description: Who waits to put which C(revision) live, oldest first.
      type: list
      elements: dict
    releases:
      description: The records of all kept releases, oldest first.
      type: list
      elements: dict
lines:
  description: The same as a person would read it.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import load_site, site_names
from ansible_collections.djdeploy.django.plugins.module_utils.engine.status import site_status, status_lines
from ansible_collections.djdeploy.django.plugins.module_utils.manage import failing_as
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule


def main() -> None:
    """Entry point."""
    module = PrintableModule(argument_spec={"site": {"type": "str"}}, supports_check_mode=True)
    with failing_as(module):
        names = [module.params["site"]] if module.params["site"] else site_names()
        sites = [site_status(load_site(name)) for name in names]
        lines = [line for facts in sites for line in status_lines(facts)] or ["no sites on this host yet"]
        module.exit_json(changed=False, sites=sites, lines=lines)


if __name__ == "__main__":
    main()
