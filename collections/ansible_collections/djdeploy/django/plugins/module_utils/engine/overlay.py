# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings a release runs with: the project's own, with only the gaps closed.

This file is copied into a release as `djdeploy_settings.py`, beside its parts `djdeploy_data.py` (URLs of the
environment), `djdeploy_speak.py` (log lines, error page), `djdeploy_static.py` (names of static files),
`djdeploy_databases.py`, `djdeploy_sqlite.py` and `djdeploy_pooled.py` (which databases; SQLite for many processes;
PgBouncer) and a `site.json`,
and is what DJANGO_SETTINGS_MODULE names there. The project's settings module is imported as it is; a setting is
replaced only where it would be unsafe in public, would point at another database than the site's,
or would write into the release, which is read-only and will be pruned. What was replaced and why
is in `DJDEPLOY_GAPS`; to see it: djdeploy config <site>

It runs inside the site's process: standard library only, no import of the engine but its own parts, Python 3.10.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import posixpath
import sys
from collections.abc import Iterator, Mapping
from typing import Any

try:
    from . import databases_said as databases
    from . import overlay_data as data
    from . import overlay_pooled as pooled
    from . import overlay_speak as speak
    from . import overlay_sqlite as sqlite
    from . import overlay_static as static
except ImportError:  # in a release this file is no part of a package, and its parts lie beside it
    data, speak = importlib.import_module("djdeploy_data"), importlib.import_module("djdeploy_speak")
    databases, sqlite = importlib.import_module("djdeploy_databases"), importlib.import_module("djdeploy_sqlite")
    static, pooled = importlib.import_module("djdeploy_static"), importlib.import_module("djdeploy_pooled")

FILE_STORAGE = data.FILE_STORAGE
parse_database_url = data.parse_database_url

#: How Django's check security.W009 knows a weak key.
_INSECURE_PREFIX = "django-insecure-"
_KEY_LENGTH = 50
_KEY_DISTINCT = 5

#: Settings of a connection that say how the project works, not where the database is.
_DATABASE_KEPT = ("ATOMIC_REQUESTS", "CONN_MAX_AGE", "CONN_HEALTH_CHECKS")
#: Options that would lead the driver elsewhere than DATABASE_URL says.
_DATABASE_PLACE = frozenset(
    ("service", "passfile", "host", "hostaddr", "port", "dbname", "user", "password")
    + ("sslmode", "sslrootcert", "sslcert", "sslkey", "unix_socket", "read_default_file")
)
#: Data that does not fit is refused and not cut; a transaction sees what others have committed.
_MARIADB_OPTIONS = {
    "charset": "utf8mb4",
    "init_command": "SET sql_mode='STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "isolation_level": "read committed",
}
_DATABASE_ADDRESS = ("NAME", "USER", "PASSWORD", "HOST", "PORT")

#: Settings whose new value holds no secret and may be shown.
_SHOWN = (
    ("DEBUG", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SECURE_PROXY_SSL_HEADER")
    + ("STATIC_ROOT", "STATIC_URL", "MEDIA_ROOT", "MEDIA_URL", "ADMINS", "MANAGERS")
    + ("DEFAULT_FROM_EMAIL", "SERVER_EMAIL", "EMAIL_SUBJECT_PREFIX")
)

Gap = tuple[Any, str]


def close_gaps(settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Gap]:
    """What has to differ from the project's settings: name -> (new value, reason).

    :param settings: the project's upper-case names; never changed in place.
    :param site: what site.json holds: name, domains, https, static_root, static_manifest, shared, code, database,
        email.
    :param environ: the process's environment; SECRET_KEY, SECRET_KEY_FALLBACKS and the URLs of `overlay_data` count.
    :raises ValueError: when DATABASE_URL is missing or of another kind than the site's database, or when
        another URL is not understood.
    """
    gaps = data.close_gaps(settings, site, environ)
    settings = data.with_gaps(settings, gaps)
    for close in (
        _debug,
        _secret_key,
        _hosts,
        _proxy,
        _static,
        _media,
        _storages,
        _databases,
        _apps,
        _caches,
        _middleware,
        _logging,
    ):
        _add(gaps, close(settings, site, environ))
    _add(gaps, static.close_gaps(data.with_gaps(settings, gaps), site))
    _add(gaps, pooled.close_gaps(data.with_gaps(settings, gaps), site))
    return gaps


def _add(gaps: dict[str, Gap], found: Iterator[tuple[str, Gap]]) -> None:
    """Put further gaps to those there are; a setting that is replaced once more has both reasons."""
    for name, (value, reason) in found:
        gaps[name] = (value, f"{gaps[name][1]}; {reason}" if name in gaps else reason)


def relocations(settings: Mapping[str, Any], site: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Data of the project's settings that moves out of the release: (path in the code, path in shared).

    A project may bring such files in its tree; whoever makes the release copies them once, when
    there is nothing at the second path yet.

    :param settings: the project's own, before any gap was closed.
    """
    paths = [settings.get("MEDIA_ROOT")]
    paths += [options.get("location") for _alias, _storage, options in _file_storages(settings)]
    paths += [database["NAME"] for _alias, database in _sqlite_databases(settings, site)]
    return _moves(paths, site)


def brought_static(settings: Mapping[str, Any], site: Mapping[str, Any]) -> str:
    """The STATIC_ROOT of the project's own, where an application or a build may have put files no finder knows.

    Only where it came with the release: below its code, or in an installed package. Empty for any other, and where
    uploads lie in it.
    """
    root, media = (os.path.abspath(str(settings.get(name) or "/")) for name in ("STATIC_ROOT", "MEDIA_ROOT"))
    came = root.startswith(f"{site['code']}/") or "-packages/" in root
    return root if came and not f"{media}/".startswith(f"{root}/") else ""


# -- one function per setting ----------------------------------------------------------------


def _debug(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    if settings.get("DEBUG"):
        yield "DEBUG", (False, "a page of a live site must not show its code and settings")


def _secret_key(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    key, own = settings.get("SECRET_KEY") or "", environ.get("SECRET_KEY", "")
    if not own:
        return
    if key != own:
        public = site.get("public_key_in", "")
        reason = _weakness(key) or (public and f"the project's stands in {public}, which everybody can read")
        if not reason:
            return
        yield "SECRET_KEY", (own, reason)
    earlier = _texts(environ.get("SECRET_KEY_FALLBACKS", ""))
    if earlier and not settings.get("SECRET_KEY_FALLBACKS"):
        yield "SECRET_KEY_FALLBACKS", (earlier, "the site's keys before this one stay valid for a while")


def _weakness(key: Any) -> str:
    """Why a project's SECRET_KEY must not be used; empty when it may."""
    if not key:
        return "the project sets none"
    if not isinstance(key, str):
        return ""
    if key.startswith(_INSECURE_PREFIX):
        return "the project's is the one startproject wrote into its code"
    weak = len(key) < _KEY_LENGTH or len(set(key)) < _KEY_DISTINCT
    return "the project's is weak (security.W009)" if weak else ""


def _published_in(key: Any, modules: list[Any]) -> str:
    """The module of an installed package that has this SECRET_KEY in its code; empty when there is none.

    A project that imports the settings of an application gets its key with them, as everybody else does. A key
    such a module reads from a file or from the environment does not stand in its code.
    """
    if not key or not isinstance(key, str):
        return ""
    for module in modules:
        file = getattr(module, "__file__", None) or ""
        if "-packages/" in file and file.endswith(".py") and vars(module).get("SECRET_KEY") == key:
            with contextlib.suppress(OSError), open(file, encoding="utf-8", errors="replace") as code:
                if key in code.read():
                    return str(module.__name__)
    return ""


def _texts(text: str) -> list[str]:
    """The texts of a JSON list; none where it is something else, which the project may read in its own way."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return [each for each in found if isinstance(each, str) and each] if isinstance(found, list) else []


def _hosts(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    domains = list(site["domains"])
    hosts = settings.get("ALLOWED_HOSTS") or []
    if not isinstance(hosts, str):  # a string is a mistake that Django names itself
        if "*" in hosts:
            yield "ALLOWED_HOSTS", (domains, "'*' answers to every name, so only the site's domains are left")
        elif missing := [domain for domain in domains if domain not in hosts]:
            yield "ALLOWED_HOSTS", ([*hosts, *missing], "the site's domains were missing")
    origins = settings.get("CSRF_TRUSTED_ORIGINS") or []
    schemes = ("https",) if site.get("https") else ("https", "http")
    wanted = [f"{scheme}://{domain}" for domain in domains for scheme in schemes]
    if missing := [origin for origin in wanted if origin not in origins]:
        yield "CSRF_TRUSTED_ORIGINS", ([*origins, *missing], "the site's domains were missing")


def _proxy(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    if not settings.get("SECURE_PROXY_SSL_HEADER"):
        yield (
            "SECURE_PROXY_SSL_HEADER",
            (("HTTP_X_FORWARDED_PROTO", "https"), "nginx ends TLS and sets this header itself in every request"),
        )


def _static(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    if str(settings.get("STATIC_ROOT") or "") != site["static_root"]:
        yield "STATIC_ROOT", (site["static_root"], "static files belong to the release and nginx serves them")
        if settings.get("COMPRESS_ROOT") and str(settings["COMPRESS_ROOT"]) == str(settings.get("STATIC_ROOT")):
            yield "COMPRESS_ROOT", (site["static_root"], "it is the project's STATIC_ROOT")
    if settings.get("STATIC_URL") is None:
        yield "STATIC_URL", ("/static/", "the project sets none")


def _media(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    root = settings.get("MEDIA_ROOT")
    if root:
        if moved := _moved(root, site):
            yield "MEDIA_ROOT", (moved, "uploads must outlive the release")
    elif _default_storage(settings) == FILE_STORAGE:
        yield "MEDIA_ROOT", (posixpath.join(site["shared"], "media"), "the project sets none")
        if not settings.get("MEDIA_URL"):
            yield "MEDIA_URL", ("/media/", "the project sets none")


def _storages(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    new = dict(settings.get("STORAGES") or {})
    for alias, storage, options in _file_storages(settings):
        if moved := _moved(options.get("location"), site):
            new[alias] = {**storage, "OPTIONS": {**options, "location": moved}}
    if new != dict(settings.get("STORAGES") or {}):
        yield "STORAGES", (new, "stored files must outlive the release")


def _databases(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    old = settings.get("DATABASES") or {}
    new = dict(old)
    reasons = []
    present, kind = old.get("default") or {}, data.default_kind(site)
    if kind == databases.SQLITE:
        new["default"] = _sqlite_default(present, site)
        reasons.append(f"default is {new['default']['NAME']}, in a way that many processes can share it")
    elif kind != databases.PROJECT:
        default = _with_address(present, _wanted_address(kind, environ))
        if kind == databases.MARIADB:
            default = _as_django_advises(present, default)
        if default is not present:
            new["default"] = default
            reasons.append(_why_led(kind))
    for each in databases.further(site):
        own = old.get(each.alias) or {}
        led = _with_address(own, _wanted_address(each.kind, environ, each.alias))
        if databases.kind_of_engine(led["ENGINE"]) == databases.MARIADB:
            led = _as_django_advises(own, led)
        if led is not own:
            new[each.alias] = {**led, "TEST": own["TEST"]} if "TEST" in own else led  # it may say: a mirror
            reasons.append(_why_led(each.kind, each.alias))
    for alias, database in list(new.items()):
        if _is_file(database) and (moved := _moved(database["NAME"], site)):
            new[alias] = {**database, "NAME": moved}
            reasons.append(f"the SQLite file of {alias} must outlive the release")
    if reasons:
        yield "DATABASES", (new, "; ".join(reasons))


def _apps(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    # Wagtail, for one, uses PostgreSQL's own fields as soon as the database is one, and Django's check
    # postgres.E005 then wants the app they belong to. It brings no models and no migrations.
    apps = list(settings.get("INSTALLED_APPS") or [])
    present, kind = (settings.get("DATABASES") or {}).get("default") or {}, data.default_kind(site)
    if kind == databases.EXTERNAL:
        kind = databases.kind_of_url(environ.get(databases.URL_VARIABLE, ""))
    moved = kind == databases.POSTGRESQL and databases.kind_of_engine(present.get("ENGINE")) != kind
    if moved and not any(app.startswith("django.contrib.postgres") for app in apps):
        yield (
            "INSTALLED_APPS",
            ([*apps, "django.contrib.postgres"], "PostgreSQL's own fields need the app"),
        )


def _caches(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    new = dict(settings.get("CACHES") or {})
    for alias, cache in list(new.items()):
        if str(cache.get("BACKEND", "")).endswith("FileBasedCache") and (moved := _moved(cache.get("LOCATION"), site)):
            new[alias] = {**cache, "LOCATION": moved}
    if new != dict(settings.get("CACHES") or {}):
        yield "CACHES", (new, "a release is read-only, a file cache cannot live in it")


def _middleware(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    present = list(settings.get("MIDDLEWARE") or [])
    if speak.MIDDLEWARE not in present:
        yield (
            "MIDDLEWARE",
            (
                [speak.MIDDLEWARE, *present],
                "log lines and the bare page of an error get the id nginx gave the request, REMOTE_ADDR the visitor's "
                "address",
            ),
        )


def _logging(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]
) -> Iterator[tuple[str, Gap]]:
    if "LOGGING_CONFIG" in settings and not settings["LOGGING_CONFIG"]:
        return  # the project sets logging up by its own code
    logging = settings.get("LOGGING") or {}
    if not logging:
        # A handler of the root logger, so that Django's own (mail to ADMINS) stay as they are;
        # its logger `django` is at INFO and hands everything up.
        yield (
            "LOGGING",
            (
                {
                    "version": 1,
                    "disable_existing_loggers": False,
                    "formatters": {
                        "journal": {
                            "()": "djdeploy_speak.JournalFormatter",
                            "fmt": "%(levelname)s %(name)s: %(message)s",
                        }
                    },
                    "handlers": {"journal": {"class": "logging.StreamHandler", "formatter": "journal"}},
                    "root": {"handlers": ["journal"], "level": "WARNING"},
                },
                "the project sets none, and without DEBUG Django would write errors nowhere",
            ),
        )
        return
    handlers = dict(logging.get("handlers") or {})
    for name, handler in _log_files(settings):
        if moved := _moved(handler["filename"], site):
            handlers[name] = {**handler, "filename": moved}
    if handlers != dict(logging.get("handlers") or {}):
        yield "LOGGING", ({**logging, "handlers": handlers}, "a release is read-only, a log file cannot live in it")


# -- parts of settings -----------------------------------------------------------------------


def _default_storage(settings: Mapping[str, Any]) -> str:
    storages = settings.get("STORAGES")
    if storages is not None:
        return str((storages.get("default") or {}).get("BACKEND", FILE_STORAGE))
    return str(settings.get("DEFAULT_FILE_STORAGE") or FILE_STORAGE)


def _file_storages(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for alias, storage in (settings.get("STORAGES") or {}).items():
        options = storage.get("OPTIONS") or {}
        if alias != "staticfiles" and storage.get("BACKEND") == FILE_STORAGE and options.get("location"):
            yield alias, storage, options


def _sqlite_databases(settings: Mapping[str, Any], site: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    led = {each.alias for each in databases.further(site)}
    for alias, database in (settings.get("DATABASES") or {}).items():
        if alias in led:
            continue
        if alias == "default" and data.default_kind(site) not in (databases.PROJECT, databases.SQLITE):
            continue
        if _is_file(database):
            yield alias, database


def _is_file(database: Mapping[str, Any]) -> bool:
    name, engine = str(database.get("NAME") or ""), str(database.get("ENGINE", ""))
    is_sqlite = engine.rpartition(".")[2] in ("sqlite3", "spatialite")
    return bool(name) and not name.startswith((":memory:", "file:")) and is_sqlite


def _log_files(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, handler in ((settings.get("LOGGING") or {}).get("handlers") or {}).items():
        if isinstance(handler, Mapping) and handler.get("filename"):
            yield name, handler


# -- the database ----------------------------------------------------------------------------


def _wanted_address(kind: str, environ: Mapping[str, str], alias: str = databases.DEFAULT) -> dict[str, Any]:
    """Where the variable of an alias leads, DATABASE_URL for `default`.

    :raises ValueError: when there is none, or it is of another kind.
    """
    variable = databases.variable_of(alias)
    url = environ.get(variable)
    if not url:
        title = databases.KINDS[kind].title if kind in databases.KINDS else kind
        which = "database" if alias == databases.DEFAULT else f"database {alias}"
        raise ValueError(f"the site's {which} is {title}, but {variable} is not in the environment")
    try:
        found: dict[str, Any] = parse_database_url(url, kind if kind in databases.KINDS else "")
    except ValueError as error:  # the parser knows the URL of `default` by name
        raise ValueError(str(error).replace(databases.URL_VARIABLE, variable)) from None
    return found


def _why_led(kind: str, alias: str = databases.DEFAULT) -> str:
    variable = databases.variable_of(alias)
    if kind in databases.KINDS:
        return f"{alias} is the site's own {databases.KINDS[kind].title} ({variable})"
    return f"{alias} is where {variable} leads"


def _sqlite_default(present: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """The project's own SQLite file, where it outlives the release; one in shared/ where it has none."""
    own = present.get("OPTIONS") or {} if _is_file(present) else {}
    options = sqlite.options(site.get("django") or (5, 2), own)
    if _is_file(present):
        return {**present, "NAME": _moved(present["NAME"], site) or str(present["NAME"]), "OPTIONS": options}
    return {
        "ENGINE": _engine_of(present, databases.KINDS[databases.SQLITE], "django.db.backends.sqlite3"),
        "NAME": posixpath.join(site["shared"], databases.SQLITE_FILE),
        "OPTIONS": options,
        **{key: present[key] for key in _DATABASE_KEPT if key in present},
    }


def _engine_of(present: Mapping[str, Any], kind: Any, plain: str) -> str:
    """A geographic project stays one on another database."""
    engine = str(present.get("ENGINE", ""))
    return str(kind.geographic) if "spatialite" in engine or ".gis." in engine else plain


def _as_django_advises(present: Mapping[str, Any], default: Mapping[str, Any]) -> Mapping[str, Any]:
    """A database of MariaDB with what Django's documentation (Databases, MySQL notes) advises and nobody said.

    The very same object when the project leads to it itself.
    """
    if default is present or "connector" in str(default["ENGINE"]):
        return default
    return {**default, "OPTIONS": {**_MARIADB_OPTIONS, **default.get("OPTIONS", {})}}


def _with_address(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The project's default database led to `wanted`; the very same object when it is there already.

    The engine stays when it speaks to the same kind of database (several packages wrap Django's), and so do its
    options that say how to connect, not where.
    """
    engine = str(present.get("ENGINE", ""))
    options, kind = wanted.get("OPTIONS", {}), databases.kind_of_engine(wanted["ENGINE"])
    if kind == databases.SQLITE:
        return present if _is_file(present) and str(present["NAME"]) == wanted["NAME"] else wanted
    if databases.kind_of_engine(engine) == kind:
        same_place = all(str(present.get(key) or "") == wanted[key] for key in _DATABASE_ADDRESS)
        own_options = present.get("OPTIONS") or {}
        if same_place and all(own_options.get(key) == value for key, value in options.items()):
            return present
        kept = {key: value for key, value in own_options.items() if key not in _DATABASE_PLACE}
        merged = {**present, **wanted, "ENGINE": engine, "OPTIONS": {**kept, **options}}
        return merged if merged["OPTIONS"] else {key: value for key, value in merged.items() if key != "OPTIONS"}
    return {
        **wanted,
        "ENGINE": _engine_of(present, databases.KINDS[kind], wanted["ENGINE"]),
        **{key: present[key] for key in _DATABASE_KEPT if key in present},
    }


# -- paths -----------------------------------------------------------------------------------


def _moved(path: Any, site: Mapping[str, Any]) -> str | None:
    """The place in shared/ for a path that lies in the release; None when it lies elsewhere.

    A relative path is meant from the project's directory, which a release also knows as `project`.
    What lies in the tree above a project in a subdirectory, or in the release beside the tree
    (`BASE_DIR.parent`), is read-only as well.
    """
    if not path:
        return None
    text = posixpath.normpath(posixpath.join(site["code"], os.fspath(path)))
    release = posixpath.dirname(posixpath.normpath(site["static_root"]))
    for base in (posixpath.normpath(site["code"]), f"{release}/project", f"{release}/code", release):
        if text.startswith(f"{base}/"):
            return posixpath.join(site["shared"], posixpath.relpath(text, base))
    return None


def _moves(paths: list[Any], site: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path in paths:
        if moved := _moved(path, site):
            found.append((posixpath.normpath(posixpath.join(site["code"], os.fspath(path))), moved))
    return list(dict.fromkeys(found))


def _written_to(settings: Mapping[str, Any], site: Mapping[str, Any]) -> list[str]:
    """Directories in shared/ that must exist before Django is set up: it opens log files at once."""
    files = [handler["filename"] for _name, handler in _log_files(settings)]
    files += [database["NAME"] for _alias, database in _sqlite_databases(settings, site)]
    return list(dict.fromkeys(posixpath.dirname(moved) for _path, moved in _moves(files, site)))


def _django_version() -> tuple[int, ...]:
    import django

    return tuple(django.VERSION[:2])


def _apply(namespace: dict[str, Any]) -> None:
    """Fill a module with the project's settings and close the gaps."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "site.json"), encoding="utf-8") as file:
        site = json.load(file)
    project = importlib.import_module(site["project_settings"])
    settings = {name: getattr(project, name) for name in dir(project) if name.isupper()}
    site["django"] = _django_version()
    site["public_key_in"] = _published_in(settings.get("SECRET_KEY"), list(sys.modules.values()))
    gaps = close_gaps(settings, site, os.environ)
    for name, module in data.missing(gaps, lambda module: importlib.util.find_spec(module) is not None):
        raise ValueError(f"{gaps[name][1]}, which needs the package {module}: list it in the project's requirements")
    namespace.update(settings)
    namespace.update({name: value for name, (value, _reason) in gaps.items()})
    if data.default_kind(site) == databases.SQLITE:
        sqlite.tune(site["django"], databases.DEFAULT)
    namespace["DJDEPLOY_GAPS"] = {name: reason for name, (_value, reason) in gaps.items()}
    namespace["DJDEPLOY_SHOWN"] = {name: str(gaps[name][0]) for name in _SHOWN if name in gaps}
    namespace["DJDEPLOY_STATIC_BROUGHT"] = brought_static(settings, site)
    namespace["DJDEPLOY_STATIC_BACKEND"] = static.backend_of(settings)
    namespace["DJDEPLOY_UNUSED"] = data.unused(settings, site, os.environ, gaps)
    led = data.with_gaps(settings, data.close_gaps(settings, site, os.environ))
    namespace["DJDEPLOY_RELOCATED"] = relocations(led, site)
    for directory in _written_to(led, site):
        # Whoever may not write there gets Django's own error, which names the file.
        with contextlib.suppress(OSError):
            os.makedirs(directory, exist_ok=True)


if __name__ == "djdeploy_settings":
    _apply(globals())
