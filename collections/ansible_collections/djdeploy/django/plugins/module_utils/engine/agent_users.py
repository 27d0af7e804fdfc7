# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about who may log in and what they may do: `superuser`, `user` and `group`."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

from typing import Any

from .agent_databases import connection_for
from .agent_words import Failure, Outcome, Request, lines_of, outcome

FLAGS = ("active", "staff", "superuser")
OWN = {"admin.logentry"}  # what tells of a user and goes with it


def superuser(request: Request, predict: bool) -> Outcome:
    """See that one superuser exists and can log in; a password is set, never read back."""
    model, connection = user_model(), connection_for(request, predict)
    names = {field.name for field in model._meta.concrete_fields}
    flags = {f"is_{flag}": True for flag in FLAGS if f"is_{flag}" in names}
    return keep(model, connection, request, predict, flags, "create_superuser")


def user(request: Request, predict: bool) -> Outcome:
    """See that one user is as described, or is not there."""
    model, connection = user_model(), connection_for(request, predict)
    flags = {f"is_{flag}": request[flag] for flag in FLAGS if request.get(flag) is not None}
    if request.get("state") != "absent":
        return keep(model, connection, request, predict, flags, "create_user")
    username = wanted_user(model, {"username": request["username"]}, {})[model.USERNAME_FIELD]
    found = existing(model, connection, predict, **{model.USERNAME_FIELD: username})
    state = {model.USERNAME_FIELD: username} if found else None
    gone = remove(found, request, predict)
    facts = {"username": username, "database": connection.alias, "created": False, "password_changed": False}
    return outcome(found is not None, state, None, old=lines_of(state), removed=gone, **facts)


def group(request: Request, predict: bool) -> Outcome:
    """See that one group exists and has its permissions, or is not there."""
    from django.db import transaction

    refuse_without_auth()
    from django.contrib.auth.models import Group, Permission

    connection, name = connection_for(request, predict), str(request["group"])
    alias = connection.alias
    found = existing(Group, connection, predict, name=name)
    facts = {"database": alias, "created": False}
    if request.get("state") == "absent":
        there = {"name": name} if found else None
        gone = remove(found, request, predict)
        return outcome(found is not None, there, None, old=lines_of(there), removed=gone, **facts)
    if not name or len(name) > Group._meta.get_field("name").max_length:
        raise Failure("user", f"{name!r} is not the name of a group", "1 to 150 characters")
    wanted = request.get("permissions")
    permissions = chosen_permissions(Permission, connection, wanted or [], predict)
    before = sorted(map(permission_name, related(found, "permissions"))) if found else []
    after = before if wanted is None else sorted({*before, *wanted} if request.get("append") else set(wanted))
    state: dict[str, Any] | None = {"name": name, "permissions": before} if found else None
    result: dict[str, Any] = {"name": name, "permissions": after}
    if state != result and not predict:
        with transaction.atomic(using=alias):
            found = found or Group._base_manager.using(alias).create(name=name)
            if after != before:
                kept = related(found, "permissions") if request.get("append") else []
                found.permissions.set([*kept, *permissions])
        result["permissions"] = sorted(map(permission_name, related(found, "permissions")))
    facts["created"] = state is None
    return outcome(state != result, state, result, old=text_of(state), new=text_of(result), removed={}, **facts)


# --- What they share -------------------------------------------------------------------------------------------


def refuse_without_auth() -> None:
    """:raises Failure: when the project has no users at all."""
    from django.apps import apps

    if not apps.is_installed("django.contrib.auth"):
        raise Failure("settings", "django.contrib.auth is not in INSTALLED_APPS: there are no users to create")


def user_model() -> Any:
    refuse_without_auth()
    from django.contrib.auth import get_user_model

    return get_user_model()


def existing(model: Any, connection: Any, predict: bool, **wanted: Any) -> Any:
    """The object of these values, or None; in a prediction also where `migrate` has not made the table yet.

    :raises Failure: when there is no table to put it into.
    """
    if model._meta.db_table in connection.introspection.table_names():
        return model._default_manager.using(connection.alias).filter(**wanted).first()
    if not predict:
        raise Failure("database", f"the table {model._meta.db_table!r} does not exist yet", "run `migrate` first")
    return None


def keep(model: Any, connection: Any, request: Request, predict: bool, flags: dict[str, Any], create: str) -> Outcome:
    """Create a user or bring it to the described state.

    :param flags: `is_...` -> what it shall be; what is not named stays.
    :param create: the method of the manager that creates one.
    """
    from django.contrib.auth.hashers import check_password
    from django.db import transaction

    wanted = wanted_user(model, request, flags)
    password, username = request.get("password"), wanted[model.USERNAME_FIELD]
    found = existing(model, connection, predict, **{model.USERNAME_FIELD: username})
    groups = chosen_groups(model, connection, request.get("groups"), predict)
    state = {name: getattr(found, name) for name in wanted} if found else None
    member = sorted(each.name for each in related(found, "groups")) if found and groups is not None else []
    goal = sorted({*groups, *(member if request.get("append") else ())}) if groups is not None else []
    if found is None:
        refuse_incomplete(model, wanted)
        new_password = password is not None
    else:
        new_password = (
            password is not None
            and request.get("update_password") == "always"
            # The hasher itself, not user.check_password(): that one may save a newer hash on the way.
            and not check_password(password, found.password)
        )
    created = found is None
    if not predict:
        with transaction.atomic(using=connection.alias):
            if found is None:
                found = made(model, connection.alias, wanted, password, create)
            elif new_password:
                found.set_password(password)
            update_user(found, wanted, ["password"] if new_password and not created else [])
            if groups is not None and goal != member:
                found.groups.set([*groups.values(), *(related(found, "groups") if request.get("append") else ())])
    after = wanted if predict or found is None else {name: getattr(found, name) for name in wanted}
    if groups is not None:
        state = state and {**state, "groups": member}
        after = {**after, "groups": goal if predict else sorted(each.name for each in related(found, "groups"))}
    old = text_of(state) + ("password: (the old one)\n" if new_password and state else "")
    new = text_of(after) + ("password: (the given one)\n" if new_password else "")
    return outcome(
        state != after or new_password,
        state,
        after,
        old=old,
        new=new,
        username=username,
        database=connection.alias,
        created=created,
        password_changed=new_password,
        removed={},
    )


def made(model: Any, alias: str, wanted: dict[str, Any], password: str | None, create: str) -> Any:
    """A new user, by the manager of the project where it has the usual method."""
    given = {name: value for name, value in wanted.items() if not name.startswith("is_")}
    manager = model._default_manager.db_manager(alias)
    if hasattr(manager, create):
        return getattr(manager, create)(**given, password=password)
    found = model(**given)
    found.set_password(password)
    found.save(using=alias)
    return found


def refuse_incomplete(model: Any, wanted: dict[str, Any]) -> None:
    """:raises Failure: when a new user would lack what the model requires."""
    required = [model._meta.get_field(name) for name in model.REQUIRED_FIELDS]
    missing = [
        field.name for field in required if field.attname not in wanted and not (field.blank or field.has_default())
    ]
    if missing:
        raise Failure("user", f"{model._meta.label} needs {', '.join(missing)}", "give it under `fields` (or `email`)")


def related(thing: Any, name: str) -> list[Any]:
    """The objects of a many-to-many relation, from the database the object itself came from."""
    return list(getattr(thing, name).all())


def text_of(state: dict[str, Any] | None) -> str:
    """A state as text; a list is one line for each of its items, so that a diff shows which one is new."""
    plain = {name: value for name, value in (state or {}).items() if not isinstance(value, list)}
    listed = {name: value for name, value in (state or {}).items() if isinstance(value, list)}
    return lines_of(plain) + "".join(f"{name}: {item}\n" for name, items in listed.items() for item in items)


def chosen_groups(model: Any, connection: Any, names: list[str] | None, predict: bool) -> dict[str, Any] | None:
    """The groups of these names; None when nothing is said about groups.

    :raises Failure: when the users of the project have no groups, or one does not exist.
    """
    if names is None:
        return None
    if "groups" not in {field.name for field in model._meta.many_to_many}:
        raise Failure("user", f"{model._meta.label} has no groups", "leave `groups` out")
    from django.contrib.auth.models import Group

    if predict and Group._meta.db_table not in connection.introspection.table_names():
        return dict.fromkeys(names)
    found = {each.name: each for each in Group._base_manager.using(connection.alias).all()}
    refuse_unknown("group", names, found, "create it first: the module group")
    return {name: found[name] for name in names}


def chosen_permissions(model: Any, connection: Any, names: list[str], predict: bool) -> list[Any]:
    """The permissions of these names, `app_label.codename`.

    :raises Failure: when one does not exist.
    """
    if not names or (predict and model._meta.db_table not in connection.introspection.table_names()):
        return []
    query = model._base_manager.using(connection.alias).select_related("content_type")
    found = {permission_name(each): each for each in query}
    refuse_unknown("permission", names, found, "permissions of a model are made by `migrate`")
    return [found[name] for name in names]


def permission_name(permission: Any) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"


def refuse_unknown(kind: str, names: list[str], known: dict[str, Any], otherwise: str) -> None:
    """:raises Failure: for the first name that is not known, with the nearest one that is."""
    import difflib

    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise Failure("user", f"there is no {kind} {name!r}", f"did you mean {near[0]!r}?" if near else otherwise)


def remove(thing: Any, request: Request, predict: bool) -> dict[str, int]:
    """Delete one object, with what cannot be without it.

    :returns: how many objects of which other models went along, or would.
    :raises Failure: when there are such, and nobody said that they may go; or the database keeps it for their sake.
    """
    from django.db.models.deletion import Collector, ProtectedError, RestrictedError

    if thing is None:
        return {}
    collector = Collector(using=thing._state.db)
    try:
        collector.collect([thing])
    except (ProtectedError, RestrictedError) as error:
        raise Failure("user", str(error.args[0]), "delete or change those first") from error
    others: dict[str, int] = {}
    for model, objects in collector.data.items():
        others[model._meta.label_lower] = others.get(model._meta.label_lower, 0) + len(objects)
    for query in collector.fast_deletes:
        if not query.model._meta.auto_created:
            others[query.model._meta.label_lower] = others.get(query.model._meta.label_lower, 0) + query.count()
    own = {thing._meta.label_lower, *OWN} | {model._meta.label_lower for model in thing._meta.get_parent_list()}
    gone = {
        label: count for label, count in sorted(others.items()) if count and label not in own and not through(label)
    }
    if gone and not request.get("force"):
        told = ", ".join(f"{count} of {label}" for label, count in gone.items())
        raise Failure(
            "user",
            f"with {thing} would go: {told}",
            "`force: true` if that is what you want; or `active: false` for a user who shall not log in any more",
            removed=gone,
        )
    if not predict:
        thing.delete()
    return gone


def through(label: str) -> bool:
    """Whether a model is only the table between the two ends of a relation."""
    from django.apps import apps

    return bool(apps.get_model(label)._meta.auto_created)


def wanted_user(model: Any, request: Request, flags: dict[str, Any]) -> dict[str, Any]:
    """The attributes the user shall have, in the types of the model's own fields.

    :raises Failure: for a field the model does not have or a value it does not take.
    """
    from django.contrib.auth.base_user import BaseUserManager
    from django.core.exceptions import FieldDoesNotExist, ValidationError

    names = {field.name for field in model._meta.concrete_fields}
    given = {**(request.get("fields") or {}), model.USERNAME_FIELD: request["username"]}
    if "password" in given:
        raise Failure("user", "a password is not a field like others", "give it under `password`")
    email = getattr(model, "EMAIL_FIELD", "email")
    if request.get("email") is not None and email in names and email != model.USERNAME_FIELD:
        given[email] = request["email"]
    if email in given:  # as Django's own manager does, so that a second look finds what it stored
        given[email] = BaseUserManager.normalize_email(given[email])
    given.update(flags)
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
