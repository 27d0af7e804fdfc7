# SPDX-License-Identifier: GPL-3.0-or-later
"""What the locks of Poetry, PDM and Pipenv say, as lines that uv and pip understand: exact versions, markers, hashes.

A lock is complete: what it does not name is not installed. So its lines are installed without resolving anything anew.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .errors import EngineError

#: The index that is asked anyway, or that an operator replaces for all sites.
_PYPI = frozenset({"pypi.org", "pypi.python.org", "files.pythonhosted.org"})
_STRONG = ("sha256:", "sha384:", "sha512:")
#: Markers that hold always and never: uv and pip know no extra of a requirements file.
_ALWAYS, _NEVER = 'python_version >= "3"', 'python_version < "3"'


@dataclass
class Locked:
    """What a lock installs.

    :param lines: one line for each package (and marker), with its hashes.
    :param names: name of each package, as the lock writes it.
    :param local: paths of packages in the project's tree, relative to the lock.
    :param indexes: further indexes the packages come from.
    """

    lines: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    local: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)

    def add(self, name: str, pin: str, marker: str = "", hashes: Iterable[str] = ()) -> None:
        """Add a package.

        :param pin: what follows its name, `==1.2` or ` @ git+https://...`.
        """
        said = f" ; {marker}" if marker else ""
        strong = "".join(f" --hash={each}" for each in hashes if each.startswith(_STRONG))
        self.lines.append(f"{name}{pin}{said}{strong}")
        self.names.append(name)

    def add_local(self, name: str, path: str, marker: str = "") -> None:
        """Add a package of the project's own tree; a file's line has no name in front of its path."""
        place = path if path.startswith(("./", "../", "/")) else f"./{path}"
        self.lines.append(f"{place}{f' ; {marker}' if marker else ''}")
        self.names.append(name)
        self.local.append(place)

    def add_index(self, url: str) -> None:
        if url and urlsplit(url).hostname not in _PYPI and url not in self.indexes:
            self.indexes.append(url)


def git_address(url: str, revision: str, subdirectory: str = "") -> str:
    """A git source as PEP 508 writes it; `git@host:path` is no URL and becomes one."""
    if match := re.fullmatch(r"(?:ssh://)?([\w.-]+@[\w.-]+):(?!\d+/)(.+)", url):
        url = f"ssh://{match[1]}/{match[2]}"
    part = f"#subdirectory={subdirectory}" if subdirectory else ""
    return f" @ git+{url.removeprefix('git+')}@{revision}{part}"


# -- Poetry ----------------------------------------------------------------------------------


def poetry_groups(lock: Mapping[str, Any]) -> list[str] | None:
    """Groups and extras of a poetry.lock besides the main group; None where it does not tell (before Poetry 2)."""
    packages = lock.get("package", [])
    if not packages or not all("groups" in package for package in packages):
        return None
    groups = dict.fromkeys(group for package in packages for group in package["groups"] if group != "main")
    return [*groups, *lock.get("extras", {})]


def poetry(lock: Mapping[str, Any], groups: Collection[str]) -> Locked:
    """The main group of a poetry.lock (2.1: Poetry 2) and those of `groups`, which may be extras, too.

    :raises EngineError: when a package comes from where only Poetry can get it.
    """
    found = Locked()
    wanted = {"main", *groups}
    for package in lock.get("package", []):
        member = [group for group in package["groups"] if group in wanted]
        if not member:
            continue
        name, source = package["name"], package.get("source", {})
        marker = _for_extras(_poetry_marker(package.get("markers", ""), member), groups)
        kind = source.get("type", "legacy")
        if kind == "git":
            revision = source.get("resolved_reference") or source.get("reference", "")
            found.add(name, git_address(source["url"], revision, source.get("subdirectory", "")), marker)
        elif kind == "url":
            found.add(name, f" @ {source['url']}", marker)
        elif kind in ("directory", "file"):
            found.add_local(name, source["url"], marker)
        elif kind == "legacy":
            found.add_index(source.get("url", ""))
            found.add(name, f"=={package['version']}", marker, _file_hashes(package))
        else:
            raise _only("poetry.lock", name, "Poetry", "poetry export --output requirements.txt")
    return found


def _poetry_marker(said: object, member: Sequence[str]) -> str:
    """The marker of a package that is in several groups: it is needed where any of them needs it."""
    if not isinstance(said, Mapping):
        return str(said)
    each = [str(said.get(group, "")) for group in member]
    return "" if "" in each else either(each)


def either(markers: Sequence[str]) -> str:
    """A marker that holds where any of some holds."""
    different = list(dict.fromkeys(markers))
    return different[0] if len(different) == 1 else " or ".join(f"({marker})" for marker in different)


def _for_extras(marker: str, extras: Collection[str]) -> str:
    """A marker in which the extras of the project itself are decided."""
    return re.sub(
        r"""extra\s*==\s*["']([^"']+)["']""",
        lambda match: _ALWAYS if match[1] in extras else _NEVER,
        marker,
    )


# -- PDM -------------------------------------------------------------------------------------


def pdm_groups(lock: Mapping[str, Any]) -> list[str] | None:
    """Groups of a pdm.lock besides the default one; None where it does not tell (no `inherit_metadata`)."""
    packages = lock.get("package", [])
    if not packages or not all("groups" in package for package in packages):
        return None
    return list(dict.fromkeys(group for package in packages for group in package["groups"] if group != "default"))


def pdm(lock: Mapping[str, Any], groups: Collection[str]) -> Locked:
    """The default group of a pdm.lock and those of `groups`.

    A package whose extras are asked for stands in it once more, only to name what they need, which is in it, too.
    """
    found = Locked()
    wanted = {"default", *groups}
    for package in lock.get("package", []):
        if not wanted.intersection(package["groups"]) or package.get("extras"):
            continue
        name, marker = package["name"], package.get("marker", "")
        if "git" in package:
            revision = package.get("revision") or package.get("ref", "")
            found.add(name, git_address(package["git"], revision, package.get("subdirectory", "")), marker)
        elif "url" in package:
            found.add(name, f" @ {package['url']}", marker)
        elif "path" in package:
            found.add_local(name, package["path"], marker)
        elif package.keys() & {"hg", "svn", "bzr"}:
            raise _only("pdm.lock", name, "PDM", "pdm export -o requirements.txt")
        else:
            found.add(name, f"=={package['version']}", marker, _file_hashes(package))
    return found


# -- Pipenv ----------------------------------------------------------------------------------

_PIPENV_OWN = frozenset({"_meta", "default", "develop"})


def pipfile_groups(lock: Mapping[str, Any]) -> list[str]:
    """Categories of a Pipfile.lock besides packages and dev-packages."""
    return [name for name in lock if name not in _PIPENV_OWN]


def pipfile(lock: Mapping[str, Any], groups: Collection[str]) -> Locked:
    """The packages of a Pipfile.lock and those of the categories `groups`."""
    found = Locked()
    sources = {each.get("name", ""): each.get("url", "") for each in lock.get("_meta", {}).get("sources", [])}
    for url in sources.values():
        found.add_index(url)
    for category in ("default", *groups):
        for name, package in lock.get(category, {}).items():
            if name in found.names:
                continue
            extras = f"[{','.join(package['extras'])}]" if package.get("extras") else ""
            marker = package.get("markers", "")
            if "git" in package:
                address = git_address(package["git"], package.get("ref", "HEAD"), package.get("subdirectory", ""))
                found.add(f"{name}{extras}", address, marker)
            elif place := package.get("path") or package.get("file"):
                if "://" in place:
                    found.add(f"{name}{extras}", f" @ {place}", marker, package.get("hashes", ()))
                else:
                    found.add_local(name, f"{place}{extras}", marker)
            elif "version" in package:
                # "*" is how Pipenv writes what it did not lock: a package of another platform.
                pin = "" if package["version"] == "*" else package["version"]
                found.add(f"{name}{extras}", pin, marker, package.get("hashes", ()))
            else:
                raise _only("Pipfile.lock", name, "Pipenv", "pipenv requirements > requirements.txt")
    return found


# -- locks that do not tell groups -----------------------------------------------------------


def pins(lock: Mapping[str, Any]) -> list[str]:
    """Constraint lines of a lock without groups; a package that is locked twice, for different machines, is left
    to the resolver."""
    versions: dict[str, dict[str, set[str]]] = {}
    for package in lock.get("package", []):
        versions.setdefault(_normal(package["name"]), {}).setdefault(package["version"], set()).update(
            _file_hashes(package)
        )
    return [
        "".join([f"{name}=={version}", *(f" --hash={each}" for each in sorted(hashes) if each.startswith(_STRONG))])
        for name, found in sorted(versions.items())
        if len(found) == 1
        for version, hashes in found.items()
    ]


def reachable(lock: Mapping[str, Any], roots: Iterable[str]) -> set[str]:
    """Packages (normalised) that some of a lock need, and those that these need."""
    needs: dict[str, set[str]] = {}
    for package in lock.get("package", []):
        said = package.get("dependencies", ())  # Poetry's is a table, PDM's a list of requirements
        names = (re.match(r"[\w.-]*", each) for each in said)
        needs.setdefault(_normal(package["name"]), set()).update(_normal(match[0]) for match in names if match)
    found: set[str] = set()
    waiting = [_normal(name) for name in roots]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs.get(name, ())
    return found


def _normal(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _file_hashes(package: Mapping[str, Any]) -> list[str]:
    return sorted(file["hash"] for file in package.get("files", []) if file.get("hash"))


def _only(path: str, name: str, tool: str, command: str) -> EngineError:
    return EngineError(
        f"{path} says where {name} comes from in a way that only {tool} understands",
        f"run `{command}`, commit that file and name it as the site's requirements",
    )
