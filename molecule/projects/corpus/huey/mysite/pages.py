# SPDX-License-Identifier: GPL-3.0-or-later
from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.urls import urlpatterns as of_notes

from .tasks import write


def ask(request: HttpRequest) -> HttpResponse:
    write()
    return HttpResponse("asked")


urlpatterns = [path("ask", ask), *of_notes]
