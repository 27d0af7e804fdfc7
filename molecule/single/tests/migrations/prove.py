# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the labels are true: apply each migration, and let the code from before it go on working.

Runs in the project of the corpus, with its Python and its database, and keeps to a schema of its own there. Reads
{app: {"rows": n, "writes": [...]}} as JSON from standard input and writes for each app::

    {"applied": null or the error, "before": null, "after": null or the error, "rewritten": false}
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import django
from django.db import connection, transaction

SCHEMA = "proof"
numbers = count(1)


class Enough(Exception):
    """Ends a transaction that is not to be kept."""


def old_code(apps: Any, app: str, writes: Sequence[Mapping[str, Any]]) -> None:
    """Read and write everything as the code of the base does, and leave no trace."""
    Thing, Leaflet, Owner, Tag = (apps.get_model(app, name) for name in ("Thing", "Leaflet", "Owner", "Tag"))
    try:
        with transaction.atomic():
            owner, tag = Owner.objects.first(), Tag.objects.create(name="tag")
            for more in ({}, {"note": None}, {"owner": owner}, *writes):
                usual = {"name": "name", "code": f"old-{next(numbers)}", "price": 100 + next(numbers), "maker": owner}
                thing = Thing.objects.create(**{**usual, "note": "note", **more})
                thing.tags.add(tag)
                thing.shelf = "a shelf"
                thing.save()
                with connection.cursor() as cursor:
                    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as the end of the transaction would
                assert list(thing.tags.all()) == [tag]
                assert Thing.objects.select_related("owner", "maker").get(pk=thing.pk).shelf == "a shelf"
            assert Thing.objects.filter(tags=tag).count() == 3 + len(writes)
            leaflet = Leaflet.objects.create(text="text")
            assert Leaflet.objects.get(pk=leaflet.pk).text == "text"
            leaflet.delete()
            thing.delete()
            raise Enough
    except Enough:
        pass


def fill(apps: Any, app: str, rows: int) -> None:
    apps.get_model(app, "Owner").objects.create(id=1, name="owner")
    thing = apps.get_model(app, "Thing")
    thing.objects.bulk_create(
        thing(name="1", code=f"code-{number}", price=number % 50, amount=1, note="n", maker_id=1)
        for number in range(rows)
    )


def error_of(action: Callable[[], Any]) -> str | None:
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}".strip()
    return None


def apply(loader: Any, app: str, name: str, state: Any) -> Any:
    """Run one migration, without a word about it in django_migrations."""
    migration = loader.graph.nodes[(app, name)]
    with connection.schema_editor(atomic=migration.atomic) as editor:
        return migration.apply(state, editor)


def file_of(table: str) -> Any:
    """The file PostgreSQL keeps a table in: it gets a new one when it is rewritten; None when it is gone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_filenode(to_regclass(%s))", [table])
        return cursor.fetchone()[0]


def proven(loader: Any, app: str, rows: int, writes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from django.db.migrations.state import ProjectState

    base = apply(loader, app, "0001_base", ProjectState())
    fill(base.apps, app, rows)
    code = base.clone().apps  # a migration changes the state it is given
    before = error_of(lambda: old_code(code, app, writes))
    file = file_of(f"{app}_thing")
    applied = error_of(lambda: apply(loader, app, "0002_case", base))
    after = error_of(lambda: old_code(code, app, writes))
    return {"applied": applied, "before": before, "after": after, "rewritten": file != file_of(f"{app}_thing")}


def main() -> None:
    django.setup()
    from django.db.migrations.loader import MigrationLoader

    cases = json.load(sys.stdin)
    loader = MigrationLoader(connection)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        cursor.execute(f"CREATE SCHEMA {SCHEMA}")
        cursor.execute(f"SET search_path TO {SCHEMA}")
    try:
        json.dump({app: proven(loader, app, **case) for app, case in cases.items()}, sys.stdout)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


if __name__ == "__main__":
    main()
