# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending what a build left running: real processes of a uid nobody has."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import leftovers
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError

UID = 54321
STUBBORN = "trap '' TERM; echo 1; while :; do sleep 60; done"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root ends processes of others")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Name:\tsleep\nState:\tS (sleeping)\nUid:\t54321\t54321\t54321\t54321\n", True),
        ("Name:\tsu\nState:\tR (running)\nUid:\t1\t0\t54321\t0\n", True),
        ("Name:\tsleep\nState:\tZ (zombie)\nUid:\t54321\t54321\t54321\t54321\n", False),
        ("Name:\tsleep\nState:\tS (sleeping)\nUid:\t5432\t5432\t5432\t5432\nGid:\t54321\n", False),
        ("", False),
    ],
)
def test_is_of(status: str, expected: bool) -> None:
    assert leftovers.is_of(status, UID) is expected


@pytest.fixture
def stubborn(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process, and one it started, that detached and ignores SIGTERM, of the user `shop-build`."""
    real = pwd.getpwnam

    def getpwnam(name: str) -> object:
        found = SimpleNamespace(pw_uid=UID, pw_gid=UID, pw_name=name, pw_dir="/")
        return found if name == "shop-build" else real(name)

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    words = ["/bin/sh", "-c", STUBBORN]
    process = subprocess.Popen(
        words, user=UID, group=UID, stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "1\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@as_root
def test_what_ignores_sigterm_is_ended_and_nobody_else(stubborn: subprocess.Popen[str]) -> None:
    assert stubborn.pid in leftovers.living(UID)
    leftovers.end("shop-build")
    assert stubborn.wait(5) == -signal.SIGKILL
    assert leftovers.living(UID) == {}


@pytest.mark.parametrize("user", ["root", "there-is-no-such-user"])
def test_nobody_is_ended_for_root(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "living", lambda *_words: pytest.fail("it looked for processes"))
    leftovers.end(user)


def test_a_process_that_cannot_be_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE", 0.05)
    monkeypatch.setattr(leftovers, "kill", lambda *_words: None)
    with pytest.raises(EngineError, match=r"process 77 \('uv'\) of shop-build cannot be ended"):
        leftovers.end_all("shop-build", UID, lambda: {77: "uv"})
