# SPDX-License-Identifier: GPL-3.0-or-later
"""Closing a site, opening it, and waiting for who is still inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import maintenance
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

LIVE = "20260301T120000-aaaaaaa"
OPEN = "u_str ESTAB 0 0 /run/djdeploy/shop/x.sock 4711 * 4712\n"
LISTENING = "u_str LISTEN 0 4096 /run/djdeploy/shop/x.sock 4710 * 0\n"


def test_closed_says_why_and_open_says_nothing(shop: Site) -> None:
    assert maintenance.state(shop) is None
    maintenance.on(shop, "aaaaaaa changes the database", release=LIVE)
    said = maintenance.state(shop)
    assert said is not None and (said["reason"], said["release"]) == ("aaaaaaa changes the database", LIVE)
    assert shop.paths.maintenance.stat().st_mode & 0o777 == 0o644, "nginx has to see it"
    for _time in range(2):
        maintenance.off(shop)
        assert maintenance.state(shop) is None


@pytest.mark.parametrize(("text", "reason"), [("", ""), ("back at noon\n", "back at noon"), ("[1]", "[1]")])
def test_a_file_made_by_hand_closes_too(shop: Site, text: str, reason: str) -> None:
    shop.paths.maintenance.write_text(text)
    assert maintenance.state(shop) == {"reason": reason, "release": "", "since": ""}


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), (LISTENING, 0), (OPEN, 1), (OPEN + LISTENING + OPEN, 2), ("torn", 0)]
)
def test_requests_under_way(text: str, count: int) -> None:
    assert maintenance.requests_under_way(text) == count


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Callable[..., Completed]]:
    """What `ss` says, one answer after the other, the last one for ever; a look takes a second."""
    now = [0.0]
    monkeypatch.setattr(maintenance.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(maintenance.time, "sleep", lambda _seconds: now.__setitem__(0, now[0] + 1.0))

    def told(texts: list[str]) -> Callable[..., Completed]:
        left = list(texts)

        def run(argv: list[str], **_options: Any) -> Completed:
            return Completed(tuple(argv), 0, left.pop(0) if len(left) > 1 else left[0], "")

        return run

    return told


def test_drain_waits_until_it_is_calm_for_a_while(
    shop: Site, keep: Callable[..., Release], answers: Callable[[list[str]], Callable[..., Completed]]
) -> None:
    keep(LIVE, "live")
    asked = []
    run = answers([OPEN, "", OPEN, ""])

    def counted(*arguments: Any, **options: Any) -> Completed:
        asked.append(arguments)
        return run(*arguments, **options)

    maintenance.drain(shop, run=counted)
    assert len(asked) == 3 + maintenance.CALM


def test_drain_gives_up_on_a_request_that_does_not_end(
    shop: Site, keep: Callable[..., Release], answers: Callable[[list[str]], Callable[..., Completed]]
) -> None:
    keep(LIVE, "live")
    with pytest.raises(EngineError, match="1 requests are still under way after 60 s") as caught:
        maintenance.drain(shop, run=answers([OPEN]))
    assert "nothing was changed" in caught.value.hint


@pytest.mark.parametrize(
    ("version", "texts", "asked"),
    [
        pytest.param("0.35.0", [OPEN] * 8 + [""], True, id="websockets close when they are asked to"),
        pytest.param("0.35.0", [OPEN], True, id="what stays open is not waited for"),
        pytest.param("0.35.0", [OPEN, ""], False, id="requests that end by themselves"),
        pytest.param("0.20.0", [OPEN], False, id="its master would not start others"),
    ],
)
def test_drain_does_not_wait_for_websockets(
    shop: Site,
    keep: Callable[..., Release],
    answers: Callable[[list[str]], Callable[..., Completed]],
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    texts: list[str],
    asked: bool,
) -> None:
    keep(LIVE, "live", server="uvicorn")
    monkeypatch.setattr(maintenance.requirements, "installed_packages", lambda _path: {"uvicorn": version})
    ended: list[str] = []
    maintenance.drain(shop, run=answers(texts), end_workers=ended.append)
    assert ended == ([f"djdeploy-shop@{LIVE}.service"] if asked else [])


def test_drain_of_a_site_without_a_release(shop: Site) -> None:
    maintenance.drain(shop)
