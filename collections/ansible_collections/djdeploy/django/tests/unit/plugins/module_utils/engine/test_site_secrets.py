# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site knows as secret, and that nothing of it passes the filter in whatever form it comes."""

from __future__ import annotations

import base64
import html
import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import site_secrets
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_secrets import covered, cut_mark, forms
from ansible_collections.djdeploy.django.plugins.module_utils.engine.environment import serialize
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.site_secrets import (
    Mask,
    masked,
    of_build,
    of_text,
    of_variables,
    read,
)

#: Secrets with what programs escape, each with a middle that is looked for in what came out.
ODD = {
    "plain": "canary-plain-7f3a",
    "dollar": "pa$canary-dollar-1$HOME$$",
    "single quote": "it's-canary-quote-2'",
    "both quotes": "'a\"canary-both-3\"b'",
    "percent": "100%canary-percent-4%2F%s",
    "backslash": "C:\\canary-backslash-5\\n\\x41",
    "equals and hash": "=canary=equals-6=#;",
    "unicode": "pässwörd-canary-ü-7-\U0001f511-€",
    "tab and bell": "canary\tcontrol-8\x07end",
    "markup": "<canary&amp-9>&'",
    "spaces": "  canary with spaces 10  ",
    "url": "canary/+?10&a=b c@d:e",
    "lines": "first-canary-line-11\nsecond-canary-line-11\r\nthird 'canary\" line-11\n",
    "braces": "{canary}-{{ canary_12 }}-%(canary)s",
    "looks like base64": "Y2FuYXJ5LTEzLXRoaXJ0ZWVu+/==",
}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a sentence": lambda text: f"cannot connect with {text}, sorry",
    "repr": repr,
    "repr in a dict": lambda text: repr({"KEY": text}),
    "repr in a repr": lambda text: repr(f"bad value {text!r}"),
    "repr of a repr of a repr": lambda text: repr(repr(repr(text))),
    "JSON in JSON in JSON": lambda text: json.dumps({"a": json.dumps([json.dumps(text)])}),
    "repr of JSON": lambda text: repr({"body": json.dumps({"key": text}).encode()}),
    "base64 of JSON": lambda text: b64(json.dumps({"key": text}).encode()),
    "repr of bytes": lambda text: repr(text.encode()),
    "repr with both quotes around": lambda text: repr(f"\"'{text}'\""),
    "ascii": ascii,
    "standard error without UTF-8": lambda text: text.encode("ascii", "backslashreplace").decode(),
    "JSON": json.dumps,
    "JSON with UTF-8": lambda text: json.dumps({"key": text}, ensure_ascii=False),
    "URL": lambda text: f"https://example.com/?key={quote(text, safe='')}",
    "path of a URL": quote,
    "form": lambda text: urlencode({"key": text}),
    "plus": quote_plus,
    "HTML": html.escape,
    "shell": lambda text: f"export KEY={shlex.quote(text)}",
    "EnvironmentFile": lambda text: serialize({"KEY": text}),
    "SQL": lambda text: "VALUES ('" + text.replace("'", "''") + "')",
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: b64(text.encode()),
    "base64, URL-safe": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64, one byte before": lambda text: b64(b"x" + text.encode() + b"rest of it"),
    "base64, two bytes before": lambda text: b64(b"xy" + text.encode() + b"rest of it"),
    "basic authentication": lambda text: "Authorization: Basic " + b64(b"user:" + text.encode()),
}


def left(text: str, secret: str) -> str:
    """A piece of a secret, between blanks, that can still be read; empty where there is none."""
    return next((piece for piece in secret.split() if len(piece) >= 8 and piece in text), "")


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("kind", ODD)
def test_no_form_of_a_secret_is_left(kind: str, written: str) -> None:
    """What is left is what was around it: for base64 the characters that hold bits of its neighbours, too."""
    secret = ODD[kind]
    before = WRITTEN[written](secret)
    after = covered(before, forms((), [secret]))
    assert "*" * 8 in after
    around = WRITTEN[written]("") if written not in ("shell",) else "export KEY=''"
    allowed = 30 if "base64" in written or "basic" in written else 12  # neighbours in base64, line ends and quotes
    assert len(after.replace("*" * 8, "")) <= len(around) + allowed, after
    assert not left(after, secret), after
    assert "canary" not in after and b64(b"canary")[:8] not in after


@pytest.mark.parametrize("width", [64, 76])
def test_long_secrets_in_lines_of_base64(width: int) -> None:
    secret = "".join(f"{number:04x}-canary-" for number in range(40))
    whole = b64(secret.encode())
    lines = [whole[at : at + width] for at in range(0, len(whole), width)]
    after = covered("\n".join(lines), forms((), [secret])).splitlines()
    assert after[:-1] == ["*" * 8] * (len(lines) - 1)


def test_secrets_that_overlap_leave_nothing_of_either() -> None:
    known = forms((), ["abcdefgh", "efghijklmnop", "ijklmnopqrst"])
    assert covered("<abcdefghijklmnopqrst>", known) == "<********>"


@pytest.mark.parametrize("left_of", range(1, 20))
def test_a_secret_that_was_cut_in_two_is_hidden_on_both_sides(left_of: int) -> None:
    secret = "canary-0123456789-cut"
    text = f"before {secret[:left_of]}{cut_mark(12345)}{secret[left_of + 1 :]} behind"
    assert covered(text, forms((), [secret])) == f"before ********{cut_mark(12345)}******** behind"


def test_short_values_and_words_stay() -> None:
    assert covered("debug=1 in shop", forms((), ["1", "shop", "debug"])) == "debug=1 in shop"


def test_much_text_with_many_secrets_takes_no_time() -> None:
    known = forms((), [f"{number:08x}-secret-of-some-length" for number in range(500)])
    began = time.monotonic()
    covered("x" * 500_000 + "\n" + "00000001-secret " * 20_000, known)
    assert time.monotonic() - began < 20


# --- which values ------------------------------------------------------------------------------------


CONFIG = {
    "env": {"EMAIL_HOST": "smtp.example.com", "API_TOKEN": "named-so-it-is-secret", "COLOUR": "ultramarine"},
    "secret_names": {"secrets": ["ODD_ONE", "BROKER"], "build_secrets": ["NPM_AUTH"]},
}
GIVEN = {
    "EMAIL_HOST": "smtp.example.com",
    "COLOUR": "ultramarine",
    "API_TOKEN": "named-so-it-is-secret",
    "ODD_ONE": "by-the-sites-own-list",
    "BROKER": "amqp://shop:p%40ss-of-broker@mq/shop?x=1",
    "SECRET_KEY": "k" * 64,
    "DJANGO_SECRET_KEY": "k" * 64,
    "SECRET_KEY_FALLBACKS": json.dumps(["j" * 64, "i" * 64]),
    "DATABASE_URL": "postgresql://shop:of-database@db/shop?sslkey_password=of-its-key",
    "DEBUG": "False",
    "ALLOWED_HOSTS": "shop.example.com",
}


def test_variables_are_secret_by_the_sites_list_and_by_name() -> None:
    found = set(of_variables(CONFIG, GIVEN))
    assert {"by-the-sites-own-list", "named-so-it-is-secret", "k" * 64, "j" * 64, "i" * 64} <= found
    assert {GIVEN["BROKER"], "p%40ss-of-broker", "of-database", "of-its-key"} <= found
    assert not found & {"smtp.example.com", "ultramarine", "False", "shop.example.com"}


def test_a_database_reached_without_a_password_is_no_secret() -> None:
    assert set(of_variables({"secret_names": {}}, {"DATABASE_URL": "postgresql:///shop"})) == set()


def test_variables_of_a_record_that_does_not_tell_are_all_secret() -> None:
    assert "by-the-sites-own-list" in set(of_variables({"env": {}}, GIVEN))


def test_build_secrets() -> None:
    given = {
        "NPM_AUTH": "of-the-registry",
        "PIP_INDEX_URL": "https://ann:of-the-index@pypi.example.com/t0k3n-in-a-path-9x8y/simple",
        "UV_INDEX": "own=https://0123456789abcdef0123@pypi.example.com/simple",
    }
    found = {value for value in of_build(CONFIG, given) if len(value) >= 8}
    assert found == {"of-the-registry", "of-the-index", "t0k3n-in-a-path-9x8y", "0123456789abcdef0123"}


ENV = """\
# a comment
ENVIRONMENT=production
EMAIL_HOST=smtp.example.com
PAYMENT_ID="c4n4ry-of-payment"
export STRIPE_KEY='words only here'   # of the shop
PORT=8000
"""
PYTHON = '''\
"""Settings of this host only."""
import os
from django.conf import settings
DEBUG = False
CACHE = "django.core.cache.backends.redis.RedisCache"
THIRD = {"account": "9f8e7d6c5b4a", "password": "plain words", "region": "europe"}
SENTRY = b"https://0123456789abcdef@sentry.example.com/1"
connect(secret="another word")
'''
JSON = json.dumps({"type": "service_account", "private_key": "-----BEGIN\nMIIEabc1def2\n", "list": [{"pin": 12345678}]})
YAML = "api:\n  token: five words in a row\n  host: db1.example.com\n  key: |\n    Zx9Yw8Vu7Ts6Rq5P\n"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "secret", "not_secret"),
    [
        (ENV, {"c4n4ry-of-payment", "words only here"}, {"production", "smtp.example.com", "# a comment"}),
        (
            PYTHON,
            {"9f8e7d6c5b4a", "plain words", "another word", "0123456789abcdef"},
            {"import os", "from django.conf import settings", "django.core.cache.backends.redis.RedisCache", "europe"},
        ),
        (JSON, {"-----BEGIN\nMIIEabc1def2\n", "12345678"}, {"service_account"}),
        (YAML, {"five words in a row", "Zx9Yw8Vu7Ts6Rq5P"}, {"db1.example.com"}),
        (PEM, {"MIIEvQIBADANBgkqhkiG9w0B", "AQEFAASCBKcwggSjAgEAAoIB"}, {"-----BEGIN PRIVATE KEY-----"}),
        ("t0k3n-0f-0ne-line\n", {"t0k3n-0f-0ne-line"}, set()),
        ("machine db1.example.com login ann password 47xy11abcd\n", {"47xy11abcd"}, {"db1.example.com", "password"}),
        ("db:5432:shop:ann:47xy11abcd\n", {"47xy11abcd"}, {"shop"}),
        ("the key of the year before: 47xy11abcd", {"47xy11abcd"}, set()),
        ("", set(), {""}),
    ],
    ids=["env", "python", "JSON", "YAML", "PEM", "one line", "netrc", "pgpass", "prose", "empty"],
)
def test_secrets_in_a_file(text: str, secret: set[str], not_secret: set[str]) -> None:
    found = set(of_text(text))
    assert secret <= found
    assert not found & not_secret


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "Ab" * 50_000 + "1x", "a b " * 50_000 + "9x8", "'" * 5000, "(" * 5000, "a=x" + " " * 200_000 + "y"],
    ids=["letters", "pairs", "words", "quotes", "brackets", "blanks"],
)
def test_long_line_hides_no_secret_behind_it(text: str) -> None:
    """Nor does it take for ever: in the square of its length, a line of blanks would take minutes."""
    assert "Zx9Yw8Vu7Ts6Rq5P" in set(of_text(f"{text}\nTOKEN=Zx9Yw8Vu7Ts6Rq5P\n"))


# --- the filter --------------------------------------------------------------------------------------


def lay(paths: SitePaths) -> None:
    paths.secret_files.mkdir(parents=True)
    paths.config.write_text(json.dumps(CONFIG))
    paths.env_file.write_text(serialize(GIVEN))
    paths.build_env_file.write_text(serialize({"NPM_AUTH": "of-the-registry"}))
    paths.project_files.write_text(json.dumps({".env": ENV, "conf/local.py": PYTHON}))
    (paths.secret_files / "CERT").write_text(PEM)
    (paths.secret_files / "NOTE").write_bytes(b"words of a note\xff\n")


@pytest.fixture
def place(host: Path) -> SitePaths:
    places = SitePaths("canaries")
    lay(places)
    return places


def test_everything_a_site_has_is_known(place: SitePaths) -> None:
    found = read(place)
    for secret in (
        "by-the-sites-own-list",
        "of-the-registry",
        "c4n4ry-of-payment",
        "9f8e7d6c5b4a",
        "AQEFAASCBKcwggSjAgEAAoIB",
    ):
        assert any(secret in value for value in found), secret
    assert all(len(value.strip()) >= 8 for value in found)


def test_a_site_without_secrets_and_one_that_is_not_there() -> None:
    assert read(SitePaths("nobody-has-such-a-site")) == set()
    event: Event = {"event": "say", "text": "hello"}
    assert Mask(SitePaths("nobody-has-such-a-site"))(event) == event


def test_no_sink_gets_a_secret(place: SitePaths) -> None:
    """Said, in a note, in a plan, in a result and its facts; a line of a file with several, too."""
    got: list[Event] = []
    progress = Progress([got.append], mask=Mask(place))
    progress.say("KeyError: 'by-the-sites-own-list'")
    with progress.phase("build") as note:
        note.text = "of-the-registry"
    progress.release("1-abc", "abc", "Use c4n4ry-of-payment")
    progress.emit({"event": "plan", "lines": ["+ 9f8e7d6c5b4a"], "plan": {"sql": ["words of a note"], "count": 3}})
    detail = f"environ({{'X': {GIVEN['BROKER']!r}}})\n{PEM.splitlines()[1]}"
    progress.emit({"event": "result", "ok": False, "site": "k" * 64, "message": "k" * 64, "detail": detail, "n": 1})
    told = json.dumps([{key: value for key, value in event.items() if key != "site"} for event in got])
    for secret in read(place):
        assert json.dumps(secret.strip())[1:-1] not in told, secret
    assert got[0]["text"] == "KeyError: '********'"
    assert got[-1]["site"] == "k" * 64, "what programs read is whole"
    assert got[4]["plan"]["count"] == 3


def test_secrets_that_change_meanwhile_are_hidden_both_ways(place: SitePaths) -> None:
    """A push waits in the queue while site.yml writes another password; the old processes still have the one before."""
    mask = Mask(place)
    assert mask.text("by-the-sites-own-list another-password") == "******** another-password"
    aside = place.env_file.with_suffix(".new")
    aside.write_text(serialize({**GIVEN, "ODD_ONE": "another-password"}))
    aside.rename(place.env_file)
    assert mask.text("by-the-sites-own-list another-password") == "******** ********"


def test_a_mask_shows_nothing_of_itself(place: SitePaths) -> None:
    mask = Mask(place)
    mask.forms()
    assert "by-the-sites-own-list" not in repr(mask)


def test_keys_and_numbers_of_an_event_stay() -> None:
    event = {"event": "result", "migrations": ["migrations"], "size": 12345678}
    assert masked(event, forms((), ["migrations", "12345678"])) == {**event, "migrations": ["********"]}


def test_files_of_the_filter_are_those_of_the_site(place: SitePaths) -> None:
    assert [path.name for path in site_secrets.files(place) if os.path.exists(path)] == [
        "canaries.json",
        "canaries.env",
        "canaries.build.env",
        "canaries.files",
        "CERT",
        "NOTE",
    ]


def test_what_cannot_be_read_stops_no_deploy(place: SitePaths, capfd: pytest.CaptureFixture[str]) -> None:
    place.env_file.unlink()
    place.project_files.write_text("no JSON at all: c4n4ry-in-a-broken-file")
    (place.secret_files / "FOLDER").mkdir()
    (place.secret_files / "CODE").write_text('PATTERN = "\\d is no escape"\nif 1 is 1: pass\n')
    mask = Mask(place)
    assert mask.text("c4n4ry-in-a-broken-file") == "********"
    assert capfd.readouterr() == ("", "")
