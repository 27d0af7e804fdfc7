# SPDX-License-Identifier: GPL-3.0-or-later
"""The side of `killing.py` that runs on the host: one command a line on standard input, one answer a line back.

It is handed to python3 as text, so it is one file and needs nothing but Python.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

PLACE = Path("/run/killing")
ARMED, USED, TRACE = PLACE / "armed", PLACE / "used", PLACE / "trace"
WRAPPER = """\
#!/bin/sh
# Under strace once, when that was asked for; the next deployer is an ordinary one again.
set -- /usr/bin/python3 -sP -m djdeploy_engine deployer
if mv /run/killing/armed /run/killing/used 2>/dev/null; then
    exec /usr/bin/strace -s 120 -o /run/killing/trace $(cat /run/killing/used) "$@"
fi
exec "$@"
"""
# What strace needs beyond what the deployer may do; all else of its sandbox stays.
DROP_IN = """\
[Service]
ExecStart=
ExecStart=/bin/sh /run/killing/deployer
ReadWritePaths=/run/killing
SystemCallFilter=
"""
UNITS = [  # of root's requests, and of pushes
    Path(f"/run/systemd/system/djdeploy-deployer{of}@.service.d/killing.conf") for of in ("", ".push")
]
WORKING = ("djdeploy-deployer*@*.service", "djdeploy-recover.service")
PATIENCE = 300.0  # seconds for anything that is waited for; a busy machine takes long


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout


def listed(*patterns: str) -> list[str]:
    """Units that systemd holds, whatever their state."""
    text = run("systemctl", "list-units", "--all", "--plain", "--no-legend", *patterns)
    return sorted(line.split()[0] for line in text.splitlines() if line.strip())


def set_up() -> dict:
    """Let the next deployers be started by our wrapper."""
    PLACE.mkdir(exist_ok=True)
    (PLACE / "deployer").write_text(WRAPPER)
    for path in UNITS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(DROP_IN)
    run("systemctl", "daemon-reload")
    return {}


def take_down() -> dict:
    for path in UNITS:
        path.unlink(missing_ok=True)
    run("systemctl", "daemon-reload")
    return {}


def arm(options: str) -> dict:
    """Put the next deployer, and no other, under strace with these options."""
    for path in (USED, TRACE):
        path.unlink(missing_ok=True)
    ARMED.write_text(options)
    return {}


def command(words: list[str]) -> dict:
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return {"status": done.returncode, "said": done.stdout + done.stderr}


def journal(site: str) -> Path:
    return Path(f"/var/lib/djdeploy/{site}/journal.jsonl")


def kill_at(site: str, phase: str, words: list[str]) -> dict:
    """Run a command, and kill the deployer as soon as the journal tells that a phase has begun."""
    began = journal(site).stat().st_size
    asked = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    killed = wait_and_kill(site, phase, began)
    said = asked.communicate()[0].decode(errors="replace")
    return {"status": asked.returncode, "said": said, "killed": killed}


def wait_and_kill(site: str, phase: str, began: int | None = None) -> bool:
    """Kill the deployer when the journal tells that a phase has begun."""
    began = journal(site).stat().st_size if began is None else began
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with open(journal(site), "rb") as file:
            file.seek(began)
            lines = [json.loads(line) for line in file if line.endswith(b"\n")]
        if any(line["event"] == "phase" and (line["name"], line["state"]) == (phase, "started") for line in lines):
            units = listed(WORKING[0])
            run("systemctl", "kill", "--signal", "KILL", *units)
            return bool(units)
        time.sleep(0.002)
    return False


def at_rest(site: str) -> dict:
    """Wait until nothing works any more and releases have stopped that were told to.

    :returns: what there is then.
    """
    end = time.monotonic() + PATIENCE
    while listed(*WORKING) and time.monotonic() < end:
        time.sleep(0.03)
    while time.monotonic() < end:
        text = run("systemctl", "list-units", "--all", "--plain", "--no-legend", f"djdeploy-{site}@*")
        if "deactivating" not in text and "stop-sig" not in text:
            break
        time.sleep(0.05)
    # systemd removes a unit's PrivateTmp= in a thread of its own, after the unit has ended.
    while private_tmp() and time.monotonic() < end:
        time.sleep(0.05)
    return look(site)


def private_tmp() -> list[str]:
    """List what units of the deployer have in /tmp."""
    return [str(path) for path in Path("/tmp").glob("systemd-private-*djdeploy-*") if "deployer" in path.name]


def look(site: str) -> dict:
    """What is live, and everything that should not be there."""
    root, current = Path("/srv", site), os.path.basename(os.readlink(f"/srv/{site}/current"))
    records = {}
    for path in sorted((root / "releases").iterdir()):
        record = path / "release.json"
        records[path.name] = json.loads(record.read_text()) if record.exists() else {"state": "none", "revision": ""}
    return {
        "live": current,
        "revision": records[current]["revision"],
        "branch": run("git", "-c", "safe.directory=*", "-C", f"{root}/repo.git", "rev-parse", "main").strip(),
        "stray": stray(site, root, current, records),
    }


def stray(site: str, root: Path, current: str, records: dict) -> list[str]:
    """What a run that ended as it should never leaves, one line for each."""
    found = [f"unit {unit}" for unit in listed(*WORKING)]
    ours = {f"djdeploy-{site}@{current}.{kind}" for kind in ("service", "socket")}
    units = set(listed(f"djdeploy-{site}@*"))
    found += [f"unit {unit}" for unit in sorted(units - ours)] + [f"no unit {unit}" for unit in sorted(ours - units)]
    found += [f"failed {unit}" for unit in run("systemctl", "--failed", "--plain", "--no-legend").splitlines()]
    running = Path("/run/djdeploy", site)
    expected = {running / name for name in ("locks", "locks/deploy", "queue", f"{current}.sock")}
    found += [str(path) for path in running.rglob("*") if path not in expected]
    if held := (running / "locks" / "deploy").read_text():
        found.append(f"lock held: {held}")
    if (root / "maintenance").exists():
        found.append("the maintenance page is up")
    states = {"live": [], "preparing": [], "none": []}
    for name, record in records.items():
        states.setdefault(record["state"], []).append(name)
    if states["live"] != [current]:
        found.append(f"live by their records: {states['live']}, by the pointer: {current}")
    found += [f"release {name} is {state}" for state in ("preparing", "none") for name in states[state]]
    aside = re.compile(r"^\.(?!reserve$|venv$|sock$)|\.new$|\.gone$|\.part$|\.inputs$")
    for folder in (root, root / "releases", root / "venvs", root / "snapshots", *(root / "releases").iterdir()):
        found += [f"{folder / name}" for name in os.listdir(folder) if aside.search(name)] if folder.is_dir() else []
    found += [str(path) for path in (root / "venvs").iterdir() if not (path / ".complete").exists()]
    state = Path("/var/lib/djdeploy", site)
    for path in state.rglob("*"):
        if path.parent.name == "pushes" or aside.search(path.name):
            found.append(str(path))
    return found + private_tmp()


def trace() -> dict:
    """What strace saw, and whether the deployer died of it."""
    lines = TRACE.read_text(errors="replace").splitlines() if TRACE.exists() else []
    return {"lines": lines, "killed": any("killed by SIGKILL" in line for line in lines[-1:])}


def events(site: str, lines: int) -> dict:
    """The last lines of the journal of deploys."""
    return {"events": [json.loads(line) for line in run("tail", "-n", str(lines), str(journal(site))).splitlines()]}


def main() -> None:
    commands = {each.__name__: each for each in (set_up, take_down, arm, command, kill_at, at_rest, trace, events)}
    commands["wait_and_kill"] = lambda **words: {"killed": wait_and_kill(**words)}
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(commands[asked.pop("do")](**asked)), flush=True)


main()
