# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The engine, which travels inside this very module."""

from __future__ import annotations

DOCUMENTATION = r"""
module: engine
short_description: Install the engine that makes releases on a host
version_added: 0.1.0
author: djdeploy contributors (@djdeploy)
description:
  - Installs the engine this collection brings, so that what answers a push on the host is the same code as what
    Ansible runs.
  - Each content has a directory of its own; a link is pointed at it last. The engine from before is kept, because
    programs that were started from it may still be at work.
  - Gives the links to uploads, in releases an earlier version made, to the user of their site, as newer ones are. The
    nginx of this version serves no upload without that.
options:
  library:
    description: Directory that holds the engines and the link C(engine).
    type: path
    default: /usr/local/lib/djdeploy
attributes:
  check_mode:
    support: full
    description: Says what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows the digest of every file of the engine.
"""

EXAMPLES = r"""
- name: Install the engine
  djdeploy.django.engine:
"""

RETURN = r"""
engine:
  description: The directory the link points at, or in check mode would point at.
  returned: success
  type: str
  sample: engine-0.1.0-9f86d081884c
upload_links:
  description: Links to uploads in releases of an earlier version that were, or in check mode would be, given away.
  returned: success
  type: list
  elements: str
  sample: [/srv/shop/releases/20261121T101500-3f2a9c1/uploads/media]
"""

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.djdeploy.django.plugins.module_utils.engine import errors, sites, uploads
from ansible_collections.djdeploy.django.plugins.module_utils.engine.errors import EngineError
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths
from ansible_collections.djdeploy.django.plugins.module_utils.printable import PrintableModule
from ansible_collections.djdeploy.django.plugins.module_utils.provision import install

if TYPE_CHECKING:
    # Never executed: Ansible reads these lines to know which files travel with this module.
    from ansible_collections.djdeploy.django.plugins.module_utils.engine import (  # noqa: F401
        __main__,
        activate,
        admission,
        agent,
        agent_bucket,
        agent_checks,
        agent_commands,
        agent_data,
        agent_databases,
        agent_imports,
        agent_info,
        agent_locks,
        agent_migrations,
        agent_move,
        agent_mysql,
        agent_operations,
        agent_project,
        agent_rollback,
        agent_routes,
        agent_secrets,
        agent_seed,
        agent_settings,
        agent_sql,
        agent_static,
        agent_upkeep,
        agent_uploads,
        agent_users,
        agent_variables,
        agent_words,
        agent_written,
        aliases,
        beneath,
        builds,
        cli,
        client,
        config_shown,
        database,
        databases_said,
        deploy,
        deployer,
        doctor,
        door,
        environment,
        events,
        git,
        health,
        history,
        journal,
        journald,
        leftovers,
        limits,
        lists,
        lock,
        locks,
        maintenance,
        media_access,
        migrations,
        migrations_mysql,
        move,
        overlay,
        overlay_data,
        overlay_pooled,
        overlay_speak,
        overlay_sqlite,
        overlay_static,
        paths,
        plan,
        plan_facts,
        pooler,
        preflight,
        prepare,
        process_units,
        processes,
        project,
        project_files,
        push,
        pythons,
        queue,
        recipes,
        records,
        recovery,
        releases,
        request,
        requirements,
        restore,
        rotation,
        runner,
        sandbox,
        schedules,
        schema,
        servers,
        site_secrets,
        site_values,
        sites,
        snapshots,
        snapshots_mysql,
        static_files,
        status,
        steps,
        terminal,
        tree,
        unit_lines,
        units,
        uploads,
    )

ARGUMENTS = {"library": {"type": "path", "default": "/usr/local/lib/djdeploy"}}


def travelled() -> dict[str, str]:
    """Every file of the engine as it came with this module: name -> text."""
    package = resources.files(errors.__package__)
    return {entry.name: entry.read_text(encoding="utf-8") for entry in package.iterdir() if entry.name.endswith(".py")}


def main() -> None:
    module = PrintableModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    library = Path(module.params["library"])
    try:
        sources = travelled()
        installed = install.look(library)
        steps = install.plan(sources, installed)
        links = uploads.left_by_earlier_versions(map(SitePaths, sites.site_names()))
        if not module.check_mode:
            install.apply(steps, sources, library)
            uploads.give_away(links)
    except EngineError as error:
        module.fail_json(msg=error.message, hint=error.hint, detail=error.detail)
    given = [str(link.path) for link in links]
    diff = [install.diff(steps, sources, installed, library)] if steps.changed else []
    diff += [{"prepared": f"{path} is given to its site's user, for nginx to follow it\n"} for path in given]
    module.exit_json(changed=bool(diff), engine=steps.target, upload_links=given, diff=diff)


if __name__ == "__main__":
    main()
