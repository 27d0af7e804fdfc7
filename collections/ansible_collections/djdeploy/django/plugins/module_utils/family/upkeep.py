# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site needs besides its migrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..manage import Member, words_in


def site_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The step's request; its `name` is that of the step, so the Site's is called `label`."""
    return {"label" if name == "name" else name: value for name, value in params.items()}


CREATECACHETABLE = Member(
    "createcachetable",
    {
        "tables": {"type": "list", "elements": "str"},
        "database": {"type": "str", "default": "default"},
    },
    ("database", "tables", "created", "skipped"),
    request_of=words_in("tables", "a table of the cache has a plain name"),
)

CLEARSESSIONS = Member("clearsessions", {}, ("engine", "removed"))

SITES = Member(
    "sites",
    {
        "id": {"type": "int"},
        "domain": {"type": "str", "required": True},
        "name": {"type": "str"},
        "database": {"type": "str", "default": "default"},
    },
    ("id", "database", "created"),
    request_of=site_of,
)
