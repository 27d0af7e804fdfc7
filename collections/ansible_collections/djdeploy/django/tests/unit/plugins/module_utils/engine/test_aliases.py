# SPDX-License-Identifier: GPL-3.0-or-later
"""Several databases of one site: names of migrations, what is copied, and the agent on two SQLite files."""

from __future__ import annotations

import contextlib
import os
import pwd
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import (
    aliases,
    database,
    databases_said,
    plan_facts,
    restore,
    schema,
    snapshots,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.snapshots import Snapshot
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError, Target

NAMES = [
    ("default", "shop.0001_initial", "shop.0001_initial"),
    ("reports", "shop.0001_initial", "reports:shop.0001_initial"),
    ("read-replica", "shop", "read-replica:shop"),
]


@pytest.mark.parametrize(("alias", "name", "qualified"), NAMES)
def test_names(alias: str, name: str, qualified: str) -> None:
    assert aliases.qualified(alias, name) == qualified
    assert aliases.split(qualified) == (alias, name)


def test_grouped_keeps_the_order() -> None:
    found = aliases.grouped(["reports:b.2", "a.1", "reports:b.1", "a.2"])
    assert found == {"reports": ["b.2", "b.1"], "default": ["a.1", "a.2"]}


@pytest.mark.parametrize(
    ("databases", "planned"),
    [
        pytest.param({}, [None], id="default_alone"),
        pytest.param({"reports": "postgresql", "old": "external"}, [None, "reports", "old"], id="each_in_its_order"),
    ],
)
def test_planning(databases: dict[str, str], planned: list[str | None]) -> None:
    steps = aliases.planning({"name": "shop", "databases": databases})
    assert [step.get("database") for step in steps] == planned
    assert [bool(step.get("unless_mirror")) for step in steps] == [alias is not None for alias in planned]


def entry(name: str, *details: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"migration": name, "backwards": False, "atomic": True, "details": list(details), **more}


ADDS = {"type": "AddField", "text": "Add field size to product", "table": "shop_product", "nothing": True}
RUNS = {"type": "unknown", "text": "Do something of its own", "class": "Own", "nothing": False}


def facts(alias: str, *plan: dict[str, Any], recorded: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "database": alias,
        "plan": list(plan),
        "tables": {},
        "vendor": "sqlite",
        "known": {"shop": ["0001_initial", "0002_size"]},
        "recorded": recorded,
        **more,
    }


def test_plans_of_several_databases() -> None:
    told = aliases.planned(
        [
            facts("default", entry("shop.0002_size", RUNS)),
            facts("reports", entry("shop.0002_size", RUNS)),
            facts("copies", entry("shop.0002_size", ADDS)),
            facts("replica", mirror=True),
        ],
        declared={},
        big_table=1000,
    )
    assert told.pending == ["shop.0002_size", "reports:shop.0002_size", "copies:shop.0002_size"]
    assert set(told.known) == {"shop", "reports:shop", "copies:shop"}
    assert [(one["name"], one["kind"]) for one in told.migrations] == [
        ("shop.0002_size", "unknown"),
        ("reports:shop.0002_size", "unknown"),
        ("copies:shop.0002_size", "additive"),
    ]
    assert told.further == {
        "reports": {"recorded": 3, "touched": True},
        "copies": {"recorded": 3, "touched": False},
    }


def test_a_declared_class_counts_in_every_database() -> None:
    plans = [facts("default", entry("shop.0002_size", RUNS)), facts("reports", entry("shop.0002_size", RUNS))]
    told = aliases.planned(plans, declared={"shop.*": "contract"}, big_table=1000)
    assert [one["kind"] for one in told.migrations] == ["contract", "contract"]
    assert [one["reasons"][0]["operation"] for one in told.migrations] == [one["name"] for one in told.migrations]


KNOWN = {"shop": ["a", "b", "c"], "reports:shop": ["a", "b", "c"]}
HELD = {"migrations_recorded": 2}


@pytest.mark.parametrize(
    ("facts_", "pending", "copied"),
    [
        pytest.param(HELD, [], (), id="nothing_pending"),
        pytest.param(HELD, ["shop.c"], ("default",), id="default"),
        pytest.param({"migrations_recorded": 0}, ["shop.a", "shop.b", "shop.c"], (), id="empty"),
        pytest.param(
            {**HELD, "further": {"reports": {"recorded": 2, "touched": True}}},
            ["shop.c", "reports:shop.c"],
            ("default", "reports"),
            id="both",
        ),
        pytest.param(
            {**HELD, "further": {"reports": {"recorded": 2, "touched": True}}},
            ["reports:shop.c"],
            ("reports",),
            id="only_the_other",
        ),
        pytest.param(
            {**HELD, "further": {"reports": {"recorded": 2, "touched": False}}},
            ["shop.c", "reports:shop.c"],
            ("default",),
            id="the_router_keeps_it_out",
        ),
        pytest.param(
            {**HELD, "default_touched": False, "further": {"reports": {"recorded": 2, "touched": True}}},
            ["shop.c", "reports:shop.c"],
            ("reports",),
            id="the_router_keeps_it_out_of_default",
        ),
        pytest.param({**HELD, "default_touched": False, "further": {}}, ["shop.c"], ("default",), id="the_only_one"),
        pytest.param(
            {**HELD, "further": {"reports": {"recorded": 0, "touched": True}}},
            ["shop.c", "reports:shop.a", "reports:shop.b", "reports:shop.c"],
            ("default",),
            id="the_other_is_new",
        ),
    ],
)
def test_what_is_copied_before(shop: Site, facts_: dict[str, Any], pending: list[str], copied: tuple[str, ...]) -> None:
    release = Release("20260302T120000-bbbbbbb", "shop", "b" * 40, facts=facts_, pending=pending, known=KNOWN)
    assert aliases.holding(release) == copied
    wanted = plan_facts.snapshot_wanted(shop, release)
    assert wanted is True if copied else wanted in (False, "the database is empty")


# --- the way back -------------------------------------------------------------------------------------------------

REPORTS = {"shop": ["a"], "reports:shop": ["a"]}


@pytest.mark.parametrize(
    ("known", "applied", "expected"),
    [
        pytest.param(REPORTS, ["shop.a", "reports:shop.a"], database.Difference(), id="the_same"),
        pytest.param(
            REPORTS,
            ["shop.a", "shop.b", "reports:shop.a", "reports:shop.b"],
            database.Difference(breaks=["shop.b", "reports:shop.b"]),
            id="beyond_in_both",
        ),
        pytest.param(
            {"shop": ["a"]}, ["shop.a", "reports:shop.b"], database.Difference(), id="a_database_the_old_code_ignores"
        ),
        pytest.param(REPORTS, ["shop.a"], database.Difference(lacks=["reports:shop.a"]), id="lacks"),
    ],
)
def test_difference(known: dict[str, list[str]], applied: list[str], expected: database.Difference) -> None:
    assert database.difference(known, applied, {}) == expected


def test_steps_that_take_back() -> None:
    groups = aliases.grouped(["shop.c", "reports:shop.c", "shop.b"])
    assert database.unapplying(groups, attempts=2) == [
        {"name": "unapply", "migrations": ["shop.c", "shop.b"], "attempts": 2},
        {"name": "unapply", "migrations": ["shop.c"], "attempts": 2, "database": "reports"},
    ]


# --- snapshots ----------------------------------------------------------------------------------------------------


def copy(name: str, alias: str = "default", group: str = "") -> Snapshot:
    return Snapshot(name, "r", "m", f"2026-03-0{name[1]}T12:00:00+00:00", 1, 1.0, "sqlite", alias, group)


SETS = [copy("s1"), copy("s1.reports", "reports", "s1"), copy("s2.reports", "reports", "s2"), copy("s3")]


@pytest.mark.parametrize(
    ("keep", "needed", "gone"),
    [
        pytest.param(3, [], [], id="three_sets_of_four_copies"),
        pytest.param(2, [], ["s1", "s1.reports"], id="together"),
        pytest.param(1, ["s1"], ["s2.reports"], id="a_record_tells_of_the_set"),
    ],
)
def test_copies_made_together_go_together(keep: int, needed: list[str], gone: list[str]) -> None:
    assert [one.name for one in snapshots.to_prune(SETS, keep, frozenset(needed))] == gone


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("s1", ["s1", "s1.reports"]),
        ("s1.reports", ["s1.reports"]),
        ("s2", ["s2.reports"]),
        ("s3", ["s3"]),
    ],
)
def test_a_name_means_all_that_were_made_with_it(
    shop: Site, monkeypatch: pytest.MonkeyPatch, name: str, found: list[str]
) -> None:
    monkeypatch.setattr(snapshots, "kept", lambda _site: SETS)
    assert [one.name for one in snapshots.named(shop, name)] == found


FACTS = {"vendor": "sqlite", "size": 100, "libpq": {}, "archives": False}


@pytest.fixture
def files(shop: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two databases of the site with one row each, and what the agent tells of them."""
    found = {alias: tmp_path / f"{alias}.sqlite3" for alias in ("default", "reports")}
    for alias, file in found.items():
        with contextlib.closing(sqlite3.connect(file)) as there:
            there.execute("CREATE TABLE rows (text)")
            there.execute("INSERT INTO rows VALUES (?)", (f"{alias} before",))
            there.commit()
    monkeypatch.setattr(snapshots, "connection", lambda _target, alias="default": {**FACTS, "file": str(found[alias])})
    return found


def rows(file: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(file)) as there:
        return [text for (text,) in there.execute("SELECT text FROM rows")]


def write(files: dict[str, Path]) -> None:
    for file in files.values():
        with contextlib.closing(sqlite3.connect(file)) as there:
            there.execute("UPDATE rows SET text = 'later'")
            there.commit()


FURTHER = {"further": {"reports": {"recorded": 1, "touched": True}}}
TARGET = Target(Path(sys.executable), Path("/"), {}, pwd.getpwuid(os.geteuid()).pw_name)


@pytest.fixture
def two_copies(
    shop: Site,
    files: dict[str, Path],
    keep: Callable[..., Release],
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """A site whose two databases were copied, and written to since."""
    keep(LIVE, "live", facts=FURTHER)
    for name in ("on", "off", "drain"):
        monkeypatch.setattr(restore.maintenance, name, lambda *_words, **_more: None)
    monkeypatch.setattr(restore.database, "close", lambda *_words: None)
    monkeypatch.setattr(restore.process_units, "go_on", lambda *_words: None)
    monkeypatch.setattr(restore, "site_target", lambda *_words: TARGET)
    taken = snapshots.take(shop, TARGET, LIVE, progress, ("default", "reports"))
    assert taken is not None and taken.together == LIVE
    write(files)
    return shop


LIVE = "20260302T120000-bbbbbbb"


def test_copies_of_both_go_back(two_copies: Site, files: dict[str, Path], progress: Progress) -> None:
    assert [one.name for one in snapshots.kept(two_copies)] == [LIVE, f"{LIVE}.reports"]
    request = Request("restore", "shop", "host", "Ada", revision=LIVE, accept_loss=True)
    told = restore.restore(two_copies, request, progress)
    assert told["databases"] == ["default", "reports"] and told["undo"] == f"{LIVE}.2"
    assert {alias: rows(file) for alias, file in files.items()} == {
        "default": ["default before"],
        "reports": ["reports before"],
    }
    restore.restore(two_copies, replace(request, revision=f"{LIVE}.2"), progress)
    assert [rows(file) for file in files.values()] == [["later"], ["later"]]


def test_one_of_them_alone(two_copies: Site, files: dict[str, Path], progress: Progress, said: list[Any]) -> None:
    request = Request("restore", "shop", "host", "Ada", revision=f"{LIVE}.reports", accept_loss=True)
    restore.restore(two_copies, request, progress)
    assert [rows(file) for file in files.values()] == [["later"], ["reports before"]]
    assert any("No copy of the database default" in str(event) for event in said)


def test_the_second_fails(
    two_copies: Site, files: dict[str, Path], progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = snapshots.put_back

    def put_back(site: Site, target: Any, one: Snapshot, told: Progress) -> None:
        if one.database == "reports":
            raise EngineError("the disk is gone")
        real(site, target, one, told)

    monkeypatch.setattr(snapshots, "put_back", put_back)
    request = Request("restore", "shop", "host", "Ada", revision=LIVE, accept_loss=True)
    with pytest.raises(EngineError, match="the disk is gone") as caught:
        restore.restore(two_copies, request, progress)
    assert "the database default went back, the next did not" in caught.value.hint
    assert f"djdeploy restore shop {LIVE}.2 --yes" in caught.value.hint


def test_a_database_the_live_release_does_not_have(
    two_copies: Site, files: dict[str, Path], keep: Callable[..., Release], progress: Progress
) -> None:
    keep("20260303T120000-ccccccc", "live")
    request = Request("restore", "shop", "host", "Ada", revision=LIVE, accept_loss=True)
    with pytest.raises(EngineError, match="which the live release does not have") as caught:
        restore.restore(two_copies, request, progress)
    assert "in `databases`" in caught.value.hint
    assert rows(files["default"]) == ["later"], "nothing was put back"


def test_half_a_set_is_none(
    shop: Site, files: dict[str, Path], progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    files["reports"].unlink()
    with pytest.raises(EngineError):
        snapshots.take(shop, TARGET, LIVE, progress, ("default", "reports"))
    assert snapshots.kept(shop) == []
    assert list(snapshots.folder(shop).iterdir()) == []


# --- what a site says ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("databases", "more", "problem"),
    [
        pytest.param({"reports": "postgresql", "log-2": "mariadb"}, {}, "", id="fine"),
        pytest.param({"default": "postgresql"}, {}, "names default", id="default"),
        pytest.param({"reports": "sqlite"}, {}, "says 'sqlite' for reports", id="kind"),
        pytest.param({"2nd": "postgresql"}, {}, "has the alias '2nd'", id="digit"),
        pytest.param({"a" * 31: "postgresql"}, {}, "has the alias", id="length"),
        pytest.param({"old": "external"}, {}, "secrets holds no OLD_DATABASE_URL", id="external"),
        pytest.param({"old": "external"}, {"secrets": {"OLD_DATABASE_URL": "mysql://h/x"}}, "", id="given"),
        pytest.param({"a-b": "postgresql", "a_b": "mariadb"}, {}, "both be told by A_B_DATABASE_URL", id="variable"),
        pytest.param({"blog": "postgresql"}, {}, "has the name of the site 'shop_blog'", id="taken"),
    ],
)
def test_validation(databases: dict[str, str], more: dict[str, Any], problem: str) -> None:
    site = {"domains": ["shop.example.com"], "databases": databases, **more}
    found = schema.validate_sites({"shop": site, "shop_blog": {"domains": ["blog.example.com"]}})
    assert [problem in each.message for each in found] == ([True] if problem else [])
    assert all(each.path[:3] == ("djdeploy_sites", "shop", "databases") for each in found)


@pytest.mark.parametrize(
    ("sites", "says"),
    [
        pytest.param(
            {"a": {"b_c": "postgresql"}, "a_b": {"c": "postgresql"}}, "as one of the site 'a' does", id="same"
        ),
        pytest.param({"information": {"schema": "mariadb"}}, "is a database of the server itself", id="reserved"),
        pytest.param({"a": {"x": "external"}, "b": {"x": "postgresql"}, "c": {"x": "postgresql"}}, "", id="fine"),
    ],
)
def test_names_of_databases_are_one_site_s(sites: dict[str, dict[str, str]], says: str) -> None:
    given = {
        name: {"domains": [f"{number}.example.com"], "databases": databases, "secrets": {"X_DATABASE_URL": "u"}}
        for number, (name, databases) in enumerate(sites.items())
    }
    assert [says in each.message for each in schema.validate_sites(given)] == ([True] if says else [])


def test_a_host_cannot_say_it_differently() -> None:
    sites = {"shop": {"domains": ["shop.example.com"]}}
    (found,) = schema.validate_sites(sites, {"web1": {"shop": {"databases": {"reports": "postgresql"}}}})
    assert "cannot differ by host" in found.message


@pytest.mark.parametrize(
    ("databases", "settings", "expected"),
    [
        ({"reports": "postgresql"}, {}, ["reports"]),
        ({"reports": "postgresql"}, {"DATABASE_ROUTERS": ["shop.Router"]}, []),
        ({"reports": "postgresql"}, {"DATABASES": {"reports": {}}}, []),
        ({}, {}, []),
    ],
)
def test_pointless(databases: dict[str, str], settings: dict[str, Any], expected: list[str]) -> None:
    assert databases_said.pointless({"databases": databases}, settings) == expected


# --- the agent, on two files --------------------------------------------------------------------------------------

OTHER = 'DATABASES["reports"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "reports.sqlite3"}'
ROUTER = 'DATABASE_ROUTERS = ["mysite.routers.Reports"]'
ROUTERS = """
class Reports:
    def allow_migrate(self, db, app_label, **hints):
        return (app_label == "shop") == (db == "reports")
"""


@pytest.fixture
def two(project: Any) -> Any:
    """A project whose app `shop` lives in `reports`, and all else in `default`."""
    project.settings(f"{OTHER}\n{ROUTER}")
    project.write("mysite/routers.py", ROUTERS)
    return project


def plans(project: Any) -> aliases.Planned:
    found = project.run(*aliases.planning({"name": "shop", "databases": {"reports": "postgresql"}}), check=True)
    return aliases.planned([one.facts for one in found], declared={}, big_table=1000)


def test_both_are_migrated_each_as_the_router_says(two: Any) -> None:
    before = plans(two)
    assert "shop.0001_initial" in before.pending and "reports:shop.0001_initial" in before.pending
    done = two.run(*aliases.steps({"name": "migrate"}, ("default", "reports")))
    assert [one.facts["database"] for one in done] == ["default", "reports"]
    ours = "SELECT name FROM sqlite_master WHERE name IN ('shop_product', 'auth_user')"
    assert two.rows(ours, "reports.sqlite3") == [("shop_product",)]
    assert two.rows(ours) == [("auth_user",)]
    after = plans(two)
    assert not after.pending and after.further == {"reports": {"recorded": len(before.pending) // 2, "touched": False}}


MORE = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("shop", "0002_price")]
    operations = [migrations.{0}]
"""


def test_only_the_database_a_migration_changes_is_touched(two: Any) -> None:
    two.run(*aliases.steps({"name": "migrate"}, ("default", "reports")))
    two.write(
        "shop/migrations/0003_size.py", MORE.format('AddField("product", "size", models.IntegerField(null=True))')
    )
    told = plans(two)
    assert told.pending == ["shop.0003_size", "reports:shop.0003_size"]
    assert told.further["reports"]["touched"] is True
    release = Release("r", "shop", "x", facts={"further": told.further, "migrations_recorded": 9}, pending=told.pending)
    assert "reports" in aliases.migrated(release)


def test_going_back_asks_each_database(two: Any) -> None:
    two.run(*aliases.steps({"name": "migrate"}, ("default", "reports")))
    groups = aliases.grouped(["shop.0002_price", "reports:shop.0002_price"])
    done = two.run(*database.unapplying(groups))
    assert [one.facts["taken_back"] for one in done] == [["shop.0002_price"], ["shop.0002_price"]]
    found = two.run(*aliases.steps({"name": "migration_state"}, ("default", "reports")))
    assert all("shop.0002_price" not in one.facts["applied"] for one in found)


def test_a_failure_names_its_database(two: Any) -> None:
    two.run(*aliases.steps({"name": "migrate"}, ("default", "reports")))
    two.write("shop/migrations/0003_bad.py", MORE.format('RunSQL("SELECT nothing_there")'))
    two.run({"name": "migrate"})  # the router keeps it out of default
    with pytest.raises(StepError, match=r"in the database reports: migration shop\.0003_bad") as caught:
        two.run({"name": "migrate", "database": "reports"})
    assert caught.value.facts["database"] == "reports"


def test_a_mirror_is_left_alone(two: Any) -> None:
    two.settings('DATABASES["reports"]["TEST"] = {"MIRROR": "default"}')
    told = plans(two)
    assert told.pending and not told.further
    assert not any(name.startswith("reports:") for name in told.pending)
    assert told.told == ["the database reports mirrors another one, so it is neither migrated nor copied"]


def test_a_project_whose_routers_say_nothing_of_migrations_is_told(two: Any) -> None:
    assert plans(two).told == []
    two.write("mysite/routers.py", "class Reports:\n    def db_for_read(self, model, **hints):\n        return None\n")
    (line,) = plans(two).told
    assert line.startswith("no router of the project says what belongs into reports (allow_migrate)")


def test_what_a_project_holds_besides_is_its_own(two: Any) -> None:
    (only,) = two.run(*aliases.planning({"name": "shop"}), check=True)
    assert only.facts["database"] == "default"


# --- applying -----------------------------------------------------------------------------------------------------


def test_applied_is_told_by_database(
    shop: Site, keep: Callable[..., Release], progress: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = keep("20260302T120000-bbbbbbb", facts={"further": {"reports": {"recorded": 1, "touched": True}}})
    asked: list[Any] = []

    class Done:
        facts = {"applied": ["shop.c"]}  # noqa: RUF012

    def run(_target: Any, steps: list[dict[str, Any]], **_more: Any) -> list[Done]:
        asked.extend(steps)
        return [Done() for _step in steps]

    monkeypatch.setattr(database, "run_steps", run)
    monkeypatch.setattr(database, "site_target", lambda *_: None)
    assert database.apply(shop, release, progress) == ["shop.c", "reports:shop.c"]
    assert [step.get("database") for step in asked] == [None, "reports"]
    assert all(step["lock_name"] == "shop" for step in asked)


@pytest.mark.parametrize(
    ("alias", "half", "snapshot", "expected"),
    [
        ("default", "", "", ""),
        ("log", "shop.0002_size", "", "DROP DATABASE `shop_log`"),
        ("reports", "shop.0002_size", "", ""),  # PostgreSQL takes a whole migration back
        ("log", "shop.0002_size", "s1", "djdeploy restore shop s1 --yes"),
    ],
)
def test_how_to_begin_again(shop: Site, alias: str, half: str, snapshot: str, expected: str) -> None:
    site = Site("shop", {**shop.config, "databases": {"reports": "postgresql", "log": "mariadb"}})
    release = Release("20260302T120000-bbbbbbb", "shop", "b" * 40, snapshot=snapshot)
    told = database.before_it(site, release, half, alias)
    assert expected in told and bool(told) == bool(expected)
