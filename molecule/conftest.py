# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios use: hosts as they are reached, requests, pushes, playbooks.

The tests run inside `molecule verify`, which says by MOLECULE_* where the scenario keeps its things. A test that
fails shows the last lines of the host's journal with it: the reason is usually there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host as Inspected

SHARED = Path(__file__).resolve().parent / "shared"
ROOT = SHARED.parent.parent
sys.path.insert(0, str(SHARED))

import passed_tests  # noqa: E402  (found by the line above)
import ring_hooks  # noqa: E402
from hosts import Machine, Playbooks, Response, Site, machines  # noqa: E402
from ring_hooks import pytest_collection_modifyitems, pytest_testnodedown  # noqa: E402, F401  (pytest's hooks)

JOURNAL = ("journalctl", "--no-pager", "--lines", "60", "--unit", "djdeploy-*", "--unit", "nginx.service")


def pytest_configure(config: pytest.Config) -> None:
    ring_hooks.pytest_configure(config)
    passed_tests.register(config)


@pytest.fixture(scope="session")
def ephemeral() -> Path:
    """Where molecule keeps what belongs to this run of the scenario."""
    if "MOLECULE_EPHEMERAL_DIRECTORY" not in os.environ:
        pytest.exit("these tests run inside molecule: script/test molecule, or molecule verify -s <scenario>", 2)
    return Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


@pytest.fixture(scope="session")
def playbooks(ephemeral: Path) -> Playbooks:
    """Playbooks against the inventory of the scenario."""
    scenario = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
    return Playbooks(ROOT, (ephemeral / "inventory", scenario / "inventory"))


@pytest.fixture(scope="session")
def fleet(playbooks: Playbooks) -> dict[str, Machine]:
    """The booted hosts of the scenario by name."""
    return machines(playbooks.host_names())


@pytest.fixture(scope="session", autouse=True)
def _hosts_are_known_first(fleet: dict[str, Machine]) -> None:
    """Before any other fixture: one that fails is told with the journals of the hosts, too."""


@pytest.fixture(scope="session")
def web(fleet: dict[str, Machine], playbooks: Playbooks) -> Machine:
    """The web host of the scenario."""
    return fleet[playbooks.host_names("web")[0]]


@pytest.fixture(scope="session")
def inspect(ephemeral: Path) -> Callable[[Machine], Inspected]:
    """Look into a host with testinfra."""

    def look(machine: Machine) -> Inspected:
        return testinfra.get_host(f"ansible://{machine.name}?ansible_inventory={ephemeral / 'inventory'}")

    return look


@pytest.fixture(scope="session")
def server(web: Machine, inspect: Callable[[Machine], Inspected]) -> Inspected:
    """The web host, to look into."""
    return inspect(web)


@pytest.fixture(scope="session")
def site(web: Machine, ephemeral: Path) -> Callable[[str], Site]:
    """A site of the web host: `site("notes").get("/")`."""

    def named(name: str) -> Site:
        return Site(name, web, ephemeral)

    return named


@pytest.fixture
def http(web: Machine) -> Callable[..., Response]:
    """One request to the web host as any client may send it: `http("notes.test", "/")`."""
    return web.request


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the journals of all hosts with the failure of a test or of its fixtures."""
    report: Any = yield
    if report.failed and call.when != "teardown":
        known: dict[str, Machine] = getattr(item, "funcargs", {}).get("fleet") or {}
        for each in known.values():
            said = subprocess.run(each.ssh_words(*JOURNAL), capture_output=True, text=True, check=False, timeout=300)
            report.sections.append((f"journal of {each.name}", said.stdout + said.stderr))
    return report


@pytest.fixture
def status(server: Inspected) -> Callable[[str], dict[str, Any]]:
    """What `djdeploy status` of the web host says of a site."""

    def of(name: str) -> dict[str, Any]:
        done = server.run("djdeploy status %s --json", name)
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found

    return of
