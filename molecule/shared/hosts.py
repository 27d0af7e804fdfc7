# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a scenario as a visitor, a developer and an operator meet them: by HTTP, by git push, by playbook."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import projects

ROOT = projects.ROOT
STATE = ROOT / ".hosts"
#: Seconds an answer may take, on a slow machine too; less than is waited for a host that is away while it reboots.
PATIENCE = 90.0
RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=\d+\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Response:
    """An answer to a request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Done:
    """A program that has ended."""

    status: int
    output: str


@dataclass(frozen=True)
class Machine:
    """A booted host, and where it is reached from here."""

    name: str
    address: str
    ssh_port: int
    http_port: int

    def ssh_options(self, key: Path) -> list[str]:
        known = STATE / f"{self.name}.known_hosts"
        options = (f'UserKnownHostsFile="{known}"', "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "BatchMode=yes")
        words = ["-F", "none", "-i", str(key), "-p", str(self.ssh_port)]
        return words + [word for option in options for word in ("-o", option)]

    def ssh_words(self, *command: str) -> list[str]:
        """The words that run a command on the host as root."""
        return ["ssh", *self.ssh_options(STATE / "id_ed25519"), f"root@{self.address}", *command]

    def root(self, script: str) -> str:
        """What a shell script writes that root of the host runs.

        :raises RuntimeError: with what it said, when it fails.
        """
        words = self.ssh_words("bash", "-eu")
        done = subprocess.run(words, input=script, capture_output=True, text=True, check=False, timeout=900)
        if done.returncode:
            raise RuntimeError(f"on {self.name}: {done.stdout}{done.stderr}")
        return done.stdout

    def request(
        self,
        domain: str,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> Response:
        """One request on a connection of its own.

        :raises http.client.HTTPException, OSError: when there is no answer.
        """
        connection = http.client.HTTPConnection(self.address, self.http_port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Host": domain, **(headers or {})})
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()


def restart(*names: str) -> None:
    """Reboot hosts, and wait until they have booted."""
    done = subprocess.run(
        [ROOT / "script/host", "restart", *names],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def machines(names: Sequence[str]) -> dict[str, Machine]:
    """The booted hosts of these names. Without root there is no route to them, only published ports."""
    listed = json.loads(subprocess.check_output([ROOT / "script/host", "list", "--json"]))
    direct = os.geteuid() == 0
    return {
        each["name"]: Machine(
            each["name"], each["ssh_host"], each["ssh_host_port"], 80 if direct else each["http_port"]
        )
        for each in listed
        if each["name"] in names
    }


@dataclass(frozen=True)
class Play:
    """How a playbook ended.

    :param changed: host -> number of changes.
    """

    status: int
    output: str
    changed: dict[str, int]


@dataclass(frozen=True)
class Playbooks:
    """Playbooks of a checkout, run against an inventory."""

    root: Path
    inventories: tuple[Path, ...]

    def words(self, program: str) -> list[str]:
        return [program, *(f"--inventory={path}" for path in self.inventories)]

    def run(self, playbook: str, *words: str, check: bool = False, **variables: Any) -> Play:
        """Run a playbook with extra variables; `check` also asks for differences."""
        command = [*self.words("ansible-playbook"), *words]
        command += ["--check", "--diff"] if check else []
        command += ["--extra-vars", json.dumps(variables)] if variables else []
        command += [str(self.root / playbook)]
        done = subprocess.run(
            command,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        changed = {host: int(count) for host, count, _failed in RECAP.findall(done.stdout)}
        return Play(done.returncode, done.stdout, changed)

    def host_names(self, group: str = "all") -> list[str]:
        """The hosts of a group."""
        listed = json.loads(subprocess.check_output([*self.words("ansible-inventory"), "--list"], cwd=self.root))
        names = listed.get(group, {}).get("hosts", [])
        for child in listed.get(group, {}).get("children", []):
            names = [*names, *self.host_names(child)]
        return list(dict.fromkeys(names))


@dataclass(frozen=True)
class Site:
    """A site on a host, and the project that is pushed to it.

    :param folder: where projects and keys of this run are.
    """

    name: str
    machine: Machine
    folder: Path

    @property
    def domain(self) -> str:
        return f"{self.name}.test"

    def get(self, path: str = "/", **options: Any) -> Response:
        return self.machine.request(self.domain, path, **options)

    def post(self, path: str, fields: Mapping[str, str], **more: str) -> Response:
        """Send a form; `more` are further headers."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", **more}
        return self.get(path, method="POST", body=urlencode(fields), headers=headers)

    def upload(self, path: str, name: str, content: bytes) -> Response:
        """Send a file as a browser's form does."""
        boundary = "djdeploy-boundary"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self.get(path, method="POST", body=body, headers=headers)

    def inside(self, path: str = "/") -> dict[str, Any]:
        """How the host looks to the process that answers (only the project `notes` tells)."""
        answer: dict[str, Any] = self.get(f"/inside?path={path}").json()
        return answer

    @property
    def project(self) -> Path:
        """The project of the site's name, made when it is first asked for."""
        return projects.make(self.name, self.folder / "projects" / self.name)

    def git_environment(self, key: str = "laptop") -> dict[str, str]:
        words = ["ssh", *self.machine.ssh_options(self.folder / key)]
        command = " ".join(f"'{word}'" for word in words)
        return {**os.environ, "GIT_SSH_COMMAND": command, "GIT_TERMINAL_PROMPT": "0"}

    @property
    def remote(self) -> str:
        return f"ssh://git@{self.machine.address}:{self.machine.ssh_port}/{self.name}"

    def pushing(self, *words: str, key: str = "laptop", **options: Any) -> subprocess.Popen[str]:
        """A git push that has begun; its stdout is what the pusher reads.

        :param options: for Popen.
        """
        return subprocess.Popen(
            ["git", "push", self.remote, *(words or ("main",))],
            cwd=self.project,
            env=self.git_environment(key),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )

    def push(self, *words: str, key: str = "laptop", timeout: float = 900) -> Done:
        """git push, and what the pusher reads."""
        with self.pushing(*words, key=key) as push:
            try:
                output, _nothing = push.communicate(timeout=timeout)
            except BaseException:
                push.kill()
                raise
        return Done(push.returncode, output)

    def change(self, name: str, text: str, *, append: bool = False) -> str:
        """Change a file of the project and commit it; returns the revision."""
        projects.write(self.project, name, text, append=append)
        return projects.commit(self.project, f"Change {name}")

    def undo(self, revision: str = "HEAD~1") -> None:
        """Forget commits that were refused."""
        projects.git(self.project, "reset", "--quiet", "--hard", revision)

    def head(self) -> str:
        return projects.git(self.project, "rev-parse", "HEAD")

    def branch(self) -> str:
        """The commit the branch of the host is at; nothing before its first release."""
        repository = f"/srv/{self.name}/repo.git"
        script = f"git -c safe.directory='*' -C {repository} rev-parse --quiet --verify main || true"
        return self.machine.root(script).strip()


def eventually(question: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask until it is so.

    :raises AssertionError: when it is not so in time.
    """
    end = time.monotonic() + seconds
    while not question():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.3)
