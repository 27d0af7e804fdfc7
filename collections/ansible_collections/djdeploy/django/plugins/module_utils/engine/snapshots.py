# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a site's database, made before migrations change it."""

from __future__ import annotations

from dataclasses import dataclass

from .events import Progress
from .sites import Site
from .steps import Target


@dataclass(frozen=True)
class Snapshot:
    """One copy."""

    name: str


def require_room(site: Site, target: Target) -> None:
    """Nothing is asked yet."""


def take(site: Site, target: Target, release_id: str, progress: Progress) -> Snapshot | None:
    """Nothing is made yet."""
    return None


def restore_command(site: str, name: str) -> str:
    """The command that puts a snapshot back."""
    return f"djdeploy restore {site} {name}"
