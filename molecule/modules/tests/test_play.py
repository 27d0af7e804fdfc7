# SPDX-License-Identifier: GPL-3.0-or-later
"""The play of the scenario on new hosts: predicted, done, nothing left to do; no secret is told.

In full once more: what was taken away comes back.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
from hosts import ROOT, Machine, Play, Playbooks

PLAY = "molecule/modules/converge.yml"
PROJECT = "/srv/somebody/mysite"
SECRET = re.compile("s3cret-[a-z-]+")
RESULT = re.compile(r"^(ok|changed): \[([^]]+)]", re.MULTILINE)


def on(host: Machine, command: str) -> str:
    return subprocess.run(host.ssh_words(command), capture_output=True, text=True, check=True).stdout


def story(play: Play) -> dict[str, set[tuple[str, str]]]:
    """What each task answered on each host."""
    assert play.status == 0, play.output
    tasks = [task.partition("]") for task in re.split(r"^TASK \[", play.output, flags=re.MULTILINE)[1:]]
    return {name: set(RESULT.findall(text)) for name, _bracket, text in tasks}


pytestmark = pytest.mark.xdist_group("play")


def three(playbooks: Playbooks) -> dict[str, Play]:
    """The play predicted, done, done again, all with every word."""
    words = ("-vvv", "--diff")
    return {
        "predicted": playbooks.run(PLAY, *words, check=True),
        "done": playbooks.run(PLAY, *words),
        "again": playbooks.run(PLAY, *words),
    }


def undo(fleet: dict[str, Machine]) -> None:
    """Take the project's work away: on hosts that are new there is none."""
    for host in fleet.values():
        on(host, f"cd {PROJECT} && rm -rf db.sqlite3 static dump.json locale/de/LC_MESSAGES/django.mo")


@pytest.fixture(scope="module")
def plays(playbooks: Playbooks, fleet: dict[str, Machine]) -> dict[str, Play]:
    """The play on hosts that are new, or that a developer tests again."""
    undo(fleet)
    return three(playbooks)


def see_what_was_predicted(plays: dict[str, Play]) -> None:
    predicted, done = story(plays["predicted"]), story(plays["done"])
    again = "Several steps, with one start of Django"  # what earlier tasks have done by then; a prediction has none
    assert {status for status, _host in predicted.pop(again)} == {"changed"}
    assert {status for status, _host in done.pop(again)} == {"ok"}
    assert predicted == done
    assert sum(("changed", "modules-trixie") in answers for answers in done.values()) == 10


def see_nothing_left(plays: dict[str, Play]) -> None:
    assert {status for answers in story(plays["again"]).values() for status, _host in answers} == {"ok"}


def test_what_happens_is_what_was_predicted(plays: dict[str, Play]) -> None:
    see_what_was_predicted(plays)


def test_nothing_is_left_to_do(plays: dict[str, Play]) -> None:
    see_nothing_left(plays)


@pytest.mark.full
def test_what_was_taken_away_comes_back_as_predicted(
    plays: dict[str, Play], playbooks: Playbooks, fleet: dict[str, Machine]
) -> None:
    undo(fleet)
    anew = three(playbooks)
    see_what_was_predicted(anew)
    see_nothing_left(anew)


@pytest.mark.parametrize("which", ["predicted", "done", "again"])
def test_no_secret_is_told(plays: dict[str, Play], which: str) -> None:
    # The play itself holds some; Ansible shows it where it tells of a task that failed, and none did.
    assert "MYSITE_GREETING" in plays[which].output, "the options of tasks are not shown: this proves nothing"
    assert not SECRET.findall(plays[which].output)


def test_no_secret_is_in_the_log_of_a_host(plays: dict[str, Play], fleet: dict[str, Machine]) -> None:
    for host in fleet.values():
        log = on(host, "journalctl --no-pager | grep ansible-djdeploy")
        assert "djdeploy.django.superuser" in log, "tasks are not logged: this proves nothing"
        assert not SECRET.findall(log)


def test_manage_py_need_not_be_executable(fleet: dict[str, Machine]) -> None:
    for host in fleet.values():
        assert on(host, f"stat --format=%a {PROJECT}/manage.py").strip() == "644"


def test_a_file_only_root_reads_stays_so(fleet: dict[str, Machine]) -> None:
    for host in fleet.values():
        assert on(host, "stat --format='%a %U' /etc/mysite.env").strip() == "600 root"
        assert SECRET.search(on(host, "cat /etc/mysite.env"))
        assert not on(host, f"grep --recursive --files-with-matches s3cret- {PROJECT} || true")


ENVIRONMENT = {"env_file": "/etc/mysite.env", "environment": {"MYSITE_GREETING": "hello"}, "run_as": "somebody"}
BAD_INPUT = {
    "an environment file that is none": ("check", {"env_file": "/etc/shadow"}, "/etc/shadow line 1 sets no variable"),
    "a user who is not there": ("check", {"run_as": "nobodyatall"}, "the unix user 'nobodyatall' does not exist"),
    "a place that is not ours": ("dumpdata", {**ENVIRONMENT, "dest": "/root/dump.json"}, "/root/dump.json: Permission"),
}


@pytest.mark.parametrize(("module", "options", "told"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_clear_line(playbooks: Playbooks, module: str, options: dict[str, Any], told: str) -> None:
    words = [*playbooks.words("ansible"), "modules-trixie", "--become", "--module-name", f"djdeploy.django.{module}"]
    arguments = json.dumps({"project_path": PROJECT, "venv": "/opt/django-6", **options})
    done = subprocess.run([*words, "--args", arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")]
    assert told in line
