# SPDX-License-Identifier: GPL-3.0-or-later
from django.core.validators import FileExtensionValidator, MinValueValidator
from django.db import models
from django.urls import reverse

PICTURES = ["jpg", "jpeg", "png", "webp"]


class Product(models.Model):
    name = models.CharField(max_length=80)
    slug = models.SlugField(unique=True)
    blurb = models.CharField(max_length=200, blank=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, validators=[MinValueValidator(0)])
    # A FileField, so that the project needs no imaging library.
    image = models.FileField(upload_to="products/", blank=True, validators=[FileExtensionValidator(PICTURES)])

    class Meta:
        ordering = ["name"]

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("product", args=[self.slug])


class Order(models.Model):
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="orders")
    quantity = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)])
    name = models.CharField("your name", max_length=80)
    email = models.EmailField("your email")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created"]

    def __str__(self):
        return f"{self.quantity} × {self.product} for {self.name}"

    @property
    def total(self):
        return self.quantity * self.product.price
