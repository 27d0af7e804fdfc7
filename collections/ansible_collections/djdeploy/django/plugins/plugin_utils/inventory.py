# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges an inventory as it lies on the controller: names, groups, and in which line a problem is.

Ansible hands over values without their place, and passes over names it does not know. People who edit
inventories need both: the line to mend, and to hear of a misspelt name before a host is touched.
Functions of text and data; only `read_files` and `role_variables` touch the disk.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible_collections.djdeploy.django.plugins.module_utils.engine.schema import (
    HOST_SITES_VARIABLE,
    INVENTORY_KEYS,
    SITES_VARIABLE,
    KeyPath,
    Problem,
    did_you_mean,
    nearest,
)

VARIABLE_SUFFIXES = ("", ".yml", ".yaml", ".json")
INVENTORY_SUFFIXES = ("", ".yml", ".yaml", ".json", ".ini", ".cfg")
OUR_PREFIX = "djdeploy_"
# Words anybody may begin a variable of his own with; under these only a near miss is taken for a mistake.
EVERYDAY_PREFIXES = ("site_", "host_", "engine_")


@dataclass(frozen=True)
class VariablesFile:
    """A file of the inventory that may hold variables.

    :param name: as it is shown to people.
    :param scope: "host:<name>", "group:<name>" or "inventory".
    """

    name: str
    text: str
    scope: str = "group:all"


@dataclass(frozen=True)
class Location:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


# --- reading --------------------------------------------------------------------------------------


def read_files(sources: Iterable[str | Path], shown_from: Path) -> list[VariablesFile]:
    """The files Ansible reads for these inventory sources, as it chooses them.

    :param sources: what was given by -i, as paths; what is no path (a list of hosts) is passed over.
    :param shown_from: directory the names are shown relative to, where they are below it.
    """
    files: list[VariablesFile] = []
    for source in map(Path, sources):
        if not source.exists():
            continue
        base = source if source.is_dir() else source.parent
        own = sorted(source.iterdir()) if source.is_dir() else [source]
        candidates = [("inventory", path) for path in own if path.is_file() and path.suffix in INVENTORY_SUFFIXES]
        for kind in ("group", "host"):
            for entry in sorted((base / f"{kind}_vars").glob("*")):
                name = entry.name if entry.is_dir() else entry.name.removesuffix(entry.suffix)
                if entry.is_file() and entry.suffix not in VARIABLE_SUFFIXES:
                    name = entry.name  # host_vars/web1.example.com: what looks like a suffix is part of the name
                paths = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
                candidates += [(f"{kind}:{name}", path) for path in paths if path.is_file() and is_read(path, entry)]
        for scope, path in candidates:
            if not path.name.startswith(".") and not path.name.endswith("~"):
                text = path.read_text(encoding="utf-8", errors="replace")
                files.append(VariablesFile(shown_path(path, shown_from), text, scope))
    return files


def is_read(path: Path, entry: Path) -> bool:
    return path == entry or path.suffix in VARIABLE_SUFFIXES


def shown_path(path: Path, shown_from: Path) -> str:
    try:
        return str(path.resolve().relative_to(shown_from.resolve()))
    except ValueError:
        return str(path)


def role_variables(roles: Path) -> dict[str, set[str]]:
    """Role name -> the variables its argument_specs.yml names, over all entry points."""
    known: dict[str, set[str]] = {}
    for specification in sorted(roles.glob("*/meta/argument_specs.yml")):
        content = yaml.safe_load(specification.read_text(encoding="utf-8")) or {}
        options: set[str] = set()
        for entry_point in (content.get("argument_specs") or {}).values():
            options.update(entry_point.get("options") or {})
        known[specification.parent.parent.name] = options
    return known


# --- where a thing is written ---------------------------------------------------------------------


def variable_mappings(file: VariablesFile) -> list[tuple[str, yaml.MappingNode]]:
    """The mappings of a file whose keys are variables, each with the scope it is for.

    Composed, not constructed: tags like !vault stay what they are and nothing is decrypted.
    """
    if file.text.startswith("$ANSIBLE_VAULT"):
        return []
    try:
        root = yaml.compose(file.text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return []  # Ansible itself has said so, or the file is an INI inventory
    if not isinstance(root, yaml.MappingNode):
        return []
    if file.scope != "inventory":
        return [(file.scope, root)]
    found: list[tuple[str, yaml.MappingNode]] = []
    for name, group in mapping_items(root):
        found += group_mappings(name, group)
    return found


def group_mappings(name: str, group: yaml.Node) -> Iterator[tuple[str, yaml.MappingNode]]:
    for key, value in mapping_items(group):
        if key == "vars" and isinstance(value, yaml.MappingNode):
            yield f"group:{name}", value
        elif key == "hosts":
            for host, variables in mapping_items(value):
                if isinstance(variables, yaml.MappingNode):
                    yield f"host:{host}", variables
        elif key == "children":
            for child, node in mapping_items(value):
                yield from group_mappings(child, node)


def mapping_items(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(str(key.value), value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    """The line (from 0) at which `step` begins below `node`, and its value; merge keys are followed."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line, item
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in reversed(node.value):  # of a key that is there twice, YAML takes the last
        if isinstance(key, yaml.ScalarNode) and key.value == str(step):
            return key.start_mark.line, value
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == "<<":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if (found := child(merged, step)) is not None:
                    return found
    return None


def locate(path: KeyPath, files: Sequence[VariablesFile], host: str = "") -> Location | None:
    """Where the deepest part of `path` there is is written; of several places the one that wins in Ansible.

    :param host: look at what is for this host rather than at what is for others.
    """
    best: tuple[int, int] | None = None
    location = None
    for file in files:
        for scope, mapping in variable_mappings(file):
            if host and scope.startswith("host:") and scope != f"host:{host}":
                continue
            node: yaml.Node = mapping
            depth, line = 0, 0
            for step in path:
                found = child(node, step)
                if found is None:
                    break
                depth, (line, node) = depth + 1, found
            rank = (depth, ["group:all", "group:", "host:"].index(scope_rank(scope)))
            if depth and (best is None or rank >= best):
                best, location = rank, Location(file.name, line + 1)
    return location


def scope_rank(scope: str) -> str:
    return scope if scope == "group:all" else scope[: scope.index(":") + 1]


def defined_variables(files: Sequence[VariablesFile]) -> Iterator[tuple[str, Location]]:
    """Every variable the inventory's files set, with its place."""
    for file in files:
        mappings = variable_mappings(file)
        for _scope, mapping in mappings:
            for key, _value in mapping.value:
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    yield str(key.value), Location(file.name, key.start_mark.line + 1)
        if file.scope == "inventory" and not mappings:
            for number, line in enumerate(file.text.splitlines(), start=1):
                if not line.lstrip().startswith(("#", ";")):
                    for match in re.finditer(r"(?:^|\s)([A-Za-z_]\w*)\s*=", line):
                        yield match.group(1), Location(file.name, number)


# --- judging --------------------------------------------------------------------------------------


def check_names(
    defined: Iterable[tuple[str, Location]], roles: Mapping[str, Collection[str]], foreign: Collection[str] = ()
) -> list[tuple[Problem, Location]]:
    """Variables that look like ours and are not: Ansible would pass over them in silence.

    :param roles: what `role_variables` returns.
    :param foreign: names the user says belong to others (`djdeploy_foreign_variables`).
    """
    own = [key.name for key in INVENTORY_KEYS]
    every = {*own, *(name for options in roles.values() for name in options)}
    findings = []
    for name, location in defined:
        if name in every or name in foreign or name.startswith("vault_"):
            continue
        first_word = name.split("_")[0]
        role = next((role for role in sorted(roles, key=len, reverse=True) if name.startswith(f"{role}_")), None)
        if name.startswith(OUR_PREFIX) or nearest(first_word, [OUR_PREFIX.rstrip("_")]):
            problem = Problem(f"unknown variable '{name}'", (name,), did_you_mean(name, own))
        elif role is None:
            continue
        else:
            prefix = f"{role}_"  # it would make every two names look alike
            near = nearest(name.removeprefix(prefix), [option.removeprefix(prefix) for option in roles[role]])
            if near is None and name.startswith(EVERYDAY_PREFIXES):
                continue
            foreign_hint = "if another role reads it, list it in djdeploy_foreign_variables"
            hint = f"did you mean '{prefix}{near}'?" if near else foreign_hint
            problem = Problem(f"'{name}' is no variable of the role {role}", (name,), hint)
        findings.append((problem, location))
    return findings


def check_repeated_keys(files: Sequence[VariablesFile]) -> list[tuple[Problem, Location]]:
    """Keys that are there twice below our variables: YAML takes the last, and the first is lost unseen."""
    findings: list[tuple[Problem, Location]] = []

    def walk(node: yaml.Node, path: tuple[str | int, ...], file: VariablesFile) -> None:
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                walk(item, (*path, index), file)
        if not isinstance(node, yaml.MappingNode):
            return
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines and name != "<<":
                where = ".".join(str(step) for step in path)
                message = f"'{name}' is in {where} twice; the first is in line {lines[name]}"
                findings.append((Problem(message, (*path, name), "join them or remove one"), Location(file.name, line)))
            lines.setdefault(name, line)
            walk(value, (*path, name), file)

    for file in files:
        for _scope, mapping in variable_mappings(file):
            for name, value in mapping_items(mapping):
                if name in (SITES_VARIABLE, HOST_SITES_VARIABLE):
                    walk(value, (name,), file)
    return findings


def check_groups(
    groups: Mapping[str, Collection[str]], database_hosts: Mapping[str, object], *, needs_database: bool
) -> list[Problem]:
    """Whether there is a host for each duty, and one answer to where the databases are.

    :param groups: group name -> hosts, as Ansible's `groups`.
    :param database_hosts: host name -> its `djdeploy_database_host`, where it has one.
    :param needs_database: whether any site has its database in PostgreSQL.
    """
    problems = []
    named = [name for name in groups if name not in ("all", "ungrouped")]
    for group, duty in (("web", "serves the sites"), ("database", "holds their databases")):
        if groups.get(group) or (group == "database" and not needs_database):
            continue
        near = nearest(group, [name for name in named if name != group])
        hint = f"did you mean that by the group '{near}'?" if near else f"add a host to it in hosts.yml: it {duty}"
        problems.append(Problem(f"no host is in the group '{group}'", (group,), hint))
    databases = sorted(groups.get("database") or [])
    if not databases or not needs_database:
        return problems
    for host in sorted(groups.get("web") or []):
        chosen = database_hosts.get(host)
        if chosen is None and host not in databases and len(databases) > 1:
            message = f"host {host} has {len(databases)} database hosts to choose from: {', '.join(databases)}"
            problems.append(Problem(message, ("djdeploy_database_host",), "name one by djdeploy_database_host", host))
        elif isinstance(chosen, str) and chosen not in databases:
            message = f"djdeploy_database_host is '{chosen}', which is no host of the group database"
            problems.append(Problem(message, ("djdeploy_database_host",), did_you_mean(chosen, databases), host))
    return problems


# --- saying it ------------------------------------------------------------------------------------


def report(findings: Sequence[tuple[Problem, Location | None]], sources: Sequence[str]) -> str:
    """All problems, one line each in the order of the files, and what to run when they are mended."""
    lines: list[str] = []
    in_order = sorted(findings, key=lambda finding: (finding[1].file, finding[1].line) if finding[1] else ("~", 0))
    for problem, location in in_order:
        text = f"{problem.message}; {problem.hint}" if problem.hint else problem.message
        line = f"{location}: {text}" if location else text
        if line not in lines:
            lines.append(line)
    inventory = " ".join(f"-i {source}" for source in sources)
    count = f"{len(lines)} problems" if len(lines) > 1 else "1 problem"
    head = f"{count} in the inventory; nothing was touched."
    return "\n".join([head, *lines, f"Then run: ansible-playbook site.yml {inventory} --check"])
