# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import models


class Entry(models.Model):
    text = models.CharField(max_length=50)
