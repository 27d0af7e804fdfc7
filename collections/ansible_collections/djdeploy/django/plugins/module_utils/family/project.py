# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project is."""

from __future__ import annotations

from ..manage import Member

INFO = Member(
    "info",
    {
        "gather": {
            "type": "list",
            "elements": "str",
            "choices": ["apps", "databases", "migrations", "settings", "static"],
            "default": ["apps", "settings", "static"],
        },
        "settings_values": {"type": "list", "elements": "str"},
        "database": {"type": "str", "default": "default"},
    },
    (
        "python",
        "django",
        "settings_module",
        "debug",
        "allowed_hosts",
        "apps",
        "databases",
        "static_url",
        "static_root",
        "static_storage",
        "media_url",
        "media_root",
        "user_model",
        "time_zone",
        "use_tz",
        "language",
        "caches",
        "email_backend",
        "migrations",
        "pending",
        "conflicts",
        "settings_values",
    ),
    changes=lambda params: False,
)
