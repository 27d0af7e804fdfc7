# SPDX-License-Identifier: GPL-3.0-or-later
"""What the projects of the corpus that keep files in S3 do after they were pushed (by test_corpus.py)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import corpus
import projects
import pytest
from hosts import Machine, Site

STYLE = re.compile(r'href="(http://127\.0\.0\.1:9001/s3-bucket/static/notes/style\.[0-9a-f]{12}\.css)"')


CASES = {case.name: case for case in corpus.chosen() if case.prepare == "s3"}
if "s3" not in CASES:
    pytest.skip("DJDEPLOY_CASES leaves s3 out", allow_module_level=True)
HOST = CASES["s3"].hosts[0]
BOTH = [pytest.param(name, marks=pytest.mark.xdist_group(CASES[name].hosts[0])) for name in CASES]


@pytest.fixture
def pushed(fleet: dict[str, Machine], ephemeral: Path) -> Callable[[str], Site]:
    def named(name: str) -> Site:
        host = CASES[name].hosts[0]
        return Site(name, fleet[host], ephemeral / "projects" / host)

    return named


def objects(site: Site) -> dict[str, str]:
    """What the bucket of a site holds: name -> the time it was written."""
    script = f"cd /var/lib/s3/{site.name}-bucket && find . -type f -not -path '*/.nanio-meta/*' -printf '%P %T@\\n'"
    return dict(line.rsplit(" ", 1) for line in site.machine.root(script).splitlines())


def fetched(site: Site, url: str) -> str:
    program = f"import urllib.request; print(urllib.request.urlopen({url!r}).read().decode(), end='')"
    return site.machine.root(f"python3 -c {shlex.quote(program)}")


@pytest.mark.xdist_group(HOST)
def test_static_files_are_in_the_bucket_by_hashed_names(pushed: Callable[[str], Site]) -> None:
    s3 = pushed("s3")
    link = STYLE.search(s3.get("/").text)
    assert link, s3.get("/").text
    assert fetched(s3, link[1]) == "h1 { color: teal; }\n"


@pytest.mark.xdist_group(HOST)
def test_plan_sends_nothing_and_push_only_what_is_new(pushed: Callable[[str], Site]) -> None:
    s3 = pushed("s3")
    before, page = objects(s3), s3.get("/").text
    revision = s3.change("notes/static/notes/style.css", "h2 { color: navy; }\n", append=True)
    assert s3.push("main:refs/heads/next").status == 0
    planned = s3.machine.root(f"djdeploy plan s3 {revision}")
    assert "static files go to the bucket s3-bucket, 1 new" in planned
    assert objects(s3) == before
    done = s3.push()
    assert done.status == 0, done.output
    assert "1 new, 127 unchanged in the bucket s3-bucket" in done.output
    after = objects(s3)
    new = sorted(re.sub("[0-9a-f]{12}", "DIGEST", name) for name in after if after[name] != before.get(name))
    assert before.keys() <= after.keys(), "a page of the release before may want them"
    assert new == ["static/notes/style.DIGEST.css", "static/notes/style.css", "static/staticfiles.DIGEST.json"]
    now, then = STYLE.search(s3.get("/").text), STYLE.search(page)
    assert now and then and now[1] != then[1]
    assert "navy" in fetched(s3, now[1])
    assert "navy" not in fetched(s3, then[1])


@pytest.mark.xdist_group(HOST)
def test_going_back_sends_nothing_and_finds_its_own_names(pushed: Callable[[str], Site]) -> None:
    s3 = pushed("s3")
    before = objects(s3)
    said = s3.machine.root("djdeploy rollback s3")
    assert "in the bucket s3-bucket still: nothing to send" in said
    assert objects(s3) == before
    link = STYLE.search(s3.get("/").text)
    assert link and "navy" not in fetched(s3, link[1])


@pytest.mark.xdist_group(HOST)
def test_storage_that_refuses_stops_the_push(pushed: Callable[[str], Site]) -> None:
    """Nothing is live then that was not before, and the same commit goes live as soon as the storage is back."""
    s3 = pushed("s3")
    s3.change("notes/static/notes/style.css", "h3 { color: olive; }\n", append=True)
    before, page = objects(s3), s3.get("/").text
    # It may be read, and has no room.
    s3.machine.root("systemctl stop s3 && mount --bind -o ro /var/lib/s3 /var/lib/s3 && systemctl start s3 && sleep 2")
    try:
        refused = s3.push()
    finally:
        s3.machine.root("systemctl stop s3 && umount /var/lib/s3 && systemctl start s3 && sleep 2")
    assert refused.status != 0 or "did not go live" in refused.output, refused.output
    assert (objects(s3), s3.get("/").text) == (before, page)
    assert s3.push().status == 0
    link = STYLE.search(s3.get("/").text)
    assert link and "olive" in fetched(s3, link[1])


@pytest.mark.parametrize("name", BOTH)
def test_upload_outlives_a_push(pushed: Callable[[str], Site], name: str) -> None:
    site = pushed(name)
    url = site.upload("/upload", "kept.txt", b"kept over a release").text
    assert url.startswith("http://127.0.0.1:9000/"), "uploads go to S3 itself, by a signed URL"
    assert fetched(site, url) == "kept over a release"
    assert any(path.endswith("attachments/kept.txt") for path in objects(site))
    projects.commit(site.project, "Once more")
    done = site.push()
    assert done.status == 0, done.output
    assert fetched(site, url) == "kept over a release"


@pytest.mark.parametrize("name", BOTH)
def test_config_shows_no_key(pushed: Callable[[str], Site], name: str) -> None:
    told = pushed(name).machine.root(f"djdeploy config {name}; djdeploy config {name} --json; djdeploy history {name}")
    assert "STORAGES" in told
    assert "secret/secret" not in told and "secret%2Fsecret" not in told
