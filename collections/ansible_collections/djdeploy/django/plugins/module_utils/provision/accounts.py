# SPDX-License-Identifier: GPL-3.0-or-later
"""System accounts of the sites, and the refusal to take over one that is somebody else's."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..engine.errors import EngineError
from ..engine.runner import Runner


@dataclass(frozen=True)
class Wanted:
    """A system account with a group of its own name and no password.

    :param home: its home tells whose account it is: one with another home is not ours.
    """

    name: str
    home: str
    shell: str = "/usr/sbin/nologin"
    comment: str = ""


@dataclass(frozen=True)
class Found:
    """What the host knows under a name; `home` and `shell` are empty when there is only a group."""

    user: bool = False
    group: bool = False
    home: str = ""
    shell: str = ""


def look(name: str) -> Found:
    """Ask the host's account database about a name."""
    try:
        grp.getgrnam(name)
        group = True
    except KeyError:
        group = False
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return Found(group=group)
    return Found(True, group, account.pw_dir, account.pw_shell)


def plan(wanted: Iterable[Wanted], found: Mapping[str, Found]) -> list[tuple[str, ...]]:
    """Say which programs make the accounts as wanted.

    :raises EngineError: when a name is taken by an account or a group that is not ours. A group
        alone is enough to refuse: a site named like the group `adm` would read the host's logs.
    """
    commands: list[tuple[str, ...]] = []
    for account in wanted:
        present = found.get(account.name, Found())
        if present.user and present.home != account.home:
            raise EngineError(
                f"the unix account {account.name!r} exists on this host and is not ours:"
                f" its home is {present.home}, not {account.home}",
                f"give a site of that name another in djdeploy_sites, or remove the account: userdel {account.name}",
            )
        if present.group and not present.user:
            raise EngineError(
                f"the unix group {account.name!r} exists on this host and is not ours",
                f"give a site of that name another in djdeploy_sites, or remove the group: groupdel {account.name}",
            )
        if not present.user:
            argv = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", account.home]
            # "*" is no password's hash and, unlike the default "!", no locked account to sshd without PAM.
            argv += ["--password", "*", "--shell", account.shell, "--comment", account.comment, account.name]
            commands.append(tuple(argv))
        elif present.shell != account.shell:
            commands.append(("usermod", "--shell", account.shell, account.name))
    return commands


def apply(commands: Iterable[tuple[str, ...]], run: Runner) -> None:
    """Carry out a plan.

    :raises EngineError: when one of the programs fails.
    """
    for argv in commands:
        completed = run(argv)
        if completed.returncode != 0:
            raise EngineError(
                f"{argv[0]} could not make the account {argv[-1]!r}",
                "look at /etc/passwd and /etc/group on the host",
                completed.stderr,
            )
