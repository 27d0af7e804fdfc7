# SPDX-License-Identifier: GPL-3.0-or-later
"""The `djdeploy` command: what it accepts, what it asks the deployer for, what it prints and how it exits."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils import engine
from ansible_collections.djdeploy.django.plugins.module_utils.engine import cli, client, doctor, paths, plan, rotation
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event
from ansible_collections.djdeploy.django.plugins.module_utils.engine.migrations import Judged, Reason
from ansible_collections.djdeploy.django.plugins.module_utils.engine.releases import Release
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request
from ansible_collections.djdeploy.django.plugins.module_utils.engine.sites import Site

COMMANDS = ["status", "releases", "history", "plan", "deploy", "rollback", "manage", "logs", "config", "rotate-key"]
COMMANDS += ["doctor", "boot"]
DONE = {"event": "result", "ok": True, "changed": True, "message": "shop: 1234567 is live"}
FAILED = {
    "event": "result",
    "ok": False,
    "message": "it answers 500 on /",
    "hint": "see: journalctl",
    "detail": "Traceback\nKeyError",
}
DROP = Judged(
    "shop.0002_drop",
    "contract",
    (Reason("contract", "Remove field colour from product", "the live release reads it", "First stop using it."),),
    ('ALTER TABLE "shop_product" DROP COLUMN "colour";',),
)


def made_plan(*allow: str) -> plan.Plan:
    return plan.compute(
        revision_before="0" * 40,
        revision_after="1234567" + "0" * 33,
        commits=["1234567 Sell more"],
        packages_before={"django": "5.1"},
        packages_after={"django": "5.2"},
        migrations=[DROP.as_dict()],
        static_before={},
        static_after={},
        settings_before={},
        settings_after={},
        environment_before={},
        environment_after={},
        configuration_changed=["domains"],
        processes=["web"],
        snapshot=True,
        allow=allow,
    )


WOULD_GO = {**DONE, "message": "shop would go from 0000000 to 1234567", "plan": made_plan("contract").as_dict()}
REFUSED = {
    **FAILED,
    "message": "shop.0002_drop is not run",
    "hint": "djdeploy deploy shop --allow contract",
    "detail": "\n".join(f"recipe {number}" for number in range(30)),
    "plan": made_plan().as_dict(),
}
NO_ROOM = {**FAILED, "plan": made_plan("contract").as_dict()}


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("status", {"site": None, "json": False}),
        ("status shop --json", {"site": "shop", "json": True}),
        ("releases shop", {"site": "shop", "json": False}),
        ("releases --json shop", {"site": "shop", "json": True}),
        ("history shop", {"site": "shop", "operation": None, "lines": 20, "all": False, "json": False}),
        ("history shop 1f3c --json", {"operation": "1f3c", "json": True}),
        ("history shop -n 3 --all", {"lines": 3, "all": True}),
        ("deploy shop", {"site": "shop", "revision": None, "check": False, "force": False, "json": False}),
        ("deploy shop v1.2 --check --force --json", {"revision": "v1.2", "check": True, "force": True, "json": True}),
        ("deploy shop", {"allow": [], "declare": [], "plan": None}),
        (
            "deploy shop v1 --allow contract --allow blocking --declare shop.0002_x=additive --plan 1a2b",
            {"allow": ["contract", "blocking"], "declare": [("shop.0002_x", "additive")], "plan": "1a2b"},
        ),
        ("plan shop", {"site": "shop", "revision": None, "force": False, "json": False}),
        ("plan shop v1 --allow contract,blocking --json", {"allow": ["contract", "blocking"], "json": True}),
        ("rollback shop", {"site": "shop", "to": None, "check": False, "json": False}),
        ("rollback shop --to abcdef0 --check --json", {"to": "abcdef0", "check": True, "json": True}),
        ("manage shop showmigrations", {"site": "shop", "command": ["showmigrations"]}),
        ("manage shop migrate shop 0001 --plan", {"command": ["migrate", "shop", "0001", "--plan"]}),
        ("manage shop shell -c print(1)", {"command": ["shell", "-c", "print(1)"]}),
        ("manage shop --help", {"command": ["--help"]}),
        ("manage shop", {"command": []}),
        ("logs shop", {"lines": 100, "follow": False, "live": False, "json": False}),
        ("logs shop -f -n 5 --live --json", {"lines": 5, "follow": True, "live": True, "json": True}),
        ("logs shop --follow --lines 7", {"lines": 7, "follow": True}),
        ("logs shop --request 0123456789abcdef", {"request": "0123456789abcdef"}),
        ("config shop --json", {"site": "shop", "json": True}),
        ("rotate-key shop", {"site": "shop", "json": False}),
        ("doctor", {"site": None, "json": False}),
        ("doctor shop --json", {"site": "shop", "json": True}),
        ("boot shop", {"site": "shop"}),
    ],
)
def test_parser_understands(line: str, expected: dict[str, Any]) -> None:
    arguments = vars(cli.parser().parse_args(line.split()))
    assert {key: arguments[key] for key in expected} == expected
    assert callable(arguments["action"])


@pytest.mark.parametrize("command", COMMANDS)
def test_parser_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.parser().parse_args([command, "--help"])
    assert raised.value.code == 0
    assert f"usage: djdeploy {command}" in capsys.readouterr().out


def test_parser_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.parser().parse_args(["--help"])
    assert raised.value.code == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert [word for word in listed if word in COMMANDS] == COMMANDS


def test_parser_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["--version"])
    assert capsys.readouterr().out == f"djdeploy {engine.__version__}\n"


@pytest.mark.parametrize(
    "line",
    ["", "frobnicate", "deploy", "releases", "rollback", "logs", "boot", "status shop blog", "logs shop -n many",
     "history", "history shop -n 0", "history shop -n many",
     "rollback shop --to", "boot shop --json", "deploy shop main extra", "plan", "plan shop --plan 1a2b",
     "plan shop --allow everything", "deploy shop --declare shop.0002_x", "deploy shop --declare 0002=additive"],
)  # fmt: skip
def test_main_not_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(line.split())
    assert raised.value.code == 2
    assert "usage: djdeploy" in capsys.readouterr().err


# --- a host with one site -------------------------------------------------------------------------


class Deployer:
    """Answers every request by `result`, after what a deploy says on its way."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.result: Event = DONE

    def ask(self, request: Request) -> Iterator[Event]:
        self.requests.append(request)
        yield {"event": "say", "text": "building"}
        yield {"event": "phase", "name": "export", "state": "started"}
        yield {"event": "phase", "name": "export", "state": "ended", "seconds": 0.2, "note": ""}
        yield self.result


@pytest.fixture
def deployer(shop: Site, monkeypatch: pytest.MonkeyPatch) -> Deployer:
    """A host with the site `shop`, whose root was ada before sudo."""
    deployer = Deployer()
    monkeypatch.setattr(client, "ask", deployer.ask)
    monkeypatch.setattr(cli, "load_site", load)
    monkeypatch.setattr(cli, "site_names", lambda: ["shop"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "ada")
    return deployer


def load(name: str) -> Site:
    if name != "shop":
        raise EngineError(f"this host has no site {name!r}; did you mean 'shop'?", "sites come from djdeploy_sites")
    return Site("shop", {"domains": ["shop.example.com"], "branch": "main"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deploy shop", Request("deploy", "shop", "host", "ada")),
        ("deploy shop v1", Request("deploy", "shop", "host", "ada", revision="v1")),
        ("deploy shop --check --force", Request("deploy", "shop", "host", "ada", check=True, force=True)),
        (
            "deploy shop v1 --allow contract,blocking --declare shop.0002_x=contract --plan 1a2b",
            Request(
                "deploy",
                "shop",
                "host",
                "ada",
                revision="v1",
                plan="1a2b",
                allow=("contract", "blocking"),
                declared={"shop.0002_x": "contract"},
            ),
        ),
        ("plan shop", Request("deploy", "shop", "host", "ada", check=True)),
        (
            "plan shop v1 --force --allow contract --json",
            Request("deploy", "shop", "host", "ada", revision="v1", check=True, force=True, allow=("contract",)),
        ),
        ("rollback shop", Request("rollback", "shop", "host", "ada")),
        ("rollback shop --to abc --check", Request("rollback", "shop", "host", "ada", revision="abc", check=True)),
    ],
)
def test_main_asks_the_deployer(deployer: Deployer, line: str, expected: Request) -> None:
    assert cli.main(line.split()) == 0
    assert deployer.requests == [expected]


def test_main_without_sudo_it_is_the_user(deployer: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER")
    cli.main(["deploy", "shop"])
    assert deployer.requests[0].who == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(
    ("outcome", "code", "out", "err"),
    [
        (DONE, 0, "  building\n  export      ok        0.2 s\nshop: 1234567 is live\n", ""),
        # What a plan says is said before the work; the result holds it for programs.
        (
            {**DONE, "plan": made_plan("contract").as_dict()},
            0,
            "  building\n  export      ok        0.2 s\nshop: 1234567 is live\n",
            "",
        ),
        (
            FAILED,
            1,
            "  building\n  export      ok        0.2 s\n",
            "    Traceback\n    KeyError\nit answers 500 on /\n  -> see: journalctl\n",
        ),
    ],
    ids=["done", "with its plan", "failed"],
)
def test_main_shows_a_person(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], outcome: Event, code: int, out: str, err: str
) -> None:
    deployer.result = outcome
    assert cli.main(["deploy", "shop"]) == code
    assert tuple(capsys.readouterr()) == (out, err)


BUILT = ["  building", "  export      ok        0.2 s"]
BRIEF = [
    "  plan        1 commit, 1 migration (contract), 1 package, 1 site option, maintenance page during the migrations",
    "  migration   shop.0002_drop (contract): Remove field colour from product: the live release reads it",
    "  package     ~ django 5.1 -> 5.2",
    "  site        ~ domains",
    "  snapshot    of the database, before the migrations",
    "  downtime    maintenance page during shop.0002_drop",
]
SQL = '                ALTER TABLE "shop_product" DROP COLUMN "colour";'
WOULD = "shop would go from 0000000 to 1234567"
PLAN_ID = made_plan("contract").plan_id


@pytest.mark.parametrize(
    ("line", "out"),
    [
        (
            "deploy shop --check --allow contract",
            [*BUILT, *BRIEF, WOULD, f"  -> djdeploy deploy shop --allow contract --plan {PLAN_ID}"],
        ),
        (
            "plan shop v1 --force --allow contract --declare shop.0009=additive",
            [
                *BUILT, BRIEF[0], "  commit      1234567 Sell more", BRIEF[1], SQL, *BRIEF[2:4],
                "  restart     web", *BRIEF[4:], WOULD,
                "  -> djdeploy deploy shop v1 --force --allow contract --declare shop.0009=additive "
                f"--plan {PLAN_ID}",
            ],
        ),
    ],
)  # fmt: skip
def test_plan_is_shown(deployer: Deployer, capsys: pytest.CaptureFixture[str], line: str, out: list[str]) -> None:
    deployer.result = WOULD_GO
    assert cli.main(line.split()) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == out
    assert said.err == ""


@pytest.mark.parametrize("line", ["plan shop", "deploy shop --check"])
def test_plan_that_is_refused_says_what_to_do(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    deployer.result = REFUSED
    assert cli.main(line.split()) == 3
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "  refused     shop.0002_drop"
    assert said.err.splitlines() == [
        *(f"    recipe {number}" for number in range(30)),
        "shop.0002_drop is not run",
        "  -> djdeploy deploy shop --allow contract",
    ]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(WOULD_GO, 0), (REFUSED, 3), (NO_ROOM, 1), (DONE, 0), (FAILED, 1)],
    ids=["goes", "refused", "no room", "done", "failed"],
)
@pytest.mark.parametrize("line", ["plan shop", "deploy shop --check"])
def test_plan_for_a_program(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], line: str, outcome: Event, code: int
) -> None:
    deployer.result = outcome
    assert cli.main([*line.split(), "--json"]) == code
    said = capsys.readouterr()
    assert json.loads(said.out) == outcome
    assert said.err == ""


@pytest.mark.parametrize(("outcome", "code"), [(DONE, 0), (FAILED, 1)], ids=["nothing to do", "failed"])
def test_plan_without_anything_to_plan(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], outcome: Event, code: int
) -> None:
    deployer.result = outcome
    assert cli.main(["plan", "shop"]) == code
    assert outcome["message"] in "".join(capsys.readouterr())


@pytest.mark.parametrize(("outcome", "code"), [(DONE, 0), (FAILED, 1)], ids=["done", "failed"])
def test_main_answers_a_program_by_one_document(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], outcome: Event, code: int
) -> None:
    deployer.result = outcome
    assert cli.main(["deploy", "shop", "--json"]) == code
    said = capsys.readouterr()
    assert json.loads(said.out) == outcome
    assert said.err == ""


# --- exits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["status shpo", "releases shpo", "deploy shpo", "rollback shpo", "manage shpo x", "logs shpo", "boot shpo"]
)
def test_main_unknown_site(deployer: Deployer, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert cli.main(line.split()) == 1
    said = capsys.readouterr()
    assert (
        said.err
        == "djdeploy: this host has no site 'shpo'; did you mean 'shop'?\n  -> sites come from djdeploy_sites\n"
    )
    assert (said.out, deployer.requests) == ("", [])


@pytest.mark.parametrize(
    "line", [*["status", "releases shop", "manage shop check", "doctor", "boot shop", "config shop", "rotate-key shop"]]
)
def test_main_needs_root(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["djdeploy", *line.split()])
    assert cli.main(line.split()) == 1
    assert capsys.readouterr().err == f"djdeploy: this needs root\n  -> sudo djdeploy {line}\n"


def test_main_interrupted(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(request: Request) -> Iterator[Event]:
        yield {"event": "say", "text": "building"}
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "ask", ask)
    assert cli.main(["deploy", "shop"]) == 130
    assert "a deploy that has begun goes on" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [("serving", 0), ("waiting", 0), ("down", 1), ("broken", 1)])
@pytest.mark.parametrize("line", ["status", "status shop", "status --json"])
def test_status_exit(
    deployer: Deployer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    state: str,
    code: int,
) -> None:
    facts = {"site": "shop", "state": state, "url": "u", "live": None, "branch": "main", "problem": ""}
    monkeypatch.setattr(cli, "site_status", lambda site: facts)
    assert cli.main(line.split()) == code
    out = capsys.readouterr().out
    assert json.loads(out) == [facts] if "--json" in line else out.startswith("shop ")


def test_status_no_sites(
    deployer: Deployer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "site_names", list)
    assert cli.main(["status"]) == 0
    assert "no sites on this host yet" in capsys.readouterr().out
    assert cli.main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)], ids=["sound", "something wrong"])
@pytest.mark.parametrize(("line", "names"), [("doctor", None), ("doctor shop", ["shop"]), ("doctor --json", None)])
def test_doctor_exit(
    deployer: Deployer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    names: list[str] | None,
    ok: bool,
    code: int,
) -> None:
    wanted = []

    def findings(names: list[str] | None) -> list[doctor.Finding]:
        wanted.append(names)
        return [doctor.Finding("disk", True, "room"), doctor.Finding("nginx", ok, "is as it is", "nginx -t")]

    monkeypatch.setattr(doctor, "findings", findings)
    assert cli.main(line.split()) == code
    assert wanted == [names]
    out = capsys.readouterr().out
    if "--json" in line:
        assert [finding["ok"] for finding in json.loads(out)] == [True, ok]
    else:
        assert ("-> nginx -t" in out) is not ok


def test_releases_of_a_site_without_any(deployer: Deployer, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["releases", "shop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.main(["releases", "shop"]) == 0
    assert capsys.readouterr().out.startswith("release ")


def journal_of(site: Site, *results: dict[str, Any]) -> None:
    """A journal of operations that are one line each, oldest first."""
    context = {"at": "2026-03-01T12:00:00+00:00", "site": "shop", "op": "push", "door": "push", "who": "ada"}
    site.paths.journal.write_text(
        "".join(json.dumps({**context, "event": "result", **each}) + "\n" for each in results)
    )


@pytest.mark.parametrize(
    ("line", "ids"),
    [
        ("history shop --json", ["x-3", "x-2"]),
        ("history shop --json -n 1", ["x-3"]),
        ("history shop --json --all", ["x-4", "x-3", "x-2"]),
        ("history shop --json --all -n 2", ["x-4", "x-3"]),
    ],
)
def test_history_as_json(
    deployer: Deployer, shop: Site, capsys: pytest.CaptureFixture[str], line: str, ids: list[str]
) -> None:
    journal_of(
        shop,
        {"id": "x-2", "ok": True, "changed": True},
        {"id": "x-3", "ok": False, "changed": False, "message": "no"},
        {"id": "x-4", "ok": True, "changed": False},
    )
    assert cli.main(line.split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert [operation["id"] for operation in told] == ids
    assert "phases" not in told[0] and "plan" not in told[0]


def test_history_for_people(deployer: Deployer, shop: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history", "shop"]) == 0
    assert capsys.readouterr().out == "nothing was done to shop yet\n"
    journal_of(shop, {"id": "x-2", "ok": False, "changed": False, "message": "no way"})
    assert cli.main(["history", "shop"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.startswith("when (UTC)") and line.endswith("no way")
    assert cli.main(["history", "shop", "2"]) == 0
    assert "reason      no way" in capsys.readouterr().out
    assert cli.main(["history", "shop", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phases"] == []
    assert cli.main(["history", "shop", "3"]) == 1
    assert "no operation is called '3'" in capsys.readouterr().err


# --- becoming another program ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("logs shop", "journalctl --unit djdeploy-shop@* --lines 100 --unit djdeploy-shop.* --no-pager"),
        ("logs shop -n 5 -f", "journalctl --unit djdeploy-shop@* --lines 5 --unit djdeploy-shop.* --follow"),
        (
            "logs shop --json",
            "journalctl --unit djdeploy-shop@* --lines 100 --unit djdeploy-shop.* --no-pager --output json",
        ),
        (
            "logs shop --live",
            "journalctl --unit djdeploy-shop@ID.service --lines 100"
            " --unit djdeploy-shop.process@ID-*.service --unit djdeploy-shop.job@ID-*.service --no-pager",
        ),
    ],
)
def test_logs_is_journalctl(
    deployer: Deployer, shop: Site, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    became: list[str] = []

    def execvp(program: str, argv: list[str]) -> None:
        became.extend(argv)
        raise SystemExit(0)

    shop.paths.current.symlink_to("releases/ID")
    monkeypatch.setattr(os, "execvp", execvp)
    with pytest.raises(SystemExit):
        cli.main(line.split())
    assert " ".join(became) == words


def test_logs_of_one_request(
    deployer: Deployer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    became: list[str] = []
    monkeypatch.setattr(os, "execvp", lambda program, argv: became.extend(argv))
    monkeypatch.setattr(paths, "NGINX_LOGS", tmp_path)
    log = tmp_path / "djdeploy-shop.access.log"
    log.write_text("GET /a 200 aaaaaaaaaaaa\nGET /b 500 bbbbbbbbbbbb\n")
    log.with_name(log.name + ".1").write_text("GET /old 500 bbbbbbbbbbbb\n")
    with pytest.raises(TypeError):  # execvp that came back gives no exit status
        cli.main(["logs", "shop", "--request", "bbbbbbbbbbbb"])
    assert capsys.readouterr().out == "GET /old 500 bbbbbbbbbbbb\nGET /b 500 bbbbbbbbbbbb\n"
    assert became[-4:] == ["--grep", r"^\[bbbbbbbbbbbb\]", "--output", "cat"] or "--grep" in became


@pytest.mark.parametrize("text", ["", "short", "a" * 65, "abcdefgh; id", "[abcdefgh]", "äbcdefgh"])
def test_logs_of_what_is_no_request(deployer: Deployer, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(["logs", "shop", "--request", text])
    assert "is no id of a request" in capsys.readouterr().err


def test_config_shows_no_secret(deployer: Deployer, shop: Site, capsys: pytest.CaptureFixture[str]) -> None:
    shop.paths.env_file.parent.mkdir(parents=True, exist_ok=True)
    shop.paths.env_file.write_text('SECRET_KEY="hunter2"\nDEBUG="False"\n')
    assert cli.main(["config", "shop"]) == 0
    shown = capsys.readouterr().out
    assert "DEBUG       False" in shown and "hunter2" not in shown
    assert cli.main(["config", "shop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["variables"]["SECRET_KEY"]["secret"] is True


def test_rotate_key(deployer: Deployer, shop: Site, capsys: pytest.CaptureFixture[str]) -> None:
    shop.paths.env_file.parent.mkdir(parents=True, exist_ok=True)
    shop.paths.env_file.write_text('SECRET_KEY="hunter2"\nDEBUG="False"\n')
    for kept in (1, 2, 2):
        assert cli.main(["rotate-key", "shop"]) == 0
        assert f"{kept} before it stay valid" in capsys.readouterr().out
    found = shop.environment()
    assert len(found["SECRET_KEY"]) == 64 and "hunter2" not in found["SECRET_KEY_FALLBACKS"]
    assert found["DEBUG"] == "False" and len(json.loads(found["SECRET_KEY_FALLBACKS"])) == 2
    assert shop.paths.env_file.stat().st_mode & 0o777 == 0o600
    assert deployer.requests == [], "nothing is live, so nothing is made anew"


def test_rotate_key_makes_what_is_live_anew(
    deployer: Deployer, shop: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.paths.env_file.parent.mkdir(parents=True, exist_ok=True)
    shop.paths.env_file.write_text('SECRET_KEY="hunter2"\n')
    monkeypatch.setattr(cli, "live_release", lambda name: Release("r1", "shop", "a" * 40))
    assert cli.main(["rotate-key", "shop"]) == 0
    assert deployer.requests == [Request("deploy", "shop", "host", "ada", revision="a" * 40)]
    assert "hunter2" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "present", "message"),
    [
        ({"secrets": ["SECRET_KEY"]}, {"SECRET_KEY": "a"}, "gets its SECRET_KEY from the inventory"),
        ({"secrets": ["SECRET_KEY_FALLBACKS"]}, {"SECRET_KEY": "a"}, "gets its SECRET_KEY from the inventory"),
        ({"secrets": []}, {}, "has no SECRET_KEY on this host"),
    ],
)
def test_rotate_key_refused(names: dict[str, Any], present: dict[str, str], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        rotation.refuse("shop", names, present)


def test_module_is_the_command() -> None:
    """Run as `python3 -m`, by its own name, as the host does; without Ansible in sight."""
    folder = Path(engine.__file__).parent
    script = (
        "import importlib.util as u, runpy, sys\n"
        f"spec = u.spec_from_file_location('djdeploy_engine', {str(folder / '__init__.py')!r},"
        f" submodule_search_locations=[{str(folder)!r}])\n"
        "sys.modules['djdeploy_engine'] = m = u.module_from_spec(spec); spec.loader.exec_module(m)\n"
        "sys.argv = ['djdeploy', '--version']\n"
        "runpy.run_module('djdeploy_engine', run_name='__main__', alter_sys=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"djdeploy {engine.__version__}\n"), done.stderr
