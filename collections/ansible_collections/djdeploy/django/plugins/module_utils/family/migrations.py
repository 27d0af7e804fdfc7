# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing a database to the migrations of the code."""

from __future__ import annotations

from ..manage import Member

MIGRATE = Member(
    "migrate",
    {
        "app": {"type": "str"},
        "target": {"type": "str"},
        "database": {"type": "str", "default": "default"},
        "fake": {"type": "bool", "default": False},
        "fake_initial": {"type": "bool", "default": False},
        "lock_timeout": {"type": "float", "default": 2},
        "statement_timeout": {"type": "float", "default": 900},
        "attempts": {"type": "int", "default": 10},
    },
    ("database", "pending", "applied", "plan", "waited", "tries"),
    site_as="lock_name",
    diff_as="sql",
)
