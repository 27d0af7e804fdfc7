# SPDX-License-Identifier: GPL-3.0-or-later
"""The projects of these tests: `notes` with an app for every kind of column."""

from __future__ import annotations

import shutil
from pathlib import Path

import projects

HERE = Path(__file__).resolve().parent
READS = """
import os
from urllib.parse import urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "CONN_MAX_AGE": 60}}
"""
FILLING = """
from django.db import migrations


def fill(apps, schema_editor):
    apps.get_model("library", "Setting").objects.create(name="filled", value="by a migration")


class Migration(migrations.Migration):
    dependencies = [("library", "0001_initial")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
"""


def make(project: Path) -> None:
    """Make the project `moving`, with one commit, unless it is there."""
    if (project / ".git").exists():
        return
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    projects.lay("notes", project)
    shutil.copytree(HERE / "library", project / "library", ignore=shutil.ignore_patterns("__pycache__"))
    projects.write(project, "mysite/settings.py", 'INSTALLED_APPS += ["library"]\n', append=True)
    projects.write(project, "mysite/settings.py", 'MEDIA_ROOT = BASE_DIR / "media"\nMEDIA_URL = "/m/"\n', append=True)
    projects.run(projects.BIN / "python", "manage.py", "makemigrations", "library", cwd=project)
    projects.write(project, "library/migrations/0002_fill.py", FILLING)
    projects.git(project, "init", "--quiet", "--initial-branch=main")
    projects.commit(project, "Start")


def make_reader(project: Path) -> None:
    """Make the project `reader`: it reads DATABASE_URL and nothing else."""
    if (project / ".git").exists():
        return
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    projects.lay("notes", project)
    projects.write(project, "mysite/settings.py", READS, append=True)
    projects.write(project, "requirements.txt", "psycopg[binary]\n", append=True)
    projects.git(project, "init", "--quiet", "--initial-branch=main")
    projects.commit(project, "Start")
