# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory, and real git repositories, for the tests of the engine."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    git,
    journald,
    paths,
    releases,
    schema,
    tree,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

ME = pwd.getpwuid(os.getuid()).pw_name
ROOTS = ("SITES_ROOT", "CONFIG_ROOT", "SITES_CONFIG", "STATE_ROOT", "CACHE_ROOT", "SYSTEMD_UNITS")


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory for sockets: a path of one has room for 107 bytes, and pytest's own are long."""
    path = Path(tempfile.mkdtemp(prefix="dj"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def host(tmp_path: Path, short_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every path of a host below one directory, with the directories of the site `shop`."""
    for name in ROOTS:
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setattr(paths, "RUN_ROOT", short_directory)
    monkeypatch.setattr(journald, "SOCKET", short_directory / "journald")  # else tests would tell the real one
    if os.geteuid() != 0:  # only root gives files away
        monkeypatch.setattr(os, "chown", lambda *arguments, **options: None)
        monkeypatch.setattr(os, "fchown", lambda *arguments: None)
        monkeypatch.setattr(os, "fchown", lambda *arguments: None)
    site = paths.SitePaths("shop")
    for path in (site.releases, site.environments, site.static_kept, site.media, site.state, site.run):
        path.mkdir(parents=True)
    return tmp_path


@pytest.fixture
def shop(host: Path) -> Site:
    """The site `shop`, configured by defaults."""
    return Site("shop", schema.resolve("shop", {"domains": ["shop.example.com"]}))


@pytest.fixture
def said() -> list[Event]:
    """The events of `progress`."""
    return []


@pytest.fixture
def progress(said: list[Event]) -> Progress:
    return Progress([said.append])


@pytest.fixture
def keep(host: Path) -> Callable[..., Release]:
    """Put a release on disk: its directory, its record, and `current` if it is live."""

    def put(release_id: str, state: str = "retired", **facts: Any) -> Release:
        if state in ("live", "retired", "void"):
            facts = {"live_since": "2026-01-01T00:00:00+00:00", **facts}
        facts = {"revision": release_id[-7:] + "0" * 33, **facts}
        release = Release(release_id, "shop", state=state, **facts)
        paths.SitePaths("shop").release(release_id).root.mkdir()
        releases.write_release(release)
        if state == "live":
            tree.point(paths.SitePaths("shop").current, f"releases/{release_id}")
        return release

    return put


class Work:
    """A clone somebody works in, and the bare repository beside it."""

    def __init__(self, root: Path) -> None:
        self.bare, self.clone = root / "repo.git", root / "clone"
        self.git("init", "--quiet", "--bare", "--initial-branch=main", self.bare, within=root)
        self.git("init", "--quiet", "--initial-branch=main", self.clone, within=root)

    def git(
        self, *words: str | Path, within: Path | None = None, env: dict[str, str] | None = None, stdin: str = ""
    ) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *words],
            cwd=within or self.clone,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, subject: str, **files: str) -> str:
        """Commit files (`a_py` is not possible: names are taken as they are) and return the commit's id."""
        for name, text in files.items():
            (self.clone / name).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def push(self, *refspecs: str) -> None:
        self.git("push", "--quiet", "--force", self.bare, *refspecs)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Real git; whoever runs the tests is the git user."""
    monkeypatch.setattr(git, "GIT_USER", ME)
    return Work(tmp_path)
