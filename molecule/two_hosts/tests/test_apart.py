# SPDX-License-Identifier: GPL-3.0-or-later
"""The web on one host, the databases on another: as if they were one, and closed to everybody else."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def notes(site):
    """The site, live."""
    own = site("notes")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


@pytest.fixture
def database(fleet, playbooks, inspect):
    """The database host, to look into."""
    return inspect(fleet[playbooks.host_names("database")[0]])


def test_page_comes_from_the_other_host(notes, server):
    assert "written by a migration" in notes.get("/").text
    assert not server.package("postgresql").is_installed


def test_connection_is_encrypted_and_the_server_is_known(notes, server):
    told = notes.inside()["connection"]
    assert told["network"] is True
    assert told["ssl"] is True and told["tls"] in ("TLSv1.2", "TLSv1.3")
    url = server.check_output("sed -n 's/^DATABASE_URL=//p' /etc/djdeploy/sites/notes.env")
    assert "sslmode=verify-ca" in url or "sslmode=verify-full" in url


def test_password_is_stored_as_scram(notes, database):
    stored = database.check_output(
        "runuser -u postgres -- psql -tAc \"select rolpassword like 'SCRAM-SHA-256$%%' from pg_authid where rolname = 'notes'\""
    )
    assert stored == "t"


def connect(user: str, name: str, options: str) -> str:
    return (
        "set -a; . /etc/djdeploy/sites/notes.env; "
        f"cd /srv/notes/current && PGPASSWORD=$(printf %s \"$DATABASE_URL\" | sed 's,.*://[^:]*:\\([^@]*\\)@.*,\\1,') .venv/bin/python -c '"
        "import psycopg, os, urllib.parse as u; at = u.urlsplit(os.environ[\"DATABASE_URL\"]); "
        f"psycopg.connect(host=at.hostname, port=at.port or 5432, user=\"{user}\", dbname=\"{name}\", {options}).close(); print(\"open\")'"
    )


@pytest.mark.parametrize(
    ("user", "name", "options", "opens"),
    [
        ("notes", "notes", 'sslmode="require"', True),
        ("notes", "notes", 'sslmode="disable"', False),
        ("notes", "quiet", 'sslmode="require"', False),
        ("quiet", "quiet", 'sslmode="require"', False),
        ("postgres", "postgres", 'sslmode="require"', False),
    ],
)
def test_password_opens_one_database_and_only_encrypted(notes, server, user, name, options, opens):
    done = server.run(connect(user, name, options))
    assert (done.stdout.strip() == "open") is opens, done.stderr


def test_other_hosts_are_refused(notes, database, web, fleet):
    rules = database.check_output("runuser -u postgres -- psql -tAc 'select count(*) from pg_hba_file_rules where error is not null'")
    assert rules == "0"
    allowed = database.check_output(
        "runuser -u postgres -- psql -tAc "
        "\"select distinct address from pg_hba_file_rules where type like 'host%%' and address is not null\""
    ).split()
    assert "all" not in allowed and "0.0.0.0" not in allowed, allowed
    assert set(allowed) <= {web.address, "127.0.0.1", "::1"}, allowed


def test_secret_is_not_shown_on_the_way(playbooks, server):
    url = server.check_output("sed -n 's/^DATABASE_URL=//p' /etc/djdeploy/sites/notes.env").strip("\"'")
    password = url.split("://")[1].split("@")[0].split(":")[1]
    play = playbooks.run("site.yml", "-vvv", check=True)
    assert play.status == 0, play.output
    assert password not in play.output
    assert set(play.changed.values()) == {0}, play.output
