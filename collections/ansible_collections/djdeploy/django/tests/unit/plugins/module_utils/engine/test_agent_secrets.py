# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values count as secrets, and where the engine hides them besides what a module says."""

from __future__ import annotations

import json
import os
import re
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import agent
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_secrets import (
    forms,
    hidden,
    of_environment,
    of_settings,
)

CODE = "import os, sys; print(os.environ['DB_PASSWORD'], file=sys.stderr); result = 1"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("DB_PASSWORD", "x", "x"),
        ("db_pwd", "x", "x"),
        ("EMAIL_PASS", "x", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x", "x"),
        ("GITHUB_TOKEN", "x", "x"),
        ("BASIC_AUTH", "x", "x"),
        ("CERTIFICATE_KEY", "/not/a/path-by-its-name", "/not/a/path-by-its-name"),
        ("DATABASE_URL", "postgres://ann:pa%3Ass@db/shop", "pa%3Ass"),
        ("DATABASE_URL", "postgres://ann@db/shop", None),
        ("REPORTS", "https://0123456789abcdef0123@example.com/1", "0123456789abcdef0123"),
        ("SECRET_KEY_FILE", "/run/secrets/key", None),
        ("CACHE_KEY_PREFIX", "shop", None),
        ("AUTH_USER_MODEL", "accounts.User", None),
        ("SECRET_NAME", "shop/production", None),
        ("DEBUG", "1", None),
        ("DJANGO_SETTINGS_MODULE", "mysite.settings", None),
    ],
)
def test_variables_that_are_secrets(name: str, value: str, secret: str | None) -> None:
    assert list(of_environment({name: value})) == ([] if secret is None else [secret])


def test_settings_that_are_secrets() -> None:
    settings = SimpleNamespace(
        SECRET_KEY="one",
        SECRET_KEY_FALLBACKS=["two", b"three"],
        DATABASES={"default": {"PASSWORD": "four", "NAME": "shop", "OPTIONS": {"passfile": "/home/ann/.pgpass"}}},
        CACHES={"default": {"LOCATION": ["redis://:five@cache/0"], "KEY_PREFIX": "shop"}},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        AUTH_PASSWORD_VALIDATORS=[{"NAME": "shop.validators.Long", "OPTIONS": {"min_length": 9}}],
        SIMPLE_JWT={"SIGNING_KEY": "six", "TOKEN_TYPE_CLAIM": "token_type"},
        STRIPE_KEY=None,
        lower_key="seven",
    )
    assert set(of_settings(settings)) == {"one", "two", "three", "four", "five", "six"}


def test_a_setting_that_refuses_to_be_read() -> None:
    class Settings:
        TOKEN = "eight"

        @property
        def API_KEY(self) -> str:
            raise RuntimeError

    assert list(of_settings(Settings())) == ["eight"]


def test_every_form_of_a_secret_is_hidden_and_short_words_stay() -> None:
    odd = 'it\'s\n"so" and so'
    known = forms([odd, "4711", "abc"], ["p%40ssword", "seven77"])
    text = f"{odd}; {odd!r}; {json.dumps(odd)}; {odd.splitlines()[1]}; p@ssword p%2540ssword 4711 abc seven77"
    assert hidden(text, known) == (
        "********; '********'; \"********\"; ********; ******** ******** ******** abc seven77"
    )
    assert hidden({"p%40ssword": [4711, 1, True, None, {"a": "4711"}]}, known) == {
        "********": ["********", 1, True, None, {"a": "********"}]
    }


def test_what_is_said_meanwhile_is_hidden_too(project: Any) -> None:
    """A deploy shows these lines while migrations run."""
    project.env["DB_PASSWORD"] = "hunter2-hunter2"
    lines: list[str] = []
    (result,) = project.run({"name": "shell", "code": CODE}, on_stderr=lines.append)
    assert lines == ["********"] and result.stderr == "********\n"


def test_what_the_engine_works_with_is_whole(project: Any) -> None:
    """A password of the database that is a word of ours, too: facts, before and after stay as they are."""
    project.env["DB_PASSWORD"] = "0001_initial"
    project.settings('DATABASES["default"]["PASSWORD"] = "shop.0002_price"')
    migrate, connection = project.run({"name": "migrate", "app": "shop"}, {"name": "connection"})
    assert migrate.facts["applied"] == migrate.after == ["shop.0001_initial", "shop.0002_price"]
    assert connection.facts["vendor"] == "sqlite"


@pytest.mark.parametrize("written", [1, 7, 1000, 5000])
def test_of_what_a_step_prints_both_ends_are_kept(monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    """However it is written, the ends are those of the whole; a secret at the place of the cut is in neither half."""
    secret = "canary-0123456789"
    whole = ("begin " + f"{secret} " * 400 + "end").encode()
    monkeypatch.setattr(agent, "KEPT", 1010)
    with open(os.devnull, "wb") as nowhere:
        tee = agent.Tee(nowhere.fileno(), SimpleNamespace(known=list))  # type: ignore[arg-type]
        for at in range(0, len(whole), written):
            tee.write(whole[at : at + written])
            assert len(tee.first) + len(tee.last) <= 3 * 1010 + written
    text = tee.take()
    first, left_out, last = re.split(r"\[\.\.\. (\d+) bytes left out \.\.\.\]", text)
    assert whole.startswith(first.encode()) and whole.endswith(last.encode())
    assert len(first) + int(left_out) + len(last) == len(whole)
    shown = hidden(text, forms([], [secret]))
    assert not any(part in shown for part in ("can", "0123", "789")), shown
    assert tee.take() == ""
