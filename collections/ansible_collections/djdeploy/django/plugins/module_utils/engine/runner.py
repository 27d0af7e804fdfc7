# SPDX-License-Identifier: GPL-3.0-or-later
"""The only place where the engine starts another program."""

# pylint: disable=ansible-bad-function  # it works without Ansible too, so run_command of a module is not there

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, cast

from .agent_secrets import cut_mark
from .errors import EngineError

BASE_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}

# Seconds that a child which outlives its program may keep the output open; then it is killed. Only daemons do.
LEFT_BEHIND = 5.0
# Seconds to read the rest of an output whose writers have ended. A busy host takes a while; the only one to take all of
# it is a daemon that has left the program's session and still holds the output.
REST = 60.0

# A program of a project may say anything, and as much of it as it likes, into the memory of a process of root's.
BOTH, STDOUT, STDERR = ("stdout", "stderr"), ("stdout",), ("stderr",)
KEPT = 64 << 10  # bytes of each end of an output that is bounded; of what is between them only their number
HEARD = 1 << 20  # bytes of it that are passed on as they come: a build that talks a lot still shows that it works
LONGEST_LINE = KEPT // 4  # characters of each end of one of its lines
MOST = 256 << 20  # bytes of an output that is read by us: the largest known, a list of 100,000 files, takes 10 MB
PIECE = 64 << 10  # characters read at once


@dataclass(frozen=True)
class Completed:
    """A program that ended.

    :param argv: what was run; never holds a secret, secrets go by environment or standard input.
    :param returncode: exit status, negative for a signal.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Runner(Protocol):
    """Runs a program to its end. Tests pass their own."""

    def __call__(
        self,
        argv: Sequence[str | Path],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        bounded: Collection[str] = (),
        most: int = MOST,
        kept: int = KEPT,
    ) -> Completed: ...


Process = subprocess.Popen[bytes]


class Starter(Protocol):
    """Starts a program on open files, for as long as a body runs at most; see `started`."""

    def __call__(
        self,
        argv: Sequence[str | Path],
        stdin: IO[bytes] | int,
        stdout: IO[bytes] | int,
        stderr: IO[bytes],
        user: str | None,
        env: Mapping[str, str],
        timeout: float,
    ) -> AbstractContextManager[Process]: ...


class TooMuch(Exception):
    """A program said more than it may."""


@dataclass
class Ends:
    """The beginning and the end of what a program says, as whole lines.

    :param head: bytes kept of the beginning.
    :param tail: bytes kept of the end; one line at least.
    """

    head: float = KEPT
    tail: int = KEPT
    first: list[str] = field(default_factory=list)
    last: deque[str] = field(default_factory=deque)
    first_size: int = 0
    last_size: int = 0
    left_out: int = 0

    def add(self, line: str) -> bool:
        """:returns: whether the line still belongs to the beginning."""
        size = len(line.encode())
        if not self.last and self.first_size + size <= self.head:
            self.first.append(line)
            self.first_size += size
            return True
        self.last.append(line)
        self.last_size += size
        while self.last_size > self.tail and len(self.last) > 1:
            size = len(self.last.popleft().encode())
            self.last_size -= size
            self.left_out += size
        return False

    def rest(self) -> list[str]:
        """What comes behind the beginning."""
        return [*([f"{cut_mark(self.left_out)}\n"] if self.left_out else []), *self.last]

    def text(self) -> str:
        return "".join([*self.first, *self.rest()])


def lines_of(stream: IO[str], *, bounded: bool, most: int = MOST, longest: int = LONGEST_LINE) -> Iterator[str]:
    """The lines of a stream with their newlines, each in bounded memory.

    :param bounded: leave out the middle of long lines, and read for ever.
    :param longest: characters of each end of a long line then.
    :raises TooMuch: when it is not bounded and there is more than `most`.
    """
    pieces: list[str] = []
    length = left_out = total = 0
    while piece := stream.readline(PIECE):
        pieces.append(piece)
        length += len(piece)
        total += len(piece.encode())
        if not bounded and total > most:
            raise TooMuch
        if bounded and length > 2 * longest + PIECE:
            whole = "".join(pieces)
            middle = whole[longest:-longest]
            left_out += len(middle.encode())
            pieces = [whole[:longest], whole[-longest:]]
            length = 2 * longest
        if piece.endswith("\n"):
            yield shortened("".join(pieces), left_out, bounded=bounded, longest=longest)
            pieces, length, left_out = [], 0, 0
    if pieces:
        yield shortened("".join(pieces), left_out, bounded=bounded, longest=longest)


def shortened(line: str, left_out: int, *, bounded: bool, longest: int = LONGEST_LINE) -> str:
    """A line without its middle if it is too long.

    :param left_out: bytes that were left out of its middle before.
    """
    if not bounded or (len(line) <= 2 * longest and not left_out):
        return line
    left_out += len(line[longest:-longest].encode())
    return f"{line[:longest]}{cut_mark(left_out)}{line[-longest:]}"


def user_arguments(user: str | None) -> dict[str, object]:
    """The arguments that make subprocess drop from root to `user` with that user's groups.

    :raises EngineError: when there is no such user.
    """
    if user is None:
        return {}
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise EngineError(
            f"the unix user {user!r} does not exist on this host",
            "run site.yml: it creates the users of every site",
        ) from None
    if account.pw_uid == os.geteuid():
        return {}
    if os.geteuid() != 0:
        raise EngineError(f"only root can become the unix user {user!r}", "run it as root: `become: true`, sudo")
    groups = [group.gr_gid for group in grp.getgrall() if user in group.gr_mem]
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


def run(
    argv: Sequence[str | Path],
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    on_stdout: Callable[[str], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
    bounded: Collection[str] = (),
    most: int = MOST,
    kept: int = KEPT,
    start: Callable[..., subprocess.Popen[str]] = subprocess.Popen,
) -> Completed:
    """Run a program and return what it said; see `Runner`.

    The environment is `BASE_ENVIRONMENT` plus `env`: nothing of the caller's own leaks in.

    :param user: unix user to become; needs root unless it is the present one.
    :param timeout: seconds, after which the program and its children are killed.
    :param on_stdout: called with each line as it comes, without its newline.
    :param on_stderr: the same for standard error.
    :param bounded: which of `stdout` and `stderr` are a project's to fill: of these, `kept` bytes of each end are
        returned, and the listener gets `HEARD` bytes as they come and the end at the end.
    :param most: bytes of an output that is not bounded.
    :param kept: bytes of each end of one that is; a quarter of it are kept of each end of a line.
    :param start: makes the process; tests pass their own.
    :raises EngineError: when the program cannot be started, runs out of time, or says more than `most`; it is killed
        then.
    """
    words = tuple(str(word) for word in argv)
    try:
        process = start(
            words,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**BASE_ENVIRONMENT, **(env or {})},
            cwd=str(cwd) if cwd is not None else "/",
            text=True,
            errors="replace",
            start_new_session=True,
            umask=0o022,
            **user_arguments(user),
        )
    except OSError as error:
        raise EngineError(
            f"cannot start {words[0]}: {error.strerror or error}",
            f"see that the user {user!r} may reach it, and {cwd or '/'}" if user else "",
        ) from error
    collected = {name: Ends(kept, kept) if name in bounded else Ends(head=float("inf")) for name in BOTH}
    too_much: list[str] = []

    def read(name: str, stream, listener: Callable[[str], None] | None) -> None:  # type: ignore[no-untyped-def]
        heard = Ends(head=HEARD) if name in bounded else Ends(head=float("inf"))
        with stream:
            try:
                for line in lines_of(stream, bounded=name in bounded, most=most, longest=kept // 4):
                    collected[name].add(line)
                    if listener is not None and (name not in bounded or heard.add(line)):
                        listener(line.rstrip("\n"))
            except TooMuch:
                too_much.append(name)
                kill_group(process.pid)
        if listener is not None:
            for line in heard.rest():
                listener(line.rstrip("\n"))

    readers = [
        threading.Thread(target=read, args=("stdout", process.stdout, on_stdout), daemon=True),
        threading.Thread(target=read, args=("stderr", process.stderr, on_stderr), daemon=True),
    ]
    for reader in readers:
        reader.start()
    if process.stdin is not None:  # aside: a program that never reads must not outlast its time
        threading.Thread(target=feed, args=(process.stdin, stdin), daemon=True).start()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        kill_group(process.pid)
        process.wait()
        for reader in readers:  # its last words may still be in the pipe
            reader.join(REST)
        raise EngineError(
            f"{words[0]} did not end within {timeout:g} s and was killed",
            detail=collected["stderr"].text(),
        ) from None
    for reader in readers:
        reader.join(LEFT_BEHIND)
    if any(reader.is_alive() for reader in readers):
        kill_group(process.pid)
        for reader in readers:
            reader.join(REST)
    if too_much:
        raise EngineError(
            f"{words[0]} said more than {most >> 20} MB and was killed", detail=collected["stderr"].text()
        )
    return Completed(words, process.returncode, collected["stdout"].text(), collected["stderr"].text())


@contextmanager
def started_ahead(argv: Sequence[str | Path]) -> Iterator[subprocess.Popen[str]]:
    """A program that is started now, and that `run` takes over later: its `start`. It is killed with the body.

    Until then nobody reads what it says, so it must not say much.

    :raises EngineError: when it cannot be started.
    """
    try:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=BASE_ENVIRONMENT,
            cwd="/",
            text=True,
            errors="replace",
            start_new_session=True,
            umask=0o022,
        )
    except OSError as error:
        raise EngineError(f"cannot start {argv[0]}: {error.strerror or error}") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_group(process.pid)
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with suppress(BrokenPipeError, ValueError):  # `run` has closed those that it took over
                    stream.close()


def foreground(argv: Sequence[str | Path], env: Mapping[str, str]) -> int:
    """Run a program with our own terminal and files, for a person who waits; returns its exit status.

    :param env: as for `run`.
    :raises KeyboardInterrupt: when the person does not wait any longer.
    """
    return subprocess.call([str(word) for word in argv], env={**BASE_ENVIRONMENT, **env})


def feed(stream: IO[str], text: str) -> None:
    try:
        with stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # it ended without reading; its exit status tells why


def kill_group(pid: int) -> None:
    """Kill a process that leads its own session, with all its children."""
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        pass


def pipe(
    producer: Sequence[str | Path],
    consumer: Sequence[str | Path],
    *,
    producer_user: str | None,
    consumer_user: str | None,
    producer_env: Mapping[str, str] | None = None,
    producer_memory: int | None = None,
) -> None:
    """Run `producer | consumer`, each as its own user.

    :param producer_memory: bytes the producer may take for data (prlimit(1), RLIMIT_DATA); None: any.

    :raises EngineError: when either of them fails; what it said is the detail.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as answered:
        first = subprocess.Popen(
            [*(["prlimit", f"--data={producer_memory}"] if producer_memory else []), *map(str, producer)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**BASE_ENVIRONMENT, **(producer_env or {})},
            cwd="/",
            **user_arguments(producer_user),  # type: ignore[call-overload]
        )
        second = subprocess.Popen(
            [str(word) for word in consumer],
            stdin=first.stdout,
            stdout=subprocess.DEVNULL,
            stderr=answered,
            env=BASE_ENVIRONMENT,
            cwd="/",
            umask=0o022,
            **user_arguments(consumer_user),  # type: ignore[call-overload]
        )
        first.stdout.close()  # else a consumer that gives up would leave the producer writing for ever
        ended = [(consumer, second.wait(), answered), (producer, first.wait(), said)]
        if first.returncode != -signal.SIGPIPE:
            ended.reverse()
        for program, status, file in ended:
            if status:
                raise EngineError(f"{program[0]} failed (status {status})", detail=ends_of(file))


def save(
    argv: Sequence[str | Path],
    file: IO[bytes],
    *,
    user: str | None,
    env: Mapping[str, str],
    timeout: float,
    start: Starter | None = None,
) -> None:
    """Run a program whose standard output goes into an open file: the user it runs as need not be able to open it.

    :param timeout: seconds, after which it is killed.
    :param start: starts it; None: it is a child of this process.
    :raises EngineError: when it cannot be started, fails or runs out of time.
    """
    begun = start or started
    with tempfile.TemporaryFile() as said, begun(argv, subprocess.DEVNULL, file, said, user, env, timeout) as process:
        process.wait()
        require_success(argv, process, said)


def load(
    argv: Sequence[str | Path],
    file: IO[bytes],
    *,
    through: Sequence[str | Path] = (),
    before: str = "",
    after: str = "",
    user: str | None,
    env: Mapping[str, str],
    timeout: float,
    start: Starter | None = None,
) -> None:
    """Run a program that reads an open file, through another program if need be: `through < file | argv`.

    :param before: text it reads first.
    :param after: text it reads last, and only when `through` did not fail: so half an input can be told from a
        whole one, for example by the COMMIT in it.
    :param start: starts both; None: they are children of this process.
    :raises EngineError: when one cannot be started, fails or runs out of time.
    """
    begun = start or started
    with ExitStack() as stack:
        said, told = (stack.enter_context(tempfile.TemporaryFile()) for _time in range(2))
        source: IO[bytes] = file
        reader = None
        if through:
            reader = stack.enter_context(begun(through, file, subprocess.PIPE, told, user, env, timeout))
            source = cast("IO[bytes]", reader.stdout)
        writer = stack.enter_context(begun(argv, subprocess.PIPE, subprocess.DEVNULL, said, user, env, timeout))
        stream = cast("IO[bytes]", writer.stdin)
        try:
            stream.write(before.encode())
            shutil.copyfileobj(source, stream, 1 << 20)
            if reader is not None:
                reader.wait()
                require_success(through, reader, told)
            stream.write(after.encode())
            stream.close()
        except BrokenPipeError:
            pass  # it ended early; its exit status tells why
        writer.wait()
        require_success(argv, writer, said)


@contextmanager
def waiting(argv: Sequence[str | Path], *, user: str | None, timeout: float) -> Iterator[None]:
    """A program beside the body, told by the end of its standard input that the body has come to its own.

    When the body fails, the program is killed.

    :raises EngineError: when it cannot be started, fails or runs out of time.
    """
    with (
        tempfile.TemporaryFile() as said,
        started(argv, subprocess.PIPE, subprocess.DEVNULL, said, user, {}, timeout) as process,
    ):
        yield
        cast("IO[bytes]", process.stdin).close()
        process.wait()
        require_success(argv, process, said)


@contextmanager
def started(
    argv: Sequence[str | Path],
    stdin: IO[bytes] | int,
    stdout: IO[bytes] | int,
    stderr: IO[bytes],
    user: str | None,
    env: Mapping[str, str],
    timeout: float,
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs as long as the body at most, and no longer than its time.

    :raises EngineError: when it cannot be started.
    """
    try:
        process = subprocess.Popen(
            [str(word) for word in argv],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**BASE_ENVIRONMENT, **env},
            cwd="/",
            start_new_session=True,
            umask=0o077,
            **user_arguments(user),  # type: ignore[call-overload]
        )
    except OSError as error:
        raise EngineError(f"cannot start {argv[0]}: {error.strerror or error}") from error
    watchman = threading.Timer(timeout, kill_group, [process.pid])
    watchman.start()
    try:
        yield process
    finally:
        watchman.cancel()
        if process.poll() is None:
            kill_group(process.pid)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()


def require_success(argv: Sequence[str | Path], process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    """:raises EngineError: when a program that ended did not end well; its first words are the message."""
    if process.returncode == 0:
        return
    text = ends_of(said).strip()
    first = text.splitlines()[0] if text else f"status {process.returncode}"
    raise EngineError(f"{argv[0]} failed: {first}", detail=text)


def ends_of(file: IO[bytes]) -> str:
    """The text of an open file, without its middle if it is long."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= 2 * KEPT:
        return file.read().decode(errors="replace")
    first = file.read(KEPT).decode(errors="replace")
    file.seek(size - KEPT)
    return f"{first}{cut_mark(size - 2 * KEPT)}{file.read().decode(errors='replace')}"
