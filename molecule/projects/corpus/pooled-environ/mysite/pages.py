# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.urls import urlpatterns as of_notes

from . import settings


def way(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    own = settings.DATABASES["default"]
    host = own["HOST"] or own.get("OPTIONS", {}).get("host")
    return HttpResponse(f"by {connection.connection.info.host}; the address of the project's own settings: {host}")


urlpatterns = [path("way", way), *of_notes]
