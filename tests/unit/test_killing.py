# SPDX-License-Identifier: GPL-3.0-or-later
"""Which system calls a deployer is killed at: few of those that are alike, spread over the whole of an operation."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule/shared"))
killing = importlib.import_module("killing")


def points(many: int, call: str = "write", phase: str = "start") -> list:
    return [killing.Point("deploy", call, number + 1, phase) for number in range(many)]


@pytest.mark.parametrize(("many", "wanted"), [(100, 2), (100, 45), (45, 45), (7, 3)])
@pytest.mark.parametrize("seed", [1, 20261121])
def test_parts_hold_each_point_once_in_the_order_of_the_run(many: int, wanted: int, seed: int) -> None:
    parts = killing.spread(points(many), wanted, seed)
    assert len(parts) == wanted
    assert [point.count for part in parts for point in sorted(part, key=lambda each: each.count)] == list(
        range(1, many + 1)
    )
    assert parts == killing.spread(points(many), wanted, seed), "the same seed, the same points"


def test_fewer_points_than_are_wanted_are_all_taken() -> None:
    assert sorted(map(len, killing.spread(points(3), 10, 1))) == [1, 1, 1]


@pytest.mark.parametrize("most", [1, 2, 6])
def test_of_calls_that_are_alike_a_few_are_left(most: int) -> None:
    rare = points(1, "rename", "switch")
    kept = killing.distinct([*points(500), *points(3, "fsync"), *rare], most)
    assert Counter(point.call for point in kept) == {"write": most, "fsync": min(3, most), "rename": 1}
    assert kept[-1] == rare[0]


def test_points_begin_with_the_request_and_know_their_phase() -> None:
    lines = [
        'openat(AT_FDCWD, "/tmp/early", O_WRONLY) = 3',
        'recvfrom(0, "{\\"op\\": \\"deploy\\"}", 4096, 0, NULL, NULL) = 20',
        'openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = 3',
        'write(4, "{\\"event\\": \\"phase\\", \\"name\\": \\"switch\\", \\"state\\": \\"started\\"}", 60) = 60',
        'rename("/srv/notes/current.new", "/srv/notes/current") = 0',
        "exit_group(0) = ?",
    ]
    found = killing.points_of("deploy", lines)
    assert [(point.call, point.count, point.phase) for point in found] == [
        ("write", 1, "switch"),
        ("rename", 1, "switch"),
    ]
