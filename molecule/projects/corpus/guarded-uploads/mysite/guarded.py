# SPDX-License-Identifier: GPL-3.0-or-later
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.static import serve
from notes.urls import urlpatterns as pages


def keep(request: HttpRequest) -> HttpResponse:
    """Upload a file that strangers must not see."""
    if not default_storage.exists("invoice.txt"):
        default_storage.save("invoice.txt", ContentFile(b"for one customer\n"))
    return HttpResponse("kept invoice.txt\n")


urlpatterns = [
    path("keep", keep),
    path("media/<path:path>", login_required(serve), {"document_root": settings.MEDIA_ROOT}),
    *pages,
]
