# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest's hooks that leave what is marked as full to full runs. A conftest.py has them by importing them."""

from __future__ import annotations

from typing import Any

import pytest
import rings


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{rings.MARK}: only `script/test --full` runs it (DJDEPLOY_FULL=1)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the second ring to full runs; a worker of xdist tells the process that reports what it left."""
    left = [] if rings.FULL else [item for item in items if item.get_closest_marker(rings.MARK)]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
    if hasattr(config, "workeroutput"):
        config.workeroutput[rings.MARK] = [item.nodeid for item in left]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Count once what each worker left."""
    left = getattr(node, "workeroutput", {}).get(rings.MARK, ())
    if left and not getattr(node.config, "full_is_counted", False):
        node.config.full_is_counted = True
        node.config.hook.pytest_deselected(items=left)
