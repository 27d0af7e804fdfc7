# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a release whether it serves: real HTTP over real sockets, answered by a script of behaviours."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import health
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import ReleasePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.units import UnitState

RELEASE_ID = "20260301T120000-abcdef0"
HEALTH = {"path": "/", "statuses": None, "timeout": 5}
STARTING = UnitState("activating", "start", 0, "success")
RUNNING = UnitState("active", "running", 0, "success")
FAILED = UnitState("failed", "failed", 0, "exit-code")
RESTARTED = UnitState("active", "running", 2, "success")
WAITING = UnitState("activating", "auto-restart", 0, "exit-code")


class Application:
    """Answers each connection by the next word of its script, and by the last one for ever.

    A number is the status to answer, `hang` never answers, `close` hangs up, `noise` is not HTTP and
    `slow` answers 200 after 1.1 s.
    """

    def __init__(self, listener: socket.socket, script: tuple[int | str, ...]) -> None:
        self.listener, self.script = listener, script
        self.requests: list[str] = []
        self.kept: list[socket.socket] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        self.listener.settimeout(0.02)
        while not self.ended.is_set():
            try:
                connection, _address = self.listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(2)
            word = self.script[min(len(self.requests), len(self.script) - 1)]
            self.requests.append(connection.recv(65536).decode())
            if word == "hang":
                self.kept.append(connection)
                continue
            with connection:
                if word == "slow":
                    self.ended.wait(1.1)
                if word == "noise":
                    connection.sendall(b"SSH-2.0-nonsense\r\n")
                elif word != "close":
                    status = 200 if word == "slow" else word
                    try:
                        connection.sendall(f"HTTP/1.1 {status} Said\r\nContent-Length: 5\r\n\r\nhello".encode())
                    except OSError:
                        pass  # whoever asked did not wait

    def end(self) -> None:
        self.ended.set()
        self.thread.join(5)
        for connection in (*self.kept, self.listener):
            connection.close()


Serve = Callable[..., Application]


@pytest.fixture
def release(host: Path) -> ReleasePaths:
    return ReleasePaths("shop", RELEASE_ID)


@pytest.fixture
def serve(release: ReleasePaths) -> Iterator[Serve]:
    """Start an application on the socket of the release, or on a port of this host."""
    started = []

    def start(*script: int | str, tcp: bool = False) -> Application:
        listener = socket.socket(socket.AF_INET if tcp else socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0) if tcp else str(release.socket))
        listener.listen()
        started.append(Application(listener, script))
        return started[-1]

    yield start
    for application in started:
        application.end()


def prove(release: ReleasePaths, *states: UnitState, **settings: Any) -> str:
    """Ask; the unit goes through `states` and stays in the last one."""
    asked: list[str] = []

    def unit_state(unit: str) -> UnitState:
        asked.append(unit)
        assert unit == f"djdeploy-shop@{RELEASE_ID}.service"
        return states[min(len(asked), len(states)) - 1]

    return health.prove(
        release,
        "shop.example.com",
        {**HEALTH, **settings},
        unit_state=unit_state,
        journal=lambda unit: f"last words of {unit}",
    )


# --- which answers are healthy --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "statuses", "healthy"),
    [
        (200, None, True),
        (204, None, True),
        (302, None, True),
        (399, None, True),
        (401, None, True),
        (403, None, True),
        (404, None, True),
        (405, None, True),
        (400, None, False),  # what Django says to a host that ALLOWED_HOSTS lacks
        (402, None, False),
        (410, None, False),
        (100, None, False),
        (500, None, False),
        (502, None, False),
        (503, None, False),
        (None, None, False),
        (200, [200], True),
        (302, [200], False),
        (404, [200, 204], False),
        (503, [200, 503], True),
        (None, [200], False),
        (200, [], False),
    ],
)
def test_is_healthy(status: int | None, statuses: list[int] | None, healthy: bool) -> None:
    assert health.is_healthy(status, statuses) is healthy


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (health.Answer(404, body="gone"), "404"),
        (health.Answer(None, "no answer in time"), "no answer in time"),
    ],
    ids=["status", "error"],
)
def test_answer_as_text(answer: health.Answer, text: str) -> None:
    assert str(answer) == text


# --- one question ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status", "error"),
    [
        (200, 200, ""),
        (500, 500, ""),
        ("hang", None, "no answer in time"),
        ("close", None, "RemoteDisconnected: "),
        ("noise", None, "BadStatusLine: "),
    ],
)
def test_ask_answers_in_words(
    release: ReleasePaths, serve: Serve, word: int | str, status: int | None, error: str
) -> None:
    serve(word)
    answer = health.ask(health.UnixConnection(release.socket, 0.2), "/", "shop.example.com")
    assert (answer.status, answer.body) == (status, "hello" if status else "")
    assert answer.error.startswith(error) and bool(answer.error) == bool(error)


@pytest.mark.parametrize("kind", ["no socket", "nobody behind it"])
def test_ask_nobody_listens(release: ReleasePaths, kind: str) -> None:
    if kind == "nobody behind it":
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(release.socket))
    answer = health.ask(health.UnixConnection(release.socket, 1), "/", "shop.example.com")
    assert answer.status is None
    assert answer.error.startswith(
        {"no socket": "FileNotFoundError", "nobody behind it": "ConnectionRefusedError"}[kind]
    )


@pytest.mark.parametrize(("https", "scheme"), [(False, "http"), (True, "https")])
def test_ask_as_a_browser_through_nginx(release: ReleasePaths, serve: Serve, https: bool, scheme: str) -> None:
    application = serve(200)
    health.ask(health.UnixConnection(release.socket, 1), "/health/?full=1", "shop.example.com", https=https)
    first, *headers = application.requests[0].split("\r\n")
    assert first == "GET /health/?full=1 HTTP/1.1"
    assert "Host: shop.example.com" in headers
    assert [line for line in headers if line.startswith("Host:")] == ["Host: shop.example.com"]
    assert f"X-Forwarded-Proto: {scheme}" in headers
    assert "X-Forwarded-For: 127.0.0.1" in headers


# --- proving a release ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "settings", "told", "questions"),
    [
        ((200,), {}, "200 on /", 1),
        ((302,), {"path": "/shop/"}, "302 on /shop/", 1),
        ((404,), {}, "404 on /", 1),
        ((204,), {"statuses": [204]}, "204 on /", 1),
        ((503, 503, 200), {}, "200 on /", 3),
        ((503,), {"statuses": [503]}, "503 on /", 1),
        (("close", 200), {}, "200 on /", 2),
        (("noise", 200), {}, "200 on /", 2),
        (("slow",), {}, "200 on /", 2),
    ],
    ids=["200", "redirect", "no page at /", "own status", "warms up", "wants 503", "hangs up once", "noise", "slow"],
)
def test_prove_healthy(
    release: ReleasePaths,
    serve: Serve,
    script: tuple[int | str, ...],
    settings: dict[str, Any],
    told: str,
    questions: int,
) -> None:
    application = serve(*script)
    assert prove(release, STARTING, RUNNING, **settings) == told
    assert len(application.requests) == questions
    assert "Host: shop.example.com\r\n" in application.requests[0]


@pytest.mark.parametrize(
    ("script", "settings", "message", "least"),
    [
        ((500, 200), {}, "it answers 500 on /", 0),
        ((400, 200), {}, "it answers 400 on /", 0),
        ((302, 200), {"statuses": [200]}, "it answers 302 on /", 0),
        ((503,), {"timeout": 0.3}, "it answers 503 on /", 0.3),
        (("hang",), {"timeout": 0.3}, "it did not answer / within 0.3 s (no answer in time)", 0.3),
        (("close",), {"timeout": 0.3}, "it did not answer / within 0.3 s (RemoteDisconnected", 0.3),
        ((), {"timeout": 0.3}, "it did not answer / within 0.3 s (FileNotFoundError", 0.3),
        ((200,), {"timeout": 0}, "it did not answer / within 0 s (no answer in time)", 0),
    ],
    ids=["500", "400", "status not wanted", "503 to the end", "hangs", "hangs up", "no socket", "no time"],
)
def test_prove_not_healthy(
    release: ReleasePaths,
    serve: Serve,
    script: tuple[int | str, ...],
    settings: dict[str, Any],
    message: str,
    least: float,
) -> None:
    if script:
        serve(*script)
    began = time.monotonic()
    with pytest.raises(EngineError) as raised:
        prove(release, RUNNING, **settings)
    assert least <= time.monotonic() - began < least + 1, "at once where waiting cannot help"
    assert raised.value.message.startswith(message)
    assert raised.value.hint == f"health.path is /; see: journalctl -u djdeploy-shop@{RELEASE_ID}.service"
    assert raised.value.detail == f"last words of djdeploy-shop@{RELEASE_ID}.service"


@pytest.mark.parametrize(
    ("script", "states"),
    [
        (("hang",), (FAILED,)),
        ((), (FAILED,)),
        (("close",), (STARTING, STARTING, RESTARTED)),
        ((503,), (STARTING, WAITING)),
    ],
    ids=["systemd holds the socket", "no socket", "died and was restarted", "dies while it warms up"],
)
def test_prove_dead_unit_is_noticed_early(
    release: ReleasePaths, serve: Serve, script: tuple[int | str, ...], states: tuple[UnitState, ...]
) -> None:
    if script:
        serve(*script)
    began = time.monotonic()
    with pytest.raises(EngineError) as raised:
        prove(release, *states, timeout=60)
    assert time.monotonic() - began < 3
    assert raised.value.message == "its processes died while starting"
    assert raised.value.detail == f"last words of djdeploy-shop@{RELEASE_ID}.service"


@pytest.mark.parametrize(
    ("state", "journal", "ran_out"),
    [
        (UnitState("failed", "failed", 0, "oom-kill"), "", True),
        (UnitState("active", "running", 0, "success"), "Worker (pid:7) was sent SIGKILL! Perhaps out of memory?", True),
        (
            UnitState("active", "running", 0, "success"),
            "A process of this unit has been killed by the OOM killer.",
            True,
        ),
        (UnitState("failed", "failed", 1, "exit-code"), "ImportError: no module named 'memory'", False),
    ],
    ids=["systemd", "gunicorn", "systemd goes on", "another cause"],
)
def test_out_of_memory(state: UnitState, journal: str, ran_out: bool) -> None:
    assert health.out_of_memory(state, journal) == ran_out


def test_prove_names_want_of_memory(release: ReleasePaths, serve: Serve) -> None:
    serve("hang")
    with pytest.raises(EngineError, match="it ran out of memory while starting") as raised:
        health.prove(
            release,
            "shop.example.com",
            {"path": "/", "statuses": None, "timeout": 60},
            unit_state=lambda unit: RUNNING,
            journal=lambda unit: "[ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?",
        )
    assert "web.memory_max" in raised.value.hint


# --- through nginx --------------------------------------------------------------------------------


def test_through_nginx_healthy(serve: Serve) -> None:
    application = serve(301, tcp=True)
    port = application.listener.getsockname()[1]
    assert health.through_nginx("shop.example.com", {**HEALTH, "path": "/up"}, port=port) == "301 from nginx"
    assert application.requests[0].startswith("GET /up HTTP/1.1\r\n")
    assert "\r\nHost: shop.example.com\r\n" in application.requests[0]


@pytest.mark.parametrize(
    ("word", "statuses", "message"),
    [
        (502, None, "nginx answers 502 for shop.example.com/"),
        (301, [200], "nginx answers 301 for shop.example.com/"),
        ("close", None, "nginx answers RemoteDisconnected: "),
    ],
)
def test_through_nginx_not_healthy(serve: Serve, word: int | str, statuses: list[int] | None, message: str) -> None:
    port = serve(word, tcp=True).listener.getsockname()[1]
    with pytest.raises(EngineError) as raised:
        health.through_nginx("shop.example.com", {**HEALTH, "statuses": statuses}, port=port)
    assert raised.value.message.startswith(message)
    assert raised.value.hint == "see: journalctl -u nginx; nginx -t"


def test_through_nginx_not_running() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take the port meanwhile
        with pytest.raises(EngineError, match="nginx does not run") as raised:
            health.through_nginx("shop.example.com", HEALTH, port=unused.getsockname()[1])
    assert raised.value.hint.startswith("nginx -t && systemctl start nginx")
