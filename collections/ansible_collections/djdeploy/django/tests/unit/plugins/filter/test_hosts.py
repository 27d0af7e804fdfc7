# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host has the databases of which sites, and how they are reached."""

from __future__ import annotations

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
    found = hosts.database_connections({"web1": host(), "web2": host()}, ["web1", "web2"], FURTHER, 400)
    assert found == {"shop": 266, "wiki": 138}, "of each database on a server, on all hosts"
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
