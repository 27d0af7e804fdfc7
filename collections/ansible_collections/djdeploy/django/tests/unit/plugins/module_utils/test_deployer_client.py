# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible door: what a module answers for what the deployer said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils import deployer_client
from ansible_collections.djdeploy.django.plugins.module_utils.deployer_client import ask_deployer
from ansible_collections.djdeploy.django.plugins.module_utils.engine import plan
from ansible_collections.djdeploy.django.plugins.module_utils.engine.events import Event
from ansible_collections.djdeploy.django.plugins.module_utils.engine.migrations import Judged, Reason
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import DEPLOY, ROLLBACK, Request

DROP = Judged(
    "shop.0002_drop",
    "contract",
    (Reason("contract", "Remove field colour from product", "the live release reads it", "First stop using it."),),
    ('ALTER TABLE "shop_product" DROP COLUMN "colour";',),
)


def planned(*allow: str) -> plan.Plan:
    return plan.compute(
        revision_before="0" * 40,
        revision_after="1" * 40,
        commits=["1111111 Sell more"],
        packages_before={},
        packages_after={},
        migrations=[DROP.as_dict()],
        static_before={},
        static_after={},
        settings_before={},
        settings_after={},
        environment_before={},
        environment_after={},
        configuration_changed=[],
        processes=["web"],
        snapshot=True,
        allow=allow,
    )


GOES, REFUSED = planned("contract"), planned()
DONE = {"event": "result", "ok": True, "changed": True, "message": "done", "before": "0" * 40, "after": "1" * 40}


class Ended(Exception):
    """A module that gave its answer."""


class Module:
    """As much of an AnsibleModule as the client uses."""

    def __init__(self, check_mode: bool) -> None:
        self.params = {"site": "shop"}
        self.check_mode = check_mode

    def exit_json(self, **answer: Any) -> None:
        raise Ended(False, answer)

    def fail_json(self, **answer: Any) -> None:
        raise Ended(True, answer)


class Host:
    """A host whose deployer answers every request by `result`."""

    def __init__(self) -> None:
        self.result: Event = DONE
        self.requests: list[Request] = []

    def ask(self, request: Request) -> Iterator[Event]:
        self.requests.append(request)
        yield {"event": "say", "text": "building"}
        yield self.result

    def answer(self, operation: str, check: bool, revision: str | None = None, **options: Any) -> tuple[bool, Any]:
        """Run a module to its end: whether it failed, and its answer."""
        with pytest.raises(Ended) as raised:
            ask_deployer(Module(check), operation, revision, **options)  # type: ignore[arg-type]
        return raised.value.args  # type: ignore[return-value]


@pytest.fixture
def deployer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    there = tmp_path / "there"
    there.touch()
    monkeypatch.setattr(deployer_client.client, "ask", host.ask)
    monkeypatch.setattr(deployer_client, "DEPLOYER_SOCKET", there)
    monkeypatch.setattr(deployer_client.SitePaths, "config", there)
    monkeypatch.setenv("SUDO_USER", "ada")
    return host


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_request_has_what_the_module_was_given(deployer: Host, check: bool) -> None:
    given: dict[str, Any] = {"allow": ("contract",), "declared": {"shop.0002_drop": "additive"}, "plan": "1a2b"}
    deployer.answer(DEPLOY, check, "v1", **given)
    assert deployer.requests == [Request(DEPLOY, "shop", "ansible", "ada", revision="v1", check=check, **given)]


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_answer_has_the_plan_and_shows_it_as_a_diff(deployer: Host, check: bool) -> None:
    deployer.result = {**DONE, "plan": GOES.as_dict()}
    failed, answer = deployer.answer(DEPLOY, check)
    assert not failed
    assert answer["plan"] == GOES.as_dict()
    assert answer["plan_id"] == GOES.plan_id
    assert answer["log"] == ["  building"]
    assert (answer["diff"]["before"], answer["diff"]["after"]) == plan.diff_texts(GOES)


@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_failure_says_what_to_do_and_has_the_plan(deployer: Host, check: bool) -> None:
    deployer.result = {
        "event": "result",
        "ok": False,
        "message": "no",
        "hint": "do this",
        "detail": "because",
        "plan": REFUSED.as_dict(),
    }
    failed, answer = deployer.answer(DEPLOY, check)
    assert answer["plan"]["refused"] == ["shop.0002_drop"]
    assert answer["plan_id"] == REFUSED.plan_id
    assert failed
    assert (answer["msg"], answer["detail"]) == ("no\n-> do this", "because")


@pytest.mark.parametrize(
    ("changed", "after"), [(True, "revision: " + "1" * 40 + "\n"), (False, "revision: " + "0" * 40 + "\n")]
)
def test_diff_without_a_plan_is_of_the_revision(deployer: Host, changed: bool, after: str) -> None:
    deployer.result = {**DONE, "changed": changed}
    _failed, answer = deployer.answer(ROLLBACK, False)
    assert answer["diff"]["before"] == "revision: " + "0" * 40 + "\n"
    assert answer["diff"]["after"] == after
    assert "plan_id" not in answer


@pytest.mark.parametrize(
    ("revision", "config", "changed"),
    [(None, None, False), ("v1", None, True), (None, {"repository": "https://example.com/shop"}, True)],
)
def test_check_of_a_host_without_the_site(
    deployer: Host, monkeypatch: pytest.MonkeyPatch, revision: str | None, config: Any, changed: bool
) -> None:
    monkeypatch.setattr(deployer_client, "DEPLOYER_SOCKET", Path("/nonexistent/socket"))
    failed, answer = deployer.answer(DEPLOY, True, revision, config=config)
    assert not failed
    assert answer["changed"] is changed
    assert deployer.requests == []
