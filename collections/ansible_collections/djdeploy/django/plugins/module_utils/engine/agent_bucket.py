# SPDX-License-Identifier: GPL-3.0-or-later
"""`collectstatic` into a storage that is not on this host: only what differs, and never less than live pages need."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

MANY = 20_000  # objects, a thousand of which come with one answer; a bucket with more is asked for each name


def place(storage: Any) -> str:
    """Where a storage keeps its files, for a person."""
    name = getattr(storage, "bucket_name", None)
    return f"the bucket {name}" if isinstance(name, str) else type(unwrapped(storage)).__name__


def names_kept(storage: Any) -> str:
    """Where the list of names with digests is: `own` (of the release), `shared` with other releases, or a directory.

    Empty where there is none. The name of an own one is `djdeploy_static`'s.
    """
    from django.core.files.storage import FileSystemStorage

    lists = getattr(storage, "manifest_storage", None)
    if lists is None:
        return ""
    if isinstance(lists, FileSystemStorage):
        return str(lists.location)
    return "own" if getattr(storage, "djdeploy_manifest", None) == storage.manifest_name else "shared"


def unwrapped(storage: Any) -> Any:
    """The storage itself, of Django's lazy object around it."""
    from django.utils.functional import LazyObject, empty

    return storage._wrapped if isinstance(storage, LazyObject) and storage._wrapped is not empty else storage


class Present:
    """What a bucket of S3 holds below a storage's location, by name: MD5 of the content, as S3 tells it in ETag.

    One answer for a thousand files: Django's own way are two questions for each of them. An object that was
    encrypted by a key of the bucket's owner or sent in parts has another ETag; it is sent again, which harms nobody.
    """

    def __init__(self, storage: Any, sums: dict[str, str]) -> None:
        self.storage = storage
        self.sums = sums

    @classmethod
    def of(cls, storage: Any) -> Present | None:
        """Ask the bucket; None for a storage of another kind, too many files, or when it may not be listed."""
        if not all(hasattr(storage, name) for name in ("bucket", "location", "_normalize_name")):
            return None
        if not hasattr(storage.bucket, "objects"):
            return None
        location = str(storage.location).strip("/")
        found = storage.bucket.objects.filter(Prefix=f"{location}/" if location else "")
        try:
            objects = list(islice(found, MANY + 1))
        except Exception as error:
            if type(error).__name__ != "ClientError":  # no answer at all: to be told before anything is changed
                raise
            return None
        return None if len(objects) > MANY else cls(storage, {each.key: each.e_tag.strip('"') for each in objects})

    def key(self, name: str) -> str:
        return str(self.storage._normalize_name(name.replace("\\", "/")))

    def __contains__(self, name: str) -> bool:
        return self.key(name) in self.sums

    def holds(self, name: str, content: bytes) -> bool:
        """Whether exactly this is there by the name."""
        return self.sums.get(self.key(name)) == hashlib.md5(content, usedforsecurity=False).hexdigest()

    def add(self, name: str) -> None:
        self.sums[self.key(name)] = ""

    def discard(self, name: str) -> None:
        self.sums.pop(self.key(name), None)


def spare(command: Any) -> bool:
    """Let a `collectstatic` command that is about to run send what differs and leave alone what live pages refer to.

    Django goes by the files' times, which are those of the checkout, and takes each style sheet away under its
    name with a digest to write the same again: for that moment a visitor's page has none.

    :param command: an instance of Django's command; its storage is changed for good.
    :returns: whether the storage told what it holds.
    """
    storage = unwrapped(command.storage)
    present = Present.of(storage)
    if present is not None:
        _compare_contents(command, storage, present)
    if hasattr(storage, "post_process"):
        _keep_hashed(storage, present)
    return present is not None


def _compare_contents(command: Any, storage: Any, present: Present) -> None:
    """In the place of Django's comparison of times; nothing is taken away first, for S3 replaces at once."""
    save, delete = storage._save, storage.delete

    def delete_file(path: str, prefixed_path: str, source: Any) -> bool:
        with source.open(path) as file:
            content = file.read()
        if present.holds(prefixed_path, content):
            command.unmodified_files.append(prefixed_path)
            return False
        if prefixed_path in present and not getattr(storage, "file_overwrite", True) and not command.dry_run:
            storage.delete(prefixed_path)
        return True

    def saved(name: str, content: Any) -> str:
        done: str = save(name, content)
        present.add(done)
        return done

    def deleted(name: str) -> None:
        delete(name)
        present.discard(name)

    command.delete_file = delete_file
    storage.exists = present.__contains__
    storage._save, storage.delete = saved, deleted


def _keep_hashed(storage: Any, present: Present | None) -> None:
    """While names with digests are made: what has the name has the content, so it is neither removed nor sent again."""
    process = storage.post_process

    def post_process(*arguments: Any, **options: Any) -> Iterator[Any]:
        save, delete = storage._save, storage.delete
        listed = getattr(storage, "manifest_name", None)
        kept: set[str] = set()
        made: set[str] = set()

        def spared(name: str) -> None:
            if name != listed:
                kept.add(name)
            elif present is None:
                delete(name)

        def sent(name: str, content: Any) -> str:
            if name in kept:
                return name
            done: str = save(name, content)
            if name != listed:
                made.add(done)
            return done

        storage.delete, storage._save = spared, sent
        try:
            yield from process(*arguments, **options)
        finally:
            storage.delete, storage._save = delete, save
        # Django saves a style sheet again for each file it refers to whose name is known only later.
        for name in sorted(made - set(storage.hashed_files.values())):
            storage.delete(name)

    storage.post_process = post_process
