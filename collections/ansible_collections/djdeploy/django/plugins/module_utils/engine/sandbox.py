# SPDX-License-Identifier: GPL-3.0-or-later
"""A command of a project that is run while its release is built: what it may reach, and for how long.

systemd's first process makes the sandbox (systemd-run(1), systemd.exec(5)), so the deployer needs no right of its own
for that. What is not named is not there: of /srv, /etc/djdeploy, /var/lib, /var/cache and /run a command sees its own
tree, its virtualenv and its cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import runner
from .environment import serialize
from .errors import EngineError
from .paths import CACHE_ROOT, CONFIG_ROOT, PYTHONS, SITES_ROOT, STATE_ROOT
from .tree import write_file

HIDDEN = (SITES_ROOT, CONFIG_ROOT, STATE_ROOT, CACHE_ROOT, Path("/run"))
UNREADABLE = ("/var/lib/postgresql", "/var/lib/mysql", "/var/lib/redis", "/var/backups", "/var/log")
RESOLVERS = ("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager")  # where /etc/resolv.conf may point to
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
LATE = 300.0  # seconds after which a command that systemd did not end in time is given up: systemd tells why, we cannot

FIXED = (
    "NoNewPrivileges=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
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
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
    "UMask=0022",
    "LimitCORE=0",
    "TimeoutStopSec=5",
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
    :param empty: files in the tree that hold secrets; commands find nothing in their place.
    :param memory_max: as systemd's MemoryMax=.
    :param timeout: seconds for each command.
    :param bound_to: the unit with which a command ends; empty: none.
    """

    unit: str
    user: str
    tree: Path
    cache: Path
    environment: Path
    empty: tuple[Path, ...] = ()
    memory_max: str = "75%"
    timeout: int = 900
    bound_to: str = ""


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
    reads = [f"-{path}" for path in (box.environment, PYTHONS, *(RESOLVERS if network else ()))]
    return [
        *FIXED,
        *([] if network else ["PrivateNetwork=yes"]),
        *(f"TemporaryFileSystem={path}:ro" for path in HIDDEN),
        "InaccessiblePaths=" + " ".join(f"-{path}" for path in UNREADABLE),
        f"BindPaths={box.tree} {box.cache}",
        "BindReadOnlyPaths=" + " ".join([*reads, *(f"-/dev/null:{path}" for path in box.empty)]),
        f"ReadWritePaths={box.tree} {box.cache}",
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
    place = box.tree.parent / ".build.env"
    write_file(place, serialize(variables(box, said)), 0o600)
    try:
        done = start(
            words(box, command, directory, place, network=network), timeout=box.timeout + LATE, bounded=runner.BOTH
        )
    finally:
        place.unlink(missing_ok=True)
    result = parse_result(done.stderr)
    if done.returncode and not result:
        raise EngineError(
            "systemd could not run a build command",
            "see the detail; it needs the Debian package dbus, which site.yml installs",
            done.stderr,
        )
    return Ended(done.returncode, done.stdout, result or "success")
