# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a site's database, made before migrations change it, and putting one back.

A snapshot is what `pg_dump --format=custom` writes (PostgreSQL), what `mariadb-dump` writes (MariaDB, MySQL), or a
copy made by SQLite's own backup, beside a record in JSON. Both lie below /var/lib/djdeploy/<site>/snapshots, readable
by root alone. The servers' programs run in units of the site, as its user, on files that root opened. Passwords reach
them by their environment, never by argv.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import aliases, preflight, runner, snapshots_mysql
from .agent_databases import LIBPQ, LIBPQ_OPTIONS
from .errors import EngineError
from .events import Progress
from .releases import all_releases, current_id
from .sites import Site
from .steps import LONGEST as LONGEST_STEPS
from .steps import Target, run_steps
from .tree import flush_directory, make_directory

POSTGRESQL, SQLITE, MYSQL = "postgresql", "sqlite", "mysql"
SUFFIX = {POSTGRESQL: ".dump", SQLITE: ".sqlite3", MYSQL: ".sql.gz"}
HALF = ".new"
LONGEST = 6 * 3600  # seconds a dump or a restore may take

# Everything the site's own role may drop goes, so that what came after the snapshot does not stay; then the
# snapshot fills what is empty. All of it happens in one transaction or not at all.
CLEAR = """\
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT nspname FROM pg_namespace
    WHERE pg_has_role(nspowner, 'USAGE') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
  LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP;
END $$;
CREATE SCHEMA IF NOT EXISTS public;
GRANT USAGE ON SCHEMA public TO PUBLIC;
"""

# SQLite's backup gives a whole copy while others write (sqlite.org, Online Backup API). The copy is
# written to standard output, so that nothing has to be writable for the site's user. Both programs run without `site`
# (-S), which would run what the project's packages say in their .pth files.
COPY_SQLITE = """\
import os, shutil, sqlite3, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
    copy = os.path.join(folder, "copy")
    source, target = sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True), sqlite3.connect(copy)
    source.backup(target)
    source.close(), target.close()
    with open(copy, "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
"""
# The end of standard input may be that of the deployer: only as much as there is makes a whole copy.
PUT_SQLITE = """\
import os, shutil, sys
aside = sys.argv[1] + ".restored"
with open(aside, "wb") as file:
    shutil.copyfileobj(sys.stdin.buffer, file)
    file.flush()
    os.fsync(file.fileno())
if os.path.getsize(aside) != int(sys.argv[2]):
    os.unlink(aside)
    sys.exit("the copy ended before it was whole; nothing was touched")
for name in ("-wal", "-shm", "-journal"):
    if os.path.exists(sys.argv[1] + name):
        os.unlink(sys.argv[1] + name)
os.replace(aside, sys.argv[1])
"""


@dataclass(frozen=True)
class Snapshot:
    """One copy.

    :param name: what it is called: the id of the release it was made for, with a counter when there are more.
    :param release: id of the release that was live when it was made; that one fits the database in it.
    :param made_for: id of the release whose migrations came next.
    :param created: when, UTC, ISO 8601.
    :param bytes: size of the file.
    :param seconds: how long it took.
    :param kind: `postgresql`, `mysql` or `sqlite`.
    :param database: alias of the database it is a copy of.
    :param group: what the copies of several databases that were made together are called; empty: it is the only one.
    """

    name: str
    release: str
    made_for: str
    created: str
    bytes: int
    seconds: float
    kind: str
    database: str = aliases.DEFAULT
    group: str = ""

    @property
    def together(self) -> str:
        """The name by which it and those made with it are put back and removed."""
        return self.group or self.name


def folder(site: Site) -> Path:
    return site.paths.state / "snapshots"


def file_of(site: Site, snapshot: Snapshot) -> Path:
    return folder(site) / f"{snapshot.name}{SUFFIX[snapshot.kind]}"


def kept(site: Site) -> list[Snapshot]:
    """The snapshots of a site that are whole, oldest first."""
    found = []
    for path in sorted(folder(site).glob("*.json")) if folder(site).is_dir() else []:
        try:
            snapshot = Snapshot(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            continue
        if file_of(site, snapshot).exists():
            found.append(snapshot)
    return sorted(found, key=lambda snapshot: (snapshot.created, snapshot.name))


def named(site: Site, name: str) -> list[Snapshot]:
    """The snapshots a name means: the one of that name, and those of other databases that were made with it.

    :raises EngineError: when there is none.
    """
    if found := [snapshot for snapshot in kept(site) if name in (snapshot.name, snapshot.group)]:
        return found
    names = ", ".join(snapshot.name for snapshot in kept(site)) or "none"
    raise EngineError(
        f"{site.name} has no snapshot {name!r}", f"there are: {names}; see: djdeploy snapshots {site.name}"
    )


def restore_command(site: str, name: str) -> str:
    """The command that puts a snapshot back."""
    return f"djdeploy restore {site} {name}"


def lines(found: Sequence[Snapshot]) -> list[str]:
    """The snapshots for a person, newest first; nothing when there are none."""
    if not found:
        return []
    told = [f"{'snapshot':<31}{'made':<27}{'size':>10}  live then"]
    return told + [
        f"{one.name:<31}{one.created:<27}{preflight.amount(one.bytes, None):>10}  {one.release or '-'}"
        for one in reversed(found)
    ]


# --- room ---------------------------------------------------------------------------------------------------


def room_needed(database_bytes: int, newest: Snapshot | None) -> int:
    """Bytes a snapshot may take.

    The newest one is the best guess, doubled because the database grew. Before the first one the size of the
    database counts: a dump is compressed and holds no indexes, so it is smaller.
    """
    return min(database_bytes, 2 * newest.bytes) if newest else database_bytes


def require_room(site: Site, target: Target, databases: Sequence[str] = (aliases.DEFAULT,)) -> None:
    """See that the next snapshot fits, and leaves a reserve.

    :param databases: aliases of those that are copied.
    :raises EngineError: when it does not, or the database cannot be asked.
    """
    needed = 0
    for alias in databases:
        facts = connection(target, alias)
        earlier = [one for one in kept(site) if (one.kind, one.database) == (facts["vendor"], alias)]
        needed += room_needed(facts["size"], earlier[-1] if earlier else None)
    room = preflight.room(site.paths.state)
    wanted = needed + preflight.RESERVE_BYTES
    if room.bytes < wanted or (room.inodes is not None and room.inodes < preflight.STATE_INODES):
        raise EngineError(
            f"no room for a snapshot of the database in {folder(site)}: "
            f"needed {preflight.amount(wanted, preflight.STATE_INODES)}, free {room}",
            f"make room (djdeploy snapshots {site.name} --remove NAME; df -h {site.paths.state}), or do without: "
            f"`snapshots: {{enabled: false}}` of {site.name}",
        )


def connection(target: Target, alias: str = aliases.DEFAULT) -> dict[str, Any]:
    """How to reach a database of a release; holds its password."""
    (found,) = run_steps(target, aliases.steps({"name": "connection"}, [alias]), timeout=LONGEST_STEPS)
    return found.facts


# --- making one ---------------------------------------------------------------------------------------------


def take(
    site: Site,
    target: Target,
    release_id: str,
    progress: Progress,
    databases: Sequence[str] = (aliases.DEFAULT,),
) -> Snapshot | None:
    """Copy databases of a site, one after the other.

    :param target: a release whose settings name the databases.
    :param release_id: the release whose migrations come next; the snapshot gets its name.
    :param databases: their aliases.
    :returns: the first; None when there are none but databases nobody can copy here, which is told.
    :raises EngineError: when one cannot be made; nothing of any is left then.
    """
    name = free_name(release_id, [taken for one in kept(site) for taken in (one.name, one.together)])
    made: list[Snapshot] = []
    try:
        for alias in databases:
            taken = take_one(site, target, name, release_id, progress, alias)
            made += [taken] if taken else []
    except BaseException:
        for one in made:
            remove(site, one)
        raise
    prune(site)
    return made[0] if made else None


def take_one(
    site: Site, target: Target, group: str, release_id: str, progress: Progress, alias: str
) -> Snapshot | None:
    """Copy one database.

    :param group: the name of what is made now; the copy of `default` is called just so.
    """
    facts = connection(target, alias)
    kind = facts["vendor"]
    if kind not in SUFFIX:
        progress.say(f"no snapshot: {kind or 'no database'} is not copied by djdeploy")
        return None
    if kind == MYSQL and not snapshots_mysql.installed():
        progress.say(snapshots_mysql.ABSENT)
        return None
    make_directory(folder(site), 0o700)
    name, began = group if alias == aliases.DEFAULT else f"{group}.{alias}", time.monotonic()
    path = folder(site) / f"{name}{SUFFIX[kind]}"
    with progress.phase("snapshot") as note:
        aside = path.with_name(path.name + HALF)
        try:
            with open(aside, "wb", opener=lambda file, flags: os.open(file, flags, 0o600)) as file:
                runner.save(
                    dump_words(facts, target),
                    file,
                    user=target.user,
                    env=secret_of(facts),
                    timeout=LONGEST,
                    start=target.start_on_files,
                )
                os.fsync(file.fileno())
            size = aside.stat().st_size
            snapshot = Snapshot(
                name,
                current_id(site.name) or "",
                release_id,
                datetime.now(UTC).isoformat(timespec="seconds"),
                size,
                round(time.monotonic() - began, 1),
                kind,
                alias,
                group if name != group else "",
            )
            aside.rename(path)
            record(site, snapshot)
        finally:
            aside.unlink(missing_ok=True)
        note.text = f"{preflight.amount(size, None)}, {name}"
        if facts["archives"]:
            note.text += restore_point(site, release_id)
    return snapshot


def free_name(release_id: str, taken: Sequence[str]) -> str:
    """The release's id, with a counter when there is one of that name: the way back makes one, too."""
    if release_id not in taken:
        return release_id
    return next(name for number in range(2, 10000) if (name := f"{release_id}.{number}") not in taken)


def secret_of(facts: dict[str, Any]) -> dict[str, str]:
    """The variables by which a server's own programs get to know where it is, and the password.

    The facts are what the project's process says: nothing else of it gets into the environment, PATH above all.
    """
    given: dict[str, str] = facts["mysql"]["env"] if facts["vendor"] == MYSQL else facts["libpq"]
    known = {snapshots_mysql.PASSWORD} if facts["vendor"] == MYSQL else {*LIBPQ.values(), *LIBPQ_OPTIONS.values()}
    return {name: value for name, value in given.items() if name in known}


def dump_words(facts: dict[str, Any], target: Target) -> list[str | Path]:
    if facts["vendor"] == MYSQL:
        return snapshots_mysql.dump_words(facts["mysql"])
    if facts["vendor"] == SQLITE:
        return [target.python, "-I", "-S", "-c", COPY_SQLITE, facts["file"]]
    return ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--no-password"]


def record(site: Site, snapshot: Snapshot) -> None:
    path = folder(site) / f"{snapshot.name}.json"
    aside = path.with_name(path.name + HALF)
    with open(aside, "w", opener=lambda file, flags: os.open(file, flags, 0o600)) as file:
        json.dump(asdict(snapshot), file, indent=1)
        file.write("\n")
    aside.rename(path)
    flush_directory(path.parent)


def restore_point(site: Site, release_id: str) -> str:
    """Name the place in the archived WAL, where the server is here and archives; what to tell of it."""
    label = f"djdeploy-{site.name}-{release_id}"
    statement = f"SELECT pg_create_restore_point('{label}')"
    done = runner.run(["psql", "-XAtc", statement, "postgres"], user="postgres", timeout=600)
    return f", restore point {label}" if done.returncode == 0 else ", no restore point (it needs a server on this host)"


# --- retention ----------------------------------------------------------------------------------------------


def to_prune(snapshots: Sequence[Snapshot], keep: int, needed: frozenset[str]) -> list[Snapshot]:
    """What may go: all but the newest `keep`, and never one that a kept release may have to go back to.

    Those that were made together count as one and go together.

    :param snapshots: oldest first.
    :param needed: names that records of kept releases tell of.
    """
    names = list(dict.fromkeys(snapshot.together for snapshot in snapshots))
    old = set(names[: max(0, len(names) - keep)]) - needed
    return [snapshot for snapshot in snapshots if snapshot.together in old]


def prune(site: Site) -> None:
    """Remove snapshots beyond `snapshots.keep` that no kept release tells of."""
    needed = frozenset(release.snapshot for release in all_releases(site.name) if release.snapshot)
    for snapshot in to_prune(kept(site), site.config["snapshots"]["keep"], needed):
        remove(site, snapshot)


def remove(site: Site, snapshot: Snapshot) -> None:
    """Remove one snapshot: its file before its record, so that no record tells of a file that is gone for long."""
    file_of(site, snapshot).unlink(missing_ok=True)
    (folder(site) / f"{snapshot.name}.json").unlink(missing_ok=True)


def remove_half_made(site: Site) -> None:
    """Remove what a killed run left: half a file, a file without its record, a record without its file."""
    whole = {name for each in kept(site) for name in (f"{each.name}.json", file_of(site, each).name)}
    ours = (HALF, ".json", *SUFFIX.values())
    for path in folder(site).iterdir() if folder(site).is_dir() else ():
        if path.name.endswith(ours) and path.name not in whole:
            path.unlink(missing_ok=True)


# --- putting one back ---------------------------------------------------------------------------------------


def whole_or_not(found: Sequence[Snapshot]) -> bool:
    """Whether putting them back happens whole or not at all.

    MariaDB and MySQL commit each table they make, and no transaction spans several databases.
    """
    return len(found) == 1 and found[0].kind != MYSQL


def put_back(site: Site, target: Target, snapshot: Snapshot, progress: Progress) -> None:
    """Make the database what it was; whole, or not at all (but see `whole_or_not`).

    :param target: a release whose settings name the database.
    :raises EngineError: when it could not be done; the database is then as it was before.
    """
    facts = connection(target, snapshot.database)
    if facts["vendor"] != snapshot.kind:
        raise EngineError(
            f"{snapshot.name} is a copy of {snapshot.kind}, and the site uses {facts['vendor'] or 'no database'} now",
            "deploy a release that uses that database first",
        )
    with progress.phase("restore") as note, open(file_of(site, snapshot), "rb") as file:
        if snapshot.kind == SQLITE:
            size = str(os.fstat(file.fileno()).st_size)
            words: list[str | Path] = [target.python, "-I", "-S", "-c", PUT_SQLITE, facts["file"], size]
            runner.load(words, file, user=target.user, env={}, timeout=LONGEST, start=target.start_on_files)
        elif snapshot.kind == MYSQL:
            snapshots_mysql.put_back(
                facts["mysql"], file, user=target.user, timeout=LONGEST, start=target.start_on_files
            )
        else:
            runner.load(
                ["psql", "-X", "-q", "--no-password", "-v", "ON_ERROR_STOP=1", "-f", "-"],
                file,
                through=["pg_restore", "--no-owner", "--no-privileges", "--file=-"],
                before=f"BEGIN;\n{CLEAR}",
                after="\nCOMMIT;\n",
                user=target.user,
                env=secret_of({**facts, "vendor": snapshot.kind}),
                timeout=LONGEST,
                start=target.start_on_files,
            )
        note.text = f"{snapshot.name}, made {snapshot.created}"
