# SPDX-License-Identifier: GPL-3.0-or-later
"""What the record of a site knows as secret, and the one filter for all that leaves the engine about that site.

`Progress` asks the filter for each event before any sink sees it: who pushed, the module and the terminal, the site's
journal (and so `history`) and the system's. Which forms of a value are hidden is decided in `agent_secrets` and
`agent_written`, as for the modules of manage.py. What is shorter than `SHORTEST_SECRET` stays visible: hiding it would
garble ordinary words.
"""

from __future__ import annotations

import ast
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from .agent_secrets import SHORTEST_SECRET, covered, forms, in_urls, named, of_environment
from .agent_written import BETWEEN_WORDS, WORD
from .config_shown import variables
from .environment import parse
from .paths import SitePaths
from .rotation import earlier_keys

if TYPE_CHECKING:
    from .events import Event

#: Keys of an event that hold only names of ours: a password that is the name of the site must not break what reads it.
OURS = frozenset({"event", "state", "site", "release", "revision", "before", "after", "previous"})
INDEXES = frozenset({"UV_DEFAULT_INDEX", "UV_INDEX", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"})  # of `package_indexes`
_ASSIGNMENT = re.compile(r"""[#;/\s]*(?:export\s+)?["']?([\w.-]+)["']?\s*[=:]\s*(.*)""")
_APART = re.compile(r"[\s:;,=\"'()\[\]{}<>]+")


# --- deciding: which values are secret --------------------------------------------------------------


def of_variables(config: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[str]:
    """The secrets among the variables of a site's processes.

    :param config: the site's record, which tells which variables came as secrets.
    :param given: what the environment file holds.
    """
    for name, told in variables(config, given, {}).items():
        value = given[name]
        if told["secret"] and (told["origin"] == "secrets" or "://" not in value):
            yield value
            yield from of_text(value) if "\n" in value or value[:1] in ("{", "[") else ()
    yield from of_environment(given)
    yield from earlier_keys(given)
    for value in given.values():
        if "://" in value:
            yield from _of_url(value)


def of_build(config: Mapping[str, Any], given: Mapping[str, str]) -> Iterator[str]:
    """The secrets of builds: all of `build_secrets`, and of the URLs of package indexes what gives access.

    :param given: what the file for builds holds.
    """
    names = (config.get("secret_names") or {}).get("build_secrets", ())
    for name, value in given.items():
        if name not in INDEXES or name in names:
            yield value
        for url in value.split():
            yield from in_urls(url)
            yield from _of_url(url)
            if name in INDEXES:  # some have a token where others have a folder
                yield from (part for part in re.split(r"[/@:]", url) if _counts("", part))


def _of_url(url: str) -> Iterator[str]:
    """What gives access in a URL: the password, and parameters that are secret by their name."""
    with suppress(ValueError):
        parts = urlsplit(url)
        yield from filter(None, (parts.password,))
        yield from (value for name, value in parse_qsl(parts.query) if named(name, value))


def of_text(text: str) -> Iterator[str]:
    """The secrets in a file of the site's configuration: a .env, a local_settings.py, JSON, INI, YAML.

    A file has more in it than secrets, and a traceback in which `import os` is hidden helps nobody. So a value counts
    when its name sounds like a secret, or when it does not read as words, small numbers, host names or paths.
    """
    yield from (value for name, value in _named_values(text) if _counts(name, value))
    yield from in_urls(text)


def _counts(name: str, value: str) -> bool:
    if len(value.strip()) < SHORTEST_SECRET:
        return False
    return named(name, value) or not all(map(WORD.fullmatch, BETWEEN_WORDS.split(value)))


def _named_values(text: str) -> Iterator[tuple[str, str]]:
    """Every value in a file with its name, empty where it has none."""
    with suppress(ValueError, RecursionError):
        yield from _leaves(json.loads(text), "")
        return
    code = None
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python thinks of the code is nobody's business here
        code = ast.parse(text)
        yield from _constants(code)
    yield from ((name, value) for name, value in parse(text).items() if code is None or "\n" not in value)
    for line in text.splitlines():
        found = _ASSIGNMENT.fullmatch(line)
        if found:
            value = found[2].rstrip(" \t,;")
            yield found[1], value
            yield found[1], value.strip("\"'")
            yield found[1], re.split(r"\s#", value, maxsplit=1)[0].rstrip().strip("\"'")
        elif code is None:
            yield "", line.strip()
        else:
            yield "", line.partition("#")[2].strip()
        if code is None:  # `machine example.com login ann password 4711abcd`, `db:5432:shop:ann:4711abcd`
            yield from (("", part) for part in _APART.split(found[2] if found else line))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, str(key))
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each, name)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield name, str(value)


def _constants(code: ast.AST) -> Iterator[tuple[str, str]]:
    """The texts in a program: those that get a name, a key or a keyword with it."""
    for node in ast.walk(code):
        pairs: list[tuple[object, object]] = []
        if isinstance(node, ast.Assign):
            pairs = [(getattr(target, "id", ""), node.value) for target in node.targets]
        elif isinstance(node, ast.keyword):
            pairs = [(node.arg, node.value)]
        elif isinstance(node, ast.Dict):
            pairs = [(getattr(key, "value", ""), each) for key, each in zip(node.keys, node.values, strict=True)]
        elif isinstance(node, ast.Constant):
            pairs = [("", node)]
        for name, value in pairs:
            if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes):
                said = value.value
                yield str(name or ""), said if isinstance(said, str) else said.decode(errors="surrogateescape")


def masked(event: Event, known: list[str]) -> Event:
    """An event without secrets; what it is about stays readable for programs.

    :param known: see `agent_secrets.forms`.
    """
    return {key: value if key in OURS else _masked(value, known) for key, value in event.items()} if known else event


def _masked(value: Any, known: list[str]) -> Any:
    if isinstance(value, str):
        return covered(value, known)
    if isinstance(value, Mapping):
        return {key: _masked(each, known) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(each, known) for each in value]
    return value


# --- doing: reading the record -----------------------------------------------------------------------


def files(paths: SitePaths) -> list[Path]:
    """Where the secrets of a site lie; only root can write any of it."""
    try:
        named_files = sorted(paths.secret_files / name for name in os.listdir(paths.secret_files))
    except OSError:  # most sites have none
        named_files = []
    return [paths.config, paths.env_file, paths.build_env_file, paths.project_files, *named_files]


def read(paths: SitePaths) -> set[str]:
    """Every secret value of a site as the host has it now."""
    texts = {path: _text(path) for path in files(paths)}
    try:
        config = json.loads(texts.pop(paths.config))
    except ValueError:
        config = {}
    found = set(of_variables(config, parse(texts.pop(paths.env_file))))
    found |= set(of_build(config, parse(texts.pop(paths.build_env_file))))
    laid = texts.pop(paths.project_files)
    try:
        contents = [text for text in json.loads(laid or "{}").values() if isinstance(text, str)]
    except (ValueError, AttributeError):
        contents = [laid]
    found |= {value for text in contents for value in of_text(text)}
    for text in texts.values():
        found |= {text, *of_text(text)}
    return {value for value in found if len(value.strip()) >= SHORTEST_SECRET}


def _text(path: Path) -> str:
    """What a file holds; nothing where it cannot be read, for then no process of the site has read it either."""
    try:
        return path.read_text(errors="surrogateescape")
    except OSError:
        return ""


@dataclass
class Mask:
    """The filter of one site. It reads the secrets when they changed, and forgets none it has seen."""

    paths: SitePaths
    values: set[str] = field(default_factory=set, repr=False)
    known: list[str] = field(default_factory=list, repr=False)
    seen: list[tuple[str, int, int]] = field(default_factory=list)

    def __call__(self, event: Event) -> Event:
        return masked(event, self.forms())

    def text(self, said: str) -> str:
        return covered(said, self.forms())

    def forms(self) -> list[str]:
        present = [(str(path), status.st_ino, status.st_mtime_ns) for path, status in _stats(files(self.paths))]
        if present != self.seen:
            self.seen = present
            self.values |= read(self.paths)
            self.known = forms((), self.values)
        return self.known


def _stats(paths: list[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in paths:
        with suppress(OSError):
            yield path, path.stat()
