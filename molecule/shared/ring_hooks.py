# SPDX-License-Identifier: GPL-3.0-or-later
"""pytest's hooks that leave what is marked as full to full runs. A conftest.py has them by importing them."""

from __future__ import annotations

from typing import Any

import deselecting
import pytest
import rings


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{rings.MARK}: only `script/test --full` runs it (DJDEPLOY_FULL=1)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the second ring to full runs."""
    left = [] if rings.FULL else [item for item in items if item.get_closest_marker(rings.MARK)]
    deselecting.leave_out(config, items, left, rings.MARK)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    deselecting.count_once(node, rings.MARK)
