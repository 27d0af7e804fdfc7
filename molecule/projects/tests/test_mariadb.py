# SPDX-License-Identifier: GPL-3.0-or-later
"""A site on MariaDB: a snapshot before each migration, and the way out of one that fails half way."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import projects
import pytest
from hosts import Machine, Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus

CASES = [
    pytest.param(case, host, id=host, marks=pytest.mark.xdist_group(host))
    for case in corpus.chosen()
    if case.name == "on-mariadb"
    for host in case.hosts
]
COLOUR = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    djdeploy = "additive"
    dependencies = [("notes", "0002_stars")]
    operations = [
        migrations.AddField("Note", "colour", models.CharField(max_length=20, null=True)),
        {more}
    ]
"""
HELD = 40  # seconds
FAILS = 'migrations.RunSQL("INSERT INTO nowhere VALUES (1)"),'


def on_host(machine: Machine, *command: str) -> str:
    done = subprocess.run(machine.ssh_words(*command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def reading(site: Site) -> Iterator[None]:
    """Somebody reads the table of the notes in a transaction that lasts longer than a push takes to migrate."""
    words = f"BEGIN; SELECT COUNT(*) FROM notes_note; SELECT SLEEP({HELD})"
    command = f'runuser -u {site.name} -- mariadb --no-defaults {site.name} -e "{words}"'
    with subprocess.Popen(site.machine.ssh_words(command), stdout=subprocess.DEVNULL) as reader:
        yield
        reader.wait(HELD + 10)


@pytest.mark.parametrize(("case", "host"), CASES)
def test_a_migration_that_fails_half_way(case: corpus.Case, host: str, site: Site) -> None:
    assert site.push().status == 0
    site.post("/add", {"text": "kept over all of it, \u20ac \U0001f600"})
    projects.add_column(site.project)
    with reading(site):
        pushed = site.push()
    assert pushed.status == 0, pushed.output
    assert "snapshot" in pushed.output and "notes.0002_stars" in pushed.output, pushed.output
    assert "gave way to visitors" in pushed.output and "probably connection" in pushed.output, pushed.output

    site.change("notes/migrations/0003_colour.py", COLOUR.format(more=FAILS))
    failed = site.push()
    assert failed.status != 0, failed.output
    assert "takes no change of tables back" in failed.output, failed.output
    command = re.search(rf"djdeploy restore {case.name} \S+ --yes", failed.output)
    assert command, failed.output
    assert "kept over all of it" in site.get("/").text, "the release before goes on"

    site.change("notes/migrations/0003_colour.py", COLOUR.format(more=""))
    again = site.push()
    assert again.status != 0 and "earlier try" in again.output, again.output

    on_host(site.machine, command[0])
    assert "kept over all of it, \u20ac \U0001f600" in site.get("/").text
    mended = site.push()
    assert mended.status == 0 and "notes.0003_colour" in mended.output, mended.output
    assert "kept over all of it, \u20ac \U0001f600" in site.get("/").text
