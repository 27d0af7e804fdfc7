# SPDX-License-Identifier: GPL-3.0-or-later
"""Visitors notice nothing of deploys; a pusher who goes away stops nothing."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from hosts import eventually
from load import Visitors

PATIENCE = 300  # seconds for anything that is waited for


@pytest.mark.parametrize(
    ("name", "deploys"),
    [
        ("notes", 3),
        pytest.param("uvicorn", 3, marks=pytest.mark.full),  # so is channels
        pytest.param("uwsgi", 3, marks=pytest.mark.full),  # molecule/projects has a deploy of it in every run
    ],
)
def test_no_request_fails_during_deploys(site, running, name, deploys):
    """Whatever serves the project: gunicorn, uvicorn or uWSGI."""
    served = site(name)
    first = served.push()
    assert first.status == 0, first.output
    with Visitors(served, threads=4) as seen:
        for number in range(deploys):
            served.change("notes/static/notes/style.css", f"h1 {{ margin: {number}px; }}\n", append=True)
            pushed = served.push()
            assert pushed.status == 0, pushed.output
            eventually(lambda: len(running(name)) == 1, PATIENCE, "the old release drains and stops")
    assert set(seen) == {200}, seen
    assert seen[200] > 100, "too few requests to say anything"


def test_request_in_flight_is_finished_by_the_old_release(pushed_notes):
    answers = []
    visitor = threading.Thread(target=lambda: answers.append(pushed_notes.get("/slow?seconds=8")))
    visitor.start()
    pushed_notes.change("notes/views.py", "\n# while somebody waits\n", append=True)
    pushed = pushed_notes.push()
    assert pushed.status == 0, pushed.output
    visitor.join()
    assert (answers[0].status, answers[0].text) == (200, "done")


@pytest.mark.parametrize(
    ("said", "goes_live"), [pytest.param("export", False, marks=pytest.mark.full), ("start ", True)]
)
def test_deploy_ends_without_its_pusher(pushed_notes, status, branch, server, said, goes_live):
    """Killed before git has taken the commits, or after: in the end the branch and what is live agree."""
    application = (pushed_notes.project / "mysite/wsgi.py").read_text()
    head = pushed_notes.change("mysite/wsgi.py", "\nimport time\n\ntime.sleep(2)\n", append=True)
    push = pushed_notes.pushing(start_new_session=True)
    assert any(said in line for line in push.stdout), "the push ended before it could be killed"
    os.killpg(push.pid, signal.SIGKILL)
    push.wait()

    def at_rest() -> bool:
        return server.run("systemctl list-units --plain --no-legend 'djdeploy-deployer*@*'").stdout.strip() == ""

    eventually(at_rest, PATIENCE, "the deploy ends")
    live = status("notes")["live"]["revision"]
    assert branch("notes") == live, "the branch and what is live differ"
    assert (live == head) or not goes_live, "a deploy that had begun must go on"
    assert pushed_notes.get("/").status == 200
    pushed_notes.undo(live)
    pushed_notes.change("mysite/wsgi.py", application)
    assert pushed_notes.push().status == 0


def test_two_pushes_at_once_end_in_one_truth(pushed_notes, status, branch):
    first = pushed_notes.change("notes/views.py", "\n# one\n", append=True)
    pushes = [pushed_notes.pushing() for _ in range(2)]
    for push in pushes:
        push.communicate(timeout=PATIENCE)
    assert 0 in {push.returncode for push in pushes}
    assert branch("notes") == status("notes")["live"]["revision"] == first
