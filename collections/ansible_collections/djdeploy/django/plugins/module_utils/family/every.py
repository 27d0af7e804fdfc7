# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole family by the names of its modules, for the one that runs several of them."""

from __future__ import annotations

from . import checks, commands, data, migrations, project, static, upkeep, users

FAMILY = {
    member.step: member
    for member in (
        checks.CHECK,
        commands.COMMAND,
        commands.SHELL,
        data.DUMPDATA,
        data.FLUSH,
        data.LOADDATA,
        migrations.MIGRATE,
        project.INFO,
        static.COLLECTSTATIC,
        static.COMPILEMESSAGES,
        upkeep.CLEARSESSIONS,
        upkeep.CREATECACHETABLE,
        upkeep.SITES,
        users.GROUP,
        users.SUPERUSER,
        users.USER,
    )
}
