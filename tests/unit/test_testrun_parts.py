# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts there are, what they may take, and that none is forgotten: here, and where it is hosted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from testrun import main, parts, report
from testrun.parts import BUDGETS, EVERY, FULL, ROOT, Part

WORKFLOWS = ROOT / ".github/workflows"
#: What every run may take on two cores, in minutes.
GOAL = 40
#: What a hosted job may take at most, in minutes.
LONGEST_JOB = 360

KNOWN = parts.all_parts()


def listed(*options: str) -> list[dict[str, Any]]:
    """What script/test says there is, on a machine with nothing but Python: no packages, no tools of ours."""
    environment = {"PATH": os.defpath, "HOME": "/nonexistent"}
    argv = [sys.executable, "-I", "-S", str(ROOT / "script/test"), "--list", "--json", *options]
    done = subprocess.run(argv, cwd="/", env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_scenario_and_every_program_is_a_part() -> None:
    scenarios = {f"molecule-{path.name}" for path in (ROOT / "molecule").iterdir() if (path / "molecule.yml").exists()}
    programs = {path.parent.name for path in (ROOT / "tests").glob("*/run")}
    assert {part["name"] for part in listed("--full")} >= scenarios | programs | {"lint", "unit", "sanity"}


def test_every_run_leaves_out_what_only_full_runs() -> None:
    every, full = {part["name"] for part in listed()}, {part["name"] for part in listed("--full")}
    assert full - every == {name for name in full if BUDGETS.get(name, parts.BUDGET).every is None}
    assert "molecule-large" in full - every


def test_budgets_of_every_run_fit_into_two_lanes() -> None:
    assert sum(budget.every or 0 for budget in BUDGETS.values()) <= 2 * GOAL


def test_needs_are_parts() -> None:
    assert {need for part in KNOWN.values() for need in part.needs} <= set(KNOWN)
    assert parts.with_needs(["lint"], KNOWN) == ["setup-venv", "lint"]
    named = parts.with_needs(list(KNOWN), KNOWN)
    assert sorted(named) == sorted(KNOWN)
    assert [name for name in named if set(KNOWN[name].needs) - set(named[: named.index(name)])] == []


PROVISIONED = [
    # a line of an inventory, whether the host is provisioned
    ("molecule_provisioned: true", True),
    ("          molecule_provisioned:  true # with both groups", True),
    ("molecule_provisioned: false", False),
    ("# molecule_provisioned: true", False),
    ("molecule_provisioned: trueish", False),
    ("molecule_suite: trixie", False),
]


@pytest.mark.parametrize(("line", "provisioned"), PROVISIONED, ids=[line for line, _ in PROVISIONED])
def test_scenarios_with_provisioned_hosts_need_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, provisioned: bool
) -> None:
    monkeypatch.setattr(parts, "SCENARIOS", tmp_path)
    (tmp_path / "one/inventory").mkdir(parents=True)
    (tmp_path / "one/molecule.yml").write_text("---\n{}\n")
    (tmp_path / "one/inventory/hosts.yml").write_text(f"all:\n  hosts:\n    one:\n{line}\n")
    known = parts.all_parts()
    assert ("images" in known["molecule-one"].needs) is provisioned
    assert ("images" in known) is provisioned


def test_what_is_said_of_provisioned_hosts_is_what_yaml_says() -> None:
    for scenario in parts.scenarios():
        hosts = yaml.safe_load((ROOT / "molecule" / scenario / "inventory/hosts.yml").read_text())
        assert parts.is_provisioned(scenario) is ("'molecule_provisioned': True" in str(hosts)), scenario


@pytest.fixture
def with_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario `single` with the folders `broken` and `move`."""
    monkeypatch.setattr(parts, "SCENARIOS", tmp_path)
    for folder in ("broken", "move"):
        (tmp_path / "single/tests" / folder).mkdir(parents=True)
        (tmp_path / "single/tests" / folder / "test_it.py").write_text("")
    (tmp_path / "single/molecule.yml").write_text("---\n{}\n")


CHOSEN = [
    # words, parts
    (["lint", "unit"], ["lint", "unit"]),
    (["molecule", "single"], ["molecule-single"]),
    (["molecule"], ["molecule-single"]),
    (["molecule-single"], ["molecule-single"]),
    (["molecule", "single/broken", "single"], ["molecule-single/broken", "molecule-single"]),
    (["lint", "molecule-single/move"], ["lint", "molecule-single/move"]),
]


@pytest.mark.usefixtures("with_folders")
@pytest.mark.parametrize(("words", "names"), CHOSEN)
def test_chosen(words: list[str], names: list[str]) -> None:
    assert [part.name for part in main.chosen(words, parts.all_parts(), full=False, keep_failed=True)] == names


@pytest.mark.usefixtures("with_folders")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "there is no part called nothing"),
        (["molecule", "nothing"], "there is no scenario nothing"),
        (["molecule", "single/nothing"], "it has: broken move"),
        (["molecule", "single/.."], "it has: broken move"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main.chosen(words, parts.all_parts(), full=False, keep_failed=True)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err


def test_a_folder_is_said_to_molecule_and_has_a_log_of_its_own() -> None:
    part = parts.molecule("single", "broken")
    assert [command.environment for command in part.commands] == [{}, {"DJDEPLOY_TESTS": "tests/broken"}, {}]
    assert part.log.name == "molecule-single-broken.log"
    assert part.budget == BUDGETS["molecule-single"]
    config = yaml.safe_load((ROOT / ".config/molecule/config.yml").read_text())
    assert config["verifier"]["directory"] == "${DJDEPLOY_TESTS:-tests}"


@pytest.mark.parametrize(("keep_failed", "removed_always"), [(True, False), (False, True)])
def test_hosts_of_an_earlier_run_go_first_and_those_of_a_failed_one_stay(
    keep_failed: bool, removed_always: bool
) -> None:
    first, test, last = parts.molecule("push", keep_failed=keep_failed).commands
    assert first.argv[:2] == last.argv[:2] == ("molecule", "destroy")
    assert "--destroy=never" in test.argv
    assert last.only_if_passed is not removed_always


# --- where it is hosted ---


def workflow(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((WORKFLOWS / name).read_text())
    return read


def test_the_hosted_workflow_asks_what_there_is() -> None:
    jobs = workflow("parts.yml")["jobs"]
    listing, test = jobs["parts"], jobs["test"]
    (step,) = (step for step in listing["steps"] if step.get("id") == "list")
    assert "$(script/test --list --json ${{ inputs.options }})" in step["run"]
    assert listing["outputs"] == {"parts": "${{ steps.list.outputs.parts }}"}
    assert test["needs"] == "parts"
    assert test["strategy"]["matrix"] == {"include": "${{ fromJSON(needs.parts.outputs.parts) }}"}
    assert test["timeout-minutes"] == "${{ matrix.timeout_minutes }}"
    assert "script/test ${{ inputs.options }} ${{ matrix.name }}" in [step.get("run") for step in test["steps"]]


RINGS = [
    # workflow, its job, what starts it, options of script/test
    ("test.yml", "every", {"push", "pull_request"}, None),
    ("full.yml", "full", {"schedule", "workflow_dispatch"}, {"options": "--full"}),
]


@pytest.mark.parametrize(("name", "job", "starts", "options"), RINGS)
def test_both_rings_are_hosted(name: str, job: str, starts: set[str], options: dict[str, str] | None) -> None:
    read = workflow(name)
    on: Any = read.get("on", read.get(True))  # type: ignore[call-overload]  # `on` is true in YAML 1.1
    assert set(on) == starts
    assert read["jobs"][job]["uses"] == "./.github/workflows/parts.yml"
    assert read["jobs"][job].get("with") == options


@pytest.mark.parametrize("options", [[], ["--full"]], ids=["every run", "full"])
def test_a_hosted_job_lasts_longer_than_script_test_gives_the_part(options: list[str]) -> None:
    entries = {entry["name"]: entry for entry in listed(*options)}
    for entry in entries.values():
        own = sum(entries[name]["limit_minutes"] for name in (entry["name"], *entry["needs"]))
        assert own < entry["timeout_minutes"] <= LONGEST_JOB, entry


@pytest.mark.parametrize("ring", [EVERY, FULL])
@pytest.mark.parametrize("part", KNOWN.values(), ids=KNOWN)
def test_a_part_is_ended_long_after_its_budget(part: Part, ring: str) -> None:
    assert part.limit(ring) >= 3 * part.budget.minutes(ring)
    described = report.described(part, ring == FULL, KNOWN, [])
    assert {"name", "ring", "budget_minutes", "last_seconds", "needs"} <= set(described)
