# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus of projects: its case files are complete, and what their sites say is allowed."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule/projects"))
corpus = importlib.import_module("corpus")

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4p7vW0QYc3mB4bqqe8lqzqkzq1FzCq9hGfXqv0Yy5k laptop"


@pytest.mark.parametrize("full", [False, True], ids=["every run", "full"])
@pytest.mark.parametrize("host", corpus.HOSTS)
def test_what_its_sites_say_is_allowed(host: str, full: bool) -> None:
    said = corpus.sites(KEY, host, full)
    assert schema.validate_sites(said, None, corpus.HOSTS) == []
    assert {tuple(site["hosts"]) for site in said.values()} == {(host,)}


@pytest.mark.parametrize("case", corpus.cases(), ids=lambda case: case.name)
def test_each_says_what_shall_be_seen(case) -> None:
    assert bool(case.refused) != bool(case.pages)
    assert set(case.hosts) <= set(corpus.HOSTS)
    assert case.every_run in ("", *case.hosts)


def test_every_run_meets_both_debians_and_full_meets_all(monkeypatch) -> None:
    monkeypatch.delenv("DJDEPLOY_CASES", raising=False)
    every_run = Counter(host for case in corpus.cases() for host in corpus.pushed_to(case, full=False))
    assert set(every_run) == set(corpus.HOSTS)
    assert 14 <= sum(every_run.values()) <= 18 and abs(every_run[corpus.HOSTS[0]] - every_run[corpus.HOSTS[1]]) <= 2
    for case in corpus.cases():
        assert corpus.pushed_to(case, full=True) == case.hosts
        assert set(corpus.pushed_to(case, full=False)) <= set(case.hosts)
    on_one = {case.name for case in corpus.cases() if len(case.hosts) == 1}
    assert on_one == {"python-other", "tasks", "wagtail"}, "a case for one Debian only says why, and stands here"


def test_case_that_is_named_goes_to_all_its_hosts(monkeypatch) -> None:
    monkeypatch.setenv("DJDEPLOY_CASES", "uv")
    (case,) = corpus.chosen()
    assert case.every_run == "" and corpus.pushed_to(case, full=False) == corpus.HOSTS


def test_some_can_be_chosen(monkeypatch) -> None:
    monkeypatch.setenv("DJDEPLOY_CASES", "uv,celery")
    assert [case.name for case in corpus.chosen()] == ["celery", "uv"]
    assert [list(corpus.sites(KEY, host)) for host in corpus.HOSTS] == [["celery", "uv"], ["celery", "uv"]]
    monkeypatch.delenv("DJDEPLOY_CASES")
    assert corpus.chosen() == corpus.cases()


def test_misspelt_case_is_refused() -> None:
    with pytest.raises(SystemExit, match="there is no case celry; choose of: asgi-only below"):
        corpus.chosen("celry")
