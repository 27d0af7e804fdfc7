# SPDX-License-Identifier: GPL-3.0-or-later
"""Static files after they are collected: compressed once for each content, or sent to where the project keeps them."""

from __future__ import annotations

import errno
import grp
import gzip
import hashlib
import json
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import beneath, media_access, runner
from .errors import EngineError
from .events import Progress
from .paths import ReleasePaths
from .releases import Release, write_release
from .sites import Site
from .steps import Target, run_steps

COMPRESSIBLE = frozenset(
    {".css", ".csv", ".eot", ".geojson", ".htm", ".html", ".ico", ".js", ".json", ".map", ".md", ".mjs", ".otf"}
    | {".svg", ".ttf", ".txt", ".wasm", ".webmanifest", ".xml"}
)
SMALLEST = 512  # bytes; below, nothing is gained
LARGEST = 32 << 20  # bytes; what is compressed is in the deployer's memory, and a file of holes says it has any size
WORTH = 0.95  # of the size, above which the compressed form is not kept
FORMS = (".gz", ".br")  # as nginx's gzip_static and brotli_static look for them
BROTLI_QUALITY = 9  # of 11, which takes ten times as long for some percent
ARGUMENTS = 200  # files for one start of brotli
SEND_TIMEOUT = 1800.0  # seconds


# --- compressed ---------------------------------------------------------------------------------------


def worth(name: str, size: int) -> bool:
    """Whether a file of so many bytes is to be compressed."""
    return SMALLEST <= size <= LARGEST and os.path.splitext(name)[1].lower() in COMPRESSIBLE


@dataclass(frozen=True)
class Finished:
    """What was done: files that are the same as in the release before, and files that were compressed."""

    linked: int = 0
    compressed: int = 0


def finish(root: Path, before: Path | None) -> Finished:
    """Link what did not change to the files of the release before, its compressed forms with it; compress the rest.

    A linked file gets the time of the new one: collectstatic goes by it, and would copy again what is older than its
    source. Everything below `root` must be root's already (`beneath.take`). Links are not followed, and nothing but
    files is opened.

    :param before: the static files of the live release.
    """
    linked, fresh = 0, []
    with ExitStack() as stack:
        top = stack.enter_context(beneath.opened(root))
        old_top = None
        with suppress(FileNotFoundError):
            old_top = stack.enter_context(beneath.opened(before)) if before else None
        for folder in beneath.walk(top):
            new = sizes(folder)
            with beneath.folder_at(old_top, folder.path) as old_folder:
                old = sizes(old_folder) if old_folder else {}
                for name, size in new.items():
                    forms = {form for form in FORMS if f"{name}{form}" in new}  # the project made these itself
                    here = folder.handle, name
                    if old_folder and old.get(name) == size and beneath.same((old_folder.handle, name), here):
                        told = folder.others[name]
                        same = [form for form in FORMS if form not in forms and f"{name}{form}" in old]
                        is_linked = os.path.samestat(told, old_folder.others[name])  # by `beneath.take`
                        for form in (*(() if is_linked else ("",)), *same):
                            beneath.hard_link((old_folder.handle, name + form), (folder.handle, name + form))
                            times = told.st_atime_ns, told.st_mtime_ns
                            os.utime(name + form, ns=times, dir_fd=folder.handle, follow_symlinks=False)
                        linked += 1
                        forms.update(same)
                    if not forms and worth(name, size):
                        fresh.append(folder.inner(name))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda name: compress(top, name), fresh))
    with_brotli([root / name for name in fresh])
    return Finished(linked, len(fresh))


def drop_links(root: Path) -> list[str]:
    """Remove links that lead out of the static files: nginx would follow them, to any file it may read.

    Whoever they belong to. Everything below `root` must be root's already (`beneath.take`).

    :returns: what went, by relative path.
    """
    gone = []
    with beneath.opened(root) as top:
        for folder in beneath.walk(top):
            for name, told in folder.others.items():
                if stat.S_ISLNK(told.st_mode) and leads_out(top, folder.inner(name), root):
                    os.unlink(name, dir_fd=folder.handle)
                    gone.append(folder.inner(name))
    return sorted(gone)


def leads_out(top: int, path: str, root: Path) -> bool:
    """Whether a link of a tree leads out of it, or round and round; one that leads nowhere within it does not.

    :param top: the open directory of the tree.
    :param path: of the link, relative to it.
    :param root: the tree's absolute path.
    """
    try:
        os.close(beneath.open_inside(top, path, root=root))
    except beneath.Outside:
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def sizes(folder: beneath.Folder) -> dict[str, int]:
    """The files of a directory and their bytes; links and everything else are left out."""
    return {name: told.st_size for name, told in folder.others.items() if stat.S_ISREG(told.st_mode)}


def compress(top: int, path: str) -> None:
    """Write the compressed form of a file beside it, with its time: nginx tells both as one.

    :param top: the open directory of the static files.
    """
    where, name = os.path.split(path)
    with beneath.opened(where, start=top) as folder, os.fdopen(beneath.open_file(folder, name), "rb") as file:
        content, told = file.read(), os.fstat(file.fileno())
        packed = gzip.compress(content, 9, mtime=0)
        if len(packed) < len(content) * WORTH:
            times = told.st_atime_ns, told.st_mtime_ns
            beneath.write_at(folder, f"{name}.gz", packed, 0o644, -1, -1, times=times)


def with_brotli(paths: Sequence[Path], run: runner.Runner = runner.run) -> None:
    """Make the `.br` of files, with their times, where the host has the program. No error of it stops a release."""
    if not paths or shutil.which("brotli", path=runner.BASE_ENVIRONMENT["PATH"]) is None:
        return
    cores = os.cpu_count() or 1
    share = max(1, min(ARGUMENTS, -(-len(paths) // cores)))
    batches = [paths[start : start + share] for start in range(0, len(paths), share)]
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda batch: run(["brotli", f"--quality={BROTLI_QUALITY}", "--keep", *batch]), batches))
    for path in paths:
        packed = path.with_name(f"{path.name}.br")
        if packed.exists() and packed.stat().st_size >= path.stat().st_size * WORTH:
            beneath.unlink(packed)


# --- protected ----------------------------------------------------------------------------------------


def refuse_public(protected: dict[str, str], media_root: str | None, shared: Path) -> None:
    """Protected files must not lie where uploads are served from.

    :param protected: the site's `protected_media`.
    :raises EngineError: when MEDIA_ROOT holds them.
    """
    root = Path(os.path.normpath(media_root or ""))
    for url, directory in protected.items():
        place = Path(os.path.normpath(shared / directory))
        if root.is_absolute() and (place == root or root in place.parents):
            raise EngineError(
                f"protected_media {url} names {place}, which lies in MEDIA_ROOT, and that everybody can read",
                f"keep protected files beside it: a storage of their own with location {shared / 'private'}",
            )


def protect(site: Site) -> None:
    """Make the directories of the site's `protected_media`; done when a release goes live.

    :raises EngineError: as `media_access.open_up`.
    """
    if directories := site.config.get("protected_media"):
        media_access.open_up(site.paths, directories.values())


# --- kept elsewhere -----------------------------------------------------------------------------------


def manifest_name(revision: str, packages: Mapping[str, str]) -> str:
    """The name of the list of names with digests, in a storage that several releases and hosts share.

    The same code and packages make the same files, on each host; so there is one name for them.
    """
    decides = json.dumps([revision, sorted(packages.items())])
    return f"staticfiles.{hashlib.sha256(decides.encode()).hexdigest()[:12]}.json"


def elsewhere_told(facts: Mapping[str, Any]) -> str:
    """What to say of static files that the project keeps elsewhere; empty when they are on this host."""
    if not facts.get("static_elsewhere"):
        return ""
    new = facts.get("static_new")
    return f"static files go to {place_of(facts)}{'' if new is None else f', {new} new'}"


def place_of(facts: Mapping[str, Any]) -> str:
    """Where static files go, for a person; records of releases made earlier hold the class alone."""
    return str(facts.get("static_place") or str(facts["static_elsewhere"]).rpartition(".")[2])


def names_are_own(facts: Mapping[str, Any], paths: ReleasePaths) -> bool:
    """Whether no other release reads the list of names of this one: a name of its own, or a file of its own."""
    names = str(facts.get("static_names") or "")
    return names == "own" or Path(names).is_relative_to(paths.root)


def refuse_names(facts: Mapping[str, Any], paths: ReleasePaths) -> None:
    """The project may keep its list of names on the host, yet not in the code: a release is read-only.

    :raises EngineError: when it does.
    """
    names = str(facts.get("static_names") or "")
    if not names.startswith("/") or Path(names).is_relative_to(paths.static):
        return
    if Path(os.path.realpath(names)).is_relative_to(os.path.realpath(paths.root)):
        raise EngineError(
            f"the list of static files' names would be written to {names}, and a release is read-only",
            "keep it in STATIC_ROOT: manifest_storage=StaticFilesStorage(location=settings.STATIC_ROOT)",
        )


def send_ahead(site: Site, release: Release, target: Callable[[Site, Release], Target], progress: Progress) -> Release:
    """`send`, before the database is touched, where nothing that is live can notice it.

    So it is where names have digests and the list of them is the release's own. A storage that refuses then costs
    nothing, migrations that render pages find their files, and a maintenance page need not wait for them.
    """
    ahead = release.facts.get("static_hashed") and names_are_own(release.facts, site.paths.release(release.id))
    return send(site, release, target, progress) if ahead else release


def send(site: Site, release: Release, target: Callable[[Site, Release], Target], progress: Progress) -> Release:
    """Collect static files for real where the project's storage is not on this host: once for each release.

    It is done when the release is about to start, and not when it is made: a plan or a refused push must change
    nothing that visitors see. Of several hosts the first one sends; the others find the list, which comes last.

    :param target: says where Django work of a release runs.
    :raises EngineError: when the storage refuses; what was live is live.
    """
    if not release.facts.get("static_elsewhere") or release.static_sent:
        return release
    if not release.facts.get("static_hashed"):
        progress.say("static files have no digest in their names: those of the live release are replaced as well")
    root, user = site.paths.release(release.id).static, site.paths.user
    keeps_names = Path(str(release.facts.get("static_names") or "")).is_relative_to(root)
    with progress.phase("static") as note:
        linked = beneath.names_of_links(root) if keeps_names else frozenset()
        if keeps_names:
            owner = pwd.getpwnam(user).pw_uid, grp.getgrnam(user).gr_gid
            beneath.make_directory(root, 0o755, *owner)
        try:
            step = {"name": "collectstatic", "remote": True, "once": site.paths.not_first.exists()}
            (done,) = run_steps(target(site, release), [step], timeout=SEND_TIMEOUT)
        finally:
            if keeps_names:
                beneath.take(root, linked=linked, copied=True)
                drop_links(root)
        counted = f"{done.facts['copied']} new, {done.facts['unmodified']} unchanged"
        if done.facts.get("sent_before"):
            counted = f"all {done.facts['unmodified']} were sent by another host"
        note.text = f"{counted} in {place_of(release.facts)}"
    release = replace(release, static_sent=True)
    write_release(release)
    return release


def send_again(site: Site, release: Release, target: Callable[[Site, Release], Target], progress: Progress) -> None:
    """The same for a release that is gone back to, if what it needs is not there any more.

    That is so when files have no digests, or the list of names is the newer release's, meanwhile. A storage that does
    not answer is no reason to stay with a release that somebody wants to leave.
    """
    facts = release.facts
    own = facts.get("static_hashed") and names_are_own(facts, site.paths.release(release.id))
    if facts.get("static_elsewhere") and own and release.static_sent:
        progress.say(f"static files of {release.short} are in {place_of(facts)} still: nothing to send")
        return
    try:
        send(site, replace(release, static_sent=False), target, progress)
    except EngineError as error:
        progress.say(f"static files of {release.short} could not be sent again: {error.message}")
