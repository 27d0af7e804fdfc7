# SPDX-License-Identifier: GPL-3.0-or-later
from django.db import migrations

from way.where import where


def fill(apps, schema_editor):
    notes = apps.get_model("notes", "Note").objects
    notes.create(text=f"the migration by {where(schema_editor.connection)}")
    for number in range(399):
        notes.create(text=f"number {number}")


class Migration(migrations.Migration):
    dependencies = [("notes", "0001_initial")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
