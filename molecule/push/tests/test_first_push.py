# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects that know nothing of us go live by their first push."""

from __future__ import annotations

import re

import pytest


def test_site_waits_before_its_first_push(site, status):
    assert status("plain")["state"] in ("waiting", "serving")
    if status("plain")["state"] == "waiting":
        assert site("plain").get("/").status == 503


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        # an untouched startproject has no page of its own but the admin
        ("plain", "/admin/login/", "Django administration"),
        ("shop", "/", "<html"),
        ("notes", "/", "written by a migration"),
        ("file", "/", "written by a migration"),
    ],
)
def test_first_push_goes_live(site, status, name, path, shown):
    pushed = site(name).push()
    assert pushed.status == 0, pushed.output
    told = status(name)
    assert told["state"] == "serving"
    assert told["live"]["revision"] == site(name).head()
    if "Everything up-to-date" not in pushed.output:  # else another test has pushed it already
        assert told["live"]["door"] == "push" and told["live"]["who"] == "laptop"
        assert f"is live as {told['live']['id']}" in pushed.output
        assert f"http://{name}.test/" in pushed.output
    page = site(name).get(path)
    assert page.status == 200, page.text
    assert shown in page.text
    styles = re.findall(r'<link[^>]+href="(/static/[^"?]+\.css)', page.text)
    assert {site(name).get(style).status for style in styles} <= {200}


def test_second_push_goes_live_in_the_same_environment(pushed_notes, status, server):
    before = server.check_output("readlink /srv/notes/current/.venv")
    revision = pushed_notes.change("notes/templates/notes/front.html", "<p>second</p>\n", append=True)
    pushed = pushed_notes.push()
    assert pushed.status == 0, pushed.output
    assert status("notes")["live"]["revision"] == revision
    assert "<p>second</p>" in pushed_notes.get("/").text
    assert server.check_output("readlink /srv/notes/current/.venv") == before


def test_new_dependency_makes_an_environment_beside(pushed_notes, status, server):
    before = server.check_output("readlink /srv/notes/current/.venv")
    pushed_notes.change("requirements.txt", "sqlparse==0.5.3\n", append=True)
    pushed = pushed_notes.push()
    assert pushed.status == 0, pushed.output
    assert server.check_output("readlink /srv/notes/current/.venv") != before
    assert pushed_notes.get("/").status == 200
