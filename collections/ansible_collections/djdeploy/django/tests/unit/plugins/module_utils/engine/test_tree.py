# SPDX-License-Identifier: GPL-3.0-or-later
"""Links and directories of a site: real renames, real hard links."""

from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import tree


def fill(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


# --- the pointer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(None, id="nothing"),
        pytest.param("releases/a", id="another"),
        pytest.param("releases/b", id="the_same"),
        pytest.param("releases/gone", id="dangling"),
    ],
)
def test_point(tmp_path: Path, before: str | None) -> None:
    link = tmp_path / "current"
    if before:
        link.symlink_to(before)
    (tmp_path / ".current.new").symlink_to("left by a crash")
    tree.point(link, "releases/b")
    assert os.readlink(link) == "releases/b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current"]


def test_point_is_never_absent(tmp_path: Path) -> None:
    """Somebody who looks all the time always sees the one or the other."""
    link, stop, seen = tmp_path / "current", threading.Event(), set()
    tree.point(link, "a")

    def look() -> None:
        while not stop.is_set():
            seen.add(os.readlink(link))

    watcher = threading.Thread(target=look)
    watcher.start()
    end = time.monotonic() + 120
    for number in itertools.count():
        tree.point(link, "ab"[number % 2])
        if number >= 100 and (seen >= {"a", "b"} or time.monotonic() > end):  # it may be a while before the other looks
            break
    stop.set()
    watcher.join()
    assert seen == {"a", "b"}


def test_point_never_replaces_a_directory(tmp_path: Path) -> None:
    fill(tmp_path, {"current/mine": "x"})
    with pytest.raises(OSError):
        tree.point(tmp_path / "current", "releases/b")
    assert content(tmp_path) == {"current/mine": "x"}


# --- files and directories ------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, 0o700, 0o777])
def test_make_directory(tmp_path: Path, before: int | None) -> None:
    path = tmp_path / "made"
    if before is not None:
        path.mkdir(mode=before)
    tree.make_directory(path, 0o750, os.getuid(), os.getgid())
    assert path.stat().st_mode & 0o7777 == 0o750


def test_write_file_has_its_mode_whatever_the_umask(host: Path) -> None:
    path, before = host / "file", os.umask(0)
    try:
        tree.write_file(path, "text", 0o640, os.getgid())
    finally:
        os.umask(before)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("text", 0o640)


def test_remove_tree(tmp_path: Path) -> None:
    fill(tmp_path, {"kept/x": "x", "gone/y": "y"})
    (tmp_path / "gone" / "link").symlink_to("../kept")
    (tmp_path / "link").symlink_to("kept")
    for name in ("gone", "link", "missing"):
        tree.remove_tree(tmp_path / name)
    assert content(tmp_path) == {"kept/x": "x"}, "links are not followed"
    assert (tmp_path / "link").is_symlink(), "what is no directory is not ours to remove"


def test_remove_tree_takes_the_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed on the way, it leaves nothing that looks like a release; the next time it goes on."""
    fill(tmp_path, {"gone/y": "y"})
    with monkeypatch.context() as killed:
        killed.setattr(tree.beneath, "remove", lambda path: None)
        tree.remove_tree(tmp_path / "gone")
    assert content(tmp_path) == {".gone.gone/y": "y"}
    fill(tmp_path, {"gone/y": "y"})
    tree.remove_tree(tmp_path / "gone")
    assert content(tmp_path) == {}


# --- static files of several releases -------------------------------------------------------------


@pytest.mark.parametrize(
    ("releases", "expected", "added"),
    [
        pytest.param([{"a.css": "1"}], {"a.css": "1"}, [1], id="first"),
        pytest.param([{"a.1.css": "1"}, {"a.2.css": "2"}], {"a.1.css": "1", "a.2.css": "2"}, [1, 1], id="union"),
        pytest.param([{"a.css": "1"}, {"a.css": "2"}], {"a.css": "2"}, [1, 1], id="newest_wins"),
        pytest.param(
            [{"shop/a": "1", "b": "1"}, {"shop/c/d": "2"}],
            {"shop/a": "1", "b": "1", "shop/c/d": "2"},
            [2, 1],
            id="folders",
        ),
        pytest.param([{"app": "1"}, {"app/x.js": "2"}], {"app/x.js": "2"}, [1, 1], id="file_becomes_folder"),
        pytest.param([{"app/x.js": "1"}, {"app": "2"}], {"app": "2"}, [1, 1], id="folder_becomes_file"),
        pytest.param([{}, {"a": "1"}], {"a": "1"}, [0, 1], id="empty"),
    ],
)
def test_keep_links(tmp_path: Path, releases: list[dict[str, str]], expected: dict[str, str], added: list[int]) -> None:
    kept = tmp_path / "kept" / "static"
    found = []
    for number, files in enumerate(releases):
        source = fill(tmp_path / str(number), files)
        source.mkdir(exist_ok=True)
        found.append(tree.keep_links(source, kept))
        assert tree.keep_links(source, kept) == 0, "a second time adds nothing"
    assert content(kept) == expected
    assert found == added


def test_keep_links_that_fail_lose_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, kept = (
        fill(tmp_path / "old", {"a.css": "old"}),
        fill(tmp_path / "new", {"a.css": "new"}),
        tmp_path / "kept",
    )
    tree.keep_links(old, kept)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space left"):
        tree.keep_links(new, kept)
    assert content(kept) == {"a.css": "old"}


def test_keep_links_keeps_what_a_link_leads_to(tmp_path: Path) -> None:
    """Among the files of other releases a link could lead anywhere: here `up` does, once `deep` is a directory."""
    kept = tmp_path / "kept" / "static"
    first = fill(tmp_path / "first", {"a": "1", "w/x/y/b": "2", "secret": "3"})
    for name, target in {"nowhere": "missing", "same": "a", "deep": "w/x/y", "up": "deep/../../../secret"}.items():
        (first / name).symlink_to(target)
    (tmp_path / "secret").write_text("canary")
    second = fill(tmp_path / "second", {"deep/c": "4"})
    for source in (first, first, second):
        tree.keep_links(source, kept)
    assert content(kept) == {"a": "1", "same": "1", "w/x/y/b": "2", "secret": "3", "up": "3", "deep/c": "4"}
    assert not any(path.is_symlink() for path in kept.rglob("*"))


def test_keep_links_takes_no_room(tmp_path: Path) -> None:
    source = fill(tmp_path / "release", {"a": "1"})
    tree.keep_links(source, tmp_path / "kept")
    assert (tmp_path / "kept" / "a").stat().st_ino == (source / "a").stat().st_ino


def test_drop_last_links_when_a_release_is_pruned(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    old = fill(tmp_path / "old", {"same.css": "0", "old/old.css": "1"})
    new = fill(tmp_path / "new", {"new/new.css": "2"})
    os.link(old / "same.css", new / "same.css")
    tree.keep_links(old, kept)
    tree.keep_links(new, kept)
    assert tree.drop_last_links(kept, 0) == 0, "both releases are there"
    tree.remove_tree(old)
    assert tree.drop_last_links(kept, 60) == 0, "a page of the old one may be on its way"
    assert tree.drop_last_links(kept, 0) == 1
    assert content(kept) == {"new/new.css": "2", "same.css": "0"}
    assert not (kept / "old").exists(), "no empty directories are left"
    assert content(new) == {"new/new.css": "2", "same.css": "0"}


def test_drop_last_links_without_a_directory(tmp_path: Path) -> None:
    assert tree.drop_last_links(tmp_path / "missing", 0) == 0


# --- a full disk ----------------------------------------------------------------------------------


def test_even_when_full_gives_up_the_reserve_once(tmp_path: Path) -> None:
    tree.keep_reserve(tmp_path / ".reserve")
    assert (tmp_path / ".reserve").stat().st_blocks * 512 >= tree.RESERVE, "a hole would be no room"
    tries = []

    def act() -> None:
        tries.append((tmp_path / ".reserve").exists())
        if len(tries) == 1:
            raise OSError(28, "No space left on device")

    tree.even_when_full(tmp_path / ".reserve", act)
    assert tries == [True, False]


@pytest.mark.parametrize(
    ("number", "reserve", "tried"),
    [
        pytest.param(28, True, 2, id="still_full"),
        pytest.param(28, False, 1, id="no_reserve_left"),
        pytest.param(5, True, 1, id="another_error"),
    ],
)
def test_even_when_full_raises_what_room_does_not_mend(tmp_path: Path, number: int, reserve: bool, tried: int) -> None:
    if reserve:
        tree.keep_reserve(tmp_path / ".reserve")
    tries = []

    def act() -> None:
        tries.append(1)
        raise OSError(number, "no")

    with pytest.raises(OSError, match="no"):
        tree.even_when_full(tmp_path / ".reserve", act)
    assert len(tries) == tried
    assert (tmp_path / ".reserve").exists() == (number == 5)


def test_point_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.keep_reserve(tmp_path / ".reserve")
    tree.point(tmp_path / "current", "releases/a")
    real = Path.symlink_to

    def full(path: Path, target: str) -> None:
        if (tmp_path / ".reserve").exists():
            raise OSError(28, "No space left on device", str(path))
        real(path, target)

    monkeypatch.setattr(Path, "symlink_to", full)
    tree.point(tmp_path / "current", "releases/b")
    assert os.readlink(tmp_path / "current") == "releases/b"
