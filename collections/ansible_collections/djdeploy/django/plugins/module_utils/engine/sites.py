# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible said about the sites of this host."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import environment
from .errors import EngineError
from .paths import SITES_CONFIG, SitePaths

# Keys whose change asks for nothing new to be built or started: who may push, where from, how much is kept.
NOT_PART_OF_A_RELEASE = frozenset(
    {
        "branch",
        "deploy_keys",
        "hosts",
        "repository",
        "revision",
        "force_push",
        "keep_releases",
        "migrations",
        "snapshots",
        "packages",
        "build_secrets",  # what they fetch is named elsewhere
        "package_indexes",
        "build_timeout",
        "build_memory_max",
        "redis",
        "client_max_body_size",
        "limits",  # systemd, git and the database server hold to them, whichever release runs
        "secret_key_fallbacks",
        "secret_names",  # what they hold is in files, which the fingerprint reads
    }
)


@dataclass(frozen=True)
class Site:
    """One site as configured on this host.

    :param config: the resolved keys of the schema, from `/etc/djdeploy/sites/<site>.json`.
    :param changed_files: files that will differ by the time a release is made; only a check knows of such.
    """

    name: str
    config: dict[str, Any]
    changed_files: frozenset[str] = frozenset()

    @property
    def paths(self) -> SitePaths:
        return SitePaths(self.name)

    @property
    def domain(self) -> str:
        """The canonical domain: the first one."""
        return str(self.config["domains"][0])

    @property
    def url(self) -> str:
        return f"http://{self.domain}/"

    @property
    def branch(self) -> str:
        return str(self.config["branch"])

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"

    def environment(self) -> dict[str, str]:
        """The variables every process of the site gets, secrets included.

        :raises EngineError: when the roles have not written them yet.
        """
        try:
            return environment.parse(self.paths.env_file.read_text())
        except FileNotFoundError:
            raise EngineError(
                f"{self.name} has no environment file ({self.paths.env_file})", "run site.yml: it writes it"
            ) from None

    def project_files(self) -> dict[str, str]:
        """What is laid into the tree of a release besides what was pushed: path -> text."""
        try:
            return dict(json.loads(self.paths.project_files.read_text()))
        except FileNotFoundError:
            return {}

    def given_files(self) -> dict[str, str]:
        """The files of the site's configuration as a plan compares them: what they are for -> text."""
        secret = sorted(self.paths.secret_files.iterdir()) if self.paths.secret_files.is_dir() else []
        found = {f"{path.name}_FILE (its text)": path.read_text(errors="surrogateescape") for path in secret}
        return {**found, **{f"{path} (project_files)": text for path, text in self.project_files().items()}}

    def fingerprint(self) -> str:
        """Changes when a release must be made anew although its revision is the same.

        It covers what was configured, the environment, and the units, because each of them is
        read only when the processes of a release start.
        """
        wanted = {key: value for key, value in self.config.items() if key not in NOT_PART_OF_A_RELEASE}
        digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode())
        secret_files = sorted(self.paths.secret_files.iterdir()) if self.paths.secret_files.is_dir() else []
        ours = f"{self.paths.secret_files}/"
        new_files = {Path(path) for path in self.changed_files if path.startswith(ours)}
        for path in (
            self.paths.env_file,
            self.paths.project_files,
            *sorted({*secret_files, *new_files}),
            self.paths.gunicorn_config,
            self.paths.service_template,
            self.paths.socket_template,
            self.paths.process_template,
            self.paths.job_template,
            self.paths.not_first,
        ):
            digest.update(path.read_bytes() if path.exists() else b"-")
            if str(path) in self.changed_files:
                digest.update(b"will change")
        return digest.hexdigest()[:16]


def site_names(root: Path = SITES_CONFIG) -> list[str]:
    """The sites of this host, sorted."""
    return sorted(path.stem for path in root.glob("*.json"))


def load_site(name: str, root: Path = SITES_CONFIG) -> Site:
    """Read one site.

    :raises EngineError: when this host has no such site; the nearest name is suggested.
    """
    names = site_names(root)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        known = f"did you mean {near[0]!r}?" if near else f"sites here: {', '.join(names) or 'none yet'}"
        raise EngineError(
            f"this host has no site {name!r}; {known}", "sites come from djdeploy_sites by way of site.yml"
        )
    try:
        return Site(name, json.loads((root / f"{name}.json").read_text()))
    except PermissionError:
        raise EngineError(f"only root may read how {name} is configured", "run it again with sudo") from None
    except ValueError as error:
        raise EngineError(
            f"{root / name}.json is not valid JSON: {error}", "run site.yml: it writes the file anew"
        ) from None
