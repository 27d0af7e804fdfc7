# SPDX-License-Identifier: GPL-3.0-or-later
from asgiref.sync import async_to_sync
from celery import shared_task
from channels.layers import get_channel_layer
from notes.models import Note


@shared_task
def note(text: str) -> int:
    """Write a note, and tell all who listen."""
    written = Note.objects.create(text=text)
    async_to_sync(get_channel_layer().group_send)("notes", {"type": "note.written", "text": text})
    return written.pk
