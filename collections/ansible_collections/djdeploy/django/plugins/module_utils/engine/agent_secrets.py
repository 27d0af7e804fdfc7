# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not leave the process of a step: known by its name or its place, hidden in whatever form it comes out.

How it is found in those forms is in `agent_written`. The engine reads this file, too: the last words of a process that
died never went through the agent.
"""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from html import escape
from typing import Any
from urllib.parse import quote, quote_plus

from .agent_written import encoded_in_utf8, places

HIDDEN = "********"
SHORTEST_SECRET = 8  # characters; hiding shorter ones would garble ordinary words
SHORTEST_GIVEN = 4  # the same of what a task itself calls a secret; Ansible's no_log hides the rest in its result
SURE = re.compile("SECRET|PASSW|PRIVATE|CREDENTIAL", re.IGNORECASE)
NAMED_VALUES = ("fields", "args")  # options of steps whose values count by their names
LIKELY = re.compile("KEY|TOKEN|PASS|PWD|SALT|SIGNATURE|DSN|AUTH$", re.IGNORECASE)
HARMLESS = re.compile(
    "(PREFIX|FUNCTION|NAME|HASHERS|VALIDATORS|TIMEOUT|AGE|CLASS|CLASSES|HEADER|MODEL)$", re.IGNORECASE
)
OF_A_PATH = re.compile("(FILE|PATH|DIR)$", re.IGNORECASE)
DOTTED = re.compile(r"[A-Za-z]+([._][A-Za-z]+)+")  # a setting with such a value names code, not a key
IN_URL = re.compile(r"://[^:/@\s]*:([^@\s]+)@")
USER_IN_URL = re.compile(r"://([0-9A-Za-z]{16,})@")  # a key all by itself, as Sentry's
DEPTH = 6  # of settings within settings
BOTH_QUOTES = "'\""  # a repr of both writes the first as `\\'`
URL_SAFE = str.maketrans("+/", "-_")


def named(name: str, value: str) -> bool:
    """Whether a value is a secret by its name."""
    if HARMLESS.search(name) or (OF_A_PATH.search(name) and value.startswith("/")):
        return False
    return bool(SURE.search(name) or LIKELY.search(name))


def in_urls(text: str) -> Iterator[str]:
    if "://" in text:
        yield from IN_URL.findall(text)
        yield from USER_IN_URL.findall(text)


def of_environment(variables: Mapping[str, Any]) -> Iterator[str]:
    """Secrets among environment variables."""
    for name, given in variables.items():
        value = str(given)
        if named(str(name), value):
            yield value
        yield from in_urls(value)


def leaves(value: Any) -> Iterator[str]:
    """Every value within a value, as text."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from leaves(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def of_steps(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What tasks themselves call a secret."""
    for step in steps:
        yield from leaves(step.get("password"))
        yield from leaves(step.get("secrets"))


def of_options(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Secrets by their name among the values a task gives."""
    for step in steps:
        for option in NAMED_VALUES:
            yield from of_values(step.get(option))


def of_values(values: Any) -> Iterator[str]:
    """Secrets by their name among values in a dict, such as `fields` of a user and `args` of a snippet."""
    yield from within(values, "", DEPTH)


def of_settings(settings: Any) -> Iterator[str]:
    """Secrets among the settings of a project."""
    values: dict[str, Any] = {}
    for name in filter(str.isupper, dir(settings)):
        with suppress(Exception):  # what refuses to be read cannot be printed either
            values[name] = getattr(settings, name)
    yield from of_values(values)


def within(value: Any, name: str, depth: int) -> Iterator[str]:
    """Secrets in a setting, however deep; a list is named after what holds it."""
    if isinstance(value, str):
        if named(name, value) and (SURE.search(name) or not DOTTED.fullmatch(value)):
            yield str(value)
        yield from in_urls(value)
    elif isinstance(value, bytes):
        yield from within(value.decode("utf-8", "replace"), name, depth)
    elif depth and isinstance(value, Mapping):
        for key, item in value.items():
            yield from within(item, str(key), depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)) and not HARMLESS.search(name):
        for item in value:
            yield from within(item, name, depth - 1)


def forms_of(secret: str, shortest: int) -> Iterator[str]:
    """A secret and, of one with several lines, each line, as they are and encoded.

    In what ways programs write these, character by character, `agent_written` knows.
    """
    for text in (secret, *(secret.splitlines() if len(secret.splitlines()) > 1 else ())):
        if len(text.strip()) >= shortest:
            yield from (text, text.strip())
            for form in dict.fromkeys((*quoted(text), *in_reprs(text))):
                yield from encoded(form)


def in_reprs(text: str) -> Iterator[str]:
    """A text as it looks in the repr of a longer one, which decides what quotes Python writes, as text and as bytes."""
    for written in (
        repr(text + BOTH_QUOTES)[1:-4],
        ascii(text + BOTH_QUOTES)[1:-4],
        repr(bytes_of(text + BOTH_QUOTES))[2:-4],
    ):
        yield from (written, written.replace("\\'", "'"))


def quoted(text: str) -> Iterator[str]:
    """A text as it looks in a repr, in JSON, in a URL, in a page, in a shell's line, in SQL.

    For Ansible, which hides a text as it stands, and for base64, in which nothing is read; elsewhere a text is found in
    any way of writing; see `covered`.
    """
    data = bytes_of(text)
    yield from (text, repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1])
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    yield text.encode("ascii", "backslashreplace").decode()
    yield from (quote(data, safe=""), quote(data), quote_plus(data), escape(text))
    yield from (shlex.quote(text)[1:-1], text.replace("'", "''"), text.replace("%", "%%"))


def encoded(text: str) -> Iterator[str]:
    """A text in base64 wherever it stands in what was encoded, with the lines of base64(1), and in hexadecimal."""
    data = bytes_of(text)
    for before in range(3):  # bytes in front of it: they shift which bits of it a character holds
        characters = b64encode(bytes(before) + data).decode()
        core = characters[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
        yield from (core, core.translate(URL_SAFE))
    whole = b64encode(data).decode()
    yield from (whole, whole.translate(URL_SAFE))
    for width in (64, 76):  # of PEM and of MIME
        if len(whole) > width:
            yield from (whole[at : at + width] for at in range(0, len(whole) - SHORTEST_SECRET, width))
    yield from (data.hex(), data.hex().upper())


def bytes_of(text: str) -> bytes:
    """A text as a process has it in its environment: bytes that were no UTF-8 are themselves again (PEP 383)."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair of UTF-16, which JSON may bring
        return text.encode("utf-8", "surrogatepass")


def forms(given: Iterable[str], found: Iterable[str]) -> list[str]:
    """All that is to be hidden, longest first.

    :param given: secrets of the task.
    :param found: values that are secrets by their name.
    """
    known = {form for secret in given for form in forms_of(secret, SHORTEST_GIVEN)}
    known.update(form for secret in found for form in forms_of(secret, SHORTEST_SECRET))
    return sorted(known, key=lambda form: (-len(form), form))


def hidden(value: Any, secrets: list[str]) -> Any:
    """A value without its secrets; what JSON does not know becomes text."""
    if isinstance(value, Mapping):
        return {
            hidden(key, secrets) if isinstance(key, str) else key: hidden(each, secrets) for key, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [hidden(each, secrets) for each in value]
    if value is None or isinstance(value, (bool, int, float)):
        return HIDDEN if not isinstance(value, bool) and str(value) in secrets else value
    return covered(str(value), secrets)


def covered(text: str, secrets: list[str]) -> str:
    """A text with every secret in it hidden, those that overlap as one.

    Hidden is a secret in any mixture of the ways in which programs write characters, what is left of one where a text
    was cut (`cut_mark`), and the beginning and the end of a long one, which programs show that shorten what they show.
    """
    if not text or not secrets:
        return text
    data = encoded_in_utf8(text)
    spans = places(data, tuple(secrets))
    if not spans:
        return text
    parts, end = [], 0
    for start, stop in spans:
        while start and is_within_character(data, start):
            start -= 1
        while is_within_character(data, stop):
            stop += 1
        if start >= end:
            parts += [data[end:start], HIDDEN.encode()]
        end = max(end, stop)
    return b"".join([*parts, data[end:]]).decode("utf-8", "surrogatepass")


def is_within_character(data: bytes, at: int) -> bool:
    return at < len(data) and data[at] & 0xC0 == 0x80


def cut_mark(left_out: int | None) -> str:
    """What stands in a text in the place of bytes that were not kept.

    :param left_out: how many; None where nobody knows.
    """
    return f"[... {'some' if left_out is None else left_out} bytes left out ...]"
