# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus, live with its base on a real PostgreSQL, and its labelled migrations beside it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import corpus  # noqa: E402  (found by the line above)

CASES = "/var/lib/corpus"

# The engine of the host looks at a directory as if it were the release that is live.
LOOK = """
import dataclasses, json, sys
sys.path.insert(0, "/usr/local/lib/djdeploy/engine")
from pathlib import Path
from djdeploy_engine import migrations
from djdeploy_engine.steps import Target, run_steps
live = Target.for_site("corpus")
path = f"{live.cwd}:{live.env.get('PYTHONPATH', '')}"
target = dataclasses.replace(live, cwd=Path("/var/lib/corpus"), env={**live.env, "PYTHONPATH": path})
(step,) = run_steps(target, [{"name": "migrate", "plan_only": True, "detail": True}])
facts = step.facts
judged = migrations.judge(facts["plan"], facts["tables"], vendor=facts["vendor"], declared={}, big_table=BIG)
refusal = migrations.refusal(migrations.gate(judged, ()), "corpus")
json.dump({
    "facts": facts,
    "judged": [one.as_dict() for one in judged],
    "refusal": [refusal.message, refusal.hint, refusal.detail],
    "refused": [one.name for one in migrations.gate(judged, ()).refused],
    "seconds": step.seconds,
}, sys.stdout)
"""

# A program is run as the processes of the live release are; program and cases come by standard input.
PROVE = """
import sys
sys.path.insert(0, "/usr/local/lib/djdeploy/engine")
from pathlib import Path
from djdeploy_engine.runner import run
from djdeploy_engine.steps import Target
live = Target.for_site("corpus")
program, _, cases = sys.stdin.read().partition(chr(0))
env = {**live.env, "PYTHONPATH": f"{live.cwd}:{live.env.get('PYTHONPATH', '')}"}
done = run([live.python, "-c", program], user=live.user, env=env, cwd=Path("/var/lib/corpus"), stdin=cases)
sys.stderr.write(done.stderr)
sys.stdout.write(done.stdout)
sys.exit(done.returncode)
"""

FILL = """
from django.db import connection
with connection.cursor() as cursor:
    for app, rows in %s.items():
        cursor.execute(f"SELECT count(*) FROM {app}_thing")
        if cursor.fetchone()[0] == 0:
            cursor.execute(f"INSERT INTO {app}_owner (name) VALUES ('owner')")
            cursor.execute(
                f"INSERT INTO {app}_thing (name, code, shelf, price, amount, note, maker_id)"
                f" SELECT '1', 'code-' || n, '', n %% 50, 1, 'n', (SELECT min(id) FROM {app}_owner)"
                f" FROM generate_series(1, {rows}) AS n"
            )
            cursor.execute(f"ANALYZE {app}_thing")
"""


@pytest.fixture(scope="session")
def on_host(web) -> Callable[..., str]:
    """Run a program on the host with something to read.

    :raises AssertionError: with what it said, when it fails.
    """

    def run(*words: str, stdin: str | bytes = b"") -> str:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(web.ssh_words(*words), input=given, capture_output=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()

    return run


@pytest.fixture(scope="session")
def based(site, on_host, tmp_path_factory) -> None:
    """The base of the corpus is live and has rows; its labelled migrations are on the host, beside it."""
    project = site("corpus").project
    if not (project / corpus.CASES[0].name).exists():
        corpus.write_base(project)
        site("corpus").change("requirements.txt", "Django~=5.2\npsycopg[binary]~=3.2\n")
    pushed = site("corpus").push()
    assert pushed.status == 0, pushed.output
    rows = {case.name: case.rows for case in corpus.CASES}
    on_host("djdeploy", "manage", "corpus", "shell", stdin=FILL % json.dumps(rows))
    folder = Path(shutil.copytree(project, tmp_path_factory.mktemp("cases") / "corpus"))
    corpus.write_cases(folder)
    packed = subprocess.run(["tar", "--create", "--exclude=.git", "."], cwd=folder, stdout=subprocess.PIPE, check=True)
    script = f"rm -rf {CASES} && mkdir -m 755 {CASES} && tar --extract --no-same-owner --directory {CASES}"
    on_host(script, stdin=packed.stdout)


@pytest.fixture(scope="session")
def looked(based, on_host) -> dict[str, Any]:
    """What the engine of the host says of all labelled migrations in one look."""
    told: dict[str, Any] = json.loads(on_host("python3", "-", stdin=LOOK.replace("BIG", str(corpus.BIG_TABLE))))
    return told


@pytest.fixture(scope="session")
def judged(looked) -> dict[str, dict[str, Any]]:
    """The class of each labelled migration by the name of its case."""
    return {each["name"].partition(".")[0]: each for each in looked["judged"]}


@pytest.fixture(scope="session")
def proofs(based, on_host) -> dict[str, dict[str, Any]]:
    """What really happens to the code of the base once a migration was applied."""
    given = {case.name: {"rows": case.rows, "writes": case.writes} for case in corpus.CASES}
    script = (HERE / "prove.py").read_text()
    told: dict[str, Any] = json.loads(
        on_host("python3", "-c", shlex.quote(PROVE), stdin=f"{script}\0{json.dumps(given)}")
    )
    return told
