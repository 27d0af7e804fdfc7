# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a release whether it serves: real HTTP over real sockets, answered by a script of behaviours."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import health, schema
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import ReleasePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.engine.units import UnitState

RELEASE_ID = "20260301T120000-abcdef0"
HEALTH: dict[str, Any] = {"path": "/", "statuses": None, "timeout": 5, "prove_for": 0}
STARTING = UnitState("activating", "start", 0, "success")
RUNNING = UnitState("active", "running", 0, "success")
FAILED = UnitState("failed", "failed", 0, "exit-code")
RESTARTED = UnitState("active", "running", 2, "success")
WAITING = UnitState("activating", "auto-restart", 0, "exit-code")
GONE = UnitState("inactive", "dead", 0, "success")
ENDING = UnitState("deactivating", "stop-sigterm", 0, "signal")
KILLED = UnitState("failed", "failed", 0, "oom-kill")


def look(state: UnitState = RUNNING, *workers: int, master: int = 7, oom_kills: int | None = 0) -> health.Look:
    return health.Look(state, master, frozenset(workers), oom_kills)


UP = look(RUNNING, 11, 12)
LONG = 60.0  # seconds for what happens at once on any machine that is not busy


# What an application sends first, what then, how often, and after how many seconds each time.
PAGES = {
    "drip": (b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n", b"x", 4000, 0.02),
    "drip head": (b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n", 4000, 0.02),
    "cut": (b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\nhello", b"", 0, 0.0),
    "endless": (b"HTTP/1.1 200 OK\r\n\r\nhello", b"more" * 4096, 4000, 0.0),
}


class Application:
    """Answers each connection by the next word of its script, and by the last one for ever.

    A number is the status to answer, `hang` never answers, `close` hangs up, `noise` is not HTTP, `drip` answers
    200 and then a byte now and then, `cut` ends in the middle of its page, `endless` never ends it and `slow`
    answers 200 after 1.1 s.
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
            connection.settimeout(LONG)
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
                elif word in PAGES:
                    self.send(connection, *PAGES[word])
                elif word != "close":
                    status = 200 if word == "slow" else word
                    try:
                        connection.sendall(f"HTTP/1.1 {status} Said\r\nContent-Length: 5\r\n\r\nhello".encode())
                    except OSError:
                        pass  # whoever asked did not wait

    def send(self, connection: socket.socket, head: bytes, more: bytes, times: int, pause: float) -> None:
        try:
            connection.sendall(head)
            for _time in range(times):
                if self.ended.wait(pause):
                    return
                connection.sendall(more)
        except OSError:
            pass  # whoever asked did not wait

    def end(self) -> None:
        self.ended.set()
        self.thread.join(LONG)
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


@dataclass
class World:
    """A release and the time, played: questions take time and find what the script says of that moment.

    :param answers: the answers in turn, the last one for ever: a status, or the name of an error. `wait` is no
        answer in time, `hang` none while others could look at the processes again and again, and `slow` is 200
        after a while.
    :param looks: seconds -> what the processes are from then on.
    """

    answers: tuple[int | str, ...] = (200,)
    looks: dict[float, health.Look] = field(default_factory=lambda: {0.0: UP})
    journal: str = ""
    slow: float = 0.0
    time: float = 0.0
    asked: list[tuple[Path | int, float]] = field(default_factory=list)
    read: int = 0

    def ask(
        self, address: Path | int, path: str, host: str, *, seconds: float, meanwhile: Callable[[], None]
    ) -> health.Answer:
        assert (path, host) == ("/", "shop.example.com")
        word = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append((address, round(self.time, 2)))
        if word == "hang":
            end = self.time + seconds
            while self.time < end:
                self.sleep(health.TICK)
                meanwhile()
            return health.Answer(None, health.NO_ANSWER)
        if word == "slow":
            if self.slow > seconds:
                return health.Answer(None, health.NO_ANSWER)
            self.sleep(self.slow)
            return health.Answer(200)
        return health.Answer(word) if isinstance(word, int) else health.Answer(None, word)

    def look(self, unit: str) -> health.Look:
        assert unit == f"djdeploy-shop@{RELEASE_ID}.service"
        return self.looks[max(moment for moment in self.looks if moment <= self.time + 0.001)]

    def runs(self, unit: str, pid: int) -> bool:
        return self.look(unit).master == pid != 0 and self.look(unit).state.active == "active"

    def said(self, unit: str) -> str:
        self.read += 1
        return self.journal

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    @property
    def senses(self) -> health.Senses:
        return health.Senses(self.ask, self.look, self.said, lambda: self.time, self.sleep, self.runs)

    def prove(self, release: ReleasePaths, **settings: Any) -> str:
        return health.prove(release, "shop.example.com", {**HEALTH, **settings}, senses=self.senses)

    def watch(self, release: ReleasePaths, seconds: float = 10) -> str:
        return health.watch(release, "shop.example.com", HEALTH, seconds, senses=self.senses)


@dataclass
class Clock:
    """The time of a question to a real socket, played: on a busy machine an answer may take as long as it likes.

    :param silent: whether no answer is expected; a question takes the time it is given then, on this clock, too.
    """

    silent: bool = False
    now: float = 0.0

    def ask(
        self, address: Path | int, path: str, host: str, *, seconds: float, meanwhile: Callable[[], None]
    ) -> health.Answer:
        answer = health.ask(address, path, host, seconds=seconds if self.silent else LONG, meanwhile=meanwhile)
        self.now += seconds if self.silent else 0
        return answer

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def prove(self, release: ReleasePaths, **settings: Any) -> str:
        """Ask a real socket, whose unit is well."""
        journal = "last words of {}".format
        senses = health.Senses(self.ask, lambda unit: UP, journal, lambda: self.now, self.sleep, lambda *_words: True)
        return health.prove(release, "shop.example.com", {**HEALTH, **settings}, senses=senses)


@pytest.mark.parametrize(
    ("group", "state", "expected"),
    [
        ("0::/djdeploy.slice/djdeploy-shop.slice/djdeploy-shop@1.service", "S", True),
        ("0::/djdeploy.slice/djdeploy-shop.slice/djdeploy-shop@1.service", "Z", False),
        ("0::/djdeploy.slice/djdeploy-shop.slice/djdeploy-shop@2.service", "R", False),
    ],
    ids=["runs", "ended", "another's by now"],
)
def test_runs(tmp_path: Path, group: str, state: str, expected: bool) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/cgroup").write_text(f"{group}\n")
    (tmp_path / "7/stat").write_text(f"7 (gunicorn: (x) 1) {state} 1 7 7 0")
    assert health.runs("djdeploy-shop@1.service", 7, tmp_path) is expected
    assert not health.runs("djdeploy-shop@1.service", 8, tmp_path)


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
        ("cut", None, "IncompleteRead"),
        ("drip", None, "no answer in time"),
        ("drip head", None, "no answer in time"),
    ],
)
def test_ask_answers_in_words(
    release: ReleasePaths, serve: Serve, word: int | str, status: int | None, error: str
) -> None:
    serve(word)
    answer = health.ask(release.socket, "/", "shop.example.com", seconds=0.3 if error == "no answer in time" else LONG)
    assert (answer.status, answer.body) == (status, "hello" if status else "")
    assert answer.error.startswith(error) and bool(answer.error) == bool(error)


def test_ask_bounds_the_whole_of_an_answer(release: ReleasePaths, serve: Serve) -> None:
    serve("drip")
    began = time.monotonic()
    assert health.ask(release.socket, "/", "shop.example.com", seconds=0.5).error == "no answer in time"
    assert time.monotonic() - began < LONG, "4000 bytes, one at a time, take 80 s"


def test_ask_takes_the_beginning_of_a_page_without_end(release: ReleasePaths, serve: Serve) -> None:
    serve("endless")
    answer = health.ask(release.socket, "/", "shop.example.com", seconds=LONG)
    assert answer.status == 200 and len(answer.body) == 4000


@pytest.mark.parametrize("word", ["hang", "drip"])
def test_ask_lets_others_look_while_it_waits(release: ReleasePaths, serve: Serve, word: str) -> None:
    serve(word)
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 2:
            raise EngineError("its processes died")

    with pytest.raises(EngineError, match="its processes died"):
        health.ask(release.socket, "/", "shop.example.com", seconds=LONG, meanwhile=look)


@pytest.mark.parametrize("kind", ["no socket", "nobody behind it"])
def test_ask_nobody_listens(release: ReleasePaths, kind: str) -> None:
    if kind == "nobody behind it":
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(str(release.socket))
    answer = health.ask(release.socket, "/", "shop.example.com", seconds=LONG)
    assert answer.status is None
    assert answer.error.startswith(
        {"no socket": "FileNotFoundError", "nobody behind it": "ConnectionRefusedError"}[kind]
    )


@pytest.mark.parametrize(("https", "scheme"), [(False, "http"), (True, "https")])
def test_ask_as_a_browser_through_nginx(release: ReleasePaths, serve: Serve, https: bool, scheme: str) -> None:
    application = serve(200)
    health.ask(release.socket, "/health/?full=1", "shop.example.com", seconds=1, https=https)
    first, *headers = application.requests[0].split("\r\n")
    assert first == "GET /health/?full=1 HTTP/1.1"
    assert "Host: shop.example.com" in headers
    assert [line for line in headers if line.startswith("Host:")] == ["Host: shop.example.com"]
    assert f"X-Forwarded-Proto: {scheme}" in headers
    assert "X-Forwarded-For: 127.0.0.1" in headers


# --- the processes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        ("low 0\nhigh 0\nmax 31\noom 2\noom_kill 3\noom_group_kill 0\n", 3),
        ("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n", 0),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
        ("", None),
    ],
    ids=["three", "none", "the older form", "nobody counts"],
)
def test_parse_oom_kills(text: str, kills: int | None) -> None:
    assert health.parse_oom_kills(text) == kills


@pytest.mark.parametrize(
    ("names", "children", "found"),
    [
        ({7: "gunicorn", 11: "gunicorn", 12: "gunicorn"}, "11 12", {11, 12}),
        ({7: "gunicorn: maste", 11: "gunicorn: worke", 12: "node"}, "11 12", {11}),
        ({7: "gunicorn", 11: "gunicorn"}, "11 12", {11}),
        ({7: "gunicorn"}, "", set()),
        ({}, None, set()),
    ],
    ids=["workers", "another child", "one that ended", "not yet", "no master"],
)
def test_workers(tmp_path: Path, names: dict[int, str], children: str | None, found: set[int]) -> None:
    for pid, name in names.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text(f"python\0/venv/bin/{name}\0")
        (tmp_path / str(pid) / "comm").write_text(f"{name}\n")
    if children is not None:
        (tmp_path / "7/task/7").mkdir(parents=True)
        (tmp_path / "7/task/7/children").write_text(children)
    assert health.workers(7, tmp_path) == found


@pytest.mark.parametrize(
    ("before", "now", "gone"),
    [
        (look(RUNNING, 11, 12), look(RUNNING, 11, 12), set()),
        (look(RUNNING, 11), look(RUNNING, 11, 12), set()),
        (look(RUNNING, 11, 12), look(RUNNING, 12, 13), {11}),
        (look(RUNNING, 11, 12), look(RUNNING), {11, 12}),
        (look(RUNNING, 11, 12), look(RUNNING, 21, 22, master=8), set()),
    ],
    ids=["all there", "one more", "one is another", "none left", "another master"],
)
def test_ended_workers(before: health.Look, now: health.Look, gone: set[int]) -> None:
    assert health.ended_workers(before, now) == gone


@pytest.mark.parametrize(
    ("journal", "cause"),
    [
        (
            'Traceback (most recent call last):\n  File "wsgi.py", line 3, in <module>\n    import colours\n'
            "ModuleNotFoundError: No module named 'colours'\n[7] [ERROR] Reason: Worker failed to boot.",
            "ModuleNotFoundError: No module named 'colours'",
        ),
        (
            "ValueError: first\n\nDuring handling of the above exception, another exception occurred:\n"
            "django.core.exceptions.ImproperlyConfigured: no COLOUR",
            "django.core.exceptions.ImproperlyConfigured: no COLOUR",
        ),
        ("KeyError: 'COLOUR'", "KeyError: 'COLOUR'"),
        ("SystemExit", "SystemExit"),
        ("django.db.utils.OperationalError: no\n  hint of it", "django.db.utils.OperationalError: no"),
        ("The Error is somewhere: else", ""),
        ("[7] [ERROR] Exception in worker process", ""),
        ("", ""),
    ],
    ids=["import", "the last of two", "variable", "bare name", "first line", "a sentence", "log line", "nothing"],
)
def test_last_cause(journal: str, cause: str) -> None:
    assert health.last_cause(journal) == cause


@pytest.mark.parametrize(
    ("first", "now", "journal", "ran_out"),
    [
        (UP, look(KILLED), "", True),
        (UP, look(RUNNING, 11, 13, oom_kills=1), "", True),
        (look(RUNNING, 11, 12, oom_kills=1), look(RUNNING, 11, 13, oom_kills=1), "", False),
        (UP, look(RUNNING, 11, 13), "Worker (pid:12) was sent SIGKILL! Perhaps out of memory?", False),
        (
            look(RUNNING, 11, 12, oom_kills=None),
            look(RUNNING, 11, 13, oom_kills=None),
            "Worker (pid:12) was sent SIGKILL! Perhaps out of memory?",
            True,
        ),
        (UP, look(RESTARTED, master=8), "A process of this unit has been killed by the OOM killer.", True),
        (UP, look(FAILED, master=0), "ImportError: no module named 'memory'", False),
    ],
    ids=["systemd", "counted", "earlier", "killed by hand", "gunicorn", "started anew", "another cause"],
)
def test_out_of_memory(first: health.Look, now: health.Look, journal: str, ran_out: bool) -> None:
    assert health.out_of_memory(first, now, journal) == ran_out


@pytest.mark.parametrize(
    ("first", "now", "died", "bearable", "wrong"),
    [
        (UP, UP, (), 0, ""),
        (look(STARTING, master=0), UP, (), 2, ""),
        (UP, look(FAILED, master=0), (), 2, "its processes died"),
        (UP, look(WAITING, master=0), (), 2, "its processes died"),
        (UP, look(RESTARTED, 21, 22, master=8), (), 2, "its processes died"),
        (UP, look(RUNNING, 21, 22, master=8), (), 2, "its processes died"),
        (look(RESTARTED, 11, 12), look(RESTARTED, 11, 12), (), 0, ""),
        (UP, look(RUNNING, 11, 13), (12,), 2, ""),
        (UP, look(RUNNING, 11, 15), (12, 13, 14), 2, "its workers die again and again"),
        (UP, look(RUNNING, 11, 13), (12,), 0, "one of its workers died"),
        (UP, look(RUNNING, 11, 13, oom_kills=1), (12,), 2, "it ran out of memory"),
        (UP, look(KILLED, master=0), (), 0, "it ran out of memory"),
        (UP, look(GONE, master=0), (), 0, "somebody stopped it"),
        (look(GONE, master=0), look(GONE, master=0), (), 0, ""),
        (UP, look(ENDING, master=0), (), 2, "its processes died"),
    ],
    ids=[
        "well",
        "came up",
        "failed",
        "waits to be started again",
        "was started again",
        "another master",
        "restarts of old",
        "bearable",
        "again and again",
        "one too many",
        "worker out of memory",
        "all out of memory",
        "stopped",
        "not started yet",
        "workers without a server",
    ],
)
def test_trouble(first: health.Look, now: health.Look, died: tuple[int, ...], bearable: int, wrong: str) -> None:
    assert health.trouble(first, now, frozenset(died), "", bearable=bearable) == wrong


def test_look_reads_systemd_and_the_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "ActiveState=active\nSubState=running\nNRestarts=0\nResult=success\nMainPID=7\nControlGroup=/a.slice/b\n"
    monkeypatch.setattr(
        health.units, "systemctl", lambda *words: Completed(words, 0, shown if words[0] == "show" else "", "")
    )
    monkeypatch.setattr(health, "workers", lambda master: frozenset({master + 4}))
    monkeypatch.setattr(health, "CGROUPS", tmp_path)
    assert health.look("x.service") == look(RUNNING, 11, oom_kills=None), "nobody counts"
    (tmp_path / "memory/a.slice/b").mkdir(parents=True)
    (tmp_path / "memory/a.slice/b/memory.oom_control").write_text("under_oom 0\noom_kill 1\n")
    assert health.look("x.service") == look(RUNNING, 11, oom_kills=1)
    (tmp_path / "a.slice/b").mkdir(parents=True)
    (tmp_path / "a.slice/b/memory.events").write_text("oom 1\noom_kill 2\n")
    assert health.look("x.service") == look(RUNNING, 11, oom_kills=2)


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
        (("cut", 200), {}, "200 on /", 2),
        (("endless",), {}, "200 on /", 1),
        (("slow",), {}, "200 on /", 1),
    ],
    ids=[
        "200",
        "redirect",
        "no page at /",
        "own status",
        "warms up",
        "wants 503",
        "hangs up once",
        "noise",
        "cut once",
        "endless",
        "slow",
    ],
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
    assert Clock().prove(release, **settings) == told
    assert len(application.requests) == questions, "each question more would wait in the socket behind the first"
    assert "Host: shop.example.com\r\n" in application.requests[0]


@pytest.mark.parametrize(
    ("script", "settings", "message", "least"),
    [
        ((500, 200), {}, "it answers 500 on /", 0),
        ((400, 200), {}, "it answers 400 on /", 0),
        ((302, 200), {"statuses": [200]}, "it answers 302 on /", 0),
        ((503,), {"timeout": 0.3}, "it answers 503 on /", 0.3),
        (("hang",), {"timeout": 0.3}, "it did not answer / within 0.3 s (no answer in time)", 0.3),
        (("drip",), {"timeout": 0.3}, "it did not answer / within 0.3 s (no answer in time)", 0.3),
        (("close",), {"timeout": 0.3}, "it did not answer / within 0.3 s (RemoteDisconnected", 0.3),
        ((), {"timeout": 0.3}, "it did not answer / within 0.3 s (FileNotFoundError", 0.3),
        ((200,), {"timeout": 0}, "it did not answer / within 0 s (no answer in time)", 0),
    ],
    ids=["500", "400", "status not wanted", "503 to the end", "hangs", "drips", "hangs up", "no socket", "no time"],
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
    clock = Clock(silent="no answer in time" in message)
    with pytest.raises(EngineError) as raised:
        clock.prove(release, **settings)
    assert least <= clock.now < least + 2, "at once where waiting cannot help"
    assert raised.value.message.startswith(message)
    before, after = raised.value.hint.split(" s; ")
    assert before.startswith("health.path is /, health.timeout "), "what can be changed"
    assert after == f"see: journalctl -u djdeploy-shop@{RELEASE_ID}.service"
    assert raised.value.detail == f"last words of djdeploy-shop@{RELEASE_ID}.service"


CRASHES = {0.5 * number: look(RUNNING, 100 + number, 200 + number) for number in range(100)}
LATER = {0.0: UP, 5.0: look(RUNNING, 11, 13)}
BY_REQUESTS = "[2026-03-01 12:00:00 +0000] [12] [INFO] Autorestarting worker after current request."
IMPORT = "Traceback:\n  File\nModuleNotFoundError: No module named 'colours'\n[7] [ERROR] Worker failed to boot."


@pytest.mark.parametrize(
    ("world", "settings", "message", "latest"),
    [
        (World(("hang",), {0.0: look(FAILED)}), {}, "its processes died while starting", 1),
        (World(("RemoteDisconnected",), {0.0: UP, 1.0: look(RESTARTED)}), {}, "its processes died while starting", 2),
        (World((503,), {0.0: UP, 1.0: look(WAITING)}), {}, "its processes died while starting", 2),
        (
            World(("hang",), {0.0: look(STARTING, master=0), 0.5: UP, 1.0: look(WAITING)}, IMPORT),
            {},
            "its processes died while starting: ModuleNotFoundError: No module named 'colours'",
            2,
        ),
        (World(("hang",), CRASHES), {}, "its workers die again and again while starting", 2),
        (World(("RemoteDisconnected",), CRASHES), {}, "its workers die again and again while starting", 2),
        (
            World(("hang",), {0.0: UP, 5.0: look(RUNNING, 11, 13)}),
            {"timeout": 9},
            "it did not answer / within 9 s (no answer in time); 1 of its workers died meanwhile",
            10,
        ),
        (
            World(("hang",), {0.0: UP, 1.0: look(RUNNING, 11, 13, oom_kills=1)}),
            {},
            "it ran out of memory while starting",
            2,
        ),
        (World((200,), LATER), {"prove_for": 8}, "one of its workers died 5 s after its first answer", 6),
        (World((200, 200, 200, 500)), {"prove_for": 8}, "it answers 500 on /, 3 s after its first answer", 4),
        (World((200, 200, 503)), {"prove_for": 8}, "it answers 503 on /, 2 s after its first answer", 3),
        (World((200, "hang")), {"prove_for": 8}, "it did not answer / within 10 s (no answer in time), 11 s", 12),
        (
            World((200, "hang"), {0.0: UP, 3.0: look(FAILED)}),
            {"prove_for": 8},
            "its processes died 3 s after its first answer",
            4,
        ),
    ],
    ids=[
        "systemd holds the socket",
        "died and was restarted",
        "dies while it warms up",
        "cannot be imported",
        "workers crash, nobody answers",
        "workers crash, answers end",
        "workers crash slowly",
        "memory",
        "worker crashes later",
        "500 later",
        "503 later",
        "hangs later",
        "dies later",
    ],
)
def test_prove_tells_what_it_sees_early(
    release: ReleasePaths, world: World, settings: dict[str, Any], message: str, latest: float
) -> None:
    with pytest.raises(EngineError) as raised:
        world.prove(release, **{"timeout": 60, **settings})
    assert raised.value.message.startswith(message)
    assert world.time <= latest
    assert f"journalctl -u djdeploy-shop@{RELEASE_ID}.service" in raised.value.hint


@pytest.mark.parametrize(
    ("world", "settings", "told", "questions"),
    [
        (World((200,), LATER), {}, "200 on /", 1),
        (World((200,)), {"prove_for": 8}, "200 on / for 8 s", 9),
        (World((302,), LATER, BY_REQUESTS), {"prove_for": 8}, "302 on / for 8 s", 9),
        (World(("ConnectionResetError", 200), {0.0: UP, 0.2: look(RUNNING, 11, 13)}), {}, "200 on /", 2),
        (World(("ConnectionResetError", 200), {0.0: UP, 0.2: look(RUNNING, 11, 13)}), {"prove_for": 2},
         "200 on / for 2 s", 4),
    ],
    ids=["not asked for long", "stays healthy", "max_requests", "one worker died while starting", "and then none"],
)  # fmt: skip
def test_prove_lets_pass(
    release: ReleasePaths, world: World, settings: dict[str, Any], told: str, questions: int
) -> None:
    assert world.prove(release, **settings) == told
    assert len(world.asked) == questions


def test_prove_does_not_believe_a_worker_that_has_lost_its_server(release: ReleasePaths) -> None:
    """It answers what it was asked before systemd ends it."""
    world = World(("slow",), {0.0: UP, 0.2: look(ENDING, master=0)}, slow=0.2)
    with pytest.raises(EngineError, match="its processes died while starting"):
        world.prove(release)


def test_prove_names_want_of_memory(release: ReleasePaths) -> None:
    world = World(("hang",), {0.0: UP, 1.0: look(KILLED, master=0)})
    with pytest.raises(EngineError) as raised:
        world.prove(release)
    assert "web.memory_max" in raised.value.hint


def test_prove_shows_the_last_lines_only(release: ReleasePaths) -> None:
    world = World(("hang",), {0.0: look(FAILED)}, "\n".join(map(str, range(100))))
    with pytest.raises(EngineError) as raised:
        world.prove(release)
    assert raised.value.detail.splitlines() == [str(number) for number in range(80, 100)]


# --- watching a release that serves -----------------------------------------------------------------


def test_watch_asks_both_ways_all_the_time(release: ReleasePaths) -> None:
    world = World()
    assert world.watch(release) == "healthy for 10 s"
    own = [moment for address, moment in world.asked if address == release.socket]
    nginx = [moment for address, moment in world.asked if address == 80]
    assert own == nginx == [0.5 * number for number in range(20)]
    assert world.read == 0, "the journal of a healthy release is not read"


@pytest.mark.parametrize("seconds", [1, 3, 60])
def test_watch_takes_its_time_and_no_more(release: ReleasePaths, seconds: float) -> None:
    world = World()
    assert world.watch(release, seconds) == f"healthy for {seconds} s"
    assert seconds <= world.time <= seconds + 1


@pytest.mark.parametrize(
    ("world", "message", "latest"),
    [
        (World((200,), LATER), "one of its workers died 5 s after the switch", 6),
        (World((200,), {0.0: UP, 2.0: look(RESTARTED, master=8)}), "its processes died 2 s after the switch", 3),
        (World((200,), {0.0: UP, 2.0: look(FAILED, master=0)}, IMPORT), "its processes died 2 s after the switch:", 3),
        (World((200,), {0.0: UP, 2.0: look(KILLED, master=0)}), "it ran out of memory 2 s after the switch", 3),
        (World((200,), {0.0: UP, 2.0: look(RUNNING, 11, 13, oom_kills=1)}), "it ran out of memory 2 s after", 3),
        (World((200,), {0.0: UP, 2.0: look(GONE, master=0)}), "somebody stopped it 2 s after the switch", 3),
        (World((200, 200, 500)), "it answers 500 on /, 0 s after the switch", 1),
        (World((200, 404, 200, 400)), "it answers 400 on / through nginx, 0 s after the switch", 1),
        (World((200, 502, 200, 502)), "it answers 502 on / through nginx, 0 s after the switch", 1),
        (World((200, 502, "ConnectionRefusedError", 502)), "it answers 502 on / through nginx, 0 s", 1),
        (World(("ConnectionRefusedError", 200, "ConnectionRefusedError")), "it did not answer / within 10 s (Conn", 1),
        (World((200, 200, "hang")), "it did not answer / within 10 s (no answer in time), 10 s", 12),
        (World(("hang",), {0.0: UP, 3.0: look(FAILED, master=0)}), "its processes died 3 s after the switch", 4),
    ],
    ids=[
        "a worker crashes",
        "started again",
        "fails",
        "all out of memory",
        "a worker out of memory",
        "stopped",
        "500",
        "400 to visitors",
        "502 twice",
        "both in doubt",
        "refuses twice",
        "hangs",
        "dies while it hangs",
    ],
)  # fmt: skip
def test_watch_ends_at_the_first_clear_failure(
    release: ReleasePaths, world: World, message: str, latest: float
) -> None:
    with pytest.raises(EngineError) as raised:
        world.watch(release)
    assert raised.value.message.startswith(message)
    assert world.time <= latest
    assert "journalctl -u" in raised.value.hint


@pytest.mark.parametrize(
    "world",
    [
        World((200, 502, 200, 200, 200, 502, 200)),
        World((200, 200, "ConnectionRefusedError", 200)),
        World((503, 200)),
        World((200,), LATER, BY_REQUESTS),
        World((200,), {0.0: look(RESTARTED, 11, 12)}),
        World((200,), {0.0: look(STARTING, 11, 12), 1.0: UP}),
        World((200,), {0.0: look(RUNNING, 11), 1.0: UP}),
        World((200,), {0.0: look(RUNNING, 11, 12, oom_kills=None)}),
    ],
    ids=[
        "502 now and then",
        "refused once",
        "503 once",
        "max_requests",
        "restarts of old",
        "comes up",
        "more workers",
        "no cgroup",
    ],
)
def test_watch_bears(release: ReleasePaths, world: World) -> None:
    assert world.watch(release) == "healthy for 10 s"


# --- how long one answer may take -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({"answer_timeout": 30}, 30), ({"answer_timeout": 1}, 1), ({}, 10), ({"answer_timeout": None}, 10)],
    ids=["longer", "shorter", "a site of before", "null"],
)
def test_answer_timeout(settings: dict[str, Any], seconds: float) -> None:
    assert health.answer_timeout({**HEALTH, **settings}) == seconds


def test_answer_timeout_has_one_default() -> None:
    (key,) = (key for section in schema.SITE_KEYS for key in section.keys if key.name == "answer_timeout")
    assert key.default == health.ANSWER_TIMEOUT


def test_answers_may_take_what_the_site_says(release: ReleasePaths) -> None:
    slow = World(("slow",), slow=25.0)
    settings = {**HEALTH, "timeout": 60, "prove_for": 60, "answer_timeout": 30}
    assert slow.prove(release, **settings) == "200 on / for 60 s"
    watched = health.watch(release, "shop.example.com", settings, 60, senses=slow.senses)
    assert watched == "healthy for 60 s"
    for late in ("prove", "watch"):
        world = World((200, "hang") if late == "prove" else ("hang",))
        with pytest.raises(EngineError, match=r"it did not answer / within 30 s \(no answer in time\)"):
            if late == "prove":
                world.prove(release, **settings)
            else:
                health.watch(release, "shop.example.com", settings, 60, senses=world.senses)


# --- through nginx --------------------------------------------------------------------------------


def test_through_nginx_healthy(serve: Serve) -> None:
    application = serve(301, tcp=True)
    port = application.listener.getsockname()[1]
    assert health.through_nginx("shop.example.com", {**HEALTH, "path": "/up"}, port=port) == "301 from nginx"
    assert application.requests[0].startswith("GET /up HTTP/1.1\r\n")
    assert "\r\nHost: shop.example.com\r\n" in application.requests[0]


@pytest.mark.parametrize("first", [502, 503, 504, "close"])
def test_through_nginx_believes_what_nginx_says_the_second_time(serve: Serve, first: int | str) -> None:
    """It says so when it cannot reach a busy backend, too."""
    port = serve(first, 200, tcp=True).listener.getsockname()[1]
    assert health.through_nginx("shop.example.com", HEALTH, port=port) == "200 from nginx"


@pytest.mark.parametrize(
    ("word", "statuses", "message"),
    [
        (500, None, "nginx answers 500 for shop.example.com/"),
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


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (RESTARTED, "its processes died right after the switch: ModuleNotFoundError: No module named 'colours'"),
        (FAILED, "its processes died right after the switch: ModuleNotFoundError: No module named 'colours'"),
        (RUNNING, "nginx answers 502 for shop.example.com/"),
    ],
    ids=["started again", "failed", "it runs, so nginx is at fault"],
)
def test_verify_names_the_release_where_it_has_died(
    release: ReleasePaths, serve: Serve, state: UnitState, message: str
) -> None:
    port = serve(502, tcp=True).listener.getsockname()[1]
    senses = World(looks={0.0: look(state)}, journal=IMPORT).senses
    with pytest.raises(EngineError) as raised:
        health.verify(release, "shop.example.com", HEALTH, port=port, senses=senses)
    assert raised.value.message == message
