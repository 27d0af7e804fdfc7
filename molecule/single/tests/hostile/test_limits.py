# SPDX-License-Identifier: GPL-3.0-or-later
"""A site that takes what it can get of its host: the one beside it answers all along, and root is always heard."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import time
from pathlib import Path

import projects
import pytest
from hosts import eventually
from load import Visitors

GREEDY = Path(__file__).with_name("limits_greedy.py")
URLS = """
from . import greedy
urlpatterns += [path(name, getattr(greedy, name)) for name in ("bomb", "eat", "script", "connect")]
"""
#: Keeps a lock on all it can open of the deployer's, and tells how much that is.
FLOCK = """
import fcntl, os, time
held = []
for folder, folders, files in os.walk("/run/djdeploy"):
    for name in (*folders, *files):
        try:
            held.append((os.path.join(folder, name), os.open(os.path.join(folder, name), os.O_RDONLY)))
            fcntl.flock(held[-1][1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pass
print("\\n".join(name for name, _descriptor in held), flush=True)
time.sleep(600)
"""
#: Opens connections to PostgreSQL and says nothing, until the server has ended all of them; tells after how long.
SILENT = """
import contextlib, socket, time
began, held = time.monotonic(), []
for _time in range(400):
    held.append(socket.socket(socket.AF_UNIX))
    held[-1].connect("/run/postgresql/.s.PGSQL.5432")
    held[-1].settimeout(120)
for each in held:
    with contextlib.suppress(ConnectionError):
        while each.recv(1000):
            pass
print(time.monotonic() - began)
"""


@pytest.fixture(scope="module")
def beside(site):
    """The other site, live."""
    own = site("greedy-eu")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


@pytest.fixture(scope="module")
def greedy(site, beside):
    """The site that takes what it can get, live."""
    own = site("greedy")
    projects.write(own.project, "notes/greedy.py", GREEDY.read_text())
    own.change("notes/urls.py", URLS, append=True)
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


@pytest.fixture
def unit(status):
    """The unit of the live release of a site."""
    return lambda name: f"djdeploy-{name}@{status(name)['live']['id']}.service"


@pytest.fixture
def again(greedy, server, unit):
    """The greedy site begins anew after the test, with nothing held."""
    yield
    server.run(f"systemctl restart {unit('greedy')}")
    eventually(lambda: greedy.get("/").status == 200, 120, "the greedy site is well again")


@pytest.fixture
def doctor(server):
    """What `djdeploy doctor` says of the limits of the greedy site."""

    def told() -> list[str]:
        return [line for line in server.run("djdeploy doctor greedy").stdout.splitlines() if "limits." in line]

    return told


def test_slices_lie_beside_each_other(greedy, beside, server, unit):
    for name, slice_name in (("greedy", "djdeploy-greedy.slice"), ("greedy-eu", r"djdeploy-greedy\x2deu.slice")):
        group = server.check_output("systemctl show -p ControlGroup --value %s", unit(name))
        assert group.startswith(f"/djdeploy.slice/{slice_name}/"), group
    assert server.check_output("systemctl show -p TasksMax --value djdeploy-greedy.slice") == "120"


def test_fork_bomb_ends_at_the_limit(greedy, beside, server, again, doctor):
    def tasks() -> int:
        return int(server.check_output("systemctl show -p TasksCurrent --value djdeploy-greedy.slice"))

    with Visitors(beside, 2) as seen:
        greedy.get("/bomb")
        eventually(lambda: tasks() > 60, 60, "it forks")
        most = max(tasks() for _look in range(5))
        told = doctor()
    assert most <= 120
    assert set(seen) == {200} and seen[200] > 5, seen
    assert any(line.startswith("BAD") and "limits.tasks" in line for line in told), told


def test_memory_hog_ends_alone(greedy, beside, doctor, again):
    with Visitors(beside, 2) as seen:
        assert greedy.get("/eat").status in (502, 504)
        eventually(lambda: greedy.get("/").status == 200, 60, "a worker takes its place")
        told = doctor()
    assert set(seen) == {200} and seen[200] > 5, seen
    assert any("limits.memory_max" in line for line in told), told


def test_redis_takes_no_more_than_its_site_may(greedy, beside, server):
    redis = "redis-server@greedy.service"
    group = server.check_output("systemctl show -p ControlGroup --value %s", redis)
    assert group == f"/djdeploy.slice/djdeploy-greedy.slice/{redis}"
    with Visitors(beside, 2) as seen:
        assert greedy.get("/script").json()["answer"] == "", "it was not ended"
        eventually(lambda: server.service(redis).is_running, 60, "systemd starts it again")
    assert set(seen) == {200} and seen[200] > 5, seen
    said = "journalctl --sync; journalctl --no-pager --output cat --lines 50 --unit %s | grep status=9/KILL"
    assert server.run(said, redis).rc == 0
    eventually(lambda: greedy.get("/").status == 200, 60, "its site is well")


def test_redis_sees_its_own_part_of_the_host(greedy, server):
    seen = f"/proc/{server.check_output('systemctl show -p MainPID --value redis-server@greedy.service')}/root"
    assert server.check_output("ls %s/etc/djdeploy/sites", seen) == "greedy.redis.conf"
    for path in ("/srv", "/var/lib/djdeploy", "/var/cache/djdeploy", "/run/djdeploy"):
        assert server.check_output("ls -A %s%s", seen, path) == "", path


def test_connections_of_one_site_are_not_all(greedy, beside, doctor, again, status):
    live = status("greedy")["live"]["id"]
    with Visitors(beside, 2) as seen:
        answer = greedy.get("/connect").json()
        assert 1 <= answer["held"] <= 12
        assert 'too many connections for role "greedy"' in answer["error"]
        told = doctor()
        greedy.change("notes/views.py", "\n# one more\n", append=True)
        pushed = greedy.push()
    greedy.undo()
    assert set(seen) == {200} and seen[200] > 5, seen
    assert any(line.startswith("BAD") and "limits.database_connections" in line for line in told), told
    assert pushed.status != 0 and "raise limits.database_connections of greedy" in pushed.output, pushed.output
    assert status("greedy")["live"]["id"] == live


def test_silent_connections_to_the_database_end_soon(greedy, beside, server):
    """More than PostgreSQL has room for, from who has not said who it is: others are kept out for seconds."""
    took = float(server.check_output("runuser -u greedy -- python3 -c %s", SILENT))
    assert took < 50, "it is 60 s where nobody says another time"
    eventually(lambda: beside.get("/").status == 200, 60, "there is room again")


def idle(site, ephemeral):
    """A push that sends nothing, and the first it was told: refs, or why not."""
    words = [
        "ssh",
        *site.machine.ssh_options(ephemeral / "laptop"),
        f"git@{site.machine.address}",
        "git-receive-pack 'greedy'",
    ]
    push = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return push, os.read(push.stdout.fileno(), 4)


def test_idle_pushes_keep_nobody_waiting(greedy, beside, server, ephemeral):
    pushes = []
    try:
        for _time in range(32):
            pushes.append(idle(greedy, ephemeral))
        let_in = [push for push, first in pushes if first]
        turned_away = [push for push, first in pushes if not first]
        assert len(let_in) == 16
        assert all(b"pushes open" in push.stderr.read() for push in turned_away)
        assert server.check_output("systemctl list-units --plain --no-legend 'djdeploy-deployer*@*'") == ""
        deployed = server.run("djdeploy deploy greedy-eu --force")
        assert deployed.rc == 0 and "is live as" in deployed.stdout, deployed
    finally:
        for push, _first in pushes:
            push.kill()
            push.communicate()
    eventually(lambda: server.run("pgrep --full receive-pack").stdout == "", 60, "they end")
    pushed = beside.push("main:idle")
    assert pushed.status == 0, pushed.output


def test_locks_of_others_cannot_be_held(greedy, beside, server):
    server.check_output("systemd-run --unit=flocker --uid=greedy --property=Type=exec python3 -c %s", FLOCK)
    try:
        # A directory that nginx has to enter may be held: nobody waits for it.
        said = "journalctl --sync; journalctl --unit flocker --output cat --no-pager | grep ^/run/djdeploy"
        eventually(lambda: "/run/djdeploy" in server.run(said).stdout, 60, "it holds what it can")
        held = server.check_output(said).split()
        assert not [path for path in held if not server.file(path).is_directory], held
        deployed = server.run("timeout 300 djdeploy deploy greedy-eu --force")
        assert deployed.rc == 0 and "is live as" in deployed.stdout, deployed
    finally:
        server.run("systemctl stop flocker; systemctl reset-failed flocker")


@pytest.mark.parametrize(
    ("files", "key"),
    [
        pytest.param({"noise.txt": lambda: os.urandom(2_000_000).hex()}, "push_size", id="big push"),
        pytest.param({f"zeros{number}.txt": lambda: "0" * 1_000_000 for number in range(12)}, "tree_size", id="bomb"),
    ],
)
def test_push_that_is_too_large_is_refused(greedy, beside, server, status, files, key):
    live, head = status("greedy")["live"]["id"], greedy.head()
    there = server.check_output("ls -A /srv/greedy/releases")
    for name, text in files.items():
        projects.write(greedy.project, name, text())
    projects.commit(greedy.project, "Large")
    pushed = greedy.push()
    greedy.undo(head)
    assert pushed.status != 0
    assert f"limits.{key}" in pushed.output and "djdeploy_sites" in pushed.output, pushed.output
    assert (status("greedy")["live"]["id"], greedy.branch()) == (live, head)
    assert server.check_output("ls -A /srv/greedy/releases") == there
    assert greedy.get("/").status == 200


def test_tree_without_end_is_refused(greedy, server, status):
    """Ten trees in each of ten, twelve times: listing it whole would take years."""
    live, head = status("greedy")["live"]["id"], greedy.head()
    tree = projects.git(greedy.project, "rev-parse", "HEAD^{tree}")
    for _level in range(12):
        listed = "".join(f"040000 tree {tree}\t{number}\n" for number in range(10))
        made = subprocess.run(
            ["git", "mktree"], cwd=greedy.project, input=listed, text=True, capture_output=True, check=True
        )
        tree = made.stdout.strip()
    commit = projects.git(greedy.project, "commit-tree", "-p", head, "-m", "Without end", tree)
    began = time.monotonic()
    pushed = greedy.push(f"{commit}:main", timeout=300)
    assert pushed.status != 0 and "limits.tree_size" in pushed.output, pushed.output
    assert time.monotonic() - began < 300
    assert status("greedy")["live"]["id"] == live


def test_slow_clients_of_one_site_leave_room(greedy, beside):
    """More than Debian's own nginx.conf lets two workers have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    machine, slow = beside.machine, []
    try:
        for _time in range(1700):
            slow.append(socket.create_connection((machine.address, machine.http_port), timeout=60))
            slow[-1].sendall(b"GET / HTTP/1.1\r\nHost: greedy.test\r\n")
        assert [beside.get("/").status for _time in range(20)] == [200] * 20
    finally:
        for each in slow:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.full
def test_another_limit_counts_without_a_restart(greedy, playbooks, server, unit, status):
    def run(check: bool = False, **overlay: object):
        play = playbooks.run("site.yml", check=check, djdeploy_host_sites={"greedy": overlay} if overlay else {})
        assert play.status == 0, play.output
        return play.changed["single-one"]

    def main_pid() -> str:
        return server.check_output("systemctl show -p MainPID --value %s", unit("greedy"))

    run()
    live, pid = status("greedy")["live"]["id"], main_pid()
    limits = {"tasks": 150, "memory_max": "700M", "database_connections": 13}
    try:
        told = run(check=True, limits=limits)
        assert 0 < told == run(limits=limits)
        assert run(limits=limits) == 0
        shown = server.check_output("systemctl show -p TasksMax,MemoryMax djdeploy-greedy.slice").splitlines()
        assert sorted(shown) == [f"MemoryMax={700 << 20}", "TasksMax=150"]
        said = "runuser -u postgres -- psql -XAtc \"SELECT rolconnlimit FROM pg_roles WHERE rolname = 'greedy'\""
        assert server.check_output(said) == "13"
        assert (status("greedy")["live"]["id"], main_pid()) == (live, pid)
    finally:
        run()


def test_pushes_that_send_nothing_end(server):
    """When they do, as sshd will keep it: nobody waits ten minutes for a test."""
    said = server.check_output("/usr/sbin/sshd -T -C user=git,host=somewhere,addr=192.0.2.1").splitlines()
    assert "channeltimeout session=10m" in said, [line for line in said if "timeout" in line]
    assert "unusedconnectiontimeout 30" in said, [line for line in said if "timeout" in line]
    others = server.check_output("/usr/sbin/sshd -T -C user=root,host=somewhere,addr=192.0.2.1").splitlines()
    assert "unusedconnectiontimeout none" in others, "who looks after the host may keep a connection"


@pytest.mark.full
def test_connections_that_ask_for_nothing_end(greedy, server, ephemeral):
    words = ["ssh", "-N", *greedy.machine.ssh_options(ephemeral / "laptop"), f"git@{greedy.machine.address}"]
    waits = [subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _time in range(5)]
    try:
        there = "pgrep --count --uid git sshd"
        eventually(lambda: int(server.run(there).stdout) >= len(waits), 60, "they are let in")
        for each in waits:
            each.wait(timeout=120)
        eventually(lambda: server.run(there).stdout.strip() == "0", 60, "sshd has none of them left")
    finally:
        for each in waits:
            each.kill()
            each.wait()
