# SPDX-License-Identifier: GPL-3.0-or-later
"""Moving a site's data from its SQLite file to the database its configuration says, and never leaving it behind unsaid.

The file is only read. Until `current` is renamed it serves on, and whatever fails before leads back to it; the page
stays up until then, so nothing is written to either side that the other one lacks. A note beside the journal says that
a move has begun, for the run after a kill.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import (
    activate,
    config_shown,
    database,
    databases_said,
    health,
    maintenance,
    process_units,
    runner,
    sandbox,
    static_files,
)
from .environment import parse, serialize
from .errors import EngineError, in_words
from .events import Progress
from .git import Repository
from .prepare import prepare, reusable, site_target
from .releases import Release, current_id, live_release, read_release, write_release
from .request import Request
from .sites import Site
from .steps import LONGEST as LONGEST_STEPS
from .steps import StepError, Target, run_steps
from .tree import flush_directory, remove_tree, write_file

LONGEST = 12 * 3600  # seconds the copy may take
BEGUN, ABANDONED = "begun", "abandoned"

# Nobody works with the file any more: what still stands beside it goes into it, so that it is one file. Where
# it lies the project says, so all of it is done as the site's user: what that one may not rename stays where it is.
PUT_ASIDE = """\
import os, sqlite3, sys
file, aside = sys.argv[1:]
if os.path.exists(file):
    try:
        connection = sqlite3.connect(file, timeout=20)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    except sqlite3.Error as error:
        sys.stdout.write(str(error))
    for name in ("-wal", "-shm", "-journal", ""):
        if os.path.exists(file + name):
            os.rename(file + name, aside + name)
    folder = os.open(os.path.dirname(file), os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
"""


# --- where the data is ------------------------------------------------------------------------------


def sqlite_file(facts: Mapping[str, Any], alias: str = databases_said.DEFAULT) -> str:
    """The SQLite file a release keeps a database in; empty when it is another kind of database.

    :param facts: of the release's record.
    """
    default = (facts.get("databases") or {}).get(alias) or {}
    is_file = databases_said.kind_of_engine(default.get("engine")) == databases_said.SQLITE
    return str(default.get("name", "")) if is_file else ""


def where_told(facts: Mapping[str, Any], alias: str = databases_said.DEFAULT) -> str:
    """A database of a release, for people."""
    default = (facts.get("databases") or {}).get(alias) or {}
    kind = databases_said.KINDS.get(databases_said.kind_of_engine(default.get("engine")))
    title = kind.title if kind else str(default.get("engine", "")) or "no database"
    name = Path(default.get("name", "")).name if sqlite_file(facts, alias) else default.get("name", "")
    at = f" on {default['host']}" if default.get("host") and not default["host"].startswith("/") else ""
    return f"{title} ({name}{at})" if name else title


def pinned_url(facts: Mapping[str, Any], alias: str = databases_said.DEFAULT) -> str:
    """The URL that leads where a release keeps a database; empty when that cannot be said without a password."""
    default = (facts.get("databases") or {}).get(alias) or {}
    if file := sqlite_file(facts, alias):
        return f"sqlite:///{file}" if file.startswith("/") else ""
    kind = databases_said.kind_of_engine(default.get("engine"))
    if kind == databases_said.POSTGRESQL and not default.get("host") and default.get("name"):
        return f"postgresql:///{default['name']}"
    return ""


def pinned(site: Site, facts: Mapping[str, Any]) -> dict[str, str]:
    """The variables that lead a release where it keeps its databases, as far as that can be said."""
    aliases = [databases_said.DEFAULT, *(each.alias for each in databases_said.further(site.config))]
    urls = {databases_said.variable_of(alias): pinned_url(facts, alias) for alias in aliases}
    return {variable: url for variable, url in urls.items() if url}


def live_target(site: Site, live: Release) -> Target:
    """Where the live release's own work runs, also when the environment leads elsewhere by now."""
    target = site_target(site, live)
    return replace(target, env={**target.env, **pinned(site, live.facts)})


def keep_where_it_is(site: Site, live: Release) -> None:
    """Let the live release find its data after a reboot, too, though the site's environment leads elsewhere.

    The variables of a release win over those of the site.
    """
    path, given = site.paths.release(live.id).env_file, site.environment()
    urls = {name: url for name, url in pinned(site, live.facts).items() if name in given}
    if not urls:
        return
    present = parse(path.read_text())
    if urls.items() <= present.items():
        return
    status = path.stat()
    aside = path.with_name(path.name + ".new")
    write_file(aside, serialize({**present, **urls}), 0o640, status.st_gid)
    aside.rename(path)


# --- nothing is left behind unsaid ------------------------------------------------------------------


def refuse_left_behind(site: Site, release: Release, live: Release | None, request: Request) -> None:
    """See that a release does not go live on another database while the live one's holds rows.

    No process is started where the place is the same.

    :raises EngineError: when it does, with the ways on.
    """
    if live is None:
        return
    refuse_further_left_behind(site, release, live, request)
    if config_shown.another_database(live.facts, release.facts) is None:
        return
    if request.empty_database:
        forget(site)
        return
    keep_where_it_is(site, live)
    try:
        (found,) = run_steps(live_target(site, live), [{"name": "rows"}], timeout=LONGEST_STEPS)
    except StepError as error:
        held = f"whose rows could not be counted ({error.message})"
    else:
        if not found.facts["total"]:
            forget(site)
            return
        held = f"{found.facts['total']:,} rows"
    raise left_behind(site.name, held, live.facts, release.facts)


def refuse_further_left_behind(site: Site, release: Release, live: Release, request: Request) -> None:
    """The same for the databases the site names besides `default`; `move` takes none of them along.

    :raises EngineError: when one that holds rows would be left behind.
    """
    changed = config_shown.elsewhere(live.facts, release.facts)
    if not changed or request.empty_database:
        return
    keep_where_it_is(site, live)
    asked = [{"name": "rows", "database": alias} for alias in changed]
    try:
        found = run_steps(live_target(site, live), asked, timeout=LONGEST_STEPS)
    except StepError as error:
        alias, held = changed[0], f"rows that could not be counted ({error.message})"
    else:
        rows = {alias: one.facts["total"] for alias, one in zip(changed, found, strict=True) if one.facts["total"]}
        if not rows:
            return
        alias, total = next(iter(rows.items()))
        held = f"{total:,} rows"
    raise EngineError(
        f"the database {alias} of {site.name} is {where_told(live.facts, alias)}, with {held}, and it is configured "
        f"for {where_told(release.facts, alias)} now",
        f"set it back in `databases`, copy what it holds by hand (manage.py dumpdata --database {alias}), or use the "
        f"other one as it is: djdeploy deploy {site.name} --empty-database",
    )


def refuse_further(site: Site, live: Release, release: Release) -> None:
    """:raises EngineError: when a database besides `default` would change its place during a move."""
    for alias in config_shown.elsewhere(live.facts, release.facts):
        raise EngineError(
            f"a move takes the database default alone, and {alias} would change from {where_told(live.facts, alias)} "
            f"to {where_told(release.facts, alias)}",
            f"leave {alias} where it is in `databases` until {site.name} has moved",
        )


def left_behind(site: str, held: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> EngineError:
    """The refusal.

    :param held: what the live database holds.
    :param before: facts of the live release.
    :param after: facts of the one that is refused.
    """
    start_empty = f"djdeploy deploy {site} --empty-database"
    if sqlite_file(before) and not sqlite_file(after):
        hint = f"take the data along: djdeploy move {site}; or use that database as it is: {start_empty}"
    else:
        hint = f"set `database` of {site} back to what it was; or use that database as it is: {start_empty}"
    return EngineError(
        f"{site} keeps its data in {where_told(before)}, {held}, and it is configured for {where_told(after)} now", hint
    )


def refuse_way_back(site: Site, live: Release | None, target: Release) -> None:
    """See that going back does not go back to a database that is out of date.

    :raises EngineError: when the release gone back to keeps its data elsewhere.
    """
    if live is None:
        return
    both = [alias for alias in target.facts.get("further") or {} if alias in (live.facts.get("further") or {})]
    moved = [
        alias
        for alias in (databases_said.DEFAULT, *both)
        if config_shown.another_database(target.facts, live.facts, alias)
    ]
    if not moved:
        return
    was, now = where_told(target.facts, moved[0]), where_told(live.facts, moved[0])
    raise EngineError(
        f"{target.short} kept its data in {was}, and it is in {now} now:"
        " what was written since would be gone from the site",
        f"make a release of that code on the present database: djdeploy deploy {site.name} {target.short}",
    )


# --- the note ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Note:
    """What a run after a kill has to know.

    :param release: id of the release on the new database.
    :param file: the SQLite file.
    :param target: where the data goes, as `target_of` tells it.
    :param state: BEGUN, or ABANDONED: then what the target holds is nobody's.
    """

    release: str
    file: str
    target: str
    state: str = BEGUN


def note_path(site: Site) -> Path:
    return site.paths.state / "move.json"


def read_note(site: Site) -> Note | None:
    try:
        return Note(**json.loads(note_path(site).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_note(site: Site, note: Note) -> None:
    path = note_path(site)
    aside = path.with_name(path.name + ".new")
    write_file(aside, json.dumps(note.__dict__) + "\n", 0o600)
    aside.rename(path)
    flush_directory(path.parent)


def target_of(facts: Mapping[str, Any]) -> str:
    default = (facts.get("databases") or {}).get("default") or {}
    return " ".join(str(default.get(name, "")) for name in ("engine", "host", "port", "name"))


def forget(site: Site) -> None:
    """A release goes live on another database without a move: whatever is in there is the site's from now on."""
    note_path(site).unlink(missing_ok=True)


# --- the move ---------------------------------------------------------------------------------------


def move(site: Site, request: Request, progress: Progress) -> dict[str, Any]:
    """Take the data of the live release from its SQLite file to the database the configuration says.

    :returns: facts of the result.
    :raises EngineError: when it could not be done: the file serves on, unless the message says that the site was moved.
    """
    live = live_release(site.name)
    if live is None:
        raise EngineError(f"{site.name} has no live release, so there is no data to move", "push one")
    file = sqlite_file(live.facts)
    refuse_source(site, live, file)
    repository = Repository(site.paths.repository)
    release = reusable(site, live.revision) or prepare(site, live.revision, request, progress, repository).release
    progress.release(release.id, release.revision, release.subject)
    facts: dict[str, Any] = {"before": live.revision, "after": live.revision, "previous": live.id, "url": site.url}
    try:
        refuse_target(site, release)
        refuse_further(site, live, release)
        earlier = read_note(site)
        may_clear = bool(earlier and earlier.state == ABANDONED and earlier.target == target_of(release.facts))
        source = {"file": file, "engine": live.facts["databases"]["default"]["engine"]}
        rows = look(site, release, source, may_clear, progress)
        where = f"from {Path(file).name} to {where_told(release.facts)}"
        if request.check:
            remove_tree(site.paths.release(release.id).root)
            message = f"{site.name} would move {rows:,} rows {where}"
            return {**facts, "message": message, "changed": True, "rows": rows, "release": live.id}
        keep_where_it_is(site, live)
        write_note(site, Note(release.id, file, target_of(release.facts)))
        release = replace(release, applied=database.apply(site, release, progress))
        write_release(release)
        database.close(site, f"the data moves {where}", release.id, progress)
        rows = copy(site, release, source, progress)
        static_files.protect(site)
        release = static_files.send(site, release, site_target, progress)
        if release.release_command:
            release = process_units.run_release_command(release, site_target(site, release), progress)
        release = activate.go_live(site, release, progress, closed=True, watched=False, opens=False)
    except Exception:
        give_up(site, release)
        raise
    moved = finish(site, release, progress)
    seen(site, release, progress)
    message = f"{site.name} moved {rows:,} rows {where}, and is live as {release.id}: {site.url}; the file is {moved}"
    return {**facts, "message": message, "changed": True, "rows": rows, "release": release.id, "file": moved}


def refuse_source(site: Site, live: Release, file: str) -> None:
    """:raises EngineError: when the live release has no SQLite file, or the configuration wants none but that."""
    if not file:
        raise EngineError(
            f"{site.name} keeps its data in {where_told(live.facts)}; only what is in an SQLite file can be moved",
            "nothing was changed",
        )
    if not os.path.isabs(file) or not os.path.isfile(file):
        raise EngineError(f"{site.name} has no file {file}, so there is no data to move", "nothing was changed")
    if databases_said.default_kind(site.config) == databases_said.SQLITE:
        raise EngineError(
            f"`database` of {site.name} says sqlite, so its data stays in {file}",
            f"write database: postgresql in djdeploy_sites, run site.yml, then: djdeploy move {site.name}",
        )


def refuse_target(site: Site, release: Release) -> None:
    """:raises EngineError: when the release would keep its data in an SQLite file again."""
    if file := sqlite_file(release.facts):
        raise EngineError(
            f"{site.name} is configured for the SQLite file {file}, so there is nowhere to move its data",
            f"write database: postgresql in djdeploy_sites, run site.yml, then: djdeploy move {site.name}",
        )


def look(site: Site, release: Release, source: Mapping[str, str], may_clear: bool, progress: Progress) -> int:
    """See that every row fits, while visitors go on.

    :returns: how many rows there are.
    """
    with progress.phase("look") as note:
        step = {"name": "move_check", "source": dict(source), "may_clear": may_clear}
        (found,) = run_steps(site_target(site, release), [step], timeout=LONGEST)
        for told in found.facts["told"]:
            progress.say(told)
        note.text = f"{found.facts['rows']:,} rows in {found.facts['tables']} tables, all fit"
    return int(found.facts["rows"])


def copy(site: Site, release: Release, source: Mapping[str, str], progress: Progress) -> int:
    """Copy all rows and compare both sides.

    :returns: how many rows there are.
    """
    with progress.phase("copy") as note:
        (done,) = run_steps(
            site_target(site, release),
            [{"name": "move_copy", "source": dict(source)}],
            timeout=LONGEST,
            on_stderr=database.telling(progress),
        )
        note.text = f"{done.facts['rows']:,} rows in {done.facts['tables']} tables; counts and checksums agree"
    return int(done.facts["rows"])


def give_up(site: Site, release: Release) -> None:
    """The file serves on: open the site, and note that what the target holds is nobody's."""
    if current_id(site.name) == release.id:
        return  # it was moved; the next run does the rest
    reopen(site, release.id)
    record = read_release(site.paths.releases / release.id)
    if record is not None and record.state == "prepared":
        remove_tree(site.paths.release(release.id).root)
    note = read_note(site)
    if note is not None and note.release == release.id:
        write_note(site, replace(note, state=ABANDONED))


def reopen(site: Site, release_id: str) -> None:
    """Open the site if it was closed for this; a page that somebody put up by hand stays."""
    page = maintenance.state(site)
    if page is not None and page["release"] == release_id:
        maintenance.off(site)
        process_units.go_on(site)


def finish(site: Site, release: Release, progress: Progress) -> str:
    """The release is live on its new database: put the file aside, and open the site.

    :returns: where the file is now.
    """
    note = read_note(site)
    moved = ""
    if note is not None and note.release == release.id:
        moved = put_aside(site, Path(note.file), release.id, progress)
    maintenance.off(site)
    process_units.go_on(site)
    note_path(site).unlink(missing_ok=True)
    return moved


def put_aside(site: Site, file: Path, release_id: str, progress: Progress) -> str:
    """Rename the SQLite file, and what SQLite keeps beside it; no release may take it for its data again."""
    aside = file.with_name(f"{file.name}.moved-{release_id}")
    python = site.paths.release(release_id).environment / "bin" / "python"
    done = sandbox.site_runner(sandbox.SiteBox(site.paths))(
        [python, "-I", "-S", "-c", PUT_ASIDE, file, aside],
        user=site.paths.user,
        timeout=LONGEST_STEPS,
        bounded=runner.BOTH,
    )
    if done.stdout.strip():
        progress.say(f"{file} keeps its log beside it ({done.stdout.strip()})")
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        progress.say(f"{file} is still there, and no release uses it: {site.paths.user} could not rename it ({why})")
        return str(file)
    return str(aside)


def seen(site: Site, release: Release, progress: Progress) -> None:
    """Ask as a visitor would. There is no way back by itself from here: what is written now is in the new database.

    :raises EngineError: when the site does not answer as it should.
    """
    try:
        with progress.phase("verify") as note:
            note.text = health.through_nginx(site.domain, site.config["health"])
    except EngineError as error:
        raise EngineError(
            f"the data was moved and {release.short} is live on it, but: {in_words(error).message}",
            error.hint,
            error.detail,
        ) from error


def recover(site: Site, progress: Progress) -> None:
    """After a run that was killed: the file serves on, or if the release was live already, the rest is done."""
    note = read_note(site)
    if note is None or note.state != BEGUN:
        return
    release = read_release(site.paths.releases / note.release)
    if release is not None and current_id(site.name) == note.release:
        progress.say(f"an interrupted move had put {note.release} live: the site opens with its data there")
        finish(site, release, progress)
        return
    progress.say(f"an interrupted move is undone: {Path(note.file).name} serves on")
    reopen(site, note.release)
    if release is not None:
        give_up(site, release)
    else:
        write_note(site, replace(note, state=ABANDONED))
