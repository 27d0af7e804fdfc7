# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `uploads`: whether the project answers below MEDIA_URL itself, as one does that guards its uploads.

nginx serves MEDIA_ROOT before the application is asked, so a view with a login at MEDIA_URL would never see a request.
Django is asked what it would do with the names of files there, with DEBUG off, so what `static()` of
django.conf.urls adds for a developer is not there.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .agent_routes import that_name, translated
from .agent_words import Outcome, Request, outcome

#: Names uploads have. A view that takes one of them is for all of the uploads, or for most.
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
#: What a middleware of a package is called that may refuse a visitor any view.
GATES = re.compile(r"login|lockdown|stronghold|basic_?auth|requir|restrict|private|protect", re.I)


def uploads(request: Request, predict: bool) -> Outcome:
    """Which view of the project answers below MEDIA_URL, and those that may guard a part of what lies there.

    Facts: `media_path`, that of MEDIA_URL; `view` and `route` of the first that is for most files there, or None;
    `guards`, whether it may do more than hand the file out, and `behind`, the middleware if that is why; `below`, a
    list of {route, view} of the others that may guard something.
    """
    from django.conf import settings

    url = settings._wrapped.MEDIA_URL and settings.MEDIA_URL  # of an empty one Django makes "/" with a script prefix
    has_urls = getattr(settings, "ROOT_URLCONF", "")
    places = places_of(str(url or ""), settings.FORCE_SCRIPT_NAME or "") if has_urls else []
    there: dict[tuple[str, Any], bool] = {}  # route and view -> whether for most files
    for place in places:
        for key, most in views_at(place):
            there[key] = there.get(key, False) or most
    # Of a view with a guard and one without, the first one decides: it may be there for some kinds of files only.
    whole = sorted((key for key, most in there.items() if most), key=lambda key: not guards(key[1]))
    route, view = whole[0] if whole else (None, None)
    guarded = bool(whole) and guards(view)
    return outcome(
        False,
        media_path=places[0] if places else None,
        view=named(view) if whole else None,
        route=route,
        guards=guarded,
        behind=gate_before(view) if guarded and is_serve(view) else None,
        below=[{"route": key[0], "view": named(key[1])} for key in there if key[0] != route and guards(key[1])],
    )


def places_of(url: str, script: str) -> list[str]:
    """The paths a MEDIA_URL means to the URLconf, with a slash at both ends; none where it is another host's, or "/".

    With FORCE_SCRIPT_NAME two of them: ASGI takes the prefix away before it resolves a path, and WSGI leaves that to
    the server (django.core.handlers). What is quoted in it reaches the URLconf as what it stands for.
    """
    parts = urlsplit(url)
    path = re.sub("/+", "/", parts.path.strip("/"))
    if parts.scheme or parts.netloc or not path:
        return []
    script = script.strip("/")
    inner = path.removeprefix(f"{script}/") if script else path
    return [f"/{each}/" for each in dict.fromkeys((path, inner, unquote(path), unquote(inner)))]


def views_at(place: str) -> Iterator[tuple[tuple[str, Any], bool]]:
    """Route and view of each pattern that names a path of uploads, and whether it is for most files there.

    A pattern with a slash at its end is, too: of the address without it Django makes the one with it (APPEND_SLASH).
    """
    from django.urls import get_resolver
    from django.utils import translation

    for language in languages_at(place):
        with translation.override(language):
            found = list(that_name(place, get_resolver().url_patterns))
            answers = [resolved(f"{place}{probe}{slash}") for probe in PROBES for slash in ("", "/")] if found else []
            most = [(match.route, match.func) for match in answers if match]
        yield from ((key, key in most) for key in found)


def resolved(path: str) -> Any:
    from django.urls import Resolver404, resolve

    try:
        return resolve(path)
    except Resolver404:
        return None


def languages_at(place: str) -> list[str]:
    """The languages a request for a path may be in, as far as that changes its patterns.

    By i18n_patterns that is the one the path begins with, or the default; translated routes go by what visitors prefer.
    """
    from django.conf import settings
    from django.urls import get_resolver

    codes = {code.lower(): code for code, _name in settings.LANGUAGES}
    first = codes.get(place.strip("/").partition("/")[0].lower(), settings.LANGUAGE_CODE)
    more = codes.values() if translated(get_resolver().url_patterns) else ()
    return list(dict.fromkeys((first, settings.LANGUAGE_CODE, *more)))


def guards(view: Any) -> bool:
    """Whether a view may refuse a file: every one but Django's own `serve` as it is, which hands out what is there.

    That one may, too, where a middleware may refuse it.
    """
    return not is_serve(view) or gate_before(view) is not None


def is_serve(view: Any) -> bool:
    from django.views.static import serve

    while isinstance(view, functools.partial):
        view = view.func
    return view is serve


def gate_before(view: Any) -> str | None:
    """The middleware that may refuse a visitor a view: one of the project's own, or one that is made for that.

    Django's (since 5.1) is told by its name: its module cannot be imported where django.contrib.auth is not installed.
    """
    from django.conf import settings
    from django.utils.module_loading import import_string

    by_django = ("django.contrib.auth.middleware", "LoginRequiredMiddleware")
    for path in settings.MIDDLEWARE:
        middleware = import_string(path)
        bases = {(base.__module__, base.__qualname__) for base in getattr(middleware, "__mro__", ())}
        if is_own(middleware) or (by_django not in bases and not is_djangos(middleware) and GATES.search(path)):
            return str(path)
        if by_django in bases and getattr(view, "login_required", True):
            return str(path)
    return None


def is_djangos(thing: Any) -> bool:
    return str(thing.__module__).partition(".")[0] == "django"


def is_own(middleware: Any) -> bool:
    """Whether a middleware is the project's own: neither Django's nor a package's of its environment."""
    while isinstance(middleware, functools.partial):
        middleware = middleware.func
    file = getattr(sys.modules.get(middleware.__module__), "__file__", None) or ""
    return not is_djangos(middleware) and not {"site-packages", "dist-packages"} & set(Path(file).parts)


def named(view: Any) -> str:
    """A view as a person finds it, whatever it is wrapped into."""
    while isinstance(view, functools.partial):
        view = view.func
    view = getattr(view, "view_class", view)
    name = getattr(view, "__qualname__", type(view).__qualname__)
    return f"{getattr(view, '__module__', type(view).__module__)}.{name}"
