# SPDX-License-Identifier: GPL-3.0-or-later
"""From push to live, against a plain script that does the same necessary work on the same host.

Both are one `git push` over ssh of the same commit, a change of one line, to the same host; both use the same
virtualenv, start the same gunicorn with the same settings and wait for the first 200 over its socket. The plain
script (plain/post-receive) exports the tree, runs one Django process (system checks, migration check,
collectstatic) and starts gunicorn; nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from .host import PLAIN, SITE, Host, Trouble, say
from .report import Goal, Result, median, table

ROUNDS = 10
AT_MOST = 1.5
PHASES = ("export", "virtualenv", "checks", "migrate", "start", "prove", "switch", "verify")
FILES = Path(__file__).resolve().parent / "plain"

# A user with a bare repository and a database, who shares the virtualenv and the gunicorn settings of the site.
SET_UP = f"""\
set -eu
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends curl >/dev/null
useradd --system --home-dir /srv/{PLAIN} --create-home --shell /bin/sh --groups {SITE} {PLAIN}
su postgres -c 'createuser {PLAIN} && createdb --owner {PLAIN} {PLAIN}'
cd /srv/{PLAIN}
mkdir releases run .ssh
cat > .ssh/authorized_keys
ln -s "$(readlink -f /srv/{SITE}/current/.venv)" venv
cp /etc/djdeploy/sites/{SITE}.gunicorn.py gunicorn.conf.py
git init --quiet --bare --initial-branch=main repo.git
chown -R {PLAIN}: /srv/{PLAIN}
chmod 700 .ssh
"""
# Its database is as far as the site's, so that neither has anything to migrate.
MIGRATE = f"""\
set -eu
cd /srv/{PLAIN}
cp -r /srv/{SITE}/current/code first
chown -R {PLAIN}: first
su {PLAIN} -c 'cd first && PYTHONPATH=..:. STATIC_ROOT=/none DJANGO_SETTINGS_MODULE=plain_settings \
    ../venv/bin/python -m django migrate --verbosity 0'
rm -r first
"""


def set_up_plain_script(host: Host) -> str:
    """Install the plain script.

    :returns: the remote that is pushed to.
    """
    host.on_host(SET_UP, stdin=(host.folder / "pusher.pub").read_text())
    for name, mode in (("post-receive", "755"), ("prepare.py", "644"), ("plain_settings.py", "644")):
        place = f"/srv/{PLAIN}/{'repo.git/hooks/' if name == 'post-receive' else ''}{name}"
        host.on_host(f"cat > {place} && chmod {mode} {place}", stdin=(FILES / name).read_text())
    host.on_host(MIGRATE)
    return f"ssh://{PLAIN}@{host.address}:{host.ssh_port}/srv/{PLAIN}/repo.git"


def timed_push(host: Host, remote: str) -> tuple[float, float]:
    """Push, and tell when that began and ended (seconds since the epoch)."""
    began = time.time()
    host.push(remote)
    return began, time.time()


def events_of_push(journal: Sequence[dict[str, Any]], began: float) -> list[tuple[float, dict[str, Any]]]:
    """The journal's lines since a push began, each with its time."""
    timed = [(datetime.fromisoformat(line["at"]).timestamp(), line) for line in journal]
    return [(at, line) for at, line in timed if at >= began]


def parts_of_push(journal: Sequence[dict[str, Any]], began: float, ended: float) -> dict[str, float]:
    """Where the seconds of a push went: the engine's phases, and what lies before, between and after them.

    :param journal: lines of the journal of deploys, the newest push the last one.
    :raises Trouble: when the journal does not tell of a whole push.
    """
    events = events_of_push(journal, began)
    parts = {
        line["name"]: float(line["seconds"])
        for _, line in events
        if line["event"] == "phase" and line["state"] == "ended"
    }
    built = [at for at, line in events if line["event"] == "accepted"]
    live = [at for at, line in events if line["event"] == "result"]
    starts = [at for at, line in events if line["event"] == "phase" and line["state"] == "started"]
    if not (built and live):
        raise Trouble("the journal of deploys does not tell of the push that just ended")
    first, second = starts[0], min(at for at in starts if at >= built[0])
    parts["before"] = first - began
    parts["between"] = second - built[0]
    parts["after"] = ended - live[0]
    parts["settle"] = parts.get("settle", 0.0)
    inside = sum(parts.get(name, 0.0) for name in PHASES)
    parts["records"] = ended - began - inside - parts["before"] - parts["between"] - parts["after"]
    parts["host"] = live[0] - first
    return parts


def parts_of_plain_push(marks: str, began: float, ended: float) -> dict[str, float]:
    """The same of the plain script, from the times it noted."""
    at = {name: float(value) for name, value in (line.split() for line in marks.splitlines())}
    parts = {
        later: at[later] - at[earlier] for earlier, later in pairwise(("begin", "tree", "django", "proven", "end"))
    }
    return {"before": at["begin"] - began, **parts, "after": ended - at["end"], "host": at["end"] - at["begin"]}


def wait_for_plain_script(host: Host) -> None:
    """Wait until the gunicorn that was replaced has ended: it removes its pid file."""
    host.on_host(
        f"for i in $(seq 300); do [ $(ls /srv/{PLAIN}/run/*.pid | wc -l) -le 1 ] && exit; sleep 0.1; done; exit 1"
    )


def measure(host: Host, *, rounds: int = ROUNDS) -> Result:
    """Push each commit to both, the one first in one round and the other in the next."""
    result = Result("deploy")
    plain_remote = set_up_plain_script(host)
    ours: list[dict[str, float]] = []
    plain: list[dict[str, float]] = []
    for number in range(rounds + 1):
        version = time.time_ns()
        host.commit(version)
        for turn in (True, False) if number % 2 else (False, True):
            began, ended = timed_push(host, host.remote if turn else plain_remote)
            if turn:
                if host.get("/bench/version") != str(version):
                    result.broken.append(f"a push was accepted, but another revision answers (round {number})")
                host.wait_until_settled()
                parts = parts_of_push(host.journal(), began, ended)
            else:
                parts = parts_of_plain_push(host.on_host(f"cat /srv/{PLAIN}/marks"), began, ended)
                wait_for_plain_script(host)
            if number:  # the first round only warms both up
                (ours if turn else plain).append({**parts, "wall": ended - began})
    say(f"deploy: {rounds} rounds")
    return reported(result, ours, plain)


def reported(result: Result, ours: list[dict[str, float]], plain: list[dict[str, float]]) -> Result:
    """Medians, their ratio, and the table of phases."""
    mine = {name: median(each.get(name, 0.0) for each in ours) for name in ours[0]}
    theirs = {name: median(each[name] for each in plain) for name in plain[0]}
    ratio = median(one["wall"] / other["wall"] for one, other in zip(ours, plain, strict=True))
    result.goals.append(Goal("push to live / plain script", round(ratio, 2), "x", AT_MOST))
    rows = [["", "djdeploy", "plain script"], ["git push, whole", seconds(mine["wall"]), seconds(theirs["wall"])]]
    rows.append(["  ssh, git, until the first phase or line", seconds(mine["before"]), seconds(theirs["before"])])
    beside = {"export": theirs["tree"], "checks": theirs["django"], "prove": theirs["proven"]}
    for name in PHASES:
        if name in mine:
            rows.append([f"  {name}", seconds(mine[name]), seconds(beside[name]) if name in beside else ""])
    rows.append(["  between the hooks", seconds(mine["between"]), ""])
    rows.append(["  between the phases", seconds(mine["records"]), ""])
    rows.append(
        ["  after it is live, until git push returns", seconds(mine["after"]), seconds(theirs["after"] + theirs["end"])]
    )
    rows.append(["on the host, first phase to live", seconds(mine["host"]), seconds(theirs["host"])])
    result.text = [f"medians of {len(ours)} rounds, in turn", *table(rows)]
    result.figures = {"rounds": len(ours), "djdeploy": rounded(mine), "plain": rounded(theirs)}
    return result


def seconds(value: float) -> str:
    return f"{value:.3f} s"


def rounded(parts: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in parts.items()}
