# SPDX-License-Identifier: GPL-3.0-or-later
"""Which snapshots are kept, whether the next one fits, and that half of one is none."""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    activate,
    maintenance,
    preflight,
    process_units,
    restore,
    runner,
    snapshots,
    snapshots_mysql,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine import database as site_database
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.snapshots import Snapshot
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import Target

A, B = "20260301T120000-aaaaaaa", "20260302T120000-bbbbbbb"
MIB = preflight.MIB
ME = pwd.getpwuid(os.geteuid()).pw_name
Keep = Callable[..., Release]


def snapshot(
    name: str = B, size: int = 10 * MIB, *, release: str = A, created: str = "2026-03-02T12:00:00+00:00"
) -> Snapshot:
    return Snapshot(name, release, B, created, size, 1.0, "sqlite")


@pytest.fixture
def put(shop: Site) -> Callable[..., Snapshot]:
    """Lay a snapshot down as `take` does."""

    def down(name: str, **more: Any) -> Snapshot:
        made = snapshot(name, **more)
        snapshots.folder(shop).mkdir(exist_ok=True)
        snapshots.file_of(shop, made).write_text("copy")
        snapshots.record(shop, made)
        return made

    return down


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the agent tells of the database."""
    facts = {
        "vendor": "sqlite",
        "size": 100 * MIB,
        "libpq": {},
        "file": str(tmp_path / "db.sqlite3"),
        "archives": False,
    }
    monkeypatch.setattr(snapshots, "connection", lambda target, alias="default": facts)
    return facts


TARGET = Target(Path(sys.executable), Path("/"), {}, ME)


@pytest.mark.parametrize(
    ("size", "newest", "needed"),
    [
        pytest.param(100, None, 100, id="the_first_one"),
        pytest.param(100, 10, 20, id="twice_the_newest"),
        pytest.param(100, 80, 100, id="never_more_than_the_database"),
        pytest.param(0, None, 0, id="no_file_yet"),
    ],
)
def test_room_needed(size: int, newest: int | None, needed: int) -> None:
    assert snapshots.room_needed(size, None if newest is None else snapshot(size=newest)) == needed


def test_room_is_required_before_anything_is_made(
    shop: Site, database: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 100 * MIB + preflight.RESERVE_BYTES
    monkeypatch.setattr(preflight, "room", lambda path: preflight.Room(free, 5000, 1))
    snapshots.require_room(shop, TARGET)
    database["size"] += 1
    with pytest.raises(EngineError, match="no room for a snapshot of the database") as caught:
        snapshots.require_room(shop, TARGET)
    for told in ("snapshots shop --remove", "enabled: false"):
        assert told in caught.value.hint
    database["size"] -= 1
    monkeypatch.setattr(preflight, "room", lambda path: preflight.Room(free, 3, 1))
    with pytest.raises(EngineError, match="3 inodes"):
        snapshots.require_room(shop, TARGET)


@pytest.mark.parametrize(
    ("names", "keep", "needed", "gone"),
    [
        ([], 3, [], []),
        (["a", "b", "c"], 3, [], []),
        (["a", "b", "c", "d"], 3, [], ["a"]),
        (["a", "b", "c", "d"], 1, ["b"], ["a", "c"]),
    ],
    ids=["none", "few", "too_many", "a_kept_release_tells_of_one"],
)
def test_to_prune(names: list[str], keep: int, needed: list[str], gone: list[str]) -> None:
    found = snapshots.to_prune([snapshot(name) for name in names], keep, frozenset(needed))
    assert [one.name for one in found] == gone


@pytest.mark.parametrize(
    ("taken", "name"),
    [([], B), ([A], B), ([B], f"{B}.2"), ([B, f"{B}.2"], f"{B}.3")],
    ids=["none", "other", "one", "two"],
)
def test_free_name(taken: list[str], name: str) -> None:
    assert snapshots.free_name(B, taken) == name


def test_kept_tells_what_is_whole_oldest_first(shop: Site, put: Callable[..., Snapshot]) -> None:
    newer = put(B, created="2026-03-03T12:00:00+00:00")
    older = put(A, created="2026-03-01T12:00:00+00:00")
    snapshots.file_of(shop, put("20260304T120000-ccccccc")).unlink()
    (snapshots.folder(shop) / "torn.json").write_text("{")
    (snapshots.folder(shop) / "half.dump.new").write_text("half")
    assert snapshots.kept(shop) == [older, newer]
    snapshots.remove_half_made(shop)
    left = sorted(path.name for path in snapshots.folder(shop).iterdir())
    assert left == [f"{A}.json", f"{A}.sqlite3", f"{B}.json", f"{B}.sqlite3"], "what is torn is of no use"
    with pytest.raises(EngineError, match="has no snapshot 'x'") as caught:
        snapshots.named(shop, "x")
    assert A in caught.value.hint and B in caught.value.hint


def test_lines_newest_first() -> None:
    assert snapshots.lines([]) == []
    told = snapshots.lines([snapshot(A), snapshot(B, size=3 * MIB)])
    assert told[0].split() == ["snapshot", "made", "size", "live", "then"]
    assert [line.split()[0] for line in told[1:]] == [B, A]


# --- making and putting back: SQLite for real -------------------------------------------------------


def rows(file: str) -> list[Any]:
    import sqlite3

    connection = sqlite3.connect(file)
    try:
        return connection.execute("select * from t order by 1").fetchall()
    finally:
        connection.close()


def change(file: str, *statements: str) -> None:
    import sqlite3

    connection = sqlite3.connect(file)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_sqlite_there_and_back(
    shop: Site, keep: Keep, database: dict[str, Any], progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(A, "live")
    change(database["file"], "create table t (n)", "insert into t values (1)")
    made = snapshots.take(shop, TARGET, B, progress)
    assert made is not None and (made.name, made.release, made.kind) == (B, A, "sqlite")
    file = snapshots.file_of(shop, made)
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert made.bytes == file.stat().st_size
    change(database["file"], "delete from t", "insert into t values (2)", "create table later (n)")
    snapshots.put_back(shop, TARGET, made, progress)
    assert rows(database["file"]) == [(1,)]
    again = snapshots.take(shop, TARGET, B, progress)
    assert again is not None and again.name == f"{B}.2"


def test_half_a_copy_is_not_put_back(database: dict[str, Any]) -> None:
    """The deployer that fed it may have been killed: what it reads ends there as any input does."""
    change(database["file"], "create table t (n)", "insert into t values (1)")
    words = [sys.executable, "-I", "-S", "-c", snapshots.PUT_SQLITE, database["file"], "9"]
    done = runner.run(words, stdin="half")
    assert done.returncode and "nothing was touched" in done.stderr
    assert rows(database["file"]) == [(1,)]
    assert [path.name for path in Path(database["file"]).parent.glob("*.restored")] == []


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql", "mysql"])
def test_programs_are_started_as_other_work_of_the_site(
    shop: Site,
    keep: Keep,
    database: dict[str, Any],
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    vendor: str,
) -> None:
    """None is a child of the deployer; every password goes by the environment."""
    keep(A, "live")
    place = {"words": [], "env": {"MYSQL_PWD": "well-kept"}, "name": "shop"}
    database.update(vendor=vendor, libpq={"PGPASSWORD": "well-kept"}, mysql=place)
    monkeypatch.setattr(snapshots_mysql, "installed", lambda: True)
    started: list[tuple[str, str | None, Any]] = []

    def start(words: Any, stdin: Any, stdout: Any, stderr: Any, user: Any, env: Any, timeout: float) -> Any:
        assert "well-kept" not in " ".join(map(str, words))
        started.append((str(words[0]), user, env))
        return runner.started(["cat"], stdin, stdout, stderr, None, {}, timeout)

    target = Target(Path("python"), Path("/"), {}, "shop", start_on_files=start)
    made = snapshots.take(shop, target, B, progress)
    assert made is not None
    snapshots.put_back(shop, target, made, progress)
    programs = {
        "sqlite": ["python", "python"],
        "postgresql": ["pg_dump", "pg_restore", "psql"],
        "mysql": ["bash", "gzip", "gzip", "mariadb"],
    }
    assert [program for program, _user, _env in started] == programs[vendor]
    assert {user for _program, user, _env in started} == {"shop"}
    assert vendor == "sqlite" or "well-kept" in started[0][2].values()


def test_a_copy_that_fails_leaves_nothing(shop: Site, keep: Keep, database: dict[str, Any], progress: Progress) -> None:
    keep(A, "live")
    with pytest.raises(EngineError, match="failed"):
        snapshots.take(shop, TARGET, B, progress)
    assert list(snapshots.folder(shop).iterdir()) == []


def test_another_kind_of_database_is_told_and_not_copied(
    shop: Site, database: dict[str, Any], progress: Progress, said: list[dict[str, Any]]
) -> None:
    database["vendor"] = "oracle"
    assert snapshots.take(shop, TARGET, B, progress) is None
    assert said[-1]["text"] == "no snapshot: oracle is not copied by djdeploy"


def test_password_is_in_no_argv(database: dict[str, Any]) -> None:
    database.update(vendor="postgresql", libpq={"PGPASSWORD": "a-word-well-kept"})
    assert "a-word-well-kept" not in " ".join(map(str, snapshots.dump_words(database, TARGET)))


# --- what flows through programs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("through", "read"),
    [
        pytest.param([], "begin input commit", id="by_itself"),
        pytest.param(["tr", "a-z", "A-Z"], "begin INPUT commit", id="through_another"),
    ],
)
def test_load_gives_the_last_words_to_a_whole_input(tmp_path: Path, through: list[str], read: str) -> None:
    (tmp_path / "in").write_text("input ")
    target = tmp_path / "out"
    with open(tmp_path / "in", "rb") as file:
        runner.load(
            ["tee", target], file, through=through, before="begin ", after="commit", user=ME, env={}, timeout=120
        )
    assert target.read_text() == read


def test_load_never_says_commit_after_half_an_input(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("input ")
    target = tmp_path / "out"
    with open(tmp_path / "in", "rb") as file, pytest.raises(EngineError, match="sh failed: no more"):
        runner.load(
            ["tee", target],
            file,
            through=["sh", "-c", "head -c 3; echo no more >&2; exit 4"],
            after="commit",
            user=ME,
            env={},
            timeout=120,
        )
    assert not target.exists() or "commit" not in target.read_text()


def test_save_that_runs_out_of_time_is_killed() -> None:
    null = open(os.devnull, "wb")  # noqa: SIM115
    with pytest.raises(EngineError, match="sleep failed"):
        runner.save(["sleep", "60"], null, user=ME, env={}, timeout=0.2)


# --- the yes ------------------------------------------------------------------------------------------


def test_restore_needs_a_yes(shop: Site, keep: Keep, put: Callable[..., Snapshot], progress: Progress) -> None:
    keep(A, "retired")
    keep(B, "live")
    put(B)
    with pytest.raises(EngineError, match="needs a yes") as caught:
        restore.restore(shop, Request("restore", "shop", "host", "ada", revision=B), progress)
    assert caught.value.hint == f"djdeploy restore shop {B} --yes"


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        pytest.param(True, f"{A}, would be live again", id="its_release_is_kept"),
        pytest.param(False, "is not kept", id="its_release_is_gone"),
    ],
)
def test_what_a_restore_would_lose(shop: Site, keep: Keep, put: Callable[..., Snapshot], kept: bool, told: str) -> None:
    keep(B, "live")
    if kept:
        keep(A, "retired")
    found = restore.loss(shop, put(B), datetime(2026, 3, 2, 14, 30, tzinfo=UTC))
    assert found["minutes"] == 150
    assert told in "\n".join(restore.warning(shop, found))
    assert json.dumps(found)


def test_nothing_but_how_to_connect_gets_into_the_environment() -> None:
    """The project's process says how; a PATH of its own would choose the program."""
    said = {"PGPASSWORD": "word", "PGHOST": "/run/postgresql", "PATH": "/srv/shop/shared/bin", "LD_PRELOAD": "x.so"}
    found = snapshots.secret_of({"vendor": "postgresql", "libpq": said})
    assert found == {"PGPASSWORD": "word", "PGHOST": "/run/postgresql"}
    facts = {"vendor": "mysql", "mysql": {"env": {"MYSQL_PWD": "word", "LD_PRELOAD": "x.so"}}}
    assert snapshots.secret_of(facts) == {"MYSQL_PWD": "word"}


@pytest.mark.parametrize("check", [True, False])
def test_a_restore_publishes_no_uploads_that_the_application_guards(
    shop: Site,
    keep: Keep,
    put: Callable[..., Snapshot],
    progress: Progress,
    said: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    check: bool,
) -> None:
    """The live release leaves its uploads to the application; the one that comes back did not."""
    keep(A, "retired")
    keep(B, "live")
    put(B)
    link = shop.paths.release(A).uploads / "media"
    link.parent.mkdir()
    link.symlink_to(shop.paths.media)
    seen = []
    for module, name in [
        (site_database, "close"),
        (maintenance, "off"),
        (process_units, "go_on"),
        (restore, "site_target"),
        (snapshots, "require_room"),
        (snapshots, "take"),
        (snapshots, "put_back"),
    ]:
        monkeypatch.setattr(module, name, lambda *_words, **_more: None)
    monkeypatch.setattr(activate, "go_live", lambda *_words, **_more: seen.append(link.is_symlink()))
    restore.restore(
        shop, Request("restore", "shop", "host", "ada", revision=B, check=check, accept_loss=not check), progress
    )
    assert (seen, link.is_symlink()) == (([], True) if check else ([False], False))
    assert sum("leaves them to the application" in event.get("text", "") for event in said) == 1
