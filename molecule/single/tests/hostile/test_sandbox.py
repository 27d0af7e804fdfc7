# SPDX-License-Identifier: GPL-3.0-or-later
"""A site looks for what another one has, from everywhere its code runs, and finds nothing.

Its project looks from its settings while it is checked, from its build command, from the setup.py of a package it
wants, from its web server, its worker, its job, its release command, from manage.py and by a module of Ansible; what
each saw lies in the home of its user. By name: `script/test molecule single/hostile`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import ROOT, eventually

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import sandbox_probe  # noqa: E402

PROBE = (HERE / "sandbox_probe.py").read_text()
SETTINGS = """
import sys

import probe

if "gunicorn" in sys.modules:
    probe.look("web")
elif sys.argv == ["manage.py", "check"]:
    probe.look("checks")
    probe.stay(97702)
"""
SETUP = """
from setuptools import setup

said = {probe!r}
names = {{"__name__": "probe"}}
exec(said, names)
names["look"]("install")
names["stay"](97701)
setup(name="djdeploy-evil", version="1", py_modules=[])
"""
HOMES = {"build": "/var/cache/djdeploy/fenced", "install": "/var/cache/djdeploy/fenced"}
WHERE = ["checks", "build", "install", "release", "web", "worker", "job", "manage", "module"]
BOUNDS = {
    "djdeploy-fenced@1.service": 1.3,
    "djdeploy-fenced.process@1.service": 1.3,
    "djdeploy-fenced.job@1.service": 1.3,
    "djdeploy-deployer@1.service": 2.6,
    "djdeploy-recover.service": 2.6,
    "djdeploy-fenced.service": 2.6,
    "djdeploy-fenced.look.service": 2.6,
    "nginx.service": 4.0,
}
# Units that are made for one piece of work, written down to be looked at.
MADE = {
    "build": ("sandbox.properties(box, network=True)", 2.6),
    "checks": ("sandbox.site_properties(sandbox.SiteBox(paths))", 1.3),
    "manage": ("sandbox.site_properties(sandbox.SiteBox(paths, host_files=True))", 1.7),
    "media_access": ("media_access.PROPERTIES", 2.6),
}
WRITTEN = """\
from pathlib import Path
from djdeploy_engine import media_access, sandbox
from djdeploy_engine.paths import SitePaths
paths = SitePaths("fenced")
box = sandbox.Sandbox("u", paths.build_user, Path("/srv/fenced"), paths.cache, Path("/usr"))
print("[Service]\\nExecStart=/bin/true\\nUser={user}", *{properties}, sep="\\n")
"""
ENGINE = "PYTHONPATH=/usr/local/lib/djdeploy/engine python3 -sP -c"
MEDIA = """
import os
from django.conf import settings
place = os.path.join(settings.MEDIA_ROOT, "made", "deep")
os.makedirs(place, exist_ok=True)
open(os.path.join(place, "by-open.txt"), "w").write("made by open")
os.makedirs(os.path.join(os.path.dirname(settings.MEDIA_ROOT), "private", "deep"), exist_ok=True)
"""


@pytest.fixture(scope="module")
def treasure(site):
    """A site with something to find: rows, an upload, a release."""
    own = site("treasure")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    assert own.post("/add", {"text": "kept"}).status == 302
    assert own.upload("/upload", "upload.txt", b"for everybody").status == 200
    return own


@pytest.fixture(scope="module")
def fenced(site, treasure):
    """The site that looks around, live."""
    own = site("fenced")
    own.change("probe.py", PROBE)
    own.change("evil/setup.py", SETUP.format(probe=PROBE))
    own.change("requirements.txt", "Django~=5.2\n./evil\n")
    own.change("Procfile", "release: python probe.py release\n")
    own.change("mysite/settings.py", SETTINGS, append=True)
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


@pytest.fixture(scope="module")
def task(playbooks):
    """One task as an operator runs it, and what its module returned."""

    def run(module: str, *words: str, **options: object) -> dict:
        asked = [*playbooks.words("ansible"), "web", "--become", "--one-line", *words]
        asked += ["--module-name", f"djdeploy.django.{module}", "--args", json.dumps(options)]
        plain = {**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1"}  # molecule forces colours
        done = subprocess.run(
            asked, cwd=ROOT, env=plain, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert " => {" in done.stdout, done.stdout + done.stderr
        return json.loads(done.stdout.partition(" => ")[2])

    return run


@pytest.fixture(scope="module")
def looked(fenced, task):
    """A management command looks around by a module of Ansible's, and leaves something running."""
    code = "import probe; probe.look('module'); probe.stay(97703); print(open('/proc/self/cgroup').read())"
    return task("command", site="fenced", argv=["shell", "-c", code])


@pytest.fixture(scope="module")
def seen(fenced, looked, server):
    """What was seen from somewhere, when it has looked, of what is there for root."""
    absent = server.check_output(f"for name in {shlex.join(sandbox_probe.NAMES)}; do test -e $name || echo $name; done")
    assert absent == "", "nobody could see it"
    server.check_output("echo kept >/dev/shm/of-others")
    server.check_output("systemctl start djdeploy-fenced.look.service")
    server.check_output("djdeploy manage fenced shell -c 'import probe; probe.look(\"manage\")'")

    def of(where: str) -> dict:
        path = f"{HOMES.get(where, '/srv/fenced/shared')}/probe-{where}.json"
        eventually(lambda: server.run("test -s %s", path).rc == 0, 60, f"{where} has looked")
        return json.loads(server.check_output("cat %s", path))

    return of


@pytest.mark.parametrize("where", WHERE)
def test_segments_of_shared_memory_are_its_own(seen, server, where):
    """How many there may be is a number of the host's: a site that had them all would keep PostgreSQL from starting."""
    found = seen(where)
    assert found["segments"] == [found["user"]], where
    assert str(found["user"]) not in server.check_output("awk '{print $8}' /proc/sysvipc/shm").split(), where


@pytest.mark.parametrize("where", WHERE)
def test_dev_shm_is_its_own(seen, server, where):
    """Nothing of others is there, and processes of one unit meet in it: `multiprocessing` needs it."""
    found = seen(where)
    assert ("of-others" in found["memory"], found["semaphore"]) == (False, True), where
    assert server.check_output("cat /dev/shm/of-others") == "kept"


@pytest.mark.parametrize("where", WHERE)
def test_command_lines_of_others_are_not_told(seen, where):
    """Not by systemd either, which tells them to everybody who can ask; who writes to syslog goes on doing so."""
    found = seen(where)
    assert found["told"] == [], where
    assert found["log"] == (where not in HOMES), where


@pytest.mark.parametrize("where", WHERE)
def test_another_site_is_not_there(seen, where):
    found = seen(where)
    assert (found["there"], found["opened"]) == ([], []), where
    assert found["sites"] == ["fenced"], where
    assert set(found["caches"]) <= {"fenced"}, where
    if where not in HOMES:
        assert oct(found["umask"]) == "0o27", where


def test_what_a_build_a_check_or_a_module_leaves_is_gone(fenced, looked, server):
    """It ignores SIGTERM, and has left its session; when the push or the task is at its end nothing of it runs."""
    assert server.run("pgrep --list-full --full 'sleep 9770[1-3]'").stdout == ""
    assert server.run("pgrep --list-full --uid fenced-build").stdout == ""


def test_a_module_works_in_the_slice_of_the_site(looked):
    assert looked.get("rc") == 0, looked
    assert "/djdeploy.slice/djdeploy-fenced.slice/djdeploy-fenced.run-" in looked["stdout"]


def test_a_module_reads_and_writes_files_of_the_host(fenced, task, server):
    """Those that the site's user may; one that is not seen is named, in check mode, too."""
    dump = "/var/tmp/fenced.json"
    server.check_output("rm -f %s", dump)
    for check, changed in ((["--check"], True), ([], True), ([], False)):
        told = task("dumpdata", *check, site="fenced", dest=dump, apps=["contenttypes"], mode="0644")
        assert told.get("changed") is changed, told
    assert server.check_output("stat --format='%%U %%a' %s", dump) == "fenced 644"
    server.check_output("cp %s /tmp/fenced.json && chmod 0644 /tmp/fenced.json", dump)
    assert task("loaddata", site="fenced", fixtures=["/tmp/fenced.json"]).get("changed") is False
    for words in ([], ["--check"]):
        told = task("loaddata", *words, site="fenced", fixtures=["/srv/treasure/shared/x.json"])
        assert told["msg"].startswith("fixtures: /srv/treasure/shared/x.json is not seen by fenced"), told


@pytest.mark.full
def test_a_module_tells_status_time_and_check_mode(fenced, task, server):
    code = "import os, sys, time; print(sys.stdin.read()); sys.exit(int(os.environ.get('STATUS', 7)))"
    told = task("command", site="fenced", argv=["shell", "-c", code], stdin="said")
    assert (told["rc"], told["kind"]) == (7, "command") and "said" in told["stdout"], told
    told = task("shell", site="fenced", code="import time; time.sleep(600)", timeout=5)
    assert "did not end within 5 s" in told["msg"], told
    assert server.run("systemctl list-units --plain --no-legend 'djdeploy-fenced.run-*'").stdout == ""
    told = task("shell", "--check", site="fenced", code="open('/tmp/made', 'w')")
    assert told["changed"] and not server.file("/tmp/made").exists, told
    told = task(
        "shell", site="fenced", code="result = secrets['word']", secrets={"word": "kept-from-all"}, read_only=True
    )
    assert "kept-from-all" not in json.dumps({key: told[key] for key in told if key != "invocation"})


def test_shared_is_closed_to_others(treasure, server):
    """Also without a sandbox: to a process of another user, and to nginx's but for the uploads."""
    own = ("cat /etc/djdeploy/sites/treasure.gunicorn.py", "ls /srv/treasure/venvs", "ls /srv/treasure/current/.venv/")
    for user in ("fenced", "fenced-build", "treasure-build", "www-data"):
        for look in ("cat /srv/treasure/shared/db.sqlite3", "ls /srv/treasure/shared", *own):
            assert server.run(f"runuser -u {user} -- {look}").rc != 0, (user, look)
    for look in own:
        assert server.run(f"runuser -u treasure -- {look}").rc == 0, look
    assert server.run("runuser -u fenced -- ls /srv/treasure/shared/media").rc != 0
    told = server.check_output("stat --format='%a %U:%G' /srv/treasure/shared /srv/treasure/shared/media")
    assert told.splitlines() == ["710 treasure:www-data", "2750 treasure:www-data"]


def test_uploads_are_served_however_they_were_written(treasure, server):
    """By Django, which says a mode, and by open(), which leaves it to the umask of the unit."""
    assert treasure.get("/media/attachments/upload.txt").text == "for everybody"
    server.check_output("djdeploy manage treasure shell -c %s", MEDIA)
    made = "/srv/treasure/shared/media/made/deep"
    told = server.check_output("stat --format='%%a %%G' %s %s/by-open.txt", made, made)
    assert told.splitlines() == ["2750 www-data", "640 www-data"]
    assert treasure.get("/media/made/deep/by-open.txt").text == "made by open"
    assert "www-data" in server.check_output("stat --format=%G /srv/treasure/shared/private/deep")


def test_static_files_are_served(treasure):
    front = treasure.get("/").text
    (name,) = re.findall(r'href="(/static/[^"]+\.css)"', front)[:1]
    assert treasure.get(name).status == 200


def test_manage_has_a_terminal_of_its_own(fenced, server):
    """What types into its terminal (TIOCSTI) types into its own, and root's shell never reads it."""
    inner = 'djdeploy manage fenced shell -c "import os; print(os.ttyname(0))"'
    said = server.check_output("TERM=dumb script --quiet --return --command %s /dev/null", f"tty; {inner}")
    names = re.findall(r"/dev/pts/\d+", said)
    assert len(names) == 2 and names[0] != names[1], said


def test_manage_is_a_program_like_any_other(fenced, server):
    """Standard input, output and the status go through where there is no terminal."""
    code = "import sys; print(sys.stdin.read().upper()); sys.exit(7)"
    done = server.run("printf 'said\\n' | djdeploy manage fenced shell -c %s", code)
    assert done.rc == 7 and "SAID" in done.stdout.split(), (done.stdout, done.stderr)


FAILURE = "from djdeploy_engine import units; print(repr(units.failure_since({unit!r}, 0)))"


def test_lines_of_the_deployer_cannot_be_forged(seen, treasure, server):
    """They can be written, with every field of ours, but nobody is taken in who asks who has written them."""
    seen("worker")
    forged = "journalctl --sync; journalctl --no-pager --output cat {} DJDEPLOY_SITE=treasure DJDEPLOY_RESULT=failed"
    eventually(lambda: "forged" in server.run(forged.format("")).stdout, 60, "it has written")
    assert "forged" not in server.run(forged.format("_UID=0")).stdout
    assert "forged" not in server.check_output("djdeploy logs treasure --lines 1000")
    assert "forged" not in server.check_output("djdeploy history treasure --json")
    listed = server.check_output("systemctl list-units --plain --no-legend 'djdeploy-fenced.process@*'")
    code = FAILURE.format(unit=listed.split()[0])
    assert server.check_output(f"{ENGINE} %s", code) == "''", "its own unit did not fail either"


def exposure(server, unit: str) -> float:
    said = server.check_output("systemd-analyze security --no-pager %s", unit)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d)", said)
    assert found, said
    print(f"{unit}: {found[1]}")
    return float(found[1])


@pytest.mark.parametrize("unit", BOUNDS)
def test_exposure(fenced, server, unit):
    assert exposure(server, unit) <= BOUNDS[unit]


def test_exposure_of_redis(server):
    assert exposure(server, "redis-server@greedy.service") <= 1.3


def test_exposure_of_the_database(fenced, server):
    unit = server.check_output("systemctl list-units --plain --no-legend 'postgresql@*'").split()[0]
    assert exposure(server, unit) <= 4.0


@pytest.mark.parametrize("kind", MADE)
def test_exposure_of_what_is_made_for_one_piece_of_work(fenced, server, kind):
    properties, bound = MADE[kind]
    code = WRITTEN.format(properties=properties, user="root" if kind == "media_access" else "fenced")
    unit = f"/run/systemd/system/djdeploy-figure-{kind}.service"
    server.check_output(f"{ENGINE} %s > {unit} && systemctl daemon-reload", code)
    try:
        assert exposure(server, Path(unit).name) <= bound
    finally:
        server.check_output("rm %s && systemctl daemon-reload", unit)


@pytest.mark.full
def test_a_site_from_before_is_mended_by_the_next_run(treasure, server, playbooks):
    """Its `shared` was open, its database everybody's to read, its uploads in directories of the site's own group."""
    shared = "/srv/treasure/shared"
    server.check_output(
        f"install -d -o treasure -g treasure -m 0755 {shared}/media/old && "
        f"install -o treasure -g treasure -m 0644 /dev/null {shared}/media/old/empty.txt && "
        f"chown treasure:treasure {shared} {shared}/media && chmod 0751 {shared} && chmod 0755 {shared}/media && "
        f"chmod 0644 {shared}/db.sqlite3 /etc/djdeploy/sites/treasure.gunicorn.py && "
        "chown root:root /srv/treasure/venvs /etc/djdeploy/sites/treasure.gunicorn.py && "
        f"chmod 0755 /srv/treasure/venvs && rm /var/lib/djdeploy/treasure/media_access.json"
    )
    predicted = playbooks.run("site.yml", check=True)
    assert re.search(r"/srv/treasure/shared\b", predicted.output), predicted.output
    assert server.check_output("stat --format=%%a %s", shared) == "751", "check mode changed something"
    assert playbooks.run("site.yml").status == 0
    assert treasure.get("/media/old/empty.txt").status == 200
    told = server.check_output("stat --format='%a %U:%G' /srv/treasure/venvs /etc/djdeploy/sites/treasure.gunicorn.py")
    assert told.splitlines() == ["750 root:treasure", "640 root:treasure"]
    treasure.change("notes/templates/notes/front.html", "<!-- once more -->\n", append=True)
    pushed = treasure.push()
    assert pushed.status == 0, pushed.output
    names = (shared, f"{shared}/media", f"{shared}/media/old", f"{shared}/db.sqlite3")
    told = server.check_output(f"stat --format='%a %G' {' '.join(names)}").splitlines()
    assert told == ["710 www-data", "2750 www-data", "2755 www-data", "640 treasure"]
    assert treasure.get("/media/old/empty.txt").status == 200


def test_nginx_cannot_reach_what_is_ours(treasure, server):
    """Its own view of the host: nothing of the sites' settings and secrets, whatever a link points at."""
    pid = server.check_output("systemctl show nginx.service --property MainPID --value")
    for path in ("/etc/djdeploy/sites/treasure.env", "/var/lib/djdeploy/treasure"):
        assert server.run("ls %s", path).rc == 0
        assert server.run("ls %s", f"/proc/{pid}/root{path}").rc != 0, path
