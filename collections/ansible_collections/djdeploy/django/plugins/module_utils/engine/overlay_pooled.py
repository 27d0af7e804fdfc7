# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database behind PgBouncer asks of the settings: a part of the generated ones.

PgBouncer lends a connection for one transaction, so nothing that belongs to a session may be counted on:
https://docs.djangoproject.com/en/stable/ref/databases/#transaction-pooling-and-server-side-cursors and
https://www.pgbouncer.org/features.html.

It runs inside the site's process, as `djdeploy_pooled`: standard library only, no relative import, Python 3.10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DIRECTORY, PORT = "/run/pgbouncer", "6432"  # of its socket
CURSORS = "DISABLE_SERVER_SIDE_CURSORS"

#: Options of a connection that belong to a session -> what to do instead.
BOUND = {
    "options": "say it for the role, in a migration: ALTER ROLE ... SET ...",
    "assume_role": "let the site's own role own the tables",
}
#: Options that would make the driver keep statements on a server's side (psycopg 3).
PREPARED = ("prepare_threshold",)


def url(database: str) -> str:
    """Where a database is behind PgBouncer: the socket stands in the query, which every reader of such URLs takes."""
    return f"postgresql:///{database}?host={DIRECTORY}&port={PORT}"


def leads_there(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of DATABASES is behind PgBouncer; some readers of URLs leave the host in OPTIONS."""
    return str(entry.get("HOST") or (entry.get("OPTIONS") or {}).get("host") or "") == DIRECTORY


def fitted(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of DATABASES that counts on nothing of a session, and notices when the pooler was started anew."""
    options = {name: value for name, value in (entry.get("OPTIONS") or {}).items() if name not in PREPARED}
    rest = {name: value for name, value in entry.items() if name != "OPTIONS"}
    lasting = entry.get("CONN_MAX_AGE", 0) != 0 and "CONN_HEALTH_CHECKS" not in entry
    return {
        **rest,
        CURSORS: True,
        **({"CONN_HEALTH_CHECKS": True} if lasting else {}),
        **({"OPTIONS": options} if options else {}),
    }


def close_gaps(settings: Mapping[str, Any], site: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, str]]]:
    """DATABASES as they work behind PgBouncer: name -> (new value, reason).

    :param settings: with every other gap closed.
    :param site: `pooled` in it names the databases that web processes and workers reach through PgBouncer.
    :raises ValueError: for one that would not work there, in processes that go straight, too: so a push is refused.
    """
    pooled = site.get("pooled") or ()
    if not pooled:
        return
    new, changed = dict(settings.get("DATABASES") or {}), []
    for alias, entry in new.items():
        options = entry.get("OPTIONS") or {}
        for name, instead in BOUND.items() if alias in pooled else ():
            if options.get(name):
                raise ValueError(
                    f"DATABASES[{alias!r}] has {name!r} in its OPTIONS, and PgBouncer keeps nothing of a session;"
                    f" {instead}, or take `pgbouncer` out of the site"
                )
        if leads_there(entry) and (fit := fitted(entry)) != entry:
            new[alias] = fit
            changed.append(alias)
    if changed:
        reason = f"behind PgBouncer a cursor ends with its transaction ({', '.join(changed)})"
        yield "DATABASES", (new, reason)
