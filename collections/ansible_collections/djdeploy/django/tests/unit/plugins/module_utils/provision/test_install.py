# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine on a host: one directory per content, one link flipped last."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.provision import install
from ansible_collections.djdeploy.django.plugins.module_utils.provision.install import Installed

PROVISION = Path(install.__file__).parent
ENGINE = PROVISION.parent / "engine"
MODULE = PROVISION.parents[1] / "modules" / "engine.py"
SOURCES = {"__init__.py": "", "a.py": "x = 1\n"}
TARGET = install.directory_name(SOURCES, "1.0")
WHOLE = Installed(TARGET, (TARGET,), install.digests(SOURCES))


@pytest.mark.parametrize(
    ("installed", "write", "flip", "prune"),
    [
        pytest.param(Installed(), True, True, (), id="bare host"),
        pytest.param(WHOLE, False, False, (), id="as it should be"),
        pytest.param(Installed(TARGET, (TARGET,), (("a.py", "edited"),)), True, False, (), id="somebody edited it"),
        pytest.param(
            Installed("engine-0.9-b", ("engine-0.8-a", "engine-0.9-b"), ()), True, True, ("engine-0.8-a",), id="upgrade"
        ),
    ],
)
def test_plan(installed: Installed, write: bool, flip: bool, prune: tuple[str, ...]) -> None:
    steps = install.plan(SOURCES, installed, "1.0")
    assert (steps.target, steps.write, steps.flip, steps.prune) == (TARGET, write, flip, prune)


def test_the_name_of_the_directory_changes_with_any_content() -> None:
    names = {
        install.directory_name(sources, version)
        for sources in (SOURCES, {**SOURCES, "a.py": "x = 2\n"}, {**SOURCES, "b.py": ""})
        for version in ("1.0", "1.1")
    }
    assert len(names) == 6


def test_apply_keeps_the_engine_before_and_only_that(tmp_path: Path) -> None:
    targets = []
    for number in range(3):
        sources = {"__init__.py": "", "__main__.py": f"print({number})\n"}
        steps = install.plan(sources, install.look(tmp_path))
        install.apply(steps, sources, tmp_path)
        targets.append(steps.target)
        assert not install.plan(sources, install.look(tmp_path)).changed
        ran = subprocess.run(
            [sys.executable, "-m", install.PACKAGE],
            env={"PYTHONPATH": str(tmp_path / install.LINK)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert ran.stdout == f"{number}\n", ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([install.LINK, *targets[1:]])
    assert list((tmp_path / install.LINK / install.PACKAGE / "__pycache__").glob("__main__.*.pyc"))


def test_apply_mends_an_edited_engine(tmp_path: Path) -> None:
    install.apply(install.plan(SOURCES, Installed()), SOURCES, tmp_path)
    edited = tmp_path / install.LINK / install.PACKAGE / "a.py"
    edited.write_text("x = 'edited'\n")
    install.apply(install.plan(SOURCES, install.look(tmp_path)), SOURCES, tmp_path)
    assert edited.read_text() == SOURCES["a.py"]


def test_every_file_of_the_engine_travels_with_the_module() -> None:
    """Ansible packs what a module imports, so the module has to name every file."""
    named = {
        alias.name
        for node in ast.walk(ast.parse(MODULE.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("module_utils.engine")
        for alias in node.names
    }
    assert named == {path.stem for path in ENGINE.glob("*.py")} - {"__init__"}


def outside(path: Path, *, levels: int) -> set[str]:
    """What a file imports that is neither of the standard library nor of its own packages."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > levels:
            found.add("." * node.level + (node.module or ""))
    return found - sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted(ENGINE.glob("*.py")), ids=lambda path: path.stem)
def test_the_engine_imports_only_the_standard_library_and_itself(path: Path) -> None:
    where_django_is = path.stem.startswith(("agent", "overlay"))
    inside_the_site = {"django", "asgiref"} if where_django_is else set()
    assert outside(path, levels=1) <= inside_the_site


@pytest.mark.parametrize("path", sorted(PROVISION.glob("*.py")), ids=lambda path: path.stem)
def test_provisioning_imports_only_the_standard_library_itself_and_the_engine(path: Path) -> None:
    assert not outside(path, levels=2)
