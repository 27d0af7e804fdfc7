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
from django.views.static import serve

class Name(StringConverter):
    regex = r"[^/]+[.][a-z]{3}"

register_converter(Name, "name")

class Files(View):
    def get(self, request, **words):
        return HttpResponse("")

def page(request, **words):
    return HttpResponse("page")

def files(request, **words):
    return HttpResponse("file")

guarded = login_required(serve)
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
        pytest.param('[path("app/<path:url>", page)]', 'MEDIA_URL = "/app/media/"', id="pages below a path"),
        pytest.param('[path("media/", page), path("media/<int:key>/", page)]', "", id="a page about media"),
        pytest.param('[path("media/<slug:album>/", page)]', "", id="albums"),
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
    ("urls", "path", "route"),
    [
        pytest.param(
            r'[re_path(r"^media/documents/(\d+)/(.*)$", files)]',
            "/media/documents/", r"^media/documents/(\d+)/(.*)$", id="numbers, as documents of Wagtail",
        ),
        pytest.param(
            '[path("media/documents/", include([re_path(r"^(\\d+)/(.*)$", files)]))]',
            "/media/documents/", r"media/documents/(\d+)/(.*)$", id="numbers in an include",
        ),
        pytest.param(
            '[path("media/user_<int:uid>/<str:name>", files)]', "/media/", "media/user_<int:uid>/<str:name>",
            id="a part of a name",
        ),
        pytest.param(
            r'[re_path(r"^media/(?P<p>.*\.(docx|xlsx))$", files)]', "/media/", r"^media/(?P<p>.*\.(docx|xlsx))$",
            id="kinds of files",
        ),
        pytest.param(r'[re_path(r"^media/([0-9a-f]{9})$", files)]', "/media/", r"^media/([0-9a-f]{9})$", id="digests"),
        pytest.param(r'[re_path(r"^media/(\d+.*)/?$", files)]', "/media/", r"^media/(\d+.*)/?$", id="a slash or none"),
        pytest.param(
            '[path("media/invoices/<int:pk>.pdf", files)]', "/media/invoices/", "media/invoices/<int:pk>.pdf",
            id="a number and an extension",
        ),
        pytest.param(r'[re_path(r"^media\/x\-y\/(\d+)", files)]', "/media/x-y/", r"^media\/x\-y\/(\d+)", id="escaped"),
        pytest.param('[re_path("^media/private/", files)]', "/media/private/", "^media/private/", id="and all below"),
        pytest.param('[path("media/terms.pdf", files)]', "/media/", "media/terms.pdf", id="one file"),
        pytest.param(
            '[re_path("^.*$", page), path("media/<int:pk>.pdf", files)]', "/media/", "media/<int:pk>.pdf",
            id="behind a catch-all",
        ),
    ],
)  # fmt: skip
def test_a_view_guards_what_no_name_was_thought_of_for(project: Any, urls: str, path: str, route: str) -> None:
    facts = asked(project, f"urlpatterns = {urls}")
    assert [facts["route"]] * (facts["view"] is not None) + [each["route"] for each in facts["below"]] == [route]
    assert all((each["path"], each["view"]) == (path, "mysite.urls.files") for each in facts["below"])


@pytest.mark.parametrize(
    "urls",
    [
        pytest.param(r'[re_path(r"^media/(\d+)/$", page), re_path("^media/?$", page)]', id="pages end in a slash"),
        pytest.param(r'[re_path(r"^media/(\d+)/edit/?$", page), path("media/upload", page)]', id="or in a word"),
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
        ' path("media/<int:key>/edit", page), re_path("^.*$", page)]',
    )
    assert facts["view"] is None
    assert facts["below"] == [
        {"path": "/media/private/", "route": "media/private/<path:path>", "view": "django.views.static.serve"}
    ]


OWN_MIDDLEWARE = """
from django.contrib.auth.middleware import LoginRequiredMiddleware

class Everybody(LoginRequiredMiddleware):
    pass
"""


def test_a_middleware_made_of_djangos_guards_too(project: Any) -> None:
    project.write("mysite/everybody.py", OWN_MIDDLEWARE)
    more = 'MIDDLEWARE += ["mysite.everybody.Everybody"]'
    assert asked(project, 'urlpatterns = [path("media/<path:path>", serve)]', more)["guards"] is True


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
    ("place", "twin"),
    [("/media/", "/zrqvn/"), ("/a/media/", "/a/zrqvn/"), ("/m1/", "/z6/"), ("/_/", "/_x/"), ("/Up-Load/", "/Hc-Ybnq/")],
)
def test_twin_is_of_the_same_kind_and_another_path(place: str, twin: str) -> None:
    assert agent_uploads.twin_of(place) == twin
