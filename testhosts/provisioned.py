# SPDX-License-Identifier: GPL-3.0-or-later
"""What a provisioned image is: a bare host on which site.yml has run for both groups and no site.

Its name holds a digest of everything that decides what is in it, so one that is out of date is never booted. All here
is data in, data out; `building` does it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

SUITES = ("trixie", "bookworm")
REPOSITORY = "localhost/djdeploy-host-provisioned"
SUITE_LABEL = "djdeploy.provisioned-suite"

COLLECTION = "collections/ansible_collections/djdeploy/django"
# Files and directories of the checkout, as patterns, that can change what site.yml makes of a bare host.
INPUTS = (
    "site.yml",
    "playbooks/site.yml",
    "ansible.cfg",
    "requirements.txt",
    "requirements.yml",
    f"{COLLECTION}/galaxy.yml",
    f"{COLLECTION}/meta",
    f"{COLLECTION}/plugins",
    f"{COLLECTION}/roles",
    "script/host",
    "testhosts",
)
CASES = "molecule/*/corpus/*/case.toml"
# Debian packages that scenarios install later: what site.yml adds for the first site that asks, and what tests use.
LATER_PACKAGES = ("faketime", "mariadb-server", "pgbouncer", "redis-server", "strace")
LISTS = "molecule/*/corpus/*/**/requirements*.txt"
# Python packages nearly every site gets, whether its project lists them or not.
USUAL_REQUIREMENTS = ("gunicorn", "psycopg[binary]")
PLAIN = r"\w[\w.-]*(\[[\w,-]+])?([=<>!~][^\\]*)?"  # a line of requirements that pip takes on its command line
WHEELS = "/opt/wheels"
# What has to work on a host before its image is kept.
SERVICES = ("djdeploy-deployer.socket", "nginx.service", "postgresql.service")


def builder_name(suite: str) -> str:
    """Name the host an image is made of; it is left for a look when that fails."""
    return f"provisioning-{suite}"


def image_name(suite: str, digest: str) -> str:
    """Name a provisioned image."""
    return f"{REPOSITORY}:{suite}-{digest}"


def is_input(name: str) -> bool:
    """Whether a file of this name can change the outcome: not what tools leave behind, not what only people read."""
    return not (name.startswith(".") or name.endswith((".pyc", "~", ".md")))


def input_files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every file that decides what site.yml makes of a host: its path in the checkout, and its content."""
    for pattern in INPUTS:
        for top in sorted(root.glob(pattern)) or [root / pattern]:
            below = [path for path in top.rglob("*") if path.is_file()] if top.is_dir() else [top]
            for path in sorted(below):
                if is_input(path.name) and "__pycache__" not in path.parts:
                    yield path.relative_to(root).as_posix(), path.read_bytes()


def case_packages(texts: Iterable[str]) -> set[str]:
    """The Debian packages that sites of these case files ask for."""
    return {package for text in texts for package in tomllib.loads(text).get("site", {}).get("packages", ())}


def later_packages(root: Path) -> list[str]:
    """The Debian packages to have at hand: a scenario installs them on top, without a download."""
    texts = [path.read_text(encoding="utf-8") for path in root.glob(CASES)]
    return sorted(case_packages(texts).union(LATER_PACKAGES))


def shared_requirements(texts: Iterable[str]) -> set[str]:
    """The lines that stand in more than one of these lists of requirements, and no options, hashes or comments."""
    lines = Counter(line for text in texts for line in {line.strip() for line in text.splitlines()})
    return {line for line, number in lines.items() if number > 1 and re.fullmatch(PLAIN, line)}


def later_requirements(root: Path) -> list[str]:
    """The Python packages to have at hand: what a case would download again that another had."""
    texts = [path.read_text(encoding="utf-8") for path in root.glob(LISTS)]
    return sorted(shared_requirements(texts).union(USUAL_REQUIREMENTS))


def digest(
    recipe: str, files: Iterable[tuple[str, bytes]], packages: Iterable[str], requirements: Iterable[str] = ()
) -> str:
    """Name everything that decides what is in a provisioned image.

    :param recipe: of the bare image.
    :param files: names and contents, the certificates that hosts are given among them.
    :param packages: Debian packages that are downloaded for later.
    :param requirements: Python packages that are.
    """
    hashes = [(name, hashlib.sha256(content).hexdigest()) for name, content in files]
    text = json.dumps([recipe, sorted(hashes), sorted(packages), sorted(requirements)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def build_inventory(connections: Mapping[str, Any], certificates: Iterable[str]) -> dict[str, Any]:
    """The inventory of a build: the one host is in both groups, and there is no site.

    :param connections: an inventory that says how hosts are reached.
    :param certificates: files of the machine's own certificate authorities.
    """
    names: dict[str, Any] = {name: {} for name in connections["all"]["hosts"]}
    return {
        "all": {
            **connections["all"],
            "vars": {"djdeploy_sites": {}, "djdeploy_ca_certificates": list(certificates)},
            "children": {"web": {"hosts": names}, "database": {"hosts": names}},
        }
    }


def ansible_environment(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """The environment of site.yml: the settings of the checkout, whatever the caller (molecule) sets for its own."""
    kept = {name: value for name, value in environment.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    return {**kept, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"}


def play_name(line: str) -> str | None:
    """The name of the play that begins with a line of ansible-playbook's output."""
    match = re.match(r"PLAY \[(.*)\] \*+$", line.rstrip())
    return match[1] if match else None


def download_command(packages: Iterable[str]) -> list[str]:
    """Fill apt's archive. What is installed already needs no archive any more, so the old content goes first."""
    install = 'apt-get -qq install --yes --no-install-recommends --download-only -- "$@"'
    return ["sh", "-euc", f"apt-get clean; DEBIAN_FRONTEND=noninteractive {install}", "warm", *packages]


def wheels_command(requirements: Iterable[str]) -> list[str]:
    """Lay wheels where uv finds them by the operator's own file, /etc/uv/uv.toml.

    The index is asked as ever, and says which versions there are; only the file of such a version is not downloaded.
    """
    text = f"""
mkdir -p /etc/uv {WHEELS}
PIP_CERT=/etc/ssl/certs/ca-certificates.crt /usr/local/lib/djdeploy/uv/bin/pip download --quiet --no-cache-dir \
    --disable-pip-version-check --only-binary=:all: --dest {WHEELS} -- "$@"
chmod -R a=rX {WHEELS}
echo 'find-links = ["{WHEELS}"]' >/etc/uv/uv.toml
"""
    return ["sh", "-euc", text, "wheels", *requirements]


# Runs on the host, which is switched off after it. PostgreSQL must have written everything: the image is its disk.
# The key of ssl-cert stays, which all hosts of one image share: they are thrown away, and those that speak TLS with
# each other (the scenario `fleet`) begin bare. The stamps of timers go, for a job that is overdue would run at boot.
FORGET = """
systemctl stop '*.timer' nginx.service djdeploy-deployer.socket postgresql.service 'postgresql@*.service'
for cluster in /var/lib/postgresql/*/main; do
    version=$(basename "$(dirname "$cluster")")
    "/usr/lib/postgresql/$version/bin/pg_controldata" "$cluster" | grep -q 'cluster state: *shut down$' ||
        { echo "PostgreSQL $version was not shut down cleanly" >&2; exit 1; }
done
rm -rf /root/.ssh /root/.ansible /root/.cache /etc/ssh/ssh_host_* /var/lib/systemd/random-seed \
    /var/lib/systemd/credential.secret /var/lib/systemd/timers /var/lib/dbus/machine-id /var/tmp/*
find /var/log -path /var/log/journal -prune -o -type f -exec truncate --size 0 {} +
: >/etc/machine-id
"""


def forget_command() -> list[str]:
    """Make a host forget what belongs to one machine; systemd and script/host give the next one its own."""
    return ["sh", "-euc", FORGET]


def commit_command(container: str, suite: str, image: str) -> list[str]:
    """The podman command that keeps a host that is switched off as an image."""
    return ["commit", "--quiet", "--change", f"LABEL {SUITE_LABEL}={suite}", container, image]
