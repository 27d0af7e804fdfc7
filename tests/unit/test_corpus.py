# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus of projects: its case files are complete, and what their sites say is allowed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import schema

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "molecule/projects"))
corpus = importlib.import_module("corpus")

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4p7vW0QYc3mB4bqqe8lqzqkzq1FzCq9hGfXqv0Yy5k laptop"


@pytest.mark.parametrize("host", corpus.HOSTS)
def test_what_its_sites_say_is_allowed(host: str) -> None:
    said = corpus.sites(KEY, host)
    assert schema.validate_sites(said, None, corpus.HOSTS) == []
    assert {tuple(site["hosts"]) for site in said.values()} == {(host,)}


@pytest.mark.parametrize("case", corpus.cases(), ids=lambda case: case.name)
def test_each_says_what_shall_be_seen(case) -> None:
    assert bool(case.refused) != bool(case.pages)
    assert set(case.hosts) <= set(corpus.HOSTS)


def test_enough_of_it_is_tried_on_every_debian() -> None:
    assert sum(set(case.hosts) == set(corpus.HOSTS) and not case.refused for case in corpus.cases()) >= 14


def test_some_can_be_chosen(monkeypatch) -> None:
    monkeypatch.setenv("DJDEPLOY_CASES", "uv,celery")
    assert [case.name for case in corpus.chosen()] == ["celery", "uv"]
    assert [list(corpus.sites(KEY, host)) for host in corpus.HOSTS] == [["celery", "uv"], ["celery", "uv"]]
    monkeypatch.delenv("DJDEPLOY_CASES")
    assert corpus.chosen() == corpus.cases()


def test_misspelt_case_is_refused() -> None:
    with pytest.raises(SystemExit, match="there is no case celry; choose of: asgi-only below"):
        corpus.chosen("celry")


def test_a_new_case_moves_no_other_one(monkeypatch, tmp_path: Path) -> None:
    before = {case.name: case.hosts for case in corpus.cases()}
    for path in corpus.CORPUS.glob("*/case.toml"):
        (tmp_path / path.parent.name).mkdir()
        (tmp_path / path.parent.name / "case.toml").write_bytes(path.read_bytes())
    (tmp_path / "a-new-one").mkdir()
    (tmp_path / "a-new-one/case.toml").write_text('variant = "new"\ndetected = "nothing"\n')
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    after = {case.name: case.hosts for case in corpus.cases()}
    assert after.pop("a-new-one") and after == before
