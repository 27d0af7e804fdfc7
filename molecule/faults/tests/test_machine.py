# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine fails while a release is made: a reboot, a full disk, no memory, no database, no network, a wrong clock.

The project brings hooks with it (`mysite/faults.py`): at a phase of its deploy it runs what the test has put into a
file. So a fault comes exactly at its phase, and nothing is guessed by time.

Each kind of failure comes in every run; where it comes in several forms, the others come in full.
"""

from __future__ import annotations

import re
import subprocess
import time

import hosts
import projects
import pytest
from hosts import eventually
from load import Visitors

SHARED = "/srv/notes/shared"
PATIENCE = 300  # seconds for anything that is waited for: it comes, or the machine is broken
FAULTS = f'''
import os
import pathlib
import sys


def is_live():
    return os.path.basename(os.path.realpath("/srv/notes/current")) == os.environ["DJDEPLOY_RELEASE"]


def fault(phase):
    """Do what is written for a phase of this release: once, but at its start in each process."""
    path = pathlib.Path("{SHARED}/fault-" + phase)
    if path.exists() and is_live() == (phase == "verify"):
        text = path.read_text()
        if phase != "start":
            path.unlink(missing_ok=True)
        exec(text, {{}})
'''
MIGRATION = """
from django.db import migrations
from mysite.faults import fault


class Migration(migrations.Migration):
    djdeploy = "additive"
    dependencies = [("notes", "{after}")]
    operations = [migrations.RunPython(lambda apps, editor: fault("migrate"), migrations.RunPython.noop)]
"""
# What a hook does: wait and say so, take all bytes or all inodes of the disk, or more memory than there is.
HOLD = f"import pathlib, time; pathlib.Path('{SHARED}/held').touch(); time.sleep({PATIENCE})"
HOLD_UNTIL_TOLD = f"""
import os, pathlib, time
pathlib.Path('{SHARED}/held').touch()
while os.path.exists('{SHARED}/held'):
    time.sleep(0.1)
"""
FILL = {
    "bytes": f"""
import fcntl, os
with open('{SHARED}/filler', 'ab') as file:
    fcntl.flock(file, fcntl.LOCK_EX)  # one of the workers takes it all, before any of them serves
    free = os.statvfs('{SHARED}')
    if free.f_bavail:
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize)
""",
    "inodes": f"""
import fcntl, itertools, os
os.makedirs('{SHARED}/filler', exist_ok=True)
folder = os.open('{SHARED}/filler', os.O_RDONLY)
fcntl.flock(folder, fcntl.LOCK_EX)
try:
    for number in itertools.count() if not os.listdir(folder) else ():
        os.close(os.open(str(number), os.O_CREAT, dir_fd=folder))
except OSError:
    pass
os.close(folder)
""",
}
RESOURCES = ["bytes", pytest.param("inodes", marks=pytest.mark.full)]
DEVOUR = "taken = [bytearray(b'x' * (1 << 20)) for _ in range(1000)]"


@pytest.fixture(scope="module")
def host(web):
    """Run a shell script on the host as root, and return what it wrote; it must end well unless told otherwise."""

    def run(script: str, *, fails: bool = False) -> str:
        done = subprocess.run(
            web.ssh_words("sh", "-eu"), input=script, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        assert (done.returncode != 0) == fails, f"{script}\nended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def notes(site):
    """The site `notes`, live with the hooks in its code."""
    own = site("notes")
    if not (own.project / "mysite/faults.py").exists():
        views = (own.project / "notes/views.py").read_text()
        projects.write(own.project, "mysite/faults.py", FAULTS)
        build = '\nfrom mysite.faults import fault\n\nfault("build")\n'
        projects.write(own.project, "mysite/settings.py", build, append=True)
        start = '\nimport sys\n\nfrom mysite.faults import fault\n\nif "gunicorn" in sys.modules:\n    fault("start")\n'
        projects.write(own.project, "mysite/wsgi.py", start, append=True)
        views = views.replace("    context = {", '    fault("verify")\n    context = {', 1)
        views = views.replace("from .models", "from mysite.faults import fault\n\nfrom .models", 1)
        projects.write(own.project, "notes/views.py", views)
        projects.commit(own.project, "Bring hooks for faults")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


def next_change(notes, *, migration: bool = False) -> str:
    """Commit something new, with a migration or without."""
    if migration:
        known = sorted(path.stem for path in (notes.project / "notes/migrations").glob("0*.py"))
        text = MIGRATION.format(after=known[-1])
        return notes.change(f"notes/migrations/{len(known) + 1:04}_fault.py", text)
    return notes.change("notes/views.py", f"\n# {time.monotonic()}\n", append=True)


@pytest.fixture
def at(host):
    """Say what is to happen at a phase of the next release."""

    def say(phase: str, text: str) -> None:
        host(f"cat > {SHARED}/fault-{phase} <<'END'\n{text}\nEND\nchown notes: {SHARED}/fault-{phase}")

    yield say
    host(f"rm -rf {SHARED}/fault-* {SHARED}/held {SHARED}/filler")


@pytest.fixture
def branch(host):
    """The commit the branch points at on the host."""
    return lambda: host("git -c safe.directory='*' -C /srv/notes/repo.git rev-parse main").strip()


@pytest.fixture
def clean(notes, host, status, branch):
    """What must be so after a fault, and is looked at after each test: nothing is left, and the next push goes live."""

    def at_rest() -> bool:
        return not host("systemctl list-units --plain --no-legend 'djdeploy-deployer*@*.service'").strip()

    def only_live_runs() -> bool:
        units = host("systemctl list-units --plain --no-legend --all 'djdeploy-notes@*' | cut -d' ' -f1").split()
        live = status("notes")["live"]["id"]
        return sorted(units) == [f"djdeploy-notes@{live}.service", f"djdeploy-notes@{live}.socket"]

    def look() -> None:
        eventually(at_rest, PATIENCE, "the deployer ends")
        eventually(only_live_runs, PATIENCE, "only the units of the live release are there")
        live = status("notes")["live"]
        assert status("notes")["state"] == "serving"
        assert host("systemctl --failed --plain --no-legend").strip() == ""
        assert host("ls /run/djdeploy/notes").split() == [f"{live['id']}.sock", "locks", "queue"]
        assert host("ls /run/djdeploy/notes/queue") == "", "nobody works or waits, so nobody has a ticket"
        stray = host(
            "cd /srv/notes; find . releases venvs -maxdepth 1 -name '.*' ! -name . ! -name .reserve;"
            " find releases -name '*.new' -o -name .compiled"
        )
        assert stray.strip() == "", "something half made was left"
        assert "preparing" not in {each["state"] for each in status("notes")["releases"]}
        assert notes.get("/").status == 200

    yield look
    head = next_change(notes)
    pushed = notes.push()
    assert pushed.status == 0, f"the next push must go live with no manual step\n{pushed.output}"
    look()
    assert branch() == status("notes")["live"]["revision"] == head


@pytest.fixture
def visitors(notes):
    """Requests all the while; none may fail."""
    with Visitors(notes, threads=2, pause=0.03) as seen:
        yield
    assert set(seen) == {200}, seen


def held(host) -> None:
    eventually(lambda: "held" in host(f"ls {SHARED}"), PATIENCE, "the deploy reaches the hook")


def forget(notes, branch) -> None:
    """Take the project back to what the host has, after a push that was refused."""
    notes.undo(branch())


# --- a reboot -------------------------------------------------------------------------------------


def restart(web, notes) -> None:
    hosts.restart(web.name)

    def serves() -> bool:
        try:
            return notes.get("/").status == 200
        except OSError:
            return False

    eventually(serves, PATIENCE, "the site serves again after a reboot")


@pytest.mark.parametrize(
    ("phase", "goes_live"),
    [
        pytest.param("build", False, marks=pytest.mark.full),
        ("migrate", False),
        pytest.param("start", False, marks=pytest.mark.full),
        pytest.param("verify", True, marks=pytest.mark.full),
    ],
)
def test_reboot_in_a_deploy(clean, at, notes, web, host, status, branch, phase, goes_live):
    """One whole release serves after it. Before the rename it is the old one, after it the new one."""
    before = status("notes")["live"]["revision"]
    head = next_change(notes, migration=phase == "migrate")
    at(phase, HOLD)
    push = notes.pushing()
    held(host)
    host(f"rm -f {SHARED}/fault-*")
    restart(web, notes)
    push.communicate(timeout=PATIENCE)
    assert push.returncode != 0
    assert status("notes")["live"]["revision"] == (head if goes_live else before)
    assert status("notes")["live"]["state"] == "live"
    eventually(
        lambda: host("systemctl is-system-running || true").strip() == "running", PATIENCE, "the host has booted"
    )
    assert branch() == status("notes")["live"]["revision"]


# --- a full disk ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_disk(notes, host):
    """Everything of the site on a file system of its own, with room for a few releases.

    nginx sees what is mounted when it starts: in a container systemd leaves mounts private (systemd's mount_setup).
    """
    host(
        "cp -a /srv/notes /srv/notes.kept\n"
        "mount -t tmpfs -o size=260m,nr_inodes=24000,mode=755 small /srv/notes\n"
        "cp -a /srv/notes.kept/. /srv/notes/\n"
        "systemctl restart nginx"
    )
    yield
    host(
        "rm -rf /srv/notes.kept\n"
        "cp -a /srv/notes /srv/notes.kept\n"
        "umount -l /srv/notes\n"
        "find /srv/notes -mindepth 1 -delete\n"
        "cp -a /srv/notes.kept/. /srv/notes/\n"
        "rm -rf /srv/notes.kept\n"
        "systemctl restart nginx"
    )


@pytest.mark.full
@pytest.mark.parametrize("resource", RESOURCES)
def test_disk_full_while_built(small_disk, clean, visitors, at, notes, host, status, branch, resource):
    before = status("notes")["live"]["id"]
    next_change(notes)
    at("build", FILL[resource])
    pushed = notes.push()
    assert pushed.status != 0
    assert "the disk is full: /srv/notes: free 0.0 MiB" in pushed.output or resource == "inodes", pushed.output
    assert "the disk is full: /srv/notes: free" in pushed.output, pushed.output
    assert status("notes")["live"]["id"] == before
    host(f"rm -r {SHARED}/filler")
    forget(notes, branch)
    clean()


@pytest.mark.parametrize("phase", [pytest.param("migrate", marks=pytest.mark.full), "start"])
@pytest.mark.parametrize("resource", RESOURCES)
def test_disk_full_before_the_switch(small_disk, clean, visitors, at, notes, host, status, branch, resource, phase):
    """A switch needs no room, nor does the way back; what does is refused, with what is needed and what is free."""
    before = status("notes")["live"]["id"]
    head = next_change(notes, migration=phase == "migrate")
    at(phase, FILL[resource])
    pushed = notes.push()
    assert pushed.status == 0, pushed.output
    live = status("notes")["live"]
    assert live["revision"] == head == branch()
    refused = host("djdeploy deploy notes --force", fails=True)
    assert "not enough room on /srv/notes/releases: needed " in refused and ", free " in refused, refused
    assert "df -i /srv/notes), or lower keep_releases of notes" in refused
    back = host("djdeploy rollback notes")
    assert f"is back at {before[-7:]}" in back, back
    assert status("notes")["live"]["id"] == before
    host(f"rm -r {SHARED}/filler")
    clean()
    assert {each["id"]: each["state"] for each in status("notes")["releases"]}[before] == "live"


@pytest.mark.full
def test_state_directory_full(clean, visitors, notes, host, status):
    """Where no history can be written, nothing new is made; the way back needs no history."""
    host(
        "cp -a /var/lib/djdeploy/notes /var/lib/djdeploy/kept; mount -t tmpfs -o size=64k state /var/lib/djdeploy/notes"
    )
    try:
        host("dd if=/dev/zero of=/var/lib/djdeploy/notes/filler 2>/dev/null || true")
        before = status("notes")["live"]["id"]
        refused = host("djdeploy deploy notes --force", fails=True)
        assert "not enough room on /var/lib/djdeploy/notes: needed 1.0 MiB" in refused, refused
        assert "is back at" in host("djdeploy rollback notes")
        assert status("notes")["live"]["id"] != before
        assert f"({before})" in host(f"djdeploy rollback notes --to {before}")
    finally:
        host("umount -l /var/lib/djdeploy/notes; rm -r /var/lib/djdeploy/kept")


# --- memory ---------------------------------------------------------------------------------------


def test_new_release_runs_out_of_memory(clean, visitors, at, notes, host, status, branch):
    """It is refused with its cause named, and it is the new one that is ended, not the one that serves."""
    before = status("notes")["live"]["id"]
    limit = "/run/systemd/system/djdeploy-notes@.service.d/limit.conf"
    host(f"mkdir -p {limit.rpartition('/')[0]}; printf '[Service]\nMemoryMax=300M\nMemorySwapMax=0\n' > {limit}")
    host("systemctl daemon-reload")
    try:
        next_change(notes)
        at("start", DEVOUR)
        pushed = notes.push()
    finally:
        host(f"rm {limit}; systemctl daemon-reload")
    assert pushed.status != 0
    assert "it ran out of memory while starting" in pushed.output and "web.memory_max" in pushed.output, pushed.output
    assert status("notes")["live"]["id"] == before
    forget(notes, branch)


@pytest.mark.full
def test_unproven_release_is_what_the_kernel_prefers_to_end(clean, at, notes, host, status):
    def marks(release: str) -> set[str]:
        main = host(f"systemctl show -p MainPID --value djdeploy-notes@{release}.service").strip()
        return set(
            host(
                f"cat /proc/{main}/oom_score_adj; for p in $(pgrep -P {main}); do cat /proc/$p/oom_score_adj; done"
            ).split()
        )

    before = status("notes")["live"]["id"]
    assert marks(before) == {"0"}
    next_change(notes)
    at("start", HOLD_UNTIL_TOLD)
    push = notes.pushing()
    held(host)
    units = host("systemctl list-units --plain --no-legend 'djdeploy-notes@*.service'")
    (new,) = {line.split("@")[1].split(".service")[0] for line in units.splitlines()} - {before}
    assert (marks(before), marks(new)) == ({"0"}, {"500"})
    host(f"rm {SHARED}/held {SHARED}/fault-start")
    said, _nothing = push.communicate(timeout=PATIENCE)
    assert push.returncode == 0, said
    assert marks(new) == {"0"}


# --- the database, the network, nginx -------------------------------------------------------------


def test_database_restarted_while_migrating(clean, at, notes, host, status, branch):
    """It may end well or be refused; either way one release serves, and the branch says which."""
    before, head = status("notes")["live"]["revision"], next_change(notes, migration=True)
    at("migrate", HOLD_UNTIL_TOLD)
    push = notes.pushing()
    held(host)
    host(f"systemctl restart postgresql; rm {SHARED}/held")
    said, _nothing = push.communicate(timeout=PATIENCE)
    assert branch() == status("notes")["live"]["revision"] == (head if push.returncode == 0 else before), said
    if push.returncode:
        forget(notes, branch)


@pytest.mark.full
def test_database_stopped(clean, notes, host, status, branch):
    before = status("notes")["live"]["id"]
    next_change(notes)
    host("systemctl stop postgresql")
    try:
        pushed = notes.push()
    finally:
        host("systemctl start postgresql")
    assert pushed.status != 0
    assert "the database 'default' (postgresql 'notes'" in pushed.output and "cannot be reached" in pushed.output
    assert status("notes")["live"]["id"] == before
    forget(notes, branch)


@pytest.mark.full
def test_package_index_unreachable(clean, visitors, notes, host, status, branch):
    """What is installed already needs no network; what is not is refused in one line."""
    before = status("notes")["live"]["id"]
    host("cp /etc/resolv.conf /root/resolv.conf; echo nameserver 127.0.0.1 > /etc/resolv.conf")
    try:
        next_change(notes)
        pushed = notes.push()
        assert pushed.status == 0, pushed.output
        notes.change("requirements.txt", "djdeploy-there-is-no-such-package==1.0\n", append=True)
        live = status("notes")["live"]["id"]
        assert live != before
        pushed = notes.push()
    finally:
        host("cat /root/resolv.conf > /etc/resolv.conf")
    assert pushed.status != 0
    assert status("notes")["live"]["id"] == live
    assert "the package index cannot be reached" in pushed.output, pushed.output
    forget(notes, branch)


@pytest.mark.full
def test_nginx_stopped_in_a_deploy(clean, at, notes, host, status, branch):
    before = status("notes")["live"]["id"]
    next_change(notes)
    at("start", HOLD_UNTIL_TOLD)
    push = notes.pushing()
    held(host)
    host(f"systemctl stop nginx; rm {SHARED}/held {SHARED}/fault-start")
    said, _nothing = push.communicate(timeout=PATIENCE)
    host("systemctl start nginx")
    assert push.returncode != 0
    assert "nginx does not run" in said and "systemctl start nginx" in said, said
    assert status("notes")["live"]["id"] == before
    forget(notes, branch)


@pytest.mark.full
def test_nginx_configuration_broken_by_hand(clean, visitors, notes, host, status):
    """A deploy does not reload nginx, so what somebody left half edited does not matter to it."""
    host("echo 'no such directive;' > /etc/nginx/conf.d/broken.conf")
    host("systemctl reload nginx", fails=True)
    try:
        head = next_change(notes)
        pushed = notes.push()
        assert pushed.status == 0, pushed.output
        assert status("notes")["live"]["revision"] == head
    finally:
        host("rm /etc/nginx/conf.d/broken.conf; systemctl reload nginx")


# --- hands and clocks -----------------------------------------------------------------------------


POINTERS = {
    "directory": "mv /srv/notes/current /srv/notes/was; mkdir /srv/notes/current",
    "file": "mv /srv/notes/current /srv/notes/was; touch /srv/notes/current",
    "leads nowhere": (
        "cp -P /srv/notes/current /srv/notes/was; ln -sfn releases/20200101T000000-0000000 /srv/notes/current"
    ),
}


@pytest.mark.full
@pytest.mark.parametrize(
    "broken",
    ["directory", "file", "leads nowhere"],
)
def test_pointer_broken_by_hand(clean, notes, host, status, branch, broken):
    """Refused, with the command that mends it; run as it is printed, it does."""
    before = status("notes")["live"]["id"]
    host(POINTERS[broken])
    next_change(notes)
    pushed = notes.push()
    assert pushed.status != 0
    assert "/srv/notes/current" in pushed.output
    (command,) = re.findall(r"-> ((?:mv|rm) .*?djdeploy .*?)\s*$", pushed.output, re.MULTILINE)
    for asked in ("djdeploy status notes", "djdeploy doctor notes", "djdeploy deploy notes --force"):
        assert "Traceback" not in host(asked, fails=True)
    host(command)
    assert status("notes")["live"]["id"] == before
    host("rm -rf /srv/notes/was /srv/notes/current.moved")
    forget(notes, branch)


@pytest.mark.full
def test_deploys_in_one_second(clean, visitors, host, status):
    """Each has a name of its own, later than the one before it, and knows what it replaced."""
    host("djdeploy deploy notes --force & djdeploy deploy notes --force & wait")
    kept = status("notes")["releases"]
    last, second = kept[-1], kept[-2]
    assert (last["state"], second["state"]) == ("live", "retired")
    assert last["replaced"] == second["id"] < last["id"]


@pytest.mark.full
@pytest.mark.parametrize("days", [pytest.param(-1, id="back"), pytest.param(1, id="ahead")])
def test_clock_that_jumps(clean, visitors, host, status, days):
    """Names go on in their order, and so does the way back; only the deployer sees the wrong clock here."""
    host("command -v faketime >/dev/null || apt-get install --yes --quiet faketime")
    library = host("dpkg -L libfaketime | grep /libfaketime.so.1").strip()
    before = status("notes")["live"]["id"]
    drop_in = "/run/systemd/system/djdeploy-deployer@.service.d/clock.conf"
    host(f"mkdir -p {drop_in.rpartition('/')[0]}")
    host(f"printf '[Service]\nEnvironment=LD_PRELOAD={library} FAKETIME={days:+d}d\n' > {drop_in}")
    host("systemctl daemon-reload")
    try:
        host("djdeploy deploy notes --force")
    finally:
        host(f"rm {drop_in}; systemctl daemon-reload")
    jumped = status("notes")["live"]
    assert jumped["id"] > before and jumped["replaced"] == before
    host("djdeploy deploy notes --force")
    after = status("notes")["live"]
    assert after["id"] > jumped["id"] and after["replaced"] == jumped["id"]
    assert jumped["id"] in host("djdeploy rollback notes")
