# SPDX-License-Identifier: GPL-3.0-or-later
"""Two web hosts with one database: a site on both is one site, and a site on one of them is nowhere else."""

from __future__ import annotations

from http.client import RemoteDisconnected
from urllib.parse import urlsplit

import projects
import pytest

# Run on a host: a visit as another machine makes it. Prints the status and the page.
VISIT = """
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen
request = Request(f"http://{sys.argv[1]}{sys.argv[3]}", headers={"Host": sys.argv[2]})
try:
    with urlopen(request, timeout=60) as answer:
        print(answer.status, answer.read().decode())
except HTTPError as error:
    print(error.code)
"""
SIGN = "from django.core import signing; print('signed', signing.dumps('who I am'))"
BELIEVE = "from django.core import signing; print('believed', signing.loads({!r}))"


@pytest.fixture(scope="module")
def lonely(site_on):
    """The site that is only on the second host, live there."""
    own = site_on("lonely", "fleet-web2")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    return own


def test_what_one_host_writes_the_other_shows(notes):
    for number, (name, each) in enumerate(notes.items()):
        assert each.post("/add", {"text": f"number {number} by {name}"}).status == 302
    first, second = (each.get("/").text for each in notes.values())
    assert first == second
    assert all(f"by {name}" in first for name in notes)


def test_each_host_answers_a_machine_beside_it(notes, name, inside, fleet):
    """What stands in front of the hosts (a balancer, say) reaches each, and is seen as who it is."""
    services = inside("fleet-services")
    told = services.check_output("python3 -c %s %s notes.test /", VISIT, fleet[name].address)
    assert told.startswith("200 ") and "written by a migration" in told
    told = services.check_output("python3 -c %s %s notes.test /inside", VISIT, fleet[name].address)
    assert f'"address": "{fleet["fleet-services"].address}"' in told


def test_password_of_the_database_is_the_same_on_both(notes, database_url):
    addresses = {urlsplit(database_url(host)).hostname for host in notes}
    passwords = {urlsplit(database_url(host)).password for host in notes}
    assert len(addresses) == len(passwords) == 1
    assert all(passwords)


def test_what_one_host_signs_the_other_believes(notes, inside):
    """With the SECRET_KEY that the inventory gives, as it must for several hosts."""
    told = inside("fleet-web1").check_output("djdeploy manage notes shell -c %s", SIGN)
    (signed,) = [line.split()[1] for line in told.splitlines() if line.startswith("signed ")]
    told = inside("fleet-web2").check_output("djdeploy manage notes shell -c %s", BELIEVE.format(signed))
    assert "believed who I am" in told


def test_migration_runs_once(notes, database):
    """The first host that gets the code runs it; the other one finds nothing to migrate, and needs no snapshot.

    The first is the one with the newer Debian: pg_dump of an older one makes no snapshot of the newer server.
    """
    second, first = notes["fleet-web1"], notes["fleet-web2"]
    migration = projects.add_column(first.project)
    pushed = first.push()
    assert pushed.status == 0, pushed.output
    assert migration in pushed.output
    columns = (
        "select count(*) from information_schema.columns where table_name = 'notes_note' and column_name = 'stars'"
    )
    assert database(columns, "notes") == "1"
    assert second.get("/").status == 200, "its code is older than the database, and lives with it"
    pushed = second.push()
    assert pushed.status == 0, pushed.output
    assert migration not in pushed.output, pushed.output
    ran = f"select count(*) from django_migrations where app || '.' || name = '{migration}'"
    assert database(ran, "notes") == "1"
    assert [each.get("/").status for each in notes.values()] == [200, 200]
    assert len({each.inside()["release"].rpartition("-")[2] for each in notes.values()}) == 1, "the same revision"


def test_site_of_one_host_does_not_exist_on_the_other(lonely, site_on, inside, fleet, database):
    assert "written by a migration" in lonely.get("/").text
    elsewhere = site_on("lonely", "fleet-web1")
    assert elsewhere.push().status != 0
    with pytest.raises(RemoteDisconnected):
        elsewhere.get("/")
    for path in ("/srv/lonely", "/etc/djdeploy/sites/lonely.json", "/etc/djdeploy/sites/lonely.env"):
        assert inside("fleet-web2").file(path).exists
        assert not inside("fleet-web1").file(path).exists, path
    assert not inside("fleet-web1").user("lonely").exists
    assert "lonely" not in inside("fleet-web1").check_output("djdeploy status --json")
    rules = "select distinct address from pg_hba_file_rules where 'lonely' = any(user_name) and type = 'hostssl'"
    assert database(rules) == fleet["fleet-web2"].address
