# SPDX-License-Identifier: GPL-3.0-or-later
"""Changing a site's SECRET_KEY without logging anybody out: the keys before it stay valid for a while.

Django (4.1 and newer) signs with SECRET_KEY and believes what SECRET_KEY_FALLBACKS signed, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

FALLBACKS = "SECRET_KEY_FALLBACKS"


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
    before = present.get("SECRET_KEY", "")
    keys = [before] if before and before != key else []
    keys += [each for each in earlier_keys(present) if each not in (key, before)]
    return json.dumps(keys[:keep]) if keys[:keep] else ""


def rotated(present: Mapping[str, str], key: str, keep: int) -> dict[str, str]:
    """The variables with another key, the one before among the fallbacks.

    :param key: the new one.
    """
    kept = fallbacks(present, key, keep)
    others = {name: value for name, value in present.items() if name not in ("SECRET_KEY", FALLBACKS)}
    return {**others, "SECRET_KEY": key, **({FALLBACKS: kept} if kept else {})}
