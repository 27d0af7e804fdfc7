# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a test of this folder tries: the site `neighbour` answers all along, and nothing of it or of root's changes.

The neighbour does nothing and has what a site can have: a row, an upload, a protected file, secrets, a log. Behind each
test its directories, /etc and our own programs are compared with what they were before (`neighbour_state.py` says with
which exceptions, and why), in one command on the host; a module's fixtures are part of its first test. Meanwhile a
visitor asks its page and its stylesheet all the time. No attack is excepted: one that may delay the neighbour (a fork
bomb, memory, connections) delays it by less than the minute its visitor waits.
"""

from __future__ import annotations

import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Machine, Site
from load import Visitors

STATE = Path(__file__).with_name("neighbour_state.py")
ATTACKERS = ("canaries", "customer", "fenced", "greedy", "greedy-eu", "swaps", "treasure", "uploader")
#: Laid once; so that a second run on the same host finds the neighbour as it was.
FILL = """
umask 027
cd /srv/neighbour/shared
runuser -u neighbour -- sh -c 'umask 027; mkdir -p private; echo kept-by-the-neighbour > private/protected.txt'
"""


class Visitor(Visitors):
    """One, who makes a connection for each request: nginx closes those that are kept when it is told to reload."""

    def __init__(self, site: Site) -> None:
        super().__init__(site, 0, pause=0.1)
        self.threads = [threading.Thread(target=self.visit, args=(False,))]


@pytest.fixture(scope="session")
def neighbour(site: Callable[[str], Site], web: Machine) -> Site:
    """The site beside all that is tried, live and full."""
    own = site("neighbour")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    if "kept-by-the-neighbour" not in own.get("/").text:
        assert own.post("/add", {"text": "kept-by-the-neighbour"}).status == 302
        assert own.upload("/upload", "kept.txt", b"kept-by-the-neighbour").status == 200
    web.root(FILL)
    return own


@pytest.fixture(scope="session")
def looked_at(web: Machine) -> Callable[[str], str]:
    """Note, or compare, what no attack may change."""

    def look(verb: str) -> str:
        done = subprocess.run(
            web.ssh_words("python3", "-", verb, "neighbour", *ATTACKERS),
            input=STATE.read_text(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return look


@pytest.fixture(scope="module", autouse=True)
def visited(neighbour: Site, looked_at: Callable[[str], str]) -> Iterator[Counter[int | str]]:
    """What its visitor is answered, while the sites of a module are made and its tests run."""
    looked_at("keep")
    with Visitor(neighbour) as seen:
        yield seen
    assert seen[200] > 0, seen


@pytest.fixture(autouse=True)
def _neighbour_stays_as_it_is(visited: Counter[int | str], looked_at: Callable[[str], str]) -> Iterator[None]:
    yield
    changed = looked_at("compare")
    others = {kind: visited.pop(kind) for kind in [*visited] if kind != 200}
    assert not changed, f"what no attack may change has changed:\n{changed}"
    assert not others, f"the neighbour was asked all along, and answered not only 200 but: {others}"
