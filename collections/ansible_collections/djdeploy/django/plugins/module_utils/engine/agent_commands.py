# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's steps that run what the project or the task brings: `command` and `shell`."""

# pylint: disable=ansible-bad-function  # a program: it prints and exits; Ansible forbids that to modules
# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import json
import linecache
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .agent_databases import connection_for
from .agent_secrets import HIDDEN
from .agent_words import Failure, Outcome, Request, connecting, explained, first_line, frames_of, outcome

SNIPPET = "<code>"  # what tracebacks call the file of a snippet


# --- A management command --------------------------------------------------------------------------------------


def command(request: Request, predict: bool) -> Outcome:
    """Any manage.py command, with the words and the exit status manage.py would have."""
    from django.core.management import ManagementUtility

    argv = [str(word) for word in request["argv"]]
    refuse_words(argv)
    read_only = bool(request.get("read_only"))
    changed_pattern = pattern(request, "changed_pattern")
    failed_pattern = pattern(request, "failed_pattern")
    if changed_pattern and read_only:
        raise Failure("request", "changed_pattern contradicts read_only", "give one of them")
    done = already(request)
    if done:
        return outcome(False, argv=argv, rc=None, data=None, reason=f"not run: {done}")
    if predict and not read_only:
        return outcome(True, argv=argv, rc=None, data=None, reason="not run in check mode")
    rc, words = 0, None
    with reading(request.get("stdin")):
        try:
            ManagementUtility(["manage.py", *argv]).fetch_command(argv[0]).run_from_argv(["manage.py", *argv])
        except SystemExit as stop:
            if isinstance(stop.code, str):
                print(stop.code, file=sys.stderr)
                words = first_line(stop)
            rc = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except EOFError as error:
            raise Failure(
                "command",
                f"manage.py {argv[0]} asked a question that nobody answers",
                "give --noinput, or the answers in `stdin`",
                argv=argv,
            ) from error
    if rc:
        words = words or last_complaint(argv[0])
        message = f"manage.py {argv[0]} ended with status {rc}" + (f": {words}" if words else "")
        raise Failure("command", message, "" if words else "see what it printed, in `stdout`", argv=argv, rc=rc)
    said = printed()
    if failed_pattern and failed_pattern.search(said):
        raise Failure("command", f"manage.py {argv[0]} printed what failed_pattern looks for", argv=argv, rc=rc)
    data = parsed(said, argv) if request.get("parse") == "json" else None
    changed = bool(changed_pattern.search(said)) if changed_pattern else not read_only
    return outcome(changed, argv=argv, rc=rc, data=data)


def refuse_words(argv: list[str]) -> None:
    """:raises Failure: for words that cannot be a command of this project."""
    import difflib

    from django.core.management import get_commands

    if not argv:
        raise Failure("request", "no manage.py command was given")
    for word in argv:
        if word.split("=")[0] in ("--settings", "--pythonpath"):
            raise Failure("request", f"{word} comes too late: Django is already set up", "use the option of that name")
    known = get_commands()
    if argv[0] not in known:
        near = difflib.get_close_matches(argv[0], known, 1)
        raise Failure(
            "command",
            f"manage.py {argv[0]} ended with status 1: there is no such command",
            f"did you mean {near[0]}?" if near else "see which there are: manage.py help --commands",
            argv=argv,
            rc=1,
        )


def pattern(request: Request, name: str) -> re.Pattern[str] | None:
    """:raises Failure: when it is not a regular expression."""
    text = request.get(name)
    try:
        return re.compile(text, re.MULTILINE) if text is not None else None
    except re.error as error:
        raise Failure(
            "request", f"{name} is not a regular expression: {error}", "quote what is meant literally"
        ) from None


def already(request: Request) -> str:
    """Why the command has nothing to do, by `creates` and `removes`; empty when it has."""
    creates, removes = request.get("creates"), request.get("removes")
    if creates and os.path.lexists(creates):
        return f"{creates} exists"
    if removes and not os.path.lexists(removes):
        return f"{removes} does not exist"
    return ""


@contextmanager
def reading(text: str | None) -> Iterator[None]:
    """Let standard input be this text, for programs the command starts, too. Without a text it is at its end."""
    import tempfile

    if text is None:
        yield
        return
    kept = sys.stdin
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        empty = os.dup(0)
        os.dup2(file.fileno(), 0)
    try:
        with open(0, encoding="utf-8", closefd=False) as sys.stdin:
            yield
    finally:
        os.dup2(empty, 0)
        os.close(empty)
        sys.stdin = kept


def printed(stream: Any = None) -> str:
    """What the step printed so far: the agent keeps it behind sys.stdout and sys.stderr."""
    stream = sys.stdout if stream is None else stream
    stream.flush()
    return str(getattr(stream.buffer, "text", str)())


def last_complaint(command: str) -> str:
    """The last line of standard error; of argparse, without the name it puts before."""
    lines = printed(sys.stderr).split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last.removeprefix(f"manage.py {command}: error: ")


def parsed(text: str, argv: list[str]) -> Any:
    """:raises Failure: when what was printed is not JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(
            "command",
            f"manage.py {argv[0]} ran, but did not print JSON: {error}",
            "leave `parse` out, or make the command print nothing else (often: --verbosity 0)",
            argv=argv,
            rc=0,
        ) from None


# --- A snippet -------------------------------------------------------------------------------------------------


def shell(request: Request, predict: bool) -> Outcome:
    """Python code of the task; what it leaves in `result` is returned.

    A read-only snippet is rolled back in the real run, too: so it is what it says, and check mode agrees with it.
    """
    code, read_only = str(request["code"]), bool(request.get("read_only"))
    secrets = dict(request.get("secrets") or {})
    try:
        compiled = compile(code, SNIPPET, "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes
        at = f"line {error.lineno} of code: " if isinstance(error, SyntaxError) else ""
        raise Failure(
            "request", f"{at}{error.msg if isinstance(error, SyntaxError) else error}", "mend `code`"
        ) from None
    if request.get("transaction") or request.get("database"):
        connection_for(request, predict)
    if predict and not read_only:
        return outcome(True, result=None, reason="not run in check mode")
    linecache.cache[SNIPPET] = (len(code), None, code.splitlines(True), SNIPPET)
    names: dict[str, Any] = {"__name__": "__snippet__", "args": dict(request.get("args") or {}), "secrets": secrets}
    with within(request, read_only, predict):
        try:
            exec(compiled, names)  # the task's own code is what this step is for
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too
            raise told(error, code, secrets) from (None if secrets else error)
        changed = names.get("changed", True)
        if not isinstance(changed, bool):
            raise Failure("command", f"`changed` is {type(changed).__name__} after code, not bool", "set True or False")
        result = as_json(names.get("result"))
    return outcome(changed and not read_only, result=result)


@contextmanager
def within(request: Request, read_only: bool, predict: bool) -> Iterator[None]:
    """The transaction of a snippet: none, one that is kept, or for a read-only one all databases rolled back."""
    from django.db import connections, transaction

    with ExitStack() as stack:
        if read_only:
            held = [alias for alias in connections if opened(alias, predict)]
            for alias in held:
                stack.enter_context(transaction.atomic(using=alias))
            stack.callback(lambda: [transaction.set_rollback(True, using=alias) for alias in held])
        elif request.get("transaction"):
            stack.enter_context(transaction.atomic(using=request.get("database") or "default"))
        yield


def opened(alias: str, predict: bool) -> bool:
    """Whether a database can be reached; what cannot be has nothing to roll back."""
    from django.db import DatabaseError, InterfaceError

    connection = connection_for({"database": alias}, predict)
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError):
        return False
    return True


def told(error: BaseException, code: str, secrets: dict[str, Any]) -> Failure:
    """An exception of a snippet, with the line it left it at."""
    line = next((number_of(error, frame) for frame in frames_of(error) if frame.f_code.co_filename == SNIPPET), 0)
    lines = code.splitlines()
    quoted = f" ({lines[line - 1].strip()})" if 0 < line <= len(lines) else ""
    if connecting(error) is not None:
        plain = explained(error, "command").message
    else:
        plain = f"{type(error).__name__}: {first_line(error)}"
    message = f"line {line} of code{quoted}: {plain}"
    for secret in sorted((str(value) for value in secrets.values() if value), key=len, reverse=True):
        message = message.replace(secret, HIDDEN)
    return Failure("command", message, "mend `code`, or what it works on", line=line)


def number_of(error: BaseException, frame: Any) -> int:
    import traceback

    return next((line for each, line in traceback.walk_tb(error.__traceback__) if each is frame), 0)


def as_json(value: Any) -> Any:
    """:raises Failure: when a result is nothing that JSON can hold."""
    from django.core.serializers.json import DjangoJSONEncoder

    try:
        return json.loads(json.dumps(value, cls=DjangoJSONEncoder))
    except (TypeError, ValueError) as error:
        raise Failure(
            "command",
            f"`result` is {type(value).__name__}, which cannot be returned: {error}",
            "make it of dicts, lists, texts and numbers, for example list(queryset.values())",
        ) from None
