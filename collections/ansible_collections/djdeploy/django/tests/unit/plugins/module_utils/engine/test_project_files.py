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
