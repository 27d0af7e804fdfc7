# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import models


class Ware(models.Model):
    name = models.CharField(max_length=50, unique=True)
    weight = models.IntegerField(default=0)
