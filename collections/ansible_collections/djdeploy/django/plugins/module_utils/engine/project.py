# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Django project's tree says about itself, so that nobody has to repeat it in YAML.

Everything here reads files and decides; nothing is imported, started or written. What only the
running project knows (its databases, its migrations) is asked of Django later, in its virtualenv.
"""

from __future__ import annotations

import ast
import codecs
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

from . import beneath
from .errors import EngineError

SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"
#: What Django's own `runserver` falls back to; gunicorn calls a factory written like this.
DJANGO_APPLICATION = "django.core.wsgi:get_wsgi_application()"
DJANGO_ASGI_APPLICATION = "django.core.asgi:get_asgi_application()"
LFS_POINTER = "version https://git-lfs"

_DEVELOPMENT = re.compile(r"(?P<before>settings_)?(dev|develop|development|local|debug)(?P<after>_settings)?")
_TESTING = re.compile(r"(settings_)?(test|tests|testing|ci)(_settings)?")
_PRODUCTION = ("production", "prod")
_NOT_SEARCHED = frozenset({"node_modules", "site-packages", "venv", "env", "virtualenv", "__pycache__"})
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_APPLICATION = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*)(?::(?P<name>[A-Za-z_]\w*(?:\(\))?))?")


class Tree(Protocol):
    """The files of one revision.

    `paths` are relative, with `/`, sorted, without directories; `links` maps a symlink to its target.
    """

    @property
    def paths(self) -> Sequence[str]: ...

    @property
    def links(self) -> Mapping[str, str]: ...

    def read(self, path: str, limit: int | None = None) -> str:
        """The text of a file; bytes that are no UTF-8 come as surrogates, so nothing is lost.

        :param limit: read at most so many bytes.
        :raises EngineError: when there is no such file in the tree.
        """


@dataclass(frozen=True)
class TextTree:
    """A tree given as path -> text."""

    files: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> Sequence[str]:
        return sorted(self.files)

    def read(self, path: str, limit: int | None = None) -> str:
        try:
            return self.files[path][:limit]
        except KeyError:
            raise EngineError(f"there is no file {path} in the project") from None


@dataclass(frozen=True)
class DirectoryTree:
    """A tree on disk. A symlink is followed only while it stays inside `root`."""

    root: Path

    @cached_property
    def _listing(self) -> tuple[list[str], dict[str, str], list[str]]:
        paths: list[str] = []
        links: dict[str, str] = {}
        empty: list[str] = []
        with beneath.opened(self.root) as top:
            for folder in beneath.walk(top):
                if not folder.path and ".git" in folder.folders:
                    folder.folders.remove(".git")
                if not folder.folders and not folder.others:
                    empty.append(folder.path)
                for name, told in folder.others.items():
                    path = folder.inner(name)
                    if stat.S_ISREG(told.st_mode):
                        paths.append(path)
                    elif stat.S_ISLNK(told.st_mode):
                        links[path] = os.readlink(name, dir_fd=folder.handle)
                        with suppress(OSError):
                            os.close(beneath.open_inside(top, path))
                            paths.append(path)
        return sorted(paths), links, empty

    @property
    def paths(self) -> Sequence[str]:
        return self._listing[0]

    @property
    def links(self) -> Mapping[str, str]:
        return self._listing[1]

    @property
    def empty_folders(self) -> Sequence[str]:
        """Directories with nothing in them. git has none, but for those that are another repository's."""
        return self._listing[2]

    def read(self, path: str, limit: int | None = None) -> str:
        try:
            with beneath.opened(self.root) as top:
                return decode(beneath.read_inside(top, path, -1 if limit is None else limit))
        except beneath.Outside:
            raise EngineError(f"{path} leads out of the project", "remove the symlink and push again") from None
        except OSError as error:
            raise EngineError(f"cannot read {path} of the project: {error.strerror}") from error


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why, in words for the person who pushed."""

    value: str
    reason: str


def decode(content: bytes) -> str:
    """Text of a project's file. UTF-16 is real: PowerShell writes `pip freeze > requirements.txt` so."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="surrogateescape")


# -- the directory that holds manage.py ------------------------------------------------------


def find_project_path(tree: Tree, wanted: str | None = None) -> Choice:
    """The directory that holds manage.py, '.' for the tree's root.

    :param wanted: the site's `project_path`.
    :raises EngineError: when there is none, or more than one below the root.
    """
    found = [posixpath.dirname(path) or "." for path in _manage_files(tree)]
    if wanted is not None:
        path = inside_tree(wanted, "project_path")
        if _join(path, "manage.py") in tree.paths:
            return Choice(path, "the site says so (project_path)")
        raise EngineError(
            f"there is no manage.py in {path!r}, which the site names as project_path",
            f"manage.py is in {_listed(found)}: mend project_path" if found else "mend project_path, or push manage.py",
        )
    if "." in found:
        return Choice(".", "manage.py is at the top")
    if len(found) == 1:
        return Choice(found[0], f"the only manage.py is in {found[0]}")
    if found:
        raise EngineError(
            f"several directories hold a manage.py: {_listed(found)}",
            "say which one this site is: project_path",
        )
    raise EngineError(
        "there is no manage.py in this revision, at the top or in two levels below",
        "is this the right branch? if the project lies deeper, name its directory: project_path",
    )


def _manage_files(tree: Tree) -> Iterator[str]:
    for path in tree.paths:
        *directories, name = path.split("/")
        if name != "manage.py" or len(directories) > 2:
            continue
        if any(part in _NOT_SEARCHED or part.startswith((".", "{{")) for part in directories):
            continue
        if "django" in tree.read(path).lower():
            yield path


# -- settings --------------------------------------------------------------------------------


def find_settings(tree: Tree, project_path: str, wanted: str | None = None) -> Choice:
    """The settings module the site should run with.

    manage.py names the module people develop with, so a development module gives way to the one
    that wsgi.py names or to a production module beside it.

    :param wanted: the site's `settings`.
    :raises EngineError: when the module cannot be read off the files or is not in the tree.
    """
    if wanted is not None:
        _check_module(tree, project_path, wanted, "settings")
        return Choice(wanted, "the site says so (settings)")
    manage = _join(project_path, "manage.py")
    servers = [path for path in _below(tree, project_path) if posixpath.basename(path) in ("wsgi.py", "asgi.py")]
    servers.sort(key=lambda path: posixpath.basename(path) != "wsgi.py")  # asgi.py is often as startproject left it
    named = [(module, path) for path in (manage, *servers) for module in settings_named_in(tree.read(path))]
    for module, source in _without_testing(named):
        if not _is_development(module):
            if module_file(tree, project_path, module) or not _package_in_tree(tree, project_path, module):
                return _named_choice(module, source, manage)
            continue
        for other, other_source in named:
            if not _is_development(other) and module_file(tree, project_path, other) and other_source != manage:
                return Choice(other, f"{other_source} names it; {module} of {source} is for development")
        for sibling in _production_siblings(module):
            if module_file(tree, project_path, sibling):
                return Choice(sibling, f"{source} names {module}, which is for development, and this lies beside it")
        if module_file(tree, project_path, module):
            return Choice(module, f"{source} names it, and there is no production module beside it")
    if named:
        raise EngineError(
            f"{named[0][1]} names the settings module {named[0][0]}, which is not in this revision",
            "commit it, or name the module to serve with: settings",
        )
    alone = [path for path in _below(tree, project_path) if path.endswith("/settings.py")]
    if len(alone) == 1:
        module = posixpath.relpath(alone[0], project_path).removesuffix(".py").replace("/", ".")
        return Choice(module, "it is the only settings.py")
    raise EngineError(
        f"{manage} does not tell its settings module in a way that can be read without running it",
        "name the module: settings",
    )


def settings_named_in(source: str) -> list[str]:
    """The modules a Python file may put into DJANGO_SETTINGS_MODULE, in order, each once.

    Understands `os.environ.setdefault(...)`, an assignment, conditional values, names of the same
    file and defaults of environment readers; text that is no Python for us is searched instead.
    """
    try:
        parsed = ast.parse(source)
    except (SyntaxError, ValueError):
        pattern = SETTINGS_VARIABLE + r"""['"]\s*(?:,|\]\s*=)\s*['"]([\w.]+)['"]"""
        return list(dict.fromkeys(re.findall(pattern, source)))
    constants = _string_names(parsed)
    found: list[str] = []
    for value in [*_settings_values(parsed, hard=False), *_settings_values(parsed, hard=True)]:
        for node in ast.walk(value):
            if isinstance(node, ast.JoinedStr):
                break  # put together at run time: a part of it would be a wrong module
            text = constants.get(node.id) if isinstance(node, ast.Name) else _string(node)
            if text and _MODULE.fullmatch(text) and text != SETTINGS_VARIABLE:
                found.append(text)
    return list(dict.fromkeys(found))


def sets_settings_itself(source: str) -> bool:
    """Whether a file overrides DJANGO_SETTINGS_MODULE instead of only giving it a default."""
    try:
        return any(True for _value in _settings_values(ast.parse(source), hard=True))
    except (SyntaxError, ValueError):
        return False


def _settings_values(parsed: ast.Module, *, hard: bool) -> Iterator[ast.expr]:
    """Expressions given to the variable: by assignment (`hard`) or by setdefault."""
    for node in ast.walk(parsed):
        if hard and isinstance(node, ast.Assign):
            # `x["V"] = os.environ.get("V", "default")` keeps what the environment says.
            keeps = SETTINGS_VARIABLE in map(_string, ast.walk(node.value))
            for target in node.targets:
                if isinstance(target, ast.Subscript) and _string(target.slice) == SETTINGS_VARIABLE and not keeps:
                    yield node.value
        if not hard and isinstance(node, ast.Call) and node.args and _string(node.args[0]) == SETTINGS_VARIABLE:
            yield from node.args[1:]
            yield from (keyword.value for keyword in node.keywords if keyword.arg == "default")


def _string(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _string_names(parsed: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(parsed):
        if isinstance(node, ast.Assign) and (text := _string(node.value)) is not None:
            names.update({target.id: text for target in node.targets if isinstance(target, ast.Name)})
    return names


def _without_testing(named: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    """manage.py often reads `if "test" in sys.argv: ... else: ...`; nobody serves with the first."""
    return [pair for pair in named if not _TESTING.fullmatch(pair[0].rpartition(".")[2])] or named


def _named_choice(module: str, source: str, manage: str) -> Choice:
    return Choice(module, f"{source} names it" if source == manage else f"{source} names it; {manage} names none")


def _is_development(module: str) -> bool:
    return _DEVELOPMENT.fullmatch(module.rpartition(".")[2]) is not None


def _production_siblings(module: str) -> Iterator[str]:
    package, dot, last = module.rpartition(".")
    match = _DEVELOPMENT.fullmatch(last)
    if match:
        for name in _PRODUCTION:
            yield f"{package}{dot}{match['before'] or ''}{name}{match['after'] or ''}"


# -- the WSGI application --------------------------------------------------------------------


@dataclass(frozen=True)
class Applications:
    """What of a project can be served.

    :param wsgi: of `find_application`; what the site names when it is `given`, whatever it is.
    :param asgi: None where the project has none.
    :param declared: whether the settings name an ASGI_APPLICATION; startproject writes none.
    :param only_asgi: whether it has an asgi.py and nothing for WSGI.
    """

    wsgi: Choice
    asgi: Choice | None = None
    given: bool = False
    declared: bool = False
    only_asgi: bool = False


def find_applications(tree: Tree, project_path: str, settings: str, wanted: str | None = None) -> Applications:
    """What of a project can be served, as WSGI and as ASGI.

    :param wanted: the site's `application`.
    :raises EngineError: as `find_application`.
    """
    wsgi = find_application(tree, project_path, settings, wanted)
    asgi, declared = _find_asgi(tree, project_path, settings)
    absent = not any(posixpath.basename(path) == "wsgi.py" for path in _below(tree, project_path))
    only = asgi is not None and absent and wsgi.value == DJANGO_APPLICATION
    return Applications(wsgi, asgi, wanted is not None, declared, only)


def _find_asgi(tree: Tree, project_path: str, settings: str) -> tuple[Choice | None, bool]:
    """The ASGI application, and whether the settings name it."""
    literal = setting_literal(tree, project_path, settings, "ASGI_APPLICATION")
    if literal and _APPLICATION.fullmatch(literal):
        choice = Choice(_application(literal), f"ASGI_APPLICATION of {settings}")
        module = choice.value.partition(":")[0]
        if module_file(tree, project_path, module) or not _package_in_tree(tree, project_path, module):
            return choice, True
    parts = settings.split(".")
    near = [".".join([*parts[:length], "asgi"]) for length in range(len(parts) - 1, -1, -1)]
    files = [path for path in _below(tree, project_path) if posixpath.basename(path) == "asgi.py"]
    others = [posixpath.relpath(path, project_path).removesuffix(".py").replace("/", ".") for path in files]
    for module in [*near, *(others if len(others) == 1 else [])]:
        path = module_file(tree, project_path, module)
        if path and sets_settings_itself(tree.read(path)):
            return Choice(
                DJANGO_ASGI_APPLICATION, f"{path} assigns {SETTINGS_VARIABLE}, so Django's own is served"
            ), False
        if path:
            return Choice(f"{module}:application", f"{module} belongs to {settings}"), False
    return None, False


def find_application(tree: Tree, project_path: str, settings: str, wanted: str | None = None) -> Choice:
    """What gunicorn is to load: 'package.wsgi:application'.

    :param wanted: the site's `application`.
    :raises EngineError: when the site names what is not there, or several wsgi.py are equally likely.
    """
    if wanted is not None:
        application = _application(wanted)
        _check_module(tree, project_path, application.partition(":")[0], "application")
        return Choice(application, "the site says so (application)")
    literal = setting_literal(tree, project_path, settings, "WSGI_APPLICATION")
    if literal:
        module = literal.rpartition(".")[0]
        if module_file(tree, project_path, module) or not _package_in_tree(tree, project_path, module):
            return _unless_it_sets_settings(
                tree, project_path, literal, Choice(_application(literal), f"WSGI_APPLICATION of {settings}")
            )
    parts = settings.split(".")
    for length in range(len(parts) - 1, -1, -1):
        module = ".".join([*parts[:length], "wsgi"])
        if module_file(tree, project_path, module):
            choice = Choice(f"{module}:application", f"{module} belongs to {settings}")
            return _unless_it_sets_settings(tree, project_path, f"{module}.application", choice)
    others = [path for path in _below(tree, project_path) if posixpath.basename(path) == "wsgi.py"]
    if not others:
        return Choice(DJANGO_APPLICATION, "the project has no wsgi.py, so Django's own application is served")
    if len(others) == 1:
        module = posixpath.relpath(others[0], project_path).removesuffix(".py").replace("/", ".")
        choice = Choice(f"{module}:application", "it is the only wsgi.py")
        return _unless_it_sets_settings(tree, project_path, f"{module}.application", choice)
    raise EngineError(
        f"several wsgi.py could be the application: {_listed(others)}",
        "name it: application, as in 'package.wsgi:application'",
    )


def _unless_it_sets_settings(tree: Tree, project_path: str, dotted: str, choice: Choice) -> Choice:
    path = module_file(tree, project_path, dotted.rpartition(".")[0])
    if path and sets_settings_itself(tree.read(path)):
        # Loaded, it would throw out the settings of the release: its static files, its database.
        return Choice(
            DJANGO_APPLICATION,
            f"{path} assigns {SETTINGS_VARIABLE} instead of setting a default, so Django's own application is served",
        )
    return choice


def _application(text: str) -> str:
    """'package.wsgi', 'package.wsgi.application' and 'package.wsgi:application' in gunicorn's spelling."""
    match = _APPLICATION.fullmatch(text)
    if not match:
        raise EngineError(
            f"application: {text!r} is not of the form 'package.wsgi:application'", "mend application of the site"
        )
    module, name = match["module"], match["name"]
    if name is None and module.rpartition(".")[2] in ("application", "app"):
        module, _dot, name = module.rpartition(".")
    return f"{module}:{name or 'application'}"


def setting_literal(tree: Tree, project_path: str, settings: str, name: str) -> str | None:
    """A setting's value where it is a plain string, followed through `from .base import *`.

    None when it is not set, not a literal, or hidden from a reader who does not run the file.
    """
    return _literal(tree, project_path, settings, name, frozenset())


def _literal(tree: Tree, project_path: str, module: str, name: str, seen: frozenset[str]) -> str | None:
    path = module_file(tree, project_path, module)
    if path is None or module in seen:
        return None
    try:
        parsed = ast.parse(tree.read(path))
    except (SyntaxError, ValueError):
        return None
    value: str | None = None
    package = module.split(".") if path.endswith("/__init__.py") else module.split(".")[:-1]
    for node in parsed.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            value = _string(node.value)
        elif isinstance(node, ast.ImportFrom) and any(alias.name in ("*", name) for alias in node.names):
            anchor = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*anchor, *([node.module] if node.module else [])])
            value = _literal(tree, project_path, source, name, seen | {module}) or value
    return value


def import_paths(tree: Tree, project_path: str) -> list[str]:
    """Directories that manage.py puts on sys.path, relative to the tree.

    Some layouts keep their apps in `apps/` and say so in manage.py only; whoever starts Django
    without manage.py has to do the same.
    """
    manage = _join(project_path, "manage.py")
    try:
        parsed = ast.parse(tree.read(manage))
    except (SyntaxError, ValueError):
        return []
    constants = _string_names(parsed)
    found: list[str] = []
    for node in ast.walk(parsed):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.path.append", "sys.path.insert")):
            continue
        parts = [
            (part.lineno, part.col_offset, text)
            for argument in node.args
            for part in ast.walk(argument)
            if isinstance(part, (ast.Name, ast.Constant))
            and (text := constants.get(part.id) if isinstance(part, ast.Name) else _string(part))
        ]
        path = posixpath.normpath(posixpath.join(project_path, *[text for _line, _column, text in sorted(parts)]))
        if path != posixpath.normpath(project_path) and _has_directory(tree, path):
            found.append(path)
    return list(dict.fromkeys(found))


# -- what cannot go live ---------------------------------------------------------------------


def check_tree(tree: Tree) -> None:
    """Refuse a tree that would go live incomplete or reach out of itself.

    :raises EngineError: for submodules, Git LFS pointers and symlinks that leave the tree.
    """
    if ".gitmodules" in tree.paths and "[submodule" in tree.read(".gitmodules"):
        raise EngineError(
            "the project has git submodules; their files are not part of a push",
            "bring the files into the repository (or install them as a package) and push again",
        )
    pointers = lfs_pointers(tree)
    if pointers:
        raise EngineError(
            f"{len(pointers)} files are Git LFS pointers, not the files themselves: {_listed(pointers)}",
            "run `git lfs migrate export --include='*' --everything`, or keep these files elsewhere, and push again",
        )
    leaving = escaping_links(tree.links.items())
    if leaving:
        raise EngineError(
            f"symlinks lead out of the project: {_listed([f'{path} -> {tree.links[path]}' for path in leaving])}",
            "replace them by files, or remove them from the repository, and push again",
        )


def refuse_gitlinks(paths: Sequence[str]) -> None:
    """Refuse a tree that names other repositories, which would go live as empty directories.

    :param paths: where it does.
    :raises EngineError: when it does.
    """
    if paths:
        raise EngineError(
            f"the files of {_listed(paths)} are not part of a push: the repository only names a commit of another one",
            f"bring them into it: git rm --cached {paths[0]}, rm -rf {paths[0]}/.git, git add {paths[0]}; commit, and "
            "push again (or install them as a package)",
        )


def lfs_pointers(tree: Tree) -> list[str]:
    """Files that hold a Git LFS pointer. Only looked for where .gitattributes speaks of LFS."""
    attributes = [path for path in tree.paths if posixpath.basename(path) == ".gitattributes"]
    if not any("filter=lfs" in tree.read(path) for path in attributes):
        return []
    return [path for path in tree.paths if tree.read(path, len(LFS_POINTER)) == LFS_POINTER]


def escaping_links(links: Iterable[tuple[str, str]]) -> list[str]:
    """The links, of (path, target) pairs, that lead out of the tree they lie in.

    Walks the targets part by part through the other links, as the kernel does: what `a/../b` means
    depends on where `a` leads.
    """
    targets = dict(links)
    return sorted(path for path in targets if _leaves(path, targets))


def _leaves(path: str, targets: Mapping[str, str]) -> bool:
    left = path.split("/")
    here: list[str] = []
    hops = 0
    while left:
        part = left.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                return True
            here.pop()
            continue
        target = targets.get("/".join([*here, part]))
        if target is None:
            here.append(part)
            continue
        hops += 1
        if target.startswith("/") or hops > 40:
            return True
        left = [*target.split("/"), *left]
    return False


# -- paths and modules -----------------------------------------------------------------------


def inside_tree(path: str, key: str) -> str:
    """A path a person wrote, normalised.

    :param key: the site's key it came from.
    :raises EngineError: when it is absolute or leads out of the tree.
    """
    normal = posixpath.normpath(path or ".")
    if normal.startswith(("/", "../")) or normal == "..":
        raise EngineError(f"{key}: {path!r} is not a path inside the project", f"mend {key} of the site")
    return normal


def module_file(tree: Tree, project_path: str, module: str) -> str | None:
    """The file of a dotted module, when it is in the tree."""
    stem = _join(project_path, module.replace(".", "/"))
    return next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in tree.paths), None)


def _check_module(tree: Tree, project_path: str, module: str, key: str) -> None:
    if not _MODULE.fullmatch(module):
        raise EngineError(f"{key}: {module!r} is not a module's dotted name", f"mend {key} of the site")
    if module_file(tree, project_path, module) is None and _package_in_tree(tree, project_path, module):
        raise EngineError(
            f"there is no module {module} in this revision, which the site names as {key}",
            f"mend {key} of the site, or push the module",
        )


def _package_in_tree(tree: Tree, project_path: str, module: str) -> bool:
    """Whether the first part of a module's name is the project's own; if not, a package brings it."""
    top = _join(project_path, module.partition(".")[0])
    return f"{top}.py" in tree.paths or _has_directory(tree, top)


def _has_directory(tree: Tree, path: str) -> bool:
    return path == "." or any(other.startswith(f"{path}/") for other in tree.paths)


def _below(tree: Tree, directory: str) -> list[str]:
    """Files below a directory, those nearest to it first."""
    prefix = "" if directory == "." else f"{directory}/"
    found = [
        path
        for path in tree.paths
        if path.startswith(prefix) and not any(p in _NOT_SEARCHED or p.startswith(".") for p in path.split("/"))
    ]
    return sorted(found, key=lambda path: (path.count("/"), path))


def _join(directory: str, name: str) -> str:
    return name if directory in ("", ".") else f"{directory}/{name}"


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
