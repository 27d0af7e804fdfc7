# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.models import Note
from notes.urls import urlpatterns as of_notes
from way.where import where


def way(request: HttpRequest) -> HttpResponse:
    """By which socket everything came to the database."""
    migration = Note.objects.get(text__startswith="the migration")
    told = [str(Note.objects.filter(text__startswith=name).last()) for name in ("worker", "listener")]
    return HttpResponse(f"the page by {where(connection)}, {migration.text}, {', '.join(told)}")


def all_notes(request: HttpRequest) -> HttpResponse:
    """Rows that come in pieces: between two of them another request may have the connection."""
    found = [note.pk for note in Note.objects.order_by("id").iterator(chunk_size=50)][:400]
    return HttpResponse(f"{len(found)} notes, {'none' if len(set(found)) == len(found) else 'some'} of them twice")


def busy(request: HttpRequest) -> HttpResponse:
    """A query that takes its time, in the backend that is told."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid() FROM pg_sleep(0.1)")
        return HttpResponse(str(cursor.fetchone()[0]))


urlpatterns = [path("way", way), path("all", all_notes), path("busy", busy), *of_notes]
