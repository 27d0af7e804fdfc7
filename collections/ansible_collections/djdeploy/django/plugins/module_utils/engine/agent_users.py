# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about who may log in and what they may do: `superuser`, `user` and `group`."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from .agent_databases import connection_for, routed_by
from .agent_words import Failure, Outcome, Request, lines_of, outcome

FLAGS = ("active", "staff", "superuser")
OWN = {"admin.logentry"}  # what tells of a user and goes with it


def superuser(request: Request, predict: bool) -> Outcome:
    """See that one superuser exists and can log in; a password is set, never read back."""
    model, connection = user_model(), connection_for(request, predict)
    names = {field.name for field in model._meta.concrete_fields}
    flags = {f"is_{flag}": True for flag in FLAGS if f"is_{flag}" in names}
    with pinned(connection.alias, model):
        return keep(model, connection, request, predict, flags, "create_superuser")


def user(request: Request, predict: bool) -> Outcome:
    """See that one user is as described, or is not there."""
    model, connection = user_model(), connection_for(request, predict)
    flags = {f"is_{flag}": request[flag] for flag in FLAGS if request.get(flag) is not None}
    with pinned(connection.alias, model):
        if request.get("state") != "absent":
            return keep(model, connection, request, predict, flags, "create_user")
        username = wanted_user(model, {"username": request["username"]}, {})[model.USERNAME_FIELD]
        found = existing(model, connection, predict, **{model.USERNAME_FIELD: username})
        state = {model.USERNAME_FIELD: username} if found else None
        hint = "`active: false` for a user who shall not log in any more"
        gone = remove(found, request, predict, hint if hasattr(model, "is_active") else "")
    facts = {"username": username, "database": connection.alias, "created": False, "password_changed": False}
    return outcome(found is not None, state, None, old=lines_of(state), removed=gone, **facts)


def group(request: Request, predict: bool) -> Outcome:
    """See that one group exists and has its permissions, or is not there."""
    refuse_without_auth()
    from django.contrib.auth.models import Group

    connection = connection_for(request, predict)
    with pinned(connection.alias, Group):
        return keep_group(connection, request, predict)


def keep_group(connection: Any, request: Request, predict: bool) -> Outcome:
    """Bring the group of that name to the described state, or delete it.

    :raises Failure: for a permission that is not there, or what else would go with the group.
    """
    from django.contrib.auth.models import Group, Permission
    from django.db import transaction

    alias, name = connection.alias, str(request["group"])
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


class Pinned:
    """A database router for the models a step works on; about all others the project's own routers decide."""

    def __init__(self, alias: str, models: set[Any]) -> None:
        self.alias, self.models = alias, models

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return self.alias if model._meta.concrete_model in self.models else None

    db_for_write = db_for_read


def pinned(alias: str, model: Any) -> AbstractContextManager[None]:
    """Whatever is read and written of a model and what it refers to is in this database.

    Otherwise a router of the project that sends writes elsewhere would have us look at one database and
    change, or delete from, another: save(), delete() and the managers of relations all ask it
    (Django docs, "Multiple databases", Automatic database routing).
    """
    from django.contrib.auth.models import Group, Permission
    from django.contrib.contenttypes.models import ContentType

    models = {Group, Permission, ContentType, model._meta.concrete_model, *model._meta.get_parent_list()}
    for each in list(models):
        ends = [field for field in each._meta.get_fields() if field.many_to_many and not field.auto_created]
        models |= {end.remote_field.through for end in ends} | {end.related_model for end in ends}
        models |= {field.related_model for field in each._meta.concrete_fields if field.is_relation}
    return routed_by(Pinned(alias, models))


def user_model() -> Any:
    refuse_without_auth()
    from django.contrib.auth import get_user_model

    return get_user_model()


def existing(model: Any, connection: Any, predict: bool, **wanted: Any) -> Any:
    """The object of these values, or None; in a prediction also where `migrate` has not made the table yet.

    :raises Failure: when there is no table to put it into.
    """
    if model._meta.db_table in connection.introspection.table_names():
        # Not the default manager: that of a project may hide some, and they would be created again.
        return model._base_manager.using(connection.alias).filter(**wanted).first()
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
    refuse_invalid(model, connection, wanted, found, predict)
    if found is None:
        refuse_incomplete(model, wanted, create)
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
    manager = model._default_manager.db_manager(alias)
    if hasattr(manager, create):
        return getattr(manager, create)(**arguments(model, wanted, create), password=password)
    found = model(**{name: value for name, value in wanted.items() if not name.startswith("is_")})
    found.set_password(password)
    found.save(using=alias)
    return found


def parameters(model: Any, create: str) -> dict[str, Any]:
    """What the manager's method to create a user takes, besides the password."""
    from inspect import signature

    method = getattr(model._default_manager, create, None)
    return {name: each for name, each in signature(method).parameters.items() if name != "password"} if method else {}


def arguments(model: Any, wanted: dict[str, Any], create: str) -> dict[str, Any]:
    """What to call that method with; what it does not take is set afterwards.

    A foreign key goes by the name of its field when the method has such a parameter: there Django's own
    `createsuperuser` gives it the primary key (Django docs, "Customizing authentication", REQUIRED_FIELDS).
    """
    takes, found = parameters(model, create), {}
    everything = any(each.kind is each.VAR_KEYWORD for each in takes.values())
    for name, value in wanted.items():
        plain = model._meta.get_field(name).name
        if plain in takes:
            found[plain] = value
        elif name in takes or (everything and not name.startswith("is_")):
            found[name] = value
    return found


def refuse_invalid(model: Any, connection: Any, wanted: dict[str, Any], found: Any, predict: bool) -> None:
    """Ask the model's fields about what would be new, as `createsuperuser` does; the rest may be older than its rules.

    :raises Failure: for a value that the field, or another user, does not allow.
    """
    from django.core.exceptions import ValidationError

    tables = connection.introspection.table_names()
    blank = model()
    blank._state.db = connection.alias  # where a foreign key looks for its object
    needed = {model.USERNAME_FIELD, *model.REQUIRED_FIELDS}
    for name, value in wanted.items():
        field = model._meta.get_field(name)
        if found is not None and getattr(found, name) == value:
            continue
        if found is not None and field.primary_key:
            raise Failure("user", f"{model._meta.label}.{name} is the primary key: it cannot be changed")
        there = not field.is_relation or field.related_model._meta.db_table in tables
        try:
            if there:
                field.validate(value, blank)
            field.run_validators(value)
        except ValidationError as error:
            if field.name in needed or {each.code for each in error.error_list} != {"blank"}:
                raise Failure("user", f"{model._meta.label}.{field.name}: {' '.join(error.messages)}") from error
        if not field.unique or value is None or model._meta.db_table not in tables:
            continue
        others = model._base_manager.using(connection.alias).filter(**{name: value})
        if (others.exclude(pk=found.pk) if found is not None else others).exists():
            raise Failure("user", f"another user has the {field.name} {value!r} already", "it has to be unique")


def refuse_incomplete(model: Any, wanted: dict[str, Any], create: str) -> None:
    """:raises Failure: when a new user would lack what the model requires."""
    required = [model._meta.get_field(name) for name in model.REQUIRED_FIELDS]
    missing = [
        field.name for field in required if field.attname not in wanted and not (field.blank or field.has_default())
    ]
    given = arguments(model, wanted, create)
    missing += [
        name
        for name, each in parameters(model, create).items()
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and name not in {*given, *missing}
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
    groups = model._meta.get_field("groups").related_model  # which need not be Django's own
    if "name" not in {field.name for field in groups._meta.concrete_fields}:
        raise Failure("user", f"{groups._meta.label} has no field 'name'", "leave `groups` out")
    if predict and groups._meta.db_table not in connection.introspection.table_names():
        return dict.fromkeys(names)
    found = {each.name: each for each in groups._base_manager.using(connection.alias).all()}
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
    for name in names:
        if name not in found and name in permissions_to_come():
            raise Failure("user", f"there is no permission {name!r} yet", "run `migrate` first")
    refuse_unknown("permission", names, found, "permissions of a model are made by `migrate`")
    return [found[name] for name in names]


def permissions_to_come() -> set[str]:
    """The permissions `migrate` makes for the models of the project as it is."""
    from django.apps import apps
    from django.contrib.auth import get_permission_codename

    return {
        f"{model._meta.app_label}.{code}"
        for model in apps.get_models()
        for code in [
            *(get_permission_codename(action, model._meta) for action in model._meta.default_permissions),
            *(code for code, _label in model._meta.permissions),
        ]
    }


def permission_name(permission: Any) -> str:
    return f"{permission.content_type.app_label}.{permission.codename}"


def refuse_unknown(kind: str, names: list[str], known: dict[str, Any], otherwise: str) -> None:
    """:raises Failure: for the first name that is not known, with the nearest one that is."""
    import difflib

    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise Failure("user", f"there is no {kind} {name!r}", f"did you mean {near[0]!r}?" if near else otherwise)


def remove(thing: Any, request: Request, predict: bool, otherwise: str = "") -> dict[str, int]:
    """Delete one object, with what cannot be without it.

    :param otherwise: what else one could do, for the hint.
    :returns: how many objects of which other models went along, or would.
    :raises Failure: when there are such, and nobody said that they may go; or the database keeps it for their sake.
    """
    from django.db import transaction
    from django.db.models.deletion import DO_NOTHING, Collector, ProtectedError, RestrictedError

    if thing is None:
        return {}
    collector = Collector(using=thing._state.db)
    try:
        collector.collect([thing])
    except (ProtectedError, RestrictedError) as error:
        raise Failure("user", str(error.args[0]), "delete or change those first") from error
    for relation in thing._meta.get_fields(include_hidden=True):
        ours = getattr(relation, "on_delete", None) is DO_NOTHING and not relation.concrete
        if ours and relation.field.db_constraint:
            holder = relation.related_model
            if holder._base_manager.using(thing._state.db).filter(**{relation.field.name: thing}).exists():
                raise Failure("user", f"{holder._meta.label} refers to {thing}", "delete or change those first")
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
            "`force: true` if that is what you want" + (f"; or {otherwise}" if otherwise else ""),
            removed=gone,
        )
    if not predict:
        manager, key = type(thing)._base_manager.using(thing._state.db), thing.pk
        with transaction.atomic(using=thing._state.db):
            thing.delete()
            if manager.filter(pk=key).exists():
                raise Failure(
                    "user", f"{thing._meta.label}.delete() does not delete: {thing} would still be there", otherwise
                )
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
    username = request["username"]
    if isinstance(username, str):  # as Django's login form does: otherwise nobody could log in by it
        username = model.normalize_username(username)
    given = {**(request.get("fields") or {}), model.USERNAME_FIELD: username}
    if "password" in given:
        raise Failure("user", "a password is not a field like others", "give it under `password`")
    email = getattr(model, "EMAIL_FIELD", "email")
    if request.get("email") is not None:
        same = BaseUserManager.normalize_email(request["email"]) == BaseUserManager.normalize_email(username)
        if email not in names:
            raise Failure("user", f"{model._meta.label} has no email address", "leave `email` out")
        if email == model.USERNAME_FIELD and not same:
            raise Failure("user", "the email address is the username here, and both are given", "leave `email` out")
        given[email] = request["email"]
    if email in given:  # as Django's own manager does, so that a second look finds what it stored
        given[email] = BaseUserManager.normalize_email(given[email])
    given.update(flags)
    wanted = {}
    for name, value in given.items():
        try:
            field = model._meta.get_field(name)
            if field.many_to_many:
                raise FieldDoesNotExist(name)
            wanted[field.attname] = stored(field, value)
        except (FieldDoesNotExist, AttributeError) as error:
            known = ", ".join(sorted(names))
            raise Failure("user", f"{model._meta.label} has no field {name!r}", f"it has: {known}") from error
        except ValidationError as error:
            raise Failure("user", f"{model._meta.label}.{name}: {' '.join(error.messages)}") from error
    return wanted


def stored(field: Any, value: Any) -> Any:
    """A value as it comes out of the database again."""
    from datetime import datetime

    from django.conf import settings
    from django.db.models import DecimalField
    from django.utils import timezone

    if isinstance(value, float) and isinstance(field, DecimalField):
        value = str(value)  # 0.1 has more digits than it was written with
    value = field.to_python(value)
    if isinstance(value, datetime) and settings.USE_TZ and timezone.is_naive(value):
        return timezone.make_aware(value, timezone.get_default_timezone())
    if isinstance(value, datetime) and not settings.USE_TZ and timezone.is_aware(value):
        return timezone.make_naive(value, timezone.get_default_timezone())
    return value


def update_user(user: Any, wanted: dict[str, Any], also: list[str] | None = None) -> None:
    """Save only what differs: another process may be writing other fields, last_login for one."""
    changes = [name for name, value in wanted.items() if getattr(user, name) != value]
    for name in changes:
        setattr(user, name, wanted[name])
    if changes or also:
        user.save(update_fields=[*changes, *(also or [])])
