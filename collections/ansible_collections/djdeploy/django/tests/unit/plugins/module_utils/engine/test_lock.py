# SPDX-License-Identifier: GPL-3.0-or-later
"""One deploy of a site at a time, held by real processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import lock
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError


def hold(path: Path, pipe: Connection) -> None:
    """Hold the lock until told to go on."""
    with lock.site_lock(path, who="ada", what="deploy", say=print):
        pipe.send(os.getpid())
        pipe.recv()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[Path, multiprocessing.Process, Connection]]:
    """Another process that has the lock."""
    path, (here, there) = tmp_path / "shop" / "lock", multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=hold, args=(path, there))
    process.start()
    assert here.poll(10)
    here.recv()
    yield path, process, here  # type: ignore[misc]
    process.kill()
    process.join()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            '{"who": "ada", "what": "deploy", "since": "2026-03-01 12:00:00 UTC", "pid": 7}',
            "deploy by ada since 2026-03-01 12:00:00 UTC (process 7)",
            id="whole",
        ),
        pytest.param("", "another deploy", id="not_written_yet"),
        pytest.param('{"who": "ada", "wh', "another deploy", id="half_written"),
        pytest.param('{"who": "ada"}', "another deploy", id="of_another_version"),
        pytest.param("[]", "another deploy", id="list"),
        pytest.param("null", "another deploy", id="null"),
    ],
)
def test_describe_holder(text: str, said: str) -> None:
    assert lock.describe_holder(text) == said


def test_site_lock_says_who_holds_it_and_forgets(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with lock.site_lock(path, who="ada", what="rollback", say=print):
        holder = json.loads(path.read_text())
        assert (holder["who"], holder["what"], holder["pid"]) == ("ada", "rollback", os.getpid())
    assert path.read_text() == ""


def test_held_by_tells_only_of_who_holds_it(holder: tuple[Path, multiprocessing.Process, Connection]) -> None:
    path, process, _pipe = holder
    held = lock.held_by(path)
    assert held is not None and (held["who"], held["what"], held["pid"]) == ("ada", "deploy", process.pid)
    assert lock.held_by(path.with_name("never")) is None
    process.kill()
    process.join()
    assert path.read_text(), "the dead leave their name behind"
    assert lock.held_by(path) is None


def test_site_lock_waits_for_its_turn(tmp_path: Path) -> None:
    turns = iter([False, False, True])
    with lock.site_lock(tmp_path / "lock", who="bob", what="deploy", say=print, turn=lambda: next(turns)):
        assert next(turns, None) is None
    with (
        pytest.raises(EngineError, match="gave up waiting for another deploy"),
        lock.site_lock(tmp_path / "lock", who="bob", what="deploy", say=print, turn=lambda: False, wait=0.1),
    ):
        pytest.fail("it was not its turn")


def test_site_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    for _time in range(2):
        with pytest.raises(KeyError), lock.site_lock(tmp_path / "lock", who="ada", what="deploy", say=print, wait=0):
            raise KeyError


def test_site_lock_gives_up_and_names_the_holder(holder: tuple[Path, multiprocessing.Process, Connection]) -> None:
    path, process, _pipe = holder
    with (
        pytest.raises(EngineError, match=rf"gave up waiting for deploy by ada since .* \(process {process.pid}\)"),
        lock.site_lock(path, who="bob", what="deploy", say=print, wait=0.1),
    ):
        pytest.fail("two have the lock")
    assert json.loads(path.read_text())["who"] == "ada", "whoever waits leaves the holder's name"


def test_site_lock_tells_once_and_waits(
    holder: tuple[Path, multiprocessing.Process, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _process, pipe = holder
    monkeypatch.setattr(lock, "TOLD_AFTER", 0.1)
    said: list[str] = []

    def say(text: str) -> None:
        if not said:  # there is time to say it again and again
            threading.Timer(0.3, pipe.send, ["go on"]).start()
        said.append(text)

    with lock.site_lock(path, who="bob", what="deploy", say=say, wait=120):
        assert json.loads(path.read_text())["who"] == "bob"
    assert len(said) == 1
    assert said[0].startswith("waiting for deploy by ada since")


def test_site_lock_dies_with_its_holder(holder: tuple[Path, multiprocessing.Process, Connection]) -> None:
    path, process, _pipe = holder
    process.kill()
    process.join()
    with lock.site_lock(path, who="bob", what="deploy", say=print, wait=120):
        assert json.loads(path.read_text())["who"] == "bob"


def test_site_lock_of_another_site_is_free(
    holder: tuple[Path, multiprocessing.Process, Connection], tmp_path: Path
) -> None:
    with lock.site_lock(tmp_path / "blog" / "lock", who="bob", what="deploy", say=print, wait=0):
        pass


def test_site_lock_lets_only_one_in(tmp_path: Path) -> None:
    """Four processes add to one number, each reading it before it writes it back."""
    number = tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        for _time in range(10):
            with lock.site_lock(tmp_path / "lock", who="x", what="y", say=print):
                number.write_text(str(int(number.read_text()) + 1))

    fork: Callable[..., multiprocessing.Process] = multiprocessing.get_context("fork").Process
    processes = [fork(target=add) for _time in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert number.read_text() == "40"


def test_lock_is_held_without_room_to_name_its_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    first = lock.site_lock(tmp_path / "lock", who="ada", what="rollback", say=print)
    second = lock.site_lock(tmp_path / "lock", who="bob", what="deploy", say=print, wait=0)
    with first, pytest.raises(EngineError, match="gave up waiting for another deploy"), second:
        pass


@pytest.mark.parametrize("mask", [0, 0o077], ids=["all", "nothing"])
def test_lock_can_be_opened_by_nobody_else(tmp_path: Path, mask: int) -> None:
    """Who can open a file can keep a lock on it, and everybody waiting."""
    path = tmp_path / "shop" / "locks" / "deploy"
    before = os.umask(mask)
    try:
        with lock.site_lock(path, who="ada", what="deploy", say=print):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o755, "nginx enters it"
