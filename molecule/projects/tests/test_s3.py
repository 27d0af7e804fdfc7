# SPDX-License-Identifier: GPL-3.0-or-later
"""What the projects of the corpus that keep files in S3 do after they were pushed (by test_corpus.py)."""

from __future__ import annotations

import re
import shlex

import projects
import pytest
from cases import params
from hosts import Site

STYLE = re.compile(r'href="(http://127\.0\.0\.1:9001/s3-bucket/static/notes/style\.[0-9a-f]{12}\.css)"')
ANSWERS = "until (exec 3<>/dev/tcp/127.0.0.1/9000) 2> /dev/null; do sleep 0.2; done"

on_s3 = pytest.mark.parametrize(("case", "host"), params("s3"))
on_both = pytest.mark.parametrize(("case", "host"), params("s3", "storage-dsn"))


def objects(site: Site) -> dict[str, str]:
    """What the bucket of a site holds: name -> the time it was written."""
    script = f"cd /var/lib/s3/{site.name}-bucket && find . -type f -not -path '*/.nanio-meta/*' -printf '%P %T@\\n'"
    return dict(line.rsplit(" ", 1) for line in site.machine.root(script).splitlines())


def fetched(site: Site, url: str) -> str:
    program = f"import urllib.request; print(urllib.request.urlopen({url!r}).read().decode(), end='')"
    return site.machine.root(f"python3 -c {shlex.quote(program)}")


@on_s3
def test_static_files_are_in_the_bucket_by_hashed_names(site: Site) -> None:
    link = STYLE.search(site.get("/").text)
    assert link, site.get("/").text
    assert fetched(site, link[1]) == "h1 { color: teal; }\n"


@on_s3
def test_plan_sends_nothing_and_push_only_what_is_new(site: Site) -> None:
    before, page = objects(site), site.get("/").text
    revision = site.change("notes/static/notes/style.css", "h2 { color: navy; }\n", append=True)
    assert site.push("main:refs/heads/next").status == 0
    planned = site.machine.root(f"djdeploy plan s3 {revision}")
    assert "static files go to the bucket s3-bucket, 1 new" in planned
    assert objects(site) == before
    done = site.push()
    assert done.status == 0, done.output
    assert "1 new, 127 unchanged in the bucket s3-bucket" in done.output
    after = objects(site)
    new = sorted(re.sub("[0-9a-f]{12}", "DIGEST", name) for name in after if after[name] != before.get(name))
    assert before.keys() <= after.keys(), "a page of the release before may want them"
    assert new == ["static/notes/style.DIGEST.css", "static/notes/style.css", "static/staticfiles.DIGEST.json"]
    now, then = STYLE.search(site.get("/").text), STYLE.search(page)
    assert now and then and now[1] != then[1]
    assert "navy" in fetched(site, now[1])
    assert "navy" not in fetched(site, then[1])


@on_s3
def test_going_back_sends_nothing_and_finds_its_own_names(site: Site) -> None:
    before = objects(site)
    said = site.machine.root("djdeploy rollback s3")
    assert "in the bucket s3-bucket still: nothing to send" in said
    assert objects(site) == before
    link = STYLE.search(site.get("/").text)
    assert link and "navy" not in fetched(site, link[1])


@pytest.mark.full
@on_s3
def test_storage_that_refuses_stops_the_push(site: Site) -> None:
    """Nothing is live then that was not before, and the same commit goes live as soon as the storage is back."""
    site.change("notes/static/notes/style.css", "h3 { color: olive; }\n", append=True)
    before, page = objects(site), site.get("/").text
    # It may be read, and has no room.
    site.machine.root(f"systemctl stop s3; mount --bind -o ro /var/lib/s3 /var/lib/s3; systemctl start s3; {ANSWERS}")
    try:
        refused = site.push()
    finally:
        site.machine.root(f"systemctl stop s3; umount /var/lib/s3; systemctl start s3; {ANSWERS}")
    assert refused.status != 0 or "did not go live" in refused.output, refused.output
    assert (objects(site), site.get("/").text) == (before, page)
    assert site.push().status == 0
    link = STYLE.search(site.get("/").text)
    assert link and "olive" in fetched(site, link[1])


@pytest.mark.full
@on_both
def test_upload_outlives_a_push(site: Site) -> None:
    url = site.upload("/upload", "kept.txt", b"kept over a release").text
    assert url.startswith("http://127.0.0.1:9000/"), "uploads go to S3 itself, by a signed URL"
    assert fetched(site, url) == "kept over a release"
    assert any(path.endswith("attachments/kept.txt") for path in objects(site))
    projects.commit(site.project, "Once more")
    done = site.push()
    assert done.status == 0, done.output
    assert fetched(site, url) == "kept over a release"


@on_both
def test_config_shows_no_key(site: Site) -> None:
    name = site.name
    told = site.machine.root(f"djdeploy config {name}; djdeploy config {name} --json; djdeploy history {name}")
    assert "STORAGES" in told
    assert "secret/secret" not in told and "secret%2Fsecret" not in told
