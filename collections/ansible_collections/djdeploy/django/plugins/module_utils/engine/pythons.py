# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python runs a site: what the project asks for, what the host has, and what uv can bring.

The distribution's Python is taken wherever it fits: it is mended with the rest of the system. Then comes another one
that somebody installed, then one that uv brought before or can bring now.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import beneath, lists
from .environment import without_passwords
from .errors import EngineError
from .paths import PYTHONS, SITES_ROOT, UV
from .project import Tree
from .requirements import PROBE_TIMEOUT, Python, probe_python
from .runner import Runner, run
from .tree import remove_tree

OLDEST = (3, 10)  # what the steps of manage.py work can run in

#: Where people and Debian's packages put further interpreters.
_PLACES = ("/usr/bin", "/usr/local/bin", "/opt/*/bin")
INSTALL_TIMEOUT = 3600.0  # seconds; about 30 MB are fetched
#: Seconds in which a Python that could not be fetched is not tried again, where the project can do without it.
TRY_AGAIN = 3600.0
CONFIG_BYTES = 1 << 16  # of a pyvenv.cfg, which has some lines


@dataclass(frozen=True)
class Wish:
    """What one file of a project says about its Python.

    :param source: the file (and key), for people.
    :param specifier: see `satisfies`.
    :param must: whether the project cannot run with another; else it says what its developers have.
    """

    source: str
    specifier: str
    must: bool

    def __str__(self) -> str:
        return f"Python {self.specifier.removeprefix('==')} ({self.source})"


@dataclass(frozen=True)
class Offer:
    """A Python a site could run with.

    :param kind: 'distribution', 'installed', 'managed' (uv brought it) or 'download' (uv could bring it).
    :param version: with its patch release, '3.13.5'.
    :param executable: its path; empty for a download.
    """

    kind: str
    version: str
    executable: str = ""

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Found:
    """The Python that was chosen, and what the person who pushed should know about it."""

    python: Python
    told: tuple[str, ...] = ()


# -- what the project says -------------------------------------------------------------------

_VERSION = re.compile(r"(?:cpython|python)?[-@]?\s*(3\.\d+)(?:\.\d+)?(?:\.\*)?")
_OPERATOR = re.compile(r"[<>=!~^]")


def wishes(tree: Tree, project_path: str) -> list[Wish]:
    """What the project's files say about its Python, the strictest first.

    Of each kind of file the nearest counts, beside manage.py or above it. A file that holds something else (the name
    of a virtualenv in .python-version, another language's version in runtime.txt) says nothing.
    """
    found: dict[str, Wish] = {}
    directory = project_path
    while True:
        for name, (read, must) in _SOURCES.items():
            path = posixpath.normpath(posixpath.join(directory, name))
            if name not in found and path in tree.paths:
                key, specifier = read(tree.read(path))
                if specifier and understood(specifier):
                    found[name] = Wish(f"{path}{f': {key}' if key else ''}", specifier, must)
        if directory in ("", "."):
            break
        directory = posixpath.dirname(directory) or "."
    return [found[name] for name in _SOURCES if name in found]


def _of_pyproject(text: str) -> tuple[str, str]:
    said = _toml(text)
    if isinstance(wanted := said.get("project", {}).get("requires-python"), str):
        return "requires-python", wanted
    wanted = said.get("tool", {}).get("poetry", {}).get("dependencies", {}).get("python", "")
    return "tool.poetry.dependencies.python", wanted if isinstance(wanted, str) else ""


def _of_uv_lock(text: str) -> tuple[str, str]:
    match = re.search(r'^requires-python\s*=\s*"([^"]+)"', text, re.MULTILINE)
    return "requires-python", match[1] if match else ""


def _of_setup_cfg(text: str) -> tuple[str, str]:
    match = re.search(r"^python_requires\s*=\s*(.+)$", text, re.MULTILINE)
    return "python_requires", match[1].strip() if match else ""


def _of_setup_py(text: str) -> tuple[str, str]:
    wanted = lists.setup_py_requires(text, "python_requires")
    return "python_requires", wanted if isinstance(wanted, str) else ""


def _of_pipfile_lock(text: str) -> tuple[str, str]:
    try:
        said = json.loads(text).get("_meta", {}).get("requires", {})
    except (ValueError, AttributeError):
        return "", ""
    return "requires", _exactly(said.get("python_version") or said.get("python_full_version") or "")


def _of_pipfile(text: str) -> tuple[str, str]:
    said = _toml(text).get("requires", {})
    return "requires", _exactly(said.get("python_version") or said.get("python_full_version") or "")


def _of_line(text: str) -> tuple[str, str]:
    """runtime.txt and .python-version: one version, `python-3.12.1` or only `3.12`."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if lines and _OPERATOR.match(lines[0]):
        return "", lines[0]
    return "", _exactly(lines[0]) if lines else ""


def _of_tool_versions(text: str) -> tuple[str, str]:
    match = re.search(r"^python\s+(\S+)", text, re.MULTILINE)
    return "", _exactly(match[1]) if match else ""


def _exactly(version: str) -> str:
    """Developers' files name a patch release, which means its minor version to everybody but their own machine."""
    match = _VERSION.fullmatch(version.strip())
    return f"=={match[1]}" if match else ""


def _toml(text: str) -> dict[str, Any]:
    try:
        said: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}  # who reads the dependencies in it tells
    return said


_SOURCES: Mapping[str, tuple[Callable[[str], tuple[str, str]], bool]] = {
    "pyproject.toml": (_of_pyproject, True),
    "uv.lock": (_of_uv_lock, True),
    "setup.cfg": (_of_setup_cfg, True),
    "setup.py": (_of_setup_py, True),
    "Pipfile.lock": (_of_pipfile_lock, False),
    "Pipfile": (_of_pipfile, False),
    ".python-version": (_of_line, False),
    ".tool-versions": (_of_tool_versions, False),
    "runtime.txt": (_of_line, False),
}


# -- versions --------------------------------------------------------------------------------

_CLAUSE = re.compile(
    r"\s*(?P<operator>===|==|~=|!=|>=|<=|>|<|=|\^|~)?\s*v?(?P<version>\d+(?:\.\d+)*)(?:(?:a|b|rc|\.?dev)\d*)?"
    r"(?P<any>\.\*|\.x)?\s*(?:,|(?=\s|$|[<>=!~^]))"
)


def understood(specifier: str) -> bool:
    try:
        satisfies("3.0.0", specifier)
    except ValueError:
        return False
    return True


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version is one that a specifier means: PEP 440's, and Poetry's `^`, `~` and `||`.

    A version without a patch release, as in `==3.12`, means all of that minor version: nobody means 3.12.0 alone.

    :param version: with its patch release, '3.13.5'.
    :raises ValueError: when the specifier is none.
    """
    there = _numbers(version)
    results = [all(_holds(there, *clause) for clause in _clauses(part)) for part in re.split(r"\|\|?", specifier)]
    return any(results)


def _clauses(text: str) -> list[tuple[str, tuple[int, ...], bool]]:
    if text.strip() == "*":
        return []
    clauses, place = [], 0
    while place < len(text):
        match = _CLAUSE.match(text, place)
        if match is None:
            if not text[place:].strip(" ,"):
                break
            raise ValueError(text)
        clauses.append((match["operator"] or "==", _numbers(match["version"]), bool(match["any"])))
        place = match.end()
    if not clauses:
        raise ValueError(text)
    return clauses


def _holds(there: tuple[int, ...], operator: str, wanted: tuple[int, ...], whole: bool) -> bool:
    """Whether one clause holds.

    :param whole: whether it ends in `.*`.
    """
    same = there[: len(wanted)] == wanted
    full = (*wanted, 0, 0, 0)[:3]
    if operator in ("==", "=", "==="):
        return same
    if operator == "!=":
        return not same if whole or len(wanted) > 2 else there[:3] != full
    if operator == "~=":
        return there >= full and there[: len(wanted) - 1] == wanted[:-1]
    if operator == "~":
        return there >= full and there[: len(wanted[:2])] == wanted[:2]
    if operator == "^":
        return there >= full and there[:1] == wanted[:1]
    return {">=": there >= full, "<=": there <= full, ">": there > full, "<": there < full}[operator]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


# -- choosing --------------------------------------------------------------------------------


def choose(wanted: Sequence[Wish], offers: Sequence[Offer]) -> Offer | None:
    """The first offer that meets all wishes, else as many of them as can be, and never less than the musts.

    :param wanted: of `wishes`, the strictest first; what comes last is given up first.
    :returns: None when no offer meets what must be.
    """
    musts = [wish for wish in wanted if wish.must]
    others = [wish for wish in wanted if not wish.must]
    for count in range(len(others), -1, -1):
        for offer in offers:
            if not unmet([*musts, *others[:count]], offer):
                return offer
    return None


def unmet(wanted: Sequence[Wish], offer: Offer) -> list[Wish]:
    """The wishes an offer does not meet; a Python that is too old for us meets none."""
    old = _numbers(offer.version)[:2] < OLDEST
    return [wish for wish in wanted if old or not satisfies(offer.version, wish.specifier)]


def refusal(wanted: Sequence[Wish], offers: Sequence[Offer], why: str) -> EngineError:
    """The error for a project that no Python fits.

    :param why: why uv can bring none.
    """
    musts = [wish for wish in wanted if wish.must]
    first = next((wish for wish in musts if not any(not unmet([wish], offer) for offer in offers)), None)
    here = ", ".join(dict.fromkeys(offer.minor for offer in offers if offer.kind != "download"))
    needs = str(first) if first else " and ".join(str(wish) for wish in musts)
    return EngineError(
        f"the project needs {needs}; this host has {here}, and {why}",
        "name a Python that fits and the packages that bring it (python, packages), say where uv finds it "
        "(engine_python_mirror), or loosen what the project asks for",
    )


def told_of(wanted: Sequence[Wish], offer: Offer) -> list[str]:
    """What is to be said about a choice: nothing, where it is the distribution's and fits."""
    missed = [f"the project asks for {wish}; it gets {offer.version}" for wish in unmet(wanted, offer)]
    if offer.kind in ("managed", "download"):
        why = next((str(wish) for wish in wanted), "the site")
        missed.append(f"Python {offer.version} is uv's own build: {why}; the host's updates do not mend it")
    elif offer.kind == "installed":
        missed.append(f"Python {offer.version} at {offer.executable}")
    return missed


# -- doing -----------------------------------------------------------------------------------


def find(said: str | None, tree: Tree, project_path: str, *, run: Runner = run) -> Found:
    """The Python of a site. Where the distribution's fits, no process is started to find that out.

    :param said: the site's `python`; None: chosen.
    :raises EngineError: when there is none that fits.
    """
    wanted = wishes(tree, project_path)
    own = Offer("distribution", ".".join(map(str, sys.version_info[:3])), os.path.realpath(sys.executable))
    if said is None:
        return _chosen(wanted, own, run)
    if said == "python3":
        return Found(_python(own), tuple(told_of(wanted, own)))
    try:
        python = probe_python(said, run=run)
    except EngineError as error:
        if not re.fullmatch(r"python3\.\d+", said):
            raise
        wish = Wish("the site's python", f"=={said.removeprefix('python')}", True)
        offers, why = managed_offers(run)
        offer = choose([wish], offers)
        if offer is None:
            raise EngineError(error.message, f"{error.hint}; {why}", error.detail) from None
        return Found(_python(_present(offer, run)), tuple(told_of([wish], offer)))
    return Found(python, tuple(told_of(wanted, Offer("", f"{python.version}.99", python.executable))))


def _chosen(wanted: Sequence[Wish], own: Offer, run: Runner) -> Found:
    if not unmet(wanted, own):
        return Found(_python(own))
    offers = [own, *installed_offers(own, run)]
    best = choose(wanted, offers)
    if best is not None and not unmet(wanted, best):
        return Found(_python(best), tuple(told_of(wanted, best)))
    managed, why = managed_offers(run)
    offers += managed
    best = choose(wanted, offers)
    if best is None:
        raise refusal(wanted, offers, why)
    fallback = choose(wanted, [offer for offer in offers if offer.kind != "download"])
    try:
        return Found(_python(_present(best, run, must=fallback is None)), tuple(told_of(wanted, best)))
    except EngineError as error:
        if fallback is None:
            raise refusal(wanted, [offer for offer in offers if offer.kind != "download"], error.message) from error
        return Found(_python(fallback), (*told_of(wanted, fallback), error.message))


def nearness(version: str) -> tuple[int, ...]:
    """Sorts versions: minor versions near the distribution's first, for packages come with wheels for those; of each
    the newest patch release."""
    _major, minor, patch = _numbers(version)
    return abs(minor - sys.version_info.minor), -minor, -patch


def _python(offer: Offer) -> Python:
    return Python(offer.executable, offer.minor)


def installed_offers(own: Offer, run: Runner) -> list[Offer]:
    """Further interpreters on the host, the nearest first; each is asked for its version."""
    paths = {
        os.path.realpath(path)
        for place in _PLACES
        for path in Path("/").glob(f"{place[1:]}/python3.*")
        if re.fullmatch(r"python3\.\d+", path.name)
    }
    offers = []
    for path in sorted(paths - {own.executable}):
        completed = run(
            [path, "-I", "-c", "import sys;print('%d.%d.%d' % sys.version_info[:3])"], timeout=PROBE_TIMEOUT
        )
        if completed.returncode == 0:
            offers.append(Offer("installed", completed.stdout.strip(), path))
    return sorted(offers, key=lambda offer: nearness(offer.version))


def managed_offers(run: Runner) -> tuple[list[Offer], str]:
    """Pythons uv brought or could bring, the nearest first, and why there are no (more) of them."""
    present = [Offer("managed", version, str(path)) for version, path in _managed()]
    if os.environ.get("UV_PYTHON_DOWNLOADS") == "never":
        return present, "uv may fetch none (engine_python_downloads)"
    if not UV.exists():
        return present, "uv, which could fetch one, is not on this host"
    _lay_out()
    words: list[str | Path] = [UV, "python", "list", "--only-downloads", "--output-format", "json"]
    completed = run(words, env=_environment(), timeout=PROBE_TIMEOUT)
    if completed.returncode != 0:
        return present, f"uv cannot tell what it could fetch: {_last_line(completed.stderr)}"
    listed = [
        each
        for each in json.loads(completed.stdout)
        if each.get("implementation") == "cpython"
        and each.get("variant", "default") == "default"
        and re.fullmatch(r"3\.\d+\.\d+", each.get("version", ""))
    ]
    offers = [Offer("download", each["version"]) for each in listed]
    offers.sort(key=lambda offer: nearness(offer.version))
    return [*present, *offers], "uv knows none that fits either"


def _managed() -> list[tuple[str, Path]]:
    found = []
    for path in PYTHONS.glob("cpython-3.*/bin/python3.*") if PYTHONS.is_dir() else ():
        match = re.match(r"cpython-(3\.\d+\.\d+)-", path.parent.parent.name)
        if match and re.fullmatch(r"python3\.\d+", path.name) and not path.parent.parent.is_symlink():
            found.append((match[1], path))
    return sorted(found, key=lambda each: nearness(each[0]))


def _present(offer: Offer, run: Runner, *, must: bool = True) -> Offer:
    """An offer that is on the host; a download is fetched, as root, into a place no site can write to.

    :param must: try although it failed a while ago.
    :raises EngineError: when it cannot be fetched; the message is one clause.
    """
    if offer.kind != "download":
        return offer
    failed = PYTHONS / f".failed-{offer.version}"
    if not must and failed.exists() and time.time() - failed.stat().st_mtime < TRY_AGAIN:
        raise EngineError(f"uv could not fetch Python {offer.version} within the last hour{failed.read_text()}")
    words: list[str | Path] = [UV, "python", "install", "--no-bin", "--install-dir", PYTHONS, offer.version]
    environment = _environment() if must else {"UV_HTTP_RETRIES": "0", **_environment()}
    try:
        completed = run(words, env=environment, cwd="/", timeout=INSTALL_TIMEOUT)
        status, said = completed.returncode, completed.stderr
    except EngineError as error:
        status, said = 1, error.message
    _lay_out()
    here = [path for version, path in _managed() if version == offer.version]
    if status != 0 or not here:
        said = without_passwords(said)  # the mirror may have one
        why = _place(said) + _last_line(said)
        failed.write_text(why)
        raise EngineError(
            f"uv cannot fetch Python {offer.version}{why}",
            "say where uv finds it (engine_python_mirror), or name a Python that is on this host (python)",
            said,
        )
    failed.unlink(missing_ok=True)
    return Offer("managed", offer.version, str(here[0]))


def _lay_out() -> None:
    """Where uv puts Pythons, which everybody may read; its locks it lets everybody hold, and so keep us waiting."""
    PYTHONS.mkdir(mode=0o755, parents=True, exist_ok=True)
    PYTHONS.chmod(0o755)  # whatever the umask
    cache, lock = PYTHONS / ".cache", PYTHONS / ".lock"
    cache.mkdir(exist_ok=True)
    cache.chmod(0o700)
    lock.touch(0o600)
    lock.chmod(0o600)


def _environment() -> dict[str, str]:
    """Variables for uv when it manages Pythons: what the unit of the deployer says, and nothing of a project."""
    said = {name: value for name, value in os.environ.items() if name.startswith("UV_PYTHON_")}
    return {
        "HOME": "/root",
        "UV_PYTHON_DOWNLOADS": "manual",
        "UV_CACHE_DIR": str(PYTHONS / ".cache"),
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
        **said,
    }


def _last_line(text: str) -> str:
    """The innermost cause of what uv reports: the last line that is not blank or a hint."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("hint")]
    return re.sub(r"^(error|cause|Caused by):\s*", "", lines[-1]) if lines else "it failed without a word"


def _place(text: str) -> str:
    """From which host uv wanted to fetch something, as the middle of a sentence that goes on with why it could not."""
    hosts = re.findall(r"https?://(?:[^/\s@]*@)?([^/\s`)]+)", text)
    return f" from {hosts[-1]}: " if hosts else ": "


def unused(pythons: Sequence[Path], homes: Sequence[str]) -> list[Path]:
    """Directories of managed Pythons that no virtualenv stands on.

    :param homes: the `home` of each virtualenv's pyvenv.cfg.
    """
    return [path for path in pythons if not any(home == str(path) or home.startswith(f"{path}/") for home in homes)]


def prune() -> None:
    """Remove managed Pythons that no site uses any more; one that came today may wait for its first virtualenv."""
    if not PYTHONS.is_dir():
        return
    there = [path for path in PYTHONS.glob("cpython-*") if not path.is_symlink()]
    for path in unused(there, list(_homes())):
        if time.time() - path.stat().st_ctime > 86400:
            remove_tree(path)
    for link in PYTHONS.glob("cpython-*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


def _homes() -> Iterator[str]:
    for path in SITES_ROOT.glob("*/venvs/*/pyvenv.cfg"):
        try:
            text = beneath.read(path, CONFIG_BYTES).decode(errors="replace")
        except (OSError, EngineError):
            continue  # a build user may have put anything there (a venv that is just being made)
        match = re.search(r"^home\s*=\s*(.+)$", text, re.MULTILINE)
        if match:
            yield match[1].strip()
            yield os.path.realpath(match[1].strip())
