# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of a sandbox; that it holds is tested on hosts (molecule/projects)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import runner, sandbox
from ansible_collections.djdeploy.django.plugins.module_utils.engine.environment import parse
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sandbox import Sandbox

CODE = Path("/srv/shop/releases/1/code")
BOX = Sandbox(
    unit="djdeploy-shop.build.service",
    user="shop-build",
    tree=CODE,
    cache=Path("/var/cache/djdeploy/shop"),
    environment=Path("/srv/shop/venvs/abc"),
    memory_max="50%",
    timeout=60,
    bound_to="djdeploy-deployer@1.service",
    slice="djdeploy-shop.slice",
)


def test_without_network() -> None:
    found = sandbox.properties(BOX, network=False)
    assert "PrivateNetwork=yes" in found
    assert {f"TemporaryFileSystem={path}:ro" for path in ("/srv", "/etc/djdeploy", "/run")} <= set(found)
    assert f"BindPaths={CODE} /var/cache/djdeploy/shop" in found
    (reads,) = (each for each in found if each.startswith("BindReadOnlyPaths="))
    assert "-/srv/shop/venvs/abc" in reads
    assert str(CODE) not in reads, "systemd would make what it mounts over, by a name the commands may change"
    assert "resolve" not in reads
    assert {"MemoryMax=50%", "RuntimeMaxSec=60", "BindsTo=djdeploy-deployer@1.service"} <= set(found)


def test_with_network() -> None:
    found = sandbox.properties(BOX, network=True)
    assert "PrivateNetwork=yes" not in found
    assert any("/run/systemd/resolve" in each for each in found)
    assert "TemporaryFileSystem=/run:ro" in found, "sockets are no network"
    assert "RestrictAddressFamilies=~AF_UNIX" in found, "abstract ones are"
    assert "RestrictAddressFamilies=~AF_UNIX" not in sandbox.properties(BOX, network=False)


@pytest.mark.parametrize("network", [True, False])
def test_a_build_has_a_shared_memory_of_its_own(network: bool) -> None:
    assert f"TemporaryFileSystem={sandbox.SHARED_MEMORY}" in sandbox.properties(BOX, network=network)


def test_words() -> None:
    words = sandbox.words(BOX, 'echo "$HOME" 100%', "web", Path("/srv/shop/releases/1/.build.env"), network=False)
    assert words[-3:] == ["/bin/sh", "-ec", 'exec 2>&1\necho "$$HOME" 100%']
    assert f"--working-directory={CODE}/web" in words and "--uid=shop-build" in words
    assert "--slice=djdeploy-shop.slice" in words
    assert "--property=EnvironmentFile=/srv/shop/releases/1/.build.env" in words
    assert not any(word.startswith("--setenv") for word in words), "everybody may read a unit's properties"


def test_variables() -> None:
    found = sandbox.variables(BOX, {"SECRET_KEY": "said", "HOME": "/root", "VITE_API": "/api"})
    assert (found["SECRET_KEY"], found["VITE_API"], found["HOME"]) == ("said", "/api", "/var/cache/djdeploy/shop")
    assert found["PATH"].startswith("/srv/shop/venvs/abc/bin:")
    assert (found["NODE_ENV"], found["npm_config_include"]) == ("production", "dev")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/system-djdeploy.slice/djdeploy-deployer@3-9-0.service\n", "djdeploy-deployer@3-9-0.service"),
        ("0::/system.slice/djdeploy-deployer@3.service/sub\n", "djdeploy-deployer@3.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("", ""),
    ],
)
def test_own_unit(text: str, unit: str) -> None:
    assert sandbox.own_unit(text) == unit


def run_as(returncode: int, stderr: str, seen: list[Any]) -> Any:
    def start(words: Sequence[str], **_more: Any) -> Completed:
        path = Path(next(word for word in words if "EnvironmentFile=" in word).partition("EnvironmentFile=")[2])
        seen.append((parse(path.read_text()), path.stat().st_mode & 0o777, " ".join(words)))
        return Completed(tuple(words), returncode, "said", stderr)

    return start


def test_run(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    box = Sandbox("u", "b", tmp_path / "code", tmp_path, tmp_path)
    seen: list[Any] = []
    told = (
        "Running as unit: u\nFinished with result: oom-kill\nMain processes terminated with: code=killed/status=KILL\n"
    )
    ended = sandbox.run(box, "make", ".", {"TOKEN": "hidden $x"}, network=True, start=run_as(1, told, seen))
    assert ended == sandbox.Ended(1, "said", "oom-kill")
    variables, mode, words = seen[0]
    assert variables["TOKEN"] == "hidden $x" and mode == 0o600 and "hidden" not in words
    assert not (tmp_path / ".build.env").exists()
    with pytest.raises(EngineError, match="systemd could not run") as caught:
        sandbox.run(box, "make", ".", {}, network=True, start=run_as(1, "Failed to start transient unit", []))
    assert "transient" in caught.value.detail


def test_a_filled_environment_is_written_and_not_read_only() -> None:
    venv = Path("/srv/shop/venvs/abc")
    box = Sandbox("u", "b", Path("/srv/shop/venvs/.abc.inputs"), Path("/cache"), venv, writes=(venv,))
    found = sandbox.properties(box, network=True)
    assert f"BindPaths=/srv/shop/venvs/.abc.inputs /cache {venv}" in found
    assert not any(each.startswith("BindReadOnlyPaths") and str(venv) in each for each in found)


def test_nothing_outlives_a_unit() -> None:
    for found in (sandbox.properties(BOX, network=True), sandbox.site_properties(sandbox.SiteBox(SitePaths("shop")))):
        assert {"KillMode=control-group", "KillSignal=SIGKILL"} <= set(found)


# --- as the site's user ---------------------------------------------------------------------------


def test_a_site_sees_its_own_part_of_the_host() -> None:
    found = sandbox.site_properties(sandbox.SiteBox(SitePaths("shop"), (Path("/srv/shop/releases/1/static"),)))
    hidden = "/srv:ro /etc/djdeploy:ro /var/lib/djdeploy:ro /var/cache/djdeploy:ro /run/djdeploy:ro"
    assert f"TemporaryFileSystem={hidden} {sandbox.SHARED_MEMORY}" in found
    (reads,) = (each for each in found if each.startswith("BindReadOnlyPaths="))
    assert reads.startswith("BindReadOnlyPaths=/srv/shop ") and "-/etc/djdeploy/sites/shop.secrets" in reads
    assert "ReadWritePaths=/srv/shop/shared -/srv/shop/releases/1/static" in found
    assert "UMask=0027" in found and "UMask=0022" not in found


def test_work_that_is_told_of_files_has_those_of_the_host() -> None:
    found = sandbox.site_properties(sandbox.SiteBox(SitePaths("shop"), host_files=True))
    assert "ProtectSystem=full" in found
    assert not {"PrivateTmp=yes", "ProtectSystem=strict", "ProtectHome=yes"} & set(found)
    others = {"PrivateTmp=yes", "ProtectSystem=strict", "ProtectHome=yes", "ProtectSystem=full"}
    assert set(sandbox.site_properties(sandbox.SiteBox(SitePaths("shop")))) ^ set(found) == others


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("/srv/shop/shared/x.json", None),
        ("/srv/shop", None),
        ("/srv", None),
        ("/tmp/x.json", None),
        ("/home/ann/x.json", None),
        ("/srv-of-others/x.json", None),
        ("/etc/djdeploy/sites/shop.secrets/KEY", None),
        ("/var/lib/djdeploy/pythons/3.13", None),
        ("/srv/blog/shared/x.json", "/srv"),
        ("/srv/shop-eu/x.json", "/srv"),
        ("/srv/shop/../blog/x.json", "/srv"),
        ("/srv/exports/x.json", "/srv"),
        ("/etc/djdeploy/sites/shop.env", "/etc/djdeploy"),
        ("/var/lib/djdeploy/shop/journal.jsonl", "/var/lib/djdeploy"),
        ("/run/djdeploy/shop/x", "/run/djdeploy"),
    ],
)
def test_what_a_site_does_not_see(path: str, hidden: str | None) -> None:
    assert sandbox.unseen(SitePaths("shop"), path) == (Path(hidden) if hidden else None)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (9, "9"),
        (3600.0, "3600"),
        (0.25, "0.25"),
        (1e-9, "0.000001"),
        (10_000_000.0, "10000000"),
        (1e300, "1000000000"),
        (float("inf"), "1000000000"),
    ],
)
def test_seconds_as_systemd_reads_them(seconds: float, said: str) -> None:
    assert sandbox.time_span(seconds) == said


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        ("Finished with result: success\nMain processes terminated with: code=exited/status=0\n", 0, 0),
        ("Finished with result: exit-code\nMain processes terminated with: code=exited, status=3/3\n", 3, 3),
        ("Finished with result: signal\nMain processes terminated with: code=killed/status=SEGV\n", 255, -11),
        ("Finished with result: oom-kill\nMain processes terminated with: code=killed, status=9/KILL\n", 1, -9),
        ("Finished with result: core-dump\nMain processes terminated with: code=dumped/status=ABRT\n", 255, -6),
        (
            "Main processes terminated with: code=killed/status=KILL\n"
            "Main processes terminated with: code=exited/status=0",
            0,
            0,
        ),
        ("", 1, 1),
    ],
)
def test_parse_status(said: str, status: int, expected: int) -> None:
    assert sandbox.parse_status(status, said) == expected


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/system-djdeploy.slice/djdeploy-deployer@3-9-0.service\n", "djdeploy-deployer@3-9-0.service"),
        ("0::/system.slice/djdeploy-deployer.push@3-77-0.service\n", "djdeploy-deployer.push@3-77-0.service"),
        ("0::/system.slice/djdeploy-shop.service\n", ""),
        ("0::/system.slice/ssh.service\n", ""),
    ],
)
def test_only_a_deployer_takes_its_work_with_it(cgroup: str, unit: str) -> None:
    assert sandbox.bound_unit(cgroup) == unit


@pytest.fixture
def run_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sandbox, "RUN_ROOT", tmp_path)
    return tmp_path


def test_site_runner(run_root: Path) -> None:
    heard: list[str] = []
    seen: list[Any] = []

    def start(words: Sequence[str], *, on_stderr: Any, **more: Any) -> Completed:
        place = Path(next(word for word in words if "EnvironmentFile=" in word).partition("EnvironmentFile=")[2])
        seen.append((list(words), parse(place.read_text()), place.stat().st_mode & 0o777, more["stdin"]))
        said = "Running as unit: x\na warning\nFinished with result: signal\n"
        said += "Main processes terminated with: code=killed/status=KILL\nCPU time consumed: 1s\n"
        for line in said.splitlines():
            on_stderr(line)
        return Completed(tuple(words), 255, "{}", said)

    run = sandbox.site_runner(sandbox.SiteBox(SitePaths("shop")), start=start)
    done = run(
        ["/venv/python", "-c", "$x"],
        user="shop",
        env={"TOKEN": "hidden"},
        cwd="/code",
        stdin="asked",
        timeout=9,
        on_stderr=heard.append,
    )
    assert (done.returncode, done.stdout, done.stderr, heard) == (-9, "{}", "a warning\n", ["a warning"])
    words, environment, mode, stdin = seen[0]
    assert words[-3:] == ["/venv/python", "-c", "$$x"] and "hidden" not in " ".join(words)
    assert environment["TOKEN"] == "hidden" and environment["PATH"] and mode == 0o600 and stdin == "asked"
    assert {"--uid=shop", "--working-directory=/code", "--property=RuntimeMaxSec=9"} <= set(words)
    assert list(run_root.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("Failed to start transient unit", "systemd could not run /x as shop"),
        ("Finished with result: timeout\n", "/x did not end within 9 s and was killed"),
    ],
)
def test_site_runner_that_fails(run_root: Path, said: str, message: str) -> None:
    def start(words: Sequence[str], **_more: Any) -> Completed:
        return Completed(tuple(words), 1, "", said)

    with pytest.raises(EngineError, match=message):
        sandbox.site_runner(sandbox.SiteBox(SitePaths("shop")), start=start)(["/x"], timeout=9)


PRETENDING = """\
import sys
words = sys.argv[1:]
assert "--quiet" in words, "what it says is taken for the program's"
import subprocess
sys.exit(subprocess.call([word.replace("$$", "$") for word in words[words.index("--") + 1:]]))
"""


class Systemd:
    """systemd-run that runs the program as its child."""

    def __init__(self) -> None:
        self.words: list[list[str]] = []
        self.environment: dict[str, str] = {}
        self.asked: list[list[str]] = []

    def start(self, words: Sequence[Any], *rest: Any) -> Any:
        self.words.append(list(map(str, words)))
        place = Path(next(word for word in self.words[-1] if "EnvironmentFile=" in word).split("EnvironmentFile=")[1])
        assert place.stat().st_mode & 0o777 == 0o600
        self.environment = parse(place.read_text())
        return runner.started([sys.executable, "-c", PRETENDING, *words], *rest)

    def run(self, words: Sequence[str], **_more: Any) -> Completed:
        self.asked.append(list(words))
        return Completed(tuple(words), 0, "", "")

    @property
    def starter(self) -> runner.Starter:
        return sandbox.site_starter(sandbox.SiteBox(SitePaths("shop")), start=self.start, run=self.run)


def test_programs_on_open_files(run_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "bound_unit", lambda _cgroup: "djdeploy-deployer@1.service")
    systemd = Systemd()
    with (run_root / "copy").open("w+b") as file:
        words = ["sh", "-c", "echo $0 said; cat", "it"]
        runner.save(words, file, user="shop", env={"PGPASSWORD": "hidden"}, timeout=60, start=systemd.starter)
    assert (run_root / "copy").read_text() == "it said\n"
    (asked,) = systemd.words
    assert "hidden" not in " ".join(asked) and systemd.environment["PGPASSWORD"] == "hidden"
    assert systemd.environment["PATH"] == runner.BASE_ENVIRONMENT["PATH"]
    box = sandbox.site_properties(sandbox.SiteBox(SitePaths("shop")))
    ends = ["BindsTo=djdeploy-deployer@1.service", "After=djdeploy-deployer@1.service", "RuntimeMaxSec=60"]
    assert {f"--property={each}" for each in (*box, *ends)} <= set(asked)
    assert {"--pipe", "--wait", "--uid=shop", "--gid=shop", "--slice=djdeploy-shop.slice"} <= set(asked)
    assert systemd.asked == [] and [path.name for path in run_root.iterdir()] == ["copy"]


def test_a_program_on_open_files_that_fails_is_ended(run_root: Path) -> None:
    """And the one that reads what it says never hears of the end of half an input."""
    (run_root / "in").write_text("input")
    systemd = Systemd()
    with (run_root / "in").open("rb") as file, pytest.raises(EngineError, match="sh failed: no more"):
        runner.load(
            ["tee", run_root / "out"],
            file,
            through=["sh", "-c", "head -c 3; echo no more >&2; exit 4"],
            after="commit",
            user=None,
            env={},
            timeout=60,
            start=systemd.starter,
        )
    units = [word.removeprefix("--unit=") for words in systemd.words for word in words if word.startswith("--unit=")]
    assert sorted(words[-1] for words in systemd.asked) == sorted(units) and len(units) == 2
    assert not (run_root / "out").exists() or "commit" not in (run_root / "out").read_text()
    assert not list(run_root.glob(".*"))


def test_what_nobody_reads_to_its_end_is_ended(run_root: Path) -> None:
    systemd = Systemd()
    with (
        (run_root / "said").open("w+b") as said,
        systemd.starter(["sleep", "60"], subprocess.DEVNULL, said, said, None, {}, 60.0),
    ):
        pass
    unit = next(word for word in systemd.words[0] if word.startswith("--unit=")).removeprefix("--unit=")
    assert systemd.asked == [["systemctl", "stop", unit]]


@pytest.fixture
def waiting(run_root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Programs that wait are started without systemd; returns those that `site_runner` was asked for."""
    otherwise: list[Path] = []

    def runner_of(_box: sandbox.SiteBox) -> Any:
        def run(argv: Sequence[Any], **_options: Any) -> Completed:
            otherwise.append(Path(argv[0]))
            return Completed((), 0, "", "")

        return run

    monkeypatch.setattr(sandbox, "site_words", lambda _box, argv, **_more: [sys.executable, *argv[1:]])
    monkeypatch.setattr(sandbox, "site_runner", runner_of)
    return otherwise


TELL = """\
import os, sys
print(os.getcwd(), os.environ['TOKEN'], os.environ['LANG'], sys.stdin.read())
sys.exit('Finished with result: exit-code')
"""


def test_a_program_whose_unit_is_made_ahead(waiting: list[Path], run_root: Path, tmp_path: Path) -> None:
    """It becomes what is asked for, once; whatever else is asked for gets a unit of its own."""
    with sandbox.ahead(sandbox.SiteBox(SitePaths("shop")), timeout=60) as run:
        assert [path.stat().st_mode & 0o777 for path in run_root.iterdir()] == [0o600], "a killed deployer's is found"
        done = run([sys.executable, "-c", TELL], cwd=tmp_path, env={"TOKEN": "\u00e9$HOME"}, stdin="asked", timeout=60)
        assert (done.returncode, done.stdout) == (1, f"{tmp_path} \u00e9$HOME C.UTF-8 asked\n")
        run([Path("/second")])
    assert waiting == [Path("/second")] and list(run_root.iterdir()) == []


def test_a_unit_made_ahead_that_nobody_needs_ends(waiting: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with sandbox.ahead(sandbox.SiteBox(SitePaths("shop")), timeout=60):
        pass
    monkeypatch.setattr(sandbox, "FRESH", 0.0)
    with sandbox.ahead(sandbox.SiteBox(SitePaths("shop")), timeout=60) as run:
        run([Path("/late")])
    assert waiting == [Path("/late")], "it has waited too long: little of its time is left"
    ended = subprocess.run([sys.executable, "-c", sandbox.WAITING], input="      12half", text=True, check=False)
    assert ended.returncode == 1


def test_unit_whose_client_was_killed_is_ended(run_root: Path) -> None:
    """systemd-run alone is killed for too much output: the unit would go on beside whoever goes on after it."""
    asked: list[list[str]] = []

    def start(words: Sequence[str], **_more: Any) -> Completed:
        asked.append(list(words))
        if words[0] == "systemd-run":
            raise EngineError("it wrote more than 64 MB")
        return Completed(tuple(words), 0, "", "")

    with pytest.raises(EngineError, match="64 MB"):
        sandbox.site_runner(sandbox.SiteBox(SitePaths("shop")), start=start)(["/x"], timeout=9)
    unit = next(word for word in asked[0] if word.startswith("--unit=")).removeprefix("--unit=")
    assert asked[1:] == [["systemctl", "stop", unit]]
    assert list(run_root.iterdir()) == []


def test_what_a_killed_deployer_left_is_ended(run_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SitePaths, "root", run_root / "shop")
    (run_root / "shop/releases/1").mkdir(parents=True)
    (run_root / "shop/venvs").mkdir()
    asked: list[list[str]] = []

    def run(words: Sequence[str], **_more: Any) -> Completed:
        asked.append(list(words))
        return Completed(tuple(words), 0, "", "")

    assert sandbox.end_left(SitePaths("shop"), run) == [] and not asked
    notes = [run_root / ".djdeploy-shop.work-1.service.env", run_root / "shop/venvs/.build.env"]
    others = [run_root / ".djdeploy-shop.run-2.service.env", run_root / ".djdeploy-shop-eu.work-3.service.env"]
    for path in (*notes, *others):
        path.touch()
    assert sandbox.end_left(SitePaths("shop"), run)
    assert asked == [["systemctl", "stop", "djdeploy-shop.work-1.service", "djdeploy-shop.build.service"]]
    assert [path.exists() for path in (*notes, *others)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("name", "age", "listed", "status", "kept"),
    [
        pytest.param(".djdeploy-shop.run-1.service.env", 3600, "", 0, False, id="its unit has ended"),
        pytest.param("..djdeploy-shop.run-1.service.env.0f.new", 3600, "", 0, False, id="half written"),
        pytest.param(".djdeploy-shop.run-1.service.env", 3600, "run-1", 0, True, id="its unit runs"),
        pytest.param(".djdeploy-shop.run-1.service.env", 3600, "run-12", 0, False, id="another unit runs"),
        pytest.param(".djdeploy-shop.run-1.service.env", 0, "", 0, True, id="its unit is to come"),
        pytest.param(".djdeploy-shop.run-1.service.env", 3600, "", 1, True, id="systemd does not answer"),
        pytest.param(".djdeploy-shop-eu.run-1.service.env", 3600, "", 0, True, id="another site's"),
    ],
)
def test_environments_of_units_that_ended_are_removed(
    run_root: Path, name: str, age: float, listed: str, status: int, kept: bool
) -> None:
    (run_root / name).touch()
    written = time.time() - age
    os.utime(run_root / name, (written, written))
    told = f"djdeploy-shop.{listed}.service loaded active running Work of shop\n" if listed else ""

    def run(words: Sequence[str], **_more: Any) -> Completed:
        assert words[-1] == "djdeploy-shop.run-*.service"
        return Completed(tuple(words), status, told, "")

    gone = sandbox.forget_ended(SitePaths("shop"), run)
    assert (run_root / name).exists() == kept
    assert gone == ([] if kept else [run_root / name])


def test_manage_has_a_terminal_of_its_own() -> None:
    paths = SitePaths("shop")
    words = sandbox.manage_words(
        paths,
        ["python", "-c", "$x"],
        unit="u.service",
        cwd=Path("/c"),
        files=[paths.env_file],
        variables={"TERM": "xterm"},
    )
    assert {"--pty", "--pipe", "--uid=shop", "--setenv=TERM=xterm", "--property=UMask=0027"} <= set(words)
    assert "--property=EnvironmentFile=/etc/djdeploy/sites/shop.env" in words
    assert words[-1] == "$$x"


def test_manage_that_is_interrupted_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sequence[str]] = []

    def foreground(words: Sequence[str], _env: Any) -> int:
        asked.append(words)
        raise KeyboardInterrupt

    def run(words: Sequence[str], **_more: Any) -> Completed:
        asked.append(words)
        return Completed(tuple(words), 0, "", "")

    monkeypatch.setattr(sandbox.runner, "foreground", foreground)
    monkeypatch.setattr(sandbox.runner, "run", run)
    assert sandbox.manage(SitePaths("shop"), ["python"], cwd=Path("/c"), files=[]) == 130
    unit = next(word for word in asked[0] if word.startswith("--unit=")).removeprefix("--unit=")
    assert asked[1] == ["systemctl", "stop", unit]
