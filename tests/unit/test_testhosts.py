# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of provisioned images, as tables: what their digest holds, what is run, which of them may go."""

from __future__ import annotations

import io
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from testhosts import building, images, provisioned
from testhosts.commands import Problem

ROOT = Path(__file__).resolve().parents[2]
ROLE = f"{provisioned.COLLECTION}/roles/nginx/tasks/main.yml"
MODULE = f"{provisioned.COLLECTION}/plugins/modules/files.py"
INPUT_FILES = [
    "site.yml",
    "playbooks/site.yml",
    "ansible.cfg",
    "requirements.txt",
    "requirements.yml",
    f"{provisioned.COLLECTION}/galaxy.yml",
    f"{provisioned.COLLECTION}/meta/runtime.yml",
    ROLE,
    MODULE,
    "script/host",
    "testhosts/building.py",
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with something at each place that is looked at."""
    for name in INPUT_FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    case(tmp_path, "projects", "messages", 'packages = ["gettext"]')
    return tmp_path


def case(checkout: Path, scenario: str, name: str, site: str) -> None:
    directory = checkout / "molecule" / scenario / "corpus" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "case.toml").write_text(f'variant = "one"\n[site]\n{site}\n')


def digest(checkout: Path, recipe: str = "bare", **certificates: bytes) -> str:
    files = [*provisioned.input_files(checkout), *certificates.items()]
    packages, requirements = provisioned.later_packages(checkout), provisioned.later_requirements(checkout)
    return provisioned.digest(recipe, files, packages, requirements)


@pytest.mark.parametrize("name", INPUT_FILES)
def test_digest_follows_the_content_of_each_input(checkout: Path, name: str) -> None:
    before = digest(checkout)
    path = checkout / name
    path.write_text(path.read_text() + "changed\n")
    assert digest(checkout) != before


@pytest.mark.parametrize("name", [ROLE, MODULE, "testhosts/building.py"])
def test_digest_follows_the_names_of_inputs(checkout: Path, name: str) -> None:
    before = digest(checkout)
    path = checkout / name
    path.rename(path.with_stem(f"{path.stem}-two"))
    assert digest(checkout) != before


def test_digest_follows_what_is_not_in_the_checkout(checkout: Path) -> None:
    of_each = [
        digest(checkout),
        digest(checkout, recipe="another"),
        digest(checkout, company=b"a certificate"),
        digest(checkout, company=b"another certificate"),
        digest(checkout, branch=b"a certificate"),
    ]
    assert len(set(of_each)) == len(of_each)


def test_digest_follows_the_packages_of_cases(checkout: Path) -> None:
    before = digest(checkout)
    case(checkout, "large", "weblate", 'packages = ["gettext"]')
    assert digest(checkout) == before  # it is there already
    case(checkout, "large", "weblate", 'packages = ["git"]')
    assert digest(checkout) != before


def test_digest_follows_what_cases_share(checkout: Path) -> None:
    before = digest(checkout)
    listing = checkout / "molecule/projects/corpus/rq/requirements.txt"
    listing.parent.mkdir()
    listing.write_text("Django~=5.2\n")
    assert digest(checkout) == before  # nobody else downloads it
    (checkout / "molecule/projects/corpus/messages/requirements.txt").write_text("Django~=5.2\nrq\n")
    assert digest(checkout) != before


@pytest.mark.parametrize(
    ("texts", "shared"),
    [
        ([], set()),
        (["Django~=5.2\n"], set()),
        (["Django~=5.2\nDjango~=5.2\n"], set()),
        (["Django~=5.2\nrq\n", "Django~=5.2\n", "huey\n"], {"Django~=5.2"}),
        (["Django~=5.2\n", "Django~=6.0\n"], set()),
        (["celery[redis]~=5.4"] * 2, {"celery[redis]~=5.4"}),
        (["-r base.txt\n--require-hashes\n# pinned\n\n    # via django\n./vendored\n"] * 2, set()),
        (["django==5.2 \\\n    --hash=sha256:0\n"] * 2, set()),
        (["company @ https://example.org/company.whl\n"] * 2, set()),
    ],
)
def test_requirements_that_more_than_one_case_has(texts: list[str], shared: set[str]) -> None:
    assert provisioned.shared_requirements(texts) == shared


def test_requirements_of_this_checkout() -> None:
    requirements = provisioned.later_requirements(ROOT)
    assert {"Django~=5.2", "gunicorn", "psycopg[binary]"} <= set(requirements)
    assert requirements == sorted(set(requirements))


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/start.md",
        "requirements-dev.txt",
        "playbooks/rollback.yml",
        "script/demo",
        "tests/unit/test_x.py",
        "molecule/push/tests/test_x.py",
        f"{provisioned.COLLECTION}/README.md",
        f"{provisioned.COLLECTION}/roles/nginx/README.md",
        f"{provisioned.COLLECTION}/tests/unit/test_x.py",
        f"{provisioned.COLLECTION}/plugins/modules/__pycache__/files.cpython-311.pyc",
        f"{provisioned.COLLECTION}/plugins/modules/.files.py.swp",
        f"{provisioned.COLLECTION}/plugins/modules/files.py~",
        "testhosts/__pycache__/building.cpython-313.pyc",
    ],
)
def test_digest_ignores_what_changes_nothing(checkout: Path, name: str) -> None:
    before = digest(checkout)
    path = checkout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("new\n")
    assert digest(checkout) == before


def test_digest_is_of_contents_not_of_times_and_places(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(checkout, copy, copy_function=shutil.copyfile)
    assert digest(copy) == digest(checkout)


def test_every_input_is_in_this_checkout() -> None:
    assert [name for name in provisioned.INPUTS if not any(ROOT.glob(name))] == []


def test_a_missing_input_is_an_error(checkout: Path) -> None:
    (checkout / "site.yml").unlink()
    with pytest.raises(FileNotFoundError, match=r"site\.yml"):
        digest(checkout)


def test_packages_of_this_checkout_are_those_of_the_playbook_and_the_cases() -> None:
    packages = provisioned.later_packages(ROOT)
    assert packages == sorted(set(packages))
    assert {"gettext", "mariadb-server", "nodejs", "npm", "pgbouncer", "redis-server", "strace"} <= set(packages)


def test_names() -> None:
    assert provisioned.image_name("trixie", "abc") == "localhost/djdeploy-host-provisioned:trixie-abc"
    assert provisioned.builder_name("bookworm") == "provisioning-bookworm"


def test_inventory_of_a_build_has_both_groups_and_no_site() -> None:
    connections = {"all": {"hosts": {"one": {"ansible_host": "10.1.2.10"}}}}
    tree = provisioned.build_inventory(connections, ["/ca/company.crt"])["all"]
    assert tree["hosts"] == connections["all"]["hosts"]
    assert tree["children"] == {"web": {"hosts": {"one": {}}}, "database": {"hosts": {"one": {}}}}
    assert tree["vars"] == {"djdeploy_sites": {}, "djdeploy_ca_certificates": ["/ca/company.crt"]}


def test_site_yml_runs_with_the_settings_of_the_checkout_only() -> None:
    callers = {
        "PATH": "/bin",
        "ANSIBLE_STDOUT_CALLBACK": "molecule",
        "MOLECULE_SCENARIO_NAME": "push",
        "LC_ALL": "C",
    }
    assert provisioned.ansible_environment(callers, Path("/src")) == {
        "PATH": "/bin",
        "ANSIBLE_CONFIG": "/src/ansible.cfg",
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("PLAY [Prepare every host] ****\n", "Prepare every host"),
        ("PLAY RECAP ****\n", None),
        ("TASK [Install packages] ****\n", None),
        ("changed: [PLAY [x] ***]\n", None),
    ],
)
def test_play_name(line: str, name: str | None) -> None:
    assert provisioned.play_name(line) == name


def test_plays_are_told_when_they_have_ended_and_all_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["\n", "PLAY [One] ***\n", "TASK [A] ***\n", "PLAY [Two] ***\n", "PLAY RECAP ***\n", "one : ok=1\n"]
    log = io.StringIO()
    building.tell_plays("trixie", lines, log)
    assert [line.rsplit(":", 1)[0] for line in capsys.readouterr().err.splitlines()] == ["trixie: One", "trixie: Two"]
    assert log.getvalue() == "".join(lines)


def test_packages_are_downloaded_and_not_installed() -> None:
    *shell, command, name, first, second = provisioned.download_command(["strace", "gettext"])
    assert shell == ["sh", "-euc"]
    assert "--download-only" in command
    assert (name, first, second) == ("warm", "strace", "gettext")


def test_wheels_are_offered_by_the_file_of_the_operator_and_no_index_is_named() -> None:
    *shell, text, name, first, second = provisioned.wheels_command(["Django~=5.2", "psycopg[binary]"])
    assert shell == ["sh", "-euc"]
    subprocess.run(["sh", "-n", "-c", text], check=True)
    assert "/etc/uv/uv.toml" in text
    assert "://" not in text
    assert (name, first, second) == ("wheels", "Django~=5.2", "psycopg[binary]")


def test_what_is_forgotten_is_a_program_a_shell_can_read() -> None:
    *shell, text = provisioned.forget_command()
    assert shell == ["sh", "-euc"]
    subprocess.run(["sh", "-n", "-c", text], check=True)
    for own in ("/etc/machine-id", "/root/.ssh", "/etc/ssh/ssh_host_*", "/var/lib/systemd/random-seed"):
        assert own in text


def test_commit_command() -> None:
    assert provisioned.commit_command("djdeploy-1-provisioning-trixie", "trixie", "localhost/x:trixie-1") == [
        *("commit", "--quiet", "--change", "LABEL djdeploy.provisioned-suite=trixie"),
        *("djdeploy-1-provisioning-trixie", "localhost/x:trixie-1"),
    ]


NOW = datetime(2026, 5, 2, 12, tzinfo=UTC)
OLD, NEW = "2026-05-01T11:59:59.123456789Z", "2026-05-01T12:00:01Z"


@pytest.mark.parametrize(
    ("labels", "created", "used", "goes"),
    [
        pytest.param({"djdeploy.checkout": "/here"}, NEW, False, True, id="made_here"),
        pytest.param({"djdeploy.checkout": "/here"}, OLD, True, False, id="made_here_and_used"),
        pytest.param({"djdeploy.checkout": "/elsewhere"}, OLD, False, False, id="of_another_checkout"),
        pytest.param({"djdeploy.checkout": "/removed"}, OLD, False, True, id="of_a_checkout_that_is_gone"),
        pytest.param({"djdeploy.checkout": "/removed"}, NEW, False, False, id="of_one_that_has_just_gone"),
        pytest.param({"djdeploy.checkout": "/removed"}, OLD, True, False, id="of_one_that_is_gone_and_used"),
        pytest.param({}, OLD, False, False, id="of_nobody_known"),
        pytest.param(None, OLD, False, False, id="without_labels"),
    ],
)
def test_unwanted_images(labels: dict[str, str] | None, created: str, used: bool, goes: bool) -> None:
    there = {"/here", "/elsewhere"}
    image = {"Id": "1", "Labels": labels, "Created": created}
    gone = images.unwanted([image], {"1"} if used else set(), "/here", there.__contains__, NOW)
    assert gone == (["1"] if goes else [])


def test_a_build_without_ansible_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        building.run_site(a_build(tmp_path), io.StringIO())
    assert caught.value.remedy == "run script/setup venv"


def test_a_failed_build_says_where_the_log_is_and_what_to_do(tmp_path: Path) -> None:
    playbook = tmp_path / ".venv/bin/ansible-playbook"
    playbook.parent.mkdir(parents=True)
    playbook.write_text("#!/bin/sh\necho 'PLAY [One] ***'\necho 'fatal: no network'\nexit 2\n")
    playbook.chmod(0o755)
    log = io.StringIO()
    with pytest.raises(Problem, match=r"site\.yml failed on provisioning-trixie") as caught:
        building.run_site(a_build(tmp_path), log)
    assert "fatal: no network" in log.getvalue()
    for text in ("/state/provisioning-trixie.log", "script/host image --provisioned trixie", "script/host ssh"):
        assert text in caught.value.remedy


def a_build(root: Path) -> building.Build:
    return building.Build(root, "trixie", "x", "c", {}, ("strace",), ("rq",), Path("/state/provisioning-trixie.log"))
