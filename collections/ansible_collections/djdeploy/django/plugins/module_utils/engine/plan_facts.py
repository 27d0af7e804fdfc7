# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plan compares, read from the disk: static files, and digests that stand for values nobody may see."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import aliases, beneath, requirements
from .git import Repository
from .plan import Plan, compute
from .releases import Release
from .request import Request
from .sites import Site
from .static_files import FORMS

SALT_BYTES = 32
DIGEST_LENGTH = 16  # hexadecimal digits kept of a digest: enough to tell two values of one name apart


def site_salt(site: Site) -> str:
    """The key of a site's digests: made once, readable by root alone, so that nobody can try values against them.

    :returns: hexadecimal digits.
    """
    path = site.paths.state / "salt"
    try:
        salt = path.read_text().strip()
    except FileNotFoundError:
        salt = ""
    if len(salt) == 2 * SALT_BYTES:
        return salt
    salt = secrets.token_hex(SALT_BYTES)
    aside = path.with_name("salt.new")
    aside.unlink(missing_ok=True)
    with open(aside, "w", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
        file.write(f"{salt}\n")
    aside.rename(path)
    return salt


def environment_digests(values: Mapping[str, Any], salt: str) -> dict[str, str]:
    """Name -> keyed digest, of environment variables or of a site's configuration.

    :param values: text, or anything that is JSON.
    :param salt: `site_salt`; digests of two salts cannot be compared.
    """
    return {
        name: hmac.new(
            bytes.fromhex(salt), json.dumps([name, value], sort_keys=True).encode(), hashlib.sha256
        ).hexdigest()[:DIGEST_LENGTH]
        for name, value in values.items()
    }


@dataclass(frozen=True)
class StaticFile:
    """One entry below a directory, and what lstat(2) says of it."""

    path: str
    stat: os.stat_result

    def digest(self) -> str:
        """Of what it holds, or where it points: a link is never followed, and nothing but a file is opened."""
        if stat.S_ISLNK(self.stat.st_mode):
            return hashlib.blake2b(os.readlink(self.path).encode(), digest_size=16).hexdigest()
        if not stat.S_ISREG(self.stat.st_mode):
            return ""
        with beneath.reading(self.path) as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def static_trees(before: Path | None, after: Path) -> tuple[dict[str, tuple[int, str]], dict[str, tuple[int, str]]]:
    """The static files of two releases, such that those that differ are unequal: path -> (bytes, digest).

    A file is read only where nothing cheaper decides: both releases have one of its name and size, and
    they are not the same file. Everywhere else the digest is empty.

    :param before: directory of the live release's files; None when nothing is live.
    """
    old, new = {} if before is None else uncompressed(files_of(before)), uncompressed(files_of(after))
    undecided = {
        name
        for name in old.keys() & new.keys()
        if old[name].stat.st_size == new[name].stat.st_size and not os.path.samestat(old[name].stat, new[name].stat)
    }

    def tree(files: Mapping[str, StaticFile]) -> dict[str, tuple[int, str]]:
        return {name: (file.stat.st_size, file.digest() if name in undecided else "") for name, file in files.items()}

    return tree(old), tree(new)


def uncompressed(files: dict[str, StaticFile]) -> dict[str, StaticFile]:
    """Without the compressed forms of files that are there as well: they say nothing new."""
    return {name: file for name, file in files.items() if not name.endswith(FORMS) or name[:-3] not in files}


def files_of(root: Path) -> dict[str, StaticFile]:
    """Everything below a directory that is no directory, by relative path; nothing where there is no such one."""
    if not root.is_dir():
        return {}
    found, folders = {}, [""]
    while folders:
        folder = folders.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = os.path.join(folder, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                else:
                    found[name] = StaticFile(entry.path, entry.stat(follow_symlinks=False))
    return found


def plan_of(site: Site, release: Release, live: Release | None, repository: Repository, request: Request) -> Plan:
    """The plan of a release that was built, beside the one that is live.

    Without a live release there is no old code that a migration could break, so nothing is refused.
    """
    new, old = site.paths.release(release.id), site.paths.release(live.id) if live else None
    static_before, static_after = static_trees(old.static if old else None, new.static)
    before, after = live.digests if live else {}, release.digests
    configuration = changed_names(before.get("configuration"), after["configuration"])
    return compute(
        revision_before=live.revision if live else None,
        revision_after=release.revision,
        commits=repository.commits_between(live.revision if live else None, release.revision),
        packages_before=requirements.installed_packages(old.environment) if old else {},
        packages_after=requirements.installed_packages(new.environment),
        migrations=release.migrations,
        static_before=static_before,
        static_after=static_after,
        settings_before=before.get("settings"),
        settings_after=after["settings"],
        environment_before=before.get("environment"),
        environment_after=after["environment"],
        configuration_changed=configuration if live else [],
        processes=["web"],
        snapshot=snapshot_wanted(site, release),
        snapshot_of=aliases.holding(release) if release.facts.get("further") else (),
        allow={*site.config["migrations"]["allow"], *request.allow},
    )


def changed_names(before: Mapping[str, str] | None, after: Mapping[str, str]) -> list[str]:
    """Names whose digest differs; nothing where the one before is not known."""
    return [] if before is None else sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def snapshot_wanted(site: Site, release: Release) -> bool | str:
    """Whether the database is copied before the migrations of a release; a text says why it is not."""
    if not release.pending:
        return False
    if not aliases.holding(release):
        return "the database is empty"
    return True if site.config["snapshots"]["enabled"] else "snapshots.enabled is false"
