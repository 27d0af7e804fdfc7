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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import beneath
from .errors import EngineError
from .paths import ReleasePaths, SitePaths
from .releases import Release
from .sites import Site

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
    if guarded and facts.get("behind"):
        guarded = f"{guarded} (behind {facts['behind']})"
    if said == APPLICATION:
        return Served(APPLICATION)
    if guarded and said is None:
        does = f"uploads: {guarded} answers below {path}, so nginx leaves them to the application"
        return Served(APPLICATION, (f"{does} (media: {{served_by: nginx}} if they are for everybody)",))
    if guarded:
        does = f"warning: nginx shows uploads to everybody, since media.served_by says so: {guarded} is not asked"
        return Served(NGINX, (does,))
    if below and said is None:
        return Served(APPLICATION, (told_of_parts(str(path), below),))
    return Served(NGINX)


def told_of_parts(path: str, views: Sequence[Mapping[str, str]]) -> str:
    """What to say where views may guard parts of the uploads, and none answers for all: nothing is shown by mistake."""
    first, more = views[0], len(views) - 1
    return (
        f"warning: nginx serves no uploads, because {first['view']} answers for {first['route']}"
        f"{f' (and {more} more)' if more else ''} and may guard it; no view answers for all of {path}: add one, or say "
        "media: {served_by: nginx} if all of them are for everybody (what is not can lie in protected_media)"
    )


def going_back(site: Site, kept: Release | None, live: Release | None) -> list[Path]:
    """The links to uploads that a kept release must lose before it goes live again, in place of the live one.

    They show what the application guards, where the release was made before somebody looked (`served`), or before the
    site's configuration said `application`. Where that says nothing, the live release tells what was found.
    """
    said = said_of(site.config)
    if kept is None or (live is not None and kept.id == live.id):
        return []
    if said == NGINX or (said is None and (live is None or links_of_release(site.paths.release(live.id)))):
        return []
    return links_of_release(site.paths.release(kept.id))


def told_of_way_back(links: Sequence[Path], site: Site) -> Iterator[str]:
    """What to say of links that a release loses: one line, or none."""
    if links:
        why = "media.served_by says so" if said_of(site.config) else "so it is in the live release"
        yield (
            f"uploads: the release that comes back leaves them to the application, because {why} "
            "(media: {served_by: nginx} and site.yml if they are for everybody)"
        )


def withdraw(links: Iterable[Path]) -> None:
    """Remove links; what they lead to is not touched."""
    for link in links:
        beneath.unlink(link)


def said_of(config: Mapping[str, Any]) -> str | None:
    """`media.served_by` of a site, or None."""
    said: str | None = (config.get("media") or {}).get("served_by")
    return said


def links_of_release(release: ReleasePaths) -> list[Path]:
    """The links of a release by which nginx finds uploads: the absolute ones.

    Earlier versions laid them beside those to static files, which are relative: they go with the release.
    """
    found = []
    for place in (release.uploads, release.public):
        with suppress(FileNotFoundError), beneath.opened(place) as top:
            for folder in beneath.walk(top):
                for name, status in sorted(folder.others.items()):
                    if stat.S_ISLNK(status.st_mode) and os.path.isabs(os.readlink(name, dir_fd=folder.handle)):
                        found.append(place / folder.inner(name))
    return found


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
