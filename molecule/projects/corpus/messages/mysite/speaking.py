# SPDX-License-Identifier: GPL-3.0-or-later
"""A page in the language of the site."""

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.translation import gettext


def front(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(gettext("Be greeted, visitor"))


urlpatterns = [path("", front)]
