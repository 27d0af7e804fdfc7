# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases and accounts of the sites in the host's own MariaDB: read in one look, changed as planned.

An account is a unix user who comes in by the socket (authentication plugin unix_socket), so there is no password.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..engine import databases_said, schema
from ..engine.errors import EngineError
from ..engine.runner import Runner
from ..engine.schema import HOST_SITES_VARIABLE, SITES_VARIABLE, Problem

SERVER = "/usr/sbin/mariadbd"
# --no-defaults: what an administrator keeps in ~/.my.cnf would lead elsewhere.
CLIENT = ("/usr/bin/mariadb", "--no-defaults", f"--socket={databases_said.MARIADB_SOCKET}", "--user=root")
CHARACTER_SET = "utf8mb4"
COLLATION = "utf8mb4_unicode_ci"  # of every version: a dump of Debian 13 loads on Debian 12

# One line of JSON each. `own` is whether an account has all a site's does, and no more than its databases.
LOOK = r"""
SELECT JSON_OBJECT('kind', 'account', 'name', User,
  'powerful', CAST(COALESCE(JSON_VALUE(Priv, '$.access'), 0) AS UNSIGNED) <> 0,
  'by_socket', COALESCE(JSON_VALUE(Priv, '$.plugin'), '') = 'unix_socket'
    AND COALESCE(JSON_VALUE(Priv, '$.authentication_string'), '') = '' AND NOT JSON_EXISTS(Priv, '$.auth_or'),
  'connections', CAST(COALESCE(JSON_VALUE(Priv, '$.max_user_connections'), 0) AS UNSIGNED),
  'locked', COALESCE(JSON_VALUE(Priv, '$.account_locked'), 'false') NOT IN ('false', '0'))
FROM mysql.global_priv WHERE Host = 'localhost' AND User <> '';
SELECT JSON_OBJECT('kind', 'database', 'name', SCHEMA_NAME, 'character_set', DEFAULT_CHARACTER_SET_NAME)
FROM information_schema.SCHEMATA;
SELECT JSON_OBJECT('kind', 'grant', 'database', Db, 'user', User, 'host', Host, 'whole',
  CONCAT(Select_priv, Insert_priv, Update_priv, Delete_priv, Create_priv, Drop_priv, References_priv, Index_priv,
  Alter_priv, Create_tmp_table_priv, Lock_tables_priv, Create_view_priv, Show_view_priv, Create_routine_priv,
  Alter_routine_priv, Execute_priv, Event_priv, Trigger_priv, Delete_history_priv) = REPEAT('Y', 19))
FROM mysql.db;
"""


def misplaced(
    variables: Mapping[str, Mapping[str, Any]],
    groups: Mapping[str, Collection[str]],
    database_hosts: Mapping[str, object],
) -> Iterator[Problem]:
    """Sites whose MariaDB would be on another host than they are: an account of the socket does not reach there.

    :param variables: host name -> those of `INVENTORY_KEYS` it has; sites that are not valid are left to others.
    :param groups: group name -> hosts, as Ansible's `groups`.
    :param database_hosts: host name -> its `djdeploy_database_host`, where it has one.
    """
    for host in sorted(groups.get("web") or ()) if groups.get("database") else ():
        own = variables.get(host, {})
        sites, overlay = own.get(SITES_VARIABLE), own.get(HOST_SITES_VARIABLE)
        if not isinstance(sites, Mapping) or schema.validate_sites(sites, {host: overlay}):
            continue
        server = database_hosts.get(host)
        if host in (groups.get("database") or ()) and server in (None, host):
            continue
        names = sorted(name for name, hosts in groups.items() if host in hosts)
        for name, site in schema.resolve_for_host(sites, overlay, host, names).items():
            for each in databases_said.wanted(site, name):
                if each.kind != databases_said.MARIADB:
                    continue
                key = "database" if each.alias == databases_said.DEFAULT else f"databases: {each.alias}"
                yield Problem(
                    f"site '{name}': {key}: mariadb needs the database on the web host, and {host} is none of "
                    "the group database" + (f" (its databases are on {server})" if server else ""),
                    (SITES_VARIABLE, name, key.partition(":")[0]),
                    f"put {host} into the group database, or say {key}: external with {each.variable} in secrets",
                )


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def pattern(name: str) -> str:
    """A database as GRANT names it: `_` and `%` would stand for any character."""
    return name.replace("\\", "\\\\").replace("_", r"\_").replace("%", r"\%")


def account(name: str) -> str:
    """A site's account as SQL names it.

    :raises ValueError: for a name that is none of a site's.
    """
    if "\\" in name or "'" in name:
        raise ValueError("a backslash or an apostrophe in an account's name")
    return f"'{name}'@'localhost'"


def plan(
    sites: Iterable[str],
    found: Mapping[str, Any],
    databases: Mapping[str, Iterable[str]] | None = None,
    connections: Mapping[str, int] | None = None,
) -> list[str]:
    """Say which statements make databases and accounts as wanted; none of them holds a secret.

    :param sites: names of sites: each has an account of its name.
    :param found: what `look` answers; empty when there is no server yet.
    :param databases: site -> names of its databases; one that is not in it has a database of its name.
    :param connections: site -> connections its account may have at once; one that is not in it keeps what it has.
    :raises EngineError: when a name is taken by something that is not a site's.
    """
    statements: list[str] = []
    for name in sites:
        most = (connections or {}).get(name)
        own = found.get("accounts", {}).get(name)
        if own and own["powerful"]:
            raise EngineError(
                f"the MariaDB account {account(name)} has global privileges, so it is not a site's",
                "give the site another name in djdeploy_sites, or take them away: "
                f"REVOKE ALL ON *.* FROM {account(name)}",
            )
        wanted = list((databases or {}).get(name, (name,)))
        lacking = [database for database in wanted if not fits(database, name, found)]
        statements += [
            f"CREATE DATABASE {quoted(database)} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}"
            for database in lacking
        ]
        if own is None:
            statements.append(f"CREATE USER {account(name)} IDENTIFIED VIA unix_socket")
        elif not own["by_socket"] or own["locked"]:
            statements.append(f"ALTER USER {account(name)} IDENTIFIED VIA unix_socket ACCOUNT UNLOCK")
        if most is not None and (own or {}).get("connections") != int(most):
            statements.append(f"ALTER USER {account(name)} WITH MAX_USER_CONNECTIONS {int(most)}")
        statements += [
            f"GRANT ALL PRIVILEGES ON {quoted(pattern(database))}.* TO {account(name)}"
            for database in wanted
            if not found.get("grants", {}).get(database, {}).get(f"{name}@localhost")
        ]
    return statements


def fits(database: str, owner: str, found: Mapping[str, Any]) -> bool:
    """Whether a database is there and can be a site's.

    :raises EngineError: when it is there and cannot.
    """
    there, granted = found.get("databases", {}).get(database), found.get("grants", {}).get(database, {})
    others = sorted(user for user in granted if user != f"{owner}@localhost")
    if there and granted.get(f"{owner}@localhost") is None and others:
        raise EngineError(
            f"the database {database!r} exists in MariaDB and is used by {', '.join(others)}",
            "give the site another name in djdeploy_sites, or hand it over: "
            f"GRANT ALL PRIVILEGES ON {quoted(pattern(database))}.* TO {account(owner)} (after CREATE USER)",
        )
    if there and there["character_set"] != CHARACTER_SET:
        raise EngineError(
            f"the database {database!r} of MariaDB is encoded in {there['character_set']}, not in {CHARACTER_SET}",
            f"convert it: ALTER DATABASE {quoted(database)} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}; "
            f"and each of its tables: ALTER TABLE ... CONVERT TO CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}",
        )
    return there is not None


def understood(lines: Iterable[str]) -> dict[str, Any]:
    """What `LOOK` answers, as `plan` wants it: accounts and databases by name, grants by database and who has them."""
    found: dict[str, Any] = {"accounts": {}, "databases": {}, "grants": {}}
    for line in filter(str.strip, lines):
        entry = json.loads(line)
        kind = entry.pop("kind")
        if kind == "grant":
            database = entry["database"].replace("\\_", "_").replace("\\%", "%").replace("\\\\", "\\")
            who = f"{entry['user']}@{entry['host']}"
            # A grant that reaches further than to the one database is no less one to it.
            found["grants"].setdefault(database, {})[who] = bool(entry["whole"])
        else:
            found[f"{kind}s"][entry.pop("name")] = entry
    return found


def ask(sql: str, run: Runner) -> str:
    """Give statements to the host's server over its socket; they go by standard input, never by arguments.

    :raises EngineError: when the server does not answer or refuses.
    """
    completed = run([*CLIENT, "--batch", "--raw", "--skip-column-names"], stdin=sql, timeout=600.0)
    if completed.returncode != 0:
        raise EngineError(
            "MariaDB on this host does not do as told",
            "look at: systemctl status mariadb and journalctl -u mariadb -n 50",
            completed.stderr,
        )
    return completed.stdout


def look(run: Runner) -> dict[str, Any]:
    """Describe accounts and databases; empty when MariaDB is not installed.

    :raises EngineError: when the server does not answer.
    """
    if not os.path.exists(SERVER):
        return {}
    return understood(ask(LOOK, run).splitlines())


def apply(statements: Iterable[str], run: Runner) -> None:
    """Carry out a plan.

    :raises EngineError: when the server refuses; what came before that stays, and is found by the next look.
    """
    text = "".join(f"{statement};\n" for statement in statements)
    if text:
        ask(text, run)
