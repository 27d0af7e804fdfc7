# SPDX-License-Identifier: GPL-3.0-or-later
from django.tasks import task
from notes.models import Note


@task()
def write() -> None:
    Note.objects.create(text="written by a worker")
