# SPDX-License-Identifier: GPL-3.0-or-later
"""What is resident: when nothing happens, and at most while a push goes live.

Counted is PSS (proportional set size: shared pages are divided among those who share them), looked at every 20 ms.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time

from .host import SITE, Host, Trouble
from .report import Goal, Result, median, table

ROUNDS = 5
AT_MOST = 60.0  # MB
MB = 1e6

# Runs on the host until its standard input is closed, and prints the most each kind of process took at one moment.
SAMPLER = r"""
import json, os, re, select, sys, time

SITE = sys.argv[1]

def text(path):
    try:
        with open(path, "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""

def kind(pid):
    command, unit = text(f"/proc/{pid}/cmdline"), text(f"/proc/{pid}/cgroup")
    if not command or pid == os.getpid():
        return None
    if "djdeploy_agent" in command:
        return "django"
    release = re.search(rf"djdeploy-{SITE}@(\S+?)\.service", unit)
    if release:
        return "release " + release[1]
    if "djdeploy_engine" in command or "/usr/local/bin/djdeploy" in command:
        return "engine"
    if re.search(r"djdeploy-deployer(\.push)?@", unit):
        return "programs"
    if re.match(r"git(-receive-pack)?\b|sshd.*git", command):
        return "git"
    return None

def pss(pid):
    found = re.search(r"^Pss:\s+(\d+) kB", text(f"/proc/{pid}/smaps_rollup"), re.M)
    return int(found[1]) * 1024 if found else 0

peaks, looks = {}, 0
while True:
    now = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        what = kind(pid)
        if what:
            now[what] = now.get(what, 0) + pss(pid)
    now["ours"] = now.get("engine", 0) + now.get("programs", 0)
    looks += 1
    for what, size in now.items():
        peaks[what] = max(peaks.get(what, 0), size)
    if select.select([sys.stdin], [], [], 0.02)[0]:
        break
print(json.dumps({"peaks": peaks, "looks": looks}))
"""


def sampler(host: Host) -> subprocess.Popen[str]:
    words = host.ssh_words(shlex.join(["python3", "-c", SAMPLER, SITE]))
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def stopped(sampling: subprocess.Popen[str]) -> dict[str, int]:
    """End a sampler.

    :returns: kind of process -> bytes it took at most.
    :raises Trouble: when it did not work.
    """
    said, _ = sampling.communicate(timeout=60)
    if sampling.returncode:
        raise Trouble("the memory of the host could not be looked at")
    peaks: dict[str, int] = json.loads(said)["peaks"]
    return peaks


def peaks_of_push(host: Host) -> dict[str, int]:
    """The most a push took, by kind; of the releases only the new one."""
    sampling = sampler(host)
    time.sleep(0.5)
    try:
        host.commit(time.time_ns())
        host.push(host.remote)
        host.wait_until_settled()
    finally:
        peaks = stopped(sampling)
    releases = sorted(name for name in peaks if name.startswith("release "))
    return {
        **{name: peaks.get(name, 0) for name in ("ours", "engine", "programs", "git", "django")},
        "release": peaks[releases[-1]],
    }


def at_rest(host: Host, seconds: float = 2.0) -> dict[str, int]:
    """The most that was there while nothing happened."""
    sampling = sampler(host)
    time.sleep(seconds)
    return stopped(sampling)


def measure(host: Host, *, rounds: int = ROUNDS) -> Result:
    """At rest, then some pushes that build no virtualenv."""
    host.wait_until_settled()
    resting = at_rest(host)
    idle = resting.get("ours", 0)
    pushes = [peaks_of_push(host) for _ in range(rounds)]
    most: dict[str, float] = {name: median(each[name] for each in pushes) for name in pushes[0]}
    result = Result("memory")
    result.goals = [
        Goal("resident when idle, of djdeploy", round(idle / MB, 2), " MB", 0),
        Goal("peak of a deploy, of djdeploy", round(most["ours"] / MB, 1), " MB", AT_MOST),
    ]
    rows = [
        ["djdeploy when idle", mb(idle)],
        ["djdeploy at most during a push", mb(most["ours"])],
        ["  deployer and hooks alone", mb(most["engine"])],
        ["  programs they run, alone", mb(most["programs"])],
        ["git and sshd of the push", mb(most["git"])],
        ["the project's Django process", mb(most["django"])],
        ["the new release's gunicorn", mb(most["release"])],
    ]
    result.text = [f"PSS; medians of the peaks of {rounds} pushes", *table(rows)]
    result.figures = {
        "rounds": rounds,
        "idle_bytes": idle,
        "peak_bytes": {name: int(size) for name, size in most.items()},
    }
    return result


def mb(size: float) -> str:
    return f"{size / MB:.1f} MB"
