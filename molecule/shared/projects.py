#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Django projects to deploy, made when they are needed with the Django and Wagtail of the development environment.

As a program, for playbooks:   projects.py publish <kind> <directory> <host>
for whoever has no Django:     projects.py make <kind> <directory>
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SHARED = Path(__file__).resolve().parent
ROOT = SHARED.parent.parent
BIN = Path(sys.executable).parent  # not resolved: the programs of the environment are beside the link
ORIGIN = "/var/lib/origin"

NOTES_SETTINGS = """
INSTALLED_APPS += ["notes"]
ROOT_URLCONF = "notes.urls"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
"""


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a program.

    :raises RuntimeError: with what it said, when it fails.
    """
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def git(project: Path, *words: str) -> str:
    """Run git in a project, as somebody, whoever runs the tests."""
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgSign=false")
    return run("git", *who, *words, cwd=project).strip()


def commit(project: Path, message: str) -> str:
    """Commit everything and return the revision."""
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(project, "rev-parse", "HEAD")


# Sites whose project is another one than startproject with the app `notes`, and which.
OTHERS = {"plain": "plain", "quiet": "plain", "corpus": "plain", "wagtail": "wagtail", "shop": "shop"}


def make(kind: str, project: Path) -> Path:
    """Make a project of a kind, with one commit, unless it is there already.

    :param kind: the name of a site: one of OTHERS, for `plain` (startproject, untouched), `wagtail` (wagtail start,
        untouched) and `shop` (examples/shop); else startproject with the app beside this file, and for `file` with
        its own SQLite file and media in its tree.
    """
    if (project / ".git").exists():
        return project
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    lay(OTHERS.get(kind, "notes"), project)
    if kind == "file":
        write(project, "mysite/settings.py", 'MEDIA_ROOT = BASE_DIR / "media"\nMEDIA_URL = "/media/"\n', append=True)
        write(project, "media/brought.txt", "brought in the tree\n")
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "Start")
    return project


def lay(kind: str, project: Path) -> None:
    """Write the files of a kind into a directory: `plain`, `wagtail`, `shop` or `notes`."""
    if kind == "shop":
        shutil.copytree(ROOT / "examples/shop", project, dirs_exist_ok=True)
    elif kind == "wagtail":
        run(BIN / "wagtail", "start", "bakery", project)
    else:
        run(BIN / "django-admin", "startproject", "mysite", project)
    if kind == "notes":
        shutil.copytree(SHARED / "notes", project / "notes", ignore=shutil.ignore_patterns("__pycache__"))
        write(project, "requirements.txt", "Django~=5.2\n")
        write(project, "mysite/settings.py", NOTES_SETTINGS, append=True)


def write(project: Path, name: str, text: str, *, append: bool = False) -> None:
    """Write a file of a project, or add to it."""
    path = project / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if append else "") + text)


def add_column(project: Path) -> str:
    """Commit a change that brings a migration, and return its name."""
    field = "    stars = models.IntegerField(null=True)\n\n    def __str__(self) -> str:\n        return self.text"
    models = project / "notes/models.py"
    models.write_text(models.read_text().replace("\n    def __str__(self) -> str:\n        return self.text", field, 1))
    write(
        project,
        "notes/migrations/0002_stars.py",
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        '    dependencies = [("notes", "0001_initial")]\n'
        '    operations = [migrations.AddField("Note", "stars", models.IntegerField(null=True))]\n',
    )
    commit(project, "Give notes stars")
    return "notes.0002_stars"


def publish(project: Path, host: str) -> None:
    """Put a project where a host can fetch it by http: a bare repository as plain files."""
    bare = project.parent / f"{project.name}.git"
    shutil.rmtree(bare, ignore_errors=True)
    run("git", "clone", "--quiet", "--bare", project, bare)
    run("git", "update-server-info", cwd=bare)
    packed = subprocess.run(
        ["tar", "--create", "--directory", bare.parent, bare.name], stdout=subprocess.PIPE, check=True
    )
    script = f"rm -rf {ORIGIN}/{bare.name} && tar --extract --no-same-owner --directory {ORIGIN}"
    subprocess.run([ROOT / "script/host", "ssh", host, script], input=packed.stdout, check=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["publish", kind, directory, host]:
            publish(make(kind, Path(directory)), host)
        case ["make", kind, directory]:
            make(kind, Path(directory))
        case _:
            sys.exit(__doc__)
