# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a release: tree, virtualenv, settings, checks, static files. Nothing here touches what is live."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from . import (
    aliases,
    beneath,
    builds,
    config_shown,
    databases_said,
    leftovers,
    limits,
    lists,
    media_access,
    overlay,
    overlay_data,
    overlay_pooled,
    overlay_speak,
    overlay_sqlite,
    overlay_static,
    pooler,
    preflight,
    processes,
    project,
    project_files,
    pythons,
    requirements,
    runner,
    sandbox,
    servers,
    static_files,
    uploads,
)
from .environment import serialize
from .errors import EngineError
from .events import Progress
from .git import Larger, Repository
from .paths import ReleasePaths
from .plan import lines as plan_lines
from .plan_facts import environment_digests, plan_of, site_salt
from .releases import Release, all_releases, current_id, live_release, new_release_id, write_release
from .request import Request
from .site_secrets import Mask
from .sites import Site, site_names
from .steps import LONGEST, StepResult, Target, run_steps
from .tree import make_directory, point, remove_tree, write_file

STATIC_FACTS = ("static_elsewhere", "static_place", "static_hashed", "static_names")  # what collectstatic tells


@dataclass(frozen=True)
class Prepared:
    """A release that was built and checked.

    :param environment_is_new: whether its virtualenv had to be made.
    """

    release: Release
    steps: dict[str, StepResult]
    environment_is_new: bool


def release_environment(site: Site, release: Release) -> dict[str, str]:
    """The variables that are the release's own; they win over those of the site."""
    paths = site.paths.release(release.id)
    imports = [paths.code / path for path in release.import_paths]
    return {
        "DJANGO_SETTINGS_MODULE": "djdeploy_settings",
        "PYTHONPATH": ":".join(str(path) for path in (paths.settings, paths.project, *imports)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": str(paths.environment),
        "HOME": str(site.paths.shared),
        "DJDEPLOY_SITE": site.name,
        "DJDEPLOY_RELEASE": release.id,
        "DJDEPLOY_REVISION": release.revision,
        "DJDEPLOY_APPLICATION": release.application,
    }


def settings_facts(site: Site, release: Release) -> dict[str, Any]:
    """What the generated settings module reads beside itself."""
    paths = site.paths.release(release.id)
    return {
        "name": site.name,
        "project_settings": release.settings,
        "domains": site.config["domains"],
        "https": False,
        "static_root": str(paths.static),
        "static_manifest": static_files.manifest_name(
            release.revision, requirements.installed_packages(site.paths.environments / release.environment)
        ),
        "shared": str(site.paths.shared),
        "code": str(paths.code / release.project_path),
        "database": site.config["database"],
        "databases": site.config.get("databases", {}),
        "email": site.config.get("email", {}),
        "pooled": pooler.aliases(site),
    }


def url_path(url: str | None) -> str | None:
    """The path below `public/` that a STATIC_URL or MEDIA_URL means; None where nginx has no part in it."""
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return None
    path = parts.path.strip("/")
    return path if path and not {".", ".."} & set(path.split("/")) else None


def public_links(
    facts: dict[str, Any], paths: ReleasePaths, shared: Path, served_by: str = uploads.NGINX
) -> dict[str, str]:
    """Link name below `public/` -> what it points at, for static files and for uploads.

    Uploads are linked only from where they outlive the release, never `shared` as a whole, for a database file may lie
    there, and not at all where the application serves them.

    :param served_by: who serves uploads, `nginx` or `application`.
    :raises EngineError: when static files are to lie among the uploads.
    """
    links = {}
    static, media = url_path(facts.get("static_url")), url_path(facts.get("media_url"))
    if static:
        links[static] = os.path.relpath(paths.static, paths.public / Path(static).parent)
    root = Path(os.path.normpath(facts.get("media_root") or ""))
    if media and media != static and shared in root.parents and served_by == uploads.NGINX:
        if static and Path(media) in Path(static).parents:
            raise EngineError(
                f"STATIC_URL /{static}/ lies within MEDIA_URL /{media}/, so nginx could serve only one of them",
                "give them paths of their own in the project's settings",
            )
        links[media] = str(root)
    return links


def lay_out_public(links: dict[str, str], paths: ReleasePaths, uid: int, gid: int) -> None:
    """Make `public/` and `uploads/` of what `public_links` says, with the directories its URLs need.

    :param uid: of the site's user, who gets the link to uploads (see `uploads`).
    """
    for place in (paths.public, paths.uploads):
        make_directory(place, 0o755)
    for name, target in links.items():
        place = paths.uploads if os.path.isabs(target) else paths.public  # static files go with the release
        link = place / name
        for parent in reversed(link.relative_to(place).parents[:-1]):
            make_directory(place / parent, 0o755)
        if not link.is_symlink():
            beneath.link(link, target)
        if place == paths.uploads:
            uploads.own(link, uid, gid)


def site_target(site: Site, release: Release) -> Target:
    """Where and as whom Django work of a release runs: exactly as its processes will."""
    paths = site.paths.release(release.id)
    box = sandbox.SiteBox(site.paths, (paths.static,))
    return Target(
        python=paths.environment / "bin" / "python",
        cwd=paths.project,
        env={**site.environment(), **release_environment(site, release)},
        user=site.paths.user,
        start=sandbox.site_runner(box),
        start_on_files=sandbox.site_starter(box),
    )


def prepare(site: Site, revision: str, request: Request, progress: Progress, repository: Repository) -> Prepared:
    """Build a release of a revision and check it.

    :raises EngineError: when it cannot be built or fails its checks; nothing of it is left then.
    """
    preflight.before_release(site, progress)
    taken = [path.name for path in site.paths.releases.iterdir()]
    release = Release(
        id=new_release_id(datetime.now(UTC), revision, taken),
        site=site.name,
        revision=revision,
        subject=repository.subject(revision),
        door=request.door,
        who=request.who,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        fingerprint=site.fingerprint(),
        prepared_beside=current_id(site.name) or "",
    )
    paths = site.paths.release(release.id)
    gid = grp.getgrnam(site.paths.user).gr_gid
    progress.release(release.id, revision, release.subject)
    progress.say(f"{site.name} {release.short} {release.subject!r} by {request.who}")
    # Until it is made only builds and checks enter it, not what runs for the site: see `SiteBox.making`.
    make_directory(paths.root, 0o710, gid=grp.getgrnam(site.paths.build_user).gr_gid)
    try:
        write_release(release, group=gid)
        owner = pwd.getpwnam(site.paths.user)
        make_directory(paths.static, 0o755, owner.pw_uid, owner.pw_gid)
        with sandbox.ahead(sandbox.SiteBox(site.paths, (paths.static,), making=True), timeout=LONGEST) as start:
            return build(site, release, request, progress, repository, gid, start)
    except BaseException as error:
        full = preflight.full_disk(site, error)
        with suppress(EngineError):  # the first cause is the one to tell; the next run tries again
            leftovers.end(site.paths.build_user)
        remove_tree(paths.root)
        if full:
            raise full from error
        raise


def export(site: Site, release: Release, repository: Repository) -> None:
    """Unpack the revision, unless it takes more than the site's `limits.tree_size`.

    :raises EngineError: when it does.
    """
    said = limits.of(site.config)["tree_size"]
    most = limits.size(said)
    try:
        if repository.exceeds(release.revision, most):
            raise Larger(release.revision)
        repository.export(release.revision, site.paths.release(release.id).code, user=site.paths.build_user, most=most)
    except Larger:
        raise limits.tree_too_large(site.name, release.revision, said) from None


def build(
    site: Site,
    release: Release,
    request: Request,
    progress: Progress,
    repository: Repository,
    gid: int,
    start: runner.Runner,
) -> Prepared:
    """The work of `prepare`, inside a release directory that exists.

    :param start: starts the process of the checks.
    """
    paths = site.paths.release(release.id)
    builder = pwd.getpwnam(site.paths.build_user)
    owner = pwd.getpwnam(site.paths.user)
    config = site.config

    with progress.phase("export") as note:
        make_directory(paths.code, 0o750, builder.pw_uid, gid)  # the site's user reads it before it is root's
        export(site, release, repository)
        tree = project.DirectoryTree(paths.code)
        if tree.empty_folders:
            project.refuse_gitlinks(repository.gitlinks(release.revision))
        project.check_tree(tree)
        if laid := site.project_files():
            project_files.lay(laid, tree, paths.code, builder.pw_uid, gid)
            tree = project.DirectoryTree(paths.code)
            progress.say(f"laid into the tree by project_files: {', '.join(sorted(laid))}")
        where = project.find_project_path(tree, config["project_path"])
        settings = project.find_settings(tree, where.value, config["settings"])
        applications = project.find_applications(tree, where.value, settings.value, config["application"])
        beneath.link(paths.project, os.path.join("code", where.value).removesuffix("/."))
        groups = config.get("dependency_groups")
        choice = lists.find_requirements(tree, where.value, config["requirements"], groups)
        write_file(paths.revision, f"{release.revision}\n", 0o644)
        note.text = f"settings {settings.value}"

    with progress.phase("python") as note:
        found = pythons.find(config["python"], tree, where.value)
        python = found.python
        for told in found.told:
            progress.say(told)
        note.text = f"{python.version}, {python.executable}"

    with progress.phase("virtualenv") as note:
        serving = servers.Choosing(config["web"].get("server"), applications)
        wanted = requirements.plan_environment(
            tree,
            choice,
            python_version=python.identity,
            databases=databases_said.spoken(config, site.environment()),
            needs=serving.needs,
            storage=site.environment().get("DEFAULT_STORAGE_DSN", ""),
            groups=groups,
        )
        server, many = serving.server, servers.here(len(site_names()), config["web"])
        directory = site.paths.environments / wanted.fingerprint
        is_new = not requirements.is_complete(directory)
        if is_new:
            preflight.before_environment(site)
            for told in wanted.told:
                progress.say(told)
            requirements.build_environment(
                wanted,
                site.paths,
                paths.code,
                python=python.executable,
                on_line=progress.say,
                boxed=True,
                memory_max=config.get("build_memory_max"),
            )
        point(paths.environment, os.path.relpath(directory, paths.root))
        packages = requirements.installed_packages(directory)
        progress.say(servers.told(server, many))
        for told in servers.warnings(server, packages):
            progress.say(told)
        note.text = f"{'built' if is_new else 'unchanged'}, {len(packages)} packages ({wanted.fingerprint[:7]})"

    release = replace(
        release,
        environment=wanted.fingerprint,
        project_path=where.value,
        import_paths=project.import_paths(tree, where.value),
        settings=settings.value,
        application=server.application,
        server=server.name,
        choices=config_shown.choices(config, where, settings, server, choice, python),
    )
    building = builds.plan(
        tree,
        where.value,
        config.get("build"),
        builds.looks_for(directory),
        network=bool(config.get("build_network")),
    )
    box = builds.box_of(site.paths, paths.code, directory, config)
    secrets = requirements.build_variables(site.paths)
    for_builds = {**databases_said.for_builds(config), **(config.get("env") or {})}
    with project_files.hollowed(laid if building.steps else {}, paths.code, builder.pw_uid, gid):
        builds.carry_out(building, box, progress, env=for_builds, secrets=secrets, reader=gid)
    beside = processes_of(site, release, tree, packages, progress)
    release = replace(
        release,
        processes=[each.as_dict() for each in beside.processes],
        jobs=[each.as_dict() for each in beside.jobs],
        release_command=beside.release_command,
    )
    with progress.phase("checks") as note:
        write_settings(site, release, gid)
        words = servers.command(
            server, many, config["web"], environment=paths.environment, settings=site.paths.gunicorn_config
        )
        write_file(paths.serve, servers.script(words), 0o755)
        with compiling(paths.code, paths.root / ".compiled", python.executable, site.paths.build_user):
            results, django_start = checked(site, release, progress, start)
        if building.steps and (gone := builds.dropped(paths.code, tree.paths, config.get("build_keep") or [])):
            progress.say(f"{', '.join(gone)} dropped after the build (build_keep keeps it)")
        leftovers.end(site.paths.build_user)
        give_back(site.paths.shared, owner.pw_uid, builder.pw_gid, gid)
        beneath.take(paths.code, 0, gid)
        servers.refuse_other_interface(server, results["application"].facts["interface"])
        describe, static = results["describe"], results["collectstatic"]
        before = current_id(site.name)
        static_before = site.paths.release(before).static if before else None
        beneath.take(paths.static, copied=True, before=static_before)
        if dropped := static_files.drop_links(paths.static):
            first = f"{dropped[0]!r}{f' and {len(dropped) - 1} more' if dropped[1:] else ''}"
            progress.say(f"warning: static files without {first}: a link that leads out of them is not published")
        static_files.finish(paths.static, static_before)
        media_root = describe.facts.get("media_root")
        static_files.refuse_names(static.facts, paths)
        static_files.refuse_public(config.get("protected_media", {}), media_root, site.paths.shared)
        media = uploads.served(uploads.said_of(config), results["uploads"].facts)
        links = public_links(describe.facts, paths, site.paths.shared, media.by)
        lay_out_public(links, paths, owner.pw_uid, owner.pw_gid)
        opened = media_access.settle(
            site.paths,
            [target for target in links.values() if os.path.isabs(target)],
            config.get("protected_media", {}).values(),
            site.paths.release(before).root if before else None,
        )
        foreign = uploads.foreign_roots(links.values(), owner.pw_uid, site.paths.user)
        for told in (*media.told, *opened, *foreign):
            progress.say(told)
        processes.lay_out(beside, paths, gid)
        pooler.lay_out(site, beside, paths, gid)
        beneath.link(paths.socket_link, paths.socket)
        planned = aliases.planned(
            [result.facts for result in results.values() if result.name == "migrate"],
            declared={**config["migrations"]["declared"], **request.declared},
            big_table=config["migrations"]["big_table"],
        )
        note.text = f"{counted(planned.pending, 'migration')} pending, {static_told(static.facts)}"
        if "compress" in results and (blocks := results["compress"].facts["compressed"]):
            note.text += f", compressed for {counted([None] * blocks, 'block')}"

    release = replace(
        release,
        facts={
            **describe.facts,
            **{name: static.facts[name] for name in STATIC_FACTS if name in static.facts},
            "migrations_recorded": results["migrate"].facts.get("recorded"),
            "further": planned.further,
            "default_touched": planned.default_touched,
            "pooled": pooler.aliases(site),
        },
        django_start=django_start,
        pending=planned.pending,
        known=planned.known,
        migrations=shown_of(planned.migrations, Mask(site.paths)),
        digests={
            "settings": results["settings_digest"].facts["settings"],
            "environment": environment_digests({**site.environment(), **site.given_files()}, site_salt(site)),
            "configuration": environment_digests(
                {key: value for key, value in site.config.items() if key != "secret_names"}, site_salt(site)
            ),
        },
    )
    live = live_release(site.name)
    for line in planned.told:
        progress.say(line)
    for line in config_shown.new_replacements(live.facts if live else {}, release.facts):
        progress.say(line)
    proposed = plan_of(site, release, live, repository, request)
    progress.emit({"event": "plan", "lines": plan_lines(proposed), "plan": proposed.as_dict()})
    make_directory(paths.root, 0o755, gid=gid)
    release = replace(release, state="prepared", plan=proposed.as_dict())
    write_release(release, group=gid)
    return Prepared(release, results, is_new)


def shown_of(migrations: list[dict[str, Any]], mask: Mask) -> list[dict[str, Any]]:
    """Migrations as the record keeps them: a project may write secrets of the site into its SQL."""
    return [{**each, "sql": [mask.text(statement) for statement in each["sql"]]} for each in migrations]


def static_told(facts: dict[str, Any]) -> str:
    brought = f", {facts['brought']} more brought in STATIC_ROOT" if facts.get("brought") else ""
    return static_files.elsewhere_told(facts) or f"{facts.get('copied', 0)} static files{brought}"


def processes_of(
    site: Site, release: Release, tree: project.DirectoryTree, packages: Mapping[str, str], progress: Progress
) -> processes.Layout:
    """What the release runs beside its web server, told to who pushed.

    :raises EngineError: when something of it could not run.
    """
    beside_manage = os.path.normpath(os.path.join(release.project_path, processes.PROCFILE))
    procfile = next((path for path in (beside_manage, processes.PROCFILE) if path in tree.paths), None)
    within = "project" if procfile == beside_manage else "code"
    said, schedule = site.config.get("processes") or {}, site.config.get("schedule") or {}
    told_of = {name for name in processes.QUEUES if name in packages}
    if procfile is None and not said and not schedule and not told_of:
        return processes.Layout()
    paths = site.paths.release(release.id)
    found = processes.plan(
        said,
        schedule,
        tree.read(procfile) if procfile else None,
        first=not site.paths.not_first.exists(),
        within=within,
        shared=str(site.paths.shared),
        packages=told_of,
        environment=site.environment(),
        package=release.settings.partition(".")[0],
    )
    for line in found.told:
        progress.say(line)
    processes.require_programs([*found.processes, *found.jobs], paths)
    if found.release_command and within == "code":
        found = replace(found, release_command=f"cd {paths.code} && {found.release_command}")
    return found


def counted(things: list[Any], name: str) -> str:
    return f"{len(things) or 'no'} {name}{'' if len(things) == 1 else 's'}"


def checked(
    site: Site, release: Release, progress: Progress, start: runner.Runner
) -> tuple[dict[str, StepResult], float]:
    """Ask Django everything in one process: what it is, whether it is sound, what it would migrate.

    :param start: starts it.
    :returns: what each step found, and the seconds Django took to start.
    """
    steps: list[dict[str, Any]] = [
        {"name": "describe"},
        {"name": "seed"},
        {"name": "check", "deploy": False, "fail_level": "ERROR"},
        {"name": "application", "path": release.application},
        {"name": "uploads"},
        *aliases.planning({"name": site.name, **site.config}),
        {"name": "collectstatic", "local_only": True},
        {"name": "settings_digest", "salt": site_salt(site), "strip": own_texts(site, release)},
    ]
    if site.config.get("build") != []:
        steps.append({"name": "compress"})
    started: list[float] = []
    results = run_steps(site_target(site, release), steps, run=start, timeout=LONGEST, on_ready=started.append)
    for line in said_by_checks(results):
        progress.say(line)
    found = {
        aliases.qualified(result.facts.get("database", aliases.DEFAULT), result.name): result for result in results
    }
    return found, round(sum(started), 3)


def give_back(shared: Path, uid: int, builds: int, gid: int) -> None:
    """Give files that the checks made in `shared` the group of the site: theirs was that of the builds.

    Not further down: SQLite's file is what they make, and directories below it may hold millions of uploads.

    :param builds: the group of the builds.
    :param gid: the group of the site.
    """
    with beneath.opened(shared) as top:
        for name, told in beneath.look(top, "").others.items():
            if (told.st_uid, told.st_gid, told.st_nlink) != (uid, builds, 1) or not stat.S_ISREG(told.st_mode):
                continue
            with suppress(OSError, EngineError), os.fdopen(beneath.open_file(top, name), "rb") as file:
                now = os.fstat(file.fileno())
                if (now.st_uid, now.st_gid, now.st_nlink) == (uid, builds, 1):
                    os.fchown(file.fileno(), -1, gid)


def said_by_checks(results: list[StepResult]) -> list[str]:
    """One line for each message of Django's checks, each once: a check of several objects may say the same of all."""
    messages = (message for step in results if step.name == "check" for message in step.facts.get("messages", ()))
    return list(dict.fromkeys(f"{each['level'].lower()}: {each['id'] or ''} {each['message']}" for each in messages))


def own_texts(site: Site, release: Release) -> list[str]:
    """What differs in every release for no reason of the project's; the longest first."""
    return [str(site.paths.release(release.id).root), release.id, release.revision]


def overlay_parts() -> dict[str, ModuleType]:
    """The files of the generated settings module: name in a release -> the engine's module."""
    return {
        "djdeploy_settings.py": overlay,
        "djdeploy_data.py": overlay_data,
        "djdeploy_speak.py": overlay_speak,
        "djdeploy_databases.py": databases_said,
        "djdeploy_sqlite.py": overlay_sqlite,
        "djdeploy_static.py": overlay_static,
        "djdeploy_pooled.py": overlay_pooled,
    }


def write_settings(site: Site, release: Release, gid: int) -> None:
    """The generated settings module (the same file for every release), its facts, and the variables."""
    paths = site.paths.release(release.id)
    make_directory(paths.settings, 0o750, gid=gid)
    for name, module in overlay_parts().items():
        write_file(paths.settings / name, beneath.read(module.__file__ or "").decode(), 0o640, gid)
    write_file(paths.settings / "site.json", json.dumps(settings_facts(site, release), indent=1) + "\n", 0o640, gid)
    write_file(paths.env_file, serialize(release_environment(site, release)), 0o640, gid)


COMPILE_MEMORY = 1 << 30  # bytes: a list of 17 MB in one file takes 2.4 GB, and it is the deployer's memory
# Compiled files lie beside their sources in the end, yet never come there while Django looks around in
# the same directories: the cache's directories would change under its feet. So the program waits, when it has
# compiled, until its standard input ends.
COMPILE = """\
import compileall, os, py_compile, resource, sys
code, aside, most = sys.argv[1:]
os.umask(0o022)
sys.pycache_prefix = aside
resource.setrlimit(resource.RLIMIT_DATA, (int(most), int(most)))
try:
    compileall.compile_dir(code, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
except MemoryError:
    pass
sys.stdin.read()
compiled = aside + os.path.abspath(code)
for folder, _, files in os.walk(compiled):
    cache = os.path.join(code, os.path.relpath(folder, compiled), "__pycache__")
    if files:
        os.makedirs(cache, exist_ok=True)
    for name in files:
        os.replace(os.path.join(folder, name), os.path.join(cache, name))
"""


@contextmanager
def compiling(code: Path, aside: Path, python: str, user: str) -> Iterator[None]:
    """Write the .pyc files beside the body: the processes that serve may not write beside the code.

    As the build user, and without `site`: compiling reads pushed code but runs none of it. A file that
    does not compile is no error here; nothing may ever import it. Nor is one that takes more than `COMPILE_MEMORY`.

    :param aside: a directory to make and to remove again, on the same file system.
    :raises EngineError: when Python could not even look for files to compile.
    """
    make_directory(aside, 0o700, pwd.getpwnam(user).pw_uid)
    words: list[str | Path] = [python, "-I", "-S", "-c", COMPILE, code, aside, str(COMPILE_MEMORY)]
    with runner.waiting(words, user=user, timeout=LONGEST):
        yield
    remove_tree(aside)


def reusable(site: Site, revision: str) -> Release | None:
    """A release of the revision that was prepared and still fits: same configuration, same live one beside it."""
    live = current_id(site.name) or ""
    wanted = ("prepared", revision, site.fingerprint(), live)
    for record in reversed(all_releases(site.name)):
        if (record.state, record.revision, record.fingerprint, record.prepared_beside) == wanted:
            return record
    return None
