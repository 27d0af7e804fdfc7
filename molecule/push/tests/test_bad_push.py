# SPDX-License-Identifier: GPL-3.0-or-later
"""A push that cannot serve changes nothing a visitor sees, and says so to git."""

from __future__ import annotations

import projects
import pytest
from hosts import eventually

FRONT = "\n\ndef front(request):\n    "
REFUSED = {
    "import error": ("notes/views.py", "\nimport not_there\n", "not_there"),
    "syntax error": ("notes/views.py", "\ndef broken(:\n", "views.py"),
    "settings that fail": ("mysite/settings.py", "\nraise RuntimeError('no settings today')\n", "no settings today"),
    "system check": ("notes/models.py", "\n\nclass Bad(models.Model):\n    price = models.DecimalField()\n", "E130"),
    "missing dependency": ("requirements.txt", "djdeploy-there-is-no-such-package==1.0\n", "djdeploy-there-is-no-such"),
    "missing static file": ("notes/static/notes/style.css", "p { background: url('gone.png'); }\n", "gone.png"),
    "application that is none": ("mysite/wsgi.py", "\nraise RuntimeError('no application today')\n", "no application"),
}
UNPROVEN = {
    "answers 500": ("notes/views.py", FRONT + "raise RuntimeError('no page today')\n", "answers 500"),
    "misses a template": ("notes/views.py", FRONT + "return render(request, 'notes/gone.html')\n", "answers 500"),
    "hangs": ("notes/views.py", FRONT + "time.sleep(600)\n", "did not answer"),
    "dies": ("mysite/wsgi.py", "\nimport sys\nif 'gunicorn' in sys.modules:\n    sys.exit(3)\n", "died"),
}
# The others fail in the same way, or as one of molecule/single does.
IN_FULL = ("import error", "syntax error", "application that is none", "misses a template", "hangs")


def in_rings(cases):
    """The cases, those of IN_FULL marked."""
    return [pytest.param(case, marks=pytest.mark.full) if case in IN_FULL else case for case in cases]


@pytest.fixture
def unharmed(pushed_notes, status, branch, running):
    """What serves before the test serves after it, and a good push goes live again."""
    live, head = status("notes")["live"]["id"], pushed_notes.head()
    yield pushed_notes
    assert status("notes")["live"]["id"] == live
    assert branch("notes") == head, "the branch moved"
    assert pushed_notes.get("/").status == 200
    eventually(lambda: running("notes") == [f"djdeploy-notes@{live}.service"], 300, "only the live release runs")
    pushed_notes.undo(head)


@pytest.mark.parametrize("case", in_rings(REFUSED))
def test_what_cannot_be_built_is_refused(unharmed, case):
    name, text, told = REFUSED[case]
    unharmed.change(name, text, append=True)
    pushed = unharmed.push()
    assert pushed.status != 0
    assert told in pushed.output, pushed.output
    assert "pre-receive hook declined" in pushed.output, "git itself must say that the branch did not move"
    assert "notes stays at" in pushed.output


def test_conflicting_migrations_are_refused(unharmed):
    text = (unharmed.project / "notes/migrations/0001_initial.py").read_text()
    again = text.replace("dependencies = []", 'dependencies = [("notes", "0001_initial")]').replace(
        "initial = True", ""
    )
    empty = again[: again.index("    operations")] + "    operations = []\n"
    for name in ("0002_one", "0002_two"):
        projects.write(unharmed.project, f"notes/migrations/{name}.py", empty)
    projects.commit(unharmed.project, "Two at once")
    pushed = unharmed.push()
    assert pushed.status != 0
    assert "0002_one" in pushed.output and "0002_two" in pushed.output, pushed.output


def test_tree_without_manage_py_is_refused(unharmed):
    projects.git(unharmed.project, "rm", "--quiet", "manage.py")
    projects.commit(unharmed.project, "Lose manage.py")
    pushed = unharmed.push()
    assert pushed.status != 0
    assert "manage.py" in pushed.output


@pytest.mark.parametrize("case", in_rings(UNPROVEN))
def test_what_does_not_prove_itself_gets_no_visitor(unharmed, case):
    name, text, told = UNPROVEN[case]
    unharmed.change(name, text, append=True)
    pushed = unharmed.push()
    assert pushed.status != 0, "git push must fail, though the branch was accepted at first"
    assert told in pushed.output, pushed.output
    assert "is back at" in pushed.output


def test_good_push_after_bad_ones_goes_live(pushed_notes, status):
    head = pushed_notes.head()
    pushed_notes.change("notes/views.py", "\nimport not_there\n", append=True)
    assert pushed_notes.push().status != 0
    pushed_notes.undo(head)
    revision = pushed_notes.change("notes/views.py", "\n# mended\n", append=True)
    pushed = pushed_notes.push()
    assert pushed.status == 0, pushed.output
    assert status("notes")["live"]["revision"] == revision
