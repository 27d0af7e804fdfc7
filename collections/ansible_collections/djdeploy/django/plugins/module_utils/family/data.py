# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a database: putting in, taking out, emptying."""

from __future__ import annotations

from ..manage import Member, words_in

LOADDATA = Member(
    "loaddata",
    {
        "fixtures": {"type": "list", "elements": "str", "required": True},
        "database": {"type": "str", "default": "default"},
        "app_label": {"type": "str"},
        "exclude": {"type": "list", "elements": "str"},
        "ignore_nonexistent": {"type": "bool", "default": False},
    },
    ("database", "created", "updated", "elsewhere", "unmodified"),
    request_of=words_in("fixtures", "put its directory before it: ./"),
    reads=("fixtures",),
)
DUMPDATA = Member(
    "dumpdata",
    {
        "dest": {"type": "path", "required": True},
        "mode": {"type": "str", "default": "0600"},
        "apps": {"type": "list", "elements": "str"},
        "exclude": {"type": "list", "elements": "str"},
        "database": {"type": "str", "default": "default"},
        "format": {"type": "str", "choices": ["json", "jsonl", "xml", "yaml"], "default": "json"},
        "indent": {"type": "int"},
        "natural_foreign": {"type": "bool", "default": False},
        "natural_primary": {"type": "bool", "default": False},
        "all": {"type": "bool", "default": False},
    },
    ("database", "dest"),
    request_of=words_in("apps", "options of dumpdata are options of the module"),
    writes=("dest",),
)
FLUSH = Member(
    "flush",
    {
        "confirm": {"type": "str", "required": True},
        "database": {"type": "str", "default": "default"},
    },
    ("database", "deleted"),
)
