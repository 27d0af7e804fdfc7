# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files can change which verdict: the table, and that the checkout keeps to its reasons."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from testrun import parts, verdicts
from testrun.parts import ROOT, SCENARIOS
from testrun.verdicts import OURS, READERS

KNOWN = parts.all_parts()
ALL = parts.parts_of_run(KNOWN, full=True)
SCENARIO_PARTS = [name for name in ALL if KNOWN[name].scenario]
TRACKED = subprocess.check_output(["git", "-C", ROOT, "ls-files"], text=True).splitlines()

COUNTS = [
    # a file, the parts whose verdict it can change
    ("script/host", ALL),
    ("testrun/main.py", ALL),
    ("pyproject.toml", ALL),
    (f"{OURS}/roles/nginx/tasks/main.yml", ALL),
    (f"{OURS}/plugins/modules/site.py", ALL),
    ("examples/shop/README.md", ALL),
    ("a-new-file", ALL),
    ("docs/deploy.md", ["lint"]),
    ("docs/testing.md", ["lint"]),
    ("CHANGELOG.md", ["lint"]),
    ("README.md", ["lint"]),
    ("docs/picture.svg", ["lint"]),
    ("docs/large-applications.md", [*READERS]),
    ("inventories/prod/README.md", [*READERS]),
    (f"{OURS}/README.md", [*READERS, "sanity", "collection"]),
    (f"{OURS}/roles/nginx/README.md", [*READERS, "sanity", "collection"]),
    (f"{OURS}/tests/unit/test_x.py", [*READERS, "sanity", "collection"]),
    ("tests/unit/test_host.py", [*READERS]),
    ("tests/times.json", [*READERS]),
    ("tests/demo/run", [*READERS, "demo"]),
    ("tests/controller/run", [*READERS]),
    ("tests/collection/theirs.yml", [*READERS, "collection"]),
    ("tests/scratch.sh", [*READERS, "demo"]),
    ("molecule/push/tests/test_push.py", [*READERS, "molecule-push"]),
    ("molecule/push/tests/notes.md", [*READERS, "molecule-push"]),
    ("molecule/projects/corpus.py", [*READERS, "molecule-projects", "molecule-large"]),
    ("molecule/large/tests/test_large.py", [*READERS, "molecule-large"]),
    ("molecule/shared/hosts.py", [*READERS, *SCENARIO_PARTS]),
    ("molecule/conftest.py", [*READERS, *SCENARIO_PARTS]),
    (".config/molecule/config.yml", ALL),
]


@pytest.mark.parametrize(("file", "names"), COUNTS, ids=[file for file, _ in COUNTS])
def test_counts(file: str, names: list[str]) -> None:
    counting = [name for name in ALL if verdicts.counting(name, [file], parts.scenarios())]
    assert sorted(counting) == sorted(names)


def test_every_file_can_change_what_lint_says() -> None:
    assert verdicts.counting("lint", TRACKED, parts.scenarios()) == sorted(TRACKED)


def test_each_rule_has_files_parts_and_a_reason() -> None:
    for rule in verdicts.rules(parts.scenarios()):
        assert any(fnmatchcase(name, rule.files) for name in TRACKED), rule
        assert all(any(fnmatchcase(name, pattern) for name in ALL) for pattern in rule.parts), rule
        assert rule.why


# --- the reasons ---


def files_of(folder: str) -> Iterator[tuple[str, str]]:
    """The tracked files below a folder, as text, without the projects that are pushed (which know no scenario)."""
    for name in TRACKED:
        if name.startswith(f"{folder}/") and not re.match(r"molecule/\w+/corpus/", name):
            path = ROOT / name
            if path.is_file() and path.suffix in (".py", ".yml", ".sh", ".toml", ""):
                yield name, path.read_text()


def said(text: str) -> str:
    """A text without whole-line comments and what follows a comment's mark."""
    return re.sub(r"(^|\s)#.*", r"\1", text, flags=re.MULTILINE)


def imported(text: str) -> set[str]:
    """The first words of what a Python file imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def modules(folder: Path) -> set[str]:
    """What a folder of Python files offers to whoever has it on the path."""
    return {path.stem for path in folder.rglob("*.py") if "corpus" not in path.parts[len(SCENARIOS.parts) + 1 : -1]}


def used_by(folder: str) -> set[str]:
    """The scenarios that files below a folder of molecule/ name by their path, or import modules of."""
    others = [name for name in parts.scenarios() if name != folder]
    # molecule/NAME, ../NAME, "molecule" / "NAME", SCENARIOS / "NAME": not as the scenario of a command (-s NAME)
    named = re.compile(rf"""(?:\bmolecule|\bSCENARIOS|\.\.)["']?\s*/\s*["']?({"|".join(others)})\b""")
    found, imports = set[str](), set[str]()
    for name, text in files_of(f"molecule/{folder}"):
        found |= set(named.findall(re.sub(r'""".*?"""', "", said(text), flags=re.DOTALL)))
        imports |= imported(text) if name.endswith(".py") else set()
    known = set[str]().union(*(modules(SCENARIOS / each) for each in (folder, "shared", *found)))
    return found | {other for other in others if (imports - known) & modules(SCENARIOS / other)}


@pytest.mark.parametrize("scenario", parts.scenarios())
def test_a_scenario_uses_no_other_one_than_the_table_says(scenario: str) -> None:
    assert used_by(scenario) == set(verdicts.USES.get(scenario, ()))


def test_what_all_scenarios_share_uses_none_of_them() -> None:
    assert used_by("shared") == set()
    assert not re.search(rf"molecule/({'|'.join(parts.scenarios())})\b", said((SCENARIOS / "conftest.py").read_text()))


def test_scenarios_use_nothing_of_the_tests_of_other_parts() -> None:
    for scenario in [*parts.scenarios(), "shared"]:
        for name, text in files_of(f"molecule/{scenario}"):
            words = re.sub(r'""".*?"""', "", said(text), flags=re.DOTALL)
            assert not re.search(r"""tests[./"' ]+(unit|demo|collection|controller|scratch|times)\b""", words), name


def test_only_programs_that_the_rule_names_source_what_copies_the_checkout() -> None:
    sourcing = {path.parent.name for path in (ROOT / "tests").glob("*/*") if path.is_file() and sources(path)}
    counting = [name for name in ALL if verdicts.counting(name, ["tests/scratch.sh"], parts.scenarios())]
    assert sourcing <= set(counting)


def sources(path: Path) -> bool:
    return path.suffix != ".py" and ". tests/scratch.sh" in path.read_text()


#: Unit tests that name pages of trees they invent, and read none of this checkout's.
INVENTED = (
    "test_inventory.py",
    "test_testhosts.py",
    "test_testrun_verdicts.py",
    "test_testrun_resume.py",
    "test_testrun_running.py",
)
#: A unit test and a name that many pages have -> which of them it reads.
WHICH = {("test_inventories.py", "README.md"): "inventories/*"}


def test_unit_tests_read_no_page_that_does_not_count_for_them() -> None:
    pages = [name for name in TRACKED if name.endswith(".md")]
    counting = set(verdicts.counting("unit", pages, parts.scenarios()))
    files = [*(ROOT / "tests/unit").rglob("*.py"), *(ROOT / OURS / "tests/unit").rglob("*.py")]
    for file in (file for file in files if file.name not in INVENTED):
        for literal in re.findall(r"""["'/]([\w*-]+\.md)["']""", file.read_text()):
            named = {page for page in pages if fnmatchcase(Path(page).name, literal)}
            read = {page for page in named if fnmatchcase(page, WHICH.get((file.name, literal), "*"))}
            assert read <= counting, (file, literal)
