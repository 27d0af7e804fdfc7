# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python of a site that is not the distribution's: brought by uv, installed by somebody, or not to be had."""

from __future__ import annotations

import sys
from pathlib import Path

import projects
import pytest
from hosts import Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus
from cases import params

NAME = "python-other"
MANAGED = "/var/lib/djdeploy/pythons/cpython-3.11.2-linux-*"
pytestmark = pytest.mark.parametrize(("case", "host"), params(NAME))
#: What settles after each release, as if a day were gone.
PRUNE = """\
import time
then = time.time() + 90000
time.time = lambda: then
from djdeploy_engine import pythons
pythons.prune()
"""


def wants(site: Site, specifier: str, version: str = "") -> None:
    """Commit what the project asks for.

    :param version: for .python-version.
    """
    text = (corpus.CORPUS / NAME / "pyproject.toml").read_text()
    projects.write(site.project, "pyproject.toml", text.replace(">=3.11,<3.12", specifier))
    (site.project / ".python-version").unlink(missing_ok=True)
    if version:
        projects.write(site.project, ".python-version", f"{version}\n")
    projects.commit(site.project, f"Want {specifier}")


def python_of(site: Site) -> str:
    return site.machine.root(f"readlink -f /srv/{NAME}/current/.venv/bin/python").strip()


def managed(site: Site) -> list[str]:
    """The Pythons of uv after a day's wait."""
    site.machine.root(f"PYTHONPATH=/usr/local/lib/djdeploy/engine python3 -sP -c '{PRUNE}'")
    return site.machine.root(f"ls -d {MANAGED} 2> /dev/null || true").split()


def test_uvs_python_serves_and_belongs_to_root(site: Site) -> None:
    assert "/cpython-3.11.2-" in python_of(site)
    closed = "-name .cache -perm 700 -prune"  # holds a lock that uv lets everybody hold
    looks = f"find /var/lib/djdeploy/pythons {closed} -o ! -type l '(' ! -user root -o -perm /o+w ')' -print"
    assert site.machine.root(looks) == ""


def test_python_that_cannot_be_fetched_is_refused_with_what_to_do(site: Site) -> None:
    wants(site, ">=3.12,<3.13")
    refused = site.push()
    site.undo()
    assert refused.status != 0, refused.output
    assert "the project needs Python >=3.12,<3.13 (pyproject.toml: requires-python)" in refused.output
    assert "uv cannot fetch Python 3.12.1" in refused.output, refused.output
    assert "engine_python_mirror" in refused.output, refused.output
    assert "virtualenv " not in refused.output, "it is refused before anything is built"
    assert "/cpython-3.11.2-" in python_of(site)


@pytest.mark.full
def test_python_that_is_only_wished_for_stops_nobody(site: Site) -> None:
    wants(site, ">=3.11", "3.12")
    pushed = site.push()
    assert pushed.status == 0, pushed.output
    assert "the project asks for Python 3.12 (.python-version); it gets 3.13." in pushed.output, pushed.output
    assert "uv cannot fetch Python 3.12.1" in pushed.output or "could not fetch Python 3.12.1" in pushed.output
    assert python_of(site) == "/usr/bin/python3.13"
    assert managed(site), "the release before stands on it, and somebody may go back to that"


@pytest.mark.full
def test_python_that_somebody_installed_comes_before_uvs(site: Site) -> None:
    site.machine.root("cp -a /opt/pythons/python /opt/python3.11")
    wants(site, ">=3.11,<3.12")
    pushed = site.push()
    assert pushed.status == 0, pushed.output
    assert "Python 3.11.2 at /opt/python3.11/bin/python3.11" in pushed.output, pushed.output
    assert python_of(site) == "/opt/python3.11/bin/python3.11"


@pytest.mark.full
def test_uvs_python_goes_when_no_release_stands_on_it(site: Site) -> None:
    assert managed(site) == []
    assert site.get("/").status == 200
