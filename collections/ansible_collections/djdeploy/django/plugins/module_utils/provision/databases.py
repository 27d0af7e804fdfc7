# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases and roles of the sites in the host's own PostgreSQL: read in one look, changed as planned."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.errors import EngineError
from ..engine.paths import CONFIG_ROOT
from ..engine.runner import Runner

SUPERUSER = "postgres"
PSQL = "/usr/bin/psql"
LOCALE = "C.UTF-8"  # sorts by code point, so an index outlives an upgrade of the C library
SCRAM_ITERATIONS = 4096
PASSWORD_BYTES = 32

LOOK = """
SELECT json_build_object(
  'roles', (SELECT coalesce(json_object_agg(rolname, json_build_object(
      'login', rolcanlogin,
      'connections', rolconnlimit,
      'powerful', rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
      'password', coalesce(rolpassword, ''))), '{}') FROM pg_authid),
  'databases', (SELECT coalesce(json_object_agg(datname, json_build_object(
      'owner', pg_get_userbyid(datdba),
      'encoding', pg_encoding_to_char(encoding),
      'public', EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0)
      )), '{}') FROM pg_database),
  'access_errors', (SELECT coalesce(json_agg(format('line %s: %s', line_number, error)), '[]')
      FROM pg_hba_file_rules WHERE error IS NOT NULL),
  'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart))
"""


@dataclass(frozen=True)
class Wanted:
    """The databases of one site, and the role of its name that owns them.

    :param password: needed when the site runs on other hosts; empty: only local peer authentication.
    :param databases: their names; none: one of the site's name.
    :param connections: how many the role may have at once; None: whatever is said already.
    """

    name: str
    password: str = field(default="", repr=False)
    databases: tuple[str, ...] = ()
    connections: int | None = None


@dataclass(frozen=True)
class Statement:
    """One SQL statement; `shown` is the same without anything secret."""

    sql: str
    shown: str


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    if "\\" in text:
        raise ValueError("a backslash in an SQL literal")
    return "'" + text.replace("'", "''") + "'"


def scram_verifier(password: str, salt: bytes, iterations: int = SCRAM_ITERATIONS) -> str:
    """What PostgreSQL stores of a password (RFC 5803); so the password itself is never sent or logged."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def password_matches(password: str, verifier: str) -> bool:
    """Whether a stored verifier was made from this password; no password matches no verifier."""
    if not password or not verifier:
        return password == verifier
    try:
        method, work = verifier.split("$")[:2]
        iterations, salt = work.split(":")
        expected = scram_verifier(password, base64.b64decode(salt), int(iterations))
    except ValueError:
        return False
    return method == "SCRAM-SHA-256" and hmac.compare_digest(expected, verifier)


def plan(wanted: Iterable[Wanted], found: Mapping[str, Any], salt: bytes) -> list[Statement]:
    """Say which statements make roles and databases as wanted.

    :param found: what `LOOK` answers; empty when there is no server yet.
    :param salt: for the verifiers of passwords that have to be set.
    :raises EngineError: when a name is taken by something that is not a site's.
    """
    statements: list[Statement] = []
    roles, databases = found.get("roles", {}), found.get("databases", {})
    for site in wanted:
        name, role = quoted(site.name), roles.get(site.name)
        if role and role["powerful"]:
            raise EngineError(
                f"the PostgreSQL role {site.name!r} has administrative rights, so it is not a site's",
                f"give the site another name in djdeploy_sites, or take them away: ALTER ROLE {name} NOSUPERUSER"
                " NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
            )
        if role is None:
            statements.append(plain(f"CREATE ROLE {name} LOGIN"))
        elif not role["login"]:
            statements.append(plain(f"ALTER ROLE {name} LOGIN"))
        if site.connections is not None and (role or {}).get("connections") != site.connections:
            statements.append(plain(f"ALTER ROLE {name} CONNECTION LIMIT {site.connections:d}"))
        if not password_matches(site.password, role["password"] if role else ""):
            verifier = literal(scram_verifier(site.password, salt)) if site.password else "NULL"
            shown = "'********'" if site.password else "NULL"
            statements.append(
                Statement(f"ALTER ROLE {name} PASSWORD {verifier}", f"ALTER ROLE {name} PASSWORD {shown}")
            )
        for database in site.databases or (site.name,):
            statements += database_statements(database, site.name, databases.get(database))
    return statements


def database_statements(database: str, owner: str, found: Mapping[str, Any] | None) -> list[Statement]:
    """Say which statements make one database as wanted.

    :param found: what `LOOK` answers of it; None when it is not there.
    :raises EngineError: when it belongs to somebody else or cannot hold every text.
    """
    name = quoted(database)
    if found and found["owner"] != owner:
        raise EngineError(
            f"the database {database!r} exists and belongs to {found['owner']!r}",
            "give the site another name in djdeploy_sites, or hand it over: "
            f"ALTER DATABASE {name} OWNER TO {quoted(owner)}",
        )
    if found and found["encoding"] != "UTF8":
        raise EngineError(
            f"the database {database!r} is encoded in {found['encoding']}, Django needs UTF8",
            "dump it, drop it, run site.yml and load the dump",
        )
    statements = []
    if found is None:
        statements.append(
            plain(
                f"CREATE DATABASE {name} OWNER {quoted(owner)} TEMPLATE template0 ENCODING 'UTF8'"
                f" LC_COLLATE {literal(LOCALE)} LC_CTYPE {literal(LOCALE)}"
            )
        )
    if found is None or found["public"]:
        statements.append(plain(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"))
    return statements


def plain(sql: str) -> Statement:
    return Statement(sql, sql)


def psql(sql: str, run: Runner) -> str:
    """Give statements to the host's server over its socket; they go by standard input, never by arguments.

    :raises EngineError: when the server does not answer or refuses.
    """
    argv = [PSQL, "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", SUPERUSER]
    completed = run(argv, user=SUPERUSER, stdin=sql, timeout=600.0)
    if completed.returncode != 0:
        raise EngineError(
            "PostgreSQL on this host does not do as told",
            "look at: systemctl status 'postgresql@*' and /var/log/postgresql/",
            completed.stderr,
        )
    return completed.stdout


def look(run: Runner) -> dict[str, Any]:
    """Describe roles and databases; empty when PostgreSQL is not installed.

    :raises EngineError: when the server does not answer, or reads its access rules with errors.
    """
    if not os.path.exists(PSQL):
        return {}
    found: dict[str, Any] = json.loads(psql(LOOK, run))
    if found["access_errors"]:
        raise EngineError(
            "PostgreSQL cannot read its pg_hba.conf and keeps the access rules from before",
            "mend postgres_hba_extra in the inventory and run site.yml again",
            "\n".join(found["access_errors"]),
        )
    return found


def apply(statements: Iterable[Statement], run: Runner) -> None:
    """Carry out a plan.

    :raises EngineError: when the server refuses.
    """
    text = "".join(f"{statement.sql};\n" for statement in statements)
    if text:
        psql(text, run)


def password_path(site: str) -> Path:
    """Where the password of a site that runs on other hosts is kept."""
    return CONFIG_ROOT / "database" / f"{site}.password"


def kept_password(path: Path) -> str:
    """The password made for a site before; empty when there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def make_password(path: Path) -> str:
    """Make a password and keep it where only root reads it."""
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(password + "\n")
    return password
