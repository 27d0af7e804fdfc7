# SPDX-License-Identifier: GPL-3.0-or-later
"""A site goes from SQLite to PostgreSQL with all it has: refused before it could lose it, killed on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from load import Visitors

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import moving as made  # noqa: E402

FILE = "/srv/moving/shared/db.sqlite3"
MANY = {"near", "authors", "groups", "permissions", "user_permissions"}
WAIT_AND_KILL = """\
began=$(wc -l < {journal}); djdeploy move moving > /tmp/told 2>&1 &
asked=$!
while kill -0 $asked 2>/dev/null; do
  tail -n +$((began + 1)) {journal} | grep -q {moment} && break; sleep 0.01
done
systemctl kill --signal=KILL 'djdeploy-deployer*@*'; wait; cat /tmp/told
"""


@pytest.fixture(scope="module")
def moving(site, ephemeral, server):
    """The site with its rows, live on SQLite."""
    found = site("moving")
    made.make(ephemeral / "projects" / "moving")
    pushed = found.push()
    assert pushed.status == 0, pushed.output
    if "up-to-date" in pushed.output:  # verified again
        return found
    filled = subprocess.run(
        found.machine.ssh_words("djdeploy", "manage", "moving", "shell"),
        input=(HERE / "fill.py").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert filled.returncode == 0, filled.stdout + filled.stderr
    return found


def rows(server) -> dict[tuple[str, str], dict]:
    """Every row of the site, as Django tells it."""
    told = server.check_output("djdeploy manage moving dumpdata --all --exclude sessions")
    found = {(one["model"], str(one["pk"])): one["fields"] for one in json.loads(told)}
    for fields in found.values():
        for name in MANY.intersection(fields):
            fields[name].sort()  # in the order of the table, which means nothing
    return found


@pytest.fixture(scope="module")
def before(moving, server):
    found = rows(server)
    assert len(found) > 14000
    return found


def test_sqlite_is_shared_by_many_processes(moving, server):
    told = server.check_output(
        "djdeploy manage moving shell -c %s",
        "from django.db import connection as c\nwith c.cursor() as cursor:\n"
        "  for name in ('journal_mode', 'synchronous', 'busy_timeout', 'foreign_keys'):\n"
        "    print(name, cursor.execute(f'PRAGMA {name}').fetchone()[0])",
    )
    lines = {tuple(line.split()) for line in told.splitlines()}
    assert {("journal_mode", "wal"), ("synchronous", "1"), ("busy_timeout", "20000"), ("foreign_keys", "1")} <= lines
    with Visitors(moving, threads=3) as seen:
        for number in range(30):
            assert moving.post("/add", {"text": f"number {number}"}).status == 302
    assert set(seen) == {200}


def test_sqlite_file_outlives_a_release(moving, server, before):
    moving.change("notes/views.py", "\n# another release\n", append=True)
    pushed = moving.push()
    assert pushed.status == 0, pushed.output
    assert rows(server) == before
    assert server.file(FILE).user == "moving"


def test_another_database_is_refused_while_there_are_rows(moving, server, playbooks, status):
    """site.yml and a push say what to do, and nothing changes."""
    live = status("moving")["live"]["id"]
    played = playbooks.run("site.yml", moving_database="postgresql")
    assert played.status != 0
    for words in ("keeps its data in SQLite (db.sqlite3)", "djdeploy move moving", "--empty-database"):
        assert words in played.output, played.output
    moving.change("notes/views.py", "\n# refused\n", append=True)
    pushed = moving.push()
    assert pushed.status != 0 and "pre-receive hook declined" in pushed.output, pushed.output
    assert "djdeploy move moving" in pushed.output and "rows" in pushed.output, pushed.output
    moving.undo()
    assert status("moving")["live"]["id"] == live
    assert moving.inside()["database"] == "sqlite"
    server.check_output("systemctl restart 'djdeploy-moving@%s.service'", live)
    assert moving.get("/").status == 200 and moving.inside()["database"] == "sqlite", "a restart finds the file"


@pytest.fixture(scope="module")
def whole(moving, server):
    """The rows as they are when the move begins."""
    return rows(server)


def test_check_tells_and_changes_nothing(moving, server, status, whole):
    live = status("moving")["live"]["id"]
    done = server.run("djdeploy move moving --check")
    assert done.rc == 0 and "would move" in done.stdout, done.stdout + done.stderr
    assert status("moving")["live"]["id"] == live and rows(server) == whole


@pytest.mark.full
def test_row_that_does_not_fit_is_named(moving, server, whole):
    """SQLite keeps what it is given; PostgreSQL does not."""
    change = "import sqlite3; c = sqlite3.connect({!r}); c.execute({!r}); c.commit()"
    for statement in ("UPDATE library_author SET name = printf('%.*c', 61, 'x') WHERE id = 7",):
        server.check_output("runuser -u moving -- python3 -c %s", change.format(FILE, statement))
    done = server.run("djdeploy move moving")
    assert done.rc == 1, done.stdout
    assert "library.Author 7: name has 61 characters, and 60 fit" in done.stderr, done.stderr
    name = whole["library.author", "7"]["name"]
    mend = (
        "import sqlite3; c = sqlite3.connect({!r}); c.execute('UPDATE library_author SET name=? WHERE id=7', ({!r},))"
    )
    server.check_output("runuser -u moving -- python3 -c %s", f"{mend.format(FILE, name)}; c.commit()")
    assert rows(server) == whole


@pytest.mark.full
@pytest.mark.parametrize("moment", ['"look"', '"copy"'])
def test_killed_on_the_way_it_lives_on(moving, server, status, whole, moment):
    journal = "/var/lib/djdeploy/moving/journal.jsonl"
    told = server.run(WAIT_AND_KILL.format(journal=journal, moment=f"'{moment}'")).stdout
    recovered = server.run("djdeploy recover moving")
    assert recovered.rc == 0, recovered.stdout + recovered.stderr + told
    assert moving.get("/").status == 200, told
    assert moving.inside()["database"] == "sqlite"
    assert rows(server) == whole
    assert moving.post("/add", {"text": f"after {moment}"}).status == 302
    server.check_output(
        "djdeploy manage moving shell -c %s", "from notes.models import Note; Note.objects.latest('id').delete()"
    )


def test_killed_behind_the_switch_it_has_all_rows(moving, server, status, whole, ephemeral):
    """Killed before the file is put aside: the run after it opens the site on PostgreSQL."""
    with Visitors(moving, threads=3) as seen:
        journal = "/var/lib/djdeploy/moving/journal.jsonl"
        script = WAIT_AND_KILL.format(journal=journal, moment='\'"switch".*"ended"\'')
        told = server.run(script).stdout
        assert server.run("djdeploy recover moving").rc == 0, told
    assert set(seen) <= {200, "maintenance"}, seen
    assert "checksums agree" in told, told
    assert moving.inside()["database"] == "postgresql", told
    assert rows(server) == whole
    assert not server.file(FILE).exists
    assert server.check_output(f"ls {FILE}.moved-*").count("\n") == 0, "one file, nothing beside it"


def test_ids_go_on_behind_the_last(moving, server, whole):
    told = server.check_output(
        "djdeploy manage moving shell -c %s",
        "from library.models import Author, Setting; print(Author.objects.create(name='new').pk)\n"
        "from notes.models import Note; print(Note.objects.create(text='new').pk > 0)\n"
        "print(Setting.objects.get(name='filled').value)",
    )
    assert "9001" in told and "True" in told and "changed since" in told


def test_no_way_back_to_a_file_that_is_out_of_date(moving, server, status):
    done = server.run("djdeploy rollback moving")
    assert done.rc == 1 and "kept its data in SQLite" in done.stderr, done.stdout + done.stderr
    assert "djdeploy deploy moving" in done.stderr
    again = server.run("djdeploy move moving")
    assert again.rc == 1 and "keeps its data in PostgreSQL" in again.stderr, again.stderr


def test_next_push_and_site_yml_find_nothing_to_complain_about(moving, playbooks):
    moving.change("notes/views.py", "\n# on PostgreSQL\n", append=True)
    pushed = moving.push()
    assert pushed.status == 0, pushed.output
    played = playbooks.run("site.yml", moving_database="postgresql")
    assert played.status == 0, played.output


def test_external_database_is_where_the_url_leads(site, ephemeral, server):
    """What runs there is not ours: nothing is made for it, and the project reads the variable as it likes."""
    found = site("reader")
    made.make_reader(ephemeral / "projects" / "reader")
    names = server.check_output("runuser -u postgres -- psql -Atc %s", "select datname from pg_database")
    assert "reader" not in names.split()
    server.check_output("runuser -u postgres -- createuser reader")
    server.check_output("runuser -u postgres -- createdb -O reader reader")
    pushed = found.push()
    assert pushed.status == 0, pushed.output
    assert found.inside()["connection"]["name"] == "reader"
