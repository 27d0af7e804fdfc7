# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaves a note that it ran; as `worker` it stays."""

import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django.setup()

from notes.models import Note  # noqa: E402  (Django has to be set up)

if sys.argv[1] == "release":
    Note.objects.create(text="written at release")
else:
    Note.objects.create(text="written by a worker")
    while True:
        time.sleep(60)
