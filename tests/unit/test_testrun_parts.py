# SPDX-License-Identifier: GPL-3.0-or-later
"""Which parts there are, what they may take, and that none is forgotten: here, and where it is hosted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from testrun import main, parts, report, schedule
from testrun.parts import BUDGET, BUDGETS, EVERY, FULL, LANES, ROOT, Part

WORKFLOWS = ROOT / ".github/workflows"
#: What every run may take on two cores, in minutes.
GOAL = 40
#: What is left of two lanes for what is added, in minutes.
ROOM = 4
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


@pytest.fixture
def invented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a scenario beside those there are."""
    for path in parts.SCENARIOS.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(parts, "SCENARIOS", tmp_path)

    def make(name: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "molecule.yml").write_text("---\n{}\n")

    return make


def fits() -> bool:
    """Whether what a run on two lanes really does fits by its budgets."""
    return parts.lane_minutes(parts.all_parts(), full=False) <= LANES * GOAL


@pytest.mark.parametrize(("options", "said"), [([], True), (["--full"], False)], ids=["every run", "full"])
def test_the_list_names_what_only_full_runs(options: list[str], said: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--list", *options]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert (last == "only script/test --full runs: molecule-large") is said


def test_budgets_of_every_run_fit_into_two_lanes(invented: Callable[[str], None]) -> None:
    assert parts.lane_minutes(KNOWN, full=False) <= LANES * GOAL - ROOM
    invented("invented")
    assert parts.lane_minutes(parts.all_parts(), full=False) == parts.lane_minutes(KNOWN, full=False) + BUDGET.minutes(
        EVERY
    )
    assert fits()
    invented("another")
    assert not fits()


def test_a_budget_is_what_was_measured_rounded_up_to_a_quarter_of_a_minute() -> None:
    assert [
        name for name, one in BUDGETS.items() if any((minutes or 0) % 0.25 for minutes in (one.every, one.full))
    ] == []


def test_each_budget_has_its_part() -> None:
    assert set(BUDGETS) <= set(KNOWN)


def test_needs_are_parts() -> None:
    assert {need for part in KNOWN.values() for need in part.needs} <= set(KNOWN)
    assert parts.with_needs(["lint"], KNOWN) == ["setup-venv", "lint"]
    named = parts.with_needs(list(KNOWN), KNOWN)
    assert sorted(named) == sorted(KNOWN)
    assert [name for name in named if set(KNOWN[name].needs) - set(named[: named.index(name)])] == []


HOST = "      {name}:\n          molecule_suite: {suite}\n"
PROVISIONED = "          molecule_provisioned: true\n"
ONE, OTHER = HOST.format(name="one", suite="trixie"), HOST.format(name="other", suite="bookworm")
INVENTORIES = [
    # the hosts of an inventory, the suites whose images are needed
    (ONE + OTHER, set()),
    (ONE + PROVISIONED, {"trixie"}),
    (ONE + PROVISIONED.replace("\n", "  # with both groups\n"), {"trixie"}),
    (ONE + OTHER + PROVISIONED, {"bookworm"}),
    (ONE + PROVISIONED + OTHER, {"trixie"}),
    (ONE + PROVISIONED + OTHER + PROVISIONED, {"trixie", "bookworm"}),
    (ONE + PROVISIONED.replace("true", "false"), set()),
    (ONE + "          # molecule_provisioned: true\n", set()),
    (ONE + OTHER + "    database:\n      hosts:\n      one:\n" + PROVISIONED, {"trixie"}),
    # what is not understood needs both
    ("    vars:\n" + PROVISIONED + ONE + OTHER, {"trixie", "bookworm"}),
    ("      one: {molecule_suite: trixie, molecule_provisioned: true}\n", {"trixie", "bookworm"}),
    (ONE + PROVISIONED.replace("true", "{{ x }}"), {"trixie", "bookworm"}),
    (ONE.replace("trixie", "sid") + PROVISIONED, {"trixie", "bookworm"}),
]


@pytest.mark.parametrize(("hosts", "suites"), INVENTORIES)
def test_a_scenario_needs_the_images_of_its_hosts_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: str, suites: set[str]
) -> None:
    monkeypatch.setattr(parts, "SCENARIOS", tmp_path)
    (tmp_path / "one/inventory").mkdir(parents=True)
    (tmp_path / "one/molecule.yml").write_text("---\n{}\n")
    (tmp_path / "one/inventory/hosts.yml").write_text(f"---\nall:\n  children:\n    web:\n      hosts:\n{hosts}")
    known = parts.all_parts()
    images = {f"image-{suite}" for suite in suites}
    assert {need for need in known["molecule-one"].needs if need.startswith("image-")} == images
    assert {name for name in known if name.startswith("image-")} == images


def hosts_of(group: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The hosts of a group of an inventory, each with all that is said of it."""
    found: dict[str, dict[str, Any]] = {}
    for child in [{"hosts": group.get("hosts")}, *map(hosts_below, (group.get("children") or {}).values())]:
        for name, said in (child["hosts"] or {}).items():
            found.setdefault(name, {}).update((group.get("vars") or {}) | (said or {}))
    return found


def hosts_below(group: dict[str, Any] | None) -> dict[str, Any]:
    return {"hosts": hosts_of(group or {})}


@pytest.mark.parametrize("scenario", parts.scenarios())
def test_what_is_said_of_provisioned_hosts_is_what_yaml_says(scenario: str) -> None:
    hosts = hosts_of(yaml.safe_load((ROOT / "molecule" / scenario / "inventory/hosts.yml").read_text())["all"])
    suites = {said["molecule_suite"] for said in hosts.values() if said.get("molecule_provisioned")}
    assert set(parts.provisioned_suites(scenario)) == suites


def test_the_longest_part_waits_for_its_own_image_only() -> None:
    assert KNOWN["molecule-single"].needs == (*parts.HOSTS, "image-trixie")
    (command,) = KNOWN["image-trixie"].commands
    assert command.argv[1:] == ("image", "--provisioned", "trixie")
    seconds = {name: part.budget.minutes(EVERY) * 60 for name, part in KNOWN.items()}
    needs = {name: part.needs for name, part in KNOWN.items()}
    names = parts.with_needs(parts.parts_of_run(KNOWN, full=False), KNOWN)
    slots = {slot.name: slot for slot in schedule.plan(schedule.items_of(names, needs, seconds), lanes=LANES)}
    assert slots["molecule-single"].start == slots["image-trixie"].end
    assert schedule.length(list(slots.values())) <= GOAL * 60


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
        (["unit", "molecule", "push"], "script/test: molecule comes first, and no part goes with it\n"),
        (["all", "unit"], "script/test: all comes first, and no part goes with it\n"),
        (["single"], "script/test: there is no part called single: script/test molecule single\n"),
        (["lint", "single/move"], "there is no part called single/move: script/test molecule single/move\n"),
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
    assert "$(script/test --list --json ${{ inputs.options }} |" in step["run"]
    assert listing["outputs"] == {"parts": "${{ steps.list.outputs.parts }}"}
    assert test["needs"] == "parts"
    assert test["strategy"]["matrix"] == {"include": "${{ fromJSON(needs.parts.outputs.parts) }}"}
    assert test["timeout-minutes"] == "${{ matrix.timeout_minutes }}"
    assert "script/test ${{ inputs.options }} ${{ matrix.name }}" in [step.get("run") for step in test["steps"]]


@pytest.mark.parametrize("options", ["", "--full"])
def test_each_part_but_those_that_set_up_is_a_job(tmp_path: Path, options: str) -> None:
    """What the step of the workflow really writes."""
    (step,) = (step for step in workflow("parts.yml")["jobs"]["parts"]["steps"] if step.get("id") == "list")
    assert step["shell"] == "bash"
    text = step["run"].replace("${{ inputs.options }}", options)
    environment = os.environ | {"GITHUB_OUTPUT": str(tmp_path / "output")}
    subprocess.run(["bash", "-e", "-o", "pipefail", "-c", text], cwd=ROOT, env=environment, check=True)
    name, _, written = (tmp_path / "output").read_text().rstrip("\n").partition("=")
    assert name == "parts"
    assert [part["name"] for part in json.loads(written)] == parts.parts_of_run(KNOWN, options == "--full")


def test_logs_are_kept_however_a_job_ended() -> None:
    steps = workflow("parts.yml")["jobs"]["test"]["steps"]
    (upload,) = (step for step in steps if step.get("uses", "").startswith("actions/upload-artifact@"))
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "test-results/"


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
        assert chain(entry, entries) < entry["timeout_minutes"] <= LONGEST_JOB, entry


def chain(entry: dict[str, Any], entries: dict[str, dict[str, Any]]) -> float:
    """Minutes to the end of a part if all it needs, side by side, takes as long as it may, and its hosts hang, too."""
    before = max((chain(entries[name], entries) for name in entry["needs"]), default=0.0)
    return before + float(entry["limit_minutes"]) + (parts.REMOVING if KNOWN[entry["name"]].scenario else 0)


@pytest.mark.parametrize("ring", [EVERY, FULL])
@pytest.mark.parametrize("part", KNOWN.values(), ids=KNOWN)
def test_a_part_is_ended_long_after_its_budget(part: Part, ring: str) -> None:
    assert part.limit(ring) >= 3 * part.budget.minutes(ring)
    described = report.described(part, ring == FULL, KNOWN, [])
    assert {"name", "ring", "budget_minutes", "last_seconds", "needs"} <= set(described)
