# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases a site has, as its key `database` says: one table of kinds, and pure functions over it.

Whoever has to know (validation, provisioning, requirements, the generated settings) asks `wanted` and never
compares names of kinds itself.

It runs inside the site's process too, as `djdeploy_databases`: standard library only, no relative import, Python 3.10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

POSTGRESQL, MARIADB, SQLITE, EXTERNAL, PROJECT = "postgresql", "mariadb", "sqlite", "external", "project"
CHOICES = (POSTGRESQL, MARIADB, SQLITE, EXTERNAL, PROJECT)
DEFAULT = "default"
URL_VARIABLE = "DATABASE_URL"
SQLITE_FILE = "db.sqlite3"  # in shared/
MARIADB_SOCKET = "/run/mysqld/mysqld.sock"  # Debian's


@dataclass(frozen=True)
class Kind:
    """What is the same for every database of a kind.

    :param title: for people.
    :param schemes: of a DATABASE_URL -> Django's backend.
    :param geographic: Django's backend for a project that uses one of its geographic ones.
    :param spoken_by: words in the name of a backend that speaks to it: several packages wrap Django's.
    :param url: on the site's own host; `{name}` is the database and its user (postgresql.org, libpq URIs: an empty
        host is the unix socket; a MariaDB account of the unix socket wants the user's name).
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
        f"mysql://{{name}}@localhost/{{name}}?unix_socket={MARIADB_SOCKET}&charset=utf8mb4",
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
    :param name: of the database, and of its role or user; empty where djdeploy makes none.
    :param variable: of the environment, that tells its URL.
    """

    alias: str
    kind: str
    name: str
    variable: str

    @property
    def served(self) -> bool:
        """Whether a server of the group database has it, where `site.yml` makes it."""
        return self.kind in KINDS and KINDS[self.kind].served


def wanted(site: Mapping[str, Any], name: str = "") -> tuple[Database, ...]:
    """The databases a site is to have; none where the project's own DATABASES count.

    :param site: its keys; one without `database` has the default, PostgreSQL.
    :param name: the site's; empty: taken from its key `name`, if it has one.
    """
    said = site.get("database") or POSTGRESQL
    if said == PROJECT:
        return ()
    own = name or str(site.get("name", ""))
    return (Database(DEFAULT, said, "" if said in (SQLITE, EXTERNAL) else own, URL_VARIABLE),)


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
    return KINDS[database.kind].url.format(name=database.name, shared=shared)
