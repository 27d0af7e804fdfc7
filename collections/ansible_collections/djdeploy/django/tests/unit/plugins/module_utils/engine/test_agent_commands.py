# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps `command` and `shell`, in real projects."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.steps import StepError

SPEAK = """
from pathlib import Path
from django.core.management import BaseCommand
class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--text", default="")
        parser.add_argument("--ask", action="store_true")
    def handle(self, **options):
        with Path("runs").open("a") as file:
            file.write("x")
        self.stdout.write(input() if options["ask"] else options["text"])
"""
PRODUCTS = "from shop.models import Product\n"
COUNT = {"name": "shell", "read_only": True, "code": PRODUCTS + "result = Product.objects.count()"}


@pytest.fixture
def speaking(project: Any) -> Any:
    for part in ("shop/management/__init__.py", "shop/management/commands/__init__.py"):
        project.write(part, "")
    project.write("shop/management/commands/speak.py", SPEAK)
    return project


def speak(*words: str, **options: Any) -> dict[str, Any]:
    return {"name": "command", "argv": ["speak", *words], **options}


def runs(project: Any) -> int:
    file = project.root / "runs"
    return len(file.read_text()) if file.exists() else 0


def refused(project: Any, step: dict[str, Any], **options: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        project.run(step, **options)
    assert "\n" not in caught.value.message
    return caught.value


# --- command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("option", "path"), [("creates", "manage.py"), ("removes", "nosuch")])
def test_command_with_nothing_to_do(speaking: Any, option: str, path: str, check: bool) -> None:
    (result,) = speaking.run(speak(**{option: path}), check=check)
    assert (result.changed, result.facts["rc"], runs(speaking)) == (False, None, 0)
    assert path in result.facts["reason"]


@pytest.mark.parametrize(("option", "path"), [("creates", "runs"), ("removes", "manage.py")])
def test_command_with_something_to_do(speaking: Any, option: str, path: str) -> None:
    (predicted,) = speaking.run(speak(**{option: path}), check=True)
    assert (predicted.changed, runs(speaking)) == (True, 0)
    (done,) = speaking.run(speak(**{option: path}))
    assert (done.changed, runs(speaking)) == (True, 1)


@pytest.mark.parametrize(("text", "changed"), [("2 new", True), ("all: 0 new", False)])
def test_changed_pattern(speaking: Any, text: str, changed: bool) -> None:
    (result,) = speaking.run(speak("--text", text, changed_pattern="^[1-9] new$"))
    assert result.changed is changed


def test_json_is_read(speaking: Any) -> None:
    (result,) = speaking.run(speak("--text", '{"a": [1]}', parse="json", read_only=True), check=True)
    assert (result.changed, result.facts["data"]) == (False, {"a": [1]})


def test_standard_input_is_given_and_then_at_its_end_again(speaking: Any) -> None:
    (result,) = speaking.run(speak("--ask", stdin="blue\n"))
    assert result.stdout == "blue\n"
    with pytest.raises(StepError, match="asked a question that nobody answers"):
        speaking.run(speak("--ask", stdin="blue\n"), speak("--ask"))


def test_value_that_begins_with_a_dash(speaking: Any) -> None:
    (result,) = speaking.run(speak("--text=--loud"))
    assert result.stdout == "--loud\n"


@pytest.mark.parametrize(
    ("step", "message", "hint", "ran"),
    [
        (speak("--ask"), "speak asked a question", "--noinput", 1),
        (speak("--text", "x", parse="json"), "did not print JSON: Expecting value", "parse", 1),
        (speak("--text", "3 lost", failed_pattern="[1-9] lost"), "failed_pattern", "", 1),
        (speak(changed_pattern="("), "changed_pattern is not a regular expression", "", 0),
        (speak(changed_pattern="x", read_only=True), "contradicts", "", 0),
        ({"name": "command", "argv": ["speek"]}, "speek ended with status 1: there is no such", "mean speak", 0),
    ],
)
def test_command_is_refused(speaking: Any, step: dict[str, Any], message: str, hint: str, ran: int) -> None:
    error = refused(speaking, step)
    assert re.search(message, error.message) and hint in error.hint
    assert runs(speaking) == ran
    if not ran:
        assert refused(speaking, step, check=True).message == error.message


# --- shell ------------------------------------------------------------------------------------------------------


def shell(code: str, **options: Any) -> dict[str, Any]:
    return {"name": "shell", "code": code, **options}


def add(**options: Any) -> dict[str, Any]:
    return shell(PRODUCTS + "Product.objects.create(name=args['name'])", args={"name": "tea"}, **options)


def test_snippet_changes_and_is_not_run_in_check_mode(project: Any) -> None:
    project.run({"name": "migrate"})
    predicted, count = project.run(add(), COUNT, check=True)
    assert (predicted.changed, predicted.facts["result"], count.facts["result"]) == (True, None, 0)
    done, count = project.run(add(), COUNT)
    assert (done.changed, count.facts["result"], count.changed) == (True, 1, False)


@pytest.mark.parametrize("check", [True, False])
def test_read_only_snippet_is_rolled_back(project: Any, check: bool) -> None:
    project.run({"name": "migrate"})
    before = project.contents()
    step = add(read_only=True)
    step["code"] += "\nresult = Product.objects.count()\nchanged = True"
    result, count = project.run(step, COUNT, check=check)
    assert (result.changed, result.facts["result"], count.facts["result"]) == (False, 1, 0)
    assert project.contents() == before


def test_read_only_snippet_makes_no_database_in_check_mode(project: Any) -> None:
    before = project.contents()
    (result,) = project.run(shell("result = 1", read_only=True), check=True)
    assert (result.facts["result"], project.contents()) == (1, before)


def test_snippet_tells_whether_it_changed(project: Any) -> None:
    (result,) = project.run(shell("changed = False"))
    assert not result.changed


def test_result_holds_what_django_can_write(project: Any) -> None:
    code = "import datetime, decimal\nresult = {'d': datetime.date(2026, 1, 2), 'n': decimal.Decimal('1.50')}"
    (result,) = project.run(shell(code))
    assert result.facts["result"] == {"d": "2026-01-02", "n": "1.50"}


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("\nresult = 1 / 0", r"^line 3 of code \(result = 1 / 0\): ZeroDivisionError: division by zero$"),
        ("\nexit(3)", r"^line 3 of code \(exit\(3\)\): SystemExit: 3"),
        ("\nraise ValueError(secrets['key'])", r": ValueError: \*+$"),
        ("\nresult = Product.objects.all()", "`result` is QuerySet"),
        ("\nchanged = 'yes'", "`changed` is str"),
    ],
)
def test_transaction_of_a_failing_snippet_is_undone(project: Any, ending: str, message: str) -> None:
    project.run({"name": "migrate"})
    step = add(transaction=True, secrets={"key": "very-secret"})
    error = refused(project, {**step, "code": step["code"] + ending})
    assert re.search(message, error.message), error.message
    assert "very-secret" not in repr(vars(error))
    (count,) = project.run(COUNT)
    assert count.facts["result"] == 0


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (shell("x = 1\nx = ("), "line 2 of code: '\\(' was never closed"),
        (shell("x = 1", transaction=True, database="archive"), "no database 'archive'"),
    ],
)
def test_snippet_is_refused(project: Any, step: dict[str, Any], message: str, check: bool) -> None:
    before = project.contents()
    assert re.search(message, refused(project, step, check=check).message)
    assert project.contents() == before
