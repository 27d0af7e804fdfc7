# SPDX-License-Identifier: GPL-3.0-or-later
"""What belongs into a virtualenv, which one that is, and how it is made."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import paths as engine_paths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.databases_said import KINDS
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.lists import Requirements, find_requirements
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.engine.project import TextTree
from ansible_collections.djdeploy.django.plugins.module_utils.engine.requirements import (
    MARKER,
    EnvironmentPlan,
    Python,
    build_commands,
    build_environment,
    debian_packages,
    explain_failure,
    generated_files,
    installed_packages,
    is_complete,
    locked_names,
    parse_requirement,
    plan_environment,
    probe_python,
    requirement_lines,
    uv_environment,
)
from ansible_collections.djdeploy.django.plugins.module_utils.engine.runner import Completed
from ansible_collections.djdeploy.django.plugins.module_utils.engine.servers import PACKAGES, additions

GUNICORN = PACKAGES["gunicorn"]
PSYCOPG = KINDS["postgresql"].driver
PYTHON = Python("/usr/bin/python3.13", "3.13").identity

UV_LOCK = """
version = 1
[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "django" }, { name = "Psycopg", extra = ["binary"] }, { name = "local-lib" }]
[package.dev-dependencies]
dev = [{ name = "gunicorn" }]
[[package]]
name = "django"
version = "5.2.1"
source = { registry = "https://index.example/simple" }
dependencies = [{ name = "sqlparse" }]
[[package]]
name = "psycopg"
version = "3.2"
[package.optional-dependencies]
binary = [{ name = "psycopg-binary" }]
c = [{ name = "psycopg-c" }]
[[package]]
name = "psycopg-binary"
version = "3.2"
[[package]]
name = "gunicorn"
version = "23.0"
[[package]]
name = "sqlparse"
version = "0.5"
[[package]]
name = "local-lib"
version = "1"
source = { directory = "libs/local" }
"""

# Before Poetry 2, which says for each package in which groups it is.
POETRY_LOCK = """
[[package]]
name = "Django"
version = "5.2.1"
[[package]]
name = "gunicorn"
version = "23.0"
[[package]]
name = "twice"
version = "1"
[[package]]
name = "twice"
version = "2"
"""


def plan(files: dict[str, str], database: str = "project", server: str = "", python: str = PYTHON) -> EnvironmentPlan:
    tree = TextTree(files)
    return plan_environment(
        tree,
        find_requirements(tree, "."),
        python_version=python,
        databases=() if database == "project" else (database,),
        needs=lambda names: additions(server, names) if server else (),
    )


# -- lines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Django", ("django", set())),
        ("Django>=5.2,<5.3", ("django", set())),
        ("psycopg[binary,pool] >= 3.2", ("psycopg", {"binary", "pool"})),
        ("zope.Interface_x == 1", ("zope-interface-x", set())),
        ("a @ https://example.com/a.zip", ("a", set())),
        ("a@git+https://example.com/a", ("a", set())),
        ("a;python_version<'3'", ("a", set())),
        ("a (>=1)", ("a", set())),
        ("https://example.com/a.zip", None),
        ("git+https://example.com/a", None),
        ("./libs/a", None),
        ("libs/a-1-py3-none-any.whl", None),
        ("-e ./a", None),
        ("", None),
    ],
)
def test_parse_requirement(line: str, expected: tuple[str, set[str]] | None) -> None:
    assert parse_requirement(line) == expected


def test_requirement_lines() -> None:
    text = "# all\nDjango==5.2 \\\n    --hash=sha256:aa\n\nx  # why\ny#no-comment\r\n"
    assert list(requirement_lines(text)) == ["Django==5.2      --hash=sha256:aa", "x", "y#no-comment"]


# -- what is missing -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "extras"),
    [
        ("Django", (GUNICORN, PSYCOPG)),
        ("Django\nGunicorn==22", (PSYCOPG,)),
        ("Django\npsycopg2-binary", (GUNICORN,)),
        ("Django\npsycopg2", (GUNICORN,)),
        ("Django\npsycopg[binary]", (GUNICORN,)),
        ("Django\npsycopg[c,pool]", (GUNICORN,)),
        ("Django\npsycopg", (GUNICORN, "psycopg[binary]")),
        ("Django\npsycopg\npsycopg-binary", (GUNICORN,)),
        ("Django\n-c limits.txt", (GUNICORN, PSYCOPG)),
        ("Django\n-r more.txt", ()),
        ("Django\n-rmore.txt", ()),
        ("Django\n--requirement=more.txt", ()),
    ],
)
def test_extras(text: str, extras: tuple[str, ...]) -> None:
    files = {"requirements.txt": text, "more.txt": "gunicorn\npsycopg2", "limits.txt": "gunicorn==23\npsycopg2==2.9"}
    assert plan(files, "postgresql", "gunicorn").extras == extras


def test_extras_are_told() -> None:
    told = " ".join(plan({"requirements.txt": "Django"}, "postgresql", "gunicorn").told)
    assert "gunicorn" in told
    assert "psycopg" in told


@pytest.mark.parametrize(
    ("text", "storage", "added"),
    [
        ("Django", "", ()),
        ("Django", "file:///srv/up", ()),
        ("Django", "s3://k:secret@host/bucket", ("django-storages[s3]",)),
        ("Django\ndjango-storages", "s3://k:secret@host/bucket", ("django-storages[s3]",)),
        ("Django\ndjango-storages[s3]", "s3://bucket", ()),
        ("Django\ndjango_storages[boto3]==1.13", "s3://bucket", ()),
        ("Django\ndjango-storages\nboto3", "s3://bucket", ()),
        ("Django\nboto3", "s3://bucket", ("django-storages[s3]",)),
        ("Django", "gs://bucket", ("django-storages[google]",)),
    ],
)
def test_client_of_a_storage_that_is_given_by_dsn(text: str, storage: str, added: tuple[str, ...]) -> None:
    tree = TextTree({"requirements.txt": text})
    found = plan_environment(tree, find_requirements(tree, "."), python_version="3.13", storage=storage)
    assert found.extras == added
    assert "secret" not in repr(found), "a plan is told and kept"


def test_no_driver_for_a_database_of_the_projects_own() -> None:
    assert plan({"requirements.txt": "Django"}, "project", "gunicorn").extras == (GUNICORN,)


def test_locked_names_are_those_that_get_installed() -> None:
    names = locked_names(tomllib.loads(UV_LOCK), "shop")
    assert set(names) == {"django", "sqlparse", "psycopg", "psycopg-binary", "local-lib"}
    assert names["psycopg"] == {"binary"}


def test_uv_lock() -> None:
    found = plan(
        {"uv.lock": UV_LOCK, "pyproject.toml": "[project]\nname='shop'", "libs/local/pyproject.toml": "", "x.py": ""},
        "postgresql",
        "gunicorn",
    )
    assert found.extras == (GUNICORN,)
    assert set(found.inputs) == {"uv.lock", "pyproject.toml"}
    assert found.local == ("libs/local/pyproject.toml",)


def test_poetry_lock() -> None:
    pyproject = (
        "[tool.poetry.dependencies]\npython='^3.11'\nDjango='^5.2'\nx={version='1', extras=['y']}\nz={optional=true}"
    )
    found = plan({"poetry.lock": POETRY_LOCK, "pyproject.toml": pyproject}, "project", "gunicorn")
    assert found.lines == ("Django", "x[y]")
    assert found.constraints == ("django==5.2.1", "gunicorn==23.0")
    assert found.extras == (GUNICORN,)


def test_pipfile_lock() -> None:
    lock = {
        "default": {"django": {"version": "==5.2", "markers": "python_version >= '3'"}},
        "develop": {"gunicorn": {}},
    }
    found = plan({"Pipfile.lock": json.dumps(lock)}, "project", "gunicorn")
    assert found.lines == ("django==5.2 ; python_version >= '3'",)
    assert found.extras == (GUNICORN,)


GROUPS = """
[project]
name = "shop"
dependencies = ["Django"]
optional-dependencies = {prod = ["gunicorn"], docs = ["sphinx"]}
[dependency-groups]
postgres = ["psycopg2", {include-group = "cache"}]
cache = ["redis"]
"""


@pytest.mark.parametrize(
    ("groups", "options", "names"),
    [
        (None, ("--extra", "prod"), {"django", "gunicorn"}),
        ([], (), {"django"}),
        (["Postgres"], ("--group", "postgres"), {"django", "psycopg2", "redis"}),
        (["docs", "cache"], ("--extra", "docs", "--group", "cache"), {"django", "sphinx", "redis"}),
    ],
)
def test_groups_of_a_pyproject(groups: list[str] | None, options: tuple[str, ...], names: set[str]) -> None:
    tree = TextTree({"pyproject.toml": GROUPS})
    choice = find_requirements(tree, ".", None, groups)
    found = plan_environment(tree, choice, python_version="", groups=groups)
    assert found.options == options
    assert set(found.names) == names
    words = found.commands("/py", VENV, INPUTS, UV)[1]
    said = [word.replace("postgres", "/in/pyproject.toml:postgres") for word in options]
    assert words[:7] == [*INSTALL, "-r", "/in/pyproject.toml"]
    assert [word.replace("toml:cache", "toml:cache") for word in words[7:]] == [
        f"/in/pyproject.toml:{word}" if word == "cache" else word for word in said
    ]


def test_groups_of_a_uv_lock() -> None:
    tree = TextTree(
        {
            "uv.lock": UV_LOCK,
            "pyproject.toml": "[project]\nname='shop'\n[dependency-groups]\ndev=['gunicorn']",
            "libs/local/x": "",
        }
    )
    choice = find_requirements(tree, ".")
    found = plan_environment(tree, choice, python_version="", groups=["dev"])
    assert found.extras == ()
    assert found.commands("/py", VENV, INPUTS, UV)[1] == [*SYNC, "/in", "--group", "dev"]


def test_group_that_is_not_there() -> None:
    tree = TextTree({"pyproject.toml": GROUPS})
    with pytest.raises(EngineError, match="no group of dependencies called 'production'") as error:
        plan_environment(tree, find_requirements(tree, "."), python_version="", groups=["production"])
    assert "cache, docs, postgres, prod" in error.value.hint


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ({"setup.cfg": "[options]\ninstall_requires =\n    Django>=5  # why\n    x; python_version<'3'\n"}, 2),
        ({"setup.cfg": "[options]\ninstall_requires = Django; x\n"}, 2),
        ({"setup.cfg": "[options]\ninstall_requires = file: needs/a.txt\n", "needs/a.txt": "Django"}, 1),
        ({"setup.py": "from setuptools import setup\nsetup(install_requires=['Django', 'x'])"}, 2),
        ({"setup.py": "import setuptools\nN = ['Django']\nsetuptools.setup(install_requires=N)"}, 1),
        (
            {
                "pyproject.toml": "[project]\nname='x'\ndynamic=['dependencies']",
                "setup.py": "setup(install_requires=['Django', 'x'], extras_require={'prod': ['y']})",
            },
            3,
        ),
        (
            {
                "pyproject.toml": "[project]\nname='x'\ndynamic=['dependencies']",
                "setup.cfg": "[options]\ninstall_requires=\n Django\n[options.extras_require]\nproduction=\n y",
            },
            2,
        ),
    ],
)
def test_setuptools(files: dict[str, str], lines: int) -> None:
    found = plan(files)
    assert len(found.lines) == lines
    assert "django" in found.names


def test_list_for_production_that_needs_the_common_one() -> None:
    found = plan({"requirements/prod.txt": "psycopg2", "requirements/base.txt": "Django"})
    assert set(found.names) == {"django", "psycopg2"}
    words = found.commands("/py", VENV, INPUTS, UV)[1]
    assert words == [*INSTALL, "-r", "/in/requirements/prod.txt", "-r", "/in/requirements/base.txt"]
    assert "with requirements/base.txt" in found.told[0]


def test_pyproject_whose_dependencies_stand_in_files() -> None:
    pyproject = (
        "[project]\nname='x'\ndynamic=['dependencies']\n[tool.setuptools.dynamic]\ndependencies={file=['reqs/a.txt']}\n"
    )
    found = plan({"pyproject.toml": pyproject, "reqs/a.txt": "Django\ngunicorn"}, server="gunicorn")
    assert found.lines == ("-r ../reqs/a.txt",)
    assert found.extras == ()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"requirements.txt": "-r gone.txt"}, "gone.txt"),
        ({"requirements.txt": "-e ./gone"}, "gone"),
        ({"requirements.txt": "../above"}, "above"),
        ({"pyproject.toml": "[project]\nname=x"}, "not valid TOML"),
        ({"pyproject.toml": "[project]\nname='x'\ndynamic=['dependencies']"}, "dynamic"),
        ({"pyproject.toml": "[tool.poetry]\nname='x'"}, "poetry.lock"),
        ({"Pipfile.lock": "{"}, "not valid JSON"),
        ({"setup.py": "setup(install_requires=open('x').read().split())"}, "computes its dependencies"),
        ({"pyproject.toml": "[tool.flit.metadata]\nrequires=['Django']"}, "Flit"),
        (
            {"poetry.lock": POETRY_LOCK, "pyproject.toml": "[tool.poetry.dependencies]\nx={git='https://example.com'}"},
            "only Poetry",
        ),
    ],
)
def test_plan_environment_refuses(files: dict[str, str], says: str) -> None:
    with pytest.raises(EngineError, match=says) as error:
        plan(files)
    assert error.value.hint


# -- the fingerprint -------------------------------------------------------------------------

BASE: dict[str, str] = {
    "requirements.txt": "Django\n-r more.txt\n-e ./lib",
    "more.txt": "x",
    "lib/setup.py": "1",
    "a.py": "",
}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"a.py": "print()"}, True),
        ({"other/requirements.txt": "y"}, True),
        ({"pyproject.toml": "[tool.ruff]"}, True),
        ({"more.txt": "x>1"}, False),
        ({"requirements.txt": BASE["requirements.txt"] + "\n# comment"}, False),
        ({"lib/setup.py": "2"}, False),
        ({"lib/new.py": ""}, False),
        ({"uv.toml": "index-url = 'https://example.com'"}, False),
        ({"pyproject.toml": "[tool.uv]\n"}, False),
    ],
)
def test_fingerprint_changes_with_what_decides_the_content(change: dict[str, str], same: bool) -> None:
    assert (plan({**BASE, **change}).fingerprint == plan(BASE).fingerprint) is same


def test_fingerprint_depends_on_interpreter_and_extras() -> None:
    fingerprints = {
        plan(BASE).fingerprint,
        plan(BASE, python=Python("/usr/bin/python3.12", "3.12").identity).fingerprint,
        plan(BASE, "postgresql").fingerprint,
        plan(BASE, "project", "gunicorn").fingerprint,
    }
    assert len(fingerprints) == 4
    assert all(len(each) == 16 for each in fingerprints)


# -- commands --------------------------------------------------------------------------------

VENV, INPUTS, UV = Path("/v"), Path("/in"), Path("/uv")
MAKE = ["/uv", "venv", "--no-project", "--allow-existing", "--python", "/py", "/v"]
INSTALL = ["/uv", "pip", "install", "--python", "/v/bin/python"]
SYNC = ["/uv", "sync", "--frozen", "--no-dev", "--no-install-project", "--python", "/py", "--project"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"requirements.txt": "Django"}, [MAKE, [*INSTALL, "-r", "/in/requirements.txt", GUNICORN]]),
        (
            {"requirements.txt": "Django==5.2 --hash=sha256:aa"},
            [MAKE, [*INSTALL, "-r", "/in/requirements.txt"], [*INSTALL, GUNICORN]],
        ),
        (
            {"requirements.txt": "--require-hashes\ngunicorn==23.0"},
            [MAKE, [*INSTALL, "-r", "/in/requirements.txt"]],
        ),
        ({"uv.lock": "", "pyproject.toml": ""}, [MAKE, [*SYNC, "/in"], [*INSTALL, GUNICORN]]),
        (
            {"pyproject.toml": "[project]\ndependencies=['Django']"},
            [MAKE, [*INSTALL, "-r", "/in/pyproject.toml", GUNICORN]],
        ),
        ({"pylock.toml": ""}, [MAKE, [*INSTALL, "-r", "/in/pylock.toml"], [*INSTALL, GUNICORN]]),
        ({}, [MAKE, [*INSTALL, "-r", "/in/.djdeploy/requirements.txt", GUNICORN]]),
        (
            {"poetry.lock": POETRY_LOCK, "pyproject.toml": "[project]\ndependencies=['Django']"},
            [
                MAKE,
                [
                    *INSTALL,
                    *("-r", "/in/.djdeploy/requirements.txt", "-c", "/in/.djdeploy/constraints.txt"),
                    GUNICORN,
                ],
            ],
        ),
    ],
)
def test_build_commands(files: dict[str, str], expected: list[list[str]]) -> None:
    assert plan(files, "project", "gunicorn").commands("/py", VENV, INPUTS, UV) == expected


def test_build_commands_below_the_top() -> None:
    tree = TextTree({"src/uv.lock": "", "src/pyproject.toml": ""})
    found = plan_environment(tree, find_requirements(tree, "src"), python_version="")
    assert found.commands("/py", VENV, INPUTS, UV) == [MAKE, [*SYNC, "/in/src"]]


def test_build_commands_with_pip() -> None:
    pip = ["/v/bin/python", "-m", "pip", "install", "--no-input", "--progress-bar=off"]
    for files, words in (
        ({"requirements.txt": "Django"}, ["-r", "/in/requirements.txt"]),
        ({"pyproject.toml": "[project]\ndependencies=['Django']"}, ["-r", "/in/.djdeploy/requirements.txt"]),
    ):
        commands = build_commands(plan(files), python="/py", venv=VENV, inputs=INPUTS, uv=None)
        assert commands == [["/py", "-m", "venv", "/v"], [*pip, *words]]
    with pytest.raises(EngineError, match="uv"):
        build_commands(plan({"pylock.toml": ""}), python="/py", venv=VENV, inputs=INPUTS, uv=None)


def test_generated_files() -> None:
    found = generated_files(plan({}))
    assert found == {".djdeploy/requirements.txt": "Django\n"}


def test_uv_environment() -> None:
    variables = uv_environment(SitePaths("shop"), Path("/v"))
    assert variables["UV_LINK_MODE"] == "copy"
    assert variables["UV_CACHE_DIR"] == "/var/cache/djdeploy/shop/uv"
    assert variables["UV_PROJECT_ENVIRONMENT"] == "/v"
    assert "UV_PROJECT_ENVIRONMENT" not in uv_environment(SitePaths("shop"))


# -- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "message", "hint"),
    [
        (
            "error: No solution found when resolving dependencies\n"
            "  cause: Because there is no version of django==99 and you require\n         django==99, we cannot.\n",
            "Because there is no version of django==99 and you require django==99",
            "mend requirements.txt",
        ),
        (
            "  × No solution found when resolving dependencies:\n  ╰─▶ Because nope was not found in the package\n"
            "      registry and you require nope, we can conclude that it is so.",
            "Because nope was not found in the package registry",
            "mend requirements.txt",
        ),
        (
            "  cause: Because the current Python version (3.11.2) does not satisfy Python>=3.12 and django>=6.1",
            "needs Python >=3.12, this host's is 3.11.2",
            "python",
        ),
        (
            "error: Failed to build `psycopg2==2.9.9`\n  Error: pg_config executable not found.",
            "psycopg2==2.9.9 could not be built",
            "packages: [build-essential, libpq-dev, python3-dev]",
        ),
        (
            "error: Failed to build `mysqlclient==2.3.1`\n Exception: Can not find valid pkg-config name.",
            "mysqlclient==2.3.1 could not be built",
            "default-libmysqlclient-dev",
        ),
        (
            "error: Failed to build `lib @ file:///srv/x`\n  odd.h: No such file or directory",
            "lib could not be built",
            "holds odd.h",
        ),
        (
            "ERROR: Failed building wheel for python-ldap\nlber.h: No such file",
            "python-ldap",
            "libldap-dev",
        ),
        ("ERROR: Ignored the following\nERROR: No matching distribution found for x==9", "there is no x==9", "mend"),
        ("cause: invalid peer certificate: UnknownIssuer", "certificate", "djdeploy_ca_certificates"),
        (
            "error: Failed to fetch: https://x.example.com:8443/simple/words/\n"
            "  cause: error sending request for url (https://x.example.com:8443/simple/words/)\n"
            "  cause: client error (Connect)\n  cause: invalid peer certificate: UnknownIssuer",
            "the package index on x.example.com:8443 shows a certificate this host does not trust",
            "djdeploy_ca_certificates",
        ),
        (
            "error: Failed to fetch: https://x.example.com/simple/words/\n"
            "  cause: invalid peer certificate: certificate expired: verification time 1795295262 (UNIX), but"
            " certificate is not valid after 1580515200 (214780062 seconds ago)",
            "x.example.com shows a certificate that has expired",
            "mend the certificate",
        ),
        (
            "error: Failed to fetch: https://x.example.com/simple/words/\n"
            '  cause: invalid peer certificate: certificate not valid for name "x.example.com"; certificate is only'
            " valid for DnsName(y.example.com)",
            "for another name",
            "mend the certificate",
        ),
        (
            "  cause: invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
            "one that a CA signed",
            "mend the certificate",
        ),
        (
            "error: No solution found when resolving dependencies\n  cause: Because words was not found in the package"
            " registry and you require words, we can conclude that your requirements are unsatisfiable.",
            "words was not found",
            "package_indexes",
        ),
        (
            "error: No solution found when resolving dependencies\n  cause: Because words was not found in the package"
            " registry and you require words, we can conclude that your requirements are unsatisfiable.\n\n"
            "hint: An index URL (https://x.example.com/simple) could not be queried due to a lack of valid"
            " authentication credentials (401 Unauthorized)",
            "the package index on x.example.com refuses this host",
            "package_indexes",
        ),
        (
            "WARNING: 401 Error, Credentials not correct for https://x.example.com/simple/words/\n"
            "ERROR: No matching distribution found for words",
            "the package index on x.example.com refuses this host",
            "package_indexes",
        ),
        ("error: Failed to fetch: `https://x`\n cause: dns error", "cannot be reached", "network"),
        (
            "error: Failed to fetch: `https://me:********@x.example.com/simple/a/`\n"
            "  Caused by: HTTP status client error (401 Unauthorized) for url (https://x.example.com/simple/a/)",
            "the package index on x.example.com refuses this host",
            "package_indexes",
        ),
        ("error: Hash mismatch for `x`", "hash", "hashes"),
        ("error: Failed to inspect Python interpreter from provided path", "interpreter", "python3-venv"),
        ("error: something new\n  cause: x", "something new", "mend requirements.txt"),
        ("", "without a word", "mend requirements.txt"),
    ],
)
def test_explain_failure(output: str, message: str, hint: str) -> None:
    error = explain_failure(output, plan({"requirements.txt": "Django"}))
    assert message in error.message
    assert hint in error.hint
    assert "\n" not in error.message


HAS = {"build-essential", "python3-dev"}


@pytest.mark.parametrize(
    ("output", "files", "installed", "hint"),
    [
        (
            "Failed to build `mysqlclient==2.2`\nException: Can not find valid pkg-config name.",
            {},
            (),
            "[build-essential, default-libmysqlclient-dev, pkg-config, python3-dev]",
        ),
        (
            "Failed to build `mysqlclient==2.2`\nException: Can not find valid pkg-config name.",
            {"requirements.txt": "mysqlclient\npython-ldap\nDjango"},
            HAS,
            "[default-libmysqlclient-dev, libldap-dev, libsasl2-dev, pkg-config]",
        ),
        (
            "Failed to build `python-ldap==3.4`\nerror: command 'gcc' failed: No such file or directory",
            {},
            (),
            "[build-essential, libldap-dev, libsasl2-dev, python3-dev]",
        ),
        (
            "Failed to build `borgbackup==1.4`\nException: Could not find OpenSSL lib/headers",
            {},
            HAS,
            "[libacl1-dev, liblz4-dev, libssl-dev, libxxhash-dev, libzstd-dev, pkg-config]",
        ),
        ("Failed to build `x==1`\nfatal error: lz4.h: No such file", {}, HAS, "[liblz4-dev, pkg-config]"),
        ("Failed to build `x==1`\nerror: command 'gcc' failed: No such file", {}, (), "[build-essential, python3-dev]"),
        ("Failed to build `psycopg-c==3`\nfatal error: pg_config.h: No such file", {}, HAS, "packages: [libpq-dev]"),
        (
            "Failed to build `x==1`\nfatal error: pg_config.h: No such file or directory",
            {},
            HAS,
            "packages: [libpq-dev]",
        ),
        (
            "Failed to build `pygraphviz==1`\n fatal error: graphviz/cgraph.h: No such file or directory",
            {},
            HAS,
            "packages: [libgraphviz-dev, pkg-config]",
        ),
        (
            "Failed to build `pygraphviz==1`\n fatal error: odd.h: No such file or directory",
            {},
            {*HAS, "libgraphviz-dev", "pkg-config"},
            "holds odd.h to the site's packages, and",
        ),
        (
            "Failed to build `cffi==1.15.1`\nerror: [Errno 2] No such file or directory: 'x86_64-linux-gnu-gcc'",
            {"requirements.txt": "Django\ncffi==1.15.1\ncryptography==39.0.1"},
            (),
            "packages: [build-essential, libffi-dev, python3-dev]",
        ),
        ("Failed to build `x==1`\n fatal error: Python.h: No such file or directory", {}, {"gcc"}, "python3-dev]"),
        ("Failed to build `x==1`\n fatal error: Python.h: No such file or directory", {}, HAS, "ready wheel"),
        (
            "Failed to build `x==1`\n odd.h: No such file or directory",
            {},
            HAS,
            "holds odd.h to the site's packages, and",
        ),
        (
            "Failed to build `x==1`\n odd.h: No such file",
            {},
            (),
            "holds odd.h to the site's packages (and build-essential",
        ),
        ("Failed to build `x==1`\nModuleNotFoundError: No module named 'distutils'", {}, (), "ready wheel"),
        ("Failed to build `uwsgi==2.0`\nException: you need a C compiler to build uWSGI", {}, (), "[build-essential,"),
    ],
)
def test_one_hint_names_all_packages(output: str, files: dict[str, str], installed: Sequence[str], hint: str) -> None:
    error = explain_failure(output, plan(files or {"requirements.txt": "Django"}), installed)
    assert hint in error.hint


def test_debian_packages(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: gcc\nStatus: install ok installed\nArchitecture: amd64\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\n"
    )
    assert debian_packages(status) == {"gcc"}
    assert debian_packages(tmp_path / "none") == frozenset()


# -- building --------------------------------------------------------------------------------


class FakeRun:
    """Makes what the commands would make, and remembers what they could see."""

    def __init__(self, returncode: int = 0, stderr: str = "") -> None:
        self.returncode, self.stderr = returncode, stderr
        self.calls: list[tuple[Sequence[Any], dict[str, Any]]] = []
        self.seen: dict[str, str] = {}

    def __call__(self, argv: Sequence[Any], **options: Any) -> Completed:
        self.calls.append((argv, options))
        cwd = Path(options["cwd"])
        self.seen = {
            path.relative_to(cwd).as_posix(): path.read_text() for path in sorted(cwd.rglob("*")) if path.is_file()
        }
        if argv[1] == "pip":
            packages = Path(argv[4]).parent.parent / "lib/python3.13/site-packages"
            (packages / "Django-5.2.1.dist-info").mkdir(parents=True)
            module = packages / "django.py"
            module.write_text("")
            module.chmod(0o666)
        return Completed(tuple(map(str, argv)), self.returncode, "", self.stderr)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SitePaths:
    monkeypatch.setattr(engine_paths, "SITES_ROOT", tmp_path)
    # The build user is looked up on a real host only.
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return SitePaths("shop")


def test_build_environment(site: SitePaths, tmp_path: Path) -> None:
    code = tmp_path / "code"
    (code / "lib").mkdir(parents=True)
    (code / "lib" / "setup.py").write_text("local")
    (code / "secret.py").write_text("not for the build")
    planned = plan({"requirements.txt": "Django\n./lib", "lib/setup.py": "local", "secret.py": ""})
    run = FakeRun()
    venv = build_environment(planned, site, code, python="/py", run=run, uv=UV)
    assert venv == site.environments / planned.fingerprint
    assert is_complete(venv)
    assert installed_packages(venv) == {"django": "5.2.1"}
    assert run.seen == {"requirements.txt": "Django\n./lib", "lib/setup.py": "local"}
    assert [path.name for path in site.environments.iterdir()] == [planned.fingerprint]
    assert (venv / "lib/python3.13/site-packages/django.py").stat().st_mode & 0o777 == 0o644

    again = FakeRun()
    assert build_environment(planned, site, code, python="/py", run=again, uv=UV) == venv
    assert again.calls == []


def test_packages_are_installed_in_one_sandbox(site: SitePaths, tmp_path: Path) -> None:
    """What a package runs while it is built ends with the unit, and before root goes on."""
    planned = plan({"requirements.txt": "Django"})
    asked: list[list[str]] = []

    def run(words: Sequence[Any], **_more: Any) -> Completed:
        asked.append([str(word) for word in words])
        return Completed(tuple(words), 0, "", "Finished with result: success\n")

    build_environment(planned, site, tmp_path, python="/py", run=run, uv=UV, boxed=True)
    (words,) = asked
    venv = site.environments / planned.fingerprint
    assert words[0] == "systemd-run" and "--uid=shop-build" in words
    assert words[-1].count(str(UV)) == 2, "made and filled by one"
    assert any(word.startswith("--property=BindPaths=") and str(venv) in word for word in words)
    assert is_complete(venv)


def test_build_environment_that_fails_leaves_nothing(site: SitePaths, tmp_path: Path) -> None:
    planned = plan({"requirements.txt": "Django"})
    with pytest.raises(EngineError, match="broken"):
        build_environment(planned, site, tmp_path, python="/py", run=FakeRun(1, "error: broken"), uv=UV)
    assert list(site.environments.iterdir()) == []


def test_build_environment_starts_over_what_was_cut_off(site: SitePaths, tmp_path: Path) -> None:
    planned = plan({"requirements.txt": "Django"})
    half = site.environments / planned.fingerprint
    (half / "lib").mkdir(parents=True)
    (half / "lib" / "half").write_text("")
    assert not is_complete(half)
    build_environment(planned, site, tmp_path, python="/py", run=FakeRun(), uv=UV)
    assert not (half / "lib" / "half").exists()


def test_a_marker_that_a_package_planted_is_replaced_and_believed_by_nobody(site: SitePaths, tmp_path: Path) -> None:
    """A build backend may put a link at `.complete`, to a file it would like root to write."""
    victim = tmp_path / "maintenance"
    planned = plan({"requirements.txt": "Django"})

    class Planting(FakeRun):
        def __call__(self, argv: Sequence[Any], **options: Any) -> Completed:
            done = super().__call__(argv, **options)
            venv = site.environments / planned.fingerprint
            if venv.is_dir() and not (venv / MARKER).is_symlink():
                (venv / MARKER).symlink_to(victim)
            assert not is_complete(venv)
            return done

    venv = build_environment(planned, site, tmp_path, python="/py", run=Planting(), uv=UV)
    assert not victim.exists() and not (venv / MARKER).is_symlink() and is_complete(venv)


def test_build_environment_takes_no_file_from_outside(site: SitePaths, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (tmp_path / "outside.whl").write_text("")
    (code / "a.whl").symlink_to("../outside.whl")
    planned = plan({"requirements.txt": "./a.whl", "a.whl": ""})
    with pytest.raises(EngineError, match="leads out"):
        build_environment(planned, site, code, python="/py", run=FakeRun(), uv=UV)


def test_probe_python() -> None:
    def run(argv: Sequence[Any], **options: Any) -> Completed:
        return Completed(tuple(argv), 0, '["/usr/bin/python3.13", "3.13", "cpython"]\n', "")

    assert probe_python("python3", run=run).identity == "cpython 3.13 /usr/bin/python3.13"


def test_probe_python_that_is_not_there() -> None:
    def run(argv: Sequence[Any], **options: Any) -> Completed:
        raise EngineError("cannot start python3.99")

    with pytest.raises(EngineError, match=r"python3\.99 is not on this host"):
        probe_python("python3.99", run=run)


def test_requirements_kind_is_told() -> None:
    assert plan({"requirements.txt": "Django"}).told[0].startswith("requirements: requirements.txt")
    assert isinstance(plan({}).requirements, Requirements)
