# SPDX-License-Identifier: GPL-3.0-or-later
"""What lets the engine run anywhere: as a hook, in a module's zip, on a host without Ansible."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils import engine

ENGINE = Path(engine.__file__).parent
FILES = sorted(ENGINE.glob("*.py"))
AGENT = {path.name for path in FILES if path.stem.startswith("agent")}  # sent together into a project's own Python
OVERLAY = {
    "databases_said.py",
    *(path.name for path in FILES if path.stem.startswith("overlay")),
}  # copied, side by side
ALONE = AGENT | OVERLAY
PROGRAMS = {"__main__.py", "cli.py", "door.py", "deployer.py"}  # what people, sshd, git and systemd start
LONGEST_WITHOUT_DOCSTRING = 8  # statements; what is shorter is told by its name

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), path.name)


def imports(tree: ast.AST, within_function: bool = False) -> Iterator[tuple[str, int, list[str], bool]]:
    """(module, level, names, whether it happens inside a function) of every import."""
    for node in ast.iter_child_nodes(tree):
        inside = within_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0, [], inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, [alias.name for alias in node.names], inside
        else:
            yield from imports(node, inside)


def faults(name: str, tree: ast.Module) -> list[str]:
    """What a file of the engine imports and must not."""
    found = []
    for module, level, names, inside in imports(tree):
        top = module.partition(".")[0]
        if level > 1:
            found.append(f"{'.' * level}{module} lies outside the engine")
        elif level and not module and name == "overlay.py" and {f"{each}.py" for each in names} <= OVERLAY:
            continue  # elsewhere it finds its parts by another name
        elif level and not module and name == "overlay_data.py" and names == ["databases_said"]:
            continue
        elif level and name in ALONE and not (name in AGENT and f"{module}.py" in AGENT):
            found.append(f".{module} is not there where {name} runs")
        elif not level and top in ("django", "asgiref") and name in ALONE and inside:
            continue  # where it runs Django is, and reading the file must not ask for it
        elif not level and top not in sys.stdlib_module_names:
            found.append(f"{module} is not of the standard library")
    return found


def test_engine_was_found() -> None:
    assert {"deploy.py", "schema.py", "agent.py", "__main__.py"} <= {path.name for path in FILES}


@each_file
def test_imports_are_of_the_standard_library_or_relative(path: Path) -> None:
    assert faults(path.name, parsed(path)) == []


@pytest.mark.parametrize(
    ("name", "source", "allowed"),
    [
        pytest.param("git.py", "import json, os.path\nfrom . import git\nfrom .lock import x", True, id="rule"),
        pytest.param("git.py", "from ansible.module_utils.basic import AnsibleModule", False, id="ansible"),
        pytest.param("git.py", "def f():\n    import ansible", False, id="ansible_in_a_function"),
        pytest.param("git.py", "import yaml", False, id="third_party"),
        pytest.param("git.py", "def f():\n    from django.conf import settings", False, id="django_elsewhere"),
        pytest.param("git.py", "from ..provision import files", False, id="outside"),
        pytest.param("git.py", "from ansible_collections.djdeploy.django import x", False, id="by_full_name"),
        pytest.param("agent.py", "class A:\n    def f(self):\n        import django.db", True, id="django_later"),
        pytest.param("agent.py", "try:\n    import django\nexcept ImportError:\n    pass", False, id="django_at_once"),
        pytest.param("agent.py", "from .errors import EngineError", False, id="agent_is_alone"),
        pytest.param("agent.py", "from .agent_words import Failure", True, id="agent_is_several_files"),
        pytest.param("overlay.py", "from .agent_words import Failure", False, id="overlay_is_alone"),
        pytest.param("overlay.py", "from . import overlay_data", True, id="overlay_is_several_files"),
        pytest.param("overlay.py", "from . import git", False, id="overlay_and_nothing_else"),
        pytest.param("overlay_data.py", "from . import overlay", False, id="part_of_overlay_is_alone"),
    ],
)
def test_rule_can_be_broken(name: str, source: str, allowed: bool) -> None:
    assert (faults(name, ast.parse(source)) == []) is allowed


@each_file
def test_imported_names_exist(path: Path) -> None:
    """Also those that are imported only when a function runs."""
    for module, level, names, _inside in imports(parsed(path)):
        if level == 1:
            package = engine.__name__ + (f".{module}" if module else "")
            for name in names:
                if not hasattr(importlib.import_module(package), name):
                    importlib.import_module(f"{package}.{name}")


@each_file
def test_only_programs_know_how_to_be_started(path: Path) -> None:
    """A module that imports the engine must not bring along what reads arguments and prints."""
    if path.name in PROGRAMS:
        return
    for module, level, names, _inside in imports(parsed(path)):
        if level == 1:
            assert not {f"{name}.py" for name in (module, *names)} & PROGRAMS


@pytest.mark.parametrize("name", sorted(ALONE))
def test_files_that_travel_alone_are_plain_ascii(name: str) -> None:
    assert (ENGINE / name).read_text(encoding="utf-8").isascii()


@each_file
def test_file_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n")
    assert ast.get_docstring(ast.parse(text))


def undocumented(tree: ast.Module) -> list[str]:
    """Public classes, and public functions that need more than their name."""
    found = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_") or node.name == "main":
            continue
        statements = sum(isinstance(part, ast.stmt) for part in ast.walk(node)) - 1
        if not ast.get_docstring(node) and (isinstance(node, ast.ClassDef) or statements > LONGEST_WITHOUT_DOCSTRING):
            found.append(node.name)
    return found


@each_file
def test_what_is_public_is_explained(path: Path) -> None:
    assert undocumented(parsed(path)) == []


@each_file
def test_failures_on_purpose_are_announced(path: Path) -> None:
    """Who calls a public function that raises EngineError learns so from its docstring."""
    functions = [node for node in parsed(path).body if isinstance(node, ast.FunctionDef) and raises(node)]
    public = [node for node in functions if not node.name.startswith("_")]
    assert [node.name for node in public if ":raises" not in (ast.get_docstring(node) or "")] == []


def raises(function: ast.FunctionDef) -> bool:
    """Whether a function itself raises EngineError, and does not catch it again."""
    caught = any(
        isinstance(handler.type, ast.Name) and handler.type.id in ("EngineError", "Exception")
        for handler in ast.walk(function)
        if isinstance(handler, ast.ExceptHandler)
    )
    called = [
        node.exc.func.id
        for node in ast.walk(function)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
    ]
    return "EngineError" in called and not caught


def test_every_file_of_the_agent_travels_with_a_module() -> None:
    """Ansible packs what is imported somewhere, and steps.py finds in the package whatever is there."""
    named = {
        name for module, level, names, _inside in imports(parsed(ENGINE / "steps.py")) if not module for name in names
    }
    assert {f"{name}.py" for name in named} == AGENT
