# SPDX-License-Identifier: GPL-3.0-or-later
"""Root works where a site or a build can exchange every name, and touches nothing but what it was asked to."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from projects import git

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import descriptors_project as made  # noqa: E402

ROUNDS = 200
GROUND = "/srv/swaps/ground"  # in a directory of root's, on the file system of the sites
EVERY_RUN = ("open_uploads", "take_and_compress", "take_environment", "read")
FULL = ("close_rest", "let_site_read", "lay_files", "dropped", "remove")

# Runs as the site's user: `media` is now a directory, now a link to a directory of root's.
EXCHANGE_MEDIA = """\
import os, contextlib
os.chdir('/srv/swaps/shared')
with contextlib.suppress(OSError):
    os.symlink('/srv/canary-media', 'link')
while True:
    for before, after in (('media', 'other'), ('link', 'media'), ('media', 'link'), ('other', 'media')):
        with contextlib.suppress(OSError):
            os.rename(before, after)
"""


# Runs as what serves the site does, and looks for a tree that is being made: by its name, and through every process of
# its own user, such as that of the checks.
INTRUDE = """\
import glob, os
tries = 0
while True:
    for place in ('', *glob.glob('/proc/[0-9]*/root')):
        try:
            releases = os.listdir(f'{place}/srv/swaps/releases')
        except OSError:
            continue
        for release in releases:
            tries += 1
            static = f'{place}/srv/swaps/releases/{release}/static'
            try:
                file = open(f'{static}/intruder.js', 'x')
            except OSError:
                continue
            with open('/srv/swaps/shared/intruded', 'a') as notes:
                print(file.name, file=notes)
    with open('/srv/swaps/shared/tries.new', 'w') as notes:
        print(tries, file=notes)
    os.replace('/srv/swaps/shared/tries.new', '/srv/swaps/shared/tries')
"""


@pytest.fixture(scope="module")
def races(web):
    """Run one operation of the engine on the host against a process of the site's user."""

    def run(operation: str, rounds: int = ROUNDS) -> dict:
        words = f"PYTHONPATH=/usr/local/lib/djdeploy/engine python3 - {operation} {rounds} swaps {GROUND}"
        done = subprocess.run(
            web.ssh_words(words),
            input=(HERE / "descriptors_races.py").read_text(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    return run


def test_the_other_side_wins_against_a_path(races):
    """What stands below proves something: chown(2) by a path that was looked at before is led away."""
    assert not races("naive", 10 * ROUNDS)["unchanged"]


@pytest.mark.parametrize("operation", [*EVERY_RUN, *(pytest.param(name, marks=pytest.mark.full) for name in FULL)])
def test_nothing_outside_is_read_or_changed(races, operation):
    found = races(operation)
    assert found["unchanged"], found["canary"]
    assert found["leaks"] == []
    assert found["swapped"] > ROUNDS, "the other side must have run"
    assert found["done"] + found["refused"] >= ROUNDS and found["done"] > 0, found["errors"]


@pytest.fixture(scope="module")
def swaps(site, web):
    """The site with an honest release live."""
    found = site("swaps")
    pushed = found.push()
    assert pushed.status == 0, pushed.output
    web.root(
        f"umask 077; yes canary-in-a-file-of-root | head -n 200 > {made.CANARY}; rm -f {made.PLANTED}; "
        "rm -rf /srv/canary-media; mkdir -m 700 /srv/canary-media"
    )
    return found


@pytest.fixture(scope="module")
def hostile(swaps):
    made.make_hostile(swaps.project)
    return swaps


@pytest.mark.parametrize("number", [0, *(pytest.param(each, marks=pytest.mark.full) for each in range(1, 5))])
def test_what_settings_and_a_package_leave_running_reads_nothing_and_is_ended(hostile, server, web, status, number):
    hostile.change("grab/again.py", f"NUMBER = {number}\n")  # the package is another one, so it is built again
    pushed = hostile.push()
    assert pushed.status == 0, pushed.output
    release = status("swaps")["live"]["id"]
    static = f"/srv/swaps/releases/{release}/static"
    assert server.check_output(f"find {static} -name '*.css' -type f") != ""
    assert server.run(f"grep -rlsa canary-in-a-file {static}").stdout == ""
    assert server.run(f"find {static} -name '*.gz' -exec zcat {{}} + | grep -c canary-in-a-file").stdout.strip() == "0"
    assert server.check_output(f"find {static} ! -type l ! -user root") == "", "they are root's"
    assert server.check_output(f"stat -c '%U %a' {made.CANARY}") == "root 600"
    assert not server.file(made.PLANTED).exists
    venv = server.check_output(f"readlink -f /srv/swaps/releases/{release}/.venv")
    assert server.check_output(f"stat -c '%F %U' {venv}/.complete") == "regular file root"
    assert server.run("pgrep -u swaps-build").stdout == ""
    # The bracket keeps pgrep's own shell out.
    assert server.run(f"pgrep -f '[{made.SWAPPER[0]}]{made.SWAPPER[1:]}'").stdout == ""
    assert hostile.get("/").status == 200


def test_what_serves_does_not_enter_a_release_that_is_being_made(swaps, web, server, status):
    web.root(
        "rm -f /srv/swaps/shared/intruded /srv/swaps/shared/tries; systemd-run --quiet --unit=djdeploy-test-intruder"
        f" --uid=swaps --gid=swaps python3 -c {shlex.quote(INTRUDE)}"
    )
    try:
        swaps.change("notes/static/more.css", "p { margin: 0 }\n" * 100)
        pushed = swaps.push()
    finally:
        web.root("systemctl stop djdeploy-test-intruder")
    assert pushed.status == 0, pushed.output
    assert int(server.check_output("cat /srv/swaps/shared/tries")) > 100
    assert server.run("cat /srv/swaps/shared/intruded").stdout == ""
    release = f"/srv/swaps/releases/{status('swaps')['live']['id']}"
    assert server.check_output(f"find {release}/ -name 'intruder*'") == ""
    assert server.check_output(f"stat -c '%a %U:%G' {release}") == "755 root:swaps"
    assert swaps.get("/").status == 200


def test_a_repository_within_the_repository_is_refused_by_its_path(swaps):
    inner = swaps.project / "lib" / "inner"
    inner.mkdir(parents=True)
    git(inner, "init", "--quiet")
    git(inner, "commit", "--quiet", "--allow-empty", "--message", "Inner")
    swaps.change("notes/more.py", "")
    pushed = swaps.push()
    assert pushed.status != 0
    assert "the files of lib/inner are not part of a push" in pushed.output
    assert "git rm --cached lib/inner" in pushed.output
    swaps.undo()
    assert swaps.get("/").status == 200


@pytest.mark.full
def test_site_yml_gives_no_directory_of_roots_away_and_does_not_fail(swaps, web, server, playbooks):
    web.root(f"systemd-run --quiet --unit=djdeploy-test-media --uid=swaps python3 -c {shlex.quote(EXCHANGE_MEDIA)}")
    try:
        for _time in range(5):
            play = playbooks.run("site.yml")
            assert play.status == 0, play.output
            assert server.check_output("stat -c '%U %a' /srv/canary-media") == "root 700"
    finally:
        web.root(
            "systemctl stop djdeploy-test-media; cd /srv/swaps/shared; rm -rf link other; test ! -L media || rm media"
        )
    assert playbooks.run("site.yml").status == 0
    assert server.check_output("stat -c '%F %U' /srv/swaps/shared/media") == "directory swaps"
