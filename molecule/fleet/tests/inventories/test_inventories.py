# SPDX-License-Identifier: GPL-3.0-or-later
"""A second inventory with a site of its own on one web host and the database host of the first one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hosts import Play, Playbooks, Site

ROOT = Path(__file__).resolve().parents[4]
RECORD = "/etc/djdeploy/granted.json"
FAST = {"web": {"workers": 2}, "health": {"timeout": 180, "answer_timeout": 60, "watch": 1}}


class Second:
    """An inventory in a directory called `staging`, which gives its environment the name."""

    def __init__(self, directory: Path, ephemeral: Path) -> None:
        self.directory, self.key = directory, (ephemeral / "laptop.pub").read_text().strip()
        self.playbooks = Playbooks(ROOT, (directory, ephemeral / "inventory"))
        groups = {"web": {"hosts": {"fleet-web2": None}}, "database": {"hosts": {"fleet-database": None}}}
        self.write("hosts.yml", {"all": {"children": groups}})

    def write(self, name: str, content: object) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))

    def run(self, *names: str, check: bool = False, **variables: object) -> Play:
        """site.yml with these sites."""
        sites = {name: {"domains": [f"{name}.test"], "deploy_keys": [self.key], **FAST} for name in names}
        self.write("group_vars/all/sites.yml", {"djdeploy_sites": sites, **variables})
        return self.playbooks.run("site.yml", check=check)


@pytest.fixture(scope="module")
def second(tmp_path_factory, ephemeral):
    return Second(tmp_path_factory.mktemp("inventories") / "staging", ephemeral)


@pytest.fixture(scope="module")
def shared(notes, second):
    """The site `trial` of the second inventory beside those of the first."""
    done = second.run("trial")
    assert done.status == 0, done.output
    return done


def plain(output):
    """What Ansible said on one line, without the quotes it lays around texts."""
    return " ".join(output.replace("\\n", " ").replace("'", "").replace('"', "").split())


def recorded(host):
    return json.loads(host.check_output("cat %s", RECORD))


def test_the_first_inventory_s_sites_answer_and_are_pushed_to(shared, notes, site_on, inside):
    """One key pushes to sites of both; sshd takes the first of its lines only, so it has one."""
    own = notes["fleet-web2"]
    assert "written by a migration" in own.get("/").text  # from the database
    own.change("marker.txt", "after the other inventory was run\n")
    pushed = own.push()
    assert pushed.status == 0, pushed.output
    lines = inside("fleet-web2").check_output("grep -v '^#' /etc/djdeploy/authorized_keys/git").splitlines()
    assert [line.split('"')[1].split()[3:] for line in lines if line.endswith(" laptop")] == [
        ["lonely", "notes", "trial"]
    ]
    trial = site_on("trial", "fleet-web2").push("--dry-run", "main")
    assert trial.status == 0, trial.output


def test_each_host_records_whose_sites_it_carries(shared, inside):
    for name, sites in (
        ("fleet-web2", {"notes": "inventory", "quiet": "inventory", "lonely": "inventory", "trial": "staging"}),
        ("fleet-database", {"notes": "inventory", "quiet": "inventory", "lonely": "inventory", "trial": "staging"}),
        ("fleet-web1", {"notes": "inventory", "quiet": "inventory"}),
    ):
        host = inside(name)
        assert {site: own["environment"] for site, own in recorded(host)["sites"].items()} == sites
        assert (host.file(RECORD).mode, host.file(RECORD).user) == (0o600, "root")


@pytest.mark.parametrize(
    ("sites", "variables", "says"),
    [
        pytest.param(
            ("trial", "notes"), {},
            ["the site notes of this host belongs to the environment inventory", "djdeploy_environment: inventory"],
            id="a name",
        ),
        pytest.param(
            ("trial",), {"nginx_gzip_types": ["text/css"]},
            ["nginx_gzip_types holds for the whole host", "the inventory of staging says"],
            id="a setting", marks=pytest.mark.full,
        ),
    ],
)  # fmt: skip
def test_what_belongs_to_the_other_inventory_is_refused(shared, second, inside, sites, variables, says):
    before = recorded(inside("fleet-web2"))
    done = second.run(*sites, **variables)
    assert done.status != 0
    assert [words for words in says if words not in plain(done.output)] == [], done.output
    assert sum(done.changed.values()) == 0, done.output
    assert recorded(inside("fleet-web2")) == before


def test_a_site_that_left_its_inventory_is_named(shared, second):
    """Here only predicted; the next test does it."""
    done = second.run(check=True)
    assert done.status == 0, done.output
    told = plain(done.output)
    assert "the site trial is not described by the inventory of staging any more" in told
    assert "described: false" in told  # the record, and nothing else, would change
    assert {name: count for name, count in done.changed.items() if count} == {"fleet-web2": 1, "fleet-database": 1}


@pytest.mark.full
def test_runs_in_turn_change_nothing(shared, second, playbooks):
    for _turn in range(2):
        for done in (playbooks.run("site.yml"), second.run("trial")):
            assert done.status == 0, done.output
            assert sum(done.changed.values()) == 0, done.output


@pytest.mark.full
def test_nothing_of_a_site_that_left_is_touched(shared, second, site_on, inside):
    trial: Site = site_on("trial", "fleet-web2")
    pushed = trial.push()
    assert pushed.status == 0, pushed.output
    host, database = inside("fleet-web2"), inside("fleet-database")
    access = database.check_output("cat /etc/postgresql/*/main/pg_hba.conf")
    assert '"trial" "trial"' in access
    done = second.run()
    assert done.status == 0, done.output
    assert database.check_output("cat /etc/postgresql/*/main/pg_hba.conf") == access
    assert "written by a migration" in trial.get("/").text
    trial.change("marker.txt", "nobody describes it\n")
    pushed = trial.push()
    assert pushed.status == 0, pushed.output
    assert "the inventory of staging does not describe it any more" in host.check_output("djdeploy status trial")
    looked = host.run("djdeploy doctor trial")
    assert looked.rc != 0
    assert "the inventory of staging does not describe it any more" in looked.stdout
    again = second.run("trial")
    assert again.status == 0, again.output
    assert "does not describe it any more" not in host.check_output("djdeploy status trial")


@pytest.mark.full
def test_a_host_without_a_record_is_adopted(shared, second, playbooks, notes, inside):
    """As the version before left it: what was granted is found in what was written."""
    for name in ("fleet-web2", "fleet-database"):
        inside(name).check_output("rm %s", RECORD)
    done = second.run("trial")
    assert done.status == 0, done.output
    assert "the site notes is described by no inventory" in plain(done.output)
    assert "written by a migration" in notes["fleet-web2"].get("/").text
    sites = recorded(inside("fleet-database"))["sites"]
    assert (sites["trial"]["environment"], sites["notes"]["environment"]) == ("staging", "")
    assert "no inventory has described it" in inside("fleet-web2").check_output("djdeploy status notes")
    done = playbooks.run("site.yml")
    assert done.status == 0, done.output
    assert recorded(inside("fleet-database"))["sites"]["notes"]["environment"] == "inventory"


@pytest.mark.full
def test_a_check_of_a_new_database_elsewhere(notes, playbooks):
    """Its address comes with the same run, so a check cannot look at it, and says so instead of failing."""
    site = yaml.safe_load((ROOT / "molecule/fleet/inventory/group_vars/all/sites.yml").read_text())["djdeploy_sites"]
    secrets = {**site["notes"]["secrets"], "REPORTS_DATABASE_URL": "postgresql://reader:x@192.0.2.1/reports"}
    said = {**site["notes"], "deploy_keys": [], "databases": {"reports": "external"}, "secrets": secrets}
    done = playbooks.run("site.yml", "-v", check=True, djdeploy_sites={"notes": said})
    assert done.status == 0, done.output
    told = "database reports is not looked at: REPORTS_DATABASE_URL is written by the same run"
    assert told in plain(done.output), done.output
