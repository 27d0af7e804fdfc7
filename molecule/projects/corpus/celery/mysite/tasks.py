# SPDX-License-Identifier: GPL-3.0-or-later
from celery import shared_task
from notes.models import Note


@shared_task
def write() -> None:
    Note.objects.create(text="written by a worker")
