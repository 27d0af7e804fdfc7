# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps about files made of a project's sources: `collectstatic`, `compress`, `compilemessages`."""

# pylint: disable=ansible-bad-function  # runs in the virtualenv of a site, where no Ansible is; nor is its run_command
# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from .agent_bucket import names_kept, place, spare, unwrapped
from .agent_words import Failure, Outcome, Request, listing, outcome, shortened

DIGEST = re.compile(r"\.[0-9a-f]{12}(\.[^./]+|$)")  # what Django puts into a name, HashedFilesMixin.hashed_name


def collectstatic(request: Request, predict: bool) -> Outcome:
    """Collect static files; the numbers are lengths of Django's own lists, never read from text.

    With `local_only` a storage that is not on this host is only told of, with what would be sent if that can be told
    at once; `remote` sends there, or nothing if `once` says so and all is there.
    """
    from django.apps import apps
    from django.core.management import call_command, get_commands, load_command_class

    if not apps.is_installed("django.contrib.staticfiles"):
        return outcome(
            False, copied=0, unmodified=0, deleted=0, post_processed=0,
            reason="django.contrib.staticfiles is not in INSTALLED_APPS",
        )  # fmt: skip
    owner = get_commands()["collectstatic"]
    command = load_command_class(owner, "collectstatic") if isinstance(owner, str) else owner
    if request.get("local_only") and not command.is_local_storage():
        return told_of(command)
    if request.get("remote"):
        listed = getattr(command.storage, "hashed_files", None)
        if request.get("once") and listed and names_kept(command.storage) == "own":
            return outcome(False, copied=0, unmodified=len(listed), deleted=0, post_processed=0, sent_before=True)
        if not spare(command) and not hasattr(command.storage, "hashed_name"):
            # Without digests a file is sent whatever its age: a checkout's times say nothing of what the storage holds.
            command.storage.get_modified_time = unknown_age
    clear = bool(request.get("clear"))
    deleted = sorted(stored_files(command.storage)) if clear else []
    with read_by_nginx():
        call_command(
            command,
            interactive=False,
            dry_run=predict,
            clear=clear,
            link=bool(request.get("link")),
            ignore_patterns=list(request.get("ignore") or []),
            verbosity=0,
        )
        brought = lay_beneath(command.storage) if request.get("local_only") and not predict else []
    copied = sorted(command.copied_files + command.symlinked_files)
    if predict and clear:  # a dry run compares with files that would be gone by then
        copied = sorted({*copied, *command.unmodified_files})
    unmodified = 0 if clear else len(command.unmodified_files)
    # Django's dry run does not post-process, so a prediction has no number for it.
    processed = None if predict and hasattr(command.storage, "post_process") else len(command.post_processed_files)
    return outcome(
        bool(copied or deleted),
        {"current": unmodified, "outdated": len(copied), "surplus": len(deleted)},
        {"current": unmodified + len(copied), "outdated": 0, "surplus": 0},
        old=listing(deleted),
        new=listing(copied),
        copied=len(copied),
        unmodified=unmodified,
        deleted=len(deleted),
        post_processed=processed,
        **({"brought": len(brought)} if brought else {}),
    )


@contextmanager
def read_by_nginx() -> Iterator[None]:
    """Static files are for everybody, whatever the umask of the unit keeps for the site."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def lay_beneath(storage: Any) -> list[str]:
    """Copy what came in the project's own STATIC_ROOT, and was not collected, to where the release has its own.

    Where an application brings its front end built into STATIC_ROOT, or a build of the project writes there,
    collectstatic of Django lets it be, and no finder finds it.
    """
    from django.conf import settings

    root = getattr(settings, "DJDEPLOY_STATIC_BROUGHT", "")
    if not root or not os.path.isdir(root):
        return []
    there = [
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _folders, names in os.walk(root)
        for name in names
        if not os.path.islink(os.path.join(folder, name))
    ]
    chosen = left_over(there, set(stored_files(storage)), getattr(storage, "manifest_name", "staticfiles.json"))
    for name in chosen:
        target = storage.path(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(root, name), target)
    return chosen


def left_over(there: list[str], collected: set[str], manifest: str) -> list[str]:
    """Which files of a STATIC_ROOT are no work of an earlier collectstatic, nor of what compresses or lists its files.

    :param there: relative paths in it. One with Python in it holds a project, and nothing of it is published.
    :param collected: relative paths that have been collected now.
    :param manifest: the list of names, which belongs to the files that were collected with it.
    """
    if any(name.endswith((".py", ".pyc")) for name in there):
        return []
    return sorted(
        name
        for name in there
        if name not in collected
        and name != manifest
        and not any(part.startswith((".env", ".git", ".ht")) for part in name.split(os.sep))
        and DIGEST.sub(r"\1", name) not in collected
        and DIGEST.sub(r"\1", name.removesuffix(".gz").removesuffix(".br")) not in collected
    )


def told_of(command: Any) -> Outcome:
    """What a storage that is not on this host is, and what would be sent; nothing is."""
    from django.core.management import call_command

    storage = command.storage
    kind = type(unwrapped(storage))
    counted = spare(command)
    if counted:
        call_command(command, interactive=False, dry_run=True, verbosity=0)
    return outcome(
        False, copied=0, unmodified=0, deleted=0, post_processed=0,
        reason=f"{kind.__name__} is not on this host",
        static_elsewhere=f"{kind.__module__}.{kind.__qualname__}",
        static_place=place(storage),
        static_hashed=hasattr(storage, "hashed_name"),
        static_names=names_kept(storage),
        static_new=len(command.copied_files) if counted else None,
    )  # fmt: skip


def compress(request: Request, predict: bool) -> Outcome:
    """Let django-compressor make what it hands out in the place of the project's files, when it is to do so offline.

    It goes by templates and by the files that were collected, so it follows collectstatic. Nothing to compress is no
    error here: pages without such blocks need nothing.
    """
    from django.apps import apps
    from django.conf import settings
    from django.core.management import call_command
    from django.core.management.base import CommandError

    if not apps.is_installed("compressor"):
        return outcome(False, compressed=0, reason="compressor is not in INSTALLED_APPS")
    if not (getattr(settings, "COMPRESS_OFFLINE", False) and getattr(settings, "COMPRESS_ENABLED", False)):
        return outcome(False, compressed=0, reason="COMPRESS_OFFLINE is not set")
    cache, storage = import_module("compressor.cache"), import_module("compressor.storage")
    try:
        storage.default_storage.path("manifest.json")
    except NotImplementedError:
        return outcome(False, compressed=0, reason="COMPRESS_STORAGE is not on this host")
    if predict:
        return outcome(True, compressed=0)
    try:
        with read_by_nginx():
            call_command("compress", verbosity=0)
    except CommandError as error:
        if str(error).startswith(("No 'compress' template tags", "No templates found")):
            return outcome(False, compressed=0, reason=str(error).splitlines()[0])
        raise Failure(
            "static",
            f"manage.py compress: {error}",
            "mend the template it names and push again; or COMPRESS_OFFLINE = False; or build: [] of the site",
        ) from error
    return outcome(True, compressed=len(cache.get_offline_manifest()))


def unknown_age(_name: str) -> Any:
    """In the place of a storage's `get_modified_time`: Django then takes each of its files for an old one."""
    raise NotImplementedError


def stored_files(storage: Any, folder: str = "") -> Iterator[str]:
    """All files of a storage, as `collectstatic --clear` finds them."""
    if not storage.exists(folder):
        return
    folders, files = storage.listdir(folder)
    for name in files:
        yield os.path.join(folder, name)
    for name in folders:
        yield from stored_files(storage, os.path.join(folder, name))


# --- compilemessages -------------------------------------------------------------------------------------------


def compilemessages(request: Request, predict: bool) -> Outcome:
    """Compile translations. All are compiled beside the project first, and only what differs is put in place.

    Django goes by the files' times, which a checkout does not keep and which know nothing of `use_fuzzy`.
    """
    from django.core.management.commands.compilemessages import Command

    sources = translations(request)
    if not sources:
        return outcome(
            False, compiled=[], unmodified=0,
            reason="there is no .po file of these locales below the project or in LOCALE_PATHS",
        )  # fmt: skip
    program = shutil.which(Command.program)
    if program is None:
        raise Failure(
            "file",
            f"{Command.program} is not installed: translations cannot be compiled",
            "install the Debian package gettext on the host",
        )
    words = [program, *Command.program_options, *(["-f"] if request.get("use_fuzzy") else [])]
    contents = compiled_files(sources, words)
    old = {name: content_of(name) for name in contents}
    missing = [name for name, content in old.items() if content is None]
    outdated = [name for name, content in old.items() if content not in (None, contents[name])]
    wanted = sorted([*missing, *outdated])
    locked = [name for name in wanted if not os.access(os.path.dirname(os.path.realpath(name)), os.W_OK | os.X_OK)]
    if locked:
        raise Failure(
            "file",
            f"{locked[0]} cannot be written{f', nor {len(locked) - 1} more' if locked[1:] else ''}: "
            "its directory is not writable",
            "give the directory to the user the task runs as, or set `run_as`",
        )
    if not predict:
        for name in wanted:
            put_in_place(name, contents[name])
    current = len(contents) - len(wanted)
    return outcome(
        bool(wanted),
        {"current": current, "outdated": len(outdated), "missing": len(missing)},
        {"current": len(contents), "outdated": 0, "missing": 0},
        old=listing([f"{name} (as it was)" for name in outdated]),
        new=listing(wanted),
        compiled=wanted,
        unmodified=current,
    )


def translations(request: Request) -> list[str]:
    """The .po files Django's own command would look at, but for those in the virtual environment.

    :raises Failure: for a locale that is nowhere; Django would say nothing.
    """
    from django.conf import settings
    from django.core.management.utils import is_ignored_path

    ignored, environment = set(request.get("ignore") or []), os.path.realpath(sys.prefix)
    folders = [os.path.join("conf", "locale"), "locale", *map(str, settings.LOCALE_PATHS)]
    for folder, names, _files in os.walk("."):
        paths = {name: os.path.normpath(os.path.join(folder, name)) for name in names}
        names[:] = [
            name
            for name, path in paths.items()
            if not is_ignored_path(path, ignored) and os.path.realpath(path) != environment
        ]
        folders += [paths[name] for name in names if name == "locale"]
    folders = sorted({os.path.realpath(folder) for folder in folders if os.path.isdir(folder)})
    known = {name for folder in folders for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name))}
    chosen = set(request.get("locales") or known)
    if chosen - known:
        raise Failure(
            "request",
            f"there is no locale {', '.join(sorted(chosen - known))}",
            f"there are: {', '.join(sorted(known)) or 'none'}; a locale is named like its directory, as pt_BR",
        )
    return sorted(
        shortened(os.path.join(inner, name))
        for folder in folders
        for locale in chosen - set(request.get("exclude") or [])
        for inner, _folders, files in os.walk(os.path.join(folder, locale, "LC_MESSAGES"))
        for name in files
        if name.endswith(".po")
    )


def compiled_files(sources: list[str], words: list[str]) -> dict[str, bytes]:
    """What each .mo file shall hold, by its name.

    :raises Failure: for the first .po file with an error, with the words of the compiler.
    """
    from django.core.management.commands.compilemessages import has_bom

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:

        def compiled(number: int) -> tuple[bytes, list[str]]:
            source, target = sources[number], os.path.join(folder, f"{number}.mo")
            if has_bom(Path(source)):
                return b"", [f"{source}:1: it begins with a byte order mark; Django wants UTF-8 without one"]
            done = subprocess.run(
                [*words, "-o", target, source],
                env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": ""},
                capture_output=True,
                check=False,
            )
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            if done.returncode:
                return b"", said or [f"{source}: {words[0]} ended with status {done.returncode}"]
            return Path(target).read_bytes(), []

        results = list(pool.map(compiled, range(len(sources))))
    wrong = [said for _content, said in results if said]
    if wrong:
        more = f" (and {len(wrong) - 1} more files have errors)" if wrong[1:] else ""
        raise Failure(
            "file",
            f"a translation cannot be compiled: {wrong[0][0]}{more}",
            "mend that .po file",
            "\n".join(line for said in wrong for line in said),
        )
    return {
        source.removesuffix(".po") + ".mo": content for source, (content, _said) in zip(sources, results, strict=True)
    }


def content_of(name: str) -> bytes | None:
    try:
        return Path(name).read_bytes()
    except FileNotFoundError:
        return None


def put_in_place(name: str, content: bytes) -> None:
    """Replace a file at once, so that no process reads half of it; its mode stays."""
    target = os.path.realpath(name)
    new = f"{target}.{os.getpid()}"
    try:
        Path(new).write_bytes(content)
        if os.path.exists(target):
            shutil.copymode(target, new)
        os.replace(new, target)
    finally:
        Path(new).unlink(missing_ok=True)
