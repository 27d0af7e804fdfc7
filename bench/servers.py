# SPDX-License-Identifier: GPL-3.0-or-later
"""The same visitors during the same deploys, with each server a site may have: `load`, again and again."""

from __future__ import annotations

import json
from typing import Any

from . import load
from .host import BIN, SITE, Host, Trouble, run, say
from .report import Goal, Result, table

ASGI = """\
import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
application = get_asgi_application()
"""
DEPLOYS = 5  # with each of them
SHOWN = "new connection"  # the kind of visitor whose times are shown: it is what most people are
#: The site's key `web`. A sync worker answers one request at a time, so there have to be some.
SERVERS: dict[str, dict[str, Any]] = {
    "gunicorn, threads": {"server": "gunicorn", "workers": 2, "threads": 4},
    "gunicorn, sync": {"server": "gunicorn", "workers": 6, "threads": 1},
    "uvicorn": {"server": "uvicorn", "workers": 2},
    "uWSGI": {"server": "uwsgi", "workers": 2, "threads": 4},
}


def serve_with(host: Host, web: dict[str, Any]) -> None:
    """Let the next release of the site have this server."""
    file = host.inventory / "sites.yml"
    tree = json.loads(file.read_text())
    tree["all"]["vars"]["djdeploy_sites"][SITE]["web"] = web
    file.write_text(json.dumps(tree, indent=1))
    run([BIN / "ansible-playbook", "-i", host.inventory, "site.yml"], timeout=900)
    host.wait_until_settled()


def measure(host: Host) -> Result:
    """Each server in turn, for some deploys."""
    result, found = Result("servers"), dict[str, Result]()
    (host.project / "shop/asgi.py").write_text(ASGI)
    host.commit(0)
    host.push(host.remote)
    for name, web in SERVERS.items():
        say(f"with {name}")
        try:
            serve_with(host, web)
        except Trouble as trouble:
            result.broken.append(f"{name}: {trouble}")
            continue
        found[name] = load.measure(host, deploys=DEPLOYS)
    return told(result, found)


def told(result: Result, found: dict[str, Result]) -> Result:
    """What was found of all of them.

    :param found: server -> what `load` says of it.
    """
    rows = [["", "requests", "failed", "p50", "p99", "p99 / rest"]]
    for name, each in found.items():
        busy, rest = (each.figures["kinds"][SHOWN][stage] for stage in (load.DEPLOY, load.REST))
        times = (load.milliseconds(busy["p50"]), load.milliseconds(busy["p99"]))
        ratio = busy["p99"] / (rest["p99"] or 1)
        rows.append([name, f"{each.figures['requests']:,}", str(each.figures["failed"]), *times, f"{ratio:.2f}x"])
        result.figures[name] = each.figures
        result.broken += [f"{name}: {what}" for what in each.broken]
    result.text = [f"{DEPLOYS} deploys with each; times of a {SHOWN} during deploys", *table(rows)]
    requests, failed = (sum(each.figures[what] for each in found.values()) for what in ("requests", "failed"))
    result.goals = [Goal(f"requests failed of {requests} over {DEPLOYS} deploys with each server", failed, "", 0)]
    return result
