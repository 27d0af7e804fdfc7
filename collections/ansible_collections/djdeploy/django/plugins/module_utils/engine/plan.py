# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release would change, as data and as text: the same for a pusher, a person, and Ansible's --diff.

Everything here is a function of data; `plan_facts.py` reads that data from the disk. No value of a setting
or of an environment variable ever comes here: only names, and digests to compare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from . import migrations as judging
from .git import COMMITS_TOLD

#: static path -> (bytes, digest)
StaticTree = Mapping[str, tuple[int, str]]
#: name -> keyed digest of its value
Digests = Mapping[str, str]

STATIC_NAMED = 40  # static files a plan names; the rest is counted
LISTED = 5  # entries of a list a pusher reads; the rest is counted
COLUMN = 12  # of the name in front of a line, as `events.rendered` has it
ID_LENGTH = 12


@dataclass(frozen=True)
class Plan:
    """What going live with one release changes. All of it is JSON.

    :param revision: `before` (None for a first release) and `after`, commits.
    :param commits: one line each, newest first, as git abbreviates them.
    :param packages: `name`, `before`, `after` of each that differs; None where there is none.
    :param migrations: each that is to be applied, in their order, as `migrations.Judged.as_dict` has it.
    :param static: how many files are `added`, `removed` and `changed`, the `bytes` of those that are new or
        changed, and `names` of the first ones, each behind `+`, `-` or `~`.
    :param settings: names of Django settings that are `added`, `removed` and `changed`.
    :param environment: the same of environment variables.
    :param configuration: keys of the site's configuration that differ from the live release's.
    :param processes: those that are started anew, by name.
    :param snapshot: `taken`, `why` not, and `bytes` as estimated.
    :param downtime: whether it is `expected`, and `why`: the migrations that need the maintenance page.
    :param refused: the migrations that keep the release from going live; empty when it may.
    """

    revision: dict[str, str | None]
    commits: list[str]
    packages: list[dict[str, str | None]]
    migrations: list[dict[str, Any]]
    static: dict[str, Any]
    settings: dict[str, list[str]]
    environment: dict[str, list[str]]
    configuration: list[str]
    processes: list[str]
    snapshot: dict[str, Any]
    downtime: dict[str, Any]
    refused: list[str]

    @property
    def plan_id(self) -> str:
        """Twelve hexadecimal digits that stand for what is agreed to by saying yes to this plan.

        Estimates are no part of it (sizes and row counts move by themselves), nor is what follows from
        the two revisions: two people who ask at different times get the same.
        """
        agreed = {
            "revision": self.revision,
            "packages": self.packages,
            "migrations": [[item["name"], item["kind"], item["atomic"], item["sql"]] for item in self.migrations],
            "static": [self.static[name] for name in ("added", "removed", "changed", "names")],
            "settings": self.settings,
            "environment": self.environment,
            "configuration": self.configuration,
            "processes": self.processes,
            "snapshot": self.snapshot["taken"],
            "downtime": self.downtime["expected"],
            "refused": bool(self.refused),
        }
        canonical = json.dumps(agreed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:ID_LENGTH]

    def as_dict(self) -> dict[str, Any]:
        """All of it and its `id`, for a record, a result event and a module's return value."""
        return {"id": self.plan_id, **asdict(self)}

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Plan:
        """The plan of an `as_dict`."""
        return cls(**{item.name: data[item.name] for item in fields(cls)})


def compute(
    *,
    revision_before: str | None,
    revision_after: str,
    commits: Sequence[str],
    packages_before: Mapping[str, str],
    packages_after: Mapping[str, str],
    migrations: Sequence[Mapping[str, Any]],
    static_before: StaticTree | None,
    static_after: StaticTree,
    settings_before: Digests | None,
    settings_after: Digests,
    environment_before: Digests | None,
    environment_after: Digests,
    configuration_changed: Iterable[str],
    processes: Iterable[str],
    snapshot: bool | str,
    snapshot_bytes: int = 0,
    snapshot_of: Sequence[str] = (),
    allow: Iterable[str] = (),
) -> Plan:
    """The plan of going from what is live to a release that was built.

    What is not known of the live release (an older engine made it) is None, and then nothing is told as
    a difference. Before a first release everything that has no sense as one is None, too.

    :param revision_before: commit that is live; None before the first release.
    :param revision_after: commit of the new release.
    :param commits: `Repository.commits_between` the two.
    :param packages_before: name -> version in the live virtualenv; empty when nothing is live.
    :param packages_after: the same of the new one.
    :param migrations: those to be applied, in their order, each as `migrations.Judged.as_dict` has it.
    :param static_before: `plan_facts.static_trees` gives this one and the next; empty when nothing is live.
    :param static_after: relative path -> (bytes, digest) of the collected files.
    :param settings_before: `settings` of the agent's step `settings_digest`, as the live release's record keeps it.
    :param settings_after: the same of the new release; made with the same salt.
    :param environment_before: `plan_facts.environment_digests` of the variables the live release started with,
        without those that name the release itself.
    :param environment_after: the same of those the new one gets.
    :param configuration_changed: keys of the site's configuration that differ.
    :param processes: names of the site's processes (`web`, `worker`): not units, whose names hold the release's.
    :param snapshot: True when one is made before the migrations, or why none is; False where none is needed.
    :param snapshot_bytes: estimate of its size.
    :param snapshot_of: aliases of the databases it is of, where the site names several.
    :param allow: classes of migrations this release may run, from the request and the site together.
    """
    # Without a live release there is no old code that a migration could break.
    gate = judging.gate(judged(migrations), set(allow)) if revision_before else judging.Gate()
    refused = [one.name for one in gate.refused]
    closing = [one["name"] for one in migrations if one["kind"] != judging.ADDITIVE and one["name"] not in refused]
    return Plan(
        revision={"before": revision_before, "after": revision_after},
        commits=list(commits),
        packages=package_changes(packages_before, packages_after),
        migrations=[dict(one) for one in migrations],
        static=static_changes(static_before, static_after),
        settings=name_changes(settings_before, settings_after),
        environment=name_changes(environment_before, environment_after),
        configuration=sorted(configuration_changed),
        processes=list(processes),
        snapshot={
            "taken": snapshot is True,
            "why": snapshot if isinstance(snapshot, str) else "",
            "bytes": snapshot_bytes if snapshot is True else 0,
            **({"databases": list(snapshot_of)} if snapshot is True and snapshot_of else {}),
        },
        downtime={"expected": bool(closing) and gate.maintenance, "why": closing if gate.maintenance else []},
        refused=refused,
    )


def judged(migrations: Iterable[Mapping[str, Any]]) -> list[judging.Judged]:
    """Judged migrations of their `as_dict`."""
    return [
        judging.Judged(
            **{
                **one,
                "reasons": tuple(judging.Reason(**reason) for reason in one["reasons"]),
                "sql": tuple(one["sql"]),
            }
        )
        for one in migrations
    ]


# --- What differs ----------------------------------------------------------------------------------------------


def package_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[dict[str, str | None]]:
    """Each package that comes, goes or changes, by name."""
    return [
        {"name": name, "before": before.get(name), "after": after.get(name)}
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def static_changes(before: StaticTree | None, after: StaticTree) -> dict[str, Any]:
    """Counts of the files that come, go or change, and the names of the first ones."""
    before = after if before is None else before
    marks = {
        **dict.fromkeys(after.keys() - before.keys(), "+"),
        **dict.fromkeys(before.keys() - after.keys(), "-"),
        **{name: "~" for name in before.keys() & after.keys() if before[name] != after[name]},
    }
    found = list(marks.values())
    return {
        "added": found.count("+"),
        "removed": found.count("-"),
        "changed": found.count("~"),
        "bytes": sum(after[name][0] for name, mark in marks.items() if mark != "-"),
        "names": [f"{marks[name]} {name}" for name in sorted(marks)[:STATIC_NAMED]],
    }


def name_changes(before: Digests | None, after: Digests) -> dict[str, list[str]]:
    """Names that come, go or stand for another value; none when the earlier ones are not known."""
    known = after if before is None else before
    return {
        "added": sorted(after.keys() - known.keys()),
        "removed": sorted(known.keys() - after.keys()),
        "changed": sorted(name for name in known.keys() & after.keys() if known[name] != after[name]),
    }


# --- For people ------------------------------------------------------------------------------------------------


def lines(plan: Plan, *, whole: bool = False) -> list[str]:
    """What a person reads before the work starts: one line that tells all, then what deserves a line.

    :param whole: everything with its SQL, nothing cut short: for somebody who asked for the plan alone.
    """
    told = [row("plan", summary(plan))]
    if whole:
        told += [row("commit", line) for line in plan.commits]
    told += migration_rows(plan, whole)
    told += list_rows("package", [package_line(item) for item in plan.packages], whole)
    if whole:
        told += [row("static", line) for line in (*plan.static["names"], *unnamed(plan))]
    told += list_rows("setting", marked(plan.settings), whole)
    told += list_rows("environment", marked(plan.environment), whole)
    told += list_rows("site", [f"~ {name}" for name in plan.configuration], whole)
    if whole and plan.processes:
        told.append(row("restart", ", ".join(plan.processes)))
    told += [row("snapshot", line) for line in snapshot_lines(plan)]
    if plan.downtime["expected"]:
        told.append(row("downtime", f"maintenance page during {listed(plan.downtime['why'], whole)}"))
    if plan.refused:
        told.append(row("refused", listed(plan.refused, whole)))
    return told


def migration_rows(plan: Plan, whole: bool) -> list[str]:
    """Each migration with its SQL, or else only those with a line of their own that somebody should look at."""
    if whole:
        told = []
        for item in plan.migrations:
            told.append(row("migration", migration_line(item)))
            told += [f"{'':<{COLUMN}}  {line}" for line in (*other_reasons(item), *sql_lines(item))]
        return told
    plain = [item["name"] for item in plan.migrations if item["kind"] == judging.ADDITIVE]
    others = [migration_line(item) for item in plan.migrations if item["kind"] != judging.ADDITIVE]
    told = [row("migration", line) for line in (*others[:LISTED], *rest_of(others))]
    return told + list_rows("migration", plain, whole)


def summary(plan: Plan) -> str:
    """All of a plan in one line: `3 commits, 1 migration (additive), 2 packages, 4 static files, no downtime`."""
    before, after = plan.revision["before"], plan.revision["after"]
    parts = []
    if before is None:
        parts.append("first release")
    elif before == after:
        parts.append("same commit")
    elif plan.commits:
        more = " or more" if len(plan.commits) == COMMITS_TOLD else ""
        parts.append(f"{len(plan.commits)}{more} commit{'' if len(plan.commits) == 1 else 's'}")
    else:
        parts.append("back to an earlier commit")
    if plan.migrations:
        kinds = sorted({item["kind"] for item in plan.migrations})
        parts.append(f"{counted(len(plan.migrations), 'migration')} ({', '.join(kinds)})")
    for number, name in (
        (len(plan.packages), "package"),
        (static_total(plan), "static file"),
        (len(marked(plan.settings)), "setting"),
        (len(marked(plan.environment)), "environment variable"),
        (len(plan.configuration), "site option"),
    ):
        if number:
            parts.append(counted(number, name))
    if plan.refused:
        parts.append("refused")
    else:
        parts.append("maintenance page during the migrations" if plan.downtime["expected"] else "no downtime")
    return ", ".join(parts)


def diff_texts(plan: Plan) -> tuple[str, str]:
    """The two texts Ansible's --diff compares: every line that differs is a change, and no change is without one."""
    before, after = [f"revision: {plan.revision['before'] or 'none'}"], [f"revision: {plan.revision['after']}"]
    after += [f"commit: {line}" for line in plan.commits]
    for item in plan.migrations:
        after.append(f"migration: {migration_line(item)}")
        after += [f"    {line}" for line in (*other_reasons(item), *sql_lines(item))]
    for package in plan.packages:
        for side, version in ((before, package["before"]), (after, package["after"])):
            if version is not None:
                side.append(f"package: {package['name']} {version}")
    for entry in plan.static["names"]:
        one_sided(before, after, "static file", entry)
    after += [f"static file: {line}" for line in unnamed(plan)]
    for title, entries in (
        ("setting", marked(plan.settings)),
        ("environment", marked(plan.environment)),
        ("site option", [f"~ {name}" for name in plan.configuration]),
    ):
        for entry in entries:
            one_sided(before, after, title, entry)
    after += [f"restart: {name}" for name in plan.processes]
    after += [f"snapshot: {line}" for line in snapshot_lines(plan)]
    after += [f"maintenance page: during {name}" for name in plan.downtime["why"]]
    after += [f"refused: {name}" for name in plan.refused]
    after.append(f"plan: {plan.plan_id}")
    return "\n".join(before) + "\n", "\n".join(after) + "\n"


def one_sided(before: list[str], after: list[str], title: str, entry: str) -> None:
    """Put a `+`, `-` or `~` entry on the side, or the sides, of a diff where it is."""
    mark, name = entry.split(" ", 1)
    if mark != "+":
        before.append(f"{title}: {name}{' (as it is)' if mark == '~' else ''}")
    if mark != "-":
        after.append(f"{title}: {name}{' (changed)' if mark == '~' else ''}")


def migration_line(item: Mapping[str, Any]) -> str:
    """`catalog.0004_drop_price (contract): Remove field price from product: the live release reads it`."""
    return ": ".join([f"{item['name']} ({item['kind']})", *reason_lines(item)[:1]])


def reason_lines(item: Mapping[str, Any]) -> list[str]:
    """Why a migration has its class, the heaviest reason first."""
    return [
        reason["why"] if reason["operation"] == item["name"] else f"{reason['operation']}: {reason['why']}"
        for reason in item["reasons"]
    ]


def other_reasons(item: Mapping[str, Any]) -> list[str]:
    return [f"also {line}" for line in reason_lines(item)[1:]]


def sql_lines(item: Mapping[str, Any]) -> list[str]:
    return [line for statement in item["sql"] for line in statement.splitlines()]


def package_line(item: Mapping[str, str | None]) -> str:
    """`+ name 1.2`, `- name 1.1` or `name 1.1 -> 1.2`."""
    name, before, after = item["name"], item["before"], item["after"]
    if before is None:
        return f"+ {name} {after}"
    return f"- {name} {before}" if after is None else f"~ {name} {before} -> {after}"


def marked(changes: Mapping[str, Sequence[str]]) -> list[str]:
    """`+ NAME`, `- NAME` and `~ NAME` of all that differ, by name."""
    signs = {"added": "+", "removed": "-", "changed": "~"}
    entries = [(name, sign) for kind, sign in signs.items() for name in changes[kind]]
    return [f"{sign} {name}" for name, sign in sorted(entries)]


def row(name: str, text: str) -> str:
    return f"{name:<{COLUMN}}{text}"


def list_rows(name: str, entries: Sequence[str], whole: bool) -> list[str]:
    """A list of short entries: a line for each, or one line with the first of them."""
    if whole:
        return [row(name, entry) for entry in entries]
    return [row(name, listed(entries, whole))] if entries else []


def listed(entries: Sequence[str], whole: bool) -> str:
    return ", ".join(entries if whole else [*entries[:LISTED], *rest_of(entries)])


def rest_of(entries: Sequence[Any]) -> list[str]:
    """What is said of the entries a list has no place for."""
    return [f"and {len(entries) - LISTED} more"] if len(entries) > LISTED else []


def snapshot_lines(plan: Plan) -> list[str]:
    """Whether the database is copied first; nothing where there is nothing to copy it for."""
    if plan.snapshot["taken"]:
        size = f", about {size_text(plan.snapshot['bytes'])}" if plan.snapshot["bytes"] else ""
        if several := plan.snapshot.get("databases"):
            return [f"of {', '.join(several)}, before the migrations{size}"]
        return [f"of the database, before the migrations{size}"]
    return [f"none: {plan.snapshot['why']}"] if plan.snapshot["why"] and plan.migrations else []


def static_total(plan: Plan) -> int:
    return int(plan.static["added"] + plan.static["removed"] + plan.static["changed"])


def unnamed(plan: Plan) -> list[str]:
    """What is said of the static files that a plan counts and does not name."""
    more = static_total(plan) - len(plan.static["names"])
    return [f"and {more} more"] if more else []


def counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def size_text(size: float) -> str:
    """Bytes for people: `980 bytes`, `12.4 MB`."""
    if size < 1000:
        return f"{int(size)} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000 or unit == "GB":
            break
    return f"{size:.1f} {unit}"
