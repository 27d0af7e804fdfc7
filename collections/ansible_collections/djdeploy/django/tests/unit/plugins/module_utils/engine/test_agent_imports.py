# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do about an import that fails."""

from __future__ import annotations

import os

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine.agent_imports import advice, package_of

PACKAGES = "/srv/shop/venvs/0a1b/lib/python3.13/site-packages"
STANDARD = f"{os.path.dirname(os.__file__)}/inspect.py"


@pytest.mark.parametrize(
    ("module", "absent", "asked_by", "provider", "expected"),
    [
        ("shoplib", True, "shop/views.py", None, "add the package that brings 'shoplib' to the project's requirements"),
        ("yaml.loader", True, "shop/views.py", None, "add PyYAML to the project's requirements"),
        ("environ", True, "shop/settings.py", None, "add django-environ to"),
        ("pkg_resources", True, f"{PACKAGES}/tcms/settings/common.py", None, "add setuptools<81 to"),
        ("distutils.version", True, "shop/a.py", None, "since 3.11: add setuptools to"),
        ("imp", True, "shop/a.py", None, "since 3.11: name an older one: python: python3.11"),
        ("cgi", True, "shop/a.py", None, "or name an older one: python: python3.12"),
        ("inspect", False, f"{PACKAGES}/modernrpc/core.py", STANDARD, "modernrpc is made for an older Python"),
        ("inspect", False, "shop/views.py", STANDARD, "mend that import"),
        ("django", False, f"{PACKAGES}/jsonfield/fields.py", f"{PACKAGES}/django/__init__.py", "pin both"),
        ("shop", False, "shop/views.py", "/srv/shop/releases/1/code/shop/__init__.py", "mend that import"),
    ],
)
def test_advice(module: str, absent: bool, asked_by: str, provider: str | None, expected: str) -> None:
    assert expected in advice(module, absent=absent, asked_by=asked_by, provider=provider)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"{PACKAGES}/modernrpc/core.py", "modernrpc"),
        (f"{PACKAGES}/six.py", "six"),
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "yaml"),
        ("shop/views.py", ""),
    ],
)
def test_package_of(file: str, expected: str) -> None:
    assert package_of(file) == expected
