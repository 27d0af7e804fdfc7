# SPDX-License-Identifier: GPL-3.0-or-later
"""Which variable of the environment is missing, and which others the same settings ask for."""

from __future__ import annotations

import os

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_variables import absent, asked, named


@pytest.mark.parametrize(
    ("error", "name"),
    [
        pytest.param(ValueError("Set the DJANGO_SECRET_KEY environment variable"), "DJANGO_SECRET_KEY", id="environ"),
        pytest.param(
            LookupError("SECRET not found. Declare it as envvar or define a default value."), "SECRET", id="decouple"
        ),
        pytest.param(ValueError('Environment variable "TOKEN" not set'), "TOKEN", id="environs"),
        pytest.param(KeyError("TOKEN"), "", id="a key of something else"),
        pytest.param(ValueError(""), "", id="no word"),
        pytest.param(ValueError("nothing\nSet the A environment variable"), "", id="another subject"),
    ],
)
def test_named(error: BaseException, name: str) -> None:
    assert named(error) == name


def test_named_for_the_environment_itself() -> None:
    with pytest.raises(KeyError) as raised:
        os.environ["NOBODY_SETS_THIS"]
    assert named(raised.value) == "NOBODY_SETS_THIS"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(
            'A = env("A")\nB = env.list("B")\nC = env("C", default=1)\nD = env("D", "x")', ["A", "B"], id="environ"
        ),
        pytest.param(
            'A = config("A")\nB = config("B", cast=int)\nC = config("C", default="")', ["A", "B"], id="decouple"
        ),
        pytest.param(
            'A = os.environ["A"]\nB = os.environ["B"]\nC = os.environ.get("C")\nD = os.getenv("D")\nE = OPTIONS["E"]',
            ["A", "B"],
            id="os.environ",
        ),
        pytest.param('A = required("A")\nB = required("B")\nC = other("C")', ["A", "B"], id="a helper of the project"),
        pytest.param('B = env("B")', [], id="it is not asked for here"),
        pytest.param('A = env("A")\nread_env(str(BASE_DIR))\nB = env("lower")\nC = env(NAME)', ["A"], id="no names"),
        pytest.param("A = env(", [], id="not Python"),
    ],
)
def test_asked(text: str, found: list[str]) -> None:
    assert asked(text, "A") == found


def test_absent_are_those_that_are_not_set() -> None:
    texts = ['A = env("A")\nB = env("B")\nC = env("C")', 'A = env("A")\nD = env("D")\nC = env("C")']
    assert absent("A", texts, {"B": "set"}) == ["C", "D"]
