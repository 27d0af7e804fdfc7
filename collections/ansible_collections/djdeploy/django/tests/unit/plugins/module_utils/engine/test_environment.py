# SPDX-License-Identifier: GPL-3.0-or-later
"""EnvironmentFile= text: what is written is what systemd would read."""

from __future__ import annotations

import random

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import environment
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({}, ""),
        ({"A": "1"}, 'A="1"\n'),
        ({"B": "", "A": "x y"}, 'A="x y"\nB=""\n'),
        ({"A": 'say "hi"'}, 'A="say \\"hi\\""\n'),
        ({"A": "$HOME`id`\\n"}, 'A="\\$HOME\\`id\\`\\\\n"\n'),
        ({"A": "two\nlines"}, 'A="two\nlines"\n'),
        ({"A": "#no comment"}, 'A="#no comment"\n'),
    ],
)
def test_serialize(mapping: dict[str, str], text: str) -> None:
    assert environment.serialize(mapping) == text


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"A B": "x"}, "'A B' cannot be the name"),
        ({"1A": "x"}, "'1A' cannot be the name"),
        ({"A\n": "x"}, "cannot be the name"),
        ({"A": "hunter2\0"}, "A holds a NUL"),
        ({"A": "hunter2\ufffe"}, "A holds a code point that is no character"),
        ({"A": "\ufdd0hunter2"}, "A holds a code point that is no character"),
        ({"A": "hunter2\U0010ffff"}, "A holds a code point that is no character"),
        ({"A": "hunter2\udc80"}, "A cannot be written as UTF-8"),
        ({"A": 1}, "A is int, not text"),
    ],
)
def test_serialize_refuses(mapping: dict[str, str], says: str) -> None:
    with pytest.raises(EngineError) as caught:
        environment.serialize(mapping)
    assert says in caught.value.message
    assert "hunter2" not in caught.value.message + caught.value.hint + caught.value.detail


@pytest.mark.parametrize(
    ("text", "mapping"),
    [
        ("", {}),
        ("# comment\n; another\n\nA=1\n", {"A": "1"}),
        ("A=1", {"A": "1"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("A = 1 \n", {"A": "1"}),
        ("  A=1\n", {"A": "1"}),
        ("no assignment\nA=1\n", {"A": "1"}),
        ("1A=x\nA-B=x\n", {}),
        ("export A=1\n", {}),
        ("A=a b\n", {"A": "a b"}),
        ("A=a\\\nb\n", {"A": "ab"}),
        ("A=a\\ \n", {"A": "a "}),
        ("A='a \"$\\n'\n", {"A": 'a "$\\n'}),
        ("A='a\nb'\n", {"A": "a\nb"}),
        ('A="a\\nb"\n', {"A": "a\\nb"}),
        ('A="a\\\nb"\n', {"A": "ab"}),
        ('A=" a "  \n', {"A": " a "}),
        ("A=\"a\"'b'c\n", {"A": "abc"}),
        ("A=it's\n", {"A": "it's"}),
        ("A=\nB=x\n", {"A": "", "B": "x"}),
        ('A="open', {"A": "open"}),
        ("A=x\r\nB=y\r\n", {"A": "x", "B": "y"}),
    ],
)
def test_parse(text: str, mapping: dict[str, str]) -> None:
    assert environment.parse(text) == mapping


def test_round_trip_of_random_text() -> None:
    chance = random.Random(20240229)
    characters = "aZ0 \t\n\r\v\f\"'\\`$#;=%{}é\x01\x7f\x85\u2028\U0001f600"
    for _time in range(4000):
        mapping = {
            f"NAME_{index}": "".join(chance.choice(characters) for _time in range(chance.randrange(16)))
            for index in range(chance.randrange(1, 5))
        }
        assert environment.parse(environment.serialize(mapping)) == mapping


def test_new_secret_key() -> None:
    keys = {environment.new_secret_key() for _time in range(100)}
    assert len(keys) == 100
    assert all(len(key) == 64 and set(key) <= set(environment.SECRET_KEY_ALPHABET) for key in keys)
    key = keys.pop()
    assert environment.serialize({"SECRET_KEY": key}) == f'SECRET_KEY="{key}"\n'
