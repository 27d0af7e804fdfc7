# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads of any exception, as a table."""

from __future__ import annotations

import errno

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError, in_words


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """The same exception, with a traceback."""
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_in_words_of_what_was_said_on_purpose_is_the_same() -> None:
    error = EngineError("no", "mend it", "a log")
    assert in_words(raised(error)) is error
    assert (str(error), error.hint, error.detail) == ("no", "mend it", "a log")


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        pytest.param(OSError(errno.ENOSPC, "No space left"), "the disk is full", "make room", id="full"),
        pytest.param(
            OSError(errno.ENOSPC, "No space left", "/srv/shop/x"),
            "the disk is full (/srv/shop/x)",
            "df",
            id="full_where",
        ),
        pytest.param(OSError(errno.EDQUOT, "Quota"), "the disk is full", "df -i", id="quota"),
        pytest.param(
            PermissionError(errno.EACCES, "Permission denied", "/srv/shop"),
            "djdeploy itself failed: PermissionError: [Errno 13] Permission denied: '/srv/shop'",
            "a defect of djdeploy",
            id="another_of_the_system",
        ),
        pytest.param(
            OSError("no number"), "djdeploy itself failed: OSError: no number", "a defect", id="without_number"
        ),
        pytest.param(KeyError("x"), "djdeploy itself failed: KeyError: 'x'", "a defect of djdeploy", id="defect"),
        pytest.param(ValueError(), "djdeploy itself failed: ValueError: ", "a defect", id="without_a_word"),
    ],
)
def test_in_words(error: Exception, message: str, hint: str) -> None:
    told = in_words(raised(error))
    assert told.message == message
    assert hint in told.hint
    assert told.detail.startswith("Traceback") and "in raised" in told.detail


def test_in_words_keeps_what_led_to_it() -> None:
    told = in_words(raised(RuntimeError("after"), cause=KeyError("before")))
    assert "KeyError: 'before'" in told.detail
    assert told.detail.rstrip().endswith("RuntimeError: after")
