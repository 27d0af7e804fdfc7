# SPDX-License-Identifier: GPL-3.0-or-later
"""Every step on every Django, every database and three kinds of project: what is predicted is what happens.

In every run each Django meets each database and each kind of project, and these each other, once; in full all do.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.djdeploy.django.plugins.module_utils.family.every import FAMILY
from hosts import ROOT, Machine
from rings import latin_square

SCENARIO = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "collections/ansible_collections/djdeploy/django/plugins/module_utils/engine"
#: Each process that tests has a kit of its own, so that none changes what another one runs.
KIT = f"/opt/kit-{os.environ.get('PYTEST_XDIST_WORKER', 'one')}"
HOSTS = yaml.safe_load((SCENARIO / "inventory/hosts.yml").read_text())["all"]["hosts"]
STEPS = yaml.safe_load((SCENARIO / "tests/steps.yml").read_text())
PROJECTS, DATABASES = ("plain", "wagtail", "intranet"), ("sqlite", "postgresql", "mariadb")
HOST_OF = {django: host for host, variables in HOSTS.items() for django in variables["modules_environments"]}
EVERY_RUN = set(latin_square(tuple(HOST_OF), DATABASES, PROJECTS))
WORLDS = [
    pytest.param(
        *world, id=f"Django {world[0]}, {world[1]}, {world[2]}", marks=() if world in EVERY_RUN else pytest.mark.full
    )
    for world in product(HOST_OF, DATABASES, PROJECTS)
]


def request_of(step: dict[str, Any]) -> dict[str, Any]:
    """What the module of a step would ask of the engine."""
    member = FAMILY[step["module"]]
    read = ArgumentSpecValidator(dict(member.options)).validate(step.get("options", {}))
    assert not read.error_messages
    return member.request(read.validated_parameters, None)


def on(host: Machine, *words: str, stdin: bytes) -> str:
    done = subprocess.run(host.ssh_words(*words), input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="session")
def kit(fleet: dict[str, Machine]) -> dict[str, Machine]:
    """The hosts, with the program that makes a world and the engine it uses."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(ENGINE, "djdeploy_engine", filter=lambda entry: None if "__pycache__" in entry.name else entry)
        tar.add(SCENARIO / "intranet", "intranet")
        tar.add(SCENARIO / "world.py", "world.py")
    for host in fleet.values():
        on(host, f"mkdir -p {KIT} && tar --extract --no-same-owner --directory {KIT}", stdin=packed.getvalue())
    return fleet


def story(told: list[dict[str, Any]]) -> list[Any]:
    return [told.get("error"), *(told.get(key) for key in ("changed", "before", "after", "diff"))]


@pytest.mark.independent
@pytest.mark.parametrize(("django", "database", "project"), WORLDS)
def test_every_step_keeps_its_word(kit: dict[str, Machine], django: str, database: str, project: str) -> None:
    steps = [step for step in STEPS if project in step.get("in", PROJECTS)]
    requests = [request_of(step) for step in steps]
    world = {"django": django, "project": project, "database": database, "steps": requests}
    lines = on(kit[HOST_OF[django]], "python3", f"{KIT}/world.py", stdin=json.dumps(world).encode()).splitlines()
    wrong = []
    for step, line in zip(steps, lines, strict=True):
        predicted, done, *again = json.loads(line)
        what = f"{step['module']} {step.get('options', '')}"
        if "error" in done:
            wrong.append(f"{what} failed: {done['error']}\n{done['hint']}\n{done['detail']}")
            continue
        if done["changed"] is not step["changed"]:
            wrong.append(f"{what}: changed is {done['changed']}")
        if story(predicted) != story(done):
            wrong.append(f"{what}:\n  predicted {story(predicted)}\n  happened  {story(done)}")
        for name, value in step.get("returns", {}).items():
            if done["facts"].get(name) != value:
                wrong.append(f"{what}: {name} is {done['facts'].get(name)}, not {value}")
        if "again" not in step.get("skip", ()) and story(again[0])[:2] != [None, False]:
            wrong.append(f"{what}: a second run says {story(again[0])}")
    assert not wrong, "\n".join(wrong)
