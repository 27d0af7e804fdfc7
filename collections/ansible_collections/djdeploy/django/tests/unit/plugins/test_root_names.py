# SPDX-License-Identifier: GPL-3.0-or-later
"""Root never follows a name that somebody else can change: no code of root's works on files by a path.

`engine/beneath.py` works on files by descriptors; everything else uses it. Here the syntax trees are searched for what
would go by a path: reading, writing, making, removing, renaming, linking, owners and modes. What may do so stands
below, module by module, with the reason; its paths lie only in directories that root alone can write. Code that runs
as the site's user, or on the controller, is not root's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
FOLDERS = ("module_utils/engine", "module_utils/provision", "module_utils/family", "module_utils", "modules")
# Runs in the project's own Python, as the site's user; `databases_said.py` goes with the generated settings.
OF_THE_SITE = ("agent", "overlay")

STATE = "below /var/lib/djdeploy/<site>, which is root's (0750)"
RUN = "below /run/djdeploy, which is root's"
SITE = (
    "in /srv/<site> itself, which is root's; what lies in shared, repo.git or a release being made is another module's"
)
CONFIG = "below /etc/djdeploy, which is root's"
OWN = "the files of djdeploy itself, in /usr/local/lib/djdeploy or the package it is imported from"

BY_PATH = {
    "module_utils/engine/beneath.py": "it is what works by descriptors",
    "module_utils/engine/cli.py": "logs of nginx: /var/log/nginx is root's; variables of the release: the release is",
    "module_utils/engine/door.py": "runs as the git user; /proc, and what site.yml wrote for git below /etc/djdeploy",
    "module_utils/engine/health.py": "/proc and /sys/fs/cgroup, which the kernel fills",
    "module_utils/engine/history.py": f"the journal: {STATE}",
    "module_utils/engine/journal.py": f"the journal: {STATE}",
    "module_utils/engine/leftovers.py": "/proc, which the kernel fills",
    "module_utils/engine/limits.py": "/sys/fs/cgroup, which the kernel fills",
    "module_utils/engine/lock.py": f"the lock: {RUN}",
    "module_utils/engine/maintenance.py": f"the page: {SITE}",
    "module_utils/engine/move.py": f"the note: {STATE}; variables of a finished release, which is root's",
    "module_utils/engine/plan_facts.py": f"the salt: {STATE}",
    "module_utils/engine/preflight.py": "/proc/meminfo",
    "module_utils/engine/process_units.py": f"the hold: {RUN}; results of jobs, which root writes: {STATE}",
    "module_utils/engine/pythons.py": "managed Pythons: /var/lib/djdeploy/pythons is root's, and root alone fills it",
    "module_utils/engine/queue.py": f"tickets: {RUN}",
    "module_utils/engine/records.py": CONFIG,
    "module_utils/engine/recovery.py": f"notes of pushes: {STATE}; half-made files: {SITE}",
    "module_utils/engine/releases.py": "records: releases/<id> is root's, only what lies in it may be another's",
    "module_utils/engine/requirements.py": "credentials: below /etc/djdeploy; dpkg's list",
    "module_utils/engine/rotation.py": CONFIG,
    "module_utils/engine/sandbox.py": f"variables of units: releases/<id> and venvs are root's; {RUN}; /proc",
    "module_utils/engine/schedules.py": f"the hold: {RUN}; units in /etc/systemd/system",
    "module_utils/engine/servers.py": f"/proc/meminfo; {CONFIG}",
    "module_utils/engine/site_secrets.py": CONFIG,
    "module_utils/engine/sites.py": CONFIG,
    "module_utils/engine/snapshots.py": f"snapshots: {STATE}",
    "module_utils/engine/steps.py": "variables and record of a finished release, which is root's",
    "module_utils/engine/tree.py": f"the pointer and the reserve: {SITE}; static files of trees that root has taken",
    "module_utils/engine/units.py": "/proc, which the kernel fills",
    "module_utils/manage.py": "the `env_file` that the operator names, as systemd reads it: nothing of it is shown",
    "module_utils/provision/databases.py": CONFIG,
    "module_utils/provision/install.py": OWN,
    "modules/database_access_info.py": "the certificate of the database server: /etc/ssl/certs is root's",
    "modules/engine.py": OWN,
}

OF_OS = {
    *("open", "mkdir", "makedirs", "mknod", "mkfifo", "unlink", "remove", "rmdir", "removedirs", "rename", "renames"),
    *("replace", "link", "symlink", "chmod", "lchmod", "chown", "lchown", "truncate", "utime", "chdir", "chroot"),
    *("setxattr", "fwalk"),
}
OF_SHUTIL = {
    *("copy", "copy2", "copyfile", "copymode", "copystat", "copytree", "move", "rmtree", "chown"),
    *("unpack_archive", "make_archive"),
}
OF_A_PATH = {
    *("read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "touch", "unlink", "rmdir", "rename"),
    *("symlink_to", "hardlink_to", "chmod", "lchmod"),
}
OF_MODULES = {
    "os": OF_OS,
    "shutil": OF_SHUTIL,
    "tempfile": {"mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory"},
    "filecmp": {"cmp", "dircmp", "cmpfiles"},
    "tarfile": {"open", "TarFile"},
    "zipfile": {"ZipFile"},
    "fileinput": {"input", "FileInput"},
}
# The last name they are given is never followed (unlink(2), rename(2), mkdir(2), symlink(2)).
FOLLOW_NONE = {"unlink", "remove", "rmdir", "mkdir", "rename", "replace", "symlink", "readlink"}


def by_path(source: str) -> list[str]:
    """What a file does with files by a path: `name of the call:line`."""
    return [f"{name}:{line}" for name, line in sorted(calls(ast.parse(source)), key=lambda each: each[1])]


def calls(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(name, line) of each; what is given an open directory goes by that, and is none."""
    modules, names = {name: name for name in OF_MODULES}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.asname: each.name for each in node.names if each.asname and each.name in OF_MODULES}
        if isinstance(node, ast.ImportFrom) and node.module in OF_MODULES:
            found = [each for each in node.names if each.name in OF_MODULES[node.module]]
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in found}
    made = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    by_descriptor = {id(node.func) for node in made if goes_by_descriptor(node)}
    for node in ast.walk(tree):
        if id(node) in by_descriptor:
            continue
        if isinstance(node, ast.Name) and node.id in names:
            yield names[node.id], node.lineno
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if node.attr in OF_MODULES[module]:
                yield f"{module}.{node.attr}", node.lineno
    for node in made:
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            yield "open", node.lineno
        if not isinstance(called, ast.Attribute):
            continue
        if isinstance(called.value, ast.Name) and called.value.id in {*modules, "beneath", "dataclasses"}:
            continue  # no path
        if called.attr in OF_A_PATH or called.attr == "open":
            yield f"Path.{called.attr}", node.lineno
        if called.attr == "replace" and len(node.args) == 1 and not node.keywords:  # of a text it has two
            yield "Path.replace", node.lineno


def goes_by_descriptor(call: ast.Call) -> bool:
    """Whether a call is given an open directory, and follows no link in it."""
    said = {word.arg: word.value for word in call.keywords}
    if not said.keys() & {"dir_fd", "src_dir_fd", "dst_dir_fd"}:
        return False
    follows = said.get("follow_symlinks")
    refuses = isinstance(follows, ast.Constant) and follows.value is False
    return refuses or (isinstance(call.func, ast.Attribute) and call.func.attr in FOLLOW_NONE)


def files() -> dict[str, Path]:
    found = {}
    for folder in FOLDERS:
        for path in sorted((PLUGINS / folder).glob("*.py")):
            if not path.stem.startswith(OF_THE_SITE):
                found[path.relative_to(PLUGINS).as_posix()] = path
    return found


@pytest.mark.parametrize("name", sorted(files()))
def test_roots_code_goes_by_no_path(name: str) -> None:
    """Use `engine/beneath.py`; a module whose paths only root can change is listed with its reason."""
    found = by_path(files()[name].read_text())
    assert name in BY_PATH or found == []


@pytest.mark.parametrize("name", sorted(BY_PATH))
def test_what_is_listed_needs_it(name: str) -> None:
    assert by_path(files()[name].read_text()), "nothing in it goes by a path: take it out of the list"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("Path(x).write_text('')", ["Path.write_text:1"]),
        ("(a / b).read_bytes()", ["Path.read_bytes:1"]),
        ("with open(x) as f: pass", ["open:1"]),
        ("with path.open() as f: pass", ["Path.open:1"]),
        ("import os\nos.open(x, 0)\nos.chown(x, 0, 0)", ["os.open:2", "os.chown:3"]),
        ("import os as system\nsystem.unlink(x)", ["os.unlink:2"]),
        ("from os import chmod as mode\nmode(x, 0)", ["os.chmod:2"]),
        ("from shutil import rmtree\nlist(map(rmtree, x))", ["shutil.rmtree:2"]),
        ("import os\nremove = os.remove", ["os.remove:2"]),
        ("import os\nos.chmod(x, 0, dir_fd=handle)\nos.open(x, 0, dir_fd=handle)", ["os.chmod:2", "os.open:3"]),
        ("import os\nos.chown(x, 0, 0, dir_fd=handle, follow_symlinks=False)", []),
        ("import os\nos.unlink(x, dir_fd=handle)\nos.rename(a, b, src_dir_fd=one, dst_dir_fd=two)", []),
        ("import shutil\nshutil.copytree(a, b)\nshutil.which('git')", ["shutil.copytree:2"]),
        ("import tempfile\ntempfile.mkstemp(dir=x)\ntempfile.TemporaryFile()", ["tempfile.mkstemp:2"]),
        ("path.rename(other)\npath.replace(other)\npath.mkdir()", ["Path.rename:1", "Path.replace:2", "Path.mkdir:3"]),
        ("path.symlink_to(x); path.hardlink_to(x)", ["Path.symlink_to:1", "Path.hardlink_to:1"]),
        ("import filecmp\nfilecmp.cmp(a, b)", ["filecmp.cmp:2"]),
        ("text.replace('a', 'b')\nreplace(release, state='x')", []),
        ("beneath.unlink(path); beneath.rename(a, 'b'); beneath.read(path)", []),
        ("import os\nos.path.join(a, b)\nos.fstat(handle)\nos.close(handle)\nos.listdir(handle)", []),
    ],
)
def test_what_is_found(source: str, found: list[str]) -> None:
    assert by_path(source) == found


def test_an_edit_would_be_noticed() -> None:
    name = "module_utils/engine/prepare.py"
    text = files()[name].read_text()
    assert name not in BY_PATH and by_path(text) == []
    assert by_path(f"{text}\n\ndef more(paths):\n    (paths.code / 'x').write_text('')\n")
