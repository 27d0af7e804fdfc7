# SPDX-License-Identifier: GPL-3.0-or-later
"""What of `shared` nginx may read; that a host then serves it is tested there (molecule/single/tests/hostile)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import media_access
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed

UID, GID = os.getuid(), os.getgid()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(
    ("roots", "found"),
    [
        (["/srv/shop/shared/media"], ["media"]),
        (["/srv/shop/shared/a/../b/"], ["b"]),
        (["/srv/shop/shared", "/srv/shop/shared/", "/srv/other/shared/media", "/", "media"], []),
        (["/srv/shop/shared/../../other/shared/media"], []),
    ],
)
def test_below(roots: list[str], found: list[str]) -> None:
    assert media_access.below(Path("/srv/shop/shared"), roots) == found


def test_make(tmp_path: Path) -> None:
    (tmp_path / "media/2024").mkdir(parents=True, mode=0o755)
    (tmp_path / "media/2024/photo").write_text("")
    (tmp_path / "media/2024/photo").chmod(0o640)
    for _twice in range(2):
        media_access.make(tmp_path, ["media", "private/pdf"], UID, GID)
    assert [mode(tmp_path / name) for name in ("media", "private/pdf", "private")] == [0o2750, 0o2750, 0o710]
    media_access.make(tmp_path, ["private", "private/pdf"], UID, GID)
    media_access.make(tmp_path, ["private/pdf"], UID, GID)
    assert mode(tmp_path / "private") == 0o2750, "served itself"
    assert mode(tmp_path / "media/2024") & 0o2050 == 0o2050
    assert mode(tmp_path / "media/2024/photo") == 0o640


@pytest.mark.parametrize("name", ["private", "a/private"])
def test_make_follows_no_link(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere/inside").mkdir(parents=True, mode=0o700)
    (tmp_path / "elsewhere").chmod(0o700)
    (tmp_path / "a").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        media_access.make(tmp_path, [name], UID, GID)
    assert mode(tmp_path / "elsewhere") == 0o700
    (tmp_path / "media").mkdir()
    (tmp_path / "media/link").symlink_to(tmp_path / "elsewhere")
    media_access.make(tmp_path, ["media"], UID, GID)
    assert mode(tmp_path / "elsewhere") == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
def test_make_opens_nothing_of_others(tmp_path: Path) -> None:
    """An operator's directory that MEDIA_ROOT names stays as it is."""
    (tmp_path / "backup").mkdir(mode=0o700)
    os.chown(tmp_path / "backup", 12345, 12345)
    with pytest.raises(EngineError, match="backup belongs to the user 12345"):
        media_access.make(tmp_path, ["backup"], UID, GID)
    assert mode(tmp_path / "backup") == 0o700 and (tmp_path / "backup").stat().st_uid == 12345


def test_close_rest(tmp_path: Path) -> None:
    for name in ("db.sqlite3", "second", "linked"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    for name in ("media", "sessions"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o755)
    os.link(tmp_path / "linked", tmp_path / "media/linked")
    (tmp_path / "outside").symlink_to(tmp_path / "media/linked")
    os.mkfifo(tmp_path / "fifo", 0o666)
    assert media_access.close_rest(tmp_path, {"media"}, UID) == ["db.sqlite3", "second", "sessions"]
    assert (mode(tmp_path / "db.sqlite3"), mode(tmp_path / "sessions")) == (0o640, 0o750)
    assert (mode(tmp_path / "media"), mode(tmp_path / "linked")) == (0o755, 0o644)
    assert media_access.close_rest(tmp_path, {"media"}, UID) == []
    assert media_access.close_rest(tmp_path, (), UID + 1) == [], "what is not the site's is not touched"


def test_close_rest_on_the_way(tmp_path: Path) -> None:
    """Weblate's uploads lie in its data directory, beside its keys."""
    (tmp_path / "data/media").mkdir(parents=True)
    for name in ("data/secret", "data/media/photo"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o644)
    (tmp_path / "data/ssh").mkdir()
    (tmp_path / "data/ssh").chmod(0o755)
    assert media_access.close_rest(tmp_path, ["data/media"], UID) == ["data/secret", "data/ssh"]
    assert mode(tmp_path / "data/media/photo") == 0o644


def test_links_of(tmp_path: Path) -> None:
    assert media_access.links_of(tmp_path) == []
    (tmp_path / "uploads/files").mkdir(parents=True)
    (tmp_path / "uploads/media").symlink_to("/srv/shop/shared/media")
    (tmp_path / "uploads/files/all").symlink_to("/srv/shop/shared/all")
    assert sorted(media_access.links_of(tmp_path)) == ["/srv/shop/shared/all", "/srv/shop/shared/media"]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePaths:
    for name, place in (("shared", tmp_path / "shared"), ("state", tmp_path / "state")):
        place.mkdir()
        monkeypatch.setattr(SitePaths, name, place)
    account = type("Account", (), {"pw_uid": UID})
    monkeypatch.setattr(media_access.pwd, "getpwnam", lambda _name: account)
    monkeypatch.setattr(media_access.grp, "getgrnam", lambda _name: type("Group", (), {"gr_gid": GID}))
    return SitePaths("shop")


def test_open_up_walks_each_directory_once(shop: SitePaths) -> None:
    asked: list[list[str]] = []

    def run(words: Sequence[Any], **_more: Any) -> Completed:
        place = words.index("--")
        asked.append(list(words[place + 5 :]))
        assert not any("SUIDSGID" in word for word in words)
        media_access.make(Path(asked[-1][0]), asked[-1][3:], UID, GID)
        return Completed((), 0, "", "")

    for _twice in range(2):
        media_access.open_up(shop, ["media", "private"], run)
    assert [words[3:] for words in asked] == [["media", "private"]]
    (shop.shared / "media").rmdir()
    (shop.shared / "media").mkdir()
    media_access.open_up(shop, ["media", "private"], run)
    assert asked[-1][3:] == ["media"], "another directory of that name"
    assert set(json.loads((shop.state / "media_access.json").read_text())) == {"media", "private"}


def test_open_up_tells_what_is_in_the_way(shop: SitePaths) -> None:
    def run(words: Sequence[Any], **_more: Any) -> Completed:
        return Completed((), 1, "", "media: Not a directory")

    with pytest.raises(EngineError, match="cannot be opened to nginx: media below"):
        media_access.open_up(shop, ["media"], run)


def test_settle_leaves_uploads_behind_a_link_and_tells(shop: SitePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_up(_paths: SitePaths, directories: Sequence[str]) -> None:
        if directories:
            raise EngineError("the uploads cannot be opened")

    monkeypatch.setattr(media_access, "open_up", open_up)
    (shop.shared / "files").mkdir(mode=0o755)
    told = media_access.settle(shop, [str(shop.shared / "files")], [], None)
    assert len(told) == 1 and told[0].startswith("warning: the uploads cannot be opened")
    assert mode(shop.shared / "files") == 0o755
