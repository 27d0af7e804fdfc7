# SPDX-License-Identifier: GPL-3.0-or-later
"""Visitors during deploys: how many of their requests fail, and how long they take, against the same at rest.

Visitors of five kinds ask all the time, at a steady pace that leaves the machine room. In each round they are
first watched at rest for some seconds, then during one push, from its beginning until the old release has ended.
"""

from __future__ import annotations

import errno
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from .host import DOMAIN, Host, Trouble
from .report import Goal, Result, percentile, table

DEPLOYS = 20
REST_SECONDS = 3.0
MOST_SECONDS = 600.0
MOST_REQUESTS = 200_000
PATIENCE = 20.0  # seconds for one answer
REST, DEPLOY = "at rest", "deploys"


@dataclass(frozen=True)
class Kind:
    """One kind of visitor.

    :param visitors: how many of them there are.
    :param pause: seconds each waits between an answer and its next request.
    :param expected: what the body must be or hold.
    :param keeps: keeps its connection from one request to the next.
    """

    name: str
    path: str
    visitors: int
    pause: float
    expected: bytes
    keeps: bool = True
    body: bytes | None = None


KINDS = (
    Kind("new connection", "/", 2, 0.03, b"Small Shop", keeps=False),
    Kind("keep-alive", "/", 3, 0.03, b"Small Shop"),
    Kind("POST of 20 kB", "/bench/take", 2, 0.05, b"20000", body=b"x" * 20_000),
    Kind("takes 2 s", "/bench/slow?seconds=2", 2, 0.0, b"done"),
    Kind("static file", "/static/catalog/shop.css", 2, 0.03, b"{"),
)


@dataclass(frozen=True)
class Answered:
    """One request.

    :param stage: whether a deploy was under way when it began.
    :param failure: empty, or what went wrong: a status, the name of an errno or of an exception.
    :param ended: when it was answered, by the monotonic clock.
    """

    kind: str
    stage: str
    seconds: float
    failure: str = ""
    ended: float = 0.0


def failure_name(error: Exception) -> str:
    """What to count an exception as: the name of its errno where it has one."""
    number = error.errno if isinstance(error, OSError) else None
    return errno.errorcode.get(number or 0, type(error).__name__)


@dataclass
class Visitors:
    """The threads that ask, and what they were answered."""

    host: Host
    kinds: Sequence[Kind] = KINDS
    answers: list[Answered] = field(default_factory=list)  # append() of several threads at once is safe
    stage: str = REST
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self, kind: Kind, connection: http.client.HTTPConnection) -> str:
        """One request.

        :returns: what was wrong with the answer, if anything.
        """
        connection.request("POST" if kind.body else "GET", kind.path, kind.body, {"Host": DOMAIN})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            return str(response.status)
        return "" if kind.expected in body else "another body"

    def visit(self, kind: Kind) -> None:
        """Ask until it is over. Nothing is asked twice: what fails once has failed."""
        connection = http.client.HTTPConnection(self.host.address, self.host.http_port, timeout=PATIENCE)
        end = time.monotonic() + MOST_SECONDS
        while not self.over.is_set() and time.monotonic() < end and len(self.answers) < MOST_REQUESTS:
            stage, began = self.stage, time.monotonic()
            try:
                failure = self.ask(kind, connection)
            except (OSError, http.client.HTTPException) as error:
                failure = failure_name(error)
                connection.close()
            ended = time.monotonic()
            self.answers.append(Answered(kind.name, stage, ended - began, failure, ended))
            if not kind.keeps:
                connection.close()
            time.sleep(kind.pause)
        connection.close()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self.visit, args=(kind,)) for kind in self.kinds for _ in range(kind.visitors)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()


def measure(host: Host, *, deploys: int = DEPLOYS) -> Result:
    """Rest and deploy in turn, with visitors all the time."""
    result = Result("load")
    visitors = Visitors(host)
    with visitors.at_work():
        time.sleep(1)
        visitors.answers.clear()
        for number in range(1, deploys + 1):
            time.sleep(REST_SECONDS)
            version = time.time_ns()
            host.commit(version)
            visitors.stage = DEPLOY
            try:
                host.push(host.remote)
                if host.get("/bench/version") != str(version):
                    result.broken.append(f"push {number} was accepted, but another revision answers")
            except Trouble as trouble:
                result.broken.append(f"push {number}: {trouble}")
            host.wait_until_settled()
            visitors.stage = REST
    return reported(result, visitors.answers, deploys)


def reported(result: Result, answers: Sequence[Answered], deploys: int) -> Result:
    """Count and compare."""
    own = errno.errorcode[errno.EADDRNOTAVAIL]  # this side ran out of ports; that is no failure of the host's
    failed = [each for each in answers if each.failure and each.failure != own]
    ours = sum(each.failure == own for each in answers)
    rows = [["", "requests", "failed", "p50", "p99", "max", "p50 / rest", "p99 / rest"]]
    by_kind = {}
    for kind in KINDS:
        rest, busy = (
            sorted(each.seconds for each in answers if (each.kind, each.stage, each.failure) == (kind.name, stage, ""))
            for stage in (REST, DEPLOY)
        )
        wrong = Counter(f"{each.failure} ({each.stage})" for each in failed if each.kind == kind.name)
        ratios = {part: percentile(busy, part) / (percentile(rest, part) or 1) for part in (0.5, 0.99)}
        rows.append(
            [
                kind.name,
                str(len(rest) + len(busy)),
                str(wrong.total()),
                *(milliseconds(percentile(busy, part)) for part in (0.5, 0.99, 1.0)),
                *(f"{ratio:.2f}x" for ratio in ratios.values()),
            ]
        )
        by_kind[kind.name] = {
            "requests": {REST: len(rest), DEPLOY: len(busy)},
            "failed": dict(wrong),
            **{
                stage: {
                    name: round(percentile(taken, part), 4)
                    for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
                }
                for stage, taken in ((REST, rest), (DEPLOY, busy))
            },
        }
    result.text = [
        f"{deploys} deploys by push; times are during deploys, ratios to the same visitors at rest",
        *table(rows),
    ]
    result.text += [
        f"  {count} x {kind}: {failure}, {stage}"
        for (kind, failure, stage), count in Counter((each.kind, each.failure, each.stage) for each in failed).items()
    ]
    if ours:
        result.text.append(f"  {ours} x {own}: this side had no port left; not counted as failed")
    result.goals.append(Goal(f"requests failed of {len(answers) - ours} over {deploys} deploys", len(failed), "", 0))
    if failed:
        result.broken.append(f"{len(failed)} requests failed; see the table above")
    if len(answers) < deploys * 100:
        result.broken.append(f"only {len(answers)} requests were made: too few to say anything")
    result.figures = {
        "deploys": deploys,
        "requests": len(answers),
        "failed": len(failed),
        "own_ports": ours,
        "kinds": by_kind,
    }
    return result


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
