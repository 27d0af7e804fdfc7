# SPDX-License-Identifier: GPL-3.0-or-later
"""The project of these tests: startproject with the app beside this file."""

from __future__ import annotations

import shutil
from pathlib import Path

import projects

HERE = Path(__file__).resolve().parent
SETTINGS = """
INSTALLED_APPS += ["queue_app"]
ROOT_URLCONF = "mysite.urls"
CELERY_BROKER_URL = "redis://set-by-the-environment"
CELERY_BEAT_SCHEDULE = {"beat": {"task": "queue_app.tasks.beat", "schedule": 2.0}}
"""
CELERY = """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
URLS = """\
from django.urls import path
from queue_app import views

urlpatterns = [path("", views.front), path("ask", views.ask)]
"""
PROCFILE = """\
# what another host would read, too
release: python manage.py migrate --noinput && echo released once
web: gunicorn mysite.wsgi
rq: rq worker --url $REDIS_URL
daemon: python manage.py stand
"""


def make(project: Path) -> Path:
    """Make it with one commit, unless it is there."""
    if (project / ".git").exists():
        return project
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    projects.run(projects.BIN / "django-admin", "startproject", "mysite", project)
    shutil.copytree(HERE / "queue_app", project / "queue_app", ignore=shutil.ignore_patterns("__pycache__"))
    projects.write(project, "requirements.txt", "Django~=5.2\ncelery[redis]~=5.4\nrq~=2.0\nredis\n")
    projects.write(project, "mysite/settings.py", SETTINGS, append=True)
    projects.write(project, "mysite/celery.py", CELERY)
    projects.write(project, "mysite/__init__.py", "from .celery import app as celery_app\n\n__all__ = ['celery_app']\n")
    projects.write(project, "mysite/urls.py", URLS)
    projects.write(project, "Procfile", PROCFILE)
    projects.git(project, "init", "--quiet", "--initial-branch=main")
    projects.commit(project, "Start")
    return project
