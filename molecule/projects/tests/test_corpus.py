# SPDX-License-Identifier: GPL-3.0-or-later
"""Each project of the corpus, pushed twice as it is: live, unnoticed by visitors, or refused with what to do.

The two hosts are worked at the same time, each by a process of its own (molecule.yml).
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import projects
import pytest
import websocket
from hosts import Response, Site, eventually
from load import Visitors

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus
from cases import params

PATIENCE = 300  # seconds for what the journal tells


def is_as_said(answer: Response, page: corpus.Page) -> bool:
    return (
        answer.status == page.status
        and page.shows in answer.text
        and {name: answer.headers[name] or "" for name in page.headers} == page.headers
    )


def look_at(site: Site, page: corpus.Page) -> None:
    """Ask for a page until it is as it shall be, as long as it may take."""
    end = time.monotonic() + page.within
    answer = site.get(page.path)
    while not is_as_said(answer, page) and time.monotonic() < end:
        time.sleep(0.3)
        answer = site.get(page.path)
    assert is_as_said(answer, page), f"{answer.status}\n{answer.headers}\n{answer.text}"
    if page.logged:
        told = re.search(r"<code>([0-9a-f]{32})</code>", answer.text)
        assert told, answer.text
        eventually(lambda: page.logged in logged(site, told[1]), PATIENCE, f"{page.logged} in the journal")


def logged(site: Site, request: str) -> str:
    """What was logged for a request, as an operator looks it up."""
    words = site.machine.ssh_words("djdeploy", "logs", site.name, "--request", request)
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(("case", "host"), params())
def test_project_as_it_is(case: corpus.Case, host: str, site: Site) -> None:
    before, said_first = site.branch(), site.folder / f"{case.name}.first"
    if before == site.head():  # the test is run again, and a push would send nothing
        projects.commit(site.project, "Once more")
    first = site.push()
    if not before:
        said_first.write_text(first.output)
    if case.refused:
        assert first.status != 0 and case.refused in first.output, first.output
        return
    assert first.status == 0, first.output
    output = said_first.read_text() if said_first.exists() else first.output  # only the first push says it
    for said in case.says:
        assert said in output, output
    for page in case.pages:
        look_at(site, page)
    for each in case.sockets:
        assert websocket.exchange(site.machine, site.domain, each.path, each.sends) == each.shows
    (site.project / "CHANGES").write_text(f"pushed again at {time.time()}\n")
    projects.commit(site.project, "Again")
    front = case.pages[0]
    with Visitors(site, threads=2, pause=0.05, path=front.path) as seen:
        second = site.push()
        time.sleep(1)
    assert second.status == 0, second.output
    assert re.search(r"virtualenv +ok .* unchanged, ", second.output), second.output
    assert set(seen) == {front.status}, seen
