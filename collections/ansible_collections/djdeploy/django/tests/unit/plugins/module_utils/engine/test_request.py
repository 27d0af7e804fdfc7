# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doors may ask for, and what of it the deployer believes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import RefUpdate
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request, may_ask

COMMIT = "a" * 40
PUSH = Request("receive", "shop", "push", "laptop", updates=(RefUpdate("0" * 40, COMMIT, "refs/heads/main"),))


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(Request("deploy", "shop", "host", "ada"), id="deploy"),
        pytest.param(Request("rollback", "shop", "ansible", "ada", revision="abc", check=True), id="rollback"),
        pytest.param(PUSH, id="push"),
        pytest.param(
            Request("deploy", "shop", "ansible", "ada", check=True, config={"domains": []}, changed_files=("/etc/x",)),
            id="check_of_what_comes",
        ),
    ],
)
def test_request_goes_over_the_wire_unchanged(request_: Request) -> None:
    assert Request.from_mapping(json.loads(json.dumps(request_.as_dict()))) == request_


BASE: dict[str, Any] = {"op": "pushed", "site": "shop", "door": "push", "who": "laptop"}
UPDATE = {"old": COMMIT, "new": COMMIT, "ref": "refs/heads/main"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"op": "destroy"}, "does not understand this request (destroy)", id="unknown_operation"),
        pytest.param({"op": None}, "does not understand this request (None)", id="no_operation"),
        pytest.param({"mood": 1, "haste": 2}, "does not understand this request (haste, mood)", id="unknown_keys"),
        pytest.param({"updates": [{**UPDATE, "new": "../../../etc/cron.d/x"}]}, "not a ref update", id="path"),
        pytest.param({"updates": [{**UPDATE, "old": "--output=/x"}]}, "not a ref update", id="option"),
        pytest.param({"updates": [{**UPDATE, "ref": "HEAD"}]}, "not a ref update", id="no_full_ref"),
    ],
)
def test_from_mapping_refuses(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineError) as raised:
        Request.from_mapping({**BASE, **changes})
    assert says in raised.value.message


GIT = 999


@pytest.mark.parametrize(
    ("changes", "uid", "allowed"),
    [
        pytest.param({}, 0, True, id="root_push"),
        pytest.param({"op": "deploy", "door": "host"}, 0, True, id="root_deploy"),
        pytest.param({"op": "deploy", "door": "ansible", "check": True, "config": {}}, 0, True, id="root_check"),
        pytest.param({}, GIT, True, id="git_pushed"),
        pytest.param({"op": "receive"}, GIT, True, id="git_receive"),
        pytest.param({"op": "deploy"}, GIT, False, id="git_deploy"),
        pytest.param({"op": "rollback"}, GIT, False, id="git_rollback"),
        pytest.param({"door": "host"}, GIT, False, id="git_through_another_door"),
        pytest.param({"check": True}, GIT, False, id="git_check_leaves_no_journal"),
        pytest.param({"config": {"python": "/tmp/x"}}, GIT, False, id="git_brings_configuration"),
        pytest.param({"check": True, "config": {"python": "/tmp/x"}}, GIT, False, id="git_check_of_configuration"),
        pytest.param({"empty_database": True}, GIT, False, id="git_leaves_data_behind"),
        pytest.param({"op": "move"}, GIT, False, id="git_move"),
        pytest.param({"op": "move", "door": "host"}, 0, True, id="root_move"),
        pytest.param({}, 1000, False, id="somebody"),
        pytest.param({"op": "deploy", "door": "host"}, 1000, False, id="somebody_deploy"),
    ],
)
def test_may_ask(changes: dict[str, Any], uid: int, allowed: bool) -> None:
    request = Request.from_mapping({**BASE, **changes})
    assert may_ask(request, uid=uid, git_uid=GIT) is allowed


def test_may_ask_on_a_host_without_a_git_user() -> None:
    assert not may_ask(PUSH, uid=GIT, git_uid=None)
    assert may_ask(PUSH, uid=0, git_uid=None)
