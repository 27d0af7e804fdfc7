#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus: one small project for each way people write, configure and run a Django project.

`corpus/<name>/case.toml` says what is special about it, what a site of it says in the inventory, and what a visitor and
the person who pushes then see; the other files of the directory lie over what `base` makes.

    corpus.py sites <public key>     an inventory that says only `djdeploy_sites` of each host, as YAML

There are two rings (shared/rings.py). In every run the cases are pushed whose point only a host shows: a server, a
sandbox, a broker, a unit; each to one Debian, half of them to each. In full all are, to both. What a case decides
(which list of dependencies, which settings) stands in the tables of tests/unit besides.

DJDEPLOY_CASES=celery,uv in the environment: only these, to every Debian they know, in the inventory and in the tests.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCENARIO = Path(os.environ.get("MOLECULE_SCENARIO_DIRECTORY") or Path(__file__).parent).resolve()  # or molecule/large
sys.path.insert(0, str(SCENARIO.parent / "shared"))

import projects  # noqa: E402  (found by the line above)
from rings import FULL  # noqa: E402

CORPUS = SCENARIO / "corpus"
NAME = SCENARIO.name
HOSTS = (f"{NAME}-bookworm", f"{NAME}-trixie")
# What every site of the corpus says. A start and a page may take long: nothing here is about how fast a host is.
QUICK: dict[str, Any] = {"web": {"workers": 2}, "health": {"watch": 0, "timeout": 180, "answer_timeout": 60}}


@dataclass(frozen=True)
class Page:
    """What a visitor asks for, and gets.

    :param shows: text that is in the answer.
    :param headers: headers it has; an empty text: it has no such header.
    :param within: seconds after which it shows that at the latest; 0: at once.
    :param logged: what stands in the journal beside the id of the request, which the page shows.
    """

    path: str
    status: int = 200
    shows: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    within: float = 0
    logged: str = ""


@dataclass(frozen=True)
class Socket:
    """A websocket, a text that is sent, and the one that comes back."""

    path: str
    sends: str
    shows: str


@dataclass(frozen=True)
class Case:
    """One project of the corpus.

    :param variant: what is special about it, in a few words.
    :param detected: what is found out about it, for the table in docs/projects.md.
    :param base: `plain` (django-admin startproject), `notes` (the same with an app that has pages), `wagtail`, or
        nothing.
    :param without: files of the base that this project does not have.
    :param settings: text that is added to the settings of the base.
    :param commands: programs of the development environment that are run in the project before it is committed.
    :param site: what the site says beside its domain and key.
    :param says: lines the person reads who pushes it first.
    :param refused: why it is refused instead.
    :param sockets: websockets of the project.
    :param hosts: where it can run; a case that names none runs on all, and one that does says why.
    :param every_run: the one of them it is pushed to in every run; nothing: it is pushed in full only. The key of
        case.toml names a Debian (`every_run = "trixie"`), with what only a host shows of it in a comment behind it.
    :param prepare: a program of prepare/ that its host runs first, as root.
    """

    name: str
    variant: str
    detected: str
    base: str
    without: tuple[str, ...]
    settings: str
    commands: tuple[tuple[str, ...], ...]
    site: dict[str, Any]
    says: tuple[str, ...]
    refused: str
    pages: tuple[Page, ...]
    sockets: tuple[Socket, ...]
    hosts: tuple[str, ...]
    every_run: str = ""
    prepare: str = ""


def cases() -> list[Case]:
    """The whole corpus, in the order of the names."""
    found = []
    for path in sorted(CORPUS.glob("*/case.toml")):
        said = tomllib.loads(path.read_text())
        found.append(
            Case(
                name=path.parent.name,
                variant=said["variant"],
                detected=said["detected"],
                base=said.get("base", "notes"),
                without=tuple(said.get("without", ())),
                settings=said.get("settings", ""),
                commands=tuple(tuple(words) for words in said.get("commands", ())),
                site=said.get("site", {}),
                says=tuple(said.get("says", ())),
                refused=said.get("refused", ""),
                pages=tuple(Page(**page) for page in said.get("page", ())),
                sockets=tuple(Socket(**each) for each in said.get("socket", ())),
                hosts=tuple(f"{NAME}-{host}" for host in said.get("hosts", ())) or HOSTS,
                every_run=f"{NAME}-{said['every_run']}" if "every_run" in said else "",
                prepare=said.get("prepare", ""),
            )
        )
    return found


def pushed_to(case: Case, full: bool = FULL) -> tuple[str, ...]:
    """The hosts a case is pushed to in a run: those of its ring, or all of its own when cases are named."""
    if full or os.environ.get("DJDEPLOY_CASES") or NAME != "projects":  # the large ones run in full only
        return case.hosts
    return (case.every_run,) if case.every_run else ()


def program(case: Case) -> str:
    """What a host runs before the project of a case is first pushed to it; it may run again."""
    return (SCENARIO / "prepare" / f"{case.prepare}.sh").read_text() if case.prepare else "true"


def chosen(names: str | None = None) -> list[Case]:
    """The cases of these names, with commas between them; of none: all.

    :param names: None: what DJDEPLOY_CASES of the environment says.
    :raises SystemExit: when there is no such case.
    """
    wanted = {name for name in (os.environ.get("DJDEPLOY_CASES", "") if names is None else names).split(",") if name}
    known = cases()
    if unknown := wanted - {case.name for case in known}:
        sys.exit(f"there is no case {', '.join(sorted(unknown))}; choose of: {' '.join(case.name for case in known)}")
    return [case for case in known if not wanted or case.name in wanted]


def make(case: Case, project: Path) -> Path:
    """The project of a case, with one commit."""
    if (project / ".git").exists():
        return project
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    if case.base:
        projects.lay(case.base, project)
    for name in case.without:
        (project / name).unlink()
    files = shutil.ignore_patterns("case.toml", "__pycache__")
    shutil.copytree(CORPUS / case.name, project, dirs_exist_ok=True, ignore=files)
    if case.settings:
        projects.write(project, "mysite/settings.py", f"\n{case.settings}", append=True)
    for words in case.commands:
        projects.run(projects.BIN / words[0], *words[1:], cwd=project)
    projects.git(project, "init", "--quiet", "--initial-branch=main")
    projects.commit(project, "Start")
    return project


def site(case: Case, key: str, *hosts: str) -> dict[str, Any]:
    """The site of a case in an inventory, on these hosts, for whoever has this key."""
    fixed = {"domains": [f"{case.name}.test"], "deploy_keys": [key], "hosts": list(hosts)}
    health = {**QUICK["health"], **case.site.get("health", {})}
    return deepcopy({**QUICK, **case.site, "health": health, **fixed})  # else YAML would write references


def sites(key: str, host: str, full: bool = FULL) -> dict[str, Any]:
    """`djdeploy_sites` of a host: what of the corpus, or of its chosen cases, is pushed to it in a run.

    Each host has its own: a case on both of them is two sites, and not one that two hosts serve.
    """
    return {case.name: site(case, key, host) for case in chosen() if host in pushed_to(case, full)}


if __name__ == "__main__":
    import yaml

    match sys.argv[1:]:
        case ["sites", public_key]:
            key = Path(public_key).read_text().strip()
            said = {host: {"djdeploy_sites": sites(key, host)} for host in HOSTS}
            print(yaml.safe_dump({"all": {"hosts": said}}, allow_unicode=True))
        case _:
            sys.exit(__doc__)
