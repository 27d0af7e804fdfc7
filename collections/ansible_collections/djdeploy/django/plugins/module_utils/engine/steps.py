# SPDX-License-Identifier: GPL-3.0-or-later
"""manage.py work of a site: sends the agent (`agent*.py`) into its virtualenv and turns its events into results."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import signal
import struct
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .agent_secrets import forms, hidden, of_environment, of_options, of_steps
from .beneath import Outside, opened, read_inside
from .environment import parse
from .errors import EngineError
from .paths import SitePaths
from .runner import STDERR, Runner, Starter
from .runner import run as run_child
from .site_secrets import read as secrets_of_site

if TYPE_CHECKING:
    # Never executed: AnsiballZ reads these lines to know which files travel with a module. Nor do the files
    # ever run in this process, but for agent_secrets.py and agent_written.py.
    from . import (  # noqa: F401
        agent,
        agent_bucket,
        agent_checks,
        agent_commands,
        agent_data,
        agent_databases,
        agent_imports,
        agent_info,
        agent_locks,
        agent_migrations,
        agent_move,
        agent_mysql,
        agent_operations,
        agent_project,
        agent_rollback,
        agent_routes,
        agent_secrets,
        agent_seed,
        agent_settings,
        agent_sql,
        agent_static,
        agent_upkeep,
        agent_uploads,
        agent_users,
        agent_variables,
        agent_words,
        agent_written,
    )

# The agent goes by standard input, before the request: so nothing of it is in argv, and nothing has to be readable by
# the site's user or left behind on disk. Each of its files becomes a module of its own when it is first imported: from
# what Python made of it when the engine was installed, where the project's Python is of the same version, and else
# from its text. Compiling them took a tenth of a second of each deploy.
BOOTSTRAP = """\
import json, sys
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
class Parts(InspectLoader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "djdeploy_agent":
            return ModuleSpec(name, self, origin="<" + name.replace("djdeploy_agent.", "djdeploy ") + ">",
                              is_package=name == "djdeploy_agent")
    def get_source(self, name):
        return agent["texts"].get(name.partition(".")[2], "")
    def get_code(self, name):
        place = "<" + name.replace("djdeploy_agent.", "djdeploy ") + ">"
        compiled = agent["compiled"].get(name.partition(".")[2])
        if compiled is None or agent["magic"] != MAGIC_NUMBER.hex():
            return compile(self.get_source(name), place, "exec")
        import base64, marshal
        return placed(marshal.loads(base64.b64decode(compiled)), place)
def placed(code, place):
    inner = tuple(placed(each, place) if isinstance(each, type(code)) else each for each in code.co_consts)
    return code.replace(co_filename=place, co_consts=inner)
source = sys.stdin.buffer
agent = json.loads(source.read(int(source.readline())))
sys.meta_path.insert(0, Parts())
from djdeploy_agent.agent import main
main()
"""
BECOME = "run the task as a user who may: `become: true`"
LONGEST = 3600.0  # seconds for steps that take some in the good case: only one that hangs for ever is ended by it
MOST_EVENTS = 64 << 20  # bytes of what the agent tells; what a project prints is bounded in the agent itself
LAST_LINES = 20  # of standard error, shown when the process dies

Event = dict[str, Any]


class NotThereYet(EngineError):
    """What is asked for is not on this host; an earlier task or the first deploy would have put it there."""


@dataclass(frozen=True)
class Target:
    """A Django project that can run: which Python, where, with which environment, as whom.

    :param env: holds the secrets of the site; it is given to the process and to nothing else.
    :param user: unix user to become; None is the present one.
    :param start: starts its processes; None: they are children of this one.
    :param start_on_files: starts programs that read or write open files, such as a database server's; None: as above.
    :param secrets: what else must not show of the site, besides what `env` tells by its names.
    """

    python: Path
    cwd: Path
    env: Mapping[str, str] = field(repr=False)
    user: str | None = None
    start: Runner | None = field(default=None, repr=False, compare=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    start_on_files: Starter | None = field(default=None, repr=False, compare=False)

    @classmethod
    def for_site(cls, site: str, release: str | None = None) -> Target:
        """A release of a site on this host, exactly as its web processes run it.

        :param release: a release id; the live one by default.
        :raises NotThereYet: when there is no such site or release.
        :raises EngineError: for who may not read its secrets.
        """
        paths = SitePaths(site)
        if not paths.env_file.exists():
            raise NotThereYet(
                f"{site} is not a site of this host: there is no {paths.env_file}",
                "describe it in `djdeploy_sites` and run site.yml",
            )
        if release is None:
            try:
                release = Path(os.readlink(paths.current)).name
            except FileNotFoundError:
                raise NotThereYet(f"{site} has no live release yet", "push one: git push") from None
        place = paths.release(release)
        if not place.code.is_dir():
            raise NotThereYet(f"{site} has no release {release}", f"see which there are: djdeploy releases {site}")
        try:
            env = {**parse(paths.env_file.read_text()), **parse(place.env_file.read_text())}
        except PermissionError as error:
            raise EngineError(f"no permission to read {error.filename}, which is root's", BECOME) from error
        project_path = json.loads(place.record.read_text()).get("project_path") or "."
        secrets = tuple(sorted(secrets_of_site(paths)))
        return cls(place.environment / "bin" / "python", place.code / project_path, env, paths.user, secrets=secrets)

    @classmethod
    def for_project(
        cls,
        project_path: str | Path,
        python: str | Path,
        *,
        settings: str | None = None,
        pythonpath: Sequence[str | Path] = (),
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Target:
        """A project that djdeploy did not put there.

        :param project_path: the directory of its manage.py.
        :param settings: dotted path; by default what `env` or else manage.py names.
        :param pythonpath: directories to import from, besides the project's own.
        :raises NotThereYet: when the directory or the Python is missing.
        """
        project = Path(project_path)
        try:
            if not project.is_dir():
                raise NotThereYet(f"there is no directory {project}", "`project_path` is the directory of manage.py")
            if not Path(python).exists():
                raise NotThereYet(f"there is no Python at {python}", "create the virtual environment, or mend `venv`")
        except PermissionError as error:
            raise EngineError(f"no permission to reach {error.filename}", BECOME) from error
        if Path(python).is_dir():
            raise EngineError(f"{python} is a directory, not a Python", "a virtual environment is named by `venv`")
        chosen = dict(env or {})
        manage = project / "manage.py"
        settings = settings or chosen.get("DJANGO_SETTINGS_MODULE")
        if not settings and manage.is_file():
            try:
                # The directory is the operator's word, whatever links lead there; the file is somebody else's.
                with opened(os.path.realpath(project)) as top:
                    manage_py = read_inside(top, "manage.py")
                settings = settings_named_by(manage_py.decode(errors="replace"))
            except Outside:
                settings = None  # Django says then that there are no settings
            except PermissionError as error:
                raise EngineError(f"no permission to read {manage}", BECOME) from error
        if settings:
            chosen["DJANGO_SETTINGS_MODULE"] = settings
        path = [str(entry) for entry in pythonpath] + [entry for entry in [chosen.get("PYTHONPATH", "")] if entry]
        if path:
            chosen["PYTHONPATH"] = os.pathsep.join(path)
        return cls(Path(python), project, chosen, user)


def settings_named_by(manage_py: str) -> str | None:
    """The settings module a manage.py falls back to."""
    found = re.search(r"""DJANGO_SETTINGS_MODULE['"]\s*(?:,|\]\s*=)\s*['"]([\w.]+)['"]""", manage_py)
    return found.group(1) if found else None


@dataclass(frozen=True)
class StepResult:
    """What one step did, or in check mode would do.

    :param before: state that `changed` was computed from; its type is the step's own.
    :param after: the same, afterwards.
    :param diff: `before` and `after` as text for people.
    :param seconds: time the step took, without setting Django up.
    :param facts: whatever else the step knows.
    """

    name: str
    changed: bool
    before: Any = None
    after: Any = None
    diff: dict[str, str] = field(default_factory=lambda: {"before": "", "after": ""})
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


class StepError(EngineError):
    """A step that failed.

    :param step: its name; `setup` when Django itself could not be set up.
    :param kind: import_error, settings, database, check, migration, static, user, command, file, request or died.
    :param done: results of the steps before it: what they changed stays changed.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        detail: str = "",
        *,
        step: str = "setup",
        kind: str = "died",
        stdout: str = "",
        stderr: str = "",
        facts: dict[str, Any] | None = None,
        done: Sequence[StepResult] = (),
    ) -> None:
        super().__init__(message, hint, detail)
        self.step = step
        self.kind = kind
        self.stdout = stdout
        self.stderr = stderr
        self.facts = facts or {}
        self.done = tuple(done)


def run_steps(
    target: Target,
    steps: Sequence[Mapping[str, Any]],
    *,
    run: Runner | None = None,
    check: bool = False,
    on_event: Callable[[Event], None] | None = None,
    on_stderr: Callable[[str], None] | None = None,
    on_ready: Callable[[float], None] | None = None,
    timeout: float | None = None,
) -> list[StepResult]:
    """Run steps in one Django process, in order, up to the first that fails.

    :param steps: requests as `agent.py` knows them, for example `{"name": "migrate"}`.
    :param run: starts the process; None: as the target says.
    :param check: change nothing, predict.
    :param on_event: called with each event of the agent as it comes.
    :param on_stderr: called with each line of standard error as it comes.
    :param on_ready: called with the seconds the process took until Django was set up.
    :param timeout: seconds for all of them together.
    :raises StepError: when a step fails or the process dies.
    :raises EngineError: when it cannot be started or runs out of time.
    """
    source = agent_source()
    request = json.dumps({"steps": [dict(step) for step in steps], "check": check})
    env = dict(target.env)
    secrets = forms(of_steps(steps), [*of_environment(env), *of_options(steps), *target.secrets])
    if check:
        env["PYTHONDONTWRITEBYTECODE"] = "1"
    events: list[Event] = []

    def receive(line: str) -> None:
        event = parse_event(line)
        if event is not None:
            events.append(event)
            if event["event"] == "ready" and on_ready is not None:
                on_ready(time.monotonic() - began)
            if on_event is not None:
                on_event(event)

    def hear(line: str) -> None:
        if on_stderr is not None:
            on_stderr(hidden(line, secrets))

    began = time.monotonic()
    try:
        ended = (run or target.start or run_child)(
            [target.python, "-c", BOOTSTRAP],
            user=target.user,
            env=env,
            cwd=target.cwd,
            stdin=f"{len(source)}\n{source}{request}\n",
            timeout=timeout,
            on_stdout=receive,
            on_stderr=hear,
            bounded=STDERR,
            most=MOST_EVENTS,
        )
    except EngineError as error:
        error.detail = hidden(error.detail, secrets)
        raise
    return results_of(events, ended.returncode, hidden(ended.stderr, secrets))


def agent_source() -> str:
    """The agent's files as one JSON object, wherever this package lies: a directory, or the zip of an Ansible module.

    It is plain ASCII, so that its length in characters is its length in bytes.

    :returns: `texts`; `compiled`, what Python made of them, in base64, as far as that is there; `magic`, the version of
        the Python that did.
    :raises EngineError: when they were not installed with the rest.
    """
    package = str(__package__)
    texts, compiled = {}, {}
    places = sys.modules[package].__path__
    for part in pkgutil.iter_modules(places):
        if part.name.partition("_")[0] == "agent":
            texts[part.name] = (pkgutil.get_data(package, f"{part.name}.py") or b"").decode("ascii")
            if code := compiled_code(Path(places[0], f"{part.name}.py")):
                compiled[part.name] = b64encode(code).decode()
    if "agent" not in texts:
        raise EngineError("the engine lacks its agent.py", "run site.yml: it installs the engine anew")
    return json.dumps({"texts": texts, "compiled": compiled, "magic": MAGIC_NUMBER.hex()})


def compiled_code(file: Path) -> bytes:
    """What this Python made of a file and keeps in `__pycache__` (PEP 3147); empty where that is not there.

    Its header (PEP 552) tells the version of Python, and time and size of the text that it was made of.

    :param file: a file of this package; in a zip nothing is found beside it.
    """
    try:
        told, content = file.stat(), Path(cache_from_source(str(file))).read_bytes()
    except OSError:
        return b""
    of_this_text = struct.pack("<4sIII", MAGIC_NUMBER, 0, int(told.st_mtime) & 0xFFFFFFFF, told.st_size & 0xFFFFFFFF)
    return content[16:] if content[:16] == of_this_text else b""


def parse_event(line: str) -> Event | None:
    """One line of the agent; None for what a sitecustomize printed before the agent had a say."""
    if not line.startswith('{"event"'):
        return None
    event: Event = json.loads(line)
    return event


def results_of(events: Sequence[Event], returncode: int, stderr: str) -> list[StepResult]:
    """What a process that ended has to say.

    :raises StepError: for its error event, or when it went without saying that it was done.
    """
    results = [
        StepResult(**{key: value for key, value in event.items() if key != "event"})
        for event in events
        if event["event"] == "step"
    ]
    last: Event = events[-1] if events else {"event": ""}
    if last["event"] == "end":
        return results
    if last["event"] == "error":
        raise StepError(
            last["message"],
            last["hint"],
            last["traceback"] or last_lines(stderr),
            step=last["step"],
            kind=last["kind"],
            stdout=last["stdout"],
            stderr=last["stderr"],
            facts=last["facts"],
            done=results,
        )
    started = [event["step"] for event in events if event["event"] == "start"]
    step = started[-1] if started else "setup"
    message, hint = death(returncode, step)
    raise StepError(message, hint, last_lines(stderr), step=step, stderr=stderr, done=results)


def death(returncode: int, step: str) -> tuple[str, str]:
    """Why a process that did not finish is gone: (message, hint)."""
    during = "while Django was set up" if step == "setup" else f"during {step}"
    if returncode >= 0:
        return f"the project's Python ended with status {returncode} {during}", "its last words are below"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    hints = {
        "SIGKILL": "probably out of memory: see `journalctl --dmesg --grep oom`, give the host more memory",
        "SIGSEGV": "a package with compiled code crashed: see which one was updated last",
    }
    return f"the project's Python was killed by {name} {during}", hints.get(name, "its last words are below")


def last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-LAST_LINES:])
