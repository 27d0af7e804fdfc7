# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host, as root: makes a project with its databases and takes steps in it, each predicted, done, done again.

Reads from standard input::

    {"django": "5.2", "project": "wagtail", "database": "mariadb", "steps": [{"name": "migrate"}, ...]}

and writes one line of JSON per step: [predicted, done, done again], each of them what the engine says of the step
(`changed`, `before`, `after`, `diff`, `facts`) or, as the last, {"error": "...", "hint": "...", "detail": "..."}.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

KIT = Path(__file__).resolve().parent
sys.path.insert(0, str(KIT))

from djdeploy_engine.errors import EngineError  # noqa: E402  (found by the line above)
from djdeploy_engine.steps import StepError, Target, run_steps  # noqa: E402

OWNER = "somebody"
HOME = Path("/srv") / OWNER

# What every project gets, so that every module has something to do; the databases come by the environment.
COMMON = """
import json, os
from pathlib import Path
DATABASES = json.loads(os.environ["DATABASES"])
INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.sites"]
if "postgresql" in DATABASES["default"]["ENGINE"]:
    INSTALLED_APPS += ["django.contrib.postgres"]  # Django 6.1 demands it of who uses its fields, as Wagtail does
SITE_ID = 1
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cached"}}
LOCALE_PATHS = [Path(BASE_DIR) / "locale"]
FIXTURE_DIRS = [Path(BASE_DIR) / "given"]
STATIC_ROOT = Path(BASE_DIR) / "static"
"""
FILES = {
    "locale/de/LC_MESSAGES/django.po": (
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8"\n\nmsgid "Tea"\nmsgstr "Tee für zwei"\n'
    ),
    "given/teams.json": '[{"model": "auth.group", "pk": 70, "fields": {"name": "Größe", "permissions": []}}]',
}
SETTINGS = {"plain": "plain/settings.py", "wagtail": "plain/settings/base.py", "intranet": "intranet/settings/base.py"}


def run(*words: str | Path, cwd: Path = HOME, user: str = OWNER) -> str:
    """Run a program as somebody.

    :raises RuntimeError: with what it said, when it fails.
    """
    command = ["runuser", "-u", user, "--", *map(str, words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command} failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def make(kind: str, django: str, database: str) -> Path:
    """A project of this kind, always new."""
    project = HOME / f"{kind}-{django}-{database}"
    shutil.rmtree(project, ignore_errors=True)
    programs = Path(f"/opt/django-{django}/bin")
    if kind == "intranet":
        shutil.copytree(KIT / "intranet", project)
    else:
        program = programs / ("wagtail" if kind == "wagtail" else "django-admin")
        run("mkdir", project)
        run(program, "start" if kind == "wagtail" else "startproject", "plain", project)
    with (project / SETTINGS[kind]).open("a") as settings:
        settings.write(COMMON)
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    subprocess.run(["chown", "-R", f"{OWNER}:", project], check=True)
    return project


def databases(project: Path, kind: str, database: str) -> dict[str, dict[str, Any]]:
    """Empty databases for a project, by the aliases of its settings."""
    found = {}
    for alias in ("default", "ledger") if kind == "intranet" else ("default",):
        name = f"{project.name}-{alias}"
        match database:
            case "sqlite":
                found[alias] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(project / f"{alias}.sqlite3")}
            case "postgresql":
                run("dropdb", "--if-exists", name, user="postgres")
                run("createdb", "--owner", OWNER, name, user="postgres")
                found[alias] = {"ENGINE": "django.db.backends.postgresql", "NAME": name}
            case "mariadb":
                for statement in (
                    f"DROP DATABASE IF EXISTS `{name}`",
                    f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4",
                    f"GRANT ALL ON `{name}`.* TO {OWNER}@localhost",
                ):
                    run("mariadb", "-e", statement, user="root")
                found[alias] = {"ENGINE": "django.db.backends.mysql", "NAME": name, "USER": OWNER}
    return found


def predicted(target: Target, step: dict[str, Any]) -> dict[str, Any]:
    """What the engine says a step would do, or why it would fail."""
    try:
        (result,) = run_steps(target, [step], check=True, timeout=300)
    except EngineError as error:
        return told(error)
    return dataclasses.asdict(result)


def done_twice(target: Target, step: dict[str, Any]) -> list[dict[str, Any]]:
    """What it does, and does then; an error is the last."""
    try:
        return [dataclasses.asdict(result) for result in run_steps(target, [step, step], timeout=600)]
    except StepError as error:
        return [*(dataclasses.asdict(result) for result in error.done), told(error)]


def told(error: EngineError) -> dict[str, Any]:
    return {"error": error.message, "hint": error.hint, "detail": error.detail}


def main() -> None:
    wanted = json.load(sys.stdin)
    project = make(wanted["project"], wanted["django"], wanted["database"])
    env = {"DATABASES": json.dumps(databases(project, wanted["project"], wanted["database"])), "LANG": "C.UTF-8"}
    settings = "intranet.settings.production" if wanted["project"] == "intranet" else None
    target = Target.for_project(
        project, f"/opt/django-{wanted['django']}/bin/python", settings=settings, env=env, user=OWNER
    )
    if wanted["project"] == "intranet":
        apps = ["people", "catalog", "wares", "ledger"]
        run_steps(target, [{"name": "command", "argv": ["makemigrations", *apps]}])
    for step in wanted["steps"]:
        print(json.dumps([predicted(target, step), *done_twice(target, step)]), flush=True)


if __name__ == "__main__":
    main()
