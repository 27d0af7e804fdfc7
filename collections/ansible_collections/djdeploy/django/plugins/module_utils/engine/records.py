# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose sites this host carries, as `site.yml` wrote it down.

Several inventories may share a host, and a site may leave its inventory. What each site was granted stands here, so
that whoever writes a file of all sites (keys that may push, who may reach which database) keeps what others were given.
`provision/granted.py` decides what is written; this reads it.

The file is JSON: `sites`, name -> what `Site` of it says, and `settings`, name of a variable -> `environment` that set
it and `value`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from .errors import EngineError
from .paths import GRANTED


def read(path: Path = GRANTED) -> dict[str, Any]:
    """The record of this host; empty on one that was set up before there was such a record, or never.

    :raises EngineError: when it cannot be read: going on without it would take away what others were granted.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not all(isinstance(found.get(part), dict) for part in ("sites", "settings")):
            raise ValueError("sites and settings are not both there")
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise EngineError(f"only root may read {path}", "run it again with sudo") from None
    except ValueError as error:
        raise EngineError(
            f"{path} does not say any more whose sites this host carries: {error}",
            f"put {path} back from a backup; without one move it away, then run site.yml of each inventory of the host",
        ) from None
    return found


def undescribed(record: Mapping[str, Any], names: Collection[str]) -> dict[str, str]:
    """The sites that no inventory describes any more, each with what is known of it.

    :param record: as `read` returns it.
    :param names: the sites that are configured on the host.
    """
    told: dict[str, str] = {}
    sites = record.get("sites", {})
    for name in sorted({*sites, *names}) if record else ():
        own = sites.get(name, {})
        if not own.get("environment"):
            told[name] = "no inventory has described it since this host knows of inventories"
        elif not own.get("described"):
            told[name] = f"the inventory of {own['environment']} does not describe it any more"
    return told
