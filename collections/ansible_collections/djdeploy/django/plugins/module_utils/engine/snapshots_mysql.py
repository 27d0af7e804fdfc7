# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of a MariaDB or MySQL database by the server's own programs: SQL, compressed.

A copy is of one moment (--single-transaction, InnoDB) and locks nobody out. Putting one back is no transaction: the
server commits each table it drops and makes. So the copy is read through before the first table goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from . import runner
from .errors import EngineError

DUMP, CLIENT = "mariadb-dump", "mariadb"
PASSWORD = "MYSQL_PWD"  # the variable by which the clients get it (mariadb(1))
ABSENT = "no snapshot: the host has no mariadb-dump; packages: [mariadb-client] of the site, then site.yml"

DUMP_OPTIONS = (
    "--single-transaction",
    "--quick",
    "--routines",
    "--events",
    "--triggers",
    "--hex-blob",
    "--no-tablespaces",  # MySQL would ask for the privilege PROCESS
    "--default-character-set=utf8mb4",
)
# The dump is the first of a pipe, and its failure counts: only bash can say so.
COMPRESSED = 'mariadb-dump "$@" | gzip -1'

# Everything goes, so that what came after the snapshot does not stay.
CLEAR = """\
SET SESSION FOREIGN_KEY_CHECKS = 0, group_concat_max_len = 16777216;
SELECT CONCAT('DROP VIEW ', GROUP_CONCAT('`', REPLACE(TABLE_NAME, '`', '``'), '`')) INTO @djdeploy
  FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'VIEW';
SET @djdeploy = COALESCE(@djdeploy, 'DO 0');
PREPARE djdeploy FROM @djdeploy; EXECUTE djdeploy; DEALLOCATE PREPARE djdeploy;
SELECT CONCAT('DROP TABLE ', GROUP_CONCAT('`', REPLACE(TABLE_NAME, '`', '``'), '`')) INTO @djdeploy
  FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE();
SET @djdeploy = COALESCE(@djdeploy, 'DO 0');
PREPARE djdeploy FROM @djdeploy; EXECUTE djdeploy; DEALLOCATE PREPARE djdeploy;
"""


def installed() -> bool:
    """Whether the programs are on this host."""
    path = runner.BASE_ENVIRONMENT["PATH"]
    return bool(shutil.which(DUMP, path=path) and shutil.which(CLIENT, path=path))


def dump_words(place: Mapping[str, Any]) -> list[str | Path]:
    """The program that writes a copy to its standard output.

    :param place: of the step `connection`: `words` for argv, without the password, and `name`.
    """
    return ["bash", "-o", "pipefail", "-c", COMPRESSED, DUMP, *place["words"], *DUMP_OPTIONS, place["name"]]


def load_words(place: Mapping[str, Any]) -> list[str | Path]:
    """The program that reads SQL from its standard input, up to the first statement that fails."""
    return [CLIENT, *place["words"], "--batch", "--default-character-set=utf8mb4", place["name"]]


def put_back(
    place: Mapping[str, Any],
    copy: IO[bytes],
    *,
    user: str | None,
    timeout: float,
    start: runner.Starter | None = None,
) -> None:
    """Make the database what it was.

    :param copy: open; `user` need not be able to open it.
    :param timeout: seconds.
    :param start: starts the programs; see `runner.load`.
    :raises EngineError: when the copy is damaged, and nothing was touched; or half way.
    """
    if not installed():
        raise EngineError(
            "the host has no program mariadb", "let it be there: packages: [mariadb-client], then site.yml"
        )
    try:
        runner.load(["gzip", "--test"], copy, user=user, env={}, timeout=timeout, start=start)
    except EngineError as error:
        hint = "put another one back"
        raise EngineError(f"{copy.name} is damaged; nothing was touched", hint, error.detail) from error
    copy.seek(0)
    runner.load(
        load_words(place),
        copy,
        through=["gzip", "--decompress", "--stdout"],
        before=CLEAR,
        user=user,
        env={name: value for name, value in place["env"].items() if name == PASSWORD},
        timeout=timeout,
        start=start,
    )
