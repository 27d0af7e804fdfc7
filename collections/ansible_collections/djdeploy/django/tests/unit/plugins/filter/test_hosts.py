# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host has the databases of which sites, and how they are reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.djdeploy.django.plugins.filter import hosts

SITES: dict[str, dict[str, Any]] = {
    "shop": {"domains": ["shop.example.com"]},
    "blog": {"domains": ["blog.example.com"], "hosts": ["web2"]},
    "wiki": {"domains": ["wiki.example.com"], "database": "project"},
}


def host(address: str = "", **variables: Any) -> dict[str, Any]:
    facts = {"default_ipv4": {"address": address}} if address else {}
    return {"group_names": ["web"], "ansible_facts": facts, **variables}


@pytest.mark.parametrize(
    ("variables", "name", "database_hosts", "expected"),
    [
        pytest.param({}, "web1", ["web1"], "web1", id="a single server"),
        pytest.param({}, "web1", ["db1"], "db1", id="the only one"),
        pytest.param({}, "web1", ["db1", "web1"], "web1", id="the host itself before others"),
        pytest.param({"djdeploy_database_host": "db2"}, "web1", ["db1", "db2"], "db2", id="as said"),
        pytest.param({}, "web1", [], "web1", id="none"),
    ],
)
def test_database_host(variables: dict[str, Any], name: str, database_hosts: list[str], expected: str) -> None:
    assert hosts.database_host({name: host(**variables)}, name, database_hosts) == expected


def test_database_host_asks_when_it_cannot_know() -> None:
    with pytest.raises(AnsibleFilterError, match="say which one by djdeploy_database_host"):
        hosts.database_host({"web1": host()}, "web1", ["db1", "db2"])


@pytest.mark.parametrize(
    ("hostvars", "server", "database_hosts", "expected"),
    [
        pytest.param({"web1": host("10.0.0.1")}, "web1", ["web1"], {"shop": []}, id="a single server"),
        pytest.param(
            {"web1": host("10.0.0.1"), "web2": host("10.0.0.2")},
            "db1",
            ["db1"],
            {"shop": ["10.0.0.1", "10.0.0.2"], "blog": ["10.0.0.2"]},
            id="two web hosts",
        ),
        pytest.param(
            {"web1": host("203.0.113.1", djdeploy_address="10.0.0.1"), "web2": host("10.0.0.2")},
            "web2",
            ["web2"],
            {"shop": ["10.0.0.1"], "blog": []},
            id="here and elsewhere, over a private network",
        ),
        pytest.param({"web1": host(djdeploy_database_host="db2")}, "db1", ["db1", "db2"], {}, id="not this one"),
    ],
)
def test_database_sites(
    hostvars: dict[str, Any], server: str, database_hosts: list[str], expected: dict[str, list[str]]
) -> None:
    assert hosts.database_sites(hostvars, server, list(hostvars), database_hosts, SITES) == expected


def test_host_address_says_what_to_do_when_it_is_not_known() -> None:
    with pytest.raises(AnsibleFilterError, match="run without --limit, or set djdeploy_address"):
        hosts.host_address({"db1": host()}, "db1")


@pytest.mark.parametrize(
    ("remote", "url"),
    [
        ({}, "postgresql:///shop"),
        (
            {"address": "10.0.0.5", "certificate": "/etc/db.pem", "passwords": {"shop": "a/b@c"}},
            "postgresql://shop:a%2Fb%40c@10.0.0.5:5432/shop?sslmode=verify-ca&sslrootcert=/etc/db.pem",
        ),
        (
            {"address": "fd00::5", "certificate": "/c", "passwords": {"shop": "x"}},
            "postgresql://shop:x@[fd00::5]:5432/shop?sslmode=verify-ca&sslrootcert=/c",
        ),
    ],
)
def test_database_url(remote: dict[str, Any], url: str) -> None:
    assert hosts.database_url("shop", remote) == url


def test_site_environments_give_a_database_only_to_sites_that_want_one() -> None:
    sites = {
        name: {"env": {}, "secrets": {}, "domains": [], "database": database}
        for name, database in (("shop", "postgresql"), ("wiki", "project"))
    }
    urls = {site["name"]: site["database_url"] for site in hosts.site_environments(sites, {})}
    assert urls == {"shop": "postgresql:///shop", "wiki": ""}


def test_site_accounts() -> None:
    assert [(account["name"], account["home"]) for account in hosts.site_accounts({"shop": {}})] == [
        ("shop", "/srv/shop/shared"),
        ("shop-build", "/var/cache/djdeploy/shop"),
    ]


FURTHER = {
    "shop": {"domains": ["a.example"], "databases": {"reports": "postgresql", "log": "mariadb", "old": "external"}},
    "wiki": {"domains": ["b.example"], "database": "project", "databases": {"reports": "postgresql"}},
    "blog": {"domains": ["c.example"], "database": "sqlite"},
}


def test_database_connections() -> None:
    sites = {**FURTHER, "wiki": {**FURTHER["wiki"], "web": {"server": "gunicorn"}}}
    found = hosts.database_connections({"web1": host(), "web2": host()}, ["web1", "web2"], sites, 400)
    assert found == {"shop": 222, "wiki": 138}, "of each database on a server, on all hosts"
    others = {"blog": {"databases": ["blog"]}, "old": {"databases": []}}
    one, both = ({"web1": host()}, ["web1"], {"shop": FURTHER["shop"]}, 400), ("postgresql", others)
    assert hosts.database_connections(*one) == {"shop": 300}
    assert hosts.database_connections(*one, *both) == {"shop": 180}, "blog gets as many"
    assert list(hosts.database_connections({"web1": host()}, ["web1"], FURTHER, 151, "mariadb")) == ["shop"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("postgresql", {"shop": ["shop", "shop_reports"], "wiki": ["wiki_reports"]}),
        ("mariadb", {"shop": ["shop_log"]}),
    ],
)
def test_database_names(kind: str, expected: dict[str, list[str]]) -> None:
    assert hosts.database_names({"web1": host(), "web2": host()}, ["web1", "web2"], FURTHER, kind) == expected
    assert hosts.served_sites(FURTHER, kind) == list(expected)


# --- what an inventory says of a host -------------------------------------------------------------

GROUPS = {"web": ["web1", "web2"], "database": ["db1"]}
ALL = {
    "web1": host("10.0.0.1", inventory_dir="/home/ann/inventories/prod"),
    "web2": host("10.0.0.2", djdeploy_environment="live", inventory_dir="/home/ann/inventories/prod"),
    "db1": {"group_names": ["database"], "ansible_facts": {}, "djdeploy_address": "10.0.0.9"},
}
SERVED = {"served": True, "deploy_keys": []}


@pytest.mark.parametrize(
    ("name", "environment", "granted"),
    [
        pytest.param(
            "web1",
            "prod",
            {"shop": {**SERVED, "domains": ["shop.example.com"]}, "wiki": {**SERVED, "domains": ["wiki.example.com"]}},
            id="a web host, called as the directory",
        ),
        pytest.param(
            "web2",
            "live",
            {name: {**SERVED, "domains": [f"{name}.example.com"]} for name in ("shop", "blog", "wiki")},
            id="another, called as said",
        ),
        pytest.param(
            "db1",
            "inventory",
            {
                "shop": {"databases": ["shop"], "addresses": ["10.0.0.1", "10.0.0.2"]},
                "blog": {"databases": ["blog"], "addresses": ["10.0.0.2"]},
            },
            id="a database host of an inventory without a directory",
        ),
    ],
)
def test_host_grants(name: str, environment: str, granted: dict[str, Any]) -> None:
    found = hosts.host_grants(ALL, name, GROUPS, SITES)
    assert (found["environment"], found["sites"]) == (environment, granted)


def test_host_grants_of_a_host_that_is_both() -> None:
    sites = {
        "shop": {**SITES["shop"], "databases": {"log": "mariadb"}},
        "log": {**SITES["blog"], "database": "mariadb"},
    }
    found = hosts.host_grants({"web2": host("10.0.0.2")}, "web2", {"web": ["web2"], "database": ["web2"]}, sites)
    both = {**SERVED, "domains": ["shop.example.com"], "databases": ["shop"], "addresses": []}
    assert found["sites"] == {"shop": both, "log": {**SERVED, "domains": ["blog.example.com"]}}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["web"], {"engine_python_downloads", "engine_python_mirror", "engine_uv_version", "nginx_gzip_types"}),
        (
            ["database"],
            {
                *("djdeploy_address", "mariadb_settings", "pgbouncer_max_clients", "pgbouncer_pool_size"),
                *("postgres_address", "postgres_hba_extra", "postgres_ident_extra", "postgres_settings"),
                "postgres_version",
            },
        ),
    ],
)
def test_host_settings_are_those_that_hold_for_all_sites_of_a_host(groups: list[str], expected: set[str]) -> None:
    """What a role is given for all sites of a host is here as soon as it takes it, unless `OF_SITES` names it."""
    assert hosts.host_settings({}, groups).keys() >= expected
    assert not [name for name in hosts.host_settings({}, groups) if name.endswith(("_sites", "_databases", "_granted"))]


@pytest.mark.parametrize(
    ("variables", "name", "value"),
    [
        ({}, "postgres_settings", {}),
        ({}, "postgres_version", None),
        ({"postgres_settings": {"work_mem": "'8MB'"}}, "postgres_settings", {"work_mem": "'8MB'"}),
        ({"djdeploy_address": "10.0.0.9"}, "djdeploy_address", "10.0.0.9"),
    ],
)
def test_host_settings(variables: dict[str, Any], name: str, value: object) -> None:
    assert hosts.host_settings(variables, ["web", "database"])[name] == value


def test_host_settings_tell_certificates_of_one_name_apart(tmp_path: Path) -> None:
    found = []
    for directory in ("prod", "staging"):
        path = tmp_path / directory / "company.pem"
        path.parent.mkdir()
        path.write_text(directory)
        found.append(hosts.host_settings({"djdeploy_ca_certificates": [str(path), "/not/there.pem"]}, []))
    assert [list(each) for each in found] == [["company.pem of djdeploy_ca_certificates"]] * 2
    assert found[0] != found[1]


def test_database_access_keeps_what_others_have() -> None:
    others = {
        "blog": {"databases": ["blog"], "addresses": ["10.0.0.3"]},
        "small": {"databases": [], "addresses": []},
    }
    assert hosts.database_access({"shop": ["10.0.0.2", "10.0.0.2"]}, {"shop": ["shop", "shop_log"]}, others) == {
        "blog": {"databases": ["blog"], "addresses": ["10.0.0.3"]},
        "shop": {"databases": ["shop", "shop_log"], "addresses": ["10.0.0.2"]},
    }


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        (
            {},
            {
                "REPORTS_DATABASE_URL": "postgresql:///shop_reports",
                "LOG_DATABASE_URL": "mysql://shop@localhost/shop_log?unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4",
            },
        ),
        (
            {"address": "10.0.0.5", "certificate": "/c", "passwords": {"shop": "x"}},
            {
                "REPORTS_DATABASE_URL": "postgresql://shop:x@10.0.0.5:5432/shop_reports?sslmode=verify-ca&sslrootcert=/c",
                "LOG_DATABASE_URL": "mysql://shop@localhost/shop_log?unix_socket=/run/mysqld/mysqld.sock&charset=utf8mb4",
            },
        ),
    ],
)
def test_further_database_urls(remote: dict[str, Any], expected: dict[str, str]) -> None:
    assert hosts.further_database_urls("shop", FURTHER["shop"], remote) == expected
