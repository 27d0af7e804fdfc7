# SPDX-License-Identifier: GPL-3.0-or-later
"""What the site really uses."""

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.urls import urlpatterns as of_notes


def seen(request: HttpRequest) -> HttpResponse:
    cache.set("kept", "holds it", 60)
    held = f"{settings.CACHES['default']['BACKEND'].rpartition('.')[2]} {cache.get('kept')}"
    server = f"{settings.EMAIL_HOST_USER}:{settings.EMAIL_HOST_PASSWORD}@{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    return HttpResponse(f"{connection.settings_dict['NAME']}, {held}, {server}")


urlpatterns = [path("seen", seen), *of_notes]
