# SPDX-License-Identifier: GPL-3.0-or-later
"""What modules say to an operator moves no terminal, and no module says it any other way."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.djdeploy.django.plugins import module_utils
from ansible_collections.djdeploy.django.plugins.module_utils.engine.terminal import is_obeyed
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule, printable_within

from ..programs import run_module

PLUGINS = Path(module_utils.__path__[0]).parent
FILES = [path for name in ("modules", "module_utils", "action") for path in sorted((PLUGINS / name).rglob("*.py"))]
ODD = "a\x1b]0;title\x07 \x9b31m \u202e\u2066 \U000e0041\U000e0000 \x7f\r\x08\nsecond\tline"
SHOWN = "a\\x1b]0;title\\x07 \\x9b31m \\u202e\\u2066 \\U000e0041\\U000e0000 \\x7f\\r\\x08\nsecond\tline"
OBEYED = [
    *(code for code in range(0x20) if chr(code) not in "\n\t"),
    *range(0x7F, 0xA0),
    0x200E,
    0x200F,
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xE0000, 0xE0080),
    0xD800,
    0xDC80,
    0xDFFF,
]


def test_characters_a_terminal_obeys() -> None:
    assert [hex(code) for code in OBEYED if not is_obeyed(chr(code))] == []
    assert [each for each in "\n\t aZ~\xa0\xe9\u20ac\u65e5\U0001f468\u200d" if is_obeyed(each)] == []


# --- what a module says ------------------------------------------------------------------------------


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> PrintableModule:
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": {}}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    return PrintableModule(argument_spec={})


def answer_of(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_failure(module: PrintableModule, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        module.fail_json(msg=ODD, hint=ODD, detail=ODD, facts={ODD: [ODD, 1, None]}, exception=ODD)
    answer = answer_of(capsys)
    assert answer["msg"] == answer["hint"] == answer["detail"] == SHOWN
    assert answer["facts"] == {SHOWN: [SHOWN, 1, None]}
    assert not any(is_obeyed(each) for each in json.dumps(answer, ensure_ascii=False) if each != "\n")


def test_a_success_says_it_and_returns_the_rest_as_it_is(
    module: PrintableModule, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        module.exit_json(msg=ODD, log=[ODD], diff=[{"before": ODD, "after": ""}], result={"text": ODD})
    answer = answer_of(capsys)
    assert (answer["msg"], answer["log"], answer["diff"][0]["before"]) == (SHOWN, [SHOWN], SHOWN)
    assert answer["result"] == {"text": ODD}


def test_warnings(module: PrintableModule, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, text, **options: said.append((text, options)))
    module.warn(ODD, help_text=ODD)
    assert said == [(SHOWN, {"help_text": SHOWN})]


def test_values_that_are_no_texts_stay() -> None:
    assert printable_within({"a": (1, 2.5, True, None, {"b"})}) == {"a": [1, 2.5, True, None, ["b"]]}


def test_settings_of_a_project_that_talk_to_the_terminal(project: Any) -> None:
    project.settings(f"raise RuntimeError({ODD!r})")
    args = {"project_path": str(project.root), "python": str(project.target().python), "_ansible_diff": False}
    result, _lines = run_module("info", args, fresh=project.fresh)
    assert result["failed"] and "\\x1b]0;title" in result["msg"]
    assert not any(is_obeyed(each) for each in json.dumps(result, ensure_ascii=False))


# --- no other way ------------------------------------------------------------------------------------


def other_ways(tree: ast.Module) -> Iterator[str]:
    """What in a file tells Ansible something beside `PrintableModule`, or beside `printable` in an action."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ansible.module_utils."):
            names = {alias.name for alias in node.names}
            yield from (f"{name}:{node.lineno}" for name in names & {"AnsibleModule", "warn", "deprecate", "fail_json"})
        elif isinstance(node, ast.Import):
            yield from (f"{each.name}:{node.lineno}" for each in node.names if each.name.startswith("ansible.module_"))
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("_log"):
            yield f"{node.name}:{node.lineno}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("module.log", "module.debug", "self.log"):
            yield f"log:{node.lineno}"
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            texts = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "msg")]
            said = (
                name.startswith("AnsibleAction")
                or name == "AnsibleError"
                or name in ("warning", "deprecated", "update")
            )
            if name == "update":
                texts = texts if any(each.arg == "failed" for each in node.keywords) else []
                said = bool(texts)
            if said and not all(is_printable(text) for text in texts):
                yield f"{name}:{node.lineno}"


def is_printable(text: ast.expr) -> bool:
    return isinstance(text, ast.Call) and getattr(text.func, "id", "") == "printable"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PLUGINS)))
def test_no_module_speaks_another_way(path: Path) -> None:
    ways = list(other_ways(ast.parse(path.read_text())))
    if path.name == "printable.py":
        assert [way.partition(":")[0] for way in ways] == ["AnsibleModule", "_log_invocation", "log"]
    elif "engine" not in path.parts and "provision" not in path.parts:  # these know nothing of Ansible
        assert ways == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from ansible.module_utils.basic import AnsibleModule", ["AnsibleModule:1"]),
        ("from ansible.module_utils.common.warnings import warn", ["warn:1"]),
        ("import ansible.module_utils.basic", ["ansible.module_utils.basic:1"]),
        ("raise AnsibleActionFail(f'{x}')", ["AnsibleActionFail:1"]),
        ("raise errors.AnsibleActionFail(printable(x), obj=y)", []),
        ("result.update(failed=True, msg=text)", ["update:1"]),
        ("result.update(failed=True, msg=printable(text))", []),
        ("display.warning(x)", ["warning:1"]),
        ("module.fail_json(msg=x)", []),
        ("module.log(f'{params}')", ["log:1"]),
        ("class M:\n    def _log_invocation(self): ...", ["_log_invocation:2"]),
    ],
)
def test_other_ways_are_seen(code: str, found: list[str]) -> None:
    assert list(other_ways(ast.parse(code))) == found


def test_files_were_found() -> None:
    assert {"granted_info.py", "manage.py", "validate.py", "printable.py"} <= {path.name for path in FILES}
