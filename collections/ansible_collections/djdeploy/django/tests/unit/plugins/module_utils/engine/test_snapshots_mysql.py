# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a MariaDB database: what is run, and that a damaged copy costs nothing."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import agent_databases, snapshots_mysql
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError


class Wrapper:
    def __init__(self, **given: Any) -> None:
        self.given = given
        self.settings_dict = {"NAME": "shop"}

    def get_connection_params(self) -> dict[str, Any]:
        return {"conv": {}, "charset": "utf8mb4", **self.given}


@pytest.mark.parametrize(
    ("given", "words", "env"),
    [
        pytest.param(
            {"user": "shop", "unix_socket": "/run/mysqld/mysqld.sock"},
            ["--no-defaults", "--socket=/run/mysqld/mysqld.sock", "--user=shop"],
            {},
            id="by the socket",
        ),
        pytest.param(
            {"user": "shop", "password": "secret", "host": "db", "port": 3307, "ssl": {"ca": "/ca.pem"}},
            ["--no-defaults", "--host=db", "--port=3307", "--user=shop", "--ssl-ca=/ca.pem"],
            {"MYSQL_PWD": "secret"},
            id="over the network",
        ),
        pytest.param({"passwd": "secret"}, ["--no-defaults"], {"MYSQL_PWD": "secret"}, id="as Django 4.2 says it"),
        pytest.param(
            {"read_default_file": "/etc/shop.cnf"}, ["--defaults-file=/etc/shop.cnf"], {}, id="a file of options"
        ),
    ],
)
def test_programs_connect_as_django_does(given: dict[str, Any], words: list[str], env: dict[str, str]) -> None:
    place = agent_databases.mysql(Wrapper(**given))
    assert place == {"words": words, "env": env, "name": "shop"}
    for argv in (snapshots_mysql.dump_words(place), snapshots_mysql.load_words(place)):
        assert "secret" not in " ".join(map(str, argv))
        assert argv[-1] == "shop"


def test_options_come_first() -> None:
    """The programs take --no-defaults and --defaults-file only as their first argument."""
    words = snapshots_mysql.dump_words({"words": ["--no-defaults", "--user=shop"], "name": "shop"})
    assert words[words.index("mariadb-dump") + 1] == "--no-defaults"
    assert snapshots_mysql.load_words({"words": ["--no-defaults"], "name": "shop"})[1] == "--no-defaults"


def test_a_damaged_copy_is_found_before_anything_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "one.sql.gz"
    copy.write_bytes(gzip.compress(b"SELECT 1;\n" * 1000)[:-20])
    monkeypatch.setattr(snapshots_mysql, "installed", lambda: True)
    monkeypatch.setattr(snapshots_mysql.runner, "load", lambda *_words, **_more: pytest.fail("it was begun"))
    with pytest.raises(EngineError, match="damaged; nothing was touched"):
        snapshots_mysql.put_back({"words": [], "env": {}, "name": "shop"}, copy, user=None, timeout=60)
