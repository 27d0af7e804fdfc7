# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of the folders: what reboots the host and keeps its timers busy comes last."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LAST = ("rollback", "move", "processes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the order as it is but for the folders of LAST."""

    def place(item: pytest.Item) -> int:
        folder = item.path.parent
        return LAST.index(folder.name) if folder.parent == HERE and folder.name in LAST else -1

    items.sort(key=place)
