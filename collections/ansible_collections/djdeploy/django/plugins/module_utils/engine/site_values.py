# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges of single values of a site: its name, a domain, a key, a path, a variable.

Each takes a value and returns None, or what is wrong with it and how to write it instead.
Nothing here repeats a value that may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator, Mapping

from .environment import NO_CHARACTER
from .paths import OWN_NAMES, OWN_PARTS, UNIT_PREFIX

Fault = tuple[str, str]
"""What is wrong (a phrase that follows the name of the key) and how to write it instead."""


def describe(value: object) -> str:
    """The type of a value in the words of someone who writes YAML; never the value itself."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return f"a {type(value).__name__}"


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SITE_NAME_LENGTH = 24
SITE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,23}")
BUILD_SUFFIX = "-build"

# A site's name becomes a unix user, a PostgreSQL role and database, a directory of /srv and part of
# unit names. So it must not be any of these already.
BASE_PASSWD_NAMES = words(
    "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody"
    " adm tty disk kmem dialout fax voice cdrom floppy tape sudo audio dip operator src shadow utmp video sasl"
    " plugdev staff users nogroup input kvm render sgx crontab"
)
SERVICE_NAMES = words(
    "_apt _chrony _ssh avahi bind clamav colord debian-exim dhcpcd djdeploy dnsmasq docker dovecot dovenull etcd exim"
    " fail2ban ftp fwupd-refresh gdm geoclue git gitolite gitea gnome grafana haproxy influxdb jenkins ldap lxd"
    " memcache memcached messagebus minio mongodb mosquitto munin mysql mariadb named netdata nginx nslcd ntp ntpsec"
    " opendkim openldap pgbouncer polkitd pollinate postfix postdrop postgres postgrey prometheus puppet rabbitmq"
    " redis rpc rspamd rtkit salt saned ssh sshd sssd statd stunnel4 strongswan syslog systemd systemd-coredump"
    " systemd-journal systemd-network systemd-resolve systemd-timesync tcpdump tftp tomcat tss ubuntu unbound usbmux"
    " uuidd valkey varnish vault vcsa wheel www zabbix debian admin ansible vagrant"
)
POSTGRES_NAMES = words(
    "all none public replication samegroup samerole sameuser template0 template1 current_user session_user"
    " current_role user"
)

JOINED = "in what is called after it, it would be read as two names"


def check_site_name(name: object) -> list[str]:
    """What is wrong with the name of a site; empty when nothing is."""
    if not isinstance(name, str):
        return [f"the name {name!r} is {describe(name)}, not text: quote it"]
    if len(name) > SITE_NAME_LENGTH:
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        return [
            f"the name {shown!r} has {len(name)} characters; at most {SITE_NAME_LENGTH} fit a unix user and a socket"
        ]
    if not SITE_NAME.fullmatch(name):
        return [f"the name {name!r} must begin with a-z and hold only a-z, 0-9, '_' and '-'"]
    if name.endswith("-"):
        return [f"the name {name!r} must not end in '-'"]
    if name.endswith(BUILD_SUFFIX):
        return [f"the name {name!r} must not end in {BUILD_SUFFIX!r}: that is how build users are called"]
    if "--" in name:
        return [f"the name {name!r} must not hold '--': {JOINED}"]
    if name in OWN_NAMES:
        return [f"the name {name!r} is used by djdeploy itself: the site would overwrite its {OWN_NAMES[name]}"]
    if name in POSTGRES_NAMES or name.startswith("pg_"):
        return [f"the name {name!r} is reserved by PostgreSQL"]
    if name in BASE_PASSWD_NAMES or name in SERVICE_NAMES or name.startswith("systemd-"):
        return [f"the name {name!r} is a system account of Debian or of a usual service"]
    return []


DOMAIN_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
MODULE = re.compile(rf"{IDENTIFIER}(\.{IDENTIFIER})*")
APPLICATION = re.compile(rf"{IDENTIFIER}(\.{IDENTIFIER})*:{IDENTIFIER}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
PYTHON = re.compile(r"python3(\.\d{1,2})?|3\.\d{1,2}|/[A-Za-z0-9._+/-]+")
KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
# Linux refuses to start a program when one NAME=value of its environment is longer (MAX_ARG_STRLEN).
ENVIRONMENT_ENTRY_BYTES = 131_071

RESERVED_ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "write the module as 'settings:' of the site",
    "PYTHONPATH": "djdeploy sets it to the release; 'project_path:' says where manage.py is",
    "HOME": "djdeploy sets it to the site's shared directory",
    "VIRTUAL_ENV": "djdeploy sets it to the release's environment",
    "PYTHONDONTWRITEBYTECODE": "djdeploy sets it: releases are read-only",
    "PYTHONUNBUFFERED": "djdeploy sets it, so that the journal is in order",
    "NOTIFY_SOCKET": "systemd sets it",
    "LISTEN_FDS": "systemd sets it",
    "LISTEN_FDNAMES": "systemd sets it",
    "LISTEN_PID": "systemd sets it",
    "WEB_CONCURRENCY": "write 'web: {workers: ...}'",
    "GUNICORN_CMD_ARGS": "write the keys of 'web:'",
}


def has_control_characters(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def check_domain(value: str) -> Fault | None:
    """RFC 1123 name (or IPv4 address, for a first try without DNS) as nginx and Django's ALLOWED_HOSTS know it."""
    bare = re.sub(r"^[a-z][a-z0-9+.-]*://", "", value.strip(), flags=re.IGNORECASE)
    bare = re.split(r"[/?#]", bare)[0]
    host = re.sub(r":\d*$", "", bare).rstrip(".")
    instead = f"write only the name: {host}" if host and not check_plain_domain(host) else "write only a domain name"
    if "://" in value:
        return f"{value!r} is an address with a scheme, not a domain name", instead
    if "/" in value or "?" in value or "#" in value:
        return f"{value!r} holds a path", instead
    if re.search(r":\d*$", value):
        return f"{value!r} holds a port", f"{instead}; nginx listens on 80 and 443"
    if "*" in value or value.startswith("."):
        return f"{value!r} is a wildcard", "write each name on its own: only named domains are served"
    if value != value.strip():
        return f"{value!r} begins or ends with a blank", instead
    if value.endswith("."):
        return f"{value!r} ends in a dot", instead
    if not value.isascii():
        try:
            encoded = value.encode("idna").decode("ascii")
        except UnicodeError:
            return f"{value!r} is not ASCII", "write the name in its punycode form (xn--...)"
        return f"{value!r} is not ASCII", f"write its punycode form: {encoded}"
    return check_plain_domain(value)


def check_plain_domain(value: str) -> Fault | None:
    """A host name as nginx and a browser write it, or an IPv4 address; no port, no wildcard."""
    hint = "labels of a-z, 0-9 and '-', joined by dots: shop.example.com"
    if len(value) > 253:
        return "is longer than 253 characters", hint
    labels = value.lower().split(".")
    for label in labels:
        if not DOMAIN_LABEL.fullmatch(label):
            return f"{value!r} is not a valid domain name", hint
    if labels[-1].isdigit():
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return f"{value!r} is neither a domain name nor an IPv4 address", hint
    return None


def check_deploy_key(value: str) -> Fault | None:
    """One OpenSSH public key line, plausible by its own lengths; nothing of it is repeated but its type."""
    hint = "write the line of the .pub file: ssh-ed25519 AAAA... name"
    if "PRIVATE KEY" in value:
        return "is a PRIVATE key", "put in the line of the .pub file; and make a new key: this one has been in a file"
    if "\n" in value.strip() or "\r" in value.strip():
        return "holds more than one line", "write one key per item of the list"
    if has_control_characters(value.strip().replace("\t", " ")):
        return "holds control characters", hint
    words = value.split()
    if not words:
        return "is empty", hint
    if len(words) == 1 and (value.endswith(".pub") or value.startswith(("~", "/", "."))):
        return (
            "is the name of a file, not a key",
            "write the line it holds: ssh-ed25519 AAAA... name",
        )
    if words[0] in ("ssh-dss", "ssh-dsa"):
        return "is a DSA key, which OpenSSH no longer accepts", "make one by: ssh-keygen -t ed25519"
    if words[0] not in KEY_TYPES:
        if any(word in KEY_TYPES for word in words[1:]):
            return "has options in front of the key", "djdeploy writes the options; begin with the key's type"
        return "does not begin with the type of an SSH public key", hint
    if len(words) < 2:
        return f"has the type {words[0]} but no key", hint
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        return f"of type {words[0]} is not valid base64", "paste the whole line of the .pub file again"
    fields = list(ssh_fields(blob))
    if None in fields or len(fields) < 2:
        return f"of type {words[0]} is cut off", "paste the whole line of the .pub file again"
    if fields[0] != words[0].encode():
        return f"says it is {words[0]} but holds another type", "paste the whole line of the .pub file again"
    return None


def ssh_fields(blob: bytes) -> Iterator[bytes | None]:
    """The length-prefixed fields of a key (RFC 4253, 6.6); None where the data ends too early."""
    position = 0
    while position < len(blob):
        length = int.from_bytes(blob[position : position + 4], "big")
        field = blob[position + 4 : position + 4 + length]
        position += 4 + length
        yield field if position <= len(blob) else None


def check_branch(value: str) -> Fault | None:
    """What git check-ref-format allows as a branch."""
    hint = "write the branch as `git branch` shows it: main"
    if value.startswith("refs/"):
        return f"{value!r} is a full ref", f"write only the branch: {value.removeprefix('refs/heads/')}"
    parts = value.split("/")
    bad = (
        re.search(r"[ ~^:?*\[\\]|\.\.|@\{", value)
        or has_control_characters(value)
        or value.startswith("-")
        or value.endswith(".")
        or value in ("@", "HEAD")
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    )
    return (f"{value!r} is not a name git allows for a branch", hint) if bad else None


def check_revision(value: str) -> Fault | None:
    if not value or value.startswith("-") or re.search(r"[\s:~^?*\[\\]|\.\.", value) or has_control_characters(value):
        return f"{value!r} is not a commit, tag or branch", "write a commit id, a tag or a branch"
    return None


def check_repository(value: str) -> Fault | None:
    """A URL git can fetch from; it is stored readable on the host, so it holds no credentials."""
    hint = "write https://host/path.git, ssh://user@host/path.git, user@host:path.git or an absolute path"
    if not value or value.startswith("-") or re.search(r"\s", value) or has_control_characters(value):
        return "is not a URL git can fetch from", hint
    if re.match(r"https?://[^/]*@", value) or re.match(r"[a-z+]+://[^/@]*:[^/@]*@", value):
        return "holds a user name, password or token", "it would be readable on the host; let the host fetch by ssh://"
    if "::" in value.split("/")[0]:
        return "uses a git remote helper", hint
    if re.match(r"(https?|ssh|git|file)://[^/]*/.", value) or value.startswith("/"):
        return None
    if re.match(r"([A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+:(?!//).+", value):
        return None
    return f"{value!r} is not a URL git can fetch from", hint


def check_python(value: str) -> Fault | None:
    if PYTHON.fullmatch(value) and ".." not in value:
        return None
    if re.match(r"(python)?3\.\d+\.\d+$", value):
        return f"{value!r} names a patch release", "write only the minor version: python3.13"
    return f"{value!r} is not a Python", "write python3 (the host's own), python3.13 or an absolute path"


def check_group(value: str) -> Fault | None:
    if re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", value, re.ASCII):
        return None
    return f"{value!r} is not the name of a group of dependencies", "write it as the project does: production"


def check_relative_path(value: str) -> Fault | None:
    hint = "write a path inside the project's tree: backend/requirements.txt"
    if not value or value.startswith(("/", "~")) or re.match(r"[A-Za-z]:", value):
        return f"{value!r} is not relative to the project's tree", hint
    if ".." in value.split("/"):
        return f"{value!r} leaves the project's tree by '..'", hint
    if value.startswith("-") or "\\" in value or has_control_characters(value):
        return f"{value!r} holds characters a path here cannot have", hint
    return None


def check_module(value: str) -> Fault | None:
    if MODULE.fullmatch(value):
        return None
    return f"{value!r} is not a Python module", "write it with dots and without .py: shop.settings.production"


def check_application(value: str) -> Fault | None:
    if APPLICATION.fullmatch(value):
        return None
    return f"{value!r} is not an application", "write module:name as gunicorn wants it: shop.wsgi:application"


def check_package(value: str) -> Fault | None:
    if PACKAGE.fullmatch(value):
        return None
    return f"{value!r} is not the name of a Debian package", "write only the name, without version: libpq5"


def check_inventory_name(value: str) -> Fault | None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        return None
    return f"is {value!r}", "letters, digits, '.', '_' and '-', at most 64: prod"


def check_host_name(value: str) -> Fault | None:
    if value and not re.search(r"[\s,:!&*\[\]]", value):
        return None
    return (
        f"{value!r} is not the name of a host or group",
        "write names as the inventory has them, without patterns",
    )


def check_address(value: str) -> Fault | None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if check_plain_domain(value) is not None:
            return f"{value!r} is neither an IP address nor a host name", "write it without port: 10.0.0.5"
    return None


def check_memory(value: str) -> Fault | None:
    if re.fullmatch(r"[1-9]\d*(\.\d+)?[MGT]|[1-9]\d?%|100%", value):
        return None
    return f"{value!r} is not an amount of memory", "write a number and M, G or %: '512M', '1.5G', '50%'"


def check_size(value: str) -> Fault | None:
    if re.fullmatch(r"[1-9]\d*[KMG]", value):
        return None
    return f"{value!r} is not a size", "write a number and K, M or G: '512M', '4G'"


def check_redis_memory(value: str) -> Fault | None:
    if re.fullmatch(r"[1-9]\d*(mb|gb)", value, re.IGNORECASE):
        return None
    return f"{value!r} is not an amount of memory redis knows", "write a number and mb or gb: '128mb', '1gb'"


def check_process_name(value: str) -> Fault | None:
    """The name of a process or a job becomes part of a unit's and a directory's name."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", value):
        if value in ("web", "release"):
            return "is a name of the Procfile with a meaning of its own", "choose another one: worker"
        if "--" in value:
            return f"has the name {value!r}, which holds '--': {JOINED}", "write one '-'"
        return None
    return f"has the name {value!r}", "names hold a-z, 0-9, '_' and '-', begin with a letter or digit, at most 32"


def check_job_name(value: str) -> Fault | None:
    """The name of a job is, besides that, all that tells its units from others of its site."""
    if value in OWN_PARTS:
        unit = f"{UNIT_PREFIX}<site>.{value}"
        return f"has the name {value!r}: its unit would be {unit}, which is djdeploy's own", f"call it {value}s"
    return check_process_name(value)


def check_command(value: str) -> Fault | None:
    if not value.strip():
        return "is empty", "write the command, for example 'celery -A shop worker'"
    if "\n" in value.strip() or "\0" in value:
        return "is more than one line", "write it on one line, or put it into a script of the project"
    return None


CALENDAR_WORD = re.compile(
    r"minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually", re.IGNORECASE
)
CALENDAR = re.compile(
    r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*(?:(?:\.\.|,)(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*)*\s*)?"
    r"(?:[\d*][\d*,./]*-[\d*][\d*,./]*(?:[-~][\d*][\d*,./]*)?\s*)?"
    r"(?:[\d*][\d*,./]*:[\d*][\d*,./]*(?::[\d*][\d*,./]*)?\s*)?"
    r"(?:[A-Z][A-Za-z]*(?:/[A-Za-z_]+)?)?",
    re.IGNORECASE,
)


def check_calendar(value: str) -> Fault | None:
    """The shape of systemd's OnCalendar (systemd.time(7)); the host itself is asked before anything is written."""
    text = value.strip(" ")
    if CALENDAR_WORD.fullmatch(text) or (
        re.search(r"\d|\*|(?i:mon|tue|wed|thu|fri|sat|sun)", text) and CALENDAR.fullmatch(text)
    ):
        return None
    if re.fullmatch(r"(\S+\s+){4}\S+", text):
        return f"{value!r} is cron's way to say it", "write it as systemd does: daily, '*-*-* 03:00:00', '*:0/5'"
    return f"{value!r} is no time systemd knows", "write daily, hourly, '*-*-* 03:00:00', 'Mon..Fri 08:30' or '*:0/5'"


def check_body_size(value: str) -> Fault | None:
    if re.fullmatch(r"0|[1-9]\d*[kKmMgG]", value):
        return None
    return f"{value!r} is not a size nginx knows", "write a number and k, m or g: '20m'; '0' is no limit"


def check_health_path(value: str) -> Fault | None:
    if not value.startswith("/") or value.startswith("//"):
        return f"{value!r} does not begin with one '/'", f"write '/{value.lstrip('/')}'"
    if not re.fullmatch(r"[!-~]+", value) or "#" in value:
        return f"{value!r} cannot stand in a request", "write the path percent-encoded and without '#': /healthz/"
    return None


def check_status(value: int) -> Fault | None:
    if 100 <= value <= 599:
        return None
    return f"{value} is not an HTTP status", "write numbers from 100 to 599: [200, 301]"


def check_migration_class(value: str) -> Fault | None:
    """A class of migrations that has to be allowed before it runs."""
    if value in ("contract", "blocking"):
        return None
    return f"{value!r} is not a class of migrations that can be allowed", "give contract, blocking or both"


def check_declared_migration(name: object, value: object) -> Fault | None:
    """A migration and what its reader says it is."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*\.(\w+|\*)", name):
        return "is not the name of a migration", "write app.name (catalog.0007_fill_slugs), or app.* for all of an app"
    if value not in ("additive", "contract", "blocking"):
        return f"is {value!r}, no class of migrations", "write one of additive, contract, blocking"
    return None


def check_protected_media(name: object, value: object) -> Fault | None:
    """A prefix of URLs, and the directory below `shared` it stands for."""
    if not isinstance(name, str) or not re.fullmatch(r"(/[A-Za-z0-9_][\w.-]*)+/", name):
        return f"has the prefix {name!r}", "write it with a slash at both ends: /protected/"
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_][\w-]*(/[A-Za-z0-9_][\w-]*)*", value):
        return f"says {value!r} for {name}", "write a directory relative to shared/: private"
    if value.split("/")[0] == "media":
        return f"says {value!r} for {name}, and everybody can read shared/media", "write a directory beside it: private"
    return None


def check_media_kind(value: str) -> Fault | None:
    """A kind of uploads: an extension without its dot, or a media type. It becomes a part of nginx's configuration."""
    if re.fullmatch(r"[A-Za-z0-9]{1,16}|[a-z]+/[a-z0-9][a-z0-9.+-]{0,60}", value):
        return None
    return f"{value!r} is no extension and no media type", "write svg (all names that end so) or image/svg+xml"


def check_environment_entry(name: object, value: object) -> Fault | None:
    """A variable of the environment with its value."""
    return check_environment_name(name) or check_environment_value(str(name), value)


def check_environment_name(name: object) -> Fault | None:
    """The name of an environment variable of a site."""
    if not isinstance(name, str):
        return f"has the name {name!r}, which is {describe(name)}", f'quote it: "{name}"'
    if name in RESERVED_ENVIRONMENT:
        return f"must not set {name}", RESERVED_ENVIRONMENT[name]
    if name.startswith("DJDEPLOY_"):
        return f"must not set {name}", "names that begin with DJDEPLOY_ are djdeploy's own"
    if not ENVIRONMENT_NAME.fullmatch(name):
        return f"has the name {name!r}", "names of variables hold A-Z, a-z, 0-9 and '_', and begin with no digit"
    return None


def check_secret_file(name: object, value: object) -> Fault | None:
    """A file of `secret_files`: its name is one of a variable, its text never repeated."""
    return check_environment_name(name) or check_file_text(str(name), value)


def check_package_index(name: object, value: object) -> Fault | None:
    """An index of Python packages; its URL is never repeated, for it may hold a password."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?", name):
        return f"{name!r} cannot be the name of an index", "take a-z, 0-9, _ and -: company"
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^/\s]+\S*", re.sub(r"\{\{.*?\}\}", "x", value)):
        return f"the index {name} has no URL", "write https://user:password@packages.example.com/simple"
    return None


def check_project_file(path: object, value: object) -> Fault | None:
    """A file of `project_files`: a path in the tree, and its text."""
    if not isinstance(path, str):
        return f"has the path {path!r}, which is {describe(path)}", f'quote it: "{path}"'
    if fault := check_relative_path(path):
        return fault
    parts = path.split("/")
    if parts[0] == ".git" or not all(part not in ("", ".") for part in parts):
        return f"{path!r} is no plain path of a file", "write it as git shows it: shop/local_settings.py"
    return check_file_text(path, value)


def check_file_text(name: str, value: object) -> Fault | None:
    if not isinstance(value, str):
        return f"{name} is {describe(value)}, not text", "write the text of the file: name: |"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{name} cannot be written as UTF-8", "give it as base64, and let the project decode it"
    return None


def check_mailbox(value: str) -> Fault | None:
    """An address as RFC 5322 writes one: ann@example.com, or Ann <ann@example.com>."""
    if has_control_characters(value) or not re.fullmatch(r"[^<>@]*<[^<>\s@]+@[^<>\s@]+>|[^<>\s@,]+@[^<>\s@,]+", value):
        return f"{value!r} is no e-mail address", "write ann@example.com or Ann <ann@example.com>"
    return None


def check_subject_prefix(value: str) -> Fault | None:
    if has_control_characters(value):
        return "holds a line break or another control character", 'write it in one line: "[shop] "'
    return None


def check_environment_value(name: str, value: object) -> Fault | None:
    """The value of an environment variable; it is never repeated: it may be a secret."""
    if value is None:
        return f"{name} is empty", f'write {name}: "" for an empty value, or remove the line'
    if isinstance(value, bool):
        return (
            f"{name} is true or false, not text",
            f'quote it: {name}: "True" or {name}: "False", as the project reads it',
        )
    if isinstance(value, int | float):
        return f"{name} is a number, not text", f'quote it: {name}: "..."'
    if not isinstance(value, str):
        return f"{name} is {describe(value)}, not text", "a process gets only text; write it as the project parses it"
    if "\0" in value:
        return f"{name} holds a NUL character", "an environment variable cannot hold one; use base64"
    try:
        size = len(f"{name}={value}".encode())
    except UnicodeEncodeError:
        return f"{name} cannot be written as UTF-8", "an environment variable is UTF-8 text; use base64"
    if NO_CHARACTER.search(value):
        return f"{name} holds a code point that is no character (such as U+FFFE)", "systemd refuses it; use base64"
    if size > ENVIRONMENT_ENTRY_BYTES:
        return f"{name} has {size} bytes; Linux allows {ENVIRONMENT_ENTRY_BYTES}", "put it into a file"
    return None
