# SPDX-License-Identifier: GPL-3.0-or-later
"""A site behind PgBouncer: few connections for many visitors, none lost, and nobody else's data."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import projects
import pytest
from hosts import Machine, Site, eventually
from load import Visitors

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus
from cases import params

CASES = params("pooled")
POOL = 2  # pgbouncer_pool_size of inventory/hosts.yml
CONSOLE = "psql -X -h /run/pgbouncer -p 6432 -U root -d pgbouncer -At -F ' ' -c 'SHOW POOLS'"
OPTIONS = """
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "dev", "OPTIONS": {}}}}}
"""


def come_in(machine: Machine, unix: str, role: str, database: str) -> str:
    """What somebody on the host gets who goes to the pooler."""
    words = (
        f"cd / && runuser -u {unix} -- psql -X -h /run/pgbouncer -p 6432 -U {role} -d {database} -Atc 'SELECT 1' 2>&1"
    )
    return subprocess.run(machine.ssh_words(words), capture_output=True, text=True, check=False).stdout


@pytest.fixture
def live(site: Site) -> Site:
    first = site.push()
    assert first.status == 0, first.output
    return site


@pytest.mark.parametrize(("case", "host"), CASES)
def test_many_visitors_share_few_connections(live: Site) -> None:
    with Visitors(live, threads=50, path="/busy", mark=lambda body: f"backend {body}") as seen:
        eventually(lambda: sum(count for what, count in seen.items() if what == 200) > 200, 300, "200 answers")
        told = live.machine.root(CONSOLE)
    assert set(Counter(what for what in seen if isinstance(what, int))) == {200}, seen
    backends = [what for what in seen if str(what).startswith("backend ")]
    assert 1 <= len(backends) <= POOL, seen
    assert any(line.startswith(f"{live.name} {live.name} ") for line in told.splitlines()), told


@pytest.mark.parametrize(("case", "host"), CASES)
def test_nobody_else_comes_in(live: Site, host: str) -> None:
    root = live.machine
    assert come_in(root, live.name, live.name, live.name) == "1\n"
    for unix, role in (("www-data", live.name), ("postgres", live.name), ("postgres", "postgres"), ("git", live.name)):
        assert "FATAL" in come_in(root, unix, role, live.name), (unix, role)
    assert "FATAL" in come_in(root, live.name, live.name, "postgres")
    assert "FATAL" in come_in(root, live.name, live.name, "pgbouncer"), "the console is root's"
    if any(case.name == "pooled-environ" and host in corpus.pushed_to(case) for case in corpus.chosen()):
        assert "FATAL" in come_in(root, live.name, live.name, "pooled-environ")
        assert "FATAL" in come_in(root, live.name, "pooled-environ", "pooled-environ")
    assert root.root("ps -o user= -C pgbouncer | sort -u").split() in (["pgbounc+"], ["pgbouncer"])


@pytest.mark.full
@pytest.mark.parametrize(("case", "host"), CASES)
def test_a_reload_is_not_seen(live: Site) -> None:
    with Visitors(live, threads=3, path="/way") as seen:
        for _time in range(3):
            live.machine.root("systemctl reload pgbouncer; sleep 1")
    assert set(seen) == {200}, seen


@pytest.mark.parametrize(("case", "host"), CASES)
def test_what_belongs_to_a_session_is_refused_at_the_push(live: Site) -> None:
    live.change("mysite/settings.py", OPTIONS.format('{"options": "-c search_path=mine"}'), append=True)
    refused = live.push()
    live.undo()
    assert refused.status != 0
    assert "DATABASES['default'] has 'options' in its OPTIONS, and PgBouncer keeps nothing" in refused.output


@pytest.mark.parametrize(("case", "host"), CASES)
def test_people_are_told(live: Site) -> None:
    root = live.machine
    assert "pgbouncer default: web processes and workers" in root.root(f"djdeploy status {live.name}")
    assert "manage.py, listener and migrations go straight" in root.root(f"djdeploy config {live.name}")
    assert "ok   pgbouncer" in root.root(f"djdeploy doctor {live.name}")
    where = "from way.where import where; from django.db import connection; print(where(connection))"
    assert "/run/postgresql" in root.root(f'djdeploy manage {live.name} shell -c "{where}"')
    root.root("systemctl stop pgbouncer.socket pgbouncer.service")
    try:
        told = root.root(f"djdeploy doctor {live.name} || true")
        live.change("CHANGES", f"{projects.git(live.project, 'rev-parse', 'HEAD')}\n")
        broken = live.push()
        live.undo()
    finally:
        root.root("systemctl start pgbouncer.socket pgbouncer.service")
    assert "BAD  pgbouncer     pgbouncer is inactive" in told
    assert f"did not go live, {live.name} stays at" in broken.output, broken.output
    assert live.get("/way").status == 200
