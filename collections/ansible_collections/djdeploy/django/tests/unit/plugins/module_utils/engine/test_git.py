# SPDX-License-Identifier: GPL-3.0-or-later
"""A site's repository, read by real git."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import git
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.git import Repository
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import NO_COMMIT, QUARANTINE_VARIABLES
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed

if TYPE_CHECKING:
    from .conftest import Work

MISSING = "f" * 40


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("main", id="branch"),
        pytest.param("refs/heads/main", id="full_ref"),
        pytest.param("v1", id="annotated_tag"),
        pytest.param("HEAD", id="head"),
        pytest.param("{commit}", id="commit"),
        pytest.param("{commit:.7}", id="start_of_commit"),
    ],
)
def test_commit(work: Work, name: str) -> None:
    commit = work.commit("first")
    work.git("tag", "-a", "v1", "-m", "one")
    work.push("main", "v1")
    assert Repository(work.bare).commit(name.format(commit=commit)) == commit


@pytest.mark.parametrize(
    "name",
    ["nosuch", "", MISSING, "main:file", "--all", "--git-dir=/tmp", "-h", "main..main", "main\n", "$(id)", "../x"],
)
def test_commit_that_is_none(work: Work, name: str) -> None:
    work.commit("first", file="x")
    work.push("main")
    assert Repository(work.bare).commit(name) is None


def test_subject_and_commits_between(work: Work) -> None:
    first, second, third = work.commit("one"), work.commit("two: 'quoted'"), work.commit("three\n\nwith a body")
    work.push("main")
    repository = Repository(work.bare)
    assert repository.subject(third) == "three"
    assert repository.commits_between(first, third) == [f"{third[:7]} three", f"{second[:7]} two: 'quoted'"]
    assert repository.commits_between(None, second) == [f"{second[:7]} two: 'quoted'", f"{first[:7]} one"]
    assert repository.commits_between(third, first) == [], "going back brings no new commits"


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param("x" * 200, "x" * 200, id="just short enough"),
        pytest.param("x" * 201, "x" * 199 + "…", id="too long"),
        pytest.param("\N{ROCKET}" * 1_000_000, "\N{ROCKET}" * 199 + "…", id="megabytes"),
    ],
)
def test_long_subject(work: Work, subject: str, expected: str) -> None:
    work.commit("first")
    blob = work.git("hash-object", "-w", "--stdin", stdin="")
    tree = work.git("mktree", stdin=f"100644 blob {blob}\tfile\n")
    commit = work.git("commit-tree", "-F", "-", tree, stdin=subject)
    work.git("push", "--quiet", str(work.bare), f"{commit}:refs/heads/main")
    repository = Repository(work.bare)
    assert repository.subject(commit) == expected
    (line,) = repository.commits_between(None, commit)
    assert line.startswith(f"{commit[:7]} {subject[:100]}") and len(line) == git.SUBJECT and line.endswith("…")


def test_is_ancestor(work: Work) -> None:
    first, second = work.commit("one"), work.commit("two")
    work.push("main")
    repository = Repository(work.bare)
    assert repository.is_ancestor(first, second)
    assert repository.is_ancestor(first, first)
    assert not repository.is_ancestor(second, first)
    assert not repository.is_ancestor(MISSING, first)


def test_export_writes_the_tree_and_nothing_of_git(work: Work, tmp_path: Path) -> None:
    first = work.commit("one", manage_py="1", settings_py="1")
    (work.clone / "script").write_text("#!/bin/sh\n")
    (work.clone / "script").chmod(0o777)
    (work.clone / "link").symlink_to("settings_py")
    work.commit("two", settings_py="2")
    work.push("main")
    for revision, expected in ((first, "1"), ("main", "2")):
        target = tmp_path / expected
        target.mkdir()
        Repository(work.bare).export(revision, target, user=git.GIT_USER)
        assert (target / "settings_py").read_text() == expected
    assert {path.name for path in target.iterdir()} == {"manage_py", "settings_py", "script", "link"}
    assert os.readlink(target / "link") == "settings_py"
    assert stat.S_IMODE((target / "script").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "settings_py").stat().st_mode) == 0o644


def test_gitlinks_are_found(work: Work) -> None:
    """A repository within the repository, added without a .gitmodules: git only warns, and takes it for a commit."""
    first = work.commit("one", manage_py="1")
    inner = work.clone / "lib" / "inner thing"
    inner.mkdir(parents=True)
    for words in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m1"],
    ):
        subprocess.run(["git", "-C", str(inner), *words], check=True)
    second = work.commit("two", settings_py="2")
    work.push("main")
    assert Repository(work.bare).gitlinks(first) == []
    assert Repository(work.bare).gitlinks(second) == ["lib/inner thing"]
    with pytest.raises(EngineError, match="git failed"):
        Repository(work.bare).gitlinks(MISSING)


LINK = b"160000 commit " + b"1" * 40 + b"\t"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (b"", []),
        (b"100644 blob " + b"1" * 40 + b"\tfile\n", []),
        (LINK + b"lib/a b\n" + b"040000 tree x\tt\n" + LINK + "ü".encode() + b"\n", ["lib/a b", "ü"]),
        (b"100644 blob x\t" + b"x" * (git.ENTRY - 14) + LINK + b"y\n" + LINK + b"z\n", ["z"]),
        ((LINK + b"x\n") * 1000, ["x"] * git.LINKS_KEPT),
    ],
    ids=["none", "a file", "two", "a path that looks like one", "many"],
)
def test_linked(entries: bytes, expected: list[str]) -> None:
    assert git.linked(io.BytesIO(entries)) == expected


def test_export_of_what_is_not_there(work: Work, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"git failed \(status 128\)") as raised:
        Repository(work.bare).export(MISSING, tmp_path, user=git.GIT_USER)
    assert "not a" in raised.value.detail


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], 0),
        ([b"0\n"], 4096),
        ([b"4096\n", b"4097\n"], 3 * 4096),
        ([b"      -\n", b"10\n"], 2 * 4096),
    ],
    ids=["empty", "empty file", "blocks", "directory"],
)
def test_taken(sizes: list[bytes], expected: int) -> None:
    assert git.taken(sizes, 1 << 30) == expected


def test_taken_does_not_read_on_when_it_is_too_much() -> None:
    def without_end() -> Iterator[bytes]:
        while True:
            yield b"1048576\n"

    assert git.taken(without_end(), 1 << 22) > 1 << 22


def nested(work: Work, levels: int) -> str:
    """A commit of few bytes whose tree holds ten trees, each of which holds ten, ..."""
    blob = work.git("hash-object", "-w", "--stdin", stdin="x" * 5000)
    tree = work.git("mktree", stdin=f"100644 blob {blob}\tfile\n")
    for _level in range(levels):
        tree = work.git("mktree", stdin="".join(f"040000 tree {tree}\t{number}\n" for number in range(10)))
    commit = work.git("commit-tree", "-m", "many", tree)
    work.git("push", "--quiet", str(work.bare), f"{commit}:refs/heads/main")
    return commit


@pytest.mark.parametrize(
    ("levels", "most", "expected"), [(0, 8192, False), (1, 1 << 17, False), (1, 1 << 16, True), (12, 1 << 22, True)]
)
def test_exceeds(work: Work, levels: int, most: int, expected: bool) -> None:
    assert Repository(work.bare).exceeds(nested(work, levels), most) is expected


def test_exceeds_of_what_is_not_there(work: Work) -> None:
    with pytest.raises(EngineError, match="git failed"):
        Repository(work.bare).exceeds(MISSING, 1)


def test_export_of_a_name_that_is_too_long(work: Work, tmp_path: Path) -> None:
    """git has names that no file system has."""
    work.commit("first")
    blob = work.git("hash-object", "-w", "--stdin", stdin="x")
    tree = work.git("mktree", stdin=f"100644 blob {blob}\t{'n' * 300}\n")
    revision = work.git("commit-tree", "-m", "Long", tree)
    work.git("push", "--quiet", str(work.bare), f"{revision}:refs/heads/main")
    with pytest.raises(EngineError, match="the name of a file is too long for this host") as error:
        Repository(work.bare).export(revision, tmp_path, user=git.GIT_USER)
    assert "git ls-tree" in error.value.hint


def test_export_ends_when_attributes_make_more_of_a_tree(work: Work, tmp_path: Path) -> None:
    (work.clone / ".gitattributes").write_text("many export-subst\n")
    (work.clone / "many").write_text("$Format:%B$" * 2000)
    work.git("add", ".")
    work.git("commit", "--quiet", "--message", "x" * 2000)
    work.push("main")
    repository = Repository(work.bare)
    assert not repository.exceeds("main", 1 << 20), "git lists little"
    with pytest.raises(git.Larger):
        repository.export("main", tmp_path, user=git.GIT_USER, most=1 << 20)


# --- refs -----------------------------------------------------------------------------------------


def test_move_only_what_was_seen(work: Work) -> None:
    first, second, third = work.commit("one"), work.commit("two"), work.commit("three")
    work.push("main")
    repository, ref = Repository(work.bare), "refs/heads/main"
    assert not repository.move(ref, first, second), "somebody pushed meanwhile"
    assert repository.commit(ref) == third
    assert repository.move(ref, first, third)
    assert repository.commit(ref) == first
    assert not repository.move(ref, NO_COMMIT, third), "it is not taken away from whoever pushed meanwhile"
    assert repository.commit(ref) == first
    assert repository.move(ref, NO_COMMIT, first), "a first push that failed is taken back whole"
    assert repository.commit(ref) is None
    assert repository.move(ref, second, NO_COMMIT)
    assert repository.commit(ref) == second


# --- another repository ---------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["main", "v1", "{commit}"])
def test_fetch(work: Work, ref: str) -> None:
    commit = work.commit("elsewhere")
    work.git("tag", "v1")
    repository = Repository(work.bare)
    assert repository.fetch(str(work.clone), ref.format(commit=commit)) == commit
    assert repository.subject(commit) == "elsewhere"
    assert repository.commit("refs/heads/main") is None, "the local branches do not move"


def test_fetch_of_a_branch_that_was_forced(work: Work) -> None:
    repository = Repository(work.bare)
    work.commit("one")
    repository.fetch(str(work.clone), "main")
    work.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "instead")
    assert repository.subject(repository.fetch(str(work.clone), "main")) == "instead"


@pytest.mark.parametrize(
    ("url", "ref"), [pytest.param("{clone}", "nosuch", id="branch"), pytest.param("{clone}-gone", "main", id="url")]
)
def test_fetch_fails_with_what_git_said(work: Work, url: str, ref: str) -> None:
    work.commit("one")
    with pytest.raises(EngineError, match=f"cannot fetch '{ref}' from") as raised:
        Repository(work.bare).fetch(url.format(clone=work.clone), ref)
    assert "fatal" in raised.value.detail
    assert "djdeploy_sites" in raised.value.hint


# --- the objects of a push under way --------------------------------------------------------------


def test_quarantine_lets_a_push_be_read_before_it_is_accepted(work: Work) -> None:
    """What a pre-receive hook sees: objects in a directory of their own beside the repository's."""
    work.commit("accepted")
    work.push("main")
    incoming = work.bare / "objects" / "tmp_objdir-incoming-x"
    incoming.mkdir()
    new = work.commit("under way")
    env = {
        "GIT_OBJECT_DIRECTORY": str(incoming),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(work.bare / "objects"),
        "GIT_QUARANTINE_PATH": str(incoming),
    }
    for path in (work.clone / ".git" / "objects").glob("??/*"):
        (incoming / path.parent.name).mkdir(exist_ok=True)
        (incoming / path.parent.name / path.name).write_bytes(path.read_bytes())
    assert Repository(work.bare).commit(new) is None
    assert Repository(work.bare, quarantine=env).commit(new) == new
    assert Repository(work.bare, quarantine=env).subject(new) == "under way"


REPOSITORY = Path("/srv/shop/repo.git")
INCOMING = "/srv/shop/repo.git/objects/tmp_objdir-incoming-x"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({}, {}, id="no_push"),
        pytest.param({"GIT_OBJECT_DIRECTORY": ""}, {}, id="empty"),
        pytest.param({"GIT_OBJECT_DIRECTORY": INCOMING}, {"GIT_OBJECT_DIRECTORY": INCOMING}, id="absolute"),
        pytest.param(
            {"GIT_QUARANTINE_PATH": "./objects/tmp_objdir-incoming-x"}, {"GIT_QUARANTINE_PATH": INCOMING}, id="relative"
        ),
        pytest.param(
            {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{REPOSITORY}/objects:{INCOMING}"},
            {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{REPOSITORY}/objects:{INCOMING}"},
            id="two",
        ),
        pytest.param({"GIT_DIR": "/etc", "LD_PRELOAD": "/tmp/x.so", "PATH": "/tmp"}, {}, id="nothing_else_comes_in"),
    ],
)
def test_quarantined(variables: dict[str, str], expected: dict[str, str]) -> None:
    assert git.quarantined(REPOSITORY, variables) == expected


@pytest.mark.parametrize("name", QUARANTINE_VARIABLES)
@pytest.mark.parametrize(
    "value",
    [
        "/etc",
        "/srv/blog/repo.git/objects",
        "/srv/shop/repo.git",
        "/srv/shop/repo.git/objects-of-mine",
        "/srv/shop/repo.git/objects/../../../blog/repo.git/objects",
        "../../blog/repo.git/objects",
        "objects/../hooks",
        f"{INCOMING}:/etc",
        f"{INCOMING}:",
        ".",
        "~/x",
    ],
)
def test_quarantined_refuses_what_lies_elsewhere(name: str, value: str) -> None:
    with pytest.raises(EngineError, match="may not name objects outside its repository"):
        git.quarantined(REPOSITORY, {name: value})


def test_quarantined_refuses_a_link_that_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "repo.git" / "objects").mkdir(parents=True)
    (tmp_path / "repo.git" / "objects" / "link").symlink_to("/etc")
    with pytest.raises(EngineError, match="outside"):
        git.quarantined(tmp_path / "repo.git", {"GIT_OBJECT_DIRECTORY": "objects/link"})


def test_quarantined_where_sites_lie_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "repo.git" / "objects").mkdir(parents=True)
    (tmp_path / "srv").symlink_to("disk")
    place = str(tmp_path / "srv" / "repo.git" / "objects" / "tmp")
    assert git.quarantined(tmp_path / "srv" / "repo.git", {"GIT_OBJECT_DIRECTORY": place}) != {}


def test_git_runs_as_the_user_who_owns_the_repository() -> None:
    seen: dict[str, Any] = {}

    def run(argv: Any, **options: Any) -> Completed:
        seen.update(options, argv=argv)
        return Completed((), 0, "", "")

    Repository(REPOSITORY, run=run).git("log")
    assert seen["user"] == "git"
    assert seen["argv"] == ["git", "--git-dir=/srv/shop/repo.git", "log"]
    assert seen["env"] == {"HOME": "/var/lib/djdeploy/git", "GIT_TERMINAL_PROMPT": "0"}
