# SPDX-License-Identifier: GPL-3.0-or-later
"""Every migration of the corpus is judged as its label says, and the labels are true."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from corpus import BIG_TABLE, CASES, SAFE, UNSAFE, Case, write_cases

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

# What squawk says that is not about locks or other code, and why.
OF_TASTE = {
    "prefer-bigint-over-int": "a number may be as small as its author likes",
    "prefer-bigint-over-smallint": "the same",
    "prefer-text-field": "a varchar with a length is what Django makes of a CharField",
    "prefer-robust-stmts": "Django runs a migration in a transaction, and never twice",
    "require-lock-timeout": "the step migrate sets both timeouts for its session",
    "require-statement-timeout": "the same",
}
# What only takes time, and none to speak of on a small table; squawk cannot know how large a table is.
OF_TIME = {
    "require-concurrent-index-creation",
    "disallowed-unique-constraint",
    "constraint-missing-not-valid",
    "adding-field-with-default",
    "adding-foreign-key-constraint",
    "changing-column-type",
}
NEW_TABLES = {"create_model", "create_model_that_points", "create_model_and_go_on_with_it", "add_many_to_many"}
# What squawk finds and we call additive all the same. Each is held by a proof of its label, too.
EXCEPTIONS = {
    ("ban-drop-column", "add_and_drop"): "the column came in the same plan",
    ("ban-drop-default", "add_nullable"): "the default that Django drops filled old rows, and the column may be NULL",
    ("adding-field-with-default", "add_db_default_of_now"): "now() is not volatile: no row is touched",
    ("adding-foreign-key-constraint", "add_foreign_key_without_index"): "no default, so nothing is validated",
    ("changing-column-type", "longer_varchar"): "no row is touched",
    ("changing-column-type", "varchar_to_text"): "no row is touched",
    ("changing-column-type", "more_digits"): "no row is touched",
    ("ban-drop-not-null", "nullable"): "the live code writes its values as before",
    ("ban-drop-not-null", "stop_using_a_field"): "the same",
    ("ban-drop-constraint", "foreign_key_let_loose"): "the live code is refused less than before",
    ("ban-drop-constraint", "no_longer_unique"): "the same",
    ("ban-drop-constraint", "remove_constraint"): "the same",
    ("require-concurrent-index-deletion", "no_longer_indexed"): "a lock for a moment, bounded by lock_timeout",
    ("require-concurrent-index-deletion", "no_longer_unique"): "the same",
    ("require-concurrent-index-deletion", "remove_index"): "the same",
    ("renaming-object", "rename_index"): "no code names an index",
}


def test_there_are_enough_of_both():
    assert len(SAFE) >= 20 and len(UNSAFE) >= 20
    assert len({case.name for case in CASES}) == len(CASES)


@each_case
def test_class_is_as_labelled(judged, case: Case):
    found = judged[case.name]
    assert found["kind"] == case.kind, found["reasons"]


def test_no_unsafe_one_passes_and_no_safe_one_is_stopped(looked):
    refused = {name.partition(".")[0] for name in looked["refused"]}
    assert {case.name for case in UNSAFE} - refused == set()
    assert {case.name for case in SAFE} & refused == set()


@each_case
def test_label_is_true(proofs, case: Case):
    proof = proofs[case.name]
    assert proof["applied"] is None
    assert proof["before"] is None
    assert proof["rewritten"] == case.rewrites
    if case.breaks is not None:
        assert bool(proof["after"]) == case.breaks, proof["after"]


def test_what_rewrites_a_big_table_is_never_additive(proofs, judged):
    rewritten = {case.name for case in CASES if proofs[case.name]["rewritten"] and case.rows >= BIG_TABLE}
    assert rewritten
    assert not {name for name in rewritten if judged[name]["kind"] == "additive"}


@pytest.mark.parametrize("case", UNSAFE, ids=lambda case: case.name)
def test_refusal_says_what_how_else_and_how_all_the_same(judged, looked, case: Case):
    reasons = judged[case.name]["reasons"]
    assert reasons and all(reason["why"] for reason in reasons)
    assert all(reason["recipe"] for reason in reasons)
    _message, hint, detail = looked["refusal"]
    assert f"{case.name}.0002_case ({case.kind}" in detail
    assert "-o allow=contract,blocking" in hint and f"-o declare={UNSAFE[-1].name}.0002_case=additive" in hint


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("remove_field", "git push -o allow=contract "),
        ("index_on_big", "git push -o allow=blocking "),
        ("not_null_on_big", "git push -o allow=contract,blocking "),
        ("sql_code", "git push -o declare=sql_code.0002_case=additive "),
    ],
)
def test_push_that_would_hurt_is_refused(based, site, status, name: str, way: str):
    live = status("corpus")["live"]["id"]
    write_cases(site("corpus").project, cases=[case for case in CASES if case.name == name])
    site("corpus").change("README", name)
    try:
        pushed = site("corpus").push()
    finally:
        site("corpus").undo()
    assert pushed.status != 0
    assert f"{name}.0002_case is not run" in pushed.output
    assert way in pushed.output
    assert status("corpus")["live"]["id"] == live


def test_sql_is_shown(judged):
    for case in CASES:
        shown = "\n".join(judged[case.name]["sql"])
        assert shown.count("-- ") >= 1, case.name
        assert "cannot be shown before it runs" not in shown, shown
    assert 'ADD COLUMN "fresh" integer DEFAULT 5 NOT NULL' in "\n".join(judged["add_db_default"]["sql"])
    assert "CREATE INDEX CONCURRENTLY" in "\n".join(judged["add_index_concurrently"]["sql"])


def test_sizes_are_those_of_the_tables(looked):
    tables = looked["facts"]["tables"]
    for case in CASES:
        if f"{case.name}_thing" in tables:
            assert tables[f"{case.name}_thing"]["rows"] == case.rows
            assert tables[f"{case.name}_thing"]["bytes"] > 0


def test_squawk_finds_nothing_that_we_call_additive(judged, tmp_path):
    """A linter that others wrote looks at the same statements."""
    files = {}
    for case in CASES:
        file = tmp_path / f"{case.name}.sql"
        file.write_text("\n".join(judged[case.name]["sql"]) + "\n")
        files[str(file)] = case.name
    program = Path(sys.executable).parent / "squawk"
    done = subprocess.run([program, "--reporter", "json", *files], capture_output=True, text=True, check=False)
    found = {(finding["rule_name"], files[finding["file"]]) for finding in json.loads(done.stdout)}
    assert len({rule for rule, _name in found}) > 10, done.stderr
    small = {case.name for case in CASES if case.rows < BIG_TABLE}
    serious = {
        (rule, name)
        for rule, name in found
        if judged[name]["kind"] == "additive" and rule not in OF_TASTE and name not in NEW_TABLES
        if not (rule in OF_TIME and name in small)
    }
    assert serious == set(EXCEPTIONS)
