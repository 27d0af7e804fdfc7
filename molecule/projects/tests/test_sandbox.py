# SPDX-License-Identifier: GPL-3.0-or-later
"""What a build command reaches on a host: nothing of the site, of others or of the network; and how one fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hosts import Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cases import params

NAME = "build-commands"
ALLOWED = {"a directory of its own"}  # its cache
GIVEN = {"NOTES_GREETING": 'Grüße: "$HOME" %n', "SECRET_KEY": "only-for-the-build"}
pytestmark = pytest.mark.parametrize(("case", "host"), params(NAME))
in_full = partial(pytest.param, marks=pytest.mark.full)


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
        in_full("import socket; socket.create_connection(('example.invalid', 443))", ["build_network: true"]),
        in_full("open('/etc/djdeploy/sites/build-commands.env')", ["No such file or directory"]),
        in_full("import time; time.sleep(600)", ["did not end within 10 s", "build_timeout"]),
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
