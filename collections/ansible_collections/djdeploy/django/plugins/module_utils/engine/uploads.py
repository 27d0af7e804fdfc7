# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads: who serves them, what the pusher is told of it, and the links by which nginx finds them.

nginx follows a link only to what the link's own owner owns (disable_symlinks of the role `nginx`), because the
processes of a site may lay links among its uploads. So ours, which lead from a release to MEDIA_ROOT, belong to the
site's user as MEDIA_ROOT does. The directory they lie in is root's: nobody else can change where they lead.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import beneath
from .errors import EngineError
from .paths import SitePaths

NGINX, APPLICATION = "nginx", "application"


@dataclass(frozen=True)
class Served:
    """Who serves uploads.

    :param by: `nginx` or `application`.
    :param told: lines for the pusher.
    """

    by: str
    told: tuple[str, ...] = ()


def served(said: str | None, facts: Mapping[str, Any]) -> Served:
    """Who serves uploads.

    :param said: `media.served_by` of the site; None: what the project's URLs say.
    :param facts: of the agent's step `uploads`.
    """
    path, view, below = facts.get("media_path"), facts.get("view"), facts.get("below") or ()
    # Django's own `serve` for all of it, and a view with a guard for a part: the project serves its uploads itself.
    guarded = view if facts.get("guards") else below[0]["view"] if view and below else None
    if said == APPLICATION:
        return Served(APPLICATION)
    if guarded and said is None:
        does = f"uploads: {guarded} answers below {path}, so nginx leaves them to the application"
        return Served(APPLICATION, (f"{does} (media: {{served_by: nginx}} if they are for everybody)",))
    if guarded:
        does = f"warning: nginx shows uploads to everybody, since media.served_by says so: {guarded} is not asked"
        return Served(NGINX, (does,))
    return Served(NGINX, tuple(told_of(each) for each in below if said is None))


def told_of(view: Mapping[str, str]) -> str:
    """What to say of a view that answers for a part of the uploads, and will not be asked."""
    return (
        f"warning: nginx shows uploads to everybody, so {view['view']} is not asked for what lies at {view['path']}: "
        "keep such files in protected_media, or let the application serve all uploads: media: {served_by: application}"
    )


def foreign_roots(targets: Iterable[str], uid: int, user: str) -> Iterator[str]:
    """What to say where a MEDIA_ROOT is not the site user's: nginx would find nothing there.

    :param targets: what links of the release point at; uploads by an absolute path.
    """
    for root in filter(os.path.isabs, targets):
        try:
            with beneath.opened(root) as handle:
                owner = os.fstat(handle).st_uid
        except OSError:
            continue  # a directory that is not there yet will be made by the site's user
        except EngineError:
            continue  # `media_access.settle` tells of a link
        if owner != uid:
            yield f"warning: nginx serves no uploads, because {root} is not {user}'s: run chown {user}: {root}"


def own(link: Path, uid: int, gid: int) -> None:
    """Give a link to the site's user; what it leads to is not touched."""
    beneath.own_link(link, uid, gid)


@dataclass(frozen=True)
class Link:
    """A link to uploads in a release, and whose it has to be."""

    path: Path
    uid: int
    gid: int


def left_by_earlier_versions(sites: Iterable[SitePaths]) -> list[Link]:
    """Links to uploads that are root's, in releases made before they were given to the site's user.

    nginx would find no upload of these releases. All of it lies in directories that root alone can write. A site
    without a user yet has no release.
    """
    found = []
    for paths in sites:
        places = [paths.release(each.name).uploads for each in sorted(paths.releases.glob("*"))]
        if wrong := [path for place in places for path in links_of_root(place)]:
            owner = pwd.getpwnam(paths.user)
            found += [Link(path, owner.pw_uid, owner.pw_gid) for path in wrong]
    return found


def give_away(links: Iterable[Link]) -> None:
    """Give links to the users of their sites; a release that a deploy has removed meanwhile needs it no more."""
    for link in links:
        with suppress(FileNotFoundError):
            own(link.path, link.uid, link.gid)


def links_of_root(place: Path) -> Iterator[Path]:
    """The links below a directory that are root's; none is followed, and a deploy may remove all of it meanwhile."""
    for folder, directories, files in os.walk(place):
        for path in (Path(folder, name) for name in sorted([*directories, *files])):
            with suppress(FileNotFoundError):
                status = path.lstat()
                if stat.S_ISLNK(status.st_mode) and status.st_uid == 0:
                    yield path
