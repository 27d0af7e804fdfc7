# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtualenv of a release: what belongs into it, which one that is, and how it is made.

An environment is named by a fingerprint of everything that decides its content, so releases with
the same requirements share one, and a change is built beside the one in use. The build sees a copy
of exactly the files that went into the fingerprint and nothing else of the project: what could
change the result cannot be missed.

The project itself is never installed as a package, only its dependencies: it runs from the
release's code directory, which is on PYTHONPATH.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import shlex
import stat
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from . import beneath, databases_said, leftovers, lists, locks, sandbox
from .environment import parse, without_passwords
from .errors import EngineError
from .lists import Requirements
from .paths import UV, SitePaths
from .project import Tree
from .runner import BASE_ENVIRONMENT, BOTH, Runner, run, user_arguments

#: Raise it when the way an environment is laid out or built changes: all are then built anew.
LAYOUT = 1
MARKER = ".complete"
#: Kind of a DEFAULT_STORAGE_DSN -> the extra of django-storages for it, and the client that it brings. The DSN may be
#: used by the project itself; then it lists another package for it, and one more does no harm.
STORAGE_CLIENTS = {"s3": ("s3", "boto3"), "gs": ("google", "google-cloud-storage")}
#: Directory beside the inputs for files that are ours.
GENERATED = ".djdeploy"

BUILD_TIMEOUT = 10800.0  # seconds for one command; a package built from source takes minutes, on a busy host an hour
PROBE_TIMEOUT = 600.0  # seconds for a Python to say what it is: it takes a moment, and one that hangs is a broken one

#: Packages a project lists -> requirement lines to add, each with what to tell.
Needs: TypeAlias = Callable[[Mapping[str, set[str]]], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Python:
    """An interpreter on the host.

    :param executable: its real path.
    :param version: as '3.13'; a patch release keeps the environments that link to it valid.
    """

    executable: str
    version: str
    implementation: str = "cpython"

    @property
    def identity(self) -> str:
        return f"{self.implementation} {self.version} {self.executable}"


@dataclass(frozen=True)
class EnvironmentPlan:
    """All that decides the content of a virtualenv.

    :param inputs: text of each file of the tree the build reads, by its path in the tree.
    :param local: files of the tree that requirements name by path (a vendored package, a wheel).
    :param lines: requirements that stand in no file pip could read.
    :param constraints: versions for `lines`, from a lock.
    :param extras: requirements the project does not bring.
    :param hashed: whether the file demands a hash of every package.
    :param exact: whether `lines` are complete, as a lock is: then nothing is resolved.
    :param options: words for uv that choose extras and groups of the project.
    :param names: every package that is known to be installed.
    :param told: what was decided and why, for the person who pushed.
    """

    fingerprint: str
    requirements: Requirements
    inputs: Mapping[str, str] = field(default_factory=dict)
    local: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    hashed: bool = False
    exact: bool = False
    options: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def commands(self, python: str, venv: Path, inputs: Path, uv: Path | None = UV) -> list[list[str]]:
        """The commands that fill `venv`, in order; see `build_commands`."""
        return build_commands(self, python=python, venv=venv, inputs=inputs, uv=uv)


# -- planning --------------------------------------------------------------------------------


def plan_environment(
    tree: Tree,
    choice: Requirements,
    *,
    python_version: str,
    databases: Collection[str] = (),
    needs: Needs = lambda _names: (),
    storage: str = "",
    groups: Sequence[str] | None = None,
) -> EnvironmentPlan:
    """Decide what goes into the virtualenv of this tree.

    :param choice: of `lists.find_requirements`.
    :param python_version: `Python.identity`; whatever distinguishes interpreters for the fingerprint.
    :param databases: the kinds of the site's databases, of `databases_said.spoken`; most need a driver.
    :param needs: tells, of the packages the project lists, which lines to add for what serves it, and why.
    :param storage: DEFAULT_STORAGE_DSN of the site's environment.
    :param groups: the site's `dependency_groups`.
    :raises EngineError: when a file cannot be read as what it is, or names a file that is not in the tree.
    """
    content = _CONTENT[choice.kind](tree, choice, groups)
    extras, told = _missing(content.names, databases, needs, storage)
    configuration = _uv_configuration(tree, choice)
    inputs = {**content.inputs, **configuration}
    reason = f"requirements: {choice.path}, {choice.reason}" if choice.path else f"requirements: {choice.reason}"
    if choice.more:
        reason += f", with {', '.join(choice.more)}"
    if choice.unread:
        reason += f"; not read: {', '.join(choice.unread)}"
    decides: dict[str, object] = {
        "layout": LAYOUT,
        "python": python_version,
        "kind": choice.kind,
        "path": choice.path,
        "base": choice.base,
        "inputs": inputs,
        "local": {path: _digest(tree.read(path)) for path in content.local},
        "lines": content.lines,
        "constraints": content.constraints,
        "extras": extras,
        # Said only where there are any, so that environments from before these were known are still found.
        **({"more": choice.more} if choice.more else {}),
        **({"options": content.options} if content.options else {}),
        **({"exact": True} if content.exact else {}),
    }
    return EnvironmentPlan(
        fingerprint=_digest(json.dumps(decides, sort_keys=True))[:16],
        requirements=choice,
        inputs=inputs,
        local=tuple(content.local),
        lines=tuple(content.lines),
        constraints=tuple(content.constraints),
        extras=tuple(extras),
        hashed=content.hashed,
        exact=content.exact,
        options=tuple(content.options),
        names=tuple(sorted(content.names)),
        told=(reason, *content.told, *told),
    )


@dataclass
class _Content:
    """What reading one kind of requirements gives; `names` maps a package to its extras."""

    names: dict[str, set[str]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    local: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    hashed: bool = False
    exact: bool = False
    options: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def choose_groups(self, wanted: Sequence[str] | None, available: Iterable[str], path: str) -> tuple[str, ...]:
        """See `lists.choose_groups`; what was chosen is told."""
        chosen = lists.choose_groups(wanted, available, path)
        if chosen:
            self.told.append(f"with the group {', '.join(chosen)} of {path}")
        return chosen

    def add_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.lines.append(line)
            if parsed := parse_requirement(line):
                self.names.setdefault(parsed[0], set()).update(parsed[1])


def _missing(
    names: Mapping[str, set[str]], databases: Collection[str], needs: Needs, storage: str = ""
) -> tuple[list[str], list[str]]:
    """Requirement lines to add for what the site needs and the project does not bring, and why."""
    added = list(needs(names))
    extras, told = [line for line, _why in added], [why for _line, why in added]
    for kind in map(databases_said.KINDS.__getitem__, databases):
        if kind.driver and not names.keys() & kind.drivers:
            extras.append(kind.driver)
            driver = normalize_name(re.split(r"[^\w.-]", kind.driver)[0])
            told.append(f"added {driver}: the site's database is {kind.title} and the project brings no driver")
        elif (
            kind.name == databases_said.POSTGRESQL
            and "psycopg" in names
            and not (names["psycopg"] & {"binary", "c"} or names.keys() & {"psycopg-binary", "psycopg-c", "psycopg2"})
        ):
            extras.append("psycopg[binary]")
            told.append("added psycopg[binary]: psycopg alone needs a libpq that the host may not have")
    extra, client = STORAGE_CLIENTS.get(storage.partition("://")[0], ("", ""))
    if extra and not ("django-storages" in names and (client in names or names["django-storages"] & {extra, client})):
        extras.append(f"django-storages[{extra}]")
        told.append(f"added django-storages[{extra}]: DEFAULT_STORAGE_DSN leads there")
    return extras, told


def normalize_name(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(\[(?P<extras>[^\]]*)\])?\s*($|[=<>!~@;(,\s])")
_INCLUDE = re.compile(r"(?P<option>-r|-c|--requirement|--constraint)(?:\s*=\s*|\s+|(?<=-[rc]))(?P<path>\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s*=\s*|\s+)(?P<path>\S+)")
_FIND_LINKS = re.compile(r"(?:-f|--find-links)(?:\s*=\s*|\s+)(?P<path>\S+)")
_ARCHIVE = re.compile(r"\.(whl|zip|tar\.gz|tar\.bz2|tgz)$")


def parse_requirement(line: str) -> tuple[str, set[str]] | None:
    """Name and extras of a requirement line (PEP 508, also `name @ url`); None for anything else."""
    match = _REQUIREMENT.match(line.strip())
    if match is None or "://" in match["name"] or _ARCHIVE.search(line.split(";")[0].split(" @ ")[0].strip()):
        return None
    extras = {normalize_name(extra.strip()) for extra in (match["extras"] or "").split(",") if extra.strip()}
    return normalize_name(match["name"]), extras


def requirement_lines(text: str) -> Iterator[str]:
    """The logical lines of a requirements file: joined at backslashes, without comments."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            yield line


def _file_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    content = _Content()
    for path in (choice.path, *choice.more):
        _read_file(tree, path, choice.base, content, constraint=False)
    return content


def _read_file(tree: Tree, path: str, base: str, content: _Content, *, constraint: bool) -> None:
    if path in content.inputs:
        return
    content.inputs[path] = tree.read(path)
    for line in requirement_lines(content.inputs[path]):
        if match := _INCLUDE.match(line):
            if "://" in match["path"]:
                content.told.append(f"{path} includes {match['path'].split('?')[0]}: its changes are not noticed")
                continue
            included = posixpath.normpath(posixpath.join(posixpath.dirname(path), match["path"]))
            if included not in tree.paths:
                raise EngineError(f"{path} includes {match['path']}, which is not in this revision", f"mend {path}")
            inherited = constraint or match["option"] in ("-c", "--constraint")
            _read_file(tree, included, base, content, constraint=inherited)
        elif match := (_EDITABLE.match(line) or _FIND_LINKS.match(line)):
            _add_local(tree, match["path"], base, content, path)
        elif line.startswith("-"):
            content.hashed = content.hashed or line.startswith("--require-hashes")
        else:
            content.hashed = content.hashed or "--hash=" in line
            place = line.split(" @ ")[-1].split(";")[0].strip()
            parsed = parse_requirement(line)
            if place.startswith((".", "/", "file:")) or parsed is None or _ARCHIVE.search(place):
                _add_local(tree, place, base, content, path)
            if parsed and not constraint:
                content.names.setdefault(parsed[0], set()).update(parsed[1])


def _add_local(tree: Tree, place: str, base: str, content: _Content, source: str) -> None:
    """Take what a requirement names by its path: the build sees no other file of the tree."""
    place = re.sub(r"\[[^\]]*\]$", "", place.removeprefix("file:"))
    if "://" in place or place.startswith(("git+", "//")):
        return
    path = posixpath.normpath(posixpath.join(base, place))
    found = [p for p in tree.paths if p == path or p.startswith(f"{path}/") or path == "."]
    if not found or path.startswith(("/", "..")):
        raise EngineError(f"{source} names {place}, which is not in this revision", f"mend {source}, or push the files")
    content.local = sorted({*content.local, *found})


def _derived_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    content = _Content()
    content.add_lines(choice.lines)
    return content


def _setup_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    """install_requires of a setup.cfg or a setup.py, which is read and never run."""
    content = _Content()
    text = tree.read(choice.path)
    if choice.kind == "setup-cfg":
        lines, extras = lists.setup_cfg_requires(text), lists.setup_cfg_extras(text)
    else:
        lines, extras = lists.setup_py_requires(text), lists.setup_py_requires(text, "extras_require") or {}
        if not isinstance(lines, list | tuple) or not all(isinstance(line, str) for line in lines):
            raise EngineError(
                f"{choice.path} computes its dependencies (install_requires)",
                "write them to a requirements.txt, commit it and push again",
            )
    for line in lines:
        if line.startswith("file:"):
            for name in line.removeprefix("file:").split(","):
                path = posixpath.normpath(posixpath.join(choice.base, name.strip()))
                _read_file(tree, path, choice.base, content, constraint=False)
                content.lines.append(f"-r {_from_generated(choice.base, path)}")
        else:
            content.add_lines([line])
    for name in content.choose_groups(groups, extras if isinstance(extras, dict) else {}, choice.path):
        content.add_lines(extras[name])
    return content


def _toml(tree: Tree, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(tree.read(path))
    except tomllib.TOMLDecodeError as error:
        raise EngineError(f"{path} is not valid TOML: {error}", f"mend {path} and push again") from None


def _pyproject_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    pyproject = _toml(tree, choice.path)
    project, tool = pyproject.get("project", {}), pyproject.get("tool", {})
    content = _Content()
    if "dependencies" in project.get("dynamic", []):
        return _dynamic_content(tree, choice, tool, groups)
    if "dependencies" not in project and "poetry" in tool:
        raise EngineError(
            f"{choice.path} is Poetry's and there is no poetry.lock beside it",
            "run `poetry lock`, commit poetry.lock and push again",
        )
    if "dependencies" not in project and "flit" in tool and "metadata" in tool["flit"]:
        raise EngineError(
            f"{choice.path} lists its dependencies in the old form of Flit",
            "write them to [project] dependencies, or to a requirements.txt, and push again",
        )
    content.inputs[choice.path] = tree.read(choice.path)
    content.add_lines(project.get("dependencies", []))
    _choose_pyproject_groups(pyproject, choice.path, groups, content)
    _add_sources(tree, pyproject, choice, content)
    return content


def _choose_pyproject_groups(
    pyproject: Mapping[str, Any], path: str, groups: Sequence[str] | None, content: _Content
) -> None:
    """Take the extras and groups the site needs: as words for uv, and as lines for pip."""
    extras, names = lists.pyproject_groups(pyproject)
    for name in content.choose_groups(groups, [*extras, *names], path):
        content.options += ["--extra" if name in extras else "--group", name]
        if name in extras:
            content.add_lines(pyproject["project"]["optional-dependencies"][name])
        else:
            content.add_lines(group_lines(pyproject, name))


def group_lines(pyproject: Mapping[str, Any], name: str, seen: frozenset[str] = frozenset()) -> list[str]:
    """The lines of a group, with those of the groups it includes (PEP 735)."""
    lines: list[str] = []
    for each in pyproject.get("dependency-groups", {}).get(name, []):
        if isinstance(each, str):
            lines.append(each)
        elif (other := each.get("include-group", "")) not in seen:
            lines += group_lines(pyproject, other, seen | {name})
    return lines


def _dynamic_content(
    tree: Tree, choice: Requirements, tool: Mapping[str, Any], groups: Sequence[str] | None
) -> _Content:
    """Dependencies that setuptools takes from elsewhere: from files, from setup.cfg, from setup.py."""
    files = tool.get("setuptools", {}).get("dynamic", {}).get("dependencies", {}).get("file", [])
    for kind, name in (("setup-cfg", "setup.cfg"), ("setup-py", "setup.py")) if not files else ():
        path = posixpath.normpath(posixpath.join(choice.base, name))
        if path not in tree.paths:
            continue
        text = tree.read(path)
        if lists.setup_cfg_requires(text) if kind == "setup-cfg" else lists.setup_py_requires(text) != []:
            return _setup_content(tree, Requirements(kind, path, choice.reason, choice.base), groups)
    if not files:
        raise EngineError(
            f"{choice.path} computes its dependencies while it is built (dynamic)",
            "write them to a requirements.txt, commit it and push again",
        )
    content = _Content()
    for name in [files] if isinstance(files, str) else files:
        path = posixpath.normpath(posixpath.join(choice.base, name))
        _read_file(tree, path, choice.base, content, constraint=False)
        content.lines.append(f"-r {_from_generated(choice.base, path)}")
    return content


def _from_generated(base: str, path: str) -> str:
    return posixpath.relpath(path, GENERATED)


def _add_sources(tree: Tree, pyproject: Mapping[str, Any], choice: Requirements, content: _Content) -> None:
    """Packages of the same repository that [tool.uv.sources] names by path."""
    for sources in pyproject.get("tool", {}).get("uv", {}).get("sources", {}).values():
        for source in sources if isinstance(sources, list) else [sources]:
            if "path" in source:
                _add_local(tree, source["path"], choice.base, content, choice.path)


def _uv_lock_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    pyproject_path = posixpath.normpath(posixpath.join(choice.base, "pyproject.toml"))
    pyproject, lock = _toml(tree, pyproject_path), _toml(tree, choice.path)
    content = _Content(inputs={path: tree.read(path) for path in (pyproject_path, choice.path)})
    extras, names = lists.pyproject_groups(pyproject)
    chosen = content.choose_groups(groups, [*extras, *names], pyproject_path)
    content.options = [word for name in chosen for word in ("--extra" if name in extras else "--group", name)]
    content.names = locked_names(lock, pyproject.get("project", {}).get("name", ""), chosen)
    for package in lock.get("package", []):
        source = package.get("source", {})
        place = source.get("directory") or source.get("editable") or source.get("virtual") or source.get("path")
        if place and place != ".":
            _add_local(tree, place, choice.base, content, choice.path)
    return content


def locked_names(lock: Mapping[str, Any], root: str, groups: Sequence[str] = ()) -> dict[str, set[str]]:
    """What a uv.lock installs for `root` without its development groups: name -> extras asked for.

    A package that only a development group needs is in the lock, too, and must not count.

    :param groups: extras and groups of the root that are installed as well.
    """
    packages: dict[str, list[Mapping[str, Any]]] = {}
    for package in lock.get("package", []):
        packages.setdefault(normalize_name(package["name"]), []).append(package)
    names: dict[str, set[str]] = {}
    waiting: list[tuple[str, str]] = [(normalize_name(root), name) for name in ("", *groups)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for package in packages.get(name, []):
            needed = package.get("dependencies", [])
            if extra:
                inner = {**package.get("dev-dependencies", {}), **package.get("optional-dependencies", {})}
                needed = inner.get(extra, [])
            for dependency in needed:
                other, extras = normalize_name(dependency["name"]), dependency.get("extra", [])
                names.setdefault(other, set()).update(extras)
                waiting += [(other, ""), *((other, each) for each in extras)]
    return names


def _pylock_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    names = {normalize_name(package["name"]): set[str]() for package in _toml(tree, choice.path).get("packages", [])}
    return _Content(names=names, inputs={choice.path: tree.read(choice.path)})


def _locked_content(tree: Tree, choice: Requirements, content: _Content, locked: locks.Locked) -> _Content:
    """The lines of a lock, which are all that is installed."""
    content.lines += [f"--extra-index-url {url}" for url in locked.indexes]
    content.add_lines(locked.lines)
    for name in locked.names:
        content.names.setdefault(normalize_name(name.partition("[")[0]), set())
    for place in locked.local:
        _add_local(tree, place, choice.base, content, choice.path)
    content.exact = True
    return content


def _poetry_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    """What a Poetry project's lock says, with its hashes."""
    lock, content = _toml(tree, choice.path), _Content()
    available = locks.poetry_groups(lock)
    if available is None:
        return _held_content(tree, choice, lock)
    chosen = content.choose_groups(groups, available, choice.path)
    return _locked_content(tree, choice, content, locks.poetry(lock, chosen))


def _pdm_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    """What a PDM project's lock says, with its hashes."""
    lock, content = _toml(tree, choice.path), _Content()
    available = locks.pdm_groups(lock)
    if available is None:
        return _held_content(tree, choice, lock)
    chosen = content.choose_groups(groups, available, choice.path)
    return _locked_content(tree, choice, content, locks.pdm(lock, chosen))


def _held_content(tree: Tree, choice: Requirements, lock: Mapping[str, Any]) -> _Content:
    """The main dependencies of a pyproject.toml, held to the versions and hashes of a lock without groups.

    Such a lock does not tell which of its packages are for development. Poetry's own version notation need not
    be understood: the lock says what it came to.
    """
    pyproject_path = posixpath.normpath(posixpath.join(choice.base, "pyproject.toml"))
    pyproject = _toml(tree, pyproject_path)
    content = _Content()
    content.add_lines(pyproject.get("project", {}).get("dependencies", []))
    for name, value in pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {}).items():
        table = value if isinstance(value, dict) else {}
        if normalize_name(name) == "python" or normalize_name(name) in content.names or table.get("optional"):
            continue
        if not isinstance(value, (str, dict)) or table.keys() & {"git", "path", "url"}:
            raise EngineError(
                f"{pyproject_path} says where {name} comes from in a way that only Poetry understands",
                "run `poetry lock` of Poetry 2, commit poetry.lock and push again",
            )
        extras = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
        marker = f" ; {table['markers']}" if table.get("markers") else ""
        content.add_lines([f"{name}{extras}{marker}"])
    content.constraints = locks.pins(lock)
    content.hashed = any("--hash=" in line for line in content.constraints)
    content.names = {**{name: set() for name in locks.reachable(lock, content.names)}, **content.names}
    return content


def _pipfile_content(tree: Tree, choice: Requirements, groups: Sequence[str] | None) -> _Content:
    """What a Pipfile.lock says, with its hashes and its indexes."""
    try:
        lock = json.loads(tree.read(choice.path))
    except ValueError as error:
        raise EngineError(f"{choice.path} is not valid JSON: {error}", "run `pipenv lock` and push again") from None
    content = _Content()
    chosen = content.choose_groups(groups, locks.pipfile_groups(lock), choice.path)
    return _locked_content(tree, choice, content, locks.pipfile(lock, chosen))


_CONTENT: Mapping[str, Callable[[Tree, Requirements, Sequence[str] | None], _Content]] = {
    "file": _file_content,
    "derived": _derived_content,
    "pyproject": _pyproject_content,
    "uv-lock": _uv_lock_content,
    "pylock": _pylock_content,
    "poetry-lock": _poetry_content,
    "pdm-lock": _pdm_content,
    "setup-cfg": _setup_content,
    "setup-py": _setup_content,
    "pipfile-lock": _pipfile_content,
}


def _uv_configuration(tree: Tree, choice: Requirements) -> dict[str, str]:
    """Files from which uv learns the project's package indexes."""
    found = {}
    for name in ("uv.toml", "pyproject.toml"):
        path = posixpath.normpath(posixpath.join(choice.base, name))
        if path in tree.paths and (name == "uv.toml" or "[tool.uv" in tree.read(path)):
            found[path] = tree.read(path)
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


# -- commands --------------------------------------------------------------------------------


def generated_files(plan: EnvironmentPlan) -> dict[str, str]:
    """Files the build reads that are not the project's, by path beside its inputs."""
    files = {}
    if plan.lines:
        files[f"{GENERATED}/requirements.txt"] = "".join(f"{line}\n" for line in plan.lines)
    if plan.constraints:
        files[f"{GENERATED}/constraints.txt"] = "".join(f"{line}\n" for line in plan.constraints)
    return files


def build_commands(
    plan: EnvironmentPlan, *, python: str, venv: Path, inputs: Path, uv: Path | None = UV
) -> list[list[str]]:
    """The commands that make and fill a virtualenv, in order; run them in `working_directory`.

    Extras come by a command of their own where the project demands hashes or brings a lock: ours
    have no hash, and what is locked is not resolved anew.

    :param python: the interpreter's path.
    :param inputs: the directory that holds the plan's inputs.
    :param uv: None to use pip, where uv cannot be had.
    :raises EngineError: when only uv can read what the project brings.
    """
    kind = plan.requirements.kind
    target = str(venv / "bin" / "python")
    if uv is None and kind in ("uv-lock", "pylock"):
        raise EngineError(
            f"{plan.requirements.path} can only be read by uv, which is not on this host",
            "run site.yml, which installs uv, or name a requirements.txt as the site's requirements",
        )
    if uv is None:
        make = [python, "-m", "venv", str(venv)]
        install = [target, "-m", "pip", "install", "--no-input", "--progress-bar=off"]
    else:
        make = [str(uv), "venv", "--no-project", "--allow-existing", "--python", python, str(venv)]
        install = [str(uv), "pip", "install", "--python", target]
    if kind == "uv-lock":
        root = _beside(inputs, plan.requirements.base)
        sync = ["sync", "--frozen", "--no-dev", "--no-install-project", "--python", python, "--project", str(root)]
        first, separate = [str(uv), *sync, *plan.options], True
    else:
        first = [*install, *(["--no-deps"] if plan.exact else []), *_sources(plan, inputs, uv)]
        separate = plan.hashed or plan.exact or kind == "pylock"
    if separate:
        return [make, first, *([[*install, *plan.extras]] if plan.extras else [])]
    return [make, [*first, *plan.extras]]


def _sources(plan: EnvironmentPlan, inputs: Path, uv: Path | None) -> list[str]:
    path = plan.requirements.path
    if plan.requirements.kind in ("file", "pylock"):
        return [word for each in (path, *plan.requirements.more) for word in ("-r", str(inputs / each))]
    if plan.requirements.kind == "pyproject" and uv is not None and path in plan.inputs:
        before = ("", *plan.options)
        groups = [
            f"{inputs / path}:{word}" if option == "--group" else word
            for option, word in zip(before, plan.options, strict=False)
        ]
        return ["-r", str(inputs / path), *groups]  # so that [tool.uv.sources] counts
    words = []
    for name in generated_files(plan):
        words += ["-c" if name.endswith("constraints.txt") else "-r", str(inputs / name)]
    return words


def _beside(directory: Path, path: str) -> Path:
    return directory if path == "." else directory / path


def uv_environment(paths: SitePaths, venv: Path | None = None) -> dict[str, str]:
    """Variables for uv (and pip) when it builds for a site.

    /etc/uv/uv.toml stays in force: an operator's package index is said there, for all sites.

    :param venv: for `uv sync`, which otherwise makes an environment of its own beside the lock.
    """
    variables = {
        "HOME": str(paths.cache),
        "UV_CACHE_DIR": str(paths.cache / "uv"),
        # A hard link into the cache would let whoever owns the cache write into a live environment.
        "UV_LINK_MODE": "copy",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_COMPILE_BYTECODE": "1",
        "UV_NO_PROGRESS": "1",
        # An editable install would point into the directory of one build.
        "UV_NO_EDITABLE": "1",
        # The host's certificates, for companies with their own; the second name is for older uv.
        # Not SSL_CERT_FILE: where that file is missing, uv trusts nobody.
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
        "PIP_CACHE_DIR": str(paths.cache / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "NO_COLOR": "1",
    }
    if venv is not None:
        variables["UV_PROJECT_ENVIRONMENT"] = str(venv)
    return variables


# -- failures --------------------------------------------------------------------------------

#: What a failed build says -> Debian packages that mend it.
_PACKAGES: Sequence[tuple[str, tuple[str, ...]]] = (
    (r"pg_config executable not found|pg_config is required|libpq-fe\.h|pg_config\.h", ("libpq-dev",)),
    (r"mysql_config|mysql\.h|mysqlclient", ("default-libmysqlclient-dev", "pkg-config")),
    (r"lber\.h|ldap\.h|sasl\.h", ("libldap-dev", "libsasl2-dev")),
    (r"libxml/|libxml2|libxslt", ("libxml2-dev", "libxslt1-dev")),
    (r"xmlsec", ("libxmlsec1-dev", "pkg-config")),
    (r"ffi\.h", ("libffi-dev",)),
    (r"openssl/\w+\.h", ("libssl-dev",)),
    (r"headers or library files could not be found for jpeg|jpeglib\.h", ("libjpeg-dev", "zlib1g-dev")),
    (r"headers or library files could not be found for zlib|zlib\.h", ("zlib1g-dev",)),
    (r"gdal-config|gdal\.h", ("libgdal-dev",)),
    (r'Dependency "cairo" not found|cairo\.h', ("libcairo2-dev", "pkg-config")),
    (r"magic\.h", ("libmagic-dev",)),
    (r"curl-config|curl/curl\.h", ("libcurl4-openssl-dev", "libssl-dev")),
    (r"libmemcached/\w+\.h", ("libmemcached-dev", "zlib1g-dev")),
    (r"krb5-config|gssapi\.h|gssapi/\w+\.h", ("libkrb5-dev",)),
    (r"sql\.h", ("unixodbc-dev",)),
    (r"sys/acl\.h", ("libacl1-dev", "pkg-config")),
    (r"lz4\.h|liblz4\.pc", ("liblz4-dev", "pkg-config")),
    (r"zstd\.h|libzstd\.pc", ("libzstd-dev", "pkg-config")),
    (r"xxhash\.h|libxxhash\.pc", ("libxxhash-dev", "pkg-config")),
    (r"[Rr]ust(c| compiler)|cargo", ("cargo",)),
    (r"pkg-config: not found|Did not find pkg-config|No such file or directory: 'pkg-config'", ("pkg-config",)),
)
#: Packages of PyPI that are built on each host, for they bring no wheel for Linux -> what their build needs besides
#: a compiler. A build stops at the first thing it misses, so what it says is never all.
_BUILT: Mapping[str, tuple[str, ...]] = {
    "borgbackup": ("libacl1-dev", "liblz4-dev", "libssl-dev", "libxxhash-dev", "libzstd-dev", "pkg-config"),
    "dbus-python": ("libdbus-1-dev", "libglib2.0-dev", "pkg-config"),
    "gdal": ("libgdal-dev",),
    "gssapi": ("libkrb5-dev",),
    "mysqlclient": ("default-libmysqlclient-dev", "pkg-config"),
    "psycopg-c": ("libpq-dev",),
    "psycopg2": ("libpq-dev",),
    "pycairo": ("libcairo2-dev", "pkg-config"),
    "pycups": ("libcups2-dev",),
    "pygobject": ("libgirepository-2.0-dev", "libcairo2-dev", "pkg-config"),
    "pygraphviz": ("libgraphviz-dev", "pkg-config"),
    "pyicu": ("libicu-dev", "pkg-config"),
    "pylibmc": ("libmemcached-dev", "zlib1g-dev"),
    "python-ldap": ("libldap-dev", "libsasl2-dev"),
    "uwsgi": (),
    "xmlsec": ("libxmlsec1-dev", "pkg-config"),
}
#: Packages of PyPI with wheels, but none for Pythons newer than they are: an old pin of them is built, too.
_BUILT_WHEN_OLD: Mapping[str, tuple[str, ...]] = {
    "bcrypt": ("cargo", "libffi-dev"),
    "cffi": ("libffi-dev",),
    "cryptography": ("cargo", "libffi-dev", "libssl-dev", "pkg-config"),
    "lxml": ("libxml2-dev", "libxslt1-dev"),
    "pillow": ("libfreetype-dev", "libjpeg-dev", "libwebp-dev", "zlib1g-dev"),
    "psycopg2-binary": ("libpq-dev",),
    "pycurl": ("libcurl4-openssl-dev", "libssl-dev"),
    "pymssql": ("freetds-dev",),
    "pynacl": ("libffi-dev",),
    "pyodbc": ("unixodbc-dev",),
    "shapely": ("libgeos-dev",),
}
_COMPILER = ("build-essential",)
_HEADERS = "python3-dev"
_COMPILES = re.compile(
    r"(gcc|cc|g\+\+|clang)['\"]? (failed|exited|\()|(gcc|cc|g\+\+)['\"]?:? (No such file|not found)|Unknown compiler"
    r"|No such file or directory: '[\w-]*(gcc|cc|g\+\+)'|\.h: No such file|Python\.h|unable to execute '?[\w-]*gcc"
)
DPKG_STATUS = Path("/var/lib/dpkg/status")


def needs_of(name: str) -> tuple[str, ...] | None:
    """What a package of PyPI is known to need besides a compiler when it is built; None: nothing is known of it."""
    built = normalize_name(re.split(r"[=<>~!\[ ]", name)[0])
    return _BUILT.get(built, _BUILT_WHEN_OLD.get(built))


def needed_packages(output: str, name: str, plan: EnvironmentPlan, installed: Collection[str]) -> list[str]:
    """Debian packages that a failed build asks for, all in one: what it said, what its package is known to need, and
    what the other packages of the plan that are built here need, too.

    :param output: what the build said.
    :param name: the package that could not be built.
    :param installed: Debian packages of this host.
    """
    wanted = [package for pattern, packages in _PACKAGES if re.search(pattern, output) for package in packages]
    wanted += needs_of(name) or ()
    if not (wanted or needs_of(name) is not None or _COMPILES.search(output)):
        return []
    for each in plan.names:
        wanted += _BUILT.get(each, ())
    missing = [package for package in [*_COMPILER, _HEADERS, *wanted] if package not in installed]
    return sorted(set(missing))


def debian_packages(status: Path = DPKG_STATUS) -> frozenset[str]:
    """What dpkg has installed, read off its own list; nothing where there is none."""
    try:
        text = status.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = re.findall(r"^Package: (\S+)\nStatus: \S+ \S+ installed$", text, re.MULTILINE)
    return frozenset(found)


def build_variables(paths: SitePaths) -> dict[str, str]:
    """What builds of a site get and nothing else does: credentials of package indexes and registries."""
    try:
        return parse(paths.build_env_file.read_text())
    except (FileNotFoundError, PermissionError):  # without root there are no credentials, either
        return {}


#: What uv and Python say of a certificate no CA could make good -> the end of a sentence about it.
_CERTIFICATES: Sequence[tuple[str, str]] = (
    (r"certificate (has )?expired", "that has expired"),
    (r"not valid for name|NotValidForName|Hostname mismatch|IP address mismatch", "for another name"),
    (r"CaUsedAsEndEntity", "that is a CA's own: it needs one that a CA signed"),
)


def _index_host(text: str) -> str:
    """The host of the last URL in a text, as part of a sentence; empty where there is none."""
    hosts = re.findall(r"https?://(?:[^/\s@]*@)?([^/\s`)]+)", text)
    return f" on {hosts[-1]}" if hosts else ""


def explain_failure(output: str, plan: EnvironmentPlan, installed: Collection[str] = ()) -> EngineError:
    """The error for a build that failed, from what uv or pip said.

    The first line is the one a person needs; everything else is in the detail.

    :param installed: Debian packages of this host.
    """
    source = plan.requirements.path or "the requirements"
    text = " ".join(output.split())
    detail = "\n".join(output.strip().splitlines()[-60:])
    if match := re.search(r"current Python version \(([\d.]+)\) does not satisfy Python\s*([<>=!~\d.,*]+)", text):
        return EngineError(
            f"{source} needs Python {match[2].rstrip(',.')}, this host's is {match[1]}",
            "loosen the requirement, or name a newer interpreter: python (and packages, which installs it)",
            detail,
        )
    if re.search(r"Failed to inspect Python interpreter|No interpreter found|ensurepip is not available", text):
        return EngineError(
            "the site's interpreter cannot make a virtualenv",
            "add python3-venv (python3.X-venv) to the site's packages and run site.yml, or mend python",
            detail,
        )
    if match := re.search(r"\b40[13] (Unauthorized|Forbidden|Client Error|Error, Credentials)", text):
        return EngineError(
            f"the package index{_index_host(text[: match.end()]) or _index_host(text)} refuses this host",
            "give its URL with credentials in package_indexes, from the vault, and run site.yml",
            detail,
        )
    if match := re.search(r"(?:Because|ResolutionImpossible).*?(?=$| hint: )", text):
        private = "; what an index of your own has: package_indexes" if "was not found in the" in match[0] else ""
        return EngineError(
            f"{source} cannot be installed: {match[0][:600]}", f"mend {source} and push again{private}", detail
        )
    built = re.search(r"Failed to (?:build|download and build) (?:`([^`]+)`|(\S+))", text) or re.search(
        r"Failed building wheel for (\S+)()", text
    )
    if built:
        name = (built[1] or built[2]).partition(" @ ")[0]
        packages = needed_packages(output, name, plan, installed)
        missing = re.search(r"(\S+\.h): No such file", output)
        if missing and not _is_known(missing[1]) and not {*packages}.intersection(needs_of(name) or ()):
            also = f" (and {', '.join(packages)})" if packages else ""
            hint = f"add the Debian package that holds {missing[1]} to the site's packages{also}, and run site.yml"
        elif packages:
            hint = f"add to the site: packages: [{', '.join(packages)}], and run site.yml"
        else:
            hint = (
                "a newer release of it may have a ready wheel for this Python, an older Python may build it (python);"
                " or add what it needs to packages"
            )
        return EngineError(f"{name} could not be built on this host", hint, detail)
    if re.search(r"UnknownIssuer|CERTIFICATE_VERIFY_FAILED|certificate verify failed|invalid peer certificate", text):
        why = next((why for pattern, why in _CERTIFICATES if re.search(pattern, text)), "")
        return EngineError(
            f"the package index{_index_host(text)} shows a certificate {why or 'this host does not trust'}",
            "mend the certificate there"
            if why
            else "name the file of the CA that signed it in djdeploy_ca_certificates and run site.yml",
            detail,
        )
    if re.search(r"dns error|Failed to fetch|error sending request|Connection refused|NewConnectionError", text):
        return EngineError(
            "the package index cannot be reached from this host",
            "check the host's network, or name an index of your own in /etc/uv/uv.toml; then push again",
            detail,
        )
    if re.search(r"[Hh]ash mismatch|DO NOT MATCH THE HASHES", text):
        return EngineError(
            f"a package is not the one {source} has the hash of", f"make the hashes in {source} anew", detail
        )
    if re.search(r"No space left on device", text):
        return EngineError("the disk of this host is full", "run `djdeploy doctor` on the host", detail)
    if match := re.search(r"No matching distribution found for (\S+)", text):
        return EngineError(
            f"{source} cannot be installed: there is no {match[1]}",
            f"mend {source} and push again; what an index of your own has: package_indexes",
            detail,
        )
    lines = [line.strip() for line in output.splitlines() if re.match(r"\s*(error|ERROR|cause|×)", line)]
    first = re.sub(r"^(error|ERROR|×):?\s*", "", lines[0]) if lines else "the command failed without a word"
    return EngineError(f"{source} cannot be installed: {first}", f"mend {source} and push again", detail)


def _is_known(header: str) -> bool:
    return header.endswith("Python.h") or any(re.search(pattern, header) for pattern, _packages in _PACKAGES)


# -- doing -----------------------------------------------------------------------------------


def probe_python(python: str, *, run: Runner = run) -> Python:
    """Ask an interpreter what it is.

    :param python: the site's `python`: a name on PATH or a path.
    :raises EngineError: when it is not on this host.
    """
    code = (
        "import os,sys,json;v=sys.version_info;"
        "print(json.dumps([os.path.realpath(sys.executable),f'{v[0]}.{v[1]}',sys.implementation.name]))"
    )
    hint = "add the interpreter to the site's packages (python3.X and python3.X-venv) and run site.yml, or mend python"
    try:
        completed = run([python, "-I", "-c", code], timeout=PROBE_TIMEOUT)
    except EngineError as error:
        raise EngineError(f"python: {python} is not on this host", hint, error.message) from None
    if completed.returncode != 0:
        raise EngineError(f"python: {python} does not work on this host", hint, completed.stderr)
    executable, version, implementation = json.loads(completed.stdout)
    return Python(executable, version, implementation)


def is_complete(venv: Path) -> bool:
    """Whether an environment was built to its end; the marker is written last, and root's: a package can bring one."""
    try:
        told = os.lstat(venv / MARKER)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(told.st_mode) and told.st_uid in (0, os.geteuid())


def build_environment(
    plan: EnvironmentPlan,
    paths: SitePaths,
    code_dir: Path,
    *,
    python: str,
    run: Runner = run,
    on_line: Callable[[str], None] = lambda line: None,
    uv: Path | None = UV,
    boxed: bool = False,
    memory_max: str | None = None,
) -> Path:
    """Make the environment of a plan unless it is there, and return its path.

    Built where it will stay, for scripts hold their interpreter's absolute path. It belongs to the
    build user while packages are installed (their setup code runs then) and to root afterwards:
    neither the build user nor the site can change what a release runs.

    :param code_dir: the tree on disk, for what requirements name by path.
    :param python: the interpreter's path.
    :param on_line: gets what uv says, line by line.
    :param boxed: install in a sandbox: what packages run while they are built sees nothing else, and ends with it.
    :param memory_max: of the sandbox, as `sandbox.Sandbox.memory_max`.
    :raises EngineError: when a package cannot be installed; nothing usable is left behind then.
    """
    venv = paths.environments / plan.fingerprint
    if is_complete(venv):
        return venv
    inputs = paths.environments / f".{plan.fingerprint}.inputs"
    beneath.remove(venv)
    beneath.remove(inputs)
    build_user = paths.build_user if os.geteuid() == 0 else None
    account = user_arguments(build_user)
    uid, gid = _id(account, "user"), _id(account, "group")
    try:
        _write_inputs(plan, inputs, code_dir, uid, gid)
        beneath.make_directory(venv, 0o755, uid, gid)
        environment = {**uv_environment(paths, venv), **build_variables(paths)}
        commands = plan.commands(python, venv, inputs, uv)
        if boxed:
            _install_boxed(plan, paths, commands, inputs, venv, environment, on_line, memory_max, run)
            commands = []
        for command in commands:
            completed = run(
                command,
                user=build_user,
                env=environment,
                cwd=_beside(inputs, plan.requirements.base),
                timeout=BUILD_TIMEOUT,
                on_stdout=lambda line: on_line(without_passwords(line)),
                on_stderr=lambda line: on_line(without_passwords(line)),
                bounded=BOTH,
            )
            if completed.returncode != 0:
                raise explain_failure(without_passwords(completed.stdout + completed.stderr), plan, debian_packages())
        if build_user:
            leftovers.end(build_user)
        owner = (0, 0) if build_user else (-1, -1)
        beneath.remove(venv / MARKER)  # a package may bring one: a kill while it is taken would leave it for ours
        beneath.take(venv, *owner, mode=beneath.plain)
        marker = {"requirements": plan.requirements.path, "extras": list(plan.extras), "told": list(plan.told)}
        beneath.write(venv / MARKER, f"{json.dumps(marker)}\n".encode(), 0o644, *owner)
    except BaseException:
        beneath.remove(venv)
        raise
    finally:
        beneath.remove(inputs)
    return venv


def _install_boxed(
    plan: EnvironmentPlan,
    paths: SitePaths,
    commands: Iterable[Sequence[str]],
    inputs: Path,
    venv: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    memory_max: str | None,
    run: Runner,
) -> None:
    """Carry out the commands in one unit: nothing of them runs any more when it has ended.

    :raises EngineError: for the first that fails.
    """
    box = sandbox.Sandbox(
        unit=paths.build_unit,
        user=paths.build_user,
        tree=inputs,
        cache=paths.cache,
        environment=venv,
        writes=(venv,),
        memory_max=memory_max or sandbox.Sandbox.memory_max,
        timeout=int(BUILD_TIMEOUT),
        bound_to=sandbox.bound_unit(leftovers.read("self", "cgroup")),
        slice=paths.slice,
    )
    ended = sandbox.run_with(
        box,
        "\n".join(map(shlex.join, commands)),
        plan.requirements.base,
        {**BASE_ENVIRONMENT, **environment},
        network=True,
        start=run,
        on_line=lambda line: on_line(without_passwords(line)),
    )
    if ended.result == "timeout":
        raise EngineError(
            f"installing the packages did not end within {BUILD_TIMEOUT:g} s", detail=without_passwords(ended.output)
        )
    if ended.result == "oom-kill":
        raise EngineError(
            f"installing the packages had no memory left (limit {box.memory_max})",
            "raise build_memory_max, or give the host memory or swap",
            without_passwords(ended.output),
        )
    if ended.status:
        raise explain_failure(without_passwords(ended.output), plan, debian_packages())


def installed_packages(venv: Path) -> dict[str, str]:
    """Name (normalised) -> version of everything installed, read off directory names."""
    found: dict[str, str] = {}
    for name in _below(venv, ["lib", "python", "site-packages"]):
        if name.endswith(".dist-info"):
            package, _dash, version = name.removesuffix(".dist-info").partition("-")
            found[normalize_name(package)] = version
    return dict(sorted(found.items()))


def _below(path: Path, starts: Sequence[str]) -> Iterator[str]:
    """The names of directories in those of a tree whose names start so, level by level; no link is followed."""
    try:
        with beneath.opened(path) as top:
            for folder in beneath.walk(top):
                depth = folder.path.count("/") + 1 if folder.path else 0
                if depth == len(starts):
                    yield from folder.folders
                    folder.folders.clear()
                else:
                    folder.folders[:] = [name for name in folder.folders if name.startswith(starts[depth])]
    except (FileNotFoundError, NotADirectoryError):
        return


def _id(account: Mapping[str, object], key: str) -> int:
    value = account.get(key)
    return value if isinstance(value, int) else -1  # which leaves an owner as it is


def _write_inputs(plan: EnvironmentPlan, inputs: Path, code_dir: Path, uid: int, gid: int) -> None:
    """Lay out what the build may read; nobody else may, for an index URL can hold a password."""
    beneath.make_directory(inputs, 0o700, -1, -1, parents=True)
    with beneath.opened(inputs) as top, beneath.opened(code_dir) as code:
        for path, text in {**plan.inputs, **generated_files(plan)}.items():
            beneath.put(top, path, text.encode(errors="surrogateescape"), 0o644, -1, -1, folders=(0o755, -1, -1))
        for path in plan.local:
            try:
                source = beneath.open_inside(code, path)
            except beneath.Outside:
                raise EngineError(f"{path} leads out of the project", "remove the symlink and push again") from None
            with os.fdopen(source, "rb") as file:
                beneath.put(top, path, file, 0o644, -1, -1, folders=(0o755, -1, -1))
    # Build backends write beside what they build (`*.egg-info`, `build/`).
    beneath.give(inputs, uid, gid)
