# SPDX-License-Identifier: GPL-3.0-or-later
"""A forked program and one in a new process cannot be told apart: by what they say, how they end, what they find."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import agent, runner
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError

from .forking import ForkServer, Server, why_new
from .programs import PYTHON, forked, made_once

Step = dict[str, Any]


# --- any program ------------------------------------------------------------------------------------------------------

# What a program finds when it starts. What differs by nature is not in it: process ids, its own command line in /proc,
# which modules there are, and what nobody can write, sys.flags.dont_write_bytecode (sys.dont_write_bytecode counts).
PORTRAIT = """
import gc, json, locale, os, random, resource, signal, sys, threading, time
print(json.dumps([
    sorted(globals()), __name__, __doc__, __package__, __spec__, __loader__.__name__, sys.argv, sys.path, sys.prefix,
    os.getcwd(), os.umask(0), dict(os.environ), time.tzname, sys.dont_write_bytecode,
    {name: getattr(sys.flags, name) for name in dir(sys.flags)
     if name[0] in 'bdinov' and name not in ('dont_write_bytecode', 'index')},
    sys.warnoptions,
    os.getpid() == os.getsid(0) == os.getpgid(0), os.getuid(), os.getgroups(), os.getpriority(os.PRIO_PROCESS, 0),
    sorted(int(number) for number in os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")),
    [(each.encoding, each.errors, each.line_buffering, each.isatty(), each.seekable()) for each in
     (sys.stdin, sys.stdout, sys.stderr)], [each.closed for each in (sys.stdin, sys.stdout, sys.stderr)],
    [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())], sorted(signal.pthread_sigmask(0, [])),
    [resource.getrlimit(number) for number in range(16)], locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(),
    threading.current_thread() is threading.main_thread(), threading.active_count(), gc.isenabled(), gc.get_threshold(),
    sys.getrecursionlimit(), len(sys.path_hooks),
    [getattr(each, '__name__', type(each).__name__) for each in sys.meta_path],
    sys.gettrace(),
]))
"""
THREAD = """
import threading, time
said = threading.Event()
threading.Thread(target=lambda: (said.wait(), time.sleep(0.01), print("late"))).start()
print("early")
said.set()
"""
LEFT = "import subprocess, sys; subprocess.Popen(['sleep', '60'])"


@dataclass(frozen=True)
class Program:
    """Words of a Python, and how it is run."""

    id: str
    words: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def code(id_: str, text: str, *words: str, **options: Any) -> Program:
    return Program(id_, ("-c", text, *words), options)


PROGRAMS = [
    code("nothing", "pass"),
    code("both_streams", "import sys; print('out'); print('err', file=sys.stderr)"),
    code("no_newline", "import os; os.write(1, b'half'); os.write(2, b'a\\377b')"),
    code("much", "import sys; print('x' * 300_000, file=sys.stderr); print('end')"),
    code("not_flushed", "print('kept', end=''); import sys; sys.stderr.write('at once')"),
    code("lost_when_it_dies", "print('lost'); import os; os._exit(0)"),
    code("status", "import sys; sys.exit(3)"),
    code("status_above_a_byte", "import sys; sys.exit(259)"),
    code("status_of_none", "import sys; print('x', end=''); sys.exit(None)"),
    code("no_streams", "import sys; sys.stdout.close(); sys.stderr = None"),
    code("status_in_words", "import sys; sys.exit('no')"),
    code("status_at_once", "import os; os._exit(4)"),
    code("exception", "def f():\n    return 1 / 0\nf()"),
    code("exception_with_a_cause", "try:\n    {}[1]\nexcept KeyError as e:\n    raise ValueError('no') from e"),
    code("own_hook", "import sys; sys.excepthook = lambda kind, *_: print(kind.__name__)\n1 / 0"),
    code(
        "annotations_are_evaluated",
        "def f(x: 1 + 1): pass\nprint(f.__annotations__, f.__code__.co_flags)",
    ),
    code("syntax_error", "def ("),
    code("interrupted", "raise KeyboardInterrupt"),
    code("terminated", "import os, signal; print('going', flush=True); os.kill(0, signal.SIGTERM)"),
    code("killed", "import os, signal; print('lost'); os.kill(os.getpid(), signal.SIGKILL)"),
    code("aborted", "import os; os.abort()"),
    code("crashed", "import ctypes; ctypes.string_at(0)"),
    code("handler", "import os, signal; signal.signal(15, lambda *_: print('once')); os.kill(os.getpid(), 15)"),
    code("broken_pipe", "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')"),
    code("at_exit", "import atexit; atexit.register(print, 'bye')"),
    code("thread", THREAD),
    code("child", "import subprocess; print(subprocess.run(['sh', '-c', 'echo sub; exit 7']).returncode)"),
    code("fork", "import os; pid = os.fork(); print('both', flush=True); pid and print(os.waitpid(pid, 0)[1])"),
    code("pool", "import multiprocessing as m; print(m.get_context('fork').Pool(2).map(abs, [-1, -2]))"),
    code("words", "import sys; print(sys.argv)", "a b", "--c", "ü"),
    code("portrait", PORTRAIT, stdin=""),
    code("portrait_without_input", PORTRAIT),
    code(
        "portrait_of_a_project",
        PORTRAIT,
        env={"A": "ü\n$x", "TZ": "Asia/Tokyo", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "/nowhere:/tmp:b:/tmp"},
        cwd="/usr",
    ),
    code("input", "import sys; print(sys.stdin.read().upper())", stdin="text with ü\n"),
    code("much_input", "import sys; print(len(sys.stdin.read()))", stdin="x" * 1_000_000),
    code("input_nobody_reads", "pass", stdin="x" * 1_000_000),
    code("no_input", "import sys; print(repr(sys.stdin.read()))"),
    Program("module", ("-m", "json.tool", "--indent", "1"), {"stdin": '{"a": 1}'}),
    Program("module_that_fails", ("-m", "json.tool"), {"stdin": "{"}),
    Program("module_that_is_not_there", ("-m", "nosuch.module")),
    Program("module_that_is_a_package", ("-m", "json")),
    code("other_options_at_the_start", "import sys; print(sys.flags.optimize)", env={"PYTHONOPTIMIZE": "1"}),
    code("no_directory", "pass", cwd="/nowhere"),
    code("out_of_time", "import time; print('x', flush=True); time.sleep(60)", timeout=1),
    code("out_of_time_with_its_children", f"{LEFT}.wait()", timeout=1),
    code("out_of_time_and_input", "import time; time.sleep(60)", stdin="x" * 1_000_000, timeout=1),
]


def outcome(run: runner.Runner, program: Program) -> dict[str, Any]:
    """All that whoever runs a program gets to know."""
    heard: dict[str, list[str]] = {"stdout": [], "stderr": []}
    listeners: Any = {"on_stdout": heard["stdout"].append, "on_stderr": heard["stderr"].append}
    try:
        done = run([PYTHON, *program.words], **program.options, **listeners)
    except EngineError as error:
        return {"error": error.message, "hint": error.hint, "detail": error.detail}
    return {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr, "heard": heard}


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.id)
def test_a_fork_does_as_a_new_process(program: Program) -> None:
    assert outcome(forked, program) == outcome(runner.run, program)


@pytest.mark.parametrize("program", [each for each in PROGRAMS if each.id.startswith("portrait")], ids=lambda p: p.id)
def test_a_portrait_is_drawn(program: Program) -> None:
    """Else two errors of one kind would be compared, and nothing that the portrait is to show."""
    assert len(json.loads(outcome(forked, program)["stdout"])) > 30


def test_it_is_a_fork() -> None:
    """Else all of the above would prove nothing: the interpreter is the server's, and Django is there."""
    ask = "import os, sys; print('django.db.models' in sys.modules, os.getppid())"
    done, new = (run([PYTHON, "-c", ask]).stdout.split() for run in (forked, runner.run))
    assert done[0] == "True" and done[1] != str(os.getpid())
    assert new == ["False", str(os.getpid())]


def test_nothing_is_configured_in_the_server() -> None:
    ask = "from django.apps import apps; from django.conf import settings; print(settings.configured, apps.apps_ready)"
    assert forked([PYTHON, "-c", ask]).stdout == "False False\n"


def test_forks_do_not_share_their_chance() -> None:
    ask = "import random, uuid, tempfile; print(random.random(), uuid.uuid4(), tempfile.mktemp())"
    first, second = (forked([PYTHON, "-c", ask]).stdout.split() for _time in range(2))
    assert not set(first) & set(second)


def test_a_child_left_behind_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LEFT_BEHIND", 0.2)
    done = forked([PYTHON, "-c", f"{LEFT}; print('done')"])
    assert (done.returncode, done.stdout) == (0, "done\n")


def test_several_at_a_time(tmp_path: Path) -> None:
    """The server goes on while its forks run: the first ends only after the second."""
    first = f"import os, time\nopen({str(tmp_path / 'a')!r}, 'w')\nwhile not os.path.exists({str(tmp_path / 'b')!r}): "
    answers: list[str] = []
    asked = threading.Thread(target=lambda: answers.append(forked([PYTHON, "-c", f"{first}time.sleep(0.01)"]).stdout))
    asked.start()
    second = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'a')!r}): time.sleep(0.01)\nprint('two')"
    assert forked([PYTHON, "-c", second], timeout=120).stdout == "two\n"
    (tmp_path / "b").touch()
    asked.join(120)
    assert answers == [""]


def test_a_server_that_cannot_import(tmp_path: Path) -> None:
    server = ForkServer(PYTHON, tmp_path / "socket", os.getpid(), ["nosuch"])
    with pytest.raises(RuntimeError, match=r"cannot be forked from:(.|\n)*No module named 'nosuch'"):
        server.ready()


def test_a_server_ends_with_its_keeper(tmp_path: Path) -> None:
    keeper = subprocess.Popen(["sleep", "60"])
    server = ForkServer(PYTHON, tmp_path / "socket", keeper.pid, ["json"])
    run = functools.partial(runner.run, start=server.start)
    assert run([PYTHON, "-c", "print(1)"]).stdout == "1\n"
    keeper.kill()
    keeper.wait()
    assert server.process is not None and server.process.wait(60) == 0
    assert not server.place.exists()


SERVER = Server("/python", {"LANG": "C.UTF-8", "PATH": "/bin"}, ("/paths",), frozenset({"json", "sitecustomize"}))


@pytest.mark.parametrize(
    ("words", "env", "cwd", "account", "reason"),
    [
        (("/python", "-c", "1"), {"LANG": "C.UTF-8"}, "/", {}, None),
        (("/python", "-m", "x"), {"LANG": "C.UTF-8", "PYTHONPATH": "/paths:.", "PATH": "x"}, "/", {}, None),
        (("/python3", "-c", "1"), {"LANG": "C.UTF-8"}, "/", {}, "another program"),
        (("/python", "x.py"), {"LANG": "C.UTF-8"}, "/", {}, "another program"),
        (("/python", "-I", "-c", "1"), {"LANG": "C.UTF-8"}, "/", {}, "another program"),
        (("/python", "-c", "1"), {"LANG": "C.UTF-8"}, "/", {"user": 1}, "another user"),
        (("/python", "-c", "1"), {"LANG": "de_DE"}, "/", {}, "variables"),
        (("/python", "-c", "1"), {}, "/", {}, "variables"),
        (("/python", "-c", "1"), {"LANG": "C.UTF-8", "PYTHONHASHSEED": "1"}, "/", {}, "variables"),
        (("/python", "-c", "1"), {"LANG": "C.UTF-8"}, "/nowhere", {}, "a directory"),
        (("/python", "-c", "1"), {"LANG": "C.UTF-8"}, "{own}", {}, "modules .*: json"),
        (("/python", "-c", "1"), {"LANG": "C.UTF-8", "PYTHONPATH": "{own}"}, "/", {}, "modules .*: json"),
    ],
)
def test_what_needs_a_new_process(
    words: tuple[str, ...], env: dict[str, str], cwd: str, account: dict[str, Any], reason: str | None, tmp_path: Path
) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "json/__init__.py").touch()
    (tmp_path / "sitecustomize").mkdir()  # no package: what is found further down the path goes before it
    own = {name: value.format(own=tmp_path) for name, value in env.items()}
    told = why_new(words, own, cwd.format(own=tmp_path), account, SERVER)
    assert (told is None) if reason is None else (told or "").startswith(reason.partition(" .*")[0])


# --- the agent --------------------------------------------------------------------------------------------------------

SOURCE_FILE = "source.sqlite3"
SOURCE = {"file": f"{{root}}/{SOURCE_FILE}", "engine": "django.db.backends.sqlite3"}
MIGRATE: Step = {"name": "migrate"}
# One request of each step: (the steps, of which the last is meant).
STEPS: dict[str, list[Step]] = {
    "describe": [],
    "application": [{"name": "application", "path": "mysite.wsgi:application"}],
    "check": [],
    "migrate": [],
    "migration_state": [MIGRATE, {"name": "migration_state"}],
    "unapply": [MIGRATE, {"name": "unapply", "migrations": ["shop.0002_price"]}],
    "connection": [],
    "collectstatic": [],
    "compress": [{"name": "collectstatic"}, {"name": "compress"}],
    "loaddata": [MIGRATE, {"name": "loaddata", "fixtures": ["tea"]}],
    "dumpdata": [MIGRATE, {"name": "dumpdata", "dest": "dump.json", "apps": ["shop"]}],
    "flush": [MIGRATE, {"name": "loaddata", "fixtures": ["tea"]}, {"name": "flush", "confirm": "default"}],
    "superuser": [MIGRATE, {"name": "superuser", "username": "ann", "email": "a@example.com"}],
    "user": [MIGRATE, {"name": "user", "username": "ann", "staff": True}],
    "group": [MIGRATE, {"name": "group", "group": "editors", "permissions": ["shop.add_product"]}],
    "compilemessages": [],
    "createcachetable": [MIGRATE, {"name": "createcachetable"}],
    "clearsessions": [MIGRATE, {"name": "clearsessions"}],
    "sites": [MIGRATE, {"name": "sites", "domain": "shop.example.com"}],
    "command": [{"name": "command", "argv": ["diffsettings"]}],
    "shell": [MIGRATE, {"name": "shell", "code": "print('said'); result = [1, None]; changed = True"}],
    "info": [],
    "seed": [{"name": "seed", "files": [["uploads", "shared/media"]]}],
    "uploads": [{"name": "uploads"}],
    "settings_digest": [{"name": "settings_digest", "salt": "0a", "strip": []}],
    "rows": [MIGRATE, {"name": "rows"}],
    "move_check": [MIGRATE, {"name": "move_check", "source": SOURCE}],
    "move_copy": [MIGRATE, {"name": "move_copy", "source": SOURCE}],
}
SITES = 'INSTALLED_APPS += ["django.contrib.sites"]\nSITE_ID = 1'
SETTINGS = """
CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cached"}}
"""


@pytest.fixture
def full_project(project: Any) -> Any:
    """A project every step finds something to do in."""
    project.settings(SETTINGS)
    project.write("shop/fixtures/tea.json", '[{"model": "shop.product", "pk": 1, "fields": {"name": "Tea"}}]')
    project.write("shop/locale/de/LC_MESSAGES/django.po", 'msgid "Tea"\nmsgstr "Tee"\n')
    project.write("uploads/a.txt", "a")
    shutil.copy(made_once("migrated", functools.partial(migrated, project)) / "db.sqlite3", project.root / SOURCE_FILE)
    return project


def migrated(project: Any, place: Path) -> None:
    """A database with all tables, in a directory."""
    project.run(MIGRATE)
    (project.root / "db.sqlite3").rename(place / "db.sqlite3")


def results(project: Any, steps: list[Step], *, fresh: bool) -> list[dict[str, Any]]:
    """What steps did, without how long it took."""
    project.fresh = fresh
    return [{name: value for name, value in vars(each).items() if name != "seconds"} for each in project.run(*steps)]


@pytest.mark.fresh_process
@pytest.mark.parametrize("name", agent.STEPS)
def test_each_step_in_a_new_process_and_in_a_fork(full_project: Any, tmp_path: Path, name: str) -> None:
    """Every step once as on a host; the other tests of the agent are forked, and this says that it is the same."""
    if name == "sites":
        full_project.settings(SITES)
    request = json.dumps(STEPS[name] or [{"name": name}]).replace("{root}", str(full_project.root))
    untouched = Path(shutil.copytree(full_project.root, tmp_path / "untouched"))
    told, files = {}, {}
    for fresh in (True, False):
        shutil.rmtree(full_project.root)
        shutil.copytree(untouched, full_project.root)
        told[fresh] = results(full_project, json.loads(request), fresh=fresh)
        files[fresh] = sorted(full_project.contents())
    assert told[True] == told[False] and files[True] == files[False]
    assert told[True][-1]["name"] == name


def test_each_step_has_its_request() -> None:
    assert STEPS.keys() == agent.STEPS.keys()


@pytest.mark.fresh_process
@pytest.mark.parametrize(
    ("settings", "step"),
    [
        ('INSTALLED_APPS += ["nosuch"]', {"name": "check"}),
        ("import signal, os; print('going', flush=True); os.kill(os.getpid(), signal.SIGKILL)", {"name": "check"}),
        ("import os; os._exit(3)", {"name": "check"}),
        ("1 / 0", {"name": "check"}),
        ('DATABASES["default"]["NAME"] = "/nowhere/db"', MIGRATE),
        ("", {"name": "loaddata", "fixtures": ["nosuch"]}),
        ("", {"name": "nosuch"}),
    ],
    ids=["import", "killed", "status", "settings", "database", "step", "request"],
)
def test_each_kind_of_error_in_a_new_process_and_in_a_fork(project: Any, settings: str, step: Step) -> None:
    project.settings(settings)
    told = []
    for fresh in (True, False):
        project.fresh = fresh
        with pytest.raises(StepError) as caught:
            project.run(step)
        told.append({**vars(caught.value), "args": caught.value.args})
    assert told[0] == told[1]
