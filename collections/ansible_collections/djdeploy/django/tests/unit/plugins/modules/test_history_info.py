# SPDX-License-Identifier: GPL-3.0-or-later
"""The module `history_info` over the journals of two sites."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.djdeploy.django.plugins.module_utils.engine import history
from ansible_collections.djdeploy.django.plugins.module_utils.engine.history import Deploy
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.modules import history_info


def made(site: str, number: int, result: str) -> Deploy:
    return Deploy(f"x-{site}{number}", "2026-03-01T12:00:00+00:00", site, "push", "push", "ada", result)


JOURNALS = {
    "blog": [],
    "news": [made("news", 1, "live")],
    "shop": [made("shop", 1, "live"), made("shop", 2, "unchanged"), made("shop", 3, "failed")],
}


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        pytest.param({}, ["x-news1", "x-shop3", "x-shop1"], id="all_sites"),
        pytest.param({"site": "shop"}, ["x-shop3", "x-shop1"], id="one_site"),
        pytest.param({"site": "shop", "limit": 1}, ["x-shop3"], id="limit"),
        pytest.param({"site": "shop", "all": True}, ["x-shop3", "x-shop2", "x-shop1"], id="with_nothing_to_do"),
        pytest.param({"site": "shop", "id": "shop2"}, ["x-shop2"], id="one_operation"),
        pytest.param({"site": "blog"}, [], id="none_yet"),
    ],
)
def test_history_info(
    arguments: dict[str, Any],
    ids: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = run(arguments, monkeypatch, capsys)
    assert told["changed"] is False
    assert [operation["id"] for operation in told["operations"]] == ids
    assert all(("phases" in operation) is ("id" in arguments) for operation in told["operations"])
    assert bool(told["lines"]) is bool(ids)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"id": "shop1"}, "required by 'id': site"),
        ({"site": "shop", "id": "shop9"}, "no operation is called 'shop9'"),
        ({"limit": 0}, "limit must be above 0"),
    ],
)
def test_history_info_fails(
    arguments: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = run(arguments, monkeypatch, capsys)
    assert told["failed"] is True and says in told["msg"]


def run(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """What the module prints, on a host whose journals are `JOURNALS`."""
    monkeypatch.setattr(history_info, "site_names", lambda: list(JOURNALS))
    monkeypatch.setattr(history_info, "load_site", lambda name: Site(name, {}))
    monkeypatch.setattr(history, "recorded", lambda name: JOURNALS[name])
    with patch_module_args(arguments), pytest.raises(SystemExit):
        history_info.main()
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told
