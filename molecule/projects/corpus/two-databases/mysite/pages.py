# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.models import Note
from notes.urls import urlpatterns as of_notes
from stats.models import Visit


def both(request: HttpRequest) -> HttpResponse:
    """A row of each database, and where each of them really is."""
    note, visit = Note.objects.order_by("id").first(), Visit.objects.get()
    places = [
        f"{model._meta.verbose_name_plural} in {there.vendor} {there.settings_dict['NAME']}"
        for model, there in ((Note, connections["default"]), (Visit, connections[visit._state.db]))
    ]
    return HttpResponse(f"{note.text} and {visit.text}: {', '.join(places)}; by {getattr(visit, 'agent', 'nobody')}")


urlpatterns = [path("both", both), *of_notes]
