# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back under visitors: to a kept release by hand, and by itself from a release that fails.

A rollback starts the kept release again, so its time is told without the start of the application (the phase
`prove`), which is the project's own. A release that fails its proof never has a visitor. One that only fails where
it is live (it looks at the pointer, which no sane project does) shows what a failed verification costs: the old one
is back with one more rename.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from .deploy import events_of_push
from .host import SITE, Host, Trouble, commit_all, run, say
from .load import KINDS, Answered, Visitors
from .report import Goal, Result, median, percentile, table

ROUNDS = 10
AT_MOST = 3.0  # seconds, beside the start of the application
RETURN_AT_MOST = 2.0  # seconds
ASKED = tuple(kind for kind in KINDS if kind.name != "takes 2 s")

# Put around the application object. With `always` it never answers well; without, it
# does until the pointer names its own release.
SPOILED = f"""

def spoiled(inner):
    import os

    def answer(environ, start_response):
        own = os.path.realpath(__file__).startswith(os.path.realpath("/srv/{SITE}/current") + "/")
        if own or %(always)s:
            start_response("500 Internal Server Error", [("Content-Length", "7")])
            return [b"spoiled"]
        return inner(environ, start_response)

    return answer


application = spoiled(application)
"""


def releases(host: Host) -> tuple[str, str]:
    """Two kept releases: what is live, and the one it replaced."""
    ids = []
    for _ in range(2):
        host.commit(time.time_ns())
        host.push(host.remote)
        host.wait_until_settled()
        ids.append(host.on_host(f"basename $(readlink /srv/{SITE}/current)").strip())
    return ids[1], ids[0]


def phases_since(host: Host, began: float) -> dict[str, float]:
    """Seconds of each phase since then."""
    return {
        line["name"]: float(line["seconds"])
        for _at, line in events_of_push(host.journal(), began)
        if line["event"] == "phase" and line["state"] != "started"
    }


def back_and_forth(host: Host, result: Result, rounds: int) -> list[dict[str, float]]:
    """Roll back from each of two releases to the other, in turn."""
    live, other = releases(host)
    took = []
    for _ in range(rounds):
        began = time.time()
        try:
            host.on_host(f"djdeploy rollback {SITE} --to {other}")
        except Trouble as trouble:
            result.broken.append(f"a rollback failed: {trouble}")
            break
        wall = time.time() - began
        host.wait_until_settled()
        took.append({**phases_since(host, began), "wall": wall})
        live, other = other, live
    return took


def failing(host: Host, result: Result, visitors: Visitors, *, always: bool) -> tuple[float, list[Answered]]:
    """Push a release that fails.

    :returns: the seconds from the first wrong answer to the last, and the wrong answers.
    """
    wsgi = host.project / "shop/wsgi.py"
    before, head = host.get("/bench/version"), run(["git", "rev-parse", "HEAD"], cwd=host.project).strip()
    wsgi.write_text(wsgi.read_text() + SPOILED % {"always": always})
    commit_all(host.project, "Spoiled")
    asked = len(visitors.answers)
    try:
        host.push(host.remote)
        result.broken.append("a release that fails went live")
    except Trouble:
        pass  # as it is to be
    host.wait_until_settled()
    time.sleep(0.5)
    run(["git", "reset", "--quiet", "--hard", head], cwd=host.project)
    if host.get("/bench/version") != before:
        result.broken.append("after a release that failed another one answers than before")
    wrong = [each for each in visitors.answers[asked:] if each.failure]
    return (max(each.ended for each in wrong) - min(each.ended for each in wrong) if wrong else 0.0), wrong


def measure(host: Host, *, rounds: int = ROUNDS) -> Result:
    """Rollbacks first, then releases that fail before and after the switch."""
    result = Result("rollback")
    visitors = Visitors(host, kinds=ASKED)
    with visitors.at_work():
        took = back_and_forth(host, result, rounds)
        lost = [each for each in visitors.answers if each.failure]
        say(f"rollback: {len(took)} rounds")
        _, unproven = failing(host, result, visitors, always=True)
        returns = [failing(host, result, visitors, always=False) for _ in range(3)]
    return reported(result, visitors, took, lost + unproven, returns)


def reported(
    result: Result,
    visitors: Visitors,
    took: Sequence[dict[str, float]],
    lost: Sequence[Answered],
    returns: Sequence[tuple[float, list[Answered]]],
) -> Result:
    """Seconds beside the start of the application, the length of a return, and what failed."""
    beside = [each["wall"] - each.get("prove", 0.0) for each in took]
    names = dict.fromkeys(name for each in took for name in each)
    rows = [["rollback by hand", "median", "worst"]]
    for name in names:
        values = [each.get(name, 0.0) for each in took]
        rows.append([f"  {name}", f"{median(values):.3f} s", f"{percentile(values, 1.0):.3f} s"])
    back = [seconds for seconds, _wrong in returns]
    wrong = sum(len(each) for _seconds, each in returns)
    result.text = [
        f"{len(took)} rollbacks in turn between two kept releases, {len(visitors.answers)} requests meanwhile",
        *table(rows),
        f"  a release that fails only once it is live: {median(back):.3f} s from the first wrong answer to the last, "
        f"{wrong} wrong answers in {len(returns)} trials",
    ]
    what = "a rollback beside the start of the application, worst"
    result.goals.append(Goal(what, round(percentile(beside, 1.0), 2), " s", AT_MOST))
    result.goals.append(Goal("requests failed over rollbacks and a failed proof", len(lost), "", 0))
    result.goals.append(Goal("return after a failed verification, worst", round(max(back), 2), " s", RETURN_AT_MOST))
    if lost:
        result.broken.append(f"requests failed: {dict(Counter(f'{each.kind}: {each.failure}' for each in lost))}")
    result.figures = {
        "rounds": len(took),
        "seconds": {name: round(median(each.get(name, 0.0) for each in took), 4) for name in names},
        "beside_start": round(median(beside), 4),
        "requests": len(visitors.answers),
        "failed": len(lost),
        "return_seconds": [round(each, 4) for each in back],
        "return_wrong_answers": wrong,
    }
    return result
