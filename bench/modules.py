# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task of the manage.py modules costs that has nothing to do, and what several in one Django process save.

A task is one module call and one start of Django at least. So it is measured against `ansible -m ping` plus
`django.setup()` in the project's own Python, both on the same host, in turn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .host import BIN, NAME, SITE, Host, run
from .report import Goal, Result, median, table

ROUNDS = 7
AT_MOST = 1.3
STEPS = ("check", "migrate", "collectstatic", "superuser")
OPTIONS: dict[str, dict[str, str]] = {"superuser": {"username": "bench", "email": "bench@example.com"}}
# As the site's user, with the site's environment; the time is that of the process alone.
SETUP = f"""\
cd /srv/{SITE}/current/code
set -a; . /etc/djdeploy/sites/{SITE}.env; . ../release.env; set +a
../.venv/bin/python - <<'END'
import subprocess, sys, time
began = time.monotonic()
subprocess.run([sys.executable, "-c", "import django; django.setup()"], check=True)
print(time.monotonic() - began)
END
"""


def task(host: Host, module: str, arguments: dict[str, object]) -> str:
    """One module call, as a person would type it."""
    words = ["-m", f"djdeploy.django.{module}", "-a", json.dumps({"site": SITE, **arguments})]
    return run([BIN / "ansible", NAME, "-i", host.inventory, *words])


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def measure(host: Host, *, rounds: int = ROUNDS) -> Result:
    """Each module by itself, then the same as steps of one task."""
    steps: list[object] = [{name: OPTIONS.get(name, {})} for name in STEPS]
    task(host, "manage", {"steps": steps})  # so that there is nothing to do from now on
    took: dict[str, list[float]] = {name: [] for name in ("ansible -m ping", "django.setup()", *STEPS, "manage")}
    result = Result("modules")
    ping: list[str | Path] = [BIN / "ansible", NAME, "-i", host.inventory, "-m", "ansible.builtin.ping"]
    for _ in range(rounds):
        took["ansible -m ping"].append(seconds(partial(run, ping)))
        took["django.setup()"].append(float(host.on_host(SETUP)))
        for name in STEPS:
            took[name].append(seconds(partial(task, host, name, {**OPTIONS.get(name, {})})))
        took["manage"].append(seconds(partial(task, host, "manage", {"steps": steps})))
    if "CHANGED" in task(host, "manage", {"steps": steps}):
        result.broken.append("a task with nothing to do is changed")
    bare = [ping + start for ping, start in zip(took["ansible -m ping"], took["django.setup()"], strict=True)]
    ratios = {
        name: median(mine / other for mine, other in zip(took[name], bare, strict=True)) for name in (*STEPS, "manage")
    }
    apart = median(sum(each) for each in zip(*(took[name] for name in STEPS), strict=True))
    rows = [["", "seconds", "/ both bare"]]
    rows += [
        [name, f"{median(values):.3f}", f"{ratios[name]:.2f}x" if name in ratios else ""]
        for name, values in took.items()
    ]
    rows.append([f"the {len(STEPS)} as tasks of their own", f"{apart:.3f}", f"{apart / median(took['manage']):.2f}x"])
    result.text = [f"medians of {rounds} rounds, in turn; the last ratio is to `manage`", *table(rows)]
    worst = max(ratios[name] for name in STEPS)
    result.goals.append(Goal("a task with nothing to do / ping and one Django start", round(worst, 2), "x", AT_MOST))
    result.figures = {
        "rounds": rounds,
        "seconds": {name: round(median(values), 4) for name, values in took.items()},
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "apart": round(apart, 4),
    }
    return result
