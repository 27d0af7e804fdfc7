# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of script/host, as tables: where Debian comes from, how containers run, what Ansible is told."""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from testhosts import building
from tests.unit.scripts import script

SCRIPT = Path(__file__).resolve().parents[2] / "script" / "host"


host = script("host")

ONE_LINE = """
# deb http://commented.example/debian bookworm main
deb http://archive.example/debian bookworm main contrib  # the archive
deb [arch=amd64 signed-by=/usr/share/keyrings/x.gpg] https://vendor.example/apt bookworm stable
deb-src http://archive.example/debian bookworm main
  deb http://archive.example/debian bookworm-updates main
"""

DEB822 = """Types: deb deb-src
# a comment inside a stanza
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://security.example/debian-security
Suites:
 bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 deb http://not-a-source.example/ bookworm main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def source(uri: str, *suites: str, components: str = "main") -> Any:
    return host.Source(uri, suites, tuple(components.split()))


ARCHIVE = source("http://a/debian", "bookworm", "bookworm-updates")
SECURITY = source("http://s/debian-security", "bookworm-security")


def test_one_line_sources() -> None:
    assert host.parse_sources("sources.list", ONE_LINE) == [
        source("http://archive.example/debian", "bookworm", components="main contrib"),
        source("https://vendor.example/apt", "bookworm", components="stable"),
        source("http://archive.example/debian", "bookworm-updates"),
    ]


def test_deb822_sources() -> None:
    assert host.parse_sources("debian.sources", DEB822) == [
        source("http://archive.example/debian", "bookworm", "bookworm-updates"),
        source("http://security.example/debian-security", "bookworm-security"),
    ]


@pytest.mark.parametrize("name", ["empty.list", "empty.sources"])
@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_no_sources(name: str, text: str) -> None:
    assert host.parse_sources(name, text) == []


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", None),
        ("# none\n", None),
        (
            "\n# near\nhttps://one.example/debian\tpriority:1\nhttps://two.example/debian\n",
            "https://one.example/debian",
        ),
    ],
)
def test_first_of_mirror_list(text: str, first: str | None) -> None:
    assert host.first_of_mirror_list(text) == first


@pytest.mark.parametrize(
    ("sources", "chosen"),
    [
        ([], None),
        ([source("http://u/ubuntu", "noble", "noble-updates")], None),
        ([source("http://v/apt", "bookworm", components="stable")], None),
        ([SECURITY], None),
        ([ARCHIVE, SECURITY], ("http://a/debian", True, "http://s/debian-security")),
        ([ARCHIVE], ("http://a/debian", True, None)),
        ([source("http://a/x", "bookworm")], ("http://a/x", False, None)),
        # another vendor's `bookworm main`, listed first, is not Debian
        ([source("http://v/prod", "bookworm"), ARCHIVE], ("http://a/debian", True, None)),
        (
            [source("http://v/prod", "bookworm"), source("http://a/debian/", "bookworm")],
            ("http://a/debian/", False, None),
        ),
        # the one-line format names the suites of one place in several entries
        ([source("http://a/d", "bookworm"), source("http://a/d", "bookworm-updates")], ("http://a/d", True, None)),
    ],
)
def test_choose_mirrors(sources: list[Any], chosen: tuple[str, bool, str | None] | None) -> None:
    assert host.choose_mirrors(sources, "bookworm") == (chosen and host.Mirrors(*chosen))


@pytest.mark.parametrize(
    ("mirrors", "lines"),
    [
        (("http://a", False, None), ["deb http://a trixie main"]),
        (
            ("http://a", True, "http://s"),
            ["deb http://a trixie main", "deb http://a trixie-updates main", "deb http://s trixie-security main"],
        ),
    ],
)
def test_source_lines(mirrors: tuple[str, bool, str | None], lines: list[str]) -> None:
    assert host.source_lines(host.Mirrors(*mirrors), "trixie") == lines


def test_recipe_changes_with_what_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    before = host.recipe_hash("trixie", ["deb http://a trixie main"])
    assert before == host.recipe_hash("trixie", ["deb http://a trixie main"])
    assert before != host.recipe_hash("bookworm", ["deb http://a trixie main"])
    assert before != host.recipe_hash("trixie", ["deb http://b trixie main"])
    monkeypatch.setattr(host, "PACKAGES", (*host.PACKAGES, "less"))
    assert before != host.recipe_hash("trixie", ["deb http://a trixie main"])


@pytest.mark.parametrize(
    ("mounts", "mode"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "unified"),
        ("cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "hybrid"),
        ("cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n", "legacy"),
        ("/dev/vda / ext4 rw 0 0\n", "legacy"),
    ],
)
def test_cgroup_mode(mounts: str, mode: str) -> None:
    assert host.cgroup_mode(mounts) == mode


@pytest.mark.parametrize(
    ("status", "has"),
    [
        ("CapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n", True),
        ("CapPrm:\t000001ffffffffff\nCapEff:\t000001fffeffffff\n", False),
        ("", False),
    ],
)
def test_has_capability(status: str, has: bool) -> None:
    assert host.has_capability(status, host.CAP_SYS_RESOURCE) is has


USUAL = host.Machine(
    cgroups="unified",
    may_raise_limits=True,
    hard_files=1048576,
    hard_processes=96365,
    process_ids=4194304,
    apparmor=False,
)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, ([], [])),
        (
            {"may_raise_limits": False, "hard_files": 20000, "process_ids": 32768},
            (["--ulimit", "nofile=1024:20000", "--ulimit", "nproc=32768:32768"], []),
        ),
        (
            {"may_raise_limits": False, "hard_files": 512},
            (["--ulimit", "nofile=512:512", "--ulimit", "nproc=96365:96365"], []),
        ),
        ({"apparmor": True}, ([], ["--security-opt", "apparmor=unconfined"])),
    ],
)
def test_limits_and_security(changes: dict[str, Any], options: tuple[list[str], ...]) -> None:
    machine = replace(USUAL, **changes)
    assert options == (host.limit_options(machine), host.security_options(machine))


@pytest.mark.parametrize("cgroups", ["hybrid", "legacy"])
def test_old_cgroups_are_made_writable(cgroups: str) -> None:
    machine = replace(USUAL, cgroups=cgroups)
    assert host.runtime_options(machine) == ["--runtime", "runc"]
    assert host.cgroup_options(machine) == ["--cgroupns", "private"]
    shell, _, script = host.init_command(machine)
    assert shell == "/bin/sh"
    assert "memory" in script
    assert script.endswith("exec /sbin/init")


def test_unified_cgroups_need_nothing() -> None:
    assert host.runtime_options(USUAL) == host.cgroup_options(USUAL) == []
    assert host.init_command(USUAL) == ["/sbin/init"]


@pytest.mark.parametrize(
    ("taken", "free"),
    [
        ([], "10.1.2.10"),
        (["10.1.2.10", "10.1.2.11"], "10.1.2.12"),
        (["10.1.2.11"], "10.1.2.10"),
    ],
)
def test_free_address(taken: list[str], free: str) -> None:
    assert host.free_address("10.1.2.0/24", taken) == free


def test_no_free_address() -> None:
    with pytest.raises(host.Problem, match="no free address"):
        host.free_address("10.1.2.0/28", [f"10.1.2.{last}" for last in range(10, 15)])


def test_mac_address_is_local_and_follows_the_address() -> None:
    assert host.mac_address("10.1.2.255") == "02:64:0a:01:02:ff"


@pytest.mark.parametrize("name", ["a", "web1", "web-1", "1st", "a" * 40])
def test_valid_names(name: str) -> None:
    assert host.valid_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "Web", "a.b", "a_b", "a b", "--all", "a" * 41, "a\n"])
def test_invalid_names(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        host.valid_name(name)


def test_public_key(tmp_path: Path) -> None:
    public, private = tmp_path / "id.pub", tmp_path / "id"
    public.write_text("ssh-ed25519 AAAA me")
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert host.public_key(str(public)) == "ssh-ed25519 AAAA me\n"
    for wrong in (private, tmp_path / "missing"):
        with pytest.raises(argparse.ArgumentTypeError, match=str(wrong)):
            host.public_key(str(wrong))


WEB1 = host.Host("web1", "trixie", "running", "10.1.2.10", 40022, None, None, "ssh-ed25519 AAAA", "/src/djdeploy")


def inspected(**bindings: str) -> dict[str, Any]:
    """What podman says of web1, as far as we read it."""
    return {
        "Config": {
            "Labels": {
                "djdeploy.host": "web1",
                "djdeploy.suite": "trixie",
                "djdeploy.address": "10.1.2.10",
                "djdeploy.host-key": "ssh-ed25519 AAAA",
                "djdeploy.checkout": "/src/djdeploy",
            }
        },
        "HostConfig": {
            "PortBindings": {
                f"{port[1:]}/tcp": [{"HostIp": "127.0.0.1", "HostPort": outer}] for port, outer in bindings.items()
            }
        },
        "State": {"Status": "running"},
    }


def test_host_of() -> None:
    assert host.host_of(inspected(p22="40022")) == WEB1
    published = host.host_of(inspected(p22="40022", p80="40080", p443="40443"))
    assert published == replace(WEB1, http_port=40080, https_port=40443)


@pytest.mark.parametrize(("rootful", "reached_at"), [(True, ("10.1.2.10", 22)), (False, ("127.0.0.1", 40022))])
def test_endpoint(rootful: bool, reached_at: tuple[str, int]) -> None:
    assert host.endpoint(WEB1, rootful) == reached_at


def test_known_hosts_covers_both_ways() -> None:
    assert host.known_hosts(WEB1) == "web1,10.1.2.10,[127.0.0.1]:40022 ssh-ed25519 AAAA\n"


def test_inventory_is_yaml_ansible_reads() -> None:
    state = Path("/a checkout/.hosts")
    tree = host.inventory([WEB1], state, rootful=True)
    assert yaml.safe_load(host.to_yaml(tree)) == tree
    web1 = tree["all"]["hosts"]["web1"]
    assert (web1["ansible_host"], web1["ansible_port"], web1["ansible_user"]) == ("10.1.2.10", 22, "root")
    assert 'UserKnownHostsFile="/a checkout/.hosts/web1.known_hosts"' in shlex.split(web1["ansible_ssh_common_args"])
    assert "StrictHostKeyChecking=yes" in web1["ansible_ssh_common_args"]
    assert "ConnectTimeout=600" in web1["ansible_ssh_common_args"]


def test_inventory_of_a_script_holds_the_same() -> None:
    tree = host.inventory([WEB1], Path("/state"), rootful=True)
    listing = host.script_inventory(tree)
    assert listing["all"] == {"hosts": ["web1"]}
    assert listing["_meta"]["hostvars"] == tree["all"]["hosts"]


def test_a_name_is_a_host_of_its_own_in_each_checkout() -> None:
    assert WEB1.container == f"{host.owner('/src/djdeploy')}-web1"
    assert replace(WEB1, checkout="/src/other").container != WEB1.container


def test_what_goes_while_it_is_listed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    listings = iter(["one two", "two"])

    def podman(*arguments: str) -> str:
        if arguments[0] == "ps":
            return next(listings)
        if "one" in arguments:
            raise host.Problem("no such container")
        return json.dumps([{"Id": name} for name in arguments[2:]])

    monkeypatch.setattr(host, "podman", podman)
    assert host.inspected("any") == [{"Id": "two"}]


def test_what_podman_can_never_describe_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def podman(*arguments: str) -> str:
        if arguments[0] == "ps":
            return "one"
        raise host.Problem("podman is broken")

    monkeypatch.setattr(host, "podman", podman)
    with pytest.raises(host.Problem, match="podman is broken"):
        host.inspected("any")


def test_to_yaml_of_nothing() -> None:
    assert yaml.safe_load(host.to_yaml({"all": {"hosts": {}}})) == {"all": {"hosts": {}}}


@pytest.mark.parametrize(
    ("suite", "publish_http", "provisioned", "reason"),
    [
        (None, False, False, None),
        ("trixie", False, False, None),
        ("bookworm", False, False, "runs trixie, not bookworm"),
        (None, True, False, "does not publish"),
        (None, False, True, "web1 exists and is bare, not provisioned"),
    ],
)
def test_mismatch(suite: str | None, publish_http: bool, provisioned: bool, reason: str | None) -> None:
    found = host.mismatch(WEB1, suite, publish_http, provisioned)
    assert found is None if reason is None else reason in found


def test_mismatch_of_a_provisioned_host() -> None:
    web1 = replace(WEB1, provisioned=True)
    assert host.mismatch(web1, "trixie", False, True) is None
    assert host.mismatch(web1, "trixie", False, False) == "web1 exists and is provisioned, not bare"


@pytest.mark.parametrize("label", ["true", "false", None])
def test_a_host_knows_whether_it_began_provisioned(label: str | None) -> None:
    of_podman = inspected(p22="40022")
    if label is not None:  # hosts from before there were such have none
        of_podman["Config"]["Labels"]["djdeploy.provisioned"] = label
    assert host.host_of(of_podman).provisioned is (label == "true")


@pytest.mark.parametrize("provisioned", [True, False])
def test_a_host_says_by_its_label_how_it_began(provisioned: bool) -> None:
    options = host.create_options("web1", "trixie", "10.1.2.10", "ssh-ed25519 AAAA", False, provisioned)
    assert f"djdeploy.provisioned={'true' if provisioned else 'false'}" in options


def test_each_suite_has_a_lock_of_its_own_for_provisioned_images() -> None:
    locks = {host.LOCK, *map(host.provisioned_lock, host.SUITES)}
    assert len(locks) == 1 + len(host.SUITES)
    assert {lock.parent for lock in locks} == {host.LOCK.parent}


@pytest.mark.parametrize(
    ("arguments", "provisioned"),
    [
        (["up", "web1"], False),
        (["up", "--provisioned", "web1"], True),
        (["image"], False),
        (["image", "--provisioned", "bookworm"], True),
    ],
)
def test_provisioned_is_asked_for(arguments: list[str], provisioned: bool) -> None:
    assert host.parser().parse_args(arguments).provisioned is provisioned


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What hosts are created, each with its image; web1 is there already, and began provisioned. No podman is run."""
    hosts = {"web1": replace(WEB1, provisioned=True)}
    made: list[tuple[str, str]] = []
    monkeypatch.setattr(host, "our_hosts", lambda: hosts)
    monkeypatch.setattr(host, "locked", lambda *_arguments: contextlib.nullcontext())
    monkeypatch.setattr(host, "ensure_key", lambda: "key")
    monkeypatch.setattr(host, "provisioned_name", lambda suite: f"provisioned {suite}")
    monkeypatch.setattr(building, "exists", lambda image: True)
    monkeypatch.setattr(host, "ensure_image", lambda suite: None)
    monkeypatch.setattr(host, "create", lambda name, suite, image, *_arguments: made.append((name, image)))
    monkeypatch.setattr(host, "boot", lambda names: [replace(WEB1, name=name) for name in names])
    return made


@pytest.mark.parametrize(
    ("arguments", "images"),
    [
        (["db1", "db2"], [("db1", "localhost/djdeploy-host:trixie"), ("db2", "localhost/djdeploy-host:trixie")]),
        (["--provisioned", "db1"], [("db1", "provisioned trixie")]),
        (["--provisioned", "--suite", "bookworm", "db1"], [("db1", "provisioned bookworm")]),
        (["--provisioned", "web1", "db1"], [("db1", "provisioned trixie")]),
    ],
)
def test_hosts_are_created_from_the_image_of_their_kind(
    created: list[tuple[str, str]], arguments: list[str], images: list[tuple[str, str]]
) -> None:
    options = host.parser().parse_args(["up", *arguments])
    options.verb(options)
    assert created == images


def test_a_host_that_exists_needs_no_image(
    created: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(host, "provisioned_name")
    options = host.parser().parse_args(["up", "--provisioned", "web1"])
    options.verb(options)
    assert created == []
    assert capsys.readouterr().out.startswith("web1 ")


def test_a_provisioned_host_is_not_taken_for_a_bare_one(created: list[tuple[str, str]]) -> None:
    options = host.parser().parse_args(["up", "db1", "web1"])
    with pytest.raises(host.Problem, match="web1 exists and is provisioned, not bare"):
        options.verb(options)
    assert created == []


class Locks:
    """The locks as they are taken and given back, and an image that is there, or is made by whoever had the lock."""

    def __init__(self, there: bool, made_meanwhile: bool = False) -> None:
        self.there, self.made_meanwhile, self.held, self.said = there, made_meanwhile, list[str](), list[str]()

    @contextlib.contextmanager
    def locked(self, path: Path = host.LOCK, _waiting: str = "") -> Iterator[None]:
        name = "hosts" if path == host.LOCK else path.stem.rpartition("-")[2]
        assert name == "hosts" or "hosts" not in self.held, "the lock of a suite is taken first"
        self.held.append(name)
        self.said.append(f"took {name}")
        self.there = self.there or (self.made_meanwhile and name != "hosts")
        yield
        self.held.remove(name)

    def exists(self, _image: str) -> bool:
        self.said.append("looked" + "".join(f" with {name}" for name in self.held))
        return self.there

    def make(self, build: building.Build) -> None:
        self.said.append("made" + "".join(f" with {name}" for name in self.held))
        self.there = True


MADE = ["looked", "took trixie", "looked with trixie", "made with trixie"]
LOCKED = [
    # asked for, whether the image is there, whether another process makes it meanwhile, what happens in order
    (["image"], True, False, ["looked"]),
    (["image", "--rebuild"], True, False, [*MADE, "took hosts"]),
    (["image"], False, False, [*MADE, "took hosts"]),
    (["image"], False, True, ["looked", "took trixie", "looked with trixie"]),
    (["up", "db1"], True, False, ["took hosts", "looked with hosts"]),
    (
        ["up", "db1"],
        False,
        True,
        ["took hosts", "looked with hosts", "took trixie", "looked with trixie", "took hosts"],
    ),
]


@pytest.mark.parametrize(("arguments", "there", "meanwhile", "happened"), LOCKED)
def test_whose_image_is_there_waits_for_nobody_who_makes_one(
    created: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    there: bool,
    meanwhile: bool,
    happened: list[str],
) -> None:
    locks = Locks(there, meanwhile)
    monkeypatch.setattr(host, "locked", locks.locked)
    monkeypatch.setattr(building, "exists", locks.exists)
    monkeypatch.setattr(building, "make", locks.make)
    monkeypatch.setattr(host, "boot_builder", lambda suite: WEB1)
    for name in ("authorities", "remove_hosts", "remove_older"):
        monkeypatch.setattr(host, name, lambda *_arguments: ())
    verb, *others = arguments
    words = [verb, "--provisioned", *others] + (["trixie"] if verb == "image" else ["--suite", "trixie"])
    options = host.parser().parse_args(words)
    options.verb(options)
    assert locks.said == happened


def test_who_waits_for_an_image_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    waits = threading.Event()

    def say(text: str) -> None:
        told.append(text)
        waits.set()

    def second() -> None:
        with host.locked(tmp_path / "lock", "somebody makes it"):
            pass

    monkeypatch.setattr(host, "say", say)
    with host.locked(tmp_path / "lock", "nobody waits"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
    thread.join(60)
    assert not thread.is_alive()
    assert told == ["somebody makes it"]


@pytest.mark.parametrize(
    ("arguments", "status", "first_line"),
    [
        (["down"], 1, "script/host: nothing to remove"),
        (["up", "--suite", "sid", "web1"], 2, "script/host: argument --suite: 'sid' is none of trixie, bookworm"),
        (["up", "Web 1"], 2, "script/host: argument NAME: 'Web 1' is no host name"),
        ([], 2, "script/host: the following arguments are required: VERB"),
    ],
)
def test_refusals(arguments: list[str], status: int, first_line: str) -> None:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.startswith(first_line)
    assert "Traceback" not in done.stderr


def test_cas_prints_json() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "cas"], capture_output=True, text=True, check=True)
    assert all(file.endswith(".crt") for file in json.loads(done.stdout))
