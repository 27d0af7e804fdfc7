# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployer is killed at system calls and in phases; visitors notice nothing, and nobody has to mend anything.

A sample, the same in every run; `script/bench faults` takes hundreds of points.
"""

from __future__ import annotations

import projects
import pytest
from killing import CONTRACT, KINDS, PUSH_MIGRATION, Killer, told

SEED = 20261121
POINTS = 10  # of each kind of operation
PHASES = ("export", "virtualenv", "checks", "snapshot", "migrate", "start", "prove", "switch", "verify", "settle")


@pytest.fixture(scope="module")
def killer(site):
    """The site `killed`, with a wrapper around its deployer that can kill it."""
    own = site("killed")
    projects.make("notes", own.folder / "projects/killed")
    with Killer(own).ready() as found:
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_a_system_call(killer, kind):
    print(f"seed {SEED}")
    with killer.visited() as seen:
        outcomes = list(killer.sweep(kind, POINTS, SEED))
    for outcome in outcomes:
        print("killed" if outcome.killed else "not reached", outcome.served, outcome.point)
    assert told(outcomes) == []
    assert set(seen) <= ({200, "maintenance"} if kind == CONTRACT else {200}), seen
    assert seen[200] > 100, "too few requests to say anything"
    # which calls there are differs a little from run to run: threads of the deployer, and how often it has to wait
    assert sum(outcome.killed for outcome in outcomes) >= POINTS - 2


@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_a_phase(killer, phase):
    with killer.visited() as seen:
        outcome = killer.kill_in(phase, PUSH_MIGRATION)
    assert outcome.killed, "the deploy ended before it could be killed"
    assert told([outcome]) == []
    assert set(seen) == {200}, seen


@pytest.mark.parametrize("phase", ("maintenance", "migrate", "start", "switch"))
def test_killed_behind_the_maintenance_page(killer, phase):
    """A column goes: there is no way back that loses nothing. Either it is still there, or the new release serves."""
    with killer.visited() as seen:
        outcome = killer.kill_in(phase, CONTRACT)
    assert outcome.killed, "the deploy ended before it could be killed"
    assert told([outcome]) == []
    assert set(seen) <= {200, "maintenance"}, seen
