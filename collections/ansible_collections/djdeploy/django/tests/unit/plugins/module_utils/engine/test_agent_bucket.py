# SPDX-License-Identifier: GPL-3.0-or-later
"""Static files on their way into a storage that is not on this host: what is sent, and what is never taken away."""

from __future__ import annotations

import json
from typing import Any

import pytest

# A storage as django-storages' for S3 is one; beside it one that cannot be asked for all it holds.
STORAGE = """
import hashlib, os
from pathlib import Path
from types import SimpleNamespace
from django.contrib.staticfiles.storage import ManifestFilesMixin
from django.core.files.base import ContentFile
from django.core.files.storage import Storage

ROOT = Path(__file__).resolve().parent.parent / "objects"


class Plain(Storage):
    bucket_name = "shop"
    location = "static/"
    file_overwrite = True

    def path_of(self, name):
        return ROOT / "static" / name

    def log(self, what, name):
        with open(ROOT.parent / "log", "a") as file:
            file.write(f"{what} {name}\\n")

    def _open(self, name, mode="rb"):
        return ContentFile(self.path_of(name).read_bytes())

    def _save(self, name, content):
        self.log("put", name)
        self.path_of(name).parent.mkdir(parents=True, exist_ok=True)
        self.path_of(name).write_bytes(b"".join(content.chunks()))
        os.utime(self.path_of(name), (0, 0))  # no time of the host's says anything
        return name

    def exists(self, name):
        self.log("ask", name)
        return self.path_of(name).exists()

    def delete(self, name):
        self.log("delete", name)
        self.path_of(name).unlink()

    def get_modified_time(self, name):
        from datetime import UTC, datetime
        return datetime(1970, 1, 1, tzinfo=UTC)

    def get_available_name(self, name, max_length=None):
        return name

    def url(self, name):
        return f"https://cdn.example.com/static/{name}"


class ClientError(Exception):
    pass


class Bucket(Plain):
    many = 0

    @property
    def bucket(self):
        return SimpleNamespace(objects=self)

    def filter(self, Prefix):
        if self.many < 0:
            raise ClientError("AccessDenied")
        yield from (SimpleNamespace(key=f"static/{n}", e_tag='""') for n in range(self.many))
        for path in ROOT.rglob("*"):
            key = str(path.relative_to(ROOT))
            if path.is_file() and key.startswith(Prefix):
                yield SimpleNamespace(key=key, e_tag=f'"{hashlib.md5(path.read_bytes()).hexdigest()}"')

    def _normalize_name(self, name):
        return f"static/{name}"


class Closed(Bucket):
    many = -1


class Full(Bucket):
    many = 20_001


class Hashed(ManifestFilesMixin, Bucket):
    pass


class PlainHashed(ManifestFilesMixin, Plain):
    pass


class Own(Hashed):
    manifest_name = djdeploy_manifest = "staticfiles.0123.json"


class InCode(Hashed):
    def __init__(self):
        from django.contrib.staticfiles.storage import StaticFilesStorage
        super().__init__(manifest_storage=StaticFilesStorage(location="/srv/shop/list"))
"""
LOCAL, REMOTE = {"name": "collectstatic", "local_only": True}, {"name": "collectstatic", "remote": True}


@pytest.fixture
def stored(project: Any) -> Any:
    """The project, with a style sheet that names an image, and a way to choose its storage."""

    def with_storage(name: str) -> Any:
        project.settings('INSTALLED_APPS = ["django.contrib.staticfiles", "shop"]')
        project.settings(f'STORAGES = {{"staticfiles": {{"BACKEND": "shop.bucket.{name}"}}}}')
        return project

    project.write("shop/bucket.py", STORAGE)
    project.write("shop/static/shop/cat.png", "cat")
    project.write("shop/static/shop/cat.css", "i { background: url(cat.png) }\n")
    return with_storage


def log(project: Any) -> list[str]:
    """What was done to the storage since last asked."""
    file = project.root / "log"
    lines = file.read_text().splitlines() if file.exists() else []
    project.write("log", "")
    return lines


def done(lines: list[str], what: str) -> list[str]:
    return sorted(line.partition(" ")[2] for line in lines if line.startswith(f"{what} "))


@pytest.mark.parametrize(
    ("storage", "facts"),
    [
        ("Hashed", {"static_hashed": True, "static_names": "shared", "static_new": 4}),
        ("Own", {"static_hashed": True, "static_names": "own", "static_new": 4}),
        ("InCode", {"static_hashed": True, "static_names": "/srv/shop/list", "static_new": 4}),
        ("Bucket", {"static_hashed": False, "static_names": "", "static_new": 4}),
        ("Plain", {"static_hashed": False, "static_names": "", "static_new": None}),
        ("Closed", {"static_new": None}),
        ("Full", {"static_new": None}),
    ],
)
def test_what_is_told_before_anything_is_sent(stored: Any, storage: str, facts: dict[str, Any]) -> None:
    project = stored(storage)
    untouched = project.contents()
    (step,) = project.run(LOCAL)
    place = {"static_elsewhere": f"shop.bucket.{storage}", "static_place": "the bucket shop"}
    assert step.facts.items() >= {**place, **facts, "copied": 0}.items()
    assert {name: text for name, text in project.contents().items() if name != "log"} == untouched


def test_only_what_differs_is_sent_and_nothing_live_is_taken_away(stored: Any) -> None:
    project = stored("Own")
    (first,) = project.run(REMOTE)
    assert (first.facts["copied"], first.facts["unmodified"]) == (4, 0)
    sent = done(log(project), "put")
    listed = json.loads((project.root / "objects/static/staticfiles.0123.json").read_text())["paths"]
    assert set(listed) == {"shop/cat.css", "shop/cat.png", "shop/site.css", "shop/site.js"}
    assert set(sent) >= {*listed, *listed.values()}
    there = {str(path.relative_to(project.root / "objects/static")) for path in (project.root / "objects").rglob("*.*")}
    assert there == {*listed, *listed.values(), "staticfiles.0123.json"}, "what was in between is not left behind"

    project.write("shop/static/shop/site.css", "body { color: navy }\n")
    before, after = project.run(LOCAL, REMOTE)
    assert before.facts["static_new"] == 1
    assert (after.facts["copied"], after.facts["unmodified"]) == (1, 3)
    lines = log(project)
    changed = json.loads((project.root / "objects/static/staticfiles.0123.json").read_text())["paths"]["shop/site.css"]
    assert {*done(lines, "put")} >= {"shop/site.css", changed, "staticfiles.0123.json"}
    assert not {*done(lines, "put"), *done(lines, "delete")} & set(listed.values())
    assert not done(lines, "ask"), "the list of objects says it all"
    assert (project.root / "objects/static" / listed["shop/site.css"]).exists(), "a page of the old release wants it"


@pytest.mark.parametrize("storage", ["PlainHashed", "Closed"])
def test_without_a_list_django_is_left_to_compare_and_still_takes_nothing_away(stored: Any, storage: str) -> None:
    project = stored(storage)
    project.run(REMOTE)
    first = {path for path in (project.root / "objects").rglob("*.*") if ".json" not in path.name}
    log(project)
    (again,) = project.run(REMOTE)
    assert again.facts["copied"] == 4, "the times of a checkout are newer"
    hashed = {name for name in done(log(project), "delete") if name.count(".") == 2 and ".json" not in name}
    assert not hashed
    assert {path for path in (project.root / "objects").rglob("*.*") if ".json" not in path.name} == first


def test_another_host_finds_all_there(stored: Any) -> None:
    project = stored("Own")
    project.run(REMOTE)
    log(project)
    (second,) = project.run({**REMOTE, "once": True})
    assert (second.facts["copied"], second.facts["unmodified"], second.facts["sent_before"]) == (0, 4, True)
    assert not done(log(project), "put")


def test_a_shared_list_is_never_taken_for_ones_own(stored: Any) -> None:
    project = stored("Hashed")
    project.run(REMOTE)
    project.write("shop/static/shop/site.css", "body { color: navy }\n")
    (second,) = project.run({**REMOTE, "once": True})
    assert second.facts["copied"] == 1


def test_storage_that_does_not_answer_is_told_at_once(stored: Any) -> None:
    """That is before anything is changed; one that only may not be listed is asked for each name."""
    project = stored("Closed")
    project.append("shop/bucket.py", "\n\nClientError.__name__ = 'EndpointConnectionError'\n")
    with pytest.raises(Exception, match="AccessDenied"):
        project.run(LOCAL)
