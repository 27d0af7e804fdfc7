# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python runs a site."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import pythons
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.project import TextTree
from ansible_collections.djdeploy.django.plugins.module_utils.engine.pythons import Offer, Wish, choose, satisfies
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed


@pytest.mark.parametrize(
    ("version", "specifier", "holds"),
    [
        ("3.13.5", ">=3.11", True),
        ("3.13.5", ">=3.14", False),
        ("3.13.5", ">=3.13.6", False),
        ("3.13.5", ">=3.11,<3.13", False),
        ("3.13.5", ">=3.11, <4.0", True),
        ("3.13.5", ">=3.11 <4", True),
        ("3.13.5", ">3.13", True),
        ("3.13.0", ">3.13", False),
        ("3.13.5", "<=3.13", False),
        ("3.13.5", "==3.13", True),
        ("3.13.5", "==3.13.*", True),
        ("3.13.5", "==3.13.4", False),
        ("3.13.5", "3.13", True),
        ("3.13.5", "3.12", False),
        ("3.13.5", "3.*", True),
        ("3.13.5", "*", True),
        ("3.13.5", "!=3.13.*", False),
        ("3.13.5", "!=3.13.5", False),
        ("3.13.5", ">=3.8,!=3.9.7", True),
        ("3.13.5", "!=3.13", True),
        ("3.13.5", "~=3.11", True),
        ("3.13.5", "~=3.13.6", False),
        ("3.13.5", "~=3.12.1", False),
        ("3.13.5", "^3.11", True),
        ("3.13.5", "^3.14", False),
        ("3.13.5", "^2.7", False),
        ("3.13.5", "~3.12", False),
        ("3.13.5", "~3.13", True),
        ("3.13.5", "~3", True),
        ("3.13.5", "^3.11 || ^4", True),
        ("3.13.5", "~3.11|~3.12", False),
        ("3.13.5", ">=3.14.0rc1", False),
        ("3.13.5", "===3.13.5", True),
        ("3.9.2", "<3.10", True),
    ],
)
def test_satisfies(version: str, specifier: str, holds: bool) -> None:
    assert satisfies(version, specifier) is holds


@pytest.mark.parametrize("specifier", ["", "latest", "3.x.y", ">=", "pypy3.10", ">=3.11 please"])
def test_no_specifier(specifier: str) -> None:
    with pytest.raises(ValueError):
        satisfies("3.13.5", specifier)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (
            {"pyproject.toml": "[project]\nrequires-python='>=3.12'"},
            [("pyproject.toml: requires-python", ">=3.12", True)],
        ),
        (
            {"pyproject.toml": "[tool.poetry.dependencies]\npython='^3.11'"},
            [("pyproject.toml: tool.poetry.dependencies.python", "^3.11", True)],
        ),
        ({"uv.lock": 'version = 1\nrequires-python = ">=3.12"\n'}, [("uv.lock: requires-python", ">=3.12", True)]),
        ({"setup.cfg": "[options]\npython_requires = >=3.9\n"}, [("setup.cfg: python_requires", ">=3.9", True)]),
        ({"setup.py": "setup(python_requires='>=3.9')"}, [("setup.py: python_requires", ">=3.9", True)]),
        ({"Pipfile": "[requires]\npython_version='3.11'"}, [("Pipfile: requires", "==3.11", False)]),
        (
            {"Pipfile.lock": '{"_meta": {"requires": {"python_full_version": "3.11.4"}}}'},
            [("Pipfile.lock: requires", "==3.11", False)],
        ),
        ({".python-version": "3.12.4\n"}, [(".python-version", "==3.12", False)]),
        ({".python-version": "# why\ncpython-3.12"}, [(".python-version", "==3.12", False)]),
        ({".python-version": ">=3.12"}, [(".python-version", ">=3.12", False)]),
        ({".python-version": "shop-env"}, []),
        ({".python-version": ""}, []),
        ({".tool-versions": "nodejs 20\npython 3.11.9 3.10"}, [(".tool-versions", "==3.11", False)]),
        ({"runtime.txt": "python-3.11.9"}, [("runtime.txt", "==3.11", False)]),
        ({"runtime.txt": "ruby-3.3.0"}, []),
        ({"pyproject.toml": "[project"}, []),
        ({"pyproject.toml": "[project]\nrequires-python='whatever'"}, []),
        ({"src/.python-version": "3.12", ".python-version": "3.11"}, [("src/.python-version", "==3.12", False)]),
        ({"other/.python-version": "3.12"}, []),
    ],
)
def test_wishes(files: dict[str, str], found: list[tuple[str, str, bool]]) -> None:
    assert [(wish.source, wish.specifier, wish.must) for wish in pythons.wishes(TextTree(files), "src")] == found


OWN = Offer("distribution", "3.13.5", "/usr/bin/python3.13")
OLD = Offer("installed", "3.11.2", "/opt/py/bin/python3.11")
MANAGED = Offer("managed", "3.12.9", "/m/python3.12")
NEW = Offer("download", "3.14.2")
ALL = [OWN, OLD, MANAGED, NEW]


def must(specifier: str) -> Wish:
    return Wish("pyproject.toml: requires-python", specifier, True)


def wish(specifier: str) -> Wish:
    return Wish(".python-version", specifier, False)


@pytest.mark.parametrize(
    ("wanted", "offer"),
    [
        ([], OWN),
        ([must(">=3.11")], OWN),
        ([must("<3.13")], OLD),
        ([must(">=3.12,<3.13")], MANAGED),
        ([must(">=3.14")], NEW),
        ([must(">=3.15")], None),
        ([must(">=3.11"), wish("==3.12")], MANAGED),
        ([must(">=3.13"), wish("==3.12")], OWN),
        ([wish("==3.9")], OWN),
        ([wish("==3.11"), wish("==3.12")], OLD),
        ([must("<3.10")], None),
    ],
)
def test_choose(wanted: list[Wish], offer: Offer | None) -> None:
    assert choose(wanted, ALL) == offer


def test_python_that_is_too_old_for_us() -> None:
    assert choose([must("<3.10")], [Offer("installed", "3.9.2", "/usr/bin/python3.9")]) is None


def test_refusal() -> None:
    error = pythons.refusal([must(">=3.15"), wish("==3.12")], ALL, "uv knows none that fits either")
    assert error.message == (
        "the project needs Python >=3.15 (pyproject.toml: requires-python); this host has 3.13, 3.11, 3.12, "
        "and uv knows none that fits either"
    )
    assert "engine_python_mirror" in error.hint


def test_nearness() -> None:
    own = sys.version_info.minor
    there = [f"3.{own + 3}.0", f"3.{own + 1}.1", f"3.{own + 1}.12", f"3.{own - 1}.9", f"3.{own}.2"]
    assert [there.index(each) for each in sorted(there, key=pythons.nearness)] == [4, 2, 1, 3, 0]


def test_told() -> None:
    assert pythons.told_of([], OWN) == []
    assert pythons.told_of([wish("==3.12")], OWN) == [
        "the project asks for Python 3.12 (.python-version); it gets 3.13.5"
    ]
    assert "updates do not mend it" in pythons.told_of([must(">=3.12,<3.13")], MANAGED)[0]


# -- doing -----------------------------------------------------------------------------------


UNREACHABLE = """\
error: Failed to install cpython-3.98.7-linux-x86_64-gnu
  cause: Request failed after 3 retries in 8.7s
  cause: Failed to download `https://me:word@pythons.example.com/1/cpython-3.98.7%2B1-x86_64.tar.gz`
  cause: error sending request for url (https://pythons.example.com/1/cpython-3.98.7%2B1-x86_64.tar.gz)
  cause: client error (Connect)
  cause: dns error
"""


class Uv:
    """Answers for uv; `installs` says whether a download works."""

    def __init__(self, *versions: str, installs: bool = True) -> None:
        self.versions, self.installs = versions, installs
        self.calls: list[list[str]] = []

    def __call__(self, argv: Sequence[Any], **options: Any) -> Completed:
        words = [str(word) for word in argv]
        self.calls.append(words[1:3])
        if words[1:3] == ["python", "list"]:
            listed = [{"implementation": "cpython", "variant": "default", "version": each} for each in self.versions]
            return Completed(tuple(words), 0, json.dumps(listed), "")
        if words[1:3] == ["python", "install"]:
            if not self.installs:
                self.retries = options["env"].get("UV_HTTP_RETRIES")
                return Completed(tuple(words), 2, "", UNREACHABLE)
            version = words[-1]
            path = pythons.PYTHONS / f"cpython-{version}-linux-x86_64-gnu/bin/python{version.rpartition('.')[0]}"
            path.parent.mkdir(parents=True)
            path.write_text("")
            return Completed(tuple(words), 0, "", "")
        raise EngineError(f"cannot start {words[0]}")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pythons, "PYTHONS", tmp_path / "pythons")
    monkeypatch.setattr(pythons, "UV", Path(sys.executable))
    monkeypatch.setattr(pythons, "_PLACES", ())
    monkeypatch.setattr(pythons, "SITES_ROOT", tmp_path / "srv")
    monkeypatch.delenv("UV_PYTHON_DOWNLOADS", raising=False)
    return tmp_path


def files(text: str) -> TextTree:
    return TextTree({"pyproject.toml": f"[project]\nrequires-python='{text}'"})


def test_distribution_s_python_starts_nothing(host: Path) -> None:
    uv = Uv()
    found = pythons.find(None, files(">=3.10"), ".", run=uv)
    assert found.python.executable == os.path.realpath(sys.executable)
    assert found.python.version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert found.told == ()
    assert uv.calls == []


def test_python_that_uv_brings_once(host: Path) -> None:
    uv = Uv("3.99.1", "3.98.7")
    first = pythons.find(None, files(">=3.98,<3.99"), ".", run=uv)
    assert first.python.version == "3.98"
    assert first.python.executable.startswith(str(host / "pythons/cpython-3.98.7-"))
    again = pythons.find(None, files(">=3.98,<3.99"), ".", run=uv)
    assert again.python == first.python
    assert uv.calls.count(["python", "install"]) == 1


def test_python_that_cannot_be_had(host: Path) -> None:
    with pytest.raises(
        EngineError,
        match=r"needs Python >=3\.98 .*uv cannot fetch Python 3\.98\.7 from "
        r"pythons\.example\.com: dns error",
    ) as caught:
        pythons.find(None, files(">=3.98"), ".", run=Uv("3.98.7", installs=False))
    assert "engine_python_mirror" in caught.value.hint
    assert "me:word" not in str(vars(caught.value))
    with pytest.raises(EngineError, match="uv knows none"):
        pythons.find(None, files(">=3.98"), ".", run=Uv())


def test_downloads_switched_off(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    uv = Uv("3.98.7")
    with pytest.raises(EngineError, match="uv may fetch none"):
        pythons.find(None, files(">=3.98"), ".", run=uv)
    assert uv.calls == []


def test_wish_that_cannot_be_met_is_told_and_not_tried_again_at_once(host: Path) -> None:
    uv = Uv("3.98.7", installs=False)
    tree = TextTree({".python-version": "3.98"})
    for _time in range(2):
        found = pythons.find(None, tree, ".", run=uv)
        assert found.python.executable == os.path.realpath(sys.executable)
        assert "the project asks for Python 3.98 (.python-version)" in found.told[0]
        assert "dns error" in found.told[1]
    assert uv.calls.count(["python", "install"]) == 1
    assert uv.retries == "0", "nobody waits long for what is only wished for"


def test_download_that_takes_too_long_is_not_tried_again_at_once(host: Path) -> None:
    class Slow(Uv):
        def __call__(self, argv: Sequence[Any], **options: Any) -> Completed:
            answer = super().__call__(argv, **options)
            if "install" in argv:
                raise EngineError("uv did not end within 600 s")
            return answer

    uv = Slow("3.98.7", installs=False)
    for _time in range(2):
        found = pythons.find(None, TextTree({".python-version": "3.98"}), ".", run=uv)
        assert "did not end within 600 s" in found.told[1]
    assert uv.calls.count(["python", "install"]) == 1


def test_what_uv_keeps_is_nobody_elses(host: Path) -> None:
    pythons.find(None, files(">=3.98"), ".", run=Uv("3.98.7"))
    assert (host / "pythons/.cache").stat().st_mode & 0o777 == 0o700


def test_python_that_the_site_names(host: Path) -> None:
    assert pythons.find("python3", files(">=3.98"), ".", run=Uv()).told[0].startswith("the project asks for Python")
    assert pythons.find("python3.98", TextTree({}), ".", run=Uv("3.98.7")).python.version == "3.98"
    with pytest.raises(EngineError, match=r"uv cannot fetch Python 3\.97\.7") as caught:
        pythons.find("python3.97", TextTree({}), ".", run=Uv("3.97.7", installs=False))
    assert "engine_python_mirror" in caught.value.hint
    with pytest.raises(EngineError, match=r"python3\.96 is not on this host"):
        pythons.find("python3.96", TextTree({}), ".", run=Uv("3.97.7"))
    with pytest.raises(EngineError, match="/opt/x/python is not on this host"):
        pythons.find("/opt/x/python", TextTree({}), ".", run=Uv("3.98.7"))


def test_prune(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cpython-3.11.1-x", "cpython-3.12.1-x"):
        (host / "pythons" / name / "bin").mkdir(parents=True)
    (host / "pythons/cpython-3.12-x").symlink_to("cpython-3.12.1-x")
    venv = host / "srv/shop/venvs/abc"
    venv.mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {host}/pythons/cpython-3.11.1-x/bin\nversion = 3.11.1\n")
    pythons.prune()
    assert len(list((host / "pythons").iterdir())) == 3, "what came today stays"
    now = pythons.time.time()
    monkeypatch.setattr(pythons.time, "time", lambda: now + 90000)
    pythons.prune()
    assert [path.name for path in (host / "pythons").iterdir()] == ["cpython-3.11.1-x"]
