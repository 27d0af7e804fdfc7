# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it prints, and no module imports it; Ansible forbids that to modules
"""The `djdeploy` command on a host."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__, client, doctor, recovery, steps
from .errors import EngineError
from .events import rendered, rendered_result
from .releases import current_id, live_release
from .request import DEPLOY, ROLLBACK, Request
from .runner import BASE_ENVIRONMENT
from .sites import load_site, site_names
from .status import release_lines, site_status, status_lines


def caller() -> str:
    """The person at the keyboard, also behind sudo."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def need_root() -> None:
    """:raises EngineError: unless root; releases, units and secrets belong to root."""
    if os.geteuid() != 0:
        raise EngineError("this needs root", f"sudo djdeploy {' '.join(sys.argv[1:])}")


def follow(request: Request, as_json: bool) -> int:
    """Ask the deployer and show what it does.

    :returns: exit status: 0 when it was done, 1 when not.
    """
    outcome: dict[str, Any] = {"ok": False}
    for event in client.ask(request):
        if event["event"] == "result":
            outcome = event
        elif not as_json and (text := rendered(event)):
            print(text, flush=True)
    if as_json:
        print(json.dumps(outcome))
    elif outcome["ok"]:
        print_plan(outcome.get("plan"))
        print(outcome["message"])
    else:
        print(rendered_result(outcome), file=sys.stderr)
    return 0 if outcome["ok"] else 1


def print_plan(plan: dict[str, Any] | None) -> None:
    if not plan:
        return
    for title in ("commits", "migrations", "packages"):
        for line in plan[title]:
            print(f"  {title[:-1]:<10} {line}")
    if plan["configuration_changed"]:
        print("  the configuration changed")


def status(arguments: argparse.Namespace) -> int:
    """Exit status 1 when a site is down or broken."""
    need_root()
    facts = [site_status(load_site(name)) for name in ([arguments.site] if arguments.site else site_names())]
    if arguments.json:
        print(json.dumps(facts))
    else:
        for site in facts:
            print("\n".join(status_lines(site)))
        if not facts:
            print("no sites on this host yet; they come from djdeploy_sites by way of site.yml")
    return 1 if any(site["state"] in ("down", "broken") for site in facts) else 0


def releases(arguments: argparse.Namespace) -> int:
    need_root()
    facts = site_status(load_site(arguments.site))
    print(json.dumps(facts["releases"]) if arguments.json else "\n".join(release_lines(facts)))
    return 0


def deploy(arguments: argparse.Namespace) -> int:
    request = Request(
        op=DEPLOY,
        site=load_site(arguments.site).name,
        door="host",
        who=caller(),
        revision=arguments.revision,
        check=arguments.check,
        force=arguments.force,
    )
    return follow(request, arguments.json)


def rollback(arguments: argparse.Namespace) -> int:
    request = Request(
        op=ROLLBACK,
        site=load_site(arguments.site).name,
        door="host",
        who=caller(),
        revision=arguments.to,
        check=arguments.check,
    )
    return follow(request, arguments.json)


def manage(arguments: argparse.Namespace) -> int:
    """Become the site's user in the site's environment, and be manage.py from there on."""
    need_root()
    site = load_site(arguments.site)
    target = steps.Target.for_site(site.name)
    account = pwd.getpwnam(site.paths.user)
    words = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    terminal = {name: os.environ[name] for name in ("TERM", "COLUMNS", "LINES") if name in os.environ}
    os.chdir(target.cwd)
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.umask(0o022)
    environment = {**BASE_ENVIRONMENT, **terminal, **target.env}
    os.execve(target.python, [str(target.python), "-m", "django", *words], environment)


def logs(arguments: argparse.Namespace) -> int:
    """Be journalctl on all units of the site."""
    site = load_site(arguments.site)
    words = ["journalctl", "--unit", f"{site.paths.unit_prefix}@*", "--lines", str(arguments.lines)]
    if arguments.live:
        words[2] = f"{site.paths.unit_prefix}@{current_id(site.name) or '*'}.service"
    words += ["--follow"] if arguments.follow else ["--no-pager"]
    words += ["--output", "json"] if arguments.json else []
    os.execvp("journalctl", words)


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
    recovery.boot(site)
    live = live_release(site.name)
    print(f"{site.name}: {live.id if live else 'no release yet'}")
    return 0


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

    command("status", status, "what is live, since when, by whom", site="optional")
    command("releases", releases, "the kept releases, newest first")
    sub = command(
        "deploy", deploy, "put a revision live; without one, what is configured, or the live one if only that changed"
    )
    sub.add_argument("revision", metavar="REVISION", nargs="?", help="branch, tag or commit")
    sub.add_argument("--check", action="store_true", help="build and check it, tell what would change, leave nothing")
    sub.add_argument("--force", action="store_true", help="make a new release even if nothing differs")
    sub = command("rollback", rollback, "go back to the release that served before")
    sub.add_argument("--to", metavar="RELEASE", help="a kept release, by its id or revision")
    sub.add_argument("--check", action="store_true", help="only tell where it would go")
    sub = command("manage", manage, "any manage.py command, as the site's user in its environment", as_json=False)
    sub.add_argument("command", metavar="...", nargs=argparse.REMAINDER, help="for example: showmigrations")
    sub = command("logs", logs, "what the site's processes wrote")
    sub.add_argument("-f", "--follow", action="store_true", help="go on as it comes")
    sub.add_argument("-n", "--lines", type=int, default=100, help="how many lines (default: 100)")
    sub.add_argument("--live", action="store_true", help="only of the live release")
    command("doctor", examine, "look for what is wrong, and say what to run", site="optional")
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
