# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it prints and exits; Ansible forbids that to modules
"""What runs inside the project: manage.py work in one Django process, told as data.

The engine sends the text of this file and of the other `agent_*.py` to the Python of the project's
virtualenv (`steps.py`), as the site's user and with the site's settings. So they stand alone:
standard library, Django and each other only, Python 3.10 or newer, Django 4.2 or newer.

It reads one line of JSON from standard input::

    {"steps": [{"name": "check"}, {"name": "migrate", "database": "default"}], "check": false}

and writes one line of JSON per event to what was its standard output::

    {"event": "ready", "seconds": 0.2}              Django is set up
    {"event": "start", "step": "migrate"}
    {"event": "step", "name": "migrate", "changed": true, "before": ..., "after": ...,
     "diff": {"before": "", "after": ""}, "stdout": "", "stderr": "", "seconds": 0.4, "facts": {}}
    {"event": "error", "step": "migrate", "kind": "migration", "message": "...", "hint": "...",
     "traceback": "...", "stdout": "", "stderr": "", "facts": {}}       the last one, if any
    {"event": "end"}                                                    only after success

With `"check": true` nothing is changed and every step tells what it would have done.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import atexit
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .agent_databases import absent_files, remove_empty
from .agent_secrets import cut_mark, forms, hidden, of_environment, of_options, of_settings, of_steps
from .agent_words import STARTED_WITH, Failure, Outcome, Request, explained

OLDEST_PYTHON = (3, 10)
PROSE = {"message", "hint", "traceback", "stdout", "stderr", "diff"}  # parts of an event written for people
KEPT = 4 << 20  # bytes of each end of what a step prints
FOREIGN = {"argv", "data", "result", "messages", "reason"}  # facts made of what the project or the task says


# --- Steps: each takes its request and whether only to predict, and returns an outcome -------------------------

# Which file a step is in. Files are compiled when they are wanted: a task waits for what it needs and no more.
STEPS = {
    "describe": "agent_project",
    "application": "agent_project",
    "check": "agent_checks",
    "migrate": "agent_migrations",
    "migration_state": "agent_rollback",
    "unapply": "agent_rollback",
    "connection": "agent_databases",
    "collectstatic": "agent_static",
    "compress": "agent_static",
    "loaddata": "agent_data",
    "dumpdata": "agent_data",
    "flush": "agent_data",
    "superuser": "agent_users",
    "user": "agent_users",
    "group": "agent_users",
    "compilemessages": "agent_static",
    "createcachetable": "agent_upkeep",
    "clearsessions": "agent_upkeep",
    "sites": "agent_upkeep",
    "command": "agent_commands",
    "shell": "agent_commands",
    "info": "agent_info",
    "seed": "agent_seed",
    "uploads": "agent_uploads",
    "settings_digest": "agent_settings",
    "rows": "agent_move",
    "move_check": "agent_move",
    "move_copy": "agent_move",
}


def step_named(name: str) -> Callable[[Request, bool], Outcome]:
    """:raises Failure: when there is none."""
    if name not in STEPS:
        raise Failure("request", f"there is no step {name!r}", "known: " + ", ".join(STEPS))
    step: Callable[[Request, bool], Outcome] = getattr(import_module(f".{STEPS[name]}", __package__), name)
    return step


# --- The process -----------------------------------------------------------------------------------------------


class Tee(io.BufferedIOBase):
    """Keeps what Python code prints for the step's result, and lets it through to standard error at once.

    So the last words of a process that dies are not lost with it. What is let through is read by people.
    """

    def __init__(self, descriptor: int, secrets: Secrets) -> None:
        self.descriptor = descriptor
        self.secrets = secrets
        self.first = bytearray()  # the beginning of what is kept, and its end
        self.last = bytearray()
        self.left_out = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def write(self, data: Any) -> int:
        self.keep(bytes(data))
        os.write(self.descriptor, hidden(bytes(data).decode("utf-8", "replace"), self.secrets.known()).encode())
        return len(data)

    def stream(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(self, "utf-8", "backslashreplace", write_through=True)  # type: ignore[arg-type]

    def take(self) -> str:
        """What was kept since the last call."""
        text = self.text()
        self.first.clear()
        self.last.clear()
        self.left_out = 0
        return text

    def text(self) -> str:
        """What was kept so far; of more than `KEPT` of each end, only how much it was."""
        between = cut_mark(self.left_out).encode() if self.left_out else b""
        return (bytes(self.first) + between + bytes(self.last)).decode("utf-8", "replace")

    def keep(self, data: bytes) -> None:
        room = max(0, KEPT - len(self.first))
        self.first += data[:room]
        self.last += data[room:]
        if len(self.last) > 2 * KEPT:  # not at every line: the rest is moved
            self.left_out += len(self.last) - KEPT
            del self.last[:-KEPT]


class Secrets:
    """Everything that must not leave this process in a message; what the settings hold is known once they are read."""

    def __init__(self, request: Request) -> None:
        self.given = list(of_steps(request["steps"]))
        self.found = [*of_environment(os.environ), *of_options(request["steps"])]
        self.forms = forms(self.given, self.found)
        self.complete = False

    def known(self) -> list[str]:
        """All of them, longest first."""
        django = sys.modules.get("django.conf")
        if not self.complete and django is not None and django.settings.configured:
            self.learn(django.settings)
        return self.forms

    def learn(self, settings: Any) -> None:
        """Read the settings; the outer object refuses to show an empty SECRET_KEY."""
        self.complete = True
        self.forms = forms(self.given, [*self.found, *of_settings(settings._wrapped)])


def without_secrets(event: dict[str, Any], secrets: list[str]) -> dict[str, Any]:
    """Hide secrets in all that is prose, or was made by the project.

    The other facts are ours and hold none, and a program reads them as they are.
    """
    cleaned = {key: hidden(value, secrets) if key in PROSE else value for key, value in event.items()}
    if "facts" in event:
        cleaned["facts"] = {
            key: hidden(value, secrets) if key in FOREIGN else value for key, value in event["facts"].items()
        }
    return cleaned


def set_up_django() -> None:
    """:raises Failure: when Django is not there or not told which settings to use."""
    if sys.version_info < OLDEST_PYTHON:
        raise Failure("settings", f"Python {sys.version.split()[0]} in {sys.prefix} is too old: 3.10 is the oldest")
    try:
        import django
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        raise Failure(
            "import_error", f"Django is not installed in {sys.prefix}", "add Django to the project's requirements"
        ) from error
    if not STARTED_WITH:
        raise Failure(
            "settings",
            "DJANGO_SETTINGS_MODULE is not set",
            "give the dotted path of the project's settings under `settings`",
        )
    django.setup()


def words_of(step: dict[str, Any]) -> list[str]:
    """The manage.py words a step stands for: some projects look at sys.argv to know what is going on."""
    return ["manage.py", *(str(word) for word in step["argv"])] if "argv" in step else ["manage.py", step["name"]]


def perform(request: Request, emit: Callable[[dict[str, Any]], None], out: Tee, err: Tee) -> bool:
    """Set Django up and run the steps; stop at the first that fails.

    :return: whether all of them succeeded.
    """
    steps, predict, name, absent = request["steps"], bool(request.get("check")), "setup", list[str]()
    alike = len({tuple(words_of(step)) for step in steps}) == 1  # the same for each of several databases
    sys.argv = words_of(steps[0]) if alike else ["manage.py", "check"]
    try:
        began = time.monotonic()
        set_up_django()
        absent = absent_files()
        emit({"event": "ready", "seconds": round(time.monotonic() - began, 3)})
        for step in steps:
            name = step["name"]
            step_does = step_named(name)
            emit({"event": "start", "step": name})
            sys.argv, began = words_of(step), time.monotonic()
            out.take(), err.take()
            result = step_does(step, predict)
            spent = round(time.monotonic() - began, 3)
            emit(
                {"event": "step", "name": name, **result, "stdout": out.take(), "stderr": err.take(), "seconds": spent}
            )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: the project's code may raise anything
        failure = explained(error, name)
        remove_empty(absent)
        cause = error.__cause__ if isinstance(error, Failure) else error
        emit(
            {
                "event": "error",
                "step": name,
                "kind": failure.kind,
                "message": failure.message,
                "hint": failure.hint,
                "traceback": failure.detail or ("".join(traceback.format_exception(cause)) if cause else ""),
                "stdout": out.take(),
                "stderr": err.take(),
                "facts": failure.facts,
            }
        )
        return False
    if predict:
        remove_empty(absent)
    emit({"event": "end"})
    return True


def main() -> None:
    protocol = os.dup(1)  # dup() makes it ours alone: children do not inherit it
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a command that asks a question gets an end of file, not our request
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # stays open as long as the process
    secrets = Secrets(request)
    out, err = Tee(1, secrets), Tee(2, secrets)
    sys.stdout, sys.stderr = out.stream(), err.stream()

    def emit(event: dict[str, Any]) -> None:
        line = json.dumps(without_secrets(event, secrets.known()), default=str) + "\n"
        data = line.encode()
        while data:
            data = data[os.write(protocol, data) :]

    succeeded = perform(request, emit, out, err)
    # Not a plain exit: a thread the project left running would keep the deploy waiting. Exit handlers still run.
    atexit._run_exitfuncs()
    os._exit(0 if succeeded else 1)
