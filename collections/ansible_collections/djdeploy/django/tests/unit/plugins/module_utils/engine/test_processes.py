# SPDX-License-Identifier: GPL-3.0-or-later
"""What a project runs beside its web server, as tables; the scripts it is started by are run by a real shell."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import processes
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.processes import CLOCK, OTHER, WORKER, Process

RELEASE = "20260301T120000-aaaaaaa"


def planned(said: dict[str, Any] | None = None, procfile: str | None = None, **more: Any) -> processes.Layout:
    return processes.plan(said or {}, more.pop("schedule", {}), procfile, shared="/srv/shop/shared", **more)


# --- Procfile -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("worker: celery -A shop worker\n", {"worker": "celery -A shop worker"}, id="one"),
        pytest.param("a: x\n\n# note\nb:y -z\n", {"a": "x", "b": "y -z"}, id="comments, no space"),
        pytest.param("  worker :  celery  worker  \r\n", {"worker": "celery  worker"}, id="blanks and CR"),
        pytest.param("web: FOO=1 gunicorn shop.wsgi --bind :$PORT", {"web": "FOO=1 gunicorn shop.wsgi --bind :$PORT"},
                     id="colon in the command"),
        pytest.param("high-prio_2: rq worker high", {"high-prio_2": "rq worker high"}, id="name"),
    ],
)  # fmt: skip
def test_procfile(text: str, found: dict[str, str]) -> None:
    assert processes.parse_procfile(text) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("celery -A shop worker", "Procfile line 1: 'celery -A shop worker' is not `name: command`"),
        ("a: x\n\nb:\n", "Procfile line 3: 'b:' is not `name: command`"),
        ("a b: x", "Procfile line 1: 'a b: x' is not `name: command`"),
        ("a: x\na: y", "Procfile line 2: a is there twice"),
    ],
)
def test_procfile_that_is_none(text: str, message: str) -> None:
    with pytest.raises(EngineError) as raised:
        processes.parse_procfile(text)
    assert raised.value.message == message
    assert raised.value.hint


# --- kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "kind", "asked"),
    [
        ("celery -A shop worker", WORKER, "TERM"),
        ("celery --app=shop worker -l INFO -c 4", WORKER, "TERM"),
        ("python -m celery -A shop worker", WORKER, "TERM"),
        ("poetry run celery -A shop worker", WORKER, "TERM"),
        ("exec celery -A shop worker", WORKER, "TERM"),
        ("cd backend && celery -A shop worker", WORKER, "TERM"),
        ("C_FORCE_ROOT=1 celery -A shop worker", WORKER, "TERM"),
        (".venv/bin/celery -A shop worker", WORKER, "TERM"),
        ("celery -A shop worker -B", CLOCK, "TERM"),
        ("celery -A shop worker --beat", CLOCK, "TERM"),
        ("celery -A shop beat", CLOCK, "TERM"),
        ("celery -A shop flower", OTHER, "TERM"),
        ("rq worker high default", WORKER, "TERM"),
        ("rq worker-pool default -n 4", WORKER, "TERM"),
        ("rq cron cron.py", CLOCK, "TERM"),
        ("python manage.py rqworker default", WORKER, "TERM"),
        ("./manage.py rqworker", WORKER, "TERM"),
        ("python manage.py rqworker-pool default", WORKER, "TERM"),
        ("python manage.py rqscheduler", CLOCK, "TERM"),
        ("rqscheduler", CLOCK, "TERM"),
        ("python manage.py run_huey", WORKER, "INT"),
        ("django-admin run_huey -w 4", WORKER, "INT"),
        ("huey_consumer.py shop.huey", WORKER, "INT"),
        ("python3.13 -u manage.py db_worker", WORKER, "TERM"),
        ("python manage.py db_worker --queue-name default", WORKER, "TERM"),
        ("python manage.py qcluster", WORKER, "TERM"),
        ("python manage.py rundramatiq", WORKER, "TERM"),
        ("dramatiq shop.tasks", WORKER, "TERM"),
        ("python manage.py procrastinate worker", WORKER, "TERM"),
        ("python manage.py runapscheduler", CLOCK, "TERM"),
        ("python manage.py mqtt_bridge", OTHER, "TERM"),
        ("python -m shop.daemon", OTHER, "TERM"),
        ("daphne shop.asgi:application", OTHER, "TERM"),
        ("celery -A shop worker --queues $QUEUES", WORKER, "TERM"),
    ],
)
def test_kinds(command: str, kind: str, asked: str) -> None:
    (found,) = planned({"each": {"command": command}}).processes
    assert (found.kind, found.signal) == (kind, asked)
    assert found.alone is (kind != WORKER)
    assert found.stop_timeout == (600 if kind == WORKER else 60)


@pytest.mark.parametrize("name", ["beat", "clock", "cron", "scheduler"])
def test_a_name_that_says_it_is_a_clock(name: str) -> None:
    assert processes.kind_of(name, "python clock.py") == CLOCK
    assert processes.kind_of(name, "celery -A shop worker") == WORKER


# --- the plan -------------------------------------------------------------------------------------


def test_site_wins_over_procfile_by_name() -> None:
    procfile = "web: gunicorn shop.wsgi\nworker: celery -A shop worker\nmail: python manage.py mail\nold: x\n"
    found = planned({"worker": {"command": "celery -A shop worker -c 8", "count": 2}, "old": False}, procfile)
    assert [(each.name, each.count, each.source, each.within) for each in found.processes] == [
        ("mail", 1, "Procfile", "code"),
        ("worker", 2, "processes.worker", "project"),
    ]
    assert "web (gunicorn shop.wsgi) is not started" in found.told[0]


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("python manage.py migrate", ""),
        ("./manage.py migrate --noinput", ""),
        ("python manage.py migrate && python manage.py collectstatic --noinput", ""),
        ("python manage.py migrate && python manage.py seed", "python manage.py seed"),
        ("python manage.py migrate shop 0003", "python manage.py migrate shop 0003"),
        ("./release.sh", "./release.sh"),
    ],
)
def test_release_command(command: str, left: str) -> None:
    found = planned(procfile=f"release: {command}")
    assert found.release_command == left
    assert found.processes == []
    assert ("left out" in found.told[0]) is (left == "")


def test_first_host_has_what_may_run_only_once() -> None:
    said = {
        "worker": {"command": "celery -A shop worker"},
        "beat": {"command": "celery -A shop beat"},
        "agent": {"command": "python manage.py agent", "hosts": "all"},
        "one": {"command": "celery -A shop worker -Q one", "hosts": "first"},
    }
    assert [each.name for each in planned(said).processes] == ["agent", "beat", "one", "worker"]
    other = planned(said, first=False)
    assert [each.name for each in other.processes] == ["agent", "worker"]
    assert other.told == ["beat runs on the first host of the site only", "one runs on the first host of the site only"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"command": "celery multi start w1"}, "puts itself in the background"),
        ({"command": "celery -A shop worker --detach"}, "puts itself in the background"),
        ({"command": "celery -A shop beat", "count": 2}, "of a clock only one may run"),
        ({"command": "python 'manage.py"}, "No closing quotation"),
    ],
)
def test_what_cannot_run(said: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message) as raised:
        planned({"each": said})
    assert raised.value.message.startswith("processes.each: ")


@pytest.mark.parametrize(
    ("command", "added"),
    [
        ("celery -A shop beat", " --schedule /srv/shop/shared/celerybeat-schedule"),
        ("celery -A shop beat -s /tmp/schedule", ""),
        ("celery -A shop beat --schedule=/tmp/x", ""),
        ("celery -A shop beat -S django", ""),
        ("celery -A shop worker", ""),
    ],
)
def test_beat_keeps_its_file_where_it_may_write(command: str, added: str) -> None:
    assert processes.with_beat_schedule(command, "/srv/shop/shared") == command + added


@pytest.mark.parametrize(
    ("packages", "said", "environment", "told"),
    [
        pytest.param({"django"}, {}, (), "", id="no queue"),
        pytest.param({"celery"}, {}, (), "uses Celery, and nobody runs its worker", id="nobody works"),
        pytest.param({"celery"}, {}, (), "processes: {worker: celery -A shop worker}", id="a command to copy"),
        pytest.param({"celery"}, {"w": "celery -A shop worker"}, (), "redis: {enabled: true}", id="no broker"),
        pytest.param({"celery"}, {"w": "celery -A shop worker"}, ("REDIS_URL",), "", id="all is there"),
        pytest.param({"django-tasks"}, {}, (), "python manage.py db_worker", id="tasks"),
        pytest.param({"django-tasks"}, {"w": "python manage.py db_worker"}, (), "", id="tasks need no broker"),
        pytest.param({"huey"}, {"w": "celery -A shop beat"}, (), "nobody runs its worker", id="a clock is no worker"),
    ],
)
def test_a_queue_nobody_works_at_is_told(
    packages: set[str], said: dict[str, str], environment: tuple[str, ...], told: str
) -> None:
    found = planned(said, packages=packages, environment=environment, package="shop").told
    assert told in " ".join(found)
    assert bool(found) is bool(told)


def test_jobs() -> None:
    schedule = {
        "clean": {"command": "python manage.py clearsessions", "at": "daily", "timeout": 60},
        "many": {"command": "x", "at": "daily", "concurrency": "allow"},
        "off": False,
    }
    clean, many = planned(schedule=schedule).jobs
    assert (clean.timeout, clean.copies) == (60, ["clean.1"])
    assert (many.timeout, len(many.copies)) == (3600, processes.COPIES)


def test_a_record_of_another_version_is_read() -> None:
    each = Process("worker", "celery -A shop worker", WORKER, count=2)
    assert Process.of({**each.as_dict(), "of_tomorrow": 1}) == each
    assert Process.of({"name": "worker", "command": "x"}).stop_timeout == 60


# --- in the release -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("celery -A shop worker", "exec celery -A shop worker"),
        ("echo 'a b'", "exec echo 'a b'"),
        ("rq worker --url $REDIS_URL", "exec rq worker --url $REDIS_URL"),
        ("cd backend && celery worker", "cd backend && exec celery worker"),
        ("FOO=1 celery worker", "exec env FOO=1 celery worker"),
        ("a | b", "a | b"),
        ("exec celery worker $X", "exec celery worker $X"),
    ],
)
def test_shell_line(command: str, line: str) -> None:
    assert processes.shell_line(command) == line


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo $DJDEPLOY_PROCESS'", "worker.1"),
        ("echo $HOME", "/home"),
        ("A=5 sh -c 'echo $A'", "5"),
        ("cd / && pwd", "/"),
        ("printf %s 'a  b'", "a  b"),
    ],
)
@pytest.mark.parametrize("timeout", [0, 20])
def test_run_is_a_program(tmp_path: Path, command: str, said: str, timeout: int) -> None:
    script = tmp_path / "run"
    script.write_text(processes.run_text(Process("worker", command, timeout=timeout), "worker.1", tmp_path / ".venv"))
    done = subprocess.run(
        ["sh", script], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "HOME": "/home"}
    )
    assert done.stdout.strip() == said, done.stderr


@pytest.mark.parametrize(
    ("asked", "program", "ends"),
    [
        pytest.param("INT", "signal(SIGINT, lambda *_: sys.exit(0))", 0, id="its own signal"),
        pytest.param("TERM", "signal(SIGTERM, SIG_IGN)", -signal.SIGKILL, id="too long"),
    ],
)
def test_stop_gives_a_process_its_signal_and_its_time(tmp_path: Path, asked: str, program: str, ends: int) -> None:
    script = tmp_path / "stop"
    script.write_text(processes.stop_text(Process("worker", "x", signal=asked, stop_timeout=1 if ends else 60)))
    # No shell: it could not take back that SIGINT is ignored in what was started in the background.
    program = f"import sys, time; from signal import *; {program}; print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        subprocess.run(["sh", script], env={"PATH": "/usr/bin:/bin", "MAINPID": str(process.pid)}, check=False)
        assert process.wait(60) == ends


def test_lay_out(host: Path) -> None:
    paths = SitePaths("shop").release(RELEASE)
    paths.root.mkdir()
    found = planned({"worker": {"command": "celery -A shop worker", "count": 2}}, "mail: python mail.py")
    processes.lay_out(found, paths, 0)
    assert sorted(path.name for path in paths.processes.iterdir()) == ["mail.1", "worker.1", "worker.2"]
    assert (paths.processes / "worker.2" / "project").readlink() == Path("../../project")
    assert (paths.processes / "mail.1" / "project").readlink() == Path("../../code")
    assert (paths.processes / "worker.1" / "run").stat().st_mode & 0o777 == 0o755
    assert not paths.jobs.exists()


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("celery -A shop worker", ""),
        ("huey_consumer.py x", "'huey_consumer.py'"),
        ("bin/work.sh --fast", ""),
        ("bin/none.sh", "'bin/none.sh'"),
        ("nobody | knows", ""),
        ("sh -c true", ""),
    ],
)
def test_programs_that_are_not_installed_are_named(host: Path, command: str, missing: str) -> None:
    paths = SitePaths("shop").release(RELEASE)
    for file in (paths.environment / "bin" / "celery", paths.root / "project" / "bin" / "work.sh"):
        file.parent.mkdir(parents=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
    found = planned({"each": {"command": command}}).processes
    if not missing:
        processes.require_programs(found, paths)
        return
    with pytest.raises(EngineError) as raised:
        processes.require_programs(found, paths)
    assert raised.value.message == f"processes.each: each starts {missing}, which is not installed"
