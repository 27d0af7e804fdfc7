# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml once more, on a host whose sites have workers, timers, a redis, an SQLite file, a database elsewhere.

The folder comes first by its name: nothing has been pushed or changed yet.
"""

from __future__ import annotations

import pytest


def test_second_run_changes_nothing(playbooks):
    play = playbooks.run("site.yml")
    assert play.status == 0, play.output
    assert set(play.changed.values()) == {0}, play.output


@pytest.mark.full
def test_check_mode_announces_nothing(playbooks):
    play = playbooks.run("site.yml", check=True)
    assert play.status == 0, play.output
    assert set(play.changed.values()) == {0}, play.output
