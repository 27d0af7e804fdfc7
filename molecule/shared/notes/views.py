# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages that show what a release serves, and one that tells how it looks from inside."""

import os
import time
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt

from .models import Attachment, Note


def front(request: HttpRequest) -> HttpResponse:
    context = {"greeting": os.environ.get("NOTES_GREETING", ""), "notes": Note.objects.order_by("id")}
    return render(request, "notes/front.html", context)


@csrf_exempt
def add(request: HttpRequest) -> HttpResponse:
    Note.objects.create(text=request.POST["text"])
    return redirect("/")


@csrf_exempt
def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Attachment.objects.create(file=request.FILES["file"]).file.url)


def slow(request: HttpRequest) -> HttpResponse:
    time.sleep(float(request.GET.get("seconds", "1")))
    return HttpResponse("done")


def works(action, *arguments) -> str:
    """`yes`, or the name of the error."""
    try:
        action(*arguments)
    except OSError as error:
        return type(error).__name__
    return "yes"


def inside(request: HttpRequest) -> JsonResponse:
    """What the process may do; `?path=` asks about a file or directory."""
    path = Path(request.GET.get("path", "/"))
    answer = {
        "uid": os.getuid(),
        "debug": settings.DEBUG,
        "allowed_hosts": settings.ALLOWED_HOSTS,
        "host": request.get_host(),
        "secure": request.is_secure(),
        "address": request.META.get("HTTP_X_FORWARDED_FOR", ""),
        "remote": request.META.get("REMOTE_ADDR", ""),
        "secret_key_is_weak": settings.SECRET_KEY.startswith("django-insecure-"),
        "variables": sorted(os.environ),
        "release": os.environ.get("DJDEPLOY_RELEASE", ""),
        "database": connection.vendor,
        "can_read": works(path.read_bytes if path.is_file() else lambda: os.listdir(path)),
        "can_write": works((path / "written-by-the-site").touch),
    }
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "select current_user, current_database(), coalesce(s.ssl, false), coalesce(s.version, ''),"
                " inet_server_addr() is not null from pg_stat_ssl s where s.pid = pg_backend_pid()"
            )
            answer["connection"] = dict(zip(("user", "name", "ssl", "tls", "network"), cursor.fetchone(), strict=True))
    return JsonResponse(answer)
