# SPDX-License-Identifier: GPL-3.0-or-later
"""A caller and the deployer at the two ends of a real socket, with an operation that does as it is told."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import client, deploy, deployer, journald
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.journal import is_alive
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import RefUpdate
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

REPORTS = {"domains": ["shop.test"], "databases": {"reports": "external", "log": "external"}}


@pytest.mark.parametrize(
    ("written", "environment", "left", "told"),
    [
        pytest.param(True, "LOG_DATABASE_URL=mysql://h/x\n", ["log"], ["reports"], id="its variable comes with it"),
        pytest.param(True, "LOG_DATABASE_URL=x\nREPORTS_DATABASE_URL=x\n", ["log", "reports"], [], id="it is there"),
        pytest.param(False, "", ["log", "reports"], [], id="and it does not come: the check says so"),
    ],
)
def test_a_check_leaves_out_databases_nobody_can_reach_yet(
    shop: Site, progress: Progress, said: list[Event], written: bool, environment: str, left: list[str], told: list[str]
) -> None:
    shop.paths.env_file.parent.mkdir(parents=True)
    shop.paths.env_file.write_text(environment)
    changed = frozenset({str(shop.paths.env_file)} if written else ())
    found = deployer.foreseen(Site("shop", REPORTS, changed), progress)
    assert sorted(found.config["databases"]) == left
    assert [event["text"] for event in said] == [
        f"database {alias} is not looked at: {alias.upper()}_DATABASE_URL is written by the same run" for alias in told
    ]


DEPLOY = Request("deploy", "shop", "host", "ada")
Operation = Callable[[Site, Request, Progress], None]


def works(site: Site, request: Request, progress: Progress) -> None:
    progress.say("on it")
    with progress.phase("prove") as note:
        note.text = "200 on /"
    progress.emit({"event": "result", "ok": True, "changed": True, "message": "shop is live"})


class Deployers:
    """Deployers in threads, each with one connection; called with an operation it returns the caller's end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.threads: list[threading.Thread] = []
        self.callers: list[socket.socket] = []

    def __call__(self, operation: Operation) -> socket.socket:
        self.monkeypatch.setattr(deploy, "carry_out", operation)
        ours, theirs = socket.socketpair()

        def run() -> None:
            with theirs:
                deployer.serve(theirs)

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()
        self.callers.append(ours)
        return ours

    def end(self) -> None:
        """Wait until all have done their work: the caller has its result before the journal has."""
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture
def serve(shop: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployers]:
    monkeypatch.setattr(deployer, "load_site", lambda name: shop)
    monkeypatch.setattr(deployer, "peer_uid", lambda connection: 0)
    deployers = Deployers(monkeypatch)
    yield deployers
    for caller in deployers.callers:
        caller.close()
    deployers.end()


def test_a_push_of_too_many_refs_is_told(serve: Deployers) -> None:
    """The deployer reads no more than so much, and would hang up without a word."""
    updates = tuple(RefUpdate("0" * 40, "a" * 40, f"refs/tags/v{number}") for number in range(20_000))
    with pytest.raises(EngineError, match="20000 branches and tags are more than one push may hold") as error:
        list(client.ask(Request("receive", "shop", "push", "ada", updates=updates), serve(lambda *_words: None)))
    assert "in parts" in error.value.hint


def journal(site: Site) -> list[dict[str, Any]]:
    return [json.loads(line) for line in site.paths.journal.read_text().splitlines()]


def test_ask_yields_events_up_to_the_result(serve: Deployers) -> None:
    events = list(client.ask(DEPLOY, serve(works)))
    assert [event["event"] for event in events] == ["say", "phase", "phase", "result"]
    assert events[-1]["message"] == "shop is live"


def test_serve_writes_the_journal(serve: Deployers, shop: Site) -> None:
    list(client.ask(DEPLOY, serve(works)))
    serve.end()
    lines = journal(shop)
    assert [line["event"] for line in lines] == ["begin", "phase", "phase", "result"], "what is said is no history"
    assert len({line["id"] for line in lines}) == 1
    for line in lines:
        assert (line["site"], line["op"], line["door"], line["who"]) == ("shop", "deploy", "host", "ada")


def test_serve_writes_a_push_as_one_operation(serve: Deployers, shop: Site) -> None:
    update = RefUpdate("a" * 40, "b" * 40, "refs/heads/main")
    caller = serve(works)
    for op in ("receive", "pushed"):
        with caller.dup() as end:
            end.sendall(json.dumps(Request(op, "shop", "push", "ada", updates=(update,)).as_dict()).encode() + b"\n")
    caller.shutdown(socket.SHUT_WR)
    serve.end()
    lines = journal(shop)
    assert len({line["id"] for line in lines}) == 1
    assert [line["event"] for line in lines] == ["begin", "phase", "phase", "accepted", "phase", "phase", "result"]
    assert {line["op"] for line in lines} == {"push"}
    assert lines[0]["revision"] == "b" * 40
    assert is_alive(lines[0]["process"])


def test_serve_writes_no_journal_of_a_check(serve: Deployers, shop: Site) -> None:
    list(client.ask(Request("deploy", "shop", "host", "ada", check=True), serve(works)))
    serve.end()
    assert not shop.paths.journal.exists()


def test_serve_goes_on_when_the_caller_has_gone(serve: Deployers, shop: Site) -> None:
    ended, gone = threading.Event(), threading.Event()

    def takes_long(site: Site, request: Request, progress: Progress) -> None:
        gone.wait(60)
        for number in range(100):
            progress.say(f"line {number}")
        works(site, request, progress)
        ended.set()

    caller = serve(takes_long)
    caller.sendall(json.dumps(DEPLOY.as_dict()).encode() + b"\n")
    caller.close()
    gone.set()
    assert ended.wait(60)
    serve.end()
    assert journal(shop)[-1]["message"] == "shop is live"


@pytest.mark.parametrize(
    ("error", "message", "hint", "detail"),
    [
        pytest.param(EngineError("no", "mend it", "a log"), "no", "mend it", "a log", id="said_on_purpose"),
        pytest.param(OSError(errno.ENOSPC, "full", "/srv/x"), "the disk is full (/srv/x)", "df", "Error", id="full"),
        pytest.param(
            KeyError("health"), "djdeploy itself failed: KeyError: 'health'", "a defect", "Traceback", id="defect"
        ),
    ],
)  # fmt: skip
def test_serve_always_answers(
    serve: Deployers, shop: Site, error: Exception, message: str, hint: str, detail: str
) -> None:
    def fails(site: Site, request: Request, progress: Progress) -> None:
        raise error

    (event,) = client.ask(DEPLOY, serve(fails))
    assert (event["ok"], event["changed"], event["site"]) == (False, False, "shop")
    assert event["message"] == message
    assert hint in event["hint"]
    assert detail in event["detail"]
    serve.end()
    assert journal(shop)[-1]["message"] == message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param(b"not json\n", "djdeploy itself failed", id="no_json"),
        pytest.param(b"[]\n", "djdeploy itself failed", id="no_mapping"),
        pytest.param(b'{"op": "destroy", "site": "shop"}\n', "does not understand this request", id="unknown"),
        pytest.param(b'{"op": "deploy", "site": "shop"}\n', "djdeploy itself failed", id="without_door_and_who"),
        pytest.param(b'{"op": "deploy"' + b" " * (1 << 20) + b"}\n", "djdeploy itself failed", id="endless"),
    ],
)
def test_serve_of_what_is_no_request(serve: Deployers, line: bytes, says: str) -> None:
    caller = serve(lambda site, request, progress: pytest.fail("carried out"))
    threading.Thread(target=lambda: send(caller, line), daemon=True).start()
    event = json.loads(caller.makefile().readline())
    assert not event["ok"]
    assert says in event["message"]
    serve.end()


def send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        pass  # it reads only so much


def test_serve_of_a_connection_that_asks_for_nothing(serve: Deployers) -> None:
    caller = serve(lambda site, request, progress: pytest.fail("carried out"))
    caller.shutdown(socket.SHUT_WR)
    assert caller.recv(100) == b""


@pytest.mark.parametrize(
    ("op", "ok", "open_after"),
    [("receive", True, True), ("receive", False, False), ("pushed", True, False), ("deploy", True, False)],
)
def test_serve_waits_for_another_request_only_after_a_push_was_let_in(
    serve: Deployers, op: str, ok: bool, open_after: bool
) -> None:
    def operation(site: Site, request: Request, progress: Progress) -> None:
        if not ok:
            raise EngineError("no", "mend it")
        works(site, request, progress)

    caller = serve(operation)
    for number in (1, 2):
        with caller.dup() as end:  # asking closes its end, as a hook that ends does
            events = list(client.ask(Request(op, "shop", "push", "ada"), end))
        assert events[-1]["ok"] is ok, number
        if not open_after:
            break
    else:
        caller.shutdown(socket.SHUT_WR)
    serve.end()


@pytest.mark.parametrize(
    ("said", "closed", "ended"),
    [
        pytest.param(b"", False, False, id="waits"),
        pytest.param(b"x", True, False, id="has_something_to_say"),
        pytest.param(b"", True, True, id="gone"),
    ],
)
def test_has_ended(said: bytes, closed: bool, ended: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        if closed:
            theirs.close()
        assert client.has_ended(ours) is ended


def test_serve_believes_the_kernel_about_who_asks(serve: Deployers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployer, "peer_uid", lambda connection: 54321)
    (event,) = client.ask(DEPLOY, serve(lambda site, request, progress: pytest.fail("carried out")))
    assert event["message"] == "user id 54321 may not ask for 'deploy'"


def test_peer_uid_of_a_real_connection() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert deployer.peer_uid(ours) == os.geteuid()


def test_serve_checks_a_configuration_that_is_to_come(serve: Deployers, shop: Site) -> None:
    seen: list[Site] = []

    def looks(site: Site, request: Request, progress: Progress) -> None:
        seen.append(site)
        works(site, request, progress)

    config = {**shop.config, "branch": "next"}
    check = Request("deploy", "shop", "ansible", "ada", check=True, config=config, changed_files=("/etc/x",))
    list(client.ask(check, serve(looks)))
    no_check = Request("deploy", "shop", "ansible", "ada", config=config)
    list(client.ask(no_check, serve(looks)))
    assert [site.branch for site in seen] == ["next", "main"], "what is done is done by what is on the host"
    assert seen[0].changed_files == {"/etc/x"}


# --- the caller's side ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="at_once"),
        pytest.param(b'{"event": "say", "text": "on it"}\n', id="after_some_words"),
        pytest.param(b'{"event": "say", "text": "on it"}\n{"event": "res', id="in_the_middle_of_a_line"),
    ],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_ask_of_a_deployer_that_dies(answer: bytes, reset: bool) -> None:
    ours, theirs = socket.socketpair()

    def dies() -> None:
        if not reset:  # what was sent and never read makes the kernel reset the connection
            theirs.makefile().readline()
        theirs.sendall(answer)
        theirs.close()

    thread = threading.Thread(target=dies)
    if reset:
        dies()
    else:
        thread.start()
    events: list[Event] = []
    with pytest.raises(EngineError, match="the deployer stopped before it had a result") as raised:
        events.extend(client.ask(DEPLOY, ours))
    assert "djdeploy status shop" in raised.value.hint
    if not reset:
        thread.join(60)


@pytest.mark.parametrize("exists", [pytest.param(False, id="no_socket"), pytest.param(True, id="nobody_listens")])
def test_ask_when_nobody_answers(short_directory: Path, exists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = short_directory / "deployer.sock"
    if exists:
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(str(path))
    monkeypatch.setattr(client.connect, "__defaults__", (path,))
    with pytest.raises(EngineError, match="the deployer does not answer") as raised:
        list(client.ask(DEPLOY))
    assert "systemctl status djdeploy-deployer.socket" in raised.value.hint


def test_ask_by_somebody_who_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(socket.socket):
        def connect(self, address: Any) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(client.socket, "socket", Closed)
    with pytest.raises(EngineError, match="only root may ask the deployer"):
        list(client.ask(DEPLOY))


@pytest.mark.parametrize(
    ("uid", "name"), [(0, "djdeploy-deployer"), (998, "djdeploy-deployer.push")], ids=["root", "git"]
)
def test_root_has_a_socket_of_its_own(uid: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, unit = client.own_socket(uid)
    assert (unit, path == client.DEPLOYER_SOCKET) == (name, uid == 0)
    monkeypatch.setattr(client.os, "geteuid", lambda: uid)
    ours, theirs = socket.socketpair()
    theirs.close()  # as systemd does when there is no place
    with pytest.raises(EngineError, match="before it had a result") as raised:
        list(client.ask(DEPLOY, ours))
    assert f"{name}.socket" in raised.value.hint and "MaxConnections" in raised.value.hint


def test_nobody_is_told_a_secret_of_the_site(serve: Deployers, shop: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked, the journal of the site and the system's: whatever an operation says, and whatever it dies of."""
    shop.paths.env_file.parent.mkdir(parents=True, exist_ok=True)
    shop.paths.config.write_text(json.dumps({"secret_names": {"secrets": ["COLOUR"]}}))
    shop.paths.env_file.write_text("COLOUR=\"canary-$1-'quoted'\"\n".replace("$", "\\$"))
    (value,) = shop.environment().values()
    told: list[dict[str, str]] = []
    monkeypatch.setattr(journald, "send", lambda fields: bool(told.append(dict(fields))) or True)

    def dies(site: Site, request: Request, progress: Progress) -> None:
        progress.say(f"starting with {value}")
        progress.release("1-abc", "a" * 40, value)
        with progress.phase("prove") as note:
            note.text = repr(value)
            raise EngineError(f"it ended: {value}", f"see {value!r}", json.dumps({"environ": value}))

    events = list(client.ask(DEPLOY, serve(dies)))
    serve.end()
    assert events[-1]["message"] == "it ended: ********"
    assert events[-1]["detail"] == '{"environ": "********"}'
    assert "canary" not in json.dumps(events) + json.dumps(told) + shop.paths.journal.read_text()
    assert any("it ended: ********" in fields["MESSAGE"] for fields in told)
