# SPDX-License-Identifier: GPL-3.0-or-later
"""Work outlives deploys: no job is lost, none is done twice, none is cut; what may run only once never runs twice."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from datetime import datetime

import pytest
from hosts import eventually, restart

LONG = 90_000  # the number of a job that is long, beside the number of the first one
OUTLIVED = 3  # pushes a long job goes on over: more than releases are kept
PATIENCE = 300  # seconds for what comes in some, if the machine has nothing else to do
SENT = re.compile(r"^\[([-\d]+ [:,\d]+): .* Sending due task beat\b", re.MULTILINE)
MODEL = """\
from django.db import models


class Thing(models.Model):
    pass
"""
MIGRATION = """\
import time

from django.db import migrations, models

from queue_app.tasks import tell


def stand(apps, editor):
    tell("migration-began")
    time.sleep(4)
    tell("migration-ended")


class Migration(migrations.Migration):
    dependencies = [{after}]
    operations = [{operations}]
"""
CREATED = (
    'migrations.CreateModel("Thing", [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField())])'
)
GONE = 'migrations.DeleteModel("Thing"), migrations.RunPython(stand, migrations.RunPython.noop)'


SLOW_START = "\nimport time\n\ntime.sleep(8)\n"
DIES_AFTER_DJANGO = """
from django.conf import settings

settings.INSTALLED_APPS
import nothing_like_this
"""


def ask(works, first, count, **options):
    words = "&".join(f"{name}={value}" for name, value in {"first": first, "count": count, **options}.items())
    assert works.get(f"/ask?{words}").text == "asked"


def push(works, number):
    works.change("queue_app/mark.py", f"MARK = {number}\n")
    pushed = works.push()
    assert pushed.status == 0, pushed.output
    assert re.search(r"processes +ok .* beat, daemon, rq, worker run", pushed.output)


def units(server, state="active"):
    told = server.run(f"systemctl list-units --plain --no-legend --state={state} 'djdeploy-works.process@*'").stdout
    return [line.split()[0] for line in told.splitlines()]


def numbers(done, first, count):
    """Which of so many jobs from a number on are done, each as often as it was."""
    return sorted(int(words) for words, _release in done("celery") if first <= int(words) < first + count)


def done_twice_would_show(works, done, number):
    """Wait until what was asked before has been taken and had time to end: both hands of the worker had more to do."""
    ask(works, number, 2, seconds=3)
    eventually(lambda: len(numbers(done, number, 2)) == 2, PATIENCE, "what was asked last is done")


def test_no_redis_runs_but_that_of_the_site(server):
    """Debian's own would be open to every user of the host."""
    assert server.service("redis-server@works").is_running
    assert not server.service("redis-server").is_running
    assert server.check_output("systemctl show -P LoadState redis-server.service") == "masked"
    assert "redis" not in server.check_output("ss -tlnpH")


@pytest.mark.parametrize(
    ("first", "pushes", "jobs"),
    [pytest.param(0, 4, 80, id="four"), pytest.param(20_000, 10, 200, id="ten", marks=pytest.mark.full)],
)
def test_jobs_outlive_pushes(works, server, done, first, pushes, jobs):
    long = first + LONG

    def told(kind):
        return Counter(int(word) for word, _release in done(kind) if first <= int(word) < first + jobs)

    ask(works, long, 1, queue="long")
    eventually(lambda: str(long) in dict(done("celery-began")), PATIENCE, "the long job has begun")
    began = dict(done("celery-began"))[str(long)]
    for number in range(pushes):
        ask(works, first + number * jobs // pushes, jobs // pushes)
        ask(works, first + number * 2, 2, queue="rq")
        push(works, first + number)
        if number + 1 == OUTLIVED:
            assert str(long) not in dict(done("celery")), "the long job ended before its time"
            server.check_output(f"touch /srv/works/shared/end-{long}")
    eventually(lambda: len(told("celery")) == jobs and len(told("rq")) == 2 * pushes, PATIENCE, "all jobs are done")
    eventually(lambda: str(long) in dict(done("celery")), PATIENCE, "the long job is done")
    done_twice_would_show(works, done, first + LONG + 1)
    assert told("celery") == Counter(range(first, first + jobs)), "a job was lost or done twice"
    assert len({release for word, release in done("celery") if first <= int(word) < first + jobs}) > 2, (
        "one release did nearly all"
    )
    assert told("rq") == Counter(range(first, first + 2 * pushes))
    assert [release for word, release in done("celery-began") if word == str(long)] == [began], "it was begun again"
    assert [release for word, release in done("celery") if word == str(long)] == [began], (
        "the job was not ended where it began"
    )


def test_only_one_daemon_and_one_clock_at_a_time(works, server, done):
    def sent():
        """When they were sent: not when they were done, nor when the journal came to it."""
        lines = server.check_output("journalctl --no-pager -o cat -u 'djdeploy-works.process@*'")
        return [datetime.strptime(time, "%Y-%m-%d %H:%M:%S,%f").timestamp() for time in SENT.findall(lines)]

    def one_more_began_than_ended():
        return len(done("daemon-began")) == len(done("daemon-ended")) + 1

    eventually(lambda: len(sent()) > 10 and bool(done("beat")), PATIENCE, "the clock goes on")
    eventually(one_more_began_than_ended, PATIENCE, "one daemon runs, and all before it told that they ended")
    assert not done("daemon-twice")
    times = sent()
    assert min(after - before for before, after in itertools.pairwise(times)) > 0.5, "two clocks"
    assert len([unit for unit in units(server) if "beat" in unit]) == 1


def starts(server, job):
    """How often it was told that a job begins."""
    said = server.check_output("journalctl --no-pager -o cat -u djdeploy-works.%s.service", job)
    return len(re.findall(rf"^{job} begins in", said, re.MULTILINE))


def marks(server, job):
    """What the runs of a job told, in its order: `began`, `ended` or `cut`, and the word beside it."""
    lines = [line.split() for line in server.check_output("cat /srv/works/shared/done.log").splitlines()]
    return [(words[0].removeprefix(f"{job}-"), words[1]) for words in lines if words[0].startswith(f"{job}-")]


def due_times(server, job):
    """When the timer of a job had it looked at: (from, to) of each time, whatever ended it, if it has ended."""
    server.check_output("journalctl --sync")
    said = server.check_output("journalctl --no-pager -o short-unix -u djdeploy-works.%s.service", job)
    times, began = [], None
    for line in said.splitlines():
        at, _host, _program, what, *_rest = [*line.split(), "", "", ""]
        if what == "Starting":
            began = float(at) if began is None else began
        elif what in ("Finished", "Failed", "Stopped") and began is not None:
            times.append((began, float(at)))
            began = None
    return times if began is None else [*times, (began, float("inf"))]


def test_timers_go_on_under_deploys(works, server, done):
    def every_start_is_one_run(job):
        return len(done(f"{job}-began")) == starts(server, job)

    # A job leaves its mark a moment after its start is told; a lost or a doubled one never comes even.
    for job in ("tick", "slow", "both"):
        eventually(
            lambda job=job: every_start_is_one_run(job), PATIENCE, f"every start of {job} that was told is one run"
        )
    eventually(lambda: starts(server, "tick") > 5, PATIENCE, "the timer goes on")
    assert "tick" in server.check_output("djdeploy schedule works")


def test_job_is_skipped_while_its_last_run_goes_on(works, server, done):
    def skipped():
        said = server.check_output("journalctl --no-pager -o cat -u djdeploy-works.slow.service")
        return "slow is skipped: its last run has not ended" in said

    eventually(skipped, PATIENCE, "a run is skipped")
    told = marks(server, "slow")
    began, ended = ([word for what, word in told if what == mark] for mark in ("began", "ended"))
    assert len(began) - len(ended) in (0, 1) and not done("slow-cut"), "a job was cut"
    assert began[: len(ended)] == ended, "two at once although that is forbidden"


@pytest.mark.full
def test_job_takes_the_place_of_its_last_run(works, server, done):
    eventually(lambda: len(done("renew-cut")) >= 2, PATIENCE, "two runs were replaced")
    told = marks(server, "renew")
    assert {what for what, _word in told[::2]} == {"began"}, "two at once"
    assert {what for what, _word in told[1::2]} == {"cut"}, "a run went on to its end although its next one was due"
    cuts = [float(word) for what, word in told if what == "cut"]
    due = due_times(server, "renew")  # asked after the cuts, so that it knows what cut the last one
    by_others = [cut for cut in cuts if not any(began <= cut <= ended for began, ended in due)]
    assert by_others == [], f"cut by a deploy; the timer's own times: {due}"
    # One may be replaced before it leaves its mark, where the host is slow.
    assert len([what for what, _word in told if what == "began"]) <= starts(server, "renew"), "a run was doubled"


@pytest.mark.full
def test_job_runs_beside_its_last_run(works, server, done):
    def at_once():
        steps = [1 if what == "began" else -1 for what, _word in marks(server, "both")]
        return max(itertools.accumulate(steps), default=0)

    eventually(lambda: at_once() >= 2, PATIENCE, "two runs at once")
    begun = {words for words, _release in done("both-began")}
    eventually(lambda: begun <= {words for words, _release in done("both-ended")}, PATIENCE, "each comes to its end")
    assert not done("both-cut"), "a run was cut"


@pytest.mark.full
def test_nothing_works_while_a_migration_runs_behind_the_page(works, server, done):
    works.change("queue_app/models.py", MODEL)
    works.change("queue_app/migrations/0001_thing.py", MIGRATION.format(after="", operations=CREATED))
    works.change("queue_app/migrations/__init__.py", "")
    assert works.push().status == 0
    ask(works, 700, 20, seconds=1)
    works.change(
        "queue_app/migrations/0002_gone.py", MIGRATION.format(after='("queue_app", "0001_thing")', operations=GONE)
    )
    works.change("queue_app/models.py", "")
    pushed = works.push("-o", "allow=contract", "main")
    assert pushed.status == 0, pushed.output
    assert re.search(r"processes +ok .* ended, none takes work", pushed.output), pushed.output
    eventually(lambda: len(numbers(done, 700, 20)) >= 20, PATIENCE, "the jobs are done")
    assert numbers(done, 700, 20) == list(range(700, 720))
    lines = [line.split()[0] for line in server.check_output("cat /srv/works/shared/done.log").splitlines()]
    assert lines[lines.index("migration-began") + 1] == "migration-ended", "something worked beside the migration"


@pytest.mark.full
@pytest.mark.parametrize("delay", [0.0, 0.7, 2.0])
def test_deployer_killed_while_work_is_handed_over(works, server, status, done, delay):
    first, live = 1000 + int(delay * 1000), status("works")["live"]["id"]
    ask(works, first, 20, seconds=0.5)
    works.change("queue_app/mark.py", f"MARK = {first}\n")
    with works.pushing() as push:
        eventually(
            lambda: any(live[:15] not in unit for unit in units(server)), PATIENCE, "a process of the new release runs"
        )
        time.sleep(delay)
        server.check_output("systemctl kill --signal KILL 'djdeploy-deployer*@*'")
        push.communicate(timeout=PATIENCE)

    def goes_live() -> bool:
        return works.push().status == 0 and status("works")["live"]["revision"] == works.head()

    eventually(goes_live, PATIENCE, "a push goes live again with nobody's help")
    live = status("works")["live"]["id"]
    eventually(lambda: {live[:15] in unit for unit in units(server)} == {True}, PATIENCE, "only its processes run")
    eventually(lambda: len(numbers(done, first, 20)) >= 20, PATIENCE, "the jobs are done")
    assert numbers(done, first, 20) == list(range(first, first + 20)), "a job was lost or done twice"
    assert not done("daemon-twice")


def test_killed_worker_is_started_again(works, server):
    unit = next(unit for unit in units(server) if "worker" in unit)
    before = server.check_output("systemctl show -p MainPID --value %s", unit)
    server.check_output("kill -KILL %s", before)

    def back() -> bool:
        now = server.check_output("systemctl show -p MainPID --value %s", unit)
        return now not in ("0", before)

    eventually(back, PATIENCE, "the worker is back")
    server.check_output("systemctl reset-failed %s", unit)


def test_release_whose_worker_dies_does_not_stay(works, server, status, done):
    before, live = set(units(server)), status("works")["live"]["id"]
    works.change("mysite/celery.py", "\nimport nothing_like_this\n", append=True)
    works.change("mysite/__init__.py", "")
    pushed = works.push()
    assert pushed.status != 0 or "did not go live" in pushed.output, pushed.output
    assert "its process" in pushed.output, pushed.output
    assert status("works")["live"]["id"] == live
    eventually(lambda: set(units(server)) == before, PATIENCE, "the old processes take work again")
    works.undo("HEAD~2")
    ask(works, 500, 3)
    eventually(lambda: len(numbers(done, 500, 3)) == 3, PATIENCE, "they work")


@pytest.mark.full
def test_release_whose_worker_dies_late_does_not_stay(works, server, status):
    """Where a start takes long, a worker that cannot be imported dies long after it was started."""
    before, live = set(units(server)), status("works")["live"]["id"]
    works.change("mysite/settings.py", SLOW_START, append=True)
    works.change("mysite/celery.py", DIES_AFTER_DJANGO, append=True)
    works.change("mysite/__init__.py", "")
    pushed = works.push()
    assert "did not go live" in pushed.output, pushed.output
    assert re.search(r"its process \w+ died", pushed.output), pushed.output
    assert "watch" not in re.findall(r"remote: +(\w+) +(?:ok|FAILED)", pushed.output), "it had visitors"
    assert status("works")["live"]["id"] == live
    eventually(lambda: set(units(server)) == before, PATIENCE, "the old processes take work again")
    works.undo("HEAD~3")


def test_back_after_a_rollback_and_a_reboot_of_the_deployer(works, server, status):
    push(works, 4000)  # so that the way back leads over no migration
    server.check_output("djdeploy rollback works")
    live = status("works")["live"]["id"]
    eventually(lambda: {live[:15] in unit for unit in units(server)} == {True}, PATIENCE, "only its processes run")
    unit = next(unit for unit in units(server) if "rq" in unit)
    server.check_output("systemctl stop %s", unit)
    server.check_output("djdeploy recover works")
    eventually(lambda: unit in units(server), PATIENCE, "recovery starts what is missing")
    assert server.run("djdeploy doctor works").rc == 0


@pytest.mark.full  # default and faults reboot a host in every run
def test_all_of_it_is_back_after_a_reboot(works, web, server, status, done):
    live = status("works")["live"]["id"]
    before = set(units(server))
    ask(works, 2000, 30, seconds=0.5)
    restart(web.name)
    eventually(lambda: set(units(server)) == before, PATIENCE, "the processes of the live release run")
    assert status("works")["live"]["id"] == live
    ticks = len(done("tick-began"))
    eventually(lambda: len(done("tick-began")) > ticks, PATIENCE, "timers go on")
    # What waited in the queue is on disk. Only what a worker had in hand when the power went may be gone: the two jobs
    # at work, and four more for each of its two processes.
    eventually(lambda: len(numbers(done, 2000, 30)) >= 20, PATIENCE, "the queue is kept")
    assert not done("daemon-twice")
