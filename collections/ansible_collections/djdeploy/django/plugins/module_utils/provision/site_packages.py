# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Debian packages the web hosts need because of what their sites say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..engine import databases_said

MARIADB_CLIENT = "mariadb-client"  # makes the snapshots


def for_databases(sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the databases of sites need: to compile their drivers, and to copy them; sorted."""
    names = set(databases_said.packages(sites))
    if any(databases_said.served(site, databases_said.MARIADB) for site in sites):
        names.add(MARIADB_CLIENT)
    return sorted(names)
