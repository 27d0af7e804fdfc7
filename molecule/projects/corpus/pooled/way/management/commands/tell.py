# SPDX-License-Identifier: GPL-3.0-or-later
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection
from notes.models import Note

from way.where import where


class Command(BaseCommand):
    """Works at nothing, and tells by which way it would."""

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        Note.objects.create(text=f"{options['name']} by {where(connection)}")
        while True:
            time.sleep(60)
