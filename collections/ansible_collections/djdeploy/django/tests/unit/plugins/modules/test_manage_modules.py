# SPDX-License-Identifier: GPL-3.0-or-later
"""The manage.py modules, each as a program that reads its arguments and prints its result."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..programs import run_module

FILES = sorted((Path(__file__).parent / "cases").glob("*.yml"))
BAD_INPUT = yaml.safe_load((Path(__file__).parent / "cases/bad_input.yml").read_text())
CASES = [case for file in FILES for case in yaml.safe_load(file.read_text())]
FRESH = {case["module"]: case["id"] for case in reversed(CASES) if "failed" not in case["result"]}


def params() -> list[Any]:
    """The cases; the first of each module is run as on a host: a new process of Python that starts another one."""
    fresh = [case["id"] == FRESH.get(case["module"]) for case in CASES]
    return [
        pytest.param(case, id=f"{case['id']}_fresh" if new else case["id"], marks=[pytest.mark.fresh_process] * new)
        for case, new in zip(CASES, fresh, strict=True)
    ]


def perform(project: Any, task: dict[str, Any]) -> dict[str, Any]:
    """Run the module of a task in a project, and return its result."""
    where = {} if task.get("bare") else {"project_path": str(project.root), "python": str(project.target().python)}
    modes = {"_ansible_check_mode": task.get("check", False), "_ansible_diff": task.get("diff", False)}
    return run_module(task["module"], {**where, **modes, **task.get("args", {})}, fresh=project.fresh)[0]


def placed(value: Any, root: Path) -> Any:
    """The value of an option; `{root}` in a text is the directory of the project."""
    if isinstance(value, dict):
        return {key: placed(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [placed(item, root) for item in value]
    return value.replace("{root}", str(root)) if isinstance(value, str) else value


def holds(actual: Any, expected: Any) -> bool:
    if isinstance(expected, str) and expected.startswith("~"):
        return re.search(expected[1:], actual if isinstance(actual, str) else json.dumps(actual)) is not None
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(name in actual and holds(actual[name], value) for name, value in expected.items())
    return bool(actual == expected)


@pytest.mark.parametrize("case", params())
def test_module(project: Any, case: dict[str, Any]) -> None:
    for name, text in case.get("files", {}).items():
        project.write(name, text)
    for name, target in case.get("links", {}).items():
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).symlink_to(target.format(python=sys.executable))
    if "settings" in case:
        project.settings(case["settings"])
    for task in case.get("before", ()):
        assert not perform(project, task).get("failed")
    project.settings(case.get("late", ""))
    before = project.contents()
    result = perform(project, {**case, "args": placed(case.get("args", {}), project.root)})
    if case.get("check") or case in BAD_INPUT:
        assert project.contents() == before
    differing = {name: result.get(name) for name, value in case["result"].items() if not holds(result.get(name), value)}
    assert not differing, json.dumps(result, indent=1)
    assert "failed" in case["result"] or "failed" not in result
    assert "new-secret" not in json.dumps({name: value for name, value in result.items() if name != "invocation"})
    assert case.get("diff", False) == ("diff" in result)


@pytest.mark.parametrize("name", [".venv", "venv"])
def test_virtual_environment_in_the_project_is_found(project: Any, name: str) -> None:
    (project.root / name).symlink_to(sys.prefix)
    result = perform(project, {"module": "check", "bare": True, "args": {"project_path": str(project.root)}})
    assert "failed" not in result, result
