# SPDX-License-Identifier: GPL-3.0-or-later
"""The id of a request in log lines, and the page of an error, in real Django processes, sync and async."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import overlay_speak, prepare

SETTINGS = """\
import os
ROOT_URLCONF = "urls"
SECRET_KEY = os.environ["SECRET_KEY"]
DATABASES = {}
INSTALLED_APPS = []
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [os.environ["TEMPLATES"]]}]
"""
URLS = """\
import logging
from django.http import HttpResponse, HttpResponseServerError, StreamingHttpResponse
from django.urls import path
def crash(request):
    raise RuntimeError("two\\nlines")
async def crash_async(request):
    logging.getLogger("shop").error("before it")
    raise RuntimeError("later")
def told(request):
    logging.getLogger("shop").warning("seen")
    return HttpResponse("fine")
urlpatterns = [
    path("crash", crash), path("async", crash_async), path("told", told),
    path("own", lambda request: HttpResponseServerError("my own words")),
    path("address", lambda request: HttpResponse(request.META["REMOTE_ADDR"])),
    path("stream", lambda request: StreamingHttpResponse(iter([b"x"]), status=500)),
]
"""
PROGRAM = """\
import asyncio, json, sys
import django
django.setup()
how, paths, given = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
from django.test import AsyncRequestFactory, RequestFactory
import logging
def shown(response):
    body = b"".join(response) if response.streaming else response.content
    return [response.status_code, body.decode(), response.get("Content-Length", "")]
if how == "wsgi":
    from django.core.handlers.wsgi import WSGIHandler
    handler = WSGIHandler()
    about = {"HTTP_X_REQUEST_ID": given, "REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}
    ask = lambda path: handler.get_response(RequestFactory().get(path, **about))
else:
    from django.core.handlers.asgi import ASGIHandler
    handler = ASGIHandler()
    def ask(path):
        request = AsyncRequestFactory().get(path, headers={"X-Request-ID": given})
        return asyncio.run(handler.get_response_async(request))
found = [shown(ask(path)) for path in paths]
logging.getLogger("shop").error("outside")
print(json.dumps(found))
"""
ID = "0123456789abcdef0123456789abcdef"


def run(root: Path, how: str, *paths: str, given: str = ID, page: str = "") -> tuple[list[Any], str]:
    settings, code = root / "settings", root / "code"
    for folder in (settings, code, root / "templates"):
        folder.mkdir(exist_ok=True)
    for name, module in prepare.overlay_parts().items():
        (settings / name).write_text(Path(module.__file__ or "").read_text())
    (code / "conf.py").write_text(SETTINGS)
    (code / "urls.py").write_text(URLS)
    if page:
        (root / "templates" / "500.html").write_text(page)
    facts = {
        "name": "shop", "project_settings": "conf", "domains": ["testserver"], "https": False, "database": "project",
        "static_root": str(root / "static"), "shared": str(root), "code": str(code),
    }  # fmt: skip
    (settings / "site.json").write_text(json.dumps(facts))
    environ = {
        "PATH": os.environ["PATH"], "PYTHONPATH": f"{settings}:{code}", "DJANGO_SETTINGS_MODULE": "djdeploy_settings",
        "SECRET_KEY": "x" * 64, "TEMPLATES": str(root / "templates"), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how, json.dumps(paths), given],
        cwd=code, env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("how", ["wsgi", "asgi"])
def test_page_and_log_have_the_id(tmp_path: Path, how: str) -> None:
    found, log = run(tmp_path, how, "/crash", "/async", "/own", "/stream", "/told")
    for status, body, length in found[:2]:
        assert status == 500
        assert "Something went wrong" in body and f"<code>{ID}</code>" in body
        assert length in ("", str(len(body.encode())))
    assert [each[:2] for each in found[2:]] == [[500, "my own words"], [500, "x"], [200, "fine"]]
    lines = log.splitlines()
    for text in (
        "ERROR django.request: Internal Server Error: /crash",
        "RuntimeError: two",
        "lines",
        "before it",
        "seen",
    ):
        assert any(line.startswith(f"[{ID}] ") and line.endswith(text) for line in lines), (text, log)
    assert "ERROR shop: outside" in lines


def test_the_visitors_address_is_where_applications_look(tmp_path: Path) -> None:
    found, _log = run(tmp_path, "wsgi", "/address")
    assert found[0][:2] == [200, "203.0.113.9"]


@pytest.mark.parametrize(
    ("meta", "address"),
    [
        ({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}, "203.0.113.9"),
        ({"HTTP_X_FORWARDED_FOR": "2001:db8::1"}, "2001:db8::1"),
        ({"REMOTE_ADDR": "198.51.100.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}, "198.51.100.1"),
        ({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "unix:"}, ""),
        ({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "203.0.113.9, 10.0.0.1"}, ""),
        ({}, None),
    ],
    ids=["unix socket", "ASGI without client", "known to the server", "no address", "several", "nothing"],
)
def test_address(meta: dict[str, Any], address: str | None) -> None:
    overlay_speak.give_address(meta)
    assert meta.get("REMOTE_ADDR") == address


def test_a_page_of_the_project_wins(tmp_path: Path) -> None:
    found, _log = run(tmp_path, "wsgi", "/crash", page="our own page")
    assert found[0][:2] == [500, "our own page"]


@pytest.mark.parametrize("given", ["", "short", "x" * 65, "<script>alert(1)</script>", "abc\tdefghij"])
def test_an_id_that_is_none_is_not_shown(tmp_path: Path, given: str) -> None:
    found, log = run(tmp_path, "wsgi", "/crash", given=given)
    assert "Something went wrong" in found[0][1] and "<code>" not in found[0][1]
    assert "script" not in found[0][1] and "ERROR django.request: Internal Server Error: /crash" in log.splitlines()


def test_page_is_whole() -> None:
    assert b"@about@" not in overlay_speak.page("") + overlay_speak.page(ID)
