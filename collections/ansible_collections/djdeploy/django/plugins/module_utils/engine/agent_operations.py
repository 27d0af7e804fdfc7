# SPDX-License-Identifier: GPL-3.0-or-later
"""What each operation of planned migrations does to the database, as plain data for `migrations.py` to judge.

One dict per operation that reaches the database, in the words of the database, not of the models::

    {"type": "AddField", "class": "django...AddField", "text": "Add field price to product", "reversible": true,
     "nothing": false,          it changes nothing in the database: state only, unmanaged, another database
     "model": "Product", "table": "shop_product",
     "new_table": false,        the table is made in the same plan, so it is empty and nobody knows it
     "new_column": false,       the same of the column
     "field": {...}, "old": {...}}                       see `field_facts`

Nothing here changes the database. Statements are collected as `sqlmigrate` does; only code of Django's own is asked
for them, since an operation of somebody else's may do anything.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

from .agent_sql import pieces_of, transitions

Facts = dict[str, Any]

# The operations that are told apart; a subclass counts as the first of these that it descends from.
KNOWN = frozenset(
    {
        "CreateModel",
        "DeleteModel",
        "RenameModel",
        "AlterModelTable",
        "AlterModelTableComment",
        "AlterModelOptions",
        "AlterModelManagers",
        "AlterUniqueTogether",
        "AlterIndexTogether",
        "AlterOrderWithRespectTo",
        "AddField",
        "RemoveField",
        "RenameField",
        "AlterField",
        "AddIndex",
        "AddIndexConcurrently",
        "RemoveIndex",
        "RemoveIndexConcurrently",
        "RenameIndex",
        "AddConstraint",
        "AddConstraintNotValid",
        "ValidateConstraint",
        "RemoveConstraint",
        "AlterConstraint",
        "RunPython",
        "RunSQL",
        "SeparateDatabaseAndState",
        "CreateExtension",
        "CreateCollation",
        "RemoveCollation",
    }
)
AUTO = frozenset({"AutoField", "BigAutoField", "SmallAutoField"})
SMALLEST_ROW = 28  # bytes: header and line pointer of a row in PostgreSQL


class Walk:
    """The planned migrations, one operation after the other, with the models before and after each.

    :param connection: the database they are planned for.
    """

    def __init__(self, connection: Any, plan: list[Any]) -> None:
        from django.db.migrations.executor import MigrationExecutor

        self.connection = connection
        self.plan = plan
        self.executor = MigrationExecutor(connection)
        self.loader = self.executor.loader
        self.new_tables: set[str] = set()
        self.new_columns: set[tuple[str, str]] = set()
        self.volatile: dict[str, bool] = {}

    def editor(self) -> Any:
        """A schema editor that only collects; it is never entered, so it begins no transaction either."""
        editor = self.connection.schema_editor(collect_sql=True, atomic=False)
        editor.deferred_sql = []
        return editor

    def entries(self) -> list[Facts]:
        """For each planned migration what a plan entry gets beside its name: declared, details, sql and so on."""
        applied = self.loader.applied_migrations
        apps = {app for app, _name in applied}
        found: dict[Any, Facts] = {}
        for migration, _undo in self.plan:
            found[migration] = {
                "declared": getattr(migration, "djdeploy", None),
                "fresh": not applied,
                "new_app": migration.app_label not in apps,
                "package": installed(migration),
                "details": [],
                "sql": [],
            }
        if applied:
            self.tell_all(found)
        return [found[migration] for migration, _undo in self.plan]

    def tell_all(self, found: dict[Any, Facts]) -> None:
        """Add to each planned migration what it does, or did."""
        backwards = self.backwards()

        def visit(migration: Any, state: Any) -> Any:
            ran, after = transitions(migration, state)
            app = migration.app_label
            told = [detail for operation, *states in ran for detail in self.details(operation, app, *states)]
            pieces = pieces_of(self.connection, app, ran, backwards=backwards)
            found[migration] |= {"details": told, "sql": [line for each in pieces for line in each.whole()]}
            return after

        self.through(visit)

    def backwards(self) -> bool:
        return any(undo for _migration, undo in self.plan)

    def through(self, visit: Callable[[Any, Any], Any]) -> None:
        """Go through the history, and let `visit` make the models after each planned migration of those before it.

        The models of a migration are made from those of the one before it: making all of them anew is what costs.
        """
        from django.db.migrations.state import ProjectState

        applied, graph = self.loader.applied_migrations, self.loader.graph
        state = ProjectState(real_apps=self.loader.unmigrated_apps)
        order: dict[Any, None] = {}
        for leaf in graph.leaf_nodes():
            order.update(dict.fromkeys(graph.forwards_plan(leaf)))
        have = [key for key in order if key in applied]
        planned = [migration for migration, _undo in self.plan]
        ahead = [] if self.backwards() else [(migration.app_label, migration.name) for migration in planned]
        left = len(planned)
        for key in have + ahead:
            migration = graph.nodes[key]
            if migration not in planned:
                state = migration.mutate_state(state, preserve=False)
                continue
            state = visit(migration, state)
            left -= 1
            if not left:
                return

    def details(self, operation: Any, app: str, before: Any, after: Any) -> list[Facts]:
        """What one operation does, one dict for each that reaches the database."""
        kind = kind_of(operation)
        if kind == "SeparateDatabaseAndState":
            found: list[Facts] = []
            for inner in operation.database_operations:
                changed = before.clone()
                inner.state_forwards(app, changed)
                found += self.details(inner, app, before, changed)
                before = changed
            return found or [{**named(operation, kind), "nothing": True}]
        detail = {**named(operation, kind), "nothing": False}
        teller = getattr(self, f"tell_{TELLERS.get(kind, '')}", None)
        if teller is None:
            return [detail]
        try:
            return [detail | teller(operation, app, before, after)]
        except Exception as error:  # an operation nobody can read is one nobody can judge
            said = f"{type(error).__name__}: {error}"
            return [{**detail, "type": "unknown", "class": f"{detail['class']} ({said})"}]

    # --- one method for each sort of operation ---

    def about(self, operation: Any, model: Any) -> Facts:
        """Which table an operation works on, and whether it reaches this database at all."""
        table = model._meta.db_table
        return {
            "model": model._meta.object_name,
            "table": table,
            "nothing": not operation.allow_migrate_model(self.connection.alias, model),
            "new_table": table in self.new_tables,
        }

    def tell_model(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        return self.about(operation, model_of(after, app, operation.model_name))

    def tell_create(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        model = model_of(after, app, operation.name)
        facts = self.about(operation, model) | {"new_table": True}
        if not facts["nothing"]:
            self.new_tables.add(facts["table"])
            self.new_tables.update(field["table"] for field in m2m_of(model).values() if field["auto"])
        return facts

    def tell_delete(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        facts = self.about(operation, model_of(before, app, operation.name))
        self.new_tables.discard(facts["table"])
        return facts

    def tell_field(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        """AddField and RemoveField."""
        adds = kind_of(operation) == "AddField"
        model = model_of(after if adds else before, app, operation.model_name)
        facts = self.about(operation, model)
        field = self.field_facts(model._meta.get_field(operation.name))
        column = (facts["table"], field["column"])
        came = column in self.new_columns or bool(field["m2m"] and field["m2m"]["table"] in self.new_tables)
        facts |= {"field": field, "new_column": not adds and came}
        if not field["column"] and not field["m2m"]:
            facts["nothing"] = True
        if adds and not facts["nothing"] and not field["m2m"]:
            self.new_columns.add(column)
        if adds and field["m2m"] and field["m2m"]["auto"]:
            self.new_tables.add(field["m2m"]["table"])
        return facts

    def tell_rename_field(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        model = model_of(after, app, operation.model_name)
        facts = self.about(operation, model)
        old = model_of(before, app, operation.model_name)._meta.get_field(operation.old_name)
        facts["old"] = self.field_facts(old)
        facts["field"] = self.field_facts(model._meta.get_field(operation.new_name))
        facts["new_column"] = (facts["table"], facts["old"]["column"]) in self.new_columns
        if facts["new_column"]:
            self.new_columns.add((facts["table"], facts["field"]["column"]))
        return facts

    def tell_alter_field(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        model, was = (model_of(state, app, operation.model_name) for state in (after, before))
        facts = self.about(operation, model)
        old, new = was._meta.get_field(operation.name), model._meta.get_field(operation.name)
        if not operation.preserve_default:
            new.default = operation.field.default
        facts["old"], facts["field"] = self.field_facts(old), self.field_facts(new)
        facts["altered"] = bool(self.editor()._field_should_be_altered(old, new))
        facts["new_column"] = (facts["table"], facts["old"]["column"]) in self.new_columns
        if old.primary_key or old.unique:
            facts["referring"] = sorted(
                related.related_model._meta.db_table
                for related in was._meta.get_fields(include_hidden=True)
                if related.auto_created and not related.concrete and not related.many_to_many
            )
        return facts

    def tell_rename_model(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        old, new = model_of(before, app, operation.old_name), model_of(after, app, operation.new_name)
        return self.moved(self.about(operation, new), old, new)

    def tell_table(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        old, new = (model_of(state, app, operation.name) for state in (before, after))
        return self.moved(self.about(operation, new), old, new)

    def moved(self, facts: Facts, old: Any, new: Any) -> Facts:
        """Names that change because a model or its table does, those of its many-to-many tables with them."""
        facts["old_table"] = old._meta.db_table
        if facts["old_table"] in self.new_tables:
            facts["new_table"] = True
            self.new_tables.add(facts["table"])
        was, now = m2m_of(old), m2m_of(new)
        facts["renamed"] = sorted(was[key]["table"] for key in was.keys() & now.keys() if was[key] != now[key])
        return facts

    def tell_together(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        old, new = (model_of(state, app, operation.name) for state in (before, after))
        option = operation.option_name
        groups = [
            {tuple(model._meta.get_field(name).column for name in group) for group in getattr(model._meta, option, ())}
            for model in (old, new)
        ]
        added, removed = (sorted(map(list, found)) for found in (groups[1] - groups[0], groups[0] - groups[1]))
        return self.about(operation, new) | {"added": added, "removed": removed}

    def tell_order(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        old, new = (model_of(state, app, operation.name) for state in (before, after))
        comes = bool(new._meta.order_with_respect_to)
        changes = comes != bool(old._meta.order_with_respect_to)
        field = (new if comes else old)._meta.get_field("_order") if changes else None
        return self.about(operation, new) | {"comes": comes, "field": self.field_facts(field) if field else None}

    def tell_index(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        facts = self.about(operation, model_of(after, app, operation.model_name))
        index = getattr(operation, "index", None)
        return facts | {"name": getattr(index, "name", None), "code": code_of(index) if index else None}

    def tell_constraint(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        model = model_of(after, app, operation.model_name)
        facts = self.about(operation, model)
        facts["not_valid"] = kind_of(operation) == "AddConstraintNotValid"
        constraint = getattr(operation, "constraint", None)
        if constraint is None:
            return facts
        kinds = {"CheckConstraint": "check", "UniqueConstraint": "unique", "ExclusionConstraint": "exclusion"}
        kind = next((kinds[each.__name__] for each in type(constraint).__mro__ if each.__name__ in kinds), "other")
        fields = [model._meta.get_field(name) for name in getattr(constraint, "fields", ())]
        fresh = [field for field in fields if (facts["table"], field.column) in self.new_columns and field.null]
        # The live code leaves a new column NULL, and NULLs are never equal.
        harmless = (
            kind == "unique"
            and any(db_default_of(field) is None for field in fresh)
            and getattr(constraint, "nulls_distinct", None) is not False
        )
        return facts | {
            "kind": kind,
            "name": constraint.name,
            "columns": [field.column for field in fields],
            "harmless": harmless,
            "code": code_of(constraint),
        }

    def tell_python(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        noop = type(operation).noop
        code, back = operation.code, operation.reverse_code
        return self.reaching(operation, app) | {
            "noop": code is noop,
            "reverse": "none" if back is None else "noop" if back is noop else "code",
            "function": getattr(code, "__qualname__", type(code).__name__),
        }

    def tell_sql(self, operation: Any, app: str, before: Any, after: Any) -> Facts:
        back = operation.reverse_sql
        return self.reaching(operation, app) | {
            "noop": not statements_of(operation.sql),
            "reverse": "none" if back is None else "code" if statements_of(back) else "noop",
            "statements": statements_of(operation.sql),
        }

    def reaching(self, operation: Any, app: str) -> Facts:
        """Whether code of the project's own is run on this database at all."""
        from django.db import router

        allowed = router.allow_migrate(self.connection.alias, app, **operation.hints)
        return {"nothing": not allowed, "elidable": bool(operation.elidable)}

    # --- fields ---

    def field_facts(self, field: Any) -> Facts:
        """A field as the database sees it, and as a migration would write it (`code`, `nullable`, `kept`: with its
        default in the database, where that can be).

        `default` tells whether Django can fill old rows; `db_default` is the SQL of a default the database keeps, or
        None; `volatile`: it differs from row to row; `relation`: the table a foreign key points to; `constraint`:
        whether the database enforces that; `m2m`: {table, columns, auto} of a many-to-many field, else None.
        """
        if field.many_to_many:
            m2m = m2m_facts(field)
            parameters: Facts = {}
        else:
            m2m, parameters = None, field.db_parameters(connection=self.connection)
        remote = None if field.many_to_many else getattr(field, "remote_field", None)
        db_default = self.db_default_sql(field)
        generated = bool(getattr(field, "generated", False))
        return {
            "name": field.name,
            "kind": type(field).__name__,
            "column": field.column,
            "type": parameters.get("type"),
            "check": parameters.get("check"),
            "collation": parameters.get("collation"),
            "null": bool(field.null),
            "unique": bool(field.unique),
            "primary_key": bool(field.primary_key),
            "index": bool((field.db_index or getattr(field, "spatial_index", False)) and not field.unique),
            "auto": field.get_internal_type() in AUTO,
            "default": field.has_default()
            or bool(getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False))
            or bool(not field.null and field.blank and field.empty_strings_allowed),
            "db_default": db_default,
            "volatile": self.is_volatile(db_default) if db_default else False,
            "generated": ("stored" if field.db_persist else "virtual") if generated else None,
            "relation": remote.model._meta.db_table if remote else None,
            "constraint": bool(remote and getattr(field, "db_constraint", False)),
            "m2m": m2m,
            "code": code_of(field),
            "nullable": code_of(field, null=True),
            "kept": kept_by_database(field),
        }

    def db_default_sql(self, field: Any) -> str | None:
        if db_default_of(field) is None:
            return None
        sql, values = self.editor().db_default_sql(field)
        return f"{sql} {list(values)!r}" if values else str(sql)

    def is_volatile(self, sql: str) -> bool:
        """Whether a default calls a function of PostgreSQL that may give another value for each row."""
        if self.connection.vendor != "postgresql":
            return False
        if sql not in self.volatile:
            names = [name.lower() for name in re.findall(r"(\w+)\s*\(", sql)]
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_proc WHERE provolatile = 'v' AND proname = ANY(%s)", [names])
                self.volatile[sql] = bool(cursor.fetchone()[0])
        return self.volatile[sql]


TELLERS = {
    "CreateModel": "create",
    "DeleteModel": "delete",
    "AddField": "field",
    "RemoveField": "field",
    "RenameField": "rename_field",
    "AlterField": "alter_field",
    "RenameModel": "rename_model",
    "AlterModelTable": "table",
    "AlterUniqueTogether": "together",
    "AlterIndexTogether": "together",
    "AlterOrderWithRespectTo": "order",
    "AddIndex": "index",
    "AddIndexConcurrently": "index",
    "RemoveIndex": "index",
    "RemoveIndexConcurrently": "index",
    "RenameIndex": "index",
    "AddConstraint": "constraint",
    "AddConstraintNotValid": "constraint",
    "RemoveConstraint": "constraint",
    "ValidateConstraint": "model",
    "RunPython": "python",
    "RunSQL": "sql",
}


def kind_of(operation: Any) -> str:
    """The nearest known operation; `unknown` as soon as its work is done by code that is not Django's."""
    for method in (type(operation).database_forwards, type(operation).database_backwards):
        if not str(method.__module__).startswith("django."):
            return "unknown"
    return next((each.__name__ for each in type(operation).__mro__ if each.__name__ in KNOWN), "unknown")


def named(operation: Any, kind: str) -> Facts:
    return {
        "type": kind,
        "class": f"{type(operation).__module__}.{type(operation).__qualname__}",
        "text": operation.describe(),
        "reversible": bool(operation.reversible),
    }


def installed(migration: Any) -> bool:
    """Whether a migration came with a package of the virtualenv and not with the project."""
    file = getattr(sys.modules.get(type(migration).__module__), "__file__", None) or ""
    return bool({"site-packages", "dist-packages"} & set(file.split(os.sep)))


def model_of(state: Any, app: str, name: str) -> Any:
    return state.apps.get_model(app, name)


def m2m_facts(field: Any) -> Facts:
    through = field.remote_field.through
    columns = sorted(each.column for each in through._meta.local_fields)
    return {"table": through._meta.db_table, "columns": columns, "auto": bool(through._meta.auto_created)}


def m2m_of(model: Any) -> dict[tuple[Any, str], Facts]:
    """The many-to-many tables that are named after a model: its own, and those of others that point to it."""
    own = {(None, field.name): m2m_facts(field) for field in model._meta.local_many_to_many}
    others = {
        (related.related_model._meta.label_lower, related.field.name): m2m_facts(related.field)
        for related in model._meta.get_fields(include_hidden=True)
        if related.auto_created and related.many_to_many and related.related_model is not model
    }
    return {key: facts for key, facts in {**own, **others}.items() if facts["auto"]}


def db_default_of(field: Any) -> Any:
    """The default the database keeps (Django 5.0 and later), or None."""
    from django.db.models import NOT_PROVIDED

    found = getattr(field, "db_default", NOT_PROVIDED)
    return None if found is NOT_PROVIDED else found


def kept_by_database(field: Any) -> str | None:
    """A field with its Python default as the one the database keeps; None without one, and before Django 5.0."""
    if not hasattr(field, "db_default") or not field.has_default() or callable(field.default) or field.many_to_many:
        return None
    from django.db.models import NOT_PROVIDED

    return code_of(field, default=NOT_PROVIDED, db_default=field.default)


def statements_of(sql: Any) -> list[str]:
    """The statements of a RunSQL, whatever form they were given in."""
    listed = sql if isinstance(sql, (list, tuple)) else [sql]
    texts = [str(each[0] if isinstance(each, (list, tuple)) else each).strip() for each in listed]
    return [text for text in texts if text]


def code_of(thing: Any, **changed: Any) -> str:
    """A field, an index or a constraint as it is written in a migration."""
    from django.db.migrations.writer import MigrationWriter

    if changed:
        thing = thing.clone()
        for name, value in changed.items():
            setattr(thing, name, value)
    try:
        text, _imports = MigrationWriter.serialize(thing)
    except ValueError:  # a default that has no name, for example
        return f"models.{type(thing).__name__}(...)"
    return str(text).replace("django.db.models.", "models.")


# --- The database ------------------------------------------------------------------------------------------------


def tables_of(entries: list[Facts]) -> list[str]:
    """The tables that were there before and are touched by a plan."""
    found: set[str] = set()
    for entry in entries:
        for detail in entry["details"]:
            names = [detail.get("table"), detail.get("old_table"), *(detail.get("referring") or ())]
            found.update(name for name in names if name)
    return sorted(found)


def sizes(connection: Any, tables: list[str]) -> dict[str, Facts]:
    """How large tables are: {table: {"rows": estimate or None, "bytes": n}}; nothing is counted row by row.

    Where PostgreSQL has not looked yet (no ANALYZE), as many rows are assumed as would fit at most. MariaDB and MySQL
    guess by looking into a few pages of a table.
    """
    if connection.vendor == "mysql":
        return mysql_sizes(connection, tables)
    if connection.vendor != "postgresql" or not tables:
        return {}
    found: dict[str, Facts] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.name, c.relkind, c.reltuples, c.relpages, pg_relation_size(c.oid), pg_total_relation_size(c.oid),"
            " current_setting('block_size')::int"
            " FROM unnest(%s::text[]) AS t(name) JOIN pg_class c ON c.oid = to_regclass(quote_ident(t.name))",
            [tables],
        )
        for name, kind, tuples, pages, size, total, block in cursor.fetchall():
            rows: int | None = int(size // SMALLEST_ROW)
            if tuples >= 0 and pages > 0:
                rows = int(tuples * (size / block) / pages)
            if kind == "p" or kind == b"p":  # the rows of a partitioned table are elsewhere
                rows = int(tuples) if tuples > 0 else None
            found[name] = {"rows": rows, "bytes": int(total)}
    return found


def mysql_sizes(connection: Any, tables: list[str]) -> dict[str, Facts]:
    """The same from the server's own tables; a view has no size, and is left out."""
    if not tables:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT TABLE_NAME, TABLE_ROWS, COALESCE(DATA_LENGTH, 0) + COALESCE(INDEX_LENGTH, 0)"
            " FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_ROWS IS NOT NULL"
            f" AND TABLE_NAME IN ({', '.join(['%s'] * len(tables))})",
            tables,
        )
        return {name: {"rows": int(rows), "bytes": int(size)} for name, rows, size in cursor.fetchall()}


def invalid_indexes(connection: Any) -> list[Facts]:
    """What an interrupted CREATE INDEX CONCURRENTLY left: written by everyone, used by nobody."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT i.relname, t.relname, quote_ident(n.nspname) || '.' || quote_ident(i.relname)"
            " FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid"
            " JOIN pg_namespace n ON n.oid = i.relnamespace"
            " WHERE NOT x.indisvalid AND n.nspname = ANY(current_schemas(false)) ORDER BY 1"
        )
        return [
            {"index": index, "table": table, "mend": f"DROP INDEX CONCURRENTLY {quoted}"}
            for index, table, quoted in cursor.fetchall()
        ]


def described_operations(connection: Any, plan: list[Any]) -> tuple[list[Facts], Facts]:
    """For the step `migrate` with `detail`: what each plan entry gets, and the facts beside the plan."""
    walk = Walk(connection, plan)
    entries = walk.entries()
    known: dict[str, list[str]] = {}
    for app, name in sorted(walk.loader.disk_migrations):
        known.setdefault(app, []).append(name)
    return entries, {
        "tables": sizes(connection, tables_of(entries)),
        "invalid_indexes": invalid_indexes(connection),
        "known": known,
        "recorded": len(walk.loader.applied_migrations),
        "vendor": connection.vendor,
    }
