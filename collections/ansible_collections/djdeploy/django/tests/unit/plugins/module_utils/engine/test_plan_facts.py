# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan compares: static files without reading most of them, and digests that no value can be read from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import plan, plan_facts
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

SALT = "5a" * 32


def put(root: Path, **files: str) -> Path:
    """Files below `root`; `__` in a name stands for a directory's end."""
    root.mkdir(exist_ok=True)
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content was looked at."""
    names: list[str] = []
    real = plan_facts.StaticFile.digest

    def digest(self: plan_facts.StaticFile) -> str:
        names.append(os.path.basename(self.path))
        return real(self)

    monkeypatch.setattr(plan_facts.StaticFile, "digest", digest)
    return names


@pytest.mark.parametrize(
    ("before", "after", "names", "looked_at"),
    [
        pytest.param({}, {}, [], [], id="nothing"),
        pytest.param({}, {"a": "x"}, ["+ a"], [], id="new"),
        pytest.param({"css__a": "x"}, {}, ["- css/a"], [], id="gone"),
        pytest.param({"a": "x"}, {"a": "xy"}, ["~ a"], [], id="other_size"),
        pytest.param({"a": "x", "b": "z"}, {"a": "y", "b": "z"}, ["~ a"], ["a", "a", "b", "b"], id="same_size"),
        pytest.param({"d__e__f": "x"}, {"d__e__f": "x"}, [], ["f", "f"], id="same_content"),
    ],
)
def test_static_trees(
    tmp_path: Path, read: list[str], before: Any, after: Any, names: list[str], looked_at: list[str]
) -> None:
    for root in ("before/d", "after/d"):
        (tmp_path / root).mkdir(parents=True)
    trees = plan_facts.static_trees(put(tmp_path / "before", **before), put(tmp_path / "after", **after))
    assert plan.static_changes(*trees)["names"] == names
    assert sorted(read) == looked_at


def test_static_trees_does_not_read_a_file_both_releases_hold(tmp_path: Path, read: list[str]) -> None:
    before, after = put(tmp_path / "before", a="x"), put(tmp_path / "after")
    os.link(before / "a", after / "a")
    assert plan.static_changes(*plan_facts.static_trees(before, after))["names"] == []
    assert read == []


@pytest.mark.parametrize("missing", [None, "nowhere"])
def test_static_trees_of_a_first_release(tmp_path: Path, missing: str | None) -> None:
    before = tmp_path / missing if missing else None
    assert plan_facts.static_trees(before, put(tmp_path / "after", a="xyz")) == ({}, {"a": (3, "")})


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def other_link(path: Path) -> None:
    path.symlink_to("/etc/shadow")


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        pytest.param(link, link, [], id="same_link"),
        pytest.param(link, other_link, ["~ a"], id="other_link"),
        pytest.param(os.mkfifo, os.mkfifo, [], id="a_pipe_is_not_opened"),
    ],
)
def test_static_trees_opens_nothing_but_files(
    tmp_path: Path, one: Callable[[Path], None], other: Callable[[Path], None], names: list[str]
) -> None:
    before, after = put(tmp_path / "before"), put(tmp_path / "after")
    one(before / "a")
    other(after / "a")
    assert plan.static_changes(*plan_facts.static_trees(before, after))["names"] == names


def test_static_trees_does_not_walk_through_links(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", secret="x")
    after = put(tmp_path / "after")
    (after / "there").symlink_to(tmp_path / "elsewhere")
    assert plan_facts.static_trees(None, after)[1].keys() == {"there"}


def test_site_salt_is_made_once_and_for_root_alone(shop: Site) -> None:
    salt = plan_facts.site_salt(shop)
    path = shop.paths.state / "salt"
    assert len(bytes.fromhex(salt)) == plan_facts.SALT_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert plan_facts.site_salt(shop) == salt
    assert [entry.name for entry in shop.paths.state.iterdir()] == ["salt"]


@pytest.mark.parametrize("left", ["", "5a5a", "5a" * 33])
def test_site_salt_is_made_anew_after_a_crash(shop: Site, left: str) -> None:
    (shop.paths.state / "salt").write_text(left)
    (shop.paths.state / "salt.new").write_text("half")
    salt = plan_facts.site_salt(shop)
    assert len(salt) == 2 * plan_facts.SALT_BYTES
    assert plan_facts.site_salt(shop) == salt


@pytest.mark.parametrize(
    ("one", "other", "differing"),
    [
        ({"A": "1", "B": "2"}, {"B": "2", "A": "1"}, []),
        ({"A": "1"}, {"A": "2"}, ["A"]),
        ({"web": {"workers": 2, "threads": 1}}, {"web": {"threads": 1, "workers": 2}}, []),
        ({"web": {"workers": 2}}, {"web": {"workers": 3}}, ["web"]),
        ({"A": "1"}, {"A": 1}, ["A"]),
    ],
)
def test_environment_digests(one: dict[str, Any], other: dict[str, Any], differing: list[str]) -> None:
    before, after = (plan_facts.environment_digests(values, SALT) for values in (one, other))
    assert plan.name_changes(before, after)["changed"] == differing


def test_environment_digests_show_no_value_and_no_two_that_are_equal() -> None:
    first = plan_facts.environment_digests({"A": "secret", "B": "secret"}, SALT)
    assert "secret" not in str(first)
    assert len(set(first.values())) == 2
    assert plan_facts.environment_digests({"A": "secret"}, "a5" * 32)["A"] != first["A"]


@pytest.mark.parametrize(
    ("pending", "known", "recorded", "expected"),
    [
        ([], ["0001_initial"], 1, False),
        (["shop.0002_b"], ["0001_initial", "0002_b"], 1, True),
        (["shop.0001_initial"], ["0001_initial"], None, "the database is empty"),
        # a squashed migration comes with the one it replaces, which nothing will run
        (["shop.0001_squashed"], ["0001_initial", "0001_squashed"], 0, "the database is empty"),
        (["shop.0001_squashed"], ["0001_initial", "0001_squashed"], None, True),
    ],
)
def test_an_empty_database_is_not_copied(pending: Any, known: Any, recorded: int | None, expected: bool | str) -> None:
    site = SimpleNamespace(config={"snapshots": {"enabled": True}})
    release = SimpleNamespace(pending=pending, known={"shop": known}, facts={"migrations_recorded": recorded})
    assert plan_facts.snapshot_wanted(site, release) == expected  # type: ignore[arg-type]
