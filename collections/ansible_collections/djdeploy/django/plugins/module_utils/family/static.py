# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are made of the sources of a project."""

from __future__ import annotations

from ..manage import Member

COLLECTSTATIC = Member(
    "collectstatic",
    {
        "clear": {"type": "bool", "default": False},
        "link": {"type": "bool", "default": False},
        "ignore": {"type": "list", "elements": "str"},
    },
    ("copied", "unmodified", "deleted", "post_processed"),
)

COMPILEMESSAGES = Member(
    "compilemessages",
    {
        "locales": {"type": "list", "elements": "str"},
        "exclude": {"type": "list", "elements": "str"},
        "use_fuzzy": {"type": "bool", "default": False},
        "ignore": {"type": "list", "elements": "str"},
    },
    ("compiled", "unmodified"),
)
