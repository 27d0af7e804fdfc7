# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushers who vanish at any moment: the deploy ends the same as if somebody had watched."""

from __future__ import annotations

import os
import signal
import time

import pytest
from hosts import eventually
from load import Visitors

MOMENTS = [number / 20 for number in range(20)]  # parts of a whole deploy
EVERY_RUN = MOMENTS[5::8]  # while it is built, and while it goes live


@pytest.fixture(scope="module")
def left(serving):
    return serving("left")


@pytest.fixture(scope="module")
def visitors(left):
    with Visitors(left, 2) as seen:
        yield seen


@pytest.fixture(scope="module")
def whole(left, visitors):
    """Seconds of a push that is watched to its end."""
    left.change("notes/views.py", "\n# watched\n", append=True)
    began = time.monotonic()
    pushed = left.push()
    assert pushed.status == 0, pushed.output
    return time.monotonic() - began


@pytest.mark.parametrize(
    "moment", [pytest.param(moment, marks=() if moment in EVERY_RUN else pytest.mark.full) for moment in MOMENTS]
)
def test_branch_and_live_agree_without_the_pusher(left, visitors, whole, status, branch, at_rest, server, moment):
    before = status("left")["live"]["revision"]
    after = left.change("notes/views.py", f"\n# {moment}\n", append=True)
    push = left.pushing(start_new_session=True)
    time.sleep(moment * whole)
    os.killpg(push.pid, signal.SIGKILL)
    push.communicate()
    at_rest()
    live = status("left")["live"]["revision"]
    assert live in (before, after)
    assert branch("left") == live, "the branch and what is live differ"
    eventually(lambda: server.run("pgrep --full receive-pack").stdout == "", 300, "nothing of the push is left")
    left.undo(live)
    assert set(visitors) == {200}, visitors
