# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a release keeps its data, and what is said before any of it would stay behind."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    activate,
    database,
    maintenance,
    move,
    process_units,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.environment import parse, serialize
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.move import ABANDONED, BEGUN, Note
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import MOVE, Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError

FILE = "/srv/shop/shared/db.sqlite3"


def facts(engine: str = "", name: str = "", host: str = "") -> dict[str, Any]:
    return {"databases": {"default": {"engine": engine, "name": name, "host": host, "port": ""}}}


SQLITE = facts("django.db.backends.sqlite3", FILE)
LOCAL = facts("django.db.backends.postgresql", "shop")
FAR = facts("django.db.backends.postgresql", "shop", "db.example.com")
MARIADB = facts("django.db.backends.mysql", "shop", "/run/mysqld/mysqld.sock")


@pytest.mark.parametrize(
    ("found", "file", "told", "url"),
    [
        (SQLITE, FILE, "SQLite (db.sqlite3)", f"sqlite:///{FILE}"),
        (facts("django.contrib.gis.db.backends.spatialite", FILE), FILE, "SQLite (db.sqlite3)", f"sqlite:///{FILE}"),
        (LOCAL, "", "PostgreSQL (shop)", "postgresql:///shop"),
        (FAR, "", "PostgreSQL (shop on db.example.com)", ""),
        (MARIADB, "", "MariaDB (shop)", ""),
        (facts("mssql", "shop"), "", "mssql (shop)", ""),
        ({}, "", "no database", ""),
    ],
)
def test_where_the_data_is(found: dict[str, Any], file: str, told: str, url: str) -> None:
    assert (move.sqlite_file(found), move.where_told(found), move.pinned_url(found)) == (file, told, url)


@pytest.mark.parametrize(
    ("before", "after", "way"),
    [
        (SQLITE, LOCAL, "take the data along: djdeploy move shop; or"),
        (SQLITE, MARIADB, "take the data along: djdeploy move shop; or"),
        (SQLITE, facts("django.db.backends.sqlite3", "/other"), "set `database` of shop back to what it was; or"),
        (LOCAL, SQLITE, "set `database` of shop back to what it was; or"),
        (LOCAL, FAR, "set `database` of shop back to what it was; or"),
    ],
)
def test_refusal_names_the_ways_on(before: dict[str, Any], after: dict[str, Any], way: str) -> None:
    error = move.left_behind("shop", "1,204 rows", before, after)
    assert error.message == (
        f"shop keeps its data in {move.where_told(before)}, 1,204 rows,"
        f" and it is configured for {move.where_told(after)} now"
    )
    assert error.hint.startswith(way) and error.hint.endswith("djdeploy deploy shop --empty-database")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A site with a live release and one on another database; what happens to units and pages is only noted."""
    found = SimpleNamespace(name="shop", config={"database": "postgresql"}, given={}, done=[], url="/")
    found.environment = lambda: found.given
    paths = SimpleNamespace(env_file=tmp_path / "env", root=tmp_path / "release", environment=tmp_path)
    found.paths = SimpleNamespace(
        state=tmp_path, releases=tmp_path / "releases", release=lambda _id: paths, user="shop"
    )
    paths.env_file.write_text(serialize({"DJDEPLOY_SITE": "shop"}))
    page = {"release": "r2"}
    monkeypatch.setattr(maintenance, "state", lambda _site: None if "open" in found.done else page)
    monkeypatch.setattr(maintenance, "off", lambda _site: found.done.append("open"))
    monkeypatch.setattr(process_units, "go_on", lambda _site: found.done.append("go on"))
    monkeypatch.setattr(move, "remove_tree", lambda _path: found.done.append("remove"))
    monkeypatch.setattr(move, "put_aside", lambda *_words: found.done.append("put aside") or "aside")
    monkeypatch.setattr(move, "live_target", lambda _site, _live: None)
    return found


def release(found: dict[str, Any], **more: Any) -> Any:
    return SimpleNamespace(id="r2", short="abc1234", state="prepared", facts=found, **more)


def test_same_place_starts_no_process(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "run_steps", lambda *_words, **_more: pytest.fail("a process was started"))
    request = Request(op=MOVE, site="shop", door="host", who="ann")
    for live, new in ((SQLITE, SQLITE), (LOCAL, LOCAL), ({}, LOCAL)):
        move.refuse_left_behind(site, release(new), release(live), request)
    move.refuse_left_behind(site, release(LOCAL), None, request)
    move.refuse_way_back(site, release(LOCAL), release(LOCAL))


@pytest.mark.parametrize(
    ("total", "empty_database", "refused"),
    [(1204, False, "1,204 rows"), (0, False, ""), (1204, True, ""), (None, False, "could not be counted (gone)")],
)
def test_rows_decide(
    site: Any, monkeypatch: pytest.MonkeyPatch, total: int | None, empty_database: bool, refused: str
) -> None:
    def steps(*_words: Any, **_more: Any) -> list[Any]:
        if total is None:
            raise StepError("gone")
        return [SimpleNamespace(facts={"total": total})]

    monkeypatch.setattr(move, "run_steps", steps)
    move.write_note(site, Note("r1", FILE, move.target_of(LOCAL), ABANDONED))
    request = Request(op=MOVE, site="shop", door="host", who="ann", empty_database=empty_database)
    if refused:
        with pytest.raises(EngineError) as caught:
            move.refuse_left_behind(site, release(LOCAL), release(SQLITE), request)
        assert refused in caught.value.message
    else:
        move.refuse_left_behind(site, release(LOCAL), release(SQLITE), request)
    assert (move.read_note(site) is None) != bool(refused), "a database that is used is never cleared by a later move"


def test_way_back_to_another_database_is_refused(site: Any) -> None:
    with pytest.raises(EngineError, match=r"kept its data in SQLite \(db.sqlite3\), and it is in PostgreSQL") as caught:
        move.refuse_way_back(site, release(LOCAL), release(SQLITE))
    assert caught.value.hint.endswith("djdeploy deploy shop abc1234")


@pytest.mark.parametrize(
    ("live", "given", "pinned"),
    [
        (SQLITE, {"DATABASE_URL": "postgresql:///shop"}, f"sqlite:///{FILE}"),
        (SQLITE, {}, None),
        (LOCAL, {"DATABASE_URL": f"sqlite:///{FILE}"}, "postgresql:///shop"),
        (FAR, {"DATABASE_URL": f"sqlite:///{FILE}"}, None),
    ],
)
def test_live_release_finds_its_data_after_a_reboot(
    site: Any, live: dict[str, Any], given: dict[str, str], pinned: str | None
) -> None:
    site.given = given
    for _again in range(2):
        move.keep_where_it_is(site, release(live))
    found = parse(site.paths.release("r1").env_file.read_text())
    assert found == {"DJDEPLOY_SITE": "shop", **({"DATABASE_URL": pinned} if pinned else {})}


@pytest.mark.parametrize(
    ("note", "current", "done", "left"),
    [
        (None, "r1", [], None),
        (Note("r2", FILE, "t", ABANDONED), "r1", [], ABANDONED),
        (Note("r2", FILE, "t"), "r1", ["open", "go on", "remove"], ABANDONED),
        (Note("r2", FILE, "t"), "r2", ["put aside", "open", "go on"], None),
    ],
)
def test_recovery_goes_by_the_pointer(
    site: Any, monkeypatch: pytest.MonkeyPatch, note: Note | None, current: str, done: list[str], left: str | None
) -> None:
    monkeypatch.setattr(move, "current_id", lambda _name: current)
    monkeypatch.setattr(move, "read_release", lambda _path: release(LOCAL))
    if note:
        move.write_note(site, note)
    move.recover(site, Progress([]))
    found = move.read_note(site)
    assert (site.done, found.state if found else None) == (done, left)
    assert found is None or found.state != BEGUN


@pytest.mark.parametrize(
    ("live", "database_said", "said"),
    [
        (LOCAL, "postgresql", "keeps its data in PostgreSQL (shop); only what is in an SQLite file can be moved"),
        (SQLITE, "sqlite", "`database` of shop says sqlite, so its data stays"),
        (facts("django.db.backends.sqlite3", "/nowhere/db"), "postgresql", "has no file /nowhere/db"),
    ],
)
def test_what_cannot_be_moved(
    site: Any, monkeypatch: pytest.MonkeyPatch, live: dict[str, Any], database_said: str, said: str
) -> None:
    site.config = {"database": database_said}
    monkeypatch.setattr(move.os.path, "isfile", lambda path: path == FILE)
    monkeypatch.setattr(move, "live_release", lambda _name: release(live, revision="abc"))
    with pytest.raises(EngineError) as caught:
        move.move(site, Request(op=MOVE, site="shop", door="host", who="ann"), Progress([]))
    assert said in caught.value.message and site.done == []


def test_failure_opens_the_site_again(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy fails behind the page: the file serves on, and the target is known to be nobody's."""
    live = SimpleNamespace(**{**release(SQLITE).__dict__, "id": "r1", "revision": "abc", "subject": "s"})
    new = SimpleNamespace(**{**release(LOCAL).__dict__, "revision": "abc", "subject": "s", "release_command": ""})
    site.paths.repository = Path("/none")

    def fail(*_words: Any, **_more: Any) -> Any:
        site.done.append("copy")
        raise EngineError("refused")

    monkeypatch.setattr(move.os.path, "isfile", lambda _path: True)
    for name, value in {
        "live_release": live,
        "current_id": "r1",
        "reusable": new,
        "look": 7,
        "replace": new,
        "read_release": new,
        "write_release": None,
    }.items():
        monkeypatch.setattr(move, name, lambda *_words, _value=value, **_more: _value)
    monkeypatch.setattr(move, "replace", lambda one, **more: type(one)(**{**one.__dict__, **more}))
    monkeypatch.setattr(database, "apply", lambda *_words: [])
    monkeypatch.setattr(database, "close", lambda *_words: site.done.append("close"))
    monkeypatch.setattr(activate, "go_live", lambda *_words, **_more: pytest.fail("went live"))
    monkeypatch.setattr(move, "copy", fail)
    with pytest.raises(EngineError, match="refused"):
        move.move(site, Request(op=MOVE, site="shop", door="host", who="ann"), Progress([]))
    assert site.done == ["close", "copy", "open", "go on", "remove"]
    found = move.read_note(site)
    assert found is not None and found.state == ABANDONED


def with_reports(engine: str, name: str, host: str = "") -> dict[str, Any]:
    """Facts of a release with its default database in PostgreSQL and `reports` elsewhere."""
    reports = {"engine": f"django.db.backends.{engine}", "name": name, "host": host, "port": ""}
    return {"databases": {**LOCAL["databases"], "reports": reports}, "further": {"reports": {}}}


OLD = with_reports("sqlite3", "/srv/shop/shared/reports.sqlite3")
NEW = with_reports("postgresql", "shop_reports")
REQUEST = Request(op=MOVE, site="shop", door="host", who="ann")


@pytest.mark.parametrize(
    ("total", "empty_database", "refused"),
    [(12, False, "with 12 rows"), (0, False, ""), (12, True, ""), (None, False, "could not be counted (gone)")],
)
def test_rows_of_another_database_decide(
    site: Any, monkeypatch: pytest.MonkeyPatch, total: int | None, empty_database: bool, refused: str
) -> None:
    asked: list[Any] = []

    def rows(_target: Any, steps: list[Any], **_more: Any) -> list[Any]:
        asked.extend(steps)
        if total is None:
            raise StepError("gone", "", "")
        return [SimpleNamespace(facts={"total": total})]

    monkeypatch.setattr(move, "run_steps", rows)
    request = Request(op=MOVE, site="shop", door="host", who="ann", empty_database=empty_database)
    if not refused:
        move.refuse_left_behind(site, release(NEW), release(OLD), request)
        return
    with pytest.raises(EngineError) as caught:
        move.refuse_left_behind(site, release(NEW), release(OLD), request)
    assert asked == [{"name": "rows", "database": "reports"}]
    assert refused in caught.value.message
    assert "the database reports of shop is SQLite (reports.sqlite3)" in caught.value.message
    assert caught.value.message.endswith("configured for PostgreSQL (shop_reports) now")
    assert "dumpdata --database reports" in caught.value.hint


def test_the_project_s_own_databases_are_its_own_business(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(move, "run_steps", lambda *_words, **_more: pytest.fail("a process was started"))
    move.refuse_left_behind(site, release({**NEW, "further": {}}), release(OLD), REQUEST)


@pytest.mark.parametrize(("live", "new", "refused"), [(OLD, NEW, True), (NEW, NEW, False), (LOCAL, NEW, False)])
def test_a_move_takes_default_alone(site: Any, live: dict[str, Any], new: dict[str, Any], refused: bool) -> None:
    if not refused:
        move.refuse_further(site, release(live), release(new))
        return
    with pytest.raises(EngineError, match="a move takes the database default alone, and reports would change"):
        move.refuse_further(site, release(live), release(new))


def test_way_back_to_another_place_of_one_database_is_refused(site: Any) -> None:
    with pytest.raises(EngineError, match=r"kept its data in SQLite \(reports.sqlite3\)"):
        move.refuse_way_back(site, release(NEW), release(OLD))
    move.refuse_way_back(site, release(NEW), release(LOCAL))


def test_each_database_is_found_after_a_reboot(site: Any) -> None:
    site.config["databases"] = {"reports": "postgresql"}
    site.given = {"DATABASE_URL": "postgresql:///shop", "REPORTS_DATABASE_URL": "postgresql:///shop_reports"}
    move.keep_where_it_is(site, release(OLD))
    kept = parse(site.paths.release("r2").env_file.read_text())
    assert kept["REPORTS_DATABASE_URL"] == "sqlite:////srv/shop/shared/reports.sqlite3"
    assert kept["DATABASE_URL"] == "postgresql:///shop"


# --- the file that was moved from -------------------------------------------------------------------


def test_the_file_is_put_aside_with_what_lies_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    connection = sqlite3.connect(file)
    connection.executescript("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    (tmp_path / "db.sqlite3-journal").write_text("")
    for _twice in range(2):
        words = [sys.executable, "-I", "-c", move.PUT_ASIDE, file, tmp_path / "db.sqlite3.moved-r"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    connection.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"db.sqlite3.moved-r", "db.sqlite3.moved-r-journal"} <= names and "db.sqlite3" not in names
    assert sqlite3.connect(tmp_path / "db.sqlite3.moved-r").execute("SELECT x FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "path", "told"),
    [
        (0, "", "", "/etc/passwd.moved-r2", ""),
        (0, "file is not a database\n", "", "/etc/passwd.moved-r2", "keeps its log beside it (file is not a database)"),
        (1, "", "Traceback\nPermissionError: no\n", "/etc/passwd", "shop could not rename it (PermissionError: no)"),
    ],
)
def test_a_path_the_project_names_is_renamed_by_the_sites_user(
    shop: Site,
    monkeypatch: pytest.MonkeyPatch,
    progress: Progress,
    said: list[Event],
    status: int,
    stdout: str,
    stderr: str,
    path: str,
    told: str,
) -> None:
    ran: list[Any] = []

    def run(argv: list[Any], **options: Any) -> Completed:
        ran.append((argv[-2:], options["user"]))
        return Completed((), status, stdout, stderr)

    monkeypatch.setattr(move.sandbox, "site_runner", lambda box: run if box.paths == shop.paths else None)
    assert move.put_aside(shop, Path("/etc/passwd"), "r2", progress) == path
    assert ran == [([Path("/etc/passwd"), Path("/etc/passwd.moved-r2")], "shop")]
    assert told in str(said)
