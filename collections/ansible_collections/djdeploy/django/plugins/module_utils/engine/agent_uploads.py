# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `uploads`: whether the project answers below MEDIA_URL itself, as one does that guards its uploads.

nginx serves MEDIA_ROOT before the application is asked, so a view with a login at MEDIA_URL would never see a request.
Django is asked what it would do with the names of files there, with DEBUG off, so what `static()` of
django.conf.urls adds for a developer is not there.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from .agent_words import Outcome, Request, outcome

#: Names uploads have. A view of files takes some of them (<str:name>, <path:name>, [\w-]+\.pdf), any other view none.
PROBES = (
    "djdeploy-probe.txt",
    "djdeployprobe.jpg",
    "djdeploy_probe.pdf",
    "djdeploy/probe.txt",
    "2026/djdeploy-probe.txt",
    "0b0f1c1e-5d0c-4d3a-9a57-3f2c1a9e7b10/djdeploy-probe.pdf",
    "2026/01/31/djdeploy-probe.png",
    "djdeploy/2026/djdeploy-probe.pdf",
)


def uploads(request: Request, predict: bool) -> Outcome:
    """Which view of the project answers below MEDIA_URL, and those that may guard a part of what lies there.

    Facts: `media_path`, that of MEDIA_URL; `view` and `route` of the first, or None; `guards`, whether it may do more
    than hand the file out; `below`, a list of {path, route, view} of the others, `path` the directory they name.
    """
    from django.conf import settings

    url = settings._wrapped.MEDIA_URL and settings.MEDIA_URL  # of an empty one Django makes "/" with a script prefix
    has_urls = getattr(settings, "ROOT_URLCONF", "")
    places = places_of(str(url or ""), settings.FORCE_SCRIPT_NAME or "") if has_urls else []
    matches: list[Any] = [match for place in places for match in matches_that_name(place)]
    # Of a view with a guard and one without, the first one decides: it may be there for some kinds of files only.
    match = next((each for each in matches if guards(each.func)), matches[0] if matches else None)
    return outcome(
        False,
        media_path=places[0] if places else None,
        view=named(match.func) if match else None,
        route=match.route if match else None,
        guards=guards(match.func) if match else False,
        below=[
            each for place in places for each in views_below(place) if match is None or each["route"] != match.route
        ],
    )


def places_of(url: str, script: str) -> list[str]:
    """The paths a MEDIA_URL means to the URLconf, with a slash at both ends; none where it is another host's, or "/".

    With FORCE_SCRIPT_NAME two of them: ASGI takes the prefix away before it resolves a path, and WSGI leaves that to
    the server (django.core.handlers).
    """
    parts = urlsplit(url)
    path = parts.path.strip("/")
    if parts.scheme or parts.netloc or not path:
        return []
    script = script.strip("/")
    inner = path.removeprefix(f"{script}/") if script else path
    return [f"/{each}/" for each in dict.fromkeys((path, inner))]


def matches_that_name(place: str) -> list[Any]:
    """The matches of files below a path whose patterns are made for that path.

    A pattern is not when it takes a file below another path as well: the catch-all of a single-page application,
    the pages of a CMS. So the last part of the path is replaced by one of the same kind of characters.
    """
    twin = twin_of(place)
    with as_visitors_begin(place):
        found = [(resolved(place + probe), resolved(twin + probe)) for probe in PROBES]
    return [match for match, other in found if match and not same(match, other)]


def twin_of(place: str) -> str:
    """A path like this one that no project has: other letters and digits in its last part."""
    head, last = place.rstrip("/").rsplit("/", 1)
    other = codecs.encode(last, "rot13").translate(str.maketrans("0123456789", "5678901234"))
    return f"{head}/{other if other != last else f'{last}x'}/"


def resolved(path: str) -> Any:
    from django.urls import Resolver404, resolve

    try:
        return resolve(path)
    except Resolver404:
        return None


def same(one: Any, other: Any) -> bool:
    """Whether two matches are of one pattern."""
    return bool(other) and (one.route, one.func, one.namespaces) == (other.route, other.func, other.namespaces)


def as_visitors_begin(place: str) -> Any:
    """The language a request for a path begins with, which i18n_patterns and translated routes go by."""
    from django.conf import settings
    from django.utils import translation

    first = place.strip("/").partition("/")[0].lower()
    codes = {code.lower(): code for code, _name in settings.LANGUAGES}
    return translation.override(codes.get(first, settings.LANGUAGE_CODE))


def guards(view: Any) -> bool:
    """Whether a view may refuse a file: every one but Django's own `serve` as it is, which hands out what is there.

    Where Django's LoginRequiredMiddleware is, that one refuses strangers, too.
    """
    from django.views.static import serve

    bare = view
    while isinstance(bare, functools.partial):
        bare = bare.func
    return bare is not serve or (getattr(view, "login_required", True) and everybody_logs_in())


def everybody_logs_in() -> bool:
    """Whether a middleware asks for a login at every view: Django's (since 5.1), or one made of it.

    Told by its name: its module cannot be imported where django.contrib.auth is not installed.
    """
    from django.conf import settings
    from django.utils.module_loading import import_string

    bases = (base for path in settings.MIDDLEWARE for base in getattr(import_string(path), "__mro__", ()))
    wanted = ("django.contrib.auth.middleware", "LoginRequiredMiddleware")
    return any((base.__module__, base.__qualname__) == wanted for base in bases)


def views_below(place: str) -> list[dict[str, str]]:
    """Views that may guard uploads: their route begins with a path, as it stands, and goes on to names files have.

    No name is tried: a pattern may want a number, a digest, or an extension that nobody thinks of.
    """
    from django.urls import get_resolver

    found: dict[str, dict[str, str]] = {}
    with as_visitors_begin(place):
        for route, each in routes(get_resolver().url_patterns):
            begins = f"/{literal(route)}"
            if begins.startswith(place) and takes_files(route, each.pattern) and guards(each.callback):
                directory = begins.rpartition("/")[0] + "/"
                found.setdefault(route, {"path": directory, "route": route, "view": named(each.callback)})
    return list(found.values())


def routes(patterns: Iterable[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The whole route of each pattern, as a match tells it, and the pattern."""
    for each in patterns:
        own = str(each.pattern)
        route = before + (own.removeprefix("^") if before else own)
        if hasattr(each, "url_patterns"):
            yield from routes(each.url_patterns, route)
        else:
            yield route, each


def literal(route: str) -> str:
    """What a route begins with as it stands, before the first thing that varies."""
    as_it_stands = re.match(r"(?:[^<(\[*+?.|${\\]|\\\W)*", route.removeprefix("^"))
    return re.sub(r"\\(\W)", r"\1", as_it_stands[0] if as_it_stands else "")


def takes_files(route: str, pattern: Any) -> bool:
    """Whether a route may match what a file is called: not where it ends in a slash, or in one word (`edit`).

    :param pattern: its last part. An expression that does not end in `$` matches whatever follows it.
    """
    from django.urls.resolvers import RegexPattern

    if isinstance(pattern, RegexPattern):
        whole = re.sub(r"(?<!\\)(?:\$|\\[Zz])$", "", route)
        if whole == route:
            return True
        route = whole.removesuffix("/?")
    return re.fullmatch(r"[\w-]*", route.removeprefix("^").rpartition("/")[2]) is None


def named(view: Any) -> str:
    """A view as a person finds it, whatever it is wrapped into."""
    while isinstance(view, functools.partial):
        view = view.func
    view = getattr(view, "view_class", view)
    name = getattr(view, "__qualname__", type(view).__qualname__)
    return f"{getattr(view, '__module__', type(view).__module__)}.{name}"
