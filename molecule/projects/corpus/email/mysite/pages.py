# SPDX-License-Identifier: GPL-3.0-or-later
"""A page that fails, and one that shows the letters that came."""

import mailbox

from django.http import HttpRequest, HttpResponse
from django.urls import path
from notes.urls import urlpatterns as of_notes


def broken(request: HttpRequest) -> HttpResponse:
    return HttpResponse(1 / 0)


def mail(request: HttpRequest) -> HttpResponse:
    letters = mailbox.Maildir("/srv/email/shared/mail", create=False)
    heads = [f"From: {each['From']}, To: {each['To']}, {each['Subject']}" for each in letters]
    return HttpResponse("\n".join(heads), content_type="text/plain")


urlpatterns = [path("broken", broken), path("mail", mail), *of_notes]
