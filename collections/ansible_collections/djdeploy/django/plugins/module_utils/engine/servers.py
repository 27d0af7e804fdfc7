# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that serves a release: which one, with how many processes, by which command.

It is a property of the release: `releases/<id>/serve` is written when the release is made, and the unit runs it. So a
rollback brings the server of that time back. Each of them takes the socket systemd holds as descriptor 3, finishes
what it has begun when its master gets SIGTERM, and replaces workers that die.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import EngineError
from .paths import HOST_CONFIG
from .project import DJANGO_ASGI_APPLICATION, Applications, Choice

GUNICORN, UVICORN, UWSGI = "gunicorn", "uvicorn", "uwsgi"
SERVERS = (GUNICORN, UVICORN, UWSGI)

#: What is added to a project that does not bring its server. 22 and 23 of gunicorn closed request smuggling;
#: uvicorn replaces workers that die since 0.30; pyuwsgi is uWSGI as a wheel, which needs no compiler.
PACKAGES = {GUNICORN: "gunicorn>=23", UVICORN: "uvicorn>=0.30", UWSGI: "pyuwsgi"}
#: Packages of which one, beside ASGI_APPLICATION, says that a project means to be served as ASGI.
SPEAKS_ASGI = frozenset({"channels", "daphne", "hypercorn", "uvicorn", "uvicorn-worker"})
SPEAKS_WEBSOCKETS = frozenset({"websockets", "wsproto"})
SPEAKS_UWSGI = frozenset({"uwsgi", "pyuwsgi"})
RESPAWNS = (0, 30)  # version of uvicorn from which its master replaces workers that ended

FEWEST, MOST = 2, 8  # workers that are chosen
KEPT_FREE = 512  # MiB for the system, the database and nginx
PER_WORKER = 120  # MiB a worker of an ordinary Django project comes to

SOCKET = "3"  # the first descriptor systemd passes, sd_listen_fds(3)
BODY = 65536  # bytes of a request that uWSGI reads by itself, so that no unread rest resets the connection
HEADERS = 32768  # bytes of a request's line and headers that uWSGI takes; its own 4096 are fewer than nginx takes


# --- which one --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """What serves a release, and why.

    :param name: one of SERVERS.
    :param application: `module:name`, or `module:name()` for a factory.
    :param interface: `wsgi` or `asgi`.
    """

    name: str
    application: str
    interface: str
    reason: str


def choose(said: str | None, found: Applications, names: Mapping[str, object]) -> Server:
    """The server of a project.

    ASGI is for projects that ask for it: ASGI_APPLICATION, which startproject does not write, beside a package that
    speaks it; or an asgi.py and no wsgi.py.

    :param said: the site's `web.server`.
    :param names: packages the project lists, by their normalized names.
    :raises EngineError: when the site's `web.server` and `application` contradict each other.
    """
    if found.given:
        return _for_given(said, found, names)
    asgi = found.asgi
    if said == UVICORN:
        chosen = asgi or Choice(DJANGO_ASGI_APPLICATION, "")
        return Server(UVICORN, chosen.value, "asgi", "the site says so (web.server)")
    if said:
        return Server(said, found.wsgi.value, "wsgi", "the site says so (web.server)")
    if asgi and found.declared and (speaks := SPEAKS_ASGI & names.keys()):
        return Server(UVICORN, asgi.value, "asgi", f"the project is ASGI: {asgi.reason}, and it lists {min(speaks)}")
    if asgi and found.only_asgi:
        return Server(UVICORN, asgi.value, "asgi", "the project is ASGI: it has an asgi.py and no wsgi.py")
    name, reason = _wsgi_server(names)
    return Server(name, found.wsgi.value, "wsgi", reason)


def _wsgi_server(names: Mapping[str, object]) -> tuple[str, str]:
    if SPEAKS_UWSGI & names.keys() and GUNICORN not in names:
        return UWSGI, "the project lists uWSGI"
    return GUNICORN, "the project lists it" if GUNICORN in names else "the project names no server"


def _for_given(said: str | None, found: Applications, names: Mapping[str, object]) -> Server:
    """The server for the application the site names. A module called neither asgi nor wsgi goes by `web.server`."""
    application = found.wsgi.value
    last = application.partition(":")[0].rpartition(".")[2]
    if last == "asgi" or (found.asgi is not None and application == found.asgi.value):
        interface = "asgi"
    elif last == "wsgi":
        interface = "wsgi"
    else:
        interface = "asgi" if said == UVICORN else "wsgi"
    server = said or (UVICORN if interface == "asgi" else _wsgi_server(names)[0])
    if (server == UVICORN) != (interface == "asgi"):
        other = re.sub(rf"{last}(?=:)", "wsgi" if interface == "asgi" else "asgi", application)
        raise EngineError(
            f"web.server is {server}, and the application is {interface.upper()} ({application})",
            f"write application: {other}, or leave web.server out",
        )
    return Server(server, application, interface, "the site says so (application)")


def refuse_other_interface(server: Server, interface: str) -> None:
    """What Django's process found the application to be, against what it is going to be served as.

    Only one way is certain: what must be awaited is no WSGI. The other way round is seen when the release is proven.

    :raises EngineError: when it cannot be served so.
    """
    if server.interface == "wsgi" and interface == "asgi":
        raise EngineError(
            f"{server.application} is an ASGI application, and {server.name} serves WSGI",
            f"write web: {{server: {UVICORN}}}, or name the WSGI application: application",
        )


def additions(server: str, names: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    """Requirement lines to add so that a project can be served, each with what to tell.

    :param names: packages the project lists -> the extras it asks of them.
    """
    if server == UWSGI:
        if SPEAKS_UWSGI & names.keys():
            return []
        return [(PACKAGES[UWSGI], "added pyuwsgi: the project does not bring uWSGI")]
    added = []
    if server not in names:
        added.append((PACKAGES[server], f"added {server}: the project does not bring it"))
    if server == UVICORN and not SPEAKS_WEBSOCKETS & names.keys() and "standard" not in names.get(UVICORN, set()):
        added.append(("websockets", "added websockets: uvicorn does not speak them by itself"))
    return added


class Choosing:
    """A choice that is made as soon as somebody tells what the project lists."""

    def __init__(self, said: str | None, found: Applications) -> None:
        self.said, self.found = said, found
        self.server = choose(said, found, {})

    def needs(self, names: Mapping[str, set[str]]) -> list[tuple[str, str]]:
        """Choose, and say what to add to the packages; see `requirements.Needs`."""
        self.server = choose(self.said, self.found, names)
        return additions(self.server.name, names)


def warnings(server: Server, installed: Mapping[str, str]) -> list[str]:
    """What to tell of a server that is older than it should be."""
    if server.name == UVICORN and not respawns(installed):
        version = installed.get(UVICORN, "")
        return [f"uvicorn {version} does not replace workers that die: ask for {PACKAGES[UVICORN]} in the project"]
    return []


def respawns(installed: Mapping[str, str]) -> bool:
    """Whether workers of the uvicorn among the installed packages are replaced when they end."""
    numbers = re.findall(r"\d+", installed.get(UVICORN, ""))[:2]
    return tuple(map(int, numbers)) >= RESPAWNS


# --- how many ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Amount:
    """Processes and threads that answer, and why so many."""

    workers: int
    threads: int
    reason: str


def amount(cores: int, memory: int | None, sites: int, web: Mapping[str, Any]) -> Amount:
    """How many workers a site gets on a host.

    :param memory: MiB of the host; None where nobody knows.
    :param sites: sites of the host, which share it.
    :param web: the site's `web` (workers, threads).
    """
    threads = int(web["threads"])
    if web["workers"]:
        return Amount(int(web["workers"]), threads, "web.workers of the site")
    wanted = max(FEWEST, min(cores + 1, MOST))
    reason = f"{cores} CPU core{'' if cores == 1 else 's'} + 1"
    if wanted != cores + 1:
        reason += f", at most {MOST}"
    if memory is not None:
        # Half of what is free: during a deploy two releases run.
        fitting = max(FEWEST, (memory - KEPT_FREE) // 2 // max(sites, 1) // PER_WORKER)
        if fitting < wanted:
            shared = f" for {sites} sites" if sites > 1 else ""
            wanted, reason = fitting, f"memory of {memory} MiB{shared} is enough for no more"
    return Amount(wanted, threads, reason)


def here(sites: int, web: Mapping[str, Any], *, said: Path = HOST_CONFIG) -> Amount:
    """`amount` on this host, now.

    :param said: what Ansible said about the host; its `cores` win over those that are counted.
    """
    try:
        cores = int(json.loads(said.read_text())["cores"])
    except (OSError, ValueError, KeyError, TypeError):
        cores = len(os.sched_getaffinity(0))
    return amount(cores, memory_total(Path("/proc/meminfo").read_text()), sites, web)


def memory_total(meminfo: str) -> int | None:
    """MiB, of proc_meminfo(5)."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def told(server: Server, many: Amount) -> str:
    """One line for the person who pushed."""
    threads = f" of {many.threads} threads" if server.name != UVICORN and many.threads > 1 else ""
    workers = f"{many.workers} worker{'' if many.workers == 1 else 's'}{threads} ({many.reason})"
    return f"{server.application} is served by {server.name} ({server.reason}): {workers}"


# --- by which command -------------------------------------------------------------------------------


def command(server: Server, many: Amount, web: Mapping[str, Any], *, environment: Path, settings: Path) -> list[str]:
    """The words that start a server in a release.

    :param web: the site's `web` (timeout and graceful_timeout in seconds, max_requests, preload).
    :param environment: the virtualenv.
    :param settings: file with gunicorn's settings, which say the rest of `web` to it.
    """
    program = str(environment / "bin" / server.name)
    if server.name == UVICORN:
        return [program, *_uvicorn(server.application, many, web)]
    if server.name == UWSGI:
        return [program, *_uwsgi(server.application, many, web), "--virtualenv", str(environment)]
    kind = "gthread" if many.threads > 1 else "sync"
    amounts = ["--workers", str(many.workers), "--worker-class", kind, "--threads", str(many.threads)]
    return [program, "--config", str(settings), *amounts, server.application]


def _uvicorn(application: str, many: Amount, web: Mapping[str, Any]) -> list[str]:
    """uvicorn believes nginx about the visitor: only nginx can open the socket, and it overwrites these headers."""
    words = ["--fd", SOCKET, "--workers", str(many.workers)]
    words += ["--timeout-graceful-shutdown", str(web["graceful_timeout"])]
    words += ["--proxy-headers", "--forwarded-allow-ips", "*", "--no-access-log", "--no-server-header"]
    if web["max_requests"]:
        words += ["--limit-max-requests", str(web["max_requests"])]
    if application.endswith("()"):
        words.append("--factory")
    return [*words, application.removesuffix("()")]


def _uwsgi(application: str, many: Amount, web: Mapping[str, Any]) -> list[str]:
    """Options of uWSGI (https://uwsgi-docs.readthedocs.io/en/latest/Options.html).

    Its own SIGTERM reloads, and with die-on-term it cuts requests off; the hook makes it finish them.
    """
    words = ["--http-socket", f"fd://{SOCKET}", "--master", "--need-app", "--thunder-lock"]
    words += ["--hook-master-start", "unix_signal:15 gracefully_kill_them_all"]
    words += ["--module", application, "--processes", str(many.workers), "--enable-threads"]
    words += ["--threads", str(many.threads)] if many.threads > 1 else []
    words += [] if web["preload"] else ["--lazy-apps"]
    words += ["--harakiri", str(web["timeout"]), "--socket-timeout", str(web["timeout"])]
    words += ["--worker-reload-mercy", str(web["graceful_timeout"]), "--reload-mercy", str(web["graceful_timeout"])]
    if web["max_requests"]:
        words += ["--max-requests", str(web["max_requests"])]
    words += ["--buffer-size", str(HEADERS), "--post-buffering", str(BODY)]
    # A visitor who went away is no error; nginx writes the access log.
    return [*words, "--ignore-sigpipe", "--ignore-write-errors", "--disable-write-exception", "--disable-logging"]


def script(words: Sequence[str]) -> str:
    """What `releases/<id>/serve` says."""
    lines = [
        "#!/bin/sh",
        "# How this release is served, as it was chosen when it was made.",
        f"exec {' '.join(map(shlex.quote, words))}",
    ]
    return "".join(f"{line}\n" for line in lines)


# --- its processes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process as proc(5) shows it.

    :param name: of `comm`.
    :param words: of `cmdline`.
    """

    name: str
    words: tuple[str, ...] = ()


def is_worker(master: Process, child: Process) -> bool:
    """Whether a child of a server's master answers requests.

    gunicorn and uWSGI fork, so their workers are called like the master (setproctitle changes what follows the first
    letters); another child is a preloaded application's own business. uvicorn starts Python anew for each worker, by
    multiprocessing's spawn, and one more process that counts its semaphores.
    """
    if any(word.rpartition("/")[2] == UVICORN for word in master.words[:3]):
        return any("multiprocessing.spawn" in word for word in child.words)
    return master.name[:8] == child.name[:8]


#: How each server says that a worker ended by agreement: it had served `web.max_requests` requests, or was asked to.
_ANNOUNCED = re.compile(
    r"\[(\d+)\] \[\w+\] Autorestarting worker"
    r"|Finished server process \[(\d+)\]"
    r"|The work of process (\d+) is done"
)


def announced(journal: str) -> frozenset[int]:
    """Workers whose end their server has announced, in what its unit wrote."""
    return frozenset(int(next(filter(None, groups))) for groups in _ANNOUNCED.findall(journal))
