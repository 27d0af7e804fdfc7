# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site may take of its host, and how it is known that it took it all."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import limits
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.limits import Use
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed

DEFAULTS = {
    "tasks": 2048,
    "memory_max": "75%",
    "database_connections": None,
    "push_size": "512M",
    "tree_size": "4G",
}


@pytest.mark.parametrize(
    ("config", "differs"),
    [
        pytest.param({}, {}, id="a record from before there were limits"),
        pytest.param({"limits": None}, {}, id="null"),
        pytest.param({"limits": {"tasks": 100}}, {"tasks": 100}, id="one"),
        pytest.param({"limits": {"tree_size": None}}, {}, id="null in it"),
    ],
)
def test_of(config: dict[str, Any], differs: dict[str, Any]) -> None:
    assert limits.of(config) == {**DEFAULTS, **differs}


@pytest.mark.parametrize(("text", "expected"), [("1K", 1024), ("512M", 512 << 20), ("4G", 4 << 30)])
def test_size(text: str, expected: int) -> None:
    assert limits.size(text) == expected


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('FATAL:  too many connections for role "shop"', "database_connections"),
        ("(1226, \"User 'shop' has exceeded the 'max_user_connections' resource (current value: 5)\")",
         "database_connections"),
        ("FATAL:  sorry, too many clients already", ""),
        ("RuntimeError: can't start new thread", "tasks"),
        ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "tasks"),
        ("/bin/sh: 1: Cannot fork", "tasks"),
        ("bash: fork: retry: Resource temporarily unavailable", "tasks"),
        ("OpenBLAS blas_thread_init: pthread_create failed for thread 3 of 8", "tasks"),
        ("BrokenPipeError: [Errno 32] Broken pipe", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_met(text: str, key: str) -> None:
    assert limits.met(text) == key
    assert (f"limits.{key} of shop in djdeploy_sites" in limits.hint(text, "shop")) is bool(key)


def test_tree_too_large_names_the_key() -> None:
    told = limits.tree_too_large("shop", "a" * 40, "4G")
    assert "4G" in told.message and "limits.tree_size" in told.message
    assert "djdeploy_sites" in told.hint


SHOWN = "TasksCurrent=40\nTasksMax=2048\nMemoryCurrent=104857600\nMemoryMax=1073741824\n"


@pytest.mark.parametrize(
    ("shown", "pids", "memory", "expected"),
    [
        (SHOWN, "max 0\n", "low 0\noom 0\noom_kill 0\n", Use(40, 2048, 100 << 20, 1 << 30)),
        (SHOWN, "max 7\n", "max 9\noom 2\noom_kill 3\n", Use(40, 2048, 100 << 20, 1 << 30, 7, 2)),
        ("TasksCurrent=[not set]\nTasksMax=18446744073709551615\n", "", "", Use()),
        ("", "", "", Use()),
    ],
    ids=["in peace", "met", "not in force", "no systemd"],
)
def test_parse_use(shown: str, pids: str, memory: str, expected: Use) -> None:
    assert limits.parse_use(shown, pids, memory) == expected


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Use(), []),
        (Use(40, 2048, 1 << 20, 1 << 30), [True, True]),
        (Use(2000, 2048, 1 << 20, 1 << 30), [False, True]),
        (Use(40, 2048, 1 << 30, 1 << 30), [True, True]),
        (Use(40, 2048, 1 << 20, 1 << 30, tasks_met=3), [False, True]),
        (Use(40, 2048, 1 << 20, 1 << 30, memory_met=1), [True, False]),
    ],
    ids=["not in force", "little", "nearly all tasks", "a cache of files", "tasks met", "memory met"],
)
def test_judged(found: Use, expected: list[bool]) -> None:
    told = list(limits.judged(found, "shop"))
    assert [each.ok for each in told] == expected
    assert all("limits." in each.said and "limits." in each.cure for each in told)


@pytest.mark.parametrize(
    ("used", "most", "ok"),
    [(1, 40, True), (35, 40, True), (36, 40, False), (40, 40, False), (9, -1, True), (9, 0, True)],
)
def test_connections_judged(used: int, most: int, ok: bool) -> None:
    told = limits.connections_judged(used, most, "shop")
    assert told.ok is ok
    assert ok or "limits.database_connections of shop" in told.cure


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("postgresql", "12 40\n", (12, 40)),
        ("postgresql", "12 -1\n", (12, -1)),
        ("mariadb", "3 30\n", (3, 30)),
        ("postgresql", "", None),
        ("sqlite", "12 40\n", None),
        ("postgresql", None, None),
    ],
    ids=["postgresql", "no limit", "mariadb", "on another host", "no server", "no client"],
)
def test_connections(kind: str, answer: str | None, expected: tuple[int, int] | None) -> None:
    def run(argv: Any, **options: Any) -> Completed:
        if answer is None:
            raise EngineError("cannot start psql")
        assert "'shop'" in options["stdin"]
        return Completed(tuple(argv), 0, answer, "")

    assert limits.connections(kind, "shop", run) == expected
