# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations meet what they meet on a site that is in use: held tables, other hosts, a server that restarts."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import projects
import pytest
from hosts import Done, Machine, Site, eventually

BESIDE = "/var/lib/migrating"  # code that is not live, with migrations of its own
HEAD = "from django.db import migrations, models\n\n"
LOCK_TIMEOUT = 2.0  # seconds: the default of a site
PATIENCE = 300.0  # seconds for what comes in some, if the machine has nothing else to do
# A migration stands at this statement until somebody lets it go on.
STANDS = "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM go_on) LOOP PERFORM pg_sleep(0.1); END LOOP; END $$"
STANDING = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO $$ BEGIN WHILE%'"

# The step as a deploy runs it, with the code of a directory beside the live release.
STEP = """
import dataclasses, json, sys
sys.path.insert(0, "/usr/local/lib/djdeploy/engine")
from pathlib import Path
from djdeploy_engine.steps import StepError, Target, run_steps
asked = json.loads(sys.argv[1])
live = Target.for_site("migrating")
path = f"{live.cwd}:{live.env.get('PYTHONPATH', '')}"
target = dataclasses.replace(live, cwd=Path("BESIDE"), env={**live.env, "PYTHONPATH": path})
said = lambda line: print(line, file=sys.stderr, flush=True)
try:
    (step,) = run_steps(target, [{"name": "migrate", "lock_name": "migrating", **asked}], on_stderr=said)
    json.dump({"ok": True, "changed": step.changed, "facts": step.facts, "seconds": step.seconds}, sys.stdout)
except StepError as error:
    json.dump({"ok": False, "message": error.message, "hint": error.hint, "facts": error.facts}, sys.stdout)
""".replace("BESIDE", BESIDE)


@dataclass
class Program:
    """A program that runs on the host, and the lines it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.readers = [
            threading.Thread(target=self.read, args=(stream,))
            for stream in (self.process.stdout, self.process.stderr)
            if stream is not None
        ]
        for reader in self.readers:
            reader.start()

    def read(self, stream: Any) -> None:
        for line in stream:
            self.lines.append(line.rstrip("\n"))

    def until(self, words: str, times: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until it has said something so many times."""
        said = lambda: sum(words in line for line in self.lines) >= times  # noqa: E731
        eventually(lambda: said() or self.process.poll() is not None, seconds, f"it says {words!r}\n{self.text}")
        assert said(), self.text

    def end(self, seconds: float = PATIENCE) -> Done:
        self.process.wait(seconds)
        for reader in self.readers:
            reader.join()
        return Done(self.process.returncode, self.text)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def result(self) -> dict[str, Any]:
        """What STEP ended with."""
        self.end()
        found = [line for line in self.lines if line.startswith('{"ok"')]
        assert found, self.text
        answer: dict[str, Any] = json.loads(found[0])
        return answer


@pytest.fixture(scope="module")
def migrating(site: Callable[[str], Site]) -> Site:
    own = site("migrating")
    own.change("requirements.txt", "Django~=5.2\npsycopg[binary]~=3.2\n")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


@pytest.fixture
def start(web: Machine) -> Iterator[Callable[..., Program]]:
    """Start a program on the host; what still reads when the test is over meets the end of its input."""
    started: list[Program] = []

    def program(*words: str) -> Program:
        process = subprocess.Popen(
            web.ssh_words(shlex.join(words)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Program(process))
        return started[-1]

    yield program
    for each in started:
        each.process.stdin.close()
        each.end()


@pytest.fixture
def pushing(migrating: Site) -> Callable[[], Program]:
    """A push, and what the pusher reads meanwhile."""

    def push() -> Program:
        return Program(migrating.pushing())

    return push


@pytest.fixture
def sql(on_host: Callable[..., str]) -> Callable[[str], str]:
    """Ask the database of the site, as the user of the site."""

    def ask(statement: str) -> str:
        return on_host(
            "runuser -u migrating -- psql --no-psqlrc -qAt -v ON_ERROR_STOP=1 migrating", stdin=f"{statement};\n"
        ).strip()

    return ask


@pytest.fixture
def holding(start, sql, on_host):
    """Somebody who holds a table in a transaction of their own, and forgot it."""

    @contextmanager
    def hold(table: str, mode: str = "ACCESS SHARE") -> Iterator[int]:
        statement = f"LOCK TABLE {table} IN {mode} MODE"
        session = start("runuser", "-u", "migrating", "--", "psql", "--no-psqlrc", "-qAt", "migrating")
        print(f"BEGIN; SELECT 'pid ' || pg_backend_pid();\n{statement};", file=session.process.stdin, flush=True)
        session.until("pid ")
        pid = int(session.lines[0].split()[1])
        held = f"SELECT 1 FROM pg_locks WHERE pid = {pid} AND relation = '{table}'::regclass AND granted"
        eventually(lambda: sql(held) == "1", PATIENCE, "it holds the table")
        try:
            yield pid
        finally:
            session.process.stdin.close()
            session.end()

    return hold


@pytest.fixture
def go_on(sql) -> Iterator[Callable[[], None]]:
    """Let go on what stands at STANDS."""
    sql("CREATE TABLE go_on (now bool)")
    yield lambda: sql("INSERT INTO go_on VALUES (true)")
    sql("DROP TABLE go_on")


@pytest.fixture
def columns(sql) -> Callable[[str], set[str]]:
    def of(table: str) -> set[str]:
        return set(sql(f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}'").split())

    return of


@pytest.fixture
def live_project(migrating: Site, tmp_path_factory, on_host) -> Callable[..., None]:
    """Put the pushed code on the host, beside what is live, with one migration more."""

    def put(name: str, body: str, head: str = HEAD) -> None:
        text = migration_text(name, latest(migrating), body, head)
        packed = subprocess.run(
            ["tar", "--create", "--exclude=.git", "."], cwd=migrating.project, stdout=subprocess.PIPE, check=True
        ).stdout
        on_host(
            f"rm -rf {BESIDE} && mkdir -m 755 {BESIDE} && tar --extract --no-same-owner --directory {BESIDE}",
            stdin=packed,
        )
        on_host(f"cat > {BESIDE}/notes/migrations/{name}.py", stdin=text)

    return put


@pytest.fixture
def migrate(start) -> Callable[..., Program]:
    """Start the step on the code beside, or the one of another name; the keywords are its request."""

    def run(**asked: Any) -> Program:
        return start("python3", "-c", STEP, json.dumps(asked))

    return run


def latest(migrating: Site) -> str:
    """The last migration of the pushed code."""
    return max(path.stem for path in (migrating.project / "notes/migrations").glob("0*.py"))


def migration_text(name: str, after: str, body: str, head: str = HEAD) -> str:
    return f'{head}\nclass Migration(migrations.Migration):\n    dependencies = [("notes", "{after}")]\n{body}'


def commit_migration(migrating: Site, name: str, body: str, head: str = HEAD) -> None:
    text = migration_text(name, latest(migrating), body, head)
    projects.write(migrating.project, f"notes/migrations/{name}.py", text)
    projects.commit(migrating.project, f"Add {name}")


def add_field(name: str, model: str = "Note") -> str:
    return f'    operations = [migrations.AddField("{model}", "{name}", models.IntegerField(null=True))]\n'


def test_bounds_hold_inside_a_migration(migrating, sql):
    """Asked by the migration itself, on the connection it has."""
    head = HEAD + (
        "\ndef look(apps, editor):\n"
        "    with editor.connection.cursor() as cursor:\n"
        "        for name in ('lock_timeout', 'statement_timeout'):\n"
        "            cursor.execute(f'SHOW {name}')\n"
        "            cursor.execute('INSERT INTO seen VALUES (%s, %s)', [name, cursor.fetchone()[0]])\n\n"
    )
    body = (
        '    djdeploy = "additive"\n    operations = [\n'
        '        migrations.RunSQL("CREATE TABLE seen (name text, value text)"),\n'
        "        migrations.RunPython(look, migrations.RunPython.noop),\n    ]\n"
    )
    commit_migration(migrating, "0002_look", body, head)
    pushed = migrating.push()
    assert pushed.status == 0, pushed.output
    assert dict(line.split("|") for line in sql("SELECT * FROM seen").splitlines()) == {
        "lock_timeout": "2s",
        "statement_timeout": "15min",
    }


def test_visitors_wait_a_moment_and_the_deploy_waits_for_the_table(migrating, pushing, holding, columns):
    commit_migration(migrating, "0003_stars", add_field("stars"))
    over, visits, answers = threading.Event(), [], set()

    def visit() -> None:
        while not over.is_set():
            began = time.monotonic()
            answers.add(migrating.get("/").status)
            visits.append((began, time.monotonic()))
            time.sleep(0.05)

    visitor = threading.Thread(target=visit)
    visitor.start()
    try:
        with holding("notes_note") as pid:
            began = time.monotonic()
            push = pushing()
            push.until("waits for a lock of", times=2)
            assert "stars" not in columns("notes_note")
            given_back = time.monotonic()
        done = push.end()
    finally:
        over.set()
        visitor.join()
    spent = [end - start for start, end in visits]
    print(f"the longest a visitor waited: {max(spent):.2f} s of {len(spent)} requests")
    assert done.status == 0, done.output
    assert f"pid {pid} (migrating, psql, this host) idle in transaction since" in done.output
    assert "LOCK TABLE notes_note" in done.output
    assert "stars" in columns("notes_note")
    assert answers == {200}
    answered = [end - start for start, end in visits if end < given_back]
    assert max(answered) > LOCK_TIMEOUT / 2, "nobody was answered who had waited"
    assert max(spent) < given_back - began, "somebody waited as long as the table was held"


@pytest.mark.full
def test_table_that_is_never_given_back_ends_the_deploy(migrating, pushing, holding, columns, status, sql):
    live, head = status("migrating")["live"]["id"], migrating.head()
    commit_migration(migrating, "0004_moons", add_field("moons"))
    with holding("notes_note") as pid:
        done = pushing().end()
        assert migrating.get("/").status == 200
    assert "notes.0004_moons does not get its lock within 2 s, tried 3 times: ALTER TABLE" in done.output, done.output
    for told in (f"pid {pid} ", "LOCK TABLE notes_note", f"SELECT pg_terminate_backend({pid})"):
        assert told in done.output.partition("tried 3 times")[2], done.output
    assert status("migrating")["live"]["id"] == live
    assert "moons" not in columns("notes_note")
    assert sql("SELECT count(*) FROM django_migrations WHERE name = '0004_moons'") == "0"
    assert sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'djdeploy%'") == "0"
    migrating.undo(head)


def test_two_hosts_at_once_are_one_after_the_other(live_project, migrate, columns, go_on):
    body = (
        f'    operations = [migrations.RunSQL("{STANDS}"),\n'
        '        migrations.AddField("Note", "suns", models.IntegerField(null=True))]\n'
    )
    live_project("0004_suns", body)
    both = [migrate(), migrate()]
    eventually(lambda: any("waiting for another host" in each.text for each in both), PATIENCE, "one waits")
    waiting = time.monotonic()
    go_on()
    waited = time.monotonic() - waiting
    results = [each.result() for each in both]
    assert sorted(each["changed"] for each in results) == [False, True], results
    first, second = sorted(results, key=lambda each: not each["changed"])
    assert first["facts"]["applied"] == ["notes.0004_suns"]
    assert second["facts"]["applied"] == [] and second["facts"]["pending"] == []
    assert second["facts"]["waited"] > waited / 2, "how long it waited is told"
    said = both[results.index(second)].text
    assert re.search(r"waiting for another host that migrates: pid \d+, from the host of the database, since 20", said)
    assert "suns" in columns("notes_note")


def test_lock_goes_with_the_process_that_had_it(live_project, migrate, sql, on_host, go_on):
    live_project("0005_asleep", f'    operations = [migrations.RunSQL("{STANDS}")]\n')
    first = migrate()
    eventually(lambda: sql(STANDING) == "1", PATIENCE, "the first one stands")
    second = migrate()
    second.until("waiting for another host that migrates")
    on_host("pkill -KILL --oldest --euid migrating --full djdeploy_agent")
    assert first.result()["ok"] is False
    go_on()
    assert second.result()["facts"]["applied"] == ["notes.0005_asleep"], second.text


@pytest.mark.full
def test_server_that_restarts_is_waited_for(live_project, migrate, sql, on_host, columns, go_on):
    body = (
        '    operations = [migrations.AddField("Note", "comets", models.IntegerField(null=True)),\n'
        f'        migrations.RunSQL("{STANDS}")]\n'
    )
    live_project("0006_comets", body)
    running = migrate()
    eventually(lambda: sql(STANDING) == "1", PATIENCE, "the migration stands")
    on_host("systemctl restart 'postgresql@*'")
    go_on()
    done = running.result()
    assert done["ok"], done
    assert done["facts"]["applied"] == ["notes.0006_comets"]
    assert "the connection to the database broke; waiting for the server" in running.text
    assert "comets" in columns("notes_note")


@pytest.mark.full
def test_interrupted_index_is_told_with_the_statement_that_mends_it(live_project, migrate, holding, sql):
    head = HEAD + "from django.contrib.postgres.operations import AddIndexConcurrently\n"
    body = (
        "    atomic = False\n"
        '    operations = [AddIndexConcurrently("Note", models.Index(fields=["text"], name="notes_by_text"))]\n'
    )
    live_project("0007_index", body, head)
    mend = "DROP INDEX CONCURRENTLY public.notes_by_text"
    with holding("notes_note", "ROW EXCLUSIVE") as pid:
        stopped = migrate(statement_timeout=3)
        failed = stopped.result()
    assert not failed["ok"] and "notes.0007_index" in failed["message"], failed
    assert mend in failed["hint"] and f"pid {pid} " in failed["hint"], failed
    planned = migrate(plan_only=True, detail=True).result()
    assert [each["mend"] for each in planned["facts"]["invalid_indexes"]] == [mend]
    again = migrate().result()
    assert not again["ok"] and "already exists" in again["message"] and mend in again["hint"], again
    sql(mend)
    assert migrate().result()["facts"]["applied"] == ["notes.0007_index"]


@pytest.mark.full
def test_index_beside_running_work_has_time(live_project, migrate, holding):
    """Nobody waits behind it, so it does not give way after `lock_timeout`; who it waits for is told."""
    head = HEAD + "from django.contrib.postgres.operations import AddIndexConcurrently\n"
    body = (
        "    atomic = False\n"
        '    operations = [AddIndexConcurrently("Note", models.Index(fields=["text"], name="notes_by_text_too"))]\n'
    )
    live_project("0008_index", body, head)
    with holding("notes_note", "ROW EXCLUSIVE") as pid:
        running = migrate(lock_timeout=1)
        running.until(f"waits for pid {pid} ")
    assert running.result()["facts"]["tries"] == 1


@pytest.mark.full
def test_half_applied_migration_is_not_tried_again(live_project, migrate, holding, columns, sql):
    body = (
        "    atomic = False\n    operations = [\n"
        '        migrations.AddField("Attachment", "width", models.IntegerField(null=True)),\n'
        '        migrations.AddField("Note", "width", models.IntegerField(null=True)),\n    ]\n'
    )
    live_project("0009_half", body)
    with holding("notes_note"):
        failed = migrate(attempts=5).result()
    assert not failed["ok"] and failed["facts"]["tries"] == 1, failed
    assert "done: Add field width to Attachment; not done: Add field width to Note" in failed["hint"]
    assert "width" in columns("notes_attachment") and "width" not in columns("notes_note")
    sql("ALTER TABLE notes_attachment DROP COLUMN width")
    with holding("notes_attachment"):
        running = migrate(attempts=5, lock_timeout=1)
        running.until("waits for a lock of", times=1)
    done = running.result()
    assert done["ok"] and done["facts"]["applied"] == ["notes.0009_half"], done


@pytest.mark.full
def test_taking_back_gives_way_too(live_project, migrate, holding, columns):
    live_project("0010_planets", add_field("planets"))
    assert migrate().result()["facts"]["applied"] == ["notes.0010_planets"]
    with holding("notes_note") as pid:
        running = migrate(name="unapply", migrations=["notes.0010_planets"])
        running.until(f"waits for a lock of pid {pid} ")
        assert "planets" in columns("notes_note")
    done = running.result()
    assert done["ok"] and done["facts"]["taken_back"] == ["notes.0010_planets"], done
    assert "planets" not in columns("notes_note")


@pytest.mark.full
def test_other_driver_does_as_well(migrating, pushing, holding, columns, on_host):
    """psycopg2 tells its errors in another way."""
    migrating.change("requirements.txt", "Django~=5.2\npsycopg2-binary~=2.9\n")
    commit_migration(migrating, "0004_rings", add_field("rings"))
    with holding("notes_note"):
        push = pushing()
        push.until("waits for a lock of")
    done = push.end()
    assert done.status == 0, done.output
    assert "rings" in columns("notes_note")
    asked = "from django.db.backends.postgresql.psycopg_any import is_psycopg3 as it; print('psycopg 3:', it)\n"
    assert "psycopg 3: False" in on_host("djdeploy", "manage", "migrating", "shell", stdin=asked)
