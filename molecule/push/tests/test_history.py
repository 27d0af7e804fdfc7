# SPDX-License-Identifier: GPL-3.0-or-later
"""What was done is told afterwards: who, what, how it ended, and why not."""

from __future__ import annotations

import json

import pytest
from hosts import eventually


@pytest.fixture
def history(server):
    """The last operation `djdeploy history` tells of a site, with all about it."""

    def last(site: str) -> dict:
        newest = json.loads(server.check_output("djdeploy history %s --json -n 1", site))[0]
        return json.loads(server.check_output("djdeploy history %s %s --json", site, newest["id"]))

    return last


@pytest.fixture
def journal(server):
    """The entries of the system's journal that have all of these fields."""

    def entries(**fields: str) -> list[dict]:
        words = " ".join(f"{name}={value}" for name, value in fields.items())
        server.check_output("journalctl --sync")
        told = server.check_output(f"journalctl --no-pager --output json {words}")
        return [json.loads(line) for line in told.splitlines()]

    return entries


def test_push_is_told_with_its_key(pushed_notes, history, journal):
    before = pushed_notes.head()
    revision = pushed_notes.change("notes/views.py", "\n# for the record\n", append=True)
    pushed = pushed_notes.push()
    assert pushed.status == 0, pushed.output
    told = history("notes")
    assert (told["op"], told["door"], told["who"]) == ("push", "push", "laptop")
    assert (told["result"], told["before"], told["after"], told["reason"]) == ("live", before, revision, "")
    assert told["plan"]["revision"] == {"before": before, "after": revision}
    phases = [phase["name"] for phase in told["phases"]]
    assert phases.index("checks") < phases.index("start") < phases.index("switch"), "both halves of a push are one"
    of_it = {"DJDEPLOY_SITE": "notes", "DJDEPLOY_OPERATION": told["id"], "DJDEPLOY_WHO": "laptop"}
    (switched,) = [entry for entry in journal(**of_it, DJDEPLOY_PHASE="switch") if entry["PRIORITY"] == "6"]
    assert "ok" in switched["MESSAGE"]
    (ended,) = journal(**of_it, DJDEPLOY_RESULT="live")
    assert ended["DJDEPLOY_RELEASE"] == told["release"] and ended["DJDEPLOY_REVISION"] == revision
    unit = ended["_SYSTEMD_UNIT"]
    assert journal(_SYSTEMD_UNIT=unit, SYSLOG_IDENTIFIER="djdeploy")
    assert journal(_SYSTEMD_UNIT=unit, _TRANSPORT="stdout") == [], "it is written twice"


def test_refused_push_is_told_with_its_reason(pushed_notes, history, journal, playbooks):
    head = pushed_notes.head()
    revision = pushed_notes.change("notes/views.py", "\nimport not_there\n", append=True)
    assert pushed_notes.push().status != 0
    pushed_notes.undo(head)
    told = history("notes")
    assert (told["result"], told["before"], told["after"]) == ("refused", head, revision)
    assert "not_there" in told["reason"]
    assert journal(DJDEPLOY_OPERATION=told["id"], DJDEPLOY_RESULT="refused", PRIORITY="3")
    status = playbooks.run("playbooks/status.yml", site="notes")
    assert status.status == 0 and not any(status.changed.values()), status.output
    assert f"push of {revision[:7]} by laptop (push)" in status.output
    assert told["reason"] in status.output


def test_rollback_is_told(pushed_notes, server, history):
    before = pushed_notes.head()
    newer = pushed_notes.change("notes/views.py", "\n# to be left\n", append=True)
    assert pushed_notes.push().status == 0
    server.check_output("djdeploy rollback notes")
    told = history("notes")
    assert (told["op"], told["door"], told["who"], told["result"]) == ("rollback", "host", "root", "rolled_back")
    assert (told["before"], told["after"]) == (newer, before)
    server.check_output("djdeploy deploy notes %s", newer)


def test_what_was_killed_is_told_as_interrupted(pushed_notes, server, history, status):
    head = pushed_notes.head()
    application = (pushed_notes.project / "mysite/wsgi.py").read_text()
    slow = "\nimport sys, time\nif 'gunicorn' in sys.modules:\n    time.sleep(20)\n"
    pushed_notes.change("mysite/wsgi.py", slow, append=True)
    push = pushed_notes.pushing()
    assert any("start " in line for line in push.stdout), "the push ended before the deployer could be killed"
    assert history("notes")["result"] == "running"
    server.check_output("systemctl kill --signal=KILL 'djdeploy-deployer*@*'")
    push.communicate(timeout=300)
    assert push.returncode != 0
    eventually(lambda: history("notes")["result"] == "interrupted", 300, "it is told as interrupted")
    assert history("notes")["reason"] == "interrupted during prove"
    assert status("notes")["last"]["result"] == "interrupted"
    assert status("notes")["live"]["revision"] == head
    pushed_notes.change("mysite/wsgi.py", application)
    assert pushed_notes.push().status == 0
