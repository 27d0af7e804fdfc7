# SPDX-License-Identifier: GPL-3.0-or-later
import django_rq
from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.models import Note
from notes.urls import urlpatterns as of_notes


def write() -> None:
    Note.objects.create(text="written by a worker")


def ask(request: HttpRequest) -> HttpResponse:
    django_rq.enqueue(write)
    return HttpResponse("asked")


urlpatterns = [path("ask", ask), *of_notes]
