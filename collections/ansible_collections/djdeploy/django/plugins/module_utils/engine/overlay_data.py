# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a site's data and mail go, for projects that read no URL themselves: a part of the generated settings.

DATABASE_URL, CACHE_URL, EMAIL_URL and DEFAULT_STORAGE_DSN are given by the environment. What the project reads
itself is left alone: a URL counts only where the setting is still Django's own, or a SQLite file. No message holds
a URL: there are passwords in them.

It runs inside the site's process, as `djdeploy_data`: standard library only, no relative import, Python 3.10.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from email.utils import parseaddr
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

try:
    from . import databases_said as databases
except ImportError:  # in a release this file is no part of a package
    databases = importlib.import_module("djdeploy_databases")

FILE_STORAGE = "django.core.files.storage.FileSystemStorage"
STATIC_STORAGE = "django.contrib.staticfiles.storage.StaticFilesStorage"
SMTP = "django.core.mail.backends.smtp.EmailBackend"

DATABASE_SCHEMES = {scheme: engine for kind in databases.KINDS.values() for scheme, engine in kind.schemes.items()}
FILE_DATABASES = ("sqlite3", "spatialite")
CACHE_BACKENDS = "django.core.cache.backends."
MAIL_BACKENDS = "django.core.mail.backends."
#: OPTIONS of a mailer (Django 6.1) and the settings that said the same before.
MAIL_SETTINGS = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    "password": "EMAIL_HOST_PASSWORD",
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
    "timeout": "EMAIL_TIMEOUT",
    "file_path": "EMAIL_FILE_PATH",
}
MAIL_DEFAULTS = {"EMAIL_BACKEND": SMTP, "EMAIL_HOST": "localhost", "EMAIL_PORT": 25}
MAILERS_SINCE, WITHOUT_EMAIL_SETTINGS, ADMINS_ARE_TEXT = (6, 1), (7, 0), (6, 0)
#: Words of a backend -> the module it imports, which a project must list itself.
NEEDED = {
    f"{CACHE_BACKENDS}redis.": "redis",
    f"{CACHE_BACKENDS}memcached.PyMemcacheCache": "pymemcache",
    f"{CACHE_BACKENDS}memcached.PyLibMCCache": "pylibmc",
    "storages.": "storages",
}

#: Words of a storage's DSN -> options of django-storages.
SHORT_OPTIONS = {"region": "region_name", "domain": "custom_domain", "acl": "default_acl", "prefix": "location"}
AMAZON = re.compile(r"s3(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d+))?\.amazonaws\.com(?:\.cn)?")

Gap = tuple[Any, str]
Given = Iterator[tuple[str, Gap]]


def close_gaps(settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Gap]:
    """What the URLs of the environment and the site's `email` make of the settings: name -> (new value, reason).

    :param site: as in `overlay.close_gaps`; besides `email`, `name`, and `django` (its version as a tuple).
    :raises ValueError: for a URL that would be used and is not understood.
    """
    gaps: dict[str, Gap] = {}
    for close in (_database, _cache, _mail, _storage, _addresses):
        gaps.update(close(settings, site, environ))
    return gaps


def unused(
    settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str], gaps: Mapping[str, Gap]
) -> list[tuple[str, str]]:
    """What was given and leads nowhere, with the reason: name -> for a person who wonders.

    :param gaps: of `close_gaps`.
    """
    found = []
    url = environ.get("DATABASE_URL")
    if (
        url
        and default_kind(site) == databases.PROJECT
        and "DATABASES" not in gaps
        and not _database_is_used(settings, url)
    ):
        found.append(("DATABASE_URL", "the project's DATABASES lead elsewhere, and stay as they are"))
    for alias in databases.pointless(site, settings):
        told = f"the project has no DATABASE_ROUTERS and no {alias} in its DATABASES: only using('{alias}') gets there"
        found.append((f"databases.{alias}", told))
    for name, setting, about in (
        ("CACHE_URL", "CACHES", "CACHES"),
        ("EMAIL_URL", "MAILERS", "EMAIL_BACKEND, EMAIL_HOST or MAILERS"),
        ("DEFAULT_STORAGE_DSN", "STORAGES", "STORAGES, DEFAULT_FILE_STORAGE or STATICFILES_STORAGE"),
    ):
        applied = setting in gaps or (name == "EMAIL_URL" and "EMAIL_BACKEND" in gaps)
        if name == "DEFAULT_STORAGE_DSN" and environ.get(name):
            applied = _storage_applied(with_gaps(settings, gaps), environ[name])
        if environ.get(name) and not applied and not _mentions(settings, environ[name]):
            found.append((name, f"the project sets {about} itself, which stays as it is"))
    email = site.get("email") or {}
    server = environ.get("EMAIL_URL") or settings.get("MAILERS") or settings.get("EMAIL_BACKEND", SMTP) != SMTP
    if email.get("admins") and not server and settings.get("EMAIL_HOST", "localhost") == "localhost":
        found.append(
            ("email.admins", "mail goes to localhost:25, for neither EMAIL_URL nor the project names a server")
        )
    return found


def with_gaps(settings: Mapping[str, Any], gaps: Mapping[str, Gap]) -> dict[str, Any]:
    """The settings as they are when the gaps are closed."""
    return {**settings, **{name: value for name, (value, _reason) in gaps.items()}}


def _storage_applied(settings: Mapping[str, Any], url: str) -> bool:
    """Whether uploads go where the DSN leads; by settings whose gaps are closed."""
    try:
        wanted = parse_storage_dsn(url)
    except ValueError:  # of the project's own kind: had it been ours to read, the release would not be there
        return False
    default = (settings.get("STORAGES") or {}).get("default") or {"BACKEND": FILE_STORAGE}
    if wanted["BACKEND"] == FILE_STORAGE and default == {"BACKEND": FILE_STORAGE}:
        return not settings.get("DEFAULT_FILE_STORAGE")
    return bool(default == wanted)


def missing(gaps: Mapping[str, Gap], is_there: Callable[[str], bool]) -> list[tuple[str, str]]:
    """Settings of ours whose backend wants a package the project does not have: (setting, module)."""
    found = []
    for name in ("CACHES", "STORAGES"):
        backend = str(((gaps[name][0] if name in gaps else {}).get("default") or {}).get("BACKEND", ""))
        found += [(name, module) for start, module in NEEDED.items() if backend.startswith(start)]
    return [(name, module) for name, module in found if not is_there(module)]


# -- one function per URL --------------------------------------------------------------------


def _database(settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]) -> Given:
    """Where the site's key `database` names one, the overlay itself leads the default database there."""
    url, present = environ.get("DATABASE_URL"), settings.get("DATABASES") or {}
    default = present.get("default") or {}
    kind = str(default.get("ENGINE", "")).rpartition(".")[2]
    if not url or default_kind(site) != databases.PROJECT or kind not in ("", "dummy", *FILE_DATABASES):
        return
    if _database_is_used(settings, url):
        return
    kept = {key: default[key] for key in ("ATOMIC_REQUESTS", "CONN_MAX_AGE", "CONN_HEALTH_CHECKS") if key in default}
    wanted = parse_database_url(url)
    yield "DATABASES", ({**present, "default": {**wanted, **kept}}, "default is where DATABASE_URL leads")


def default_kind(site: Mapping[str, Any]) -> str:
    """Of `databases.default_kind`; a site.json without `database` leaves it to the project."""
    return str(databases.default_kind({**site, "database": site.get("database") or databases.PROJECT}))


def _database_is_used(settings: Mapping[str, Any], url: str) -> bool:
    """Whether one of the project's databases is where a URL leads: then the project reads it itself."""
    try:
        wanted = parse_database_url(url)
    except ValueError:
        return False
    return any(_same_place(each, wanted) for each in (settings.get("DATABASES") or {}).values())


def _same_place(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """By address only: a project may wrap the engine, and put the password where it likes."""
    files = [str(each.get("ENGINE", "")).rpartition(".")[2] in FILE_DATABASES for each in (present, wanted)]
    if files[0] != files[1]:
        return False
    name, other = str(present.get("NAME") or ""), str(wanted["NAME"])
    if files[0]:
        return name == other or (not other.startswith("/") and name.endswith(f"/{other}"))
    rest = all(str(present.get(key) or "") == str(wanted[key]) for key in ("USER", "HOST"))
    return name == other and rest


def _cache(settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]) -> Given:
    url, present = environ.get("CACHE_URL"), settings.get("CACHES") or {}
    backend = (present.get("default") or {}).get("BACKEND", f"{CACHE_BACKENDS}locmem.LocMemCache")
    if url and backend == f"{CACHE_BACKENDS}locmem.LocMemCache" and not _mentions(settings, url):
        yield "CACHES", ({**present, "default": parse_cache_url(url)}, "default is where CACHE_URL leads")


def _mail(settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]) -> Given:
    """Into the settings the project's Django has: EMAIL_*, or MAILERS, beside which it refuses EMAIL_*."""
    url = environ.get("EMAIL_URL")
    version = tuple(site.get("django") or (5, 2))
    mailers = settings.get("MAILERS") if version >= MAILERS_SINCE and "MAILERS" in settings else None
    if not url:
        return
    reason = "mail goes where EMAIL_URL leads"
    if mailers is not None or version >= WITHOUT_EMAIL_SETTINGS:
        default = dict((mailers or {}).get("default") or {})
        options = default.get("OPTIONS") or {}
        if default.get("BACKEND", SMTP) == SMTP and not options.get("host"):
            wanted = parse_email_url(url)
            merged = {**default, **wanted, "OPTIONS": {**options, **wanted["OPTIONS"]}}
            yield "MAILERS", ({**(mailers or {}), "default": merged}, reason)
        return
    own = [name for name in ("EMAIL_BACKEND", *MAIL_SETTINGS.values()) if settings.get(name)]
    if any(settings[name] != MAIL_DEFAULTS.get(name) for name in own):
        return
    wanted = parse_email_url(url)
    yield "EMAIL_BACKEND", (wanted["BACKEND"], reason)
    for option, value in wanted["OPTIONS"].items():
        yield MAIL_SETTINGS[option], (value, reason)


def _storage(settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]) -> Given:
    """Django before 5.1 refuses STORAGES beside the two settings it replaces; a directory needs none of them."""
    url, present = environ.get("DEFAULT_STORAGE_DSN"), settings.get("STORAGES") or {}
    default = present.get("default") or {"BACKEND": settings.get("DEFAULT_FILE_STORAGE") or FILE_STORAGE}
    if not url or default != {"BACKEND": FILE_STORAGE}:
        return
    wanted = parse_storage_dsn(url)
    if wanted["BACKEND"] == FILE_STORAGE:  # MEDIA_ROOT, because nginx serves what lies there
        place = wanted["OPTIONS"]["location"]
        if str(settings.get("MEDIA_ROOT") or "") != place:
            yield "MEDIA_ROOT", (place, "it is where DEFAULT_STORAGE_DSN leads")
        base = wanted["OPTIONS"].get("base_url") or settings.get("MEDIA_URL") or "/media/"
        if settings.get("MEDIA_URL") != base:
            yield "MEDIA_URL", (base, "uploads are served by it")
    elif not settings.get("DEFAULT_FILE_STORAGE") and not settings.get("STATICFILES_STORAGE"):
        new = {"staticfiles": {"BACKEND": STATIC_STORAGE}, **present, "default": wanted}
        yield "STORAGES", (new, "default is where DEFAULT_STORAGE_DSN leads")


def _addresses(settings: Mapping[str, Any], site: Mapping[str, Any], environ: Mapping[str, str]) -> Given:
    """The site's section `email`, where the project's settings are Django's own."""
    email = site.get("email") or {}
    reason = "the site's key `email` says so, and the project sets none"
    if sender := email.get("from_address"):
        for name, django in (("DEFAULT_FROM_EMAIL", "webmaster@localhost"), ("SERVER_EMAIL", "root@localhost")):
            if settings.get(name, django) == django:
                yield name, (sender, reason)
    if admins := email.get("admins"):
        texts = tuple(site.get("django") or (5, 2)) >= ADMINS_ARE_TEXT
        people = [address if texts else _pair(address) for address in admins]
        for name in ("ADMINS", "MANAGERS"):
            if not settings.get(name):
                yield name, (people, reason)
    prefix = email.get("subject_prefix")
    prefix = f"[{site.get('name', 'site')}] " if prefix is None and email.get("admins") else prefix
    if prefix is not None and settings.get("EMAIL_SUBJECT_PREFIX", "[Django] ") == "[Django] ":
        yield "EMAIL_SUBJECT_PREFIX", (prefix, reason)


def _pair(address: str) -> tuple[str, str]:
    """ADMINS before Django 6.0: (name, address)."""
    name, mailbox = parseaddr(address)
    return name or mailbox, mailbox


def _mentions(settings: Mapping[str, Any], url: str) -> bool:
    """Whether a setting of the project's holds the place a URL leads to: then the project reads it itself."""
    parts = urlsplit(url)
    place = parts.hostname or parts.path.strip("/")
    if not place or place in ("localhost", "127.0.0.1"):
        place = url
    names = ("CACHES", "EMAIL_HOST", "MAILERS", "STORAGES", "AWS_STORAGE_BUCKET_NAME", "AWS_S3_ENDPOINT_URL")
    return any(_holds(settings[name], place) for name in names if settings.get(name))


def _holds(value: Any, place: str) -> bool:
    """Whether a host or URL stands somewhere in a value; the name of a backend is no host, though it may hold one."""
    if isinstance(value, Mapping):
        return any(_holds(each, place) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds(each, place) for each in value)
    text = str(value)
    return text == place or text.startswith((f"{place}:", f"{place}.")) or f"//{place}" in text or f"@{place}" in text


# -- URLs ------------------------------------------------------------------------------------


def parse_database_url(url: str, kind: str = "") -> dict[str, Any]:
    """A DATABASES entry from 'postgresql://user:password@host:port/name?sslmode=...'.

    Every part but the name may be missing (then libpq's defaults count: the unix socket, the unix
    user) and may be percent-encoded; the query becomes OPTIONS; a host may be a socket's directory.
    'sqlite:///name' is a file in the project, 'sqlite:////path' one anywhere.

    :param kind: the only one allowed; empty: any of `databases.KINDS`.
    :raises ValueError: when it is none of these. The message never holds the URL: it has a password.
    """
    parts = urlsplit(url)
    schemes = databases.KINDS[kind].schemes if kind else DATABASE_SCHEMES
    if parts.scheme not in schemes:
        # What stands before the first colon of a text that is no URL may be a part of a password.
        said = f"is of the kind {parts.scheme!r}" if "://" in url else "is no URL"
        if kind:
            raise ValueError(f"DATABASE_URL {said}, not {kind} (or set database: external)")
        raise ValueError(f"DATABASE_URL {said}; known are {', '.join(sorted(schemes))}")
    engine = schemes[parts.scheme]
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if engine.rpartition(".")[2] in FILE_DATABASES:
        name = unquote(parts.path.removeprefix("/")) or ":memory:"
        return {"ENGINE": engine, "NAME": name, **({"OPTIONS": options} if options else {})}
    name = unquote(parts.path.removeprefix("/"))
    # The authority itself may be `@%2Frun%2Fpostgresql`, and urlsplit lowers only `hostname`.
    host = unquote(options.pop("host", "") or parts.hostname or "")
    if engine.endswith("mysql"):
        host = options.pop("unix_socket", "") or host
        if authority := options.pop("ssl-ca", "") or options.pop("ssl_ca", ""):
            options["ssl"] = {"ca": authority}
    database: dict[str, Any] = {
        "ENGINE": engine,
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": options.pop("port", "") or _port(parts, "DATABASE_URL"),
    }
    if not name:
        raise ValueError("DATABASE_URL names no database")
    return {**database, "OPTIONS": options} if options else database


def parse_cache_url(url: str) -> dict[str, Any]:
    """A CACHES entry: redis://, rediss://, unix:// (redis), memcached://, db://, file://, locmem:// or dummy://.

    `timeout`, `key_prefix` and `version` of the query are the cache's; the rest of it belongs to redis.

    :raises ValueError: for another kind; the message never holds the URL.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    own = {name: query.pop(name) for name in ("timeout", "key_prefix", "version") if name in query}
    common: dict[str, Any] = {
        name.upper(): value if name == "key_prefix" else _number(value, "CACHE_URL", name)
        for name, value in own.items()
    }
    place = unquote(parts.netloc + parts.path)
    if parts.scheme in ("redis", "rediss", "unix", "redis+socket", "redis+unix"):
        scheme = parts.scheme if parts.scheme in ("redis", "rediss") else "unix"
        rest = "&".join(f"{name}={value}" for name, value in query.items())
        location = f"{scheme}://{parts.netloc}{parts.path}{f'?{rest}' if rest else ''}"
        return {"BACKEND": f"{CACHE_BACKENDS}redis.RedisCache", "LOCATION": location, **common}
    if parts.scheme in ("memcached", "memcache", "pymemcache", "pylibmc"):
        kind = "PyLibMCCache" if parts.scheme == "pylibmc" else "PyMemcacheCache"
        servers = parts.netloc.split(",") if parts.netloc else [f"unix:{place}"]
        return {"BACKEND": f"{CACHE_BACKENDS}memcached.{kind}", "LOCATION": servers, **common}
    kinds = {
        "locmem": ("locmem.LocMemCache", place),
        "dummy": ("dummy.DummyCache", ""),
        "db": ("db.DatabaseCache", place.strip("/")),
        "file": ("filebased.FileBasedCache", place),
    }
    if parts.scheme not in kinds:
        raise ValueError(
            f"CACHE_URL is of the kind {parts.scheme!r}; known are redis, rediss, unix, memcached, pylibmc, "
            f"{', '.join(kinds)}"
        )
    kind, location = kinds[parts.scheme]
    return {"BACKEND": CACHE_BACKENDS + kind, **({"LOCATION": location} if location else {}), **common}


def parse_email_url(url: str) -> dict[str, Any]:
    """A mailer, as MAILERS of Django 6.1 has it, from 'smtp://user:password@host:port'.

    TLS from the first byte: smtp+ssl, submissions, or smtps (port 465); STARTTLS: smtp+tls, submission (port 587), or
    smtps on another port than 465, as two widespread packages have it. The query may say `ssl`, `tls`, `timeout`.

    :raises ValueError: for another kind; the message never holds the URL.
    """
    parts = urlsplit(url)
    plain = {"consolemail": "console", "console": "console", "memorymail": "locmem", "dummymail": "dummy"}
    if parts.scheme in plain:
        return {"BACKEND": f"{MAIL_BACKENDS}{plain[parts.scheme]}.EmailBackend", "OPTIONS": {}}
    if parts.scheme in ("filemail", "file"):
        return {"BACKEND": f"{MAIL_BACKENDS}filebased.EmailBackend", "OPTIONS": {"file_path": unquote(parts.path)}}
    if parts.scheme not in ("smtp", "smtps", "smtp+ssl", "smtp+tls", "submission", "submissions"):
        raise ValueError(
            f"EMAIL_URL is of the kind {parts.scheme!r}; known are smtp, smtps, smtp+tls, smtp+ssl, filemail"
        )
    query = dict(parse_qsl(parts.query))
    port = _port(parts, "EMAIL_URL")
    ssl = parts.scheme in ("smtp+ssl", "submissions") or (parts.scheme == "smtps" and port in ("", "465"))
    ssl = _truth(query.get("ssl"), ssl)
    tls = _truth(query.get("tls"), not ssl and parts.scheme in ("smtp+tls", "submission", "smtps"))
    if tls and ssl:
        raise ValueError("EMAIL_URL asks for both TLS from the start and STARTTLS")
    options: dict[str, Any] = {
        "host": unquote(parts.hostname or "localhost"),
        "port": int(port or (465 if ssl else 587 if tls else 25)),
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "use_tls": tls,
        "use_ssl": ssl,
    }
    if "timeout" in query:
        options["timeout"] = _number(query["timeout"], "EMAIL_URL", "timeout")
    return {"BACKEND": SMTP, "OPTIONS": options}


def parse_storage_dsn(url: str) -> dict[str, Any]:
    """A STORAGES entry: s3://key:secret@host/bucket, s3://key:secret@bucket.s3.region.host, gs://bucket, file:///path.

    The query of S3 and GS holds further options of django-storages, some of them by a short name, too (SHORT_OPTIONS);
    `tls=false` asks for plain HTTP.

    :raises ValueError: for another kind; the message never holds the DSN.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme == "file":
        options = {"location": unquote(parts.path), **({"base_url": query["url"]} if query.get("url") else {})}
        return {"BACKEND": FILE_STORAGE, "OPTIONS": options}
    extra = {SHORT_OPTIONS.get(name, name): _value(value) for name, value in query.items() if name != "tls"}
    if parts.scheme == "gs":
        return {
            "BACKEND": "storages.backends.gcloud.GoogleCloudStorage",
            "OPTIONS": {"bucket_name": parts.hostname, **extra},
        }
    if parts.scheme != "s3":
        raise ValueError(f"DEFAULT_STORAGE_DSN is of the kind {parts.scheme!r}; known are s3, gs, file")
    host, port, bucket = parts.hostname or "", _port(parts, "DEFAULT_STORAGE_DSN"), parts.path.strip("/")
    first, _dot, rest = host.partition(".")
    if not bucket and rest.startswith(("s3.", "s3-")):
        bucket, host = first, rest
    elif not bucket:
        bucket, host = host, ""
    if not bucket:
        raise ValueError("DEFAULT_STORAGE_DSN names no bucket")
    scheme = "https" if _truth(query.get("tls"), True) else "http"
    # Links would be signed in the way of before 2014 otherwise, which few stores and regions take.
    found: dict[str, Any] = {"bucket_name": bucket, "signature_version": "s3v4"}
    if amazon := AMAZON.fullmatch(host):  # whose client finds its own way, and signs for a region
        found |= {"region_name": amazon["region"]} if amazon["region"] else {}
    elif host:
        found["endpoint_url"] = f"{scheme}://{host}{f':{port}' if port else ''}"
    if parts.username:
        found |= {"access_key": unquote(parts.username), "secret_key": unquote(parts.password or "")}
    return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": {**found, **extra}}


def _port(parts: SplitResult, variable: str) -> str:
    try:
        return str(parts.port or "")
    except ValueError:
        raise ValueError(f"{variable}: the port is not a number; percent-encode the password") from None


def _number(text: str, variable: str, name: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{variable}: {name} is not a whole number")
    return int(text)


def _truth(text: str | None, default: bool) -> bool:
    return default if text is None else text.lower() in ("1", "true", "yes", "on")


def _value(text: str) -> Any:
    """A query's text as the option it stands for."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if text.isdecimal() else text
