# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent's steps give back, and what goes wrong in them, in words a person can act on."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

LISTED = 50  # files named in a diff; the rest is counted
STARTED_WITH = os.environ.get("DJANGO_SETTINGS_MODULE")  # read before any code of the project ran

# What SQLite says (sqlite3_errstr), and what is meant.
OF_SQLITE = {
    "database is locked": (
        "is locked: another process writes into it",
        "run it again when that has ended, or let Django wait longer: `timeout` in OPTIONS of DATABASES",
    ),
    "file is not a database": ("is a file of another kind", "see what NAME of DATABASES points to"),
}

Request = dict[str, Any]
Outcome = dict[str, Any]


class Failure(Exception):
    """A step that cannot succeed, in words a person can act on.

    :param kind: import_error, settings, database, check, migration, static, user, command, file or request.
    :param detail: replaces the traceback where that would tell nothing.
    :param facts: what is known all the same, for example which migrations were applied.
    """

    def __init__(self, kind: str, message: str, hint: str = "", detail: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.detail = detail
        self.facts = facts


def outcome(
    changed: bool, before: Any = None, after: Any = None, *, old: str = "", new: str = "", **facts: Any
) -> Outcome:
    """What a step returns: `old` and `new` are the two sides of the diff a person reads."""
    return {
        "changed": changed,
        "before": before,
        "after": after,
        "diff": {"before": old, "after": new},
        "facts": facts,
    }


def frames_of(error: BaseException) -> list[Any]:
    """The frames an exception went through, innermost first."""
    return [frame for frame, _line in traceback.walk_tb(error.__traceback__)][::-1]


def foreign(file: str) -> bool:
    """Whether a file belongs to Python, to Django or to this program: not a place to mend anything."""
    django = getattr(sys.modules.get("django"), "__file__", None) or os.__file__
    own = (os.path.dirname(os.__file__), os.path.dirname(django))
    return file.startswith("<") or (file.startswith(own) and "-packages" not in file.replace(own[1], ""))


def shortened(file: str | None) -> str:
    """A path as the project knows it."""
    here = os.getcwd() + os.sep
    return (file or "?").removeprefix(here)


def culprit(error: BaseException, *, packages: bool = True) -> str:
    """`file line n` of the innermost code of the project or its packages; empty when there is none.

    :param packages: whether a package of the virtualenv may be it.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shortened(error.filename)} line {error.lineno}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if not foreign(file) and (packages or "-packages" not in file):
            return f"{shortened(frame.f_code.co_filename)} line {line}"
    return ""


def first_line(error: BaseException) -> str:
    """What an exception says first, and what follows if that only announces it."""
    first, *rest = (str(error).strip() or type(error).__name__).splitlines()
    return f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first


def connecting(error: BaseException) -> Any:
    """The database connection that could not be opened, if that is what went wrong."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if not names & {"OperationalError", "InterfaceError"}:
        return None
    opened = False
    for frame in frames_of(error):
        opened = opened or frame.f_code.co_name in ("connect", "get_new_connection")
        wrapper = frame.f_locals.get("self")
        if opened and hasattr(wrapper, "settings_dict"):
            return wrapper
    return None


def asking(error: BaseException) -> Any:
    """The database connection an exception went through; None when it went through none."""
    for frame in frames_of(error):
        own = frame.f_locals.get("self")
        for wrapper in (own, getattr(own, "db", None), getattr(own, "connection", None)):
            if hasattr(wrapper, "settings_dict"):
                return wrapper
    return None


def database_of(wrapper: Any) -> str:
    """A database as its settings know it."""
    if wrapper is None:
        return "the database"
    options = wrapper.settings_dict
    place = f" at {options['HOST']}:{options['PORT'] or '(default port)'}" if options.get("HOST") else ""
    return f"the database {wrapper.alias!r} ({wrapper.vendor} {str(options.get('NAME') or '')!r}{place})"


def explained(error: BaseException, step: str) -> Failure:
    """Say in one line what is wrong and where to mend it."""
    if isinstance(error, Failure):
        return error
    names = {kind.__name__ for kind in type(error).__mro__}
    where, line = culprit(error), first_line(error)
    at = f" ({where})" if where else ""
    if isinstance(error, SyntaxError):
        return Failure("import_error", f"syntax error in {where}: {error.msg}", "mend that file")
    if isinstance(error, ImportError):
        return unimportable(error, where)
    wrapper = connecting(error)
    if wrapper is not None:
        hint = "see that the server runs, listens there and knows this user and database"
        if wrapper.vendor == "sqlite":
            hint = "see that its directory is there, and that the user of the project may write in it"
        return Failure("database", f"{database_of(wrapper)} cannot be reached: {line}", hint)
    if "DatabaseError" in names and line in OF_SQLITE:
        return Failure("database", f"{database_of(asking(error))} {OF_SQLITE[line][0]}", OF_SQLITE[line][1])
    if not_given := not_set(error):
        return not_given
    if "ImproperlyConfigured" in names:
        if line.startswith("Error loading"):
            hint = "add the database driver to the project's requirements (psycopg[binary] for PostgreSQL, mysqlclient)"
            return Failure("settings", line, hint)
        return Failure("settings", line + at, "mend the project's settings or the environment they read")
    if "CircularDependencyError" in names:
        line = f"these migrations depend on one another: {line}"
    if names & {"InconsistentMigrationHistory", "NodeNotFoundError", "BadMigrationError", "CircularDependencyError"}:
        return Failure("migration", line, "mend the dependencies of the project's migrations")
    if isinstance(error, EOFError) and step == "setup":
        return Failure(
            "settings", f"the settings ask a question that nobody answers{at}", "let them read the environment"
        )
    if isinstance(error, SystemExit):
        return Failure("command", f"the project's code ended Python with status {error.code!r}{at}")
    kind = {"collectstatic": "static", "superuser": "user", "migrate": "migration", "setup": "settings", "seed": "file"}
    plain = line if "CommandError" in names else f"{type(error).__name__}: {line}"
    if error.__cause__ is not None and step == "setup" and str(error.__cause__) not in line:
        plain += f": {first_line(error.__cause__)}"
    return Failure(
        kind.get(step, step), plain + at, not_permitted(error, os.environ) or not_permitted(error.__cause__, os.environ)
    )


def not_permitted(error: BaseException | None, environ: Mapping[str, str]) -> str:
    """What to do when the kernel keeps a path from the project; empty when it is something else that is wrong."""
    if not isinstance(error, OSError) or error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ""
    if not isinstance(error.filename, str):
        return ""
    path = os.path.abspath(error.filename)
    if os.path.isfile(path) and not os.access(path, os.R_OK):
        return f"let the user who runs the project read {path}"
    if environ.get("DJDEPLOY_RELEASE"):
        home = environ.get("HOME", "")
        return f"a release is read-only: let the settings name a path below {home} for it (HOME in the environment)"
    return f"let the user who runs the project write {path}, or name another path in the settings"


def not_set(error: BaseException) -> Failure | None:
    """A variable of the environment that is missing, and those the same settings will miss next."""
    from .agent_variables import absent, named  # compiled only when something failed

    variable = named(error)
    if not variable:
        return None
    where = culprit(error, packages=False) or culprit(error)
    texts = []
    for file in dict.fromkeys(frame.f_code.co_filename for frame in frames_of(error)):
        if not foreign(file) and "-packages" not in file and os.path.isfile(file):
            with open(file, encoding="utf-8", errors="replace") as code:
                texts.append(code.read())
    others = absent(variable, texts, os.environ)
    them = f"it, and {', '.join(others)}, which nobody sets either," if others else "it"
    return Failure(
        "settings",
        f"the environment variable {variable} is not set{f' ({where})' if where else ''}",
        f"give {them} under `env` or `secrets` of the site, to a project in `environment` or `env_file`",
    )


def unimportable(error: ImportError, where: str) -> Failure:
    """A failed import: who asked for it, and what would provide it."""
    settings_module = STARTED_WITH or ""
    line = first_line(error)
    if where:
        package = (error.name or "").split(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and package not in sys.modules
        from .agent_imports import advice  # compiled only when it is needed

        provider = None if absent else getattr(sys.modules.get(error.name or ""), "__file__", None)
        hint = advice(package, absent=absent, asked_by=where.rpartition(" line ")[0], provider=provider)
        return Failure("import_error", f"{line}, imported by {where}", hint)
    if error.name and f"{settings_module}.".startswith(f"{error.name}."):
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path[:4])
        return Failure(
            "settings",
            f"the settings module {settings_module!r} is not there: {line}",
            f"give the dotted path of the project's settings under `settings`; looked in {path}",
        )
    for frame in frames_of(error):
        if frame.f_code.co_name == "create" and "entry" in frame.f_locals:
            return Failure(
                "import_error",
                f"{line}, named {frame.f_locals['entry']!r} in INSTALLED_APPS of {settings_module}",
                "add its package to the project's requirements, or mend INSTALLED_APPS",
            )
    return Failure(
        "import_error", f"{line}, named by a setting of {settings_module}", "mend that setting or the requirements"
    )


# --- What several steps say alike ------------------------------------------------------------------------------


def text_or_none(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def listing(names: list[str]) -> str:
    text = "".join(f"{name}\n" for name in names[:LISTED])
    return text + (f"... and {len(names) - LISTED} more\n" if len(names) > LISTED else "")


def lines_of(state: dict[str, Any] | None) -> str:
    return "".join(f"{name}: {value}\n" for name, value in (state or {}).items())
