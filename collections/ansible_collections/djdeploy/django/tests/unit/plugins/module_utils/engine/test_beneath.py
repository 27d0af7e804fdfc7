# SPDX-License-Identifier: GPL-3.0-or-later
"""Root's file work below directories that others write: real files, real links, and somebody who exchanges them."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import beneath
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError

ME, MINE = os.getuid(), os.getgid()
OTHER = 12345  # a uid of nobody
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")


def fill(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextmanager
def exchanging(path: Path, other: Path, link: Path) -> Iterator[None]:
    """Put `link` and what is at `path` into each other's place all the time."""
    end = threading.Event()

    def exchange() -> None:
        while not end.is_set():
            with suppress(OSError):
                path.rename(other)
                link.rename(path)
            with suppress(OSError):
                path.rename(link)
                other.rename(path)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        with suppress(OSError):
            if path.is_symlink():
                path.rename(link)
            other.rename(path)


# --- opening ------------------------------------------------------------------------------------------


def test_a_link_of_roots_is_followed(tmp_path: Path) -> None:
    """An administrator may have put /srv on a larger disk."""
    fill(tmp_path, {"disk/shop/file": "text", "deep/down/x": ""})
    (tmp_path / "srv").symlink_to("disk")
    (tmp_path / "deep" / "down" / "up").symlink_to("../../srv/../disk")
    (tmp_path / "absolute").symlink_to(tmp_path / "srv")
    for name in ("srv/shop/file", "deep/down/up/shop/file", "absolute/shop/file", "./srv//shop/file"):
        assert beneath.read(tmp_path / name) == b"text"


@as_root
@pytest.mark.parametrize("whose", ["link", "directory", "group", "others"])
def test_a_link_somebody_else_may_have_made_is_not(tmp_path: Path, whose: str) -> None:
    fill(tmp_path, {"secret/file": "secret", "site/x": ""})
    link = tmp_path / "site" / "way"
    link.symlink_to("../secret")
    if whose == "link":
        os.chown(link, OTHER, OTHER, follow_symlinks=False)
    elif whose == "directory":
        os.chown(tmp_path / "site", OTHER, OTHER)
    else:
        (tmp_path / "site").chmod(0o775 if whose == "group" else 0o757)
    with pytest.raises(EngineError, match=r"'way' in .* is a link that root does not follow"):
        beneath.read(link / "file")


@pytest.mark.parametrize(
    ("make", "number"),
    [
        pytest.param(lambda path: path.symlink_to("file"), errno.ELOOP, id="link"),
        pytest.param(os.mkfifo, errno.EINVAL, id="pipe"),
        pytest.param(Path.mkdir, errno.EINVAL, id="directory"),
        pytest.param(lambda path: None, errno.ENOENT, id="nothing"),
    ],
)
def test_only_a_file_is_read(tmp_path: Path, make: Callable[[Path], None], number: int) -> None:
    fill(tmp_path, {"file": "text"})
    make(tmp_path / "it")
    with pytest.raises(OSError) as caught:
        beneath.read(tmp_path / "it")
    assert caught.value.errno == number
    assert beneath.read(tmp_path / "file", 2) == b"te"


@as_root
def test_a_second_name_of_somebody_elses_file_is_not_read(tmp_path: Path) -> None:
    fill(tmp_path, {"secret": "secret", "site/own": "own"})
    os.link(tmp_path / "secret", tmp_path / "site" / "planted")
    os.link(tmp_path / "site" / "own", tmp_path / "site" / "also")
    for name in ("site", "site/own"):
        os.chown(tmp_path / name, OTHER, OTHER)
    assert beneath.read(tmp_path / "site" / "also") == b"own"
    with pytest.raises(EngineError, match="planted has a second name"):
        beneath.read(tmp_path / "site" / "planted")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("settings/base.py", "base"),
        ("link.py", "base"),
        ("folder/base.py", "base"),
        ("settings/up.py", "manage"),
        ("chain.py", "base"),
        ("settings/../manage.py", "manage"),
        ("out.py", None),
        ("out_by_folder/secret", None),
        ("absolute.py", None),
        ("../secret", None),
        ("settings/out_and_in.py", None),
        ("loop", OSError),
        ("dangling", OSError),
        ("folder", OSError),
        ("manage.py/x", OSError),
    ],
)
def test_open_inside(tmp_path: Path, path: str, expected: str | type[OSError] | None) -> None:
    root = fill(tmp_path / "code", {"settings/base.py": "base", "manage.py": "manage"})
    fill(tmp_path, {"secret": "secret"})
    for name, target in {
        "link.py": "settings/base.py",
        "folder": "settings",
        "settings/up.py": "../manage.py",
        "chain.py": "link.py",
        "out.py": "../secret",
        "out_by_folder": "..",
        "absolute.py": str(root / "manage.py"),
        "settings/out_and_in.py": "../../code/manage.py",
        "loop": "loop",
        "dangling": "nowhere",
    }.items():
        (root / name).symlink_to(target)
    with beneath.opened(root) as top:
        if isinstance(expected, str):
            assert beneath.read_inside(top, path).decode() == expected
            return
        with pytest.raises(beneath.Outside if expected is None else OSError):
            beneath.read_inside(top, path)


@pytest.mark.parametrize("path", ["file", "folder/../file", "./file"])
def test_absolute_links_may_lead_into_the_tree_by_its_own_path(tmp_path: Path, path: str) -> None:
    root = fill(tmp_path / "static", {"file": "own", "folder/inner": "inner"})
    fill(tmp_path / "static2", {"file": "secret"})
    (root / "folder/link").symlink_to(root / path)
    for name, target in {"beside": f"{root}2/file", "up": f"{root}/../static2/file", "whole": "/"}.items():
        (root / name).symlink_to(target)
    with beneath.opened(root) as top:
        with os.fdopen(beneath.open_inside(top, "folder/link", root=root)) as file:
            assert file.read() == "own"
        for name in ("beside", "up", "whole"):
            with pytest.raises(beneath.Outside):
                beneath.open_inside(top, name, root=root)


# --- writing ------------------------------------------------------------------------------------------


def test_a_file_that_is_written_replaces_a_planted_link(tmp_path: Path) -> None:
    fill(tmp_path, {"victim": "victim"})
    (tmp_path / "marker").symlink_to("victim")
    beneath.write(tmp_path / "marker", b"text", 0o640, ME, MINE)
    assert (tmp_path / "marker").read_text() == "text" and not (tmp_path / "marker").is_symlink()
    assert mode(tmp_path / "marker") == 0o640
    assert (tmp_path / "victim").read_text() == "victim"
    assert sorted(os.listdir(tmp_path)) == ["marker", "victim"]


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        beneath.write(tmp_path / "taken", b"text", 0o640, ME, MINE)
    assert os.listdir(tmp_path) == ["taken"]


def test_put_makes_directories_and_follows_no_link(tmp_path: Path) -> None:
    fill(tmp_path, {"outside/x": "", "root/there/x": ""})
    (tmp_path / "root" / "there").chmod(0o711)
    (tmp_path / "root" / "out").symlink_to("../outside")
    with beneath.opened(tmp_path / "root") as top:
        for path in ("there/new/file", "there/file"):
            beneath.put(top, path, b"text", 0o640, ME, MINE, folders=(0o750, ME, MINE))
        with pytest.raises(NotADirectoryError):
            beneath.put(top, "out/file", b"text", 0o640, ME, MINE, folders=(0o750, ME, MINE))
    assert mode(tmp_path / "root/there") == 0o711, "one that was there stays as it was"
    assert mode(tmp_path / "root/there/new") == 0o750
    assert (tmp_path / "root/there/new/file").read_text() == "text"
    assert os.listdir(tmp_path / "outside") == ["x"]


def test_make_directory_with_parents_and_by_a_link_of_roots(tmp_path: Path) -> None:
    beneath.make_directory(tmp_path / "a/b/c", 0o700, ME, MINE, parents=True)
    assert [mode(tmp_path / name) for name in ("a/b", "a/b/c")] == [0o755, 0o700]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "snapshots").symlink_to("elsewhere")
    beneath.make_directory(tmp_path / "snapshots", 0o700, ME, MINE)
    assert mode(tmp_path / "elsewhere") == 0o700
    fill(tmp_path, {"file": ""})
    with pytest.raises(NotADirectoryError):
        beneath.make_directory(tmp_path / "file", 0o700, ME, MINE)


def test_hard_link_replaces_at_once(tmp_path: Path) -> None:
    fill(tmp_path, {"old/a": "1", "new/a": "1", "new/b": "2"})
    with beneath.opened(tmp_path / "old") as old, beneath.opened(tmp_path / "new") as new:
        for _twice in range(2):
            beneath.hard_link((old, "a"), (new, "a"))
        assert beneath.same((old, "a"), (new, "a")) and not beneath.same((old, "a"), (new, "b"))
    assert (tmp_path / "old/a").samefile(tmp_path / "new/a")
    assert sorted(os.listdir(tmp_path / "new")) == ["a", "b"]


# --- whole trees --------------------------------------------------------------------------------------


def test_walk_follows_no_link_and_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    fill(tmp_path, {"a/x": "", "a/b/y": "", "skip/z": "", "outside/secret": ""})
    root = tmp_path / "a"
    (root / "link").symlink_to("../outside")
    seen = []
    with beneath.opened(tmp_path) as top:
        for folder in beneath.walk(top):
            if "skip" in folder.folders:
                folder.folders.remove("skip")
            seen += [folder.inner(name) for name in folder.others]
    assert sorted(seen) == ["a/b/y", "a/link", "a/x", "outside/secret"]


def test_a_tree_without_an_end_is_refused_and_removed_all_the_same(tmp_path: Path) -> None:
    handle = os.open(tmp_path, beneath.DIRECTORY)
    os.mkdir("root", dir_fd=handle)
    for _level in range(3 * beneath.DEEPEST):
        os.mkdir("d", dir_fd=(inner := os.open("root" if _level == 0 else "d", beneath.DIRECTORY, dir_fd=handle)))
        os.close(handle)
        handle = inner
    os.close(handle)
    with pytest.raises(EngineError, match="directories deep"):
        beneath.take(tmp_path / "root", ME, MINE)
    beneath.remove(tmp_path / "root")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (0o644, beneath.not_others, 0o644),
        (0o4755, beneath.not_others, 0o755),
        (0o2775, beneath.not_others, 0o755),
        (0o666, beneath.not_others, 0o644),
        (0o600, beneath.not_others, 0o600),
        (0o600, beneath.plain, 0o644),
        (0o4700, beneath.plain, 0o755),
    ],
)
def test_take_resets_modes(tmp_path: Path, before: int, change: Callable[[int], int], after: int) -> None:
    fill(tmp_path, {"root/folder/file": ""})
    (tmp_path / "root/folder/file").chmod(before)
    (tmp_path / "root/folder").chmod(0o2777)
    beneath.take(tmp_path / "root", ME, MINE, mode=change)
    assert (mode(tmp_path / "root/folder/file"), mode(tmp_path / "root/folder")) == (after, 0o755)


@as_root
def test_take_takes_everything_but_links_and_nothing_behind_them(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", {"secret": "", "folder/secret": ""})
    root = fill(tmp_path / "root", {"a": "", "folder/b": "", "folder/inner/c": ""})
    (root / "to_file").symlink_to(outside / "secret")
    (root / "folder" / "to_folder").symlink_to(outside / "folder")
    os.mkfifo(root / "folder" / "pipe")
    for path in (root, *root.rglob("*")):
        os.chown(path, OTHER, OTHER, follow_symlinks=False)
    os.chown(outside / "secret", OTHER + 1, OTHER)
    beneath.take(root, 0, 7)
    owners = {path.relative_to(root).as_posix(): (path.lstat().st_uid, path.lstat().st_gid) for path in root.rglob("*")}
    links = {"to_file": (OTHER, OTHER), "folder/to_folder": (OTHER, OTHER)}
    assert owners == dict.fromkeys(("a", "folder", "folder/b", "folder/inner", "folder/inner/c"), (0, 7)) | links
    assert (outside / "secret").stat().st_uid == OTHER + 1


@as_root
def test_take_copies_files_of_several_names(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", {"a": "text", "folder/b": "kept"})
    os.link(root / "a", tmp_path / "in_the_cache")
    os.link(root / "a", root / "folder" / "also")
    os.link(root / "folder" / "b", tmp_path / "in_the_release_before")
    for path in (root, *root.rglob("*")):
        os.chown(path, OTHER, OTHER)
    before = (tmp_path / "in_the_cache").stat()
    kept = root / "folder" / "b"
    beneath.take(root, 0, 0, linked={(kept.stat().st_dev, kept.stat().st_ino)})
    assert (root / "a").read_text() == "text" and (root / "a").samefile(root / "folder" / "also")
    assert (root / "a").stat().st_uid == 0 and (root / "a").stat().st_mtime_ns == before.st_mtime_ns
    assert (tmp_path / "in_the_cache").stat().st_uid == OTHER, "who has the other name keeps it"
    assert kept.samefile(tmp_path / "in_the_release_before")


@as_root
def test_take_copies_what_may_be_open(tmp_path: Path) -> None:
    """Its maker has it open still, and writes on: not into what was taken."""
    name = tmp_path / "deep" / "page.js"
    name.parent.mkdir()
    with name.open("w") as file:
        file.write("good")
        file.flush()
        os.utime(name, ns=(5_000_000_000, 7_000_000_000))
        beneath.take(tmp_path, -1, -1, copied=True)
        file.write("evil")
        file.flush()
    assert name.read_text() == "good"
    assert name.stat().st_mtime_ns == 7_000_000_000
    assert list(name.parent.iterdir()) == [name]


def test_take_puts_what_did_not_change_in_the_place_of_copies(tmp_path: Path) -> None:
    """A file of the release before, with the new one's times, where all of path, content and access is the same."""
    files = {"same": "text", "deep/same": "deep", "other": "text", "open": "text", "moved": "text"}
    before = fill(tmp_path / "before", {**files, "other": "sent", "gone": "text", "deep/moved": "text"})
    (before / "moved").unlink()
    (before / "link").symlink_to("same")
    new = fill(tmp_path / "new", {**files, "link": "text"})
    for name in ("same", "deep/same", "other", "moved", "deep/moved"):
        if (before / name).exists():
            (before / name).chmod(0o644)
    (before / "open").chmod(0o600)
    os.utime(new / "same", ns=(5_000_000_000, 7_000_000_000))
    beneath.take(new, -1, -1, mode=beneath.plain, copied=True, before=before)
    linked = [
        name for name in (*files, "link") if (before / name).exists() and os.path.samefile(before / name, new / name)
    ]
    assert linked == ["same", "deep/same"]
    assert (new / "same").stat().st_mtime_ns == 7_000_000_000
    assert [(new / name).read_text() for name in (*files, "link")] == [*files.values(), "text"]
    assert (before / "other").read_text() == "sent" and mode(before / "open") == 0o600
    beneath.take(new, -1, -1, copied=True, before=tmp_path / "nothing")


def test_copies_of_files_with_holes_have_holes(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.write(b"begin")
        file.seek(64 << 20)
        file.write(b"middle")
        file.truncate(1 << 40)
    os.link(sparse, tmp_path / "other")
    beneath.take(tmp_path, -1, -1)
    told = sparse.stat()
    assert told.st_size == 1 << 40 and told.st_blocks * 512 < 1 << 20
    with sparse.open("rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(64 << 20)
        assert file.read(7) == b"middle\0"


def test_take_refuses_a_second_name_of_somebody_elses_file(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", {"a": ""})
    os.chown(root, OTHER, OTHER)
    fill(tmp_path, {"secret": ""})
    os.link(tmp_path / "secret", root / "b")
    with pytest.raises(EngineError, match="b has a second name"):
        beneath.take(root, 0, 7)
    assert (tmp_path / "secret").stat().st_gid == 0


@as_root
def test_give_gives_everything_links_too(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", {"a": "", "folder/b": ""})
    (root / "link").symlink_to("/etc/passwd")
    beneath.give(root, OTHER, OTHER)
    assert {path.lstat().st_uid for path in (root, *root.rglob("*"))} == {OTHER}
    assert os.stat("/etc/passwd").st_uid == 0


def test_remove_removes_links_themselves(tmp_path: Path) -> None:
    fill(tmp_path, {"kept/x": "x", "gone/y": "y"})
    (tmp_path / "gone" / "link").symlink_to("../kept")
    (tmp_path / "link").symlink_to("kept")
    for name in ("gone", "link", "missing", "missing/inner"):
        beneath.remove(tmp_path / name)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["kept", "kept/x"]


@as_root
def test_remove_is_not_kept_from_its_end_by_who_still_writes_there(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", {"inner/x": ""})
    for path in (root, root / "inner"):
        os.chown(path, OTHER, OTHER)
        path.chmod(0o777)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.chdir(root / "inner")  # pytest's own directories are closed to others
            os.setuid(OTHER)
            for number in itertools.count():
                with suppress(OSError):
                    os.close(os.open(f"f{number}", os.O_CREAT | os.O_WRONLY))
                if number == 10:
                    os.write(writer, b"1")
        finally:
            os._exit(1)
    try:
        os.read(reader, 1)
        beneath.remove(root)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    assert os.listdir(tmp_path) == []


# --- while somebody exchanges names -------------------------------------------------------------------

ROUNDS = 200


@as_root
def test_nothing_outside_is_touched_while_a_directory_and_a_link_change_places(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", {"file": "secret"})
    outside.chmod(0o700)
    (outside / "file").chmod(0o600)
    site = fill(tmp_path / "site", {"media/file": "own"})
    link = site / "link"
    link.symlink_to(outside)
    for path in (site, *site.rglob("*")):
        os.chown(path, OTHER, OTHER, follow_symlinks=False)
    done: dict[str, int] = {}

    def tried(what: str, act: Callable[[], object]) -> None:
        with suppress(OSError, EngineError):
            assert act() in (None, b"own")
            done[what] = done.get(what, 0) + 1

    with exchanging(site / "media", site / "aside", link):
        for _round in range(ROUNDS):
            tried("make", lambda: beneath.make_directories(site, "media", 0o755, OTHER, OTHER))
            tried("read", lambda: beneath.read(site / "media" / "file"))
            tried("write", lambda: beneath.write(site / "media" / "file", b"own", 0o644, OTHER, OTHER))
            tried("give", lambda: beneath.take(site / "media", OTHER, OTHER))
    assert set(done) == {"make", "read", "write", "give"}, "each must have met the directory at least once"
    assert (outside / "file").read_text() == "secret" and os.listdir(outside) == ["file"]
    found = [(path.stat().st_uid, mode(path)) for path in (outside, outside / "file")]
    assert found == [(0, 0o700), (0, 0o600)]


def test_link_in_the_release_before_is_not_followed(tmp_path: Path) -> None:
    """Links in releases of earlier versions are root's now, and were the project's once."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "static/real").mkdir(parents=True)
    (tmp_path / "static/real/a.css").write_text("a")
    (tmp_path / "static/led").symlink_to(tmp_path / "elsewhere")
    top = os.open(tmp_path / "static", os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = {}
        for name in ("", "real", "led", "gone"):
            with beneath.folder_at(top, name) as folder:
                found[name] = folder and sorted(folder.others)
    finally:
        os.close(top)
    assert found == {"": ["led"], "real": ["a.css"], "led": None, "gone": None}
