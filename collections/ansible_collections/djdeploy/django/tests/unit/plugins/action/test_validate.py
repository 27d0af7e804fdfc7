# SPDX-License-Identifier: GPL-3.0-or-later
"""The action that judges an inventory: its parts as functions, and once as Ansible runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible_collections.djdeploy.django.plugins.action import validate
from ansible_collections.djdeploy.django.plugins.module_utils.engine.schema import Problem

COLLECTIONS = Path(validate.__file__).resolve().parents[5]
SHOP = {"shop": {"domains": ["shop.example.com"]}}
PROJECT_DATABASE = {"shop": {"domains": ["shop.example.com"], "database": "project"}}
ON_SQLITE: dict[str, Any] = {"shop": {"domains": ["shop.example.com"], "database": "sqlite"}}
BOTH = {"all": ["web1"], "web": ["web1"], "database": ["web1"]}


def render(value: Any) -> Any:
    if value == "{{ missing }}":
        raise AnsibleError("Error rendering template: 'missing' is undefined.")
    return value


def test_rendered_names_the_place_of_each_failure() -> None:
    failures: list[Problem] = []
    value = {"shop": {"secrets": {"A": "{{ missing }}", "B": "x"}, "domains": ["a.de", "{{ missing }}"]}}
    plain = validate.rendered(value, render, ("djdeploy_sites",), "", failures)
    assert plain == {"shop": {"secrets": {"A": None, "B": "x"}, "domains": ["a.de", None]}}
    assert [failure.path for failure in failures] == [
        ("djdeploy_sites", "shop", "secrets", "A"),
        ("djdeploy_sites", "shop", "domains", 1),
    ]
    assert failures[0].message == "djdeploy_sites.shop.secrets.A cannot be read: 'missing' is undefined"


def test_what_only_follows_from_a_failure_is_left_out() -> None:
    failure = Problem("cannot be read", ("djdeploy_sites", "shop", "domains"))
    sites = {"shop": {"domains": None, "brnch": "x"}}
    messages = [p.message for p in validate.problems_of_values({"web1": {"djdeploy_sites": sites}}, BOTH, [failure])]
    assert messages == ["cannot be read", "unknown key 'brnch' in site 'shop'"]


@pytest.mark.parametrize(
    ("variables", "groups", "expected"),
    [
        ({"web1": {"djdeploy_sites": SHOP}}, BOTH, []),
        ({"web1": {"djdeploy_sites": {}}}, {"all": ["web1"], "web": ["web1"]}, []),
        ({"web1": {}}, BOTH, ["djdeploy_sites is not set"]),
        ({"web1": {"djdeploy_sites": SHOP}, "db1": {}}, BOTH, ["djdeploy_sites is not set for host db1"]),
        ({"web1": {"djdeploy_sites": PROJECT_DATABASE}}, {"all": ["web1"], "web": ["web1"]}, []),
        (
            {"web1": {"djdeploy_sites": SHOP}},
            {"all": ["web1"], "web": ["web1"]},
            ["no host is in the group 'database'"],
        ),
        (
            {host: {"djdeploy_sites": {"shop": {"domains": []}}} for host in ("web1", "web2")},
            {"all": ["web1", "web2"], "web": ["web1", "web2"], "database": ["web1"]},
            ["site 'shop' has no domain"],
        ),
        (
            {"web1": {"djdeploy_sites": SHOP, "djdeploy_host_sites": {"shp": {}}}},
            BOTH,
            ["djdeploy_host_sites of host web1 has an unknown site 'shp'"],
        ),
        (
            {"web1": {"djdeploy_sites": {"shop": {"domains": ["a.de"], "hosts": ["web1", "berlin"]}}}},
            BOTH,
            ["site 'shop': hosts names 'berlin', which is no host or group of the inventory"],
        ),
        (
            {host: {"djdeploy_sites": ON_SQLITE} for host in ("web1", "web2")},
            {"all": ["web1", "web2"], "web": ["web1", "web2"]},
            ["site 'shop': database is sqlite, a file of one host, and it is on 2: web1, web2"],
        ),
        (
            {host: {"djdeploy_sites": {"shop": {**ON_SQLITE["shop"], "hosts": ["one"]}}} for host in ("web1", "web2")},
            {"all": ["web1", "web2"], "web": ["web1", "web2"], "one": ["web2"]},
            [],
        ),
        (
            {"web1": {"djdeploy_sites": SHOP, "djdeploy_ca_certificates": "ca.pem"}},
            BOTH,
            ["djdeploy_ca_certificates is text, not a list"],
        ),
    ],
)
def test_problems_of_values(variables: Any, groups: Any, expected: list[str]) -> None:
    assert [problem.message for problem in validate.problems_of_values(variables, groups, [])] == expected


PLAY = """\
- name: Check what the inventory says
  hosts: all
  gather_facts: false
  tasks:
    - name: Validate the inventory
      djdeploy.django.validate:
    - name: Touch a host
      ansible.builtin.debug:
        msg: touched
"""


def run_play(tmp_path: Path, inventory: Path) -> subprocess.CompletedProcess[str]:
    """Run the action as a user does; no connection is opened, so any host name will do."""
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # where ansible-test has Ansible
        "HOME": str(tmp_path),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "ansible"),
        "LC_ALL": "C.UTF-8",
    }
    command = [
        sys.executable,
        "-m",
        "ansible.cli.playbook",
        "-i",
        str(inventory),
        str(play),
        "--check",
        "-vvv",
    ]
    return subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_bad_inventory_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    inventory = tmp_path / "staging"
    (inventory / "group_vars" / "all").mkdir(parents=True)
    (inventory / "hosts.yml").write_text(
        "web: {hosts: {web1.example.com: , web2.example.com: }}\ndatabase: {hosts: {db1.example.com: }}\n"
    )
    (inventory / "group_vars" / "all" / "sites.yml").write_text(
        "djdeploy_sites:\n"
        "  shop:\n"
        "    domain: shop.example.com\n"
        "    secrets:\n"
        "      ONE: {'hunter2': 'hunter2'}\n"
        '      TWO: "{{ vault_missing }}"\n'
        "      THREE: 'hunter2'\n"
        "djdeploy_stes: {}\n"
    )
    done = run_play(tmp_path, inventory)
    file = "staging/group_vars/all/sites.yml"
    assert done.returncode == 2, done.stderr
    for line in (
        "4 problems in the inventory; nothing was touched.",
        f"{file}:3: unknown key 'domain' in site 'shop'; did you mean 'domains'?",
        f"{file}:5: site 'shop': secrets ONE is a mapping, not text; a process gets only text;",
        f"{file}:6: djdeploy_sites.shop.secrets.TWO cannot be read: 'vault_missing' is undefined;",
        f"{file}:8: unknown variable 'djdeploy_stes'; did you mean 'djdeploy_sites'?",
        "Then run: ansible-playbook site.yml -i staging --check",
    ):
        assert f"        {line}" in done.stdout, done.stdout
    assert "touched\n" not in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_good_inventory_passes(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        "all:\n  children:\n    web: {hosts: {web1.example.com: }}\n    database: {hosts: {web1.example.com: }}\n"
        "  vars:\n    djdeploy_sites: {shop: {domains: ['{{ name }}.example.com']}}\n    name: shop\n"
    )
    done = run_play(tmp_path, inventory)
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout
