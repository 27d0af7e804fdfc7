# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables a site's processes get: what was given, what follows from the site, and what is made once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..engine import environment

MASK = "********"
ALWAYS_SECRET = frozenset({"SECRET_KEY", "DATABASE_URL"})


@dataclass(frozen=True)
class Given:
    """What the inventory says about a site's environment.

    :param secrets: wins over `env`.
    :param database_url: empty when the project says itself where its database is.
    :param redis_socket: of the site's own redis; empty when it has none.
    """

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    domains: tuple[str, ...] = ()
    database_url: str = field(default="", repr=False)
    redis_socket: str = ""


def read(text: str) -> dict[str, str]:
    """The variables of a file that is there."""
    return environment.parse(text)


def complete(site: Given, present: Mapping[str, str]) -> dict[str, str]:
    """All variables of a site.

    :param present: the variables of the file that is there; what was made once is kept from it.
    """
    variables = {"ALLOWED_HOSTS": ",".join(site.domains), "DEBUG": "False"}
    if site.database_url:
        variables["DATABASE_URL"] = site.database_url
    if site.redis_socket:  # redis-py and Celery spell a unix socket differently
        variables["REDIS_URL"] = f"unix://{site.redis_socket}?db=0"
        variables["CELERY_BROKER_URL"] = f"redis+socket://{site.redis_socket}?virtual_host=0"
    variables |= site.env
    variables |= site.secrets
    if "SECRET_KEY" not in variables:
        variables["SECRET_KEY"] = present.get("SECRET_KEY") or environment.new_secret_key()
    return variables


def text(variables: Mapping[str, str]) -> str:
    """The file that holds the variables.

    :raises EngineError: for what no environment can hold.
    """
    return environment.serialize(variables)


def diff(path: str, site: Given, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The difference as Ansible shows it: every name, and the values that are no secret.

    What is a secret now or is not in `env` any more is masked, so a value never shows on its way out either.
    """
    visible = (set(site.env) | {"ALLOWED_HOSTS", "DEBUG"}) - set(site.secrets) - ALWAYS_SECRET

    def line(name: str, value: str, note: str = "") -> str:
        return f"{name}={value if name in visible else MASK + note}\n"

    return {
        "before_header": path,
        "after_header": path,
        "before": "".join(line(name, before[name]) for name in sorted(before)),
        "after": "".join(
            line(name, after[name], " (another one)" if before.get(name, after[name]) != after[name] else "")
            for name in sorted(after)
        ),
    }
