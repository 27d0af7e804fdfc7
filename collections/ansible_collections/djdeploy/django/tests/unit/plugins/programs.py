# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs the tests start: the agent in a project, and a module as Ansible starts it. Both are forked."""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.djdeploy.django.plugins.module_utils.engine import runner
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import agent_source

from .forking import ForkServer

# Another interpreter to test the agent against: one with another Django, for example.
PYTHON = os.environ.get("DJDEPLOY_TEST_PYTHON", sys.executable)
COLLECTIONS = Path(__file__).parents[6]
COLLECTION = "ansible_collections.djdeploy.django"

# Of this pytest process: what is made once and used by all its tests. ansible-test runs every test in a fork of its
# own, where what a session's fixture has made is made anew, and pytest's directories are emptied.
MADE = Path(tempfile.gettempdir()) / f"djdeploy-{os.getpid()}"


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """A directory of that name, made when it is first asked for. It appears whole or not at all."""
    place = MADE / name
    if not place.exists():
        MADE.mkdir(mode=0o700, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=MADE))
        make(draft)
        draft.rename(place)
    return place


# What Django imports itself when it is set up and checks, migrates or runs a command. No model is among it: that would
# ask for the settings.
IMPORTS = [
    "getpass",
    "django.conf.urls",
    "django.contrib.admin.apps",
    "django.contrib.auth.apps",
    "django.contrib.auth.hashers",
    "django.contrib.auth.password_validation",
    "django.contrib.auth.tokens",
    "django.contrib.contenttypes.apps",
    "django.contrib.messages.apps",
    "django.contrib.messages.middleware",
    "django.contrib.sessions.apps",
    "django.contrib.sessions.middleware",
    "django.contrib.staticfiles.apps",
    "django.contrib.staticfiles.storage",
    "django.core.cache.backends.locmem",
    "django.core.management.commands.check",
    "django.core.management.commands.makemigrations",
    "django.core.management.commands.migrate",
    "django.db.backends.sqlite3.base",
    "django.db.models.sql.compiler",
    "django.middleware.cache",
    "django.templatetags.tz",
    "django.utils.translation.reloader",
    "django.utils.translation.trans_real",
    "django.views.csrf",
    "django.views.debug",
    "django.views.i18n",
]
# The agent's files travel as text, and each process compiles those it needs. The server has done that already: when it
# comes to loading one, the same text of the same name is not compiled again.
COMPILE_THE_AGENT = f"""
import importlib.abc, json
compiled = {{}}
for name, text in json.loads({agent_source()!r})["texts"].items():
    compiled[text] = f"<djdeploy {{name}}>", compile(text, f"<djdeploy {{name}}>", "exec", dont_inherit=True)

class Loader:
    def exec_module(self, module, otherwise=importlib.abc.InspectLoader.exec_module):
        spec = module.__spec__
        name, code = compiled.get(self.get_source(spec.name), (None, None))
        exec(code, module.__dict__) if name == spec.origin else otherwise(self, module)

importlib.abc.InspectLoader.exec_module = Loader.exec_module
"""
DJANGO = ForkServer(PYTHON, MADE / "django", os.getpid(), IMPORTS, afterwards=COMPILE_THE_AGENT)
forked = functools.partial(runner.run, start=DJANGO.start)

# ansible-test has its module_utils on the path, and nothing else of Ansible
PATH = [str(COLLECTIONS), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PATH), "ANSIBLE_MARK": "controller"}
FORK_THE_AGENT = f"""
import functools
from pathlib import Path
from {COLLECTION}.plugins.module_utils import manage
from {COLLECTION}.plugins.module_utils.engine import runner
from {COLLECTION}.tests.unit.plugins.forking import ForkServer
django = ForkServer(
    {PYTHON!r}, Path({str(DJANGO.place)!r}), {os.getpid()}, {IMPORTS!r}, afterwards={COMPILE_THE_AGENT!r}
)
forked = functools.partial(runner.run, start=django.start)
manage.run_steps = functools.partial(manage.run_steps, run=forked)
"""
MODULES = ForkServer(
    sys.executable,
    MADE / "modules",
    os.getpid(),
    ["ansible.module_utils.basic", f"{COLLECTION}.plugins.module_utils.family.every"],
    paths=PATH,
    env={**runner.BASE_ENVIRONMENT, **ENVIRONMENT},
    afterwards=FORK_THE_AGENT,
)


def run_module(name: str, arguments: Mapping[str, Any], *, fresh: bool = False) -> tuple[dict[str, Any], str]:
    """A module as the program that it is: it reads its arguments and prints its result.

    :param fresh: in a process of its own, which starts the agent in another one.
    :returns: the result, and all it has printed.
    """
    done = runner.run(
        [sys.executable, "-m", f"{COLLECTION}.plugins.modules.{name}"],
        stdin=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env=ENVIRONMENT,
        cwd=os.getcwd(),
        **({} if fresh else {"start": MODULES.start}),
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stdout + done.stderr
