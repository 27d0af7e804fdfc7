# SPDX-License-Identifier: GPL-3.0-or-later
"""Every path and unit name djdeploy uses on a host. Nothing else spells one out.

Templates of the roles read the same names through the filter `djdeploy.django.site_paths`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

SITES_ROOT = Path("/srv")
CONFIG_ROOT = Path("/etc/djdeploy")
SITES_CONFIG = CONFIG_ROOT / "sites"
HOST_CONFIG = CONFIG_ROOT / "host.json"  # what Ansible said about the host itself
GRANTED = CONFIG_ROOT / "granted.json"  # whose sites the host carries and what each was granted; see records
STATE_ROOT = Path("/var/lib/djdeploy")
CACHE_ROOT = Path("/var/cache/djdeploy")
RUN_ROOT = Path("/run/djdeploy")
LIBRARY_ROOT = Path("/usr/local/lib/djdeploy")

ENGINE_LINK = LIBRARY_ROOT / "engine"  # -> engine-<version>-<digest>/, flipped last by an upgrade
HOOKS = LIBRARY_ROOT / "hooks"
UV = LIBRARY_ROOT / "uv" / "bin" / "uv"
COMMAND = Path("/usr/local/bin/djdeploy")
PYTHONS = STATE_ROOT / "pythons"  # those uv brought, for all sites; root's

DEPLOYER_SOCKET = RUN_ROOT / "deployer.sock"  # root's own: whatever pushes there are, root is always heard
UNIT_PREFIX = "djdeploy-"
DEPLOYER_UNIT = f"{UNIT_PREFIX}deployer"
PUSH_SOCKET = RUN_ROOT / "push.sock"  # the git user's; no name of a site holds a dot
PUSH_UNIT = f"{DEPLOYER_UNIT}.push"
PUSHES_AT_WORK = RUN_ROOT / ".pushes"  # a file for each push that is served; root's alone
RECOVER_UNIT = f"{UNIT_PREFIX}recover"
# What follows the name of a site in the names of its units, `djdeploy-<site>.<this>`; those of jobs follow it, too.
BUILD_PART, PROCESS_PART, JOB_PART = "build", "process", "job"

GIT_USER = "git"
GIT_HOME = STATE_ROOT / "git"
GIT_MEMORY = 2 << 30  # bytes one program of git may take for what it unpacks: a delta of few bytes may make gigabytes
AUTHORIZED_KEYS = CONFIG_ROOT / "authorized_keys" / GIT_USER

SYSTEMD_UNITS = Path("/etc/systemd/system")
NGINX_SITES = Path("/etc/nginx/sites-enabled")
NGINX_LOGS = Path("/var/log/nginx")
PGBOUNCER_CONFIG = CONFIG_ROOT / "pgbouncer" / "pgbouncer.ini"
REDIS_SERVER_UNIT = "redis-server.service"  # Debian's own instance, which is none of a site's
REDIS_SERVER_CONFIG = Path("/etc/redis/redis.conf")

# Names no site may have, and whose they are: its units, its state and its cache would take their places.
OWN_NAMES = {
    **{unit.removeprefix(UNIT_PREFIX): f"unit {unit}" for unit in (DEPLOYER_UNIT, RECOVER_UNIT)},
    PYTHONS.name: f"directory {PYTHONS}",
}
# Names no job may have.
OWN_PARTS = (BUILD_PART, PROCESS_PART, JOB_PART)


@dataclass(frozen=True)
class SitePaths:
    """The places of one site.

    :param site: the site's name; it is also its unix user, its database and its database role.
    """

    site: str

    @property
    def root(self) -> Path:
        return SITES_ROOT / self.site

    @property
    def current(self) -> Path:
        """The only pointer: a symlink to the live release; rename(2) over it is the commit point."""
        return self.root / "current"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def shared(self) -> Path:
        """What outlives a release: uploads, an SQLite file. Owned by the site's user."""
        return self.root / "shared"

    @property
    def media(self) -> Path:
        return self.shared / "media"

    @property
    def static_kept(self) -> Path:
        """Static files of earlier releases, for pages that were rendered before the switch."""
        return self.root / "static-kept"

    @property
    def environments(self) -> Path:
        """Virtualenvs, one per content; a release links to one of them."""
        return self.root / "venvs"

    @property
    def repository(self) -> Path:
        return self.root / "repo.git"

    @property
    def receive_config(self) -> Path:
        """What git takes for the site when it receives (`limits.push_size`). Root's: the repository's own is git's."""
        return CONFIG_ROOT / "git" / f"{self.site}.conf"

    @property
    def reserve(self) -> Path:
        """Room kept for the pointer and the records, given up when the disk is full (see `tree`)."""
        return self.root / ".reserve"

    @property
    def maintenance(self) -> Path:
        """While this file is there, nginx answers with the maintenance page."""
        return self.root / "maintenance"

    @property
    def user(self) -> str:
        return self.site

    @property
    def build_user(self) -> str:
        """Installs dependencies: what runs there is the project's, and it must see no secret."""
        return f"{self.site}-build"

    @property
    def config(self) -> Path:
        """What Ansible said about the site; no secrets."""
        return SITES_CONFIG / f"{self.site}.json"

    @property
    def env_file(self) -> Path:
        """EnvironmentFile of every process of the site; root only, holds the secrets."""
        return SITES_CONFIG / f"{self.site}.env"

    @property
    def secret_files(self) -> Path:
        """Directory of the secrets the project reads from files; the site's user may."""
        return SITES_CONFIG / f"{self.site}.secrets"

    @property
    def project_files(self) -> Path:
        """What is laid into the tree of each release, as JSON: path -> text; root only."""
        return SITES_CONFIG / f"{self.site}.files"

    @property
    def build_env_file(self) -> Path:
        """What only builds get: credentials of package indexes and registries; root only."""
        return SITES_CONFIG / f"{self.site}.build.env"

    @property
    def build_unit(self) -> str:
        """Of a build command while it runs. No name of a site holds a dot, so no other site's unit is called so."""
        return f"{self.unit_prefix}.{BUILD_PART}.service"

    @property
    def gunicorn_config(self) -> Path:
        return SITES_CONFIG / f"{self.site}.gunicorn.py"

    @property
    def state(self) -> Path:
        return STATE_ROOT / self.site

    @property
    def locks(self) -> Path:
        """What only root may open: whoever can open a file may keep a lock on it, and all others waiting (flock(2))."""
        return self.run / "locks"

    @property
    def lock(self) -> Path:
        """In memory and gone after a boot, like whoever held it: no full disk stands in the way of going back."""
        return self.locks / "deploy"

    @property
    def journal(self) -> Path:
        return self.state / "journal.jsonl"

    @property
    def pushes(self) -> Path:
        """A note for each push that was let in and is not at its end yet."""
        return self.state / "pushes"

    @property
    def queue(self) -> Path:
        """Who waits to put a revision live. In memory, like the lock they wait for."""
        return self.run / "queue"

    @property
    def cache(self) -> Path:
        return CACHE_ROOT / self.site

    @property
    def run(self) -> Path:
        return RUN_ROOT / self.site

    @property
    def unit_prefix(self) -> str:
        return f"{UNIT_PREFIX}{self.site}"

    @property
    def slice(self) -> str:
        """The slice all units of the site are in: what they may use together (`limits`).

        A dash in a slice's name means a slice inside another one (systemd.slice(5)), so those of the site's name are
        escaped as systemd-escape(1) does it: else the limits of `shop` would hold for `shop-eu`, too.
        """
        escaped = self.site.replace("-", "\\x2d")
        return f"{UNIT_PREFIX}{escaped}.slice"

    @property
    def slice_file(self) -> Path:
        return SYSTEMD_UNITS / self.slice

    @property
    def boot_unit(self) -> str:
        """Starts whatever `current` points at; so a boot asks the one pointer, too."""
        return f"{self.unit_prefix}.service"

    @property
    def service_template(self) -> Path:
        return SYSTEMD_UNITS / f"{self.unit_prefix}@.service"

    @property
    def socket_template(self) -> Path:
        return SYSTEMD_UNITS / f"{self.unit_prefix}@.socket"

    @property
    def access_log(self) -> Path:
        return NGINX_LOGS / f"{self.unit_prefix}.access.log"

    @property
    def error_log(self) -> Path:
        return NGINX_LOGS / f"{self.unit_prefix}.error.log"

    @property
    def process_template(self) -> Path:
        """Of what runs beside the web server. No name of a site holds a dot, so no other site's unit is called so."""
        return SYSTEMD_UNITS / f"{self.unit_prefix}.{PROCESS_PART}@.service"

    @property
    def job_template(self) -> Path:
        """Of what runs at its times (`schedule`)."""
        return SYSTEMD_UNITS / f"{self.unit_prefix}.{JOB_PART}@.service"

    @property
    def not_first(self) -> Path:
        """Is there when this is not the first of the site's hosts: what may run only once does not run here."""
        return SITES_CONFIG / f"{self.site}.not-first"

    @property
    def hold(self) -> Path:
        """While it says something, no job begins: a migration needs the database for itself."""
        return self.locks / "hold"

    @property
    def job_results(self) -> Path:
        """How the jobs of `schedule` ended last, a file for each."""
        return self.state / "jobs"

    @property
    def redis_config(self) -> Path:
        """Of the site's own instance of Debian's redis-server@.service; nobody but redis may enter /etc/redis."""
        return SITES_CONFIG / f"{self.site}.redis.conf"

    @property
    def redis_unit(self) -> str:
        return f"redis-server@{self.site}.service"

    @property
    def redis_data(self) -> Path:
        return Path("/var/lib") / f"redis-{self.site}"

    @property
    def redis_socket(self) -> Path:
        return Path("/run") / f"redis-{self.site}" / "redis.sock"

    @property
    def nginx_server(self) -> Path:
        return NGINX_SITES / f"djdeploy-{self.site}.conf"

    def release(self, release_id: str) -> ReleasePaths:
        return ReleasePaths(self.site, release_id)

    def as_dict(self) -> dict[str, str]:
        """All of it as text, for templates."""
        names = [name for name, value in vars(SitePaths).items() if isinstance(value, property)]
        return {name: str(getattr(self, name)) for name in names}


@dataclass(frozen=True)
class ReleasePaths:
    """The places of one release."""

    site: str
    release_id: str

    @property
    def root(self) -> Path:
        return SitePaths(self.site).releases / self.release_id

    @property
    def code(self) -> Path:
        """The tree of the revision. A directory of its own: projects often bring a `static/`."""
        return self.root / "code"

    @property
    def project(self) -> Path:
        """A link to the directory of manage.py in `code`: where the processes run."""
        return self.root / "project"

    @property
    def environment(self) -> Path:
        return self.root / ".venv"

    @property
    def static(self) -> Path:
        return self.root / "static"

    @property
    def public(self) -> Path:
        """What nginx serves from disk, laid out by URL: so STATIC_URL moves with the release."""
        return self.root / "public"

    @property
    def uploads(self) -> Path:
        """Uploads in the same way, apart: beside a visitor's file nginx must not look for a compressed one."""
        return self.root / "uploads"

    @property
    def settings(self) -> Path:
        """The generated settings module and what it reads."""
        return self.root / "settings"

    @property
    def env_file(self) -> Path:
        return self.root / "release.env"

    @property
    def pooled_env(self) -> Path:
        """Variables of what reaches PostgreSQL through PgBouncer: they win over those of the site and the release."""
        return self.root / "pooled.env"

    @property
    def serve(self) -> Path:
        """The command that serves it. Releases made by early versions have none, and are served by gunicorn."""
        return self.root / "serve"

    @property
    def record(self) -> Path:
        return self.root / "release.json"

    @property
    def revision(self) -> Path:
        return self.root / "REVISION"

    @property
    def processes(self) -> Path:
        """What the units beside the web server start, a directory for each."""
        return self.root / "processes"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def socket_link(self) -> Path:
        return self.root / ".sock"

    @property
    def socket(self) -> Path:
        return SitePaths(self.site).run / f"{self.release_id}.sock"

    @property
    def service_unit(self) -> str:
        return f"djdeploy-{self.site}@{self.release_id}.service"

    @property
    def socket_unit(self) -> str:
        return f"djdeploy-{self.site}@{self.release_id}.socket"

    def as_dict(self) -> dict[str, str]:
        names = [name for name, value in vars(ReleasePaths).items() if isinstance(value, property)]
        return {**asdict(self), **{name: str(getattr(self, name)) for name in names}}
