# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine meets Ansible: the options, results and errors all manage.py modules share.

A module of this kind is its documentation and one call of `manage_module` with its `Member` of `family/`.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .engine.agent_secrets import LIKELY, SHORTEST_SECRET, SURE, forms, leaves, of_environment, of_options, quoted
from .engine.environment import parse, serialize
from .engine.errors import EngineError
from .engine.paths import SitePaths
from .engine.sandbox import SiteBox, makes_units, site_runner, unseen
from .engine.steps import BECOME, NotThereYet, StepError, StepResult, Target, run_steps
from .printable import PrintableModule

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
    :param diff_as: the same for whether somebody will read the diff, where that costs something.
    :param reads: options that name files of the host, absolute or from the project on.
    :param writes: options that name files it makes.
    """

    step: str
    options: Mapping[str, Mapping[str, Any]]
    returns: Sequence[str]
    changes: Callable[[Mapping[str, Any]], bool] = lambda params: True
    request_of: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    one_of: Sequence[Sequence[str]] = ()
    constraints: Mapping[str, Any] = field(default_factory=dict)
    site_as: str | None = None
    diff_as: str | None = None
    reads: Sequence[str] = ()
    writes: Sequence[str] = ()

    def request(self, params: Mapping[str, Any], site: str | None, *, diff: bool = False) -> dict[str, Any]:
        """What the agent is asked, by the parameters of the module.

        :raises EngineError: when they contradict one another.
        """
        refuse_nul(
            params, [name for name in self.options if name != "stdin"], "no name, no path and no text of a database can"
        )
        own = self.request_of({name: params[name] for name in self.options})
        of_task = {self.site_as: site or "", self.diff_as: diff}
        return {"name": self.step, **own, **{name: value for name, value in of_task.items() if name}}


def refuse_nul(params: Mapping[str, Any], names: Iterable[str], why: str) -> None:
    """:raises EngineError: when one of these options holds the character that ends a text for the system."""
    for name in names:
        if any("\0" in text for text in leaves(params[name])):
            raise EngineError(f"{name} holds a NUL character", why)


def words_in(option: str, remedy: str) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A request of which this option becomes words of a command line: there a name with a dash before it is an option.

    :returns: for `request_of` of a `Member`.
    """

    def request(params: Mapping[str, Any]) -> dict[str, Any]:
        for name in params[option] or ():
            if name.startswith("-"):
                raise EngineError(f"{option}: {name} begins with a dash, it would be read as an option", remedy)
        return dict(params)

    return request


def manage_module(member: Member) -> None:
    """Be an Ansible module that runs one step of the engine and ends with its result."""
    module = module_for(member.options, member.one_of, member.constraints)
    with failing_as(module):
        request = member.request(module.params, module.params["site"], diff=module._diff)
        target = target_or_end(module, member.step, member.changes(module.params))
        refuse_unseen(target, [(member, module.params)])
        (result,) = run_steps(target, [request], check=module.check_mode, timeout=module.params["timeout"])
        answer = as_ansible(result, member.returns)
        module.exit_json(**answer, **({"diff": result.diff} if module._diff else {}))


def steps_module(family: Mapping[str, Member]) -> None:
    """Be an Ansible module that runs several steps of the family in one Django process."""
    module = module_for({"steps": {"type": "list", "elements": "dict", "required": True}})
    module.no_log_values.update(secrets_of(module.params["steps"], family))
    with failing_as(module, family):
        chosen = [step_of(module, family, number, entry) for number, entry in enumerate(module.params["steps"], 1)]
        requests = [member.request(params, module.params["site"], diff=module._diff) for member, params in chosen]
        target = target_or_end(module, "these steps", any(member.changes(params) for member, params in chosen))
        refuse_unseen(target, chosen)
        results = run_steps(target, requests, check=module.check_mode, timeout=module.params["timeout"])
        diff = [{"before_header": each.name, "after_header": each.name, **each.diff} for each in results]
        module.exit_json(
            changed=any(each.changed for each in results),
            results=named_results(results, family),
            seconds=round(sum(each.seconds for each in results), 3),
            **({"diff": diff} if module._diff else {}),
        )


def module_for(
    options: Mapping[str, Mapping[str, Any]],
    one_of: Sequence[Sequence[str]] = (),
    constraints: Mapping[str, Any] | None = None,
) -> FamilyModule:
    """The module of a task, with the options all of them share."""
    own_project = [("site", name) for name in ("project_path", *OF_A_PROJECT)]
    module = FamilyModule(
        argument_spec={**TARGET_OPTIONS, **options},
        required_one_of=[("site", "project_path"), *one_of],
        mutually_exclusive=[*one_of, ("venv", "python"), *own_project],
        supports_check_mode=True,
        **(constraints or {}),
    )
    module.hide_options()
    return module


class FamilyModule(PrintableModule):
    """A module that shows no secret of its project in its result; `PrintableModule` logs no value.

    Ansible hides the values of an option as a whole or not at all, and `environment` is full of words like 1 and true.
    """

    def hide_options(self) -> None:
        """Hide what is secret by its name, also within the steps of a task."""
        inner = [each for step in self.params.get("steps") or () for each in step.values() if isinstance(each, dict)]
        self.hide(of_environment(self.params["environment"] or {}))
        self.hide(of_options([self.params, *inner]))

    def hide(self, secrets: Iterable[str]) -> None:
        written = (form for text in forms((), secrets) for form in quoted(text))
        self.no_log_values.update(form for form in written if len(form.strip()) >= SHORTEST_SECRET)


def secrets_of(steps: Iterable[Mapping[str, Any]], family: Mapping[str, Member]) -> set[str]:
    """What is secret in `steps`, known before the first of them is read: one that cannot be read ends the task.

    An option nobody knows counts by its name: it may be a misspelt `password`.
    """
    found: set[str] = set()
    for name, options in ((name, options) for entry in steps for name, options in entry.items()):
        known = family[name].options if name in family else {}
        if not isinstance(options, dict):
            found.update(value for value in leaves(options) if len(value) >= SHORTEST_SECRET)
            continue
        for option, value in options.items():
            told = known.get(option, {}).get("no_log")
            if told or (told is None and option not in known and (SURE.search(option) or LIKELY.search(option))):
                found.update(leaves(value))
    return found - {""}


def step_of(
    module: PrintableModule, family: Mapping[str, Member], number: int, entry: Mapping[str, Any]
) -> tuple[Member, dict[str, Any]]:
    """Read one item of `steps`: what it asks for, and its options as the module of that name takes them.

    :raises EngineError: when it names no module of the family, or not just one, or gives it options it does not take.
    """
    if len(entry) != 1 or next(iter(entry)) not in family:
        raise EngineError(
            f"step {number}: {', '.join(entry) or 'nothing'} is not the name of one module",
            f"an item has one key, one of: {', '.join(sorted(family))}",
        )
    ((name, options),) = entry.items()
    if options is not None and not isinstance(options, dict):
        kind = type(options).__name__
        raise EngineError(f"step {number}, {name}: options are wanted, not {kind}", f"{name}: {{option: value}}")
    member = family[name]
    validator = ArgumentSpecValidator(
        dict(member.options), mutually_exclusive=member.one_of, required_one_of=member.one_of, **member.constraints
    )
    read = validator.validate(options or {})
    module.no_log_values.update(read._no_log_values)
    if read.error_messages:
        raise EngineError(
            f"step {number}, {name}: {read.error_messages[0]}", f"see: ansible-doc djdeploy.django.{name}"
        )
    return member, read.validated_parameters


def target_or_end(module: FamilyModule, what: str, changes: bool) -> Target:
    """The project of the task; in check mode, where there is none yet, the task ends here.

    :raises NotThereYet: when it is not on this host.
    """
    try:
        target = target_of(module.params)
        module.hide([*of_environment(target.env), *target.secrets])
        return target
    except NotThereYet as error:
        if not module.check_mode:
            raise
        module.exit_json(changed=changes, msg=f"{error.message}: what {what} would do there cannot be told before")
        raise


def target_of(params: Mapping[str, Any]) -> Target:
    """The project the shared options name.

    :raises NotThereYet: when it is not on this host (yet).
    :raises EngineError: when the options do not name one.
    """
    refuse_the_impossible(params)
    if params["site"]:
        return confined(Target.for_site(params["site"]), SitePaths(params["site"]))
    python = params["python"] or python_of(params["venv"] or found_venv(params["project_path"]))
    env = {**variables_of(params["env_file"]), **variables_in(params["environment"] or {})}
    return Target.for_project(
        params["project_path"],
        os.path.expanduser(python),
        settings=params["settings"],
        pythonpath=params["pythonpath"] or (),
        env=env,
        user=params["run_as"],
    )


def confined(target: Target, paths: SitePaths) -> Target:
    """A site's project, run where its processes run: it sees its own part of the host, within the limits of the site,
    and nothing of it outlives the task.

    Only root makes units, and only where systemd is the first process; elsewhere it is a child of the task.
    """
    if not makes_units():
        return target
    return replace(target, start=site_runner(SiteBox(paths, host_files=True)))


def refuse_unseen(target: Target, steps: Iterable[tuple[Member, Mapping[str, Any]]]) -> None:
    """:raises EngineError: for a file that a step of a site is told of and that is not there in the site's unit."""
    if target.start is None or target.user is None:
        return
    paths = SitePaths(target.user)
    for member, params in steps:
        for option in (*member.reads, *member.writes):
            for text in leaves(params[option] or ()):
                path = target.cwd / text
                if (hidden := unseen(paths, path)) is not None:
                    raise EngineError(
                        f"{option}: {path} is not seen by {paths.site}: of {hidden} a site sees its own part alone",
                        f"put it into {paths.shared}, or where no site lies, such as /var/tmp",
                    )
                if option in member.writes and paths.root in path.parents and paths.shared not in path.parents:
                    raise EngineError(
                        f"{option}: {path} cannot be written: of {paths.root} a site writes {paths.shared} alone",
                        f"put it into {paths.shared}, or where no site lies, such as /var/tmp",
                    )


def refuse_the_impossible(params: Mapping[str, Any]) -> None:
    """:raises EngineError: for what no path, name or limit of a project can be."""
    named = [name for name in ("site", "project_path", *OF_A_PROJECT) if name != "environment"]  # see `variables_in`
    refuse_nul(params, named, "no path and no name can")
    if params["timeout"] is not None and params["timeout"] <= 0:
        raise EngineError(f"timeout: {params['timeout']:g} seconds are no time", "leave it out for no limit")
    if params["run_as"]:
        try:
            pwd.getpwnam(params["run_as"])
        except KeyError:
            raise EngineError(
                f"the unix user {params['run_as']!r} does not exist on this host", "mend `run_as`"
            ) from None


def variables_of(path: str | None) -> dict[str, str]:
    """The variables of an `env_file`.

    systemd passes over what it cannot read. Here that ends the task: a project that lacks a variable fails later,
    and says something else.

    :raises NotThereYet: when there is no such file.
    :raises EngineError: when it cannot be read.
    """
    if not path:
        return {}
    passed_over: list[int] = []
    try:
        variables = parse(Path(path).read_text(encoding="utf-8"), passed_over)
    except FileNotFoundError as error:
        raise NotThereYet(f"there is no file {path}", "`env_file` is given to the project") from error
    except UnicodeDecodeError as error:
        raise EngineError(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#x}") from error
    except PermissionError as error:
        raise EngineError(f"no permission to read {path}", BECOME) from error
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}", "`env_file` is a file of variables") from error
    if passed_over:
        raise EngineError(f"{path} line {passed_over[0]} sets no variable", "a line is NAME=value, its quotes closed")
    require_text(variables, str(path))
    return variables


def variables_in(environment: Mapping[Any, Any]) -> dict[str, str]:
    """The variables of `environment`, numbers and truth values as text.

    :raises EngineError: for what no environment can hold; it names the variable, never the value.
    """
    for name, value in environment.items():
        if value is None or isinstance(value, dict | list):
            kind = "nothing" if value is None else type(value).__name__
            raise EngineError(f"environment: {name} is {kind}, not text", "quote its value, or leave it out")
    variables = {str(name): str(value) for name, value in environment.items()}
    require_text(variables, "environment")
    return variables


def require_text(variables: Mapping[str, str], where: str) -> None:
    """:raises EngineError: for a name or a value no process can be given."""
    try:
        serialize(variables)
    except EngineError as error:
        raise EngineError(f"{where}: {error.message}", error.hint) from error


def python_of(venv: str) -> str:
    return f"{venv}/bin/python"


def found_venv(project_path: str) -> str:
    """The virtual environment of a project that nobody named: where uv makes one, or where people do.

    :raises EngineError: when there is none.
    """
    for name in (".venv", "venv"):
        if os.path.isfile(f"{project_path}/{name}/pyvenv.cfg"):
            return f"{project_path}/{name}"
    if not os.path.isdir(project_path):
        raise NotThereYet(f"there is no directory {project_path}", "`project_path` is the directory of manage.py")
    raise EngineError(
        f"there is no virtual environment in {project_path}", "name it: `venv`, or `python` for the interpreter itself"
    )


def as_ansible(result: StepResult, returns: Sequence[str]) -> dict[str, Any]:
    """A step's result as the return value of its module, without its diff."""
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
    return answer


def named_results(results: Iterable[StepResult], family: Mapping[str, Member]) -> list[dict[str, Any]]:
    """What several steps returned, each with its name."""
    return [{"step": each.name, **as_ansible(each, family[each.name].returns)} for each in results]


@contextmanager
def failing_as(module: PrintableModule, family: Mapping[str, Member] | None = None) -> Iterator[None]:
    """Let an error of the engine end the module with one clear line; what it knows besides comes along.

    :param family: given where a task has several steps: the results of those that were done are told, too.
    """
    try:
        yield
    except EngineError as error:
        facts: dict[str, Any] = {}
        if isinstance(error, StepError):
            said = {"stdout": error.stdout, "stderr": error.stderr}
            facts = {**error.facts, **said, "step": error.step, "kind": error.kind}
            if family is not None:
                facts |= {"results": named_results(error.done, family), "changed": any(e.changed for e in error.done)}
        module.fail_json(
            msg=f"{error.message}\n-> {error.hint}" if error.hint else error.message,
            exception=error.detail,
            hint=error.hint,
            detail=error.detail,
            **facts,
        )
