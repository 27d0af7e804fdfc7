# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a release, told once: every door comes through `carry_out`.

receive -> prepare -> migrate -> start -> prove -> switch -> verify -> settle
"""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from . import (
    activate,
    aliases,
    beneath,
    database,
    limits,
    maintenance,
    migrations,
    move,
    process_units,
    queue,
    recovery,
    snapshots,
    static_files,
    uploads,
)
from .errors import EngineError, in_words
from .events import Progress
from .git import Repository
from .lock import site_lock
from .paths import GIT_USER
from .plan_facts import snapshot_wanted
from .prepare import prepare, reusable, site_target
from .push import NO_COMMIT, RefUpdate, judge, last_update
from .releases import (
    Release,
    all_releases,
    current_id,
    live_release,
    note_release,
    rollback_target,
)
from .request import DEPLOY, MOVE, PUSHED, RECEIVE, RECOVER, RESTORE, ROLLBACK, Request
from .restore import restore
from .sites import Site
from .tree import remove_tree

BEGAN = datetime.now(UTC)  # of this deployer: it serves one push or one request


def carry_out(site: Site, request: Request, progress: Progress) -> None:
    """Do what a request asks for, under the site's lock; the last event is its result.

    :raises EngineError: when it could not be done; what was live is live.
    """
    operations = {DEPLOY: deploy, ROLLBACK: rollback, RESTORE: put_back, RECEIVE: receive, PUSHED: pushed}
    operation = {**operations, RECOVER: recovered, MOVE: moved}[request.op]
    with (
        queue.ticket(site.paths.queue, request.op, request.who, queue.wanted(site, request)) as ticket,
        site_lock(
            site.paths.lock,
            who=request.who,
            what=queue.purpose(site, request),
            say=progress.say,
            turn=lambda: queue.is_next(site.paths.queue, ticket),
        ),
    ):
        closed = recovery.recover(site, progress, request.updates if request.op == PUSHED else ())
        if closed and request.op == RECOVER:
            raise closed
        if ticket and (newer := queue.overtaken(ticket, queue.waiting(site.paths.queue))):
            skip(site, ticket, newer, progress)
            return
        switched = operation(site, request, progress)
        if switched:
            activate.settle(site, progress)


def result(site: Site, progress: Progress, message: str, *, changed: bool, **facts: Any) -> None:
    """Tell the outcome. It comes before the old processes have ended: nobody needs to wait for that."""
    progress.emit(
        {
            "event": "result",
            "ok": True,
            "site": site.name,
            "changed": changed,
            "message": message,
            "phases": progress.phases,
            **facts,
        }
    )


def skip(site: Site, ticket: queue.Ticket, newer: queue.Ticket, progress: Progress) -> None:
    """Tell a request that waited that a newer one has come meanwhile."""
    live = live_release(site.name)
    at = live.revision if live else None
    message = f"{site.name}: {queue.short(ticket.revision)} was overtaken by {newer}, which goes live instead"
    result(site, progress, message, changed=False, before=at, after=at, release=live.id if live else None)


def wanted_revision(site: Site, request: Request, repository: Repository) -> str | None:
    """The commit a site should be at: asked for, configured, live, or the tip of its branch, in this order.

    :raises EngineError: when a name was given that is no commit here.
    """
    config = site.config
    name = request.revision or config["revision"]
    if config["repository"]:
        return repository.fetch(config["repository"], name or config["branch"])
    if name:
        found = repository.commit(name)
        if found is None:
            raise EngineError(
                f"{name!r} is no commit in {site.paths.repository}",
                f"push it first, or set `repository` of {site.name} so that this host can fetch it",
            )
        return found
    live = live_release(site.name)
    return live.revision if live else repository.commit(site.ref)


def deploy(site: Site, request: Request, progress: Progress) -> bool:
    """Bring a site to its wanted revision and configuration; nothing is built when it is there already.

    :returns: whether another release is live now.
    """
    repository = Repository(site.paths.repository)
    live = live_release(site.name)
    before = live.revision if live else None
    revision = wanted_revision(site, request, repository)
    if revision is None:
        result(site, progress, f"{site.name} waits for its first push", changed=False, before=None, after=None)
        return False
    fits = live is not None and live.revision == revision and live.fingerprint == site.fingerprint()
    if live is not None and fits and not request.force:
        result(
            site,
            progress,
            f"{site.name} {live.short} is live as {live.id}; nothing to do",
            changed=False,
            before=before,
            after=before,
            release=live.id,
            url=site.url,
        )
        return False
    if request.check:
        return plan_only(site, revision, live, request, progress, repository)
    return put_live(site, revision, request, progress, repository)


def plan_only(
    site: Site, revision: str, live: Release | None, request: Request, progress: Progress, repository: Repository
) -> bool:
    """Make the release to learn what it would do, tell that, and leave nothing of it.

    :raises EngineError: as the deploy itself would, so that a check fails where the run would.
    """
    prepared = prepare(site, revision, request, progress, repository)
    before = live.revision if live else None
    try:
        admit(site, prepared.release, live, request)
    except EngineError as error:
        raise error.with_facts(plan=prepared.release.plan, before=before, after=revision) from error
    finally:
        remove_tree(site.paths.release(prepared.release.id).root)
        if prepared.environment_is_new:
            remove_tree(site.paths.environments / prepared.release.environment)
    message = f"{site.name} would go from {before[:7] if before else 'nothing'} to {revision[:7]}"
    told = prepared.release.plan
    result(site, progress, message, changed=True, before=before, after=revision, plan=told, url=site.url)
    return False


def put_live(site: Site, revision: str, request: Request, progress: Progress, repository: Repository) -> bool:
    """From a revision to a live release.

    :raises EngineError: when it did not become live; the message says what serves instead.
    """
    live = live_release(site.name)
    before = live.revision if live else None
    page = maintenance.state(site)
    left_closed = bool(page and page["release"])  # an earlier run could not open it again; this release may
    try:
        release, admitted = ready(site, revision, request, progress, repository)
    except Exception as error:
        raise failed(site, f"{revision[:7]} did not go live", error) from error
    try:
        release = static_files.send_ahead(site, release, site_target, progress)
        release = database.migrate(site, release, progress, closed=admitted.maintenance)
        static_files.protect(site)
        release = static_files.send(site, release, site_target, progress)
        if release.release_command:
            release = process_units.run_release_command(release, site_target(site, release), progress)
        release = activate.go_live(site, release, progress, closed=admitted.maintenance or left_closed)
    except Exception as error:
        told = failed(site, f"{revision[:7]} did not go live", error)
        more = "the maintenance page stays up" if left_closed else database.after_failure(site, release, progress)
        raise told.with_hint(more) from error
    watched = sum(phase["seconds"] for phase in progress.phases if phase["name"] == "watch")
    began = max(BEGAN, datetime.fromisoformat(release.created))  # it may have been built before an interruption
    seconds = (datetime.now(UTC) - began).total_seconds() - watched
    result(
        site,
        progress,
        f"{site.name} {release.short} is live as {release.id} ({seconds:.1f} s): {site.url}",
        changed=True,
        before=before,
        after=revision,
        release=release.id,
        previous=live.id if live else None,
        migrations=release.applied,
        snapshot=release.snapshot,
        plan=release.plan,
        url=site.url,
    )
    return True


def ready(
    site: Site, revision: str, request: Request, progress: Progress, repository: Repository
) -> tuple[Release, migrations.Gate]:
    """A release of a revision that is built, checked and admitted: the one made for this push, or a new one.

    :raises EngineError: when it cannot be built or may not go live; nothing of it is left then.
    """
    release = reusable(site, revision)
    if release is None:
        release = prepare(site, revision, request, progress, repository).release
    progress.release(release.id, revision, release.subject)
    try:
        return release, admit(site, release, live_release(site.name), request)
    except EngineError:
        remove_tree(site.paths.release(release.id).root)
        raise


def admit(site: Site, release: Release, live: Release | None, request: Request) -> migrations.Gate:
    """See that a prepared release may change what is there; nothing was changed so far.

    Without a live release there is no old code that a migration could break.

    :raises EngineError: when its plan is not the one that was agreed to, its migrations may not run, or a
        snapshot of the database would not fit.
    """
    if request.plan and request.plan != release.plan.get("id"):
        raise EngineError(
            f"this is not the plan you agreed to: it is {release.plan.get('id')} now, not {request.plan}",
            f"look again: djdeploy plan {site.name} {release.short}",
        )
    move.refuse_left_behind(site, release, live, request)
    admitted = database.gate(site, release, request) if live else migrations.Gate()
    if snapshot_wanted(site, release) is True:
        snapshots.require_room(site, site_target(site, release), aliases.holding(release))
    return admitted


def failed(site: Site, what: str, error: Exception) -> EngineError:
    """What did not work, what serves instead, and why: one line, with the rest behind it."""
    told, live = in_words(error), live_release(site.name)
    stays = f"{site.name} stays at {live.short}" if live else f"{site.name} has no live release yet"
    limit = limits.hint(f"{told.message}\n{told.detail}", site.name)
    return EngineError(f"{what}, {stays}: {told.message}", told.hint, told.detail).with_hint(limit)


def rollback(site: Site, request: Request, progress: Progress) -> bool:
    """Go back to the release that served before, or to a kept one by name.

    Migrations the old code can live with stay applied. Others are taken back first, by the code that
    knows them and behind the maintenance page, if that loses nothing or the loss was agreed to.

    :returns: whether another release is live now.
    :raises EngineError: when there is none, or it would not serve any more; the message says what serves.
    """
    records = all_releases(site.name)
    live = live_release(site.name)
    target = rollback_target(records, live.id if live else None, request.revision)
    before = live.revision if live else None
    message = f"{site.name} {'would go' if request.check else 'is'} back at {target.short} ({target.id}): {site.url}"
    facts: dict[str, Any] = {"before": before, "after": target.revision, "release": target.id, "url": site.url}
    facts["previous"] = live.id if live else None
    move.refuse_way_back(site, live, target)
    found = database.compare(site, live, target) if live else database.Difference()
    facts["database"] = asdict(found)
    progress.release(target.id, target.revision, target.subject)
    if not request.check:
        progress.say(f"{site.name} back to {target.short} {target.subject!r}, by {request.who}")
    links = uploads.going_back(site, target, live)
    for line in (*database.told(found), *uploads.told_of_way_back(links, site)):
        progress.say(line)
    if found.lacks:
        raise EngineError(
            f"{target.short} needs migrations that are not in the database: {database.shortened(found.lacks)}",
            f"deploy it, so that they are applied: djdeploy deploy {site.name} {target.short}",
        )
    if live and found.breaks:
        plan = database.way_back(site, live, found.breaks)
        facts["database"]["reverse"] = [asdict(one) for one in plan]
        database.require_way_back(site, plan, found.breaks, accept_loss=request.accept_loss)
    if request.check:
        result(site, progress, message.replace("back at", "back to"), changed=True, **facts)
        return False
    leave(live, request)
    taken_back = False
    try:
        if live and found.breaks:
            changed = tuple(aliases.grouped(found.breaks))
            snapshots.require_room(site, site_target(site, live), changed)
            snapshots.take(site, site_target(site, live), live.id, progress, changed)
            database.close(site, f"going back to {target.short}", target.id, progress)
            database.take_back(site, live, found.breaks, progress)
            taken_back = True
        static_files.send_again(site, target, site_target, progress)
        uploads.withdraw(links)
        activate.go_live(site, target, progress, closed=taken_back, watched=False)
    except Exception as error:
        told = failed(site, f"{target.short} did not go live", error)
        if live:
            stay(live)
        if live and taken_back:
            told = told.with_hint(forward_again(site, live, progress))
        elif not taken_back:
            maintenance.off(site)
            process_units.go_on(site)
        raise told from error
    if live:
        again = f"djdeploy deploy {site.name} {live.short}"
        progress.say(f"{site.branch} still is where it was: push what mends it; or go forward again: {again}")
    result(site, progress, message, changed=True, **facts)
    return True


def put_back(site: Site, request: Request, progress: Progress) -> bool:
    """Put a snapshot of the database back, and the release that fits it.

    :returns: whether another release is live now.
    """
    facts = restore(site, request, progress)
    result(site, progress, facts.pop("message"), **facts)
    return not request.check and facts["release"] != facts["live"]


def moved(site: Site, request: Request, progress: Progress) -> bool:
    """Take the data to the database the configuration says, and go live on it.

    :returns: whether another release is live now.
    :raises EngineError: when it could not be done; the message says what serves.
    """
    try:
        facts = move.move(site, request, progress)
    except Exception as error:
        raise failed(site, "the data was not moved", error) from error
    result(site, progress, facts.pop("message"), **facts)
    return not request.check


def leave(live: Release | None, request: Request) -> None:
    """Mark the release that is gone back from, before the switch: a crash after it must find the mark."""
    if live is not None:
        note_release(replace(live, state="void", reason=f"rolled back by {request.who}"))


def stay(live: Release) -> None:
    """Undo the mark: the release serves on."""
    if current_id(live.site) == live.id:
        note_release(live)


def forward_again(site: Site, live: Release, progress: Progress) -> str:
    """The old release would not start on the old schema: give the newer one its schema again, and open.

    :returns: what to tell when that failed, too.
    """
    try:
        database.apply(site, live, progress)
    except Exception as error:
        return f"the maintenance page stays up: {in_words(error).message}"
    maintenance.off(site)
    process_units.go_on(site)
    return ""


def recovered(site: Site, request: Request, progress: Progress) -> bool:
    """Nothing is left to do: every operation begins with mending what an earlier one left."""
    live = live_release(site.name)
    message = f"{site.name} {live.short} is live as {live.id}" if live else f"{site.name} waits for its first push"
    result(site, progress, message, changed=False)
    return False


def receive(site: Site, request: Request, progress: Progress) -> bool:
    """A push wants in (pre-receive): judge its refs and build what would go live.

    :raises EngineError: to refuse the push; no ref moves then.
    """
    repository = Repository(site.paths.repository, quarantine=request.quarantine)
    told = []
    for update in request.updates:
        if update.deletes or update.creates or update.ref != site.ref:
            forward = True
        else:
            forward = repository.is_ancestor(update.old, update.new)
        verdict = judge(update, site.ref, fast_forward=forward, force_push=site.config["force_push"])
        if verdict.action == "refuse":
            raise EngineError(f"refused: {verdict.said}")
        told.append(verdict.said)
    deployed = last_update(request.updates, site.ref)
    if deployed is not None:
        tip = repository.commit(site.ref)
        if (tip or NO_COMMIT) != deployed.old:  # git would find out, too, but only when the release is built
            # It may have gone back, too: to what is live, when the deploy of the push before was interrupted.
            contained = tip is None or repository.is_ancestor(tip, deployed.new)
            raise EngineError(
                f"refused: while this push waited, {site.branch} went to {tip[:7] if tip else 'nothing'}",
                "push again, nothing of it is missing in yours" if contained else "git pull, then push again",
            )
        try:
            ready(site, deployed.new, request, progress, repository)
        except Exception as error:
            raise failed(site, f"{deployed.new[:7]} is refused", error) from error
        recovery.let_in(site, deployed)
    for said in filter(None, told):  # only now: a push is taken or refused as a whole
        progress.say(said)
    result(site, progress, "", changed=False)
    return False


def pushed(site: Site, request: Request, progress: Progress) -> bool:
    """A push is in (post-receive): put it live, or take the branch back to what is.

    :returns: whether another release is live now.
    """
    repository = Repository(site.paths.repository)
    update = last_update(request.updates, site.ref)
    if update is None:
        result(site, progress, f"{site.name}: nothing to deploy; only a push to {site.branch} goes live", changed=False)
        return False
    tip = repository.commit(site.ref)
    if (tip or NO_COMMIT) == update.old:
        raise EngineError(
            f"the deploy of {update.new[:7]} was interrupted before it began, and {site.branch} was taken back",
            "push it again",
        )
    if tip != update.new:
        message = f"{site.name}: {update.new[:7]} was overtaken by {(tip or NO_COMMIT)[:7]}, which goes live instead"
        result(site, progress, message, changed=False)
        return False
    try:
        switched = put_live(site, update.new, request, progress, repository)
    except EngineError as error:
        returned = take_branch_back(site, update, repository)
        recovery.at_its_end(update)
        raise error.with_hint(returned) from error
    recovery.at_its_end(update)
    return switched


def take_branch_back(site: Site, update: RefUpdate, repository: Repository) -> str:
    """Let the branch say again what is live, so that the same commit can be pushed again.

    Only if nobody pushed meanwhile: the move is refused by git if the branch is not what we saw.
    """
    back = recovery.branch_before(site, update)
    moved = repository.move(site.ref, back, update.new)
    if not moved:
        if repository.commit(site.ref) != update.new:
            return f"{site.branch} was pushed again meanwhile"
        beneath.unlink(site.paths.reserve)  # git needs room for a lock, and a full disk may be what failed
        moved = repository.move(site.ref, back, update.new)
    if not moved:
        words = f"-d {site.ref} {update.new}" if back == NO_COMMIT else f"{site.ref} {back} {update.new}"
        return (
            f"{site.branch} on this host could not be taken back; when there is room again, run: "
            f"sudo -u {GIT_USER} git --git-dir={site.paths.repository} update-ref {words}"
        )
    return (
        f"{site.branch} on this host is back at {back[:7] if back != NO_COMMIT else 'nothing'}; mend it and push again"
    )
