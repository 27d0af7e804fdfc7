# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site runs with: where each value comes from, and never a secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import config_shown, environment
from ansible_collections.djdeploy.django.plugins.module_utils.engine.lists import Requirements
from ansible_collections.djdeploy.django.plugins.module_utils.engine.project import Choice
from ansible_collections.djdeploy.django.plugins.module_utils.engine.requirements import Python
from ansible_collections.djdeploy.django.plugins.module_utils.engine.servers import Server

SECRETS = ("hunter2", "k" * 64, "old-key", "pw-of-the-db", "pw-in-a-url")
CONFIG: dict[str, Any] = {
    "env": {"EMAIL_HOST": "mail.example.com", "PROXY": "http://me:pw-in-a-url@proxy.example.com:3128"},
    "secret_names": {"secrets": ["TOKEN"], "secret_files": ["TLS_KEY"], "project_files": [".env"]},
}
OF_SITE = {
    "ALLOWED_HOSTS": "shop.example.com",
    "DEBUG": "False",
    "DATABASE_URL": "postgresql://shop:pw-of-the-db@db/shop",
    "SECRET_KEY": "k" * 64,
    "SECRET_KEY_FALLBACKS": '["old-key"]',
    "TOKEN": "hunter2",
    "TLS_KEY_FILE": "/etc/djdeploy/sites/shop.secrets/TLS_KEY",
    "EMAIL_HOST": "mail.example.com",
    "PROXY": "http://me:pw-in-a-url@proxy.example.com:3128",
    "LEFT_OVER": "hunter2",
}
OF_RELEASE = {"DJDEPLOY_RELEASE": "r1", "HOME": "/srv/shop/shared"}


@pytest.mark.parametrize(
    ("name", "value", "origin"),
    [
        ("ALLOWED_HOSTS", "shop.example.com", "from the site's domains"),
        ("DEBUG", "False", "always, unless env says otherwise"),
        ("DATABASE_URL", None, "from the site's key database"),
        ("SECRET_KEY", None, "made once on this host"),
        ("SECRET_KEY_FALLBACKS", None, "the keys before this one"),
        ("TOKEN", None, "secrets"),
        ("TLS_KEY_FILE", "/etc/djdeploy/sites/shop.secrets/TLS_KEY", "secret_files"),
        ("EMAIL_HOST", "mail.example.com", "env"),
        ("PROXY", "http://********@proxy.example.com:3128", "env"),
        ("LEFT_OVER", None, "the environment file"),
        ("HOME", "/srv/shop/shared", "the release"),
    ],
)
def test_where_a_variable_comes_from(name: str, value: str | None, origin: str) -> None:
    found = config_shown.variables(CONFIG, OF_SITE, OF_RELEASE)
    assert found[name] == {"value": value, "secret": value is None, "origin": origin}


@pytest.mark.parametrize(
    ("config", "of_site", "origin"),
    [
        ({"env": {"DATABASE_URL": "x"}}, {"DATABASE_URL": "x"}, "env"),
        ({"env": {}, "secret_names": {"secrets": ["DATABASE_URL"]}}, {"DATABASE_URL": "x"}, "secrets"),
        ({"env": {}}, {"DATABASE_URL": "x"}, "from the site's key database"),
        ({}, {"TOKEN": "x"}, "secrets"),
    ],
    ids=["env", "secrets", "made", "a host of an older site.yml"],
)
def test_a_secret_stays_one_wherever_it_is_given(config: dict[str, Any], of_site: dict[str, str], origin: str) -> None:
    (only,) = config_shown.variables(config, of_site, {}).values()
    assert only == {"value": None, "secret": True, "origin": origin}


def record(**more: Any) -> dict[str, Any]:
    replaced = {"DEBUG": {"reason": "a live site", "value": "False"}, "SECRET_KEY": {"reason": "weak", "value": None}}
    facts = {"replaced": replaced, "unused": [["CACHE_URL", "the project sets CACHES itself"]]}
    return {"id": "r1", "choices": {"settings": ["shop.settings", "manage.py names it"]}, "facts": facts, **more}


def test_no_secret_is_shown_to_people_or_programs() -> None:
    told = config_shown.shown("shop", CONFIG, record(), OF_SITE, OF_RELEASE)
    both = json.dumps(told) + "\n".join(config_shown.lines(told))
    assert [secret for secret in SECRETS if secret in both] == []
    assert set(told["variables"]) == {*OF_SITE, *OF_RELEASE}


def test_lines_tell_all_with_its_reason() -> None:
    text = "\n".join(config_shown.lines(config_shown.shown("shop", CONFIG, record(), OF_SITE, OF_RELEASE)))
    for line in (
        "shop, release r1",
        "  settings  shop.settings  (manage.py names it)",
        "  DEBUG       False  (a live site)",
        "  SECRET_KEY  (weak)",
        "  CACHE_URL  (the project sets CACHES itself)",
        "  .env  (project_files)",
    ):
        assert line in text
    assert "  SECRET_KEY            ********  (made once on this host)" in text


def test_before_the_first_release_and_of_an_older_one() -> None:
    first = config_shown.lines(config_shown.shown("shop", CONFIG, None, OF_SITE, {}))
    assert first[0] == "shop, release none yet"
    assert not any("not recorded" in line for line in first)
    older = config_shown.shown("shop", CONFIG, {"id": "r1", "facts": {}}, OF_SITE, {})
    assert any("the next release will tell" in line for line in config_shown.lines(older))


def test_a_value_of_several_lines_stays_one_line() -> None:
    told = config_shown.shown("shop", {"env": {"A": "x"}}, None, {"A": "1\n2\r3"}, {})
    assert "  A  1\\n2\\r3  (env)" in config_shown.lines(told)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, []),
        ({}, {"replaced": {"DEBUG": {"reason": "live"}}}, ["set DEBUG: live"]),
        ({"replaced": {"DEBUG": {"reason": "live"}}}, {"replaced": {"DEBUG": {"reason": "live"}}}, []),
        (
            {},
            {"replaced": {"A": {"reason": "x"}, "B": {"reason": "y"}, "C": {"reason": "x"}}},
            ["set A, C: x", "set B: y"],
        ),
        ({"replaced": {"DEBUG": {}, "A": {}}}, {}, ["left to the project again: A, DEBUG"]),
        ({}, {"unused": [["CACHE_URL", "not used"]]}, ["CACHE_URL is given: not used"]),
        ({"unused": [["CACHE_URL", "not used"]]}, {"unused": [["CACHE_URL", "not used"]]}, []),
    ],
    ids=["nothing", "new", "as before", "of one reason", "gone", "unused", "unused as before"],
)
def test_a_push_tells_what_is_new(before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    assert config_shown.new_replacements(before, after) == expected


SERVER = Server("gunicorn", "shop.wsgi:application", "wsgi", "it is WSGI")


def test_choices() -> None:
    python = Python("/usr/bin/python3.13", "3.13")
    choice = Choice("a", "because")
    found = config_shown.choices(
        {"database": "project", "python": "python3"},
        choice,
        choice,
        SERVER,
        Requirements("file", "r.txt", "it is"),
        python,
    )
    assert found["requirements"] == ["r.txt", "it is"]
    assert found["python"] == ["/usr/bin/python3.13 (3.13)", "python: python3"]
    derived = Requirements("derived", "", "nothing listed", ".", ("Django",))
    found = config_shown.choices({"database": "p", "python": "p"}, choice, choice, SERVER, derived, python)
    assert found["requirements"][0] == "Django"
    assert found["application"] == ["shop.wsgi:application", "it is WSGI"] and found["server"][0] == "gunicorn"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://ann:pw@host/x", "https://********@host/x"),
        ("two redis://:pw@a/0 and postgres://u:p%40@b", "two redis://********@a/0 and postgres://********@b"),
        ("https://host/a:b@c", "https://host/a:b@c"),
        ("ann@example.com", "ann@example.com"),
        ("https://ann@host/", "https://ann@host/"),
    ],
)
def test_without_passwords(text: str, expected: str) -> None:
    assert environment.without_passwords(text) == expected


POSTGRESQL = {"engine": "django.db.backends.postgresql", "name": "shop", "host": "db", "port": ""}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"engine": "x.sqlite3", "name": "/srv/shop/shared/db.sqlite3"}, POSTGRESQL, True),
        (POSTGRESQL, {**POSTGRESQL, "host": "db2"}, True),
        (POSTGRESQL, POSTGRESQL, False),
        (POSTGRESQL, {**POSTGRESQL, "engine": "django.contrib.gis.db.backends.postgis"}, False),
        ({}, POSTGRESQL, False),
    ],
    ids=["from SQLite", "another host", "the same", "PostGIS", "not known"],
)
def test_another_database_is_told(before: dict[str, str], after: dict[str, str], told: bool) -> None:
    lines = config_shown.new_replacements({"databases": {"default": before}}, {"databases": {"default": after}})
    assert any("another one than the live release's" in line for line in lines) is told
    assert config_shown.new_replacements({}, {"databases": {"default": after}}) == []


def test_variables_of_further_databases() -> None:
    config = {"databases": {"reports": "postgresql"}, "env": {}, "secret_names": {"secrets": []}}
    found = config_shown.variables(config, {"REPORTS_DATABASE_URL": "postgresql://u:pw@h/x"}, {})
    assert found["REPORTS_DATABASE_URL"] == {
        "value": None,
        "secret": True,
        "origin": "from the site's key databases",
    }


@pytest.mark.parametrize(
    ("further", "before", "expected"),
    [
        ({"reports": {}}, {"engine": "postgresql", "name": "a"}, ["reports"]),
        ({"reports": {}}, {"engine": "postgresql", "name": "b"}, []),
        ({}, {"engine": "postgresql", "name": "a"}, []),  # the project's own business
    ],
)
def test_further_databases_that_are_elsewhere_now(
    further: dict[str, Any], before: dict[str, str], expected: list[str]
) -> None:
    after = {"further": further, "databases": {"reports": {"engine": "postgresql", "name": "b"}}}
    assert config_shown.elsewhere({"databases": {"reports": before}}, after) == expected
