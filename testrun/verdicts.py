# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files can change the verdict of which part. Only data: names of files, names of parts, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from testrun.parts import COLLECTION, PROGRAMS, ROOT

#: They read the whole checkout: the linters, the unit tests of all there is, and what runs those again.
READERS = ("lint", "unit", "controller")
#: A scenario -> others whose files it uses: their modules, their playbooks.
USES: Mapping[str, tuple[str, ...]] = {"large": ("projects",)}

#: The pages that unit tests read.
PAGES = ("large-applications", "projects", "servers", "variables")
OURS = COLLECTION.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Rule:
    """Files that count for some parts only.

    :param files: a pattern of names from the root of the repository; `*` stands for slashes too.
    :param parts: patterns of the names of those parts.
    :param why: why they change the verdict of no other.
    """

    files: str
    parts: tuple[str, ...]
    why: str


def scenario_rule(scenario: str, scenarios: Iterable[str]) -> Rule:
    """The rule of the folder of a scenario."""
    users = [name for name in scenarios if name == scenario or scenario in USES.get(name, ())]
    parts = (*READERS, *(f"molecule-{name}" for name in users))
    return Rule(f"molecule/{scenario}/*", parts, "a scenario is told of its own folder, and uses those of USES")


def rules(scenarios: Iterable[str]) -> list[Rule]:
    """The first rule that has a file decides; a file that none has counts for every part."""
    names = list(scenarios)
    return [
        Rule("examples/*", ("*",), "projects that are pushed, whatever their files are called"),
        *(scenario_rule(name, names) for name in names),
        Rule("molecule/*", (*READERS, "molecule-*"), "nothing else runs a scenario"),
        *(Rule(f"tests/{name}/*", (name, *READERS), "a part reads no other's folder") for name in PROGRAMS),
        Rule("tests/scratch.sh", (*READERS, "demo"), "only the programs that copy the checkout source it"),
        Rule("tests/*", READERS, "unit tests run nowhere else, and times only decide the order"),
        Rule(f"{OURS}/tests/*", (*READERS, "sanity", "collection"), "no role, plugin or engine loads its tests"),
        Rule(f"{OURS}/*.md", (*READERS, "sanity", "collection"), "documentation, which is packed with the collection"),
        Rule("inventories/*.md", READERS, "documentation, of which unit tests read these"),
        *(Rule(f"docs/{page}.md", READERS, "documentation, of which unit tests read these") for page in PAGES),
        Rule("docs/*", ("lint",), "documentation: people read it, and lint compares what is generated"),
        Rule("*.md", ("lint",), "documentation: people read it, and lint compares what is generated"),
    ]


def counting(part: str, files: Iterable[str], scenarios: Iterable[str]) -> list[str]:
    """Those of the files that can change the verdict of a part, in order."""
    known = rules(scenarios)

    def counts(file: str) -> bool:
        rule = next((rule for rule in known if fnmatchcase(file, rule.files)), None)
        return rule is None or any(fnmatchcase(part, pattern) for pattern in rule.parts)

    return sorted(filter(counts, files))
