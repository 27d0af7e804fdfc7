# SPDX-License-Identifier: GPL-3.0-or-later
"""The site of a case on a host, for all tests of the scenario."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import resting
from hosts import Machine, Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus

#: The last test of each site of each host, and the sites that a test failed of.
LAST = pytest.StashKey[dict[tuple[str, str], pytest.Item]]()
FAILED = pytest.StashKey[set[tuple[str, str]]]()


def whose(item: pytest.Item) -> tuple[str, str] | None:
    """The site and the host of a test."""
    given = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    case = given.get("case")  # no case at all where none of a test's is chosen
    return (case.name, given["host"]) if isinstance(case, corpus.Case) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """The tests of a site on a host need one another, and no others."""
    if found := whose(item):
        item.add_marker(pytest.mark.independent(" on ".join(found)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[LAST] = {found: item for item in items if (found := whose(item))}
    config.stash[FAILED] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.failed and (found := whose(item)):
        item.config.stash[FAILED].add(found)
    return report


def is_done(request: pytest.FixtureRequest, case: corpus.Case, host: str) -> bool:
    """Whether nobody asks a site any more: its last test passed, as all before it. One run alone may be run again."""
    stash, is_alone = request.config.stash, not hasattr(request.config, "workerinput")
    return request.node is stash[LAST][case.name, host] and (case.name, host) not in stash[FAILED] and not is_alone


@pytest.fixture
def site(
    request: pytest.FixtureRequest, case: corpus.Case, host: str, fleet: dict[str, Machine], ephemeral: Path
) -> Iterator[Site]:
    """The site of a case, and its project in a directory of the host's own: two hosts may have the same one.

    After its last test it is stopped. A test that comes later, alone, starts it again.
    """
    folder = ephemeral / "projects" / host
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "laptop").exists():
        (folder / "laptop").symlink_to(ephemeral / "laptop")
    corpus.make(case, folder / "projects" / case.name)
    own = Site(case.name, fleet[host], folder)
    resting.wake(own)
    if case.prepare:
        fleet[host].root(corpus.program(case))
    yield own
    if is_done(request, case, host):
        resting.stop(own)
