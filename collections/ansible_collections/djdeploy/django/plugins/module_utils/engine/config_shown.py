# SPDX-License-Identifier: GPL-3.0-or-later
"""What a site runs with and where each of it comes from, for `djdeploy config` and for the push that changes it.

No value of a secret is in what these functions return: neither in the data for programs nor in the lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .databases_said import POSTGRESQL, further, wanted
from .environment import ALSO_CALLED, MASK, is_secret, without_passwords

if TYPE_CHECKING:
    from .lists import Requirements
    from .project import Choice
    from .requirements import Python
    from .servers import Server

#: Variables nobody has to give: name -> where they come from.
MADE = {
    "ALLOWED_HOSTS": "from the site's domains",
    "DEBUG": "always, unless env says otherwise",
    "DATABASE_URL": "from the site's key database",
    "SECRET_KEY": "made once on this host",
    "SECRET_KEY_FALLBACKS": "the keys before this one",
    **{also: f"{name} as other projects call it" for name, also in ALSO_CALLED.items()},
}


def choices(
    config: Mapping[str, Any],
    where: Choice,
    settings: Choice,
    server: Server,
    requirements: Requirements,
    python: Python,
) -> dict[str, list[str]]:
    """What was found out about a project, as its release keeps it: name -> [value, reason]."""
    why = f"python: {config['python']}" if config["python"] else "it fits the project"
    listed = requirements.path or " ".join(requirements.lines)
    return {
        "project_path": [where.value, where.reason],
        "settings": [settings.value, settings.reason],
        "application": [server.application, server.reason],
        "server": [server.name, server.reason],
        "requirements": [listed, requirements.reason],
        "python": [f"{python.executable} ({python.version})", why],
        "database": [str(config["database"]), "the site's key `database`"],
        **{f"database {each.alias}": [each.kind, "the site's key `databases`"] for each in further(config)},
        **pooled(config),
    }


def pooled(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """What goes through PgBouncer, as one of the `choices`; nothing where nothing does."""
    section = config.get("pgbouncer") or {}
    if not section.get("enabled"):
        return {}
    found = ", ".join(each.alias for each in wanted(config) if each.kind == POSTGRESQL)
    direct = ", ".join(["manage.py", *section.get("direct", ())])
    return {"pgbouncer": [found, f"the site's key `pgbouncer`; {direct} and migrations go straight"]}


def variables(
    config: Mapping[str, Any], of_site: Mapping[str, str], of_release: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Every variable of the site's processes: name -> value (None for a secret), `secret`, `origin`.

    :param config: the site's record; `secret_names` in it tells which came as secrets.
    :param of_site: what the site's environment file holds.
    :param of_release: what the release's holds; it wins.
    """
    names = config.get("secret_names")
    secrets = set((names or {}).get("secrets", ()))
    files = {f"{name}_FILE" for name in (names or {}).get("secret_files", ())}
    env = set(config.get("env") or ()) - secrets
    others = {each.variable for each in further(config)}

    def one(name: str, value: str) -> dict[str, Any]:
        hidden = False
        if name in of_release:
            origin = "the release"
        elif name in secrets:
            origin, hidden = "secrets", True
        elif name in env:
            origin, hidden = "env", is_secret(name)
        elif name in files:
            origin = "secret_files"
        elif name in MADE:
            origin, hidden = MADE[name], is_secret(name)
        elif name in others:
            origin, hidden = "from the site's key databases", True
        else:  # a host that site.yml has not met since it keeps the names of secrets
            origin, hidden = "secrets" if names is None else "the environment file", True
        return {"value": None if hidden else without_passwords(value), "secret": hidden, "origin": origin}

    together = {**of_site, **of_release}
    return {name: one(name, together[name]) for name in sorted(together)}


def shown(
    site: str,
    config: Mapping[str, Any],
    release: Mapping[str, Any] | None,
    of_site: Mapping[str, str],
    of_release: Mapping[str, str],
) -> dict[str, Any]:
    """All that `djdeploy config SITE --json` tells.

    :param release: the record of the live release as a mapping; None before the first.
    """
    record = release or {}
    facts = record.get("facts") or {}
    return {
        "site": site,
        "release": record.get("id"),
        "choices": {
            name: {"value": value, "reason": reason} for name, (value, reason) in record.get("choices", {}).items()
        },
        "replaced": facts.get("replaced", {}),
        "unused": facts.get("unused", []),
        "variables": variables(config, of_site, of_release),
        "project_files": list((config.get("secret_names") or {}).get("project_files", ())),
        "recorded": "replaced" in facts,
    }


def lines(told: Mapping[str, Any]) -> list[str]:
    """The same for a person."""
    found = [f"{told['site']}, release {told['release'] or 'none yet'}"]
    found += section("found in the project", [(n, c["value"], c["reason"]) for n, c in told["choices"].items()])
    replaced = [(name, each["value"] or "", each["reason"]) for name, each in told["replaced"].items()]
    found += section("replaced in the project's settings", replaced)
    if told["release"] and not told["recorded"]:
        found += ["", "what was replaced in the project's settings was not recorded yet: the next release will tell"]
    found += section("given, and used by nothing", [(name, "", reason) for name, reason in told["unused"]])
    given = told["variables"]
    found += section(
        "environment variables",
        [(name, MASK if each["secret"] else each["value"], each["origin"]) for name, each in given.items()],
    )
    found += section("files laid into the tree", [(path, "", "project_files") for path in told["project_files"]])
    return found


def section(title: str, rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """One part of the list: names in a column, and each value with its reason behind it."""
    if not rows:
        return []
    width = max(len(name) for name, _value, _reason in rows)
    found = ["", f"{title}:"]
    for name, value, reason in rows:
        text = value.replace("\r", "\\r").replace("\n", "\\n")
        found.append(f"  {name.ljust(width)}  {text + '  ' if text else ''}({reason})")
    return found


def new_replacements(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What a push tells: settings the release replaces in the project's that the live release did not.

    :param before: facts of the live release; empty when there is none.
    :param after: facts of the new one.
    """
    told = []
    if before and (places := another_database(before, after)):
        told.append(
            "the database is another one than the live release's, whose data stays behind: {} -> {}".format(*places)
        )
    for alias in elsewhere(before, after):
        was, is_now = another_database(before, after, alias) or ("", "")
        told.append(f"the database {alias} is another one than the live release's: {was} -> {is_now}")
    known, now = before.get("replaced", {}), after.get("replaced", {})
    grouped: dict[str, list[str]] = {}
    for name, each in now.items():
        if name not in known:
            grouped.setdefault(each["reason"], []).append(name)
    told += [f"set {', '.join(names)}: {reason}" for reason, names in grouped.items()]
    unused = {name for name, _reason in before.get("unused", ())}
    told += [f"{name} is given: {reason}" for name, reason in after.get("unused", ()) if name not in unused]
    gone = [name for name in known if name not in now]
    if gone:
        told.append(f"left to the project again: {', '.join(sorted(gone))}")
    return told


def elsewhere(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The databases besides `default` that the site names and that are not where they were; of two releases' facts."""
    return [alias for alias in after.get("further") or {} if another_database(before, after, alias)]


def another_database(
    before: Mapping[str, Any], after: Mapping[str, Any], alias: str = "default"
) -> tuple[str, str] | None:
    """Where a database was and is, when that is not the same place; by the facts of two releases."""

    def place(facts: Mapping[str, Any]) -> str:
        found = (facts.get("databases") or {}).get(alias) or {}
        kind = str(found.get("engine", "")).rpartition(".")[2].replace("postgis", "postgresql")
        parts = (kind, found.get("host", ""), found.get("port", ""), found.get("name", ""))
        return " ".join(part for part in parts if part)

    was, now = place(before), place(after)
    return (was, now) if was and now and was != now else None
