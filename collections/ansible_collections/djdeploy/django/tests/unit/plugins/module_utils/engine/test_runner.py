# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting other programs, with real ones: what reaches them, what comes back, and that they end."""

from __future__ import annotations

import grp
import io
import json
import os
import pwd
import re
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


# --- how much is kept -----------------------------------------------------------------------------

MARK = re.compile(r"\[\.\.\. (\d+) bytes left out \.\.\.\]")
LINES = "for i in range(200000): print('%07d and some text of a build that talks' % i)"  # 9.6 MB


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_of_much_output_both_ends_are_kept_and_the_rest_is_counted() -> None:
    whole = runner.run(python(LINES), timeout=LONG).stdout
    heard: list[str] = []
    kept = runner.run(python(LINES), timeout=LONG, bounded=runner.BOTH, on_stdout=heard.append).stdout
    first, left_out, last = MARK.split(kept)
    assert whole.startswith(first) and whole.endswith(last.lstrip("\n"))
    assert len(first) + int(left_out) + len(last) - 1 == len(whole)
    assert 0.9 * runner.KEPT < len(first) <= runner.KEPT and 0.9 * runner.KEPT < len(last) <= runner.KEPT + 1
    assert heard[-1] == whole.splitlines()[-1] and heard[0] == whole.splitlines()[0]
    said = sum(len(line) + 1 for line in heard)
    assert runner.HEARD < said < runner.HEARD + 2 * runner.KEPT
    assert [line for line in heard if MARK.fullmatch(line)] != [], "who reads along is told that something is missing"


@pytest.mark.parametrize("size", [0, 1, 1000, 2 * runner.KEPT - 2000])
def test_of_little_output_everything_is_kept(size: int) -> None:
    script = f"import sys\nfor i in range({size} // 10): sys.stderr.write('%09d\\n' % i)"
    kept = runner.run(python(script), timeout=LONG, bounded=runner.STDERR)
    assert kept.stderr == "".join(f"{number:09d}\n" for number in range(size // 10))


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_without_an_end_is_bounded_too(end: str) -> None:
    script = f"import sys\nfor i in range(300): sys.stdout.write('x' * 100000)\nsys.stdout.write('the end' + {end!r})"
    heard: list[str] = []
    kept = runner.run(python(script), timeout=LONG, bounded=runner.STDOUT, on_stdout=heard.append).stdout
    first, left_out, last = MARK.split(kept)
    assert (set(first), last[-7 - len(end) :]) == ({"x"}, f"the end{end}")
    assert len(first) + int(left_out) + len(last) == 30_000_000 + len(f"the end{end}")
    assert len(kept) < 2 * runner.LONGEST_LINE + 100
    assert heard == [kept.rstrip("\n")]


def test_much_output_costs_no_memory() -> None:
    """In a process of its own, whose greatest size the kernel tells (getrusage(2), ru_maxrss)."""
    package = Path(runner.__file__).parent
    script = f"""
import importlib.util, resource, sys, types
package = types.ModuleType("engine"); package.__path__ = [{str(package)!r}]; sys.modules["engine"] = package
from engine import runner
heard = []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
lines = "yes 'a line of a build that never ends' | head -c 40000000; echo; head -c 40000000 /dev/zero >&2"
words = ["sh", "-c", lines]
done = runner.run(words, bounded=runner.BOTH, on_stdout=heard.append, on_stderr=heard.append)
print(done.returncode, len(done.stdout), len(done.stderr), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = runner.run([sys.executable, "-c", script], timeout=600)
    status, stdout, stderr, grown = map(int, done.stdout.split())
    assert status == 0 and stdout < 140_000 and stderr < 140_000
    assert grown < 30_000, f"{grown} kB more"


def test_a_program_that_is_read_by_us_is_ended_when_it_says_too_much() -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match="said more than 1 MB and was killed"):
        runner.run(["yes"], most=1 << 20, timeout=600)
    assert time.monotonic() - began < LONG


@pytest.mark.parametrize("text", ["x" * 1000, "\N{ROCKET}" * 250], ids=["ascii", "four bytes each"])
def test_what_is_read_by_us_is_counted_in_bytes(text: str) -> None:
    assert list(runner.lines_of(io.StringIO(text), bounded=False, most=1000)) == [text]
    with pytest.raises(runner.TooMuch):
        list(runner.lines_of(io.StringIO(text), bounded=False, most=999))


def test_what_a_program_said_into_a_file_is_bounded_too(tmp_path: Path) -> None:
    with (tmp_path / "said").open("w+b") as file:
        file.write(b"first words\n" + b"x" * 1_000_000 + b"\nlast words\n")
        text = runner.ends_of(file)
    first, left_out, last = MARK.split(text)
    assert first.startswith("first words\n") and last.endswith("\nlast words\n")
    assert len(first) + int(left_out) + len(last) == 1_000_024


def test_more_may_be_kept_of_an_output_that_is_bounded() -> None:
    words = [sys.executable, "-c", "print('x' * 100_000); print('y' * 300_000)"]
    first, second = runner.run(words, bounded=runner.STDOUT, kept=400_000).stdout.splitlines()
    assert first == "x" * 100_000
    assert second == "y" * 100_000 + "[... 100001 bytes left out ...]" + "y" * 99_999  # and the newline
