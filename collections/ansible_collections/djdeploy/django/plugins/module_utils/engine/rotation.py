# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a site's SECRET_KEY without logging anybody out: the keys before it stay valid for a while.

Django (4.1 and newer) signs with SECRET_KEY and believes what SECRET_KEY_FALLBACKS signed, too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

from .environment import ALSO_CALLED, new_secret_key, serialize
from .errors import EngineError
from .lock import site_lock
from .sites import Site

FALLBACKS = "SECRET_KEY_FALLBACKS"
KEY, ALSO = "SECRET_KEY", ALSO_CALLED["SECRET_KEY"]


def earlier_keys(variables: Mapping[str, str]) -> list[str]:
    """The keys in SECRET_KEY_FALLBACKS, newest first; none where it is not a JSON list of texts."""
    try:
        found = json.loads(variables.get(FALLBACKS) or "[]")
    except ValueError:
        return []
    return [key for key in found if key and isinstance(key, str)] if isinstance(found, list) else []


def fallbacks(present: Mapping[str, str], key: str, keep: int) -> str:
    """SECRET_KEY_FALLBACKS for variables whose key becomes `key`; empty text for none.

    :param present: the variables before.
    :param keep: how many earlier keys are kept at most.
    """
    before = present.get(KEY, "")
    keys = [before] if before and before != key else []
    keys += [each for each in earlier_keys(present) if each not in (key, before)]
    return json.dumps(keys[:keep]) if keys[:keep] else ""


def rotated(present: Mapping[str, str], key: str, keep: int) -> dict[str, str]:
    """The variables with another key, the one before among the fallbacks.

    :param key: the new one.
    """
    kept = fallbacks(present, key, keep)
    others = {name: value for name, value in present.items() if name not in (KEY, ALSO, FALLBACKS)}
    return {**others, KEY: key, ALSO: key, **({FALLBACKS: kept} if kept else {})}


def refuse(site: str, secret_names: Mapping[str, object] | None, present: Mapping[str, str]) -> None:
    """See that the key is this host's to change.

    :param secret_names: of the site's record.
    :raises EngineError: when the inventory gives the key, or the project gets none.
    """
    given = (secret_names or {}).get("secrets") or ()
    if isinstance(given, list | tuple) and {KEY, ALSO, FALLBACKS} & set(given):
        raise EngineError(
            f"{site} gets its SECRET_KEY from the inventory, which would put it back",
            "change it there (in the vault) and run site.yml: the key before stays valid, as secret_key_fallbacks says",
        )
    if not present.get(KEY):
        raise EngineError(f"{site} has no SECRET_KEY on this host", "run site.yml: it makes one")


def rotate(site: Site, who: str, say: Callable[[str], None]) -> int:
    """Give a site another key, under its lock; the processes that run go on with the one they have.

    :returns: how many earlier keys stay valid.
    :raises EngineError: see `refuse`.
    """
    with site_lock(site.paths.lock, who=who, what="another SECRET_KEY", say=say):
        present = site.environment()
        refuse(site.name, site.config.get("secret_names"), present)
        after = rotated(present, new_secret_key(), int(site.config.get("secret_key_fallbacks", 2)))
        aside = site.paths.env_file.with_suffix(".env.new")
        aside.unlink(missing_ok=True)
        with open(aside, "w", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
            file.write(serialize(after))
            file.flush()
            os.fsync(file.fileno())
        aside.rename(site.paths.env_file)
    return len(earlier_keys(after))
