# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations, models


def write_first_note(apps, schema_editor):
    apps.get_model("notes", "Note").objects.create(text="written by a migration")


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Note",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.CharField(max_length=200)),
            ],
        ),
        migrations.CreateModel(
            name="Attachment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("file", models.FileField(upload_to="attachments")),
            ],
        ),
        migrations.RunPython(write_first_note, migrations.RunPython.noop),
    ]
