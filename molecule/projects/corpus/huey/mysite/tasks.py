# SPDX-License-Identifier: GPL-3.0-or-later
from huey.contrib.djhuey import db_task
from notes.models import Note


@db_task()
def write() -> None:
    Note.objects.create(text="written by a worker")
