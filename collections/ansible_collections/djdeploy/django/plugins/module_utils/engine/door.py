# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it prints, and no module imports it; Ansible forbids that to modules
"""The git door's own programs: what sshd starts for a key, and what git starts for a push.

They run as the unprivileged git user and decide nothing about a site; they ask the deployer.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import client
from .errors import EngineError
from .events import rendered
from .paths import GIT_MEMORY, HOOKS, SitePaths
from .push import QUARANTINE_VARIABLES, RefUpdate, parse_update, push_options, requested_site
from .request import PUSHED, RECEIVE, Request
from .terminal import say

SITE_VARIABLE, KEY_VARIABLE, OUTCOME_VARIABLE = "DJDEPLOY_SITE", "DJDEPLOY_KEY", "DJDEPLOY_OUTCOME_FD"
PIPE_ROOM = 60_000  # bytes; a pipe holds 65,536 (pipe(7)), and short lines follow
ACCEPTED, ASKED, FAILED = "accepted ", "asked", "failed"
GIT_SETTINGS = {
    "core.hooksPath": str(HOOKS),
    "receive.fsckObjects": "true",
    "receive.denyDeletes": "false",  # the deployer judges deletions, so that it can say why
    "receive.autogc": "true",
    "receive.advertisePushOptions": "true",
    "transfer.hideRefs": "refs/djdeploy",
    # What a push holds may be far larger than the push (git-config(1)): of large files only a part is in memory.
    "core.bigFileThreshold": "64m",
    "pack.windowMemory": "256m",
    "pack.threads": "2",
    "safe.directory": "*",  # the path is ours, looked up by name; the repository belongs to this very user
}
HOOK_OPERATIONS = {"pre-receive": RECEIVE, "post-receive": PUSHED}
CONNECTION_VARIABLE, CALL_VARIABLE = "DJDEPLOY_CONNECTION_FD", "DJDEPLOY_CALL_FD"
OPEN_AT_ONCE = 16  # pushes one key may have open, whether or not they send anything
FIRST_TO_GO = 500  # of a push when the host's memory runs out (proc(5), oom_score_adj): before any site and database


def receive(key: str, sites: Sequence[str]) -> int:
    """What a key's forced command runs (authorized_keys(5), `command=`): a push to one of its sites, or nothing.

    The hooks tell how it went through a pipe, for two things git does not do. It ignores the exit
    status of post-receive; this program fails in its place, so `git push` fails too. And when the
    pusher goes away it may move the branch and die before post-receive; this program then asks for
    the deploy in its place, so that a push that was accepted is never silently not live.
    """
    try:
        site = requested_site(os.environ.get("SSH_ORIGINAL_COMMAND"), sites)
        refuse_many(key, opened_before(key, running_programs(os.geteuid()), os.getpid()))
    except EngineError as error:
        say(f"djdeploy: {error.message}\n  -> {error.hint}", error=True)
        return 1
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    # Not connected yet: who only knocks takes no place of those who push. The hooks share it, once it is.
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.set_inheritable(True)
    bell, rings = os.pipe()
    os.set_inheritable(rings, True)
    limits = SitePaths(site).receive_config
    settings = [word for name, value in GIT_SETTINGS.items() for word in ("-c", f"{name}={value}")]
    settings += ["-c", f"include.path={limits}"]
    read_before = bytes_read()
    child = os.fork()
    if child == 0:
        bound_memory()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_CONFIG")}
        environment |= {SITE_VARIABLE: site, KEY_VARIABLE: key, OUTCOME_VARIABLE: str(writer)}
        environment |= {CONNECTION_VARIABLE: str(connection.fileno()), CALL_VARIABLE: str(rings)}
        os.execvpe("git", ["git", *settings, "receive-pack", str(SitePaths(site).repository)], environment)
    os.close(writer)
    os.close(rings)
    threading.Thread(target=call_when_rung, args=(bell, connection), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # A git that ended well has waited for its hooks, but a `git gc` it leaves behind holds the pipe, too.
    # One that was killed may leave a hook at work, whose word counts.
    os.set_blocking(reader, status != 0)
    with os.fdopen(reader, "rb", buffering=0) as outcome:
        told = (outcome.read() or b"").decode().splitlines()
    if not told and (most := push_size(limits)) and bytes_read() - read_before > most:
        say(too_large(site, most), error=True)
    orphaned = accepted_and_not_asked_for(told)
    if orphaned:
        for _event in client.ask(Request(op=PUSHED, site=site, door="push", who=key, updates=orphaned)):
            pass  # nobody is there to read it; the journal has it
    return status or (1 if FAILED in told else 0)


def bound_memory() -> None:
    """Let this program and what it starts take no more than GIT_MEMORY each, and be ended before what serves."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = GIT_MEMORY if hard == resource.RLIM_INFINITY else min(hard, GIT_MEMORY)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with suppress(OSError):  # it is less than what whoever started us wanted already
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_GO))


def call_when_rung(bell: int, connection: socket.socket) -> None:
    """Call a deployer as soon as a hook is started: it starts beside the hook's own program, and serves both hooks.

    Where none can be had, the hook tries for itself, and tells the pusher what is wrong.

    :param bell: end of a pipe whose other end the hooks have; `pre-receive` writes into it (see roles/engine).
    """
    if os.read(bell, 1):
        with suppress(EngineError):
            client.connect(connection=connection)
    connection.close()  # the hooks have it: when they have ended, the deployer is to know


def inherited_connection() -> socket.socket | None:
    """The connection of this push, made now unless it is there; None when its deployer has ended meanwhile.

    :raises EngineError: when no deployer can be reached.
    """
    if CONNECTION_VARIABLE not in os.environ:
        return None
    connection = socket.socket(fileno=int(os.environ[CONNECTION_VARIABLE]))
    client.connect(connection=connection)
    if client.has_ended(connection):
        connection.close()
        return None
    return connection


@dataclass(frozen=True)
class Program:
    """A program that runs, as proc(5) shows it.

    :param began: when, in ticks since the boot (stat, starttime).
    :param words: of cmdline.
    """

    began: int
    words: tuple[str, ...]


def running_programs(user: int, proc: Path = Path("/proc")) -> dict[int, Program]:
    """The programs that run as this user, by process id. What another's calls itself proves nothing: argv is free.

    :param user: its number; the directory of a process is its effective user's (proc(5)).
    """
    found = {}
    for path in proc.glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):  # it has ended
            if path.stat().st_uid != user:
                continue
            words = tuple((path / "cmdline").read_bytes().decode(errors="replace").split("\0"))
            fields = (path / "stat").read_bytes().decode(errors="replace").rpartition(")")[2].split()
            found[int(path.name)] = Program(int(fields[19]), words)
    return found


def opened_before(key: str, programs: Mapping[int, Program], own: int) -> int:
    """How many pushes of a key were begun before this one and are open: of many at once the first are let in."""
    started = ("djdeploy_engine", "receive", f"--key={key}")
    order = {pid: (each.began, pid) for pid, each in programs.items() if contains(each.words, started)}
    return sum(1 for pid, place in order.items() if pid != own and place < order.get(own, (sys.maxsize, own)))


def contains(words: Sequence[str], part: Sequence[str]) -> bool:
    return any(tuple(words[at : at + len(part)]) == tuple(part) for at in range(len(words)))


def refuse_many(key: str, others: int) -> None:
    """:raises EngineError: when a key has as many pushes open as it may."""
    if others >= OPEN_AT_ONCE:
        raise EngineError(
            f"the key {key} has {others} pushes open, and a key may have {OPEN_AT_ONCE}",
            "wait for them, or end those that hang (ssh connections to git@ of this host); then push again",
        )


def bytes_read(io: Path = Path("/proc/self/io")) -> int:
    """What this program and its children that have ended have read (proc(5), io); 0 where nobody counts."""
    try:
        return int(re.findall(r"^rchar: (\d+)$", io.read_text(), re.MULTILINE)[0])
    except (OSError, IndexError):
        return 0


def push_size(config: Path) -> int:
    """The most bytes git takes in one push, as the role git_repo wrote it; 0 where nothing is said."""
    try:
        found = re.search(r"^\s*maxInputSize = (\d+)([KMG])$", config.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) << {"K": 10, "M": 20, "G": 30}[found[2]] if found else 0


def too_large(site: str, most: int) -> str:
    """What to add to git's own word for a push it did not read to its end."""
    return (
        f"djdeploy: the push is larger than this site takes at once: {most / (1 << 20):g} MiB (limits.push_size)\n"
        f"  -> leave out what does not belong into git, push in parts (git push HOST <older commit>:refs/heads/part), "
        f"or raise limits.push_size of {site} in djdeploy_sites and run site.yml"
    )


def accepted_and_not_asked_for(told: Sequence[str]) -> tuple[RefUpdate, ...]:
    """The refs a push was let in with, if post-receive never asked for their deploy.

    Whether they have really moved is seen by the deployer, which looks at the branch.

    :param told: the lines the hooks wrote into the pipe.
    """
    if ASKED in told:
        return ()
    return tuple(parse_update(line.removeprefix(ACCEPTED)) for line in told if line.startswith(ACCEPTED))


def tell_receive(lines: Sequence[str]) -> None:
    """Write into the pipe of the `receive` this hook runs under, whole lines and never more than it holds.

    `receive` reads only when git has ended, so what does not fit (a push of hundreds of branches) is
    left out and not waited for.
    """
    if OUTCOME_VARIABLE in os.environ:
        text = "".join(f"{line}\n" for line in lines).encode()
        whole = text if len(text) <= PIPE_ROOM else text[:PIPE_ROOM].rpartition(b"\n")[0] + b"\n"
        os.write(int(os.environ[OUTCOME_VARIABLE]), whole)


def given_options() -> list[str]:
    """The options of `git push -o`, as a hook is told them (githooks(5), GIT_PUSH_OPTION_COUNT)."""
    count = int(os.environ.get("GIT_PUSH_OPTION_COUNT") or 0)
    return [os.environ[f"GIT_PUSH_OPTION_{number}"] for number in range(count)]


def hook(name: str) -> int:
    """A hook of the bare repository: hand the pushed refs to the deployer and show what it says."""
    failed = True
    try:
        allow, declared = push_options(given_options())
        request = Request(
            op=HOOK_OPERATIONS[name],
            site=os.environ[SITE_VARIABLE],
            door="push",
            who=os.environ[KEY_VARIABLE],
            updates=tuple(parse_update(line) for line in sys.stdin),
            quarantine={name: os.environ[name] for name in QUARANTINE_VARIABLES if name in os.environ},
            allow=allow,
            declared=declared,
        )
        if request.op == PUSHED:
            tell_receive([ASKED])
        for event in client.ask(request, inherited_connection()):
            text = rendered(event)
            if text:
                say(text)
            if event["event"] == "result":
                failed = not event["ok"]
    except EngineError as error:
        say(f"{error.message}\n  -> {error.hint}")
    if failed:
        tell_receive([FAILED])
    elif request.op == RECEIVE:
        tell_receive([f"{ACCEPTED}{update.old} {update.new} {update.ref}" for update in request.updates])
    return 1 if failed else 0
