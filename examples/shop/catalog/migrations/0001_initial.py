# SPDX-License-Identifier: GPL-3.0-or-later

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Product",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80)),
                ("slug", models.SlugField(unique=True)),
                ("blurb", models.CharField(blank=True, max_length=200)),
                (
                    "price",
                    models.DecimalField(
                        decimal_places=2, max_digits=8, validators=[django.core.validators.MinValueValidator(0)]
                    ),
                ),
                (
                    "image",
                    models.FileField(
                        blank=True,
                        upload_to="products/",
                        validators=[django.core.validators.FileExtensionValidator(["jpg", "jpeg", "png", "webp"])],
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "quantity",
                    models.PositiveSmallIntegerField(
                        default=1, validators=[django.core.validators.MinValueValidator(1)]
                    ),
                ),
                ("name", models.CharField(max_length=80, verbose_name="your name")),
                ("email", models.EmailField(max_length=254, verbose_name="your email")),
                ("created", models.DateTimeField(auto_now_add=True)),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="orders", to="catalog.product"
                    ),
                ),
            ],
            options={
                "ordering": ["-created"],
            },
        ),
    ]
