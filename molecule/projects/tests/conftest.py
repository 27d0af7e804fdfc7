# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of a case on a host, for all tests of the scenario."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Machine, Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus

#: The last test of each site of each host.
LAST = pytest.StashKey[dict[tuple[str, str], pytest.Item]]()
#: Its units, its processes and what its schedule starts; its redis.
UNITS = ("djdeploy-{}@*", "djdeploy-{}.*", "redis-server@{}.*")


def whose(item: pytest.Item) -> tuple[str, str] | None:
    """The site and the host of a test."""
    given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return (given["case"].name, given["host"]) if {"case", "host"} <= given.keys() else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[LAST] = {found: item for item in items if (found := whose(item))}


@pytest.fixture
def site(
    request: pytest.FixtureRequest, case: corpus.Case, host: str, fleet: dict[str, Machine], ephemeral: Path
) -> Iterator[Site]:
    """The site of a case, and its project in a directory of the host's own: two hosts may have the same one.

    Its last test stops it: fifty sites that nobody asks any more would take a quarter of the processor.
    """
    folder = ephemeral / "projects" / host
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "laptop").exists():
        (folder / "laptop").symlink_to(ephemeral / "laptop")
    corpus.make(case, folder / "projects" / case.name)
    if case.prepare:
        fleet[host].root(corpus.program(case))
    yield Site(case.name, fleet[host], folder)
    if request.node is request.config.stash[LAST][case.name, host]:
        units = " ".join(f"'{unit.format(case.name)}'" for unit in UNITS)
        fleet[host].root(f"systemctl stop {units}")
