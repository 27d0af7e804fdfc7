# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python process that has imported what others will need, and forks for each program that is to run.

Its text is given to an interpreter with `-c`; what it is to import, by JSON on standard input. It listens on a socket,
ends with the process that keeps it, and answers each connection with two messages: the process id of the
program, and how it ended, as wait() tells it.

The fork becomes what `python -c` or `python -m` would be with these descriptors, variables and directory. It returns
from `serve` and runs below, at the level of this module: so what leaves the program, an exception or SystemExit, is
handled by the interpreter itself. One thing is left out, as `leave` says: what is alive at the end is not finalized.

Standard library only, Python 3.10 or newer: it runs in the interpreter the agent is tested against.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.machinery
import json
import linecache
import os
import select
import socket
import stat
import sys
import threading
import time
import types

LARGEST = 1 << 20  # bytes of one message
AT_START = {"sitecustomize", "usercustomize"}  # imported by every new Python that finds them


def whole_input():
    """What is on standard input, past sys.stdin: each fork has that as nobody has read from it."""
    return b"".join(iter(lambda: os.read(0, LARGEST), b""))


def prepare(config):
    """Import what the programs will need; nothing of it may look for settings."""
    sys.path[1:1] = config["paths"]
    for name in config["imports"]:
        importlib.import_module(name)
    exec(compile(config["afterwards"], "<afterwards>", "exec", dont_inherit=True), {})
    for entry in config["paths"]:  # each program is given its own
        sys.path.remove(entry)
    gc.collect()
    gc.freeze()  # else the garbage collector of each fork would copy what it looks at


def listening(config):
    """The socket, under its name only when somebody answers there; beside it a file with what was imported."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(config["socket"] + ".draft")
    listener.listen(64)
    with open(config["socket"] + ".json", "w") as file:
        json.dump({"modules": sorted({name.partition(".")[0] for name in sys.modules} | AT_START)}, file)
    os.rename(config["socket"] + ".draft", config["socket"])
    os.write(1, b"ready\n")
    return listener


def serve(config):
    """Answer until the keeper ends. It returns only in a fork: (text, namespace) of the program to be."""
    prepare(config)
    own_path = sys.path[1:]
    keeper = os.pidfd_open(config["keeper"])
    listener = listening(config)
    poll = select.poll()
    for descriptor in (keeper, listener.fileno()):
        poll.register(descriptor, select.POLLIN)
    running = {}  # by the descriptor that tells of its end: (process id, connection)
    while True:
        for descriptor, _event in poll.poll():
            if descriptor == keeper:
                remove(config["socket"])  # a later process may have the number of this one, and look here
                os._exit(0)
            if descriptor in running:
                poll.unregister(descriptor)
                pid, connection = running.pop(descriptor)
                os.close(descriptor)
                reply(connection, os.waitpid(pid, 0)[1])
                connection.close()
                continue
            connection, _address = listener.accept()
            message, streams, _flags, _from = socket.recv_fds(connection, LARGEST, 3)
            if len(streams) != 3:  # whoever asked is gone again
                connection.close()
                continue
            pid = os.fork()
            if pid == 0:
                for each in (connection, listener):
                    each.detach()  # `become` closes the descriptors; nobody may close their numbers once more
                return become(json.loads(message), streams, own_path)
            for stream in streams:
                os.close(stream)
            ended = os.pidfd_open(pid)
            running[ended] = pid, connection
            poll.register(ended, select.POLLIN)
            reply(connection, pid)


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def reply(connection, number):
    try:
        connection.send(str(number).encode())
    except OSError:
        pass  # whoever asked is gone, as the parent of a process may be


def become(request, streams, own_path):
    """Make this fork what a new process would be before its first line; returns (text, namespace)."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that lists them
    if not stat.S_ISFIFO(os.fstat(0).st_mode):  # ours was one, and Python has noted what that can do
        encoding, errors = sys.stdin.encoding, sys.stdin.errors
        sys.stdin = sys.__stdin__ = open(0, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    option, program, *words = request["words"]
    first = "" if option == "-c" else os.getcwd()
    sys.path[:] = [first, *dict.fromkeys([*given, *own_path])]
    sys.argv = [option, *words]
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=__builtins__, __loader__=importlib.machinery.BuiltinImporter, __annotations__={})
    sys.modules["__main__"] = main
    sys.excepthook = without_our_frame
    if option == "-c":
        return program, main.__dict__
    return f"import runpy; runpy._run_module_as_main({program!r})", {}


def leave(status):
    """End as Python does, but for taking each object apart: with all that was imported, this takes half the time."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(status & 0xFF)


def keep_lines(code, text):
    """Let a traceback show lines of a program, as an interpreter from 3.13 on does for what it gets with `-c`.

    It does so in C and has no public name for it. Without this a traceback would show lines of this file, which was
    itself given with `-c`.
    """
    if hasattr(linecache, "_register_code"):
        linecache._register_code(code, text, "<string>")


def without_our_frame(kind, error, trace):
    """Show an exception nobody caught as it would be shown in a process of its own."""
    sys.__excepthook__(kind, error.with_traceback(trace.tb_next), trace.tb_next)


if __name__ == "__main__":
    text, namespace = serve(json.loads(whole_input()))
    try:
        code = compile(text, "<string>", "exec", dont_inherit=True)
        keep_lines(code, text)
        exec(code, namespace)
        status = 0
    except SystemExit as ending:
        if ending.code is not None and not isinstance(ending.code, int):
            raise
        status = ending.code or 0
    leave(status)
