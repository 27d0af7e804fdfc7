# SPDX-License-Identifier: GPL-3.0-or-later
"""An SQLite file that many processes share: a part of the generated settings, for `database: sqlite`.

WAL lets readers and one writer work at the same time (sqlite.org/wal.html). A transaction that begins as a reader and
writes later fails at once when another has written meanwhile, whatever the timeout is; one that begins IMMEDIATE
waits for its turn (Django, Databases, SQLite notes). Foreign keys Django switches on itself.

It runs inside the site's process, as `djdeploy_sqlite`: standard library only, no relative import, Python 3.10.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

OPTIONS_SINCE = (5, 1)  # Django's, for transaction_mode and init_command
BUSY_SECONDS = 20
PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL")


def options(version: Sequence[int], own: Mapping[str, Any]) -> dict[str, Any]:
    """OPTIONS of the database; what the project says itself stays.

    :param version: of Django.
    :param own: the project's OPTIONS.
    """
    ours: dict[str, Any] = {"timeout": BUSY_SECONDS}
    if tuple(version) >= OPTIONS_SINCE:
        ours |= {"transaction_mode": "IMMEDIATE", "init_command": "; ".join(PRAGMAS) + ";"}
    return {**ours, **own}


def tune(version: Sequence[int], alias: str) -> None:
    """Do for a Django that does not know the options what they do, whenever a connection is made."""
    if tuple(version) >= OPTIONS_SINCE:
        return
    signals = importlib.import_module("django.db.backends.signals")

    def prepare(sender: Any, connection: Any, **rest: Any) -> None:
        if connection.alias != alias or connection.vendor != "sqlite":
            return
        with connection.cursor() as cursor:
            for statement in PRAGMAS:
                cursor.execute(statement)
        connection._start_transaction_under_autocommit = lambda: connection.cursor().execute("BEGIN IMMEDIATE")

    signals.connection_created.connect(prepare, weak=False, dispatch_uid=f"djdeploy_sqlite {alias}")
