# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders share a host: their order, and that the sites of one that is through are no burden to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import resting
from hosts import Machine, Site

HERE = Path(__file__).resolve().parent
#: First what runs site.yml, which starts every site; last what reboots the host and keeps its timers busy.
ORDER = ("again", "move", "*", "rollback", "processes")
#: The sites that the tests of the present folder have asked for, by name; nothing is stopped where one has failed.
ASKED = pytest.StashKey[dict[str, Site]]()
FAILED = pytest.StashKey[set[Path]]()


def folder_of(item: pytest.Item) -> Path:
    """The folder of tests of a capability."""
    return HERE / item.path.relative_to(HERE).parts[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[ASKED], config.stash[FAILED] = {}, set()
    items.sort(key=lambda item: ORDER.index(name if (name := folder_of(item).name) in ORDER else "*"))


@pytest.fixture(scope="session")
def site(web: Machine, ephemeral: Path, pytestconfig: pytest.Config) -> Callable[[str], Site]:
    """A site of the web host, which runs although an earlier run of tests was through with it."""
    asked = pytestconfig.stash[ASKED]

    def named(name: str) -> Site:
        if name not in asked:
            asked[name] = Site(name, web, ephemeral)
            resting.wake(asked[name])
        return asked[name]

    return named


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.failed:
        item.config.stash[FAILED].add(folder_of(item))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Behind the last test of a folder its sites are stopped. One that is run alone has nothing behind it."""
    yield
    if nextitem is None or folder_of(nextitem) == folder_of(item):
        return
    asked = item.config.stash[ASKED]
    if folder_of(item) not in item.config.stash[FAILED]:
        for each in asked.values():
            resting.stop(each)
    asked.clear()
