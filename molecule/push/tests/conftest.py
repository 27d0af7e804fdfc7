# SPDX-License-Identifier: GPL-3.0-or-later
"""Sites that are live already, whichever test comes first."""

from __future__ import annotations

import pytest


@pytest.fixture
def pushed_notes(site):
    """The site `notes` with what its project holds live."""
    notes = site("notes")
    pushed = notes.push()
    assert pushed.status == 0, pushed.output
    return notes


@pytest.fixture
def branch(server):
    """The commit a branch points at on the host; empty when there is none."""

    def of(site: str, name: str = "main") -> str:
        return server.run(
            "git -c safe.directory='*' -C /srv/%s/repo.git rev-parse --verify -q %s", site, name
        ).stdout.strip()

    return of


@pytest.fixture
def running(server):
    """The units of a site's releases that run."""

    def of(site: str) -> list[str]:
        pattern = f"djdeploy-{site}@*.service"
        told = server.check_output("systemctl list-units --plain --no-legend --state=active %s", pattern)
        return [line.split()[0] for line in told.splitlines()]

    return of
