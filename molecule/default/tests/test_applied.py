# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is after site.yml: it serves what it should, and nothing else."""

from __future__ import annotations

import json
import re
from http.client import RemoteDisconnected

import pytest

EXPOSURE = 5.0  # systemd-analyze calls more than this MEDIUM


def test_front_page_comes_from_the_database(site):
    answer = site("notes").get("/")
    assert answer.status == 200
    assert "written by a migration" in answer.text
    assert "Welcome to the notes" in answer.text, "the site's env is not in the process"


def test_hashed_static_file_is_served_for_a_year(site):
    name = re.search(r'href="(/static/notes/style\.[0-9a-f]{12}\.css)"', site("notes").get("/").text)
    assert name, "the page does not link a hashed file"
    answer = site("notes").get(name[1])
    assert (answer.status, answer.text) == (200, "h1 { color: teal; }\n")
    assert answer.headers["Content-Type"] == "text/css"
    assert "max-age=31536000" in answer.headers["Cache-Control"]


def test_second_domain_is_served_too(http):
    assert http("www.notes.test", "/").status == 200


@pytest.mark.parametrize("domain", ["unknown.test", "10.0.0.1", "notes.test.evil.test"])
def test_unknown_name_gets_no_answer(http, domain):
    with pytest.raises(RemoteDisconnected):
        http(domain, "/")


def test_site_without_a_release_says_so(site):
    answer = site("quiet").get("/any/page")
    assert answer.status == 503
    assert "Nothing has been published here yet" in answer.text
    assert int(answer.headers["Retry-After"]) > 0


def test_admin_and_its_styles(site):
    page = site("notes").get("/admin/login/")
    assert page.status == 200
    styles = re.findall(r'href="(/static/admin/css/[^"]+)"', page.text)
    assert styles
    assert {site("notes").get(style).status for style in styles} == {200}


def test_missing_page_shows_no_debug_page(site):
    answer = site("notes").get("/no/such/page")
    assert answer.status == 404
    assert "DEBUG" not in answer.text and "urlpatterns" not in answer.text


def test_process_runs_with_safe_settings(site):
    told = site("notes").inside()
    assert told["debug"] is False
    assert told["allowed_hosts"] == ["notes.test", "www.notes.test"]
    assert told["secret_key_is_weak"] is False
    assert told["uid"] != 0


def test_what_a_client_claims_about_itself_does_not_pass(site):
    claims = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.test"}
    told = site("notes").get("/inside", headers=claims).json()
    assert told["secure"] is False
    assert told["address"] == told["remote"] != "203.0.113.9"
    assert told["host"] == "notes.test"


def test_database_is_the_sites_own_by_its_unix_user(site, server):
    told = site("notes").inside()["connection"]
    assert (told["user"], told["name"], told["network"]) == ("notes", "notes", False)
    own = "runuser -u notes -- psql --no-psqlrc -tAc 'select current_user' notes"
    assert server.check_output(own) == "notes"


@pytest.mark.parametrize("command", ["psql -tAc 'select 1' notes", "psql -U notes -tAc 'select 1' notes"])
def test_database_is_closed_to_other_sites(server, command):
    assert server.run(f"runuser -u quiet -- {command}").rc != 0


@pytest.mark.parametrize(
    ("path", "meets"),
    [
        ("/etc/djdeploy/sites/notes.env", "FileNotFoundError"),  # not in what its unit sees of the host
        ("/etc/djdeploy/sites/quiet.env", "FileNotFoundError"),
        ("/var/lib/djdeploy/notes", "FileNotFoundError"),
        ("/srv/quiet", "FileNotFoundError"),
        ("/srv/notes/repo.git", "PermissionError"),
        ("/etc/shadow", "PermissionError"),
        ("/root", "PermissionError"),
    ],
)
def test_process_cannot_read(site, path, meets):
    assert site("notes").inside(path)["can_read"] == meets


@pytest.mark.parametrize(
    "path",
    ["/srv/notes/current/code", "/srv/notes/current/", "/srv/notes/releases", "/srv/notes", "/etc", "/usr/local/bin"],
)
def test_process_cannot_write(site, path):
    assert site("notes").inside(path)["can_write"] in ("PermissionError", "OSError")


def test_process_can_write_where_uploads_go(site, server):
    assert site("notes").inside("/srv/notes/shared")["can_write"] == "yes"
    server.check_output("rm /srv/notes/shared/written-by-the-site")


@pytest.mark.parametrize("user", ["notes", "notes-build", "git", "quiet"])
@pytest.mark.parametrize("path", ["code", "code/manage.py", ".venv/bin/python", "static", "serve", "release.env"])
def test_only_root_can_change_what_runs(server, path, user):
    assert server.file(f"/srv/notes/current/{path}").exists
    assert server.run("runuser -u %s -- test -w %s", user, f"/srv/notes/current/{path}").rc != 0


def test_another_site_cannot_read_the_code(server):
    assert server.run("runuser -u quiet -- ls /srv/notes/current/code/").rc != 0, "another site reads the code"


def test_build_user_sees_no_secret(server):
    for path in ("/etc/djdeploy/sites/notes.env", "/srv/notes/current/release.env"):
        assert server.run("runuser -u notes-build -- cat %s", path).rc != 0, path


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/djdeploy/sites/notes.env", "root", "root", 0o600),
        ("/etc/djdeploy/sites/notes.json", "root", "root", 0o640),
        ("/srv/notes/shared", "notes", "www-data", 0o710),
        ("/srv/notes/shared/media", "notes", "www-data", 0o2750),
        ("/srv/notes/repo.git", "git", "git", 0o700),
        ("/run/djdeploy/deployer.sock", "root", "root", 0o600),
        ("/run/djdeploy/push.sock", "root", "git", 0o660),
    ],
)
def test_owner_and_mode(server, path, owner, group, mode):
    file = server.file(path)
    assert (file.user, file.group, oct(file.mode)) == (owner, group, oct(mode))


def test_secrets_are_nowhere_but_in_their_file(server):
    key = server.check_output("sed -n 's/^SECRET_KEY=//p' /etc/djdeploy/sites/notes.env").strip("\"'")
    assert len(key) >= 50
    for secret in (key, "kept-from-every-log"):
        # by standard input: an argument would be in the process list we look at
        looked = server.run(
            "printf '%%s\\n' %s > /root/pattern; "
            "{ ps auxwww; journalctl --no-pager; } | grep --fixed-strings --file=/root/pattern; "
            "grep --recursive --files-with-matches --fixed-strings --file=/root/pattern "
            "/etc/djdeploy /var/lib/djdeploy /var/log/nginx /srv/notes/repo.git /tmp; rm /root/pattern",
            secret,
        )
        found = [line for line in looked.stdout.splitlines() if "pattern" not in line]
        assert found == ["/etc/djdeploy/sites/notes.env"]


def test_status_and_doctor_find_all_well(server, status):
    told = status("notes")
    assert told["state"] == "serving"
    assert told["live"]["door"] == "ansible"
    assert told["configuration_current"] is True
    assert status("quiet")["state"] == "waiting"
    doctor = server.run("djdeploy doctor --json")
    assert doctor.rc == 0, doctor.stdout
    assert all(finding["ok"] for finding in json.loads(doctor.stdout))


def test_processes_are_sandboxed(server, status):
    unit = f"djdeploy-notes@{status('notes')['live']['id']}.service"
    told = server.check_output("systemd-analyze security --no-pager %s", unit).splitlines()[-1]
    assert float(re.search(r"(\d+\.\d+)", told)[1]) < EXPOSURE, told


def test_nothing_of_ours_is_resident_but_the_site(server):
    units = server.check_output("systemctl list-units --plain --no-legend --state=running 'djdeploy-*.service'")
    assert [line.split("@")[0] for line in units.splitlines()] == ["djdeploy-notes"]


def test_no_unit_has_failed(server):
    assert server.check_output("systemctl list-units --failed --plain --no-legend 'djdeploy-*' nginx.service") == ""


@pytest.mark.full  # in every run test_rebooted.py asks for the same, after all that was changed
def test_check_mode_after_apply_has_nothing_to_say(playbooks):
    play = playbooks.run("site.yml", check=True)
    assert play.status == 0, play.output
    assert set(play.changed.values()) == {0}, play.output


def test_misspelt_key_is_refused_with_a_suggestion(playbooks):
    play = playbooks.run("site.yml", "--check", djdeploy_host_sites={"notes": {"web": {"wrokers": 3}}})
    assert play.status != 0
    assert "workers" in play.output
