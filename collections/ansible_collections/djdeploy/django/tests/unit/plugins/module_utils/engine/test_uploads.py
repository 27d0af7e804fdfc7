# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads: who serves them, what is said of it, and whose the links are by which nginx finds them."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import uploads
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

GUARDED = {"media_path": "/media/", "view": "shop.views.files", "route": "media/<path:p>", "guards": True, "below": []}
BARE = {**GUARDED, "view": "django.views.static.serve", "guards": False}
NOTHING: dict[str, Any] = {"media_path": "/media/", "view": None, "route": None, "guards": False, "below": []}
PART = [{"route": "media/private/<path:p>", "view": "shop.views.files"}]
BEHIND = {**BARE, "guards": True, "behind": "shop.middleware.Login"}
BY_VIEW = "uploads: shop.views.files answers below /media/, so nginx leaves them to the application"
BY_PART = (
    "warning: nginx serves no uploads, because shop.views.files answers for media/private/<path:p> and may guard it; "
    "no view answers for all of /media/: add one, or say media: {served_by: nginx} if all of them are for everybody"
)


@pytest.mark.parametrize(
    ("said", "facts", "by", "told"),
    [
        pytest.param(None, NOTHING, "nginx", None, id="no view"),
        pytest.param(None, {}, "nginx", None, id="nothing known"),
        pytest.param(None, BARE, "nginx", None, id="serve as it is"),
        pytest.param(None, GUARDED, "application", BY_VIEW, id="a view"),
        pytest.param(None, BEHIND, "application", "serve (behind shop.middleware.Login) answers", id="a middleware"),
        pytest.param("nginx", BEHIND, "nginx", "serve (behind shop.middleware.Login) is not", id="and said: nginx"),
        pytest.param("application", NOTHING, "application", None, id="said: application"),
        pytest.param("application", GUARDED, "application", None, id="said, and a view"),
        pytest.param("nginx", NOTHING, "nginx", None, id="said: nginx"),
        pytest.param("nginx", GUARDED, "nginx", "warning: nginx shows uploads to everybody", id="said against a view"),
        pytest.param(None, {**NOTHING, "below": PART}, "application", BY_PART, id="a view for a part"),
        pytest.param(None, {**NOTHING, "below": PART * 3}, "application", "(and 2 more) and may", id="views for parts"),
        pytest.param("application", {**NOTHING, "below": PART}, "application", None, id="said, and a view for a part"),
        pytest.param("nginx", {**NOTHING, "below": PART}, "nginx", None, id="said: nginx, for a part too"),
        pytest.param(None, {**BARE, "below": PART}, "application", BY_VIEW, id="serve, and a view for a part"),
    ],
)
def test_served(said: str | None, facts: dict[str, Any], by: str, told: str | None) -> None:
    found = uploads.served(said, facts)
    assert found.by == by
    assert len(found.told) == bool(told) and all((told or "") in line for line in found.told), found.told
    assert all("\n" not in line and "media" in line for line in found.told), "the key that changes it is named"


@pytest.mark.parametrize(
    ("name", "uid", "warned"),
    [("media", os.getuid(), False), ("media", 1234, True), ("missing", 1234, False), ("link", 1234, False)],
)
def test_foreign_roots(tmp_path: Path, name: str, uid: int, warned: bool) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to("media")
    tmp_path.chmod(0o777)  # so the link may be anybody's
    found = list(uploads.foreign_roots(["../static", str(tmp_path / name)], uid, "shop"))
    assert [line.endswith(f"run chown shop: {tmp_path / name}") for line in found] == [True] * warned


def test_links_of_earlier_versions_are_found_and_none_is_followed(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = SitePaths("shop")
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=1234, pw_gid=1234))
    place = paths.release("20260301T120000-aaaaaaa").uploads
    (place / "a").mkdir(parents=True)
    (paths.media / "inner").mkdir()
    (paths.media / "planted").symlink_to("/etc/passwd")
    for name in ("media", "a/up"):
        (place / name).symlink_to(paths.media)
    paths.release("20260302T120000-bbbbbbb").root.mkdir()  # has no uploads
    found = uploads.left_by_earlier_versions([paths, SitePaths("blog")])
    roots = [place / "a/up", place / "media"] if os.geteuid() == 0 else []
    assert sorted(link.path for link in found) == roots
    assert {(link.uid, link.gid) for link in found} <= {(1234, 1234)}


def test_a_release_that_is_gone_by_now_is_no_error(tmp_path: Path) -> None:
    uploads.give_away([uploads.Link(tmp_path / "gone/uploads/media", os.getuid(), os.getgid())])
    assert list(uploads.links_of_root(tmp_path / "gone/uploads")) == []


def test_own_gives_the_link_and_not_what_it_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def chown(*words: Any, dir_fd: int, follow_symlinks: bool) -> None:
        calls.append((*words, os.path.samestat(os.fstat(dir_fd), tmp_path.stat()), follow_symlinks))

    monkeypatch.setattr(os, "chown", chown)
    uploads.own(tmp_path / "media", 1234, 1235)
    assert calls == [("media", 1234, 1235, True, False)]


@pytest.mark.parametrize(
    ("said", "live", "kept", "lost"),
    [
        pytest.param(None, ["uploads"], ["uploads"], False, id="nginx serves them today"),
        pytest.param(None, ["public"], ["uploads"], False, id="and did in an earlier version"),
        pytest.param(None, [], ["uploads"], True, id="the live one leaves them to the application"),
        pytest.param(None, [], ["public"], True, id="the kept one was made by an earlier version"),
        pytest.param(None, [], [], False, id="the kept one does so, too"),
        pytest.param(None, None, ["uploads"], False, id="nothing is live"),
        pytest.param("nginx", [], ["uploads"], False, id="said: nginx"),
        pytest.param("application", ["uploads"], ["uploads", "public"], True, id="said: application"),
        pytest.param("application", None, ["uploads"], True, id="said: application, nothing is live"),
        pytest.param("application", [], [], False, id="said, and so it is"),
    ],
)
def test_a_release_that_comes_back_shows_no_uploads_the_application_guards(
    shop: Site, keep: Callable[..., Release], said: str | None, live: list[str] | None, kept: list[str], lost: bool
) -> None:
    config = {**shop.config, "media": {**shop.config["media"], "served_by": said}}
    site = Site("shop", config)
    old, new = keep("20260301T120000-aaaaaaa"), None
    if live is not None:
        new = keep("20260302T120000-bbbbbbb", "live")
        lay_links(site, new, live)
    lay_links(site, old, kept)
    links = uploads.going_back(site, old, new)
    told = list(uploads.told_of_way_back(links, site))
    uploads.withdraw(links)
    root = site.paths.release(old.id)
    assert [path for path in (root.uploads / "up/media", root.public / "up/media") if path.is_symlink()] == (
        [] if lost else [getattr(root, place) / "up/media" for place in kept]
    )
    assert (root.public / "static").is_symlink(), "static files go with the release"
    assert site.paths.media.is_dir(), "what the link leads to stays"
    assert [line.startswith("uploads: the release that comes back leaves them") for line in told] == [True] * lost


def lay_links(site: Site, release: Release, places: list[str]) -> None:
    paths = site.paths.release(release.id)
    paths.public.mkdir()
    (paths.public / "static").symlink_to("../static")
    for place in places:
        link = getattr(paths, place) / "up/media"
        link.parent.mkdir(parents=True)
        link.symlink_to(site.paths.media)


def test_the_live_release_keeps_its_links(shop: Site, keep: Callable[..., Release]) -> None:
    live = keep("20260302T120000-bbbbbbb", "live")
    lay_links(shop, live, ["uploads"])
    config = {**shop.config, "media": {"served_by": "application"}}
    assert uploads.going_back(Site("shop", config), live, live) == uploads.going_back(shop, None, live) == []
