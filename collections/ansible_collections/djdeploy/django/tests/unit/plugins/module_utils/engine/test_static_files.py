# SPDX-License-Identifier: GPL-3.0-or-later
"""Static files after they are collected: what is compressed, what is linked, what is sent elsewhere."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import static_files
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import Target

LONG = "h1 { color: red }\n" * 200


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("site.css", 4000, True),
        ("a/b/site.55e7cbb9ba48.JS", 4000, True),
        ("site.css", 511, False),
        ("cat.jpg", 4000, False),
        ("font.woff2", 4000, False),
        ("site.css.gz", 4000, False),
        ("LICENSE", 4000, False),
    ],
)
def test_worth(name: str, size: int, expected: bool) -> None:
    assert static_files.worth(name, size) == expected


def put(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _no_brotli(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_files.shutil, "which", lambda *_words, **_options: None)


def test_links_that_lead_out_of_static_files_are_dropped(tmp_path: Path) -> None:
    root = put(tmp_path / "static", site_css=LONG, a__b_js=LONG)
    outside = put(tmp_path / "other", secret_txt="secret")
    for name, target in {
        "same.css": "site.css",
        "a/up.css": "../site.css",
        "a/out.txt": "../../other/secret.txt",
        "passwd": "/etc/passwd",
        "folder": str(outside),
        "twice": "folder/secret.txt",
        "nothing": "/nonexistent",
    }.items():
        (root / name).symlink_to(target)
    assert static_files.drop_links(root) == ["a/out.txt", "folder", "nothing", "passwd", "twice"]
    assert (root / "a/up.css").read_text() == (root / "same.css").read_text() == LONG
    assert (outside / "secret.txt").read_text() == "secret"
    assert static_files.drop_links(root) == []


def test_finish_compresses_what_is_worth_it(tmp_path: Path) -> None:
    root = put(tmp_path / "static", site_css=LONG, short_css="h1", cat_jpg=LONG, a__b_js=LONG)
    noise = root / "noise.txt"
    noise.write_bytes(os.urandom(4000))
    assert static_files.finish(root, None) == static_files.Finished(0, 3)
    assert sorted(path.name for path in root.rglob("*.gz")) == ["b.js.gz", "site.css.gz"]
    assert gzip.decompress((root / "site.css.gz").read_bytes()).decode() == LONG
    assert (root / "site.css.gz").stat().st_mtime_ns == (root / "site.css").stat().st_mtime_ns
    assert (root / "site.css.gz").stat().st_mode & 0o777 == 0o644


def test_finish_links_what_did_not_change(tmp_path: Path) -> None:
    before = put(tmp_path / "before", same_css=LONG, other_css=LONG, gone_css=LONG, cat_jpg="cat")
    static_files.finish(before, None)
    after = put(tmp_path / "after", same_css=LONG, other_css=LONG.replace("red", "tan"), cat_jpg="cat", new_css=LONG)
    os.utime(after / "same.css", (1, 1))
    assert static_files.finish(after, before) == static_files.Finished(2, 2)
    for name in ("same.css", "same.css.gz", "cat.jpg"):
        assert os.path.samefile(before / name, after / name), name
    times = {(after / name).stat().st_mtime for name in ("same.css", "same.css.gz")}
    assert times == {1}, "collectstatic would take an older one for outdated"
    assert not os.path.samefile(before / "other.css", after / "other.css")
    assert b"tan" in gzip.decompress((after / "other.css.gz").read_bytes())
    assert not [path for path in after.iterdir() if path.name.startswith(".")]
    assert static_files.finish(after, before).compressed == 0, "a second time there is nothing to do"


def test_finish_leaves_what_the_project_compressed_itself(tmp_path: Path) -> None:
    root = put(tmp_path / "static", site_css=LONG, site_css_gz="own")
    assert static_files.finish(root, None).compressed == 0
    assert (root / "site.css.gz").read_text() == "own"


def test_finish_follows_no_links_and_opens_nothing_but_files(tmp_path: Path) -> None:
    root = put(tmp_path / "static", site_css="h1")
    (root / "link.css").symlink_to(put(tmp_path, secret_css=LONG) / "secret.css")
    os.mkfifo(root / "pipe.css")
    assert static_files.finish(root, None) == static_files.Finished()
    assert static_files.finish(root, tmp_path / "nothing") == static_files.Finished()


def test_with_brotli_keeps_what_is_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_words, **_options: "/usr/bin/brotli")
    root = put(tmp_path, site_css=LONG, noise_txt="x" * 600)

    def run(argv: list[Any], **_options: Any) -> None:
        for path in argv[3:]:
            Path(f"{path}.br").write_text("x" * (10 if path.name == "site.css" else 600))

    static_files.with_brotli([root / "site.css", root / "noise.txt"], run=run)  # type: ignore[arg-type]
    assert [path.name for path in root.glob("*.br")] == ["site.css.br"]


# --- protected ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directory", "media_root", "refused"),
    [
        ("private", "/srv/shop/shared/media", False),
        ("private", "", False),
        ("private", None, False),
        ("private", "/srv/shop/shared/private", True),
        ("uploads/private", "/srv/shop/shared/uploads/", True),
        ("private", "/srv/shop/shared", True),
        ("private", "/srv/shop/shared/private-not", False),
    ],
)
def test_refuse_public(directory: str, media_root: str | None, refused: bool) -> None:
    arguments = ({"/protected/": directory}, media_root, Path("/srv/shop/shared"))
    if not refused:
        static_files.refuse_public(*arguments)
        return
    with pytest.raises(EngineError, match="which lies in MEDIA_ROOT"):
        static_files.refuse_public(*arguments)


# --- kept elsewhere -----------------------------------------------------------------------------------


OWN = {"static_elsewhere": "a.S3", "static_place": "the bucket shop", "static_hashed": True, "static_names": "own"}
SHARED = {**OWN, "static_names": "shared"}
WITHOUT = {**OWN, "static_hashed": False, "static_names": ""}
EARLIER = {"static_elsewhere": "a.S3", "static_hashed": True}  # in a record of an earlier djdeploy


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, ""),
        (EARLIER, "static files go to S3"),
        (OWN, "static files go to the bucket shop"),
        ({**OWN, "static_new": 124}, "static files go to the bucket shop, 124 new"),
        ({**OWN, "static_new": 0}, "static files go to the bucket shop, 0 new"),
    ],
)
def test_elsewhere_told(facts: dict[str, Any], told: str) -> None:
    assert static_files.elsewhere_told(facts) == told


def test_manifest_name_is_one_for_each_content() -> None:
    one = static_files.manifest_name("a" * 40, {"django": "5.2", "x": "1"})
    assert one == static_files.manifest_name("a" * 40, {"x": "1", "django": "5.2"})
    assert one.startswith("staticfiles.") and one.endswith(".json")
    others = [("b" * 40, {"django": "5.2", "x": "1"}), ("a" * 40, {"django": "5.3", "x": "1"}), ("a" * 40, {})]
    assert len({one, *(static_files.manifest_name(*each) for each in others)}) == 4


@pytest.mark.parametrize(
    ("names", "own", "refused"),
    [
        ("own", True, False),
        ("shared", False, False),
        ("", False, False),
        ("{root}/static", True, False),
        ("{root}/static/lists", True, False),
        ("{root}/code", True, True),
        ("{root}/project/mysite", True, True),
        ("/srv/shop/shared/lists", False, False),
    ],
)
def test_list_of_names(shop: Site, names: str, own: bool, refused: bool) -> None:
    paths = shop.paths.release("r")
    facts = {"static_names": names.format(root=paths.root)}
    assert static_files.names_are_own(facts, paths) == own
    if refused:
        with pytest.raises(EngineError, match="and a release is read-only"):
            static_files.refuse_names(facts, paths)
    else:
        static_files.refuse_names(facts, paths)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Django was asked to do."""
    asked: list[dict[str, Any]] = []

    def run_steps(_target: object, wanted: list[dict[str, Any]], **_options: Any) -> list[Any]:
        asked.extend(wanted)
        return [SimpleNamespace(facts={"copied": 3, "unmodified": 4})]

    monkeypatch.setattr(static_files, "run_steps", run_steps)
    monkeypatch.setattr(static_files, "write_release", lambda _release: None)
    return asked


def sending(site: Site, progress: Progress) -> tuple[Site, Any, Progress]:
    return site, lambda *_of: Target(Path(), Path(), {}), progress


@pytest.mark.parametrize(
    ("facts", "sent", "ahead", "later", "warned"),
    [
        pytest.param({}, False, False, False, False, id="on this host"),
        pytest.param(OWN, False, True, False, False, id="a list of its own"),
        pytest.param(SHARED, False, False, True, False, id="the list of all releases"),
        pytest.param(EARLIER, False, False, True, False, id="of an earlier djdeploy"),
        pytest.param(WITHOUT, False, False, True, True, id="without digests"),
        pytest.param(OWN, True, False, False, False, id="once is enough"),
    ],
)
def test_send(
    steps: list[dict[str, Any]],
    shop: Site,
    progress: Progress,
    said: list[dict[str, Any]],
    facts: dict[str, Any],
    sent: bool,
    ahead: bool,
    later: bool,
    warned: bool,
) -> None:
    """Before the database is touched if nothing live can notice it, else after; in any case once."""
    site, target, told = sending(shop, progress)
    release = Release("r", "shop", "a" * 40, facts=facts, static_sent=sent)
    release = static_files.send_ahead(site, release, target, told)
    assert (len(steps), release.static_sent) == (int(ahead), ahead or sent)
    release = static_files.send(site, release, target, told)
    assert (len(steps), release.static_sent) == (int(ahead or later), ahead or later or sent)
    assert ("no digest" in str(said)) == warned
    assert ("3 new, 4 unchanged in" in str(said)) == bool(steps)


def test_of_several_hosts_only_the_first_sends(steps: list[dict[str, Any]], shop: Site, progress: Progress) -> None:
    site, target, told = sending(shop, progress)
    static_files.send(site, Release("r", "shop", "a" * 40, facts=OWN), target, told)
    shop.paths.not_first.parent.mkdir(parents=True, exist_ok=True)
    shop.paths.not_first.write_text("")
    static_files.send(site, Release("r", "shop", "a" * 40, facts=OWN), target, told)
    assert [step["once"] for step in steps] == [False, True]


@pytest.mark.parametrize(
    ("facts", "sent", "again", "told"),
    [
        ({}, False, False, ""),
        (OWN, True, False, "static files of aaaaaaa are in the bucket shop still: nothing to send"),
        (OWN, False, True, ""),
        (SHARED, True, True, ""),
        (EARLIER, True, True, ""),
        (WITHOUT, True, True, "no digest"),
    ],
)
def test_send_again(
    steps: list[dict[str, Any]],
    shop: Site,
    progress: Progress,
    said: list[dict[str, Any]],
    facts: dict[str, Any],
    sent: bool,
    again: bool,
    told: str,
) -> None:
    site, target, progress = sending(shop, progress)
    static_files.send_again(site, Release("r", "shop", "a" * 40, facts=facts, static_sent=sent), target, progress)
    assert bool(steps) == again
    assert told in str(said)


def test_send_again_when_the_storage_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, shop: Site, progress: Progress, said: list[dict[str, Any]]
) -> None:
    """It is told, and the rollback goes on."""

    def run_steps(*_arguments: Any, **_options: Any) -> None:
        raise EngineError("the bucket is gone")

    monkeypatch.setattr(static_files, "run_steps", run_steps)
    site, target, progress = sending(shop, progress)
    static_files.send_again(site, Release("r", "shop", "a" * 40, facts=SHARED, static_sent=True), target, progress)
    assert "could not be sent again: the bucket is gone" in str(said)
