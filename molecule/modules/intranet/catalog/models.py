# SPDX-License-Identifier: GPL-3.0-or-later
from django.conf import settings
from django.db import models


class Product(models.Model):
    name = models.CharField(max_length=50)

    class Meta:
        swappable = "CATALOG_PRODUCT_MODEL"


class Offer(models.Model):
    product = models.ForeignKey(settings.CATALOG_PRODUCT_MODEL, models.CASCADE)
    price = models.DecimalField(max_digits=8, decimal_places=2)
