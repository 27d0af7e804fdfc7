# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's side of the steps: how the agent is started, and how its end is understood."""

from __future__ import annotations

import json
import marshal
import os
import py_compile
import subprocess
import sys
import time
import zipfile
from base64 import b64encode
from collections.abc import Mapping
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import paths, runner, steps
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import (
    NotThereYet,
    StepError,
    StepResult,
    Target,
    death,
    results_of,
    run_steps,
    settings_named_by,
)

ENGINE = Path(steps.__file__).parent
END = {"event": "end"}


def step_event(name: str, **more: Any) -> dict[str, Any]:
    return {"event": "step", "name": name, "changed": False, **more}


class RecordedRun:
    """Stands in for `runner.run`: notes how it was called and answers with given lines."""

    def __init__(self, *events: Mapping[str, Any]) -> None:
        self.lines = [json.dumps(event) for event in events]
        self.argv: list[str] = []
        self.options: dict[str, Any] = {}

    def __call__(self, argv: Any, **options: Any) -> runner.Completed:
        self.argv, self.options = [str(word) for word in argv], options
        for line in self.lines:
            options["on_stdout"](line)
        return runner.Completed(tuple(self.argv), 0, "", "")


def test_secrets_go_by_environment_and_standard_input_only() -> None:
    run = RecordedRun(step_event("superuser"), END)
    target = Target(Path("/venv/bin/python"), Path("/code"), {"SECRET_KEY": "env-secret"}, "shop")
    run_steps(target, [{"name": "superuser", "password": "step-secret"}], run=run)
    assert "secret" not in " ".join(run.argv) and "secret" not in repr(target)
    assert run.options["env"] == {"SECRET_KEY": "env-secret"}
    assert (run.options["user"], run.options["cwd"]) == ("shop", Path("/code"))
    length, _newline, rest = run.options["stdin"].partition("\n")
    request = json.loads(rest[int(length) :])
    assert request == {"steps": [{"name": "superuser", "password": "step-secret"}], "check": False}


def test_events_are_handed_on_as_they_come() -> None:
    seen: list[str] = []
    run = RecordedRun({"event": "ready", "seconds": 0.1}, {"event": "start", "step": "check"}, step_event("check"), END)
    run.lines.insert(0, "hello from sitecustomize")
    target = Target(Path("/python"), Path("/code"), {})
    results = run_steps(target, [{"name": "check"}], run=run, on_event=lambda event: seen.append(event["event"]))
    assert seen == ["ready", "start", "step", "end"]
    assert results == [StepResult("check", False)]


def test_time_until_django_is_set_up_is_told() -> None:
    """The whole of it, not only what Django itself took: that is what the other processes of a release need, too."""
    run = RecordedRun({"event": "ready", "seconds": 0.1}, step_event("check"), END)

    def slow(argv: Any, **options: Any) -> runner.Completed:
        time.sleep(0.3)
        return run(argv, **options)

    told: list[float] = []
    run_steps(Target(Path("/python"), Path("/code"), {}), [{"name": "check"}], run=slow, on_ready=told.append)
    assert len(told) == 1 and told[0] >= 0.3


@pytest.mark.parametrize(
    ("events", "returncode", "message", "hint"),
    [
        ([], -11, "killed by SIGSEGV while Django was set up", "compiled code"),
        ([{"event": "start", "step": "migrate"}], -9, "killed by SIGKILL during migrate", "out of memory"),
        ([{"event": "start", "step": "migrate"}], 3, "ended with status 3 during migrate", "last words"),
        ([], -64, "killed by SIGRTMAX while", "last words"),
        ([], 0, "ended with status 0 while Django was set up", "last words"),
    ],
)
def test_death_is_an_error(events: list[dict[str, Any]], returncode: int, message: str, hint: str) -> None:
    stderr = "".join(f"line {number}\n" for number in range(30))
    with pytest.raises(StepError) as caught:
        results_of(events, returncode, stderr)
    assert message in caught.value.message and hint in caught.value.hint
    assert caught.value.detail.startswith("line 10") and caught.value.detail.endswith("line 29")
    assert death(returncode, caught.value.step)[0] == caught.value.message


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("import os\nprint('going', flush=True)\nos._exit(3)", "ended with status 3 while Django was set up"),
        ("import os, signal\nprint('going')\nos.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL while"),
        ("import ctypes\nprint('going')\nctypes.string_at(0)", "killed by SIGSEGV while"),
    ],
    ids=["exit", "kill", "segfault"],
)
def test_process_that_dies_leaves_its_last_words(project: Any, lines: str, message: str) -> None:
    project.settings(lines)
    with pytest.raises(StepError, match=message) as caught:
        project.run({"name": "check"})
    assert "going" in caught.value.detail


def test_whatever_prints_does_not_mix_with_the_events(project: Any) -> None:
    project.settings(
        'import os, subprocess\nprint(\'{"event": "end"}\', flush=True)\nos.write(1, b\'{"event": "end"}\\n\')\n'
        "subprocess.run(['echo', '{\"event\": \"end\"}'])"
    )
    (result,) = project.run({"name": "check"})
    assert result.name == "check" and result.stdout == ""


def test_secrets_are_hidden_in_what_a_person_reads(project: Any) -> None:
    project.env["SHOP_PASSWORD"] = "very-secret"
    project.env["SHOP_URL"] = "postgresql://shop:url-secret@db/shop"
    project.settings('import os\nraise ValueError(os.environ["SHOP_PASSWORD"] + os.environ["SHOP_URL"])')
    with pytest.raises(StepError) as caught:
        project.run({"name": "check"})
    assert "********" in caught.value.message
    assert not [word for word in ("very-secret", "url-secret") if word in repr(vars(caught.value))]


def test_thread_of_the_project_does_not_keep_the_process(project: Any) -> None:
    project.settings("import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()")
    began = time.monotonic()
    project.run({"name": "check"}, timeout=600)
    assert time.monotonic() - began < 300


def test_exit_handlers_of_the_project_run(project: Any) -> None:
    project.settings('import atexit, pathlib\natexit.register(pathlib.Path("left").write_text, "bye")')
    project.run({"name": "check"})
    assert (project.root / "left").read_text() == "bye"


def test_check_mode_leaves_no_bytecode(project: Any) -> None:
    for cache in project.root.rglob("__pycache__"):
        for file in cache.iterdir():
            file.unlink()
        cache.rmdir()
    project.run({"name": "describe"}, check=True)
    assert not list(project.root.rglob("__pycache__"))


def test_python_without_django(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    target = Target(tmp_path / "venv/bin/python", tmp_path, {"DJANGO_SETTINGS_MODULE": "mysite.settings"})
    with pytest.raises(StepError, match=f"Django is not installed in {tmp_path}/venv"):
        run_steps(target, [{"name": "check"}])


def agent_of(text: str, compiled: bytes, magic: str) -> str:
    parts = {"texts": {"agent": text}, "compiled": {"agent": b64encode(compiled).decode()}, "magic": magic}
    sent = json.dumps(parts)
    done = subprocess.run(
        [sys.executable, "-c", steps.BOOTSTRAP],
        input=f"{len(sent)}\n{sent}",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_what_was_compiled_is_run_where_python_is_the_same() -> None:
    """Its frames are named as those of the text are: who looks for the project's own must not find ours."""
    code = marshal.dumps(
        compile("def main():\n    print('compiled', main.__code__.co_filename)", "/elsewhere.py", "exec")
    )
    text = "def main():\n    print('text', main.__code__.co_filename)"
    assert agent_of(text, code, MAGIC_NUMBER.hex()) == "compiled <djdeploy agent>"
    assert agent_of(text, code, "0b0d0d0a") == "text <djdeploy agent>"
    assert agent_of(text, b"of another Python", "0b0d0d0a") == "text <djdeploy agent>"


def test_compiled_code_is_that_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "part.py"
    file.write_text("ANSWER = 42\n")
    assert steps.compiled_code(file) == b""
    py_compile.compile(str(file), doraise=True)
    namespace: dict[str, Any] = {}
    exec(marshal.loads(steps.compiled_code(file)), namespace)
    assert namespace["ANSWER"] == 42
    os.utime(file, (1, 1))
    assert steps.compiled_code(file) == b"", "the text was written again"
    py_compile.compile(str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert steps.compiled_code(file) == b"", "nobody knows what it was made of"


def test_agent_is_found_inside_a_zip(project: Any, tmp_path: Path) -> None:
    package = "bundled/engine"
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as bundle:
        bundle.writestr("bundled/__init__.py", "")
        for file in ENGINE.glob("*.py"):
            bundle.write(file, f"{package}/{file.name}")
    code = (
        "import sys; from pathlib import Path; from bundled.engine.steps import Target, run_steps;"
        f"print(run_steps(Target.for_project({str(project.root)!r}, {str(project.target().python)!r}),"
        " [{'name': 'describe'}])[0].facts['settings'])"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "bundle.zip")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "mysite.settings\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')", "mysite.settings"),
        ('os.environ.setdefault(\n    "DJANGO_SETTINGS_MODULE",\n    "a.b.c"\n)', "a.b.c"),
        ('os.environ["DJANGO_SETTINGS_MODULE"] = "a.b"', "a.b"),
        ('os.environ.setdefault("DJANGO_SETTINGS_MODULE", f"config.{name}")', None),
        ("", None),
    ],
)
def test_settings_named_by_manage_py(text: str, expected: str | None) -> None:
    assert settings_named_by(text) == expected


def test_target_for_project_prefers_what_is_given(project: Any) -> None:
    python = project.target().python
    target = Target.for_project(project.root, python, env={"DJANGO_SETTINGS_MODULE": "a.b", "PYTHONPATH": "/x"})
    assert target.env["DJANGO_SETTINGS_MODULE"] == "a.b"
    target = Target.for_project(project.root, python, settings="c.d", env=target.env, pythonpath=["/y"])
    assert target.env == {"DJANGO_SETTINGS_MODULE": "c.d", "PYTHONPATH": "/y:/x"}


@pytest.mark.parametrize(("path", "python"), [("/nowhere", sys.executable), ("/", "/nowhere/bin/python")])
def test_target_for_project_that_is_not_there(path: str, python: str) -> None:
    with pytest.raises(NotThereYet, match="nowhere"):
        Target.for_project(path, python)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> paths.SitePaths:
    """A site `shop` in a directory, with one release that is not live."""
    monkeypatch.setattr(paths, "SITES_ROOT", tmp_path / "srv")
    monkeypatch.setattr(paths, "SITES_CONFIG", tmp_path / "etc")
    site = paths.SitePaths("shop")
    release = site.release("20260101T000000-abcdef0")
    (release.code / "backend").mkdir(parents=True)
    release.env_file.write_text('DJANGO_SETTINGS_MODULE="djdeploy_settings"\nDEBUG="False"\n')
    release.record.write_text('{"project_path": "backend"}')
    site.env_file.parent.mkdir()
    site.env_file.write_text('DEBUG="True"\nSECRET_KEY="a b"\n')
    return site


def test_target_for_site_is_its_live_release(site: paths.SitePaths) -> None:
    site.current.symlink_to("releases/20260101T000000-abcdef0")
    target = Target.for_site("shop")
    release = site.release("20260101T000000-abcdef0")
    assert target.python == release.root / ".venv/bin/python"
    assert target.cwd == release.code / "backend"
    assert target.env == {"DJANGO_SETTINGS_MODULE": "djdeploy_settings", "DEBUG": "False", "SECRET_KEY": "a b"}
    assert target.user == "shop"
    assert Target.for_site("shop", "20260101T000000-abcdef0") == target


def test_target_for_site_that_is_not_there(site: paths.SitePaths) -> None:
    with pytest.raises(NotThereYet, match="shop has no live release yet"):
        Target.for_site("shop")
    with pytest.raises(NotThereYet, match="shop has no release 2"):
        Target.for_site("shop", "2")
    with pytest.raises(EngineError, match="blog is not a site of this host"):
        Target.for_site("blog")


def test_target_for_site_needs_roots_eyes(site: paths.SitePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    site.current.symlink_to("releases/20260101T000000-abcdef0")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(EngineError, match=r"no permission to read .*/etc/shop\.env") as raised:
        Target.for_site("shop")
    assert "become: true" in raised.value.hint
