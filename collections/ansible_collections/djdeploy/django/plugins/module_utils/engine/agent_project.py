# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps `describe` and `application`: what a project is, asked of Django instead of the user."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
import re
import sys
from typing import Any

from .agent_words import STARTED_WITH, Failure, Outcome, Request, culprit, foreign, outcome, shortened, text_or_none


def describe(request: Request, predict: bool) -> Outcome:
    """What the deployer has to know of a project, asked of Django instead of the user."""
    from django.apps import apps
    from django.conf import settings
    from django.db.migrations.loader import MigrationLoader

    migrations: dict[str, list[str]] = {}
    for app, name in sorted(MigrationLoader(None, ignore_no_migrations=True).graph.leaf_nodes()):
        migrations.setdefault(app, []).append(name)
    return outcome(
        False,
        **running(),
        settings=os.environ["DJANGO_SETTINGS_MODULE"],
        staticfiles=apps.is_installed("django.contrib.staticfiles"),
        **files_served(),
        wsgi_application=text_or_none(settings.WSGI_APPLICATION),
        asgi_application=text_or_none(getattr(settings, "ASGI_APPLICATION", None)),
        user_model=settings.AUTH_USER_MODEL,
        databases=configured_databases(),
        installed_apps=len(settings.INSTALLED_APPS),
        migrations=migrations,
        **generated(),
    )


def generated() -> dict[str, Any]:
    """What the site's generated settings module put in the place of the project's own; nothing for other projects."""
    from django.conf import settings

    reasons = getattr(settings, "DJDEPLOY_GAPS", None)
    if reasons is None:
        return {}
    shown = getattr(settings, "DJDEPLOY_SHOWN", {})
    return {
        "replaced": {name: {"reason": reason, "value": shown.get(name)} for name, reason in reasons.items()},
        "unused": list(getattr(settings, "DJDEPLOY_UNUSED", ())),
    }


def running() -> dict[str, Any]:
    """Which Python and Django run the project, and how."""
    import django
    from django.conf import settings

    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "django": django.get_version(),
        "debug": bool(settings.DEBUG),
        "allowed_hosts": list(settings.ALLOWED_HOSTS),
    }


def files_served() -> dict[str, Any]:
    """Where static files and uploads are, and by which URLs."""
    from django.conf import settings

    backend = settings.STORAGES.get("staticfiles", {}).get("BACKEND")
    return {
        "static_url": text_or_none(settings.STATIC_URL),
        "static_root": text_or_none(settings.STATIC_ROOT),
        "static_storage": getattr(settings, "DJDEPLOY_STATIC_BACKEND", "") or backend,
        # Of an empty MEDIA_URL Django makes "/" as soon as it has a script prefix.
        "media_url": text_or_none(settings._wrapped.MEDIA_URL and settings.MEDIA_URL),
        "media_root": text_or_none(settings.MEDIA_ROOT),
    }


def configured_databases() -> dict[str, dict[str, Any]]:
    """The databases of the settings, without users and passwords."""
    from django.conf import settings

    return {
        alias: {key.lower(): str(database.get(key) or "") for key in ("ENGINE", "NAME", "HOST", "PORT")}
        for alias, database in settings.DATABASES.items()
    }


def application(request: Request, predict: bool) -> Outcome:
    """Import the WSGI or ASGI callable the way gunicorn does, and see that it keeps the site's settings."""
    import ast
    import importlib

    path = request["path"]
    module_name, _colon, expression = path.partition(":")
    mend = "set `application: package.module:callable` of the site to what gunicorn shall run"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}.") and not culprit(error):
            raise Failure("import_error", f"the application {path!r} is not there: {error}", mend) from error
        raise
    file = getattr(module, "__file__", None)
    try:
        node = ast.parse(expression or "application", mode="eval").body
        call = node if isinstance(node, ast.Call) else None
        name = ast.unparse(call.func if call else node)
        words = [ast.literal_eval(value) for value in call.args] if call else []
        options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords} if call else {}
    except (SyntaxError, ValueError) as error:
        raise Failure("request", f"the application {path!r} is not of the form package.module:name", mend) from error
    if not hasattr(module, name):
        raise Failure("import_error", f"{shortened(file) if file else module_name} has no {name!r}", mend)
    found = getattr(module, name)
    if call:
        found = found(*words, **options)
    if not callable(found):
        raise Failure("import_error", f"{path} is a {type(found).__name__}, nothing gunicorn can call", mend)
    refuse_other_settings(module)
    return outcome(False, path=path, file=file, interface=interface_of(found))


def interface_of(found: Any) -> str:
    """`asgi` or `wsgi`: decides which worker serves the application."""
    import inspect

    method = inspect.getattr_static(type(found), "__call__", None)  # a class without one is called as a whole
    return "asgi" if any(map(inspect.iscoroutinefunction, (found, method))) else "wsgi"


def refuse_other_settings(module: Any) -> None:
    """Under gunicorn this module runs before any setting is read: what it forces into the environment would win.

    :raises Failure: when the environment no longer names the settings the site was given.
    """
    from django.conf import settings

    wanted, now = settings.SETTINGS_MODULE, os.environ.get("DJANGO_SETTINGS_MODULE")
    if now == wanted == STARTED_WITH:
        return
    forced = re.compile(r"environ\s*\[\s*['\"]DJANGO_SETTINGS_MODULE['\"]\s*\]\s*=[^=]")
    where = shortened(getattr(module, "__file__", None))
    for loaded in [module, *sys.modules.values()]:
        file = getattr(loaded, "__file__", None) or ""
        if file.endswith(".py") and not foreign(file):
            with open(file, encoding="utf-8", errors="replace") as source:
                lines = [number for number, line in enumerate(source, 1) if forced.search(line)]
            if lines:
                where = f"{shortened(file)} line {lines[0]}"
                break
    raise Failure(
        "settings",
        f"{where} sets DJANGO_SETTINGS_MODULE to {now!r}, but the site runs with {STARTED_WITH!r}",
        f'write os.environ.setdefault("DJANGO_SETTINGS_MODULE", {now!r}) there: it leaves a given value alone',
    )
