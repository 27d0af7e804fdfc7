# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be said about a site: names, types, defaults, and what each of them is for.

This is the one truth. Validation, defaults, the commented samples' test and the reference page
all read `SITE_KEYS`. Only plain data (str, int, bool, list, dict, None) comes in and goes out.

Two rules hold everywhere: an unknown key is a problem, and null means "the default".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import databases_said
from .site_values import (
    SITE_NAME_LENGTH,
    Fault,
    check_address,
    check_application,
    check_body_size,
    check_branch,
    check_calendar,
    check_command,
    check_declared_migration,
    check_deploy_key,
    check_domain,
    check_environment_entry,
    check_group,
    check_health_path,
    check_host_name,
    check_inventory_name,
    check_job_name,
    check_mailbox,
    check_media_kind,
    check_memory,
    check_migration_class,
    check_module,
    check_package,
    check_package_index,
    check_process_name,
    check_project_file,
    check_protected_media,
    check_python,
    check_redis_memory,
    check_relative_path,
    check_repository,
    check_revision,
    check_secret_file,
    check_site_name,
    check_size,
    check_status,
    check_subject_prefix,
    describe,
)

SITES_VARIABLE = "djdeploy_sites"
HOST_SITES_VARIABLE = "djdeploy_host_sites"

KeyPath: TypeAlias = "tuple[str | int, ...]"


@dataclass(frozen=True)
class Problem:
    """One thing to mend before anything is touched.

    :param message: what is wrong, one line, never with the value of a secret.
    :param path: keys from the inventory variable downwards: ("djdeploy_sites", "shop", "domains", 0).
    :param hint: how to mend it, one line; may be empty.
    :param host: inventory name of the host whose `djdeploy_host_sites` it is; empty for `djdeploy_sites`.
    """

    message: str
    path: KeyPath = ()
    hint: str = ""
    host: str = ""


@dataclass(frozen=True)
class Key:
    """One key of a site.

    :param kind: "text", "integer", "boolean", "list", "mapping" (names to text), "section" (named keys) or
        "table" (names of the user's own to sections; `false` switches one off).
    :param description: one line; names the unit when there is one.
    :param default: what it is when nobody says anything; None also means "found out" where the description says so.
    :param why: why one would change it.
    :param example: a value as a user would write it.
    :param choices: the only values allowed, when there are few.
    :param minimum: smallest integer allowed.
    :param items: kind of a list's elements.
    :param check: judges one text or integer (of a list: one element).
    :param check_entry: judges one name and its value in a mapping.
    :param keys: the keys of a section, or of each section of a table.
    :param short: the key that a text in the place of a table's section means.
    :param check_name: judges a name in a table.
    :param per_host: whether a host may say it differently.
    """

    name: str
    kind: str
    description: str
    default: Any = None
    why: str = ""
    example: Any = None
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    items: str = "text"
    check: Callable[[Any], Fault | None] | None = None
    check_entry: Callable[[object, object], Fault | None] = check_environment_entry
    keys: tuple[Key, ...] = ()
    short: str = ""
    check_name: Callable[[str], Fault | None] | None = None
    required: bool = False
    secret: bool = False
    per_host: bool = True


# --- the schema -----------------------------------------------------------------------------------

SITE_KEYS: tuple[Key, ...] = (
    Key(
        "domains",
        "list",
        "Domain names the site is served under; the first is the canonical one.",
        required=True,
        default=[],
        example=["shop.example.com", "www.shop.example.com"],
        check=check_domain,
    ),
    Key(
        "branch",
        "text",
        "Branch that goes live when it is pushed.",
        default="main",
        example="staging",
        why="An environment that follows another branch.",
        check=check_branch,
        per_host=False,
    ),
    Key(
        "deploy_keys",
        "list",
        "SSH public keys that may push to the site, one line each.",
        default=[],
        example=["ssh-ed25519 AAAA... laptop"],
        why="Without a key nobody can push; deploys by playbook or from `repository` still work.",
        check=check_deploy_key,
    ),
    Key(
        "hosts",
        "list",
        "Web hosts or groups (names of the inventory) that serve the site; empty: every host of the group web.",
        default=[],
        example=["web1.example.com"],
        why="Keep a site on some of several web hosts.",
        check=check_host_name,
        per_host=False,
    ),
    Key(
        "repository",
        "text",
        "URL the host fetches the project from; null: it comes by git push.",
        example="https://git.example.com/shop.git",
        why="Deploy by playbook what was pushed elsewhere. It must not hold a password.",
        check=check_repository,
    ),
    Key(
        "revision",
        "text",
        "Commit, tag or branch a playbook puts live; null: the tip of `branch`.",
        example="v1.4.0",
        why="Pin an environment to a release.",
        check=check_revision,
    ),
    Key(
        "force_push",
        "boolean",
        "Whether a push may replace history (git push --force).",
        default=False,
        example=True,
        why="Handy on staging; on production history should only grow.",
    ),
    Key(
        "python",
        "text",
        "Python that runs the site: python3 (the distribution's), python3.13 or an absolute path; null: the first that"
        " fits the project of the distribution's, another one on the host, one that uv brings.",
        example="python3.13",
        why="The project does not say which Python it needs, or the host shall decide.",
        check=check_python,
    ),
    Key(
        "project_path",
        "text",
        "Directory that holds manage.py, relative to the project's tree; null: found.",
        example="backend",
        why="The tree holds more than one manage.py.",
        check=check_relative_path,
    ),
    Key(
        "requirements",
        "text",
        "Lock or requirements file, relative to the project's tree; null: found.",
        example="requirements/production.txt",
        why="The tree holds several, and the wrong one would be taken.",
        check=check_relative_path,
    ),
    Key(
        "dependency_groups",
        "list",
        "Groups or extras of dependencies installed besides the main ones; null: production or prod, if there is one.",
        example=["production", "postgres"],
        why="The lock or pyproject.toml keeps what the site needs in a group of another name.",
        check=check_group,
    ),
    Key(
        "settings",
        "text",
        "Django settings module; null: the one manage.py names.",
        example="shop.settings.production",
        why="manage.py names the settings of development.",
        check=check_module,
    ),
    Key(
        "application",
        "text",
        "WSGI or ASGI application as module:name; null: Django's WSGI_APPLICATION or ASGI_APPLICATION.",
        example="shop.wsgi:application",
        why="The settings do not name it.",
        check=check_application,
    ),
    Key(
        "env",
        "mapping",
        "Environment variables of the site, names to text.",
        default={},
        example={"EMAIL_HOST": "mail.example.com"},
        why="What the project reads from its environment and everybody may see: it shows in --diff.",
    ),
    Key(
        "secrets",
        "mapping",
        "Environment variables nobody may see, names to text; give them by ansible-vault.",
        default={},
        example={"EMAIL_HOST_PASSWORD": "{{ vault_shop_email_password }}"},
        why="Passwords and tokens. SECRET_KEY is made on the host unless it is given here.",
        secret=True,
    ),
    Key(
        "secret_files",
        "mapping",
        "Secrets the project reads from files, names to text: NAME is a file, and NAME_FILE a variable with its path.",
        default={},
        example={"JWT_SIGNING_KEY": "{{ vault_shop_jwt_signing_key }}"},
        check_entry=check_secret_file,
        why="A key or certificate of many lines, or a project made for Docker's secrets.",
        secret=True,
    ),
    Key(
        "project_files",
        "mapping",
        "Files laid into the project's tree that are not in its repository, paths to text.",
        default={},
        example={"shop/local_settings.py": "{{ lookup('template', 'local_settings.py.j2') }}"},
        check_entry=check_project_file,
        why="The project imports a local_settings.py, or opens a .env, that git does not have.",
        secret=True,
    ),
    Key(
        "secret_key_fallbacks",
        "integer",
        "Earlier SECRET_KEYs that go on being believed after a change of the key; 0: none.",
        default=2,
        example=0,
        minimum=0,
        why="0 after a key has leaked: all sessions end and all links sent by e-mail become void.",
    ),
    Key(
        "email",
        "section",
        "E-mail of the site, where the project's settings say nothing; the server comes by EMAIL_URL in `secrets`.",
        keys=(
            Key(
                "from_address",
                "text",
                "Address the site sends from: DEFAULT_FROM_EMAIL and SERVER_EMAIL; null: the project's.",
                example="Shop <shop@example.com>",
                why="Django's own is webmaster@localhost, which no mail server takes.",
                check=check_mailbox,
            ),
            Key(
                "admins",
                "list",
                "Who gets a message about each error: ADMINS and MANAGERS.",
                default=[],
                example=["Ann <ann@example.com>", "ops@example.com"],
                why="Hear of errors before visitors tell.",
                check=check_mailbox,
            ),
            Key(
                "subject_prefix",
                "text",
                "What the subject of these messages begins with (EMAIL_SUBJECT_PREFIX); null: [<site>] and a blank.",
                example="[shop staging] ",
                why="Tell environments apart in a mailbox.",
                check=check_subject_prefix,
            ),
        ),
    ),
    Key(
        "database",
        "text",
        "postgresql or mariadb: a database of the site's name; sqlite: a file in shared/; external: where DATABASE_URL"
        " in `secrets` leads; project: what the project's own DATABASES say.",
        default="postgresql",
        example="sqlite",
        choices=databases_said.CHOICES,
        why="A small site needs no server, the data is elsewhere already, or the project says it all itself.",
    ),
    Key(
        "databases",
        "mapping",
        "Databases besides `default`, aliases to postgresql, mariadb (one named <site>_<alias>) or external (where"
        " <ALIAS>_DATABASE_URL in `secrets` leads).",
        default={},
        example={"reports": "postgresql"},
        why="The project's DATABASE_ROUTERS send some models elsewhere; docs/databases.md.",
        check_entry=databases_said.check_further,
        per_host=False,
    ),
    Key(
        "build",
        "list",
        "Commands that build what the repository does not hold, run at the top of its tree; null: found out, []: none.",
        example=["npm ci", "npm run build"],
        why="The front end lies elsewhere, or is built in another way; docs/builds.md tells what is found out.",
        check=check_command,
    ),
    Key(
        "build_network",
        "boolean",
        "Whether every command of a build may reach other hosts; false: only those that fetch packages (npm ci, pip).",
        default=False,
        example=True,
        why="A build that downloads something by itself.",
    ),
    Key(
        "build_secrets",
        "mapping",
        "Environment variables of build commands that fetch packages and of nothing else, names to text.",
        default={},
        example={"NPM_TOKEN": "{{ vault_npm_token }}"},
        why="The project's .npmrc names a token: ${NPM_TOKEN}.",
        secret=True,
    ),
    Key(
        "package_indexes",
        "mapping",
        "Indexes of Python packages besides PyPI, names to URLs with their credentials; `default` stands in for PyPI.",
        default={},
        example={"company": "https://deploy:{{ vault_index_token }}@packages.example.com/simple"},
        check_entry=check_package_index,
        why="The project needs packages of a private index.",
        secret=True,
    ),
    Key(
        "build_keep",
        "list",
        "Directories node_modules, relative to the project's tree, that stay in the release after the build.",
        default=[],
        example=["node_modules"],
        why="The site runs programs of Node itself.",
        check=check_relative_path,
    ),
    Key(
        "build_timeout",
        "integer",
        "Seconds one command of a build may take.",
        default=900,
        example=1800,
        minimum=1,
        why="A large front end on a small host.",
    ),
    Key(
        "build_memory_max",
        "text",
        "Memory a command of a build may use (number with M, G or T, or percent of the host's).",
        default="75%",
        example="1500M",
        why="Leave more to the sites, or give a large build more.",
        check=check_memory,
    ),
    Key(
        "packages",
        "list",
        "Debian packages the site needs on its hosts.",
        default=[],
        example=["libvips42", "gettext"],
        why="Libraries and programs that do not come by requirements.",
        check=check_package,
    ),
    Key(
        "web",
        "section",
        "Processes that answer requests.",
        keys=(
            Key(
                "server",
                "text",
                "Program that serves the project: gunicorn and uwsgi by WSGI, uvicorn by ASGI; null: found.",
                example="uvicorn",
                choices=("gunicorn", "uvicorn", "uwsgi"),
                why="Websockets in a project whose settings name no ASGI_APPLICATION; or another one than is found.",
            ),
            Key(
                "workers",
                "integer",
                "Worker processes; null: CPU cores + 1, at least 2, at most 8, and no more than memory is enough for.",
                example=4,
                minimum=1,
                why="A host with little memory, or one that serves several sites.",
            ),
            Key(
                "threads",
                "integer",
                "Threads per worker process of gunicorn and uWSGI.",
                default=4,
                example=8,
                minimum=1,
                why="More for a site that waits much on others; 1 for code that is not thread-safe.",
            ),
            Key(
                "timeout",
                "integer",
                "Seconds after which a worker that answers nothing is killed.",
                default=30,
                example=120,
                minimum=1,
                why="Raise it only for requests that are slow by nature.",
            ),
            Key(
                "graceful_timeout",
                "integer",
                "Seconds a worker gets to finish its requests when it is stopped.",
                default=30,
                example=60,
                minimum=1,
                why="Requests of an old release that last longer are cut off.",
            ),
            Key(
                "websocket_timeout",
                "integer",
                "Seconds a websocket may be silent before nginx closes it.",
                default=3600,
                example=86400,
                minimum=1,
                why="Clients that send nothing for longer, of a project whose server sends no pings (uvicorn does).",
            ),
            Key(
                "max_requests",
                "integer",
                "Requests after which a worker is replaced; 0: never.",
                default=0,
                example=1000,
                minimum=0,
                why="Live with a memory leak until it is found.",
            ),
            Key(
                "preload",
                "boolean",
                "Whether the application is loaded once, before workers are forked.",
                default=False,
                example=True,
                why="Saves memory; not for code that opens connections when it is imported.",
            ),
            Key(
                "memory_max",
                "text",
                "Memory (MemoryMax of systemd: '512M', '2G', '50%') of all processes together; null: no limit.",
                example="512M",
                why="One site must not starve the others on its host.",
                check=check_memory,
            ),
        ),
    ),
    Key(
        "protected_media",
        "mapping",
        "Files only the application may hand out, by X-Accel-Redirect: URL prefix to a directory below shared/.",
        default={},
        example={"/protected/": "private"},
        check_entry=check_protected_media,
        why="Invoices and paid downloads: Django decides who gets one, and nginx sends it.",
    ),
    Key(
        "media",
        "section",
        "Who serves uploads, and which of them a browser shows.",
        keys=(
            Key(
                "served_by",
                "text",
                "Who answers below MEDIA_URL; null: the application if a view of it does, else nginx.",
                example="application",
                choices=("nginx", "application"),
                why="A guard that is no view at MEDIA_URL (a middleware); or a view there that guards nothing.",
            ),
            Key(
                "inline",
                "list",
                "Extensions or media types of uploads that are shown as they are, though they can hold scripts.",
                default=[],
                example=["svg", "text/html"],
                check=check_media_kind,
                why="Only where all who upload may change the site anyway: a script runs in its visitors' names.",
            ),
        ),
    ),
    Key(
        "health",
        "section",
        "The request that proves a release before it gets traffic.",
        keys=(
            Key(
                "path",
                "text",
                "Path that is asked for under the canonical domain.",
                default="/",
                example="/healthz/",
                why="A page that touches the database proves more than a front page from the cache.",
                check=check_health_path,
            ),
            Key(
                "statuses",
                "list",
                "HTTP statuses that count as healthy; null: 200-399, 401, 403, 404 and 405.",
                example=[200],
                items="integer",
                why="Be strict where the path is made for it.",
                check=check_status,
            ),
            Key(
                "timeout",
                "integer",
                "Seconds a release gets from its start to its first healthy answer.",
                default=60,
                example=180,
                minimum=1,
                why="A project that loads for long.",
            ),
            Key(
                "answer_timeout",
                "integer",
                "Seconds a release that has answered once gets for each further answer.",
                default=10,
                example=30,
                minimum=1,
                why="A page that takes long, or a host that is slow or busy at times.",
            ),
            Key(
                "prove_for",
                "integer",
                "Seconds a release has to stay healthy before it gets its first visitor.",
                default=0,
                example=10,
                minimum=0,
                why="A project whose processes are known to fall over some seconds after they start.",
            ),
            Key(
                "watch",
                "integer",
                "Seconds a release is watched after the switch; if it fails in that time, the old one is back.",
                default=10,
                example=60,
                minimum=0,
                why="A longer look at each release, or 0 for a push that ends as soon as it is live.",
            ),
        ),
    ),
    Key(
        "migrations",
        "section",
        "What a migration may do to a site that has visitors.",
        keys=(
            Key(
                "allow",
                "list",
                "Classes that may run, behind the maintenance page: contract, blocking. Additive ones always may.",
                default=[],
                example=["contract"],
                check=check_migration_class,
                why="Staging, where nobody minds; in production rather allow it for one release.",
            ),
            Key(
                "declared",
                "mapping",
                "What a migration is that cannot be judged from outside: `app.name` to additive, contract or blocking.",
                default={},
                example={"catalog.0007_fill_slugs": "additive"},
                check_entry=check_declared_migration,
                why="A migration with RunPython or RunSQL that you have read.",
            ),
            Key(
                "lock_timeout",
                "integer",
                "Seconds a statement of a migration waits for a lock before it gives way to visitors.",
                default=2,
                example=5,
                minimum=1,
                why="A busy table, whose visitors can wait longer.",
            ),
            Key(
                "statement_timeout",
                "integer",
                "Seconds a statement of a migration may take; 0: no limit.",
                default=900,
                example=7200,
                minimum=0,
                why="A table that takes longer to fill or to index.",
            ),
            Key(
                "attempts",
                "integer",
                "How often a migration that found its table locked is tried.",
                default=10,
                example=30,
                minimum=1,
                why="A job that holds a table for minutes.",
            ),
            Key(
                "big_table",
                "integer",
                "Rows from which reading or rewriting a whole table counts as blocking.",
                default=100000,
                example=1000000,
                minimum=0,
                why="A fast disk, or a site where even a second of waiting is too long.",
            ),
            Key(
                "wait_for_jobs",
                "integer",
                "Seconds a migration behind the maintenance page waits for jobs of `schedule` that run; then it is"
                " refused.",
                default=600,
                example=3600,
                minimum=1,
                why="A job that lasts longer than that, or does on a slow or busy host.",
            ),
        ),
    ),
    Key(
        "snapshots",
        "section",
        "The copy of the database that is made before migrations run.",
        keys=(
            Key(
                "enabled",
                "boolean",
                "Make one.",
                default=True,
                example=False,
                why="A database so large that another backup has to do.",
            ),
            Key(
                "keep",
                "integer",
                "How many are kept on the host.",
                default=3,
                example=10,
                minimum=1,
                why="More ways back, for more disk.",
            ),
        ),
    ),
    Key(
        "processes",
        "table",
        "What runs beside the web server as long as a release is live: names to a command, or to these keys.",
        default={},
        example={"worker": "celery -A shop worker", "beat": {"command": "celery -A shop beat"}},
        why="Queue workers, clocks, daemons. They win over those of the same name in the project's Procfile;"
        " `false` switches one of it off.",
        short="command",
        check_name=check_process_name,
        keys=(
            Key(
                "command",
                "text",
                "The command, started where manage.py is; programs of the virtualenv are found by their name.",
                required=True,
                example="celery -A shop worker",
                check=check_command,
            ),
            Key(
                "count",
                "integer",
                "How many of it run; of a clock (celery beat) only one can.",
                default=1,
                example=4,
                minimum=1,
                why="More jobs at once than one process does.",
            ),
            Key(
                "stop_timeout",
                "integer",
                "Seconds it gets to finish what it has when it is stopped; null: 600 for a queue worker, else 60.",
                example=3600,
                minimum=1,
                why="Jobs that last longer are cut off when a release is replaced.",
            ),
            Key(
                "memory_max",
                "text",
                "Memory (MemoryMax of systemd: '512M', '2G', '50%') of each of them; null: no limit.",
                example="512M",
                why="A job that eats the host's memory.",
                check=check_memory,
            ),
            Key(
                "hosts",
                "text",
                "On which web hosts of the site it runs: all or first; null: queue workers on all, else on the first.",
                example="all",
                choices=("all", "first"),
                why="A daemon that every host needs.",
            ),
        ),
    ),
    Key(
        "schedule",
        "table",
        "Jobs at their times, on the first web host of the site: names to these keys.",
        default={},
        example={"clean": {"command": "python manage.py clearsessions", "at": "daily"}},
        why="What cron did. A deploy neither cuts a job nor starts it a second time.",
        check_name=check_job_name,
        keys=(
            Key(
                "command",
                "text",
                "The command, started where manage.py is.",
                required=True,
                example="python manage.py clearsessions",
                check=check_command,
            ),
            Key(
                "at",
                "text",
                "When, as systemd's OnCalendar has it: hourly, daily, '*-*-* 03:00:00', 'Mon..Fri 08:30'.",
                required=True,
                example="*-*-* 03:00:00",
                check=check_calendar,
            ),
            Key(
                "concurrency",
                "text",
                "What becomes of a job whose last run has not ended: forbid skips it, replace ends the last one,"
                " allow runs both.",
                default="forbid",
                example="replace",
                choices=("forbid", "replace", "allow"),
                why="A job that may overlap, or whose newest run alone matters.",
            ),
            Key(
                "timeout",
                "integer",
                "Seconds after which it is ended.",
                default=3600,
                example=600,
                minimum=1,
                why="A job that may take longer, or hangs.",
            ),
            Key(
                "persistent",
                "boolean",
                "Whether a time that passed while the host was off is made up for at boot.",
                default=False,
                example=True,
                why="A nightly job on a host that is not always on.",
            ),
        ),
    ),
    Key(
        "pgbouncer",
        "section",
        "PgBouncer between the site's processes and its PostgreSQL, on the same host: many processes share few"
        " connections, each for one transaction. manage.py, migrations and release commands go straight.",
        keys=(
            Key(
                "enabled",
                "boolean",
                "Let web processes, workers and jobs go through it.",
                default=False,
                example=True,
                why="More processes and threads than PostgreSQL has connections for (max_connections, 100).",
            ),
            Key(
                "direct",
                "list",
                "Processes and jobs that go straight all the same.",
                default=[],
                example=["listener"],
                why="They need a session of their own: LISTEN, advisory locks, temporary tables, SET.",
            ),
        ),
    ),
    Key(
        "redis",
        "section",
        "A redis of the site's own on its host, by a unix socket: broker and cache. REDIS_URL and CELERY_BROKER_URL say"
        " where, unless they are given.",
        keys=(
            Key(
                "enabled",
                "boolean",
                "Run one.",
                default=False,
                example=True,
                why="The project uses Celery, RQ or huey, or caches in redis.",
            ),
            Key(
                "memory",
                "text",
                "Memory its data may take (maxmemory of redis: '128mb', '1gb').",
                default="128mb",
                example="1gb",
                why="A queue or a cache that holds more.",
                check=check_redis_memory,
            ),
            Key(
                "evict",
                "boolean",
                "Whether it drops what was not used for long when that is full; else it refuses to take more.",
                default=False,
                example=True,
                why="It holds only a cache. A queue must not lose jobs.",
            ),
        ),
    ),
    Key(
        "limits",
        "section",
        "How much of the host the site may take, all its processes together: one site must not starve the others.",
        keys=(
            Key(
                "tasks",
                "integer",
                "Processes and threads (TasksMax of systemd) of the site: of two releases during a deploy, of"
                " processes, jobs and builds.",
                default=2048,
                example=8192,
                minimum=64,
                why="Very many workers or threads: 'Resource temporarily unavailable', 'can't start new thread'.",
            ),
            Key(
                "memory_max",
                "text",
                "Memory (MemoryMax of systemd: '2G', '50%' of the host's) of the site: of two releases during a"
                " deploy, of processes, jobs and builds.",
                default="75%",
                example="2G",
                why="Leave more to the others of the host, or let a site that is alone there take all: '100%'.",
                check=check_memory,
            ),
            Key(
                "database_connections",
                "integer",
                "Connections to PostgreSQL or MariaDB the site may have at once; null: an equal share of nine tenths of"
                " the server's (max_connections), at most three quarters; no more than two releases can use if"
                " web.server is gunicorn or uwsgi, and no less than two releases of 4 workers need.",
                example=40,
                minimum=5,
                why="Many processes: 'too many connections for role'; or a server that many sites share.",
            ),
            Key(
                "push_size",
                "text",
                "Largest push git takes (number with K, M or G, in bytes).",
                default="512M",
                example="2G",
                why="A first push with a long history or large files.",
                check=check_size,
            ),
            Key(
                "tree_size",
                "text",
                "Most that one revision may take when it is unpacked (number with K, M or G, in bytes).",
                default="4G",
                example="20G",
                why="A repository that holds much data.",
                check=check_size,
            ),
        ),
    ),
    Key(
        "client_max_body_size",
        "text",
        "Largest request body nginx lets through ('20m'; '0': no limit).",
        default="20m",
        example="200m",
        why="Uploads larger than that.",
        check=check_body_size,
    ),
    Key(
        "keep_releases",
        "integer",
        "Releases kept on the host, the live one among them.",
        default=5,
        example=10,
        minimum=2,
        why="Fewer on a small disk; 2 is the live one and the one to roll back to.",
    ),
)

INVENTORY_KEYS: tuple[Key, ...] = (
    Key(
        SITES_VARIABLE,
        "section",
        "The sites of this environment, names to sites.",
        required=True,
        why="The one place where sites are described.",
    ),
    Key(
        HOST_SITES_VARIABLE,
        "section",
        "What one host says differently: names of sites to single keys, laid over djdeploy_sites.",
        default={},
        example={"shop": {"web": {"workers": 8}}},
        why="A host that is larger or smaller than the others.",
    ),
    Key(
        "djdeploy_environment",
        "text",
        "Name of this environment on its hosts, where each site is recorded as its own; null: that of the inventory's"
        " directory.",
        example="prod",
        why="The directory was renamed, or is called differently elsewhere: sites belong to their environment.",
        check=check_inventory_name,
    ),
    Key(
        "djdeploy_database_host",
        "text",
        "Inventory name of the host that holds the databases;"
        " null: the host itself when it is in the group database, else the only host of that group.",
        example="db1.example.com",
        why="Several hosts are in the group database.",
        check=check_host_name,
    ),
    Key(
        "djdeploy_address",
        "text",
        "Address other hosts reach this host by; null: the one its default route uses.",
        example="10.0.0.5",
        why="Hosts talk to each other over a private network.",
        check=check_address,
    ),
    Key(
        "djdeploy_ca_certificates",
        "list",
        "Certificate files (PEM, on the machine that runs Ansible) every host shall trust.",
        default=[],
        example=["~/company-ca.pem"],
        why="A package index or git server with a certificate of the company's own authority.",
    ),
    Key(
        "djdeploy_foreign_variables",
        "list",
        "Variables of this inventory that begin like ours but belong to other roles.",
        default=[],
        example=["nginx_vhosts"],
        why="Names that begin like those of our roles and are not known are taken for misspelt ones.",
    ),
)

KINDS = {
    "text": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "list": "a list",
    "mapping": "a mapping of names to text",
    "section": "a mapping",
    "table": "a mapping of names to sections",
}


def key_names(keys: Sequence[Key] = SITE_KEYS) -> list[str]:
    """All names in the order of the schema; those in a section as 'web.workers'."""
    names = []
    for key in keys:
        names.append(key.name)
        names.extend(f"{key.name}.{inner.name}" for inner in key.keys if key.kind == "section")
    return names


# --- suggestions and words ------------------------------------------------------------------------


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that was most likely meant, or None."""
    folded = {candidate.lower().replace("-", "_"): candidate for candidate in sorted(known)}
    match = difflib.get_close_matches(name.lower().replace("-", "_"), list(folded), n=1, cutoff=0.65)
    return folded[match[0]] if match else None


def is_kind(kind: str, value: object) -> bool:
    """Whether YAML gave a value of this kind of key; true and false are no integers here."""
    if kind == "text":
        return isinstance(value, str)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "list":
        return isinstance(value, list | tuple)
    return isinstance(value, Mapping)


def how_to_write(key: Key, value: object) -> str:
    """How a value of the wrong type should have been written."""
    if key.kind == "list" and isinstance(value, str) and len(value) < 80 and "\n" not in value:
        parts = [part for part in re.split(r"[\s,]+", value) if part]
        return f"write {key.name}: [{', '.join(parts)}]"
    if key.kind == "list":
        return f"write each on its own line below {key.name}:, after '- '"
    if key.kind == "text" and isinstance(value, float | int) and not isinstance(value, bool):
        return f'quote it: {key.name}: "{value}"'
    if key.kind == "integer" and isinstance(value, str) and re.fullmatch(r"\s*\d+\s*", value):
        return f"write it without quotes: {key.name}: {value.strip()}"
    if key.kind == "boolean":
        return f"write {key.name}: true or {key.name}: false, without quotes"
    if key.kind in ("mapping", "section", "table"):
        return f"write the names indented below {key.name}:, each as 'name: value'"
    if key.example is not None:
        return f"for example {key.name}: {key.example}"
    return ""


# --- validation -----------------------------------------------------------------------------------


def validate_sites(
    sites: object,
    host_sites: Mapping[str, object] | None = None,
    inventory_names: Collection[str] | None = None,
) -> list[Problem]:
    """Everything that is wrong with an inventory's sites, in the order of the inventory.

    :param sites: the value of `djdeploy_sites`.
    :param host_sites: host name -> the value of that host's `djdeploy_host_sites`.
    :param inventory_names: hosts and groups there are; None: `hosts:` is not compared with them.
    """
    if not isinstance(sites, Mapping):
        message = f"{SITES_VARIABLE} is {describe(sites)}, not a mapping of names to sites"
        return [Problem(message, (SITES_VARIABLE,), mapping_hint(sites))]
    problems: list[Problem] = []
    for name, site in sites.items():
        path = (SITES_VARIABLE, name)
        problems += [Problem(f"{SITES_VARIABLE}: {text}", path, rename_hint(name)) for text in check_site_name(name)]
        problems += check_site(str(name), site, path, inventory_names=inventory_names)
    problems += check_shared_domains(sites)
    problems += [
        Problem(f"site '{name}': {what}", (SITES_VARIABLE, name, "databases", alias), "give one of them another name")
        for name, alias, what in databases_said.taken_twice(sites)
    ]
    for host, overlays in (host_sites or {}).items():
        problems += check_host_sites(host, overlays, sites)
    return problems


def validate_inventory_variables(variables: Mapping[str, object], host: str = "") -> list[Problem]:
    """What is wrong with the other variables of `INVENTORY_KEYS`; the sites have their own function."""
    keys = [key for key in INVENTORY_KEYS if key.name not in (SITES_VARIABLE, HOST_SITES_VARIABLE)]
    return [
        Problem(f"{key.name} {what}", path, hint, host)
        for key in keys
        for path, (what, hint) in check_value(key, variables.get(key.name), (key.name,))
    ]


def mapping_hint(sites: object) -> str:
    if isinstance(sites, list) and sites and isinstance(sites[0], Mapping):
        name = sites[0].get("name", "shop")
        return f"write the site's name as a key, not as an item: '{name}:' below {SITES_VARIABLE}:, its keys indented"
    return f"write 'shop:' below {SITES_VARIABLE}:, and the site's keys indented below that"


def rename_hint(name: object) -> str:
    proposal = re.sub(r"[^a-z0-9_-]+", "-", str(name).lower()).strip("-_0123456789")[:SITE_NAME_LENGTH].rstrip("-")
    if proposal and proposal != name and not check_site_name(proposal):
        return f"for example '{proposal}'"
    return "choose another name; it becomes the unix user, the database and the directory of the site"


def check_site(
    name: str,
    site: object,
    path: KeyPath,
    *,
    host: str = "",
    inventory_names: Collection[str] | None = None,
) -> list[Problem]:
    """One site, or with `host` what one host says differently."""
    where = f"site '{name}'" + (f" of host {host}" if host else "")
    if site is None and host:
        return []
    if not isinstance(site, Mapping):
        hint = f"write its keys indented below '{name}:'; it needs at least domains: [{name}.example.com]"
        return [Problem(f"{where} is {describe(site)}, not a mapping", path, hint, host)]
    problems = list(check_keys(SITE_KEYS, site, where, "", path, host))
    misspelt = any(nearest(str(key), ["domains"]) for key in site if key != "domains")
    if not host and not site.get("domains") and is_absent_or_list(site.get("domains")) and not misspelt:
        problems.append(Problem(f"{where} has no domain", path, f"write domains: [{name}.example.com]"))
    if host:
        for key in SITE_KEYS:
            if not key.per_host and key.name in site:
                hint = f"write it in {SITES_VARIABLE}"
                problems.append(Problem(f"{where}: {key.name} cannot differ by host", (*path, key.name), hint, host))
    if inventory_names is not None and is_kind("list", site.get("hosts")):
        for index, entry in enumerate(site["hosts"]):
            if isinstance(entry, str) and entry not in inventory_names and check_host_name(entry) is None:
                message = f"{where}: hosts names '{entry}', which is no host or group of the inventory"
                problems.append(Problem(message, (*path, "hosts", index), did_you_mean(entry, inventory_names), host))
    problems += check_environment_overlap(site, where, path, host)
    if not host and (lacks := databases_said.misfit(site)):
        problems.append(Problem(f"{where}: {lacks[0]}", (*path, "database"), lacks[1]))
    if not host and (lacks := databases_said.not_pooled(site)):
        problems.append(Problem(f"{where}: {lacks[0]}", (*path, "pgbouncer"), lacks[1]))
    if not host:
        problems += [
            Problem(f"{where}: {what}", (*path, "databases", alias), hint)
            for alias, what, hint in databases_said.misfits(site, name)
        ]
    return problems


def is_absent_or_list(value: object) -> bool:
    return value is None or isinstance(value, list | tuple)


def check_keys(
    keys: Sequence[Key], given: Mapping[Any, Any], where: str, prefix: str, path: KeyPath, host: str
) -> Iterator[Problem]:
    """What is wrong with the keys of a site or of one of its sections: unknown ones, and their values."""
    known = {key.name: key for key in keys}
    for name, value in given.items():
        here = (*path, name)
        if name not in known:
            section = f"'{prefix.rstrip('.')}' of " if prefix else ""
            message = f"unknown key '{name}' in {section}{where}"
            yield Problem(message, here, suggest_key(str(name), keys, top=not prefix), host)
            continue
        for fault_path, (what, hint) in check_value(known[name], value, here):
            label = f"{prefix}{name}"
            if len(fault_path) > len(here) and isinstance(fault_path[-1], int):
                label = f"item {fault_path[-1] + 1} of {label}"
            yield Problem(f"{where}: {label} {what}", fault_path, hint, host)
        if known[name].kind == "table" and isinstance(value, Mapping):
            yield from check_table(known[name], value, where, here, host)
        if known[name].kind == "section" and isinstance(value, Mapping):
            yield from check_keys(known[name].keys, value, where, f"{name}.", here, host)


def check_table(key: Key, given: Mapping[Any, Any], where: str, path: KeyPath, host: str) -> Iterator[Problem]:
    """What is wrong with the names of a table and with the section behind each."""
    for name, value in given.items():
        here, label = (*path, name), f"{key.name}.{name}"
        fault = (key.check_name(str(name)) if key.check_name else None) if isinstance(name, str) else ("is no text", "")
        if fault is not None:
            yield Problem(f"{where}: {label} {fault[0]}", here, fault[1], host)
        if value is None or value is False:
            continue
        said = {key.short: value} if key.short and isinstance(value, str) else value
        if not isinstance(said, Mapping):
            needed = ", ".join(f"{inner.name}: {inner.example}" for inner in key.keys if inner.required)
            hint = f"write {name}: {{{needed}}}, or {name}: false to switch it off"
            yield Problem(f"{where}: {label} is {describe(value)}, not a mapping", here, hint, host)
            continue
        yield from check_keys(key.keys, said, where, f"{label}.", here, host)
        for inner in key.keys if not host else ():
            if inner.required and said.get(inner.name) is None:
                hint = f"write {inner.name}: {inner.example}"
                yield Problem(f"{where}: {label} has no {inner.name}", here, hint, host)


def suggest_key(name: str, keys: Sequence[Key], *, top: bool) -> str:
    sections = [key for key in SITE_KEYS if key.kind == "section"]
    inner = [f"{key.name}.{sub.name}" for key in sections for sub in key.keys if sub.name == name]
    if top and inner:
        return "did you mean " + " or ".join(f"'{dotted}'" for dotted in inner) + "?"
    if not top and name in key_names() and "." not in name:
        return f"'{name}' is a key of the site itself; indent it less"
    return did_you_mean(name, [key.name for key in keys]) or "docs/variables.md has all keys of a site"


def did_you_mean(name: str, known: Collection[str]) -> str:
    near = nearest(name, known)
    return f"did you mean '{near}'?" if near else f"known: {', '.join(known)}" if len(known) <= 30 else ""


def check_value(key: Key, value: object, path: KeyPath) -> Iterator[tuple[KeyPath, Fault]]:
    """What is wrong with the value of one key, or with what it holds, and where."""
    if value is None:
        return
    if not is_kind(key.kind, value):
        yield path, (f"is {describe(value)}, not {KINDS[key.kind]}", how_to_write(key, value))
        return
    if key.kind == "mapping" and isinstance(value, Mapping):
        for name, text in value.items():
            fault = key.check_entry(name, text)
            if fault is None and name == "SECRET_KEY" and not key.secret:
                fault = "must not hold SECRET_KEY", "move it to 'secrets:': env shows in --diff"
            if fault is not None:
                yield (*path, name), fault
        return
    if key.kind == "list" and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            if not is_kind(key.items, item):
                hint = f"for example {key.name}: {key.example}" if key.example else ""
                yield (*path, index), (f"is {describe(item)}, not {KINDS[key.items]}", hint)
            elif key.check is not None and (fault := key.check(item)) is not None:
                yield (*path, index), fault
        return
    if key.choices and isinstance(value, str) and value not in key.choices:
        hint = f"write one of {', '.join(key.choices)}"
        near = nearest(value, key.choices)
        yield path, (f"is {value!r}", f"did you mean '{near}'? {hint}" if near else hint)
    elif key.minimum is not None and isinstance(value, int) and value < key.minimum:
        yield path, (f"is {value}; the least is {key.minimum}", key.why)
    elif key.check is not None and (fault := key.check(value)) is not None:
        yield path, fault


def check_environment_overlap(site: Mapping[str, Any], where: str, path: KeyPath, host: str) -> list[Problem]:
    """A variable that is given twice: one of the two would be lost without a word."""
    given = {key: names for key in ("env", "secrets", "secret_files") if isinstance(names := site.get(key), Mapping)}
    problems = [
        Problem(f"{where}: {name} is both in env and in secrets", (*path, "env", name), "remove it from env", host)
        for name in given.get("env", ())
        if name in given.get("secrets", ())
    ]
    for name in given.get("secret_files", ()):
        for key in ("env", "secrets"):
            for taken in (name, f"{name}_FILE"):
                if taken in given.get(key, ()):
                    message = f"{where}: {taken} is in {key}, and secret_files has {name}"
                    problems.append(Problem(message, (*path, key, taken), f"remove it from {key}", host))
    return problems


def claimed_domains(sites: Mapping[Any, Any]) -> Iterator[tuple[str, str, int]]:
    """Every domain that is text: in lower case, with its site and place in the list."""
    for name, site in sites.items():
        domains = site.get("domains") if isinstance(site, Mapping) else None
        for index, domain in enumerate(domains if isinstance(domains, list | tuple) else []):
            if isinstance(domain, str):
                yield domain.lower(), str(name), index


def check_shared_domains(sites: Mapping[Any, Any], host: str = "") -> list[Problem]:
    """nginx would serve a domain named twice from one of its sites only, and say nothing aloud."""
    variable = HOST_SITES_VARIABLE if host else SITES_VARIABLE
    problems: list[Problem] = []
    owner: dict[str, str] = {}
    for domain, name, index in claimed_domains(sites):
        path = (variable, name, "domains", index)
        if domain not in owner:
            owner[domain] = name
        elif owner[domain] == name:
            problems.append(Problem(f"site '{name}' lists the domain {domain} twice", path, "remove one", host))
        else:
            message = f"sites '{owner[domain]}' and '{name}' both claim the domain {domain}"
            problems.append(Problem(message, path, "a domain belongs to one site: remove it from the other", host))
    return problems


def check_host_sites(host: str, overlays: object, sites: Mapping[Any, Any]) -> list[Problem]:
    """What one host says differently, by itself and together with what `djdeploy_sites` says."""
    if overlays is None:
        return []
    if not isinstance(overlays, Mapping):
        message = f"{HOST_SITES_VARIABLE} of host {host} is {describe(overlays)}, not a mapping of names to sites"
        return [Problem(message, (HOST_SITES_VARIABLE,), mapping_hint(overlays), host)]
    problems: list[Problem] = []
    merged: dict[str, Any] = {}
    for name, site in sites.items():
        if isinstance(site, Mapping):
            overlay = overlays.get(name)
            merged[name] = merge(site, overlay) if isinstance(overlay, Mapping) else site
    for name, overlay in overlays.items():
        path = (HOST_SITES_VARIABLE, name)
        if name not in sites:
            message = f"{HOST_SITES_VARIABLE} of host {host} has an unknown site '{name}'"
            problems.append(Problem(message, path, did_you_mean(str(name), [str(known) for known in sites]), host))
            continue
        problems += check_site(str(name), overlay, path, host=host)
        if isinstance(overlay, Mapping) and name in merged:
            where = f"site '{name}' of host {host}"
            known = {problem.path[2:] for problem in problems}
            problems += [
                problem
                for problem in check_environment_overlap(merged[name], where, path, host)
                if problem.path[2:] not in known and not check_environment_overlap(sites[name], where, path, host)
            ]
    touched = {name for name, overlay in overlays.items() if isinstance(overlay, Mapping) and overlay.get("domains")}
    if touched:
        problems += [
            problem
            for problem in check_shared_domains(merged, host)
            if any(f"'{n}'" in problem.message for n in touched)
        ]
    return problems


# --- resolution -----------------------------------------------------------------------------------


def merge(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with single keys of `overlay` laid over; mappings are merged, everything else is replaced.

    A mapping or list that is null in the overlay says nothing: its lines are commented out.
    """
    result = dict(base)
    kinds = {key.name: key.kind for key in SITE_KEYS}
    tables = {key.name: key for key in SITE_KEYS if key.kind == "table"}
    for name, value in overlay.items():
        if value is None and kinds.get(name) in ("list", "mapping", "section", "table"):
            continue
        present = result.get(name)
        if kinds.get(name) == "table" and isinstance(value, Mapping):
            result[name] = merge_table(tables[name], present if isinstance(present, Mapping) else {}, value)
        elif isinstance(value, Mapping) and (present is None or isinstance(present, Mapping)):
            result[name] = {**(present or {}), **value}
        else:
            result[name] = value
    return result


def merge_table(key: Key, base: Mapping[str, Any], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """A table with single keys of single sections laid over."""
    result = dict(base)
    for name, value in overlay.items():
        present = result.get(name)
        if isinstance(present, str) and key.short:
            present = {key.short: present}
        result[name] = {**present, **value} if isinstance(value, Mapping) and isinstance(present, Mapping) else value
    return result


def with_defaults(keys: Sequence[Key], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every key with what was given or its default; those of sections and of each section of a table, too.

    A text in the place of a table's section becomes that section, `false` stays, and null says nothing.
    """
    result: dict[str, Any] = {}
    for key in keys:
        value = given.get(key.name)
        if key.kind == "section":
            result[key.name] = with_defaults(key.keys, value or {})
        elif key.kind == "table":
            result[key.name] = {
                name: False if said is False
                else with_defaults(key.keys, {key.short: said} if isinstance(said, str) else said)
                for name, said in (value or {}).items()
                if said is not None
            }  # fmt: skip
        else:
            result[key.name] = _copied(key.default if value is None else value)
    return result


def _copied(value: Any) -> Any:
    """Plain data that shares nothing with the inventory; deepcopy would copy Ansible's templating with each list."""
    if isinstance(value, Mapping):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def resolve(name: str, site: Mapping[str, Any], overlay: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A valid site with every key present: what the roles and the engine read.

    :param overlay: what one host says differently (its entry of `djdeploy_host_sites`).
    """
    resolved = {"name": str(name), **with_defaults(SITE_KEYS, merge(site, overlay or {}))}
    resolved["domains"] = [domain.lower() for domain in resolved["domains"]]
    resolved["deploy_keys"] = [" ".join(line.split()) for line in resolved["deploy_keys"]]
    if re.match(r"3\.", resolved["python"] or ""):
        resolved["python"] = f"python{resolved['python']}"
    return resolved


def resolve_for_host(
    sites: Mapping[str, Mapping[str, Any]],
    host_sites: Mapping[str, Mapping[str, Any] | None] | None,
    host_name: str,
    group_names: Collection[str],
) -> dict[str, dict[str, Any]]:
    """The sites one host serves, by name, each with every key present.

    :param host_sites: the host's own `djdeploy_host_sites`.
    :param group_names: the groups the host is in (Ansible's `group_names`).
    """
    names = {host_name, "all", *group_names}
    return {
        name: resolve(name, site, (host_sites or {}).get(name))
        for name, site in sites.items()
        if not site.get("hosts") or names.intersection(site["hosts"])
    }


def without_secrets(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved site as it may lie on the host's disk and in a diff.

    :returns: with `secret_names`: secret key -> the names in it, so that the host can tell where a value comes from.
    """
    secret = {key.name for key in SITE_KEYS if key.secret}
    record = {name: _copied(value) for name, value in resolved.items() if name not in secret}
    record["secret_names"] = {name: sorted(resolved[name]) for name in sorted(secret & resolved.keys())}
    return record
