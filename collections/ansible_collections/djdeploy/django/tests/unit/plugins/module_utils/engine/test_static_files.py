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


def test_make_protected(tmp_path: Path) -> None:
    for _twice in range(2):
        static_files.make_protected(tmp_path, ["private", "a/b"], os.getuid(), os.getgid())
    for name in ("private", "a", "a/b"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o750


def test_make_protected_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "private").symlink_to("elsewhere")
    with pytest.raises(EngineError, match="private cannot be made a directory"):
        static_files.make_protected(tmp_path, ["private"], os.getuid(), os.getgid())
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o700


# --- kept elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "sent", "asked", "warned"),
    [
        pytest.param({}, False, False, False, id="on this host"),
        pytest.param({"static_elsewhere": "a.S3", "static_hashed": True}, False, True, False, id="elsewhere"),
        pytest.param({"static_elsewhere": "a.S3", "static_hashed": False}, False, True, True, id="without digests"),
        pytest.param({"static_elsewhere": "a.S3", "static_hashed": True}, True, False, False, id="once is enough"),
    ],
)
def test_send(
    monkeypatch: pytest.MonkeyPatch,
    shop: Site,
    progress: Progress,
    said: list[dict[str, Any]],
    facts: dict[str, Any],
    sent: bool,
    asked: bool,
    warned: bool,
) -> None:
    steps: list[dict[str, Any]] = []

    def run_steps(_target: object, wanted: list[dict[str, Any]], **_options: Any) -> list[Any]:
        steps.extend(wanted)
        return [SimpleNamespace(facts={"copied": 3, "unmodified": 4})]

    monkeypatch.setattr(static_files, "run_steps", run_steps)
    monkeypatch.setattr(static_files, "write_release", lambda _release: None)
    before = Release("r", "shop", "a" * 40, facts=facts, static_sent=sent)
    release = static_files.send(shop, before, lambda *_of: Target(Path(), Path(), {}), progress)
    assert (bool(steps), release.static_sent) == (asked, asked or sent)
    assert ("no digest" in str(said)) == warned
    if asked:
        assert steps[0]["any_age"] is warned


def test_send_again_when_the_storage_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, shop: Site, progress: Progress, said: list[dict[str, Any]]
) -> None:
    """It is told, and the rollback goes on."""

    def run_steps(*_arguments: Any, **_options: Any) -> None:
        raise EngineError("the bucket is gone")

    monkeypatch.setattr(static_files, "run_steps", run_steps)
    facts = {"static_elsewhere": "a.S3", "static_hashed": True}
    before = Release("r", "shop", "a" * 40, facts=facts, static_sent=True)
    static_files.send_again(shop, before, lambda *_of: Target(Path(), Path(), {}), progress)
    assert "could not be sent again: the bucket is gone" in str(said)
