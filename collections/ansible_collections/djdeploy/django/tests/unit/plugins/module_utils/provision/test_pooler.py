# SPDX-License-Identifier: GPL-3.0-or-later
"""PgBouncer of a host: its databases, the connections of each, and the hosts that can not have it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.provision import pooler

ON = {"pgbouncer": {"enabled": True}}


@pytest.mark.parametrize(
    ("sites", "kept", "wanted"),
    [
        pytest.param({"shop": {}, "blog": {}}, False, {}, id="nobody asks"),
        pytest.param({"shop": ON, "blog": {}}, False, {"shop": "shop", "blog": "blog"}, id="one asks"),
        pytest.param({"shop": {}}, True, {"shop": "shop"}, id="one asked once"),
        pytest.param(
            {"shop": {**ON, "databases": {"reports": "postgresql", "old": "mariadb"}}, "small": {"database": "sqlite"}},
            False,
            {"shop": "shop", "shop_reports": "shop"},
            id="each of a site, and no others",
        ),
    ],
)
def test_databases(sites: dict[str, Any], kept: bool, wanted: dict[str, str]) -> None:
    assert pooler.databases(sites, kept=kept) == wanted


@pytest.mark.parametrize(
    ("sites", "kept", "wanted"),
    [
        pytest.param({"shop": {}}, False, {}, id="no pooler"),
        pytest.param({"shop": ON}, False, {"shop": "shop", "blog": "blog", "blog_log": "blog"}, id="we ask"),
        pytest.param({}, True, {"blog": "blog", "blog_log": "blog"}, id="the other inventory asked"),
    ],
)
def test_databases_of_other_inventories_stay(sites: dict[str, Any], kept: bool, wanted: dict[str, str]) -> None:
    others = {
        "blog": {"served": True, "databases": ["blog", "blog_log"]},
        "far": {"served": False, "databases": ["far"]},
    }
    assert pooler.databases(sites, kept=kept, others=others) == wanted


@pytest.mark.parametrize(
    ("count", "max_connections", "wanted"),
    [(0, 100, 20), (1, 100, 20), (2, 100, 20), (3, 100, 16), (10, 100, 5), (10, 400, 20), (60, 100, 1)],
)
def test_pool_size_leaves_half_of_the_connections(count: int, max_connections: int, wanted: int) -> None:
    assert pooler.pool_size(count, max_connections) == wanted


@pytest.mark.parametrize(
    ("groups", "chosen", "says"),
    [
        pytest.param({"web": ["web1"], "database": ["web1"]}, {}, [], id="one host"),
        pytest.param({"web": ["web1"], "database": ["db1"]}, {}, ["another one"], id="another host"),
        pytest.param(
            {"web": ["web1"], "database": ["web1", "db1"]}, {"web1": "db1"}, ["db1"], id="another one by name"
        ),
        pytest.param({"web": ["web1"]}, {}, [], id="no group: that is told already"),
    ],
)
def test_a_database_on_another_host_is_refused(
    groups: dict[str, list[str]], chosen: dict[str, str], says: list[str]
) -> None:
    sites = {"shop": {"domains": ["shop.example.com"], **ON}, "blog": {"domains": ["blog.example.com"]}}
    hosts = {host for names in groups.values() for host in names}
    problems = list(pooler.misplaced({host: {"djdeploy_sites": sites} for host in hosts}, groups, chosen))
    assert len(problems) == len(says)
    for problem, words in zip(problems, says, strict=True):
        assert words in problem.message and problem.path == ("djdeploy_sites", "shop", "pgbouncer")
