# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..manage import Member

PASSWORD: dict[str, dict[str, Any]] = {
    "password": {"type": "str", "no_log": True},
    "update_password": {
        "type": "str",
        "choices": ["on_create", "always"],
        "default": "on_create",
        "no_log": False,
    },
}
STATE: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "force": {"type": "bool", "default": False},
}


def of_group(params: Mapping[str, Any]) -> dict[str, Any]:
    """`name` in a request is the name of the step."""
    return {"group": params["name"], **{key: value for key, value in params.items() if key != "name"}}


SUPERUSER = Member(
    "superuser",
    {
        "username": {"type": "str", "required": True},
        "email": {"type": "str"},
        **PASSWORD,
        "groups": {"type": "list", "elements": "str"},
        "append": {"type": "bool", "default": False},
        "fields": {"type": "dict"},
        "database": {"type": "str", "default": "default"},
    },
    ("username", "created", "password_changed"),
)
USER = Member(
    "user",
    {
        "username": {"type": "str", "required": True},
        "email": {"type": "str"},
        **PASSWORD,
        "active": {"type": "bool"},
        "staff": {"type": "bool"},
        "superuser": {"type": "bool"},
        "groups": {"type": "list", "elements": "str"},
        "append": {"type": "bool", "default": False},
        "fields": {"type": "dict"},
        **STATE,
        "database": {"type": "str", "default": "default"},
    },
    ("username", "created", "password_changed", "removed"),
)
GROUP = Member(
    "group",
    {
        "name": {"type": "str", "required": True},
        "permissions": {"type": "list", "elements": "str"},
        "append": {"type": "bool", "default": False},
        **STATE,
        "database": {"type": "str", "default": "default"},
    },
    ("created", "removed"),
    request_of=of_group,
)
