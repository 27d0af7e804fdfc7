# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a release: a real repository, real releases on disk; building and switching are played."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    activate,
    database,
    deploy,
    queue,
    recovery,
    releases,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event, Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.git import Repository
from ansible_collections.djdeploy.django.plugins.module_utils.engine.prepare import Prepared
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import NO_COMMIT, RefUpdate
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.requirements import MARKER
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

if TYPE_CHECKING:
    from .conftest import Work

MAIN = "refs/heads/main"
Keep = Callable[..., Release]


@dataclass
class Stage:
    """A site with its repository, on which building and switching are played.

    :param failures: `prepare`, `migrate` or `go_live` -> the exception it ends in.
    :param during: called while a release is built: what others do meanwhile.
    """

    site: Site
    work: Work
    progress: Progress
    said: list[Event]
    done: list[str] = field(default_factory=list)
    failures: dict[str, Exception] = field(default_factory=dict)
    during: Callable[[], Any] = lambda: None
    environment: str = "env-1"
    judged: list[dict[str, Any]] = field(default_factory=list)

    def step(self, name: str, release: Release) -> None:
        self.done.append(f"{name} {release.subject}")
        if name in self.failures:
            raise self.failures[name]

    def prepare(self, site: Site, revision: str, request: Request, progress: Progress, repository: Any) -> Prepared:
        taken = [path.name for path in site.paths.releases.iterdir()]
        release = Release(
            releases.new_release_id(datetime.now(UTC), revision, taken),
            site.name,
            revision,
            subject=repository.subject(revision),
            state="prepared",
            who=request.who,
            created=datetime.now(UTC).isoformat(),
            fingerprint=site.fingerprint(),
            environment=self.environment,
            pending=["shop.0002_price"],
            migrations=self.judged,
            plan={"id": "0123456789ab", "migrations": ["shop.0002_price"]},
            prepared_beside=releases.current_id(site.name) or "",
        )
        self.step("prepare", release)
        site.paths.release(release.id).root.mkdir()
        releases.write_release(release)
        environment = site.paths.environments / self.environment
        is_new = not environment.exists()
        environment.mkdir(exist_ok=True)
        (environment / MARKER).write_text("{}")
        self.during()
        return Prepared(release, {}, is_new)

    def migrate(self, site: Site, release: Release, progress: Progress, *, closed: bool) -> Release:
        self.step("migrate", release)
        return replace(release, applied=release.pending)

    def go_live(self, site: Site, release: Release, progress: Progress, **options: bool) -> Release:
        before = releases.current_id(site.name)
        self.step("go_live", release)
        activate.point(site.paths.current, f"releases/{release.id}")
        return activate.record_switch(site, release, before)

    def settle(self, site: Site, progress: Progress) -> None:
        self.done.append("settle")

    def ask(self, op: str, **wanted: Any) -> Event:
        """Carry a request out; the result of this time."""
        self.done.clear()
        self.said.clear()
        door = "push" if op in ("receive", "pushed") else "host"
        deploy.carry_out(self.site, Request(op, "shop", door, "ada", **wanted), self.progress)
        (result,) = (event for event in self.said if event["event"] == "result")
        return result

    def push(self, commit: str, ref: str = MAIN) -> RefUpdate:
        """Move a ref of the repository as git does between the two hooks."""
        repository = Repository(self.work.bare)
        update = RefUpdate(repository.commit(ref) or NO_COMMIT, commit, ref)
        self.work.push(f"{commit}:{ref}")
        return update

    def commit(self, subject: str) -> str:
        """A commit whose objects the repository has, on no branch that is deployed."""
        commit = self.work.commit(subject)
        self.work.push(f"{commit}:refs/heads/objects")
        return commit

    def live(self) -> str | None:
        release = releases.live_release("shop")
        return release.revision if release else None

    def states(self) -> dict[str, str]:
        return {record.subject: record.state for record in releases.all_releases("shop")}


@pytest.fixture
def stage(shop: Site, work: Work, progress: Progress, said: list[Event], monkeypatch: pytest.MonkeyPatch) -> Stage:
    shop.paths.repository.symlink_to(work.bare)
    found = Stage(shop, work, progress, said)
    monkeypatch.setattr(deploy, "prepare", found.prepare)
    monkeypatch.setattr(database, "migrate", found.migrate)
    for name in ("go_live", "settle"):
        monkeypatch.setattr(activate, name, getattr(found, name))
    return found


# --- deploy ---------------------------------------------------------------------------------------


def test_deploy_before_the_first_push(stage: Stage) -> None:
    result = stage.ask("deploy")
    assert result["message"] == "shop waits for its first push"
    assert (result["changed"], result["after"], stage.done) == (False, None, [])


def test_deploy_puts_the_tip_live_and_then_has_nothing_to_do(stage: Stage) -> None:
    stage.push(stage.commit("one"))
    first = stage.ask("deploy")
    assert stage.done == ["prepare one", "migrate one", "go_live one", "settle"]
    assert (first["changed"], first["before"], first["after"]) == (True, None, stage.live())
    assert first["migrations"] == ["shop.0002_price"]
    assert "is live as" in first["message"] and first["message"].endswith("http://shop.example.com/")
    second = stage.ask("deploy")
    assert (second["changed"], second["before"], second["after"]) == (False, stage.live(), stage.live())
    assert second["message"].endswith("nothing to do")
    assert stage.done == [], "an idle run starts nothing"


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        pytest.param("tip", "one", id="what_is_live_and_not_the_tip"),
        pytest.param("revision", "two", id="revision_of_the_site"),
        pytest.param("request", "three", id="what_is_asked_for"),
        pytest.param("repository", "two", id="branch_of_another_repository"),
    ],
)
def test_wanted_revision(stage: Stage, how: str, wanted: str) -> None:
    commits = {subject: stage.commit(subject) for subject in ("one", "two", "three")}
    stage.push(commits["one"])
    stage.ask("deploy")
    stage.push(commits["three"])
    request = Request("deploy", "shop", "host", "ada")
    if how in ("revision", "request"):
        stage.site.config["revision"] = commits["two"][:10]
    if how == "request":
        request = replace(request, revision="main")
    if how == "repository":
        stage.work.git("checkout", "--quiet", "-B", "stable", commits["two"])
        stage.site.config["branch"] = "stable"
        stage.site.config["repository"] = str(stage.work.clone)
    assert deploy.wanted_revision(stage.site, request, Repository(stage.work.bare)) == commits[wanted]


def test_wanted_revision_that_is_no_commit(stage: Stage) -> None:
    stage.push(stage.commit("one"))
    with pytest.raises(EngineError, match="'nosuch' is no commit in") as raised:
        stage.ask("deploy", revision="nosuch")
    assert "push it first" in raised.value.hint


@pytest.mark.parametrize(
    ("change", "again"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"force": True}, True, id="force"),
        pytest.param({"config": {"settings": "shop.other"}}, True, id="configuration"),
        pytest.param({"config": {"keep_releases": 9}}, False, id="configuration_of_no_release"),
    ],
)
def test_deploy_of_the_same_revision(stage: Stage, change: dict[str, Any], again: bool) -> None:
    stage.push(stage.commit("one"))
    before = stage.ask("deploy")["release"]
    stage.site.config.update(change.get("config", {}))
    result = stage.ask("deploy", force=change.get("force", False))
    assert result["changed"] is again
    assert (result["release"] != before) is again
    assert result["before"] == result["after"], "the revision is the same"


@pytest.mark.parametrize("where", ["prepare", "migrate", "go_live"])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(EngineError("it answers 500", "mend it", "a log"), "it answers 500", id="said_on_purpose"),
        pytest.param(ZeroDivisionError("x"), "djdeploy itself failed: ZeroDivisionError", id="defect"),
    ],
)
def test_deploy_that_fails_says_what_serves(stage: Stage, where: str, error: Exception, says: str) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    stage.failures[where] = error
    with pytest.raises(EngineError, match=f"{one[:7]} did not go live, shop has no live release yet: {says}"):
        stage.ask("deploy", revision=one)
    stage.failures.clear()
    stage.ask("deploy", revision=one)
    stage.failures[where] = error
    with pytest.raises(EngineError, match=f"{two[:7]} did not go live, shop stays at {one[:7]}: {says}") as raised:
        stage.ask("deploy", revision=two)
    assert raised.value.detail
    assert stage.live() == one
    assert "settle" not in stage.done


# --- check ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [pytest.param("env-1", id="same_packages"), pytest.param("env-2", id="others")])
def test_deploy_check_tells_the_plan_and_leaves_nothing(stage: Stage, environment: str) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    stage.ask("deploy", revision=one)
    before = sorted(str(path) for path in stage.site.paths.root.rglob("*"))
    stage.environment = environment
    stage.site.config["settings"] = "shop.other"
    result = stage.ask("deploy", revision=two, check=True)
    assert stage.done == ["prepare two"]
    assert result["message"] == f"shop would go from {one[:7]} to {two[:7]}"
    assert (result["changed"], result["before"], result["after"]) == (True, one, two)
    assert result["plan"]["migrations"] == ["shop.0002_price"]
    assert sorted(str(path) for path in stage.site.paths.root.rglob("*")) == before


def test_deploy_check_of_the_first_release(stage: Stage) -> None:
    one = stage.commit("one")
    result = stage.ask("deploy", revision=one, check=True)
    assert result["message"] == f"shop would go from nothing to {one[:7]}"
    assert stage.states() == {}


def test_deploy_of_the_plan_that_was_agreed_to(stage: Stage) -> None:
    one = stage.commit("one")
    assert stage.ask("deploy", revision=one, plan="0123456789ab")["changed"]


def test_deploy_of_another_plan_than_was_agreed_to(stage: Stage) -> None:
    one = stage.commit("one")
    with pytest.raises(
        EngineError, match="not the plan you agreed to: it is 0123456789ab now, not ba9876543210"
    ) as caught:
        stage.ask("deploy", revision=one, plan="ba9876543210")
    assert f"djdeploy plan shop {one[:7]}" in caught.value.hint
    assert stage.live() is None


RENAMES = {"name": "shop.0002_price", "kind": "contract", "atomic": True, "reverse": "lossless", "sql": []}
RENAMES["reasons"] = [{"kind": "contract", "operation": "Rename field", "why": "it is gone", "recipe": ""}]


@pytest.mark.parametrize(
    ("allow", "refused"), [pytest.param((), True, id="refused"), pytest.param(("contract",), False, id="allowed")]
)
def test_gate_refuses_before_anything_changes(stage: Stage, allow: tuple[str, ...], refused: bool) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    stage.ask("deploy", revision=one)
    stage.judged = [RENAMES]
    for check in (True, False):
        if refused:
            with pytest.raises(EngineError, match=r"shop\.0002_price is not run"):
                stage.ask("deploy", revision=two, check=check)
            assert stage.done == ["prepare two"]
            assert stage.live() == one
        else:
            assert stage.ask("deploy", revision=two, check=check, allow=allow)["changed"]
    assert stage.live() == (one if refused else two)


def test_gate_lets_the_first_release_through(stage: Stage) -> None:
    """There is no old code that a migration could break."""
    one = stage.commit("one")
    stage.judged = [RENAMES]
    assert stage.ask("deploy", revision=one)["changed"]


# --- rollback -------------------------------------------------------------------------------------


def test_rollback_goes_back_and_never_forth_again(stage: Stage) -> None:
    commits = [stage.commit(subject) for subject in ("one", "two", "three")]
    for commit in commits:
        stage.ask("deploy", revision=commit)
    result = stage.ask("rollback")
    assert stage.done == ["go_live two", "settle"]
    assert (result["before"], result["after"], result["changed"]) == (commits[2], commits[1], True)
    assert stage.states() == {"one": "retired", "two": "live", "three": "void"}
    stage.ask("rollback")
    assert stage.states() == {"one": "live", "two": "void", "three": "void"}
    with pytest.raises(EngineError, match="no earlier release that served is kept"):
        stage.ask("rollback")
    stage.ask("deploy", revision=commits[2])
    assert stage.live() == commits[2]
    stage.ask("rollback")
    assert stage.live() == commits[0], "back to what served before, not to what was rolled back from"


def test_rollback_check_changes_nothing(stage: Stage) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    for commit in (one, two):
        stage.ask("deploy", revision=commit)
    result = stage.ask("rollback", check=True)
    assert result["message"].startswith(f"shop would go back to {one[:7]} (")
    assert (result["changed"], result["after"]) == (True, one)
    assert stage.done == []
    assert stage.states() == {"one": "retired", "two": "live"}


@pytest.mark.parametrize("check", [True, False])
def test_rollback_publishes_no_uploads_that_the_application_guards(stage: Stage, check: bool) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    for commit in (one, two):
        stage.ask("deploy", revision=commit)
    old = next(record for record in releases.all_releases("shop") if record.revision == one)
    link = stage.site.paths.release(old.id).uploads / "media"
    link.parent.mkdir()
    link.symlink_to(stage.site.paths.media)
    stage.ask("rollback", check=check)
    assert link.is_symlink() == check
    assert sum("leaves them to the application" in event.get("text", "") for event in stage.said) == 1


def test_rollback_that_fails_leaves_what_serves(stage: Stage) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    for commit in (one, two):
        stage.ask("deploy", revision=commit)
    stage.failures["go_live"] = EngineError("it answers 500", "mend it")
    with pytest.raises(EngineError, match=f"{one[:7]} did not go live, shop stays at {two[:7]}: it answers 500"):
        stage.ask("rollback")
    assert stage.states() == {"one": "retired", "two": "live"}


# --- a push ---------------------------------------------------------------------------------------


def test_receive_builds_and_pushed_puts_live_what_was_built(stage: Stage) -> None:
    one = stage.commit("one")
    update = RefUpdate(NO_COMMIT, one, MAIN)
    result = stage.ask("receive", updates=(update,))
    assert stage.done == ["prepare one"]
    assert (result["message"], result["changed"], stage.live()) == ("", False, None)
    stage.push(one)
    result = stage.ask("pushed", updates=(update,))
    assert stage.done == ["migrate one", "go_live one", "settle"], "it is not built twice"
    assert (result["changed"], stage.live()) == (True, one)


def test_receive_of_what_is_built_already(stage: Stage) -> None:
    update = RefUpdate(NO_COMMIT, stage.commit("one"), MAIN)
    stage.ask("receive", updates=(update,))
    stage.ask("receive", updates=(update,))
    assert stage.done == [], "a push that was lost on its way is not built again"


@pytest.mark.parametrize(
    "meanwhile",
    [pytest.param("configuration", id="configuration_changed"), pytest.param("deploy", id="another_went_live")],
)
def test_pushed_builds_anew_what_no_longer_fits(stage: Stage, meanwhile: str) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    update = RefUpdate(NO_COMMIT, two, MAIN)
    stage.ask("receive", updates=(update,))
    if meanwhile == "configuration":
        stage.site.config["settings"] = "shop.other"
    else:
        stage.ask("deploy", revision=one)
    stage.push(two)
    stage.ask("pushed", updates=(update,))
    assert stage.done == ["prepare two", "migrate two", "go_live two", "settle"]


def test_receive_stores_other_refs_and_says_so(stage: Stage) -> None:
    one = stage.commit("one")
    updates = tuple(RefUpdate(NO_COMMIT, one, ref) for ref in ("refs/heads/feature", "refs/tags/v1"))
    stage.ask("receive", updates=updates)
    assert stage.done == []
    assert [event["text"] for event in stage.said if event["event"] == "say"] == [
        "feature stored, not deployed: only a push to main goes live",
        "v1 stored, not deployed: only a push to main goes live",
    ]
    result = stage.ask("pushed", updates=updates)
    assert "nothing to deploy; only a push to main goes live" in result["message"]
    assert stage.done == []


@pytest.mark.parametrize(
    ("force_push", "refused"), [pytest.param(False, True, id="not_allowed"), pytest.param(True, False, id="allowed")]
)
def test_receive_of_a_forced_push(stage: Stage, force_push: bool, refused: bool) -> None:
    old = stage.commit("one")
    stage.push(old)
    stage.work.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "instead")
    new = stage.work.git("rev-parse", "HEAD")
    stage.work.push(f"{new}:refs/heads/objects")
    stage.site.config["force_push"] = force_push
    updates = (RefUpdate(NO_COMMIT, old, "refs/heads/feature"), RefUpdate(old, new, MAIN))
    if refused:
        with pytest.raises(EngineError, match="refused: main would lose commits"):
            stage.ask("receive", updates=updates)
        assert stage.done == []
        assert not [event for event in stage.said if event["event"] == "say"], "nothing is stored of a refused push"
    else:
        stage.ask("receive", updates=updates)
        assert stage.done == ["prepare instead"]


def test_receive_after_the_branch_moved_on(stage: Stage) -> None:
    """Another push was let in while this one waited: nothing is built for what git would refuse then."""
    one, two, three = stage.commit("one"), stage.commit("two"), stage.commit("three")
    stage.push(one)
    stage.push(two)
    for old in (one, NO_COMMIT):
        with pytest.raises(EngineError, match=f"refused: while this push waited, main went to {two[:7]}") as raised:
            stage.ask("receive", updates=(RefUpdate(old, three, MAIN),))
        assert (raised.value.hint, stage.done) == ("push again, nothing of it is missing in yours", [])
    stage.work.git("commit", "--quiet", "--amend", "--allow-empty", "-m", "beside three")
    beside = stage.work.git("rev-parse", "HEAD")
    stage.work.push(f"{beside}:refs/heads/objects")
    stage.push(three)
    with pytest.raises(EngineError, match=f"main went to {three[:7]}") as raised:
        stage.ask("receive", updates=(RefUpdate(two, beside, MAIN),))
    assert (raised.value.hint, stage.done) == ("git pull, then push again", [])
    stage.push(two)
    stage.ask("receive", updates=(RefUpdate(two, three, MAIN),))
    assert stage.done == ["prepare three"]


def test_receive_of_what_cannot_be_built(stage: Stage) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    stage.ask("deploy", revision=one)
    stage.push(one)
    stage.failures["prepare"] = EngineError("there is no manage.py", "push one", "")
    with pytest.raises(EngineError, match=f"{two[:7]} is refused, shop stays at {one[:7]}: there is no manage.py"):
        stage.ask("receive", updates=(RefUpdate(one, two, MAIN), RefUpdate(NO_COMMIT, two, "refs/tags/v2")))
    assert not [event for event in stage.said if event["event"] == "say"]


@pytest.mark.parametrize("first", [pytest.param(True, id="first_push"), pytest.param(False, id="later_push")])
def test_pushed_that_fails_takes_the_branch_back(stage: Stage, first: bool) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    if not first:
        stage.ask("pushed", updates=(stage.push(one),))
    update = stage.push(two)
    stage.failures["go_live"] = EngineError("it answers 500", "mend it", "a log")
    with pytest.raises(EngineError, match=f"{two[:7]} did not go live") as raised:
        stage.ask("pushed", updates=(update,))
    back = "nothing" if first else one[:7]
    assert raised.value.hint == f"mend it\n  -> main on this host is back at {back}; mend it and push again"
    assert raised.value.detail == "a log"
    assert Repository(stage.work.bare).commit(MAIN) == (None if first else one)
    stage.failures.clear()
    stage.ask("pushed", updates=(stage.push(two),))
    assert stage.live() == two, "the same commit can be pushed again"


def test_pushed_that_fails_leaves_a_branch_that_was_pushed_again(stage: Stage) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    update = stage.push(one)
    stage.during = lambda: stage.push(two)
    stage.failures["go_live"] = EngineError("it answers 500")
    with pytest.raises(EngineError) as raised:
        stage.ask("pushed", updates=(update,))
    assert raised.value.hint == "main was pushed again meanwhile"
    assert Repository(stage.work.bare).commit(MAIN) == two


@pytest.mark.parametrize("room", [True, False], ids=["reserve_helps", "still_full"])
def test_pushed_that_fails_on_a_full_disk(stage: Stage, monkeypatch: pytest.MonkeyPatch, room: bool) -> None:
    """git needs a lock file to move a branch; the reserve makes room for it."""
    one, two = stage.commit("one"), stage.commit("two")
    stage.ask("pushed", updates=(stage.push(one),))
    update, real = stage.push(two), Repository.move
    stage.failures["go_live"] = EngineError("it answers 500")
    stage.site.paths.reserve.touch()

    def move(repository: Repository, *words: str) -> bool:
        return room and not stage.site.paths.reserve.exists() and real(repository, *words)

    monkeypatch.setattr(Repository, "move", move)
    with pytest.raises(EngineError) as raised:
        stage.ask("pushed", updates=(update,))
    if room:
        assert raised.value.hint.startswith(f"main on this host is back at {one[:7]}")
        assert Repository(stage.work.bare).commit(MAIN) == one
    else:
        assert raised.value.hint.endswith(f"update-ref refs/heads/main {one} {two}")


def test_pushed_that_was_overtaken(stage: Stage) -> None:
    one, two = stage.commit("one"), stage.commit("two")
    update = stage.push(one)
    stage.push(two)
    result = stage.ask("pushed", updates=(update,))
    assert f"{one[:7]} was overtaken by {two[:7]}" in result["message"]
    assert (result["changed"], stage.done) == (False, [])


@pytest.mark.parametrize("waits", [False, True], ids=["told that it was overtaken", "still waits"])
def test_pushed_that_overtook_and_fails(stage: Stage, keep: Keep, waits: bool) -> None:
    """The branch goes back to what is live, and not to a push that was told that this one goes live instead."""
    zero, one, two = stage.commit("zero"), stage.commit("one"), stage.commit("two")
    keep("20260301T120000-0000000", "live", revision=zero)
    keep("20260302T120000-1111111", "prepared", revision=one)
    stage.push(one)
    update = stage.push(two)
    back = one if waits else zero
    with queue.ticket(stage.site.paths.queue, "pushed", "bob", one if waits else ""):
        assert recovery.branch_before(stage.site, update) == back
        told = deploy.take_branch_back(stage.site, update, Repository(stage.work.bare))
    assert f"is back at {back[:7]}" in told
    assert Repository(stage.work.bare).commit(MAIN) == back


def test_pushed_after_its_branch_was_taken_back(stage: Stage) -> None:
    """Its deployer was killed between the two hooks; git push must fail, for nothing went live."""
    one, two = stage.commit("one"), stage.commit("two")
    stage.push(one)
    update = stage.push(two)
    assert Repository(stage.work.bare).move(MAIN, one, two)
    with pytest.raises(EngineError, match="was interrupted before it began") as raised:
        stage.ask("pushed", updates=(update,))
    assert (raised.value.hint, stage.done) == ("push it again", [])


def test_recover_is_what_every_operation_begins_with(stage: Stage, keep: Keep) -> None:
    keep("20260301T120000-aaaaaaa", "preparing")
    result = stage.ask("recover")
    assert (result["message"], result["changed"]) == ("shop waits for its first push", False)
    assert stage.states() == {}


def test_carry_out_holds_the_lock_and_recovers_first(stage: Stage, keep: Keep) -> None:
    """What a killed run left is mended before anything is decided by it."""
    one = stage.commit("one")
    keep("20260301T120000-aaaaaaa", "preparing")
    held: list[dict[str, str]] = []
    stage.during = lambda: held.append(json.loads(stage.site.paths.lock.read_text()))
    stage.ask("deploy", revision=one)
    assert (held[0]["who"], held[0]["what"]) == ("ada", f"deploy of {one[:7]}")
    assert list(stage.states().values()) == ["live"]


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (
            EngineError("the checks failed", "mend it", 'FATAL:  too many connections for role "shop"'),
            "database_connections",
        ),
        (EngineError("it did not start", "", "RuntimeError: can't start new thread"), "tasks"),
        (EngineError("the checks failed", "mend it", "NameError: x"), ""),
    ],
)
def test_failed_names_the_limit_that_was_met(shop: Site, error: EngineError, key: str) -> None:
    told = deploy.failed(shop, "abc did not go live", error)
    assert (f"raise limits.{key} of shop in djdeploy_sites" in told.hint) is bool(key)
    assert told.hint.startswith(error.hint)
