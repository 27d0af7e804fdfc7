# SPDX-License-Identifier: GPL-3.0-or-later
"""Which program serves a project, with how many processes, by which command, and which of them are its workers."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import servers
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.project import (
    DJANGO_APPLICATION,
    DJANGO_ASGI_APPLICATION,
    TextTree,
    find_applications,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.servers import Amount, Process, Server

WEB: dict[str, Any] = {
    "workers": None,
    "threads": 4,
    "timeout": 30,
    "graceful_timeout": 40,
    "max_requests": 0,
    "preload": False,
}
WSGI, ASGI = "s.wsgi:application", "s.asgi:application"
DECLARED = "ASGI_APPLICATION = 's.asgi.application'"


def tree(*paths: str, settings: str = "", **texts: str) -> TextTree:
    files = dict.fromkeys(paths, "")
    return TextTree({**files, "s/settings.py": settings, "manage.py": "django", **texts})


BOTH, CHANNELS = tree("s/wsgi.py", "s/asgi.py"), tree("s/wsgi.py", "s/asgi.py", settings=DECLARED)
ONLY_ASGI, NEITHER = tree("s/asgi.py"), tree()


# --- which one --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "said", "application", "names", "expected"),
    [
        pytest.param(BOTH, None, None, "django", ("gunicorn", WSGI, "wsgi"), id="startproject"),
        pytest.param(BOTH, None, None, "django uvicorn", ("gunicorn", WSGI, "wsgi"), id="uvicorn by the way"),
        pytest.param(BOTH, None, None, "django channels", ("gunicorn", WSGI, "wsgi"), id="channels, not declared"),
        pytest.param(CHANNELS, None, None, "django", ("gunicorn", WSGI, "wsgi"), id="declared, nothing speaks it"),
        pytest.param(CHANNELS, None, None, "channels", ("uvicorn", ASGI, "asgi"), id="channels"),
        pytest.param(CHANNELS, None, None, "gunicorn daphne", ("uvicorn", ASGI, "asgi"), id="daphne beside gunicorn"),
        pytest.param(CHANNELS, None, None, "uvicorn-worker", ("uvicorn", ASGI, "asgi"), id="uvicorn's worker"),
        pytest.param(ONLY_ASGI, None, None, "django", ("uvicorn", ASGI, "asgi"), id="only asgi.py"),
        pytest.param(NEITHER, None, None, "django", ("gunicorn", DJANGO_APPLICATION, "wsgi"), id="neither"),
        pytest.param(BOTH, None, None, "uwsgi", ("uwsgi", WSGI, "wsgi"), id="uwsgi"),
        pytest.param(BOTH, None, None, "pyuwsgi", ("uwsgi", WSGI, "wsgi"), id="pyuwsgi"),
        pytest.param(BOTH, None, None, "uwsgi gunicorn", ("gunicorn", WSGI, "wsgi"), id="both servers"),
        pytest.param(BOTH, "uvicorn", None, "django", ("uvicorn", ASGI, "asgi"), id="said uvicorn"),
        pytest.param(NEITHER, "uvicorn", None, "", ("uvicorn", DJANGO_ASGI_APPLICATION, "asgi"), id="Django's own"),
        pytest.param(CHANNELS, "gunicorn", None, "channels", ("gunicorn", WSGI, "wsgi"), id="said gunicorn"),
        pytest.param(CHANNELS, "uwsgi", None, "channels", ("uwsgi", WSGI, "wsgi"), id="said uwsgi"),
        pytest.param(BOTH, None, "s.asgi", "django", ("uvicorn", ASGI, "asgi"), id="application is ASGI"),
        pytest.param(CHANNELS, None, "s.wsgi", "channels", ("gunicorn", WSGI, "wsgi"), id="application is WSGI"),
        pytest.param(BOTH, None, "s.wsgi", "uwsgi", ("uwsgi", WSGI, "wsgi"), id="application for uwsgi"),
        pytest.param(tree("s/web.py"), None, "s.web:app", "", ("gunicorn", "s.web:app", "wsgi"), id="unknown name"),
        pytest.param(tree("s/web.py"), "uvicorn", "s.web:app", "", ("uvicorn", "s.web:app", "asgi"), id="both said"),
    ],
)
def test_choose(
    files: TextTree, said: str | None, application: str | None, names: str, expected: tuple[str, ...]
) -> None:
    found = find_applications(files, ".", "s.settings", application)
    server = servers.choose(said, found, dict.fromkeys(names.split()))
    assert (server.name, server.application, server.interface) == expected
    assert server.reason


@pytest.mark.parametrize(
    ("said", "application", "message", "hint"),
    [
        ("uvicorn", "s.wsgi", "web.server is uvicorn, and the application is WSGI (s.wsgi:application)", ASGI),
        ("gunicorn", "s.asgi", "web.server is gunicorn, and the application is ASGI (s.asgi:application)", WSGI),
        ("uwsgi", "s.asgi", "web.server is uwsgi, and the application is ASGI (s.asgi:application)", WSGI),
    ],
)
def test_choose_refuses_what_contradicts_itself(said: str, application: str, message: str, hint: str) -> None:
    with pytest.raises(EngineError) as caught:
        servers.choose(said, find_applications(BOTH, ".", "s.settings", application), {})
    assert caught.value.message == message
    assert f"application: {hint}" in caught.value.hint


def test_asgi_that_overrides_settings_is_not_served() -> None:
    files = tree(**{"s/asgi.py": "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 's.settings'"})
    found = find_applications(files, ".", "s.settings")
    assert servers.choose(None, found, {}).application == DJANGO_ASGI_APPLICATION


def test_other_interface_is_refused_where_it_is_certain() -> None:
    wsgi, asgi = Server("gunicorn", "s.web:app", "wsgi", ""), Server("uvicorn", "s.web:app", "asgi", "")
    for server, interface in ((wsgi, "wsgi"), (asgi, "asgi"), (asgi, "wsgi")):
        servers.refuse_other_interface(server, interface)
    with pytest.raises(EngineError, match=r"s\.web:app is an ASGI application, and gunicorn serves WSGI") as caught:
        servers.refuse_other_interface(wsgi, "asgi")
    assert "web: {server: uvicorn}" in caught.value.hint


@pytest.mark.parametrize(
    ("server", "names", "lines"),
    [
        ("gunicorn", {}, ["gunicorn>=23"]),
        ("gunicorn", {"gunicorn": set()}, []),
        ("uvicorn", {}, ["uvicorn>=0.30", "websockets"]),
        ("uvicorn", {"uvicorn": set()}, ["websockets"]),
        ("uvicorn", {"uvicorn": {"standard"}}, []),
        ("uvicorn", {"uvicorn": set(), "wsproto": set()}, []),
        ("uwsgi", {}, ["pyuwsgi"]),
        ("uwsgi", {"uwsgi": set()}, []),
        ("uwsgi", {"pyuwsgi": set()}, []),
    ],
)
def test_additions(server: str, names: dict[str, set[str]], lines: list[str]) -> None:
    added = servers.additions(server, names)
    assert [line for line, _why in added] == lines
    assert all(why.startswith("added ") for _line, why in added)


@pytest.mark.parametrize(
    ("version", "respawns"), [("0.30.0", True), ("0.29.1", False), ("0.9", False), ("1.0", True), ("", False)]
)
def test_respawns(version: str, respawns: bool) -> None:
    installed = {"uvicorn": version} if version else {}
    assert servers.respawns(installed) == respawns
    assert bool(servers.warnings(Server("uvicorn", ASGI, "asgi", ""), installed)) != respawns
    assert servers.warnings(Server("gunicorn", WSGI, "wsgi", ""), installed) == []


# --- how many ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cores", "memory", "sites", "web", "workers", "reason"),
    [
        (1, None, 1, {}, 2, "1 CPU core + 1"),
        (2, 4000, 1, {}, 3, "2 CPU cores + 1"),
        (64, 64000, 1, {}, 8, "64 CPU cores + 1, at most 8"),
        (4, 1000, 1, {}, 2, "memory of 1000 MiB is enough for no more"),
        (8, 2000, 1, {}, 6, "memory of 2000 MiB is enough for no more"),
        (8, 4000, 4, {}, 3, "memory of 4000 MiB for 4 sites is enough for no more"),
        (4, 300, 3, {}, 2, "memory of 300 MiB for 3 sites is enough for no more"),
        (4, 300, 3, {"workers": 9}, 9, "web.workers of the site"),
        (2, 4000, 0, {}, 3, "2 CPU cores + 1"),
    ],
)
def test_amount(cores: int, memory: int | None, sites: int, web: dict[str, int], workers: int, reason: str) -> None:
    assert servers.amount(cores, memory, sites, {**WEB, **web}) == Amount(workers, 4, reason)


def test_cores_may_be_said(tmp_path: Path) -> None:
    said = tmp_path / "host.json"
    counted = servers.here(1, WEB, said=said)
    assert counted.workers >= servers.FEWEST
    said.write_text('{"cores": 1}')
    assert servers.here(1, WEB, said=said).workers == 2


def test_memory_total() -> None:
    assert servers.memory_total("MemTotal:        2048000 kB\nMemFree: 1 kB\n") == 2000
    assert servers.memory_total("") is None


@pytest.mark.parametrize(
    ("name", "threads", "line"),
    [
        ("gunicorn", 4, "s:app is served by gunicorn (why): 2 workers of 4 threads (cores)"),
        ("gunicorn", 1, "s:app is served by gunicorn (why): 2 workers (cores)"),
        ("uvicorn", 4, "s:app is served by uvicorn (why): 2 workers (cores)"),
    ],
)
def test_told(name: str, threads: int, line: str) -> None:
    assert servers.told(Server(name, "s:app", "wsgi", "why"), Amount(2, threads, "cores")) == line


# --- by which command -------------------------------------------------------------------------------


def words(name: str, application: str = WSGI, threads: int = 4, **web: Any) -> list[str]:
    server = Server(name, application, "asgi" if name == "uvicorn" else "wsgi", "")
    environment, settings = Path("/r/.venv"), Path("/etc/shop.py")
    many = Amount(2, threads, "")
    return servers.command(server, many, {**WEB, **web}, environment=environment, settings=settings)


def value(found: list[str], option: str) -> str:
    return found[found.index(option) + 1]


@pytest.mark.parametrize(("threads", "kind"), [(4, "gthread"), (1, "sync")])
def test_command_of_gunicorn(threads: int, kind: str) -> None:
    found = words("gunicorn", threads=threads)
    assert found[0] == "/r/.venv/bin/gunicorn"
    assert (value(found, "--config"), value(found, "--workers"), found[-1]) == ("/etc/shop.py", "2", WSGI)
    assert value(found, "--worker-class") == kind


def test_command_of_uvicorn() -> None:
    found = words("uvicorn", ASGI, max_requests=500)
    assert (value(found, "--fd"), value(found, "--workers"), found[-1]) == ("3", "2", ASGI)
    assert value(found, "--timeout-graceful-shutdown") == "40"
    assert value(found, "--limit-max-requests") == "500"
    assert "--factory" not in found
    assert words("uvicorn", DJANGO_ASGI_APPLICATION)[-2:] == ["--factory", "django.core.asgi:get_asgi_application"]


def test_command_of_uwsgi() -> None:
    found = words("uwsgi", max_requests=500)
    assert (value(found, "--http-socket"), value(found, "--module"), value(found, "--processes")) == (
        "fd://3",
        WSGI,
        "2",
    )
    assert value(found, "--hook-master-start") == "unix_signal:15 gracefully_kill_them_all"
    assert "--die-on-term" not in found, "it cuts requests off"
    assert (value(found, "--harakiri"), value(found, "--worker-reload-mercy")) == ("30", "40")
    assert "--lazy-apps" in found
    assert "--lazy-apps" not in words("uwsgi", preload=True)
    assert "--threads" not in words("uwsgi", threads=1)


def test_script_runs_its_words_as_they_are() -> None:
    odd = ["/bin/echo", "two words", "*", "$HOME", "it's"]
    done = subprocess.run(["/bin/sh", "-c", servers.script(odd)], capture_output=True, text=True, check=True)
    assert done.stdout == "two words * $HOME it's\n"
    assert shlex.split(servers.script(odd).splitlines()[-1]) == ["exec", *odd]


# --- its processes ----------------------------------------------------------------------------------

SPAWNED = ("/v/bin/python3", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=8)")
TRACKER = ("/v/bin/python3", "-c", "from multiprocessing.resource_tracker import main;main(7)")
UVICORN = Process("uvicorn", ("/v/bin/python", "/v/bin/uvicorn", "--fd", "3"))


@pytest.mark.parametrize(
    ("master", "child", "expected"),
    [
        pytest.param(Process("gunicorn"), Process("gunicorn"), True, id="gunicorn"),
        pytest.param(Process("gunicorn: maste"), Process("gunicorn: worke"), True, id="its title set"),
        pytest.param(Process("gunicorn"), Process("python3", SPAWNED), False, id="a child of the application"),
        pytest.param(Process("uwsgi"), Process("uwsgi"), True, id="uwsgi"),
        pytest.param(UVICORN, Process("python3", SPAWNED), True, id="uvicorn"),
        pytest.param(UVICORN, Process("python3", TRACKER), False, id="multiprocessing's own"),
    ],
)
def test_is_worker(master: Process, child: Process, expected: bool) -> None:
    assert servers.is_worker(master, child) == expected


@pytest.mark.parametrize(
    ("journal", "pids"),
    [
        ("[2026-03-01 12:00:00 +0000] [11] [INFO] Autorestarting worker after current request.", {11}),
        ("[2026-03-01 12:00:00 +0000] [11] [INFO] Worker exiting (pid: 11)", set()),
        ("INFO:     Finished server process [12]\nINFO:     Child process [13] died", {12}),
        ("...The work of process 14 is done. Seeya!\nDAMN ! worker 1 (pid: 15) died, killed by signal 9", {14}),
        ("", set()),
    ],
)
def test_announced(journal: str, pids: set[int]) -> None:
    assert servers.announced(journal) == pids
