# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs in script/ as modules: they have no .py in their names."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    """Import script/<name> anew; dataclasses look themselves up in sys.modules."""
    loader = importlib.machinery.SourceFileLoader(f"script_{name}", str(ROOT / "script" / name))
    specification = importlib.util.spec_from_loader(loader.name, loader)
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module
