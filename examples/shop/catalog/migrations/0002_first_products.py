# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations

PRODUCTS = [
    ("Enamel teapot", "enamel-teapot", "Holds a litre, keeps its heat, survives a fall.", "34.00"),
    ("Desk lamp", "desk-lamp", "One joint, one switch, and light where you need it.", "59.50"),
    ("Field notebook", "field-notebook", "Forty-eight sewn pages that lie flat in any pocket.", "8.90"),
]


def add(apps, schema_editor):
    Product = apps.get_model("catalog", "Product")
    for name, slug, blurb, price in PRODUCTS:
        Product.objects.get_or_create(slug=slug, defaults={"name": name, "blurb": blurb, "price": price})


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]

    # Going back keeps the products: by then they may have been edited or ordered.
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
