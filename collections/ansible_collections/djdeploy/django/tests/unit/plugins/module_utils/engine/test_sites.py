# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host knows about its sites, and which edits ask for a new release."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema, sites
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

# Every key of the schema, and whether its change asks for a release to be made anew.
ASKS_FOR_A_RELEASE = {
    "name": True,
    "domains": True,
    "project_path": True,
    "settings": True,
    "application": True,
    "python": True,
    "dependency_groups": True,
    "requirements": True,
    "web": True,
    "health": True,
    "database": True,
    "databases": True,
    "pgbouncer": True,
    "env": True,
    "secrets": True,
    "secret_files": True,
    "project_files": True,
    "secret_key_fallbacks": False,
    "email": True,
    "branch": False,
    "deploy_keys": False,
    "hosts": False,
    "repository": False,
    "revision": False,
    "force_push": False,
    "keep_releases": False,
    "migrations": False,
    "snapshots": False,
    "packages": False,
    "build": True,
    "build_network": True,
    "build_keep": True,
    "build_secrets": False,
    "package_indexes": False,
    "build_timeout": False,
    "build_memory_max": False,
    "media": True,
    "protected_media": True,
    "processes": True,
    "schedule": True,
    "redis": False,
    "client_max_body_size": False,
    "limits": False,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory of configured sites."""
    for name in ("shop", "blog", "my-shop"):
        config = schema.resolve(name, {"domains": [f"{name}.example.com", f"www.{name}.example.com"]})
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    (tmp_path / "shop.env").write_text('SECRET_KEY="x"\n')
    (tmp_path / "shop.gunicorn.py").write_text("workers = 2\n")
    return tmp_path


# --- reading --------------------------------------------------------------------------------------


def test_site_names_sorted_and_only_sites(root: Path) -> None:
    assert sites.site_names(root) == ["blog", "my-shop", "shop"]


def test_site_names_none_yet(tmp_path: Path) -> None:
    assert sites.site_names(tmp_path) == []
    assert sites.site_names(tmp_path / "nothing here") == []


def test_load_site_facts(root: Path) -> None:
    site = sites.load_site("shop", root)
    assert (site.name, site.domain, site.url) == ("shop", "shop.example.com", "http://shop.example.com/")
    assert (site.branch, site.ref) == ("main", "refs/heads/main")
    assert site.paths.site == "shop"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shpo", "no site 'shpo'; did you mean 'shop'?"),
        ("blogs", "did you mean 'blog'?"),
        ("zzzz", "sites here: blog, my-shop, shop"),
        ("", "no site ''; sites here:"),
        ("../sites/shop", "no site '../sites/shop'"),
        ("shop.gunicorn", "no site 'shop.gunicorn'"),
    ],
)
def test_load_site_unknown(root: Path, name: str, says: str) -> None:
    with pytest.raises(EngineError) as raised:
        sites.load_site(name, root)
    assert says in raised.value.message
    assert "site.yml" in raised.value.hint


def test_load_site_none_yet(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="this host has no site 'shop'; sites here: none yet"):
        sites.load_site("shop", tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"domains": ['], ids=["empty", "open", "cut off"])
def test_load_site_damaged(root: Path, text: str) -> None:
    (root / "shop.json").write_text(text)
    with pytest.raises(EngineError) as raised:
        sites.load_site("shop", root)
    assert raised.value.message.startswith(f"{root}/shop.json is not valid JSON: ")
    assert raised.value.hint == "run site.yml: it writes the file anew"


def test_load_site_not_ours_to_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(EngineError) as raised:
        sites.load_site("shop", root)
    assert raised.value.hint == "run it again with sudo"


# --- environment ----------------------------------------------------------------------------------


def test_environment_is_read_as_systemd_reads_it(shop: Site) -> None:
    shop.paths.env_file.parent.mkdir()
    shop.paths.env_file.write_text('# secrets\nA="b \\"c\\" \\$d"\nE=f\n')
    assert shop.environment() == {"A": 'b "c" $d', "E": "f"}


def test_environment_missing(shop: Site) -> None:
    with pytest.raises(EngineError) as raised:
        shop.environment()
    assert raised.value.message == f"shop has no environment file ({shop.paths.env_file})"
    assert "site.yml" in raised.value.hint


# --- fingerprint ----------------------------------------------------------------------------------


def test_fingerprint_every_key_of_the_schema_is_judged() -> None:
    """A new key must be thought about: does its change ask for a new release?"""
    known = set(schema.resolve("shop", {"domains": ["shop.example.com"]}))
    judged = {key: key not in sites.NOT_PART_OF_A_RELEASE for key in known}
    assert judged == ASKS_FOR_A_RELEASE


@pytest.mark.parametrize(("key", "asks"), ASKS_FOR_A_RELEASE.items())
def test_fingerprint_of_a_changed_key(shop: Site, key: str, asks: bool) -> None:
    changed = replace(shop, config={**shop.config, key: ["something", "else"]})
    assert (changed.fingerprint() != shop.fingerprint()) is asks


@pytest.mark.parametrize(
    "name",
    [
        "env_file",
        "project_files",
        "gunicorn_config",
        "service_template",
        "socket_template",
        "process_template",
        "job_template",
        "not_first",
    ],
)
def test_fingerprint_of_changed_files(shop: Site, name: str) -> None:
    file: Path = getattr(shop.paths, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    seen = [shop.fingerprint()]
    for text in ("one\n", "two\n", ""):
        file.write_text(text)
        seen.append(shop.fingerprint())
    assert len(set(seen)) == 4, "missing, one, two and empty are four different things"
    file.write_text("one\n")
    os.utime(file, (0, 0))
    assert shop.fingerprint() == seen[1], "what counts is what it holds"


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        (lambda site: {str(site.paths.env_file)}, True),
        (lambda site: {str(site.paths.service_template)}, True),
        (lambda site: {str(site.paths.nginx_server), "/etc/hosts"}, False),
        (lambda site: set(), False),
    ],
    ids=["environment", "unit", "not of a release", "none"],
)
def test_fingerprint_of_files_a_check_says_will_change(shop: Site, changed: Any, differs: bool) -> None:
    later = replace(shop, changed_files=frozenset(changed(shop)))
    assert (later.fingerprint() != shop.fingerprint()) is differs


def test_fingerprint_is_the_same_for_the_same(shop: Site) -> None:
    again = Site("shop", dict(reversed(json.loads(json.dumps(shop.config)).items())))
    assert again.fingerprint() == shop.fingerprint()
    assert len(shop.fingerprint()) == 16


def test_fingerprint_of_secret_files(shop: Site) -> None:
    folder = shop.paths.secret_files
    folder.mkdir(parents=True)
    before = shop.fingerprint()
    wanted = replace(shop, changed_files=frozenset({str(folder / "TLS")}))
    assert wanted.fingerprint() != before, "a check does not see a file that will be there"
    (folder / "TLS").write_text("one")
    assert (first := shop.fingerprint()) != before
    (folder / "TLS").write_text("two")
    assert shop.fingerprint() not in (before, first)


def test_given_files(shop: Site) -> None:
    assert shop.given_files() == {} and shop.project_files() == {}
    shop.paths.secret_files.mkdir(parents=True)
    (shop.paths.secret_files / "TLS").write_text("text")
    shop.paths.project_files.write_text('{".env": "A=1"}')
    assert shop.project_files() == {".env": "A=1"}
    assert shop.given_files() == {"TLS_FILE (its text)": "text", ".env (project_files)": "A=1"}
