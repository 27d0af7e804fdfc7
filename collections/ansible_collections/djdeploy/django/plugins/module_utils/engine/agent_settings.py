# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `settings_digest`: what every setting is, told only as a digest that no value can be read from.

Two releases can so be compared by the names of the settings that differ, and no value leaves the process.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import hashlib
import hmac
import json
import pathlib
import re
import types
import uuid
from collections.abc import Iterable
from typing import Any

from .agent_words import Failure, Outcome, Request, outcome

OURS = "DJDEPLOY_"  # settings the generated module adds; what they are about shows in the settings themselves
STRIPPED = "<release>"
DIGEST_LENGTH = 16  # hexadecimal digits
WRITTEN = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, int, float, complex, range)


def settings_digest(request: Request, predict: bool) -> Outcome:
    """Name -> keyed digest of every setting that the project sets, in `facts["settings"]`.

    The request holds `salt` (hexadecimal digits: the key; no digest of another key can be compared) and
    `strip`: texts that differ in every release for no reason of the project's, such as its directory.
    """
    from django.conf import settings
    from django.utils import translation

    salt = str(request.get("salt") or "")
    if not re.fullmatch("([0-9a-f]{2})+", salt):
        raise Failure("request", "settings_digest needs a salt of hexadecimal digits")
    strip = [str(text) for text in request.get("strip") or ()]
    holder = settings._wrapped  # the outer one refuses to show an empty SECRET_KEY
    names = [name for name in dir(holder) if name.isupper() and holder.is_overridden(name)]
    with translation.override(None):  # a translated text says the same whatever language is active
        digests = {
            name: digest_of(name, canonical(getattr(holder, name), strip), bytes.fromhex(salt))
            for name in names
            if not name.startswith(OURS)
        }
    return outcome(False, settings=digests)


def digest_of(name: str, form: Any, key: bytes) -> str:
    """The name is part of it, so that two settings of one value do not show that they are the same."""
    return hmac.new(key, compact([name, form]).encode(), hashlib.sha256).hexdigest()[:DIGEST_LENGTH]


def canonical(value: Any, strip: Iterable[str] = (), within: tuple[int, ...] = ()) -> Any:
    """A form of a value made of JSON alone, the same in every process that computes the same value.

    Lists and tuples are one thing, and the order of a dict is none. What has no written form of its own
    is told by its type only: its repr would hold an address.

    :param strip: texts to replace by a marker, wherever they stand in a text.
    :param within: ids of the containers around this value: one that holds itself ends there.
    """
    from django.utils.functional import Promise

    kind = type(value)  # not isinstance(): that asks the value, and a lazy one sets itself up to answer
    if value is None or kind in (bool, int, float):
        return value
    if issubclass(kind, Promise):
        return lazy_form(value, strip)
    if issubclass(kind, enum.Enum):
        return [typed(value), value.name]
    if issubclass(kind, str):
        return stripped(str.__str__(value), strip)
    if issubclass(kind, (bytes, bytearray)):
        return ["bytes", bytes(value).hex()]
    if issubclass(kind, pathlib.PurePath):
        return stripped(str(value), strip)
    if issubclass(kind, WRITTEN):
        return [typed(value), str(value)]
    if issubclass(kind, re.Pattern):
        return ["pattern", canonical(value.pattern, strip), value.flags]
    if issubclass(kind, functools.partial):
        return ["partial", *(canonical(part, strip, within) for part in (value.func, value.args, value.keywords))]
    if issubclass(kind, types.ModuleType):
        return ["module", value.__name__]
    if issubclass(kind, (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
        return ["name", f"{value.__module__}.{value.__qualname__}"]
    return container_form(value, strip, within)


def container_form(value: Any, strip: Iterable[str], within: tuple[int, ...]) -> Any:
    """The canonical form of what holds other values, and of what nothing is known of."""
    kind = type(value)
    if id(value) in within:
        return ["again"]
    within = (*within, id(value))
    if issubclass(kind, (list, tuple)):
        return ["list", *(canonical(item, strip, within) for item in value)]
    if issubclass(kind, (set, frozenset)):
        return ["set", *sorted((canonical(item, strip, within) for item in value), key=compact)]
    if issubclass(kind, (dict, types.MappingProxyType)):
        pairs = [[canonical(key, strip, within), canonical(item, strip, within)] for key, item in value.items()]
        return ["dict", *sorted(pairs, key=compact)]
    return typed(value)


def lazy_form(value: Any, strip: Iterable[str]) -> Any:
    """The text a lazy one stands for; by type where it cannot be had, for what is lazy may need more than settings."""
    try:
        return stripped(str(value), strip)
    except Exception:
        return typed(value)


def stripped(text: str, strip: Iterable[str]) -> str:
    for part in sorted(strip, key=len, reverse=True):
        text = text.replace(part, STRIPPED) if part else text
    return text


def typed(value: Any) -> Any:
    kind = type(value)
    return ["type", f"{kind.__module__}.{kind.__qualname__}"]


def compact(form: Any) -> str:
    return json.dumps(form, separators=(",", ":"))
