# SPDX-License-Identifier: GPL-3.0-or-later
"""A module, run by Ansible itself. It stands here because ansible-test gives the tests of modules no controller."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

COLLECTIONS = Path(__file__).parents[6]


def test_module_as_ansible_ships_it(project: Any) -> None:
    """Through AnsiballZ: the agent's text must come out of the zip a module travels in."""
    python = project.target().python
    done = subprocess.run(
        [sys.executable, "-m", "ansible.cli.adhoc", "localhost", "-c", "local", "-m", "djdeploy.django.migrate"]
        + ["-a", json.dumps({"project_path": str(project.root), "python": str(python), "app": "shop"})]
        + ["-e", f"ansible_python_interpreter={sys.executable}"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)},
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "CHANGED" in done.stdout and "shop.0002_price" in done.stdout, done.stdout + done.stderr
