# SPDX-License-Identifier: GPL-3.0-or-later
"""The step `settings_digest`: equal where the settings are equal, and nothing that a value can be read from."""

from __future__ import annotations

import datetime
import enum
import functools
import json
import re
import shutil
import string
from collections import OrderedDict, namedtuple
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_settings import canonical, compact, digest_of
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError
from django.utils.functional import SimpleLazyObject, lazy
from django.utils.safestring import SafeString

SALT = "5a" * 32
RELEASE = "/srv/shop/releases/20260822T101500-3f2a9c1"


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Level(enum.IntEnum):
    RED = 1


class Unwritten:
    """Has no written form: its repr holds its address."""


class Raising:
    """An object that answers no question; a proxy outside of its request is one."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("outside of a request")


def broken() -> str:
    raise LookupError("needs more than settings")


Point = namedtuple("Point", "x y")
holding_itself: list[Any] = [1]
holding_itself.append(holding_itself)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (None, None),
        (True, True),
        (1, 1),
        (1.5, 1.5),
        ("text", "text"),
        (SafeString("text"), "text"),
        (b"\x00a", ["bytes", "0061"]),
        (Path("/etc/x"), "/etc/x"),
        ([1, "a"], ["list", 1, "a"]),
        ((1, "a"), ["list", 1, "a"]),
        (Point(1, 2), ["list", 1, 2]),
        ({"b", "a"}, ["set", "a", "b"]),
        (frozenset({3, 1}), ["set", 1, 3]),
        ({"b": [1], "a": None}, ["dict", ["a", None], ["b", ["list", 1]]]),
        (OrderedDict(b=1, a=2), ["dict", ["a", 2], ["b", 1]]),
        (MappingProxyType({1: 2}), ["dict", [1, 2]]),
        ({("x", 1): {}}, ["dict", [["list", "x", 1], ["dict"]]]),
        (Colour.RED, [["type", f"{__name__}.Colour"], "RED"]),
        (Level.RED, [["type", f"{__name__}.Level"], "RED"]),
        (datetime.timedelta(minutes=5), [["type", "datetime.timedelta"], "0:05:00"]),
        (datetime.date(2026, 8, 22), [["type", "datetime.date"], "2026-08-22"]),
        (Decimal("1.50"), [["type", "decimal.Decimal"], "1.50"]),
        (re.compile("^/api", re.IGNORECASE), ["pattern", "^/api", 34]),
        (json.dumps, ["name", "json.dumps"]),
        (len, ["name", "builtins.len"]),
        (Unwritten, ["name", f"{__name__}.Unwritten"]),
        (string, ["module", "string"]),
        (functools.partial(json.dumps, 1, indent=2),
         ["partial", ["name", "json.dumps"], ["list", 1], ["dict", ["indent", 2]]]),
        (Unwritten(), ["type", f"{__name__}.Unwritten"]),
        (Raising(), ["type", f"{__name__}.Raising"]),
        (SimpleLazyObject(broken), ["type", "django.utils.functional.SimpleLazyObject"]),
        (lazy(lambda: "hello", str)(), "hello"),
        (holding_itself, ["list", 1, ["again"]]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_canonical(value: Any, form: Any) -> None:
    assert canonical(value) == form
    assert json.loads(compact(form)) == form


def test_canonical_of_a_lazy_text_that_cannot_be_had_is_its_type() -> None:
    kind, name = canonical(lazy(broken, str)())
    assert (kind, name.rpartition(".")[2]) == ("type", "__proxy__")


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (f"{RELEASE}/static", "<release>/static"),
        (Path(RELEASE, "code"), "<release>/code"),
        ([f"file://{RELEASE}/a:{RELEASE}/b"], ["list", "file://<release>/a:<release>/b"]),
        ({RELEASE: 1}, ["dict", ["<release>", 1]]),
        ("shop-20260822T101500-3f2a9c1", "shop-<release>"),
        ("/srv/shop/shared", "/srv/shop/shared"),
    ],
)
def test_canonical_leaves_out_what_is_of_one_release(value: Any, form: Any) -> None:
    assert canonical(value, ["20260822T101500-3f2a9c1", RELEASE, ""]) == form


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        (1, 1.0),
        (1, Level.RED),
        ("a", b"a"),
        ("", None),
        ([1, 2], [2, 1]),
        ([1], {1}),
        ([], {}),
        (["type", "x"], Unwritten()),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        (Colour.RED, Colour.BLUE),
        (re.compile("a"), re.compile("a", re.MULTILINE)),
        (json.dumps, json.loads),
    ],
)
def test_values_that_differ_have_forms_that_differ(one: Any, other: Any) -> None:
    assert digest_of("NAME", canonical(one), b"key") != digest_of("NAME", canonical(other), b"key")


def test_equal_values_of_two_settings_do_not_show_that_they_are_equal() -> None:
    assert digest_of("ONE", "value", b"key") != digest_of("OTHER", "value", b"key")


# --- the step, in a project ------------------------------------------------------------------------------------

SETTINGS = """
import datetime
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy
HOSTS_SEEN = {"a.example.com", "b.example.com", "c.example.com", "d.example.com"}
NESTED = {"deep": [{"x", "y", "z"}, (1, 2), datetime.timedelta(1)], "where": BASE_DIR / "data"}
LANGUAGES = [("en", gettext_lazy("English")), ("de", gettext_lazy("German"))]
LOGIN_URL = reverse_lazy("admin:login")
HOOK = print
CLIENT = object()
TOKEN = "a-very-secret-token"
lower = "not a setting"
"""


def digests(project: Any, **request: Any) -> dict[str, str]:
    [result] = project.run({"name": "settings_digest", "salt": SALT, "strip": [str(project.root)], **request})
    assert not result.changed
    found: dict[str, str] = result.facts["settings"]
    return found


def test_digests_are_the_same_in_every_process_and_directory(project: Any, tmp_path: Path) -> None:
    project.settings(SETTINGS)
    project.env["PYTHONHASHSEED"] = "1"
    first = digests(project)
    assert {"TOKEN", "NESTED", "LOGIN_URL", "CLIENT", "STATIC_ROOT", "SECRET_KEY"} <= first.keys()
    project.env["PYTHONHASHSEED"] = "2"
    assert digests(project) == first
    project.root = Path(shutil.copytree(project.root, tmp_path / "moved"))
    assert digests(project) == first


def test_only_what_changed_differs(project: Any) -> None:
    project.settings(SETTINGS)
    before = digests(project)
    project.settings('TOKEN = "another-secret-token"\nNESTED["deep"][0].add("w")\nEMAIL_HOST = "mail"\ndel HOOK')
    after = digests(project)
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == {"TOKEN", "NESTED"}
    assert after.keys() - before.keys() == {"EMAIL_HOST"}  # one of Django's own, now set by the project
    assert before.keys() - after.keys() == {"HOOK"}


def test_only_what_the_project_sets_is_told(project: Any) -> None:
    project.settings("DJDEPLOY_GAPS = {}")
    found = digests(project)
    assert "INSTALLED_APPS" in found
    assert not {"EMAIL_HOST", "DJDEPLOY_GAPS", "lower"} & found.keys()


def test_no_value_leaves_the_process_and_another_salt_gives_other_digests(project: Any) -> None:
    project.settings(SETTINGS)
    events: list[Any] = []
    [result] = project.run({"name": "settings_digest", "salt": SALT, "strip": []}, on_event=events.append)
    told = json.dumps(events)
    assert "a-very-secret-token" not in told
    assert SALT not in told
    first = result.facts["settings"]
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in first.values())
    other = digests(project, salt="a5" * 32, strip=[])
    assert not any(first[name] == other[name] for name in first)


def test_an_empty_secret_key_is_a_value_like_another(project: Any) -> None:
    project.settings('SECRET_KEY = ""')
    assert "SECRET_KEY" in digests(project)


@pytest.mark.parametrize("salt", ["", "abc", "xyz", None])
def test_without_a_salt_nothing_is_told(project: Any, salt: str | None) -> None:
    with pytest.raises(StepError, match="needs a salt") as raised:
        digests(project, salt=salt)
    assert raised.value.kind == "request"
