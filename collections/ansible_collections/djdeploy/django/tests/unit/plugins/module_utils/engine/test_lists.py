# SPDX-License-Identifier: GPL-3.0-or-later
"""Which file of a project is its list of dependencies, and what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.lists import (
    choose_groups,
    find_requirements,
    setup_cfg_extras,
    setup_py_requires,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.project import TextTree

PYPROJECT = "[project]\nname='x'\ndependencies=['Django']"


def tree(*paths: str, **files: str) -> TextTree:
    return TextTree({**dict.fromkeys(paths, "Django\n"), **files})


@pytest.mark.parametrize(
    ("paths", "project_path", "wanted", "expected"),
    [
        (["requirements.txt"], ".", None, ("file", "requirements.txt", ".")),
        (["requirements.txt", "requirements/production.txt"], ".", None, ("file", "requirements/production.txt", ".")),
        (["requirements/base.txt", "requirements/prod.txt"], ".", None, ("file", "requirements/prod.txt", ".")),
        (["requirements/base.txt"], ".", None, ("file", "requirements/base.txt", ".")),
        (["requirements-prod.txt", "requirements.txt"], ".", None, ("file", "requirements-prod.txt", ".")),
        (["requirements_prod.txt"], ".", None, ("file", "requirements_prod.txt", ".")),
        (["requirements.prod.txt"], ".", None, ("file", "requirements.prod.txt", ".")),
        (["prod-requirements.txt"], ".", None, ("file", "prod-requirements.txt", ".")),
        (["requirements/live.txt"], ".", None, ("file", "requirements/live.txt", ".")),
        (["requirements/deploy.txt"], ".", None, ("file", "requirements/deploy.txt", ".")),
        (["reqs/prod.txt", "reqs/dev.txt"], ".", None, ("file", "reqs/prod.txt", ".")),
        (["reqs/production.txt"], ".", None, ("file", "reqs/production.txt", ".")),
        (["deps/common.txt", "deps/test.txt"], ".", None, ("file", "deps/common.txt", ".")),
        (["dependencies/production.txt"], ".", None, ("file", "dependencies/production.txt", ".")),
        (["deps.txt"], ".", None, ("file", "deps.txt", ".")),
        (["reqs.txt"], ".", None, ("file", "reqs.txt", ".")),
        (["pip-requirements.txt"], ".", None, ("file", "pip-requirements.txt", ".")),
        (["Requirements.txt"], ".", None, ("file", "Requirements.txt", ".")),
        (["requirements.pip"], ".", None, ("file", "requirements.pip", ".")),
        (["requirements.lock", "requirements-dev.lock"], ".", None, ("file", "requirements.lock", ".")),
        (["requirements.in"], ".", None, ("file", "requirements.in", ".")),
        (["requirements.in", "requirements.txt"], ".", None, ("file", "requirements.txt", ".")),
        (["requirements/production.in"], ".", None, ("file", "requirements/production.in", ".")),
        (["requirements/server.txt", "requirements/dev.txt"], ".", None, ("file", "requirements/server.txt", ".")),
        (["uv.lock", "pyproject.toml", "requirements.txt"], ".", None, ("uv-lock", "uv.lock", ".")),
        (["uv.lock", "requirements.txt"], ".", None, ("file", "requirements.txt", ".")),
        (["poetry.lock", "pyproject.toml"], ".", None, ("poetry-lock", "poetry.lock", ".")),
        (["pdm.lock", "pyproject.toml"], ".", None, ("pdm-lock", "pdm.lock", ".")),
        (["Pipfile.lock", "Pipfile"], ".", None, ("pipfile-lock", "Pipfile.lock", ".")),
        (["Pipfile", "requirements.txt"], ".", None, ("file", "requirements.txt", ".")),
        (["pylock.production.toml", "pylock.toml"], ".", None, ("pylock", "pylock.production.toml", ".")),
        (["requirements.txt"], "src", None, ("file", "requirements.txt", ".")),
        (["requirements.txt", "src/Pipfile"], "src", None, ("file", "requirements.txt", ".")),
        (["requirements.txt", "src/requirements.txt"], "src", None, ("file", "src/requirements.txt", "src")),
        (["deploy/reqs.txt"], ".", "deploy/reqs.txt", ("file", "deploy/reqs.txt", "deploy")),
        (["a/requirements/x.txt"], ".", "a/requirements/x.txt", ("file", "a/requirements/x.txt", "a")),
        (["a/reqs/x.txt"], ".", "a/reqs/x.txt", ("file", "a/reqs/x.txt", "a")),
        (["b/uv.lock", "b/pyproject.toml"], ".", "b/uv.lock", ("uv-lock", "b/uv.lock", "b")),
        (["b/pdm.lock", "b/pyproject.toml"], ".", "b/pdm.lock", ("pdm-lock", "b/pdm.lock", "b")),
        (["pylock.prod.toml"], ".", "pylock.prod.toml", ("pylock", "pylock.prod.toml", ".")),
        (["docs/requirements.txt"], ".", None, ("derived", "", ".")),
        (["constraints.txt"], ".", None, ("derived", "", ".")),
    ],
)
def test_find_requirements(paths: list[str], project_path: str, wanted: str | None, expected: tuple[str, ...]) -> None:
    found = find_requirements(tree(*paths), project_path, wanted)
    assert (found.kind, found.path, found.base) == expected
    assert found.reason


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"pyproject.toml": PYPROJECT}, "pyproject"),
        ({"pyproject.toml": "[project]\nname='x'"}, "derived"),
        ({"pyproject.toml": "[tool.poetry]\nname='x'"}, "pyproject"),
        ({"pyproject.toml": "[project]\ndynamic=['dependencies']"}, "pyproject"),
        ({"pyproject.toml": "[dependency-groups]\nprod=['Django']"}, "pyproject"),
        ({"pyproject.toml": "[dependency-groups]\ndev=['Django']"}, "derived"),
        ({"pyproject.toml": "[tool.ruff]"}, "derived"),
        ({"pyproject.toml": "[project\n"}, "derived"),
        ({"pyproject.toml": "[tool.ruff]", "setup.cfg": "[options]\ninstall_requires=Django"}, "setup-cfg"),
        ({"setup.cfg": "[flake8]\nmax-line-length=100"}, "derived"),
        ({"setup.cfg": "no section"}, "derived"),
        ({"setup.py": "from setuptools import setup\nsetup()"}, "derived"),
        ({"setup.py": "from setuptools import setup\nsetup(install_requires=['Django'])"}, "setup-py"),
        ({"setup.py": "setup(install_requires=read())"}, "setup-py"),
        ({"environment.yml": "name: production"}, "derived"),
    ],
)
def test_find_requirements_in_what_can_be_a_list(files: dict[str, str], kind: str) -> None:
    assert find_requirements(TextTree(files), ".").kind == kind


@pytest.mark.parametrize(
    ("files", "says", "hint"),
    [
        ({"Pipfile": ""}, "no Pipfile.lock", "pipenv lock"),
        ({"environment.yml": "dependencies:\n- django"}, "conda", "requirements.txt"),
        ({"pixi.toml": ""}, "conda", "requirements.txt"),
        ({"buildout.cfg": ""}, "buildout", "requirements.txt"),
        ({"uv.lock": ""}, "without the pyproject.toml", "commit pyproject.toml"),
        ({"poetry.lock": ""}, "without the pyproject.toml", "commit pyproject.toml"),
        ({"requirements-dev.txt": "Django"}, "not for a site", "requirements: requirements-dev.txt"),
        ({"requirements/a.txt": "", "requirements/b.txt": ""}, "several lists", "requirements: requirements/a.txt"),
        ({"config/requirements.txt": ""}, "not beside manage.py", "requirements: config/requirements.txt"),
        ({"config/requirements/prod.txt": ""}, "config/requirements/prod.txt", "requirements: "),
        ({"other/Pipfile": ""}, "other/Pipfile", "requirements: "),
        ({"pyproject.toml": "[dependency-groups]\nserver=['Django']"}, "only in groups", "dependency_groups: [server]"),
    ],
)
def test_find_requirements_refuses(files: dict[str, str], says: str, hint: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        find_requirements(TextTree(files), ".")
    assert hint in error.value.hint


def test_groups_that_were_named_make_a_list() -> None:
    files = TextTree({"pyproject.toml": "[dependency-groups]\nserver=['Django']"})
    assert find_requirements(files, ".", None, ["server"]).kind == "pyproject"


@pytest.mark.parametrize(
    ("files", "more"),
    [
        ({"requirements/prod.txt": "gunicorn", "requirements/base.txt": "Django"}, ("requirements/base.txt",)),
        ({"requirements/prod.txt": "-r base.txt", "requirements/base.txt": "Django"}, ()),
        ({"requirements/prod.txt": "Django>=5", "requirements/base.txt": "Django"}, ()),
        ({"requirements/prod.txt": "django-x", "requirements/base.txt": "Django"}, ("requirements/base.txt",)),
        ({"requirements-prod.txt": "gunicorn", "requirements.txt": "Django"}, ("requirements.txt",)),
        ({"requirements-prod.txt": "wagtail"}, ()),
        ({"requirements/prod.txt": "x", "requirements/common.txt": "y", "requirements.txt": "z"}, 1),
        ({"requirements.txt": "gunicorn", "requirements/base.txt": "Django"}, ()),
    ],
)
def test_list_that_holds_only_what_production_needs_besides(files: dict[str, str], more: object) -> None:
    found = find_requirements(TextTree(files), ".").more
    assert len(found) == more if isinstance(more, int) else found == more


def test_what_is_not_read_is_said() -> None:
    found = find_requirements(tree("requirements.txt", "poetry.lock", **{"pyproject.toml": PYPROJECT}), ".")
    assert found.unread == ("requirements.txt",)
    assert find_requirements(tree("requirements.txt", "requirements.in"), ".").unread == ()
    assert find_requirements(tree("requirements.txt", **{"pyproject.toml": PYPROJECT}), ".").unread == (
        "pyproject.toml",
    )


@pytest.mark.parametrize(
    ("docstring", "line"),
    [
        ("Generated by 'django-admin startproject' using Django 5.2.8.", "Django~=5.2.0"),
        ("Generated by 'django-admin.py startproject' using Django 4.2.", "Django~=4.2.0"),
        ("My settings.", "Django"),
    ],
)
def test_find_requirements_derived(docstring: str, line: str) -> None:
    found = find_requirements(TextTree({"shop/settings.py": f'"""\n{docstring}\n"""'}), ".")
    assert (found.kind, found.lines) == ("derived", (line,))


@pytest.mark.parametrize("wanted", ["reqs.txt", "Pipfile", "sub/poetry.lock"])
def test_wanted_that_cannot_be_read(wanted: str) -> None:
    with pytest.raises(EngineError):
        find_requirements(tree("requirements.txt", "Pipfile", "sub/poetry.lock"), ".", wanted)


@pytest.mark.parametrize(
    ("wanted", "available", "chosen"),
    [
        (None, ["dev", "prod"], ("prod",)),
        (None, ["Production", "prod"], ("Production", "prod")),
        (None, ["dev"], ()),
        ([], ["prod"], ()),
        (["my_group"], ["my-group"], ("my-group",)),
    ],
)
def test_choose_groups(wanted: list[str] | None, available: list[str], chosen: tuple[str, ...]) -> None:
    assert choose_groups(wanted, available, "x") == chosen


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("setup(install_requires=('a', 'b'))", ("a", "b")),
        ("setup(install_requires=[*x])", None),
        ("setup(name='x')", []),
        ("other(install_requires=['a'])", []),
        ("install_requires = (", None),
        ("def", []),
    ],
)
def test_setup_py_requires(source: str, found: object) -> None:
    assert setup_py_requires(source) == found


def test_setup_cfg_extras() -> None:
    assert setup_cfg_extras("[options.extras_require]\nprod =\n  a\n  b") == {"prod": ["a", "b"]}
    assert setup_cfg_extras("[options]") == {}
    assert setup_cfg_extras("no section") == {}
