# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects and variables that the user of the task may not reach."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils import manage
from ansible_collections.djdeploy.django.plugins.module_utils.engine.environment import parse
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import run
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import Target
from ansible_collections.djdeploy.django.plugins.module_utils.family.every import FAMILY

SOMEBODY = 65534


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory of somebody else: of root, seen by a user without rights."""
    place = tmp_path / "closed"
    place.mkdir(mode=0o700)
    (place / "shop.env").write_text("A=1\n")
    mode = 0o700 if os.geteuid() == 0 else 0
    place.chmod(mode)
    was = os.geteuid()
    if was == 0:
        os.seteuid(SOMEBODY)
    yield place
    os.seteuid(was)
    place.chmod(0o700)


@pytest.mark.parametrize(
    ("reach", "message"),
    [
        pytest.param(
            lambda place: manage.variables_of(str(place / "shop.env")), "no permission to read ", id="env_file"
        ),
        pytest.param(
            lambda place: Target.for_project(place / "shop", "/usr/bin/python3"),
            "no permission to reach ",
            id="project",
        ),
        pytest.param(
            lambda place: Target.for_project("/", place / "bin/python"), "no permission to reach ", id="python"
        ),
    ],
)
def test_no_permission(closed: Path, reach: Callable[[Path], object], message: str) -> None:
    with pytest.raises(EngineError) as raised:
        reach(closed)
    assert raised.value.message.startswith(message + str(closed.parent.parent)[:5])
    assert raised.value.hint == "run the task as a user who may: `become: true`"


def test_only_root_becomes_another_user(closed: Path) -> None:
    with pytest.raises(EngineError) as raised:
        run(["true"], user="root")
    assert raised.value.message == "only root can become the unix user 'root'"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("# A\n; B\n\nA=1\nB=\nC='a\nb'\nD=1\\\n2\n", []),
        ("A=1\nexport B=2\n", [2]),
        ("A\nB=1\nC", [1, 3]),
        ("A='1\n\n2'\n1B=2\n", [4]),
        ('A=1\nB="2\nC=3\n', [2]),
        ("A=1\r\nB\r\n", [2]),
    ],
)
def test_lines_that_set_nothing(text: str, lines: list[int]) -> None:
    passed_over: list[int] = []
    assert parse(text, passed_over) == parse(text)
    assert passed_over == lines


def test_variables_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "shop.env").write_bytes(b"A=caf\xe9\n")
    with pytest.raises(EngineError, match=r"shop\.env is not UTF-8: byte 5 is 0xe9"):
        manage.variables_of(str(tmp_path / "shop.env"))


# --- the unit of a site ---------------------------------------------------------------------------

SHOP = Target(Path("/srv/shop/current/.venv/bin/python"), Path("/srv/shop/releases/1/code"), {}, "shop")


@pytest.mark.parametrize("makes_units", [True, False])
def test_a_site_works_in_a_unit_where_one_can_be_made(monkeypatch: pytest.MonkeyPatch, makes_units: bool) -> None:
    monkeypatch.setattr(manage, "makes_units", lambda: makes_units)
    monkeypatch.setattr(manage.Target, "for_site", lambda _site: SHOP)
    params = {**dict.fromkeys(manage.TARGET_OPTIONS), "site": "shop"}
    assert (manage.target_of(params).start is not None) is makes_units


def test_another_project_is_a_child_of_the_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(manage, "makes_units", lambda: True)
    (tmp_path / "python").touch()
    params = {**dict.fromkeys(manage.TARGET_OPTIONS), "project_path": str(tmp_path), "python": str(tmp_path / "python")}
    assert manage.target_of(params).start is None


UNSEEN = " is not seen by shop: of /srv a site sees its own part alone"
FILES: list[tuple[str, dict[str, Any], str]] = [
    ("loaddata", {"fixtures": ["teams", "/tmp/x.json"]}, ""),
    ("loaddata", {"fixtures": ["teams", "/srv/blog/x.json"]}, f"fixtures: /srv/blog/x.json{UNSEEN}"),
    ("loaddata", {"fixtures": ["../../../../blog/x.json"]}, "fixtures: .*/blog/x.json" + UNSEEN),
    ("dumpdata", {"dest": "/var/backups/shop/x.json"}, ""),
    ("dumpdata", {"dest": "/srv/shop/shared/x.json"}, ""),
    ("dumpdata", {"dest": "/srv/exports/x.json"}, f"dest: /srv/exports/x.json{UNSEEN}"),
    ("dumpdata", {"dest": "/srv/shop/x.json"}, "dest: /srv/shop/x.json cannot be written: of /srv/shop a site writes"),
    ("command", {"creates": None, "removes": "/srv/shop/shared/x"}, ""),
    ("command", {"creates": "/srv/exports/x", "removes": None}, f"creates: /srv/exports/x{UNSEEN}"),
    ("migrate", {}, ""),
]


@pytest.mark.parametrize(("module", "params", "message"), FILES)
def test_files_a_site_does_not_see(module: str, params: dict[str, Any], message: str) -> None:
    step = (FAMILY[module], params)
    manage.refuse_unseen(SHOP, [step])  # a child of the task sees what its user does
    in_unit = replace(SHOP, start=run)
    if not message:
        manage.refuse_unseen(in_unit, [step])
        return
    with pytest.raises(EngineError, match=message) as raised:
        manage.refuse_unseen(in_unit, [(FAMILY["migrate"], {}), step])
    assert str(SitePaths("shop").shared) in raised.value.hint


def test_options_that_name_files_are_looked_at() -> None:
    """A new one that names a file has to say so."""
    named = {name for member in FAMILY.values() for name in (*member.reads, *member.writes)}
    paths = {name for each in FAMILY.values() for name, option in each.options.items() if option["type"] == "path"}
    assert paths <= named == {"fixtures", "dest", "creates", "removes"}
