# SPDX-License-Identifier: GPL-3.0-or-later
"""What going back means for a database, and when it may be done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import database, maintenance
from ansible_collections.djdeploy.django.plugins.module_utils.engine.database import Difference
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Progress
from ansible_collections.djdeploy.django.plugins.module_utils.engine.migrations import Reversal
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepResult

KNOWN = {"catalog": ["0001_initial"], "auth": ["0001_initial"]}
HERE = ["catalog.0001_initial", "auth.0001_initial"]


def judged(**kinds: str) -> dict[str, dict[str, Any]]:
    names = {f"catalog.{name}": kind for name, kind in kinds.items()}
    return {name: {"name": name, "kind": kind, "reasons": []} for name, kind in names.items()}


@pytest.mark.parametrize(
    ("known", "applied", "records", "expected"),
    [
        pytest.param(KNOWN, HERE, {}, Difference(), id="nothing"),
        pytest.param(
            KNOWN, [*HERE, "catalog.b"], judged(b="additive"), Difference(stays=["catalog.b"]), id="additive_stays"
        ),
        pytest.param(
            KNOWN, [*HERE, "catalog.b"], judged(b="blocking"), Difference(stays=["catalog.b"]), id="an_index_stays"
        ),
        pytest.param(
            KNOWN, [*HERE, "catalog.b"], judged(b="contract"), Difference(breaks=["catalog.b"]), id="contract_breaks"
        ),
        pytest.param(KNOWN, [*HERE, "catalog.b"], {}, Difference(breaks=["catalog.b"]), id="nobody_judged_it"),
        pytest.param(
            KNOWN,
            [*HERE, "catalog.b", "catalog.c"],
            judged(b="additive", c="contract"),
            Difference(stays=["catalog.b"], breaks=["catalog.c"]),
            id="some_of_each",
        ),
        pytest.param(KNOWN, HERE[:1], {}, Difference(lacks=["auth.0001_initial"]), id="lacks"),
    ],
)
def test_difference(
    known: dict[str, list[str]], applied: list[str], records: dict[str, dict[str, Any]], expected: Difference
) -> None:
    assert database.difference(known, applied, records) == expected


LOSSLESS = Reversal("catalog.b", "Rename field a to b", "lossless", "the name comes back")
LOSSY = Reversal("catalog.b", "Add field b", "lossy", "the column goes with all it holds")
IRREVERSIBLE = Reversal("catalog.b", "Raw Python operation", "irreversible", "it has no reverse_code")


@pytest.mark.parametrize(
    ("plan", "accept_loss", "refused", "hint"),
    [
        pytest.param([LOSSLESS], False, None, "", id="nothing_lost"),
        pytest.param([LOSSLESS, LOSSY], False, "would lose data: catalog.b: Add field b", "--accept-loss", id="lossy"),
        pytest.param([LOSSLESS, LOSSY], True, None, "", id="lossy_and_agreed_to"),
        pytest.param([LOSSY, IRREVERSIBLE], True, "cannot be taken back", "djdeploy restore shop", id="irreversible"),
    ],
)
def test_require_way_back(
    shop: Site, keep: Callable[..., Release], plan: list[Reversal], accept_loss: bool, refused: str | None, hint: str
) -> None:
    newer = keep("20260302T120000-bbbbbbb", "live", applied=["catalog.b"], snapshot="20260302T120000-bbbbbbb")
    if refused is None:
        database.require_way_back(shop, plan, ["catalog.b"], accept_loss=accept_loss)
        return
    with pytest.raises(EngineError, match=refused) as caught:
        database.require_way_back(shop, plan, ["catalog.b"], accept_loss=accept_loss)
    assert hint in caught.value.hint and newer.snapshot in caught.value.hint
    assert all(one.operation in caught.value.detail for one in plan), "every operation with its verdict"


@pytest.mark.parametrize(
    ("names", "most", "expected"),
    [([], 4, ""), (["a", "b"], 4, "a, b"), (["a", "b", "c", "d", "e"], 4, "5: a ... e")],
)
def test_shortened(names: list[str], most: int, expected: str) -> None:
    assert database.shortened(names, most) == expected


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Operations to perform:", False),
        ("  Apply all migrations: admin, auth", False),
        ("Running migrations:", False),
        ("  Applying catalog.0003_stars... OK", False),
        ("", False),
        ("catalog.0003_stars waits for process 4711, which ...", True),
        ("what a migration itself prints", True),
    ],
)
def test_telling_leaves_out_what_django_always_says(
    progress: Progress, said: list[dict[str, Any]], line: str, told: bool
) -> None:
    database.telling(progress)(line)
    assert [event["text"] for event in said] == ([line] if told else [])


# --- a page that a killed run left up -------------------------------------------------------------


OLD, NEW = "20260301T120000-aaaaaaa", "20260302T120000-bbbbbbb"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to the database and to the pointer; the database has a migration the old code does not know."""
    done: list[str] = []
    state = StepResult(
        "migration_state", False, facts={"applied": ["catalog.a", "catalog.b"], "known": {"catalog": ["a"]}}
    )
    monkeypatch.setattr(database, "site_target", lambda site, release: None)
    monkeypatch.setattr(database, "run_steps", lambda *_asked, **_more: [state])
    monkeypatch.setattr(database, "take_back", lambda *_asked: done.append("take back"))
    monkeypatch.setattr(database, "apply", lambda site, release, progress: done.append(f"apply {release.short}"))

    def go_live(site: Site, release: Release, progress: Progress, **_how: bool) -> None:
        done.append(f"go live {release.short}")
        maintenance.off(site)

    monkeypatch.setattr(database.activate, "go_live", go_live)
    return done


@pytest.mark.parametrize(
    ("way", "state", "expected", "closed"),
    [
        pytest.param([LOSSLESS], "prepared", ["take back"], False, id="back_where_nothing_is_lost"),
        pytest.param([LOSSY], "prepared", ["apply bbbbbbb", "go live bbbbbbb"], False, id="forward_where_it_is"),
        pytest.param([IRREVERSIBLE], "prepared", ["apply bbbbbbb", "go live bbbbbbb"], False, id="no_way_back"),
        pytest.param([LOSSY], "failed", [], True, id="left_up_on_purpose"),
    ],
)
def test_reopen(
    shop: Site,
    keep: Callable[..., Release],
    progress: Progress,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    way: list[Reversal],
    state: str,
    expected: list[str],
    closed: bool,
) -> None:
    keep(OLD, "live", known={"catalog": ["a"]})
    keep(NEW, state, migrations=list(judged(b="contract").values()))
    monkeypatch.setattr(database, "way_back", lambda *_asked: way)
    maintenance.on(shop, "bbbbbbb changes the database", release=NEW)
    if closed:
        with pytest.raises(EngineError, match="would lose data"):
            database.reopen(shop, progress)
    else:
        database.reopen(shop, progress)
    assert asked == expected
    assert (maintenance.state(shop) is not None) == closed


def test_reopen_leaves_a_page_that_was_put_up_by_hand(
    shop: Site, keep: Callable[..., Release], asked: list[str]
) -> None:
    keep(OLD, "live")
    shop.paths.maintenance.write_text("the machine moves today\n")
    database.reopen(shop, Progress([]))
    assert maintenance.state(shop) is not None
