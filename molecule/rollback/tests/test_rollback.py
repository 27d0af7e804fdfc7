# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back as a tired person does it: no argument, nothing lost that nobody agreed to lose."""

from __future__ import annotations

import json

import projects
import pytest
from hosts import eventually
from load import Visitors

FIELD = "    text = models.CharField(max_length=200)\n"


@pytest.fixture(scope="module")
def notes(site):
    own = site("notes")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


@pytest.fixture
def rollback(server):
    """`djdeploy rollback notes`, as root on the host: (status, all it printed, its result)."""

    def run(*words: str):
        done = server.run(f"djdeploy rollback notes {' '.join(words)}")
        return done.rc, done.stdout + done.stderr

    return run


@pytest.fixture
def columns(server):
    """The columns of the table of notes, as PostgreSQL has them now."""

    def now() -> set[str]:
        told = server.check_output(
            "runuser -u postgres -- psql -At notes -c "
            "\"select column_name from information_schema.columns where table_name = 'notes_note'\""
        )
        return set(told.split())

    return now


def migration(notes, name: str, after: str, operations: str, *, attributes: str = "") -> None:
    """Write a migration of the app; the caller commits it."""
    projects.write(
        notes.project,
        f"notes/migrations/{name}.py",
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        f"{attributes}"
        f'    dependencies = [("notes", "{after}")]\n'
        f"    operations = [{operations}]\n",
    )


def edit(notes, name: str, old: str, new: str) -> None:
    path = notes.project / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r}"
    path.write_text(text.replace(old, new))


def release_of(status, revision: str) -> dict:
    return next(one for one in reversed(status("notes")["releases"]) if one["revision"] == revision)


def test_code_goes_back_and_an_additive_migration_stays(notes, status, rollback, columns):
    before = notes.head()
    migration(
        notes, "0002_stars", "0001_initial", 'migrations.AddField("Note", "stars", models.IntegerField(null=True))'
    )
    edit(notes, "notes/models.py", FIELD, FIELD + "    stars = models.IntegerField(null=True)\n")
    projects.write(notes.project, "notes/static/notes/style.css", "p { color: teal; }\n", append=True)
    after = projects.commit(notes.project, "Give notes stars")
    pushed = notes.push()
    assert pushed.status == 0, pushed.output
    assert "additive" in pushed.output, "the plan names the class of each migration"
    with Visitors(notes, threads=3) as seen:
        rc, told = rollback()
    assert rc == 0, told
    assert "notes.0002_stars" in told and "stays in the database" in told, "the exact difference is shown"
    assert set(seen) == {200}, seen
    assert status("notes")["live"]["revision"] == before
    assert "stars" in columns()
    assert "teal" not in notes.get("/").text and notes.post("/add", {"text": "written by the old code"}).status == 302
    left = release_of(status, after)
    assert left["state"] == "void" and "rolled back by" in left["reason"], "kept as evidence, and marked"


def test_a_release_that_was_left_or_failed_is_never_gone_back_to(notes, status, rollback):
    """What was rolled back from and what never served are no way back; there is nothing before the first one."""
    live = status("notes")["live"]["id"]
    head = notes.head()
    notes.change("notes/views.py", "\n\ndef front(request):\n    raise RuntimeError('no page today')\n", append=True)
    assert notes.push().status != 0
    notes.undo(head)
    rc, told = rollback()
    assert rc == 1 and "no earlier release that served" in told, told
    assert status("notes")["live"]["id"] == live


def test_contract_migration_is_refused_with_its_recipe(notes, status, server, columns):
    assert server.run("djdeploy deploy notes %s", notes.head()).rc == 0, "what was left may be deployed again"
    live = status("notes")["live"]["id"]
    migration(notes, "0003_words", "0002_stars", 'migrations.RenameField("Note", "text", "words")')
    for name in ("models", "views"):
        edit(notes, f"notes/{name}.py", "text", "words")
    edit(notes, "notes/templates/notes/front.html", "note.text", "note.words")
    projects.commit(notes.project, "Rename text to words")
    pushed = notes.push()
    assert pushed.status != 0 and "pre-receive hook declined" in pushed.output, pushed.output
    for told in ("notes.0003_words", "Rename field text", "-o allow=contract"):
        assert told in pushed.output, pushed.output
    assert status("notes")["live"]["id"] == live
    assert "text" in columns()


def test_allowed_contract_migration_runs_behind_the_page(notes, status, columns):
    """Every answer is a page of one release, or the maintenance page with Retry-After; never an error."""
    with Visitors(notes, threads=3) as seen:
        pushed = notes.push("-o", "allow=contract", "main")
    assert pushed.status == 0, pushed.output
    assert "maintenance" in pushed.output and "snapshot" in pushed.output, pushed.output
    assert set(seen) <= {200, "maintenance"}, seen
    assert seen["maintenance"], "it was never up"
    assert "words" in columns() and "text" not in columns()
    assert notes.post("/add", {"text": "x", "words": "written by the new code"}).status == 302


def test_lossless_migration_is_taken_back_by_the_newer_code(notes, status, rollback, columns):
    rc, told = rollback("--check", "--json")
    assert rc == 0, told
    planned = json.loads(told)["database"]
    assert planned["breaks"] == ["notes.0003_words"]
    assert [one["verdict"] for one in planned["reverse"]] == ["lossless"], planned
    assert "words" in columns(), "a check changes nothing"
    with Visitors(notes, threads=3) as seen:
        rc, told = rollback()
    assert rc == 0, told
    assert set(seen) <= {200, "maintenance"}, seen
    assert "text" in columns() and "words" not in columns()
    assert "written by the new code" in notes.get("/").text


def test_lossy_way_back_needs_a_yes(notes, status, rollback, columns):
    projects.git(notes.project, "revert", "--no-edit", "HEAD")
    migration(
        notes,
        "0003_colour",
        "0002_stars",
        (
            'migrations.AddField("Note", "colour", models.CharField(max_length=9, null=True)), '
            'migrations.RemoveField("Note", "stars")'
        ),
    )
    edit(
        notes,
        "notes/models.py",
        "    stars = models.IntegerField(null=True)\n",
        "    colour = models.CharField(max_length=9, null=True)\n",
    )
    projects.commit(notes.project, "Colours, no stars")
    pushed = notes.push("-o", "allow=contract", "main")
    assert pushed.status == 0, pushed.output
    live = status("notes")["live"]["id"]
    rc, told = rollback()
    assert rc == 1 and "would lose data" in told and "--accept-loss" in told, told
    assert "djdeploy restore notes" in told, "the snapshot from before is offered"
    assert status("notes")["live"]["id"] == live and "colour" in columns()
    rc, told = rollback("--accept-loss")
    assert rc == 0, told
    assert "stars" in columns() and "colour" not in columns()
    assert notes.get("/").status == 200


def test_irreversible_way_back_is_refused_with_the_snapshot(notes, status, rollback, server):
    again = server.run("djdeploy deploy notes %s --allow contract", notes.head())
    assert again.rc == 0, again
    migration(
        notes,
        "0004_gone",
        "0003_colour",
        'migrations.RunSQL("ALTER TABLE notes_note DROP COLUMN colour", state_operations='
        '[migrations.RemoveField("Note", "colour")])',
        attributes='    djdeploy = "contract"\n',
    )
    edit(notes, "notes/models.py", "    colour = models.CharField(max_length=9, null=True)\n", "")
    projects.commit(notes.project, "No colours")
    pushed = notes.push("-o", "allow=contract", "main")
    assert pushed.status == 0, pushed.output
    live = status("notes")["live"]["id"]
    for words in ((), ("--accept-loss",)):
        rc, told = rollback(*words)
        assert rc == 1 and "cannot be taken back" in told, told
        assert f"djdeploy restore notes {live}" in told, "the exact command, with the snapshot's name"
    assert status("notes")["live"]["id"] == live
    assert notes.get("/").status == 200


def test_release_that_fails_after_a_lossless_contract_gives_the_schema_back(notes, status, columns):
    live, head = status("notes")["live"]["id"], notes.head()
    migration(notes, "0005_words", "0004_gone", 'migrations.RenameField("Note", "text", "words")')
    for name in ("models", "views"):
        edit(notes, f"notes/{name}.py", "text", "words")
    projects.write(
        notes.project, "notes/views.py", "\n\ndef front(request):\n    raise RuntimeError('oh')\n", append=True
    )
    projects.commit(notes.project, "Rename and break")
    with Visitors(notes, threads=3) as seen:
        pushed = notes.push("-o", "allow=contract", "main")
    assert pushed.status != 0 and "answers 500" in pushed.output, pushed.output
    assert set(seen) <= {200, "maintenance"}, seen
    assert "text" in columns() and "words" not in columns()
    assert status("notes")["live"]["id"] == live
    assert notes.post("/add", {"text": "the old code writes"}).status == 302
    notes.undo(head)


def test_any_kept_release_by_name_and_all_of_it(notes, status, rollback, server):
    """Code, static files and processes move together."""
    first = notes.change("notes/static/notes/style.css", "h1 { margin: 1px; }\n", append=True)
    assert notes.push().status == 0
    notes.change("notes/static/notes/style.css", "h1 { margin: 2px; }\n", append=True)
    assert notes.push().status == 0
    rc, told = rollback("--to", first[:7])
    assert rc == 0, told
    live = status("notes")["live"]
    assert live["revision"] == first
    assert notes.inside()["release"] == live["id"]
    page = notes.get("/").text
    css = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert notes.get(css).text.rstrip().endswith("h1 { margin: 1px; }")


# --- snapshots ------------------------------------------------------------------------------------


@pytest.fixture
def psql(server):
    """A statement as PostgreSQL answers it."""

    def ask(statement: str) -> str:
        return server.check_output("runuser -u postgres -- psql -At notes -c %s", statement).strip()

    return ask


def another_column(notes, name: str) -> str:
    """Commit an additive migration after the last one."""
    last = sorted(path.stem for path in (notes.project / "notes/migrations").glob("0*.py"))[-1]
    field = "models.IntegerField(null=True)"
    migration(notes, f"{int(last[:4]) + 1:04d}_{name}", last, f'migrations.AddField("Note", "{name}", {field})')
    edit(notes, "notes/models.py", FIELD, f"{FIELD}    {name} = {field}\n")
    return projects.commit(notes.project, f"Add {name}")


def test_restore_brings_back_what_was_lost(notes, status, server, psql, columns):
    before, rows = status("notes")["live"], psql("select count(*) from notes_note")
    another_column(notes, "weight")
    pushed = notes.push()
    assert pushed.status == 0 and "snapshot" in pushed.output, pushed.output
    newest = json.loads(server.check_output("djdeploy snapshots notes --json"))[-1]
    assert newest["release"] == before["id"]
    file = server.file(f"/var/lib/djdeploy/notes/snapshots/{newest['name']}.dump")
    assert (file.mode, file.user, file.size) == (0o600, "root", newest["bytes"])
    psql("create table scrap (n int)")
    psql("alter table scrap owner to notes")
    psql("delete from notes_note")
    refused = server.run(f"djdeploy restore notes {newest['name']}")
    assert refused.rc == 1 and "needs a yes" in refused.stderr, refused
    assert psql("select count(*) from notes_note") == "0", "nothing was touched"
    with Visitors(notes, threads=3) as seen:
        done = server.run(f"djdeploy restore notes {newest['name']} --yes")
    assert done.rc == 0, done
    assert set(seen) <= {200, "maintenance"}, seen
    assert psql("select count(*) from notes_note") == rows
    assert psql("select count(*) from pg_tables where tablename = 'scrap'") == "0"
    assert "weight" not in columns()
    assert status("notes")["live"]["id"] == before["id"], "with the release that fits it"
    assert notes.post("/add", {"text": "written after the restore"}).status == 302


@pytest.fixture
def archiving(server):
    """PostgreSQL archives its WAL meanwhile; the directory it archives to."""
    place = "/var/lib/postgresql/archive"
    psql = "runuser -u postgres -- psql -c"
    restart = "systemctl restart 'postgresql@*'"
    server.check_output(f"install -d -o postgres -g postgres -m 0700 {place}")
    server.check_output(f"{psql} 'alter system set archive_mode = on'")
    server.check_output(f"{psql} \"alter system set archive_command = 'cp %p {place}/%f'\"")
    server.check_output(restart)
    yield place
    server.check_output(f"{psql} 'alter system reset archive_mode' -c 'alter system reset archive_command'")
    server.check_output(f"{restart}; rm -r {place}")


def test_restore_point_is_in_the_archived_log(notes, archiving, server, psql):
    another_column(notes, "archived")
    pushed = notes.push()
    assert pushed.status == 0, pushed.output
    newest = json.loads(server.check_output("djdeploy snapshots notes --json"))[-1]["name"]
    label = f"djdeploy-notes-{newest}"
    assert f"restore point {label}" in pushed.output, pushed.output
    segment = psql("select pg_walfile_name(pg_switch_wal())")
    eventually(lambda: server.file(f"{archiving}/{segment}").exists, 30, "the log is archived")
    dump = f"$(ls /usr/lib/postgresql/*/bin/pg_waldump | tail -n 1) --rmgr XLOG {archiving}/{segment}"
    assert f"RESTORE_POINT {label}" in server.run(dump).stdout


def test_no_room_for_a_snapshot_refuses_before_anything_changes(notes, status, server, columns):
    live, head = status("notes")["live"]["id"], notes.head()
    another_column(notes, "height")
    server.check_output("mount -t tmpfs -o size=8m tmpfs /var/lib/djdeploy/notes")
    try:
        pushed = notes.push()
    finally:
        server.check_output("umount /var/lib/djdeploy/notes")
    assert pushed.status != 0 and "pre-receive hook declined" in pushed.output, pushed.output
    assert "no room" in pushed.output or "needed" in pushed.output, pushed.output
    assert status("notes")["live"]["id"] == live and "height" not in columns()
    assert notes.get("/").status == 200
    notes.undo(head)


def test_snapshots_beyond_those_kept_go(notes, server, columns):
    for name in ("one", "two"):
        another_column(notes, name)
        pushed = notes.push()
        assert pushed.status == 0, pushed.output
    told = {each["name"] for each in json.loads(server.check_output("djdeploy snapshots notes --json"))}
    needed = {each["snapshot"] for each in json.loads(server.check_output("djdeploy releases notes --json"))}
    assert told >= needed - {""}, "each kept release can still be gone back from"
    assert len(told) <= 2 + len(needed)
    files = server.check_output("ls /var/lib/djdeploy/notes/snapshots").split()
    assert {name.rsplit(".", 1)[0] for name in files} == told, "no half of one is left"
