# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about what a site needs besides its migrations: `createcachetable`, `clearsessions`, `sites`."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

from .agent_databases import connection_for
from .agent_words import Failure, Outcome, Request, lines_of, outcome

CACHE_COLUMNS = {"cache_key", "value", "expires"}
FIRST_SITE = "example.com"  # domain and name of the Site that `migrate` makes (django/contrib/sites/management.py)


# --- createcachetable ------------------------------------------------------------------------------------------


def createcachetable(request: Request, predict: bool) -> Outcome:
    """Create the tables of database caches that are missing; the SQL of the diff is Django's own dry run."""
    from django.core.cache.backends.db import BaseDatabaseCache
    from django.db import router, transaction

    connection = connection_for(request, predict)
    alias, tables = connection.alias, list(dict.fromkeys(request.get("tables") or configured_tables()))
    facts: dict[str, Any] = {"database": alias, "tables": tables}
    if not tables:
        return outcome(False, [], [], created=[], skipped=[], **facts, reason="no cache of CACHES is in a database")
    if "" in tables:
        raise Failure("request", "the name of a cache table is empty", "give its name, or no `tables` at all")
    skipped = [
        name for name in tables if not router.allow_migrate_model(alias, BaseDatabaseCache(name, {}).cache_model_class)
    ]
    wanted = [name for name in tables if name not in skipped]
    there = existing_cache_tables(connection, wanted)
    created = [name for name in wanted if name not in there]
    sql = "".join(create_table(name, alias, dry_run=True) for name in created)
    if created and not predict:
        # One transaction where the database can take DDL back: all of the tables or none.
        with transaction.atomic(using=alias):
            for name in created:
                create_table(name, alias, dry_run=False)
    after = wanted if predict else existing_cache_tables(connection, wanted)
    if skipped and not wanted:
        facts["reason"] = f"the routers keep the cache out of the database {alias!r}"
    return outcome(there != after, there, after, new=sql, created=created, skipped=skipped, **facts)


def configured_tables() -> list[str]:
    """The tables of all caches in CACHES that are kept in a database."""
    from django.conf import settings
    from django.core.cache import caches
    from django.core.cache.backends.db import BaseDatabaseCache

    return [
        cache._table for cache in (caches[alias] for alias in settings.CACHES) if isinstance(cache, BaseDatabaseCache)
    ]


def existing_cache_tables(connection: Any, names: list[str]) -> list[str]:
    """Those of the tables that exist, in the order given.

    :raises Failure: for a table that holds something else: the cache would fail on it later.
    """
    with connection.cursor() as cursor:
        known = connection.introspection.table_names(cursor, include_views=True)
        there = [name for name in names if name in known]
        for name in there:
            columns = {column.name.lower() for column in connection.introspection.get_table_description(cursor, name)}
            if not columns >= CACHE_COLUMNS:
                raise Failure(
                    "database",
                    f"the table {name!r} of the database {connection.alias!r} is not a cache table",
                    "give the cache another LOCATION in CACHES (or another name under `tables`)",
                )
    return there


def create_table(name: str, alias: str, *, dry_run: bool) -> str:
    """Let Django create one table; in a dry run the SQL it would run."""
    from django.core.management import call_command

    said = io.StringIO()
    call_command("createcachetable", name, database=alias, dry_run=dry_run, verbosity=0, stdout=said, no_color=True)
    return said.getvalue()


# --- clearsessions ---------------------------------------------------------------------------------------------


def clearsessions(request: Request, predict: bool) -> Outcome:
    """Remove expired sessions; the number is counted in the store before and after."""
    from importlib import import_module

    from django.conf import settings
    from django.contrib.sessions.backends import cache, db, file, signed_cookies

    engine = settings.SESSION_ENGINE
    try:
        store = import_module(engine).SessionStore
    except ModuleNotFoundError as error:
        if not f"{engine}.".startswith(f"{error.name}."):
            raise
        raise Failure("settings", f"there is no session engine {engine!r}", "mend SESSION_ENGINE") from error
    if issubclass(store, db.SessionStore):
        count = expired_rows(store, predict)
    elif issubclass(store, file.SessionStore):
        count = expired_files(store, predict)
    else:
        itself = issubclass(store, cache.SessionStore | signed_cookies.SessionStore)
        reason = (
            f"sessions of {engine} expire by themselves"
            if itself
            else f"sessions of {engine} cannot be counted; if they need clearing, run `clearsessions` as a command"
        )
        return outcome(False, {"expired": 0}, {"expired": 0}, engine=engine, removed=0, reason=reason)
    expired = count()
    if expired and not predict:
        store.clear_expired()
    left = 0 if predict else count()
    if left:
        raise Failure(
            "file" if issubclass(store, file.SessionStore) else "database",
            f"{left} of {expired} expired sessions could not be removed",
            "see who owns them, and what clear_expired() of the session engine does",
            removed=expired - left,
        )
    before, after = {"expired": expired}, {"expired": 0}
    return outcome(
        expired > 0, before, after, old=lines_of(before), new=lines_of(after), engine=engine, removed=expired
    )


def expired_rows(store: Any, predict: bool) -> Callable[[], int]:
    """What counts the expired sessions in the database they are written to.

    Of each count the moment is the same, so that a session that expires meanwhile is left to the next run.
    """
    from django.db import router
    from django.utils import timezone

    try:
        model = store.get_model_class()
    except RuntimeError as error:  # a model outside INSTALLED_APPS
        raise Failure(
            "settings",
            "sessions are kept in the database, but their app is not in INSTALLED_APPS",
            "add django.contrib.sessions to INSTALLED_APPS, or choose another SESSION_ENGINE",
        ) from error
    alias, now = router.db_for_write(model), timezone.now()
    connection, table = connection_for({"database": alias}, predict), model._meta.db_table
    if table not in connection.introspection.table_names():
        if not predict:
            raise Failure("database", f"the table {table!r} does not exist yet", "run `migrate` first")
        return lambda: 0
    return lambda: int(model._default_manager.using(alias).filter(expire_date__lt=now).count())


def expired_files(store: Any, predict: bool) -> Callable[[], int]:
    """What counts the expired sessions in files: Django's own loading of them, with the deleting taken out."""
    from django.conf import settings

    folder, prefix = store._get_storage_path(), settings.SESSION_COOKIE_NAME

    def count() -> int:
        expired: list[str] = []
        for name in sorted(os.listdir(folder)):
            if name.startswith(prefix):
                session = store(name.removeprefix(prefix))
                session.create = lambda: None
                session.delete = lambda session_key=None, name=name: expired.append(name)
                session.load()
        return len(expired)

    if predict and count() and not os.access(folder, os.W_OK | os.X_OK):
        raise Failure(
            "file", f"nothing can be removed in {folder}: it is not writable", "see who owns SESSION_FILE_PATH"
        )
    return count


# --- sites -----------------------------------------------------------------------------------------------------


def sites(request: Request, predict: bool) -> Outcome:
    """See that a Site of django.contrib.sites has a domain and a name."""
    from django.apps import apps
    from django.conf import settings
    from django.db import transaction

    if not apps.is_installed("django.contrib.sites"):
        raise Failure(
            "settings", "django.contrib.sites is not in INSTALLED_APPS: there are no Sites to change", "add it there"
        )
    from django.contrib.sites.models import Site

    number = request.get("id") if request.get("id") is not None else getattr(settings, "SITE_ID", None)
    if not number:
        raise Failure("request", "which Site is meant? SITE_ID is not set", "give its number under `id`")
    number = int(number)
    connection, domain = connection_for(request, predict), str(request.get("domain") or "")
    alias, known = connection.alias, site_rows(connection, predict)
    state = known.get(number)
    name = request.get("label")
    if name is None:  # a name that was only the domain goes with the domain
        name = domain if state is None or state["name"] == state["domain"] else state["name"]
    wanted = {"id": number, "domain": domain, "name": name}
    check_site(Site(**wanted), known)
    if state != wanted and not predict:
        with transaction.atomic(using=alias):
            save_site(Site(**wanted), state, connection)
        Site.objects.clear_cache()
    after = wanted if predict else site_rows(connection, predict).get(number)
    facts = {"id": number, "database": alias, "created": state is None}
    return outcome(state != after, state, after, old=lines_of(state), new=lines_of(after), **facts)


def site_rows(connection: Any, predict: bool) -> dict[int, dict[str, Any]]:
    """Every Site of a database by its number. Before the first `migrate`: the one that it is going to make.

    :raises Failure: when there is no table, and it is no prediction.
    """
    from django.conf import settings
    from django.contrib.sites.models import Site
    from django.db import router

    if Site._meta.db_table in connection.introspection.table_names():
        return {row["id"]: row for row in Site.objects.using(connection.alias).values("id", "domain", "name")}
    if not router.allow_migrate_model(connection.alias, Site):
        raise Failure(
            "database", f"the routers keep Sites out of the database {connection.alias!r}", "give another `database`"
        )
    if not predict:
        raise Failure("database", f"the table {Site._meta.db_table!r} does not exist yet", "run `migrate` first")
    first = int(getattr(settings, "SITE_ID", 1))
    return {first: {"id": first, "domain": FIRST_SITE, "name": FIRST_SITE}}


def check_site(site: Any, known: dict[int, dict[str, Any]]) -> None:
    """:raises Failure: for values a Site does not take, and for a domain that another one has.

    Case does not tell domains apart: Django looks them up by request without it, and fails when it finds two.
    """
    from django.core.exceptions import ValidationError

    if "://" in site.domain:
        raise Failure("request", f"{site.domain!r} is not a domain", "leave the scheme out, as in shop.example.com")
    try:
        site.clean_fields(exclude=["id"])
    except ValidationError as error:
        said = "; ".join(f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items())
        raise Failure("request", f"the Site does not take these values: {said}") from error
    for other in known.values():
        if other["id"] != site.pk and other["domain"].lower() == site.domain.lower():
            raise Failure(
                "request",
                f"the domain {site.domain!r} is that of the Site {other['id']}, not of the Site {site.pk}",
                f"give `id: {other['id']}`, or let that Site have another domain first",
            )


def save_site(site: Any, state: dict[str, Any] | None, connection: Any) -> None:
    """Save what differs of an existing Site, or a new one; Django's signal takes it out of SITE_CACHE."""
    from django.core.management.color import no_style

    if state is not None:
        site.save(using=connection.alias, update_fields=[name for name in state if getattr(site, name) != state[name]])
        return
    site.save(using=connection.alias, force_insert=True)
    # An explicit number does not move the sequence: the next Site would get it again (Django ticket 17415).
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [type(site)]):
            cursor.execute(statement)
