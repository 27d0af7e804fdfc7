# SPDX-License-Identifier: GPL-3.0-or-later
"""The web on one host, the databases on another: as if they were one, and closed to everybody else."""

from __future__ import annotations

import pytest

# Run on the web host with the password the site has there.
CONNECT = """
import sys
from urllib.parse import urlsplit
import psycopg
lines = open("/etc/djdeploy/sites/notes.env").read().splitlines()
url = next(line.partition("=")[2] for line in lines if line.startswith("DATABASE_URL="))
at, (user, name, mode) = urlsplit(url.strip("\'\\"")), sys.argv[1:]
where = {"host": at.hostname, "port": at.port or 5432, "dbname": name, "sslmode": mode}
psycopg.connect(user=user, password=at.password, **where).close()
print("open")
"""


def ask_postgres(database, question: str) -> str:
    """The answer of the server to its own superuser."""
    return database.check_output("runuser -u postgres -- psql -tAc %s", question)


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
    stored = ask_postgres(database, "select rolpassword from pg_authid where rolname = 'notes'")
    assert stored.startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize(
    ("user", "name", "mode", "opens"),
    [
        ("notes", "notes", "require", True),
        ("notes", "notes", "disable", False),
        ("notes", "quiet", "require", False),
        ("quiet", "quiet", "require", False),
        ("postgres", "postgres", "require", False),
    ],
)
def test_password_opens_one_database_and_only_encrypted(notes, server, user, name, mode, opens):
    done = server.run("/srv/notes/current/.venv/bin/python -c %s %s %s %s", CONNECT, user, name, mode)
    assert (done.stdout.strip() == "open") is opens, done.stderr
    assert opens or "psycopg.OperationalError" in done.stderr, "it failed for another reason"


def test_other_hosts_are_refused(notes, database, web):
    assert ask_postgres(database, "select count(*) from pg_hba_file_rules where error is not null") == "0"
    rules = "select distinct address from pg_hba_file_rules where type like 'host%' and address is not null"
    allowed = ask_postgres(database, rules).split()
    assert allowed
    assert set(allowed) <= {web.address, "127.0.0.1", "::1"}


def test_secret_is_not_shown_on_the_way(playbooks, server):
    url = server.check_output("sed -n 's/^DATABASE_URL=//p' /etc/djdeploy/sites/notes.env").strip("\"'")
    password = url.split("://")[1].split("@")[0].split(":")[1]
    play = playbooks.run("site.yml", "-vvv", check=True)
    assert play.status == 0, play.output
    assert password not in play.output
    assert set(play.changed.values()) == {0}, play.output
