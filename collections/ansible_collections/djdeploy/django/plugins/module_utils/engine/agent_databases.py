# SPDX-License-Identifier: GPL-3.0-or-later
"""The databases of the project: which one a step works on, and the step `connection`: how a dump reaches it."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .agent_words import Failure, Outcome, Request, outcome

# Django's names -> libpq's environment (PostgreSQL manual, Environment Variables).
LIBPQ = {"NAME": "PGDATABASE", "HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD"}
LIBPQ_OPTIONS = {
    "service": "PGSERVICE",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
}


def connection(request: Request, predict: bool) -> Outcome:
    """Vendor, size in bytes, and what a dump needs; the password travels in `libpq` or `mysql` and nowhere else."""
    chosen = connection_for(request, predict=True)
    settings = chosen.settings_dict
    if settings["ENGINE"] == "django.db.backends.dummy":
        return outcome(False, vendor="", size=0, libpq={}, file="", archives=False)
    if chosen.vendor == "postgresql":
        return outcome(False, vendor="postgresql", file="", libpq=libpq(settings), **postgresql_facts(chosen))
    if chosen.vendor == "mysql":
        return outcome(
            False, vendor="mysql", size=mysql_size(chosen), libpq={}, file="", archives=False, mysql=mysql(chosen)
        )
    file = os.path.abspath(str(settings["NAME"])) if chosen.vendor == "sqlite" else ""
    size = os.path.getsize(file) if file and os.path.exists(file) else 0
    return outcome(False, vendor=chosen.vendor, size=size, libpq={}, file=file, archives=False)


def libpq(settings: dict[str, Any]) -> dict[str, str]:
    """The environment that makes PostgreSQL's own programs connect as Django does."""
    given = {LIBPQ[name]: str(settings[name]) for name in LIBPQ if settings.get(name)}
    options = settings.get("OPTIONS") or {}
    return {**given, **{LIBPQ_OPTIONS[name]: str(options[name]) for name in LIBPQ_OPTIONS if options.get(name)}}


def mysql(chosen: Any) -> dict[str, Any]:
    """How MariaDB's own programs connect as Django does: `words` for argv, `env` with the password, `name`."""
    given = {name: value for name, value in chosen.get_connection_params().items() if value}
    options = {
        "host": given.get("host"),
        "port": given.get("port"),
        "socket": given.get("unix_socket"),
        "user": given.get("user"),
        **{f"ssl-{name}": path for name, path in (given.get("ssl") or {}).items() if isinstance(path, str)},
    }
    file = given.get("read_default_file")
    words = [f"--defaults-file={file}" if file else "--no-defaults"]  # has to be the first
    words += [f"--{name}={value}" for name, value in options.items() if value]
    password = given.get("password") or given.get("passwd") or ""
    return {
        "words": words,
        "env": {"MYSQL_PWD": str(password)} if password else {},
        "name": str(chosen.settings_dict.get("NAME") or ""),
    }


def mysql_size(chosen: Any) -> int:
    """Bytes of all tables and indexes, as the server knows them without counting."""
    with chosen.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(SUM(COALESCE(DATA_LENGTH, 0) + COALESCE(INDEX_LENGTH, 0)), 0)"
            " FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
        )
        return int(cursor.fetchone()[0])


def postgresql_facts(chosen: Any) -> dict[str, Any]:
    with chosen.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database()), current_setting('archive_mode') <> 'off'")
        size, archives = cursor.fetchone()
    return {"size": size, "archives": archives}


def connection_for(request: Request, predict: bool) -> Any:
    """The connection a step works on; when predicting, connecting never creates a missing SQLite file."""
    from django.db import connections

    alias = request.get("database") or "default"
    if alias not in list(connections):
        known = ", ".join(connections)
        raise Failure("request", f"there is no database {alias!r} in DATABASES, only {known}")
    connection = connections[alias]
    name = str(connection.settings_dict.get("NAME") or "")
    folder = os.path.dirname(os.path.abspath(name))
    if predict and connection.vendor == "sqlite" and not os.path.exists(name) and os.path.isdir(folder):
        connection.settings_dict = {**connection.settings_dict, "NAME": ":memory:"}
    return connection


def is_mirror(chosen: Any) -> bool:
    """Whether a database only repeats another one: the settings say so (TEST, MIRROR), or its server does."""
    if (chosen.settings_dict.get("TEST") or {}).get("MIRROR"):
        return True
    if chosen.vendor != "postgresql":
        return False
    with chosen.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery()")
        return bool(cursor.fetchone()[0])


def unrouted() -> bool:
    """Whether no router says what belongs into which database: then Django makes every table in each of them."""
    from django.db import router

    return not any(hasattr(each, "allow_migrate") for each in router.routers)


def named(failure: Failure, chosen: Any) -> Failure:
    """A failure that tells which of several databases it is about."""
    if chosen.alias != "default" and "database" not in failure.facts:
        failure.message = f"in the database {chosen.alias}: {failure.message}"
        failure.facts["database"] = chosen.alias
    return failure


@contextmanager
def routed_by(first: Any) -> Iterator[None]:
    """Ask this database router before those of the project."""
    from django.db import router

    own = router.routers
    router.routers = [first, *own]
    try:
        yield
    finally:
        router.routers = own


def absent_files() -> list[str]:
    """Databases of SQLite that are not there: SQLite makes an empty file of each as soon as it is asked something."""
    from django.conf import settings

    named = [str(each.get("NAME") or "") for each in settings.DATABASES.values() if "sqlite" in each.get("ENGINE", "")]
    return [name for name in named if name and not os.path.exists(name)]


def remove_empty(files: list[str]) -> None:
    """Take back what was only asked."""
    for name in files:
        if os.path.isfile(name) and not os.path.getsize(name):
            os.unlink(name)
