# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting other programs, with real ones: what reaches them, what comes back, and that they end."""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import runner
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError

ME = pwd.getpwuid(os.geteuid()).pw_name
LONG = 60.0  # seconds for what happens at once on any machine that is not busy
NOBODY = "djdeploy-nobody-has-this-name"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


def alive(pid: int) -> bool:
    """Whether a process still runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int, within: float = LONG) -> bool:
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


# --- what comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "returncode", "stdout", "stderr"),
    [
        ("true", 0, "", ""),
        ("echo out; echo err >&2", 0, "out\n", "err\n"),
        ("echo out; exit 3", 3, "out\n", ""),
        ("kill -TERM $$", -15, "", ""),
        ("printf 'no newline'", 0, "no newline", ""),
        (r"printf 'a\377b\n'", 0, "a\ufffdb\n", ""),
        ("pwd", 0, "/\n", ""),
        ("umask", 0, "0022\n", ""),
        ("cat", 0, "", ""),
        ("head -c 300000 /dev/zero | tr '\\0' x >&2; echo end", 0, "end\n", "x" * 300_000),
    ],
    ids=["nothing", "both", "status", "signal", "no newline", "not UTF-8", "cwd", "umask", "no stdin", "much"],
)
def test_run_returns_what_it_said(script: str, returncode: int, stdout: str, stderr: str) -> None:
    before = os.umask(0o077)
    try:
        done = runner.run(["sh", "-c", script], timeout=LONG)
    finally:
        os.umask(before)
    assert (done.returncode, done.stdout, done.stderr) == (returncode, stdout, stderr)
    assert done.argv == ("sh", "-c", script)


def test_run_words_are_never_a_shell(tmp_path: Path) -> None:
    done = runner.run(["echo", tmp_path, "$HOME; false | *"])
    assert done.stdout == f"{tmp_path} $HOME; false | *\n"


def test_run_cwd(tmp_path: Path) -> None:
    assert runner.run(["pwd"], cwd=tmp_path).stdout == f"{tmp_path}\n"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (None, {}),
        ({"SHOP": "a b$c\nd"}, {"SHOP": "a b$c\nd"}),
        ({"LANG": "de_DE.UTF-8", "PATH": "/bin"}, {"LANG": "de_DE.UTF-8", "PATH": "/bin"}),
    ],
    ids=["none", "given", "wins"],
)
def test_run_environment_is_only_what_is_given(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str] | None, expected: dict[str, str]
) -> None:
    monkeypatch.setenv("DJDEPLOY_TEST_LEAK", "secret")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "somebody.elses")
    monkeypatch.setenv("LANG", "tlh_QO.UTF-8")
    done = runner.run([sys.executable, "-I", "-c", "import json, os; print(json.dumps(dict(os.environ)))"], env=env)
    assert json.loads(done.stdout) == {**runner.BASE_ENVIRONMENT, **expected}
    assert runner.BASE_ENVIRONMENT.keys() == {"PATH", "LANG", "LC_ALL"}


def test_run_lines_come_while_it_runs(tmp_path: Path) -> None:
    """The second line is written only after the first was heard."""
    gate, heard = tmp_path / "gate", []

    def hear(line: str) -> None:
        heard.append(line)
        gate.touch()

    script = f"echo one; until test -e {gate}; do sleep 0.01; done; echo; echo two; echo three >&2"
    errors: list[str] = []
    done = runner.run(["sh", "-c", script], timeout=LONG, on_stdout=hear, on_stderr=errors.append)
    assert (heard, errors) == (["one", "", "two"], ["three"])
    assert done.stdout == "one\n\ntwo\n", "what was heard is also returned"


# --- standard input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "stdin", "stdout"),
    [
        (["cat"], "text with ü\n", "text with ü\n"),
        (["cat"], "", ""),
        (["wc", "-c"], "x" * 1_000_000, "1000000\n"),
        (["true"], "nobody reads this", ""),
        (["true"], "x" * 1_000_000, ""),
    ],
    ids=["text", "empty", "more than a pipe holds", "not read", "much not read"],
)
def test_run_stdin(argv: list[str], stdin: str, stdout: str) -> None:
    done = runner.run(argv, stdin=stdin, timeout=LONG)
    assert (done.returncode, done.stdout) == (0, stdout)


def test_run_stdin_nobody_reads_does_not_outlast_the_timeout() -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"sleep did not end within 0\.2 s"):
        runner.run(["sleep", "600"], stdin="x" * 1_000_000, timeout=0.2)
    assert time.monotonic() - began < LONG


# --- it ends --------------------------------------------------------------------------------------


class Begun(subprocess.Popen[str]):
    """A process whose time begins, or that is seen to end, only when it has come to where the test wants it."""

    event = threading.Event()

    def wait(self, timeout: float | None = None) -> int:
        assert self.event.wait(LONG)
        return super().wait(timeout)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> type[Begun]:
    monkeypatch.setattr(Begun, "event", threading.Event())
    return Begun


def test_run_timeout_kills_it_and_its_children(tmp_path: Path, begun: type[Begun]) -> None:
    note = tmp_path / "pid"
    script = f"echo half a story >&2; sleep 600 & echo $! > {note}; echo; wait"
    began = time.monotonic()
    with pytest.raises(EngineError) as raised:
        runner.run(["sh", "-c", script], timeout=0.3, on_stdout=lambda _line: begun.event.set(), start=begun)
    assert time.monotonic() - began < LONG
    assert raised.value.message == "sh did not end within 0.3 s and was killed"
    assert raised.value.detail == "half a story\n"
    assert ends(int(note.read_text()))


def test_run_child_left_behind_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: type[Begun]
) -> None:
    """A child that keeps the output open would otherwise hold the deploy for as long as it lives."""
    monkeypatch.setattr(runner, "LEFT_BEHIND", 0.2)
    note = tmp_path / "pid"
    began = time.monotonic()
    script = f"sleep 600 & echo $! > {note}; echo done"
    done = runner.run(["sh", "-c", script], timeout=600, on_stdout=lambda _line: begun.event.set(), start=begun)
    assert time.monotonic() - began < LONG
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert ends(int(note.read_text()))


def test_run_output_is_whole_although_it_is_read_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy host the program has long ended when its last lines are heard."""
    monkeypatch.setattr(runner, "LEFT_BEHIND", 0.1)
    heard: list[str] = []

    def hear(line: str) -> None:
        time.sleep(0.2)
        heard.append(line)

    done = runner.run(["sh", "-c", "echo one; echo two; echo three"], on_stdout=hear)
    assert (heard, done.stdout) == (["one", "two", "three"], "one\ntwo\nthree\n")


def test_run_child_that_left_the_session_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LEFT_BEHIND", 0.1)
    monkeypatch.setattr(runner, "REST", 0.5)
    note = tmp_path / "pid"
    done = runner.run(["sh", "-c", f"echo done; setsid sleep 600 & echo $! > {note}"], timeout=300)
    assert (done.returncode, done.stdout) == (0, "done\n")
    with suppress(ProcessLookupError):
        os.kill(int(note.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("word", "options", "message"),
    [
        ("/nonexistent/program", {}, "cannot start /nonexistent/program: No such file or directory"),
        ("/etc/passwd", {}, "cannot start /etc/passwd: Permission denied"),
        ("true", {"cwd": "/nonexistent"}, "cannot start true: No such file or directory"),
        ("true", {"user": NOBODY}, f"the unix user {NOBODY!r} does not exist on this host"),
    ],
    ids=["missing", "not executable", "no such directory", "no such user"],
)
def test_run_cannot_start(word: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError) as raised:
        runner.run([word], **options)
    assert raised.value.message == message


# --- as whom --------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [None, ME], ids=["nobody named", "already that user"])
def test_user_arguments_stay(user: str | None) -> None:
    assert runner.user_arguments(user) == {}


def test_user_arguments_unknown_user() -> None:
    with pytest.raises(EngineError) as raised:
        runner.user_arguments(NOBODY)
    assert raised.value.message == f"the unix user {NOBODY!r} does not exist on this host"
    assert "site.yml" in raised.value.hint


def test_user_arguments_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    account = pwd.struct_passwd(("shop", "x", 4321, 4322, "", "/srv/shop", "/bin/false"))
    groups = [
        grp.struct_group(("shop", "x", 4322, [])),
        grp.struct_group(("www-data", "x", 33, ["shop", "nginx"])),
        grp.struct_group(("adm", "x", 4, ["workshop"])),
    ]
    monkeypatch.setattr(pwd, "getpwnam", lambda name: account)
    monkeypatch.setattr(grp, "getgrall", lambda: groups)
    assert runner.user_arguments("shop") == {"user": 4321, "group": 4322, "extra_groups": [33]}


@as_root
def test_run_as_another_user() -> None:
    nobody = pwd.getpwnam("nobody")
    done = runner.run(["sh", "-c", "id -u; id -ru; id -g; id -G"], user="nobody")
    assert done.stdout.split()[:3] == [str(nobody.pw_uid), str(nobody.pw_uid), str(nobody.pw_gid)]
    assert "0" not in done.stdout.split(), "root's groups are gone, too"


# --- pipes ----------------------------------------------------------------------------------------


def pipe(producer: str, consumer: str, **options: Any) -> None:
    runner.pipe(["sh", "-c", producer], ["sh", "-c", consumer], producer_user=None, consumer_user=None, **options)


def test_pipe_carries_everything(tmp_path: Path) -> None:
    target = tmp_path / "target"
    pipe("head -c 1000000 /dev/zero; echo noise >&2", f"cat > {target}; echo noise")
    assert target.stat().st_size == 1_000_000
    assert target.stat().st_mode & 0o777 == 0o644


def test_pipe_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "secret")
    target = tmp_path / "target"
    pipe("echo $GIT_DIR:$LEAK", f"cat > {target}; echo $GIT_DIR:$LEAK >> {target}", producer_env={"GIT_DIR": "/repo"})
    assert target.read_text() == "/repo:\n:\n"


@pytest.mark.parametrize(
    ("producer", "consumer", "status", "detail"),
    [
        ("echo lost >&2; exit 3", "cat >/dev/null", 3, "lost\n"),
        ("echo x", "cat >/dev/null; echo full >&2; exit 4", 4, "full\n"),
        ("echo lost >&2; exit 3", "cat >/dev/null; echo no end >&2; exit 4", 3, "lost\n"),
        ("exec yes", "echo full >&2; exit 4", 4, "full\n"),
    ],
    ids=["producer", "consumer", "both: the first to fail", "consumer gives up"],
)
def test_pipe_fails(producer: str, consumer: str, status: int, detail: str) -> None:
    with pytest.raises(EngineError) as raised:
        pipe(producer, consumer)
    assert raised.value.message == f"sh failed (status {status})"
    assert raised.value.detail == detail
