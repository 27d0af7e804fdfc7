# SPDX-License-Identifier: GPL-3.0-or-later
"""Each project of the corpus, pushed twice as it is: live, unnoticed by visitors, or refused with what to do."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import projects
import pytest
from hosts import Machine, Site
from load import Visitors

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import corpus

CASES = [pytest.param(case, host, id=f"{case.name} on {host}") for case in corpus.cases() for host in case.hosts]


@pytest.mark.parametrize(("case", "host"), CASES)
def test_project_as_it_is(case: corpus.Case, host: str, fleet: dict[str, Machine], ephemeral: Path) -> None:
    site = Site(case.name, fleet[host], ephemeral)
    corpus.make(case, ephemeral / "projects" / case.name)
    first = site.push()
    if case.refused:
        assert first.status != 0 and case.refused in first.output, first.output
        return
    assert first.status == 0, first.output
    for said in case.says:
        assert said in first.output, first.output
    for page in case.pages:
        answer = site.get(page.path)
        assert answer.status == page.status, answer.text
        assert page.shows in answer.text, answer.text
        assert {name: answer.headers[name] or "" for name in page.headers} == page.headers
    (site.project / "CHANGES").write_text(f"pushed again at {time.time()}\n")
    projects.commit(site.project, "Again")
    with Visitors(site, threads=2, pause=0.05, path=case.pages[0].path) as seen:
        second = site.push()
        time.sleep(1)
    assert second.status == 0, second.output
    assert set(seen) == {case.pages[0].status}, seen
