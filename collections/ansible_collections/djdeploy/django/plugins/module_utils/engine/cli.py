# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it prints, and no module imports it; Ansible forbids that to modules
"""The `djdeploy` command on a host."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from . import (
    __version__,
    client,
    config_shown,
    doctor,
    history,
    process_units,
    recovery,
    rotation,
    schedules,
    snapshots,
    steps,
)
from . import plan as planning
from .environment import parse
from .errors import EngineError
from .events import Event, Progress, rendered, rendered_result
from .push import ALLOWABLE, DECLARABLE, push_options
from .releases import current_id, live_release
from .request import DEPLOY, MOVE, RECOVER, RESTORE, ROLLBACK, Request
from .runner import BASE_ENVIRONMENT
from .sites import load_site, site_names
from .status import release_lines, site_status, status_lines

REFUSED = 3  # exit status: it could be built, but its migrations would harm what is live


def caller() -> str:
    """The person at the keyboard, also behind sudo."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def need_root() -> None:
    """:raises EngineError: unless root; releases, units and secrets belong to root."""
    if os.geteuid() != 0:
        raise EngineError("this needs root", f"sudo djdeploy {' '.join(sys.argv[1:])}")


def ask(request: Request, as_json: bool, *, hidden: str = "") -> Event:
    """Ask the deployer and show what it does, but for its result.

    :param hidden: events not to show, either: the caller shows them in its own way.
    :returns: the result.
    """
    outcome: Event = {"ok": False}
    for event in client.ask(request):
        if event["event"] == "result":
            outcome = event
        elif not as_json and event["event"] != hidden and (text := rendered(event)):
            print(text, flush=True)
    return outcome


def follow(request: Request, as_json: bool) -> int:
    """Ask the deployer and show all of it.

    :returns: exit status: 0 when it was done, 1 when not.
    """
    return tell(ask(request, as_json), as_json)


def tell(outcome: Event, as_json: bool) -> int:
    """Show a result.

    :returns: exit status: 0 when it was done, 1 when not.
    """
    if as_json:
        print(json.dumps(outcome))
    elif outcome["ok"]:
        print(outcome["message"])
    else:
        print(rendered_result(outcome), file=sys.stderr)
    return 0 if outcome["ok"] else 1


def status(arguments: argparse.Namespace) -> int:
    """Exit status 1 when a site is down, broken or closed."""
    need_root()
    facts = [site_status(load_site(name)) for name in ([arguments.site] if arguments.site else site_names())]
    if arguments.json:
        print(json.dumps(facts))
    else:
        for site in facts:
            print("\n".join(status_lines(site)))
        if not facts:
            print("no sites on this host yet; they come from djdeploy_sites by way of site.yml")
    return 1 if any(site["state"] in ("down", "broken", "closed") for site in facts) else 0


def releases(arguments: argparse.Namespace) -> int:
    need_root()
    facts = site_status(load_site(arguments.site))
    print(json.dumps(facts["releases"]) if arguments.json else "\n".join(release_lines(facts)))
    return 0


def deploy(arguments: argparse.Namespace) -> int:
    """Exit status of a check: that of `plan`."""
    request = Request(
        op=DEPLOY,
        site=load_site(arguments.site).name,
        door="host",
        who=caller(),
        revision=arguments.revision,
        check=arguments.check,
        force=arguments.force,
        allow=tuple(arguments.allow),
        declared=dict(arguments.declare),
        plan=arguments.plan,
        empty_database=arguments.empty_database,
    )
    return follow_check(request, arguments.json, whole=False) if request.check else follow(request, arguments.json)


def plan(arguments: argparse.Namespace) -> int:
    """Exit status: 0 when the release would go live, 1 when it cannot be made, 3 when its migrations are refused."""
    request = Request(
        op=DEPLOY,
        site=load_site(arguments.site).name,
        door="host",
        who=caller(),
        revision=arguments.revision,
        check=True,
        force=arguments.force,
        allow=tuple(arguments.allow),
        declared=dict(arguments.declare),
    )
    return follow_check(request, arguments.json, whole=True)


def follow_check(request: Request, as_json: bool, *, whole: bool) -> int:
    """Ask what would change and show it.

    :param whole: nothing cut short, and with SQL.
    """
    outcome = ask(request, as_json, hidden="plan")
    if not outcome.get("plan"):
        return tell(outcome, as_json)
    made = planning.Plan.from_mapping(outcome["plan"])
    if not as_json:
        print("\n".join(f"  {line}" for line in planning.lines(made, whole=whole)), flush=True)
    if not outcome["ok"] and not as_json:  # whole, too: the recipes for doing it without harm are in there
        detail = "".join(f"    {line}\n" for line in str(outcome.get("detail") or "").splitlines())
        print(detail + rendered_result({**outcome, "detail": ""}), file=sys.stderr)
        status = 1
    else:
        status = tell(outcome, as_json)
    if status == 0 and not as_json:
        print(f"  -> {deploy_line(request, made.plan_id)}")
    return REFUSED if status and made.refused else status


def tell_history(arguments: argparse.Namespace) -> int:
    """What the journal of a site tells; `history.Deploy` says what the keys of `--json` mean."""
    need_root()
    found = history.recorded(load_site(arguments.site).name)
    if arguments.operation:
        deploy = history.chosen(found, arguments.operation)
        print(json.dumps(deploy.as_dict()) if arguments.json else "\n".join(history.deploy_lines(deploy)))
        return 0
    found = (found if arguments.all else history.worth_telling(found))[-arguments.lines :]
    if arguments.json:
        print(json.dumps([deploy.as_dict(whole=False) for deploy in reversed(found)]))
    elif found:
        print("\n".join(history.history_lines(found)))
    else:
        print(f"nothing was done to {arguments.site} yet")
    return 0


def deploy_line(request: Request, plan_id: str) -> str:
    """The command that does what was planned, and nothing else."""
    words = ["djdeploy", "deploy", request.site, *filter(None, [request.revision])]
    words += ["--force"] if request.force else []
    words += ["--allow", ",".join(request.allow)] if request.allow else []
    words += [word for name, kind in request.declared.items() for word in ("--declare", f"{name}={kind}")]
    return shlex.join([*words, "--plan", plan_id])


def rollback(arguments: argparse.Namespace) -> int:
    request = Request(
        op=ROLLBACK,
        site=load_site(arguments.site).name,
        door="host",
        who=caller(),
        revision=arguments.to,
        check=arguments.check,
        accept_loss=arguments.accept_loss,
    )
    return follow(request, arguments.json)


def move(arguments: argparse.Namespace) -> int:
    request = Request(op=MOVE, site=load_site(arguments.site).name, door="host", who=caller(), check=arguments.check)
    return follow(request, arguments.json)


def tell_snapshots(arguments: argparse.Namespace) -> int:
    """The snapshots of a site, without the one that is to be removed."""
    need_root()
    site = load_site(arguments.site)
    if arguments.remove:
        for each in snapshots.named(site, arguments.remove):
            snapshots.remove(site, each)
    found = snapshots.kept(site)
    if arguments.json:
        print(json.dumps([asdict(snapshot) for snapshot in found]))
    else:
        print("\n".join(snapshots.lines(found)) or f"{site.name} has no snapshots")
    return 0


def restore(arguments: argparse.Namespace) -> int:
    """Without a yes only tell what would be lost; at a terminal, ask for it.

    :raises EngineError: when there was no yes.
    """
    request = Request(
        op=RESTORE,
        site=load_site(arguments.site).name,
        door="host",
        who=caller(),
        revision=arguments.snapshot,
        check=not arguments.yes,
        accept_loss=arguments.yes,
    )
    if arguments.yes or arguments.check:
        return follow(request, arguments.json)
    status = follow(request, arguments.json)
    if status == 0 and sys.stdin.isatty() and not arguments.json:
        answer = input(f"\nTo do it, type the name of the site ({request.site}): ")
        if answer.strip() == request.site:
            return follow(replace(request, check=False, accept_loss=True), arguments.json)
    if status == 0:
        command = snapshots.restore_command(request.site, arguments.snapshot)
        raise EngineError("nothing was restored: it needs a yes", f"{command} --yes")
    return status


def manage(arguments: argparse.Namespace) -> int:
    """Become the site's user in the site's environment, and be manage.py from there on."""
    need_root()
    site = load_site(arguments.site)
    target = steps.Target.for_site(site.name)
    account = pwd.getpwnam(site.paths.user)
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    terminal = {name: os.environ[name] for name in ("TERM", "COLUMNS", "LINES") if name in os.environ}
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.chdir(target.cwd)  # as that user: what lies on the way is the project's
    os.umask(0o022)
    environment = {**BASE_ENVIRONMENT, **terminal, **target.env}
    os.execve(target.python, [str(target.python), "-m", "django", *words], environment)


def logs(arguments: argparse.Namespace) -> int:
    """Be journalctl on all units of the site; of one request, tell first what nginx has of it."""
    site = load_site(arguments.site)
    release = current_id(site.name) if arguments.live else None
    words = ["journalctl", "--unit", f"{site.paths.unit_prefix}@*", "--lines", str(arguments.lines)]
    if arguments.request:
        for name in (f"{site.paths.access_log}.1", str(site.paths.access_log)):
            try:
                with open(name, errors="replace") as file:
                    found = [line for line in file if line.rstrip().endswith(f" {arguments.request}")]
                print("".join(found), end="", flush=True)
            except OSError as error:
                if not isinstance(error, FileNotFoundError):
                    print(f"{name}: {error.strerror}", file=sys.stderr)
        words[3:5] = []  # with --lines journalctl would tell the newest first
        words += ["--grep", f"^\\[{arguments.request}\\]", "--output", "cat"]
    if arguments.live:
        words[2] = f"{site.paths.unit_prefix}@{current_id(site.name) or '*'}.service"
    words += [word for name in process_units.log_patterns(site.name, release) for word in ("--unit", name)]
    words += ["--follow"] if arguments.follow else ["--no-pager"]
    words += ["--output", "json"] if arguments.json else []
    os.execvp("journalctl", words)


def config(arguments: argparse.Namespace) -> int:
    """What the site runs with, secrets masked."""
    need_root()
    site, live = load_site(arguments.site), live_release(arguments.site)
    of_release = parse(site.paths.release(live.id).env_file.read_text()) if live else {}
    told = config_shown.shown(site.name, site.config, asdict(live) if live else None, site.environment(), of_release)
    print(json.dumps(told) if arguments.json else "\n".join(config_shown.lines(told)))
    return 0


def rotate_key(arguments: argparse.Namespace) -> int:
    """Write the key first, then make a release of what is live: its processes start with the new one."""
    need_root()
    site, live = load_site(arguments.site), live_release(arguments.site)
    kept = rotation.rotate(site, caller(), lambda text: print(text, file=sys.stderr))
    if not arguments.json:
        print(f"{site.name} has another SECRET_KEY; {kept} before it stay valid", flush=True)
    if live is None:
        return tell({"ok": True, "message": f"{site.name} waits for its first push"}, arguments.json)
    request = Request(op=DEPLOY, site=site.name, door="host", who=caller(), revision=live.revision)
    return follow(request, arguments.json)


def schedule(arguments: argparse.Namespace) -> int:
    """The jobs of a site: when each ran last and runs next, and how it ended."""
    need_root()
    site = load_site(arguments.site)
    jobs = schedules.overview(site)
    if arguments.json:
        print(json.dumps(jobs))
    else:
        print("\n".join(schedules.lines(jobs)) or f"{site.name} has no jobs; they come from its key `schedule`")
    return 0


def due(arguments: argparse.Namespace) -> int:
    """Start a job whose time has come; a timer runs this."""
    need_root()
    schedules.run_due(load_site(arguments.site), arguments.job, print)
    return 0


def examine(arguments: argparse.Namespace) -> int:
    """Exit status 1 when something is wrong."""
    need_root()
    found = list(doctor.findings([arguments.site] if arguments.site else None))
    if arguments.json:
        print(json.dumps([finding.as_dict() for finding in found]))
    else:
        print("\n".join(str(finding) for finding in found))
    return 0 if all(finding.ok for finding in found) else 1


def boot(arguments: argparse.Namespace) -> int:
    need_root()
    site = load_site(arguments.site)

    def tell_journal(event: Event) -> None:
        if text := rendered(event):
            print(text, flush=True)

    live = recovery.boot(site, Progress([tell_journal]))
    print(f"{site.name}: {live.id if live else 'no release yet'}")
    return 0


def recover(arguments: argparse.Namespace) -> int:
    """Ask the deployer to mend each site; exit status 1 when one of them needs a person."""
    need_root()
    names = [load_site(arguments.site).name] if arguments.site else site_names()
    requests = [Request(op=RECOVER, site=name, door="host", who=caller()) for name in names]
    return max([follow(request, arguments.json) for request in requests], default=0)


def classes(text: str) -> tuple[str, ...]:
    """The value of --allow: `contract`, `blocking`, or both with a comma."""
    try:
        return push_options([f"allow={text}"])[0]
    except EngineError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(ALLOWABLE)}") from None


def declaration(text: str) -> list[tuple[str, str]]:
    """The value of --declare: `app.name=class`."""
    try:
        return list(push_options([f"declare={text}"])[1].items())
    except EngineError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like app.name={'|'.join(DECLARABLE)}") from None


def request_id(text: str) -> str:
    """The id of a request, as the page of an error and nginx's access log show it."""
    if not (8 <= len(text) <= 64 and text.replace("-", "").isalnum() and text.isascii()):
        raise argparse.ArgumentTypeError(f"{text!r} is no id of a request")
    return text


def count(text: str) -> int:
    """A number of things to show."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line as a whole; `--json` is there where a program would read the answer."""
    top = argparse.ArgumentParser(prog="djdeploy", description="Django sites on this host: look, deploy, go back.")
    top.add_argument("--version", action="version", version=f"djdeploy {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, action: Any, text: str, *, site: str = "required", as_json: bool = True) -> Any:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        if site:
            sub.add_argument("site", metavar="SITE", nargs=None if site == "required" else "?", help="name of the site")
        if as_json:
            sub.add_argument("--json", action="store_true", help="answer as one JSON document")
        return sub

    def what_to_deploy(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("revision", metavar="REVISION", nargs="?", help="branch, tag or commit")
        sub.add_argument("--force", action="store_true", help="make a new release even if nothing differs")
        sub.add_argument(
            "--allow", metavar="CLASS", type=classes, action="extend", default=[],
            help="let migrations of this class run, behind the maintenance page: contract, blocking",
        )  # fmt: skip
        sub.add_argument(
            "--declare", metavar="APP.NAME=CLASS", type=declaration, action="extend", default=[],
            help="say what a migration is that cannot be judged: additive, contract or blocking",
        )  # fmt: skip

    command("status", status, "what is live, since when, by whom", site="optional")
    command("releases", releases, "the kept releases, newest first")
    sub = command("history", tell_history, "what was done, by whom, and how it ended; newest first")
    sub.add_argument("operation", metavar="ID", nargs="?", help="all about one of them: its plan, its phases")
    sub.add_argument("-n", "--lines", type=count, default=20, help="how many operations (default: 20)")
    sub.add_argument("--all", action="store_true", help="with those that had nothing to do")
    what_to_deploy(command("plan", plan, "build and check a revision, tell all that it would change, leave nothing"))
    sub = command(
        "deploy", deploy, "put a revision live; without one, what is configured, or the live one if only that changed"
    )
    what_to_deploy(sub)
    sub.add_argument("--check", action="store_true", help="as `djdeploy plan`, in short")
    sub.add_argument("--plan", metavar="ID", help="only if this is still what would change: the id that `plan` told")
    sub.add_argument(
        "--empty-database", action="store_true",
        help="go live on the database the configuration says as it is; the present data stays behind",
    )  # fmt: skip
    sub = command("rollback", rollback, "go back to the release that served before")
    sub.add_argument("--to", metavar="RELEASE", help="a kept release, by its id or revision")
    sub.add_argument(
        "--check", action="store_true", help="only tell where it would go, and what becomes of the database"
    )
    sub.add_argument("--accept-loss", action="store_true", help="take migrations back even where that loses data")
    sub = command("move", move, "take the data from the SQLite file to the database the configuration says")
    sub.add_argument("--check", action="store_true", help="only see whether every row fits there")
    sub = command("snapshots", tell_snapshots, "the copies of the database made before migrations")
    sub.add_argument("--remove", metavar="NAME", help="remove one of them")
    sub = command("restore", restore, "put a snapshot of the database back, and the release that was live then")
    sub.add_argument("snapshot", metavar="NAME", help="see: djdeploy snapshots SITE")
    sub.add_argument("--yes", action="store_true", help="what was written since then may be lost")
    sub.add_argument("--check", action="store_true", help="only tell what would be lost")
    sub = command("manage", manage, "any manage.py command, as the site's user in its environment", as_json=False)
    sub.add_argument("command", metavar="...", nargs=argparse.REMAINDER, help="for example: showmigrations")
    sub = command("logs", logs, "what the site's processes wrote")
    sub.add_argument("-f", "--follow", action="store_true", help="go on as it comes")
    sub.add_argument("-n", "--lines", type=int, default=100, help="how many lines (default: 100)")
    sub.add_argument("--live", action="store_true", help="only of the live release")
    sub.add_argument("--request", metavar="ID", type=request_id, help="of one request, with nginx's line of it")
    command("config", config, "what the site runs with, and where each of it comes from; secrets are masked")
    command("rotate-key", rotate_key, "another SECRET_KEY for the site; sessions go on, by the keys before it")
    command("schedule", schedule, "the jobs of a site: when each ran last and runs next, and how it ended")
    sub = command("due", due, "start a job whose time has come (its timer runs this)", as_json=False)
    sub.add_argument("job", metavar="NAME", help="name of the job in the site's schedule")
    command("doctor", examine, "look for what is wrong, and say what to run", site="optional")
    command("recover", recover, "mend what a killed deploy left behind (systemd runs this after one)", site="optional")
    command("boot", boot, "start what is live (systemd runs this at boot)", as_json=False)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """:returns: exit status: 0 done, 1 it could not be done, 2 the command line was not understood."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.action(arguments))
    except EngineError as error:
        event = {"event": "result", "ok": False, "message": f"djdeploy: {error.message}", "hint": error.hint}
        print(rendered_result({**event, "detail": error.detail}), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nno longer watching; a deploy that has begun goes on: djdeploy status", file=sys.stderr)
        return 130
