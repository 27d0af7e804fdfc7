# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten kinds of broken release, pushed to a site with visitors: none of them gets one, and each is told."""

from __future__ import annotations

import projects
import pytest
from load import Visitors

FRONT = "\n\ndef front(request):\n    "
SERVING = "\nimport os, sys, threading\nif 'gunicorn' in sys.modules:\n    "
MARK = "this page is of the broken release"
MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    djdeploy = "additive"
    dependencies = [("notes", "0001_initial")]
    operations = [migrations.RunSQL("SELECT 1 / 0")]
"""
KINDS = {
    "import error": ("notes/views.py", "\nimport not_there\n", "not_there"),
    "500 on the health page": ("notes/views.py", FRONT + "raise RuntimeError('no page today')\n", "answers 500"),
    "hangs": ("notes/views.py", FRONT + "time.sleep(600)\n", "did not answer"),
    "crashes after 5 s": ("mysite/wsgi.py", SERVING + "threading.Timer(5, os._exit, [9]).start()\n", "die"),
    "out of memory": ("mysite/wsgi.py", SERVING + "held = bytearray(os.urandom(1)) * (900 << 20)\n", "memory"),
    "missing dependency": ("requirements.txt", "djdeploy-there-is-no-such-package==1.0\n", "djdeploy-there-is-no-such"),
    "bad settings": ("mysite/settings.py", "\nimport os\nos.environ['NOT_GIVEN']\n", "NOT_GIVEN is not set"),
    "bad static": ("notes/static/notes/style.css", "p { background: url('gone.png'); }\n", "gone.png"),
    "bad migration": ("notes/migrations/0002_bad.py", MIGRATION, "division by zero"),
    "wrong WSGI path": ("mysite/wsgi.py", "\nserved = application\ndel application\n", "has no 'application'"),
}


#: The rest of them is met in every run by the scenario push, or takes as long as a release is waited for.
EVERY_RUN = ("crashes after 5 s", "out of memory", "bad migration")


@pytest.fixture(scope="module")
def broken(serving):
    return serving("broken")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in EVERY_RUN else pytest.mark.full) for kind in KINDS]
)
def test_broken_release_gets_no_visitor(broken, status, branch, kind):
    live, head = status("broken")["live"], broken.head()
    name, text, told = KINDS[kind]
    page = "notes/templates/notes/front.html"
    projects.write(broken.project, page, f"<p>{MARK}</p>\n", append=True)
    broken.change(name, text, append=(broken.project / name).exists())
    with Visitors(broken, 3, mark=lambda body: "broken" if MARK in body else None) as seen:
        pushed = broken.push()
    broken.undo(head)
    assert pushed.status != 0, pushed.output
    assert set(seen) == {200}, (seen, pushed.output)
    last = pushed.output.splitlines()[-30:]
    assert any(told in line for line in last), pushed.output
    assert status("broken")["live"]["id"] == live["id"]
    assert branch("broken") == live["revision"] == head


def test_release_that_falls_over_after_the_switch_is_left(serving, status, branch):
    """Nobody looked at it for long before: it is live for some seconds, and then the old one is back."""
    watched = serving("watched")
    live = status("watched")["live"]
    head = watched.head()
    watched.change("mysite/wsgi.py", SERVING + "threading.Timer(5, os._exit, [9]).start()\n", append=True)
    with Visitors(watched, 3) as seen:
        pushed = watched.push()
    watched.undo(head)
    assert pushed.status != 0, pushed.output
    print(f"while it fell over: {dict(seen)}")
    failed = sum(count for kind, count in seen.items() if kind != 200)
    assert failed <= seen[200] / 20, seen
    assert status("watched")["live"]["id"] == live["id"]
    assert branch("watched") == live["revision"]
    assert watched.get("/").status == 200
