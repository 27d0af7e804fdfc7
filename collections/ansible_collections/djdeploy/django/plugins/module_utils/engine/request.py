# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doors ask the deployer for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import EngineError
from .push import RefUpdate, parse_update, push_options

DEPLOY, ROLLBACK, RESTORE, RECEIVE, PUSHED = "deploy", "rollback", "restore", "receive", "pushed"
RECOVER, MOVE = "recover", "move"
OPERATIONS = frozenset({DEPLOY, ROLLBACK, RESTORE, RECEIVE, PUSHED, RECOVER, MOVE})
GIT_OPERATIONS = frozenset({RECEIVE, PUSHED})
LONGEST_REQUEST = 1 << 20  # bytes; a push of a thousand refs takes a tenth of it


@dataclass(frozen=True)
class Request:
    """One request.

    :param op: `deploy` (bring the site to the wanted revision and configuration), `rollback`,
        `restore` (put a snapshot of the database back), `receive` (a push wants in: judge and prepare
        it), `pushed` (it is in: put it live), `move` (take the data to another
        database) or `recover` (mend what a killed run left; every operation does that first, so there is nothing
        more to it).
    :param door: `push`, `ansible` or `host`; for the journal.
    :param who: key name or unix user; for the journal and the lock.
    :param revision: what to deploy, or which release to go back to; None for what is configured.
    :param check: change nothing, answer with the plan.
    :param force: make a new release even if nothing differs.
    :param config: in a check, the site as it will be configured; the host does not know it yet.
    :param changed_files: in a check, files of the host that will be written before the release is made.
    :param updates: the pushed refs, as githooks(5) lists them.
    :param allow: classes of migrations this one release may run: `contract`, `blocking`.
    :param declared: `app.name` of a migration -> its class, where it cannot be judged from outside.
    :param plan: id of the plan that was agreed to; another one is refused.
    :param accept_loss: a rollback may lose what only the newer schema holds.
    :param empty_database: the data of the live release may stay behind in another database.
    :param quarantine: where the objects of a push lie that is not accepted yet.
    """

    op: str
    site: str
    door: str
    who: str
    revision: str | None = None
    check: bool = False
    force: bool = False
    config: dict[str, Any] | None = None
    changed_files: tuple[str, ...] = ()
    updates: tuple[RefUpdate, ...] = ()
    allow: tuple[str, ...] = ()
    declared: dict[str, str] = field(default_factory=dict)
    plan: str | None = None
    accept_loss: bool = False
    empty_database: bool = False
    quarantine: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Request:
        """:raises EngineError: for a key or an operation that is not known, and for refs as git never writes them."""
        unknown = set(data) - {item.name for item in fields(cls)}
        if unknown or data.get("op") not in OPERATIONS:
            raise EngineError(
                f"the deployer does not understand this request ({', '.join(sorted(unknown)) or data.get('op')})",
                "the caller is of another version than the engine on this host: run site.yml",
            )
        # The git user's side of the door may say anything, and a revision becomes part of a path.
        updates = tuple(parse_update("{old} {new} {ref}".format_map(update)) for update in data.get("updates", ()))
        changed_files = tuple(data.get("changed_files", ()))
        words = [f"allow={name}" for name in data.get("allow", ())]
        words += [f"declare={name}={kind}" for name, kind in dict(data.get("declared", {})).items()]
        allow, declared = push_options(words)
        given = {"updates": updates, "changed_files": changed_files, "allow": allow, "declared": declared}
        return cls(**{**data, **given})


def may_ask(request: Request, *, uid: int, git_uid: int | None) -> bool:
    """Root may ask for anything, the git door only for what a push does; nobody else for anything.

    A push brings no configuration (it names programs that run as root), and it is never a check
    (which no journal tells of).

    :param uid: of the process at the other end of the socket, told by the kernel (SO_PEERCRED, unix(7)).
    """
    if uid == 0:
        return True
    a_push = request.op in GIT_OPERATIONS and request.door == "push"
    harmless = not request.check and request.config is None and not request.empty_database
    return uid == git_uid and a_push and harmless
