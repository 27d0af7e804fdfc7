# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites that serve already, and what their host says of them."""

from __future__ import annotations

import pytest
from hosts import eventually


@pytest.fixture
def branch(server):
    """The commit the branch of a site points at on the host."""

    def of(name: str) -> str:
        command = f"git -c safe.directory='*' -C /srv/{name}/repo.git rev-parse --verify -q main"
        return server.run(command).stdout.strip()

    return of


@pytest.fixture
def at_rest(server):
    """Wait until no deployer works any more."""

    def wait() -> None:
        pattern = "systemctl list-units --plain --no-legend 'djdeploy-deployer*@*' 'djdeploy-recover*'"
        eventually(lambda: server.run(pattern).stdout.strip() == "", 600, "the deploys end")

    return wait


@pytest.fixture(scope="module")
def serving(site):
    """A site with its project live."""

    def named(name: str):
        own = site(name)
        pushed = own.push()
        assert pushed.status == 0, pushed.output
        return own

    return named
