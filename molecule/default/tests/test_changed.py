# SPDX-License-Identifier: GPL-3.0-or-later
"""What a change does, by playbook: predicted by --check, done by a run, and undone by a rollback."""

from __future__ import annotations

import re

import projects
import pytest

MANY_WORKERS = {"djdeploy_host_sites": {"notes": {"web": {"workers": 3}}}}


@pytest.fixture(scope="module")
def notes(site):
    return site("notes")


@pytest.fixture(scope="module")
def published(notes, web):
    """Change the project and offer it to the host; gives what was live before."""
    before = notes.head()
    name = projects.add_column(notes.project)
    projects.publish(notes.project, web.name)
    return before, notes.head(), name


@pytest.fixture(scope="module")
def uploaded(notes):
    """A file uploaded before any change, by its URL."""
    url = notes.upload("/upload", "kept.txt", b"uploaded before the change").text
    assert notes.get(url).text == "uploaded before the change"
    return url


def workers(server, status) -> int:
    """How many serve `notes`."""
    program = f"/srv/notes/releases/{status('notes')['live']['id']}/.venv/bin/gunicorn"
    return int(server.check_output("pgrep --count --full %s", program)) - 1  # one of them leads the others


def test_check_tells_commits_and_migrations_and_does_nothing(playbooks, published, uploaded, notes, status, server):
    _before, after, migration = published
    live = status("notes")["live"]["id"]
    play = playbooks.run("site.yml", check=True)
    assert play.status == 0, play.output
    assert set(play.changed.values()) == {1}, play.output
    for told in (migration, "Give notes stars", after[:7]):
        assert told in play.output, f"{told} is not in the difference:\n{play.output}"
    assert status("notes")["live"]["id"] == live
    assert server.check_output("ls /srv/notes/releases").split() == [live]
    assert notes.get("/").status == 200


def test_deploy_puts_the_new_revision_live_and_keeps_uploads(playbooks, published, uploaded, notes, status):
    _before, after, _migration = published
    play = playbooks.run("playbooks/deploy.yml", site="notes")
    assert play.status == 0, play.output
    assert set(play.changed.values()) == {1}
    assert status("notes")["live"]["revision"] == after
    assert notes.get("/").status == 200
    assert notes.get(uploaded).text == "uploaded before the change"
    assert set(playbooks.run("playbooks/deploy.yml", site="notes").changed.values()) == {0}


def test_manage_runs_a_command_as_the_site(playbooks, published):
    play = playbooks.run("playbooks/manage.yml", site="notes", command="showmigrations notes", read_only=True)
    assert play.status == 0, play.output
    assert "[X] 0002_stars" in play.output
    assert set(play.changed.values()) == {0}


def test_rollback_goes_back_and_says_where_before(playbooks, published, notes, status):
    before, after, _migration = published
    told = playbooks.run("playbooks/rollback.yml", check=True, site="notes")
    assert told.status == 0 and before[:7] in told.output, told.output
    assert status("notes")["live"]["revision"] == after
    play = playbooks.run("playbooks/rollback.yml", site="notes")
    assert play.status == 0, play.output
    assert status("notes")["live"]["revision"] == before
    assert notes.get("/").status == 200


def test_changed_workers_make_a_new_release_of_the_same_revision(playbooks, published, notes, status, server):
    _before, after, _migration = published
    assert playbooks.run("playbooks/deploy.yml", site="notes", revision=after).status == 0
    before = status("notes")["live"]
    told = playbooks.run("site.yml", check=True, **MANY_WORKERS)
    assert "workers = 3" in told.output and sum(told.changed.values()) > 0, told.output
    assert status("notes")["live"]["id"] == before["id"]
    play = playbooks.run("site.yml", **MANY_WORKERS)
    assert play.status == 0, play.output
    live = status("notes")["live"]
    assert live["revision"] == after and live["id"] != before["id"]
    assert workers(server, status) == 3


def test_changed_secret_is_live_and_not_shown(playbooks, notes, server, status):
    """And back to what the inventory says, the workers of the test before as well."""
    secret = {"djdeploy_host_sites": {"notes": {"secrets": {"NOTES_NEW": "another-well-kept-word"}}}}
    told = playbooks.run("site.yml", "-vvv", check=True, **secret)
    assert told.status == 0 and sum(told.changed.values()) > 0
    play = playbooks.run("site.yml", "-vvv", "--diff", **secret)
    assert play.status == 0, play.output
    assert "NOTES_NEW" in notes.inside()["variables"]
    for output in (told.output, play.output):
        said = [line for line in output.splitlines() if "another-well-kept-word" in line]
        assert said == []
    assert playbooks.run("site.yml").status == 0
    assert "NOTES_NEW" not in notes.inside()["variables"]
    assert workers(server, status) == 2


def test_superuser_is_made_and_may_log_in(playbooks, notes, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a-password-for-ann")
    who = {"site": "notes", "username": "ann", "email": "ann@example.com"}
    assert set(playbooks.run("playbooks/superuser.yml", check=True, **who).changed.values()) == {1}
    play = playbooks.run("playbooks/superuser.yml", "-vvv", **who)
    assert play.status == 0, play.output
    assert set(play.changed.values()) == {1}
    assert "a-password-for-ann" not in play.output
    assert set(playbooks.run("playbooks/superuser.yml", **who).changed.values()) == {0}

    page = notes.get("/admin/login/")
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)[1]
    cookie = page.headers["Set-Cookie"].split(";")[0]
    form = {"username": "ann", "password": "a-password-for-ann", "csrfmiddlewaretoken": token, "next": "/admin/"}
    answer = notes.post("/admin/login/", form, Cookie=cookie, Origin="http://notes.test")
    assert (answer.status, answer.headers["Location"]) == (302, "/admin/"), answer.text


def test_status_playbook_tells_what_is_live(playbooks, status):
    play = playbooks.run("playbooks/status.yml")
    assert play.status == 0
    assert status("notes")["live"]["id"] in play.output


def test_check_playbook_tells_what_django_says_and_changes_nothing(playbooks):
    play = playbooks.run("playbooks/check.yml", site="notes")
    assert play.status == 0, play.output
    assert set(play.changed.values()) == {0}
    assert "pending_migrations: []" in play.output and "static_files_to_collect: 0" in play.output
    assert "security.W" in play.output, "warnings of check --deploy"


def test_release_that_cannot_be_built_changes_nothing(playbooks, notes, web, status):
    live, head = status("notes")["live"]["id"], notes.head()
    notes.change("notes/views.py", "\nimport not_there\n", append=True)
    projects.publish(notes.project, web.name)
    play = playbooks.run("playbooks/deploy.yml", site="notes")
    assert play.status != 0
    assert "not_there" in play.output
    assert status("notes")["live"]["id"] == live
    assert notes.get("/").status == 200
    notes.undo(head)
    projects.publish(notes.project, web.name)
    assert set(playbooks.run("site.yml").changed.values()) == {0}


def test_untouched_wagtail_project_goes_live_by_its_first_push(site, status):
    wagtail = site("wagtail")
    pushed = wagtail.push()
    assert pushed.status == 0, pushed.output
    assert status("wagtail")["live"]["revision"] == wagtail.head()
    page = wagtail.get("/")
    assert page.status == 200
    assert "Welcome to your new Wagtail site" in page.text
    styles = re.findall(r'<link[^>]+href="(/static/[^"?]+\.css)', page.text)
    assert styles
    assert {wagtail.get(style).status for style in styles} == {200}
    assert wagtail.get("/admin/login/").status == 200
