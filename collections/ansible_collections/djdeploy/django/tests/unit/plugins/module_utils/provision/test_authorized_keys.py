# SPDX-License-Identifier: GPL-3.0-or-later
"""One line per key, with all its sites and nothing else it could do."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.provision.authorized_keys import authorized_keys, key_name

ONE, TWO = (base64.b64encode(text).decode() for text in (b"key number one", b"key number two"))


def line(command: str, key: str, name: str) -> str:
    return f'restrict,command="/usr/local/bin/djdeploy receive {command}" ssh-ed25519 {key} {name}'


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        pytest.param({}, [], id="none"),
        pytest.param(
            {"shop": [f"ssh-ed25519 {ONE} a@laptop"]}, [line("--key=a@laptop shop", ONE, "a@laptop")], id="one"
        ),
        pytest.param(
            {"shop": [f"ssh-ed25519 {ONE} laptop"], "blog": [f"ssh-ed25519 {ONE}", f"ssh-ed25519 {TWO} ci"]},
            [line("--key=ci blog", TWO, "ci"), line("--key=laptop blog shop", ONE, "laptop")],
            id="a key of two sites",
        ),
        pytest.param(
            {"shop": [f"ssh-ed25519 {ONE} laptop", f"ssh-ed25519 {ONE} again"]},
            [line("--key=laptop shop", ONE, "laptop")],
            id="listed twice",
        ),
    ],
)
def test_authorized_keys(keys: dict[str, list[str]], lines: list[str]) -> None:
    assert authorized_keys(keys) == lines


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        ("ann@laptop", "ann@laptop"),
        ('Ann\'s "new" laptop', "Ann-s-new-laptop"),
        ("$(reboot); x", "reboot-x"),
        ("--key=root", "key-root"),
    ],
)
def test_a_comment_cannot_say_more_than_a_name(comment: str, name: str) -> None:
    assert key_name(comment, b"") == name


def test_a_key_without_a_comment_is_named_by_its_fingerprint() -> None:
    assert key_name("", b"one") != key_name("", b"two")
    assert len(key_name("", b"one")) >= 10


@pytest.mark.parametrize("text", ["ssh-ed25519", "", "ssh-ed25519 AAAA....cut"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(EngineError, match="'shop' has a deploy key that is not"):
        authorized_keys({"shop": [text]})
