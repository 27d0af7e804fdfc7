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
def back(site):
    own = site("back")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


@pytest.fixture
def rollback(server):
    """`djdeploy rollback back`, as root on the host: (status, all it printed, its result)."""

    def run(*words: str):
        done = server.run(f"djdeploy rollback back {' '.join(words)}")
        return done.rc, done.stdout + done.stderr

    return run


@pytest.fixture
def columns(server):
    """The columns of the table of notes, as PostgreSQL has them now."""

    def now() -> set[str]:
        told = server.check_output(
            "runuser -u postgres -- psql -At back -c "
            "\"select column_name from information_schema.columns where table_name = 'notes_note'\""
        )
        return set(told.split())

    return now


def migration(back, name: str, after: str, operations: str, *, attributes: str = "") -> None:
    """Write a migration of the app; the caller commits it."""
    projects.write(
        back.project,
        f"notes/migrations/{name}.py",
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        f"{attributes}"
        f'    dependencies = [("notes", "{after}")]\n'
        f"    operations = [{operations}]\n",
    )


def edit(back, name: str, old: str, new: str) -> None:
    path = back.project / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r}"
    path.write_text(text.replace(old, new))


def release_of(status, revision: str) -> dict:
    return next(one for one in reversed(status("back")["releases"]) if one["revision"] == revision)


def test_code_goes_back_and_an_additive_migration_stays(back, status, rollback, columns):
    before = back.head()
    migration(
        back, "0002_stars", "0001_initial", 'migrations.AddField("Note", "stars", models.IntegerField(null=True))'
    )
    edit(back, "notes/models.py", FIELD, FIELD + "    stars = models.IntegerField(null=True)\n")
    projects.write(back.project, "notes/static/notes/style.css", "p { color: teal; }\n", append=True)
    after = projects.commit(back.project, "Give notes stars")
    pushed = back.push()
    assert pushed.status == 0, pushed.output
    assert "additive" in pushed.output, "the plan names the class of each migration"
    with Visitors(back, threads=3) as seen:
        rc, told = rollback()
    assert rc == 0, told
    assert "notes.0002_stars" in told and "stays in the database" in told, "the exact difference is shown"
    assert set(seen) == {200}, seen
    assert status("back")["live"]["revision"] == before
    assert "stars" in columns()
    assert "teal" not in back.get("/").text and back.post("/add", {"text": "written by the old code"}).status == 302
    left = release_of(status, after)
    assert left["state"] == "void" and "rolled back by" in left["reason"], "kept as evidence, and marked"


@pytest.mark.full
def test_a_release_that_was_left_or_failed_is_never_gone_back_to(back, status, rollback):
    """What was rolled back from and what never served are no way back; there is nothing before the first one."""
    live = status("back")["live"]["id"]
    head = back.head()
    back.change("notes/views.py", "\n\ndef front(request):\n    raise RuntimeError('no page today')\n", append=True)
    assert back.push().status != 0
    back.undo(head)
    rc, told = rollback()
    assert rc == 1 and "no earlier release that served" in told, told
    assert status("back")["live"]["id"] == live


def test_contract_migration_is_refused_with_its_recipe(back, status, server, columns):
    assert server.run("djdeploy deploy back %s", back.head()).rc == 0, "what was left may be deployed again"
    live = status("back")["live"]["id"]
    migration(back, "0003_words", "0002_stars", 'migrations.RenameField("Note", "text", "words")')
    for name in ("models", "views"):
        edit(back, f"notes/{name}.py", "text", "words")
    edit(back, "notes/templates/notes/front.html", "note.text", "note.words")
    projects.commit(back.project, "Rename text to words")
    pushed = back.push()
    assert pushed.status != 0 and "pre-receive hook declined" in pushed.output, pushed.output
    for told in ("notes.0003_words", "Rename field text", "-o allow=contract"):
        assert told in pushed.output, pushed.output
    assert status("back")["live"]["id"] == live
    assert "text" in columns()


def test_allowed_contract_migration_runs_behind_the_page(back, status, columns):
    """Every answer is a page of one release, or the maintenance page with Retry-After; never an error."""
    with Visitors(back, threads=3) as seen:
        pushed = back.push("-o", "allow=contract", "main")
    assert pushed.status == 0, pushed.output
    assert "maintenance" in pushed.output and "snapshot" in pushed.output, pushed.output
    assert set(seen) <= {200, "maintenance"}, seen
    assert seen["maintenance"], "it was never up"
    assert "words" in columns() and "text" not in columns()
    assert back.post("/add", {"text": "x", "words": "written by the new code"}).status == 302


def test_lossless_migration_is_taken_back_by_the_newer_code(back, status, rollback, columns):
    rc, told = rollback("--check", "--json")
    assert rc == 0, told
    planned = json.loads(told)["database"]
    assert planned["breaks"] == ["notes.0003_words"]
    assert [one["verdict"] for one in planned["reverse"]] == ["lossless"], planned
    assert "words" in columns(), "a check changes nothing"
    with Visitors(back, threads=3) as seen:
        rc, told = rollback()
    assert rc == 0, told
    assert set(seen) <= {200, "maintenance"}, seen
    assert "text" in columns() and "words" not in columns()
    assert "written by the new code" in back.get("/").text


def test_lossy_way_back_needs_a_yes(back, status, rollback, columns):
    projects.git(back.project, "revert", "--no-edit", "HEAD")
    migration(
        back,
        "0003_colour",
        "0002_stars",
        (
            'migrations.AddField("Note", "colour", models.CharField(max_length=9, null=True)), '
            'migrations.RemoveField("Note", "stars")'
        ),
    )
    edit(
        back,
        "notes/models.py",
        "    stars = models.IntegerField(null=True)\n",
        "    colour = models.CharField(max_length=9, null=True)\n",
    )
    projects.commit(back.project, "Colours, no stars")
    pushed = back.push("-o", "allow=contract", "main")
    assert pushed.status == 0, pushed.output
    live = status("back")["live"]["id"]
    rc, told = rollback()
    assert rc == 1 and "would lose data" in told and "--accept-loss" in told, told
    assert "djdeploy restore back" in told, "the snapshot from before is offered"
    assert status("back")["live"]["id"] == live and "colour" in columns()
    rc, told = rollback("--accept-loss")
    assert rc == 0, told
    assert "stars" in columns() and "colour" not in columns()
    assert back.get("/").status == 200


def test_irreversible_way_back_is_refused_with_the_snapshot(back, status, rollback, server):
    again = server.run("djdeploy deploy back %s --allow contract", back.head())
    assert again.rc == 0, again
    migration(
        back,
        "0004_gone",
        "0003_colour",
        'migrations.RunSQL("ALTER TABLE notes_note DROP COLUMN colour", state_operations='
        '[migrations.RemoveField("Note", "colour")])',
        attributes='    djdeploy = "contract"\n',
    )
    edit(back, "notes/models.py", "    colour = models.CharField(max_length=9, null=True)\n", "")
    projects.commit(back.project, "No colours")
    pushed = back.push("-o", "allow=contract", "main")
    assert pushed.status == 0, pushed.output
    live = status("back")["live"]["id"]
    for words in ((), ("--accept-loss",)):
        rc, told = rollback(*words)
        assert rc == 1 and "cannot be taken back" in told, told
        assert f"djdeploy restore back {live}" in told, "the exact command, with the snapshot's name"
    assert status("back")["live"]["id"] == live
    assert back.get("/").status == 200


@pytest.mark.full
def test_release_that_fails_after_a_lossless_contract_gives_the_schema_back(back, status, columns):
    live, head = status("back")["live"]["id"], back.head()
    migration(back, "0005_words", "0004_gone", 'migrations.RenameField("Note", "text", "words")')
    for name in ("models", "views"):
        edit(back, f"notes/{name}.py", "text", "words")
    projects.write(
        back.project, "notes/views.py", "\n\ndef front(request):\n    raise RuntimeError('oh')\n", append=True
    )
    projects.commit(back.project, "Rename and break")
    with Visitors(back, threads=3) as seen:
        pushed = back.push("-o", "allow=contract", "main")
    assert pushed.status != 0 and "answers 500" in pushed.output, pushed.output
    assert set(seen) <= {200, "maintenance"}, seen
    assert "text" in columns() and "words" not in columns()
    assert status("back")["live"]["id"] == live
    assert back.post("/add", {"text": "the old code writes"}).status == 302
    back.undo(head)


def test_any_kept_release_by_name_and_all_of_it(back, status, rollback, server):
    """Code, static files and processes move together."""
    first = back.change("notes/static/notes/style.css", "h1 { margin: 1px; }\n", append=True)
    assert back.push().status == 0
    back.change("notes/static/notes/style.css", "h1 { margin: 2px; }\n", append=True)
    assert back.push().status == 0
    rc, told = rollback("--to", first[:7])
    assert rc == 0, told
    live = status("back")["live"]
    assert live["revision"] == first
    assert back.inside()["release"] == live["id"]
    page = back.get("/").text
    css = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert back.get(css).text.rstrip().endswith("h1 { margin: 1px; }")


# --- snapshots ------------------------------------------------------------------------------------


@pytest.fixture
def psql(server):
    """A statement as PostgreSQL answers it."""

    def ask(statement: str) -> str:
        return server.check_output("runuser -u postgres -- psql -At back -c %s", statement).strip()

    return ask


def another_column(back, name: str) -> str:
    """Commit an additive migration after the last one."""
    last = sorted(path.stem for path in (back.project / "notes/migrations").glob("0*.py"))[-1]
    field = "models.IntegerField(null=True)"
    migration(back, f"{int(last[:4]) + 1:04d}_{name}", last, f'migrations.AddField("Note", "{name}", {field})')
    edit(back, "notes/models.py", FIELD, f"{FIELD}    {name} = {field}\n")
    return projects.commit(back.project, f"Add {name}")


def test_restore_brings_back_what_was_lost(back, status, server, psql, columns):
    before, rows = status("back")["live"], psql("select count(*) from notes_note")
    another_column(back, "weight")
    pushed = back.push()
    assert pushed.status == 0 and "snapshot" in pushed.output, pushed.output
    newest = json.loads(server.check_output("djdeploy snapshots back --json"))[-1]
    assert newest["release"] == before["id"]
    file = server.file(f"/var/lib/djdeploy/back/snapshots/{newest['name']}.dump")
    assert (file.mode, file.user, file.size) == (0o600, "root", newest["bytes"])
    psql("create table scrap (n int)")
    psql("alter table scrap owner to back")
    psql("delete from notes_note")
    refused = server.run(f"djdeploy restore back {newest['name']}")
    assert refused.rc == 1 and "needs a yes" in refused.stderr, refused
    assert psql("select count(*) from notes_note") == "0", "nothing was touched"
    with Visitors(back, threads=3) as seen:
        done = server.run(f"djdeploy restore back {newest['name']} --yes")
    assert done.rc == 0, done
    assert set(seen) <= {200, "maintenance"}, seen
    assert psql("select count(*) from notes_note") == rows
    assert psql("select count(*) from pg_tables where tablename = 'scrap'") == "0"
    assert "weight" not in columns()
    assert status("back")["live"]["id"] == before["id"], "with the release that fits it"
    assert back.post("/add", {"text": "written after the restore"}).status == 302


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


@pytest.mark.full
def test_restore_point_is_in_the_archived_log(back, archiving, server, psql):
    another_column(back, "archived")
    pushed = back.push()
    assert pushed.status == 0, pushed.output
    newest = json.loads(server.check_output("djdeploy snapshots back --json"))[-1]["name"]
    label = f"djdeploy-back-{newest}"
    assert f"restore point {label}" in pushed.output, pushed.output
    segment = psql("select pg_walfile_name(pg_switch_wal())")
    eventually(lambda: server.file(f"{archiving}/{segment}").exists, 300, "the log is archived")
    dump = f"$(ls /usr/lib/postgresql/*/bin/pg_waldump | tail -n 1) --rmgr XLOG {archiving}/{segment}"
    assert f"RESTORE_POINT {label}" in server.run(dump).stdout


@pytest.mark.full
def test_no_room_for_a_snapshot_refuses_before_anything_changes(back, status, server, columns):
    live, head = status("back")["live"]["id"], back.head()
    another_column(back, "height")
    server.check_output("mount -t tmpfs -o size=8m tmpfs /var/lib/djdeploy/back")
    try:
        pushed = back.push()
    finally:
        server.check_output("umount /var/lib/djdeploy/back")
    assert pushed.status != 0 and "pre-receive hook declined" in pushed.output, pushed.output
    assert "no room" in pushed.output or "needed" in pushed.output, pushed.output
    assert status("back")["live"]["id"] == live and "height" not in columns()
    assert back.get("/").status == 200
    back.undo(head)


@pytest.mark.full
def test_snapshots_beyond_those_kept_go(back, server, columns):
    for name in ("one", "two"):
        another_column(back, name)
        pushed = back.push()
        assert pushed.status == 0, pushed.output
    told = {each["name"] for each in json.loads(server.check_output("djdeploy snapshots back --json"))}
    needed = {each["snapshot"] for each in json.loads(server.check_output("djdeploy releases back --json"))}
    assert told >= needed - {""}, "each kept release can still be gone back from"
    assert len(told) <= 2 + len(needed)
    files = server.check_output("ls /var/lib/djdeploy/back/snapshots").split()
    assert {name.rsplit(".", 1)[0] for name in files} == told, "no half of one is left"
