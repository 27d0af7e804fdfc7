# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the tests, as data: what each runs, what has to be there before it, and how long it may take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from testhosts.provisioned import SUITES

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
CACHE = ROOT / ".cache"
RESULTS = ROOT / "test-results"
COLLECTION = ROOT / "collections/ansible_collections/djdeploy/django"
MODULE_UTILS = COLLECTION / "plugins/module_utils"
SCENARIOS = ROOT / "molecule"
MODULE_TESTS = "plugins/modules"  # below tests/unit of the collection

#: The two rings: what every run does, and what only `--full` does besides.
EVERY = "every"
FULL = "full"
#: Says to the tests that they run in full (molecule/conftest.py).
FULL_VARIABLE = "DJDEPLOY_FULL"
#: Says to molecule which folder of a scenario's tests to run (.config/molecule/config.yml).
TESTS_VARIABLE = "DJDEPLOY_TESTS"
#: Says to the tests of a scenario where to note those that pass (molecule/shared/passed_tests.py).
PASSED_VARIABLE = "DJDEPLOY_PASSED_TESTS"

#: In the words of a command: the version of .venv's Python, as ansible-test wants it ("3.11").
PYTHON_VERSION = "{python-version}"


@dataclass(frozen=True)
class Budget:
    """Minutes a part may take. Taking more fails nothing; the closing table says it.

    :param every: in every run; None for a part that runs only in full.
    """

    every: float | None
    full: float

    def minutes(self, ring: str) -> float:
        return self.full if ring == FULL or self.every is None else self.every


#: How many parts run at a time, where there are as many cores.
LANES = 2

#: All budgets in one place: what a part takes on an idle machine of two cores, rounded up to a quarter of a minute.
#: Those of every run add up to two lanes of 40 minutes, with room for one more (tests/unit/test_testrun_parts.py).
#: A part without a line has BUDGET; a part whose first number is None runs only in full.
BUDGETS = {
    "setup-venv": Budget(0.75, 0.75),
    "setup-hosts": Budget(0.25, 0.25),
    "image-trixie": Budget(2, 2),
    "image-bookworm": Budget(2, 2),
    "lint": Budget(0.5, 0.75),
    "unit": Budget(3.25, 4.25),
    "sanity": Budget(2.5, 3),
    "collection": Budget(1.5, 2.25),
    "demo": Budget(1.75, 1.75),
    "controller": Budget(4, 10.5),
    "molecule-default": Budget(6, 6.25),
    "molecule-push": Budget(5.25, 7),
    "molecule-fleet": Budget(5, 6.5),
    "molecule-single": Budget(14.5, 34),
    "molecule-faults": Budget(5.5, 74.75),
    "molecule-projects": Budget(8.75, 40.5),
    "molecule-modules": Budget(7, 11.5),
    "molecule-large": Budget(None, 7.75),
}
BUDGET = Budget(5, 30)

#: Minutes to remove the hosts of a scenario that has used up its own.
REMOVING = 10


@dataclass(frozen=True)
class Command:
    """One program of a part.

    :param environment: variables beside our own.
    :param tests: the directory pytest names its tests from, if the program runs pytest.
    :param only_if_passed: not run when a program before it has failed.
    :param asks: whether it may ask for a password on the terminal (sudo).
    :param spare: minutes it has even when its part has used up its own: hosts that a part left behind because it hung
        would take the processor from every part after it.
    """

    argv: tuple[str, ...]
    directory: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)
    tests: Path | None = None
    only_if_passed: bool = False
    asks: bool = False
    spare: float = 0


@dataclass(frozen=True)
class Part:
    """Something that passes or fails as a whole. All its programs run, also after one has failed.

    :param needs: parts that have to pass before this one starts.
    :param setup: whether it only puts there what others need: it runs whenever one of them does.
    :param prepare: what running.PREPARATIONS does before the first program.
    :param scenario: the scenario whose hosts it boots.
    """

    name: str
    commands: tuple[Command, ...]
    needs: tuple[str, ...] = ("setup-venv",)
    setup: bool = False
    prepare: str = ""
    scenario: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it is no mere folder of a scenario's tests, whose time tells nothing of the scenario's."""
        return "/" not in self.name

    @property
    def budget(self) -> Budget:
        """Its budget; of a folder of tests that of its scenario, which is only its limit."""
        return BUDGETS.get(self.name.partition("/")[0], BUDGET)

    @property
    def ring(self) -> str:
        """The ring it begins to run in."""
        return FULL if self.budget.every is None else EVERY

    def ring_of_run(self, full: bool) -> str:
        """A part of full that is named in another run is run as in full."""
        return FULL if full else self.ring

    def limit(self, ring: str) -> float:
        """Minutes after which it hangs, for whoever waits: far above the budget, for machines that are busy or slow.

        Less so in full: a hosted job may last six hours.
        """
        return max(30.0 if self.setup else 60.0, (3 if ring == FULL else 4) * self.budget.minutes(ring))

    def longest(self, ring: str) -> float:
        """Minutes after which it has ended at the latest: its limit, and what its programs have besides."""
        return self.limit(ring) + sum(command.spare for command in self.commands)

    @property
    def log(self) -> Path:
        return RESULTS / f"{self.name.replace('/', '-')}.log"


HOSTS = ("setup-venv", "setup-hosts")
#: Parts that are one program in a folder of tests/.
PROGRAMS = ("collection", "demo", "controller")
#: How the names of the parts that are scenarios begin.
SCENARIO = "molecule-"


def scripts() -> tuple[list[str], list[str]]:
    """The programs of this repository by the language their first line names: (Python, shell)."""
    python: list[str] = []
    shell = [".ci/run"]
    patterns = ("script/*", "tests/*.sh", "tests/*/run", "tests/*/host")
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        if path.is_file() and (os.access(path, os.X_OK) or path.suffix == ".sh"):
            first = path.read_text(errors="replace").partition("\n")[0]
            (python if "python" in first else shell).append(str(path.relative_to(ROOT)))
    return python, shell


def lint() -> Part:
    """Everything that reads the files and runs nothing."""
    python, shell = scripts()
    typed = [str((MODULE_UTILS / name).relative_to(ROOT)) for name in ("engine", "provision", "family")]
    ours = [name for name in ("testrun", "testhosts") if (ROOT / name).is_dir()]
    lines = [
        ("ruff", "check", ".", *python),
        ("ruff", "format", "--check", ".", *python),
        ("mypy", *typed),
        ("mypy", *ours),
        # one at a time: to mypy each of them is the module __main__
        *(("mypy", script) for script in python),
        ("python", "script/docs", "--check"),
        ("yamllint", "--strict", "."),
        ("ansible-lint", "--strict", "--offline"),
        *(("bash", "-n", script) for script in shell),
        ("shellcheck", *shell),
    ]
    return Part("lint", tuple(map(Command, lines)))


def unit() -> Part:
    """Tables of cases: no host, no network.

    ansible-test runs each test in a fork of its own and without a controller, which is what modules are to stand; for
    all the rest that takes twice as long and tells nothing more.
    """
    tests = COLLECTION.relative_to(ROOT) / "tests/unit"
    plain = ("pytest", "-q", "-n", "2", "tests/unit", str(tests), f"--ignore={tests / MODULE_TESTS}")
    units = ansible_test("units", "--num-workers", "2", f"tests/unit/{MODULE_TESTS}/")
    return Part("unit", (Command(plain, tests=ROOT), replace(units, tests=COLLECTION)))


def sanity() -> Part:
    """What Ansible asks of every collection, with the Python of .venv."""
    return Part("sanity", (ansible_test("sanity", "--requirements"),), prepare="pip-for-ansible-test")


def ansible_test(*argv: str) -> Command:
    """A command of ansible-test, with the Python of .venv. It keeps its environments below HOME."""
    options = ("--color", "no", "--local", "--python", PYTHON_VERSION)
    return Command(("ansible-test", *argv, *options), COLLECTION, {"HOME": str(CACHE)})


def scenarios() -> list[str]:
    """Molecule's scenarios: every directory that has a molecule.yml."""
    return sorted(path.parent.name for path in SCENARIOS.glob("*/molecule.yml"))


def scenario_of(part: str) -> str:
    """The scenario a part is, by its name; nothing if it is none."""
    return part.partition("/")[0].removeprefix(SCENARIO) if part.startswith(SCENARIO) else ""


def test_folders(scenario: str) -> list[str]:
    """The folders of tests of a scenario that has one for each capability."""
    tests = SCENARIOS / scenario / "tests"
    return sorted({str(path.parent.relative_to(tests)) for path in tests.glob("**/test_*.py") if path.parent != tests})


#: A line of an inventory: how far it is indented, a key, and its value.
LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w.-]+):(?: +(?P<value>[^#\s]+))? *(?:#.*)?$")


def suites_of_hosts(inventory: str) -> set[str]:
    """The suites of hosts that are booted from a provisioned image, as an inventory says it line by line.

    There is no YAML before anything is installed. What is said in another way than a line for each variable below the
    name of a host gets all suites: a scenario may wait for an image too many, but never for one too few.
    """
    hosts: dict[str, dict[str, str]] = {}
    above: list[tuple[int, str]] = []
    for line in filter(None, map(LINE.match, inventory.splitlines())):
        indent = len(line["indent"])
        above = [(further, key) for further, key in above if further < indent]
        if line["value"]:
            hosts.setdefault(above[-1][1] if above else "", {})[line["key"]] = line["value"]
        else:
            above.append((indent, line["key"]))
    found = {
        values.get("molecule_suite", "") for values in hosts.values() if values.get("molecule_provisioned") == "true"
    }
    said = len(re.findall(r"^[^#]*\bmolecule_provisioned\b", inventory, re.MULTILINE))
    understood = sum("molecule_provisioned" in values for values in hosts.values())
    return found if said == understood and found <= set(SUITES) else set(SUITES)


def provisioned_suites(scenario: str) -> list[str]:
    """The suites whose provisioned images a scenario boots hosts from, by its inventory."""
    files = sorted((SCENARIOS / scenario / "inventory").rglob("*.yml"))
    found = set[str]().union(*(suites_of_hosts(file.read_text()) for file in files))
    return [suite for suite in SUITES if suite in found]


def molecule(scenario: str, folder: str = "", *, keep_failed: bool = True) -> Part:
    """One scenario on booted hosts, or one folder of its tests.

    Molecule would remove the hosts whatever happened, or never, the ones of an earlier run included; so that is said
    here: they go first, and at the end unless there is a failure to look at.
    """
    named = ("--scenario-name", scenario)
    environment = {TESTS_VARIABLE: f"tests/{folder}"} if folder else {}
    commands = (
        Command(("molecule", "destroy", *named)),
        Command(("molecule", "test", "--destroy=never", *named), environment=environment, tests=SCENARIOS / scenario),
        Command(("molecule", "destroy", *named), only_if_passed=keep_failed, spare=REMOVING),
    )
    needs = (*HOSTS, *map(image_part, provisioned_suites(scenario)))
    return Part("/".join(filter(None, (f"{SCENARIO}{scenario}", folder))), commands, needs, scenario=scenario)


def image_part(suite: str) -> str:
    """The name of the part that makes the provisioned image of a suite."""
    return f"image-{suite}"


def setup_parts() -> list[Part]:
    """What the others need: tools from PyPI, tools from apt, images of hosts on which our roles have run."""
    script = str(ROOT / "script/setup")
    image = (str(ROOT / "script/host"), "image", "--provisioned")
    return [
        Part("setup-venv", (Command((script, "venv"), asks=True),), needs=(), setup=True),
        Part("setup-hosts", (Command((script, "hosts"), asks=True),), needs=(), setup=True),
        *(Part(image_part(suite), (Command((*image, suite)),), needs=HOSTS, setup=True) for suite in SUITES),
    ]


def programs() -> list[Part]:
    """Parts that are one program in tests/: the collection as others get it, the demo, the newest controller."""
    found = []
    for name in PROGRAMS:
        program = Path("tests") / name / "run"
        if (ROOT / program).exists():
            found.append(Part(name, (Command(("bash", str(program))),), HOSTS))
    return found


def all_parts(*, keep_failed: bool = True) -> dict[str, Part]:
    """Every part by its name, those that set up first.

    :param keep_failed: whether the hosts of a failed scenario stay up.
    """
    tests = [lint(), unit(), sanity(), *programs()]
    tests += [molecule(name, keep_failed=keep_failed) for name in scenarios()]
    parts = [*setup_parts(), *tests]
    needed = {need for part in parts for need in part.needs}
    return {part.name: part for part in parts if not part.setup or part.name in needed}


def parts_of_run(parts: Mapping[str, Part], full: bool) -> list[str]:
    """The names of what runs unless parts are named."""
    return [part.name for part in parts.values() if not part.setup and (full or part.ring == EVERY)]


def lane_minutes(parts: Mapping[str, Part], full: bool) -> float:
    """What the budgets of a run add up to: of all it runs, with what that needs."""
    ring = FULL if full else EVERY
    return sum(parts[name].budget.minutes(ring) for name in with_needs(parts_of_run(parts, full), parts))


def with_needs(names: Iterable[str], parts: Mapping[str, Part]) -> list[str]:
    """The names and, before them, what they need and what that needs."""
    found: list[str] = []

    def add(name: str) -> None:
        for need in parts[name].needs:
            add(need)
        if name not in found:
            found.append(name)

    for name in names:
        add(name)
    return found
