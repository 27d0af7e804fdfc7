# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a sandbox; that it holds is tested on hosts (molecule/projects)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import sandbox
from ansible_collections.djdeploy.django.plugins.module_utils.engine.environment import parse
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sandbox import Sandbox

CODE = Path("/srv/shop/releases/1/code")
BOX = Sandbox(
    unit="djdeploy-shop.build.service",
    user="shop-build",
    tree=CODE,
    cache=Path("/var/cache/djdeploy/shop"),
    environment=Path("/srv/shop/venvs/abc"),
    empty=(CODE / "shop/local_settings.py",),
    memory_max="50%",
    timeout=60,
    bound_to="djdeploy-deployer@1.service",
    slice="djdeploy-shop.slice",
)


def test_without_network() -> None:
    found = sandbox.properties(BOX, network=False)
    assert "PrivateNetwork=yes" in found
    assert {f"TemporaryFileSystem={path}:ro" for path in ("/srv", "/etc/djdeploy", "/run")} <= set(found)
    assert f"BindPaths={CODE} /var/cache/djdeploy/shop" in found
    (reads,) = (each for each in found if each.startswith("BindReadOnlyPaths="))
    assert "-/srv/shop/venvs/abc" in reads and f"-/dev/null:{CODE}/shop/local_settings.py" in reads
    assert "resolve" not in reads
    assert {"MemoryMax=50%", "RuntimeMaxSec=60", "BindsTo=djdeploy-deployer@1.service"} <= set(found)


def test_with_network() -> None:
    found = sandbox.properties(BOX, network=True)
    assert "PrivateNetwork=yes" not in found
    assert any("/run/systemd/resolve" in each for each in found)
    assert "TemporaryFileSystem=/run:ro" in found, "sockets are no network"


def test_words() -> None:
    words = sandbox.words(BOX, 'echo "$HOME" 100%', "web", Path("/srv/shop/releases/1/.build.env"), network=False)
    assert words[-3:] == ["/bin/sh", "-ec", 'exec 2>&1\necho "$$HOME" 100%']
    assert f"--working-directory={CODE}/web" in words and "--uid=shop-build" in words
    assert "--slice=djdeploy-shop.slice" in words
    assert "--property=EnvironmentFile=/srv/shop/releases/1/.build.env" in words
    assert not any(word.startswith("--setenv") for word in words), "everybody may read a unit's properties"


def test_variables() -> None:
    found = sandbox.variables(BOX, {"SECRET_KEY": "said", "HOME": "/root", "VITE_API": "/api"})
    assert (found["SECRET_KEY"], found["VITE_API"], found["HOME"]) == ("said", "/api", "/var/cache/djdeploy/shop")
    assert found["PATH"].startswith("/srv/shop/venvs/abc/bin:")
    assert (found["NODE_ENV"], found["npm_config_include"]) == ("production", "dev")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/system-djdeploy.slice/djdeploy-deployer@3-9-0.service\n", "djdeploy-deployer@3-9-0.service"),
        ("0::/system.slice/djdeploy-deployer@3.service/sub\n", "djdeploy-deployer@3.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("", ""),
    ],
)
def test_own_unit(text: str, unit: str) -> None:
    assert sandbox.own_unit(text) == unit


def run_as(returncode: int, stderr: str, seen: list[Any]) -> Any:
    def start(words: Sequence[str], **_more: Any) -> Completed:
        path = Path(next(word for word in words if "EnvironmentFile=" in word).partition("EnvironmentFile=")[2])
        seen.append((parse(path.read_text()), path.stat().st_mode & 0o777, " ".join(words)))
        return Completed(tuple(words), returncode, "said", stderr)

    return start


def test_run(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    box = Sandbox("u", "b", tmp_path / "code", tmp_path, tmp_path)
    seen: list[Any] = []
    told = (
        "Running as unit: u\nFinished with result: oom-kill\nMain processes terminated with: code=killed/status=KILL\n"
    )
    ended = sandbox.run(box, "make", ".", {"TOKEN": "hidden $x"}, network=True, start=run_as(1, told, seen))
    assert ended == sandbox.Ended(1, "said", "oom-kill")
    variables, mode, words = seen[0]
    assert variables["TOKEN"] == "hidden $x" and mode == 0o600 and "hidden" not in words
    assert not (tmp_path / ".build.env").exists()
    with pytest.raises(EngineError, match="systemd could not run") as caught:
        sandbox.run(box, "make", ".", {}, network=True, start=run_as(1, "Failed to start transient unit", []))
    assert "transient" in caught.value.detail
