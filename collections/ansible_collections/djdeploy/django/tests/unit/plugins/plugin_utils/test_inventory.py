# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a thing is written, and which names are misspelt, as tables of cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.schema import Problem
from ansible_collections.djdeploy.django.plugins.plugin_utils import inventory
from ansible_collections.djdeploy.django.plugins.plugin_utils.inventory import Location, VariablesFile

SITES = VariablesFile(
    "group_vars/all/sites.yml",
    """\
# SPDX-License-Identifier: GPL-3.0-or-later
common: &common
  python: python3.13
djdeploy_sites:
  shop:
    <<: *common
    domains:
      - shop.example.com
      - https://www.shop.example.com
    secrets:
      TOKEN: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162
      OTHER: !unsafe "{{ x"
  2024:
    domains: [a.de,
              b.de]
""",
    "group:all",
)
WEB1 = VariablesFile("host_vars/web1/sites.yml", "djdeploy_host_sites:\n  shop:\n    web: {workers: x}\n", "host:web1")
WEB2 = VariablesFile(
    "host_vars/web2/sites.yml", "\n\ndjdeploy_host_sites:\n  shop:\n    web: {workers: x}\n", "host:web2"
)
VAULTED = VariablesFile("group_vars/all/vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "group:all")
BROKEN = VariablesFile("group_vars/all/broken.yml", "a: [\n", "group:all")
HOSTS = VariablesFile(
    "hosts.yml",
    """\
all:
  vars:
    djdeploy_database_host: db1
  children:
    web:
      hosts:
        web1:
        web3:
          djdeploy_host_sites:
            blog: {}
      vars:
        gunicorn_wokers: 3
""",
    "inventory",
)
FILES = [SITES, WEB1, WEB2, VAULTED, BROKEN, HOSTS]


@pytest.mark.parametrize(
    ("path", "host", "place"),
    [
        (("djdeploy_sites",), "", "group_vars/all/sites.yml:4"),
        (("djdeploy_sites", "shop"), "", "group_vars/all/sites.yml:5"),
        (("djdeploy_sites", "shop", "domains", 1), "", "group_vars/all/sites.yml:9"),
        (("djdeploy_sites", "shop", "domains", 7), "", "group_vars/all/sites.yml:7"),
        (("djdeploy_sites", "shop", "python"), "", "group_vars/all/sites.yml:3"),
        (("djdeploy_sites", "shop", "secrets", "TOKEN"), "", "group_vars/all/sites.yml:11"),
        (("djdeploy_sites", "shop", "secrets", "OTHER"), "", "group_vars/all/sites.yml:14"),
        (("djdeploy_sites", "shop", "missing"), "", "group_vars/all/sites.yml:5"),
        (("djdeploy_sites", 2024, "domains", 1), "", "group_vars/all/sites.yml:17"),
        (("djdeploy_host_sites", "shop", "web", "workers"), "web1", "host_vars/web1/sites.yml:3"),
        (("djdeploy_host_sites", "shop", "web", "workers"), "web2", "host_vars/web2/sites.yml:5"),
        (("djdeploy_host_sites", "blog"), "web3", "hosts.yml:10"),
        (("djdeploy_database_host",), "", "hosts.yml:3"),
        (("nowhere",), "", None),
    ],
)
def test_locate(path: tuple[Any, ...], host: str, place: str | None) -> None:
    location = inventory.locate(path, FILES, host)
    assert (str(location) if location else None) == place


def test_locate_prefers_what_wins_in_ansible() -> None:
    everywhere = VariablesFile("group_vars/all.yml", "djdeploy_sites:\n  shop: {}\n", "group:all")
    web = VariablesFile("group_vars/web.yml", "\ndjdeploy_sites:\n  shop: {}\n", "group:web")
    assert str(inventory.locate(("djdeploy_sites", "shop"), [web, everywhere])) == "group_vars/web.yml:3"


def test_defined_variables() -> None:
    ini = VariablesFile(
        "hosts", "# x=1\n[web]\nweb1 djdeploy_stes=1 ansible_host=192.0.2.1\n[all:vars]\na_b = 2\n", "inventory"
    )
    assert dict(inventory.defined_variables([*FILES, ini])) == {
        "common": Location("group_vars/all/sites.yml", 2),
        "djdeploy_sites": Location("group_vars/all/sites.yml", 4),
        "djdeploy_host_sites": Location("hosts.yml", 9),
        "djdeploy_database_host": Location("hosts.yml", 3),
        "gunicorn_wokers": Location("hosts.yml", 12),
        "djdeploy_stes": Location("hosts", 3),
        "ansible_host": Location("hosts", 3),
        "a_b": Location("hosts", 5),
    }


ROLES = {
    "gunicorn": {"gunicorn_workers", "gunicorn_site"},
    "site": {"site_name", "site_config"},
    "git_repo": {"git_repo_branch"},
    "host": {"host_packages"},
}


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("djdeploy_sites", None, ""),
        ("gunicorn_workers", None, ""),
        ("vault_shop_password", None, ""),
        ("ansible_user", None, ""),
        ("my_own", None, ""),
        ("postgresql_version", None, ""),
        ("site_owner_email", None, ""),
        ("host_rack", None, ""),
        ("djdeploy_stes", "unknown variable 'djdeploy_stes'", "did you mean 'djdeploy_sites'?"),
        ("djdeploy_colour", "unknown variable 'djdeploy_colour'", "known: djdeploy_sites"),
        ("djdeply_sites", "unknown variable 'djdeply_sites'", "did you mean 'djdeploy_sites'?"),
        (
            "gunicorn_wokers",
            "'gunicorn_wokers' is no variable of the role gunicorn",
            "did you mean 'gunicorn_workers'?",
        ),
        ("gunicorn_xyz", "'gunicorn_xyz' is no variable of the role gunicorn", "djdeploy_foreign_variables"),
        ("git_repo_brnch", "'git_repo_brnch' is no variable of the role git_repo", "did you mean 'git_repo_branch'?"),
        ("host_pakages", "'host_pakages' is no variable of the role host", "did you mean 'host_packages'?"),
        ("gunicorn_foreign", None, ""),
    ],
)
def test_check_names(name: str, message: str | None, hint: str) -> None:
    findings = inventory.check_names([(name, Location("f.yml", 1))], ROLES, foreign=["gunicorn_foreign"])
    assert [problem.message for problem, _location in findings] == ([message] if message else [])
    assert all(hint in problem.hint for problem, _location in findings)


def test_repeated_keys() -> None:
    text = (
        "djdeploy_sites:\n  shop:\n    domains: [a.de]\n  blog: {}\n  shop:\n    env: {A: x, A: y}\n"
        "other: {a: 1, a: 2}\n"
    )
    findings = inventory.check_repeated_keys([VariablesFile("sites.yml", text)])
    assert [(str(location), problem.message) for problem, location in findings] == [
        ("sites.yml:5", "'shop' is in djdeploy_sites twice; the first is in line 2"),
        ("sites.yml:6", "'A' is in djdeploy_sites.shop.env twice; the first is in line 6"),
    ]


@pytest.mark.parametrize(
    ("groups", "chosen", "needs_database", "expected"),
    [
        ({"web": ["a"], "database": ["a"]}, {}, True, []),
        ({"web": ["a"], "database": ["db"]}, {}, True, []),
        ({"web": ["a"]}, {}, False, []),
        ({"web": ["a"]}, {}, True, ["no host is in the group 'database'; add a host to it in hosts.yml: it holds"]),
        (
            {"web": [], "database": ["db"]},
            {},
            True,
            ["no host is in the group 'web'; add a host to it in hosts.yml: it serves"],
        ),
        (
            {"webs": ["a"], "database": ["a"]},
            {},
            True,
            ["no host is in the group 'web'; did you mean that by the group 'webs'"],
        ),
        ({"web": ["a"], "database": ["d1", "d2"]}, {}, True, ["host a has 2 database hosts to choose from: d1, d2"]),
        ({"web": ["a"], "database": ["d1", "d2"]}, {"a": "d2"}, True, []),
        ({"web": ["d1"], "database": ["d1", "d2"]}, {}, True, []),
        (
            {"web": ["a"], "database": ["db1"]},
            {"a": "db2"},
            True,
            ["djdeploy_database_host is 'db2', which is no host"],
        ),
    ],
)
def test_check_groups(groups: Any, chosen: Any, needs_database: bool, expected: list[str]) -> None:
    problems = inventory.check_groups({"all": [], **groups}, chosen, needs_database=needs_database)
    lines = [f"{problem.message}; {problem.hint}" for problem in problems]
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))


def test_read_files_as_ansible_chooses_them(tmp_path: Path) -> None:
    for name in (
        "hosts.yml",
        "README.md",
        "group_vars/all.yml",
        "group_vars/web/nginx.yml",
        "group_vars/web/notes.txt",
        "group_vars/web/deep/more.yaml",
        "group_vars/web/.hidden.yml",
        "host_vars/web1.example.com/sites.yml",
        "host_vars/web2.example.com.yml",
        "host_vars/web3.example.com",
        "host_vars/web3.example.com.yml~",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a: 1\n")
    files = {file.name: file.scope for file in inventory.read_files([tmp_path, "web9,"], tmp_path)}
    assert files == {
        "hosts.yml": "inventory",
        "group_vars/all.yml": "group:all",
        "group_vars/web/nginx.yml": "group:web",
        "group_vars/web/deep/more.yaml": "group:web",
        "host_vars/web1.example.com/sites.yml": "host:web1.example.com",
        "host_vars/web2.example.com.yml": "host:web2.example.com",
        "host_vars/web3.example.com": "host:web3.example.com",
    }
    assert set(files) == {file.name for file in inventory.read_files([tmp_path / "hosts.yml"], tmp_path)}


def test_role_variables(tmp_path: Path) -> None:
    meta = tmp_path / "nginx" / "meta"
    meta.mkdir(parents=True)
    (meta / "argument_specs.yml").write_text(
        "argument_specs:\n  main:\n    options:\n      nginx_a: {type: str}\n"
        "  other:\n    options:\n      nginx_b: {type: str}\n"
    )
    assert inventory.role_variables(tmp_path) == {"nginx": {"nginx_a", "nginx_b"}}


def test_report_is_one_line_per_problem_in_the_order_of_the_files() -> None:
    one, two = Problem("b is wrong", hint="write c"), Problem("a is wrong")
    text = inventory.report(
        [(two, None), (one, Location("s.yml", 10)), (two, Location("s.yml", 9)), (one, Location("s.yml", 10))],
        ["inventories/prod"],
    )
    assert text.splitlines() == [
        "3 problems in the inventory; nothing was touched.",
        "s.yml:9: a is wrong",
        "s.yml:10: b is wrong; write c",
        "a is wrong",
        "Then run: ansible-playbook site.yml -i inventories/prod --check",
    ]
