# SPDX-License-Identifier: GPL-3.0-or-later
"""The throwaway host of a run: booted by script/host, set up by site.yml, with one site that is pushed to."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv/bin"
STATE = ROOT / ".hosts"
NAME = "bench"
SITE, DOMAIN = "shop", "shop.test"
PLAIN = "plain"  # the unix user, database and domain (plain.test) of the plain script
WORKERS = 2

# The project is examples/shop with these pages: one that is slow, one that takes uploads, one that tells which
# revision answers. The line with VERSION is the one a benchmark's commits change.
PAGES = """\
import time

from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

VERSION = 0


def version(request):
    return HttpResponse(str(VERSION))


def slow(request):
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("done")


@csrf_exempt
def take(request):
    return HttpResponse(str(len(request.body)))
"""
URLS = """
from . import bench  # noqa: E402

urlpatterns += [path("bench/version", bench.version), path("bench/slow", bench.slow), path("bench/take", bench.take)]
"""


class Trouble(Exception):
    """Something could not be run; the text says what, with its last lines."""


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def our_environment() -> dict[str, str]:
    """The tools of .venv first, and no settings of Ansible but ansible.cfg's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "GIT_"))}
    return inherited | {
        "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


def run(
    words: Sequence[str | Path],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 900,
) -> str:
    """Run a program to its end.

    :returns: what it printed to standard output.
    :raises Trouble: when it fails or takes longer than `timeout` seconds.
    """
    command = shlex.join(str(word) for word in words)
    try:
        done = subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env=our_environment() | dict(env or {}),
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Trouble(f"{command}: {error}") from None
    if done.returncode:
        last = "\n".join(f"    {line}" for line in (done.stdout + done.stderr).rstrip().splitlines()[-30:])
        raise Trouble(f"{command} failed ({done.returncode}):\n{last}")
    return done.stdout


@dataclass(frozen=True)
class Host:
    """The booted host, and what is kept on this side for it.

    :param address: where ssh goes, with `ssh_port`; without root there is no route to a host, only its published ports.
    :param folder: inventory, key and project of the run.
    """

    address: str
    ssh_port: int
    http_port: int
    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory"

    def ssh_options(self, key: Path) -> list[str]:
        known = STATE / f"{NAME}.known_hosts"
        options = (f'UserKnownHostsFile="{known}"', "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "BatchMode=yes")
        words = ["-F", "none", "-i", str(key), "-p", str(self.ssh_port)]
        return words + [word for option in options for word in ("-o", option)]

    def ssh_words(self, *command: str) -> list[str]:
        """The words that run a command on the host as root."""
        return ["ssh", *self.ssh_options(STATE / "id_ed25519"), f"root@{self.address}", *command]

    def on_host(self, script: str, *, stdin: str | None = None) -> str:
        """Run a shell command on the host as root."""
        return run(self.ssh_words(script), stdin=stdin)

    def playbook(self, *words: str) -> str:
        return run([BIN / "ansible-playbook", "-i", self.inventory, *words])

    def push(self, remote: str) -> str:
        """git push of what is committed.

        :raises Trouble: when it is refused, or does not go live.
        """
        command = shlex.join(["ssh", *self.ssh_options(self.folder / "pusher")])
        return run(["git", "push", "--quiet", remote, "main"], cwd=self.project, env={"GIT_SSH_COMMAND": command})

    @property
    def remote(self) -> str:
        """The site, as a person pushes to it."""
        return f"ssh://git@{self.address}:{self.ssh_port}/{SITE}"

    def commit(self, version: int) -> None:
        """Commit a change of one line of code."""
        pages = self.project / "shop/bench.py"
        pages.write_text(re.sub(r"^VERSION = .*", f"VERSION = {version}", pages.read_text(), flags=re.MULTILINE))
        commit_all(self.project, f"Version {version}")

    def get(self, path: str) -> str:
        """A page of the site, on a connection of its own.

        :raises Trouble: for any answer but 200, or none.
        """
        connection = http.client.HTTPConnection(self.address, self.http_port, timeout=30)
        try:
            connection.request("GET", path, headers={"Host": DOMAIN})
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise Trouble(f"GET {path}: {type(error).__name__}: {error}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise Trouble(f"GET {path}: {response.status}")
        return body

    def wait_until_settled(self) -> None:
        """Wait until no deploy works any more and one release is left running."""
        units = "systemctl list-units --plain --no-legend"
        running = f"{units} --state=active,activating,deactivating 'djdeploy-{SITE}@*.service'"
        rest = f"[ -z \"$({units} 'djdeploy-deployer*@*')\" ] && [ $({running} | wc -l) -le 1 ]"
        script = f"for i in $(seq 600); do {rest} && exit 0; sleep 0.1; done; exit 1"
        self.on_host(script)

    def journal(self) -> list[dict[str, Any]]:
        """All lines of the site's journal of deploys."""
        return [json.loads(line) for line in self.on_host(f"cat /var/lib/djdeploy/{SITE}/journal.jsonl").splitlines()]


def commit_all(project: Path, message: str) -> None:
    who = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgSign=false"]
    run(["git", "add", "--all"], cwd=project)
    run(["git", *who, "commit", "--quiet", "--message", message], cwd=project)


def make_project(project: Path) -> None:
    """Write the project that is pushed, with one commit."""
    shutil.copytree(ROOT / "examples/shop", project, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "shop/bench.py").write_text(PAGES)
    urls = project / "shop/urls.py"
    urls.write_text(urls.read_text() + URLS)
    run(["git", "init", "--quiet", "--initial-branch=main"], cwd=project)
    commit_all(project, "Start")


def write_inventory(host: Host) -> None:
    """One host in both groups, one site; the certificates this machine trusts are given to the host, too."""
    host.inventory.mkdir()
    (host.inventory / "connection.yml").write_text(run([ROOT / "script/host", "inventory", NAME]))
    site = {
        "domains": [DOMAIN],
        "deploy_keys": [(host.folder / "pusher.pub").read_text().strip()],
        "web": {"workers": WORKERS},
        "health": {"watch": 0},  # what is measured is the way to a live release
    }
    variables = {
        "djdeploy_sites": {SITE: site},
        "djdeploy_ca_certificates": json.loads(run([ROOT / "script/host", "cas"])),
        "postgres_hba_extra": [f"local {PLAIN} {PLAIN} peer"],
    }
    group: dict[str, Any] = {"hosts": {NAME: {}}}
    tree = {"all": {"children": {"web": group, "database": group}, "vars": variables}}
    (host.inventory / "sites.yml").write_text(json.dumps(tree, indent=1))  # JSON is YAML


def boot(folder: Path) -> Host:
    """Boot a host of our name.

    :raises Trouble: when there is one already: whoever kept it may want it.
    """
    if any(each["name"] == NAME for each in json.loads(run([ROOT / "script/host", "list", "--json"]))):
        raise Trouble(f"a host called {NAME} exists already\n  -> script/host down {NAME}")
    (booted,) = json.loads(run([ROOT / "script/host", "up", "--publish-http", "--json", NAME]))
    direct = booted["ssh_host"] == booted["address"]
    return Host(booted["ssh_host"], booted["ssh_host_port"], 80 if direct else booted["http_port"], folder)


@contextlib.contextmanager
def throwaway_host(*, keep: bool) -> Iterator[Host]:
    """A host that is set up and has the project live.

    :param keep: leave it running afterwards, for a look.
    :raises Trouble: when it cannot be had.
    """
    folder = Path(tempfile.mkdtemp(prefix="djdeploy-bench-"))
    try:
        say("booting a host")
        host = boot(folder)
        try:
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", folder / "pusher"])
            write_inventory(host)
            say("setting it up: site.yml")
            host.playbook("site.yml")
            make_project(host.project)
            say("first push, which builds the virtualenv")
            host.push(host.remote)
            host.wait_until_settled()
            yield host
        finally:
            if not keep:
                run([ROOT / "script/host", "down", NAME])
    finally:
        if keep:
            say(f"kept: script/host ssh {NAME}; inventory, key and project are in {folder}")
        else:
            shutil.rmtree(folder)
