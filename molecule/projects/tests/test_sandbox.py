# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build command reaches on a host: nothing of the site, of others or of the network; and how one fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Machine, Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus

NAME = "build-commands"
CASE = next(case for case in corpus.cases() if case.name == NAME)
ALLOWED = {"a directory of its own"}  # its cache
GIVEN = {"NOTES_GREETING": 'Grüße: "$HOME" %n', "SECRET_KEY": "only-for-the-build"}


HOSTS = [pytest.param(host, marks=pytest.mark.xdist_group(host)) for host in CASE.hosts]
pytestmark = [
    pytest.mark.skipif(CASE not in corpus.chosen(), reason="the case is not chosen (DJDEPLOY_CASES)"),
    pytest.mark.parametrize("host", HOSTS),
]


@pytest.fixture
def site(host: str, fleet: dict[str, Machine], ephemeral: Path) -> Site:
    """The site of the case as test_corpus.py left it: pushed twice, so there is a `current` to be written to."""
    return Site(NAME, fleet[host], ephemeral / "projects" / host)


@pytest.fixture
def changes(site: Site) -> Iterator[Site]:
    """The site, with what a test committed taken back."""
    before = site.head()
    yield site
    site.undo(before)


def on_host(site: Site, command: str) -> str:
    done = subprocess.run(site.machine.ssh_words(command), capture_output=True, text=True, check=True)
    return done.stdout


def test_it_reaches_nothing(site: Site) -> None:
    found = site.get("/static/probe.json").json()
    given = {name: found.pop(name) for name in GIVEN}
    assert {name for name, result in found.items() if result == "done"} == ALLOWED, found
    assert given == GIVEN


def test_what_was_tried_is_there(site: Site) -> None:
    """The same attempts outside the sandbox: else they would fail for another reason than the sandbox."""
    probe = f"/srv/{NAME}/current/code/probe.py"
    on_host(site, f"NOTES_SECRET=x python3 {probe} /tmp /tmp/probe.json")
    found = json.loads(on_host(site, "cat /tmp/probe.json"))
    refused = {name for name, result in found.items() if result != "done"} - set(GIVEN)
    assert refused == set(), found


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("raise SystemExit('the front end is broken')", ["the front end is broken", "failed (status 1)"]),
        ("import socket; socket.create_connection(('example.invalid', 443))", ["build_network: true"]),
        ("open('/etc/djdeploy/sites/build-commands.env')", ["No such file or directory"]),
        ("import time; time.sleep(60)", ["did not end within 5 s", "build_timeout"]),
    ],
)
def test_a_build_that_fails(changes: Site, command: str, says: list[str]) -> None:
    live = on_host(changes, f"readlink /srv/{NAME}/current; ls -A /srv/{NAME}/releases")
    changes.change("probe.py", f"{command}\n")
    refused = changes.push()
    assert refused.status != 0
    for text in says:
        assert text in refused.output, refused.output
    assert on_host(changes, f"readlink /srv/{NAME}/current; ls -A /srv/{NAME}/releases") == live
    assert on_host(changes, "systemctl list-units --all --no-legend 'djdeploy-*.build.service'").strip() == ""
    assert changes.get("/").status == 200
