# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a SECRET_KEY: the keys before it stay valid, so many and no more."""

from __future__ import annotations

import json

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import rotation


def present(key: str = "b", *earlier: str) -> dict[str, str]:
    return {"SECRET_KEY": key, "A": "1", **({"SECRET_KEY_FALLBACKS": json.dumps(earlier)} if earlier else {})}


@pytest.mark.parametrize(
    ("before", "key", "keep", "expected"),
    [
        (present("b"), "c", 2, ["b"]),
        (present("b", "a"), "c", 2, ["b", "a"]),
        (present("c", "b", "a"), "d", 2, ["c", "b"]),
        (present("c", "b", "a"), "d", 0, []),
        (present("b", "a"), "b", 2, ["a"]),
        (present("b", "a"), "a", 2, ["b"]),
        (present("b", "a"), "b", 0, []),
        ({"A": "1"}, "a", 2, []),
        ({"SECRET_KEY": "b", "SECRET_KEY_FALLBACKS": "a,b"}, "c", 2, ["b"]),
        ({"SECRET_KEY": "b", "SECRET_KEY_FALLBACKS": '{"a": 1}'}, "c", 2, ["b"]),
        ({"SECRET_KEY": "b", "SECRET_KEY_FALLBACKS": '["a", 1, ""]'}, "c", 2, ["b", "a"]),
    ],
    ids=["first", "second", "third", "none", "same key", "back", "leaked", "new site", "no JSON", "no list", "no text"],
)
def test_rotated(before: dict[str, str], key: str, keep: int, expected: list[str]) -> None:
    after = rotation.rotated(before, key, keep)
    assert after["SECRET_KEY"] == after["DJANGO_SECRET_KEY"] == key
    assert rotation.earlier_keys(after) == expected
    assert ("SECRET_KEY_FALLBACKS" in after) == bool(expected)
    assert {name: value for name, value in after.items() if "SECRET" not in name} == {
        name: value for name, value in before.items() if "SECRET" not in name
    }
