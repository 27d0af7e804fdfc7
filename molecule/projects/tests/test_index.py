# SPDX-License-Identifier: GPL-3.0-or-later
"""A private index of packages: who reads its password, and what is told when it does not answer as it should."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import projects
import pytest
import yaml
from cases import params
from hosts import Done, Playbooks, Site

NAME = "private-index"
PASSWORD = "s3cret/word"
WRITTEN = "s3cret(/|%2F)word"  # as it is, and as it stands in a URL
VARIABLES = f"/etc/djdeploy/sites/{NAME}.build.env"
PLACES = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
pytestmark = pytest.mark.parametrize(("case", "host"), params(NAME))
#: Reads a password, and until its input ends the words of all processes: those that hold it, and how many build.
WATCH = """\
import glob, select, sys
secret, seen = sys.stdin.readline().strip(), set()
while not select.select([sys.stdin], [], [], 0.01)[0]:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.add(open(path).read())
        except OSError:
            pass
print([words for words in seen if secret.split("/")[0] in words], len([words for words in seen if "uv\\0pip" in words]))
"""
TRUST = """\
- hosts: {host}
  become: true
  gather_facts: true
  force_handlers: true
  roles: [djdeploy.django.host]
"""
PYPROJECT = """\
[project]
name = "mysite"
version = "1"
requires-python = ">=3.11"
dependencies = ["Django~=5.2", "company-words", "gunicorn", "psycopg[binary]"]
"""


def push_anew(site: Site) -> Done:
    """Push what needs a virtualenv of its own, with nothing kept from earlier ones."""
    site.machine.root(f"rm -rf /var/cache/djdeploy/{NAME}/uv")
    site.change("requirements.txt", f"# {time.time()}\n", append=True)
    return site.push()


def refused(site: Site, done: Done, *says: str) -> None:
    site.undo()
    assert done.status != 0, done.output
    for text in says:
        assert text in done.output, done.output
    assert PASSWORD.split("/")[0] not in done.output
    assert "words of the company" in site.get("/").text, "the release before goes on"


def test_password_is_in_nobodys_hands_but_roots(site: Site) -> None:
    words = site.machine.ssh_words(f"python3 -c '{WATCH}'")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdin and watching.stdout
        watching.stdin.write(f"{PASSWORD}\n")
        watching.stdin.flush()
        pushed = push_anew(site)
        watching.stdin.close()
        held, builds = watching.stdout.read().rsplit(maxsplit=1)
    assert pushed.status == 0, pushed.output
    assert int(builds) > 0, "the watch saw nothing of the build: this proves nothing"
    assert held == "[]", "a process has the password in its words"
    assert PASSWORD.split("/")[0] not in pushed.output
    holders = site.machine.root(f"grep -rlaE '{WRITTEN}' {PLACES} 2> /dev/null | xargs stat --format '%a %U %n'")
    assert holders.splitlines() == [f"600 root {VARIABLES}", "600 root /opt/index/account"]
    told = f"journalctl --no-pager -o json; djdeploy config {NAME} --json; djdeploy history {NAME}"
    assert site.machine.root(f"({told}) | grep -cE '{WRITTEN}' || true").strip() == "0"


@pytest.mark.full
def test_wrong_password_names_the_key_to_set(site: Site) -> None:
    site.machine.root(f"cp -p {VARIABLES} /root/right && sed -i s/s3cret/s3crets/ {VARIABLES}")
    try:
        done = push_anew(site)
    finally:
        site.machine.root(f"mv /root/right {VARIABLES}")
    refused(site, done, "the package index on localhost:8443 refuses this host", "package_indexes")


def test_unknown_ca_names_the_key_to_set_and_that_helps(site: Site, ephemeral: Path, playbooks: Playbooks) -> None:
    site.machine.root("rm /usr/local/share/ca-certificates/djdeploy-company.crt && update-ca-certificates --fresh")
    done = push_anew(site)
    refused(site, done, "localhost:8443 shows a certificate this host does not trust", "djdeploy_ca_certificates")
    (site.folder / "company.pem").write_text(site.machine.root("cat /opt/index/ca.pem"))
    (site.folder / "trust.yml").write_text(TRUST.format(host=site.machine.name))
    known = yaml.safe_load((ephemeral / "inventory/connections.yml").read_text())["all"]["vars"]
    trusted = [*known["djdeploy_ca_certificates"], str(site.folder / "company.pem")]
    play = playbooks.run(str(site.folder / "trust.yml"), djdeploy_ca_certificates=trusted)
    assert play.status == 0, play.output
    again = push_anew(site)
    assert again.status == 0, again.output


@pytest.mark.full
def test_list_that_names_the_index_without_its_password_goes_live(site: Site) -> None:
    site.change("requirements.txt", "--extra-index-url https://localhost:8443/simple\n", append=True)
    site.machine.root(f"rm -rf /var/cache/djdeploy/{NAME}/uv")
    pushed = site.push()
    assert pushed.status == 0, pushed.output


@pytest.mark.full
def test_a_lock_that_was_made_with_the_index_holds_no_password_and_goes_live(site: Site) -> None:
    uv = "/usr/local/lib/djdeploy/uv/bin/uv"
    script = f"set -a; . {VARIABLES}; cd $(mktemp -d); cat > pyproject.toml <<'TOML'\n{PYPROJECT}TOML\n"
    lock = site.machine.root(f"{script}UV_SYSTEM_CERTS=1 {uv} lock --quiet; cat uv.lock")
    assert 'registry = "https://localhost:8443/simple"' in lock and "s3cret" not in lock
    projects.write(site.project, "pyproject.toml", PYPROJECT)
    projects.write(site.project, "uv.lock", lock)
    (site.project / "requirements.txt").unlink()
    projects.commit(site.project, "Lock")
    pushed = site.push()
    assert pushed.status == 0 and "requirements: uv.lock" in pushed.output, pushed.output
    assert "words of the company" in site.get("/").text
