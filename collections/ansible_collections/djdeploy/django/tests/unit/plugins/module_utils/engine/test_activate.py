# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch and what surrounds it: real releases and pointers in a directory, systemd and nginx played."""

from __future__ import annotations

import os
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import activate, recovery, releases
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import NO_COMMIT, RefUpdate
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.requirements import MARKER
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.tree import point

A, B, C, D = (f"2026030{day}T120000-{letter * 7}" for day, letter in enumerate("abcd", start=1))
Keep = Callable[..., Release]


@dataclass
class Machine:
    """What the engine asks of systemd and nginx, in order, and what each of them answers.

    :param failures: name of the asked -> the exception it ends in.
    :param pointers: what `current` was when each of them was asked.
    """

    site: Site
    asked: list[str] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)
    pointers: dict[str, str | None] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    states_of_units: dict[str, set[str]] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)

    def play(self, name: str, answer: Any = None) -> Callable[..., Any]:
        def played(*arguments: Any, **options: Any) -> Any:
            release = getattr(arguments[0], "release_id", "")
            self.asked.append(f"{name} {release[-7:]}".strip())
            self.pointers[name] = releases.current_id("shop")
            if name in self.failures:
                raise self.failures[name]
            return answer() if callable(answer) else answer

        return played

    def states(self) -> dict[str, str]:
        return {record.id: record.state for record in releases.all_releases("shop")}


@pytest.fixture
def machine(shop: Site, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(shop)
    monkeypatch.setattr(activate.units, "spare", lambda paths: None)
    monkeypatch.setattr(activate.health, "watch", found.play("watch", "nothing fell over"))
    for name in ("start", "kill", "stop", "drain"):
        monkeypatch.setattr(activate.units, name, found.play(name))
    monkeypatch.setattr(activate.units, "states", lambda site: dict(found.states_of_units))
    monkeypatch.setattr(activate.units, "forget", found.play("forget"))
    monkeypatch.setattr(activate.units, "running_releases", found.play("running", lambda: set(found.running)))
    monkeypatch.setattr(activate.health, "prove", found.play("prove", "200 on /"))
    monkeypatch.setattr(activate.health, "verify", found.play("verify", "200 from nginx"))
    return found


# --- going live -----------------------------------------------------------------------------------


def test_go_live_switches_only_what_was_proven(machine: Machine, keep: Keep, progress: Progress) -> None:
    keep(A, "live")
    activate.go_live(machine.site, keep(B, "prepared"), progress)
    assert machine.asked == ["start bbbbbbb", "prove bbbbbbb", "verify bbbbbbb", "watch bbbbbbb"]
    assert machine.pointers == {"start": A, "prove": A, "verify": B, "watch": B}
    assert releases.current_id("shop") == B
    assert machine.states() == {A: "retired", B: "live"}
    live = releases.live_release("shop")
    assert live is not None and live.replaced == A and live.live_since
    assert [phase["name"] for phase in progress.phases] == ["start", "prove", "switch", "verify", "watch"]


def test_go_live_the_first_time(machine: Machine, keep: Keep, progress: Progress) -> None:
    activate.go_live(machine.site, keep(A, "prepared"), progress)
    assert os.readlink(machine.site.paths.current) == f"releases/{A}"
    assert machine.states() == {A: "live"}


FAILURES = [
    pytest.param(EngineError("it answers 500"), "it answers 500", id="said_on_purpose"),
    pytest.param(OSError(28, "No space left on device"), "the disk is full", id="disk_full"),
    pytest.param(KeyError("path"), "djdeploy itself failed: KeyError: 'path'", id="defect"),
]


@pytest.mark.parametrize("before", [pytest.param(A, id="something_live"), pytest.param(None, id="nothing_live")])
@pytest.mark.parametrize("where", ["start", "prove", "verify", "watch"])
@pytest.mark.parametrize(("error", "reason"), FAILURES)
def test_go_live_that_fails_leaves_what_was(
    machine: Machine, keep: Keep, progress: Progress, where: str, error: Exception, reason: str, before: str | None
) -> None:
    if before:
        keep(before, "live")
    elif where == "watch":
        where = "verify"  # nothing to go back to, so nothing is watched
    machine.failures[where] = error
    with pytest.raises(type(error)):
        activate.go_live(machine.site, keep(B, "prepared"), progress)
    assert releases.current_id("shop") == before
    assert machine.asked[-1] == "kill bbbbbbb"
    assert machine.pointers["kill"] == before, "what is killed must not be what visitors are sent to"
    assert machine.states() == ({before: "live"} if before else {}) | {B: "failed"}
    failed = releases.read_release(machine.site.paths.releases / B)
    assert failed is not None and failed.reason == reason


@pytest.mark.parametrize("where", ["point", "keep_links", "note_release"])
def test_go_live_that_fails_around_the_rename_is_undone(
    machine: Machine, keep: Keep, progress: Progress, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    keep(A, "live")
    release, real = keep(B, "prepared", facts={"static_url": "/static/"}), getattr(activate, where)
    broken = [True]

    def breaks(*arguments: Any, **options: Any) -> Any:
        answer = real(*arguments, **options)
        if broken:
            broken.clear()
            raise OSError(5, "Input/output error")
        return answer

    monkeypatch.setattr(activate, where, breaks)
    with pytest.raises(OSError, match="Input/output error"):
        activate.go_live(machine.site, release, progress)
    assert releases.current_id("shop") == A
    assert machine.pointers["kill"] == A
    assert machine.states() == {A: "live", B: "failed"}


def test_go_live_when_nobody_can_be_told_any_more(machine: Machine, keep: Keep) -> None:
    """A sink that breaks in the middle of the switch: its phase fails after the rename."""
    keep(A, "live")

    def breaks(event: Event) -> None:
        if event.get("name") == "switch" and event["state"] == "ended":
            raise OSError(32, "Broken pipe")

    with pytest.raises(OSError, match="Broken pipe"):
        activate.go_live(machine.site, keep(B, "prepared"), Progress([breaks]))
    assert (releases.current_id("shop"), machine.pointers["kill"]) == (A, A)


def test_go_live_again_that_fails_stays_one_that_served(machine: Machine, keep: Keep, progress: Progress) -> None:
    target = keep(A, "retired", live_until="2026-02-01")
    keep(B, "live")
    machine.failures["prove"] = EngineError("its processes died while starting")
    with pytest.raises(EngineError):
        activate.go_live(machine.site, target, progress)
    assert machine.states() == {A: "retired", B: "live"}


def test_go_live_keeps_static_files_for_pages_of_earlier_releases(
    machine: Machine, keep: Keep, progress: Progress
) -> None:
    keep(A, "live")
    release = keep(B, "prepared", facts={"static_url": "/assets/"})
    static = machine.site.paths.release(B).static
    static.mkdir()
    (static / "a.css").write_text("b")
    activate.go_live(machine.site, release, progress)
    kept = machine.site.paths.static_kept / "assets" / "a.css"
    assert kept.stat().st_ino == (static / "a.css").stat().st_ino


# --- with what runs beside the web server ---------------------------------------------------------

WORKS = [{"name": "worker", "command": "celery -A shop worker", "kind": "worker", "alone": False}]


@pytest.fixture
def beside(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """What is asked of the units beside the web server is played, too."""

    class Watcher:
        check = staticmethod(machine.play("look beside"))

    monkeypatch.setattr(activate.process_units, "hand_over", machine.play("hand over", Watcher))
    monkeypatch.setattr(activate.process_units, "give_back", machine.play("give back"))
    monkeypatch.setattr(activate.process_units, "settle", machine.play("settle beside", lambda: set(machine.busy)))
    monkeypatch.setattr(recovery.process_units, "keep", machine.play("keep"))
    return machine


def test_processes_are_handed_over_before_the_switch(beside: Machine, keep: Keep, progress: Progress) -> None:
    keep(A, "live", processes=WORKS)
    activate.go_live(beside.site, keep(B, "prepared", processes=WORKS), progress)
    assert beside.asked == ["start bbbbbbb", "prove bbbbbbb", "hand over", "verify bbbbbbb", "watch bbbbbbb"]
    assert beside.pointers["hand over"] == A


@pytest.mark.parametrize("prove_for", [0, 1])
def test_processes_are_told_how_long_the_web_server_took(
    beside: Machine, monkeypatch: pytest.MonkeyPatch, keep: Keep, progress: Progress, prove_for: int
) -> None:
    """Without the time it only had to stay healthy."""
    told: list[float] = []
    played = beside.play("hand over", lambda: types.SimpleNamespace(check=lambda: None))

    def hand_over(*arguments: Any, came_up: float) -> Any:
        told.append(came_up)
        return played(*arguments)

    def prove(*_arguments: Any) -> str:
        time.sleep(0.4 + prove_for)
        return "200 on /"

    monkeypatch.setattr(activate.process_units, "hand_over", hand_over)
    monkeypatch.setattr(activate.health, "prove", prove)
    beside.site.config["health"]["prove_for"] = prove_for
    began = time.monotonic()
    activate.go_live(beside.site, keep(B, "prepared", processes=WORKS), progress)
    assert 0.4 <= told[0] <= time.monotonic() - began - prove_for


@pytest.mark.parametrize("where", ["hand over", "verify", "watch"])
def test_release_whose_process_dies_fails(beside: Machine, keep: Keep, progress: Progress, where: str) -> None:
    keep(A, "live", processes=WORKS)
    beside.failures[where] = EngineError("its process worker died")
    with pytest.raises(EngineError):
        activate.go_live(beside.site, keep(B, "prepared", processes=WORKS), progress)
    assert beside.asked[-2:] == ["kill bbbbbbb", "give back"]
    assert beside.pointers["give back"] == A
    assert beside.states() == {A: "live", B: "failed"}


def test_watch_looks_beside(machine: Machine, beside: Machine, monkeypatch: pytest.MonkeyPatch, keep: Keep) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(activate.health, "watch", lambda *_words, **options: seen.append(options) or "well")
    keep(A, "live")
    activate.go_live(beside.site, keep(B, "prepared", processes=WORKS), Progress([]))
    activate.go_live(beside.site, keep(C, "prepared"), Progress([]))
    assert [set(options) for options in seen] == [{"beside"}, set()]


def test_recovery_keeps_the_processes_of_what_is_live(beside: Machine, keep: Keep, progress: Progress) -> None:
    keep(A, "live")
    recovery.recover(beside.site, progress)
    assert "keep" not in beside.asked, "no release has any"
    keep(B, "retired", processes=WORKS)
    recovery.recover(beside.site, progress)
    assert "keep" in beside.asked


@pytest.mark.parametrize("busy", [True, False])
def test_a_release_with_running_units_is_not_pruned(
    beside: Machine, keep: Keep, progress: Progress, busy: bool
) -> None:
    beside.site.config["keep_releases"] = 2
    keep(A, "retired", environment="env-a", processes=WORKS)
    keep(B, "retired", environment="env-b")
    keep(C, "live", environment="env-c", replaced=B)
    (beside.site.paths.environments / "env-a").mkdir()
    beside.busy = {A} if busy else set()
    activate.settle(beside.site, progress)
    assert (A in beside.states()) is busy
    assert (beside.site.paths.environments / "env-a").exists() or not busy


def test_a_release_that_is_just_stopping_is_not_pruned(machine: Machine, keep: Keep, progress: Progress) -> None:
    """Its last request may still need its code and templates."""
    machine.site.config["keep_releases"] = 2
    for name, state in ((A, "retired"), (B, "retired"), (C, "live")):
        keep(name, state, replaced=B if state == "live" else "")
    machine.running = {A, C}
    activate.settle(machine.site, progress)
    assert A in machine.states()
    machine.running = {C}
    activate.settle(machine.site, progress)
    assert A not in machine.states()


# --- afterwards -----------------------------------------------------------------------------------


def test_settle_stops_every_other_release_and_never_the_live_one(
    machine: Machine, keep: Keep, progress: Progress
) -> None:
    keep(A, "retired")
    keep(B, "live")
    machine.running = {A, B, C}
    activate.settle(machine.site, progress)
    assert machine.asked == ["running", "drain aaaaaaa", "stop aaaaaaa", "drain ccccccc", "stop ccccccc"]
    assert progress.phases[-1]["note"] == "stopped 2, pruned 0"


@pytest.mark.parametrize(
    ("seconds", "static"),
    [
        pytest.param(activate.AFTERWARDS, ["a.css", "b.css", "c.css"], id="a page may be on its way"),
        pytest.param(0.0, ["b.css", "c.css"], id="long after"),
    ],
)
def test_settle_prunes_releases_their_environments_and_static_files(
    machine: Machine, keep: Keep, progress: Progress, monkeypatch: pytest.MonkeyPatch, seconds: float, static: list[str]
) -> None:
    monkeypatch.setattr(activate, "AFTERWARDS", seconds)
    paths = machine.site.paths
    machine.site.config["keep_releases"] = 2
    for name, state in ((A, "retired"), (B, "retired"), (C, "live")):
        keep(name, state, environment=f"env-{name[-1]}", replaced=B if state == "live" else "")
        (paths.environments / f"env-{name[-1]}").mkdir()
        paths.release(name).static.mkdir()
        (paths.release(name).static / f"{name[-1]}.css").write_text(name)
        activate.keep_links(paths.release(name).static, paths.static_kept / "static")
    activate.settle(machine.site, progress)
    assert sorted(machine.states()) == [B, C]
    assert sorted(path.name for path in paths.environments.iterdir()) == ["env-b", "env-c"]
    assert sorted(path.name for path in (paths.static_kept / "static").iterdir()) == static


@pytest.mark.parametrize("state", ["retired", "failed", "void"])
def test_settle_keeps_an_environment_that_any_kept_release_has(
    machine: Machine, keep: Keep, progress: Progress, state: str
) -> None:
    keep(A, state, environment="shared-env")
    keep(B, "prepared", environment="shared-env")
    keep(C, "live", environment="own-env")
    for name in ("shared-env", "own-env", "nobodys-env"):
        (machine.site.paths.environments / name).mkdir()
    activate.settle(machine.site, progress)
    assert sorted(path.name for path in machine.site.paths.environments.iterdir()) == ["own-env", "shared-env"]


# --- after a crash --------------------------------------------------------------------------------


def test_recover_removes_what_was_half_made_and_nothing_else(
    machine: Machine, keep: Keep, progress: Progress, said: list[Event]
) -> None:
    paths = machine.site.paths
    keep(A, "live")
    keep(B, "preparing")
    keep(D, "prepared")
    paths.release(C).root.mkdir()
    (paths.releases / "backup-of-mine").mkdir()
    for name, complete in (("whole", True), ("half", False)):
        (paths.environments / name).mkdir()
        if complete:
            (paths.environments / name / MARKER).write_text("{}")
    recovery.recover(machine.site, progress)
    assert sorted(path.name for path in paths.releases.iterdir()) == [A, D, "backup-of-mine"]
    assert [path.name for path in paths.environments.iterdir()] == ["whole"]
    assert sorted(event["text"].split(":")[0] for event in said) == [f"removing {B}", f"removing {C}"]


@pytest.mark.parametrize(
    ("states", "current", "expected"),
    [
        pytest.param({A: "live", B: "prepared"}, B, {A: "retired", B: "live"}, id="died_after_the_switch"),
        pytest.param({A: "live", B: "prepared"}, A, {A: "live", B: "prepared"}, id="died_before_the_switch"),
        pytest.param({A: "retired", B: "live"}, A, {A: "live", B: "retired"}, id="died_in_a_rollback"),
        pytest.param({A: "retired", B: "preparing"}, B, {A: "retired", B: "live"}, id="pointer_wins"),
    ],
)
def test_recover_lets_records_say_what_the_pointer_says(
    machine: Machine, keep: Keep, progress: Progress, states: dict[str, str], current: str, expected: dict[str, str]
) -> None:
    for name, state in states.items():
        keep(name, state)
    activate.point(machine.site.paths.current, f"releases/{current}")
    recovery.recover(machine.site, progress)
    assert machine.states() == expected


def test_recover_never_removes_the_live_release_whatever_its_record(
    machine: Machine, keep: Keep, progress: Progress
) -> None:
    keep(A, "live")
    record = machine.site.paths.release(A).record
    record.write_text("")
    recovery.recover(machine.site, progress)
    assert record.exists()


def test_recover_when_the_pointer_leads_nowhere(machine: Machine, keep: Keep, progress: Progress) -> None:
    keep(A, "retired")
    current = machine.site.paths.current
    current.symlink_to(f"releases/{B}")
    with pytest.raises(EngineError, match=f"points at {B}, which does not exist") as raised:
        recovery.recover(machine.site, progress)
    assert raised.value.hint == f"rm {current} && djdeploy rollback shop --to {A}"
    current.unlink()  # as the hint says
    recovery.recover(machine.site, progress)
    target = releases.rollback_target(releases.all_releases("shop"), None, A)
    activate.go_live(machine.site, target, progress)
    assert releases.current_id("shop") == A


# --- at boot --------------------------------------------------------------------------------------


class Branch:
    """The bare repository: where the branch is, and where it is moved to."""

    def __init__(self, tip: str | None) -> None:
        self.tip, self.moved = tip, ()

    def commit(self, name: str) -> str | None:
        return self.tip

    def move(self, *words: str) -> bool:
        self.moved = words
        return True


@pytest.fixture
def branch(monkeypatch: pytest.MonkeyPatch) -> Branch:
    found = Branch(None)
    monkeypatch.setattr(recovery, "Repository", lambda path: found)
    return found


def commit_of(release_id: str) -> str:
    """The whole commit of a release as `keep` makes it."""
    return release_id[-7:] + "0" * 33


def test_boot_starts_what_the_pointer_says(machine: Machine, keep: Keep, progress: Progress) -> None:
    recovery.boot(machine.site, progress)
    assert machine.asked == [], "nothing is live yet"
    keep(A, "live")
    keep(B, "retired")
    recovery.boot(machine.site, progress)
    assert machine.asked == ["start aaaaaaa"]


def test_boot_after_a_switch_that_was_not_recorded(machine: Machine, keep: Keep, progress: Progress) -> None:
    keep(A, "live")
    keep(B, "prepared", prepared_beside=A)
    point(machine.site.paths.current, f"releases/{B}")
    recovery.boot(machine.site, progress)
    assert machine.states() == {A: "retired", B: "live"}


# --- what a killed run leaves ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "live", "served", "expected"),
    [
        pytest.param({A: {"active"}}, A, [A], ([], []), id="only_what_is_live"),
        pytest.param({A: {"active"}, B: {"active"}}, A, [A], ([], [B]), id="started_and_never_live"),
        pytest.param({A: {"active"}, B: {"active"}}, B, [A, B], ([A], []), id="not_stopped_yet"),
        pytest.param({A: {"deactivating", "active"}, B: {"active"}}, B, [A, B], ([], []), id="just_stopping"),
        pytest.param({A: {"active"}, B: {"failed"}}, A, [A, B], ([B], []), id="failed_after_it_served"),
        pytest.param({B: {"active", "inactive"}}, None, [], ([], [B]), id="the_first_one_ever"),
    ],
)
def test_orphans(
    states: dict[str, set[str]], live: str | None, served: list[str], expected: tuple[list[str], list[str]]
) -> None:
    assert recovery.orphans(states, live, served) == expected


def test_recover_ends_what_was_started_and_lets_finish_what_served(
    machine: Machine, keep: Keep, progress: Progress
) -> None:
    keep(A, "retired")
    keep(B, "retired")
    keep(C, "live")
    keep(D, "prepared")
    machine.states_of_units = {A: {"active"}, B: {"failed"}, C: {"active"}, D: {"activating", "active"}}
    recovery.recover(machine.site, progress)
    assert machine.asked == ["kill ddddddd", "drain aaaaaaa", "stop aaaaaaa", "forget bbbbbbb"]


def test_recover_removes_what_lay_aside(machine: Machine, keep: Keep, progress: Progress) -> None:
    paths = machine.site.paths
    keep(A, "live")
    aside = [paths.root / name for name in recovery.HALF_MADE]
    aside += [paths.release(A).root / "release.json.new", paths.releases / f".{B}.gone" / "release.json"]
    aside += [paths.environments / ".whole.gone" / MARKER, paths.state / ".move.json.new.0a1b.new"]
    for path in aside:
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    recovery.recover(machine.site, progress)
    assert [path for path in aside if path.exists()] == []
    assert [path.name for path in (*paths.releases.iterdir(), *paths.environments.iterdir())] == [A]


def test_recover_does_the_rest_where_the_site_must_stay_closed(
    machine: Machine, keep: Keep, branch: Branch, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for goes on: it may be the deploy that mends it."""

    def reopen(*_asked: Any) -> None:
        raise EngineError("going back would lose data")

    monkeypatch.setattr(recovery.database, "reopen", reopen)
    branch.tip = commit_of(B)
    keep(A, "live")
    recovery.let_in(machine.site, moved_to(B))
    dies(monkeypatch)
    closed = recovery.recover(machine.site, progress)
    assert str(closed) == "going back would lose data"
    assert branch.moved[1] == commit_of(A)


# --- a push that was let in and never came to its end ---------------------------------------------


def dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process held is given up, as the kernel does it for one that dies."""
    for _path, descriptor in recovery._held.values():
        os.close(descriptor)
    monkeypatch.setattr(recovery, "_held", {})


def moved_to(release_id: str, *, first: bool = False) -> RefUpdate:
    return RefUpdate(NO_COMMIT if first else commit_of(A), commit_of(release_id), "refs/heads/main")


@pytest.mark.parametrize(
    ("update", "tip", "live", "moved"),
    [
        pytest.param(moved_to(B), B, A, True, id="cut_off"),
        pytest.param(moved_to(B, first=True), B, None, True, id="the_first_one_cut_off"),
        pytest.param(moved_to(B), A, A, False, id="git_never_moved_it"),
        pytest.param(moved_to(B), C, A, False, id="pushed_again_since"),
        pytest.param(moved_to(B), B, B, False, id="it_is_live"),
    ],
)
def test_branch_of_a_push_that_was_cut_off(
    machine: Machine,
    keep: Keep,
    branch: Branch,
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
    update: RefUpdate,
    tip: str,
    live: str | None,
    moved: bool,
) -> None:
    if live:
        keep(live, "live")
    branch.tip = commit_of(tip)
    recovery.let_in(machine.site, update)
    recovery.recover(machine.site, progress)
    assert branch.moved == (), "its deployer is alive"
    dies(monkeypatch)
    recovery.recover(machine.site, progress)
    assert branch.moved == ((update.ref, update.old, update.new) if moved else ())
    assert list(machine.site.paths.pushes.iterdir()) == []


def test_branch_stays_when_its_deploy_is_asked_for(
    machine: Machine, branch: Branch, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever pushed went away, and the door asks in its place: by another deployer than the one that let it in."""
    branch.tip = commit_of(B)
    recovery.let_in(machine.site, moved_to(B))
    dies(monkeypatch)
    recovery.recover(machine.site, progress, [moved_to(B)])
    assert branch.moved == ()


def test_branch_is_tried_again_when_git_could_not_move_it(
    machine: Machine, branch: Branch, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch.tip = commit_of(B)
    recovery.let_in(machine.site, moved_to(B))
    dies(monkeypatch)
    monkeypatch.setattr(branch, "move", lambda *_words: False)
    recovery.recover(machine.site, progress)
    assert len(list(machine.site.paths.pushes.iterdir())) == 1


@pytest.mark.parametrize("text", ["", '{"old": "', "[]", '{"old": "1"}'])
def test_note_that_was_never_written(machine: Machine, branch: Branch, progress: Progress, text: str) -> None:
    machine.site.paths.pushes.mkdir(parents=True)
    (machine.site.paths.pushes / "1.json").write_text(text)
    recovery.recover(machine.site, progress)
    assert list(machine.site.paths.pushes.iterdir()) == []


def test_push_at_its_end_leaves_no_note(machine: Machine) -> None:
    recovery.let_in(machine.site, moved_to(B))
    recovery.at_its_end(moved_to(B))
    recovery.at_its_end(moved_to(B))
    assert list(machine.site.paths.pushes.iterdir()) == []


def test_machine_is_a_directory(host: Path, shop: Site) -> None:
    """The tests above remove directories: never those of the host they run on."""
    assert shop.paths.root.is_relative_to(host)


# --- pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [A, None], ids=["one was live", "none was"])
def test_point_back(shop: Site, keep: Keep, before: str | None) -> None:
    keep(B, "live")
    activate.point_back(shop, before)
    assert releases.current_id("shop") == before
    assert shop.paths.current.is_symlink() is (before is not None)


@pytest.mark.parametrize(
    ("state", "before", "replaced"),
    [
        pytest.param("prepared", B, B, id="new"),
        pytest.param("prepared", None, "", id="first"),
        pytest.param("retired", B, A, id="gone_back_to"),
        pytest.param("live", C, A, id="itself"),
    ],
)
def test_record_switch_remembers_the_way_back(
    shop: Site, keep: Keep, state: str, before: str | None, replaced: str
) -> None:
    release = keep(C, state, replaced="" if state == "prepared" else A)
    activate.record_switch(shop, release, before)
    found = releases.read_release(shop.paths.releases / C)
    assert found is not None
    assert (found.state, found.replaced) == ("live", replaced)


@pytest.mark.parametrize(
    ("static_url", "place"),
    [("/static/", "static"), ("/a/b/", "a/b"), ("https://cdn.example.com/", None), (None, None)],
    ids=["plain", "nested", "elsewhere", "none"],
)
def test_keep_static_by_url(shop: Site, keep: Keep, static_url: str | None, place: str | None) -> None:
    release = keep(B, "prepared", facts={"static_url": static_url})
    static = shop.paths.release(B).static
    static.mkdir()
    (static / "site.css").write_text("css")
    activate.keep_static(shop, release)
    kept = [path for path in shop.paths.static_kept.rglob("*") if path.is_file()]
    assert kept == ([shop.paths.static_kept / place / "site.css"] if place else [])
