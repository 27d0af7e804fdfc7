# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception the engine raises on purpose."""

from __future__ import annotations


class EngineError(Exception):
    """Something a person can mend.

    :param message: one clear line: what is wrong.
    :param hint: where to mend it and what to run next; may be empty.
    :param detail: what a person reads only after that: a traceback, a journal, a command's output.
    """

    def __init__(self, message: str, hint: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail
