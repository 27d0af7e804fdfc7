# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about who may log in: `superuser`."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

from typing import Any

from .agent_databases import connection_for
from .agent_words import Failure, Outcome, Request, lines_of, outcome


def superuser(request: Request, predict: bool) -> Outcome:
    """See that one superuser exists and can log in; a password is set, never read back."""
    from django.apps import apps
    from django.contrib.auth.hashers import check_password
    from django.db import transaction

    if not apps.is_installed("django.contrib.auth"):
        raise Failure("settings", "django.contrib.auth is not in INSTALLED_APPS: there are no users to create")
    from django.contrib.auth import get_user_model

    model, connection = get_user_model(), connection_for(request, predict)
    wanted = wanted_user(model, request)
    password, username = request.get("password"), wanted[model.USERNAME_FIELD]
    manager = model._default_manager.db_manager(connection.alias)
    migrated = model._meta.db_table in connection.introspection.table_names()
    if not migrated and not predict:
        raise Failure("database", f"the table {model._meta.db_table!r} does not exist yet", "run `migrate` first")
    user = manager.filter(**{model.USERNAME_FIELD: username}).first() if migrated else None
    state = {name: getattr(user, name) for name in wanted} if user else None
    facts = {"username": username, "database": connection.alias, "created": user is None}
    if user is None:
        required = [model._meta.get_field(name) for name in model.REQUIRED_FIELDS]
        missing = [
            field.name for field in required if field.attname not in wanted and not (field.blank or field.has_default())
        ]
        if missing:
            raise Failure(
                "user", f"{model._meta.label} needs {', '.join(missing)}", "give it under `fields` (or `email`)"
            )
        new_password = password is not None
        if not predict:
            given = {name: value for name, value in wanted.items() if not name.startswith("is_")}
            with transaction.atomic(using=connection.alias):
                user = manager.create_superuser(**given, password=password)
                update_user(user, wanted)
    else:
        new_password = (
            password is not None
            and request.get("update_password") == "always"
            # The hasher itself, not user.check_password(): that one may save a newer hash on the way.
            and not check_password(password, user.password)
        )
        if not predict:
            if new_password:
                user.set_password(password)
            update_user(user, wanted, ["password"] if new_password else [])
    after = wanted if predict or user is None else {name: getattr(user, name) for name in wanted}
    old = lines_of(state) + ("password: (the old one)\n" if new_password and state else "")
    new = lines_of(after) + ("password: (the given one)\n" if new_password else "")
    return outcome(
        state != after or new_password, state, after, old=old, new=new, password_changed=new_password, **facts
    )


def wanted_user(model: Any, request: Request) -> dict[str, Any]:
    """The attributes the superuser shall have, in the types of the model's own fields.

    :raises Failure: for a field the model does not have or a value it does not take.
    """
    from django.contrib.auth.base_user import BaseUserManager
    from django.core.exceptions import FieldDoesNotExist, ValidationError

    names = {field.name for field in model._meta.concrete_fields}
    given = {**(request.get("fields") or {}), model.USERNAME_FIELD: request["username"]}
    email = getattr(model, "EMAIL_FIELD", "email")
    if request.get("email") is not None and email in names and email != model.USERNAME_FIELD:
        given[email] = request["email"]
    if email in given:  # as Django's own manager does, so that a second look finds what it stored
        given[email] = BaseUserManager.normalize_email(given[email])
    given.update({name: True for name in ("is_staff", "is_superuser", "is_active") if name in names})
    wanted = {}
    for name, value in given.items():
        try:
            field = model._meta.get_field(name)
            wanted[field.attname] = field.to_python(value)
        except (FieldDoesNotExist, AttributeError) as error:
            known = ", ".join(sorted(names))
            raise Failure("user", f"{model._meta.label} has no field {name!r}", f"it has: {known}") from error
        except ValidationError as error:
            raise Failure("user", f"{model._meta.label}.{name}: {' '.join(error.messages)}") from error
    return wanted


def update_user(user: Any, wanted: dict[str, Any], also: list[str] | None = None) -> None:
    """Save only what differs: another process may be writing other fields, last_login for one."""
    changes = [name for name, value in wanted.items() if getattr(user, name) != value]
    for name in changes:
        setattr(user, name, wanted[name])
    if changes or also:
        user.save(update_fields=[*changes, *(also or [])])
