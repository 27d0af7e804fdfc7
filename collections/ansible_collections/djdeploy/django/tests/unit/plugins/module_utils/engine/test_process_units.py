# SPDX-License-Identifier: GPL-3.0-or-later
"""The handover of what runs beside the web server: systemd is played, call by call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import process_units, schedules, schema, units
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Note, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.process_units import Look
from ansible_collections.djdeploy.django.plugins.module_utils.engine.processes import CLOCK, WORKER, Process
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import Target

A, B, C = (f"2026030{day}T120000-{letter * 7}" for day, letter in enumerate("abc", start=1))
Keep = Callable[..., Release]
WORKS = [
    Process("worker", "celery -A shop worker", WORKER, alone=False, count=2, stop_timeout=600).as_dict(),
    Process("beat", "celery -A shop beat", CLOCK, stop_timeout=60).as_dict(),
]
RUNS = ("active", "running", 0, "success", 1.0)
JOB = [Process("clean", "python manage.py clean", timeout=60).as_dict()]


class Systemd:
    """Units and their states; remembers what it was told.

    :param dies: copies that are dead as soon as they are looked at.
    :param looks: copy -> what it is at each look, the last for ever: state, sub, restarts, result, when it began.
    :param failed: systemd's message about how a unit failed.
    """

    def __init__(self) -> None:
        self.units: dict[str, str] = {}
        self.told: list[str] = []
        self.dies: set[str] = set()
        self.looks: dict[str, list[tuple[str, str, int, str, float]]] = {}
        self.failed = ""
        self.refuses = ""

    def put(self, release: str, *copies: str, what: str = "process", state: str = "active") -> None:
        for copy in copies:
            self.units[process_units.unit_name("shop", release, what, copy)] = state

    def short(self, name: str) -> str:
        (unit,) = process_units.parse_units(f"{name} loaded active running x", "shop")
        return f"{unit.release[-1]}:{unit.copy}"

    def running(self) -> list[str]:
        return sorted(self.short(name) for name, state in self.units.items() if state == "active")

    def look(self, copy: str) -> tuple[str, str, int, str, float]:
        if copy in self.dies:
            return "activating", "auto-restart", 0, "exit-code", 1.0
        found = self.looks.get(copy, [RUNS])
        return found.pop(0) if len(found) > 1 else found[0]

    def shown(self, name: str, active: str, sub: str, restarts: int, result: str, began: float) -> str:
        return (
            f"Id={name}\nActiveState={active}\nSubState={sub}\nNRestarts={restarts}\nResult={result}\n"
            f"ExecMainStartTimestampMonotonic={began * 1e6:.0f}"
        )

    def __call__(self, argv: Sequence[str | Path], **_options: Any) -> Completed:
        words = [str(word) for word in argv]
        if set(units.FAILED) <= set(words):
            return Completed(tuple(words), 0, self.failed, "")
        if words[0] == "journalctl":
            return Completed(tuple(words), 0, "ImportError: no module named shop\n", "")
        verb, names = words[1], [word for word in words[2:] if word.startswith("djdeploy-") and "*" not in word]
        if verb == "list-units":
            lines = [f"  {name} loaded {state} running of shop" for name, state in self.units.items()]
            return Completed(tuple(words), 0, "\n".join(lines), "")
        if verb == "show":
            blocks = [self.shown(name, *self.look(self.short(name))) for name in names]
            return Completed(tuple(words), 0, "\n\n".join(blocks), "")
        options = " ".join(word for word in words[2:] if word.startswith("--"))
        self.told.append(f"{verb} {options} {' '.join(sorted(self.short(name) for name in names))}".replace("  ", " "))
        if verb == self.refuses:
            return Completed(tuple(words), 1, "", "Unit not found")
        for name in names:
            if verb == "start":
                self.units[name] = "active"
            elif verb == "stop":
                self.units[name] = "deactivating" if "--no-block" in words else "inactive"
        return Completed(tuple(words), 0, "", "")


@pytest.fixture
def systemd() -> Systemd:
    return Systemd()


class Clock:
    """The time, which only passes when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def hand_over(
    site: Site, release: Release, systemd: Systemd, note: Note | None = None, *, came_up: float = 0.0
) -> float:
    """Hand over, and tell how long that took."""
    clock = Clock()
    process_units.hand_over(
        site, release, note or Note(), came_up=came_up, run=systemd, now=lambda: clock.time, sleep=clock.sleep
    )
    return clock.time


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "escaped"),
    [
        (f"{A}/processes/worker.1", r"20260301T120000\x2daaaaaaa-processes-worker.1"),
        ("a.01-b/jobs/my_job-x.2", r"a.01\x2db-jobs-my_job\x2dx.2"),
    ],
)
def test_escape_is_what_systemd_escape_does(path: str, escaped: str) -> None:
    assert process_units.escape(path) == escaped
    assert process_units.unescape(escaped) == path


def test_units_of_other_sites_are_not_ours() -> None:
    text = "\n".join(
        f"djdeploy-{site}@{process_units.escape(f'{A}/processes/worker.1')}.service loaded active running x"
        for site in ("shop.process", "shop-process", "shop", "shop2.process", "shop.job")
    )
    assert [unit.name.split("@")[0] for unit in process_units.parse_units(text, "shop")] == [
        "djdeploy-shop.process",
        "djdeploy-shop.job",
    ]


# --- the handover ---------------------------------------------------------------------------------


def test_workers_overlap_and_clocks_do_not(shop: Site, keep: Keep, systemd: Systemd) -> None:
    keep(A, "live", processes=WORKS)
    systemd.put(A, "worker.1", "worker.2", "beat.1")
    note = Note()
    hand_over(shop, keep(B, "prepared", processes=WORKS), systemd, note)
    assert systemd.told == [
        "start --no-block b:worker.1 b:worker.2",
        "stop a:beat.1",
        "start --no-block b:beat.1",
        "stop --no-block a:worker.1 a:worker.2",
    ]
    assert note.text == "worker x2, beat run; 3 of before finish"


def test_a_clock_that_still_ends_is_waited_for(shop: Site, keep: Keep, systemd: Systemd) -> None:
    keep(A, "retired", processes=WORKS)
    keep(B, "live", processes=WORKS)
    systemd.put(A, "beat.1", state="deactivating")
    hand_over(shop, keep(C, "prepared", processes=WORKS), systemd)
    assert systemd.told.index("stop a:beat.1") < systemd.told.index("start --no-block c:beat.1")


def test_old_workers_are_let_go_only_when_the_new_ones_live(shop: Site, keep: Keep, systemd: Systemd) -> None:
    keep(A, "live", processes=WORKS)
    systemd.put(A, "worker.1", "worker.2", "beat.1")
    systemd.dies = {"b:worker.2"}
    release = keep(B, "prepared", processes=WORKS)
    with pytest.raises(EngineError, match="its process worker died") as raised:
        hand_over(shop, release, systemd)
    assert "ImportError" in raised.value.detail
    assert {"a:worker.1", "a:worker.2"} <= set(systemd.running())
    process_units.give_back(shop, release, A, resume=True, run=systemd)
    assert systemd.running() == ["a:beat.1", "a:worker.1", "a:worker.2"]
    assert (
        systemd.told.index("stop b:beat.1")
        < len(systemd.told) - 1
        == systemd.told.index("start --no-block a:beat.1 a:worker.1 a:worker.2")
    )


def test_nothing_of_before_is_started_while_the_site_is_closed(shop: Site, keep: Keep, systemd: Systemd) -> None:
    keep(A, "live", processes=WORKS)
    systemd.put(B, "worker.1", "worker.2", "beat.1")
    process_units.give_back(shop, keep(B, "prepared", processes=WORKS), A, resume=False, run=systemd)
    assert systemd.running() == []


@pytest.mark.parametrize(
    ("start", "came_up", "copies", "processors", "longest", "seconds"),
    [
        pytest.param(0.5, 0.7, 1, 2, 60, 3.0, id="a quiet host"),
        pytest.param(0.5, 0.7, 4, 2, 60, 3.0, id="a quiet host, four workers"),
        pytest.param(0.2, 0.3, 8, 2, 60, 3.0, id="a quick host, eight workers"),
        pytest.param(5.0, 7.0, 1, 2, 60, 21.0, id="ten times slower"),
        pytest.param(5.0, 7.0, 4, 2, 60, 30.0, id="ten times slower, four workers"),
        pytest.param(0.5, 0.7, 20, 1, 60, 30.0, id="twenty workers on one processor"),
        pytest.param(0.5, 7.0, 1, 2, 60, 21.0, id="gone back to, on a host that is busy now"),
        pytest.param(4.0, 4.5, 1, 8, 60, 13.5, id="a project that loads for long"),
        pytest.param(40.0, 50.0, 1, 2, 60, 60.0, id="no longer than a release may take to start"),
        pytest.param(40.0, 50.0, 1, 2, 180, 150.0, id="for which the site gives it more"),
        pytest.param(5.0, 0.9, 1, 2, 1, 3.0, id="never less than the least"),
        pytest.param(0.0, 0.4, 1, 2, 60, 3.0, id="a release that was not measured"),
        pytest.param(0.5, 0.7, 4, 0, 60, 6.0, id="processors that cannot be counted"),
    ],
)
def test_proof_time(start: float, came_up: float, copies: int, processors: int, longest: float, seconds: float) -> None:
    assert process_units.proof_time(start, came_up, copies, processors, longest) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("look", "began"),
    [
        (("active", "running", 0, "success", 7.5), 7.5),
        (("activating", "start", 0, "success", 7.5), 7.5),
        (("activating", "start", 0, "success", 0.0), None),
        (("inactive", "dead", 0, "success", 7.5), None),
        (("deactivating", "stop", 0, "success", 7.5), 0.0),
    ],
    ids=["runs", "is being started", "not yet", "told to start, of an earlier run", "finishes first"],
)
def test_began(look: tuple[Any, ...], began: float | None) -> None:
    assert process_units.began(Look(*look)) == began


WORKER_ALONE = [WORKS[0] | {"count": 1}]
WAITS = ("inactive", "dead", 0, "success", 0.0)
STARTED_AGAIN = ("active", "running", 1, "success", 4.0)


def test_handover_takes_as_long_as_on_a_quiet_host(shop: Site, keep: Keep, systemd: Systemd) -> None:
    note = Note()
    took = hand_over(shop, keep(B, "prepared", processes=WORKS, django_start=0.4), systemd, note, came_up=0.9)
    assert took <= 1.0 + process_units.PROVEN_AFTER + process_units.TICK, "they began at 1.0"
    assert note.text == "worker x2, beat run"


def test_handover_waits_for_slow_starts(shop: Site, keep: Keep, systemd: Systemd) -> None:
    note = Note()
    took = hand_over(shop, keep(B, "prepared", processes=WORKER_ALONE, django_start=4.0), systemd, note)
    assert 12.0 <= took <= 14.0
    assert note.text == "worker run for 12 s, as starts take long now"


def test_worker_that_dies_late_on_a_slow_host_is_seen(shop: Site, keep: Keep, systemd: Systemd) -> None:
    systemd.looks["b:worker.1"] = [RUNS] * 40 + [("activating", "auto-restart", 0, "exit-code", 1.0)]
    with pytest.raises(EngineError, match="its process worker died: ImportError: no module named shop"):
        hand_over(shop, keep(B, "prepared", processes=WORKER_ALONE, django_start=4.0), systemd)


def test_time_counts_from_when_systemd_has_started_them(shop: Site, keep: Keep, systemd: Systemd) -> None:
    systemd.looks["b:worker.1"] = [WAITS] * 40 + [("active", "running", 0, "success", 10.0)]
    took = hand_over(shop, keep(B, "prepared", processes=WORKER_ALONE), systemd)
    assert 13.0 <= took <= 13.5


def test_a_process_that_systemd_does_not_come_to_is_not_waited_for_without_end(
    shop: Site, keep: Keep, systemd: Systemd
) -> None:
    systemd.looks["b:worker.1"] = [WAITS]
    took = hand_over(shop, keep(B, "prepared", processes=WORKER_ALONE), systemd)
    assert took <= shop.config["health"]["timeout"] + 4


@pytest.mark.parametrize(
    ("failed", "wrong"),
    [
        ("x.service: Failed with result 'exit-code'.", "its process worker died"),
        ("x.service: Failed with result 'oom-kill'.", "its process worker ran out of memory"),
    ],
)
def test_a_death_between_two_looks_is_seen(shop: Site, keep: Keep, systemd: Systemd, failed: str, wrong: str) -> None:
    systemd.looks["b:worker.1"], systemd.failed = [RUNS, STARTED_AGAIN], failed
    with pytest.raises(EngineError, match=wrong):
        hand_over(shop, keep(B, "prepared", processes=WORKER_ALONE), systemd)


def test_a_worker_that_ended_well_between_two_looks_is_well(shop: Site, keep: Keep, systemd: Systemd) -> None:
    systemd.looks["b:worker.1"] = [RUNS, STARTED_AGAIN]
    hand_over(shop, keep(B, "prepared", processes=WORKER_ALONE), systemd)
    assert systemd.running() == ["b:worker.1"]


def test_systemd_that_refuses_is_told(shop: Site, keep: Keep, systemd: Systemd) -> None:
    systemd.refuses = "start"
    with pytest.raises(EngineError, match="systemd could not start worker") as raised:
        hand_over(shop, keep(B, "prepared", processes=WORKS), systemd)
    assert "site.yml" in raised.value.hint


def test_memory_is_limited_before_the_start(shop: Site, keep: Keep, systemd: Systemd) -> None:
    process_units.start("shop", A, [Process("worker", "x", memory_max="512M")], systemd)
    assert [line.split()[0] for line in systemd.told] == ["set-property", "start"]


@pytest.mark.parametrize(
    ("first", "now", "wrong"),
    [
        pytest.param(("active", "running", 0, "success"), ("active", "running", 0, "success"), "", id="well"),
        pytest.param(("active", "running", 0, "success"), ("activating", "auto-restart", 0, "exit-code"), "died",
                     id="died"),
        pytest.param(("active", "running", 0, "success"), ("failed", "failed", 0, "oom-kill"), "ran out of memory",
                     id="memory"),
        pytest.param(("active", "running", 0, "success"), ("activating", "auto-restart", 1, "success"), "",
                     id="ended well once"),
        pytest.param(("active", "running", 4, "success"), ("active", "running", 7, "success"), "ends again and again",
                     id="ends again and again"),
    ],
)  # fmt: skip
def test_trouble(first: tuple[Any, ...], now: tuple[Any, ...], wrong: str) -> None:
    assert process_units.trouble(Look(*first), Look(*now)) == wrong


@pytest.mark.parametrize(
    ("missed", "wrong"), [("", ""), ("exit-code", "died"), ("signal", "died"), ("oom-kill", "ran out of memory")]
)
def test_trouble_between_two_looks(missed: str, wrong: str) -> None:
    first, now = Look("active", "running", 0, "success"), Look("active", "running", 1, "success")
    assert process_units.trouble(first, now, missed) == wrong


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(
            "Traceback (most recent call last):\n  raise ValueError\nValueError\n\nDuring handling:\n"
            "ModuleNotFoundError: No module named 'packaging'\nunit: Main process exited, status=1",
            ": ModuleNotFoundError: No module named 'packaging'",
            id="the last of several",
        ),
        pytest.param(
            "django.core.exceptions.ImproperlyConfigured: Set it\n",
            ": django.core.exceptions.ImproperlyConfigured: Set it",
            id="with its module",
        ),
        pytest.param("[ERROR] ValueError in a task, which is nobody's end\n", "", id="a line of a log"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_last_words(said: str, told: str) -> None:
    assert process_units.last_words(said) == told


# --- afterwards, and after a crash ----------------------------------------------------------------


def test_settle_stops_processes_of_others_and_no_job(shop: Site, systemd: Systemd) -> None:
    systemd.put(A, "worker.1", state="deactivating")
    systemd.put(B, "worker.1")
    systemd.put(B, "clean.1", what="job")
    systemd.put(C, "worker.1")
    assert process_units.settle(shop, C, systemd) == {A, B, C}
    assert systemd.told == ["stop --no-block b:worker.1"]


def test_keep_after_a_kill_before_the_switch(shop: Site, keep: Keep, systemd: Systemd) -> None:
    """The new ones ran already, and the old ones were let go."""
    live = keep(A, "live", processes=WORKS)
    keep(B, "prepared", processes=WORKS)
    systemd.put(A, "worker.1", "worker.2", state="deactivating")
    systemd.put(B, "worker.1", "worker.2", "beat.1")
    process_units.keep(shop, live, systemd)
    assert systemd.running() == ["a:beat.1", "a:worker.1", "a:worker.2"]
    assert systemd.told[-1].startswith("start"), "those of the live release come last"


def test_keep_when_all_is_well_tells_systemd_nothing(shop: Site, keep: Keep, systemd: Systemd) -> None:
    live = keep(A, "live", processes=WORKS)
    systemd.put(A, "worker.1", "worker.2", "beat.1")
    process_units.keep(shop, live, systemd)
    assert systemd.told == []


def test_pause_and_go_on(shop: Site, keep: Keep, systemd: Systemd, progress: Progress) -> None:
    keep(A, "live", processes=WORKS, jobs=JOB)
    systemd.put(A, "worker.1", "worker.2", "beat.1")
    process_units.pause(shop, progress, systemd)
    assert systemd.running() == []
    assert shop.paths.hold.read_text()
    process_units.go_on(shop, systemd)
    assert systemd.running() == ["a:beat.1", "a:worker.1", "a:worker.2"]
    assert not shop.paths.hold.read_text()


def test_pause_gives_up_on_a_job_that_does_not_end(
    shop: Site, keep: Keep, systemd: Systemd, progress: Progress
) -> None:
    shop.config["migrations"]["wait_for_jobs"] = 0.1
    keep(A, "live", processes=WORKS, jobs=JOB)
    systemd.put(A, "clean.1", what="job")
    with pytest.raises(EngineError, match="the job clean still runs") as raised:
        process_units.pause(shop, progress, systemd)
    assert "a:worker.1" in systemd.running()
    assert "migrations.wait_for_jobs" in raised.value.hint


def test_wait_for_jobs_has_one_default() -> None:
    (key,) = (key for section in schema.SITE_KEYS for key in section.keys if key.name == "wait_for_jobs")
    assert key.default == process_units.WAIT_FOR_JOBS


def test_a_site_without_processes_asks_systemd_nothing(
    shop: Site, keep: Keep, systemd: Systemd, progress: Progress
) -> None:
    live = keep(A, "live")
    process_units.pause(shop, progress, systemd)
    process_units.go_on(shop, systemd)
    process_units.vigil(shop, live, systemd).check()
    assert systemd.told == []
    assert not shop.paths.hold.exists()
    assert not process_units.concerned([live])


@pytest.mark.parametrize(("status", "ran"), [(0, True), (1, False)])
def test_release_command(
    shop: Site, keep: Keep, progress: Progress, said: list[Event], tmp_path: Path, status: int, ran: bool
) -> None:
    release = keep(A, "prepared", release_command="python manage.py seed")
    target = Target(tmp_path / "bin" / "python", tmp_path, {"HOME": "/"})
    calls = []

    def run(argv: Sequence[str | Path], **options: Any) -> Completed:
        calls.append((argv[2], options["env"]["PATH"].split(":")[0]))
        return Completed((), status, "", "no such table")

    if not ran:
        with pytest.raises(EngineError, match="the release command of the Procfile failed"):
            process_units.run_release_command(release, target, progress, run)
        return
    release = process_units.run_release_command(release, target, progress, run)
    process_units.run_release_command(release, target, progress, run)
    assert calls == [("python manage.py seed", str(tmp_path / "bin"))]


# --- jobs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "running", "decided"),
    [
        ("forbid", [], ("start", "1")),
        ("forbid", ["clean.1"], ("skip", "")),
        ("replace", ["clean.1"], ("replace", "1")),
        ("allow", ["clean.1", "clean.3"], ("start", "2")),
        ("allow", [f"clean.{number}" for number in range(1, 9)], ("skip", "")),
    ],
)
def test_decide(policy: str, running: list[str], decided: tuple[str, str]) -> None:
    assert schedules.decide(policy, running) == decided


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("forbid", []),
        ("replace", ["stop a:clean.1", "start --no-block b:clean.1"]),
        ("allow", ["start --no-block b:clean.2"]),
    ],
)
def test_a_job_that_is_due_while_the_release_before_still_does_it(
    shop: Site, keep: Keep, systemd: Systemd, policy: str, told: list[str]
) -> None:
    shop.config["schedule"] = {"clean": {"concurrency": policy}}
    keep(A, "retired", jobs=JOB)
    keep(B, "live", jobs=JOB)
    systemd.put(A, "clean.1", what="job")
    schedules.run_due(shop, "clean", lambda _line: None, run=systemd)
    assert systemd.told == told


def test_a_job_waits_while_jobs_are_held(shop: Site, keep: Keep, systemd: Systemd) -> None:
    shop.config["schedule"] = {"clean": {"concurrency": "forbid"}}
    keep(A, "live", jobs=JOB)
    process_units.hold_jobs(shop)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        process_units.release_jobs(shop)

    schedules.run_due(shop, "clean", lambda _line: None, run=systemd, sleep=sleep)
    assert (len(slept), systemd.told) == (1, ["start --no-block a:clean.1"])


def test_a_job_the_live_release_does_not_have(shop: Site, keep: Keep, systemd: Systemd) -> None:
    shop.config["schedule"] = {"clean": {"concurrency": "forbid"}}
    keep(A, "live")
    said: list[str] = []
    schedules.run_due(shop, "clean", said.append, run=systemd)
    assert systemd.told == []
    assert "does not have it yet" in said[0]
