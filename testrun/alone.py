# SPDX-License-Identifier: GPL-3.0-or-later
"""`script/test alone TEST`: one test, as its part would run it, on the hosts that are up."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from testrun.parts import BIN, EVERY, FULL, ROOT, SCENARIOS
from testrun.running import environment_of

#: pytest's statuses when it ran no test at all: it knows none of that name, or all were left out.
NOT_FOUND, NOTHING_RAN = 4, 5
#: A test that a file defines.
TEST = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)


class Problem(Exception):
    """Why a test cannot be run, and what to do next."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def require_test(test: str, root: Path = ROOT) -> None:
    """Look for a test before its hosts are asked for; of its parameters only pytest knows.

    :raises Problem: when its file is not there, or nowhere has its name.
    """
    file, *names = test.partition("[")[0].split("::")
    if not (root / file).exists():
        raise Problem(f"there is no {file}", "name the test as pytest does, from the root: molecule/push/tests/...")
    if not names or not (root / file).is_file():
        return
    text = (root / file).read_text()
    for name in names:
        if not re.search(rf"\b{re.escape(name)}\b", text):
            there = dict.fromkeys(TEST.findall(text))
            near = difflib.get_close_matches(name, there, n=5, cutoff=0.0)
            raise Problem(f"{file} has no {name}", f"it has: {', '.join(near) or 'no test'}")


def scenario_of(test: str, root: Path = ROOT) -> str | None:
    """The scenario whose hosts a test needs, None for one that needs none.

    :param test: an id that names its file from the root of the repository.
    :raises Problem: when there is no such test.
    """
    require_test(test, root)
    file = Path(test.partition("::")[0])
    return file.parts[1] if file.parts[0] == SCENARIOS.name and len(file.parts) > 2 else None


def missing_hosts(names: Sequence[str], listed: Sequence[Mapping[str, str]]) -> list[str]:
    """The hosts of a scenario that are not up, by what `script/host list --json` says."""
    up = {host["name"] for host in listed if host["state"] == "running"}
    return sorted(set(names) - up)


def require_hosts(scenario: str) -> None:
    """:raises Problem: when the hosts of a scenario are not up."""
    inventory = [str(BIN / "ansible-inventory"), "--inventory", str(SCENARIOS / scenario / "inventory"), "--list"]
    described = json.loads(subprocess.check_output(inventory, cwd=ROOT, env=environment_of(EVERY)))
    names = sorted(described["_meta"]["hostvars"])
    listed = json.loads(subprocess.check_output([ROOT / "script/host", "list", "--json"], text=True))
    if missing := missing_hosts(names, listed):
        raise Problem(
            f"{', '.join(missing)} of scenario {scenario} is not up",
            f"boot it: . .venv/bin/activate; molecule converge -s {scenario}",
        )


def command(tests: Sequence[str], options: Sequence[str]) -> list[str]:
    """The program that runs tests, which are all of one scenario or of none.

    :param options: further words for pytest.
    :raises Problem: when they are of several.
    """
    if not (BIN / "pytest").exists():
        raise Problem("nothing is installed yet", "run: script/setup")
    scenarios = {scenario_of(test) for test in tests}
    if len(scenarios) != 1:
        raise Problem("the tests are of several scenarios", "run those of each by themselves")
    paths = [str(ROOT / test) for test in tests]
    (scenario,) = scenarios
    if scenario is None:
        return [str(BIN / "pytest"), "-v", *paths, *options]
    require_hosts(scenario)
    return [str(BIN / "python"), "-m", "testrun.verifying", scenario, *paths, *options]


def main(arguments: Sequence[str]) -> int:
    """:returns: pytest's status, or 2 when the test cannot be run."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    ours, options = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(
        prog="script/test [--full] alone",
        description="Run tests by their ids, on the hosts of their scenario as they are.",
        epilog="After -- come options of pytest: script/test alone TEST -- --pdb",
    )
    parser.add_argument("tests", nargs="+", metavar="TEST", help="as pytest names it, from the root of the repository")
    parser.add_argument("--full", action="store_true", help="as in a full run: tests that belong to it run too")
    given = parser.parse_args([word for word in ours if word != "alone"])
    try:
        argv = command(given.tests, options)
    except Problem as problem:
        print(f"script/test: {problem}\n  {problem.remedy}", file=sys.stderr)
        return 2
    environment = environment_of(FULL if given.full else EVERY)
    status = subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode
    if status == NOT_FOUND:
        files = shlex.join(dict.fromkeys(test.partition("::")[0] for test in given.tests))
        listing = f"script/test {'--full ' if given.full else ''}alone {files} -- --collect-only -q"
        print(f"script/test: pytest knows no such test; those there are: {listing}", file=sys.stderr)
    if status == NOTHING_RAN and not given.full:
        print(
            "script/test: no test ran\n  if it belongs to the full run: script/test --full alone ...", file=sys.stderr
        )
    return status
