# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it prints, and no module imports it; Ansible forbids that to modules
"""The git door's own programs: what sshd starts for a key, and what git starts for a push.

They run as the unprivileged git user and decide nothing about a site; they ask the deployer.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

from . import client
from .errors import EngineError
from .events import rendered
from .paths import HOOKS, SitePaths
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
    "safe.directory": "*",  # the path is ours, looked up by name; the repository belongs to this very user
}
HOOK_OPERATIONS = {"pre-receive": RECEIVE, "post-receive": PUSHED}
CONNECTION_VARIABLE = "DJDEPLOY_CONNECTION_FD"


def receive(key: str, sites: Sequence[str]) -> int:
    """What a key's forced command runs (authorized_keys(5), `command=`): a push to one of its sites, or nothing.

    The hooks tell how it went through a pipe, for two things git does not do. It ignores the exit
    status of post-receive; this program fails in its place, so `git push` fails too. And when the
    pusher goes away it may move the branch and die before post-receive; this program then asks for
    the deploy in its place, so that a push that was accepted is never silently not live.
    """
    try:
        site = requested_site(os.environ.get("SSH_ORIGINAL_COMMAND"), sites)
    except EngineError as error:
        say(f"djdeploy: {error.message}\n  -> {error.hint}", error=True)
        return 1
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    connection = called_deployer()
    settings = [word for name, value in GIT_SETTINGS.items() for word in ("-c", f"{name}={value}")]
    child = os.fork()
    if child == 0:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_CONFIG")}
        environment |= {SITE_VARIABLE: site, KEY_VARIABLE: key, OUTCOME_VARIABLE: str(writer)}
        if connection:
            environment[CONNECTION_VARIABLE] = str(connection.fileno())
        os.execvpe("git", ["git", *settings, "receive-pack", str(SitePaths(site).repository)], environment)
    os.close(writer)
    if connection:
        connection.close()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # A git that ended well has waited for its hooks, but a `git gc` it leaves behind holds the pipe, too.
    # One that was killed may leave a hook at work, whose word counts.
    os.set_blocking(reader, status != 0)
    with os.fdopen(reader, "rb", buffering=0) as outcome:
        told = (outcome.read() or b"").decode().splitlines()
    orphaned = accepted_and_not_asked_for(told)
    if orphaned:
        for _event in client.ask(Request(op=PUSHED, site=site, door="push", who=key, updates=orphaned)):
            pass  # nobody is there to read it; the journal has it
    return status or (1 if FAILED in told else 0)


def called_deployer() -> socket.socket | None:
    """A connection to a deployer, for the hooks: it starts while git still reads the push, and serves both.

    None where none can be had: the hook tries for itself then, and tells the pusher what is wrong.
    """
    try:
        connection = client.connect()
    except EngineError:
        return None
    connection.set_inheritable(True)
    return connection


def inherited_connection() -> socket.socket | None:
    """The connection `receive` made, unless its deployer has ended meanwhile."""
    if CONNECTION_VARIABLE not in os.environ:
        return None
    connection = socket.socket(fileno=int(os.environ[CONNECTION_VARIABLE]))
    if client.has_ended(connection):
        connection.close()
        return None
    return connection


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
