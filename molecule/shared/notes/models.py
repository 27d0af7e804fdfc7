# SPDX-License-Identifier: GPL-3.0-or-later
"""What the project keeps in its database and in its media."""

from django.db import models


class Note(models.Model):
    """A line of text."""

    text = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.text


class Attachment(models.Model):
    """An uploaded file."""

    file = models.FileField(upload_to="attachments")

    def __str__(self) -> str:
        return str(self.file)
