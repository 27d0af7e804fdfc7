# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that was switched off and on serves what it served; runs after the other tests, by its name."""

from __future__ import annotations

from hosts import eventually, restart


def test_reboot_brings_back_what_was_live(site, web, status, playbooks):
    live = status("notes")["live"]["id"]
    restart(web.name)

    def serves() -> bool:
        try:
            return site("notes").get("/").status == 200
        except OSError:
            return False

    eventually(serves, 300, "notes serves again after a reboot")
    assert status("notes")["live"]["id"] == live
    assert site("quiet").get("/").status == 503
    assert set(playbooks.run("site.yml", check=True).changed.values()) == {0}
