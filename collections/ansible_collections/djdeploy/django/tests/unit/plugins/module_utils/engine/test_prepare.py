# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release is made of: its variables, its facts, what nginx finds by URL, and which one is used again."""

from __future__ import annotations

import json
import os
import pwd
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    beneath,
    environment,
    prepare,
    static_files,
    tree,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.git import Larger
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import ReleasePaths, SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.site_secrets import Mask
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepResult

ID = "20260301T120000-abcdef0"
REVISION = "abcdef0" + "1" * 33
PATHS = ReleasePaths("shop", ID)
SHARED = SitePaths("shop").shared


def release(**facts: Any) -> Release:
    return Release(ID, "shop", REVISION, settings="mysite.settings", application="mysite.wsgi:application", **facts)


# --- variables and facts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("import_paths", "python_path"),
    [
        ([], ["settings", "project"]),
        (["."], ["settings", "project", "code"]),
        (["src", "apps/shared"], ["settings", "project", "code/src", "code/apps/shared"]),
    ],
    ids=["none", "root", "two"],
)
def test_release_environment_import_paths(shop: Site, import_paths: list[str], python_path: list[str]) -> None:
    variables = prepare.release_environment(shop, release(import_paths=import_paths))
    root = shop.paths.release(ID).root
    assert variables["PYTHONPATH"] == ":".join(str(root / path) for path in python_path)


def test_release_environment_is_of_the_release(shop: Site) -> None:
    variables = prepare.release_environment(shop, release())
    paths = shop.paths.release(ID)
    assert variables.pop("PYTHONPATH")
    assert variables == {
        "DJANGO_SETTINGS_MODULE": "djdeploy_settings",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": str(paths.environment),
        "HOME": str(shop.paths.shared),
        "DJDEPLOY_SITE": "shop",
        "DJDEPLOY_RELEASE": ID,
        "DJDEPLOY_REVISION": REVISION,
        "DJDEPLOY_APPLICATION": "mysite.wsgi:application",
    }


@pytest.mark.parametrize(
    ("project_path", "code"), [(".", "code"), ("src", "code/src"), ("a/b", "code/a/b")], ids=["root", "below", "deep"]
)
def test_settings_facts(shop: Site, project_path: str, code: str) -> None:
    root = shop.paths.release(ID).root
    assert prepare.settings_facts(shop, release(project_path=project_path)) == {
        "name": "shop",
        "project_settings": "mysite.settings",
        "domains": ["shop.example.com"],
        "https": False,
        "static_root": str(root / "static"),
        "static_manifest": static_files.manifest_name(REVISION, {}),
        "shared": str(shop.paths.shared),
        "code": str(root / code),
        "database": shop.config["database"],
        "databases": {},
        "email": {"from_address": None, "admins": [], "subject_prefix": None},
        "pooled": [],
    }


def test_write_settings_what_a_release_runs_with(shop: Site) -> None:
    made, paths = release(import_paths=["src"]), shop.paths.release(ID)
    paths.root.mkdir()
    prepare.write_settings(shop, made, os.getgid())
    for name, module in prepare.overlay_parts().items():
        assert (paths.settings / name).read_text() == Path(module.__file__ or "").read_text()
    assert json.loads((paths.settings / "site.json").read_text()) == prepare.settings_facts(shop, made)
    assert environment.parse(paths.env_file.read_text()) == prepare.release_environment(shop, made)
    assert paths.settings.stat().st_mode & 0o777 == 0o750
    for file in (*paths.settings.iterdir(), paths.env_file):
        assert file.stat().st_mode & 0o777 == 0o640, file


def test_site_target_release_wins_over_site(shop: Site) -> None:
    shop.paths.env_file.parent.mkdir()
    shop.paths.env_file.write_text('SECRET_KEY="x"\nDJANGO_SETTINGS_MODULE="mysite.settings"\n')
    target, paths = prepare.site_target(shop, release()), shop.paths.release(ID)
    assert (target.python, target.cwd, target.user) == (paths.environment / "bin/python", paths.project, "shop")
    assert target.env["SECRET_KEY"] == "x"
    assert target.env["DJANGO_SETTINGS_MODULE"] == "djdeploy_settings"


# --- what nginx finds by URL ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/static/", "static"),
        ("static/", "static"),
        ("/static", "static"),
        ("/assets/v1/", "assets/v1"),
        ("/static/?v=1#top", "static"),
        ("//static//", None),  # a host named static
        ("https://cdn.example.com/static/", None),
        ("//cdn.example.com/static/", None),
        ("https://cdn.example.com", None),
        ("data:,", None),
        ("/", None),
        ("", None),
        (None, None),
        ("/../", None),
        ("/static/../../etc/", None),
        ("/./static/", None),
        ("..", None),
        ("/..static/", "..static"),
        ("/static.d/", "static.d"),
    ],
)
def test_url_path(url: str | None, path: str | None) -> None:
    assert prepare.url_path(url) == path


@pytest.mark.parametrize(
    ("static_url", "media_url", "media_root", "links"),
    [
        ("/static/", "/media/", SHARED / "media", {"static": "../static", "media": str(SHARED / "media")}),
        ("/a/static/", "/a/media/", SHARED / "m", {"a/static": "../../static", "a/media": str(SHARED / "m")}),
        ("/a/b/c/", None, None, {"a/b/c": "../../../static"}),
        ("https://cdn.example.com/s/", "/media/", SHARED / "media", {"media": str(SHARED / "media")}),
        ("/static/", "https://cdn.example.com/m/", SHARED / "media", {"static": "../static"}),
        ("/", "/media/", SHARED / "media", {"media": str(SHARED / "media")}),
        ("/static/", "/", SHARED / "media", {"static": "../static"}),
        ("/static/", "", SHARED / "media", {"static": "../static"}),
        ("/static/", "/media/", "", {"static": "../static"}),
        ("/static/", "/media/", None, {"static": "../static"}),
        ("/static/", "/media/", "/var/uploads", {"static": "../static"}),
        ("/static/", "/media/", "media", {"static": "../static"}),
        ("/static/", "/media/", SHARED, {"static": "../static"}),
        ("/static/", "/media/", f"{SHARED}/media/..", {"static": "../static"}),
        ("/static/", "/media/", f"{SHARED}/../../blog/shared/media", {"static": "../static"}),
        ("/static/", "/media/", f"{SHARED}-old/media", {"static": "../static"}),
        ("/static/", "/media/", f"{SHARED}/media/", {"static": "../static", "media": str(SHARED / "media")}),
        ("/files/", "/files/", SHARED / "media", {"files": "../static"}),
        ("/static/", "/static/media/", SHARED / "m", {"static": "../static", "static/media": str(SHARED / "m")}),
        (None, None, None, {}),
    ],
    ids=[
        "both", "nested", "deep", "static elsewhere", "media elsewhere", "static at /", "media at /", "no media URL",
        "empty root", "no root", "root outside", "relative root", "shared itself", "shared by ..", "another site",
        "alike", "slash at the end", "same path", "media within static", "neither",
    ],
)  # fmt: skip
def test_public_links(static_url: str | None, media_url: str | None, media_root: Any, links: dict[str, str]) -> None:
    root = str(media_root) if isinstance(media_root, Path) else media_root
    facts = {"static_url": static_url, "media_url": media_url, "media_root": root}
    assert prepare.public_links(facts, PATHS, SHARED) == links


@pytest.mark.parametrize("static_url", ["/static/", "/media/static/"])
def test_public_links_without_uploads_that_the_application_serves(static_url: str) -> None:
    facts = {"static_url": static_url, "media_url": "/media/", "media_root": str(SHARED / "media")}
    assert prepare.public_links(facts, PATHS, SHARED, "application").keys() == {static_url.strip("/")}


def test_lay_out_public_the_link_to_uploads_is_the_site_users(shop: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no directory it lies in, nor what leads to static files."""
    given: dict[Path, tuple[int, int]] = {}
    monkeypatch.setattr(beneath, "own_link", lambda path, uid, gid: given.update({path: (uid, gid)}))
    paths = shop.paths.release(ID)
    paths.static.mkdir(parents=True)
    facts = {"static_url": "/a/static/", "media_url": "/a/media/", "media_root": str(shop.paths.media)}
    prepare.lay_out_public(prepare.public_links(facts, paths, shop.paths.shared), paths, 1234, 1235)
    assert given == {paths.uploads / "a/media": (1234, 1235)}
    assert {paths.uploads.stat().st_uid, (paths.uploads / "a").stat().st_uid} == {os.getuid()}


def test_public_links_nothing_known() -> None:
    assert prepare.public_links({}, PATHS, SHARED) == {}


@pytest.mark.parametrize("static_url", ["/media/static/", "/media/a/b/"])
def test_public_links_static_among_uploads(static_url: str) -> None:
    facts = {"static_url": static_url, "media_url": "/media/", "media_root": str(SHARED / "media")}
    with pytest.raises(EngineError) as raised:
        prepare.public_links(facts, PATHS, SHARED)
    assert raised.value.message.startswith(f"STATIC_URL {static_url} lies within MEDIA_URL /media/")


@pytest.mark.parametrize(
    ("static_url", "media_url"),
    [("/static/", "/media/"), ("/shop/static/", "/shop/media/"), ("/a/b/c/static/", "/media/"), ("static/", "up/x/")],
    ids=["plain", "nested", "deep", "relative"],
)
def test_lay_out_public_files_are_found_by_url(shop: Site, static_url: str, media_url: str) -> None:
    paths = shop.paths.release(ID)
    paths.static.mkdir(parents=True)
    (paths.static / "site.css").write_text("css")
    (shop.paths.media / "cat.jpg").write_text("cat")
    facts = {"static_url": static_url, "media_url": media_url, "media_root": str(shop.paths.media)}
    before = os.umask(0o077)
    try:
        for _twice in range(2):  # the second time there is nothing to do
            prepare.lay_out_public(
                prepare.public_links(facts, paths, shop.paths.shared), paths, os.getuid(), os.getgid()
            )
    finally:
        os.umask(before)
    assert (paths.public / static_url.strip("/") / "site.css").read_text() == "css"
    assert (paths.uploads / media_url.strip("/") / "cat.jpg").read_text() == "cat"
    for folder, _folders, _files in os.walk(paths.public):
        assert Path(folder).stat().st_mode & 0o777 == 0o755, folder
    moved = paths.root.rename(paths.root.with_name("moved"))
    assert (moved / "public" / static_url.strip("/") / "site.css").exists(), "static files go with the release"


def test_lay_out_public_media_within_static(shop: Site) -> None:
    paths = shop.paths.release(ID)
    paths.static.mkdir(parents=True)
    facts = {"static_url": "/static/", "media_url": "/static/media/", "media_root": str(shop.paths.media)}
    prepare.lay_out_public(prepare.public_links(facts, paths, shop.paths.shared), paths, os.getuid(), os.getgid())
    (paths.static / "site.css").write_text("css")
    (shop.paths.media / "cat.jpg").write_text("cat")
    assert (paths.public / "static/site.css").read_text() == "css"
    assert (paths.uploads / "static/media/cat.jpg").read_text() == "cat"


def test_lay_out_public_nothing(shop: Site) -> None:
    paths = shop.paths.release(ID)
    paths.root.mkdir()
    prepare.lay_out_public({}, paths, os.getuid(), os.getgid())
    assert [*paths.public.iterdir(), *paths.uploads.iterdir()] == []


# --- small things ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("things", "text"), [([], "no migrations"), (["a"], "1 migration"), (["a", "b"], "2 migrations")]
)
def test_counted(things: list[str], text: str) -> None:
    assert prepare.counted(things, "migration") == text


def test_compiling_runs_nothing_and_comes_last(tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "shop").mkdir(parents=True)
    (code / "shop/models.py").write_text("open('ran', 'w')\n")
    (code / "sitecustomize.py").write_text("open('ran', 'w')\n")
    (code / "compileall.py").write_text("open('ran', 'w')\n")
    (code / "broken.py").write_text("def (\n")
    with prepare.compiling(code, tmp_path / "aside", sys.executable, pwd.getpwuid(os.getuid()).pw_name):
        end = time.monotonic() + 60
        while not list((tmp_path / "aside").rglob("models.*")):
            assert time.monotonic() < end, "nothing is compiled meanwhile"
            time.sleep(0.01)
        assert not list(code.rglob("__pycache__")), "Django looks around here meanwhile"
    assert not (tmp_path / "aside").exists()
    assert not (code / "ran").exists()
    compiled = next((code / "shop/__pycache__").glob("models.*.pyc")).read_bytes()
    flags = int.from_bytes(compiled[4:8], "little")
    assert flags == 0b01, "by hash, never compared: PEP 552"
    assert not list((code / "__pycache__").glob("broken.*"))


# --- using a prepared release again ---------------------------------------------------------------

LIVE = "20260201T000000-1111111"


@pytest.mark.parametrize(
    ("facts", "fits"),
    [
        ({}, True),
        ({"state": "failed"}, False),
        ({"state": "preparing"}, False),
        ({"state": "retired"}, False),
        ({"revision": "b" * 40}, False),
        ({"fingerprint": "another"}, False),
        ({"prepared_beside": "20260101T000000-0000000"}, False),
        ({"prepared_beside": ""}, False),
    ],
    ids=["fits", "failed", "half", "served", "revision", "configuration", "another was live", "none was live"],
)
def test_reusable(shop: Site, keep: Callable[..., Release], facts: dict[str, Any], fits: bool) -> None:
    keep(LIVE, "live")
    state = facts.get("state", "prepared")
    whole = {"revision": REVISION, "fingerprint": shop.fingerprint(), "prepared_beside": LIVE, **facts}
    made = keep(ID, state, **{key: value for key, value in whole.items() if key != "state"})
    assert prepare.reusable(shop, REVISION) == (made if fits else None)


def test_reusable_first_release(shop: Site, keep: Callable[..., Release]) -> None:
    made = keep(ID, "prepared", revision=REVISION, fingerprint=shop.fingerprint())
    assert prepare.reusable(shop, REVISION) == made


def test_reusable_newest_of_several(shop: Site, keep: Callable[..., Release]) -> None:
    facts = {"revision": REVISION, "fingerprint": shop.fingerprint()}
    keep(ID, "prepared", **facts)
    newer = keep("20260302T000000-abcdef0", "prepared", **facts)
    assert prepare.reusable(shop, REVISION) == newer


def test_reusable_not_after_an_edit(shop: Site, keep: Callable[..., Release]) -> None:
    keep(ID, "prepared", revision=REVISION, fingerprint=shop.fingerprint())
    edited = replace(shop, config={**shop.config, "env": {"DEBUG_TOOLBAR": "1"}})
    assert prepare.reusable(edited, REVISION) is None
    tree.point(shop.paths.current, f"releases/{LIVE}")
    assert prepare.reusable(shop, REVISION) is None, "something went live since"


# --- what is told ---------------------------------------------------------------------------------


def test_what_a_check_says_of_several_objects_is_told_once() -> None:
    tree = {"level": "WARNING", "id": "treebeard.E001", "message": "PageManager is no node manager."}
    other = {"level": "WARNING", "id": None, "message": "something else"}
    results = [
        StepResult("describe", False),
        StepResult("check", False, facts={"messages": [tree, tree, other]}),
    ]
    told = ["warning: treebeard.E001 PageManager is no node manager.", "warning:  something else"]
    assert prepare.said_by_checks(results) == told


# --- limits ---------------------------------------------------------------------------------------


class Tree:
    """A repository whose one tree has a size by git's list, and another one when it is unpacked."""

    def __init__(self, listed: int, unpacked: int) -> None:
        self.listed, self.unpacked = listed, unpacked
        self.exported = False

    def exceeds(self, _revision: str, most: int) -> bool:
        return self.listed > most

    def export(self, _revision: str, _target: Path, *, user: str, most: int) -> None:
        if self.unpacked > most:
            raise Larger("cut off")
        self.exported = True


@pytest.mark.parametrize(
    ("listed", "unpacked", "said", "taken"),
    [
        pytest.param(1 << 20, 1 << 20, {}, True, id="ordinary"),
        pytest.param(5 << 30, 5 << 30, {}, False, id="more than by default"),
        pytest.param(5 << 30, 5 << 30, {"tree_size": "6G"}, True, id="the site says more"),
        pytest.param(1 << 20, 1 << 21, {"tree_size": "1M"}, False, id="becomes more than git lists"),
    ],
)
def test_export_takes_no_more_than_the_site_says(
    shop: Site, listed: int, unpacked: int, said: dict[str, str], taken: bool
) -> None:
    repository, site = Tree(listed, unpacked), replace(shop, config={**shop.config, "limits": said})
    if taken:
        prepare.export(site, release(), repository)  # type: ignore[arg-type]
    else:
        with pytest.raises(EngineError, match=r"limits\.tree_size") as raised:
            prepare.export(site, release(), repository)  # type: ignore[arg-type]
        assert "djdeploy_sites" in raised.value.hint
    assert repository.exported is taken


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_what_the_checks_made_is_the_sites(tmp_path: Path) -> None:
    uid, builds, gid = 12345, 12346, 12347
    made = {"db.sqlite3": (uid, builds), "of-root": (0, builds), "of-others": (uid, 12348), "media/a": (uid, builds)}
    for name, owner in made.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o640)
        os.chown(tmp_path / name, *owner)
    (tmp_path / "link").symlink_to("of-root")
    os.lchown(tmp_path / "link", uid, builds)
    prepare.give_back(tmp_path, uid, builds, gid)
    found = {name: ((told := (tmp_path / name).lstat()).st_uid, told.st_gid) for name in (*made, "link")}
    assert found == {**made, "db.sqlite3": (uid, gid), "link": (uid, builds)}


def test_sql_with_a_secret_is_recorded_without(shop: Site) -> None:
    shop.paths.env_file.parent.mkdir(parents=True, exist_ok=True)
    shop.paths.env_file.write_text("API_TOKEN=very-secret-token\n")
    mask = Mask(shop.paths)
    (kept,) = prepare.shown_of([{"name": "shop.0002", "sql": ["SELECT 'very-secret-token';", "SELECT 1;"]}], mask)
    assert kept == {"name": "shop.0002", "sql": ["SELECT '********';", "SELECT 1;"]}
