# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine meets Ansible: the options, results and errors all manage.py modules share.

A module of this kind is its documentation and one call of `manage_module` with its `Member` of `family/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .engine.environment import parse
from .engine.errors import EngineError
from .engine.steps import NotThereYet, StepError, StepResult, Target, run_steps

OF_A_PROJECT = ("venv", "python", "settings", "pythonpath", "environment", "env_file", "run_as")

# Documented in the fragment djdeploy.django.manage.
TARGET_OPTIONS: dict[str, dict[str, Any]] = {
    "site": {"type": "str"},
    "project_path": {"type": "path"},
    "venv": {"type": "path"},
    "python": {"type": "path"},
    "settings": {"type": "str"},
    "pythonpath": {"type": "list", "elements": "path"},
    "environment": {"type": "dict"},
    "env_file": {"type": "path"},
    "run_as": {"type": "str"},
    "timeout": {"type": "float"},
}


@dataclass(frozen=True)
class Member:
    """One module of the family: what it takes, what it gives back, and which step of the engine does its work.

    :param step: name of the step in `engine/agent.py`.
    :param options: the module's own options; they are the step's request, name for name.
    :param returns: facts of the step that the module returns.
    :param changes: whether the step may change anything, by the module's parameters: what check mode
        answers on a host where there is no project yet.
    :param request_of: makes the step's request of the parameters where the names alone do not.
    :param one_of: groups of options of which exactly one is given.
    :param constraints: further arguments of AnsibleModule: `required_if`, `required_together`, ...
    :param site_as: what the step's request calls the name of the site, if it wants to know.
    """

    step: str
    options: Mapping[str, Mapping[str, Any]]
    returns: Sequence[str]
    changes: Callable[[Mapping[str, Any]], bool] = lambda params: True
    request_of: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    one_of: Sequence[Sequence[str]] = ()
    constraints: Mapping[str, Any] = field(default_factory=dict)
    site_as: str | None = None

    def request(self, params: Mapping[str, Any], site: str | None) -> dict[str, Any]:
        """What the agent is asked, by the parameters of the module.

        :raises EngineError: when they contradict one another.
        """
        own = self.request_of({name: params[name] for name in self.options})
        return {"name": self.step, **own, **({self.site_as: site or ""} if self.site_as else {})}


def manage_module(member: Member) -> None:
    """Be an Ansible module that runs one step of the engine and ends with its result."""
    module = AnsibleModule(
        argument_spec={**TARGET_OPTIONS, **member.options},
        required_one_of=[("site", "project_path"), *member.one_of],
        mutually_exclusive=[
            *member.one_of,
            ("venv", "python"),
            *(("site", name) for name in ("project_path", *OF_A_PROJECT)),
        ],
        supports_check_mode=True,
        **member.constraints,
    )
    with failing_as(module):
        request = member.request(module.params, module.params["site"])
        try:
            target = target_of(module.params)
        except NotThereYet as error:
            if not module.check_mode:
                raise
            msg = f"{error.message}: what {member.step} would do there cannot be told before"
            module.exit_json(changed=member.changes(module.params), msg=msg)
        (result,) = run_steps(target, [request], check=module.check_mode, timeout=module.params["timeout"])
        module.exit_json(**as_ansible(result, member.returns, diff=module._diff))


def target_of(params: Mapping[str, Any]) -> Target:
    """The project the shared options name.

    :raises NotThereYet: when it is not on this host (yet).
    :raises EngineError: when the options do not name one.
    """
    if params["site"]:
        return Target.for_site(params["site"])
    python = params["python"] or (params["venv"] and f"{params['venv']}/bin/python")
    if not python:
        raise EngineError(
            "with `project_path`, one of `venv` and `python` is needed", "`venv` is the project's virtual environment"
        )
    env: dict[str, str] = {}
    if params["env_file"]:
        try:
            env = parse(Path(params["env_file"]).read_text())
        except FileNotFoundError as error:
            raise NotThereYet(f"there is no file {params['env_file']}", "`env_file` is given to the project") from error
    env.update({name: str(value) for name, value in (params["environment"] or {}).items()})
    return Target.for_project(
        params["project_path"],
        os.path.expanduser(python),
        settings=params["settings"],
        pythonpath=params["pythonpath"] or (),
        env=env,
        user=params["run_as"],
    )


def as_ansible(result: StepResult, returns: Sequence[str], *, diff: bool) -> dict[str, Any]:
    """A step's result as the return value of its module."""
    answer = {
        "changed": result.changed,
        "before": result.before,
        "after": result.after,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "seconds": result.seconds,
        **{name: result.facts[name] for name in returns if name in result.facts},
    }
    if "reason" in result.facts:
        answer["msg"] = result.facts["reason"]
    if diff:
        answer["diff"] = result.diff
    return answer


@contextmanager
def failing_as(module: AnsibleModule) -> Iterator[None]:
    """Let an error of the engine end the module with one clear line; what it knows besides comes along."""
    try:
        yield
    except EngineError as error:
        facts: dict[str, Any] = {}
        if isinstance(error, StepError):
            said = {"stdout": error.stdout, "stderr": error.stderr}
            facts = {**error.facts, **said, "step": error.step, "kind": error.kind}
        module.fail_json(
            msg=f"{error.message}\n-> {error.hint}" if error.hint else error.message,
            exception=error.detail,
            hint=error.hint,
            detail=error.detail,
            **facts,
        )
