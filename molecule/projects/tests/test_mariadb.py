# SPDX-License-Identifier: GPL-3.0-or-later
"""A site on MariaDB: a snapshot before each migration, and the way out of one that fails half way."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import projects
import pytest
from hosts import Done, Machine, Site

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus
from cases import params

CASES = params("on-mariadb")
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
READS = """
touch /run/reading
(echo 'BEGIN; SELECT COUNT(*) FROM notes_note;'; while test -e /run/reading; do sleep 0.2; done) |
    runuser -u {site} -- mariadb --no-defaults --unbuffered --skip-column-names {site}
"""
FAILS = 'migrations.RunSQL("INSERT INTO nowhere VALUES (1)"),'


def on_host(machine: Machine, *command: str) -> str:
    done = subprocess.run(machine.ssh_words(*command), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pushed_past_a_reader(site: Site) -> Done:
    """A push while somebody reads the table of the notes in a transaction, who ends it when the push gave way."""
    words = site.machine.ssh_words(READS.format(site=site.name))
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as reader:
        assert reader.stdout and reader.stdout.readline().strip().isdigit(), "nobody reads"
        output = ""
        with site.pushing() as push:
            assert push.stdout
            for line in push.stdout:
                output += line
                if "gave way" in line and "probably connection" in line:
                    on_host(site.machine, "rm", "--force", "/run/reading")
        on_host(site.machine, "rm", "--force", "/run/reading")
    return Done(push.returncode, output)


@pytest.mark.parametrize(("case", "host"), CASES)
def test_a_migration_that_fails_half_way(case: corpus.Case, host: str, site: Site) -> None:
    assert site.push().status == 0
    site.post("/add", {"text": "kept over all of it, \u20ac \U0001f600"})
    projects.add_column(site.project)
    pushed = pushed_past_a_reader(site)
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
