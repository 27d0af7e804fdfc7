# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployer is killed at system calls and in phases; visitors notice nothing, and nobody has to mend anything.

In every run a sample of every kind of operation, the same each time; in full the sweep that `script/bench faults` does.
"""

from __future__ import annotations

import projects
import pytest
from killing import CONTRACT, KINDS, PUSH_MIGRATION, SWEEP, Killer, told

SEED = 20261121
POINTS = 2  # of each kind of operation: one before its middle and one behind it
PHASES = ("export", "virtualenv", "checks", "snapshot", "migrate", "start", "prove", "switch", "verify", "settle")
CLOSED = ("maintenance", "migrate", "start", "switch")  # phases of what is done behind the page
# One before anything is touched, one with the database half way, one at the pointer, one after all is done.
PHASES_IN_EVERY_RUN = ("checks", "migrate", "switch", "settle")
# One that the old release serves after, and one after which only the new one can.
CLOSED_IN_EVERY_RUN = ("maintenance", "start")

#: Each makes the releases it needs: a sweep takes long, and one that has passed is not run again.
pytestmark = pytest.mark.independent


def ringed(phases, sample):
    """Phases as parameters; those outside of the sample are met in full."""
    return [pytest.param(phase, marks=() if phase in sample else pytest.mark.full) for phase in phases]


@pytest.fixture(scope="module")
def killer(site):
    """The site `killed`, with a wrapper around its deployer that can kill it."""
    own = site("killed")
    projects.make("notes", own.folder / "projects/killed")
    with Killer(own).ready() as found:
        yield found


def sweep(killer, kind: str, points: int) -> None:
    """Kill an operation at so many points, under visitors; the same questions after each."""
    print(f"seed {SEED}")
    with killer.visited() as seen:
        outcomes = list(killer.sweep(kind, points, SEED))
    for outcome in outcomes:
        print("killed" if outcome.killed else "not reached", outcome.served, outcome.point)
    assert told(outcomes) == []
    assert set(seen) <= ({200, "maintenance"} if kind == CONTRACT else {200}), seen
    assert seen[200] > 10 * points, "too few requests to say anything"
    assert sum(outcome.killed for outcome in outcomes) == points


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_a_system_call(killer, kind):
    sweep(killer, kind, POINTS)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_every_system_call(killer, kind):
    sweep(killer, kind, SWEEP)


@pytest.mark.parametrize("phase", ringed(PHASES, PHASES_IN_EVERY_RUN))
def test_killed_in_a_phase(killer, phase):
    with killer.visited() as seen:
        outcome = killer.kill_in(phase, PUSH_MIGRATION)
    assert outcome.killed, "the deploy ended before it could be killed"
    assert told([outcome]) == []
    assert set(seen) == {200}, seen


@pytest.mark.parametrize("phase", ringed(CLOSED, CLOSED_IN_EVERY_RUN))
def test_killed_behind_the_maintenance_page(killer, phase):
    """A column goes: there is no way back that loses nothing. Either it is still there, or the new release serves."""
    with killer.visited() as seen:
        outcome = killer.kill_in(phase, CONTRACT)
    assert outcome.killed, "the deploy ended before it could be killed"
    assert told([outcome]) == []
    assert set(seen) <= {200, "maintenance"}, seen
