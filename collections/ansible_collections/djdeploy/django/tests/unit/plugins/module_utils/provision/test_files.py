# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as wanted: what differs is changed, nothing else, and all of it or nothing."""

from __future__ import annotations

import getpass
import grp
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.provision import files
from ansible_collections.djdeploy.django.plugins.module_utils.provision.files import Change, Found, Wanted

USER, GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
TEXT = Wanted("/x", content="new\n")
FILE = Found("file", b"new\n", "", "root", "root", 0o644)
DIRECTORY = Wanted("/x", "directory", mode=0o755)


@pytest.mark.parametrize(
    ("wanted", "found", "differs"),
    [
        pytest.param(TEXT, FILE, (), id="same file"),
        pytest.param(TEXT, Found(), ("kind",), id="new file"),
        pytest.param(TEXT, Found("file", b"old", "", "root", "root", 0o644), ("content",), id="other text"),
        pytest.param(TEXT, Found("file", b"new\n", "", "shop", "shop", 0o600), ("owner", "group", "mode"), id="access"),
        pytest.param(TEXT, Found("link", target="/y"), ("kind",), id="a file takes the place of a link"),
        pytest.param(DIRECTORY, Found(), ("kind",), id="new directory"),
        pytest.param(DIRECTORY, Found("directory", owner="root", group="root", mode=0o755), (), id="same directory"),
        pytest.param(DIRECTORY, Found("directory", owner="root", group="root", mode=0o700), ("mode",), id="closed one"),
        pytest.param(Wanted("/x", "link", target="/y"), Found("link", target="/y"), (), id="same link"),
        pytest.param(Wanted("/x", "link", target="/y"), Found("link", target="/z"), ("target",), id="other target"),
        pytest.param(Wanted("/x", "absent"), Found(), (), id="already absent"),
        pytest.param(Wanted("/x", "absent"), Found("link", target="/y"), ("kind",), id="a link goes"),
    ],
)
def test_differences(wanted: Wanted, found: Found, differs: tuple[str, ...]) -> None:
    assert files.differences(wanted, found) == differs


@pytest.mark.parametrize("state", ["file", "link", "absent"])
def test_a_directory_is_never_taken_away(state: str) -> None:
    with pytest.raises(EngineError, match="/x is a directory, but should be"):
        files.differences(Wanted("/x", state), Found("directory"))


def test_plan_takes_the_same_wish_twice_and_no_two_wishes() -> None:
    assert len(files.plan([TEXT, Wanted("/x", content="new\n")], {})) == 1
    with pytest.raises(EngineError, match="in two ways"):
        files.plan([TEXT, Wanted("/x", content="other")], {})


def wanted(path: Path, **keys: Any) -> Wanted:
    return Wanted(str(path), **{"owner": USER, "group": GROUP, **keys})


def answering(returncode: int, seen: list[Sequence[str]]) -> Any:
    def run(argv: Sequence[str], **_: object) -> Completed:
        seen.append(argv)
        return Completed(tuple(argv), returncode, "", "emerg: unexpected }")

    return run


@pytest.fixture
def wishes(tmp_path: Path) -> list[Wanted]:
    (tmp_path / "present").write_text("old\n")
    (tmp_path / "present").chmod(0o640)
    (tmp_path / "gone").symlink_to("present")
    (tmp_path / "link").symlink_to("present")
    return [
        wanted(tmp_path / "directory", state="directory", mode=0o750),
        wanted(tmp_path / "directory" / "file", content="text\n", mode=0o600),
        wanted(tmp_path / "present", content="new\n", mode=0o644),
        wanted(tmp_path / "link", state="link", target="directory"),
        wanted(tmp_path / "gone", state="absent"),
    ]


def looked(wishes: list[Wanted]) -> dict[str, Found]:
    return {wish.dest: files.look(wish.dest) for wish in wishes}


def test_apply_does_what_the_plan_says_and_leaves_nothing_to_do(wishes: list[Wanted], tmp_path: Path) -> None:
    seen: list[Sequence[str]] = []
    changes = files.plan(wishes, looked(wishes))
    assert len(changes) == 5
    files.apply(changes, answering(0, seen), ["nginx", "-t"])
    assert seen == [["nginx", "-t"]]
    assert files.plan(wishes, looked(wishes)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "link", "present"]


def test_apply_puts_everything_back_when_the_program_refuses(wishes: list[Wanted]) -> None:
    before = looked(wishes)
    with pytest.raises(EngineError, match="nginx -t refuses the new files") as caught:
        files.apply(files.plan(wishes, before), answering(1, []), ["nginx", "-t"])
    assert "unexpected }" in caught.value.detail
    assert looked(wishes) == before


def test_nothing_is_validated_when_nothing_changes() -> None:
    seen: list[Sequence[str]] = []
    files.apply([], answering(1, seen), ["nginx", "-t"])
    assert seen == []


def test_an_owner_that_does_not_exist_leaves_no_file(tmp_path: Path) -> None:
    wish = wanted(tmp_path / "file", content="text", owner="nobody-of-that-name")
    with pytest.raises(EngineError, match="does not exist on this host"):
        files.apply(files.plan([wish], {}), answering(0, []))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wish", "found", "before", "after", "header"),
    [
        pytest.param(TEXT, Found(), "", "new\n", "/x (file, 0644 root:root)", id="new file"),
        pytest.param(
            TEXT, Found("file", b"old\n", "", "root", "root", 0o644), "old\n", "new\n", "/x", id="only the text"
        ),
        pytest.param(
            TEXT,
            Found("file", b"new\n", "", "root", "root", 0o600),
            "file, 0600 root:root\n",
            "file, 0644 root:root\n",
            "/x (file, 0644 root:root)",
            id="only access",
        ),
        pytest.param(
            Wanted("/x", "link", target="/y"),
            Found("link", target="/z"),
            "link to /z\n",
            "link to /y\n",
            "/x",
            id="link",
        ),
        pytest.param(Wanted("/x", "absent"), Found("link", target="/y"), "link to /y\n", "absent\n", "/x", id="gone"),
    ],
)
def test_diff(wish: Wanted, found: Found, before: str, after: str, header: str) -> None:
    shown = files.diff(files.plan([wish], {"/x": found})[0])
    assert (shown["before"], shown["after"], shown["after_header"]) == (before, after, header)


# --- logs: files that others write ----------------------------------------------------------------


def log_and_rotated(path: Path, mode: int = 0o640) -> list[Wanted]:
    return files.with_rotated(wanted(path, state="log", mode=mode))


def looked_at_logs(wishes: list[Wanted]) -> dict[str, Found]:
    return {wish.dest: files.look(wish.dest, content=False) for wish in wishes}


def test_a_log_is_made_private_and_what_is_in_it_stays(tmp_path: Path) -> None:
    names = ("a.log", "a.log.1", "a.log.2.gz", "a.log-20260101", "a.log.moved", "b.log", "a.log.1.swp")
    for name in names:
        (tmp_path / name).write_text(f"line of {name}\n")
        (tmp_path / name).chmod(0o644)
    wishes = [*log_and_rotated(tmp_path / "a.log"), *log_and_rotated(tmp_path / "new.log")]
    changes = files.plan(wishes, looked_at_logs(wishes))
    assert [Path(change.wanted.dest).name for change in changes] == [
        "a.log",
        "a.log-20260101",
        "a.log.1",
        "a.log.2.gz",
        "new.log",
    ]
    told = files.diff(changes[0])
    assert told["before"].startswith("file, 0644 ") and told["after"].startswith("file, 0640 ")
    assert files.diff(changes[-1])["before_header"].endswith("(absent)")
    files.apply(changes, answering(0, []))
    assert files.plan(wishes, looked_at_logs(wishes)) == []
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o640} == {
        "a.log",
        "a.log.1",
        "a.log.2.gz",
        "a.log-20260101",
        "new.log",
    }
    assert all((tmp_path / name).read_text() == f"line of {name}\n" for name in names)
    assert (tmp_path / "new.log").read_text() == ""


def test_a_log_keeps_its_lines_when_the_program_refuses(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("a line\n")
    (tmp_path / "a.log").chmod(0o644)
    wishes = [wish for name in ("a.log", "new.log") for wish in log_and_rotated(tmp_path / name)]
    with pytest.raises(EngineError, match="nginx -t refuses"):
        files.apply(files.plan(wishes, looked_at_logs(wishes)), answering(1, []), ["nginx", "-t"])
    assert (tmp_path / "a.log").read_text() == "a line\n"
    assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "new.log").exists()


def test_a_log_in_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    """The first check of a bare host: nginx is not installed."""
    (wish,) = log_and_rotated(tmp_path / "nginx/a.log")
    (change,) = files.plan([wish], looked_at_logs([wish]))
    assert files.diff(change)["before_header"].endswith("(absent)")


# --- while somebody exchanges what is there -------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to somebody else")
def test_a_directory_that_becomes_a_link_all_the_time(tmp_path: Path) -> None:
    """A site owns `shared`, and may put a link in the place of `shared/media` at any moment."""
    outside, shared = tmp_path / "outside", tmp_path / "shared"
    outside.mkdir(mode=0o700)
    shared.mkdir()
    (shared / "link").symlink_to(outside)
    os.chown(shared, 12345, 12345)
    wish = wanted(shared / "media", state="directory", owner="nobody", group="nogroup", mode=0o755)
    end = threading.Event()

    def exchange() -> None:
        while not end.is_set():
            for name in ("link", "aside"):
                with suppress(OSError):
                    (shared / "media").rename(shared / "aside")
                    (shared / name).rename(shared / "media")
                with suppress(OSError):
                    (shared / "link").symlink_to(outside)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _round in range(200):
            with suppress(FileExistsError):
                (shared / "link").symlink_to(outside)
            files.apply([Change(wish, files.look(wish.dest), ("owner",))], answering(0, []))
            assert (outside.stat().st_uid, outside.stat().st_mode & 0o777) == (0, 0o700)
    finally:
        end.set()
        thread.join()


@pytest.mark.parametrize("differs", [("owner",), ("mode",)])
def test_the_owner_of_a_link_in_the_place_of_a_file_is_not_set(tmp_path: Path, differs: tuple[str, ...]) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "victim").chmod(0o600)
    (tmp_path / "file").symlink_to("victim")
    wish = wanted(tmp_path / "file", content="", mode=0o666)
    with pytest.raises(EngineError, match="cannot write"):
        files.apply([Change(wish, Found("file"), differs)], answering(0, []))
    assert (tmp_path / "victim").stat().st_mode & 0o777 == 0o600


def test_a_link_on_the_way_that_is_not_roots(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "way").symlink_to("../secret")
    (tmp_path / "site").chmod(0o777)
    wish = wanted(tmp_path / "site" / "way" / "file", content="x", mode=0o644)
    with pytest.raises(EngineError, match="root does not follow"):
        files.look(wish.dest)
    with pytest.raises(EngineError, match="root does not follow"):
        files.apply([Change(wish, Found(), ("kind",))], answering(0, []))
    assert list((tmp_path / "secret").iterdir()) == []


def test_what_is_exchanged_while_we_look_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two questions a link became a directory: the second one, readlink(2), is told EINVAL."""
    place = tmp_path / "media"
    place.symlink_to("other")
    readlink = os.readlink

    def exchanged(name: str, **options: Any) -> str:
        monkeypatch.setattr(os, "readlink", readlink)
        place.unlink()
        place.mkdir()
        return readlink(name, **options)

    monkeypatch.setattr(os, "readlink", exchanged)
    assert files.look(str(place)).kind == "directory"
    (tmp_path / "round").symlink_to("round")
    monkeypatch.setattr(os, "readlink", lambda name, **_options: readlink("/"))
    with pytest.raises(EngineError, match=r"cannot read .*Invalid argument"):
        files.look(str(tmp_path / "round"))
