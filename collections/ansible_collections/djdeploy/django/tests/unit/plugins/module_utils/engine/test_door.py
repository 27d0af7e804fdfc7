# SPDX-License-Identifier: GPL-3.0-or-later
"""The git door whole: a real `git push`, the real forced command and hooks, and a deployer that does as it is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import deploy, deployer, door, git
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.git import Repository
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import RefUpdate
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

if TYPE_CHECKING:
    from .conftest import Work

TEMPLATES = next(path for path in Path(__file__).resolve().parents if path.name == "django") / "roles/engine/templates"
COLLECTIONS = next(path for path in Path(__file__).resolve().parents if path.name == "ansible_collections").parent
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {collections!r})
from ansible_collections.djdeploy.django.plugins.module_utils.engine import __main__, client, door, paths
paths.SITES_ROOT = Path({sites!r})
paths.CONFIG_ROOT = Path({config!r})
client.connect.__defaults__ = (Path({socket!r}),)
door.GIT_SETTINGS["core.hooksPath"] = {hooks!r}
sys.exit(__main__.main(sys.argv[1:]))
"""
Operation = Callable[[Site, Request, Progress], None]


def done(progress: Progress, message: str = "") -> None:
    progress.emit({"event": "result", "ok": True, "message": message})


def take(site: Site, request: Request, progress: Progress) -> None:
    """Take every push and say what is in it, read as it lies in quarantine."""
    repository = Repository(site.paths.repository, quarantine=request.quarantine)
    for update in request.updates:
        progress.say(f"{request.op} {repository.subject(update.new)!r} of {update.ref} by {request.who}")
    done(progress, "shop is live" if request.op == "pushed" else "")


def refuse(site: Site, request: Request, progress: Progress) -> None:
    raise EngineError("it is refused", "mend it")


def break_later(site: Site, request: Request, progress: Progress) -> None:
    if request.op == "pushed":
        raise EngineError("it did not go live", "mend it and push again")
    done(progress)


class Hung(BaseException):
    """Ends a deployer as a kill would: no result is sent."""


def die(site: Site, request: Request, progress: Progress) -> None:
    progress.say("building")
    raise Hung


def die_later(site: Site, request: Request, progress: Progress) -> None:
    if request.op == "pushed":
        die(site, request, progress)
    done(progress)


class Door:
    """What a pusher meets."""

    def __init__(self, work: Work, root: Path) -> None:
        self.work, self.root = work, root
        self.asked: list[Request] = []
        self.operation: Operation = take
        self.connections = 0

    def program(self, *words: str, path: str = "", command: str | None = None) -> subprocess.CompletedProcess[str]:
        """The program of a forced command."""
        env = {"PATH": f"{path}:{os.environ['PATH']}", "GIT_CONFIG_COUNT": "1"}
        if command is not None:
            env["SSH_ORIGINAL_COMMAND"] = command
        argv = [sys.executable, str(self.root / "program"), *words]
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)

    def push(self, *refspecs: str, site: str = "shop", verb: str = "push") -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_SSH_COMMAND": str(self.root / "ssh"),
            "GIT_SSH_VARIANT": "simple",
        }
        argv = ["git", verb, f"ssh://git@host/{site}", *refspecs]
        return subprocess.run(
            argv, cwd=self.work.clone, env=env, capture_output=True, text=True, timeout=120, check=False
        )

    def tip(self, branch: str = "main") -> str | None:
        return Repository(self.work.bare).commit(f"refs/heads/{branch}")


@pytest.fixture
def pushes(
    host: Path, work: Work, shop: Site, short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Door]:
    shop.paths.repository.symlink_to(work.bare)
    hooks = host / "hooks"
    hooks.mkdir()
    values = {"sites": str(shop.paths.root.parent), "socket": str(short_directory / "deployer"), "hooks": str(hooks)}
    values["config"] = str(host / "config")
    (host / "program").write_text(PROGRAM.format(collections=str(COLLECTIONS), **values))
    run = f"exec {sys.executable} {host / 'program'}"
    scripts = {host / "ssh": f'SSH_ORIGINAL_COMMAND="$2" {run} receive --key=laptop shop blog'}
    for name in door.HOOK_OPERATIONS:
        hook = (TEMPLATES / f"{name}.j2").read_text().replace("{{ ansible_managed | comment }}", "")
        scripts[hooks / name] = hook.replace("exec /usr/local/bin/djdeploy", run)
    for script, text in scripts.items():
        script.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)

    found = Door(work, host)

    def carry_out(site: Site, request: Request, progress: Progress) -> None:
        found.asked.append(request)
        found.operation(site, request, progress)

    monkeypatch.setattr(deploy, "carry_out", carry_out)
    monkeypatch.setattr(deployer, "load_site", lambda name: shop)
    monkeypatch.setattr(deployer, "GIT_USER", git.GIT_USER)

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                deployer.serve(connection)
            except Hung:
                connection.shutdown(socket.SHUT_RDWR)

    def listen() -> None:
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            found.connections += 1
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(values["socket"])
        listener.listen(8)
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def test_push_goes_live_and_says_how(pushes: Door) -> None:
    commit = pushes.work.commit("sell apples", file="1")
    answer = pushes.push("main")
    assert answer.returncode == 0, answer.stderr
    assert pushes.tip() == commit
    assert [(request.op, request.who, request.door) for request in pushes.asked] == [
        ("receive", "laptop", "push"),
        ("pushed", "laptop", "push"),
    ]
    assert pushes.asked[0].updates == pushes.asked[1].updates
    assert "receive 'sell apples' of refs/heads/main by laptop" in answer.stderr
    assert "pushed 'sell apples' of refs/heads/main by laptop" in answer.stderr
    assert "remote: shop is live" in answer.stderr
    assert pushes.connections == 1, "both hooks are served by the deployer that was called for the push"


def test_push_whose_deployer_ended_between_the_hooks(pushes: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = deployer.answer
    monkeypatch.setattr(deployer, "answer", lambda *arguments: answers(*arguments) and None)
    commit = pushes.work.commit("sell apples")
    assert pushes.push("main").returncode == 0
    assert (pushes.tip(), pushes.connections) == (commit, 2)


def test_push_of_several_refs_is_one_request(pushes: Door) -> None:
    pushes.work.commit("sell apples")
    assert pushes.push("main", "main:feature").returncode == 0
    assert [len(request.updates) for request in pushes.asked] == [2, 2]


@pytest.mark.parametrize(
    ("operation", "moves", "says"),
    [
        pytest.param(refuse, False, "it is refused", id="refused"),
        pytest.param(die, False, "the deployer stopped before it had a result", id="deployer_dies"),
        pytest.param(break_later, True, "it did not go live", id="fails_after_it_was_accepted"),
        pytest.param(die_later, True, "the deployer stopped before it had a result", id="deployer_dies_later"),
    ],
)
def test_push_that_does_not_go_live_fails(pushes: Door, operation: Operation, moves: bool, says: str) -> None:
    commit = pushes.work.commit("sell apples")
    pushes.operation = operation
    answer = pushes.push("main")
    assert answer.returncode != 0
    assert says in answer.stderr
    assert "  -> " in answer.stderr
    assert pushes.tip() == (commit if moves else None)


def test_push_when_no_deployer_listens(pushes: Door, short_directory: Path) -> None:
    pushes.work.commit("sell apples")
    (short_directory / "deployer").unlink()
    answer = pushes.push("main")
    assert answer.returncode != 0
    assert "the deployer does not answer" in answer.stderr
    assert "systemctl status" in answer.stderr
    assert pushes.tip() is None


@pytest.mark.parametrize(
    ("verb", "site", "says"),
    [
        pytest.param("push", "other", "this key may not push to '/other'", id="other_site"),
        pytest.param("push", "../shop", "this key may not push to", id="path"),
        pytest.param("fetch", "shop", "this key can only push", id="fetch"),
    ],
)
def test_key_opens_nothing_else(pushes: Door, verb: str, site: str, says: str) -> None:
    pushes.work.commit("sell apples")
    answer = pushes.push("main", site=site, verb=verb)
    assert answer.returncode != 0
    assert says in answer.stderr
    assert pushes.asked == []


def test_login_without_a_command(pushes: Door) -> None:
    answer = pushes.program("receive", "--key=laptop", "shop")
    assert answer.returncode == 1
    assert "there is no shell here" in answer.stderr


# --- limits ---------------------------------------------------------------------------------------


def test_who_only_knocks_takes_no_deployer(pushes: Door, host: Path) -> None:
    """A receive-pack that is told nothing, as of a client that waits for ever."""
    argv = [sys.executable, str(host / "program"), "receive", "--key=laptop", "shop"]
    env = {"PATH": os.environ["PATH"], "SSH_ORIGINAL_COMMAND": PUSH}
    knocks = [subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _time in range(2)]
    for knock in knocks:
        assert knock.stdout and knock.stdout.read(4), "git has answered"
    assert pushes.connections == 0
    commit = pushes.work.commit("sell apples")
    assert pushes.push("main").returncode == 0
    for knock in knocks:
        knock.communicate()
    assert (pushes.tip(), pushes.connections) == (commit, 1)


def test_push_that_is_larger_than_the_site_takes(pushes: Door, host: Path) -> None:
    (host / "config" / "git").mkdir(parents=True)
    (host / "config" / "git" / "shop.conf").write_text("[receive]\n\tmaxInputSize = 64K\n")
    small = pushes.work.commit("sell apples", apples="1")
    assert pushes.push("main").returncode == 0
    pushes.work.commit("sell everything", noise=os.urandom(200_000).hex())
    answer = pushes.push("main")
    assert answer.returncode != 0
    assert "limits.push_size" in answer.stderr and "0.0625 MiB" in answer.stderr and "djdeploy_sites" in answer.stderr
    assert pushes.tip() == small


def receiving(key: str, *began: int) -> dict[int, door.Program]:
    words = ("/usr/bin/python3", "-sP", "-m", "djdeploy_engine", "receive", f"--key={key}", "shop", "")
    return {100 + number: door.Program(moment, words) for number, moment in enumerate(began)}


@pytest.mark.parametrize(
    ("programs", "own", "expected"),
    [
        pytest.param({}, 100, 0, id="none"),
        pytest.param(receiving("laptop", 5), 100, 0, id="itself"),
        pytest.param(receiving("laptop", 5, 6, 7), 101, 1, id="those before"),
        pytest.param(receiving("laptop", 5, 5, 5), 102, 2, id="in the same moment"),
        pytest.param(
            {**receiving("lap", 1, 1), 9: door.Program(7, receiving("laptop", 7)[100].words)}, 9, 0, id="others"
        ),
    ],
)
def test_opened_before(programs: dict[int, door.Program], own: int, expected: int) -> None:
    assert door.opened_before("laptop", programs, own) == expected


@pytest.mark.parametrize(
    ("owner", "expected"),
    [pytest.param(os.geteuid(), 1, id="the git user's"), pytest.param(os.geteuid() + 1, 0, id="another's")],
)
def test_running_programs_of_a_user(tmp_path: Path, owner: int, expected: int) -> None:
    (tmp_path / "100").mkdir()
    (tmp_path / "100" / "cmdline").write_text("\0".join(receiving("laptop", 7)[100].words))
    (tmp_path / "100" / "stat").write_text(f"100 (python3) S {' '.join(['7'] * 40)}")
    assert door.opened_before("laptop", door.running_programs(owner, tmp_path), 9) == expected


def test_key_with_too_many_pushes_open() -> None:
    door.refuse_many("laptop", door.OPEN_AT_ONCE - 1)
    with pytest.raises(EngineError, match=f"the key laptop has {door.OPEN_AT_ONCE} pushes open"):
        door.refuse_many("laptop", door.OPEN_AT_ONCE)


# --- a git that behaves oddly ---------------------------------------------------------------------

PUSH = "git-receive-pack '/shop'"
UPDATE = f"{'1' * 40} {'2' * 40} refs/heads/main"
NEVER_ENDS = "setsid sleep 600 > /dev/null 2>&1 < /dev/null & echo $! > {}"


def odd_git(root: Path, script: str) -> str:
    """A directory for PATH with a `git` of this text; `$PIPE` is where hooks tell how it went."""
    (root / "bin").mkdir()
    (root / "bin" / "git").write_text(f"#!/bin/sh\nPIPE=/proc/self/fd/$DJDEPLOY_OUTCOME_FD\n{script}\n")
    (root / "bin" / "git").chmod(0o755)
    return str(root / "bin")


@pytest.mark.parametrize(
    ("script", "status", "asked"),
    [
        pytest.param("exit 0", 0, 0, id="nothing_to_push"),
        pytest.param("exit 3", 3, 0, id="git_fails"),
        pytest.param(f"echo 'accepted {UPDATE}' > $PIPE; echo asked > $PIPE", 0, 0, id="went_well"),
        pytest.param("echo asked > $PIPE; echo failed > $PIPE", 1, 0, id="failed_after_it_was_accepted"),
        pytest.param(f"echo 'accepted {UPDATE}' > $PIPE; exit 1", 1, 1, id="ended_before_it_asked"),
        pytest.param(f"(sleep 0.3; echo 'accepted {UPDATE}' > $PIPE) & exit 1", 1, 1, id="hook_outlives_git"),
    ],
)
def test_receive_believes_the_hooks(pushes: Door, host: Path, script: str, status: int, asked: int) -> None:
    pushes.operation = lambda site, request, progress: done(progress)
    answer = pushes.program("receive", "--key=laptop", "shop", path=odd_git(host, script), command=PUSH)
    assert answer.returncode == status, answer.stderr
    assert len(pushes.asked) == asked
    if asked:
        assert pushes.asked[0].op == "pushed"
        assert pushes.asked[0].updates == (RefUpdate("1" * 40, "2" * 40, "refs/heads/main"),)


def test_receive_does_not_wait_for_what_git_leaves_behind(pushes: Door, host: Path) -> None:
    """`git gc` goes on in the background, with every descriptor it was given."""
    git = odd_git(host, NEVER_ENDS.format(host / "left"))
    began = time.monotonic()
    answer = pushes.program("receive", "--key=laptop", "shop", path=git, command=PUSH)
    os.kill(int((host / "left").read_text()), signal.SIGKILL)
    assert answer.returncode == 0
    assert time.monotonic() - began < 120


def test_receive_gives_git_the_site_and_none_of_the_callers_settings(pushes: Door, host: Path) -> None:
    script = f'env > {host}/env; echo "$@" > {host}/words'
    pushes.program("receive", "--key=laptop", "shop", path=odd_git(host, script), command=PUSH)
    words, variables = (host / "words").read_text().split(), (host / "env").read_text().splitlines()
    assert words[-2:] == ["receive-pack", str(host / "sites_root" / "shop" / "repo.git")]
    assert "receive.fsckObjects=true" in words
    assert {"DJDEPLOY_SITE=shop", "DJDEPLOY_KEY=laptop"} <= set(variables)
    assert not [line for line in variables if line.startswith("GIT_CONFIG")]


def test_receive_bounds_the_memory_of_git(pushes: Door, host: Path) -> None:
    script = f"ulimit -d > {host}/most; cat /proc/self/oom_score_adj > {host}/order"
    pushes.program("receive", "--key=laptop", "shop", path=odd_git(host, script), command=PUSH)
    assert int((host / "most").read_text()) == door.GIT_MEMORY >> 10
    assert int((host / "order").read_text()) >= door.FIRST_TO_GO


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([f"accepted {UPDATE}"], 1, id="accepted"),
        pytest.param([f"accepted {UPDATE}", f"accepted {UPDATE}"], 2, id="two"),
        pytest.param([f"accepted {UPDATE}", "asked"], 0, id="asked"),
        pytest.param([f"accepted {UPDATE}", "asked", "failed"], 0, id="asked_and_failed"),
        pytest.param(["failed"], 0, id="refused"),
    ],
)
def test_accepted_and_not_asked_for(told: list[str], expected: int) -> None:
    assert len(door.accepted_and_not_asked_for(told)) == expected


@pytest.mark.parametrize(
    ("count", "whole"), [pytest.param(3, True, id="few"), pytest.param(2000, False, id="more_than_a_pipe_holds")]
)
def test_tell_receive_never_waits_for_a_reader(count: int, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv(door.OUTCOME_VARIABLE, str(writer))
    lines = [f"{door.ACCEPTED}{'0' * 40} {'a' * 40} refs/heads/branch-{number:04d}" for number in range(count)]
    door.tell_receive(lines)
    door.tell_receive([door.ASKED])
    os.close(writer)
    with os.fdopen(reader) as outcome:
        told = outcome.read().splitlines()
    assert told[:-1] == lines[: len(told) - 1]
    assert told[-1] == door.ASKED
    assert (len(told) == count + 1) is whole
