# SPDX-License-Identifier: GPL-3.0-or-later
from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.urls import urlpatterns as of_notes


def broken(request: HttpRequest) -> HttpResponse:
    return HttpResponse(1 / 0)


urlpatterns = [path("broken", broken), *of_notes]
