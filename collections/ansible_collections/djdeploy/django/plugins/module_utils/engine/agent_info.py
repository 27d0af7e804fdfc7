# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `info`: what a project is and in which state, for the conditions of a playbook."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .agent_databases import connection_for
from .agent_project import configured_databases, files_served, running
from .agent_secrets import HIDDEN
from .agent_words import Failure, Outcome, Request, explained, outcome

SUBSETS = ("apps", "databases", "migrations", "settings", "static")
BY_DEFAULT = ("apps", "settings", "static")  # what opens no database
IN_URL = re.compile(r"(://)[^/@\s]*@")


def info(request: Request, predict: bool) -> Outcome:
    """Facts of the project. Databases are opened only when they or migrations are gathered; nothing is changed."""
    given = request.get("gather")
    gather = BY_DEFAULT if given is None else tuple(given)
    unknown = sorted(set(gather) - set(SUBSETS))
    if unknown:
        raise Failure("request", f"gather: there is no {unknown[0]!r}", "known: " + ", ".join(SUBSETS))
    alias = request.get("database") or "default"
    with missing_files_stay_missing(predict):
        return outcome(False, **facts_of(request, gather, alias))


def facts_of(request: Request, gather: tuple[str, ...], alias: str) -> dict[str, Any]:
    """The facts that are asked for; `alias` is the database whose migrations are looked at."""
    from django.conf import settings

    if "migrations" in gather:
        connection_for({"database": alias}, True)  # refuses an unknown one
    facts: dict[str, Any] = {
        "settings_values": {name: setting(name) for name in request.get("settings_values") or ()},
        **running(),
        "settings_module": os.environ["DJANGO_SETTINGS_MODULE"],
        "databases": {name: described(name, each) for name, each in configured_databases().items()},
    }
    for name, each in facts["databases"].items():
        if "databases" in gather or ("migrations" in gather and name == alias):
            each.update(reached(name))
    if "apps" in gather:
        facts["apps"] = installed()
    if "static" in gather:
        facts.update(files_served())
    if "settings" in gather:
        facts.update(
            user_model=settings.AUTH_USER_MODEL,
            time_zone=settings.TIME_ZONE,
            use_tz=bool(settings.USE_TZ),
            language=settings.LANGUAGE_CODE,
            caches={name: str(cache.get("BACKEND") or "") for name, cache in settings.CACHES.items()},
            email_backend=email_backend(settings),
        )
    if "migrations" in gather:
        facts.update(migration_facts(alias, facts["databases"][alias]))
    return facts


def email_backend(settings: Any) -> str:
    """How mail is sent by default.

    Since Django 6.1 MAILERS says it (release notes of 6.1, "Multiple mailers"); EMAIL_BACKEND cannot be read then.
    """
    mailers = getattr(settings, "MAILERS", None)
    if not mailers:
        return str(settings.EMAIL_BACKEND)
    return str(mailers.get("default", {}).get("BACKEND") or "")


@contextmanager
def missing_files_stay_missing(predict: bool) -> Iterator[None]:
    """Give later steps of the process the files back for which `connection_for` put an empty database in memory."""
    from django.db import connections

    kept = []
    for alias in connections:
        with suppress(Exception):  # the driver is not installed: nothing will be opened
            kept.append((connections[alias], connections[alias].settings_dict))
    try:
        yield
    finally:
        for connection, settings_dict in () if predict else kept:
            if connection.settings_dict is not settings_dict:
                connection.settings_dict = settings_dict  # first: Django does not close what is in memory
                connection.close()


def described(alias: str, database: dict[str, Any]) -> dict[str, Any]:
    from django.db import connections

    try:
        vendor = connections[alias].vendor
    except Exception:  # the driver is not installed; `reached` says why
        vendor = None
    return {name: IN_URL.sub(r"\1", value) for name, value in database.items()} | {"vendor": vendor}


def reached(alias: str) -> dict[str, Any]:
    """Whether a database answers, and which version it is. A SQLite file still to be made counts as an empty one."""
    try:
        connection = connection_for({"database": alias}, True)
        connection.ensure_connection()
        version = ".".join(str(part) for part in connection.get_database_version())
    except Exception as error:  # a database that is down leaves the rest answered
        return {
            "reachable": False,
            "version": None,
            "reason": without_password(alias, explained(error, "info").message),
        }
    return {"reachable": True, "version": version, "reason": ""}


def without_password(alias: str, text: str) -> str:
    """Facts are shown as they are, so a driver that repeats what it was given is cut here."""
    from django.conf import settings

    database = settings.DATABASES[alias]
    options = database.get("OPTIONS") or {}
    for secret in (database.get("PASSWORD"), options.get("password"), options.get("passwd")):
        text = text.replace(str(secret), HIDDEN) if secret else text
    return IN_URL.sub(r"\1", text)


def installed() -> list[dict[str, Any]]:
    """The installed apps, in their order."""
    from django.apps import apps
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None, load=False)
    loader.load_disk()
    return [
        {
            "label": app.label,
            "name": app.name,
            "path": str(app.path),
            "migrations": app.label in loader.migrated_apps,
        }
        for app in apps.get_app_configs()
    ]


def migration_facts(alias: str, database: dict[str, Any]) -> dict[str, Any]:
    """Which migrations are applied and which are not, by app; null where the database does not tell."""
    from django.db import connections
    from django.db.migrations.loader import MigrationLoader

    reachable = database["reachable"]
    loader = MigrationLoader(connections[alias] if reachable else None, ignore_no_migrations=True)
    conflicts = loader.detect_conflicts()
    state: dict[str, dict[str, Any]] = {}
    for label in sorted(loader.migrated_apps):
        state[label] = {"applied": None, "pending": None, "conflicts": sorted(conflicts.get(label, ()))}
        if reachable:
            names = [name for app, name in planned(loader) if app == label]
            state[label]["applied"] = [name for name in names if (label, name) in loader.applied_migrations]
            state[label]["pending"] = [name for name in names if (label, name) not in loader.applied_migrations]
    pending = [f"{app}.{name}" for app, name in planned(loader) if (app, name) not in loader.applied_migrations]
    return {
        "migrations": state,
        "pending": pending if reachable else None,
        "conflicts": sorted(conflicts),
    }


def planned(loader: Any) -> list[tuple[str, str]]:
    """All migrations in an order in which they can be applied."""
    order: dict[tuple[str, str], None] = {}
    for leaf in sorted(loader.graph.leaf_nodes()):
        order.update(dict.fromkeys(loader.graph.forwards_plan(leaf)))
    return list(order)


def setting(name: str) -> Any:
    """One setting as a fact, cleaned as Django's error reports are.

    Django decides by the name what is secret (django.views.debug.SafeExceptionReporterFilter); a password inside a
    URL is cut, too.

    :raises Failure: when it looks like a secret or is not there.
    """
    from django.conf import settings
    from django.views.debug import SafeExceptionReporterFilter

    cleaner = SafeExceptionReporterFilter()
    if cleaner.hidden_settings.search(name):
        raise Failure("request", f"settings_values: {name} looks like a secret and is not told", "leave it out")
    if not name.isupper() or not hasattr(settings, name):
        raise Failure("request", f"settings_values: the project has no setting {name!r}", "settings are upper case")
    return plain(cleaner.cleanse_setting(name, getattr(settings, name)))


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON does not know becomes text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return IN_URL.sub(r"\1", str(value))
