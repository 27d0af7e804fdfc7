# SPDX-License-Identifier: GPL-3.0-or-later
"""Files laid into a tree: beside what was pushed, never in its place and never out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import project_files
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.project import DirectoryTree, TextTree

TREE = TextTree({"manage.py": "", "shop/settings.py": ""}, {"conf": "shop"})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("shop/settings.py", "is in the repository, and project_files would replace it"),
        ("conf", "is in the repository"),
        ("conf/local.py", "conf is a link"),
        ("manage.py/local.py", "manage.py is a file"),
        ("shop", "that is a directory"),
    ],
)
def test_refused(path: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        project_files.refuse([path], TREE.paths, TREE.links)


@pytest.mark.parametrize("path", ["shop/local_settings.py", ".env", "new/folder/.env", "shop2"])
def test_taken(path: str) -> None:
    project_files.refuse([path], TREE.paths, TREE.links)


def test_folders() -> None:
    assert project_files.folders(["a/b/c", "a/d", "e"]) == ["a", "a/b"]


def test_lay(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "settings.py").write_text("")
    text = "PASSWORD = 'a\\nb$'\r\n"
    files = {"shop/local_settings.py": text, "deep/er/.env": "A=1"}
    project_files.lay(files, DirectoryTree(tmp_path), tmp_path, os.getuid(), os.getgid())
    laid = tmp_path / "shop" / "local_settings.py"
    assert laid.read_bytes() == text.encode()
    assert laid.stat().st_mode & 0o777 == 0o640
    assert set(files) <= set(DirectoryTree(tmp_path).paths)
    with pytest.raises(EngineError):
        project_files.lay({"x": "1", "shop/settings.py": "2"}, DirectoryTree(tmp_path), tmp_path, 0, 0)
    assert not (tmp_path / "x").exists(), "something was written although it was refused"


def test_commands_find_nothing_in_them_and_the_site_finds_all(tmp_path: Path) -> None:
    """Whatever a command did to one: it is a file of ours again, and no link of the command's is followed."""
    files = {".env": "A=1", "conf/.env": "B=2", "gone/.env": "C=3", "link/.env": "D=4"}
    project_files.lay(files, DirectoryTree(tmp_path), tmp_path, os.getuid(), os.getgid())
    outside = tmp_path.parent / "outside"
    outside.write_text("theirs")
    with project_files.hollowed(files, tmp_path, os.getuid(), os.getgid()):
        assert [(tmp_path / path).read_text() for path in files] == [""] * 4
        (tmp_path / ".env").unlink()
        (tmp_path / ".env").symlink_to(outside)
        (tmp_path / "gone/.env").unlink()
        (tmp_path / "gone").rmdir()
        (tmp_path / "conf/.env").write_text("made up")
    assert [(tmp_path / path).read_text() for path in files] == list(files.values())
    assert not (tmp_path / ".env").is_symlink() and outside.read_text() == "theirs"


@pytest.mark.parametrize("by", ["link", "directory"])
def test_what_is_in_the_way_of_one_is_told(tmp_path: Path, by: str) -> None:
    files = {"conf/.env": "B=2"}
    project_files.lay(files, DirectoryTree(tmp_path), tmp_path, os.getuid(), os.getgid())
    outside = tmp_path.parent / f"outside-{by}"
    outside.mkdir()
    with (
        pytest.raises(EngineError, match=r"conf/\.env of project_files cannot be laid again"),
        project_files.hollowed(files, tmp_path, os.getuid(), os.getgid()),
    ):
        (tmp_path / "conf/.env").unlink()
        if by == "link":
            (tmp_path / "conf").rmdir()
            (tmp_path / "conf").symlink_to(outside)
        else:
            (tmp_path / "conf/.env").mkdir()
    assert list(outside.iterdir()) == []
