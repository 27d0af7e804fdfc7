# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site says to its people: log lines with the id of their request, and a page when it fails.

nginx gives each request an id, writes it into its access log and sends it as X-Request-ID; what comes from outside
under that name never gets here. The same is true of the visitor's address in X-Forwarded-For, which the server of the
application cannot know: it listens on a unix socket. A part of the generated settings, as `djdeploy_speak`; it runs
inside the site's process.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextvars import ContextVar
from ipaddress import ip_address
from typing import Any

MIDDLEWARE = "djdeploy_speak.RequestId"
_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_current: ContextVar[str] = ContextVar("djdeploy_request_id", default="")

#: Looks like the pages nginx has; the application's own 500.html always comes before it.
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Something went wrong</title>
<style>
  :root { color-scheme: light dark; }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 1.1rem/1.6 system-ui, sans-serif; }
  main { max-width: 32rem; padding: 2rem; }
  h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; }
  p { margin: 0; opacity: .75; }
  code { font-size: .85rem; overflow-wrap: anywhere; }
</style>
</head>
<body>
<main>
  <h1>Something went wrong</h1>
  <p>The page could not be shown. Please try again in a moment.</p>
  @about@
</main>
</body>
</html>
"""


def current_id() -> str:
    """The id of the request this code runs for; empty outside of one."""
    return _current.get()


def page(request_id: str) -> bytes:
    about = f"<p>If it happens again, tell us this number: <code>{request_id}</code></p>" if request_id else ""
    return PAGE.replace("  @about@\n", f"  {about}\n" if about else "").encode()


def bare_page() -> bytes | None:
    """What Django answers to an error when the project has no 500.html."""
    from django.views import defaults

    template = getattr(defaults, "ERROR_PAGE_TEMPLATE", None)
    return (template % {"title": "Server Error (500)", "details": ""}).encode() if template else None


def give_address(meta: dict[str, Any]) -> None:
    """Put the visitor's address into REMOTE_ADDR where the server left it empty, as it does on a unix socket.

    What limits logins, counts visitors or keeps a log asks for it, and fails on an empty one.
    """
    if meta.get("REMOTE_ADDR"):
        return
    try:
        meta["REMOTE_ADDR"] = str(ip_address(meta.get("HTTP_X_FORWARDED_FOR", "").strip()))
    except ValueError:  # nothing, or nothing nginx would have written
        return


class RequestId:
    """The outermost middleware: id and address count for everything below it, and Django's bare page is replaced."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        from asgiref.sync import iscoroutinefunction, markcoroutinefunction

        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        self.bare = bare_page()
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self.is_async:
            return self.later(request)
        give_address(request.META)
        token = _current.set(self.id_of(request))
        try:
            return self.dressed(self.get_response(request))
        finally:
            _current.reset(token)

    async def later(self, request: Any) -> Any:
        give_address(request.META)
        token = _current.set(self.id_of(request))
        try:
            return self.dressed(await self.get_response(request))
        finally:
            _current.reset(token)

    @staticmethod
    def id_of(request: Any) -> str:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        return given if _ID.fullmatch(given) else ""

    def dressed(self, response: Any) -> Any:
        if response.status_code != 500 or getattr(response, "streaming", False) or not self.bare:
            return response
        if response.content == self.bare:
            response.content = page(current_id())
            if response.has_header("Content-Length"):
                response["Content-Length"] = str(len(response.content))
        return response


class JournalFormatter(logging.Formatter):
    """Every line of a record begins with the id of its request: the journal takes a traceback line by line."""

    def format(self, record: logging.LogRecord) -> str:
        text, given = super().format(record), current_id()
        if not given:
            request = getattr(record, "request", None)  # Django's own records of a request carry it
            given = RequestId.id_of(request) if hasattr(request, "META") else ""
        return "\n".join(f"[{given}] {line}" for line in text.split("\n")) if given else text
