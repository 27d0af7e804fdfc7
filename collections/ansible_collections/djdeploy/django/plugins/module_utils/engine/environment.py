# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of systemd's EnvironmentFile=, written and read.

One writer and one reader for every process of a site, so that a password with a quote, a dollar or a
newline in it reaches Django as it was given. The reader follows systemd's own (systemd.exec(5)).
"""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping

from .errors import EngineError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ESCAPED = '"\\`$'
NEWLINE = "\n\r"
WHITESPACE = " \t" + NEWLINE
#: Unicode's noncharacters: systemd takes no text that holds one (its unichar_is_valid()).
NO_CHARACTER = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF)) + "]"
)

MASK = "********"
ALWAYS_SECRET = frozenset({"SECRET_KEY", "DJANGO_SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_URL"})
#: What every site is given -> how guides and templates call it, too (MDN's tutorial, cookiecutter-django).
ALSO_CALLED = {"ALLOWED_HOSTS": "DJANGO_ALLOWED_HOSTS", "DEBUG": "DJANGO_DEBUG", "SECRET_KEY": "DJANGO_SECRET_KEY"}
_USER_INFO = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s@]*:[^/?#\s]*@")

SECRET_KEY_LENGTH = 64
SECRET_KEY_ALPHABET = string.ascii_letters + string.digits + "-_"


def is_secret(name: str) -> bool:
    """Whether a variable is a secret wherever it comes from: URLs of databases hold passwords."""
    return name in ALWAYS_SECRET or name.endswith("_DATABASE_URL")


def serialize(mapping: Mapping[str, str]) -> str:
    """The variables as text for EnvironmentFile=, sorted by name; empty text for none.

    :raises EngineError: for what no environment can hold; it names the variable, never the value.
    """
    lines = []
    for name in sorted(mapping):
        value = mapping[name]
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise EngineError(f"{name!r} cannot be the name of an environment variable")
        if not isinstance(value, str):
            raise EngineError(f"the environment variable {name} is {type(value).__name__}, not text", "quote its value")
        if "\0" in value:
            raise EngineError(f"the environment variable {name} holds a NUL character")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise EngineError(f"the environment variable {name} cannot be written as UTF-8") from None
        if NO_CHARACTER.search(value):
            raise EngineError(
                f"the environment variable {name} holds a code point that is no character (such as U+FFFE),"
                " and systemd refuses the whole file",
                "give it as base64 and let the project decode it, or as one of secret_files",
            )
        quoted = re.sub(r'(["\\`$])', r"\\\1", value)
        lines.append(f'{name}="{quoted}"\n')
    return "".join(lines)


def parse(text: str, passed_over: list[int] | None = None) -> dict[str, str]:
    """The variables systemd would set from `text`; the last of a name wins.

    Lines that are no assignment, comments and impossible names are passed over, as systemd does. (A comment
    that ends in a backslash is the one thing versions of systemd disagree on; `serialize` writes no comments.)

    :param passed_over: gets the number of each line that sets nothing and is no comment: of one without an equals
        sign or with an impossible name, and of the last if a quote is still open there.
    """
    skipped = passed_over if passed_over is not None else []
    variables: dict[str, str] = {}
    key: list[str] = []
    value: list[str] = []
    kept = 0  # length of `value` up to which trailing blanks must not be stripped
    state = "pre_key"

    def assign() -> None:
        name = "".join(key).rstrip(WHITESPACE)
        if NAME.fullmatch(name):
            whole = "".join(value)
            variables[name] = whole[:kept] + whole[kept:].rstrip(WHITESPACE)
        else:
            skipped.append(began)
        key.clear()
        value.clear()

    began = line = 1  # where the assignment begins, and where we are
    for character in text:
        if state == "pre_key":
            if character in "#;":
                state = "comment"
            elif character not in WHITESPACE:
                state, began = "key", line
                key.append(character)
        elif state == "comment":
            if character == "\\":
                state = "comment_escape"
            elif character in NEWLINE:
                state = "pre_key"
        elif state == "comment_escape":
            state = "comment"
        elif state == "key":
            if character in NEWLINE:
                key.clear()
                skipped.append(began)
                state = "pre_key"
            elif character == "=":
                state = "pre_value"
                kept = 0
            else:
                key.append(character)
        elif state in ("pre_value", "value"):
            if character in NEWLINE:
                assign()
                state = "pre_key"
            elif character == "\\":
                state = "escape"
            elif state == "pre_value" and character == "'":
                state = "single"
            elif state == "pre_value" and character == '"':
                state = "double"
            elif state == "value" or character not in WHITESPACE:
                state = "value"
                value.append(character)
        elif state == "escape":
            state = "value"
            if character not in NEWLINE:
                value.append(character)
                kept = len(value)
        elif state == "single":
            if character == "'":
                state = "pre_value"
                kept = len(value)
            else:
                value.append(character)
        elif state == "double":
            if character == '"':
                state = "pre_value"
                kept = len(value)
            elif character == "\\":
                state = "double_escape"
            else:
                value.append(character)
        elif state == "double_escape":
            state = "double"
            if character in ESCAPED:
                value.append(character)
            elif character != "\n":
                value.extend(("\\", character))
        line += character == "\n"
    if state in ("single", "double", "double_escape"):
        kept = len(value)
        skipped.append(began)
    if state == "key":
        skipped.append(began)
    if state not in ("pre_key", "comment", "comment_escape", "key"):
        assign()
    return variables


def without_passwords(text: str) -> str:
    """A text with user and password cut out of every URL in it: what is no secret as a whole may hold one."""
    return _USER_INFO.sub(rf"\1{MASK}@", text)


def new_secret_key() -> str:
    """A fresh SECRET_KEY: 64 characters, 384 random bits, none of which needs quoting anywhere."""
    return "".join(secrets.choice(SECRET_KEY_ALPHABET) for _place in range(SECRET_KEY_LENGTH))
