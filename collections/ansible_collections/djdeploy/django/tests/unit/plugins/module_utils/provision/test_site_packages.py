# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages by what the sites say."""

from __future__ import annotations

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.provision import site_packages

MARIADB = ["build-essential", "default-libmysqlclient-dev", "mariadb-client", "pkg-config", "python3-dev"]


@pytest.mark.parametrize(
    ("databases", "packages"),
    [([], []), (["postgresql", "project", "sqlite"], []), (["mariadb"], MARIADB), (["mariadb", "mariadb"], MARIADB)],
)
def test_databases(databases: list[str], packages: list[str]) -> None:
    assert site_packages.for_databases([{"database": said} for said in databases]) == packages
