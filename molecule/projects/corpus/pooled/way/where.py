# SPDX-License-Identifier: GPL-3.0-or-later
from django.db.backends.base.base import BaseDatabaseWrapper


def where(connection: BaseDatabaseWrapper) -> str:
    """The directory of the socket a connection really goes by."""
    connection.ensure_connection()
    return str(connection.connection.info.host).replace("/var/run", "/run")
