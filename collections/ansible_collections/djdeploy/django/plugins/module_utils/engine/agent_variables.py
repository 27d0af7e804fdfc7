# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable of the environment that the settings ask for and nobody gives: which it is, and which others lack as well.

Settings stop at the first one. Whoever has five to give should not have to push five times to learn their names.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

# How libraries that read the environment say it, and the helper many projects carry for it.
SAID = (
    re.compile(r"Set the (\w+) environment variable"),  # django-environ; Two Scoops of Django
    re.compile(r"(\w+) not found\. Declare it as envvar or define a default value\."),  # python-decouple
    re.compile(r'Environment variable "(\w+)" not set'),  # environs
)
_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def named(error: BaseException) -> str:
    """The variable whose absence an exception is about; empty when it is about something else."""
    if isinstance(error, KeyError):
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        inside = trace.tb_frame.f_code.co_filename if trace is not None else ""
        return str(error.args[0]) if inside in ("<frozen os>", os.__file__) else ""
    first = (str(error).strip().splitlines() or [""])[0]
    found = (pattern.match(first) for pattern in SAID)
    return next((match[1] for match in found if match), "")


def asked(text: str, name: str) -> list[str]:
    """All variables that code asks for as it asks for this one, and for which it has no default.

    :param text: the code of a module.
    :param name: a variable; code that does not ask for it by name shows no way of asking.
    """
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError):
        return []
    found = [each for each in map(_asking, nodes) if each]
    ways = {way for way, variable in found if variable == name}
    return list(dict.fromkeys(variable for way, variable in found if way in ways))


def absent(name: str, texts: Iterable[str], environ: Mapping[str, str]) -> list[str]:
    """The variables besides this one that the code of the settings asks for in the same way and that are not set."""
    found = dict.fromkeys(each for text in texts for each in asked(text, name))
    return [each for each in found if each != name and each not in environ]


def _asking(node: ast.AST) -> tuple[str, str] | None:
    """(how, variable) of an expression that asks for a variable and has no default for it."""
    if isinstance(node, ast.Subscript):
        return _constant(ast.unparse(node.value), node.slice)
    if isinstance(node, ast.Call) and len(node.args) == 1 and "default" not in [each.arg for each in node.keywords]:
        function = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        optional = isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "getenv", "pop")
        return None if optional else _constant(f"{ast.unparse(function)}()", node.args[0])
    return None


def _constant(way: str, key: Any) -> tuple[str, str] | None:
    value = getattr(key, "value", None)
    return (way, value) if isinstance(key, ast.Constant) and isinstance(value, str) and _NAME.fullmatch(value) else None
