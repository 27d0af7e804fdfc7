# SPDX-License-Identifier: GPL-3.0-or-later
"""The step `uploads`: which view of a project answers below MEDIA_URL, and which only seems to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import agent_uploads

URLS = """
from functools import partial
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.conf.urls.static import static
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.urls import include, path, re_path, register_converter
from django.urls.converters import StringConverter
from django.views import View
from django.utils.functional import lazy
from django.utils.translation import get_language
from django.views.static import serve

def lazystr_of(function):
    return lazy(function, str)()

class Name(StringConverter):
    regex = r"[^/]+[.][a-z]{3}"

register_converter(Name, "name")

# A route that is another one in German, as gettext makes it.
inner = lazystr_of(lambda: "medien/<path:p>" if get_language() == "de" else "media/<path:p>")

def router(slash):
    # What one of Django REST framework makes of a viewset.
    end = "/" if slash else ""
    return [
        re_path("^$", page), re_path(f"^users{end}$", page), re_path(rf"^users/(?P<pk>[^/.]+){end}$", page),
        re_path(r"^users/(?P<pk>[^/.]+)[.](?P<format>[a-z0-9]+)/?$", page),
        re_path(r"^users\\.(?P<format>[a-z0-9]+)/?$", page),
    ]

class Files(View):
    def get(self, request, **words):
        return HttpResponse("")

def page(request, **words):
    return HttpResponse("page")

def files(request, **words):
    return HttpResponse("file")

guarded = login_required(serve)
"""


PACKAGED = """
class LoginRequiredMiddleware:
    def __init__(self, get_response):
        pass

class CorsMiddleware(LoginRequiredMiddleware):
    pass
"""


def asked(project: Any, urls: str, settings: str = "") -> dict[str, Any]:
    project.settings(f'DEBUG = False\nMEDIA_URL = "/media/"\nMEDIA_ROOT = BASE_DIR / "media"\n{settings}')
    project.write("mysite/urls.py", f"{URLS}\n{urls}\n")
    [result] = project.run({"name": "uploads"})
    assert not result.changed
    return dict(result.facts)


@pytest.mark.parametrize(
    ("urls", "settings", "route"),
    [
        pytest.param('[path("media/<path:path>", guarded)]', "", "media/<path:path>", id="a login before serve"),
        pytest.param('[path("media/<str:name>", files)]', "", "media/<str:name>", id="one directory"),
        pytest.param(
            '[path("media/<uuid:of>/<str:name>", files)]', "", "media/<uuid:of>/<str:name>", id="a directory for each"
        ),
        pytest.param('[path("media/<name:name>", files)]', "", "media/<name:name>", id="a converter of its own"),
        pytest.param('[path("media/<path:path>", Files.as_view())]', "", "media/<path:path>", id="a class"),
        pytest.param(r'[re_path(r"^media/(?P<path>.*)$", guarded)]', "", "^media/(?P<path>.*)$", id="an expression"),
        pytest.param(r'[re_path(r"^(?:media|docs)/(.*)$", guarded)]', "", "^(?:media|docs)/(.*)$", id="alternatives"),
        pytest.param(r'[re_path(r"media/([\w-]+\.pdf)", files)]', "", r"media/([\w-]+\.pdf)", id="one kind of files"),
        pytest.param(
            '[path("media/", include([path("<path:path>", guarded)]))]', "", "media/<path:path>", id="an include"
        ),
        pytest.param(
            '[path("", page), path("media/<path:path>", guarded), re_path("^.*$", page)]', "", "media/<path:path>",
            id="before a catch-all",
        ),
        pytest.param('[path("up/f/<path:p>", guarded)]', 'MEDIA_URL = "/up/f/"', "up/f/<path:p>", id="a deeper path"),
        pytest.param('[path("files/<path:p>", guarded)]', 'MEDIA_URL = "files/"', "files/<path:p>", id="relative"),
        pytest.param(
            '[path("media/<path:p>", guarded)]', 'FORCE_SCRIPT_NAME = "/app"\nMEDIA_URL = "media/"', "media/<path:p>",
            id="below a prefix that ASGI takes away",
        ),
        pytest.param(
            '[path("app/media/<path:p>", guarded)]', 'FORCE_SCRIPT_NAME = "/app"\nMEDIA_URL = "media/"',
            "app/media/<path:p>", id="below a prefix that WSGI leaves",
        ),
        pytest.param(
            'i18n_patterns(path("media/<path:p>", guarded), prefix_default_language=False)', "", "media/<path:p>",
            id="in the default language",
        ),
        pytest.param(
            '[path(inner, guarded)]', 'MEDIA_URL = "/medien/"', "medien/<path:p>", id="translated, to any language",
        ),
        pytest.param(
            'i18n_patterns(path(inner, guarded))', 'MEDIA_URL = "/de/medien/"', "de/medien/<path:p>",
            id="translated, below its language",
        ),
        pytest.param('[path("media/<path:path>/", guarded)]', "", "media/<path:path>/", id="with a slash"),
        pytest.param(
            '[path("download/<path:p>", guarded)]', 'MEDIA_URL = "/download/files/"', "download/<path:p>",
            id="from above on",
        ),
        pytest.param(
            '[path("files/<slug:kind>/<path:p>", guarded)]', 'MEDIA_URL = "/files/media/"',
            "files/<slug:kind>/<path:p>", id="from above on, by kinds",
        ),
        pytest.param('[path("app/<path:url>", page)]', 'MEDIA_URL = "/app/media/"', "app/<path:url>", id="pages above"),
        pytest.param(
            '[path("a b/<path:p>", guarded)]', 'MEDIA_URL = "/a%20b/"', "a b/<path:p>", id="quoted",
        ),
        pytest.param(r'[re_path(r"^.*media/", guarded)]', "", "^.*media/", id="wherever it stands"),
        pytest.param(r'[re_path(r"(?i)^[m]EDIA/", guarded)]', "", "(?i)^[m]EDIA/", id="in any case"),
        pytest.param(
            'i18n_patterns(path("media/<path:p>", guarded))', 'MEDIA_URL = "/de/media/"', "de/media/<path:p>",
            id="in another language",
        ),
    ],
)  # fmt: skip
def test_a_view_that_names_the_path_of_uploads_guards_them(project: Any, urls: str, settings: str, route: str) -> None:
    facts = asked(project, f"urlpatterns = {urls}", settings)
    assert (facts["route"], facts["guards"]) == (route, True)


@pytest.mark.parametrize(
    ("urls", "settings"),
    [
        pytest.param('[path("", page), path("admin/", admin.site.urls)]', "", id="no view there"),
        pytest.param('static("/media/", document_root=settings.MEDIA_ROOT)', "", id="the helper, without DEBUG"),
        pytest.param('[re_path("^.*$", page)]', "", id="a single-page application"),
        pytest.param('[re_path("^(?!api/|admin/).*$", page)]', "", id="one that spares something"),
        pytest.param('[path("<path:url>", page)]', "", id="pages of a CMS"),
        pytest.param('[path("<slug:site>/<path:url>", page)]', "", id="pages of several sites"),
        pytest.param(r'[re_path(r"^((?:[\w\-]+/)*)$", page)]', "", id="pages of Wagtail"),
        pytest.param(
            'i18n_patterns(path("<path:url>", page), prefix_default_language=False)', "", id="translated pages"
        ),
        pytest.param('i18n_patterns(path("<path:url>", page))', 'MEDIA_URL = "/de/media/"', id="below a language"),
        pytest.param('[path("<slug:category>/<int:key>/", page)]', "", id="pages of numbers"),
        pytest.param('[path("media/", page)]', "", id="a page about media"),
        pytest.param('[path("api/", include(router(True)))]', "", id="an API of its own"),
        pytest.param('[path("", include(router(False))), path("<path:url>", page)]', "", id="without slashes"),
        pytest.param('[path("mediatheque/<path:p>", page)]', "", id="a longer name"),
        pytest.param('[path("media/<path:path>", guarded)]', 'MEDIA_URL = "https://cdn.test/media/"', id="elsewhere"),
        pytest.param('[path("<path:path>", guarded)]', 'MEDIA_URL = "/"', id="everywhere"),
        pytest.param('[path("media/<path:path>", guarded)]', "ROOT_URLCONF = None", id="no URLs at all"),
    ],
)
def test_what_only_happens_to_match_guards_nothing(project: Any, urls: str, settings: str) -> None:
    facts = asked(project, f"urlpatterns = {urls}", settings)
    assert (facts["view"], facts["guards"], facts["below"]) == (None, False, [])


def test_without_a_media_url_nothing_is_asked(project: Any) -> None:
    facts = asked(project, 'urlpatterns = [path("media/<path:path>", guarded)]', 'MEDIA_URL = ""')
    assert (facts["media_path"], facts["view"]) == (None, None)


@pytest.mark.parametrize(
    ("view", "middleware", "guards"),
    [
        ("serve", "", False),
        ("partial(serve, document_root=settings.MEDIA_ROOT)", "", False),
        ("login_required(serve)", "", True),
        ("serve", "django.contrib.auth.middleware.LoginRequiredMiddleware", True),
        ("partial(serve, show_indexes=False)", "django.contrib.auth.middleware.LoginRequiredMiddleware", True),
        ("serve", "django.contrib.auth.middleware.AuthenticationMiddleware", False),
    ],
)
def test_serve_as_it_is_guards_nothing(project: Any, view: str, middleware: str, guards: bool) -> None:
    more = f'MIDDLEWARE += ["{middleware}"]' if middleware else ""
    facts = asked(project, rf'urlpatterns = [re_path(r"^media/(?P<path>.*)$", {view})]', more)
    assert (facts["view"], facts["guards"]) == ("django.views.static.serve", guards)


@pytest.mark.parametrize(
    ("urls", "route"),
    [
        pytest.param(
            r'[re_path(r"^media/documents/(\d+)/(.*)$", files)]', r"^media/documents/(\d+)/(.*)$",
            id="numbers, as documents of Wagtail",
        ),
        pytest.param(
            '[path("media/documents/", include([re_path(r"^(\\d+)/(.*)$", files)]))]', r"media/documents/(\d+)/(.*)$",
            id="numbers in an include",
        ),
        pytest.param(
            '[path("media/user_<int:uid>/<str:name>", files)]', "media/user_<int:uid>/<str:name>", id="a part of a name"
        ),
        pytest.param('[path("media/<int:pk>/original", files)]', "media/<int:pk>/original", id="one word"),
        pytest.param('[path("media/<int:pk>/original/", files)]', "media/<int:pk>/original/", id="with a slash"),
        pytest.param(
            r'[re_path(r"^(?:media|files)/(?P<p>\d+)\.docx$", files)]', r"^(?:media|files)/(?P<p>\d+)\.docx$",
            id="alternatives, and kinds of files",
        ),
        pytest.param(
            '[re_path("^.*$", page), path("media/<int:pk>.pdf", files)]', "media/<int:pk>.pdf", id="behind a catch-all"
        ),
        pytest.param('[path("media/<slug:album>/", page)]', "media/<slug:album>/", id="albums, perhaps"),
        pytest.param(
            '[path("", include(router(True))), re_path(r"^media/(?P<pk>[^/.]+)/$", page)]', "^media/(?P<pk>[^/.]+)/$",
            id="a viewset of that name",
        ),
    ],
)  # fmt: skip
def test_a_view_guards_what_no_name_was_thought_of_for(project: Any, urls: str, route: str) -> None:
    facts = asked(project, f"urlpatterns = {urls}")
    assert [facts["route"]] * (facts["view"] is not None) + [each["route"] for each in facts["below"]] == [route]


@pytest.mark.parametrize(
    "urls",
    [
        pytest.param(r'[re_path("^media/?$", page)]', id="nothing below"),
        pytest.param(r'[re_path(r"^media/(\d+)[.]pdf$", serve)]', id="nothing is asked"),
    ],
)
def test_pages_about_media_guard_no_files(project: Any, urls: str) -> None:
    facts = asked(project, f"urlpatterns = {urls}")
    assert (facts["view"], facts["below"]) == (None, [])


def test_a_view_for_a_part_of_the_uploads_is_told_of(project: Any) -> None:
    facts = asked(
        project,
        'urlpatterns = [path("media/private/<path:path>", guarded), path("media/thumbs/<path:path>", serve),'
        ' re_path("^.*$", page)]',
    )
    assert facts["view"] is None
    assert facts["below"] == [{"route": "media/private/<path:path>", "view": "django.views.static.serve"}]


OWN = """
from functools import partial
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.middleware.gzip import GZipMiddleware

class Everybody(LoginRequiredMiddleware):
    pass

class Members:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        return self.get_response(request)

def members(get_response):
    return get_response

half = partial(members)
"""


@pytest.mark.parametrize(
    ("middleware", "behind"),
    [
        ("django.contrib.auth.middleware.LoginRequiredMiddleware", True),
        ("mysite.own.Everybody", True),
        ("mysite.own.Members", True),
        ("mysite.own.members", True),
        ("mysite.own.half", True),
        ("mysite.own.GZipMiddleware", False),  # Django's, wherever it was imported from
        ("stronghold.middleware.LoginRequiredMiddleware", True),
        ("corsheaders.middleware.CorsMiddleware", False),
    ],
)
def test_serve_behind_a_middleware_that_may_refuse_it(project: Any, middleware: str, behind: bool) -> None:
    project.write("mysite/own.py", OWN)
    for package in ("stronghold", "corsheaders"):  # as if it were installed
        project.write(f"site-packages/{package}/__init__.py", "")
        project.write(f"site-packages/{package}/middleware.py", PACKAGED)
    lines = ["import sys", 'sys.path.append(str(BASE_DIR / "site-packages"))', f'MIDDLEWARE += ["{middleware}"]']
    facts = asked(project, 'urlpatterns = [path("media/<path:path>", serve)]', "\n".join(lines))
    assert (facts["view"], facts["guards"]) == ("django.views.static.serve", behind)
    assert facts["behind"] == (middleware if behind else None)


def test_django_lets_everybody_see_a_view_that_says_so(project: Any) -> None:
    urls = "from django.contrib.auth.decorators import login_not_required\n"
    more = 'MIDDLEWARE += ["django.contrib.auth.middleware.LoginRequiredMiddleware"]'
    urls += 'urlpatterns = [path("media/<path:path>", login_not_required(serve))]'
    assert asked(project, urls, more)["guards"] is False


def test_a_project_without_accounts_is_asked_as_well(project: Any) -> None:
    project.settings('INSTALLED_APPS = ["shop"]\nMIDDLEWARE = ["django.middleware.common.CommonMiddleware"]')
    project.settings('DEBUG = False\nMEDIA_URL = "/media/"')
    project.write(
        "mysite/urls.py",
        "from django.urls import path\nfrom django.views.static import serve\n"
        'urlpatterns = [path("media/<path:path>", serve)]\n',
    )
    [result] = project.run({"name": "uploads"})
    assert (result.facts["view"], result.facts["guards"]) == ("django.views.static.serve", False)


@pytest.mark.parametrize(
    ("url", "script", "places"),
    [
        ("/media/", "", ["/media/"]),
        ("media", "", ["/media/"]),
        ("/a//b/", "", ["/a/b/"]),
        ("/app/media/", "/app", ["/app/media/", "/media/"]),
        ("/m%C3%A9dia/", "", ["/m%C3%A9dia/", "/m\u00e9dia/"]),
        ("//cdn.test/media/", "", []),
        ("/", "", []),
    ],
)
def test_paths_a_media_url_means(url: str, script: str, places: list[str]) -> None:
    assert agent_uploads.places_of(url, script) == places
