# SPDX-License-Identifier: GPL-3.0-or-later
"""Thirty secrets of all kinds, and pushes that fail while they tell all of them: none shows anywhere.

Looked at is whatever leaves the engine: what the pusher reads, the system's journal but for what the site's own
processes wrote, the journal of the site, what `djdeploy` tells, the words of every process meanwhile, what another
site's user or nobody can read of their environments, every file that these can read, and every log.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import projects
import pytest
from hosts import Site

sys.path.insert(0, str(Path(__file__).resolve().parent))

import secrets_leaks as leaks

NEIGHBOURS = ("nobody", "broken")  # the second is the user of another site
WATCHED = "/run/canaries.watched"
# Releases, other processes and jobs of the site; builds and what is run for a deploy write to the deployer alone.
OF_THE_SITE = re.compile(r"djdeploy-canaries(\.process|\.job)?@")
# Sees every process that lives longer than a moment: what stands among its words, and what of its environment each of
# the neighbours can read. The words it looks for are not among its own.
WATCH = f"""
import os, pwd, re, time
token = re.compile(rb"c4n4" + rb"ry-?[0-9]")


def seen(file, kind):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found = open(f"/proc/{{pid}}/{{kind}}", "rb").read()
        except OSError:
            continue
        if token.search(found):
            file.write(f"{{kind.upper()}} {{os.getuid()}} {{found[:300]!r}}\\n")


def memory(file, peak):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"djdeploy-deployer" in open(f"/proc/{{pid}}/cgroup", "rb").read():
                said = open(f"/proc/{{pid}}/status").read()
                size = int((re.search(r"VmHWM:\\s+(\\d+)", said) or [0, 0])[1])
                if re.search(r"Uid:\\s+0\\s", said) and size > peak:
                    peak = size
                    file.write(f"PEAK {{peak}}\\n")
        except OSError:
            pass
    return peak


root = os.getpid()
if os.path.exists({WATCHED!r}):
    os.unlink({WATCHED!r})
with open({WATCHED!r}, "a", buffering=1, opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
    for name in {NEIGHBOURS!r}:
        user = pwd.getpwnam(name)
        if os.fork() == 0:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            file.write(f"LOOKING {{user.pw_uid}}\\n")
            while os.getppid() == root:
                seen(file, "environ")
                time.sleep(0.05)
            os._exit(0)
    peak = 0
    while True:
        seen(file, "cmdline")
        peak = memory(file, peak)
        time.sleep(0.02)
"""
FLOOD = f"release: {leaks.TELL}; yes 'a line that never ends' | head -c 400000000; {leaks.TELL}; exit 3\n"


def cases(kinds: dict[str, leaks.Kind]) -> Iterator[object]:
    for name, kind in kinds.items():
        yield pytest.param(name, id=name, marks=() if kind.every_run else pytest.mark.full)


@pytest.fixture(scope="module")
def began(web) -> str:
    """Where the system's journal was before the first push."""
    return web.root("date +%s").strip()


@pytest.fixture(scope="module")
def watched(web) -> Iterator[None]:
    """Somebody who looks at the words of every process, as long as the tests run."""
    web.root(f"cat > /run/canaries.watch.py <<'END'\n{WATCH}\nEND")
    pid = web.root("setsid python3 /run/canaries.watch.py >/dev/null 2>&1 </dev/null & echo $!").strip()
    yield
    web.root(f"kill {pid}; rm -f /run/canaries.watch.py {WATCHED}")


@pytest.fixture(scope="module")
def canaries(site, began, watched) -> Site:
    """The site with a project that can tell, and does not."""
    own = site("canaries")
    if not (own.project / "leak.py").exists():
        leaks.prepare(own.project)
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    assert leaks.seen_in(pushed.output) == []
    return own


def is_bytes(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, int) for each in value)


def broken_by(site: Site, files: dict[str, str]) -> str:
    """Push a change that is refused, forget it, and return what the pusher read."""
    head = site.head()
    for name, text in files.items():
        projects.write(site.project, name, text, append=(site.project / name).exists())
    projects.commit(site.project, "Tell all of it")
    try:
        pushed = site.push()
    finally:
        site.undo(head)
    assert pushed.status != 0, pushed.output
    return pushed.output


@pytest.mark.parametrize("kind", list(cases(leaks.KINDS)))
def test_a_push_that_fails_shows_no_secret(canaries: Site, kind: str) -> None:
    output = broken_by(canaries, leaks.KINDS[kind].files)
    assert "TELLING" in output, f"it did not come to telling:\n{output}"
    assert "********" in output, output
    assert leaks.seen_in(output) == []
    assert [part for part in leaks.KINDS[kind].parts if part in output] == []


@pytest.mark.full
def test_a_push_that_floods_is_told_in_short_and_costs_the_deployer_no_memory(canaries: Site, web) -> None:
    output = broken_by(canaries, {"Procfile": FLOOD})
    assert "bytes left out" in output
    assert len(output) < 5_000_000
    assert leaks.seen_in(output) == []
    peaks = [int(line.split()[1]) for line in web.root(f"grep PEAK {WATCHED} || true").splitlines()]
    print(f"the deployer took {max(peaks, default=0)} kB at most")
    assert 5_000 < max(peaks, default=0) < 200_000


def test_the_pages_of_the_site_still_answer(canaries: Site) -> None:
    assert canaries.get("/").status == 200


# --- afterwards: everywhere it could have been left ------------------------------------------------


def test_no_process_had_a_secret_among_its_words(canaries: Site, web) -> None:
    assert web.root(f"test -e {WATCHED} && grep ^CMDLINE {WATCHED} || true") == ""


def test_no_neighbour_could_read_one_in_the_environment_of_a_process(canaries: Site, web) -> None:
    assert len(web.root(f"grep ^LOOKING {WATCHED}").splitlines()) == len(NEIGHBOURS)
    assert web.root(f"grep ^ENVIRON {WATCHED} || true") == ""


def journal(web, words: str) -> list[dict[str, object]]:
    """Entries of the system's journal, every field as text."""
    said = web.root(f"journalctl {words} --all --output json --no-pager")
    lines = [json.loads(line) for line in said.splitlines()]
    for line in lines:  # journalctl writes what is not printable as a list of bytes
        line.update({name: bytes(value).decode(errors="replace") for name, value in line.items() if is_bytes(value)})
    return lines


def test_the_journal_of_the_host_has_none(canaries: Site, web, began: str) -> None:
    """What the site's own processes write there is the site's; the deployer, what it runs, systemd, sudo and nginx are
    not.
    """
    ours = [
        line for line in journal(web, f"--since @{began}") if not OF_THE_SITE.match(str(line.get("_SYSTEMD_UNIT", "")))
    ]
    assert sum("djdeploy" in str(line.get("SYSLOG_IDENTIFIER")) for line in ours) > 10
    assert leaks.seen_in("\n".join(json.dumps(line, ensure_ascii=False) for line in ours)) == []


def told_by_ansible(web) -> list[dict[str, object]]:
    """What Ansible's modules have written into the system's journal, as far back as it reaches."""
    names = web.root("journalctl --field SYSLOG_IDENTIFIER").splitlines()
    words = [f"--identifier={name}" for name in names if name.startswith("ansible-")]
    assert "--identifier=ansible-djdeploy.django.environment" in words, names
    return journal(web, shlex.join(words))


def test_what_ansible_wrote_into_the_journal_has_none(canaries: Site, web) -> None:
    """`site.yml` laid them before the first push."""
    said = told_by_ansible(web)
    assert any("Invoked with sites" in str(line["MESSAGE"]) for line in said)
    assert leaks.seen_in("\n".join(json.dumps(line, ensure_ascii=False) for line in said)) == []


def test_the_journal_of_the_deployer_never_had_one(canaries: Site, web) -> None:
    said = journal(web, "--unit 'djdeploy-deployer*'")
    assert len(said) > 10
    assert leaks.seen_in("\n".join(json.dumps(line, ensure_ascii=False) for line in said)) == []


def test_no_log_file_has_one(canaries: Site, web) -> None:
    """For root, who reads them all; but for what a site itself wrote, to the journal or in a statement of SQL."""
    own = "--exclude-dir=journal --exclude-dir=postgresql"
    assert files_with_traces(web, "root", "/var/log", own) == ""
    assert web.root("find /var/log/journal /var/log/postgresql -type f -perm /007") == ""


def test_the_journal_of_the_site_and_its_records_have_none(canaries: Site, web) -> None:
    files = web.root("cat /var/lib/djdeploy/canaries/journal.jsonl* /srv/canaries/releases/*/release.json")
    assert '"result"' in files
    assert leaks.seen_in(files) == []


@pytest.mark.parametrize(
    "words",
    [
        "status canaries",
        "status canaries --json",
        "releases canaries",
        "releases canaries --json",
        "history canaries --all",
        "history canaries --all --json",
        "config canaries",
        "config canaries --json",
        "doctor canaries",
    ],
)
def test_no_command_tells_one(canaries: Site, server, words: str) -> None:
    done = server.run(f"djdeploy {words}")
    assert done.stdout
    assert leaks.seen_in(done.stdout + done.stderr) == []


def test_the_history_of_each_push_tells_none(canaries: Site, web) -> None:
    said = web.root(
        "djdeploy history canaries --all --json | "
        'python3 -c \'import json, sys; print(*(one["id"] for one in json.load(sys.stdin)), sep="\\n")\' | '
        "while read -r id; do djdeploy history canaries $id; djdeploy history canaries $id --json; done"
    )
    assert "refused" in said
    assert leaks.seen_in(said) == []


def files_with_traces(web, user: str, places: str, more: str = "") -> str:
    """The files below these places in which this user finds a canary, in any form."""
    return web.root(
        f"runuser -u {user} -- grep --recursive --files-with-matches --binary-files=text --devices=skip "
        f"--fixed-strings {more} --file=- {places} 2>/dev/null <<'END' || true\n"
        + "\n".join(leaks.traces())
        + "\nEND\n"
    )


@pytest.mark.parametrize("user", NEIGHBOURS)
def test_no_file_of_the_host_shows_one_to_others(canaries: Site, web, user: str) -> None:
    """By the canaries' letters: what others cannot read, grep as they are cannot either."""
    places = "/etc /srv /var /run /usr/local /opt /tmp /home /dev/shm"
    assert files_with_traces(web, user, places, "--exclude-dir=proc") == ""


def test_the_search_finds_what_is_there(canaries: Site, web) -> None:
    assert "/canaries.env" in files_with_traces(web, "root", "/etc/djdeploy/sites")


def test_its_secrets_are_where_they_belong(canaries: Site, web) -> None:
    """So that what is not found above is not just absent."""
    found = web.root("cat /etc/djdeploy/sites/canaries.env /etc/djdeploy/sites/canaries.secrets/*")
    assert "c4n4ry-01-a1b2" in found and "c4n4ry-22-e0f1" in found
    assert web.root("runuser -u canaries -- cat /etc/djdeploy/sites/canaries.secrets/TOKEN") == "c4n4ry-22-e0f1"


# --- control characters, logs -----------------------------------------------------------------------

ODD_SUBJECT = "Rename \x1b]0;your window\x07 and \x1b[8mhide\x9b31m \u202e this"


def test_no_commit_moves_a_terminal(canaries: Site, server) -> None:
    projects.commit(canaries.project, ODD_SUBJECT)
    output = canaries.push().output
    said = [output]
    for words in ("releases canaries", "history canaries --all", "status canaries", "status canaries --json"):
        said.append(server.run(f"djdeploy {words}").stdout)
    assert any("Rename" in text for text in said[1:])
    for text in said:
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}, ascii(text)


def test_logs_of_sites_are_private_from_their_first_line(canaries: Site, web) -> None:
    canaries.get("/?token=of-a-visitor")
    found = web.root("stat --format '%a %U %G %n' /var/log/nginx/djdeploy-*.log*").splitlines()
    assert len(found) >= 4
    assert [line for line in found if not line.startswith("640 www-data adm ")] == []
    log = "/var/log/nginx/djdeploy-canaries.access.log"
    assert "of-a-visitor" in web.root(f"cat {log}")
    for user in NEIGHBOURS:
        assert "of-a-visitor" not in web.root(f"runuser -u {user} -- cat {log} 2>&1 || true")


@pytest.mark.full
def test_logs_that_everybody_could_read_are_mended(canaries: Site, web, playbooks) -> None:
    """As nginx of an earlier version of this collection left them; check mode tells it, and shows no line of them."""
    log = "/var/log/nginx/djdeploy-canaries.access.log"
    web.root(f"cp -p {log} {log}.1; chmod 0644 {log} {log}.1; chown root:root {log}")
    checked = playbooks.run("playbooks/site.yml", check=True)
    assert checked.status == 0, checked.output
    assert f"{log} (file, 0640 www-data:adm)" in checked.output
    assert "of-a-visitor" not in checked.output
    assert playbooks.run("playbooks/site.yml").status == 0
    assert web.root(f"stat --format '%a %U' {log} {log}.1").split() == ["640", "www-data", "640", "www-data"]
    canaries.get("/?token=still-written")
    assert "still-written" in web.root(f"cat {log}")


@pytest.mark.full
def test_no_playbook_shows_one_however_loud(canaries: Site, playbooks, web) -> None:
    """Every secret changes, and the play says all it has to say, here and in the host's journal."""
    odd = {"ANOTHER": 'it\'s "c4n4ry-31-a0b0" \\ of\ntwo lines: c4n4ry-31-a0b0'}
    quiet = playbooks.run("playbooks/site.yml", "-vvv", check=True, canaries_secrets=odd)
    assert "canaries.env" in quiet.output
    shown = [line for line in quiet.output.splitlines() if leaks.seen_in(line) or "c4n4ry-31-a0b0" in line]
    assert shown == []
    logged = "\n".join(str(line["MESSAGE"]) for line in told_by_ansible(web))
    assert leaks.seen_in(logged) == [] and "c4n4ry-31-a0b0" not in logged
