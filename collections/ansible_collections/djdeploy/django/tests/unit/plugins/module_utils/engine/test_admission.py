# SPDX-License-Identifier: GPL-3.0-or-later
"""How many pushes are served at once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import admission
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.queue import Ticket
from ansible_collections.djdeploy.django.plugins.module_utils.engine.request import Request


def served(count: int, who: str = "laptop", site: str = "shop") -> list[Ticket]:
    return [Ticket(number, "receive", who, site) for number in range(count)]


@pytest.mark.parametrize(
    ("before", "says"),
    [
        pytest.param([], "", id="nobody"),
        pytest.param(served(15), "", id="nearly"),
        pytest.param(served(16), "of the key laptop", id="one key, one site"),
        pytest.param(served(9, site="blog") + served(9, site="wiki"), "of the key laptop", id="one key, several sites"),
        pytest.param(served(16, who="ci"), "to shop", id="another key, this site"),
        pytest.param(served(16, who="ci", site="blog"), "", id="another key, another site"),
    ],
)
def test_refusal(before: list[Ticket], says: str) -> None:
    refused = admission.refusal(before, "laptop", "shop")
    assert (refused is not None) is bool(says)
    if refused:
        assert says in refused.message and "16" in refused.message
        assert "push again" in refused.hint


def request(op: str = "receive", who: str = "laptop") -> Request:
    return Request(op, "shop", "push", who)


@pytest.mark.parametrize(
    ("op", "pushes", "refused"),
    [
        pytest.param("receive", True, True, id="one more push"),
        pytest.param("pushed", True, False, id="a push that was let in"),
        pytest.param("deploy", False, False, id="root"),
    ],
)
def test_place(tmp_path: Path, op: str, pushes: bool, refused: bool) -> None:
    with ExitStack() as at_work:
        for _time in range(admission.OF_A_SITE):
            at_work.enter_context(admission.place(request(who=f"key{_time}"), pushes=True, directory=tmp_path / "all"))
        one_more = admission.place(request(op), pushes=pushes, directory=tmp_path / "all")
        if refused:
            with pytest.raises(EngineError, match="to shop are at work"), one_more:
                pass
        else:
            with one_more:
                pass
    with admission.place(request(), pushes=True, directory=tmp_path / "all"):
        pass  # the others have ended
