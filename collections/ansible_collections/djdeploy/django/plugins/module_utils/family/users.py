# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in."""

from __future__ import annotations

from ..manage import Member

SUPERUSER = Member(
    "superuser",
    {
        "username": {"type": "str", "required": True},
        "email": {"type": "str"},
        "password": {"type": "str", "no_log": True},
        "update_password": {
            "type": "str",
            "choices": ["on_create", "always"],
            "default": "on_create",
            "no_log": False,
        },
        "fields": {"type": "dict"},
        "database": {"type": "str", "default": "default"},
    },
    ("username", "created", "password_changed"),
)
