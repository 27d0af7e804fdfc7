# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of a case on a host, for all tests of the scenario."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hosts import Machine, Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus


@pytest.fixture
def site(case: corpus.Case, host: str, fleet: dict[str, Machine], ephemeral: Path) -> Site:
    """The site of a case, and its project in a directory of the host's own: two hosts may have the same one."""
    folder = ephemeral / "projects" / host
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "laptop").exists():
        (folder / "laptop").symlink_to(ephemeral / "laptop")
    corpus.make(case, folder / "projects" / case.name)
    if case.prepare:
        fleet[host].root(corpus.program(case))
    return Site(case.name, fleet[host], folder)
