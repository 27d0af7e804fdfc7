# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs a project's code while a release is made and put live: what it may reach, and for how long.

systemd's first process makes the sandbox (systemd-run(1), systemd.exec(5)), so the deployer needs no right of its own
for that. There are two of them:

- `Sandbox`, of the build user: packages are installed in it, and build commands run. What is not named is not there:
  of /srv, /etc/djdeploy, /var/lib, /var/cache and /run it sees its own tree, its virtualenv and its cache.
- `SiteBox`, of the site's user: checks, migrations, the release command, manage.py. It is what the units of a release
  are, with the same directories.

Either is a unit of its own, and systemd kills what is left in it before it says that it has ended (systemd.kill(5)):
no process of a project is there any more when root goes on with what it wrote.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from . import runner
from .environment import serialize
from .errors import EngineError
from .paths import (
    CACHE_ROOT,
    CONFIG_ROOT,
    DEPLOYER_UNIT,
    PUSH_UNIT,
    PYTHONS,
    RUN_ROOT,
    SITES_ROOT,
    STATE_ROOT,
    SitePaths,
)
from .tree import write_file

OURS = (SITES_ROOT, CONFIG_ROOT, STATE_ROOT, CACHE_ROOT, RUN_ROOT)  # of which a site sees what is its own
HIDDEN = (SITES_ROOT, CONFIG_ROOT, STATE_ROOT, CACHE_ROOT, Path("/run"))
UNREADABLE = ("/var/lib/postgresql", "/var/lib/mysql", "/var/lib/redis", "/var/backups", "/var/log")
# systemd tells everybody who asks it the command lines of all units; those of transient ones lie in files as well.
TOLD = ("/run/dbus", "/run/systemd/transient")
# PrivateDevices= lets the host's in (systemd.exec(5)), where a site could read what another lays down, and fill it for
# all. Programs look how much room there is (multiprocessing), so there is a size; systemd's own would be a tenth of the
# memory. What lies in it counts as memory of the site.
SHARED_MEMORY = "/dev/shm:rw,nosuid,nodev,mode=1777,size=1g"
RESOLVERS = ("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager")  # where /etc/resolv.conf may point to
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
WORK = "work"  # in the names of units that end with the deployer that asked for them
RUN = "run"  # in the names of those that somebody else asked for: a module of Ansible's, a person, a boot
BUILD_ENV = ".build.env"
LONGEST_SPAN = 1e9  # seconds, some thirty years
LATE = 300.0  # seconds after which a command that systemd did not end in time is given up: systemd tells why, we cannot

# Left out: MemoryDenyWriteExecute (cffi, Node's compiler), ProcSubset (/proc/cpuinfo, /proc/meminfo), PrivateUsers
# (hosts without user namespaces), RemoveIPC (what else runs as the same user), AF_NETLINK denied (names are looked up).
CONFINED = (
    "NoNewPrivileges=yes",
    "PrivateDevices=yes",
    "PrivateIPC=yes",
    "PrivateMounts=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "CapabilityBoundingSet=",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "LimitCORE=0",
)
# The program has ended, or its time has: what still runs had its chance.
ENDED = ("KillMode=control-group", "KillSignal=SIGKILL", "TimeoutStopSec=5")
FIXED = (
    *CONFINED,
    *ENDED,
    "PrivateTmp=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    # What it makes is for the site's user to read; the directories it lies in are closed to others.
    "UMask=0022",
    # Visitors come first: for the processors, and when memory runs out.
    "CPUWeight=20",
    "IOWeight=20",
    "OOMScoreAdjust=800",
)


@dataclass(frozen=True)
class Sandbox:
    """Where and how the commands of one release run.

    :param unit: name of the transient unit; one site builds one release at a time.
    :param user: the site's build user.
    :param tree: the code of the release, which the commands may change.
    :param cache: directory of the site that outlives a release, theirs to write.
    :param environment: the virtualenv, theirs to read.
    :param writes: what else is theirs to write: the virtualenv, while it is filled.
    :param memory_max: as systemd's MemoryMax=.
    :param timeout: seconds for each command.
    :param bound_to: the unit with which a command ends; empty: none.
    :param slice: that of the site, whose limits hold for its builds, too; empty: none.
    """

    unit: str
    user: str
    tree: Path
    cache: Path
    environment: Path
    writes: tuple[Path, ...] = ()
    memory_max: str = "75%"
    timeout: int = 900
    bound_to: str = ""
    slice: str = ""


@dataclass(frozen=True)
class Ended:
    """A command that ended.

    :param status: its exit status.
    :param output: what it said, standard output and error as they came.
    :param result: systemd's word for how it ended: success, exit-code, timeout, oom-kill, signal, ...
    """

    status: int
    output: str
    result: str = "success"


def properties(box: Sandbox, *, network: bool) -> list[str]:
    """What the unit of a command is allowed, as systemd's properties.

    Without network there is no way out by unix sockets either: /run is empty, and names that are no files belong to
    the network (unix(7), "abstract").
    """
    written = " ".join(map(str, (box.tree, box.cache, *box.writes)))
    environment = () if box.environment in box.writes else (box.environment,)
    reads = [f"-{path}" for path in (*environment, PYTHONS, *(RESOLVERS if network else ()))]
    return [
        *FIXED,
        # Abstract names of unix sockets (unix(7)) belong to the network: where that is the host's, a build could hand
        # descriptors of the tree to who outlives it. Of pairs of sockets, which programs use among themselves, not so.
        "RestrictAddressFamilies=~AF_UNIX" if network else "PrivateNetwork=yes",
        *(f"TemporaryFileSystem={path}:ro" for path in HIDDEN),
        f"TemporaryFileSystem={SHARED_MEMORY}",
        "InaccessiblePaths=" + " ".join(f"-{path}" for path in UNREADABLE),
        f"BindPaths={written}",
        "BindReadOnlyPaths=" + " ".join(reads),
        f"ReadWritePaths={written}",
        f"MemoryMax={box.memory_max}",
        f"RuntimeMaxSec={box.timeout}",
        *([f"BindsTo={box.bound_to}", f"After={box.bound_to}"] if box.bound_to else []),
    ]


def words(box: Sandbox, command: str, directory: str, variables: Path, *, network: bool) -> list[str]:
    """The words that run a command of the project's by the shell.

    :param directory: where, relative to the tree.
    :param variables: an EnvironmentFile= of root's: the properties of a unit can be read by everybody.
    """
    script = f"exec 2>&1\n{command}"
    return [
        *("systemd-run", "--pipe", "--wait", "--collect", "--service-type=exec"),
        f"--unit={box.unit}",
        *([f"--slice={box.slice}"] if box.slice else []),
        f"--description=Build command of {box.tree.parent.name}",
        f"--uid={box.user}",
        f"--working-directory={box.tree / directory}",
        *(f"--property={said}" for said in properties(box, network=network)),
        f"--property=EnvironmentFile={variables}",
        "--",
        # systemd would put variables of its own in the place of $NAME.
        *("/bin/sh", "-ec", script.replace("$", "$$")),
    ]


def variables(box: Sandbox, said: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: what tools need to keep their caches, and what the site says.

    Development packages are installed although it is production: what builds a front end is among them.

    :param said: of the site; it wins over what is only a default here, such as a SECRET_KEY that keeps no secret.
    """
    defaults = {
        "SECRET_KEY": "only-for-the-build",
        "DATABASE_URL": "sqlite://:memory:",
        "DEBUG": "False",
        "NODE_ENV": "production",
        "npm_config_include": "dev",
        "YARN_PRODUCTION": "false",
        "NODE_EXTRA_CA_CERTS": CERTIFICATES,
        "PIP_CERT": CERTIFICATES,
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
    }
    fixed = {
        "PATH": f"{box.environment / 'bin'}:{runner.BASE_ENVIRONMENT['PATH']}",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": str(box.cache),
        "VIRTUAL_ENV": str(box.environment),
        "XDG_CACHE_HOME": str(box.cache / "xdg"),
        "npm_config_cache": str(box.cache / "npm"),
        "npm_config_update_notifier": "false",
        "npm_config_fund": "false",
        "npm_config_audit": "false",
        "npm_config_store_dir": str(box.cache / "pnpm"),
        "YARN_CACHE_FOLDER": str(box.cache / "yarn"),
        "YARN_ENABLE_GLOBAL_CACHE": "false",
        "YARN_ENABLE_TELEMETRY": "0",
        "PIP_CACHE_DIR": str(box.cache / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_CACHE_DIR": str(box.cache / "uv"),
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
        "NO_COLOR": "1",
        "NO_UPDATE_NOTIFIER": "1",
        "NEXT_TELEMETRY_DISABLED": "1",
    }
    return {**defaults, **said, **fixed}


def parse_result(said: str) -> str:
    """systemd's word for how the command ended, from what systemd-run says beside it; empty where it says none."""
    found = re.search(r"Finished with result: (\S+)", said)
    return found[1] if found else ""


def own_unit(cgroup: str) -> str:
    """The unit a process belongs to, from its /proc/self/cgroup (cgroups(7)); empty when it is no service."""
    found = re.search(r"^0::.*?/([^/\n]+\.service)(?:/|$)", cgroup, re.MULTILINE)
    return found[1] if found else ""


# -- doing -----------------------------------------------------------------------------------


def run(
    box: Sandbox,
    command: str,
    directory: str,
    said: Mapping[str, str],
    *,
    network: bool,
    start: runner.Runner = runner.run,
) -> Ended:
    """Run one command to its end, and whatever it started with it.

    :param said: variables of the site, with secrets if the command may have them: they go by a file of root's.
    :raises EngineError: when systemd cannot run it at all.
    """
    return run_with(box, command, directory, variables(box, said), network=network, start=start)


def run_with(
    box: Sandbox,
    command: str,
    directory: str,
    environment: Mapping[str, str],
    *,
    network: bool,
    start: runner.Runner = runner.run,
    on_line: Callable[[str], None] | None = None,
) -> Ended:
    """As `run`, in exactly this environment.

    :param on_line: gets what the command says, line by line.
    :raises EngineError: when systemd cannot run it at all.
    """
    place = box.tree.parent / BUILD_ENV
    with _noted(place, environment, box.unit, start):
        asked = words(box, command, directory, place, network=network)
        done = start(asked, timeout=box.timeout + LATE, on_stdout=on_line, bounded=runner.BOTH)
    result = _result_of(done, "a build command")
    return Ended(done.returncode, done.stdout, result or "success")


# -- as the site's user ----------------------------------------------------------------------


@dataclass(frozen=True)
class SiteBox:
    """Where work of a site runs that is no unit of a release: checks, migrations, its release command.

    :param paths: the site's.
    :param writes: what it may write besides `shared`: where static files are collected. What is not there is left out.
    :param making: it belongs to a release that is being made: its group is that of the builds. The site's processes,
        whose user is the same, then neither enter the directory of that release nor look at this process (ptrace(2),
        "Ptrace access mode checking": user and group must both be the same), nor at the tree through it.
    :param host_files: whether it has /tmp, /home and /var of the host, as any program of the site's user: for work that
        is told by whom it serves which files to read and to write.
    """

    paths: SitePaths
    writes: tuple[Path, ...] = ()
    making: bool = False
    host_files: bool = False


def hidden() -> str:
    """What no unit of a site sees of the host, but for what it is given of it: a value of TemporaryFileSystem=."""
    return " ".join([*(f"{path}:ro" for path in OURS), SHARED_MEMORY])


def told() -> str:
    """What no unit of a site may enter: a value of InaccessiblePaths=."""
    return " ".join(f"-{path}" for path in TOLD)


def site_view(box: SiteBox) -> list[str]:
    """What of the host it sees, as systemd's properties: of all sites its own, as the units of a release do."""
    written = " ".join([str(box.paths.shared), *(f"-{path}" for path in box.writes)])
    reads = (PYTHONS, CONFIG_ROOT / "database-ca", box.paths.secret_files)
    return [
        f"TemporaryFileSystem={hidden()}",
        " ".join([f"BindReadOnlyPaths={box.paths.root}", *(f"-{path}" for path in reads)]),
        f"BindPaths={written}",
        f"ReadWritePaths={written}",
        f"InaccessiblePaths={told()}",
        "UMask=0027",
    ]


def site_properties(box: SiteBox) -> list[str]:
    """What such work is allowed: what the processes of a release are."""
    closed = (
        ("ProtectSystem=full",) if box.host_files else ("PrivateTmp=yes", "ProtectSystem=strict", "ProtectHome=yes")
    )
    return [*CONFINED, *ENDED, *closed, *site_view(box)]


def unseen(paths: SitePaths, path: str | Path) -> Path | None:
    """The directory of ours in which a path lies that work of the site does not see; None when it sees it.

    Links are not looked at: where one leads is seen from inside.

    :param path: absolute.
    """
    place = Path(os.path.normpath(path))
    seen = (paths.root, PYTHONS, CONFIG_ROOT / "database-ca", paths.secret_files)
    if any(place.is_relative_to(each) for each in seen):
        return None
    return next((root for root in OURS if root in place.parents), None)


def site_words(
    box: SiteBox,
    argv: Sequence[str | Path],
    *,
    unit: str,
    cwd: str | Path,
    variables: Path,
    timeout: float | None,
    bound_to: str,
    quiet: bool = False,
) -> list[str]:
    """The words that run a program as the site's user.

    :param timeout: seconds; None: none.
    :param bound_to: as `Sandbox.bound_to`.
    :param quiet: systemd-run says nothing but why it could not start it.
    """
    limits = [f"RuntimeMaxSec={time_span(timeout)}"] if timeout else []
    limits += [f"BindsTo={bound_to}", f"After={bound_to}"] if bound_to else []
    return [
        *("systemd-run", "--pipe", "--wait", "--collect", "--service-type=exec"),
        *(["--quiet"] if quiet else []),
        f"--unit={unit}",
        f"--slice={box.paths.slice}",
        f"--description=Work of {box.paths.site}",
        f"--uid={box.paths.user}",
        f"--gid={box.paths.build_user if box.making else box.paths.user}",
        *([f"--property=SupplementaryGroups={box.paths.user}"] if box.making else []),
        f"--working-directory={cwd}",
        *(f"--property={said}" for said in (*site_properties(box), UNSET, *limits)),
        f"--property=EnvironmentFile={variables}",
        "--",
        # systemd would put variables of its own in the place of $NAME.
        *(str(word).replace("$", "$$") for word in argv),
    ]


def time_span(seconds: float) -> str:
    """Seconds as systemd reads them (systemd.time(7)): it knows no exponents, and 0 would be no limit."""
    return f"{min(max(seconds, 1e-6), LONGEST_SPAN):.6f}".rstrip("0").rstrip(".")


#: What systemd tells each process anew (systemd.exec(5)): settings that hold their environment would never be equal.
UNSET = "UnsetEnvironment=INVOCATION_ID SYSTEMD_EXEC_PID JOURNAL_STREAM MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE"
#: systemd-run's own lines, which come by the standard error of the program it runs.
_SAID = re.compile(
    r"Running as unit: |Finished with result: |Main processes terminated with: |Service runtime: |CPU time consumed: "
    r"|Memory (?:swap )?peak: |IP traffic |IO bytes "
)


def parse_status(returncode: int, said: str) -> int:
    """The status of a program as its parent would have it, a signal as a negative number.

    :param said: what systemd-run says beside it: "code=killed/status=KILL", since systemd 254 with a comma.
    """
    found = re.findall(r"^Main processes terminated with: code=(\w+)[/,] ?status=(?:\d+/)?(\w+)", said, re.MULTILINE)
    if not found or found[-1][0] not in ("killed", "dumped"):
        return returncode
    name = found[-1][1]
    try:
        return -(int(name) if name.isdecimal() else signal.Signals[f"SIG{name}"])
    except KeyError:
        return returncode


@contextmanager
def _noted(place: Path, environment: Mapping[str, str], unit: str, start: runner.Runner) -> Iterator[None]:
    """Have a unit's environment in a file of root's while systemd-run is waited for.

    The unit is ended where systemd-run is gone before it: killed for its output, or with whoever waited for it.
    """
    write_file(place, serialize(environment), 0o600)
    try:
        yield
    except BaseException:
        with suppress(EngineError):
            start(["systemctl", "stop", unit], timeout=LATE)
        raise
    finally:
        place.unlink(missing_ok=True)


def _result_of(done: runner.Completed, what: str) -> str:
    """systemd's word for how a unit ended; empty where it says none, which is well only with status 0.

    :raises EngineError: when systemd could not run it at all.
    """
    result = parse_result(done.stderr)
    if done.returncode and not result:
        raise EngineError(
            f"systemd could not run {what}",
            "see the detail; it needs the Debian package dbus, which site.yml installs",
            done.stderr,
        )
    return result


def bound_unit(cgroup: str) -> str:
    """The deployer that asks, for what is to end with it. No other unit: one that is being started is waited for."""
    unit = own_unit(cgroup)
    return unit if unit.startswith((f"{DEPLOYER_UNIT}@", f"{PUSH_UNIT}@")) else ""


def makes_units() -> bool:
    """Whether work can be given a unit from here: as root, where systemd is the first process (sd_booted(3))."""
    return os.geteuid() == 0 and Path("/run/systemd/system").is_dir()


def _new_unit(paths: SitePaths) -> tuple[str, Path, str]:
    """For work of a site: the name of its unit, the file of its environment, the unit with which it ends."""
    bound = bound_unit(Path("/proc/self/cgroup").read_text())
    kind = WORK if bound else RUN
    unit = f"{paths.unit_prefix}.{kind}-{secrets.token_hex(6)}.service"
    return unit, RUN_ROOT / f".{unit}.env", bound


def site_runner(box: SiteBox, *, start: runner.Runner = runner.run) -> runner.Runner:
    """A `Runner` whose programs run in units of the site, always as its user.

    :raises EngineError: (the runner) when systemd cannot run it, or it runs out of time.
    """

    def run(
        argv: Sequence[str | Path],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: str | None = None,
        timeout: float | None = None,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        bounded: Collection[str] = (),
        most: int = runner.MOST,
        kept: int = runner.KEPT,
    ) -> runner.Completed:
        unit, place, bound = _new_unit(box.paths)
        asked = site_words(box, argv, unit=unit, cwd=cwd or "/", variables=place, timeout=timeout, bound_to=bound)
        with _noted(place, {**runner.BASE_ENVIRONMENT, **(env or {})}, unit, start):
            done = start(
                asked,
                stdin=stdin,
                timeout=timeout + LATE if timeout else None,
                on_stdout=on_stdout,
                on_stderr=_beside_systemd(on_stderr),
                bounded=bounded,
                most=most,
                kept=kept,
            )
        return _completed(done, box, argv, timeout)

    return run


def _completed(
    done: runner.Completed, box: SiteBox, argv: Sequence[str | Path], timeout: float | None
) -> runner.Completed:
    """What a program did, of what systemd-run that waited for it did and told.

    :raises EngineError: when systemd could not run it, or it ran out of time.
    """
    result = _result_of(done, f"{argv[0]} as {box.paths.user}")
    said = "".join(line for line in done.stderr.splitlines(keepends=True) if not _SAID.match(line))
    if result == "timeout":
        raise EngineError(f"{argv[0]} did not end within {timeout:g} s and was killed", detail=said)
    status = parse_status(done.returncode, done.stderr)
    return runner.Completed(tuple(map(str, argv)), status, done.stdout, said)


#: Waits in a unit to be told what to become: length and text of it come first in its standard input.
WAITING = """\
import json, os
def read(size):
    text = b""
    while len(text) < size:
        part = os.read(0, size - len(text))
        if not part:  # nobody needs it
            raise SystemExit(1)
        text += part
    return text
argv, cwd, env = json.loads(read(int(read(8))))
os.chdir(cwd)
os.execve(argv[0], argv, {**os.environ, **env})  # with what systemd tells whoever has a User=
"""
FRESH = 60.0  # seconds that such a unit may have waited: what is left of its time is then all but the whole


@contextmanager
def ahead(box: SiteBox, *, timeout: float) -> Iterator[runner.Runner]:
    """As `site_runner`, and the unit of the first program is made meanwhile: a tenth of a second that nobody waits for.

    :param timeout: seconds for that program; as `run` of the runner, which must not ask for more.
    :raises EngineError: when systemd-run cannot be started.
    """
    unit, place, bound = _new_unit(box.paths)
    waits = ["/usr/bin/python3", "-I", "-S", "-c", WAITING]
    asked = site_words(box, waits, unit=unit, cwd="/", variables=place, timeout=timeout, bound_to=bound)
    otherwise, began = site_runner(box), time.monotonic()
    with _noted(place, runner.BASE_ENVIRONMENT, unit, runner.run), runner.started_ahead(asked) as process:
        ready = [process]

        def run(argv: Sequence[str | Path], **options: Any) -> runner.Completed:
            if not ready or process.poll() is not None or time.monotonic() - began > FRESH:
                return otherwise(argv, **options)
            become = json.dumps([list(map(str, argv)), str(options.get("cwd") or "/"), dict(options.get("env") or {})])
            done = runner.run(
                asked,
                start=lambda *_words, **_options: ready.pop(),
                stdin=f"{len(become):8}{become}{options.get('stdin') or ''}",
                timeout=timeout + LATE,
                on_stdout=options.get("on_stdout"),
                on_stderr=_beside_systemd(options.get("on_stderr")),
                bounded=options.get("bounded", ()),
                most=options.get("most", runner.MOST),
            )
            return _completed(done, box, argv, timeout)

        yield run


def _beside_systemd(on_stderr: Callable[[str], None] | None) -> Callable[[str], None]:
    """A listener to standard error that does not hear what systemd-run says in it."""

    def hear(line: str) -> None:
        if on_stderr is not None and not _SAID.match(line):
            on_stderr(line)

    return hear


def site_starter(
    box: SiteBox, *, start: runner.Starter = runner.started, run: runner.Runner = runner.run
) -> runner.Starter:
    """A `Starter` whose programs run in units of the site, always as its user; their files are those of systemd-run.

    :raises EngineError: (the starter) when systemd-run cannot be started; what systemd says is in the program's stderr.
    """

    @contextmanager
    def begin(
        argv: Sequence[str | Path],
        stdin: IO[bytes] | int,
        stdout: IO[bytes] | int,
        stderr: IO[bytes],
        user: str | None,
        env: Mapping[str, str],
        timeout: float,
    ) -> Iterator[runner.Process]:
        unit, place, bound = _new_unit(box.paths)
        asked = site_words(box, argv, unit=unit, cwd="/", variables=place, timeout=timeout, bound_to=bound, quiet=True)
        with _noted(place, {**runner.BASE_ENVIRONMENT, **env}, unit, run):
            with start(asked, stdin, stdout, stderr, None, {}, timeout + LATE) as process:
                yield process
                goes_on = process.poll() is None
            if goes_on:  # nobody wants the rest of it; systemd-run alone was killed
                run(["systemctl", "stop", unit], timeout=LATE)

    return begin


def manage(paths: SitePaths, argv: Sequence[str | Path], *, cwd: Path, files: Sequence[Path]) -> int:
    """Run manage.py for a person at a terminal; returns its exit status.

    :param files: as for `manage_words`.
    """
    unit = f"{paths.unit_prefix}.manage-{secrets.token_hex(6)}.service"
    terminal = {name: os.environ[name] for name in ("TERM", "COLUMNS", "LINES") if name in os.environ}
    given = {**runner.BASE_ENVIRONMENT, **terminal}
    # systemd 256 and newer would colour the terminal and rename its window (run0(1), "ENVIRONMENT").
    plain = {"SYSTEMD_TINT_BACKGROUND": "0", "SYSTEMD_ADJUST_TERMINAL_TITLE": "0"}
    try:
        return runner.foreground(
            manage_words(paths, argv, unit=unit, cwd=cwd, files=files, variables=given), {**terminal, **plain}
        )
    except KeyboardInterrupt:  # without a terminal of its own it did not hear that
        runner.run(["systemctl", "stop", unit])
        return 128 + signal.SIGINT


def end_left(paths: SitePaths, run: runner.Runner = runner.run) -> list[str]:
    """End what a deployer that was killed left at work, and remove what it had written for it. Needs the site's lock.

    systemd ends it, too (BindsTo=), but does not wait for that before it starts who mends.

    :returns: the units that were to be ended.
    """
    notes = sorted(RUN_ROOT.glob(f".{paths.unit_prefix}.{WORK}-*.env"))
    builds = [*paths.releases.glob(f"*/{BUILD_ENV}"), *paths.environments.glob(BUILD_ENV)]
    found = [note.name.removeprefix(".").removesuffix(".env") for note in notes]
    found += [paths.build_unit] if builds else []
    if found:
        run(["systemctl", "stop", *found], timeout=LATE)
    half_written = RUN_ROOT.glob(f"..{paths.unit_prefix}.{WORK}-*.new")  # see `beneath.aside`
    for note in (*notes, *builds, *half_written):
        note.unlink(missing_ok=True)
    forget_ended(paths, run)
    return found


def forget_ended(paths: SitePaths, run: runner.Runner = runner.run) -> list[Path]:
    """Remove the environments of units that ended when nobody waited for them any more.

    Who asked for one need not hold the site's lock, and writes its environment before there is a unit. So what is
    younger than a start may take is left for the next time.

    :returns: what was removed.
    """
    before, name = time.time() - LATE, f".{paths.unit_prefix}.{RUN}-"
    found = [*RUN_ROOT.glob(f"{name}*.env"), *RUN_ROOT.glob(f".{name}*.new")]
    old = sorted(note for note in found if _written(note) < before)
    if not old:
        return []
    pattern = f"{paths.unit_prefix}.{RUN}-*.service"
    listed = run(["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", pattern], timeout=LATE)
    if listed.returncode:
        return []  # who does not know which units there are removes nothing
    there = {f".{line.split()[0]}.env" for line in listed.stdout.splitlines() if line.strip()}
    gone = [note for note in old if note.name not in there]
    for note in gone:
        note.unlink(missing_ok=True)
    return gone


def _written(path: Path) -> float:
    """When a file was written; one that is gone by now is new."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("inf")


def manage_words(
    paths: SitePaths,
    argv: Sequence[str | Path],
    *,
    unit: str,
    cwd: Path,
    files: Sequence[Path],
    variables: Mapping[str, str],
) -> list[str]:
    """The words that run manage.py for a person at a terminal.

    systemd-run gives it a terminal of its own when it has one itself, and else its files (systemd-run(1), "--pty"): so
    nothing can be typed into root's (ioctl_tty(2), TIOCSTI). /tmp and what may be written are as for any program of the
    site's user, for `dumpdata -o` and `loaddata`.

    :param files: EnvironmentFile= of the site and its release, the last wins; they hold the secrets.
    :param variables: what else its environment has; everybody may read it.
    """
    return [
        *("systemd-run", "--pty", "--pipe", "--wait", "--collect", "--quiet", "--service-type=exec"),
        f"--unit={unit}",
        f"--slice={paths.slice}",
        f"--description=manage.py of {paths.site}",
        f"--uid={paths.user}",
        f"--gid={paths.user}",
        f"--working-directory={cwd}",
        *(f"--setenv={name}={value}" for name, value in variables.items()),
        *(f"--property={said}" for said in site_properties(SiteBox(paths, host_files=True))),
        *(f"--property=EnvironmentFile={path}" for path in files),
        "--",
        *(str(word).replace("$", "$$") for word in argv),
    ]
