# SPDX-License-Identifier: GPL-3.0-or-later
import os
from pathlib import Path

from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.urls import urlpatterns as pages


def invoice(request: HttpRequest) -> HttpResponse:
    file = Path(os.environ["HOME"]) / "private" / "invoice.txt"
    if not file.exists():
        file.write_text("paid\n")
    return HttpResponse(headers={"X-Accel-Redirect": "/protected/invoice.txt"})


urlpatterns = [path("invoice", invoice), *pages]
