# SPDX-License-Identifier: GPL-3.0-or-later
"""Two rings of tests: what every run takes, and what only `script/test --full` takes besides.

A test, or one of its parameters, that belongs to the second ring carries `pytest.mark.full`; ring_hooks.py leaves it
out unless DJDEPLOY_FULL=1, and pytest counts it as deselected. Nothing is in neither ring.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")

FULL = os.environ.get("DJDEPLOY_FULL") == "1"
MARK = "full"


def latin_square(*axes: Sequence[str]) -> list[tuple[str, ...]]:
    """Of all combinations of three axes of one length the fewest in which each two values meet: once.

    :raises ValueError: when there are not three of one length.
    """
    if len(axes) != 3 or len({len(axis) for axis in axes}) != 1:
        raise ValueError("a Latin square needs three axes of one length")
    rows, columns, symbols = axes
    order = len(rows)
    return [
        (rows[row], columns[column], symbols[(row + column) % order]) for row in range(order) for column in range(order)
    ]
