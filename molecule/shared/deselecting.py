# SPDX-License-Identifier: GPL-3.0-or-later
"""Leave tests out so that pytest counts them as deselected, once, also where several processes collect them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

#: Why tests were left out that have been counted.
COUNTED = pytest.StashKey[set[str]]()


def leave_out(config: pytest.Config, items: list[pytest.Item], left: Sequence[pytest.Item], why: str) -> None:
    """Take tests away from those that run; a worker of xdist tells the process that reports which.

    :param why: one word, by which that process knows them.
    """
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    if hasattr(config, "workeroutput"):
        config.workeroutput[why] = [item.nodeid for item in left]


def count_once(node: Any, why: str) -> None:
    """Count what a worker of xdist left out; each of them leaves out the same.

    :param node: of xdist's hook pytest_testnodedown.
    """
    left = getattr(node, "workeroutput", {}).get(why, ())
    counted = node.config.stash.setdefault(COUNTED, set())
    if left and why not in counted:
        counted.add(why)
        node.config.hook.pytest_deselected(items=left)
