# SPDX-License-Identifier: GPL-3.0-or-later
"""Each large application, pushed as it is: live with its workers, and a second push no visitor notices."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import projects
import pytest
import websocket
from hosts import ROOT, Machine, Response, Site
from load import Visitors

sys.path.insert(0, str(ROOT / "molecule/projects"))

import corpus
from cases import params

STATIC = re.compile(r'(?:href|src)="(/static/[^"?]+\.(?:css|js))')
LIVE = re.compile(r" is live as \S+ \(([\d.]+) s\)")
PATIENCE = 3600.0  # seconds a first push may take: its packages come from the index


def asked(machine: Machine, *words: str) -> str:
    return subprocess.run(machine.ssh_words(*words), capture_output=True, text=True, check=True).stdout


def look_at(site: Site, page: corpus.Page) -> Response:
    answer = site.get(page.path)
    assert answer.status == page.status, answer.text
    assert page.shows in answer.text, answer.text
    return answer


def see_static_files(site: Site, page: str) -> None:
    """Each script and style a page names comes, from nginx and not from the application."""
    for path in STATIC.findall(page):
        answer = site.get(path)
        assert answer.status == 200 and answer.body, path
        assert answer.headers["ETag"], path  # nginx sends one, no view of theirs does


def see_processes(site: Site, wanted: set[str]) -> None:
    """All that runs beside the web server runs, and has since it was started."""
    state: dict[str, Any] = json.loads(asked(site.machine, "djdeploy", "status", site.name, "--json"))[0]
    processes = state.get("processes", [])
    running = {each["name"].partition(".")[0] for each in processes if each["state"] == "active"}
    assert wanted <= running, processes


def made(case: corpus.Case, host: str, fleet: dict[str, Machine], ephemeral: Path) -> Site:
    """The site of a case on a host, with a project of its own: two hosts are pushed to at the same time."""
    folder = ephemeral / "projects" / host
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "laptop").exists():
        (folder / "laptop").symlink_to(ephemeral / "laptop")
    corpus.make(case, folder / "projects" / case.name)
    return Site(case.name, fleet[host], folder)


@pytest.mark.parametrize(("case", "host"), params())
def test_large_application(case: corpus.Case, host: str, fleet: dict[str, Machine], ephemeral: Path) -> None:
    site = made(case, host, fleet, ephemeral)
    (ROOT / "test-results").mkdir(exist_ok=True)
    first = site.push(timeout=PATIENCE)
    assert first.status == 0, first.output
    for page in case.pages:
        look_at(site, page)
    for each in case.sockets:
        assert websocket.exchange(site.machine, site.domain, each.path, each.sends) == each.shows
    see_static_files(site, site.get(case.pages[0].path).text)
    see_processes(site, set(case.site.get("processes", {})))
    (site.project / "CHANGES").write_text("pushed again\n")
    projects.commit(site.project, "Again")
    with Visitors(site, threads=2, pause=0.2, path=case.pages[0].path) as seen:
        second = site.push(timeout=PATIENCE)
        time.sleep(1)
    assert second.status == 0, second.output
    assert re.search(r"virtualenv +ok .* unchanged, ", second.output), second.output
    assert set(seen) == {case.pages[0].status}, seen
    see_processes(site, set(case.site.get("processes", {})))
    with (ROOT / "test-results/large.txt").open("a") as told:
        took = [LIVE.findall(push.output)[-1] for push in (first, second)]
        told.write(f"{case.name} on {host}: live after {took[0]} s, again {took[1]} s, requests {dict(seen)}\n")


@pytest.fixture
def weblate(fleet: dict[str, Machine], ephemeral: Path) -> Site:
    """Weblate after it was pushed."""
    return Site("weblate", fleet["large-trixie"], ephemeral)


of_weblate = pytest.mark.skipif("weblate" not in {case.name for case in corpus.chosen()}, reason="it is not chosen")


@pytest.mark.xdist_group("large-trixie")
@of_weblate
def test_queues_of_weblate(weblate: Site) -> None:
    """It reaches the queues by redis: what `celery_queues` counts is what waits there."""
    said = asked(weblate.machine, "djdeploy", "manage", "weblate", "celery_queues")
    assert {line.partition(":")[0] for line in said.splitlines()} >= {"celery", "notify"}, said


@pytest.mark.xdist_group("large-trixie")
@of_weblate
def test_worker_of_weblate_runs_a_task(weblate: Site) -> None:
    """A task goes through redis to the worker, which writes where uploads are, and its result comes back."""
    code = "from weblate.utils.tasks import ping; print(ping.delay().get(timeout=60)['data_dir'])"
    said = weblate.machine.root(f"echo {shlex.quote(code)} | djdeploy manage weblate shell")
    assert "/srv/weblate/shared/data" in said


def cookies(answer: Response) -> str:
    """What a browser sends back of the cookies of an answer."""
    return "; ".join(each.partition(";")[0] for each in answer.headers.get_all("Set-Cookie") or [])


@pytest.mark.xdist_group("large-trixie")
@of_weblate
def test_somebody_logs_in_to_weblate(weblate: Site) -> None:
    """By its form; and Weblate, which limits that by address, knows the address."""
    words = "--username ann --email ann@weblate.test --password Correct-horse-1"
    weblate.machine.root(f"djdeploy manage weblate createadmin {words}")
    form = weblate.get("/accounts/login/")
    token = re.search(r'csrfmiddlewaretoken" value="([^"]+)', form.text)
    assert token, form.text
    fields = {"csrfmiddlewaretoken": token[1], "username": "ann", "password": "Correct-horse-1"}
    referer = f"http://{weblate.domain}/accounts/login/"
    answer = weblate.post("/accounts/login/", fields, Cookie=cookies(form), Referer=referer)
    assert answer.status == 302, answer.text
    profile = weblate.get("/accounts/profile/", headers={"Cookie": cookies(answer)})
    assert profile.status == 200 and "ann@weblate.test" in profile.text, profile.text
    assert "could not obtain remote IP address" not in asked(
        weblate.machine, "djdeploy", "logs", "weblate", "-n", "999"
    )
