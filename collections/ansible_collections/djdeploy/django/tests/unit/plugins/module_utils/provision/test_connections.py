# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to a database server: enough for two releases, never all there are."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema
from ansible_collections.djdeploy.django.plugins.module_utils.provision import connections


def site(server: str | None = "gunicorn", **keys: Any) -> dict[str, Any]:
    keys["web"] = {"server": server, **keys.get("web", {})}
    return schema.resolve("shop", {"domains": ["shop.example.com"], **keys})


@pytest.mark.parametrize(
    ("sites", "databases", "most", "expected"),
    [
        pytest.param([site(None)], 1, 200, 150, id="a server that is found at the push may be uvicorn"),
        pytest.param([site("uvicorn", web={"workers": 1})], 1, 200, 150, id="each request of uvicorn has one"),
        pytest.param([site(), site("uvicorn")], 1, 200, 150, id="uvicorn on one of the hosts"),
        pytest.param([site(None, limits={"database_connections": 12})], 1, 100, 12, id="said, whatever the server is"),
        pytest.param([site(None)], 1, 1, 1, id="one at least"),
        pytest.param([site()], 1, 100, 74, id="8 workers of 4 threads, twice, and some"),
        pytest.param([site("uwsgi")], 1, 100, 74, id="uwsgi as well"),
        pytest.param([site(web={"workers": 4})], 1, 100, 42, id="workers"),
        pytest.param([site(web={"workers": 1, "threads": 1})], 1, 100, 30, id="never less than a pooler holds"),
        pytest.param([site(web={"workers": 2}, processes={"worker": "celery"})], 1, 100, 44, id="a queue worker"),
        pytest.param(
            [site(web={"workers": 4}, schedule={"a": {"command": "x", "at": "daily"}, "b": False})],
            1,
            100,
            44,
            id="a job",
        ),
        pytest.param([site(web={"workers": 2})], 2, 100, 60, id="two databases"),
        pytest.param([site(web={"workers": 4})] * 2, 1, 200, 74, id="two hosts"),
        pytest.param([site(web={"workers": 32})], 1, 100, 75, id="never all there are"),
        pytest.param([site(web={"workers": 32})], 1, 500, 266, id="a larger server"),
        pytest.param([site(limits={"database_connections": 12})], 1, 100, 12, id="said"),
        pytest.param(
            [site(limits={"database_connections": 12}), site(limits={"database_connections": 20})],
            1,
            100,
            20,
            id="said by hosts",
        ),
        pytest.param([site(limits={"database_connections": 400})], 1, 100, 400, id="said, whatever it is"),
    ],
)
def test_limit(sites: list[dict[str, Any]], databases: int, most: int, expected: int) -> None:
    assert connections.shares({"shop": sites}, {"shop": databases}, most) == {"shop": expected}


FOUR, TWO = {"web": {"workers": 4}}, {"web": {"workers": 2}}


@pytest.mark.parametrize(
    ("sites", "most", "others", "expected"),
    [
        pytest.param([site(None)], 100, 0, [75], id="alone"),
        pytest.param([site(None)] * 2, 100, 0, [45, 45], id="two that say nothing"),
        pytest.param([site(None)], 100, 1, [45], id="one here and one of another inventory"),
        pytest.param([site(None), site("uvicorn", **TWO)], 200, 0, [90, 90], id="uvicorn"),
        pytest.param([site(None)] * 3, 300, 0, [90] * 3, id="three on a larger server"),
        pytest.param([site(None)] * 3, 100, 0, [42] * 3, id="too few for what they need"),
        pytest.param([site(None)] * 2, 100, 8, [42, 42], id="and for those of others"),
        pytest.param([site(), site()], 100, 0, [45, 45], id="gunicorn, too"),
        pytest.param([site(), site()], 200, 0, [74, 74], id="no more than it can use"),
        pytest.param([site(None), site()], 200, 0, [106, 74], id="the other one gets what is left"),
        pytest.param([site(None), site(**FOUR)], 100, 0, [48, 42], id="workers that are said"),
        pytest.param(
            [site(None), site(limits={"database_connections": 20})], 100, 0, [70, 20], id="a limit that is said"
        ),
        pytest.param([site(None), site(limits={"database_connections": 95})], 100, 0, [42, 95], id="a large one"),
        pytest.param(
            [site(None), site(None, processes={"a": {"command": "x", "count": 4}})],
            200,
            0,
            [66, 114],
            id="processes need some",
        ),
        pytest.param([site(None, **TWO)] * 2, 40, 0, [30, 30], id="a small server"),
    ],
)
def test_shares(sites: list[dict[str, Any]], most: int, others: int, expected: list[int]) -> None:
    served = {f"site{number}": [each] for number, each in enumerate(sites)}
    found = connections.shares(served, dict.fromkeys(served, 1), most, others)
    assert list(found.values()) == expected


@pytest.mark.parametrize("count", [2, 3, 5, 20])
def test_all_but_one_leave_it_its_own(count: int) -> None:
    """Where the server has enough for what all of them need."""
    served = {f"site{number}": [site(None)] for number in range(count)}
    for most in (50 * count, 100 * count, 1000 * count):
        found = connections.shares(served, dict.fromkeys(served, 1), most)
        taken = sum(found.values()) - found["site0"]
        assert most - taken >= found["site0"]
