# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations, models


def count(apps, schema_editor) -> None:
    apps.get_model("stats", "Visit").objects.using(schema_editor.connection.alias).create(text="counted")


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Visit",
            [
                ("id", models.BigAutoField(primary_key=True, auto_created=True, serialize=False, verbose_name="ID")),
                ("text", models.CharField(max_length=200)),
                ("agent", models.CharField(max_length=200, default="a browser")),
            ],
        ),
        migrations.RunPython(count, migrations.RunPython.noop),
    ]
