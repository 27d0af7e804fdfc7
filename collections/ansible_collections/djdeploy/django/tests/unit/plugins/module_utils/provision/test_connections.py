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
    assert connections.limit(sites, databases, most) == expected
