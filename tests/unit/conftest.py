# SPDX-License-Identifier: GPL-3.0-or-later
"""What is marked as full is left to full runs, by the rule of the scenarios."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "molecule/shared"))  # last: names there hide nobody's

from ring_hooks import (  # noqa: F401  (found by the line above; pytest finds its hooks here)
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_testnodedown,
)
