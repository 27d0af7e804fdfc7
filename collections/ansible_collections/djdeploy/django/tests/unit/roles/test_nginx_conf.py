# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the nginx.conf of a host is the one its package brought, as the role asks it with dpkg's word for that."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
import yaml

TASKS = Path(__file__).parents[3] / "roles" / "nginx" / "tasks" / "main.yml"
BROUGHT = "user www-data;\n"


@pytest.mark.parametrize(
    ("present", "package", "expected"),
    [
        pytest.param(BROUGHT, True, "", id="as the package brought it"),
        pytest.param(BROUGHT + "worker_rlimit_nofile 9;\n", True, "edited\n", id="edited"),
        pytest.param(None, True, "", id="not there"),
        pytest.param(None, False, "", id="no package yet, as in check mode of a bare host"),
        pytest.param(BROUGHT, False, "edited\n", id="of another package"),
    ],
)
def test_edited(tmp_path: Path, present: str | None, package: bool, expected: str) -> None:
    conf, dpkg = tmp_path / "nginx.conf", tmp_path / "dpkg-query"
    if present is not None:
        conf.write_text(present)
    digest = hashlib.md5(BROUGHT.encode(), usedforsecurity=False).hexdigest()
    dpkg.write_text(f"#!/bin/sh\necho ' {conf} {digest}'\necho ' {conf}.d 0'\n" if package else "#!/bin/sh\nexit 1\n")
    dpkg.chmod(0o755)
    argv = yaml.safe_load(TASKS.read_text())[0]["ansible.builtin.command"]["argv"]
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([*argv[:-1], str(conf)], env=path, capture_output=True, text=True, check=True)
    assert done.stdout == expected
