# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a release, told once: every door comes through `carry_out`.

receive -> prepare -> migrate -> start -> prove -> switch -> verify -> settle
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from . import activate, recovery
from .errors import EngineError, in_words
from .events import Progress
from .git import Repository
from .lock import site_lock
from .prepare import Prepared, prepare, reusable
from .push import NO_COMMIT, RefUpdate, judge, last_update
from .releases import (
    Release,
    all_releases,
    live_release,
    note_release,
    read_release,
    rollback_target,
)
from .request import DEPLOY, PUSHED, RECEIVE, ROLLBACK, Request
from .sites import Site
from .tree import remove_tree


def carry_out(site: Site, request: Request, progress: Progress) -> None:
    """Do what a request asks for, under the site's lock; the last event is its result.

    :raises EngineError: when it could not be done; what was live is live.
    """
    operation = {DEPLOY: deploy, ROLLBACK: rollback, RECEIVE: receive, PUSHED: pushed}[request.op]
    with site_lock(site.paths.lock, who=request.who, what=request.op, say=progress.say):
        recovery.recover(site, progress)
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
    """Make the release to learn what it would do, tell that, and leave nothing of it."""
    prepared = prepare(site, revision, request, progress, repository)
    told = plan(site, prepared, live, repository)
    remove_tree(site.paths.release(prepared.release.id).root)
    if prepared.environment_is_new:
        remove_tree(site.paths.environments / prepared.release.environment)
    before = live.revision if live else None
    message = f"{site.name} would go from {before[:7] if before else 'nothing'} to {revision[:7]}"
    result(site, progress, message, changed=True, before=before, after=revision, plan=told, url=site.url)
    return False


def plan(site: Site, prepared: Prepared, live: Release | None, repository: Repository) -> dict[str, Any]:
    """What a prepared release would change, as data."""
    release = prepared.release
    return {
        "revision": {"before": live.revision if live else None, "after": release.revision},
        "commits": repository.commits_between(live.revision if live else None, release.revision),
        "configuration_changed": live is not None and live.fingerprint != release.fingerprint,
        "migrations": release.pending,
        "packages": package_changes(prepared.packages_before, prepared.packages),
    }


def package_changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """One line per package that comes, goes or changes: `+ name 1.2`, `- name 1.1`, `name 1.1 -> 1.2`."""
    lines = [f"+ {name} {after[name]}" for name in sorted(after.keys() - before.keys())]
    lines += [f"- {name} {before[name]}" for name in sorted(before.keys() - after.keys())]
    lines += [
        f"{name} {before[name]} -> {after[name]}"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]
    return lines


def put_live(site: Site, revision: str, request: Request, progress: Progress, repository: Repository) -> bool:
    """From a revision to a live release.

    :raises EngineError: when it did not become live; the message says what serves instead.
    """
    live = live_release(site.name)
    before = live.revision if live else None
    try:
        release = reusable(site, revision)
        if release is None:
            release = prepare(site, revision, request, progress, repository).release
        applied = activate.migrate(site, release, progress)
        activate.go_live(site, release, progress)
    except Exception as error:
        raise failed(site, f"{revision[:7]} did not go live", error) from error
    seconds = (datetime.now(UTC) - datetime.fromisoformat(release.created)).total_seconds()
    result(
        site,
        progress,
        f"{site.name} {release.short} is live as {release.id} ({seconds:.1f} s): {site.url}",
        changed=True,
        before=before,
        after=revision,
        release=release.id,
        previous=live.id if live else None,
        migrations=applied,
        url=site.url,
    )
    return True


def failed(site: Site, what: str, error: Exception) -> EngineError:
    """What did not work, what serves instead, and why: one line, with the rest behind it."""
    told, live = in_words(error), live_release(site.name)
    stays = f"{site.name} stays at {live.short}" if live else f"{site.name} has no live release yet"
    return EngineError(f"{what}, {stays}: {told.message}", told.hint, told.detail)


def rollback(site: Site, request: Request, progress: Progress) -> bool:
    """Go back to the release that served before, or to a kept one by name. Migrations stay applied.

    :returns: whether another release is live now.
    :raises EngineError: when there is none, or it would not serve any more; the message says what serves.
    """
    records = all_releases(site.name)
    live = live_release(site.name)
    target = rollback_target(records, live.id if live else None, request.revision)
    before = live.revision if live else None
    message = f"{site.name} {'would go' if request.check else 'is'} back at {target.short} ({target.id}): {site.url}"
    facts = {"before": before, "after": target.revision, "release": target.id, "url": site.url}
    facts["previous"] = live.id if live else None
    if request.check:
        result(site, progress, message.replace("back at", "back to"), changed=True, **facts)
        return False
    progress.say(f"{site.name} back to {target.short} {target.subject!r}, by {request.who}")
    try:
        activate.go_live(site, target, progress)
    except Exception as error:
        raise failed(site, f"{target.short} did not go live", error) from error
    left = read_release(site.paths.releases / live.id) if live else None
    if left is not None:
        note_release(replace(left, state="void", reason=f"rolled back by {request.who}"))
    result(site, progress, message, changed=True, **facts)
    return True


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
    if deployed is not None and reusable(site, deployed.new) is None:
        try:
            prepare(site, deployed.new, request, progress, repository)
        except Exception as error:
            raise failed(site, f"{deployed.new[:7]} is refused", error) from error
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
    if tip != update.new:
        newer = tip[:7] if tip else "a deletion"
        message = f"{site.name}: {update.new[:7]} was overtaken by {newer}, which goes live instead"
        result(site, progress, message, changed=False)
        return False
    try:
        return put_live(site, update.new, request, progress, repository)
    except EngineError as error:
        returned = take_branch_back(site, update, repository)
        raise EngineError(
            error.message, f"{error.hint}\n  -> {returned}" if error.hint else returned, error.detail
        ) from error


def take_branch_back(site: Site, update: RefUpdate, repository: Repository) -> str:
    """Let the branch say again what is live, so that the same commit can be pushed again.

    Only if nobody pushed meanwhile: the move is refused by git if the branch is not what we saw.
    """
    back = update.old
    if not repository.move(site.ref, back, update.new):
        return f"{site.branch} was pushed again meanwhile"
    return (
        f"{site.branch} on this host is back at {back[:7] if back != NO_COMMIT else 'nothing'}; mend it and push again"
    )
