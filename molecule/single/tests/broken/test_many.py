# SPDX-License-Identifier: GPL-3.0-or-later
"""Many at once: one after the other, the newest wins, and whoever is skipped is told."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import rings
from load import Visitors

PUSHES, PLAYBOOKS, DEPLOYS = (14, 2, 4) if rings.FULL else (4, 1, 2)
IN_THE_QUEUE = "until grep -q {0} /run/djdeploy/many/queue/*.json || ! kill -0 $!; do sleep 0.05; done 2>/dev/null"
TURNED_AWAY = re.compile("kex_exchange_identification|Connection (reset|closed) by")


@pytest.fixture(scope="module")
def many(serving):
    return serving("many")


def push_until_let_in(site, commit):
    """git push; sshd turns away who comes while ten others knock (sshd_config(5), MaxStartups)."""
    end = time.monotonic() + 600
    while True:
        pushed = site.push(f"{commit}:main")
        if not TURNED_AWAY.search(pushed.output) or time.monotonic() > end:
            return pushed
        time.sleep(0.5)


def test_many_at_once_end_in_one_truth(many, playbooks, server, status, branch, at_rest):
    commits = [many.change("notes/views.py", f"\n# {number}\n", append=True) for number in range(PUSHES)]
    with Visitors(many, 2) as seen, ThreadPoolExecutor(PUSHES + PLAYBOOKS + DEPLOYS) as pool:
        deploys = pool.submit(server.run, f"bash -c '{'djdeploy deploy many & ' * DEPLOYS} wait'")
        plays = [pool.submit(playbooks.run, "playbooks/deploy.yml", site="many") for _time in range(PLAYBOOKS)]
        pushes = []
        for commit in commits:
            pushes.append(pool.submit(push_until_let_in, many, commit))
            time.sleep(0.3)  # nor are the playbooks to be turned away
        told = [done.result() for done in pushes]
        played = [done.result() for done in plays]
        deployed = deploys.result()
    at_rest()
    assert set(seen) == {200}, seen
    accepted = [commit for commit, push in zip(commits, told, strict=True) if push.status == 0]
    assert accepted, [push.output for push in told]
    assert status("many")["live"]["revision"] == branch("many") == accepted[-1], "the newest accepted is live"
    for push in told:
        assert push.status == 0 or re.search("went to|rejected", push.output), push.output
        assert "djdeploy itself failed" not in push.output
    assert [play.status for play in played] == [0] * PLAYBOOKS, [play.output for play in played]
    assert deployed.stdout.count("is live as") == DEPLOYS, deployed


def test_who_waited_and_is_out_of_date_is_skipped(many, server, status):
    commits = [many.change("notes/views.py", f"\n# wish {number}\n", append=True) for number in range(4)]
    assert many.push("HEAD:refs/heads/wishes").status == 0
    # Each comes when the one before it has its ticket, so their order is known.
    deploy = "djdeploy deploy many {0} > /tmp/wish-{0} 2>&1 & " + IN_THE_QUEUE + ";"
    lines = [deploy.format(commit) for commit in commits]
    server.check_output(f"bash -c '{' '.join(lines)} wait'")
    said = [server.check_output("cat /tmp/wish-%s", commit) for commit in commits]
    assert status("many")["live"]["revision"] == commits[-1], said
    assert all("was overtaken by" in text and commits[-1][:7] in text for text in said[1:-1]), said
    assert "is live as" in said[-1]


@pytest.mark.full
def test_two_deploys_in_a_second_get_two_ids(many, server):
    server.check_output("bash -c 'djdeploy deploy many --force & djdeploy deploy many --force & wait'")
    ids = [line.split()[0] for line in server.check_output("djdeploy releases many").splitlines()[1:]]
    assert len(ids) == len(set(ids)) and ids == sorted(ids, reverse=True)


def test_pages_of_kept_releases_find_their_static_files(many):
    seen = []
    for number in range(3):
        many.change("notes/static/notes/style.css", f"h1 {{ margin: {number}px; }}\n", append=True)
        pushed = many.push()
        assert pushed.status == 0, pushed.output
        page = many.get("/").text
        seen.append(re.search(r'href="(/static/[^"]+\.css)"', page)[1])
        assert [many.get(url).status for url in seen] == [200] * len(seen), "as many as are kept"
    assert len(set(seen)) == 3
