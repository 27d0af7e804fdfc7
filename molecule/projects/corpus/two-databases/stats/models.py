# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import models


class Visit(models.Model):
    text = models.CharField(max_length=200)
    agent = models.CharField(max_length=200, default="a browser")

    def __str__(self) -> str:
        return self.text
