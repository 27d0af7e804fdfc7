# SPDX-License-Identifier: GPL-3.0-or-later
"""What locks say, as requirement lines. Those in locks/ were made by Poetry 2.5, PDM 2.22 and Pipenv 2026."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import locks
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError

MADE = Path(__file__).parent / "locks"
POETRY = tomllib.loads((MADE / "poetry.lock").read_text())
PDM = tomllib.loads((MADE / "pdm.lock").read_text())
PIPFILE = json.loads((MADE / "Pipfile.lock").read_text())

MAIN = ["asgiref", "django", "psycopg", "psycopg-binary", "sqlparse", "typing-extensions", "tzdata"]


def without_hashes(found: locks.Locked) -> list[str]:
    return [line.partition(" --hash=")[0] for line in found.lines]


def test_poetry() -> None:
    found = locks.poetry(POETRY, ())
    assert sorted(found.names) == sorted([*MAIN, "django-environ"])
    assert {
        "django==5.2.19",
        'psycopg-binary==3.3.9 ; implementation_name != "pypy"',
        'tzdata==2026.6 ; sys_platform == "win32"',
        'django-environ==0.14.0 ; python_version < "3"',
    } <= set(without_hashes(found))
    assert all(" --hash=sha256:" in line for line in found.lines)
    assert found.indexes == []


def test_poetry_groups_and_extras() -> None:
    assert locks.poetry_groups(POETRY) == ["dev", "production", "env"]
    lines = without_hashes(locks.poetry(POETRY, ("production", "env")))
    assert "whitenoise==6.12.0" in lines
    assert 'django-environ==0.14.0 ; python_version >= "3"' in lines
    assert locks.poetry_groups({"package": [{"name": "x"}]}) is None
    assert locks.poetry_groups({}) is None


def test_pdm() -> None:
    assert locks.pdm_groups(PDM) == ["dev", "production"]
    found = locks.pdm(PDM, ())
    assert sorted(found.names) == MAIN
    assert 'tzdata==2026.6 ; sys_platform == "win32"' in without_hashes(found)
    assert all(" --hash=sha256:" in line for line in found.lines)
    assert "whitenoise" in locks.pdm(PDM, ("production",)).names


def test_pipfile() -> None:
    assert locks.pipfile_groups(PIPFILE) == ["production"]
    found = locks.pipfile(PIPFILE, ("production",))
    assert "psycopg[binary]==3.3.9 ; python_version >= '3.10'" in without_hashes(found)
    assert "tzdata" in found.lines
    assert any(line.startswith("whitenoise==6.12.0 ") for line in found.lines)
    assert not any("iniconfig" in line for line in found.lines)
    assert found.indexes == []


@pytest.mark.parametrize(
    ("package", "line"),
    [
        (
            {"source": {"type": "git", "url": "https://h/x.git", "reference": "main", "resolved_reference": "abc"}},
            "x @ git+https://h/x.git@abc",
        ),
        (
            {"source": {"type": "git", "url": "git@h:a/x.git", "resolved_reference": "abc", "subdirectory": "s"}},
            "x @ git+ssh://git@h/a/x.git@abc#subdirectory=s",
        ),
        (
            {"source": {"type": "url", "url": "https://h/x.whl"}, "markers": "a == 'b'"},
            "x @ https://h/x.whl ; a == 'b'",
        ),
        ({"source": {"type": "directory", "url": "libs/x"}}, "./libs/x"),
        ({"files": [{"hash": "md5:1"}, {"hash": "sha256:2"}]}, "x==1 --hash=sha256:2"),
        ({"groups": ["main", "dev"], "markers": {"main": "a", "dev": "b"}}, "x==1 ; a"),
        ({"groups": ["main", "prod"], "markers": {"main": "a", "prod": "b"}}, "x==1 ; (a) or (b)"),
        ({"groups": ["main", "prod"], "markers": {"prod": "b"}}, "x==1"),
    ],
)
def test_poetry_package(package: dict[str, Any], line: str) -> None:
    lock = {"package": [{"name": "x", "version": "1", "groups": ["main"], **package}]}
    assert locks.poetry(lock, ("prod",)).lines == [line]


def test_package_of_another_index() -> None:
    source = {"type": "legacy", "url": "https://packages.example.com/simple", "reference": "own"}
    lock = {"package": [{"name": "x", "version": "1", "groups": ["main"], "source": source}]}
    assert locks.poetry(lock, ()).indexes == ["https://packages.example.com/simple"]
    sources = [{"name": "pypi", "url": "https://pypi.org/simple"}, {"name": "own", "url": source["url"]}]
    assert locks.pipfile({"_meta": {"sources": sources}}, ()).indexes == ["https://packages.example.com/simple"]


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ({"git": "https://h/x", "revision": "abc"}, "x @ git+https://h/x@abc"),
        ({"url": "https://h/x.whl"}, "x @ https://h/x.whl"),
        ({"path": "./libs/x"}, "./libs/x"),
    ],
)
def test_pdm_package(package: dict[str, Any], line: str) -> None:
    assert locks.pdm({"package": [{"name": "x", "version": "1", "groups": ["default"], **package}]}, ()).lines == [line]


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ({"git": "https://h/x", "ref": "abc"}, "x @ git+https://h/x@abc"),
        ({"path": "./libs/x", "editable": True}, "./libs/x"),
        ({"file": "https://h/x.whl", "hashes": ["sha256:1"]}, "x @ https://h/x.whl --hash=sha256:1"),
    ],
)
def test_pipfile_package(package: dict[str, Any], line: str) -> None:
    assert locks.pipfile({"default": {"x": package}}, ()).lines == [line]


def test_what_only_the_tool_understands() -> None:
    for call in (
        lambda: locks.pipfile({"default": {"x": {}}}, ()),
        lambda: locks.pdm({"package": [{"name": "x", "groups": ["default"], "hg": "https://h/x"}]}, ()),
        lambda: locks.poetry({"package": [{"name": "x", "groups": ["main"], "source": {"type": "svn"}}]}, ()),
    ):
        with pytest.raises(EngineError, match="only"):
            call()


def test_pins_and_what_is_reachable() -> None:
    lock = {
        "package": [
            {"name": "A_b", "version": "1", "files": [{"hash": "sha256:1"}], "dependencies": {"c": ">=1"}},
            {"name": "c", "version": "1", "dependencies": ["d[x]>=2; a"]},
            {"name": "c", "version": "2"},
            {"name": "d", "version": "2"},
            {"name": "dev", "version": "2"},
        ]
    }
    assert locks.pins(lock) == ["a-b==1 --hash=sha256:1", "d==2", "dev==2"]
    assert locks.reachable(lock, ["a.b"]) == {"a-b", "c", "d"}
