# SPDX-License-Identifier: GPL-3.0-or-later
"""Data of a project that keeps it in its own tree outlives the release it came with."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def file(site):
    """The site whose project writes an SQLite file and media beside its code."""
    own = site("file")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


def test_sqlite_file_and_media_move_to_shared(file, server):
    assert server.file("/srv/file/shared/db.sqlite3").user == "file"
    assert file.inside()["database"] == "sqlite"
    assert file.get("/media/brought.txt").text == "brought in the tree\n"


def test_rows_and_uploads_outlive_a_release(file, status):
    assert file.post("/add", {"text": "kept over a release"}).status == 302
    url = file.upload("/upload", "kept.txt", b"kept over a release").text
    before = status("file")["live"]["id"]
    file.change("notes/views.py", "\n# another release\n", append=True)
    pushed = file.push()
    assert pushed.status == 0, pushed.output
    assert status("file")["live"]["id"] != before
    assert "kept over a release" in file.get("/").text
    assert file.get(url).text == "kept over a release"
    assert file.get("/media/brought.txt").status == 200
