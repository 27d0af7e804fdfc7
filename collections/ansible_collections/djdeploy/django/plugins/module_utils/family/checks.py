# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a project."""

from __future__ import annotations

from ..manage import Member

CHECK = Member(
    "check",
    {
        "tags": {"type": "list", "elements": "str"},
        "deploy": {"type": "bool", "default": False},
        "fail_level": {
            "type": "str",
            "choices": ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
            "default": "ERROR",
        },
        "databases": {"type": "list", "elements": "str"},
    },
    ("messages", "counts", "silenced"),
    changes=lambda params: False,
)
