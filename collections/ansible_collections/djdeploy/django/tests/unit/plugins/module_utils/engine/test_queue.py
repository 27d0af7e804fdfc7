# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is: tables of who overtakes whom, and tickets held by real processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import lock, queue
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import RefUpdate
from ansible_collections.djdeploy.django.plugins.module_utils.engine.queue import Ticket
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

A, B, C = (letter * 40 for letter in "abc")
MAIN = (RefUpdate(A, B, "refs/heads/main"),)
OTHER = (RefUpdate(A, B, "refs/heads/other"),)
DELETED = (RefUpdate(A, "0" * 40, "refs/heads/main"),)


def ticket(number: int, revision: str = A, op: str = "deploy", who: str = "ada") -> Ticket:
    return Ticket(number, op, who, revision)


@pytest.mark.parametrize(
    ("mine", "others", "by"),
    [
        (ticket(1), [], None),
        (ticket(2), [ticket(1, B)], None),
        (ticket(1), [ticket(2, B)], ticket(2, B)),
        (ticket(1), [ticket(2, B), ticket(3, C)], ticket(3, C)),
        (ticket(1), [ticket(3, C), ticket(2, B)], ticket(3, C)),
        (ticket(1), [ticket(2, A)], None),
        (ticket(1), [ticket(2, B), ticket(3, A)], None),
        (ticket(1), [ticket(2, B, "pushed")], ticket(2, B, "pushed")),
        (ticket(1, A, "pushed"), [ticket(2, B)], None),
        (ticket(1, A, "pushed"), [ticket(2, B, "pushed")], None),
        (ticket(2), [ticket(1, B), ticket(2), ticket(3, C)], ticket(3, C)),
    ],
    ids=[
        "alone",
        "older",
        "newer",
        "the newest of two",
        "in any order",
        "the same revision",
        "the newest wants the same",
        "by a push",
        "a push, by a deploy",
        "a push, by a push: the branch says it",
        "itself among them",
    ],
)
def test_overtaken(mine: Ticket, others: list[Ticket], by: Ticket | None) -> None:
    assert queue.overtaken(mine, others) == by


@pytest.mark.parametrize(
    ("asked", "config", "wanted", "purpose"),
    [
        ({"op": "deploy"}, {}, "", "deploy"),
        ({"op": "deploy", "revision": A}, {}, A, "deploy of aaaaaaa"),
        ({"op": "deploy", "revision": "v1.4.2"}, {}, "v1.4.2", "deploy of v1.4.2"),
        ({"op": "deploy", "revision": A, "check": True}, {}, "", "check of aaaaaaa"),
        ({"op": "deploy"}, {"revision": "v1.4.2"}, "v1.4.2", "deploy"),
        ({"op": "deploy"}, {"repository": "https://git.example.com/shop.git"}, "main", "deploy"),
        ({"op": "deploy"}, {"repository": "https://git.example.com/shop.git", "revision": "v2"}, "v2", "deploy"),
        ({"op": "rollback", "revision": "20260301T120000-aaaaaaa"}, {}, "", "rollback of 20260301T120000-aaaaaaa"),
        ({"op": "rollback"}, {}, "", "rollback"),
        ({"op": "receive", "updates": MAIN}, {}, "", "the checks of a push of bbbbbbb"),
        ({"op": "pushed", "updates": MAIN}, {}, B, "push of bbbbbbb"),
        ({"op": "pushed", "updates": OTHER}, {}, "", "push"),
        ({"op": "pushed", "updates": DELETED}, {}, "", "push"),
    ],
)
def test_wanted_and_purpose(
    shop: Site, asked: dict[str, Any], config: dict[str, Any], wanted: str, purpose: str
) -> None:
    site = Site("shop", {**shop.config, **config})
    request = Request(site="shop", door="host", who="ada", **asked)
    assert queue.wanted(site, request) == wanted
    assert queue.purpose(site, request) == purpose


def test_ticket_in_words() -> None:
    assert str(ticket(1)) == "aaaaaaa of ada"
    assert str(ticket(1, "main")) == "main of ada"


# --- tickets as files -------------------------------------------------------------------------------


def stand(path: Path, revision: str, pipe: Connection) -> None:
    """Stand in the queue until told to go on."""
    with queue.ticket(path, "deploy", "bob", revision) as mine:
        pipe.send(mine.number if mine else None)
        pipe.recv()


Bob = tuple[multiprocessing.Process, Connection]


@pytest.fixture
def bob(tmp_path: Path) -> Iterator[Callable[[str], Bob]]:
    """Another process that stands in the queue."""
    started: list[Any] = []

    def start(revision: str) -> Bob:
        here, there = multiprocessing.Pipe()
        process: Any = multiprocessing.get_context("fork").Process(
            target=stand, args=(tmp_path / "queue", revision, there)
        )
        process.start()
        started.append(process)
        assert here.poll(10)
        here.recv()
        return process, here

    yield start
    for process in started:
        process.kill()
        process.join()


def test_tickets_are_numbered_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "queue"
    assert queue.waiting(path) == []
    with queue.ticket(path, "deploy", "ada", A) as first, queue.ticket(path, "pushed", "bob", B) as second:
        assert first and second and (first.number, second.number) == (1, 2)
        assert queue.waiting(path) == [first, second]
        assert second == Ticket(2, "pushed", "bob", B, os.getpid())
        assert queue.is_next(path, first) and not queue.is_next(path, second)
        assert queue.is_next(path, None), "whoever wants no revision does not wait for those who do"
    assert queue.waiting(path) == [] and list(path.iterdir()) == []


def test_nobody_stands_in_the_queue_who_wants_nothing(tmp_path: Path) -> None:
    with queue.ticket(tmp_path / "queue", "deploy", "ada", "") as mine:
        assert mine is None
    assert not (tmp_path / "queue").exists()


def test_ticket_is_given_back_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(KeyError), queue.ticket(tmp_path / "queue", "deploy", "ada", A):
        raise KeyError
    assert queue.waiting(tmp_path / "queue") == []


def test_whoever_comes_later_overtakes(tmp_path: Path, bob: Callable[[str], Bob]) -> None:
    path = tmp_path / "queue"
    with queue.ticket(path, "deploy", "ada", A) as mine:
        assert mine and queue.overtaken(mine, queue.waiting(path)) is None
        bob(B)
        newer = queue.overtaken(mine, queue.waiting(path))
        assert newer is not None and str(newer) == "bbbbbbb of bob"


def test_ticket_dies_with_its_process(tmp_path: Path, bob: Callable[[str], Bob]) -> None:
    path = tmp_path / "queue"
    first, _pipe = bob(B)
    with queue.ticket(path, "deploy", "ada", A) as mine:
        assert not queue.is_next(path, mine)
        second, _pipe = bob(C)
        assert mine and queue.overtaken(mine, queue.waiting(path))
        for process in (first, second):
            process.kill()
            process.join()
        assert queue.is_next(path, mine), "the dead before it hold nobody up"
        assert queue.overtaken(mine, queue.waiting(path)) is None, "the dead behind it suppress nobody"
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("where", ["mkdir", "write"])
def test_full_disk_leaves_the_lock_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(*_arguments: object, **_options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path if where == "mkdir" else os, where, full)
    with queue.ticket(tmp_path / "queue", "deploy", "ada", A) as mine:
        assert mine is None
    monkeypatch.undo()
    assert queue.waiting(tmp_path / "queue") == []


def test_unreadable_queue_is_told(tmp_path: Path) -> None:
    (tmp_path / "queue").write_text("a file")
    with pytest.raises(FileExistsError), queue.ticket(tmp_path / "queue", "deploy", "ada", A):
        pytest.fail("it cannot stand in a queue that is none")


def test_turns_are_in_the_order_of_arrival(tmp_path: Path) -> None:
    """Eight come one after the other while the lock is held; they get it in this order.

    Threads, because a forked process would inherit the lock that is held; to flock(2) it is all the same.
    """
    path, order = tmp_path / "queue", []

    def work(number: int) -> None:
        with (
            queue.ticket(path, "deploy", str(number), A) as mine,
            lock.site_lock(tmp_path / "lock", who="x", what="y", say=print, turn=lambda: queue.is_next(path, mine)),
        ):
            order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with lock.site_lock(tmp_path / "lock", who="x", what="y", say=print):
        for number, thread in enumerate(threads):
            thread.start()
            while len(queue.waiting(path)) <= number:
                time.sleep(0.01)
    for thread in threads:
        thread.join(120)
    assert order == list(range(8))
