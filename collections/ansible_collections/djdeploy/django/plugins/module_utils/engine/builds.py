# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release needs to have built before it is checked: a front end, translations, whatever the site says.

Deciding reads the tree alone. Doing is by `sandbox`, as the build user and without the site's secrets.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
import shutil
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import beneath, leftovers, runner, sandbox
from .environment import without_passwords
from .errors import EngineError
from .events import Progress
from .paths import SitePaths
from .project import Tree

MODULES = "node_modules"
NO_BUILD = "build: []"
_VENDORED = frozenset({MODULES, "site-packages", "venv", ".venv", "env", "virtualenv", ".git"})
_LOCKS = {
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
    "yarn.lock": "yarn",
    "pnpm-lock.yaml": "pnpm",
    "bun.lock": "bun",
    "bun.lockb": "bun",
}
_DEPENDENCIES = ("dependencies", "devDependencies", "optionalDependencies", "workspaces")
_TRANSLATIONS_IN_ONE = 300  # what the kernel takes as one word is 128 KiB

# What fetches: it runs with network, in whichever part of a command it stands.
_FETCHES = re.compile(
    r"(?:^|[\s;&|(])(?:"
    r"npm\s+(?:-\S+\s+|--prefix[ =]\S+\s+)*(?:ci|i|install|clean-install|add|update|exec\s+(?:\S+\s+)*?(?:-y|--yes))\b"
    r"|npx\s+(?:-\S+\s+)*?(?:-y|--yes)\b"
    r"|yarn(?:pkg)?(?:\s+--?\S+)*\s*(?:$|[;&|)])|yarn(?:pkg)?\s+(?:--?\S+\s+)*(?:install|add|dlx)\b"
    r"|pnpm\s+(?:--?\S+\s+)*(?:i|install|add|dlx|fetch)\b"
    r"|bunx?\s+(?:install|i|add|x)\b|corepack\s|bower\s+install\b|composer\s+install\b|bundle\s+install\b|gem\s+install\b"
    r"|(?:python\S*\s+-m\s+)?pip\d?\s+(?:install|download)\b|uv\s+(?:pip|sync|add|run|tool)\b|uvx\s|pipx\s"
    r"|curl\s|wget\s|git\s+(?:clone|fetch|pull|submodule)\b|cargo\s|go\s+(?:get|install|mod)\b"
    r")"
)


@dataclass(frozen=True)
class Step:
    """One command of a build.

    :param command: text for the shell.
    :param directory: where, relative to the tree.
    :param network: whether it may reach other hosts.
    :param label: what a person reads in its place; empty: the command.
    """

    command: str
    directory: str = "."
    network: bool = False
    label: str = ""

    def __str__(self) -> str:
        place = "" if self.directory == "." else f" (in {self.directory})"
        return f"{self.label or self.command}{place}"


@dataclass(frozen=True)
class Plan:
    """What is to be built.

    :param told: lines for the person who pushed.
    """

    steps: tuple[Step, ...] = ()
    told: tuple[str, ...] = ()


def fetches(command: str) -> bool:
    """Whether a command gets packages from elsewhere, and so needs network."""
    return bool(_FETCHES.search(command))


def plan(
    tree: Tree, project_path: str, said: Sequence[str] | None, has: Callable[[str], bool], *, network: bool = False
) -> Plan:
    """The commands of a release.

    :param said: the site's `build`; None: found out, empty: nothing.
    :param has: whether the host or the virtualenv has a program.
    :param network: the site's `build_network`.
    :raises EngineError: when something is to be built that cannot be on this host; it names the key to set.
    """
    if said is not None:
        return Plan(tuple(Step(command, ".", network or fetches(command)) for command in said))
    front, told = front_end(tree, project_path, has)
    texts, more = translations(tree.paths, has)
    steps = [*front, *texts]
    if network:
        steps = [Step(step.command, step.directory, True, step.label) for step in steps]
    return Plan(tuple(steps), (*told, *more))


# -- the front end ---------------------------------------------------------------------------


def front_end(tree: Tree, project_path: str, has: Callable[[str], bool]) -> tuple[list[Step], list[str]]:
    """The commands of a package.json at the top or beside manage.py, and what is to be told.

    One that lies elsewhere is as often the source of a site of its own, so it is only told of.
    """
    places = [posixpath.dirname(path) or "." for path in tree.paths if posixpath.basename(path) == "package.json"]
    places = [place for place in places if not _VENDORED & set(place.split("/"))]
    steps: list[Step] = []
    for place in dict.fromkeys((".", posixpath.normpath(project_path))):
        if place in places:
            steps += node_steps(tree, place, has)
    if steps:
        return steps, []
    told = []
    for place in places:
        if place not in (".", project_path) and "build" in scripts(package_of(tree, place, strict=False)):
            told.append(
                f"{place}/package.json has a build script, which is not run; if this site needs what it builds: "
                f'build: ["cd {place} && npm ci && npm run build"]'
            )
    return [], told[:3]


def package_of(tree: Tree, place: str, *, strict: bool = True) -> dict[str, Any]:
    """What a package.json says.

    :raises EngineError: when it is no JSON object; with `strict` only.
    """
    path = posixpath.normpath(posixpath.join(place, "package.json"))
    try:
        said = json.loads(tree.read(path))
    except ValueError as error:
        said, why = None, f": {error}"
    else:
        why = ": it is no object"
    if isinstance(said, dict):
        return said
    if strict:
        raise EngineError(f"{path} cannot be read{why}", f"mend it and push again, or say {NO_BUILD}")
    return {}


def scripts(package: Mapping[str, Any]) -> dict[str, str]:
    found = package.get("scripts")
    return {name: text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}


def package_manager(package: Mapping[str, Any], names: Collection[str]) -> tuple[str, str, str]:
    """Which program installs the packages of a package.json: its name, its version as far as said, the lock's name.

    :param names: the files beside package.json.
    """
    said = re.fullmatch(r"(npm|yarn|pnpm|bun)@(\d[\w.-]*)(?:\+.*)?", str(package.get("packageManager") or ""))
    locks = {manager: lock for lock, manager in reversed(_LOCKS.items()) if lock in names}
    if said and said[1] in locks:
        return said[1], said[2], locks[said[1]]
    for lock, manager in _LOCKS.items():
        if lock in names:
            return manager, "", lock
    return (said[1], said[2], "") if said else ("npm", "", "")


def node_steps(tree: Tree, place: str, has: Callable[[str], bool]) -> list[Step]:
    """How what a package.json describes is installed and built; nothing when it has no build script.

    :raises EngineError: when the host has not the program for it.
    """
    package = package_of(tree, place)
    if "build" not in scripts(package):
        return []
    path = posixpath.normpath(posixpath.join(place, "package.json"))
    here = {posixpath.basename(each) for each in tree.paths if (posixpath.dirname(each) or ".") == place}
    manager, version, lock = package_manager(package, here)
    if not (has("npm") or (manager != "npm" and (has(manager) or has(f"{manager}pkg")))):
        raise EngineError(
            f"{path} has a build script, and this host has no npm",
            "add to the site: packages: [nodejs, npm], and run site.yml; "
            f"or {NO_BUILD}, if what it builds is committed",
        )
    if manager == "npm":
        if not lock and not any(package.get(name) for name in _DEPENDENCIES):
            return [Step("npm run build", place)]
        install = "npm ci" if lock else "npm install --no-package-lock"
        return [Step(install, place, True), Step("npm run build", place)]
    program = next((name for name in (manager, f"{manager}pkg") if has(name)), None)
    if program is None:
        prefix = f"cd {shlex.quote(place)} && " if place != "." else ""
        wanted = f"npx --yes {manager}@{version or newest(tree, place, manager, lock)}"
        write = [f"{prefix}{wanted} install --frozen-lockfile", f"{prefix}{wanted} run build"]
        raise EngineError(
            f"{path} is built by {manager} ({lock or 'packageManager'}), and this host has no {manager}",
            f"tell the site how: build: {json.dumps(write)} (by npm); or {NO_BUILD}, if what it builds is committed",
        )
    frozen = " --frozen-lockfile" if lock else ""
    every = " --prod=false" if manager == "pnpm" else ""
    return [Step(f"{program} install{frozen}{every}", place, True), Step(f"{program} run build", place)]


def newest(tree: Tree, place: str, manager: str, lock: str) -> str:
    """The version of a package manager that reads a lock."""
    text = tree.read(posixpath.normpath(posixpath.join(place, lock)), 2000) if lock else ""
    if manager == "yarn":
        return "1" if "yarn lockfile v1" in text else "berry"
    if manager == "pnpm":
        found = re.search(r"lockfileVersion:\s*'?(\d+)", text)
        return {"5": "7", "6": "8"}.get(found[1] if found else "", "9")
    return "1"


# -- translations ----------------------------------------------------------------------------


def translations(paths: Sequence[str], has: Callable[[str], bool]) -> tuple[list[Step], list[str]]:
    """How translations are compiled that are not compiled in the tree, as `compilemessages` does it, without Django.

    Which of two files is newer cannot be told: a checkout does not keep their times.
    """
    known = set(paths)
    sources = [
        path
        for path in paths
        if path.endswith(".po")
        and posixpath.basename(posixpath.dirname(path)) == "LC_MESSAGES"
        and f"{path[:-3]}.mo" not in known
        and not _VENDORED & set(path.split("/"))
    ]
    if not sources:
        return [], []
    counted = f"{len(sources)} translation{'s' if len(sources) > 1 else ''}"
    if not has("msgfmt"):
        first = sources[0]
        return [], [
            f"warning: {counted} not compiled, for this host has no gettext ({first}): "
            f"add to the site: packages: [gettext], and run site.yml; or {NO_BUILD}"
        ]
    steps = []
    for start in range(0, len(sources), _TRANSLATIONS_IN_ONE):
        names = " ".join(shlex.quote(f"./{path}") for path in sources[start : start + _TRANSLATIONS_IN_ONE])
        command = f'for source in {names}; do msgfmt --check-format -o "${{source%.po}}.mo" "$source"; done'
        steps.append(Step(command, label=f"msgfmt: {counted}"))
    return steps, []


# -- failures --------------------------------------------------------------------------------

_NO_NETWORK = re.compile(
    r"ENOTFOUND|EAI_AGAIN|getaddrinfo|ENETUNREACH|Network is unreachable|[Nn]ame or service not known"
    r"|Temporary failure in name resolution|Could not resolve host|dns error|Failed to establish a new connection"
    r"|ECONNREFUSED"
)
# What a failed command says -> what to do. The first that fits is told.
_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"SELF_SIGNED_CERT|UNABLE_TO_(GET_ISSUER|VERIFY)|self.signed certificate|CERTIFICATE_VERIFY_FAILED"
        r"|unable to get local issuer",
        "the registry shows a certificate this host does not trust: name the CA's file in djdeploy_ca_certificates and"
        " run site.yml",
    ),
    (
        r"\bE40[13]\b|ENEEDAUTH|YN0041|401 Unauthorized|403 Forbidden",
        "the registry refuses this host: give its token in build_secrets, and name the variable in the project's"
        " .npmrc",
    ),
    (
        r"EBADENGINE|Unsupported engine|requires Node|Node\.js version|ERR_REQUIRE_ESM|does not provide an export named"
        r"|SyntaxError: Unexpected token|is not a function.*crypto|node:\S+.*not found",
        "it may want a newer Node.js than this host's (Debian 12 has 18, Debian 13 has 20)",
    ),
    (
        r"can only install (packages )?(with an existing|when your) package",
        "run `npm install`, commit package-lock.json and push again",
    ),
    (
        r"lockfile would have been (modified|created)|Your lockfile needs to be updated|frozen-lockfile"
        r"|ERR_PNPM_\w*LOCKFILE",
        "the lock is not of this package.json, or of another version of the program: make it anew, or say how by"
        " build, for example npx --yes yarn@1 install --frozen-lockfile",
    ),
    (r"gyp ERR!|node-gyp", "a package is compiled here: add to the site: packages: [build-essential, python3]"),
    (r"only-for-the-build|ImproperlyConfigured|KeyError: '[A-Z_]+'|UndefinedValueError",
     "a build command has the site's env and no secrets, so its settings must load without them"),
    (r"EROFS|Read-only file system", "a build command may write to the project's tree, to $HOME and to /tmp"),
)  # fmt: skip


def explain(step: Step, ended: sandbox.Ended, box: sandbox.Sandbox) -> EngineError:
    """The error for a command that failed: what, and what to do; its last lines are the detail."""
    output = without_passwords(ended.output)
    detail = "\n".join(output.strip().splitlines()[-60:])
    failed = f"the build command {str(step)!r} failed"
    if ended.result == "timeout":
        return EngineError(
            f"the build command {str(step)!r} did not end within {box.timeout} s", "raise build_timeout", detail
        )
    if ended.result == "oom-kill" or re.search(r"JavaScript heap out of memory|\bENOMEM\b", output):
        return EngineError(
            f"{failed}: it had no memory left (limit {box.memory_max})",
            "raise build_memory_max (and limits.memory_max, which holds for all of the site),"
            " or give the host memory or swap",
            detail,
        )
    if re.search(r"ENOSPC|EDQUOT", output):
        return EngineError(f"{failed}: No space left on device", "run `djdeploy doctor` on the host", detail)
    if _NO_NETWORK.search(output):
        hint = (
            "the host cannot reach it: check its network and the project's .npmrc, and push again"
            if step.network
            else "a build command has no network unless it fetches packages: build_network: true, if it needs some"
        )
        return EngineError(f"{failed} (status {ended.status})", hint, detail)
    for pattern, hint in _HINTS:
        if re.search(pattern, output):
            return EngineError(f"{failed} (status {ended.status})", hint, detail)
    missing = re.search(r"(?:sh|bash): (?:\d+: |line \d+: )?(\S+): (?:command )?not found", output)
    if missing:
        return EngineError(f"{failed}: there is no program {missing[1]}", of_program(missing[1]), detail)
    return EngineError(f"{failed} (status {ended.status})", f"mend it and push again; or say {NO_BUILD}", detail)


def of_program(name: str) -> str:
    """What to do when a program is not there."""
    packages = {"npm": "nodejs, npm", "npx": "nodejs, npm", "node": "nodejs", "msgfmt": "gettext", "yarnpkg": "yarnpkg"}
    packages |= {"sass": "sassc", "make": "make", "git": "git", "curl": "curl"}
    if name in packages:
        return f"add to the site: packages: [{packages[name]}], and run site.yml"
    return f"add the Debian package that holds {name} to the site's packages, or the npm package to package.json"


# -- doing -----------------------------------------------------------------------------------


def carry_out(
    planned: Plan,
    box: sandbox.Sandbox,
    progress: Progress,
    *,
    env: Mapping[str, str],
    secrets: Mapping[str, str],
    reader: int,
    run: Callable[..., sandbox.Ended] = sandbox.run,
) -> None:
    """Run the commands one after the other; each is a phase, so the person who pushed sees how long it took.

    :param env: the site's `env`.
    :param reader: the group of the site.
    :param secrets: the site's `build_secrets`, for commands with network alone: the others have no use for them.
    :raises EngineError: for the first that fails.
    """
    for line in planned.told:
        progress.say(line)
    for step in planned.steps:
        with progress.phase("build") as note:
            note.text = str(step)
            given = {**env, **secrets} if step.network else env
            ended = run(box, step.command, step.directory, given, network=step.network)
            if ended.status or ended.result != "success":
                raise explain(step, ended, box)
    if planned.steps:
        leftovers.end(box.user)
        let_site_read(box.tree, reader)


def looks_for(environment: Path) -> Callable[[str], bool]:
    """Whether the host or a virtualenv has a program."""
    path = f"{environment / 'bin'}:{runner.BASE_ENVIRONMENT['PATH']}"
    return lambda name: shutil.which(name, path=path) is not None


def box_of(paths: SitePaths, code: Path, environment: Path, config: Mapping[str, Any]) -> sandbox.Sandbox:
    """The sandbox of a release's commands."""
    return sandbox.Sandbox(
        unit=paths.build_unit,
        user=paths.build_user,
        tree=code,
        cache=paths.cache,
        environment=environment,
        memory_max=config.get("build_memory_max") or sandbox.Sandbox.memory_max,
        timeout=config.get("build_timeout") or sandbox.Sandbox.timeout,
        bound_to=sandbox.bound_unit(leftovers.read("self", "cgroup")),
        slice=paths.slice,
    )


def let_site_read(code: Path, reader: int) -> None:
    """What tools made for their user alone becomes readable, for the site runs as another one; nobody else may write.

    :param reader: the group of the site.
    """
    with beneath.opened(code) as top:
        for folder in beneath.walk(top):
            mode = stat.S_IMODE(os.fstat(folder.handle).st_mode)
            if mode & 0o005 != 0o005:
                beneath.own(folder.handle, -1, reader, beneath.not_others(mode) | 0o050)
            elif mode != beneath.not_others(mode):
                os.fchmod(folder.handle, beneath.not_others(mode))
            for name, told in folder.others.items():
                mode = stat.S_IMODE(told.st_mode)
                if not stat.S_ISREG(told.st_mode) or (mode & 0o004 and mode == beneath.not_others(mode)):
                    continue
                handle = beneath.open_file(folder.handle, name)
                try:
                    beneath.own(handle, -1, reader, beneath.not_others(mode) | (0 if mode & 0o004 else 0o040))
                finally:
                    os.close(handle)


def dropped(code: Path, tracked: Collection[str], kept: Collection[str]) -> list[str]:
    """Remove the packages of Node that a build installed: a site that runs has no use for them, and they are large.

    :param tracked: paths of the tree as it was pushed; what was brought stays.
    :param kept: the site's `build_keep`.
    :returns: the directories that went, relative to the tree.
    """
    brought = {posixpath.dirname(path) for path in tracked if MODULES in path}
    gone = []
    with beneath.opened(code) as top:
        for folder in beneath.walk(top):
            if MODULES not in folder.folders:
                continue
            folder.folders.remove(MODULES)
            name = folder.inner(MODULES)
            if name in kept or any(place == name or place.startswith(f"{name}/") for place in brought):
                continue
            beneath.remove_at(folder.handle, MODULES)
            gone.append(name)
    return gone
