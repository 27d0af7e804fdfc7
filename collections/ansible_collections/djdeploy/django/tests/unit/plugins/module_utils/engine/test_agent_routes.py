# SPDX-License-Identifier: GPL-3.0-or-later
"""Which patterns of a URLconf name a path of uploads, told without trying a name of a file."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import agent_routes
from django.urls import include, path, re_path


def view(*words: Any) -> None:
    """Never called."""


def named(place: str, *patterns: Any) -> list[str]:
    return [route for route, _view in agent_routes.that_name(place, patterns)]


GUARDS = [
    # Whatever a pattern wants below the path: one part of an address, a number, a digest, a word, a slash at the end.
    ("/media/", "media/<path:p>"),
    ("/media/", "media/<path:p>/"),
    ("/media/", "media/<str:name>"),
    ("/media/", "media/<slug:album>/"),
    ("/media/", "media/<int:pk>/original"),
    ("/media/", "media/<int:pk>.pdf"),
    ("/media/", "media/user_<int:uid>/<str:name>"),
    ("/media/", "media/terms.pdf"),
    ("/media/", "media/upload"),
    # A part of the path asked for, and the rest taken by what takes anything.
    ("/download/files/", "download/<path:p>"),
    ("/media/uploads/", "media/<path:p>"),
    ("/files/media/", "files/<slug:kind>/<path:p>"),
    ("/files/media/", "<slug:kind>/media/<path:p>"),
    ("/a/b/c/", "a/<slug:x>/c/<int:pk>/"),
    ("/m1/", "m<int:pk>/<path:p>"),
    ("/_/", "_/<path:p>"),
    ("/2026/", "2026/<path:p>"),
    ("/média/", "média/<path:p>"),
    ("/Up-Load/", "Up-Load/<path:p>"),
]
EXPRESSIONS = [
    ("/media/", r"^media/(?P<path>.*)$"),
    ("/media/", r"media/(.*)"),
    ("/media/", r"^media/"),
    ("/media/", r"^med"),
    ("/media/", r"^(?:media|files)/(?P<p>\d+)\.docx$"),
    ("/media/", r"(?i)^media/"),
    ("/media/", r"(?i)^MEDIA/(.*)$"),
    ("/media/", r"^(?i:MEDIA)/(.*)$"),
    ("/media/", r"\Amedia/"),
    ("/media/", r"\Amedia/(.*)\Z"),
    ("/media/", r"^/?media/"),
    ("/media/", r"^(media)/"),
    ("/media/", r"^(?P<x>m)(e)(d)ia/"),
    ("/media/", r"^[m]edia/"),
    ("/media/", r"^[mM][eE][dD][iI][aA]/.+$"),
    ("/media/", r"^.*media/"),
    ("/media/", r"^.*?media/(\d+)$"),
    ("/media/", r"^[^/]*dia/\d+\.docx$"),
    ("/media/", r"^[a-m]+/.*$"),
    ("/media/", r"^\w{3}ia/.*$"),
    ("/media/", r"^(?:app/)?media/.*$"),
    ("/media/", r"^(?:media/)?.*$"),
    ("/media/", r"^(?:.*|media/x)$"),
    ("/media/", r"^(?:m|n)(?:e|f)dia/\w+"),
    ("/media/", r"^m.d.a/\d{3}$"),
    ("/media/", r"^media\/(\d+.*)/?$"),
    ("/media/", r"^media/[0-9a-f]{64}$"),
    ("/media/", r"^media/([^/]+)/$"),
    ("/media/", r"^media/(?!public/).*$"),
    ("/media/", r"^media/(?:(?P<a>\d+)-)?(?(a)x|y)\.docx$"),
    ("/media/", r"^media/(?P<a>\d)(?P=a)$"),
    ("/media/", r"(?m)^media/.*$"),
    ("/media/", r"^(?>media)/(?:x|y)++$" if sys.version_info >= (3, 11) else "^media/"),
    ("/media/", r"(?s)^media/.*$"),
    ("/media/", r"(?x) ^ media / \d+ $"),
    ("/media/", r"(?a)^media/\w+$"),
    ("/media/", r"^\x6dedia/(.*)$"),
    ("/media/", r"^media\b.*$"),
    ("/media/", r"^[^\W_]edia/.*$"),
    ("/media/", "(?i)^med\u0131a/|^media/"),
    # Only for the path, though nothing of it stands in what takes the characters.
    ("/media/", r"^(?=media/).*$"),
    ("/media/", r"^(?!(?!media/)).*$"),
    ("/media/", r"^(?!(?:zqxj|hb|pyluc)).*media$|^(?=m).*$"),
    ("/media/", r"^(?![^m]|m[^e]|me[^d]).*$"),
    ("/media/", r"^.{6}(?<=media/).*$"),
    ("/x-media/", r"^x-media/\d+"),
    ("/fade/", r"^fade/[0-9]+$"),
    ("/.well/", r"^\.well/"),
]
OTHERS = [
    ("/media/", ""),
    ("/media/", "admin/"),
    ("/media/", "media/"),
    ("/media/", "mediatheque/<path:p>"),
    ("/media/", "api/media/<path:p>"),
    ("/media/", "<path:url>"),
    ("/media/", "<slug:page>/"),
    ("/media/", "<slug:category>/<int:pk>/"),
    ("/media/", "<str:user>/settings"),
    ("/media/", "<str:user>/media/<path:p>"),
    ("/media/", "<slug:site>/<path:url>"),
    ("/media/", "<int:year>/<path:p>"),
    ("/media/", "@<str:user>/<path:p>"),
    ("/my-media/", "<slug:name>-<int:pk>/"),
    ("/app/media/", "<slug:a>/<slug:b>/<path:p>"),
    ("/media/", "static/<path:p>"),
]
OTHER_EXPRESSIONS = [
    ("/media/", r""),
    ("/media/", r"^"),
    ("/media/", r"^$"),
    ("/media/", r"^.*$"),
    ("/media/", r"(?<!/)$"),
    ("/media/", r"^(?P<url>.+(?<!/))$"),
    ("/media/", r"^(?P<url>.*\b[^/])$"),
    ("/media/", r"^(?:.*)/?$"),
    ("/media/", r".*"),
    ("/media/", r"^media/?$"),
    ("/media/", r"^media$"),
    ("/media/", r"^media/\Z"),
    ("/media/", r"^/media/"),
    ("/media/", r"^edia/"),
    ("/media/", r"edia/(\d+)$"),  # all of it has to match: it ends in $ (RegexPattern.match)
    ("/media/", r"^MEDIA/"),
    ("/media/", r"^(?!api).*$"),
    ("/media/", r"^(?!api/|admin/|static/).*$"),
    ("/media/", r"^(?!media/).*$"),
    ("/media/", r"^(?!api/)(?P<slug>[\w-]+)/(?P<pk>\d+)/$"),
    ("/media/", r"^(?P<path>(?:[\w-]+/)*)(?P<slug>[\w-]+)/$"),
    ("/media/", r"^((?:[\w\-]+/)*)$"),
    ("/media/", r"^(?P<lang>[a-z]{2})/.*$"),
    ("/media/", r"^(?P<lang>[a-z]{2}(?:-[a-z]{2})?/)?(?P<page>[\w/-]*)$"),
    ("/media/", r"^[^/]+/[^/]+\.html$"),
    ("/media/", r"^(?:.*/)?index\.html$"),
    ("/media/", r"^.*\.(?:js|css|png)$"),
    ("/media/", r"^\w+/\d+$"),
    ("/media/", r"api/users"),
    ("/media/", r"(?i)^[A-Z]+/.*$"),
    ("/M1-x/", r"^[A-Za-z0-9_-]+/.*$"),
    ("/média/", r"^[^/]+/.*$"),
    ("/média/", r"^\w+/.*$"),
    ("/_/", r"^[\w-]/.*$"),
]


@pytest.mark.parametrize(("place", "route"), GUARDS)
def test_route_that_names_a_path(place: str, route: str) -> None:
    assert named(place, path(route, view)) == [route]


@pytest.mark.parametrize(("place", "regex"), EXPRESSIONS)
def test_expression_that_names_a_path(place: str, regex: str) -> None:
    assert named(place, re_path(regex, view)) == [regex]


@pytest.mark.parametrize(("place", "route"), OTHERS)
def test_route_that_does_not(place: str, route: str) -> None:
    assert named(place, path(route, view)) == []


@pytest.mark.parametrize(("place", "regex"), OTHER_EXPRESSIONS)
def test_expression_that_does_not(place: str, regex: str) -> None:
    assert named(place, re_path(regex, view)) == []


@pytest.mark.parametrize(
    ("place", "patterns", "routes"),
    [
        ("/media/", [path("media/", include([path("<path:p>", view)]))], ["media/<path:p>"]),
        ("/media/", [path("media/", include([path("", view)]))], []),
        ("/media/", [path("", include([re_path(r"^media/(\d+)$", view)]))], [r"^media/(\d+)$"]),
        ("/media/", [path("me", include([re_path(r"^dia/(\d+)$", view)]))], [r"media/(\d+)$"]),
        ("/media/", [re_path("^", include([path("media/<int:pk>/", view)]))], ["^media/<int:pk>/"]),
        ("/media/", [path("<path:p>/", include([path("media/<int:pk>", view)]))], []),
        ("/up/media/", [path("<path:p>/", include([path("media/<int:pk>", view)]))], ["<path:p>/media/<int:pk>"]),
        ("/up/media/", [re_path("up/", include([re_path("media", view)]))], ["up/media"]),
        ("/media/", [re_path("(?=media/)", include([re_path("^.*$", view)]))], ["(?=media/).*$"]),
        ("/media/", [re_path("^(?!api/)", include([re_path("^.*$", view)]))], []),
        ("/media/", [path("x/", include([path("media/a", view)])), path("media/b", view)], ["media/b"]),
        ("/de/media/", [path("de/", include([path("<path:p>", view)]))], ["de/<path:p>"]),
    ],
)  # fmt: skip
def test_patterns_that_include_others(place: str, patterns: list[Any], routes: list[str]) -> None:
    assert named(place, *patterns) == routes


@pytest.mark.parametrize(
    "regex",
    [
        "^" + "(" * 19 + "a" + "*)" * 19 + "*media/x$",
        "^" + "(" * 19 + "a" + "{9})" * 19 + "media/",
        r"^(?:\w|\w\w|\w\w\w|m|e|d|i|a)*(?:\w|[a-z]|/)*(?:.*.*.*.*.*.*)*x$",
        "^(?:" + "|".join(f"{number:05}" for number in range(5000)) + ")/.*$",
        "^" + "(?:.*" * 60 + "x" + ")?" * 60 + "$",
        "^.{0,4000}.{3000}.{3000}$",
    ],
    ids=range(6),
)
def test_no_expression_takes_long(regex: str) -> None:
    begun = time.monotonic()
    named("/media/uploads/of/visitors/", re_path(regex, view))
    assert time.monotonic() - begun < 5


class Own:
    """A pattern of somebody's own, of which nothing is known."""

    def __str__(self) -> str:
        return "own"


def test_what_is_not_known_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = path("x", view)
    pattern.pattern = Own()  # type: ignore[assignment]
    assert named("/media/", pattern) == ["own"]
    monkeypatch.setattr(
        agent_routes.Walk, "step", lambda self, kind, *_rest: (each for each in ()).throw(agent_routes.Unknown(kind))
    )
    assert named("/media/", re_path("^x$", view)) == ["^x$"]


@pytest.mark.parametrize("kind", ["NEGATE", "LITERAL", "RANGE", "CATEGORY"])
def test_kinds_of_a_set_are_known(kind: str) -> None:
    tree = agent_routes.parser.parse(r"[^a-c\dx]")
    [(_kind, value)] = tree
    assert kind in {each.name for each, _what in value}
    wanted = {char: bool(re.match(r"[^a-c\dx]", char)) for char in "abcdx0Z/"}
    assert {char: agent_routes.takes("IN", tuple(value), 0, char) for char in wanted} == wanted


@pytest.mark.parametrize("regex", [regex for _place, regex in (*EXPRESSIONS, *OTHER_EXPRESSIONS)])
def test_whole_addresses_are_matched_as_re_does_it(regex: str) -> None:
    compiled = re.compile(regex)
    if any(what in regex for what in ("(?P=", "(?(", "(?>", "++")):
        return  # not tried
    for address in ("media/7", "media/7/", "zqxj", "zqxj/kv/", "x.docx", "media/a.pdf", "", "media/7.docx"):
        assert agent_routes.fit([(compiled, False)], address) is bool(compiled.search(address)), address


def test_a_walk_finds_every_way_there_is() -> None:
    """What an expression takes in truth, the walk finds, too."""
    for _place, regex in (*EXPRESSIONS, *OTHER_EXPRESSIONS):
        compiled = re.compile(regex)
        for name in ("7", "7/", "7/original", "a.pdf", "0.docx", "x/y/z.html", "77", "1-x.docx", "y.docx"):
            if compiled.search(f"media/{name}"):
                assert agent_routes.Way("media/").by(compiled).points, (regex, name)
