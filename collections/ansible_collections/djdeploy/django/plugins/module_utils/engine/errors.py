# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception the engine raises on purpose, and every other one in its words."""

from __future__ import annotations

import errno
import traceback
from typing import Any


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
        self.result_facts: dict[str, Any] = {}

    def with_facts(self, **facts: Any) -> EngineError:
        """The same error with what is known all the same, for the result event: the plan that was refused."""
        self.result_facts.update(facts)
        return self

    def with_hint(self, more: str) -> EngineError:
        """The same error with more to do about it; itself when there is nothing to add."""
        if not more:
            return self
        return EngineError(self.message, f"{self.hint}\n  -> {more}" if self.hint else more, self.detail).with_facts(
            **self.result_facts
        )


def in_words(error: Exception) -> EngineError:
    """Any exception as one a person can act on: what the system refused, or that the defect is ours."""
    if isinstance(error, EngineError):
        return error
    text = "".join(traceback.format_exception(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" ({error.filename})" if error.filename else ""
        return EngineError(f"the disk is full{where}", "make room (df -h /srv; df -i /srv), then do it again", text)
    return EngineError(
        f"djdeploy itself failed: {type(error).__name__}: {error}",
        "this is a defect of djdeploy; the traceback above says where",
        text,
    )
