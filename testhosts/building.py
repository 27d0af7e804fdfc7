# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a provisioned image of a bare host that is up: site.yml, warm caches, and keeping what it has become."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from . import provisioned
from .commands import Problem, podman, say, succeeds, timed


@dataclass(frozen=True)
class Build:
    """One image in the making.

    :param root: the checkout whose site.yml it is.
    :param image: the name it will have.
    :param container: the bare host it is made of.
    :param inventory: of `provisioned.build_inventory`.
    :param packages: Debian packages to have at hand for later.
    :param requirements: Python packages to have at hand.
    :param log: the file that gets all that is said on the way.
    """

    root: Path
    suite: str
    image: str
    container: str
    inventory: Mapping[str, Any]
    packages: tuple[str, ...]
    requirements: tuple[str, ...]
    log: Path

    @property
    def remedy(self) -> str:
        """What to do when it fails."""
        name = provisioned.builder_name(self.suite)
        return (
            f"all that was said: {self.log}\n"
            f"look around: script/host ssh {name}\n"
            f"mend it, then again: script/host image --provisioned {self.suite}\n"
            f"or give up: script/host down {name}"
        )


def exists(image: str) -> bool:
    """Whether there is an image of this name."""
    return succeeds("podman", "image", "exists", image)


def make(build: Build) -> None:
    """Turn the host into an image; the host is off afterwards.

    :raises Problem: when a step fails; the host is left as it is then.
    """
    with build.log.open("w", encoding="utf-8") as log:
        run_site(build, log)
        with timed(f"{build.suite}: download {len(build.packages)} packages for later"):
            inside(build, log, provisioned.download_command(build.packages))
        with timed(f"{build.suite}: download {len(build.requirements)} Python packages, and what they need"):
            inside(build, log, provisioned.wheels_command(build.requirements))
        see_that_it_works(build, log)
        with timed(f"{build.suite}: stop and forget what is one machine's own"):
            inside(build, log, provisioned.forget_command())
            podman("stop", build.container)
    with timed(f"{build.suite}: commit"):
        podman(*provisioned.commit_command(build.container, build.suite, build.image))


def run_site(build: Build, log: TextIO) -> None:
    """Run site.yml, and tell how long each play took."""
    playbook = build.root / ".venv/bin/ansible-playbook"
    if not playbook.exists():
        raise Problem("site.yml cannot be run: there is no .venv/bin/ansible-playbook", "run script/setup venv")
    with tempfile.TemporaryDirectory(prefix="djdeploy-provisioning-") as directory:
        inventory = Path(directory) / "hosts.json"
        inventory.write_text(json.dumps(build.inventory), encoding="utf-8")
        process = subprocess.Popen(
            [str(playbook), "-i", str(inventory), "site.yml"],
            cwd=build.root,
            env=provisioned.ansible_environment(os.environ, build.root),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        tell_plays(build.suite, process.stdout, log)
        if process.wait() != 0:
            raise Problem(f"site.yml failed on {provisioned.builder_name(build.suite)}", build.remedy)


def tell_plays(suite: str, lines: Iterable[str], log: TextIO) -> None:
    """Write what ansible-playbook says into the log, and tell each play when it has ended."""
    play, began = "", time.monotonic()
    for line in lines:
        log.write(line)
        name = provisioned.play_name(line)
        if name is not None or line.startswith("PLAY RECAP"):
            if play:
                say(f"{suite}: {play}: {time.monotonic() - began:.1f} s")
            play, began = name or "", time.monotonic()
    log.flush()


def inside(build: Build, log: TextIO, command: list[str]) -> str:
    """Run a program on the host, and return what it printed."""
    done = subprocess.run(["podman", "exec", build.container, *command], capture_output=True, text=True, check=False)
    log.write(done.stdout + done.stderr)
    log.flush()
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or [f"{command[0]} exited with {done.returncode}"]
        raise Problem(f"{provisioned.builder_name(build.suite)}: {lines[-1]}", build.remedy)
    return done.stdout


def see_that_it_works(build: Build, log: TextIO) -> None:
    """Keep no host whose services do not run: each of them, and none that has failed."""
    inside(build, log, ["systemctl", "is-active", *provisioned.SERVICES])
    inside(build, log, ["systemctl", "is-system-running", "--wait"])
