# SPDX-License-Identifier: GPL-3.0-or-later
"""A site with two databases: what changes one of them is copied, refused, taken back and put back for that one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import Machine, Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus
from cases import params

CASES = params("two-databases")
STARS = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stats", "0001_initial")]
    operations = [migrations.AddField("Visit", "stars", models.IntegerField(null=True))]
"""
FORGOTTEN = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stats", "0002_stars")]
    operations = [migrations.RemoveField("Visit", "agent")]
"""
AGENT = '    agent = models.CharField(max_length=200, default="a browser")\n'


def on_host(machine: Machine, *command: str) -> tuple[int, str]:
    done = subprocess.run(machine.ssh_words(*command), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def snapshots(site: Site) -> list[dict[str, object]]:
    return json.loads(on_host(site.machine, "djdeploy", "snapshots", site.name, "--json")[1])


@pytest.mark.parametrize(("case", "host"), CASES)
def test_what_changes_one_database_leaves_the_other_alone(case: corpus.Case, host: str, site: Site) -> None:
    assert site.push().status == 0
    site.post("/add", {"text": "kept over all of it"})
    models = site.project / "stats/models.py"
    site.change("stats/migrations/0002_stars.py", STARS)
    site.change(
        "stats/models.py", models.read_text().replace(AGENT, f"{AGENT}    stars = models.IntegerField(null=True)\n")
    )
    added = site.push()
    assert added.status == 0 and "reports:stats.0002_stars" in added.output, added.output

    site.change("stats/migrations/0003_forgotten.py", FORGOTTEN)
    site.change("stats/models.py", models.read_text().replace(AGENT, ""))
    refused = site.push()
    assert refused.status != 0 and "reports:stats.0003_forgotten" in refused.output, refused.output
    assert "by a browser" in site.get("/both").text
    taken = site.push("-o", "allow=contract", "main")
    assert taken.status == 0, taken.output
    assert "by nobody" in site.get("/both").text
    copied = snapshots(site)[-1]
    assert copied["database"] == "reports", "only the one that changes is copied"
    site.post("/add", {"text": "written after the copy"})

    code, said = on_host(site.machine, "djdeploy", "rollback", site.name)
    assert code != 0 and f"djdeploy restore {site.name} {copied['group']}" in said, said
    code, said = on_host(site.machine, "djdeploy", "restore", site.name, str(copied["group"]), "--yes")
    assert code == 0, said
    assert "by a browser" in site.get("/both").text
    front = site.get("/").text
    assert "kept over all of it" in front and "written after the copy" in front, "the other database is as it was"
