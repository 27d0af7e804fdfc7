# SPDX-License-Identifier: GPL-3.0-or-later
"""How long each project of the corpus takes from git push to live: the first push, which builds all, and the next one.

Times are told beside those of a bare startproject (the case `nothing`) of the same run. Each push after the first is
of a change of one line, and is measured several times.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from .deploy import parts_of_push
from .host import BIN, ROOT, Host, Trouble, commit_all, run, say
from .report import Goal, Result, median, table

sys.path.insert(0, str(ROOT / "molecule/projects"))
corpus: Any = importlib.import_module("corpus")
corpus.projects.BIN = BIN  # django-admin and wagtail are beside the tests' Python, which is not the one that runs this

MEASURE = "nothing"  # what the others are held against
USUAL = (MEASURE, "uv", "poetry", "wagtail", "channels", "uwsgi", "celery")
ROUNDS = 3
REFUSED, ELSEWHERE = "it is refused", "it is not pushed to Debian 13"
PHASES = ("export", "python", "virtualenv", "checks", "migrate", "processes", "start", "prove", "switch", "verify")


def chosen(names: Sequence[str]) -> list[Any]:
    """The cases to measure, `nothing` always the first.

    :param names: of cases; `all`: those that go to Debian 13 and need nothing more on the host; none: the usual ones.
    :raises Trouble: when one of them does not exist, or goes nowhere.
    """
    known = {case.name: case for case in corpus.cases()}
    if list(names) == ["all"]:
        names = [case.name for case in known.values() if not unfit(case) and not case.prepare]
    wanted = dict.fromkeys([MEASURE, *(names or USUAL)])
    for name in wanted:
        if name not in known:
            raise Trouble(f"there is no case {name}\n  -> choose of: {' '.join(known)}")
        if why := unfit(known[name]):
            raise Trouble(f"{name} cannot be measured: {why}")
    return [known[name] for name in wanted]


def unfit(case: Any) -> str:
    """Why a case cannot be measured; empty when it can."""
    if case.refused:
        return REFUSED
    return "" if "projects-trixie" in case.hosts else ELSEWHERE


def add_sites(host: Host, cases: Sequence[Any]) -> None:
    """Make the host ready for the cases."""
    key = (host.folder / "pusher.pub").read_text().strip()
    file = host.inventory / "sites.yml"
    tree = json.loads(file.read_text())
    sites = {case.name: corpus.site(case, key) for case in cases}
    tree["all"]["vars"]["djdeploy_sites"] |= sites
    file.write_text(json.dumps(tree, indent=1))
    say(f"setting up {len(sites)} more sites")
    run([BIN / "ansible-playbook", "-i", host.inventory, "site.yml"], timeout=1800)


def pushed(host: Host, name: str) -> dict[str, float]:
    """Push what is committed, and tell where the seconds went."""
    began = time.time()
    host.push(f"ssh://git@{host.address}:{host.ssh_port}/{name}")
    ended = time.time()
    lines = host.on_host(f"cat /var/lib/djdeploy/{name}/journal.jsonl").splitlines()
    return {"whole": ended - began, **parts_of_push([json.loads(line) for line in lines], began, ended)}


def slowest(parts: dict[str, float]) -> str:
    """The phase that took most, with its seconds."""
    name = max(PHASES, key=lambda phase: parts.get(phase, 0.0))
    return f"{name} {parts.get(name, 0.0):.1f}"


def measure(host: Host, names: Sequence[str] = ()) -> Result:
    """Push each case once, and then a small change `ROUNDS` times, in turn."""
    result = Result("projects")
    try:
        cases = chosen(names)
        add_sites(host, cases)
        places = {case.name: dataclasses.replace(host, folder=host.folder / "cases" / case.name) for case in cases}
        first: dict[str, dict[str, float]] = {}
        again: dict[str, list[dict[str, float]]] = {case.name: [] for case in cases}
        for case in cases:
            place = places[case.name]
            place.folder.mkdir(parents=True)
            for key in ("pusher", "pusher.pub"):
                (place.folder / key).symlink_to(host.folder / key)
            corpus.make(case, place.project)
            say(f"first push of {case.name}")
            first[case.name] = pushed(place, case.name)
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            for case in cases:
                (places[case.name].project / "CHANGES").write_text(f"{number}\n")
                commit_all(places[case.name].project, f"Change {number}")
                again[case.name].append(pushed(places[case.name], case.name))
    except Trouble as trouble:
        result.broken.append(str(trouble))
        return result
    return told(result, first, again)


def told(result: Result, first: dict[str, dict[str, float]], again: dict[str, list[dict[str, float]]]) -> Result:
    """The figures of all cases, beside those of `nothing`."""
    middle = {
        name: {part: median(each.get(part, 0.0) for each in pushes) for part in pushes[0]}
        for name, pushes in again.items()
    }
    rows = [["", "first push", "most of it", "next push", "most of it", f"next / {MEASURE}"]]
    for name, parts in middle.items():
        begun, ratio = first[name], parts["whole"] / middle[MEASURE]["whole"]
        figures = (f"{begun['whole']:.1f} s", slowest(begun), f"{parts['whole']:.1f} s", slowest(parts))
        rows.append([name, *figures, f"{ratio:.2f}x"])
        result.figures[name] = {
            "first": round(begun["whole"], 3),
            "first_slowest": slowest(begun),
            "next": round(parts["whole"], 3),
            "next_slowest": slowest(parts),
            "ratio": round(ratio, 3),
        }
    result.text = [f"from git push to live; of the next push medians of {ROUNDS}, in turn", *table(rows)]
    worst = max(middle, key=lambda name: middle[name]["whole"])
    ratio = middle[worst]["whole"] / middle[MEASURE]["whole"]
    result.goals = [Goal(f"the next push of {worst}, the slowest / of a bare startproject", ratio, "x")]
    return result
