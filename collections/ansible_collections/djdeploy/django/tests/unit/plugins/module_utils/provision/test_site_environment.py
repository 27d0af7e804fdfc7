# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables of a site: given ones win, made ones are kept, secrets are never shown."""

from __future__ import annotations

import json

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.provision import files, site_environment
from ansible_collections.djdeploy.django.plugins.module_utils.provision.site_environment import Given

KEY = "k" * 64


@pytest.mark.parametrize(
    ("site", "present", "expected"),
    [
        pytest.param(
            Given("shop", domains=("a.example", "b.example"), database_url="postgresql:///shop"),
            {"SECRET_KEY": KEY},
            {
                "ALLOWED_HOSTS": "a.example,b.example",
                "DEBUG": "False",
                "DATABASE_URL": "postgresql:///shop",
                "SECRET_KEY": KEY,
            },
            id="what follows from the site",
        ),
        pytest.param(
            Given("shop", {"DEBUG": "True", "X": "1"}, {"SECRET_KEY": "given"}, (), ""),
            {"SECRET_KEY": KEY, "OLD": "1"},
            {
                "ALLOWED_HOSTS": "",
                "DEBUG": "True",
                "X": "1",
                "SECRET_KEY": "given",
                "SECRET_KEY_FALLBACKS": f'["{KEY}"]',
            },
            id="what was given wins, what is not wanted goes",
        ),
        pytest.param(
            Given("shop", secrets={"SECRET_KEY": "given"}, secret_key_fallbacks=0),
            {"SECRET_KEY": KEY, "SECRET_KEY_FALLBACKS": '["older"]'},
            {"ALLOWED_HOSTS": "", "DEBUG": "False", "SECRET_KEY": "given"},
            id="no key before is believed",
        ),
        pytest.param(
            Given("shop", secrets={"SECRET_KEY": "c", "SECRET_KEY_FALLBACKS": "mine"}),
            {"SECRET_KEY": "b"},
            {"ALLOWED_HOSTS": "", "DEBUG": "False", "SECRET_KEY": "c", "SECRET_KEY_FALLBACKS": "mine"},
            id="fallbacks that are given",
        ),
        pytest.param(
            Given("shop", secret_files={"TLS": "text"}),
            {"SECRET_KEY": KEY},
            {
                "ALLOWED_HOSTS": "",
                "DEBUG": "False",
                "SECRET_KEY": KEY,
                "TLS_FILE": "/etc/djdeploy/sites/shop.secrets/TLS",
            },
            id="a secret in a file",
        ),
        pytest.param(
            Given("shop", {"REDIS_URL": "redis://given"}, redis_socket="/run/redis-shop/redis.sock"),
            {"SECRET_KEY": KEY},
            {
                "ALLOWED_HOSTS": "",
                "DEBUG": "False",
                "REDIS_URL": "redis://given",
                "CELERY_BROKER_URL": "redis+socket:///run/redis-shop/redis.sock?virtual_host=0",
                "SECRET_KEY": KEY,
            },
            id="a redis of its own",
        ),
    ],
)
def test_complete(site: Given, present: dict[str, str], expected: dict[str, str]) -> None:
    found = site_environment.complete(site, present)
    also = {f"DJANGO_{name}": expected[name] for name in ("ALLOWED_HOSTS", "DEBUG", "SECRET_KEY")}
    assert found == {**also, **expected}


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        pytest.param(
            Given("shop", {"DJANGO_ALLOWED_HOSTS": "a b"}, {}, ("a", "b")),
            {"ALLOWED_HOSTS": "a,b", "DJANGO_ALLOWED_HOSTS": "a b", "DJANGO_SECRET_KEY": KEY},
            id="what is given under that name stays",
        ),
        pytest.param(
            Given("shop", secrets={"DJANGO_SECRET_KEY": "given"}),
            {"SECRET_KEY": "given", "DJANGO_SECRET_KEY": "given", "SECRET_KEY_FALLBACKS": f'["{KEY}"]'},
            id="the key under its other name is the key",
        ),
        pytest.param(
            Given("shop", secrets={"DJANGO_SECRET_KEY": "a", "SECRET_KEY": "b"}),
            {"SECRET_KEY": "b", "DJANGO_SECRET_KEY": "a"},
            id="both are given",
        ),
        pytest.param(Given("shop", {"DEBUG": "True"}), {"DJANGO_DEBUG": "True"}, id="DEBUG of a staging"),
    ],
)
def test_complete_under_the_names_of_templates(site: Given, expected: dict[str, str]) -> None:
    assert expected.items() <= site_environment.complete(site, {"SECRET_KEY": KEY}).items()


def test_a_secret_key_is_made_once() -> None:
    first = site_environment.complete(Given("shop"), {})
    assert len(first["SECRET_KEY"]) == 64
    assert site_environment.complete(Given("shop"), first) == first


def test_a_written_file_reads_back_as_it_was_given() -> None:
    variables = {"A": 'quote " dollar $HOME\nsecond line', "B": ""}
    assert site_environment.read(site_environment.text(variables)) == variables


def test_diff_shows_names_and_no_secret() -> None:
    site = Given("shop", {"X": "visible"}, {"TOKEN": "hunter2"}, ("a.example",), "postgresql://shop:pw@db/shop")
    before = {"TOKEN": "hunter1", "X": "seen", "SECRET_KEY": KEY, "REMOVED": "was perhaps a secret"}
    after = site_environment.complete(site, before)
    shown = site_environment.diff("/etc/x.env", site, before, after)
    both = shown["before"] + shown["after"]
    assert not any(secret in both for secret in ("hunter", KEY, "pw@db", "was perhaps"))
    assert "X=seen\n" in shown["before"]
    assert "X=visible\n" in shown["after"]
    own = Given("shop", redis_socket="/run/redis-shop/redis.sock")
    given = {"REDIS_URL": "redis://:hunter2@db"}
    shown = site_environment.diff("/etc/x.env", own, given, site_environment.complete(own, given))
    assert "hunter2" not in shown["before"], "what was a secret before is none to show now"


def test_diff_says_that_a_secret_is_another_one() -> None:
    site = Given("shop", {}, {"TOKEN": "hunter2"})
    before = {"TOKEN": "hunter1", "SECRET_KEY": KEY}
    after = site_environment.complete(site, before)
    shown = site_environment.diff("/etc/x.env", site, before, after)
    assert "TOKEN=******** (another one)\n" in shown["after"]
    assert "SECRET_KEY=********\n" in shown["after"]


def test_files_of_secrets_and_of_the_project() -> None:
    site = Given("shop", secret_files={"TLS": "text"}, project_files={"shop/local_settings.py": "X = 1\n"})
    found = {item.dest: item for item in site_environment.wanted_files(site, ["TLS", "GONE"])}
    folder = "/etc/djdeploy/sites/shop.secrets"
    assert (found[folder].state, found[folder].group, found[folder].mode) == ("directory", "shop", 0o750)
    assert (found[f"{folder}/TLS"].content, found[f"{folder}/TLS"].group, found[f"{folder}/TLS"].mode) == (
        "text",
        "shop",
        0o640,
    )
    assert found[f"{folder}/GONE"].state == "absent"
    laid = found["/etc/djdeploy/sites/shop.files"]
    assert (laid.mode, laid.owner, laid.group) == (0o600, "root", "root")
    assert json.loads(laid.content) == {"shop/local_settings.py": "X = 1\n"}


def test_a_site_without_files_has_none() -> None:
    wanted = site_environment.wanted_files(Given("shop"), [])
    folder = "/etc/djdeploy/sites"
    absent = [(f"{folder}/shop.build.env", "absent"), (f"{folder}/shop.files", "absent")]
    assert [(item.dest, item.state) for item in wanted] == absent
    assert files.plan(wanted, {}) == []


@pytest.mark.parametrize(
    ("indexes", "secrets", "expected"),
    [
        ({}, {}, {}),
        ({}, {"NPM_TOKEN": "t"}, {"NPM_TOKEN": "t"}),
        (
            {"default": "https://a:b@x/simple"},
            {},
            {"UV_DEFAULT_INDEX": "https://a:b@x/simple", "PIP_INDEX_URL": "https://a:b@x/simple"},
        ),
        (
            {"one": "https://x/1", "two": "https://x/2"},
            {"PIP_EXTRA_INDEX_URL": "said"},
            {"UV_INDEX": "one=https://x/1 two=https://x/2", "PIP_EXTRA_INDEX_URL": "said"},
        ),
    ],
)
def test_build_variables(indexes: dict[str, str], secrets: dict[str, str], expected: dict[str, str]) -> None:
    assert site_environment.build_variables(Given("shop", package_indexes=indexes, build_secrets=secrets)) == expected


def test_what_builds_get_is_a_file_of_roots() -> None:
    (wanted, _files) = site_environment.wanted_files(Given("shop", build_secrets={"NPM_TOKEN": "a$b"}), [])
    assert (wanted.dest, wanted.mode, wanted.owner) == ("/etc/djdeploy/sites/shop.build.env", 0o600, "root")
    assert site_environment.read(wanted.content) == {"NPM_TOKEN": "a$b"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (files.Found(), ("", "********\n")),
        (
            files.Found("file", b"hunter1", owner="root", group="root", mode=0o600),
            ("********\n", "******** (another one)\n"),
        ),
    ],
    ids=["new", "changed"],
)
def test_diff_of_a_file_never_shows_it(found: files.Found, expected: tuple[str, str]) -> None:
    (change,) = files.plan([files.Wanted("/etc/x.files", content="hunter2", mode=0o600)], {"/etc/x.files": found})
    shown = site_environment.diff_of_file(change)
    assert (shown["before"], shown["after"]) == expected


def test_the_urls_of_further_databases_are_secrets() -> None:
    site = Given(
        "shop", env={"OLD_DATABASE_URL": "mysql://u:hunter2@h/x"}, database_urls={"R_DATABASE_URL": "pg://u:pw@h"}
    )
    after = site_environment.complete(site, {})
    assert after["R_DATABASE_URL"] == "pg://u:pw@h"
    shown = site_environment.diff("/etc/x.env", site, {}, after)["after"]
    assert "hunter2" not in shown and "pw@h" not in shown and "R_DATABASE_URL=********" in shown
    given = Given("shop", secrets={"R_DATABASE_URL": "elsewhere"}, database_urls={"R_DATABASE_URL": "here"})
    assert site_environment.complete(given, {})["R_DATABASE_URL"] == "elsewhere"
