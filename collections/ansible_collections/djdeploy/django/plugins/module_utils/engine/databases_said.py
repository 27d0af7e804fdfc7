# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases a site has, as its key `database` says: one table of kinds, and pure functions over it.

Whoever has to know (validation, provisioning, requirements, the generated settings) asks `wanted` and never
compares names of kinds itself.

It runs inside the site's process too, as `djdeploy_databases`: standard library only, no relative import, Python 3.10.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

POSTGRESQL, MARIADB, SQLITE, EXTERNAL, PROJECT = "postgresql", "mariadb", "sqlite", "external", "project"
CHOICES = (POSTGRESQL, MARIADB, SQLITE, EXTERNAL, PROJECT)
FURTHER = (POSTGRESQL, MARIADB, EXTERNAL)  # what a database besides the default one may be
DEFAULT = "default"
URL_VARIABLE = "DATABASE_URL"
SQLITE_FILE = "db.sqlite3"  # in shared/
MARIADB_SOCKET = "/run/mysqld/mysqld.sock"  # Debian's
# With the longest name of a site that makes 55 characters: PostgreSQL cuts names at 63 bytes, MariaDB refuses 65.
ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,29}")


#: Of the servers themselves, as far as a site's name with an alias behind it could be one.
RESERVED = frozenset({"information_schema", "performance_schema"})


@dataclass(frozen=True)
class Kind:
    """What is the same for every database of a kind.

    :param title: for people.
    :param schemes: of a DATABASE_URL -> Django's backend.
    :param geographic: Django's backend for a project that uses one of its geographic ones.
    :param spoken_by: words in the name of a backend that speaks to it: several packages wrap Django's.
    :param url: on the site's own host; `{name}` is the database, `{user}` its owner (postgresql.org, libpq URIs: an
        empty host is the unix socket; a MariaDB account of the unix socket wants the user's name).
    :param drivers: packages one of which the project may bring.
    :param driver: the requirement line added when it brings none.
    :param packages: Debian packages without which `driver` cannot be installed.
    :param served: whether `site.yml` makes a database and an account on a host of the group database.
    """

    name: str
    title: str
    schemes: Mapping[str, str]
    geographic: str
    spoken_by: tuple[str, ...]
    url: str
    drivers: frozenset[str] = frozenset()
    driver: str = ""
    packages: tuple[str, ...] = ()
    served: bool = False


KINDS: dict[str, Kind] = {
    POSTGRESQL: Kind(
        POSTGRESQL,
        "PostgreSQL",
        {
            "postgresql": "django.db.backends.postgresql",
            "postgres": "django.db.backends.postgresql",
            "pgsql": "django.db.backends.postgresql",
            "postgis": "django.contrib.gis.db.backends.postgis",
        },
        "django.contrib.gis.db.backends.postgis",
        ("postgresql", "postgis", "psqlextra"),
        "postgresql:///{name}",
        frozenset({"psycopg", "psycopg2", "psycopg2-binary"}),
        "psycopg[binary]>=3.2",
        served=True,
    ),
    MARIADB: Kind(
        MARIADB,
        "MariaDB",
        {
            "mysql": "django.db.backends.mysql",
            "mysql2": "django.db.backends.mysql",
            "mariadb": "django.db.backends.mysql",
            "mysqlgis": "django.contrib.gis.db.backends.mysql",
        },
        "django.contrib.gis.db.backends.mysql",
        ("mysql", "mariadb"),
        # Its host makes a reader of the URL use TCP or the socket as the driver likes; the query settles it.
        f"mysql://{{user}}@localhost/{{name}}?unix_socket={MARIADB_SOCKET}&charset=utf8mb4",
        frozenset({"mysqlclient", "pymysql", "mysql-connector-python"}),
        "mysqlclient>=2.2.1",  # no Linux wheels: it is compiled on the host
        ("build-essential", "default-libmysqlclient-dev", "pkg-config", "python3-dev"),
        served=True,
    ),
    SQLITE: Kind(
        SQLITE,
        "SQLite",
        {
            "sqlite": "django.db.backends.sqlite3",
            "sqlite3": "django.db.backends.sqlite3",
            "spatialite": "django.contrib.gis.db.backends.spatialite",
        },
        "django.contrib.gis.db.backends.spatialite",
        ("sqlite3", "spatialite"),
        "sqlite:///{shared}/" + SQLITE_FILE,  # and the path's own slash makes four
    ),
}


@dataclass(frozen=True)
class Database:
    """One database of a site.

    :param alias: in Django's DATABASES.
    :param kind: of `KINDS`, or `external`: then the variable's URL says what it is.
    :param name: of the database; empty where djdeploy makes none.
    :param variable: of the environment, that tells its URL.
    :param user: the site's account, to which all its databases belong, where it is not called as the database.
    """

    alias: str
    kind: str
    name: str
    variable: str
    user: str = ""

    @property
    def served(self) -> bool:
        """Whether a server of the group database has it, where `site.yml` makes it."""
        return self.kind in KINDS and KINDS[self.kind].served


def wanted(site: Mapping[str, Any], name: str = "") -> tuple[Database, ...]:
    """The databases a site is to have: the default one, unless the project's own DATABASES count, and `databases`.

    :param site: its keys; one without `database` has the default, PostgreSQL.
    :param name: the site's; empty: taken from its key `name`, if it has one.
    """
    said = site.get("database") or POSTGRESQL
    own = name or str(site.get("name", ""))
    first: tuple[Database, ...] = ()
    if said != PROJECT:
        made = "" if said in (SQLITE, EXTERNAL) else own
        first = (Database(DEFAULT, said, made, URL_VARIABLE),)
    return (*first, *further(site, name))


def further(site: Mapping[str, Any], name: str = "") -> tuple[Database, ...]:
    """The databases a site has besides `default`, by its key `databases`, in its order.

    :param name: the site's; empty: taken from its key `name`.
    """
    own, said = name or str(site.get("name", "")), site.get("databases")
    found = []
    for alias, kind in said.items() if isinstance(said, Mapping) else ():
        if kind and alias != DEFAULT:
            made = kind in KINDS and KINDS[kind].served
            database = f"{own}_{str(alias).lower()}" if made else ""
            found.append(Database(str(alias), str(kind), database, variable_of(alias), own if made else ""))
    return tuple(found)


def variable_of(alias: object) -> str:
    """The variable that tells where a database is: DATABASE_URL of `default`, REPORTS_DATABASE_URL of `reports`."""
    return URL_VARIABLE if alias == DEFAULT else f"{str(alias).upper().replace('-', '_')}_{URL_VARIABLE}"


def for_builds(site: Mapping[str, Any]) -> dict[str, str]:
    """What build commands get in the place of these variables: a project may read them, and must reach no data."""
    return {each.variable: "sqlite://:memory:" for each in further(site)}


def untold(site: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Aliases of the databases besides `default` whose variable the environment does not hold."""
    return tuple(each.alias for each in further(site) if not environment.get(each.variable))


def check_further(alias: object, kind: object) -> tuple[str, str] | None:
    """What is wrong with one entry of `databases`: (what, how to mend it)."""
    if alias == DEFAULT:
        return "names default", "that one is the key `database`"
    if not isinstance(alias, str) or not ALIAS.fullmatch(alias):
        return (
            f"has the alias {alias!r}",
            "an alias begins with a letter and holds at most 30 of A-Z, a-z, 0-9, _ and -",
        )
    if kind not in FURTHER:
        return f"says {kind!r} for {alias}", f"write one of {', '.join(FURTHER)}"
    return None


def default_kind(site: Mapping[str, Any]) -> str:
    """The kind of the default database: of `KINDS`, `external`, or `project` when the project says it."""
    return next((each.kind for each in wanted(site) if each.alias == DEFAULT), PROJECT)


def served(site: Mapping[str, Any], kind: str = "") -> bool:
    """Whether a site has a database that a server of the group database holds: any, or one of a kind."""
    return any(each.served and kind in ("", each.kind) for each in wanted(site))


def kind_of_url(url: str) -> str:
    """The kind a URL's scheme means; empty for one that is not known."""
    scheme = urlsplit(url).scheme
    return next((kind.name for kind in KINDS.values() if scheme in kind.schemes), "")


def kind_of_engine(engine: object) -> str:
    """The kind a Django backend speaks to, by its name; empty for one that is not known."""
    words = str(engine or "")
    return next((kind.name for kind in KINDS.values() if any(word in words for word in kind.spoken_by)), "")


def spoken(site: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The kinds a site's processes need a driver for, as far as that is said; sorted.

    :param environment: of the site; an external database is known by its URL alone.
    """
    found = set()
    for each in wanted(site):
        found.add(kind_of_url(environment.get(each.variable, "")) if each.kind == EXTERNAL else each.kind)
    return tuple(sorted(found & KINDS.keys()))


def packages(sites: Sequence[Mapping[str, Any]]) -> list[str]:
    """Debian packages that the drivers of the sites' databases need on their hosts; sorted."""
    kinds = {each.kind for site in sites for each in wanted(site)} & KINDS.keys()
    return sorted({package for kind in kinds for package in KINDS[kind].packages})


def local_url(database: Database, shared: str = "") -> str:
    """Where a database on the site's own host is; empty for one that is given (`external`).

    :param shared: the site's directory for what outlives releases, for SQLite.
    """
    if database.kind not in KINDS:
        return ""
    return KINDS[database.kind].url.format(name=database.name, user=database.user or database.name, shared=shared)


def misfit(site: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a site's keys lack for the database they name: (what is wrong, how to mend it).

    :param site: its keys as given; what they hold is not looked at, for it may be a secret.
    """
    secrets = site.get("secrets")
    given = secrets if isinstance(secrets, Mapping) else {}
    if site.get("database") == EXTERNAL and URL_VARIABLE not in given:
        return (
            f"database is external, and secrets holds no {URL_VARIABLE}",
            f"write it there: {URL_VARIABLE}: postgresql://user:password@host/name, with the password from the vault",
        )
    return None


def not_pooled(site: Mapping[str, Any]) -> tuple[str, str] | None:
    """What makes the key `pgbouncer` lead nowhere: (what is wrong, how to mend it).

    :param site: its keys as given, wrong ones among them; what `env` and `secrets` hold is not looked at.
    """
    section = site.get("pgbouncer")
    if not isinstance(section, Mapping) or section.get("enabled") is not True:
        return None
    ours = [each for each in wanted(site, "site") if each.kind == POSTGRESQL]
    if not ours:
        return "pgbouncer has no database: neither database nor databases says postgresql", "take pgbouncer out"
    for key in ("env", "secrets"):
        said = site.get(key)
        given = said if isinstance(said, Mapping) else {}
        for each in ours:
            if each.variable in given:
                return (
                    f"pgbouncer leads to the site's own PostgreSQL, and {key} holds {each.variable}",
                    f"take one of them out, or say for {each.alias} that it is external",
                )
    return None


def pointless(site: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Aliases a site names and nothing in the project's own settings speaks of: no entry, and no router at all."""
    own = settings.get("DATABASES") or {}
    return [each.alias for each in further(site) if each.alias not in own and not settings.get("DATABASE_ROUTERS")]


def misfits(site: Mapping[str, Any], name: str) -> Iterator[tuple[str, str, str]]:
    """What a site's keys lack for the databases besides `default`: (alias, what is wrong, how to mend it).

    :param site: its keys as given, wrong ones among them.
    """
    secrets = site.get("secrets")
    given = secrets if isinstance(secrets, Mapping) else {}
    seen: dict[str, str] = {URL_VARIABLE: DEFAULT}
    for each in further(site, name):
        if each.variable in seen:
            told = f"databases: {seen[each.variable]} and {each.alias} would both be told by {each.variable}"
            yield each.alias, told, "give one of them another alias"
        elif each.kind == EXTERNAL and each.variable not in given:
            yield (
                each.alias,
                f"databases: {each.alias} is external, and secrets holds no {each.variable}",
                f"write it there: {each.variable}: postgresql://user:password@host/name, with the password from the"
                " vault",
            )
        elif each.name in RESERVED:
            yield each.alias, f"databases: {each.name} is a database of the server itself", "give it another alias"
        seen.setdefault(each.variable, each.alias)


def taken_twice(sites: Mapping[Any, Any]) -> Iterator[tuple[str, str, str]]:
    """Databases whose name is that of another site's: (site, alias, what is wrong).

    :param sites: as given, wrong ones among them.
    """
    owner: dict[str, str] = {}
    for name, site in sites.items():
        for each in further(site, str(name)) if isinstance(site, Mapping) else ():
            if each.name in sites:
                told = f"the database {each.name} of the alias {each.alias} has the name of the site '{each.name}'"
                yield str(name), each.alias, told
            elif each.name and owner.setdefault(each.name, str(name)) != str(name):
                other = owner[each.name]
                told = f"the alias {each.alias} means the database {each.name}, as one of the site '{other}' does"
                yield str(name), each.alias, told


def shared_files(sites: Mapping[str, Mapping[str, Any]], hosts: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Sites on SQLite that several hosts serve, each of which would have a file of its own: (site, what is wrong).

    :param hosts: site -> the hosts that serve it.
    """
    return [
        (
            name,
            f"database is sqlite, a file of one host, and it is on {len(hosts[name])}: {', '.join(hosts[name])}",
        )
        for name, site in sites.items()
        if default_kind(site) == SQLITE and len(hosts.get(name, ())) > 1
    ]
