# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site may and may not say, as tables of cases."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema
from ansible_collections.djdeploy.django.plugins.module_utils.engine.site_values import check_calendar, check_site_name


def public_key(kind: str = "ssh-ed25519", *, says: str | None = None, cut: int = 0) -> str:
    fields = [(says or kind).encode(), b"x" * 32]
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return f"{kind} {base64.b64encode(blob[: len(blob) - cut]).decode()}"


PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----\n"


def problems_of(host_sites: Any = None, names: Any = None, **site: Any) -> list[schema.Problem]:
    full = {"domains": ["shop.example.com"], **site}
    return schema.validate_sites({"shop": full}, host_sites, names)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shop", "s", "my-shop", "my_shop2", "a" * 24, "shop-builder", "builder"])
def test_site_name_allowed(name: str) -> None:
    assert check_site_name(name) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my shop", "must begin with a-z"),
        ("../etc", "must begin with a-z"),
        ("shop/..", "hold only"),
        ("a" * 200, "200 characters"),
        ("a" * 25, "at most 24"),
        ("shop%i", "hold only"),
        ("shop@1", "hold only"),
        ("Shop", "must begin with a-z"),
        ("2shop", "must begin with a-z"),
        ("", "must begin with a-z"),
        ("shop\n", "hold only"),
        ("shöp", "hold only"),
        ("shop-", "must not end in '-'"),
        ("shop-build", "build users"),
        ("root", "system account"),
        ("www-data", "system account"),
        ("man", "system account"),
        ("systemd-network", "system account"),
        ("postgres", "system account"),
        ("nginx", "system account"),
        ("git", "system account"),
        ("template1", "reserved by PostgreSQL"),
        ("replication", "reserved by PostgreSQL"),
        ("pg_shop", "reserved by PostgreSQL"),
        ("deployer", "its unit djdeploy-deployer"),
        ("recover", "its unit djdeploy-recover"),
        ("pythons", "its directory /var/lib/djdeploy/pythons"),
        ("shop--eu", "must not hold '--'"),
        (2024, "a whole number, not text"),
        (True, "true or false, not text"),
        (None, "empty, not text"),
    ],
)
def test_site_name_refused(name: object, says: str) -> None:
    (problem,) = check_site_name(name)
    assert says in problem
    assert "\n" not in problem
    assert len(problem) < 130


def test_bad_name_comes_with_a_proposal() -> None:
    (problem,) = schema.validate_sites({"My Shop": {"domains": ["shop.example.com"]}})
    assert problem.path == ("djdeploy_sites", "My Shop")
    assert problem.hint == "for example 'my-shop'"


# --- shape ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sites", "says", "hint"),
    [
        ([{"name": "shop", "domains": ["a.example.com"]}], "djdeploy_sites is a list, not a mapping", "'shop:' below"),
        ("shop", "djdeploy_sites is text, not a mapping", "write 'shop:' below"),
        (None, "djdeploy_sites is empty, not a mapping", "write 'shop:' below"),
        ({"shop": None}, "site 'shop' is empty, not a mapping", "domains: [shop.example.com]"),
        ({"shop": "shop.example.com"}, "site 'shop' is text, not a mapping", "domains: [shop.example.com]"),
        ({"shop": ["shop.example.com"]}, "site 'shop' is a list, not a mapping", "domains: [shop.example.com]"),
        ({"shop": {}}, "site 'shop' has no domain", "write domains: [shop.example.com]"),
        ({"shop": {"domains": []}}, "site 'shop' has no domain", "write domains: [shop.example.com]"),
        ({"shop": {"domains": None}}, "site 'shop' has no domain", "write domains: [shop.example.com]"),
        ({"shop": {"domain": ["a.example.com"]}}, "unknown key 'domain' in site 'shop'", "did you mean 'domains'?"),
    ],
)
def test_shape_refused(sites: object, says: str, hint: str) -> None:
    (problem,) = schema.validate_sites(sites)
    assert says in problem.message
    assert hint in problem.hint


def test_no_site_is_no_problem() -> None:
    assert schema.validate_sites({}) == []


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"brnch": "main"}, "unknown key 'brnch' in site 'shop'", "did you mean 'branch'?"),
        ({"deploy-keys": []}, "unknown key 'deploy-keys' in site 'shop'", "did you mean 'deploy_keys'?"),
        ({"Branch": "main"}, "unknown key 'Branch' in site 'shop'", "did you mean 'branch'?"),
        ({"workers": 3}, "unknown key 'workers' in site 'shop'", "did you mean 'web.workers'?"),
        ({"timeout": 3}, "unknown key 'timeout' in site 'shop'", "did you mean 'web.timeout' or 'health.timeout'?"),
        ({"web": {"wrkers": 3}}, "unknown key 'wrkers' in 'web' of site 'shop'", "did you mean 'workers'?"),
        ({"web": {"branch": "x"}}, "unknown key 'branch' in 'web' of site 'shop'", "indent it less"),
        ({"zzz": 1}, "unknown key 'zzz' in site 'shop'", "docs/variables.md has all keys of a site"),
        ({"snapshots": {"zzz": 1}}, "unknown key 'zzz' in 'snapshots' of site 'shop'", "known: enabled, keep"),
        ({7: 1}, "unknown key '7' in site 'shop'", "docs/variables.md has all keys of a site"),
    ],
)
def test_unknown_key(given: dict[Any, Any], message: str, hint: str) -> None:
    (problem,) = schema.validate_sites({"shop": {"domains": ["shop.example.com"], **given}})
    assert problem.message == message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("given", "path", "says", "hint"),
    [
        ({"domains": "a.example.com"}, ("domains",), "domains is text, not a list", "write domains: [a.example.com]"),
        ({"domains": "a.de b.de"}, ("domains",), "domains is text", "write domains: [a.de, b.de]"),
        ({"domains": [["a.de"]]}, ("domains", 0), "item 1 of domains is a list, not text", ""),
        ({"packages": "gettext"}, ("packages",), "packages is text, not a list", "write packages: [gettext]"),
        ({"branch": 1.0}, ("branch",), "branch is a number, not text", 'quote it: branch: "1.0"'),
        ({"python": 3.12}, ("python",), "python is a number, not text", 'quote it: python: "3.12"'),
        ({"revision": 1234567}, ("revision",), "revision is a whole number, not text", 'quote it: revision: "1234567"'),
        ({"force_push": "yes"}, ("force_push",), "force_push is text, not true or false", "write force_push: true"),
        (
            {"force_push": 1},
            ("force_push",),
            "force_push is a whole number, not true or false",
            "write force_push: true",
        ),
        ({"keep_releases": True}, ("keep_releases",), "keep_releases is true or false, not a whole number", ""),
        ({"keep_releases": "5"}, ("keep_releases",), "keep_releases is text, not a whole number", "keep_releases: 5"),
        ({"keep_releases": 1}, ("keep_releases",), "keep_releases is 1; the least is 2", ""),
        ({"web": 4}, ("web",), "web is a whole number, not a mapping", "indented below web:"),
        ({"web": {"workers": 0}}, ("web", "workers"), "web.workers is 0; the least is 1", ""),
        ({"web": {"threads": 2.5}}, ("web", "threads"), "web.threads is a number, not a whole number", ""),
        ({"env": ["A=1"]}, ("env",), "env is a list, not a mapping of names to text", "indented below env:"),
        ({"database": "postgres"}, ("database",), "database is 'postgres'", "did you mean 'postgresql'?"),
        ({"client_max_body_size": 20}, ("client_max_body_size",), "is a whole number, not text", "quote it"),
    ],
)
def test_wrong_type_or_value(given: dict[str, Any], path: tuple[Any, ...], says: str, hint: str) -> None:
    (problem,) = problems_of(**given)
    assert problem.path == ("djdeploy_sites", "shop", *path)
    assert problem.message.startswith("site 'shop': ")
    assert says in problem.message
    assert hint in problem.hint


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("domains", ["shop.example.com", "www.shop.example.com", "localhost", "Shop2.Example.COM", "192.0.2.7"]),
        ("domains", ["xn--bcher-kva.example", "1.example.com", "a-b.example.com"]),
        ("branch", "main"),
        ("branch", "release/1.4"),
        ("deploy_keys", [public_key(), f"{public_key('ssh-rsa')} me@laptop", public_key("sk-ssh-ed25519@openssh.com")]),
        ("hosts", ["web1.example.com", "web"]),
        ("repository", "https://git.example.com/shop.git"),
        ("repository", "ssh://git@git.example.com:2222/shop.git"),
        ("repository", "git@git.example.com:team/shop.git"),
        ("repository", "/srv/mirror/shop.git"),
        ("repository", "file:///srv/mirror/shop.git"),
        ("repository", None),
        ("revision", "v1.4.0"),
        ("revision", "origin/main"),
        ("python", "python3"),
        ("python", "python3.13"),
        ("python", "3.13"),
        ("python", "/opt/python/bin/python3"),
        ("project_path", "backend"),
        ("project_path", "."),
        ("requirements", "requirements/production.txt"),
        ("settings", "shop.settings.production"),
        ("application", "shop.wsgi:application"),
        ("env", {"EMAIL_HOST": "mail.example.com", "_x": "", "lower_case1": 'a\nb"$`\\é'}),
        ("env", None),
        ("secrets", {"SECRET_KEY": "x", "DATABASE_URL": "postgresql://"}),
        ("database", "project"),
        ("packages", ["libpq5", "g++", "libvips42", "python3.11-dev"]),
        ("web", {"workers": None, "threads": 1, "max_requests": 0, "preload": True, "memory_max": "512M"}),
        ("web", {"memory_max": "1.5G"}),
        ("web", {"memory_max": "50%"}),
        ("web", None),
        ("health", {"path": "/healthz/?full=1", "statuses": [200, 301], "timeout": 5}),
        ("media", {"served_by": "application"}),
        ("media", {"served_by": None, "inline": ["svg", "HTML", "image/svg+xml", "application/xhtml+xml"]}),
        ("client_max_body_size", "0"),
        ("client_max_body_size", "1G"),
        ("keep_releases", 2),
    ],
)
def test_value_allowed(key: str, value: Any) -> None:
    assert problems_of(**{key: value}) == []


@pytest.mark.parametrize(
    ("value", "says", "hint"),
    [
        ("https://shop.example.com", "a scheme", "write only the name: shop.example.com"),
        ("https://shop.example.com/path", "a scheme", "write only the name: shop.example.com"),
        ("shop.example.com/", "a path", "write only the name: shop.example.com"),
        ("shop.example.com:8080", "a port", "write only the name: shop.example.com"),
        ("*.example.com", "a wildcard", "write each name on its own"),
        (".example.com", "a wildcard", "write each name on its own"),
        ("shop.example.com.", "ends in a dot", "write only the name: shop.example.com"),
        (" shop.example.com", "blank", "write only the name: shop.example.com"),
        ("bücher.example", "not ASCII", "xn--bcher-kva.example"),
        ("my_shop.example.com", "not a valid domain name", "a-z, 0-9 and '-'"),
        ("-shop.example.com", "not a valid domain name", ""),
        ("shop..example.com", "not a valid domain name", ""),
        (f"{'a' * 64}.example.com", "not a valid domain name", ""),
        (".".join(["a" * 60] * 5), "longer than 253", ""),
        ("shop.example.com; include /etc/passwd", "a path", ""),
        ("shop example.com", "not a valid domain name", ""),
        ("192.0.2.700", "neither a domain name nor an IPv4 address", ""),
        ("", "not a valid domain name", ""),
    ],
)
def test_domain_refused(value: str, says: str, hint: str) -> None:
    (problem,) = problems_of(domains=[value])
    assert problem.path == ("djdeploy_sites", "shop", "domains", 0)
    assert says in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (PRIVATE_KEY, "is a PRIVATE key"),
        ("-----BEGIN RSA PRIVATE KEY-----", "is a PRIVATE key"),
        (f'command="/bin/sh" {public_key()}', "has options in front of the key"),
        (f"no-pty {public_key()}", "has options in front of the key"),
        (f"{public_key()} a\n{public_key()} b", "more than one line"),
        (f"{public_key()} a\x00b", "control characters"),
        ("~/.ssh/id_ed25519.pub", "the name of a file"),
        ("ssh-ed25519", "but no key"),
        ("ssh-ed25519 AAAA...", "not valid base64"),
        (public_key(cut=3), "cut off"),
        (public_key(says="ssh-rsa"), "holds another type"),
        ("ssh-dss AAAA", "DSA"),
        ("hello", "does not begin with the type"),
        ("", "is empty"),
        (f"{public_key('ssh-ed25519-cert-v01@openssh.com')}", "does not begin with the type"),
    ],
)
def test_deploy_key_refused(value: str, says: str) -> None:
    (problem,) = problems_of(deploy_keys=[public_key(), value])
    assert problem.path == ("djdeploy_sites", "shop", "deploy_keys", 1)
    assert problem.message.startswith("site 'shop': item 2 of deploy_keys ")
    assert says in problem.message
    assert "b3BlbnNz" not in problem.message + problem.hint
    assert "\n" not in problem.message + problem.hint


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("branch", "refs/heads/main", "is a full ref"),
        ("branch", "my branch", "not a name git allows"),
        ("branch", "a..b", "not a name git allows"),
        ("branch", "-x", "not a name git allows"),
        ("branch", "x.lock", "not a name git allows"),
        ("branch", "HEAD", "not a name git allows"),
        ("branch", "", "not a name git allows"),
        ("revision", "--upload-pack=x", "is not a commit, tag or branch"),
        ("revision", "a b", "is not a commit, tag or branch"),
        ("repository", "https://me:hunter2@git.example.com/shop.git", "holds a user name, password or token"),
        ("repository", "https://ghp_token@git.example.com/shop.git", "holds a user name, password or token"),
        ("repository", "ssh://git:hunter2@git.example.com/shop.git", "holds a user name, password or token"),
        ("repository", "ext::sh -c id", "is not a URL git can fetch from"),
        ("repository", "ext::sh", "uses a git remote helper"),
        ("repository", "--upload-pack=x", "is not a URL git can fetch from"),
        ("repository", "shop.git", "is not a URL git can fetch from"),
        ("python", "python2", "is not a Python"),
        ("python", "3.12.4", "names a patch release"),
        ("python", "pypy", "is not a Python"),
        ("project_path", "/srv/shop", "is not relative"),
        ("project_path", "../shop", "leaves the project's tree"),
        ("project_path", "a/../../b", "leaves the project's tree"),
        ("project_path", "~/shop", "is not relative"),
        ("requirements", "-r x", "characters a path here cannot have"),
        ("requirements", "a\nb", "characters a path here cannot have"),
        ("settings", "shop/settings.py", "is not a Python module"),
        ("settings", "shop.settings.", "is not a Python module"),
        ("application", "shop.wsgi", "is not an application"),
        ("application", "shop.wsgi:application()", "is not an application"),
        ("packages", ["libpq5=15"], "is not the name of a Debian package"),
        ("packages", ["-y"], "is not the name of a Debian package"),
        ("hosts", ["web*"], "is not the name of a host or group"),
        ("client_max_body_size", "20", "is not a size nginx knows"),
        ("client_max_body_size", "20mb", "is not a size nginx knows"),
        ("client_max_body_size", "20m; }", "is not a size nginx knows"),
    ],
)
def test_value_refused(key: str, value: Any, says: str) -> None:
    (problem,) = problems_of(**{key: value})
    assert says in problem.message
    assert problem.hint
    assert "hunter2" not in problem.message + problem.hint
    assert "ghp_token" not in problem.message + problem.hint


@pytest.mark.parametrize(
    ("section", "key", "value", "says"),
    [
        ("health", "path", "healthz", "does not begin with one '/'"),
        ("health", "path", "//evil.example.com", "does not begin with one '/'"),
        ("health", "path", "/a b", "cannot stand in a request"),
        ("health", "path", "/ä", "cannot stand in a request"),
        ("health", "path", "/#top", "cannot stand in a request"),
        ("health", "statuses", 200, "health.statuses is a whole number, not a list"),
        ("health", "statuses", ["200"], "item 1 of health.statuses is text, not a whole number"),
        ("health", "statuses", [99], "99 is not an HTTP status"),
        ("health", "timeout", 0, "the least is 1"),
        ("health", "answer_timeout", 0, "the least is 1"),
        ("health", "answer_timeout", "10s", "health.answer_timeout is text, not a whole number"),
        ("media", "served_by", "django", "media.served_by is 'django'"),
        ("media", "inline", "svg", "media.inline is text, not a list"),
        ("media", "inline", [".svg"], "'.svg' is no extension and no media type"),
        ("media", "inline", ["image/*"], "is no extension and no media type"),
        ("media", "inline", ['svg" ""; }'], "is no extension and no media type"),
        ("media", "inline", ["svg\n"], "is no extension and no media type"),
        ("web", "memory_max", "512", "is not an amount of memory"),
        ("web", "memory_max", "512m", "is not an amount of memory"),
        ("web", "memory_max", "512MB", "is not an amount of memory"),
        ("web", "preload", "true", "web.preload is text, not true or false"),
    ],
)
def test_value_in_section_refused(section: str, key: str, value: Any, says: str) -> None:
    (problem,) = problems_of(**{section: {key: value}})
    assert problem.path[:4] == ("djdeploy_sites", "shop", section, key)
    assert says in problem.message


@pytest.mark.parametrize("where", ["env", "secrets"])
@pytest.mark.parametrize(
    ("name", "value", "says", "hint"),
    [
        ("DJANGO_SETTINGS_MODULE", "x", "must not set DJANGO_SETTINGS_MODULE", "'settings:'"),
        ("PYTHONPATH", "x", "must not set PYTHONPATH", "project_path"),
        ("DJDEPLOY_SITE", "x", "must not set DJDEPLOY_SITE", "djdeploy's own"),
        ("HOME", "x", "must not set HOME", "shared"),
        ("LISTEN_FDS", "x", "must not set LISTEN_FDS", "systemd"),
        ("MY-VAR", "x", "has the name 'MY-VAR'", "A-Z"),
        ("1A", "x", "has the name '1A'", "A-Z"),
        ("A B", "x", "has the name 'A B'", "A-Z"),
        ("", "x", "has the name ''", "A-Z"),
        (1, "x", "a whole number", "quote"),
        ("A", 1234567, "A is a number, not text", "quote it"),
        ("A", 1.5, "A is a number, not text", "quote it"),
        ("A", True, "A is true or false, not text", 'A: "True"'),
        ("A", None, "A is empty", 'A: ""'),
        ("A", ["x"], "A is a list, not text", ""),
        ("A", {"x": "y"}, "A is a mapping, not text", ""),
        ("A", "hunter2\0", "A holds a NUL character", "base64"),
        ("A", "hunter2\ufffe", "A holds a code point that is no character", "base64"),
        ("A", "\udc80", "cannot be written as UTF-8", "base64"),
        ("A", "hunter2" * 20_000, "has 140002 bytes", "file"),
    ],
)
def test_environment_refused(where: str, name: Any, value: Any, says: str, hint: str) -> None:
    (problem,) = problems_of(**{where: {name: value}})
    assert problem.path == ("djdeploy_sites", "shop", where, name)
    assert says in problem.message
    assert hint in problem.hint
    assert "hunter2" not in problem.message + problem.hint
    assert "1234567" not in problem.message + problem.hint


def test_secret_key_does_not_belong_in_env() -> None:
    (problem,) = problems_of(env={"SECRET_KEY": "hunter2"})
    assert "move it to 'secrets:'" in problem.hint
    assert "hunter2" not in problem.message


def test_one_name_in_env_and_secrets() -> None:
    (problem,) = problems_of(env={"A": "1"}, secrets={"A": "2"})
    assert problem.message == "site 'shop': A is both in env and in secrets"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"database": "external"}, "site 'shop': database is external, and secrets holds no DATABASE_URL"),
        (
            {"database": "external", "env": {"DATABASE_URL": "x"}},
            "site 'shop': database is external, and secrets holds no DATABASE_URL",
        ),
        ({"database": "external", "secrets": {"DATABASE_URL": "postgresql://u:hunter2@db/x"}}, ""),
        ({"database": "postgres"}, "site 'shop': database is 'postgres'"),
        ({"database": "sqlite"}, ""),
        ({"database": "mariadb"}, ""),
    ],
)
def test_database(given: dict[str, Any], message: str) -> None:
    assert [problem.message for problem in problems_of(**given)] == ([message] if message else [])


# --- several sites --------------------------------------------------------------------------------


CLAIMED = "sites 'one' and 'two' both claim the domain a.example.com"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (["a.example.com"], ["a.example.com"], CLAIMED),
        (
            ["a.example.com"],
            ["b.example.com", "A.Example.com"],
            CLAIMED,
        ),
        (["a.example.com", "a.example.com"], ["b.example.com"], "site 'one' lists the domain a.example.com twice"),
        (["a.example.com"], ["www.a.example.com"], None),
    ],
)
def test_shared_domains(one: list[str], other: list[str], message: str | None) -> None:
    problems = schema.validate_sites({"one": {"domains": one}, "two": {"domains": other}})
    assert [problem.message for problem in problems] == ([message] if message else [])


def test_all_problems_are_named_at_once() -> None:
    problems = schema.validate_sites(
        {"a b": {"domains": "x"}, "shop": {"brnch": 1, "keep_releases": 0}, "blog": None},
    )
    assert len(problems) == 6


def test_hosts_are_compared_with_the_inventory() -> None:
    names = ["web1.example.com", "web"]
    assert problems_of(hosts=["web1.example.com", "web"], names=names) == []
    (problem,) = problems_of(hosts=["web", "web2.example.com"], names=names)
    assert problem.path == ("djdeploy_sites", "shop", "hosts", 1)
    assert problem.hint == "did you mean 'web1.example.com'?"


# --- what one host says differently -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlays", "path", "says"),
    [
        ({"shp": {}}, ("shp",), "djdeploy_host_sites of host web1 has an unknown site 'shp'"),
        (
            {"shop": {"web": {"wrkers": 8}}},
            ("shop", "web", "wrkers"),
            "unknown key 'wrkers' in 'web' of site 'shop' of host",
        ),
        (
            {"shop": {"web": {"workers": "8"}}},
            ("shop", "web", "workers"),
            "site 'shop' of host web1: web.workers is text",
        ),
        ({"shop": {"hosts": ["web1"]}}, ("shop", "hosts"), "hosts cannot differ by host"),
        ({"shop": {"branch": "next"}}, ("shop", "branch"), "branch cannot differ by host"),
        ({"shop": {"env": {"TOKEN": "x"}}}, ("shop", "env", "TOKEN"), "TOKEN is both in env and in secrets"),
        ({"shop": {"domains": ["blog.example.com"]}}, ("blog", "domains", 0), "both claim the domain blog.example.com"),
        ({"shop": []}, ("shop",), "site 'shop' of host web1 is a list, not a mapping"),
        ([], (), "djdeploy_host_sites of host web1 is a list"),
    ],
)
def test_host_sites_refused(overlays: Any, path: tuple[Any, ...], says: str) -> None:
    sites = {
        "shop": {"domains": ["shop.example.com"], "secrets": {"TOKEN": "y"}},
        "blog": {"domains": ["blog.example.com"]},
    }
    (problem,) = schema.validate_sites(sites, {"web1": overlays, "web2": {}})
    assert (problem.host, problem.path) == ("web1", ("djdeploy_host_sites", *path))
    assert says in problem.message


@pytest.mark.parametrize(
    "overlays",
    [
        None,
        {},
        {"shop": None},
        {"shop": {}},
        {"shop": {"web": {"workers": 8}, "env": None}},
        {"shop": {"domains": ["b.de"]}},
    ],
)
def test_host_sites_allowed(overlays: Any) -> None:
    assert problems_of(host_sites={"web1": overlays}) == []


# --- resolution -----------------------------------------------------------------------------------


def test_resolve_fills_in_every_key() -> None:
    resolved = schema.resolve("shop", {"domains": ["Shop.example.com"]})
    assert list(resolved) == ["name", *(key.name for key in schema.SITE_KEYS)]
    assert list(resolved["web"]) == [
        "server",
        "workers",
        "threads",
        "timeout",
        "graceful_timeout",
        "websocket_timeout",
        "max_requests",
        "preload",
        "memory_max",
    ]
    assert list(resolved["health"]) == ["path", "statuses", "timeout", "answer_timeout", "prove_for", "watch"]
    assert resolved["name"] == "shop"
    assert resolved["domains"] == ["shop.example.com"]
    assert json.loads(json.dumps(resolved)) == resolved


@pytest.mark.parametrize(
    ("site", "overlay", "key", "expected"),
    [
        ({"branch": None}, {}, "branch", "main"),
        ({"python": "3.13"}, {}, "python", "python3.13"),
        ({"deploy_keys": ["ssh-ed25519  AAAA\tme\n"]}, {}, "deploy_keys", ["ssh-ed25519 AAAA me"]),
        ({"env": {"A": "1", "B": "2"}}, {"env": {"B": "3"}}, "env", {"A": "1", "B": "3"}),
        ({"env": {"A": "1"}}, {"env": None}, "env", {"A": "1"}),
        ({"env": None}, {"env": {"A": "1"}}, "env", {"A": "1"}),
        ({"packages": ["a1"]}, {"packages": ["b1"]}, "packages", ["b1"]),
        ({"packages": ["a1"]}, {"packages": None}, "packages", ["a1"]),
        ({"settings": "a.b"}, {"settings": None}, "settings", None),
        ({"keep_releases": 9}, {}, "keep_releases", 9),
    ],
)
def test_resolve_lays_the_overlay_over(site: Any, overlay: Any, key: str, expected: Any) -> None:
    assert schema.resolve("shop", {"domains": ["a.de"], **site}, overlay)[key] == expected


def test_resolve_merges_sections_key_by_key_and_leaves_its_input_alone() -> None:
    site = {"domains": ["a.de"], "web": {"threads": 8, "workers": 2}}
    before = copy.deepcopy(site)
    web = schema.resolve("shop", site, {"web": {"workers": 6}})["web"]
    assert (web["threads"], web["workers"], web["timeout"]) == (8, 6, 30)
    resolved = schema.resolve("shop", site)
    resolved["env"]["A"] = "1"
    resolved["packages"].append("x")
    assert site == before
    assert schema.resolve("shop", site)["env"] == {}
    assert schema.resolve("shop", site)["packages"] == []


@pytest.mark.parametrize(
    ("hosts", "served"),
    [
        ([], True),
        (None, True),
        (["web1"], True),
        (["web"], True),
        (["all"], True),
        (["web2"], False),
        (["web2", "berlin"], True),
    ],
)
def test_resolve_for_host_honours_hosts(hosts: Any, served: bool) -> None:
    sites = {"shop": {"domains": ["a.de"], "hosts": hosts}, "blog": {"domains": ["b.de"]}}
    resolved = schema.resolve_for_host(sites, {"blog": {"keep_releases": 3}}, "web1", ["web", "berlin"])
    assert list(resolved) == (["shop", "blog"] if served else ["blog"])
    assert resolved["blog"]["keep_releases"] == 3


def test_without_secrets() -> None:
    resolved = schema.resolve("shop", {"domains": ["a.de"], "secrets": {"A": "hunter2"}})
    assert "hunter2" not in json.dumps(schema.without_secrets(resolved))
    record = schema.without_secrets(resolved)
    others = {"secret_files", "project_files", "build_secrets", "package_indexes"}
    assert set(resolved) - set(record) == {"secrets", *others}
    assert record["secret_names"] == {"secrets": ["A"], **{name: [] for name in others}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("secret_files", {"A-B": "x"}, "has the name 'A-B'"),
        ("secret_files", {"HOME": "x"}, "must not set HOME"),
        ("secret_files", {"A": None}, "A is empty, not text"),
        ("project_files", {"../x": "y"}, "leaves the project's tree"),
        ("project_files", {"/etc/x": "y"}, "is not relative"),
        ("project_files", {".git/hooks/x": "y"}, "is no plain path of a file"),
        ("project_files", {"a//b": "y"}, "is no plain path of a file"),
        ("project_files", {"a/": "y"}, "is no plain path of a file"),
        ("project_files", {"./a": "y"}, "is no plain path of a file"),
        ("project_files", {".env": 1}, ".env is a whole number, not text"),
        ("project_files", {".env": "\ud800"}, "cannot be written as UTF-8"),
        ("email", {"admins": ["ann"]}, "'ann' is no e-mail address"),
        ("email", {"admins": ["Ann <ann@example.com"]}, "is no e-mail address"),
        ("email", {"from_address": "a@b\nBcc: c@d"}, "is no e-mail address"),
        ("email", {"subject_prefix": "a\nb"}, "holds a line break"),
    ],
)
def test_files_and_email_are_refused(key: str, value: object, message: str) -> None:
    problems = schema.validate_sites({"shop": {"domains": ["a.de"], key: value}}, {})
    assert len(problems) == 1 and message in problems[0].message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("secret_files", {"TLS_KEY": "-----BEGIN\n", "EMPTY": ""}),
        ("project_files", {".env": "A=1\n", "shop/local_settings.py": "\ufffe", "a b/ü.txt": ""}),
        ("email", {"admins": ["ann@example.com", "Ann B. <ann@example.com>"], "from_address": "shop@example.com"}),
    ],
)
def test_files_and_email_are_taken(key: str, value: object) -> None:
    assert schema.validate_sites({"shop": {"domains": ["a.de"], key: value}}, {}) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"env": {"A": "x"}}, "A is in env, and secret_files has A"),
        ({"secrets": {"A": "x"}}, "A is in secrets, and secret_files has A"),
        ({"env": {"A_FILE": "x"}}, "A_FILE is in env, and secret_files has A"),
    ],
)
def test_a_variable_given_twice(more: dict[str, Any], message: str) -> None:
    problems = schema.validate_sites({"shop": {"domains": ["a.de"], "secret_files": {"A": "y"}, **more}}, {})
    assert len(problems) == 1 and message in problems[0].message


# --- the schema itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [*schema.SITE_KEYS, *(sub for key in schema.SITE_KEYS for sub in key.keys)], ids=lambda k: k.name
)
def test_every_key_is_described(key: schema.Key) -> None:
    assert key.description.endswith(".")
    assert "\n" not in key.description
    assert key.kind in schema.KINDS
    assert key.kind == "section" or key.example is not None
    assert key.required or key.kind == "section" or key.why


@pytest.mark.parametrize(
    "key",
    [key for key in schema.SITE_KEYS if key.kind != "section" and key.name != "deploy_keys"],
    ids=lambda k: k.name,
)
def test_examples_and_defaults_are_valid(key: schema.Key) -> None:
    for value in (key.example, key.default):
        problems = list(schema.check_value(key, value, (key.name,)))
        assert problems == []


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, None),
        ({"djdeploy_ca_certificates": ["files/ca.pem"], "djdeploy_database_host": "db1"}, None),
        ({"djdeploy_ca_certificates": "files/ca.pem"}, "djdeploy_ca_certificates is text, not a list"),
        ({"djdeploy_database_host": ["db1"]}, "djdeploy_database_host is a list, not text"),
    ],
)
def test_inventory_variables(variables: dict[str, Any], says: str | None) -> None:
    messages = [problem.message for problem in schema.validate_inventory_variables(variables)]
    assert messages == ([says] if says else [])


# --- tables: names of the user's own to sections ----------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"processes": {"worker": "celery -A shop worker", "old": False, "null": None}}, None),
        ({"processes": {"worker": {"command": "celery worker", "count": 4, "hosts": "all"}}}, None),
        ({"processes": ["worker"]}, "processes is a list, not a mapping of names to sections"),
        ({"processes": {"worker": 5}}, "processes.worker is a whole number, not a mapping"),
        ({"processes": {"worker": {"count": 2}}}, "processes.worker has no command"),
        ({"processes": {"worker": {"command": "x", "cuont": 2}}}, "unknown key 'cuont' in 'processes.worker' of"),
        ({"processes": {"worker": {"command": "x", "count": 0}}}, "processes.worker.count is 0; the least is 1"),
        ({"processes": {"web": "gunicorn"}}, "processes.web is a name of the Procfile"),
        ({"processes": {"my worker": "x"}}, "processes.my worker has the name 'my worker'"),
        ({"processes": {"work--er": "x"}}, "processes.work--er has the name 'work--er', which holds '--'"),
        ({"processes": {"build": "npm run watch"}}, None),
        ({"processes": {"worker": ""}}, "processes.worker.command is empty"),
        ({"schedule": {"clean": {"command": "x", "at": "daily"}}}, None),
        (
            {"schedule": {"build": {"command": "x", "at": "daily"}}},
            "would be djdeploy-<site>.build, which is",
        ),
        ({"schedule": {"job": {"command": "x", "at": "daily"}}}, "schedule.job has the name 'job'"),
        (
            {"schedule": {"a--b": {"command": "x", "at": "daily"}}},
            "schedule.a--b has the name 'a--b', which",
        ),
        ({"schedule": {"clean": {"command": "x"}}}, "schedule.clean has no at"),
        ({"schedule": {"clean": "x"}}, "schedule.clean is text, not a mapping"),
        ({"schedule": {"clean": {"command": "x", "at": "0 3 * * *"}}}, "is cron's way to say it"),
        ({"schedule": {"clean": {"command": "x", "at": "every 5 minutes"}}}, "is no time systemd knows"),
        ({"schedule": {"clean": {"command": "x", "at": "daily", "concurrency": "no"}}}, "concurrency is 'no'"),
        ({"redis": {"enabled": True, "memory": "1 GB"}}, "is not an amount of memory redis knows"),
    ],
)
def test_tables(given: dict[str, Any], says: str | None) -> None:
    found = schema.validate_sites({"shop": {"domains": ["shop.example.com"], **given}})
    assert [says in problem.message for problem in found] == ([True] if says else []), found


@pytest.mark.parametrize(
    "at",
    ["hourly", "Daily", "*-*-* 03:00:00", "Mon..Fri 08:30", "*:0/5", "*:*:0/8", "Mon,Wed *-*-* 12:00", "2026-12-24",
     "*-*-01 04:00", "Sun", "Mon *-*~07/1", "03:00 Europe/Berlin", "*-*-* 06:00 UTC"],
)  # fmt: skip
def test_calendar_is_systemd_s(at: str) -> None:
    assert check_calendar(at) is None


@pytest.mark.parametrize("at", ["", "never", "5 minutes", "@daily", "*/5 * * * *", "; rm", "12", "daily\n"])
def test_calendar_that_is_none(at: str) -> None:
    assert check_calendar(at) is not None


def test_resolve_tables() -> None:
    site = {"domains": ["a.test"], "processes": {"worker": "celery worker", "beat": False}, "schedule": None}
    resolved = schema.resolve("shop", site, {"processes": {"worker": {"count": 3}, "more": "x"}})
    assert resolved["schedule"] == {}
    assert resolved["processes"]["beat"] is False
    assert resolved["processes"]["more"]["command"] == "x"
    worker = resolved["processes"]["worker"]
    assert (worker["command"], worker["count"], worker["stop_timeout"]) == ("celery worker", 3, None)


def test_host_sites_may_name_one_key_of_a_process() -> None:
    sites = {"shop": {"domains": ["a.test"], "processes": {"worker": "celery worker"}}}
    overlay = {"shop": {"processes": {"worker": {"count": 3}}}}
    assert schema.validate_sites(sites, {"web1": overlay}) == []
