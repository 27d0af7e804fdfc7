# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that are forked from one which has imported what they need, instead of started from nothing.

Most tests of the agent look at what it does in a project, not at how a Python starts; but most of their time went into
importing Django. `ForkServer.start` stands in for subprocess.Popen: the same pipes, variables, directory, session and
end, at a third of the cost. test_forking.py shows that a program cannot tell the difference. What could, is started
the ordinary way; `why_new` says what that is.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import BASE_ENVIRONMENT

SERVER = Path(__file__).with_name("fork_server.py")
# Variables Python, its C library or its linker reads when it starts. Of these the fork can be given anew:
AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_", "GLIBC_")
GIVEN_ANEW = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Server:
    """What there is to know of a server before it is asked.

    :param env: the variables it was started with.
    :param paths: the directories it imports from, besides those of its interpreter.
    :param modules: top-level names of what it has imported.
    """

    python: str
    env: Mapping[str, str]
    paths: Sequence[str] = ()
    modules: Set[str] = frozenset()


def read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that count when a Python starts, and never after."""
    return {name: env[name] for name in env if name.startswith(AT_START) and name not in GIVEN_ANEW}


def importable(directory: str | Path) -> set[str]:
    """The names a directory has modules for; a directory without an __init__.py goes before no module."""
    try:
        return {
            entry.name.partition(".")[0]
            for entry in os.scandir(directory)
            if entry.name.endswith((".py", ".so")) or os.path.exists(f"{entry.path}/__init__.py")
        }
    except OSError:
        return set()  # nothing is imported from there


def why_new(
    words: Sequence[str], env: Mapping[str, str], cwd: str, account: Mapping[str, Any], server: Server
) -> str | None:
    """Why a program needs a new process; None when a fork does as well.

    :param account: what makes subprocess become another user.
    """
    if words[0] != server.python or len(words) < 3 or words[1] not in ("-c", "-m"):
        return "another program, or other options"
    if account:
        return "another user"
    if read_at_start(env) != read_at_start(server.env):
        return "variables that are read when a Python starts"
    if not (os.path.isdir(cwd) and os.access(cwd, os.X_OK)):
        return "a directory that cannot be entered"
    path = [entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry not in ("", *server.paths)]
    for directory in (cwd, *(os.path.join(cwd, entry) for entry in path)):
        if brought := importable(directory) & server.modules:
            return f"modules that go before those of the server: {', '.join(sorted(brought))}"
    return None


class ForkedProcess:
    """As much of subprocess.Popen as `runner.run` uses."""

    def __init__(self, words: Sequence[str], connection: socket.socket, streams: Mapping[str, IO[str] | None]) -> None:
        """:param connection: tells the process id, and when it ends how."""
        self.args = list(words)
        self.connection = connection
        self.stdin, self.stdout, self.stderr = (streams[name] for name in ("stdin", "stdout", "stderr"))
        self.returncode: int | None = None
        self.pid = self.answer()

    def answer(self) -> int:
        """:raises RuntimeError: when the server is gone."""
        message = self.connection.recv(64)
        if not message:
            raise RuntimeError("the process that forks for the tests has died: run them again")
        return int(message)

    def wait(self, timeout: float | None = None) -> int:
        """:raises subprocess.TimeoutExpired: when it does not end in time."""
        if self.returncode is None:
            self.connection.settimeout(timeout)
            try:
                self.returncode = os.waitstatus_to_exitcode(self.answer())
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self.connection.close()
        return self.returncode


class ForkServer:
    """Starts programs as forks of one process, which is started itself when it is first asked.

    Whoever knows `place` may ask it: ansible-test runs each test in a fork of its own, and a module that is tested
    asks for the agent in its turn.

    :param python: the interpreter.
    :param place: path of its socket. It is there when the server is ready.
    :param keeper: the process with which the server ends: the one that runs all the tests.
    :param imports: modules it imports before it forks.
    :param paths: directories it needs for that; the programs get theirs by PYTHONPATH.
    :param env: its variables; None: those the engine gives its programs.
    :param afterwards: code it runs after the imports.
    """

    def __init__(
        self,
        python: str,
        place: Path,
        keeper: int,
        imports: Sequence[str],
        *,
        paths: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        afterwards: str = "",
    ) -> None:
        self.place = place
        self.config = {
            "socket": str(place),
            "keeper": keeper,
            "imports": list(imports),
            "paths": list(paths),
            "afterwards": afterwards,
        }
        self.server = Server(python, dict(BASE_ENVIRONMENT if env is None else env), tuple(paths))
        self.process: subprocess.Popen[bytes] | None = None

    def ready(self) -> Server:
        """The server with what it has imported; it is started if need be."""
        if not self.server.modules:
            if not self.place.exists():
                self.launch()
            modules = json.loads(Path(f"{self.place}.json").read_text())["modules"]
            self.server = replace(self.server, modules=frozenset(modules))
        return self.server

    def launch(self) -> None:
        """Start the server and wait until it listens.

        :raises RuntimeError: when it ends before that, with what it said.
        """
        self.place.parent.mkdir(mode=0o700, exist_ok=True)
        self.process = subprocess.Popen(
            [self.server.python, "-c", SERVER.read_text()],
            stdin=subprocess.PIPE,  # pipes, as its forks have: what Python knows of its streams stays true in them
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.server.env,
            cwd="/",
            start_new_session=True,
        )
        stdin, stdout = cast("IO[bytes]", self.process.stdin), cast("IO[bytes]", self.process.stdout)
        with stdin:
            stdin.write(json.dumps(self.config).encode())
        with stdout:
            lines = []
            for line in stdout:
                if line == b"ready\n":
                    return
                lines.append(line)
        raise RuntimeError(f"{self.server.python} cannot be forked from:\n{b''.join(lines).decode()}")

    def start(
        self,
        words: Sequence[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Mapping[str, str],
        cwd: str,
        text: bool,
        errors: str,
        start_new_session: bool,
        umask: int,
        **account: Any,
    ) -> subprocess.Popen[str] | ForkedProcess:
        """What subprocess.Popen is to `runner.run`."""
        if why_new(words, env, cwd, account, self.ready()):
            return subprocess.Popen(
                words,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd=cwd,
                text=text,
                errors=errors,
                start_new_session=start_new_session,
                umask=umask,
                **account,
            )
        request = {"words": list(words[1:]), "env": dict(env), "cwd": cwd, "umask": umask}
        with ExitStack() as theirs:
            streams: dict[str, IO[str] | None] = {"stdin": None}
            if stdin == subprocess.PIPE:
                read, write = os.pipe()
                streams["stdin"] = open(write, "w", errors=errors)  # noqa: SIM115
            else:
                read = os.open(os.devnull, os.O_RDONLY)
            given = [read]
            for name in ("stdout", "stderr"):
                read, write = os.pipe()
                streams[name] = open(read, errors=errors)  # noqa: SIM115
                given.append(write)
            for descriptor in given:
                theirs.callback(os.close, descriptor)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            connection.connect(str(self.place))
            socket.send_fds(connection, [json.dumps(request).encode()], given)
        return ForkedProcess(words, connection, streams)
