# SPDX-License-Identifier: GPL-3.0-or-later
"""What a deploy key can do: push to its sites, and nothing else."""

from __future__ import annotations

import subprocess

import projects
import pytest
from hosts import STATE


@pytest.fixture
def ssh(web, ephemeral):
    """ssh as the git user with a deploy key."""

    def run(*words: str, key: str = "laptop", options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = ["ssh", *web.ssh_options(ephemeral / key), *options, f"git@{web.address}", *words]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)

    return run


def test_other_branch_is_stored_and_not_deployed(pushed_notes, status, branch):
    live = status("notes")["live"]["id"]
    pushed_notes.change("notes/views.py", "\n# on a branch\n", append=True)
    pushed = pushed_notes.push("main:feature")
    assert pushed.status == 0, pushed.output
    assert "not deployed" in pushed.output
    assert branch("notes", "feature") == pushed_notes.head()
    pushed = pushed_notes.push(":feature")
    assert pushed.status == 0, pushed.output
    assert branch("notes", "feature") == ""
    pushed_notes.undo()
    assert status("notes")["live"]["id"] == live


def test_tag_is_stored_and_not_deployed(pushed_notes, status):
    live = status("notes")["live"]["id"]
    projects.git(pushed_notes.project, "tag", "--force", "v1")
    pushed = pushed_notes.push("--force", "v1")
    assert pushed.status == 0, pushed.output
    assert "not deployed" in pushed.output
    assert status("notes")["live"]["id"] == live


def test_live_branch_cannot_be_deleted(pushed_notes, branch):
    pushed = pushed_notes.push(":main")
    assert pushed.status != 0
    assert branch("notes") == pushed_notes.head()
    assert pushed_notes.get("/").status == 200


def test_forced_push_is_refused(pushed_notes, branch, status):
    head = pushed_notes.head()
    projects.git(pushed_notes.project, "commit", "--quiet", "--amend", "--allow-empty", "--message", "Another past")
    pushed = pushed_notes.push("--force", "main")
    pushed_notes.undo(head)
    assert pushed.status != 0
    assert "force_push" in pushed.output, "it must say how to allow it"
    assert branch("notes") == head
    assert status("notes")["live"]["revision"] == head


def test_key_pushes_to_its_sites_only(site, branch):
    projects.make("notes", site("notes").project)
    before = branch("plain")
    pushed = site("plain").push(key="visitor")
    assert pushed.status != 0
    assert "may not push to" in pushed.output
    assert branch("plain") == before
    assert site("notes").push(key="visitor").status == 0


def test_unknown_key_gets_nowhere(site, web, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"], check=True)
    for key in (tmp_path / "stranger", STATE / "id_ed25519"):
        words = ["ssh", *web.ssh_options(key), f"git@{web.address}", "git-receive-pack 'notes'"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        assert done.returncode == 255 and "Permission denied" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("id",),
        ("sh", "-c", "id"),
        ("git-upload-pack 'notes'",),
        ("git-upload-archive 'notes'",),
        ("git-receive-pack '/srv/plain/repo.git'",),
        ("git-receive-pack '../../etc'",),
        ("git-receive-pack 'notes' --help; id",),
        ("git-receive-pack $(id)",),
        ("scp -t /tmp",),
    ],
    ids=lambda words: " ".join(words) or "shell",
)
def test_key_runs_nothing_else(ssh, words):
    done = ssh(*words)
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert "this key" in done.stderr
    assert "uid=" not in done.stderr


def test_no_sftp(ssh):
    done = ssh("sftp", options=("-s",))
    assert done.returncode != 0 and done.stdout == ""


@pytest.mark.parametrize(
    "options",
    [("-N", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22"), ("-W", "127.0.0.1:22")],
    ids=["remote", "direct"],
)
def test_no_forwarding(ssh, options):
    done = ssh(options=options)
    assert done.returncode != 0
    assert "SSH-2.0" not in done.stdout


def test_no_terminal(ssh):
    assert "PTY allocation request failed" in ssh("id", options=("-tt",)).stderr


def test_git_user_is_nobody_special(server):
    assert server.user("git").groups == ["git"]
    assert server.run("runuser -u git -- cat /etc/djdeploy/sites/notes.env").rc != 0
    asked = 'import json,socket; s=socket.socket(socket.AF_UNIX); s.connect("/run/djdeploy/push.sock"); '
    asked += (
        's.sendall(json.dumps({"op": "rollback", "site": "notes", "door": "host", "who": "git"}).encode() + b"\\n"); '
    )
    asked += "print(s.makefile().read())"
    told = server.check_output("runuser -u git -- python3 -c %s", asked)
    assert "may not ask" in told
    assert server.run("runuser -u notes -- python3 -c %s", asked).rc != 0, "a site can reach the deployer"
