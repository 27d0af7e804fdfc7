# SPDX-License-Identifier: GPL-3.0-or-later
"""Visitors who never stop: what they saw, counted by kind."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections import Counter
from collections.abc import Callable

from hosts import Site

STYLESHEET = re.compile(r'href="(/static/[^"]+\.css)"')
UPDATED = "This site is being updated"
ANSWERED = 60.0  # seconds, after which a visitor takes a request for lost: a busy host is late, and loses none


class Visitors:
    """Asks for a page and its stylesheet again and again, and counts what comes back.

    A status, `maintenance` for the maintenance page with its Retry-After, `empty`, or the name of an exception.
    Used as a context it gives the counts, which are whole when it is left.

    :param threads: visitors; every other one keeps its connection, the others make one for each request.
    :param path: the page.
    :param mark: what an answer is counted as besides, for example the revision its page tells; None for nothing.
    :param pair: the same of a page and the stylesheet it names.
    """

    def __init__(
        self,
        site: Site,
        threads: int = 3,
        *,
        pause: float = 0.01,
        path: str = "/",
        mark: Callable[[str], str | None] = lambda _body: None,
        pair: Callable[[str, str], str | None] = lambda _page, _stylesheet: None,
    ) -> None:
        self.site, self.pause, self.path, self.mark, self.pair = site, pause, path, mark, pair
        self.seen: Counter[int | str] = Counter()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.visit, args=(number % 2 == 0,)) for number in range(threads)]

    def visit(self, keeps_connection: bool) -> None:
        machine, headers = self.site.machine, {"Host": self.site.domain}
        connection = http.client.HTTPConnection(machine.address, machine.http_port, timeout=ANSWERED)
        path, page = self.path, ""
        while not self.over.is_set():
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                body = response.read().decode()
                self.seen[kind_of(response, body)] += 1
                if path == self.path and (marked := self.mark(body)):
                    self.seen[marked] += 1
                if path != self.path and (marked := self.pair(page, body)):
                    self.seen[marked] += 1
                found, page = STYLESHEET.search(body), body
                path = found[1] if found and path == self.path else self.path
            except (OSError, http.client.HTTPException) as error:
                self.seen[type(error).__name__] += 1
                connection.close()
            if not keeps_connection:
                connection.close()
            time.sleep(self.pause)

    def __enter__(self) -> Counter[int | str]:
        for thread in self.threads:
            thread.start()
        return self.seen

    def __exit__(self, *_exception: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


def kind_of(response: http.client.HTTPResponse, body: str) -> int | str:
    """How an answer is counted."""
    if response.status == 503 and UPDATED in body and response.headers["Retry-After"]:
        return "maintenance"
    return response.status if body else "empty"
