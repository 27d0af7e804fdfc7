# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variables a site's processes get: what was given, what follows from the site, and what is made once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..engine import environment, rotation
from ..engine.paths import SitePaths
from .files import Change, Wanted

MASK = environment.MASK


@dataclass(frozen=True)
class Given:
    """What the inventory says about a site's environment.

    :param secrets: wins over `env`.
    :param database_url: empty when the project says itself where its database is.
    :param secret_files: name -> text of a file; NAME_FILE tells its path.
    :param project_files: path in the tree -> text.
    :param build_secrets: variables of builds only.
    :param package_indexes: name -> URL; `default` stands in for PyPI.
    :param secret_key_fallbacks: how many earlier keys stay valid.
    :param database_urls: variable -> URL of the databases besides the default one.
    :param redis_socket: of the site's own redis; empty when it has none.
    """

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    domains: tuple[str, ...] = ()
    database_url: str = field(default="", repr=False)
    secret_files: Mapping[str, str] = field(default_factory=dict, repr=False)
    project_files: Mapping[str, str] = field(default_factory=dict, repr=False)
    build_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    package_indexes: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_key_fallbacks: int = 2
    database_urls: Mapping[str, str] = field(default_factory=dict, repr=False)
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
    variables |= site.database_urls
    folder = SitePaths(site.name).secret_files
    variables |= {f"{name}_FILE": str(folder / name) for name in site.secret_files}
    if site.redis_socket:  # redis-py and Celery spell a unix socket differently
        variables["REDIS_URL"] = f"unix://{site.redis_socket}?db=0"
        variables["CELERY_BROKER_URL"] = f"redis+socket://{site.redis_socket}?virtual_host=0"
    variables |= site.env
    variables |= site.secrets
    if "SECRET_KEY" not in variables:
        given = variables.get(environment.ALSO_CALLED["SECRET_KEY"])
        variables["SECRET_KEY"] = given or present.get("SECRET_KEY") or environment.new_secret_key()
    if rotation.FALLBACKS not in variables:
        earlier = rotation.fallbacks(present, variables["SECRET_KEY"], site.secret_key_fallbacks)
        variables |= {rotation.FALLBACKS: earlier} if earlier else {}
    return {also: variables[name] for name, also in environment.ALSO_CALLED.items()} | variables


def build_variables(site: Given) -> dict[str, str]:
    """What builds get and nothing else does: indexes as uv and pip read them, and `build_secrets`, which win.

    uv: https://docs.astral.sh/uv/reference/environment/; pip: https://pip.pypa.io/en/stable/topics/configuration/.
    """
    default = site.package_indexes.get("default")
    more = {name: url for name, url in site.package_indexes.items() if name != "default"}
    variables = {"UV_DEFAULT_INDEX": default, "PIP_INDEX_URL": default} if default else {}
    if more:
        variables["UV_INDEX"] = " ".join(f"{name}={url}" for name, url in more.items())
        variables["PIP_EXTRA_INDEX_URL"] = " ".join(more.values())
    return {**variables, **site.build_secrets}


def wanted_files(site: Given, present: Iterable[str]) -> list[Wanted]:
    """The files beside the environment file: of `secret_files` and `project_files`.

    :param present: names in the directory of `secret_files` now; what is not wanted any more goes.
    """
    places = SitePaths(site.name)
    folder, group = places.secret_files, places.user
    wanted = []
    if site.secret_files:
        wanted.append(Wanted(str(folder), "directory", group=group, mode=0o750))
    for name in sorted({*present, *site.secret_files}):
        text = site.secret_files.get(name)
        state = "absent" if text is None else "file"
        wanted.append(Wanted(str(folder / name), state, text or "", group=group, mode=0o640))
    variables = build_variables(site)
    path, state = str(places.build_env_file), "file" if variables else "absent"
    wanted.append(Wanted(path, state, environment.serialize(variables), mode=0o600))
    if site.project_files:
        content = json.dumps(dict(site.project_files), indent=1, sort_keys=True) + "\n"
        wanted.append(Wanted(str(places.project_files), "file", content, mode=0o600))
    else:
        wanted.append(Wanted(str(places.project_files), "absent"))
    return wanted


def diff_of_file(change: Change) -> dict[str, str]:
    """A change of one of these files as Ansible shows it: that it changes, never what is in it."""
    dest, found = change.wanted.dest, change.found.kind
    note = " (another one)" if "content" in change.differs else ""
    return {
        "before_header": dest,
        "after_header": dest,
        "before": "" if found == "absent" else f"{found if found != 'file' else environment.MASK}\n",
        "after": {"absent": "", "directory": "directory\n"}.get(change.wanted.state, f"{environment.MASK}{note}\n"),
    }


def text(variables: Mapping[str, str]) -> str:
    """The file that holds the variables.

    :raises EngineError: for what no environment can hold.
    """
    return environment.serialize(variables)


def diff(path: str, site: Given, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """The difference as Ansible shows it: every name, and the values that are no secret.

    What is a secret now or is not in `env` any more is masked, so a value never shows on its way out either.
    """
    of_files = {f"{name}_FILE" for name in site.secret_files}
    of_site = {*environment.ALSO_CALLED, *environment.ALSO_CALLED.values()}
    visible = (set(site.env) | of_files | of_site) - set(site.secrets)
    visible = {name for name in visible if not environment.is_secret(name)}

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
