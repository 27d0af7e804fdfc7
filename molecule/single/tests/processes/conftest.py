# SPDX-License-Identifier: GPL-3.0-or-later
"""The site `works`, live, and what it tells of its work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import works as made


@pytest.fixture(scope="session")
def works(site, ephemeral):
    """The site with what its project holds live."""
    found = site("works")
    made.make(ephemeral / "projects" / "works")
    pushed = found.push()
    assert pushed.status == 0, pushed.output
    return found


@pytest.fixture
def done(server):
    """Lines of the file in which everything tells what it did: its words, without the release, and the release."""

    def of(kind: str) -> list[tuple[str, str]]:
        text = server.run("cat /srv/works/shared/done.log").stdout
        lines = [line.split() for line in text.splitlines()]
        return [(words[1], words[-1]) for words in lines if words[0] == kind]

    return of
