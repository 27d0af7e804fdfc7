# SPDX-License-Identifier: GPL-3.0-or-later
"""What a journal tells: who did what, and how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import history, journal
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.history import Deploy, deploys
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

OLD, NEW = "a" * 40, "b" * 40
RELEASE = "20260301T120000-bbbbbbb"
AT = "2026-03-01T12:00:00.123+00:00"
ONE, TWO = "20260301T120000-1111", "20260301T110000-2222"  # the clock was set back between them


def line(event: str, identity: str = ONE, **facts: Any) -> str:
    context = {"at": AT, "id": identity, "site": "shop", "op": "push", "door": "push", "who": "ada"}
    return json.dumps({**context, "event": event, **facts})


def begin(identity: str = ONE, **facts: Any) -> str:
    return line("begin", identity, **{"revision": NEW, "before": OLD, "process": "12.345", **facts})


def phase(name: str, state: str = "ended", identity: str = ONE, **facts: Any) -> str:
    told = {} if state == "started" else {"seconds": 0.5, "note": "done"}
    return line("phase", identity, **{"name": name, "state": state, **told, **facts})


def result(ok: bool = True, identity: str = ONE, **facts: Any) -> str:
    told: dict[str, Any] = {"ok": ok, "changed": ok, "message": "shop is live" if ok else "no", "seconds": 4.25}
    return line("result", identity, **{**told, **facts})


BUILT = [begin(), phase("checks", "started"), phase("checks")]
ACCEPTED = [*BUILT, line("accepted")]
WENT_LIVE = result(before=OLD, after=NEW, release=RELEASE, migrations=["shop.0002"], snapshot="before-0002")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        pytest.param(
            [*ACCEPTED, phase("switch", "started"), phase("switch"), WENT_LIVE, phase("settle", "started"),
             phase("settle")],
            {"result": "live", "before": OLD, "after": NEW, "release": RELEASE, "seconds": 4.25, "reason": "",
             "migrations": ["shop.0002"], "snapshot": "before-0002"},
            id="live_and_settled_after_that",
        ),
        pytest.param(
            [*ACCEPTED, result(False, message="it answers 500", hint="mend it")],
            {"result": "failed", "after": NEW, "reason": "it answers 500", "hint": "mend it"},
            id="failed",
        ),
        pytest.param(
            [*BUILT, result(False, message="checks failed")],
            {"result": "refused", "reason": "checks failed"},
            id="refused_by_its_checks",
        ),
        pytest.param(
            [result(False, message="refused: main cannot be deleted", revision="", before=OLD)],
            {"result": "refused", "before": OLD, "after": "", "reason": "refused: main cannot be deleted"},
            id="refused_at_the_door",
        ),
        pytest.param(
            [result(False, message="gone", revision=NEW, before=OLD, accepted=True)],
            {"result": "failed", "after": NEW},
            id="failed_in_one_line_after_it_was_let_in",
        ),
        pytest.param(
            [result(changed=False, revision=NEW, before=NEW)],
            {"result": "unchanged", "after": NEW, "reason": ""},
            id="nothing_to_do",
        ),
        pytest.param(
            [line("begin", op="rollback", revision=""), result(op="rollback", after=OLD)],
            {"result": "rolled_back", "after": OLD},
            id="rolled_back",
        ),
        pytest.param([result(op="restore")], {"result": "restored"}, id="restored"),
        pytest.param(
            [*ACCEPTED, phase("migrate", "started")],
            {"result": "interrupted", "reason": "interrupted during migrate", "seconds": None, "after": NEW},
            id="interrupted_within_a_phase",
        ),
        pytest.param(
            [*ACCEPTED, phase("migrate", "started"), phase("migrate")],
            {"result": "interrupted", "reason": "interrupted after migrate"},
            id="interrupted_between_phases",
        ),
        pytest.param(
            ACCEPTED,
            {"result": "interrupted", "reason": "interrupted when it was let in, before it asked to go live"},
            id="git_did_not_move_the_branch",
        ),
        pytest.param(
            [begin()], {"result": "interrupted", "reason": "interrupted before its first phase"}, id="cut_at_once",
        ),
        pytest.param(
            [begin(process="99.1"), phase("migrate", "started")], {"result": "running", "reason": ""}, id="running"
        ),
        pytest.param(
            [*ACCEPTED, phase("migrate", "started")[:40]],
            {"result": "interrupted", "reason": "interrupted when it was let in, before it asked to go live"},
            id="torn_last_line",
        ),
        pytest.param(
            ["", "[]", "null", '{"event": "phase"}', *BUILT, WENT_LIVE],
            {"result": "live"},
            id="lines_that_are_none",
        ),
        pytest.param(
            [phase("switch"), WENT_LIVE],
            {"result": "live", "before": OLD, "after": NEW, "who": "ada"},
            id="its_first_lines_rotated_away",
        ),
        pytest.param(
            [*BUILT, WENT_LIVE, result(False, message="a unit would not stop")],
            {"result": "live", "reason": "afterwards: a unit would not stop", "message": "shop is live"},
            id="live_and_then_not_settled",
        ),
        pytest.param(
            [begin(revision="v1.4"), line("release", release=RELEASE, revision=NEW, subject="Sell more"),
             phase("checks", "started")],
            {"release": RELEASE, "after": NEW, "subject": "Sell more"},
            id="named_on_its_way",
        ),
        pytest.param([*BUILT, line("plan", plan={"id": "abc"}), WENT_LIVE], {"plan": {"id": "abc"}}, id="plan"),
    ],
)  # fmt: skip
def test_deploys(lines: list[str], told: dict[str, Any]) -> None:
    (deploy,) = deploys(lines, alive=lambda process: process == "99.1")
    found = deploy.as_dict()
    assert {name: found[name] for name in told} == told
    assert json.loads(json.dumps(found)) == found


def test_deploys_of_no_journal() -> None:
    assert deploys([]) == []


def test_deploys_that_mingle_are_told_apart_in_the_order_they_began() -> None:
    lines = [
        begin(ONE, who="ada"), phase("checks", "started", ONE), begin(TWO, who="bob"), phase("export", "started", TWO),
        phase("checks", "ended", ONE), phase("export", "failed", TWO), result(True, ONE), result(False, TWO),
    ]  # fmt: skip
    first, second = deploys(lines)
    assert (first.id, first.who, first.result) == (ONE, "ada", "live")
    assert (second.id, second.who, second.result) == (TWO, "bob", "refused")
    assert [(each["name"], each["state"]) for each in second.phases] == [("export", "failed")]


def test_phases_of_an_operation() -> None:
    (deploy,) = deploys([*ACCEPTED, phase("migrate", "started")], alive=lambda process: False)
    assert deploy.phases == [
        {"name": "checks", "state": "ended", "seconds": 0.5, "note": "done"},
        {"name": "migrate", "state": "started", "seconds": None, "note": ""},
    ]


@pytest.mark.parametrize(("count", "result_"), [(1, "interrupted"), (0, "live")])
def test_recorded_reads_the_older_half_first(shop: Site, count: int, result_: str) -> None:
    whole = [*BUILT, WENT_LIVE]
    path = shop.paths.journal
    journal.rotated(path).write_text("".join(f"{each}\n" for each in whole[:2]))
    path.write_text("".join(f"{each}\n" for each in whole[2 : len(whole) - count]))
    (found,) = history.recorded("shop")
    assert found.result == result_


def test_recorded_without_a_journal(shop: Site) -> None:
    assert history.recorded("shop") == []
    assert history.last_told("shop") is None


def test_recorded_of_what_only_root_may_read(shop: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **options: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(EngineError, match="only root may read"):
        history.recorded("shop")


def test_last_told_passes_over_what_had_nothing_to_do(shop: Site) -> None:
    shop.paths.journal.write_text(f"{result(False, ONE)}\n{result(changed=False, identity=TWO)}\n")
    last = history.last_told("shop")
    assert last is not None and last.id == ONE


# --- one of them ----------------------------------------------------------------------------------


def made(identity: str = ONE, **facts: Any) -> Deploy:
    return Deploy(identity, AT, "shop", **{"op": "push", "door": "push", "who": "ada", "result": "live", **facts})


@pytest.mark.parametrize("wanted", [ONE, "1111"])
def test_chosen(wanted: str) -> None:
    assert history.chosen([made(ONE), made(TWO)], wanted).id == ONE


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("3333", "no operation is called '3333'"), ("1111", "could be any of 20260301T120000-1111, 20260302T120000-1111")],
)
def test_chosen_none(wanted: str, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        history.chosen([made(ONE), made("20260302T120000-1111")], wanted)


# --- for people -----------------------------------------------------------------------------------


def test_history_lines_newest_first_in_columns() -> None:
    found = [
        made(before="", after=NEW, seconds=12.34, migrations=["a.0001", "a.0002"]),
        made(TWO, op="rollback", door="host", who="root", before=NEW, after=OLD, result="rolled_back", seconds=0.4),
        made("x-3333", before=OLD, after="", result="refused", seconds=0.1, reason="refused: no\nmore of it"),
    ]
    assert history.history_lines(found) == [
        "when (UTC)           id    what      by           revision            result       took    migrations",
        "2026-03-01 12:00:00  3333  push      ada (push)   aaaaaaa -> -        refused      0.1 s"
        "               refused: no",
        "2026-03-01 12:00:00  2222  rollback  root (host)  bbbbbbb -> aaaaaaa  rolled back  0.4 s",
        "2026-03-01 12:00:00  1111  push      ada (push)   - -> bbbbbbb        live         12.3 s  2",
    ]


def test_deploy_lines() -> None:
    (deploy,) = deploys(
        [
            *ACCEPTED,
            line("plan", plan={"id": "abc", "commits": ["bbbbbbb Sell more"]}),
            phase("migrate", "started"),
            phase("migrate", "failed", note=""),
            result(False, message="no way", hint="mend it\n  -> or not"),
        ]
    )
    assert history.deploy_lines(deploy) == [
        "push of shop",
        "  id          20260301T120000-1111",
        "  began       2026-03-01 12:00:00 UTC",
        "  by          ada (push)",
        f"  revision    {OLD} -> {NEW}",
        "  result      failed after 4.2 s",
        "  reason      no way",
        "  hint        mend it\n                -> or not",
        "phases",
        "  checks      ok        0.5 s  done",
        "  migrate     FAILED    0.5 s",
        "plan abc",
        '  commits     ["bbbbbbb Sell more"]',
    ]


@pytest.mark.parametrize(
    ("deploy", "live", "lines"),
    [
        pytest.param(
            made(after=NEW, seconds=4.25, migrations=["a.0001"]), RELEASE,
            ["push of bbbbbbb by ada (push), 2026-03-01 12:00:00 UTC: live, 4.2 s, 1 migration"], id="live",
        ),
        pytest.param(
            made(op="rollback", result="interrupted", after=OLD, reason="interrupted during start"), RELEASE,
            ["rollback of aaaaaaa by ada (push), 2026-03-01 12:00:00 UTC: interrupted during start",
             "to do it again: djdeploy rollback shop"], id="rollback_interrupted",
        ),
        pytest.param(
            made(op="restore", result="interrupted", after="20260301T110000-ccccccc", reason="interrupted"), RELEASE,
            ["restore of ccccccc by ada (push), 2026-03-01 12:00:00 UTC: interrupted",
             "to do it again: djdeploy restore shop 20260301T110000-ccccccc"], id="restore_interrupted",
        ),
        pytest.param(
            made(result="interrupted", after=NEW, release=RELEASE, reason="interrupted during verify"), RELEASE,
            ["push of bbbbbbb by ada (push), 2026-03-01 12:00:00 UTC: interrupted during verify"],
            id="interrupted_when_it_was_live_already",
        ),
    ],
)  # fmt: skip
def test_last_lines(deploy: Deploy, live: str | None, lines: list[str]) -> None:
    assert history.last_lines(deploy, live) == lines


@pytest.mark.parametrize(
    ("revision", "said"), [(NEW, "bbbbbbb"), (RELEASE, "bbbbbbb"), ("v1.4", "v1.4"), ("main", "main"), ("", "")]
)
def test_shortened(revision: str, said: str) -> None:
    assert history.shortened(revision) == said
