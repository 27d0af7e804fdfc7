# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a release: what is told to differ, in which words, and when two plans are one."""

from __future__ import annotations

import difflib
import json
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import plan
from ansible_collections.djdeploy.django.plugins.module_utils.engine.git import COMMITS_TOLD
from ansible_collections.djdeploy.django.plugins.module_utils.engine.migrations import Judged, Reason
from ansible_collections.djdeploy.django.plugins.module_utils.engine.plan import Plan

OLD, NEW = "1b7d0e2" + "0" * 33, "3f2a9c1" + "0" * 33
ADD = Judged("catalog.0003_price", "additive", (), ('ALTER TABLE "catalog_product" ADD COLUMN "price" integer;',))
DROP = Judged(
    "catalog.0004_drop_colour",
    "contract",
    (
        Reason("contract", "Remove field colour from product", "the live release reads it", "First stop using it."),
        Reason("blocking", "Alter field name on product", "it rewrites catalog_product (about 900,000 rows)"),
    ),
    ('ALTER TABLE "catalog_product"\n  DROP COLUMN "colour";', "-- and then"),
    reverse="lossy",
)
CODE = Judged("catalog.0005_fill", "unknown", (Reason("unknown", "Raw Python operation", "it runs fill()"),))


def numbered(number: int, kind: str = "additive") -> Judged:
    reasons = () if kind == "additive" else (Reason(kind, f"Operation {number}", "so it is"),)
    return Judged(f"app.{number:04d}", kind, reasons)


def computed(*migrations: Judged, **changes: Any) -> Plan:
    """The plan of one commit that changes nothing else, but for `changes`."""
    nothing: dict[str, Any] = {
        "revision_before": OLD,
        "revision_after": NEW,
        "commits": ["3f2a9c1 Lower the price"],
        "packages_before": {},
        "packages_after": {},
        "static_before": {},
        "static_after": {},
        "settings_before": {},
        "settings_after": {},
        "environment_before": {},
        "environment_after": {},
        "configuration_changed": [],
        "processes": ["web"],
        "snapshot": False,
    }
    return plan.compute(**{**nothing, "migrations": [one.as_dict() for one in migrations], **changes})


# --- What differs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, []),
        ({"a": "1"}, {"a": "1"}, []),
        ({}, {"b": "1", "a": "2"}, ["+ a 2", "+ b 1"]),
        ({"a": "1"}, {}, ["- a 1"]),
        ({"a": "1.9"}, {"a": "1.10"}, ["~ a 1.9 -> 1.10"]),
        ({"a": "1", "b": "1", "c": "1"}, {"b": "2", "c": "1", "d": "1"}, ["- a 1", "~ b 1 -> 2", "+ d 1"]),
    ],
)
def test_package_changes(before: dict[str, str], after: dict[str, str], told: list[str]) -> None:
    found = plan.package_changes(before, after)
    assert [plan.package_line(item) for item in found] == told


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, (0, 0, 0, 0, [])),
        (None, {"a.css": (5, "")}, (0, 0, 0, 0, [])),
        ({}, {"b.js": (7, ""), "a.css": (5, "")}, (2, 0, 0, 12, ["+ a.css", "+ b.js"])),
        ({"a.css": (5, "")}, {}, (0, 1, 0, 0, ["- a.css"])),
        ({"a.css": (5, "")}, {"a.css": (6, "")}, (0, 0, 1, 6, ["~ a.css"])),
        ({"a.css": (5, "x")}, {"a.css": (5, "y")}, (0, 0, 1, 5, ["~ a.css"])),
        ({"a.css": (5, "x"), "b": (1, "")}, {"a.css": (5, "x"), "b": (1, "")}, (0, 0, 0, 0, [])),
        ({"b": (1, ""), "c": (1, "")}, {"a": (2, ""), "b": (3, "")}, (1, 1, 1, 5, ["+ a", "~ b", "- c"])),
    ],
)
def test_static_changes(before: Any, after: Any, expected: Any) -> None:
    keys = ("added", "removed", "changed", "bytes", "names")
    assert plan.static_changes(before, after) == dict(zip(keys, expected, strict=True))


def test_static_changes_names_the_first_and_counts_all() -> None:
    many = {f"{number:03}.css": (1, "") for number in range(100)}
    found = plan.static_changes({}, many)
    assert (found["added"], len(found["names"]), found["names"][0]) == (100, plan.STATIC_NAMED, "+ 000.css")


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, []),
        (None, {"A": "1"}, []),
        ({"A": "1"}, {"A": "1"}, []),
        ({"A": "1", "C": "1"}, {"B": "1", "C": "2"}, ["- A", "+ B", "~ C"]),
    ],
)
def test_name_changes(before: Any, after: dict[str, str], told: list[str]) -> None:
    assert plan.marked(plan.name_changes(before, after)) == told


# --- The gate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("migrations", "allow", "refused", "downtime"),
    [
        ([], [], [], []),
        ([ADD], [], [], []),
        ([ADD, DROP], [], [DROP.name], []),
        ([ADD, DROP], ["contract"], [DROP.name], []),
        ([ADD, DROP], ["contract", "blocking"], [], [DROP.name]),
        ([CODE], [], [CODE.name], []),
        ([CODE], ["contract"], [CODE.name], []),
        ([numbered(1, "blocking"), numbered(2, "contract")], ["blocking"], ["app.0002"], ["app.0001"]),
    ],
)
def test_gate(migrations: list[Judged], allow: list[str], refused: list[str], downtime: list[str]) -> None:
    found = computed(*migrations, allow=allow)
    assert found.refused == refused
    assert found.downtime == {"expected": bool(downtime), "why": downtime}


def test_gate_of_a_first_release_is_open() -> None:
    found = computed(DROP, CODE, revision_before=None)
    assert (found.refused, found.downtime["expected"]) == ([], False)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (True, {"taken": True, "why": "", "bytes": 900}),
        (False, {"taken": False, "why": "", "bytes": 0}),
        ("snapshots are off", {"taken": False, "why": "snapshots are off", "bytes": 0}),
    ],
)
def test_snapshot(snapshot: bool | str, expected: dict[str, Any]) -> None:
    assert computed(ADD, snapshot=snapshot, snapshot_bytes=900).snapshot == expected


# --- As data ---------------------------------------------------------------------------------------------------

BUSY: dict[str, Any] = {
    "packages_before": {"django": "5.1", "pytz": "1"},
    "packages_after": {"django": "5.2", "attrs": "2"},
    "static_before": {"a.css": (5, "x"), "old.js": (1, "")},
    "static_after": {"a.css": (5, "y"), "new.js": (1500, "")},
    "settings_before": {"CACHES": "1", "GONE": "1"},
    "settings_after": {"CACHES": "2", "NEW": "1"},
    "environment_before": {"TOKEN": "1"},
    "environment_after": {"TOKEN": "2"},
    "configuration_changed": ["web", "domains"],
    "snapshot": True,
    "snapshot_bytes": 123_456_789,
    "allow": ["contract", "blocking"],
}


def test_a_plan_comes_through_json_whole() -> None:
    made = computed(ADD, DROP, **BUSY)
    told = json.loads(json.dumps(made.as_dict()))
    assert Plan.from_mapping(told) == made
    assert told["id"] == made.plan_id == Plan.from_mapping(told).plan_id
    assert [Judged.as_dict(one) for one in plan.judged(told["migrations"])] == told["migrations"]


def test_the_id_is_the_same_for_the_same_content() -> None:
    first = computed(ADD, DROP, **BUSY)
    backwards = {
        key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in BUSY.items()
    }
    assert computed(ADD, DROP, **{**backwards, "configuration_changed": ["domains", "web"]}).plan_id == first.plan_id
    assert len(first.plan_id) == 12
    assert set(first.plan_id) <= set("0123456789abcdef")


GROWN = Judged(
    DROP.name,
    DROP.kind,
    (DROP.reasons[0], Reason("blocking", "Alter", "about 901,000 rows")),
    DROP.sql,
    reverse="lossy",
)


@pytest.mark.parametrize(
    ("migrations", "changes"),
    [
        pytest.param([ADD, GROWN], {}, id="rows"),
        pytest.param([ADD, DROP], {"snapshot_bytes": 5}, id="size_of_the_snapshot"),
        pytest.param([ADD, DROP], {"commits": ["3f2a9c1aa Lower the price"]}, id="how_git_abbreviates"),
        pytest.param([ADD, DROP], {"settings_after": {"CACHES": "3", "NEW": "9"}}, id="digests"),
        pytest.param([ADD, DROP], {"allow": ["blocking", "contract", "contract"]}, id="order_of_allow"),
    ],
)
def test_the_id_does_not_move_with_estimates(migrations: list[Judged], changes: dict[str, Any]) -> None:
    assert computed(*migrations, **{**BUSY, **changes}).plan_id == computed(ADD, DROP, **BUSY).plan_id


DECLARED = Judged(DROP.name, "blocking", DROP.reasons[1:], DROP.sql, reverse="lossy")


@pytest.mark.parametrize(
    ("migrations", "changes"),
    [
        pytest.param([ADD, DROP], {"revision_after": OLD}, id="revision_after"),
        pytest.param([ADD, DROP], {"revision_before": None}, id="revision_before"),
        pytest.param([DROP], {}, id="a_migration_less"),
        pytest.param([DROP, ADD], {}, id="order_of_migrations"),
        pytest.param([ADD, DECLARED], {}, id="class"),
        pytest.param([ADD, Judged(DROP.name, DROP.kind, DROP.reasons, ("SELECT 1;",))], {}, id="sql"),
        pytest.param([ADD, Judged(DROP.name, DROP.kind, DROP.reasons, DROP.sql, atomic=False)], {}, id="atomic"),
        pytest.param([ADD, DROP], {"packages_after": {"django": "5.2"}}, id="packages"),
        pytest.param([ADD, DROP], {"static_after": {}}, id="static"),
        pytest.param([ADD, DROP], {"settings_before": None}, id="settings"),
        pytest.param([ADD, DROP], {"environment_after": {}}, id="environment"),
        pytest.param([ADD, DROP], {"configuration_changed": []}, id="configuration"),
        pytest.param([ADD, DROP], {"processes": ["web", "worker"]}, id="processes"),
        pytest.param([ADD, DROP], {"snapshot": "off"}, id="snapshot"),
        pytest.param([ADD, DROP], {"allow": []}, id="refused"),
    ],
)
def test_the_id_moves_with_what_was_agreed_to(migrations: list[Judged], changes: dict[str, Any]) -> None:
    assert computed(*migrations, **{**BUSY, **changes}).plan_id != computed(ADD, DROP, **BUSY).plan_id


# --- For people ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (computed(), "1 commit, no downtime"),
        (computed(commits=[], revision_before=NEW), "same commit, no downtime"),
        (computed(commits=[]), "back to an earlier commit, no downtime"),
        (computed(commits=["x"] * COMMITS_TOLD), f"{COMMITS_TOLD} or more commits, no downtime"),
        (computed(revision_before=None, commits=["x"] * 3), "first release, no downtime"),
        (computed(ADD), "1 commit, 1 migration (additive), no downtime"),
        (computed(ADD, CODE), "1 commit, 2 migrations (additive, unknown), refused"),
        (
            computed(ADD, DROP, **BUSY),
            "1 commit, 2 migrations (additive, contract), 3 packages, 3 static files, 3 settings, "
            "1 environment variable, 2 site options, maintenance page during the migrations",
        ),
    ],
)
def test_summary(made: Plan, line: str) -> None:
    assert plan.summary(made) == line


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        pytest.param(computed(), ["plan        1 commit, no downtime"], id="nothing_to_say"),
        pytest.param(
            computed(ADD, snapshot=True, snapshot_bytes=980),
            [
                "plan        1 commit, 1 migration (additive), no downtime",
                "migration   catalog.0003_price",
                "snapshot    of the database, before the migrations, about 980 bytes",
            ],
            id="additive",
        ),
        pytest.param(
            computed(ADD, snapshot="snapshots are off for this site"),
            [
                "plan        1 commit, 1 migration (additive), no downtime",
                "migration   catalog.0003_price",
                "snapshot    none: snapshots are off for this site",
            ],
            id="no_snapshot",
        ),
        pytest.param(
            computed(ADD, DROP, **BUSY),
            [
                "plan        " + plan.summary(computed(ADD, DROP, **BUSY)),
                "migration   catalog.0004_drop_colour (contract): Remove field colour from product: "
                "the live release reads it",
                "migration   catalog.0003_price",
                "package     + attrs 2, ~ django 5.1 -> 5.2, - pytz 1",
                "setting     ~ CACHES, - GONE, + NEW",
                "environment ~ TOKEN",
                "site        ~ domains, ~ web",
                "snapshot    of the database, before the migrations, about 123.5 MB",
                "downtime    maintenance page during catalog.0004_drop_colour",
            ],
            id="busy",
        ),
        pytest.param(
            computed(*map(numbered, range(1, 8)), *(numbered(number, "contract") for number in range(11, 18))),
            [
                "plan        1 commit, 14 migrations (additive, contract), refused",
                *(f"migration   app.{number:04d} (contract): Operation {number}: so it is" for number in range(11, 16)),
                "migration   and 2 more",
                "migration   app.0001, app.0002, app.0003, app.0004, app.0005, and 2 more",
                "refused     app.0011, app.0012, app.0013, app.0014, app.0015, and 2 more",
            ],
            id="long_lists",
        ),
    ],
)
def test_lines(made: Plan, lines: list[str]) -> None:
    assert plan.lines(made) == lines


def test_lines_of_the_whole_plan() -> None:
    many = {f"{number:02}.css": (1, "") for number in range(plan.STATIC_NAMED + 2)}
    made = computed(ADD, DROP, **{**BUSY, "static_before": {}, "static_after": many})
    assert plan.lines(made, whole=True) == [
        "plan        " + plan.summary(made),
        "commit      3f2a9c1 Lower the price",
        "migration   catalog.0003_price (additive)",
        '              ALTER TABLE "catalog_product" ADD COLUMN "price" integer;',
        "migration   catalog.0004_drop_colour (contract): Remove field colour from product: the live release reads it",
        "              also Alter field name on product: it rewrites catalog_product (about 900,000 rows)",
        '              ALTER TABLE "catalog_product"',
        '                DROP COLUMN "colour";',
        "              -- and then",
        "package     + attrs 2",
        "package     ~ django 5.1 -> 5.2",
        "package     - pytz 1",
        *(f"static      + {number:02}.css" for number in range(plan.STATIC_NAMED)),
        "static      and 2 more",
        "setting     ~ CACHES",
        "setting     - GONE",
        "setting     + NEW",
        "environment ~ TOKEN",
        "site        ~ domains",
        "site        ~ web",
        "restart     web",
        "snapshot    of the database, before the migrations, about 123.5 MB",
        "downtime    maintenance page during catalog.0004_drop_colour",
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (12_440_000, "12.4 MB"), (5e12, "5000.0 GB")],
)
def test_size_text(size: float, text: str) -> None:
    assert plan.size_text(size) == text


def changed_lines(made: Plan) -> list[str]:
    before, after = plan.diff_texts(made)
    found = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in found if not line.startswith(("---", "+++", "@@"))]


def test_diff_texts_show_every_change_and_nothing_else() -> None:
    made = computed(ADD, DROP, **BUSY)
    assert sorted(changed_lines(made)) == sorted(
        [
            f"-revision: {OLD}",
            f"+revision: {NEW}",
            "+commit: 3f2a9c1 Lower the price",
            "+migration: catalog.0003_price (additive)",
            '+    ALTER TABLE "catalog_product" ADD COLUMN "price" integer;',
            "+migration: catalog.0004_drop_colour (contract): Remove field colour from product: "
            "the live release reads it",
            "+    also Alter field name on product: it rewrites catalog_product (about 900,000 rows)",
            '+    ALTER TABLE "catalog_product"',
            '+      DROP COLUMN "colour";',
            "+    -- and then",
            "+package: attrs 2",
            "-package: django 5.1",
            "+package: django 5.2",
            "-package: pytz 1",
            "-static file: a.css (as it is)",
            "+static file: a.css (changed)",
            "+static file: new.js",
            "-static file: old.js",
            "-setting: CACHES (as it is)",
            "+setting: CACHES (changed)",
            "-setting: GONE",
            "+setting: NEW",
            "-environment: TOKEN (as it is)",
            "+environment: TOKEN (changed)",
            "-site option: domains (as it is)",
            "+site option: domains (changed)",
            "-site option: web (as it is)",
            "+site option: web (changed)",
            "+restart: web",
            "+snapshot: of the database, before the migrations, about 123.5 MB",
            "+maintenance page: during catalog.0004_drop_colour",
            f"+plan: {made.plan_id}",
        ]
    )


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (computed(revision_before=None), "-revision: none"),
        (computed(CODE), "+refused: catalog.0005_fill"),
        (computed(ADD, snapshot="it is off"), "+snapshot: none: it is off"),
        (computed(static_after={f"{number:03}": (1, "") for number in range(50)}), "+static file: and 10 more"),
    ],
)
def test_diff_texts_also_tell(made: Plan, line: str) -> None:
    assert line in changed_lines(made)


def test_snapshot_of_several_databases() -> None:
    several = computed(ADD, snapshot=True, snapshot_of=("default", "reports"))
    assert "snapshot    of default, reports, before the migrations" in plan.lines(several)
    assert "databases" not in computed(ADD, snapshot="it is off", snapshot_of=("default", "reports")).snapshot
