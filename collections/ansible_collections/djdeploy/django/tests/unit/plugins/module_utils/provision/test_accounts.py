# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts: made when missing, never taken over."""

from __future__ import annotations

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.provision import accounts
from ansible_collections.djdeploy.django.plugins.module_utils.provision.accounts import Found, Wanted

SHOP = Wanted("shop", "/srv/shop/shared", comment="runs shop")
OURS = Found(True, True, "/srv/shop/shared", "/usr/sbin/nologin")


@pytest.mark.parametrize(
    ("found", "programs"),
    [
        pytest.param(Found(), ["useradd"], id="new"),
        pytest.param(OURS, [], id="as it should be"),
        pytest.param(Found(True, True, "/srv/shop/shared", "/bin/bash"), ["usermod"], id="another shell"),
    ],
)
def test_plan(found: Found, programs: list[str]) -> None:
    assert [argv[0] for argv in accounts.plan([SHOP], {"shop": found})] == programs


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (Found(True, True, "/home/shop", "/bin/bash"), "the unix account 'shop' exists on this host and is not ours"),
        (Found(False, True), "the unix group 'shop' exists on this host and is not ours"),
    ],
)
def test_plan_refuses_what_is_not_ours_before_anything_is_made(found: Found, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        accounts.plan([Wanted("blog", "/srv/blog/shared"), SHOP], {"shop": found})
    assert "djdeploy_sites" in caught.value.hint


def test_a_new_account_cannot_log_in() -> None:
    (argv,) = accounts.plan([SHOP], {})
    assert argv[argv.index("--shell") + 1] == "/usr/sbin/nologin"
    assert "--system" in argv
    assert "--no-create-home" in argv
