# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking a release whether it serves: over its own socket before the switch, through nginx after it.

Its processes are watched beside: a release whose workers die would otherwise leave the question
waiting in the socket systemd holds.
"""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from . import servers, units
from .errors import EngineError
from .paths import ReleasePaths

# A page may redirect, want a login or not exist (an untouched project has no page at `/`): all that is the
# application answering. 400 is not: it is what Django says to a host name that ALLOWED_HOSTS lacks.
HEALTHY = frozenset({*range(200, 400), 401, 403, 404, 405})
# What a busy or absent backend is told to visitors as. Of a release that serves, it is believed the second time.
IN_DOUBT = frozenset({None, 502, 503, 504})

OUT_OF_MEMORY = ("Perhaps out of memory?", "killed by the OOM killer")
NO_ANSWER = "no answer in time"

TICK = 0.25  # seconds between two looks at the processes
ANSWER_TIMEOUT = 10.0  # `health.answer_timeout` of a site that was written before there was such a key
BEARABLE = 2  # workers that may die while a release starts: a database that was not there yet, for example
LONGEST_ANSWER = 1 << 16  # bytes; more of a page proves nothing more
CGROUPS = Path("/sys/fs/cgroup")


# --- one question -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came back: a status, or why none did."""

    status: int | None
    error: str = ""
    body: str = ""

    def __str__(self) -> str:
        return str(self.status) if self.status is not None else self.error


@dataclass(frozen=True)
class Received:
    """Bytes that http.client reads as if they came from a socket."""

    data: bytes

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


def read_answer(data: bytes, *, whole: bool) -> Answer:
    """What an HTTP answer says.

    :param whole: the other side has ended it; else there is more that nobody waits for.
    :raises http.client.HTTPException: when it is none, or less came than was announced.
    """
    import http.client

    response = http.client.HTTPResponse(cast(socket.socket, Received(data)))
    response.begin()
    body = response.read() if whole else response.read(4000)
    return Answer(response.status, body=body[:4000].decode(errors="replace"))


def nothing() -> None:
    """What is done while an answer is waited for, where nothing is."""


def ask(
    address: Path | int,
    path: str,
    host: str,
    *,
    seconds: float,
    https: bool = False,
    meanwhile: Callable[[], None] = nothing,
) -> Answer:
    """One GET as a visitor's browser would send it through nginx.

    :param address: a unix socket, or a port of this host.
    :param seconds: for all of it: a page that comes byte by byte is as late as one that does not come.
    :param meanwhile: called again and again while the answer is waited for; it may raise.
    """
    words = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"X-Forwarded-Proto: {'https' if https else 'http'}",
        "X-Forwarded-For: 127.0.0.1",
        "User-Agent: djdeploy health check",
        "Accept-Encoding: identity",
        "Connection: close",
    )
    import http.client  # takes as long as all else of this program, so it is had while the server starts

    family, where = (socket.AF_UNIX, str(address)) if isinstance(address, Path) else (socket.AF_INET, None)
    end = time.monotonic() + seconds
    data, ended, looked = b"", False, time.monotonic()
    try:
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(seconds, 0.001))
            connection.connect(where or ("127.0.0.1", address))
            connection.sendall("\r\n".join((*words, "", "")).encode())
            while not ended and len(data) < LONGEST_ANSWER:
                if (left := end - time.monotonic()) <= 0:
                    raise TimeoutError
                connection.settimeout(min(TICK, left))
                try:
                    part = connection.recv(LONGEST_ANSWER)
                    data, ended = data + part, not part
                except TimeoutError:
                    pass
                if not ended and time.monotonic() - looked >= TICK:
                    meanwhile()
                    looked = time.monotonic()
        return read_answer(data, whole=ended)
    except TimeoutError:
        return Answer(None, NO_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, f"{type(error).__name__}: {error}")


def answer_timeout(health: dict[str, Any]) -> float:
    """Seconds a release that serves, or is about to, gets for one answer."""
    return float(health.get("answer_timeout") or ANSWER_TIMEOUT)


def is_healthy(status: int | None, statuses: list[int] | None = None) -> bool:
    """:param statuses: what the site's `health.statuses` says; None for the default set."""
    return status in (HEALTHY if statuses is None else statuses)


# --- the processes ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """The processes of a release at one moment.

    :param master: pid of the server; 0 when there is none.
    :param workers: pids of its workers.
    :param oom_kills: processes the kernel has ended for want of memory since the unit started; None where
        nobody counts.
    """

    state: units.UnitState
    master: int = 0
    workers: frozenset[int] = frozenset()
    oom_kills: int | None = None


def parse_oom_kills(text: str) -> int | None:
    """Read `memory.events` of a cgroup (https://docs.kernel.org/admin-guide/cgroup-v2.html), or the older form."""
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else None


def workers(master: int, proc: Path = Path("/proc")) -> frozenset[int]:
    """The workers of a server: those of its children that `servers.is_worker` says are such."""

    def process(pid: int) -> servers.Process:
        words = (proc / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
        return servers.Process((proc / str(pid) / "comm").read_text().strip(), tuple(words))

    found = set()
    try:
        children = map(int, (proc / str(master) / "task" / str(master) / "children").read_text().split())
        leader = process(master)
    except OSError:
        return frozenset()
    for pid in children:
        try:
            if servers.is_worker(leader, process(pid)):
                found.add(pid)
        except OSError:
            continue  # it ended while we looked
    return frozenset(found)


def look(unit: str) -> Look:
    """Look at the processes of a unit."""
    told = units.systemctl("show", unit, "-p", "ActiveState,SubState,NRestarts,Result,MainPID,ControlGroup").stdout
    values = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
    master, group = int(values.get("MainPID") or 0), values.get("ControlGroup", "")
    kills = oom_kills(group.lstrip("/")) if group else None
    return Look(units.parse_show(told), master, workers(master) if master else frozenset(), kills)


def runs(unit: str, pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process of a unit runs still (proc(5)): what is asked many times faster than by `look`.

    :param pid: 0 for one that nobody knows, which does not.
    """
    try:
        group = (proc / str(pid) / "cgroup").read_text()
        state = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return f"/{unit}" in group and state not in ("Z", "X")


def end_workers(unit: str) -> None:
    """Ask the workers of a unit to finish what they have and to end; their master starts others in their place."""
    for pid in look(unit).workers:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def oom_kills(group: str) -> int | None:
    """What the kernel counts for a cgroup, unified or of the memory controller's own; None where it does not."""
    for path in (CGROUPS / group / "memory.events", CGROUPS / "memory" / group / "memory.oom_control"):
        try:
            return parse_oom_kills(path.read_text())
        except OSError:
            continue
    return None


def ended_workers(before: Look, now: Look) -> frozenset[int]:
    """Workers that are gone although their master is the same."""
    return before.workers - now.workers if before.master == now.master else frozenset()


def last_cause(journal: str) -> str:
    """The last exception a program told of, as its traceback names it; empty when there is none."""
    found = re.findall(
        r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Configured|DoesNotExist|Missing\w*)(?::.*)?)$",
        journal,
        re.MULTILINE,
    )
    return found[-1].strip()[:300] if found else ""


def out_of_memory(first: Look, now: Look, journal: str) -> bool:
    """Whether the kernel ended processes of a release.

    It counts them itself, as long as the unit lives. Else there is systemd's word for it, or the server's, which
    only knows that somebody killed its worker.
    """
    if now.state.result == "oom-kill":
        return True
    if first.master == now.master and now.master and now.oom_kills is not None:
        return now.oom_kills > (first.oom_kills or 0)
    return any(words in journal for words in OUT_OF_MEMORY)


def trouble(first: Look, now: Look, died: frozenset[int], journal: str, *, bearable: int) -> str:
    """What is wrong with the processes of a release, as the end of a sentence about it; empty when nothing is.

    :param first: the look its troubles are counted from.
    :param died: workers that ended meanwhile without a reason.
    :param bearable: how many of these are borne.
    """
    restarted = now.state.restarts > first.state.restarts or bool(
        first.master and now.master and first.master != now.master
    )
    # The server itself has ended and systemd is about its last workers, which may still answer.
    ending = now.state.active == "deactivating" and now.state.result not in ("", "success")
    fell = restarted or ending or now.state.active == "failed" or now.state.sub == "auto-restart"
    if (fell or died or (now.oom_kills or 0) > (first.oom_kills or 0)) and out_of_memory(first, now, journal):
        return "it ran out of memory"
    if fell:
        return "its processes died"
    if first.state.active == "active" and now.state.active in ("inactive", "deactivating"):
        return "somebody stopped it"
    if len(died) > bearable:
        return "its workers die again and again" if bearable else "one of its workers died"
    return ""


def mend(wrong: str, unit: str) -> str:
    """What to do about a trouble."""
    if "memory" in wrong:
        return (
            "raise web.memory_max or limits.memory_max of the site in djdeploy_sites (djdeploy doctor tells which),"
            f" lower web.workers, or give the host memory; see: journalctl -u {unit}"
        )
    return f"see: journalctl -u {unit}"


# --- perceiving a release ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Senses:
    """How a release and the time are perceived; tests bring their own."""

    ask: Callable[..., Answer] = ask
    look: Callable[[str], Look] = look
    journal: Callable[[str], str] = lambda unit: units.journal_tail(unit, 200)
    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    runs: Callable[[str, int], bool] = runs


SENSES = Senses()


@dataclass
class Vigil:
    """The processes of a release, looked at again and again.

    :param when: `while starting`, or what else follows what went wrong in a sentence.
    :param bearable: workers that may die.
    """

    release: ReleasePaths
    senses: Senses
    when: Callable[[], str]
    bearable: int = 0
    died: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.first = self.last = self.senses.look(self.release.service_unit)

    def check(self) -> None:
        """:raises EngineError: when something is wrong, with the unit's last lines."""
        unit = self.release.service_unit
        before, self.last = self.last, self.senses.look(unit)
        if not self.first.master:  # systemd had not come to it
            self.first = Look(self.first.state, self.last.master, self.last.workers, self.first.oom_kills)
        gone = ended_workers(before, self.last)
        more_oom_kills = (self.last.oom_kills or 0) > (self.first.oom_kills or 0)
        said = self.senses.journal(unit) if gone or more_oom_kills or self.last.state.broken else ""
        self.died |= gone - servers.announced(said)
        wrong = trouble(self.first, self.last, frozenset(self.died), said, bearable=self.bearable)
        if wrong:
            raise self.failure(f"{wrong} {self.when()}", mend(wrong, unit), said)

    def failure(self, message: str, hint: str, said: str = "") -> EngineError:
        """What to raise: the cause is named where the release told one."""
        said = said or self.senses.journal(self.release.service_unit)
        cause = last_cause(said)
        return EngineError(f"{message}: {cause}" if cause else message, hint, tail(said))


def tail(text: str, lines: int = 20) -> str:
    return "\n".join(text.splitlines()[-lines:])


def unhealthy(answer: Answer, path: str, seconds: float) -> str:
    """An answer that is not healthy, as the end of a sentence about the release."""
    if answer.status is not None:
        return f"it answers {answer.status} on {path}"
    return f"it did not answer {path} within {seconds:g} s ({answer.error})"


def where_to_look(release: ReleasePaths, path: str, key: str, seconds: float) -> str:
    """What to look at when a release is not healthy: what was asked, how long it had, what it says itself.

    :param key: of the site's `health`, which says how long it had.
    """
    return f"health.path is {path}, health.{key} {seconds:g} s; see: journalctl -u {release.service_unit}"


def losses(died: int) -> str:
    """The workers that died while nobody could be answered: on a slow host too few for a verdict of their own."""
    return f"; {died} of its workers died meanwhile" if died else ""


# --- before and after the switch --------------------------------------------------------------------


def prove(release: ReleasePaths, host: str, health: dict[str, Any], *, senses: Senses = SENSES) -> str:
    """Ask a started release over its own socket until it is healthy, or is known not to be.

    One question waits as long as there is time: each further one would wait in the socket behind it,
    and be answered to nobody. Then the release has to stay healthy for `prove_for` seconds.

    :param health: the site's `health` (path, statuses; timeout, answer_timeout and prove_for in seconds).
    :returns: what to tell: `200 on /`.
    :raises EngineError: with the cause and the unit's last lines.
    """
    path, timeout = str(health["path"]), float(health["timeout"])
    end = senses.now() + timeout
    vigil = Vigil(release, senses, lambda: "while starting", BEARABLE)
    answer = Answer(None, NO_ANSWER)
    while (left := end - senses.now()) > 0:
        answer = senses.ask(release.socket, path, host, seconds=left, meanwhile=vigil.check)
        if is_healthy(answer.status, health["statuses"]):
            # A worker that has lost its server answers once more before it ends.
            if not senses.runs(release.service_unit, vigil.last.master):
                vigil.check()
            return f"{answer} on {path}{remain(release, host, health, senses)}"
        if answer.status not in (None, 503):  # 503 is what an application says while it warms up
            break
        vigil.check()
        senses.sleep(TICK)
    hint = where_to_look(release, path, "timeout", timeout)
    raise vigil.failure(unhealthy(answer, path, timeout) + losses(len(vigil.died)), hint)


def remain(release: ReleasePaths, host: str, health: dict[str, Any], senses: Senses) -> str:
    """See a release that was healthy once stay so for `prove_for` seconds, asked about once a second.

    :returns: what to tell: ` for 8 s`; empty when it need not.
    :raises EngineError: at the first failure.
    """
    seconds, path, began = float(health.get("prove_for") or 0), str(health["path"]), senses.now()
    patience = answer_timeout(health)
    if not seconds:
        return ""
    vigil = Vigil(release, senses, lambda: f"{senses.now() - began:.0f} s after its first answer")
    while senses.now() - began < seconds:
        for _time in range(4):  # a worker that ends is seen sooner than the next question is due
            senses.sleep(TICK)
            vigil.check()
        answer = senses.ask(release.socket, path, host, seconds=patience, meanwhile=vigil.check)
        vigil.check()
        if not is_healthy(answer.status, health["statuses"]):
            hint = where_to_look(release, path, "answer_timeout", patience)
            raise vigil.failure(f"{unhealthy(answer, path, patience)}, {vigil.when()}", hint)
    return f" for {seconds:g} s"


def through_nginx(host: str, health: dict[str, Any], *, port: int = 80) -> str:
    """Ask the site as a visitor would, on this host. What nginx may answer in its place is believed the second time.

    :raises EngineError: when nginx or the site does not answer as it should.
    """
    patience = answer_timeout(health)
    answer = ask(port, str(health["path"]), host, seconds=patience)
    if answer.status in IN_DOUBT and answer.error != NO_ANSWER:
        time.sleep(2 * TICK)
        answer = ask(port, str(health["path"]), host, seconds=patience)
    if not is_healthy(answer.status, health["statuses"]):
        if answer.error.startswith(ConnectionRefusedError.__name__):
            raise EngineError(
                f"nginx does not run, so nobody can see {host}", "nginx -t && systemctl start nginx, then do it again"
            )
        raise EngineError(f"nginx answers {answer} for {host}{health['path']}", "see: journalctl -u nginx; nginx -t")
    return f"{answer} from nginx"


def verify(release: ReleasePaths, host: str, health: dict[str, Any], *, port: int = 80, senses: Senses = SENSES) -> str:
    """Ask a release that was just switched to as a visitor would. If it has died, that is the cause, and not nginx.

    :param health: the site's `health` (path, statuses, answer_timeout).
    :returns: what to tell: `200 from nginx`.
    :raises EngineError: when a visitor is not answered as he should be, with the unit's last lines where it died.
    """
    try:
        return through_nginx(host, health, port=port)
    except EngineError:
        vigil = Vigil(release, senses, lambda: "right after the switch")
        vigil.first = replace(vigil.first, state=replace(vigil.first.state, restarts=0))
        vigil.check()
        raise


def watch(
    release: ReleasePaths,
    host: str,
    health: dict[str, Any],
    seconds: float,
    *,
    port: int = 80,
    senses: Senses = SENSES,
    beside: Callable[[], None] | None = None,
) -> str:
    """Look at a release for some seconds after the switch: at its processes, and at what visitors are answered.

    It is asked through nginx and over its own socket about twice a second. An answer that nginx may give in its
    place, or none, is believed the second time.

    :param health: the site's `health` (path, statuses, answer_timeout).
    :param beside: looks at what runs beside the web server; raises when something is wrong with it.
    :returns: what to tell: `healthy for 10 s`.
    :raises EngineError: at the first clear failure, with the cause and the unit's last lines; the caller points back.
    """
    path, patience, began = str(health["path"]), answer_timeout(health), senses.now()
    vigil = Vigil(release, senses, lambda: f"{senses.now() - began:.0f} s after the switch")
    hint = where_to_look(release, path, "answer_timeout", patience)
    doubts = {"": 0, " through nginx": 0}
    while senses.now() - began < seconds:
        for where, address in zip(doubts, (release.socket, port), strict=True):
            answer = senses.ask(address, path, host, seconds=patience, meanwhile=vigil.check)
            vigil.check()
            if is_healthy(answer.status, health["statuses"]):
                doubts[where] = 0
                continue
            doubts[where] += 1
            if answer.status not in IN_DOUBT or answer.error == NO_ANSWER or doubts[where] > 1:
                raise vigil.failure(f"{unhealthy(answer, path, patience)}{where}, {vigil.when()}", hint)
        if beside is not None:
            beside()
        senses.sleep(2 * TICK)
    return f"healthy for {seconds:g} s"
