# SPDX-License-Identifier: GPL-3.0-or-later
"""The git door: what each pushed ref means, and that a key opens nothing but a push to its sites."""

from __future__ import annotations

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import push
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.push import NO_COMMIT, RefUpdate

OLD, NEW = "1" * 40, "2" * 40
MAIN = "refs/heads/main"


@pytest.mark.parametrize(
    ("line", "creates", "deletes"),
    [
        pytest.param(f"{OLD} {NEW} {MAIN}\n", False, False, id="moves"),
        pytest.param(f"{NO_COMMIT} {NEW} refs/heads/feature/x-1", True, False, id="creates"),
        pytest.param(f"{OLD} {NO_COMMIT} refs/tags/v1.0", False, True, id="deletes"),
    ],
)
def test_parse_update(line: str, creates: bool, deletes: bool) -> None:
    update = push.parse_update(line)
    assert f"{update.old} {update.new} {update.ref}" == line.strip()
    assert (update.creates, update.deletes) == (creates, deletes)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{OLD} {NEW}", id="no_ref"),
        pytest.param(f"{OLD} {NEW} main", id="no_full_ref"),
        pytest.param(f"{OLD[1:]} {NEW} {MAIN}", id="short_commit"),
        pytest.param(f"{OLD} {'G' * 40} {MAIN}", id="not_hexadecimal"),
        pytest.param(f"--upload-pack=id {NEW} {MAIN}", id="option_as_commit"),
        pytest.param(f"{OLD} ../../../../../../../../../../../../../etc {MAIN}", id="path_as_commit"),
        pytest.param(f"{OLD} {NEW} {MAIN} more", id="more"),
        pytest.param(f"{OLD} {NEW} {MAIN}\n{OLD} {NEW} {MAIN}", id="two_lines"),
    ],
)
def test_parse_update_refuses(line: str) -> None:
    with pytest.raises(EngineError, match="not a ref update"):
        push.parse_update(line)


@pytest.mark.parametrize(
    ("old", "new", "ref", "fast_forward", "force_push", "action", "said"),
    [
        pytest.param(OLD, NEW, MAIN, True, False, "deploy", "", id="branch"),
        pytest.param(NO_COMMIT, NEW, MAIN, True, False, "deploy", "", id="first_push"),
        pytest.param(NO_COMMIT, NEW, MAIN, False, False, "deploy", "", id="first_push_has_nothing_to_lose"),
        pytest.param(OLD, NEW, MAIN, False, False, "refuse", "main would lose commits that were live", id="forced"),
        pytest.param(OLD, NEW, MAIN, False, True, "deploy", "", id="forced_and_allowed"),
        pytest.param(OLD, NO_COMMIT, MAIN, True, False, "refuse", "cannot be deleted", id="deletes_branch"),
        pytest.param(OLD, NO_COMMIT, MAIN, True, True, "refuse", "cannot be deleted", id="deletes_branch_by_force"),
        pytest.param(OLD, NEW, "refs/heads/feature", True, False, "store", "feature stored, not deployed", id="other"),
        pytest.param(OLD, NEW, "refs/heads/feature", False, False, "store", "feature stored", id="other_forced"),
        pytest.param(OLD, NO_COMMIT, "refs/heads/feature", True, False, "store", "feature deleted", id="other_deleted"),
        pytest.param(NO_COMMIT, NEW, "refs/heads/main2", True, False, "store", "main2 stored", id="longer_name"),
        pytest.param(NO_COMMIT, NEW, "refs/heads/x/main", True, False, "store", "x/main stored", id="name_in_folder"),
        pytest.param(NO_COMMIT, NEW, "refs/heads/Main", True, False, "store", "Main stored", id="other_case"),
        pytest.param(NO_COMMIT, NEW, "refs/tags/main", True, False, "store", "not deployed", id="tag_of_that_name"),
        pytest.param(NO_COMMIT, NEW, "refs/tags/v1", True, False, "store", "only a push to main goes live", id="tag"),
        pytest.param(OLD, NO_COMMIT, "refs/tags/v1", True, False, "store", "v1 deleted", id="tag_deleted"),
        pytest.param(NO_COMMIT, NEW, "refs/notes/commits", True, True, "refuse", "only branches and tags", id="notes"),
        pytest.param(NO_COMMIT, NEW, "refs/djdeploy/x", True, True, "refuse", "only branches and tags", id="ours"),
        pytest.param(OLD, NO_COMMIT, "refs/pull/1", True, True, "refuse", "only branches and tags", id="deletes_odd"),
    ],
)
def test_judge(old: str, new: str, ref: str, fast_forward: bool, force_push: bool, action: str, said: str) -> None:
    verdict = push.judge(RefUpdate(old, new, ref), MAIN, fast_forward=fast_forward, force_push=force_push)
    assert verdict.action == action
    assert said in verdict.said
    assert (verdict.said == "") == (action == "deploy")


ALLOWED = ("shop", "blog-2")


@pytest.mark.parametrize(
    ("command", "site"),
    [
        ("git-receive-pack 'shop'", "shop"),
        ("git-receive-pack '/shop'", "shop"),
        ("git-receive-pack 'shop.git'", "shop"),
        ("git-receive-pack '/shop.git'", "shop"),
        ("git-receive-pack '/shop/'", "shop"),
        ("git-receive-pack shop", "shop"),
        ("git receive-pack '/blog-2.git'", "blog-2"),
    ],
)
def test_requested_site(command: str, site: str) -> None:
    assert push.requested_site(command, ALLOWED) == site


ATTACKS = [
    # a shell, other programs
    None, "", " ", "sh", "bash -i", "/bin/sh", "id", "ls -la /", "cat /etc/shadow", "exit 0",
    "scp -t /tmp", "scp -f /etc/passwd", "rsync --server . /", "internal-sftp", "/usr/lib/openssh/sftp-server",
    "djdeploy deploy shop", "djdeploy receive --key=x shop", "sudo git-receive-pack shop",
    # other parts of git
    "git-upload-pack 'shop'", "git upload-pack shop", "git-upload-archive 'shop'", "git-shell", "git",
    "git clone shop", "git-receive-pack", "git receive-pack", "git --exec-path=/tmp receive-pack shop",
    "git -c core.hooksPath=/tmp receive-pack shop", "/usr/bin/git-receive-pack shop", "GIT-RECEIVE-PACK shop",
    # options and more words
    "git-receive-pack --advertise-refs shop", "git-receive-pack --stateless-rpc shop", "git-receive-pack -- shop",
    "git-receive-pack shop blog-2", "git-receive-pack --skip-connectivity-check",
    # another shell around it
    "git-receive-pack shop; id", "git-receive-pack shop && id", "git-receive-pack shop | id", "git-receive-pack $(id)",
    "git-receive-pack `id`", "git-receive-pack 'shop'\nid", "git-receive-pack shop > /tmp/x",
    "id; git-receive-pack shop", "git-receive-pack ${IFS}shop", "X=1 git-receive-pack shop",
    # other repositories
    "git-receive-pack 'other'", "git-receive-pack '../other.git'", "git-receive-pack '../shop.git'",
    "git-receive-pack '/srv/shop/repo.git'", "git-receive-pack 'shop/../other'", "git-receive-pack './shop'",
    "git-receive-pack '~/shop'", "git-receive-pack '~git'", "git-receive-pack ''", "git-receive-pack '/'",
    "git-receive-pack '.git'", "git-receive-pack 'shop.git.git'", "git-receive-pack 'shop/repo.git'",
    "git-receive-pack 'SHOP'", "git-receive-pack 'sho*'", "git-receive-pack 'shop '", "git-receive-pack 'shop\0'",
    # quotes that never end
    "git-receive-pack 'shop", 'git-receive-pack "shop', "git-receive-pack shop\\",
]  # fmt: skip


@pytest.mark.parametrize("command", ATTACKS)
def test_requested_site_refuses(command: str | None) -> None:
    with pytest.raises(EngineError) as raised:
        push.requested_site(command, ALLOWED)
    assert "this key can push to: blog-2, shop" in raised.value.hint
    assert "\n" not in raised.value.message and "\0" not in raised.value.message, "it is printed on a terminal"


def test_requested_site_of_a_key_without_sites() -> None:
    with pytest.raises(EngineError, match="may not push to 'shop'") as raised:
        push.requested_site("git-receive-pack 'shop'", ())
    assert "none" in raised.value.hint


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        pytest.param([RefUpdate(OLD, NEW, MAIN)], NEW, id="branch"),
        pytest.param([RefUpdate(OLD, OLD, "refs/tags/v1"), RefUpdate(OLD, NEW, MAIN)], NEW, id="tag_and_branch"),
        pytest.param([RefUpdate(OLD, NEW, "refs/heads/other")], None, id="other_branch"),
        pytest.param([RefUpdate(OLD, NO_COMMIT, MAIN)], None, id="deletion"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_last_update(updates: list[RefUpdate], expected: str | None) -> None:
    found = push.last_update(updates, MAIN)
    assert (found.new if found else None) == expected


# --- push options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "allow", "declared"),
    [
        ([], (), {}),
        (["allow=contract"], ("contract",), {}),
        (["allow=contract, blocking", "allow=contract"], ("contract", "blocking"), {}),
        (["declare=catalog.0007_slugs=additive"], (), {"catalog.0007_slugs": "additive"}),
        (["declare=wagtailcore.*=additive"], (), {"wagtailcore.*": "additive"}),
    ],
)
def test_push_options(given: list[str], allow: tuple[str, ...], declared: dict[str, str]) -> None:
    assert push.push_options(given) == (allow, declared)


@pytest.mark.parametrize(
    "option",
    [
        "",
        "ci.skip",
        "allow",
        "allow=",
        "allow=everything",
        "allow=additive",
        "declare=slugs",
        "declare=a.b",
        "declare=a.b=safe",
    ],
)
def test_push_options_unknown(option: str) -> None:
    with pytest.raises(EngineError, match="push option") as caught:
        push.push_options([option])
    assert "-o allow=contract" in caught.value.hint
