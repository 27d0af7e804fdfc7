# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function  # a program: it prints and exits; Ansible forbids that to modules
"""What runs inside the project: manage.py work in one Django process, told as data.

The engine sends the text of this file and of the other `agent_*.py` to the Python of the project's
virtualenv (`steps.py`), as the site's user and with the site's settings. So they stand alone:
standard library, Django and each other only, Python 3.10 or newer, Django 4.2 or newer.

It reads one line of JSON from standard input::

    {"steps": [{"name": "check"}, {"name": "migrate", "database": "default"}], "check": false}

and writes one line of JSON per event to what was its standard output::

    {"event": "ready", "seconds": 0.2}              Django is set up
    {"event": "start", "step": "migrate"}
    {"event": "step", "name": "migrate", "changed": true, "before": ..., "after": ...,
     "diff": {"before": "", "after": ""}, "stdout": "", "stderr": "", "seconds": 0.4, "facts": {}}
    {"event": "error", "step": "migrate", "kind": "migration", "message": "...", "hint": "...",
     "traceback": "...", "stdout": "", "stderr": "", "facts": {}}       the last one, if any
    {"event": "end"}                                                    only after success

With `"check": true` nothing is changed and every step tells what it would have done.
"""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import atexit
import errno
import io
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from .agent_databases import connection
from .agent_migrations import connection_for, migrate
from .agent_rollback import migration_state, unapply
from .agent_settings import settings_digest
from .agent_words import STARTED_WITH, Failure, Outcome, Request, culprit, explained, foreign, outcome, shortened

OLDEST_PYTHON = (3, 10)
LISTED = 50  # files named in a diff; the rest is counted
LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
HIDDEN = "********"
PROSE = {"message", "hint", "traceback", "stdout", "stderr", "diff"}  # parts of an event written for people
SHORTEST_SECRET = 8  # characters; hiding shorter ones would garble ordinary words


# --- Steps: each takes its request and whether only to predict, and returns an outcome -------------------------


def describe(request: Request, predict: bool) -> Outcome:
    """What the deployer has to know of a project, asked of Django instead of the user."""
    import django
    from django.apps import apps
    from django.conf import settings
    from django.db.migrations.loader import MigrationLoader

    migrations: dict[str, list[str]] = {}
    for app, name in sorted(MigrationLoader(None, ignore_no_migrations=True).graph.leaf_nodes()):
        migrations.setdefault(app, []).append(name)
    return outcome(
        False,
        python=".".join(str(part) for part in sys.version_info[:3]),
        django=django.get_version(),
        settings=os.environ["DJANGO_SETTINGS_MODULE"],
        debug=bool(settings.DEBUG),
        allowed_hosts=list(settings.ALLOWED_HOSTS),
        staticfiles=apps.is_installed("django.contrib.staticfiles"),
        static_url=text_or_none(settings.STATIC_URL),
        static_root=text_or_none(settings.STATIC_ROOT),
        static_storage=settings.STORAGES.get("staticfiles", {}).get("BACKEND"),
        # Of an empty MEDIA_URL Django makes "/" as soon as it has a script prefix.
        media_url=text_or_none(settings._wrapped.MEDIA_URL and settings.MEDIA_URL),
        media_root=text_or_none(settings.MEDIA_ROOT),
        wsgi_application=text_or_none(settings.WSGI_APPLICATION),
        asgi_application=text_or_none(getattr(settings, "ASGI_APPLICATION", None)),
        user_model=settings.AUTH_USER_MODEL,
        databases={
            alias: {key.lower(): str(database.get(key) or "") for key in ("ENGINE", "NAME", "HOST", "PORT")}
            for alias, database in settings.DATABASES.items()
        },
        installed_apps=len(settings.INSTALLED_APPS),
        migrations=migrations,
    )


def check(request: Request, predict: bool) -> Outcome:
    """Django's system checks. Messages below `fail_level` are returned, never fatal."""
    from django.core import checks

    deploy, tags = bool(request.get("deploy")), request.get("tags") or None
    unknown = [tag for tag in tags or [] if not checks.tag_exists(tag, deploy)]
    if unknown:
        raise Failure("request", f"there is no system check with the tag {unknown[0]!r}")
    found = checks.run_checks(tags=tags, include_deployment_checks=deploy, databases=request.get("databases") or None)
    shown = sorted((message for message in found if not message.is_silenced()), key=lambda message: -message.level)
    messages = [
        {
            "level": LEVELS.get(message.level, str(message.level)),
            "id": message.id or "",
            "message": str(message.msg),
            "hint": str(message.hint or ""),
            "object": named(message.obj),
        }
        for message in shown
    ]
    fail_level = request.get("fail_level") or "ERROR"
    fatal = [message for message in shown if message.level >= getattr(checks, fail_level)]
    if fatal:
        first = str(fatal[0]).splitlines()[0]
        more = f" (and {len(fatal) - 1} more)" if len(fatal) > 1 else ""
        raise Failure(
            "check",
            f"the system check fails: {first}{more}",
            str(fatal[0].hint or "") or "run `manage.py check` in the project and mend what it names",
            "\n".join(str(message) for message in shown),
            messages=messages,
        )
    counts = {level: sum(message["level"] == level for message in messages) for level in LEVELS.values()}
    return outcome(False, messages=messages, counts=counts, silenced=len(found) - len(shown), fail_level=fail_level)


def application(request: Request, predict: bool) -> Outcome:
    """Import the WSGI or ASGI callable the way gunicorn does, and see that it keeps the site's settings."""
    import ast
    import importlib

    path = request["path"]
    module_name, _colon, expression = path.partition(":")
    mend = "set `application: package.module:callable` of the site to what gunicorn shall run"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if f"{module_name}.".startswith(f"{error.name}.") and not culprit(error):
            raise Failure("import_error", f"the application {path!r} is not there: {error}", mend) from error
        raise
    file = getattr(module, "__file__", None)
    try:
        node = ast.parse(expression or "application", mode="eval").body
        call = node if isinstance(node, ast.Call) else None
        name = ast.unparse(call.func if call else node)
        words = [ast.literal_eval(value) for value in call.args] if call else []
        options = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords} if call else {}
    except (SyntaxError, ValueError) as error:
        raise Failure("request", f"the application {path!r} is not of the form package.module:name", mend) from error
    if not hasattr(module, name):
        raise Failure("import_error", f"{shortened(file) if file else module_name} has no {name!r}", mend)
    found = getattr(module, name)
    if call:
        found = found(*words, **options)
    if not callable(found):
        raise Failure("import_error", f"{path} is a {type(found).__name__}, nothing gunicorn can call", mend)
    refuse_other_settings(module)
    return outcome(False, path=path, file=file, interface=interface_of(found))


def collectstatic(request: Request, predict: bool) -> Outcome:
    """Collect static files; the numbers are lengths of Django's own lists, never read from text."""
    from django.apps import apps
    from django.core.management import call_command, get_commands, load_command_class

    if not apps.is_installed("django.contrib.staticfiles"):
        return outcome(
            False, copied=0, unmodified=0, deleted=0, post_processed=0,
            reason="django.contrib.staticfiles is not in INSTALLED_APPS",
        )  # fmt: skip
    owner = get_commands()["collectstatic"]
    command = load_command_class(owner, "collectstatic") if isinstance(owner, str) else owner
    clear = bool(request.get("clear"))
    deleted = sorted(stored_files(command.storage)) if clear else []
    call_command(
        command,
        interactive=False,
        dry_run=predict,
        clear=clear,
        link=bool(request.get("link")),
        ignore_patterns=list(request.get("ignore") or []),
        verbosity=0,
    )
    copied = sorted(command.copied_files + command.symlinked_files)
    if predict and clear:  # a dry run compares with files that would be gone by then
        copied = sorted({*copied, *command.unmodified_files})
    unmodified = 0 if clear else len(command.unmodified_files)
    # Django's dry run does not post-process, so a prediction has no number for it.
    processed = None if predict and hasattr(command.storage, "post_process") else len(command.post_processed_files)
    return outcome(
        bool(copied or deleted),
        {"current": unmodified, "outdated": len(copied), "surplus": len(deleted)},
        {"current": unmodified + len(copied), "outdated": 0, "surplus": 0},
        old=listing(deleted),
        new=listing(copied),
        copied=len(copied),
        unmodified=unmodified,
        deleted=len(deleted),
        post_processed=processed,
    )


def superuser(request: Request, predict: bool) -> Outcome:
    """See that one superuser exists and can log in; a password is set, never read back."""
    from django.apps import apps
    from django.contrib.auth.hashers import check_password
    from django.db import transaction

    if not apps.is_installed("django.contrib.auth"):
        raise Failure("settings", "django.contrib.auth is not in INSTALLED_APPS: there are no users to create")
    from django.contrib.auth import get_user_model

    model, connection = get_user_model(), connection_for(request, predict)
    wanted = wanted_user(model, request)
    password, username = request.get("password"), wanted[model.USERNAME_FIELD]
    manager = model._default_manager.db_manager(connection.alias)
    migrated = model._meta.db_table in connection.introspection.table_names()
    if not migrated and not predict:
        raise Failure("database", f"the table {model._meta.db_table!r} does not exist yet", "run `migrate` first")
    user = manager.filter(**{model.USERNAME_FIELD: username}).first() if migrated else None
    state = {name: getattr(user, name) for name in wanted} if user else None
    facts = {"username": username, "database": connection.alias, "created": user is None}
    if user is None:
        required = [model._meta.get_field(name) for name in model.REQUIRED_FIELDS]
        missing = [
            field.name for field in required if field.attname not in wanted and not (field.blank or field.has_default())
        ]
        if missing:
            raise Failure(
                "user", f"{model._meta.label} needs {', '.join(missing)}", "give it under `fields` (or `email`)"
            )
        new_password = password is not None
        if not predict:
            given = {name: value for name, value in wanted.items() if not name.startswith("is_")}
            with transaction.atomic(using=connection.alias):
                user = manager.create_superuser(**given, password=password)
                update_user(user, wanted)
    else:
        new_password = (
            password is not None
            and request.get("update_password") == "always"
            # The hasher itself, not user.check_password(): that one may save a newer hash on the way.
            and not check_password(password, user.password)
        )
        if not predict:
            if new_password:
                user.set_password(password)
            update_user(user, wanted, ["password"] if new_password else [])
    after = wanted if predict or user is None else {name: getattr(user, name) for name in wanted}
    old = lines_of(state) + ("password: (the old one)\n" if new_password and state else "")
    new = lines_of(after) + ("password: (the given one)\n" if new_password else "")
    return outcome(
        state != after or new_password, state, after, old=old, new=new, password_changed=new_password, **facts
    )


def command(request: Request, predict: bool) -> Outcome:
    """Any manage.py command, with the words and the exit status manage.py would have."""
    from django.core.management import ManagementUtility

    argv = [str(word) for word in request["argv"]]
    if not argv:
        raise Failure("request", "no manage.py command was given")
    for word in argv:
        if word.split("=")[0] in ("--settings", "--pythonpath"):
            raise Failure("request", f"{word} comes too late: Django is already set up", "use the option of that name")
    changed = not request.get("read_only")
    if predict and changed:
        return outcome(True, argv=argv, rc=None, reason="not run in check mode")
    rc = 0
    try:
        ManagementUtility(["manage.py", *argv]).fetch_command(argv[0]).run_from_argv(["manage.py", *argv])
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        rc = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    if rc:
        raise Failure("command", f"manage.py {argv[0]} ended with status {rc}", argv=argv, rc=rc)
    return outcome(changed, argv=argv, rc=rc)


def seed(request: Request, predict: bool) -> Outcome:
    """Carry data of the tree to where it outlives a release, once: what holds anything already is never touched.

    Without `files` it is what the generated settings moved out of the release.
    """
    from django.conf import settings

    files = request.get("files")
    if files is None:
        files = getattr(settings, "DJDEPLOY_RELOCATED", [])
    wanted = [(source, target) for source, target in files if os.path.exists(source)]
    made = [target for source, target in wanted if is_vacant(target) and (predict or plant(source, target))]
    return outcome(
        bool(made),
        {"missing": len(made)},
        {"missing": 0},
        new=listing(made),
        seeded=made,
        kept=[target for _source, target in wanted if target not in made],
        absent=[source for source, _target in files if not os.path.exists(source)],
    )


STEPS: dict[str, Callable[[Request, bool], Outcome]] = {
    step.__name__: step
    for step in (
        describe,
        check,
        application,
        migrate,
        migration_state,
        connection,
        unapply,
        collectstatic,
        superuser,
        command,
        seed,
        settings_digest,
    )
}


# --- What the steps ask Django ---------------------------------------------------------------------------------


def text_or_none(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def named(thing: Any) -> str:
    """The object of a system check as a person knows it: `shop.Order` rather than a class's repr."""
    meta = getattr(thing, "_meta", None)
    return "" if thing is None else str(getattr(meta, "label", thing))


def interface_of(found: Any) -> str:
    """`asgi` or `wsgi`: decides which worker serves the application."""
    import inspect

    method = inspect.getattr_static(type(found), "__call__", None)  # a class without one is called as a whole
    return "asgi" if any(map(inspect.iscoroutinefunction, (found, method))) else "wsgi"


def refuse_other_settings(module: Any) -> None:
    """Under gunicorn this module runs before any setting is read: what it forces into the environment would win.

    :raises Failure: when the environment no longer names the settings the site was given.
    """
    from django.conf import settings

    wanted, now = settings.SETTINGS_MODULE, os.environ.get("DJANGO_SETTINGS_MODULE")
    if now == wanted == STARTED_WITH:
        return
    forced = re.compile(r"environ\s*\[\s*['\"]DJANGO_SETTINGS_MODULE['\"]\s*\]\s*=[^=]")
    where = shortened(getattr(module, "__file__", None))
    for loaded in [module, *sys.modules.values()]:
        file = getattr(loaded, "__file__", None) or ""
        if file.endswith(".py") and not foreign(file):
            with open(file, encoding="utf-8", errors="replace") as source:
                lines = [number for number, line in enumerate(source, 1) if forced.search(line)]
            if lines:
                where = f"{shortened(file)} line {lines[0]}"
                break
    raise Failure(
        "settings",
        f"{where} sets DJANGO_SETTINGS_MODULE to {now!r}, but the site runs with {STARTED_WITH!r}",
        f'write os.environ.setdefault("DJANGO_SETTINGS_MODULE", {now!r}) there: it leaves a given value alone',
    )


def stored_files(storage: Any, folder: str = "") -> Iterator[str]:
    """All files of a storage, as `collectstatic --clear` finds them."""
    if not storage.exists(folder):
        return
    folders, files = storage.listdir(folder)
    for name in files:
        yield os.path.join(folder, name)
    for name in folders:
        yield from stored_files(storage, os.path.join(folder, name))


def wanted_user(model: Any, request: Request) -> dict[str, Any]:
    """The attributes the superuser shall have, in the types of the model's own fields.

    :raises Failure: for a field the model does not have or a value it does not take.
    """
    from django.contrib.auth.base_user import BaseUserManager
    from django.core.exceptions import FieldDoesNotExist, ValidationError

    names = {field.name for field in model._meta.concrete_fields}
    given = {**(request.get("fields") or {}), model.USERNAME_FIELD: request["username"]}
    email = getattr(model, "EMAIL_FIELD", "email")
    if request.get("email") is not None and email in names and email != model.USERNAME_FIELD:
        given[email] = request["email"]
    if email in given:  # as Django's own manager does, so that a second look finds what it stored
        given[email] = BaseUserManager.normalize_email(given[email])
    given.update({name: True for name in ("is_staff", "is_superuser", "is_active") if name in names})
    wanted = {}
    for name, value in given.items():
        try:
            field = model._meta.get_field(name)
            wanted[field.attname] = field.to_python(value)
        except (FieldDoesNotExist, AttributeError) as error:
            known = ", ".join(sorted(names))
            raise Failure("user", f"{model._meta.label} has no field {name!r}", f"it has: {known}") from error
        except ValidationError as error:
            raise Failure("user", f"{model._meta.label}.{name}: {' '.join(error.messages)}") from error
    return wanted


def update_user(user: Any, wanted: dict[str, Any], also: list[str] | None = None) -> None:
    """Save only what differs: another process may be writing other fields, last_login for one."""
    changes = [name for name, value in wanted.items() if getattr(user, name) != value]
    for name in changes:
        setattr(user, name, wanted[name])
    if changes or also:
        user.save(update_fields=[*changes, *(also or [])])


def is_vacant(target: str) -> bool:
    """Whether nothing is lost by putting something there: it is missing, or an empty directory."""
    if os.path.isdir(target) and not os.path.islink(target):
        return not os.listdir(target)
    return not os.path.lexists(target)


def plant(source: str, target: str) -> bool:
    """Copy to a name aside, then move it into place in one go, so that half a copy is never taken for data.

    link(2) and, for directories, rename(2) refuse to replace what holds anything.

    :return: False when something appeared there meanwhile.
    """
    import shutil
    import tempfile

    def copy(origin: str, place: str) -> str:
        shutil.copyfile(origin, place)
        os.chmod(place, 0o644)
        return place

    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".seed-") as aside:
        ready = os.path.join(aside, os.path.basename(target))
        try:
            if os.path.isdir(source):
                shutil.copytree(source, ready, copy_function=copy, symlinks=True)
                for folder, _folders, _files in os.walk(ready):
                    os.chmod(folder, 0o755)  # the web server reads uploads by itself
                os.rename(ready, target)
            else:
                os.chmod(copy(source, ready), 0o640)
                os.link(ready, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return False
    return True


def listing(names: list[str]) -> str:
    text = "".join(f"{name}\n" for name in names[:LISTED])
    return text + (f"... and {len(names) - LISTED} more\n" if len(names) > LISTED else "")


def lines_of(state: dict[str, Any] | None) -> str:
    return "".join(f"{name}: {value}\n" for name, value in (state or {}).items())


# --- The process -----------------------------------------------------------------------------------------------


class Tee(io.BufferedIOBase):
    """Keeps what Python code prints for the step's result, and lets it through to standard error at once.

    So the last words of a process that dies are not lost with it.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.kept: list[bytes] = []

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def write(self, data: Any) -> int:
        self.kept.append(bytes(data))
        os.write(self.descriptor, data)
        return len(data)

    def stream(self) -> io.TextIOWrapper:
        return io.TextIOWrapper(self, "utf-8", "backslashreplace", write_through=True)  # type: ignore[arg-type]

    def take(self) -> str:
        """What was kept since the last call."""
        text = b"".join(self.kept).decode("utf-8", "replace")
        self.kept.clear()
        return text


def known_secrets(request: Request) -> list[str]:
    """Everything that must not leave this process in a message, longest first."""
    secrets = {str(step.get("password") or "") for step in request["steps"]}
    for name, value in os.environ.items():
        if re.search("SECRET|PASSW|TOKEN|KEY|CREDENTIAL", name):
            secrets.add(value)
        secrets.update(re.findall(r"://[^:/@\s]*:([^@\s]+)@", value))
    if "django.conf" in sys.modules and sys.modules["django.conf"].settings.configured:
        settings = sys.modules["django.conf"].settings._wrapped  # the outer one refuses to show an empty SECRET_KEY
        secrets.add(str(settings.SECRET_KEY or ""))
        secrets.update(str(database.get("PASSWORD") or "") for database in settings.DATABASES.values())
    return sorted((secret for secret in secrets if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)


def without_secrets(event: dict[str, Any], secrets: list[str]) -> dict[str, Any]:
    """Hide secrets in all that is prose; facts are ours and hold none, and a program reads them as they are."""

    def hidden(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hidden(item) for key, item in value.items()}
        for secret in secrets if isinstance(value, str) else ():
            value = value.replace(secret, HIDDEN)
        return value

    return {key: hidden(value) if key in PROSE else value for key, value in event.items()}


def set_up_django() -> None:
    """:raises Failure: when Django is not there or not told which settings to use."""
    if sys.version_info < OLDEST_PYTHON:
        raise Failure("settings", f"Python {sys.version.split()[0]} in {sys.prefix} is too old: 3.10 is the oldest")
    try:
        import django
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        raise Failure(
            "import_error", f"Django is not installed in {sys.prefix}", "add Django to the project's requirements"
        ) from error
    if not STARTED_WITH:
        raise Failure(
            "settings",
            "DJANGO_SETTINGS_MODULE is not set",
            "give the dotted path of the project's settings under `settings`",
        )
    django.setup()


def words_of(step: dict[str, Any]) -> list[str]:
    """The manage.py words a step stands for: some projects look at sys.argv to know what is going on."""
    return ["manage.py", *(str(word) for word in step["argv"])] if "argv" in step else ["manage.py", step["name"]]


def perform(request: Request, emit: Callable[[dict[str, Any]], None], out: Tee, err: Tee) -> bool:
    """Set Django up and run the steps; stop at the first that fails.

    :return: whether all of them succeeded.
    """
    steps, predict, name = request["steps"], bool(request.get("check")), "setup"
    sys.argv = words_of(steps[0]) if len(steps) == 1 else ["manage.py", "check"]
    try:
        began = time.monotonic()
        set_up_django()
        emit({"event": "ready", "seconds": round(time.monotonic() - began, 3)})
        for step in steps:
            name = step["name"]
            if name not in STEPS:
                raise Failure("request", f"there is no step {name!r}", "known: " + ", ".join(STEPS))
            emit({"event": "start", "step": name})
            sys.argv, began = words_of(step), time.monotonic()
            out.take(), err.take()
            result = STEPS[name](step, predict)
            spent = round(time.monotonic() - began, 3)
            emit(
                {"event": "step", "name": name, **result, "stdout": out.take(), "stderr": err.take(), "seconds": spent}
            )
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, too: the project's code may raise anything
        failure = explained(error, name)
        cause = error.__cause__ if isinstance(error, Failure) else error
        emit(
            {
                "event": "error",
                "step": name,
                "kind": failure.kind,
                "message": failure.message,
                "hint": failure.hint,
                "traceback": failure.detail or ("".join(traceback.format_exception(cause)) if cause else ""),
                "stdout": out.take(),
                "stderr": err.take(),
                "facts": failure.facts,
            }
        )
        return False
    emit({"event": "end"})
    return True


def main() -> None:
    protocol = os.dup(1)  # dup() makes it ours alone: children do not inherit it
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a command that asks a question gets an end of file, not our request
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # stays open as long as the process
    out, err = Tee(1), Tee(2)
    sys.stdout, sys.stderr = out.stream(), err.stream()

    def emit(event: dict[str, Any]) -> None:
        line = json.dumps(without_secrets(event, known_secrets(request)), default=str) + "\n"
        data = line.encode()
        while data:
            data = data[os.write(protocol, data) :]

    succeeded = perform(request, emit, out, err)
    # Not a plain exit: a thread the project left running would keep the deploy waiting. Exit handlers still run.
    atexit._run_exitfuncs()
    os._exit(0 if succeeded else 1)
