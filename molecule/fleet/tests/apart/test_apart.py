# SPDX-License-Identifier: GPL-3.0-or-later
"""The web on some hosts, the databases on another: as if they were one, and closed to everybody else."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

# Run on a web host with the password the site has there.
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
# Run on any host: begins to talk to PostgreSQL over TLS, as user and database `notes`; prints the kind of the answer
# (R: it asks for the password, E: an error) and what it says.
KNOCK = """
import socket, ssl, struct, sys
knock = socket.create_connection((sys.argv[1], 5432), timeout=60)
knock.sendall(struct.pack("!ii", 8, 80877103))
assert knock.recv(1) == b"S", "no TLS"
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
knock = context.wrap_socket(knock)
who = b"user\\0notes\\0database\\0notes\\0\\0"
knock.sendall(struct.pack("!ii", 8 + len(who), 196608) + who)
print(knock.recv(4096).decode(errors="replace").replace("\\0", " "))
"""


def test_page_comes_from_the_other_host(notes, name, inside):
    assert "written by a migration" in notes[name].get("/").text
    assert not inside(name).package("postgresql").is_installed


def test_connection_is_encrypted_and_the_server_is_known(notes, name, database_url):
    told = notes[name].inside()["connection"]
    assert told["network"] is True
    assert told["ssl"] is True and told["tls"] in ("TLSv1.2", "TLSv1.3")
    assert "sslmode=verify-ca" in database_url(name) or "sslmode=verify-full" in database_url(name)


def test_password_is_stored_as_scram(notes, database):
    stored = database("select rolpassword from pg_authid where rolname = 'notes'")
    assert stored.startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize(
    ("user", "database_name", "mode", "opens"),
    [
        ("notes", "notes", "require", True),
        ("notes", "notes", "disable", False),
        ("notes", "quiet", "require", False),
        ("quiet", "quiet", "require", False),
        ("postgres", "postgres", "require", False),
    ],
)
def test_password_opens_one_database_and_only_encrypted(notes, name, inside, user, database_name, mode, opens):
    python = "/srv/notes/current/.venv/bin/python -c %s %s %s %s"
    done = inside(name).run(python, CONNECT, user, database_name, mode)
    assert (done.stdout.strip() == "open") is opens, done.stderr
    assert opens or "psycopg.OperationalError" in done.stderr, "it failed for another reason"


def test_other_hosts_are_refused(notes, database, fleet, playbooks):
    assert database("select count(*) from pg_hba_file_rules where error is not null") == "0"
    rules = "select distinct address from pg_hba_file_rules where type like 'host%' and address is not null"
    allowed = database(rules).split()
    assert allowed
    assert set(allowed) <= {fleet[host].address for host in playbooks.host_names("web")} | {"127.0.0.1", "::1"}


def test_host_that_has_no_site_does_not_get_as_far_as_a_password(notes, name, inside, database_url):
    """Even the right user of the right database, over TLS: the server does not ask who is not of the web."""
    at = urlsplit(database_url(name)).hostname
    asked = inside(name).check_output("python3 -c %s %s", KNOCK, at)
    assert asked.startswith("R"), asked
    refused = inside("fleet-services").check_output("python3 -c %s %s", KNOCK, at)
    assert refused.startswith("E") and "no pg_hba.conf entry" in refused, refused


def test_secret_is_not_shown_on_the_way(notes, playbooks, database_url):
    passwords = {urlsplit(database_url(host)).password for host in notes}
    play = playbooks.run("site.yml", "-vvv", check=True)
    assert play.status == 0, play.output
    assert all(passwords)
    assert not [each for each in passwords if each in play.output]
    assert set(play.changed.values()) == {0}, play.output
