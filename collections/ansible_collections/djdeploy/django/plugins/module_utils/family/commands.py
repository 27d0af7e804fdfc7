# SPDX-License-Identifier: GPL-3.0-or-later
"""Running what the project brings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..engine.errors import EngineError
from ..manage import Member


def words_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The words of the command, however they were given."""
    try:
        argv = params["argv"] or shlex.split(params["cmd"] or "")  # None is an error since Python 3.12
    except ValueError as error:
        raise EngineError(f"cmd cannot be split into words: {error}", "close its quotes, or use argv") from error
    return {**{name: value for name, value in params.items() if name != "cmd"}, "argv": argv}


COMMAND = Member(
    "command",
    {
        "argv": {"type": "list", "elements": "str"},
        "cmd": {"type": "str"},
        "read_only": {"type": "bool", "default": False},
        "creates": {"type": "str"},
        "removes": {"type": "str"},
        "changed_pattern": {"type": "str"},
        "failed_pattern": {"type": "str"},
        "parse": {"type": "str", "choices": ["json"]},
        "stdin": {"type": "str"},
    },
    ("argv", "rc", "data"),
    changes=lambda params: not params["read_only"],
    request_of=words_of,
    one_of=[("argv", "cmd")],
    reads=("creates", "removes"),
)

SHELL = Member(
    "shell",
    {
        "code": {"type": "str", "required": True},
        "args": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
        "transaction": {"type": "bool", "default": False},
        "database": {"type": "str", "default": "default"},
        "read_only": {"type": "bool", "default": False},
    },
    ("result",),
    changes=lambda params: not params["read_only"],
)
