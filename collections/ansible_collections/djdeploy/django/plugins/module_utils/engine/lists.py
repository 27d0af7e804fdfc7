# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a project writes its dependencies down.

No file of a kind in which people write dependencies is passed over in silence: it is read, or the push is
refused with what to do. Only a project that writes none at all gets the Django it was started with.
"""

from __future__ import annotations

import ast
import configparser
import posixpath
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import EngineError
from .project import Tree, inside_tree


@dataclass(frozen=True)
class Requirements:
    """Where a project's dependencies are written.

    :param kind: 'file' (pip's format), 'uv-lock', 'pylock', 'poetry-lock', 'pdm-lock', 'pipfile-lock', 'pyproject',
        'setup-cfg', 'setup-py' or 'derived' (nothing is written, `lines` are ours).
    :param path: the file in the tree; empty when derived.
    :param base: the directory from which the file's relative paths are meant.
    :param more: files that belong to it: a list for production that holds only what production needs besides.
    :param unread: other lists beside it, which therefore do not count.
    """

    kind: str
    path: str
    reason: str
    base: str = "."
    lines: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """One form of list: what its path looks like (beside manage.py or above), and why it is taken."""

    kind: str
    pattern: str
    reason: str


# -- which files are lists -------------------------------------------------------------------

_WORD = r"(?:pip[-_])?(?:requirements?|requires|reqs?|deps|dependencies)"
_TEXT = r"\.(?:txt|pip|lock)"
_STAGES = ("production", "prod", "live", "deploy", "deployment")
_BASES = r"(?:base|common|core|main|default|all|requirements|runtime|app)"
_FOR_PRODUCTION = "it is the list for production"
_PINS = "it pins every package"
_OWN = "it is the project's list"

#: The first that fits is taken.
RULES: tuple[Rule, ...] = (
    *(Rule("file", rf"(?:{_WORD}[-_./]{stage}|{stage}[-_.]{_WORD}){_TEXT}", _FOR_PRODUCTION) for stage in _STAGES),
    *(Rule("pylock", rf"pylock\.{stage}\.toml", _FOR_PRODUCTION) for stage in _STAGES),
    Rule("uv-lock", r"uv\.lock", _PINS),
    Rule("pylock", r"pylock\.toml", _PINS),
    Rule("poetry-lock", r"poetry\.lock", _PINS),
    Rule("pdm-lock", r"pdm\.lock", _PINS),
    Rule("pipfile-lock", r"pipfile\.lock", _PINS),
    Rule("file", r"requirements\.lock", _PINS),
    Rule("file", r"requirements\.txt", _OWN),
    Rule("file", r"requirements/base\.txt", "there is no list for production"),
    Rule("file", r"requirements/requirements\.txt", _OWN),
    Rule("file", rf"{_WORD}{_TEXT}", _OWN),
    Rule("file", rf"{_WORD}[-_./]{_BASES}{_TEXT}", "there is no list for production"),
    Rule("pyproject", r"pyproject\.toml", "it lists the dependencies"),
    Rule("setup-cfg", r"setup\.cfg", "it lists the dependencies (install_requires)"),
    Rule("setup-py", r"setup\.py", "it lists the dependencies (install_requires)"),
    *(Rule("file", rf"{_WORD}[-_./]{stage}\.in", "nothing else lists them, and it pins nothing") for stage in _STAGES),
    Rule("file", rf"{_WORD}(?:[-_./]{_BASES})?\.in", "nothing else lists them, and it pins nothing"),
)
_RULES = [(rule, re.compile(rule.pattern, re.IGNORECASE)) for rule in RULES]

#: A list of a name that no rule knows.
_ANY = re.compile(rf"(?:{_WORD}[-_./][\w.-]+|[\w.-]+[-_.]{_WORD})\.(?:txt|pip|in)", re.IGNORECASE)
_NOT_TO_SERVE = re.compile(
    r"(?:^|[-_./])(?:dev|devel|develop|development|local|tests?|testing|ci|tox|docs?|documentation|lint(?:ers?)?|format|"
    r"debug|build|tools?|typing|mypy|constraints?|optional|extras?|examples?|staging)(?:$|[-_.])",
    re.IGNORECASE,
)
_NEEDS_PYPROJECT = ("uv-lock", "poetry-lock", "pdm-lock")
_NOT_SEARCHED = re.compile(
    r"(?:^|/)(?:\.[^/]+|node_modules|site-packages|v?env|virtualenv|__pycache__|docs?|tests?|examples?|samples?|vendor|"
    r"third_party|frontend|static)/",
    re.IGNORECASE,
)

_INSTEAD = "write what the site needs to a requirements.txt, commit it and push again"
#: Lists that cannot be read: name -> what is wrong, what to do.
_REFUSED: Mapping[str, tuple[str, str]] = {
    "pipfile": (
        "the project lists its dependencies in {path}, and there is no Pipfile.lock",
        "run `pipenv lock`, commit Pipfile.lock and push again",
    ),
    **dict.fromkeys(
        ("environment.yml", "environment.yaml", "conda-lock.yml", "pixi.toml", "pixi.lock"),
        ("{path} is conda's, which does not run here", _INSTEAD),
    ),
    "buildout.cfg": ("{path} is zc.buildout's, which does not run here", _INSTEAD),
    **dict.fromkeys(
        ("uv.lock", "poetry.lock", "pdm.lock"),
        (
            "{path} cannot be read without the pyproject.toml that belongs beside it",
            "commit pyproject.toml and push again",
        ),
    ),
}


# -- finding ---------------------------------------------------------------------------------


def find_requirements(
    tree: Tree, project_path: str, wanted: str | None = None, groups: Sequence[str] | None = None
) -> Requirements:
    """Where the dependencies are written: beside manage.py, else in a directory above it.

    A list for production comes first, then a lock: a requirements.txt beside one is either made from it or older
    than it. A project that writes none down gets the Django it was started with.

    :param wanted: the site's `requirements`.
    :param groups: the site's `dependency_groups`.
    :raises EngineError: when `wanted` is not there, or the dependencies are written where they cannot be read.
    """
    if wanted is not None:
        return _wanted(tree, inside_tree(wanted, "requirements"))
    refused: list[EngineError] = []
    for directory in _upwards(project_path):
        try:
            found = _found_in(tree, directory, groups)
        except EngineError as error:
            refused.append(error)
            continue
        if found is not None:
            return found
    if refused:
        raise refused[0]
    if elsewhere := [path for path in tree.paths if _lies_elsewhere(path)]:
        raise EngineError(
            f"the project lists its dependencies in {_listed(elsewhere)}, which is not beside manage.py or above it",
            f"name the one this site needs: requirements: {elsewhere[0]}",
        )
    return derived(tree, project_path)


def derived(tree: Tree, project_path: str) -> Requirements:
    """What a project that lists nothing needs: the Django whose startproject wrote its settings."""
    version = _started_with(tree, project_path)
    if version:
        reason = f"the project lists no dependencies; it was started with Django {version}"
        return Requirements("derived", "", reason, project_path, (f"Django~={version}.0",))
    return Requirements(
        "derived",
        "",
        "the project lists no dependencies and does not tell its Django, so the newest one is used: "
        "write a requirements.txt to decide it",
        project_path,
        ("Django",),
    )


def _wanted(tree: Tree, path: str) -> Requirements:
    if path not in tree.paths:
        raise EngineError(
            f"there is no file {path} in this revision, which the site names as requirements",
            "mend requirements of the site, or push the file",
        )
    directory, name = posixpath.dirname(path) or ".", posixpath.basename(path).lower()
    kinds = {rule.kind for rule, pattern in _RULES if rule.kind != "file" and pattern.fullmatch(name)}
    kind = kinds.pop() if kinds else "pylock" if re.fullmatch(r"pylock(\.[^.]+)?\.toml", name) else "file"
    if (kind == "file" and name in _REFUSED) or not _has_pyproject(tree, directory, kind):
        raise _refusal(path)
    return Requirements(kind, path, "the site says so (requirements)", _base_of(path))


def _found_in(tree: Tree, directory: str, groups: Sequence[str] | None) -> Requirements | None:
    """The list in one directory.

    :raises EngineError: when there are only lists that cannot be read, or only lists that are not for serving.
    """
    names = _names_in(tree, directory)
    readable = [
        (rule, name)
        for rule, pattern in _RULES
        for name in names
        if pattern.fullmatch(name) and _is_list(tree, directory, rule.kind, name, groups)
    ]
    if readable:
        rule, name = readable[0]
        more = _common_part(tree, directory, name, [other for _rule, other in readable]) if rule.kind == "file" else ()
        unread = {other: "" for _rule, other in readable if other not in (name, *more) and not _is_source(other, name)}
        return Requirements(
            rule.kind,
            _join(directory, name),
            rule.reason,
            directory,
            more=tuple(_join(directory, other) for other in more),
            unread=tuple(_join(directory, other) for other in unread),
        )
    others = [name for name in names if _ANY.fullmatch(name)]
    serving = [name for name in others if not _NOT_TO_SERVE.search(posixpath.splitext(name)[0])]
    pinned = [name for name in serving if not name.endswith(".in")]
    if len(pinned or serving) == 1:
        return Requirements("file", _join(directory, (pinned or serving)[0]), "it is the only list", directory)
    if serving:
        raise EngineError(
            f"there are several lists of dependencies: {_listed([_join(directory, name) for name in serving])}",
            f"name the one this site needs: requirements: {_join(directory, serving[0])}",
        )
    if refused := [name for name in names if name.lower() in _REFUSED and _is_meant(tree, directory, name)]:
        raise _refusal(_join(directory, refused[0]))
    if others:
        path = _join(directory, others[0])
        raise EngineError(
            f"the project's only lists of dependencies are not for a site: {_listed(others)}",
            f"write a requirements.txt, or name the list this site needs: requirements: {path}",
        )
    return None


def _is_list(tree: Tree, directory: str, kind: str, name: str, groups: Sequence[str] | None) -> bool:
    """Whether a file of a list's name is one: many a pyproject.toml or setup.cfg only configures a linter."""
    path = _join(directory, name)
    if kind == "pyproject":
        return pyproject_lists(tree.read(path), path, groups)
    if kind == "setup-cfg":
        return bool(setup_cfg_requires(tree.read(path)))
    if kind == "setup-py":
        return bool(setup_py_requires(tree.read(path)) != [])
    return _has_pyproject(tree, directory, kind)


def _is_source(source: str, made: str) -> bool:
    """Whether a list is what another was made from: pyproject.toml of a lock, requirements.in of requirements.txt."""
    if source.endswith(".in"):
        return made.endswith((".txt", ".lock"))
    return source == "pyproject.toml" and made.endswith((".lock", "pylock.toml"))


def _has_pyproject(tree: Tree, directory: str, kind: str) -> bool:
    return kind not in _NEEDS_PYPROJECT or _join(directory, "pyproject.toml") in tree.paths


def _is_meant(tree: Tree, directory: str, name: str) -> bool:
    """An environment.yml can be many things; conda's has dependencies."""
    return not name.startswith("environment.") or "dependencies:" in tree.read(_join(directory, name))


def _refusal(path: str) -> EngineError:
    message, hint = _REFUSED[posixpath.basename(path).lower()]
    return EngineError(message.format(path=path), hint)


def _common_part(tree: Tree, directory: str, name: str, lists: Sequence[str]) -> tuple[str, ...]:
    """The list of what every environment needs, where the one for production holds only what comes besides.

    That is so when it neither includes another list nor brings Django.
    """
    stem = posixpath.splitext(name)[0]
    text = tree.read(_join(directory, name))
    stage = any(re.search(rf"(?:^|[-_./]){stage}(?:$|[-_.])", stem, re.IGNORECASE) for stage in _STAGES)
    if not stage or re.search(r"(?im)^\s*(?:-r|--requirement|-c|--constraint|django\s*(?:$|[\[=<>~!;@#]))", text):
        return ()
    beside = [
        other for other in lists if other != name and re.search(rf"(?i)(?:^|[-_./])(?:{_BASES}|{_WORD})\.txt$", other)
    ]
    same = [other for other in beside if posixpath.dirname(other) == posixpath.dirname(name)]
    return tuple((same or beside)[:1])


def _names_in(tree: Tree, directory: str) -> list[str]:
    """Files in a directory and in the directories right below it, as paths from it."""
    prefix = "" if directory == "." else f"{directory}/"
    names = [path.removeprefix(prefix) for path in tree.paths if path.startswith(prefix)]
    return [name for name in names if name.count("/") < 2]


def _lies_elsewhere(path: str) -> bool:
    if _NOT_SEARCHED.search(path) or path.count("/") > 3:
        return False
    parts = path.split("/")
    tails = ("/".join(parts[index:]) for index in range(max(len(parts) - 2, 0), len(parts)))
    known = any(pattern.fullmatch(tail) for tail in tails for rule, pattern in _RULES if rule.kind == "file")
    return known or parts[-1] in ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "Pipfile")


def _started_with(tree: Tree, project_path: str) -> str | None:
    prefix = "" if project_path == "." else f"{project_path}/"
    for path in sorted(tree.paths, key=lambda path: (path.count("/"), path)):
        if path.startswith(prefix) and "settings" in path and path.endswith(".py") and not _NOT_SEARCHED.search(path):
            match = _GENERATED_BY.search(tree.read(path, 4000))
            if match:
                return f"{match[1]}.{match[2]}"
    return None


_GENERATED_BY = re.compile(r"Generated by 'django-admin[\w.]* startproject' using Django (\d+)\.(\d+)")


def _base_of(path: str) -> str:
    directory = posixpath.dirname(path) or "."
    # People call `pip install -r requirements/prod.txt` from the directory above.
    inner = re.fullmatch(_WORD, posixpath.basename(directory), re.IGNORECASE)
    return (posixpath.dirname(directory) or ".") if inner else directory


def _upwards(directory: str) -> Iterator[str]:
    while directory not in ("", "."):
        yield directory
        directory = posixpath.dirname(directory)
    yield "."


def _join(directory: str, name: str) -> str:
    return name if directory in ("", ".") else f"{directory}/{name}"


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# -- groups ----------------------------------------------------------------------------------


def choose_groups(wanted: Sequence[str] | None, available: Iterable[str], path: str) -> tuple[str, ...]:
    """Groups (or extras) of dependencies that the site needs besides the main ones, as the project spells them.

    :param wanted: the site's `dependency_groups`; None: those that are called like production.
    :param path: the file that holds them, for the message.
    :raises EngineError: when one is not there.
    """
    names = {_folded(name): name for name in available}
    if wanted is None:
        return tuple(names[name] for name in ("production", "prod") if name in names)
    if missing := [name for name in wanted if _folded(name) not in names]:
        raise EngineError(
            f"{path} has no group of dependencies called {missing[0]!r}",
            f"it has {_listed(sorted(names.values()))}: mend dependency_groups" if names else "mend dependency_groups",
        )
    return tuple(names[_folded(name)] for name in wanted)


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pyproject_groups(pyproject: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The extras and the groups of a pyproject.toml that hold dependencies, without those for development."""
    extras = pyproject.get("project", {}).get("optional-dependencies", {})
    return list(extras), list(pyproject.get("dependency-groups", {}))


def pyproject_lists(text: str, path: str, groups: Sequence[str] | None) -> bool:
    """Whether a pyproject.toml lists dependencies.

    :raises EngineError: when it does so only in groups, and nothing says which of them serve the site.
    """
    try:
        pyproject: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # Whoever reads it tells what is wrong with it.
        return re.search(r"dependencies|^\s*\[(project|tool\.poetry)\]", text, re.MULTILINE) is not None
    project, tool = pyproject.get("project", {}), pyproject.get("tool", {})
    if project.get("dependencies") or "dependencies" in project.get("dynamic", []):
        return True
    if "poetry" in tool or tool.get("flit", {}).get("metadata", {}).get("requires"):
        return True
    names = [name for each in pyproject_groups(pyproject) for name in each]
    if groups or choose_groups(None, names, path):
        return names != []
    serving = [name for name in names if not _NOT_TO_SERVE.search(name)]
    if serving:
        raise EngineError(
            f"{path} lists dependencies only in groups: {_listed(serving)}",
            f"name those the site needs: dependency_groups: [{serving[0]}]",
        )
    return False


# -- setuptools ------------------------------------------------------------------------------


def setup_cfg_requires(text: str) -> list[str]:
    """install_requires of a setup.cfg, as written: requirement lines, or `file: <name>`."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return []
    value = parser.get("options", "install_requires", fallback="")
    # As setuptools reads it: a value on one line is split at semicolons.
    parts = value.splitlines() if "\n" in value else value.split(";")
    return [line for part in parts if (line := re.sub(r"(^|\s)#.*$", "", part).strip())]


def setup_cfg_extras(text: str) -> dict[str, list[str]]:
    """options.extras_require of a setup.cfg."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    if not parser.has_section("options.extras_require"):
        return {}
    found = parser.items("options.extras_require")
    return {name: [line.strip() for line in value.splitlines() if line.strip()] for name, value in found}


def setup_py_requires(text: str, keyword: str = "install_requires") -> Any:
    """What a setup.py gives to setup() as `install_requires` (or `extras_require`).

    It is read, never run. A name stands for the literal that the module gives it.

    :returns: the value; [] when setup() is not given any; None when it is computed.
    """
    try:
        parsed = ast.parse(text)
    except (SyntaxError, ValueError):
        return None if keyword in text else []
    literals = {
        target.id: node.value
        for node in parsed.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (node for node in ast.walk(parsed) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        for given in call.keywords if name == "setup" else ():
            if given.arg == keyword:
                value = literals.get(given.value.id, given.value) if isinstance(given.value, ast.Name) else given.value
                try:
                    return ast.literal_eval(value)
                except (ValueError, TypeError):
                    return None
    return []
