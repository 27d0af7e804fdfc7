# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployer killed (SIGKILL) at its system calls, one deploy for each, while the site has visitors.

Points are spread over every kind of operation from its request to its end. After each one the site must serve one
whole release, nothing may be left, and the next push must go live with nobody's help.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence

from .host import NAME, ROOT, Host, run, say
from .report import Goal, Result, median, table

sys.path.insert(0, str(ROOT / "molecule/shared"))

from hosts import Machine, Site  # found by the line above
from killing import KINDS, SWEEP, Killer, Outcome, told

SITE = "killed"
SEED = 1


def add_site(host: Host) -> Site:
    """A site of its own, with the project that tells which release each part of a page is of."""
    place = host.inventory / "sites.yml"
    inventory = json.loads(place.read_text())
    keys = [(host.folder / "pusher.pub").read_text().strip()]
    inventory["all"]["vars"]["djdeploy_sites"][SITE] = {
        "domains": [f"{SITE}.test"],
        "deploy_keys": keys,
        "web": {"workers": 2},
        "health": {"watch": 0},
    }
    place.write_text(json.dumps(inventory, indent=1))
    host.playbook("site.yml")
    made = host.folder / "projects" / SITE
    run([ROOT / ".venv/bin/python", ROOT / "molecule/shared/projects.py", "make", "notes", made])
    return Site(SITE, Machine(NAME, host.address, host.ssh_port, host.http_port), host.folder)


def measure(host: Host, *, points: int = SWEEP, seed: int = SEED) -> Result:
    """The same sweep as the tests do in full.

    :param points: of each kind of operation.
    """
    result = Result("faults")
    outcomes: list[Outcome] = []
    site = add_site(host)
    with Killer(site, key="pusher").ready() as killer, killer.visited() as seen:
        try:
            for kind in KINDS:
                for outcome in killer.sweep(kind, points, seed):
                    outcomes.append(outcome)
                    for line in told([outcome]):
                        say(f"  {line}")
                say(f"faults: {len(outcomes)} points, {kind} is done")
        except AssertionError as error:
            said = host.on_host("journalctl --no-pager --lines 40 --unit 'djdeploy-*'")
            result.broken.append(f"after {len(outcomes)} points something between them went wrong: {error}\n{said}")
    return reported(result, outcomes, seen, seed)


def reported(result: Result, outcomes: Sequence[Outcome], seen: Counter[int | str], seed: int) -> Result:
    """Counts by kind of operation and by phase."""
    killed = [outcome for outcome in outcomes if outcome.killed]
    closed = seen["maintenance"]  # on purpose: one kind of operation is done behind the page
    failed = {str(kind): count for kind, count in seen.items() if kind not in (200, "maintenance")}
    wrong = [outcome for outcome in outcomes if outcome.wrong]
    rows = [["", "points", "old serves", "new serves", "wrong"]]
    for kind in KINDS:
        rows.append([kind, *counted([outcome for outcome in killed if outcome.point.kind == kind])])
        phases = dict.fromkeys(outcome.point.phase for outcome in killed if outcome.point.kind == kind)
        for phase in phases:
            here = [outcome for outcome in killed if (outcome.point.kind, outcome.point.phase) == (kind, phase)]
            rows.append([f"  {phase}", *counted(here)])
    calls = Counter(outcome.point.call for outcome in killed)
    result.text = [
        f"{len(killed)} points, seed {seed}, {median(outcome.seconds for outcome in outcomes):.1f} s each",
        *table(rows),
        f"  system calls: {', '.join(f'{name} {count}' for name, count in calls.most_common())}",
        f"  requests answered with the maintenance page: {closed}",
        f"  not reached in their own run: {len(outcomes) - len(killed)}",
    ]
    result.goals.append(Goal(f"kills of {len(killed)} that left something, or a mix, or no way on", len(wrong), "", 0))
    result.goals.append(Goal(f"requests failed of {sum(seen.values())} meanwhile", sum(failed.values()), "", 0))
    result.broken += told(outcomes)
    result.broken += [f"{count} requests were answered with {kind}" for kind, count in failed.items()]
    result.figures = {
        "seed": seed,
        "points": len(killed),
        "not_reached": len(outcomes) - len(killed),
        "wrong": len(wrong),
        "requests": sum(seen.values()),
        "maintenance": closed,
        "failed": failed,
        "calls": dict(calls),
        "seconds_each": round(median(outcome.seconds for outcome in outcomes), 2),
    }
    return result


def counted(outcomes: Sequence[Outcome]) -> list[str]:
    """How many there are, what served after them, and how many of them broke a promise."""
    served = Counter(outcome.served for outcome in outcomes)
    wrong = sum(bool(outcome.wrong) for outcome in outcomes)
    return [str(len(outcomes)), str(served["old"]), str(served["new"]), str(wrong)]
