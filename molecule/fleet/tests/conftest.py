# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites on each of the web hosts, the database host, and the host with the services around them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hosts import Machine, Playbooks, Site
from testinfra.host import Host as Inspected

WEB = ("fleet-web1", "fleet-web2")


@pytest.fixture(params=WEB)
def name(request: pytest.FixtureRequest) -> str:
    """Each of the web hosts."""
    host: str = request.param
    return host


@pytest.fixture(scope="session")
def site_on(fleet: dict[str, Machine], ephemeral: Path) -> Callable[[str, str], Site]:
    """A site on a host: `site_on("notes", "fleet-web2").get("/")`. Its project is the same on all of them."""

    def named(site: str, host: str) -> Site:
        return Site(site, fleet[host], ephemeral)

    return named


@pytest.fixture(scope="session")
def notes(site_on: Callable[[str, str], Site]) -> dict[str, Site]:
    """The site of both web hosts, live on each, by the name of the host."""
    sites = {host: site_on("notes", host) for host in WEB}
    for each in sites.values():
        pushed = each.push()
        assert pushed.status == 0, pushed.output
    return sites


@pytest.fixture
def inside(fleet: dict[str, Machine], inspect: Callable[[Machine], Inspected]) -> Callable[[str], Inspected]:
    """A host by its name, to look into."""
    return lambda host: inspect(fleet[host])


@pytest.fixture
def database(
    playbooks: Playbooks, fleet: dict[str, Machine], inspect: Callable[[Machine], Inspected]
) -> Callable[[str], str]:
    """The answer of PostgreSQL to its own superuser, in the database of the site."""
    host = inspect(fleet[playbooks.host_names("database")[0]])

    def ask(question: str, name: str = "postgres") -> str:
        return host.check_output("runuser -u postgres -- psql -tAc %s %s", question, name).strip()

    return ask


@pytest.fixture
def database_url(inside: Callable[[str], Inspected]) -> Callable[[str], str]:
    """Where the site `notes` of a host has its database, its password among it."""

    def of(host: str) -> str:
        line = inside(host).check_output("sed -n 's/^DATABASE_URL=//p' /etc/djdeploy/sites/notes.env")
        return line.strip().strip("\"'")

    return of
