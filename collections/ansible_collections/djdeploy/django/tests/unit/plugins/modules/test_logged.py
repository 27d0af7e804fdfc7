# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible writes into the log of the host, and returns, of the options of a module: no secret, however written."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible.module_utils.common.parameters import PASS_VARS
from ansible_collections.djdeploy.django.plugins import module_utils
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule

from ..programs import COLLECTION, run_module

MODULES = sorted(
    path.stem
    for path in (Path(module_utils.__path__[0]).parent / "modules").glob("*.py")
    if path.stem != "validate"  # all of it is the action plugin, on the controller
)
# Pieces that are the same in any way of writing.
SECRETS = {
    "quotes": "it's \"c4n4ry-q1 of two\" 'c4n4ry-q2",
    "lines": "-----BEGIN PRIVATE KEY-----\nc4n4ry-l1+/==\nc4n4ry-l2\n-----END PRIVATE KEY-----\n",
    "lines of DOS": "c4n4ry-l1\r\nc4n4ry-l2\r\n",
    "backslashes": "C:\\c4n4ry-b1\\n\\x41\\",
    "JSON": '{"key": "-----BEGIN-----\\nc4n4ry-j1\\n", "list": ["c4n4ry-j2 \'x\'"]}',
    "control characters": "tab\tc4n4ry-c1 \x1b[31m c4n4ry-c2 \x7f",
    "beyond ASCII": "p\xe4ssw\xf6rd c4n4ry-u1 \u20ac \U0001f511 \u2028 c4n4ry-u2",
    "plain": "c4n4ry-p1",
}
TRACE = re.compile("c4n4ry")


class Asked(Exception):
    """A module asked for its options."""


def spec_of(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[type[PrintableModule], Mapping[str, Any]]:
    """The class of a module, and the options it asks for."""
    asked: list[tuple[Any, Any]] = []

    def init(self: Any, argument_spec: Mapping[str, Any], **others: Any) -> None:
        asked.append((type(self), argument_spec))
        raise Asked

    with monkeypatch.context() as patched:
        patched.setattr(basic.AnsibleModule, "__init__", init)
        with pytest.raises(Asked):
            importlib.import_module(f"{COLLECTION}.plugins.modules.{name}").main()
    ((kind, spec),) = asked
    return kind, spec


def without_choices(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **{key: value for key, value in option.items() if key != "choices"},
            **({"options": without_choices(option["options"])} if "options" in option else {}),
        }
        for name, option in spec.items()
    }


def filled(spec: Mapping[str, Any], secret: str) -> dict[str, Any]:
    """Options with the secret in every place that takes a text."""

    def value(option: Mapping[str, Any], kind: str) -> Any:
        if kind == "list":
            return [value(option, option["elements"])]
        if kind == "dict":
            return filled(option["options"], secret) if "options" in option else {"NAME": secret, "more": [secret]}
        return {"int": 1, "float": 1.0, "bool": True}.get(kind, secret)

    return {name: value(option, option["type"]) for name, option in spec.items()}


def given(monkeypatch: pytest.MonkeyPatch, options: Mapping[str, Any]) -> None:
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)


@pytest.fixture(params=["syslog", "journal"])
def logged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is sent to the log, in either of Ansible's two ways."""
    sent: list[str] = []
    monkeypatch.setattr(basic, "has_journal", request.param == "journal")
    monkeypatch.setattr(
        basic, "journal", SimpleNamespace(send=lambda **fields: sent.append(json.dumps(fields))), raising=False
    )
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, msg: sent.append(msg))
    return sent


@pytest.mark.parametrize("name", MODULES)
def test_no_value_is_logged(name: str, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stands: what else a task may be given that is secret to its author, no module knows."""
    kind, spec = spec_of(name, monkeypatch)
    spec = without_choices(spec)
    for secret in SECRETS.values():
        given(monkeypatch, filled(spec, secret))
        kind(argument_spec=spec)
    assert len(logged) == len(SECRETS)
    assert [line for line in logged if TRACE.search(line)] == []
    assert all("Invoked with " in line and option in line for line in logged for option in spec)


def test_ansible_itself_would_log_them(logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests above see what they look for."""
    _kind, spec = spec_of("environment", monkeypatch)
    given(monkeypatch, filled({"sites": {**spec["sites"]}}, SECRETS["lines"]))
    basic.AnsibleModule(argument_spec=without_choices(spec))
    assert any(TRACE.search(line) for line in logged)


def test_an_option_that_is_not_given_is_not_named(logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, {"b": "", "a": 0})
    PrintableModule(argument_spec={"a": {"type": "int"}, "b": {}, "c": {}})
    given(monkeypatch, {})
    PrintableModule(argument_spec={})
    assert [re.search("Invoked with .*", line.strip('{}"'))[0].partition('"')[0] for line in logged] == [  # type: ignore[index]
        "Invoked with a, b",
        "Invoked with no options",
    ]


# --- what comes back: `invocation` is shown at -vvv, and stays in results that are registered ------------


def with_secrets(name: str, secret: str) -> dict[str, Any]:
    """Options of a module with the secret in all places that are known to hold some."""
    if name == "environment":
        kinds = ("secrets", "secret_files", "project_files", "build_secrets", "package_indexes", "database_urls")
        return {"sites": [{"name": "no-such", "database_url": secret, **{kind: {"NAME": secret} for kind in kinds}}]}
    target = {"project_path": "/no/such", "python": "/no/such/python", "environment": {"DB_PASSWORD": secret}}
    user = {"username": "ann", "password": secret, "fields": {"api_token": secret}}
    shell = {"code": "1", "secrets": {"NAME": secret}, "args": {"token": secret}}
    own: dict[str, Any] = {
        "user": user,
        "superuser": user,
        "shell": shell,
        "manage": {"steps": [{"user": user}, {"shell": shell}]},
        "command": {"argv": ["check"]},
    }
    return {**target, **own[name]}


# A newer ansible-core has a module return its invocation only when somebody will see it, as with -vvv.
ASKED = {"_ansible_inject_invocation": True} if "inject_invocation" in PASS_VARS else {}


@pytest.mark.parametrize("wrong", [{}, {"no_such_option": 1}], ids=["right", "wrong options"])
@pytest.mark.parametrize("name", ["environment", "user", "superuser", "shell", "manage", "command"])
def test_no_secret_is_returned(name: str, wrong: dict[str, Any]) -> None:
    """Also where AnsibleModule ends the task before the module has a say."""
    for secret in SECRETS.values():
        options = {**with_secrets(name, secret), **wrong, **ASKED, "_ansible_check_mode": True, "_ansible_diff": True}
        result, output = run_module(name, options)
        assert result["invocation"]["module_args"]
        assert bool(wrong) == ("no_such_option" in result.get("msg", "")), result
        assert not TRACE.search(output), output


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_what_is_made_printable_is_hidden_before(
    secret: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ansible looks for secrets in what the module hands it, where a control character is written as an escape."""
    given(monkeypatch, {"token": secret})
    module = PrintableModule(argument_spec={"token": {"no_log": True}})
    said = f"it is {secret}, really"
    with pytest.raises(SystemExit):
        module.fail_json(msg=said, hint=secret, detail=[said], facts={"a": said})
    with pytest.raises(SystemExit):
        module.exit_json(msg=said, diff=[{"before": said, "after": secret}], lines=[said])
    output = capsys.readouterr().out
    assert "it is ********, really" in output
    assert not TRACE.search(output), output
