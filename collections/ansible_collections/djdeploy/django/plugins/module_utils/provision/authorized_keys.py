# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may push where, as sshd reads it (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping

from ..engine.errors import EngineError
from ..engine.paths import COMMAND

FINGERPRINT_LENGTH = 12


def key_name(comment: str, blob: bytes) -> str:
    """What a key is called in journals: its comment as far as a command line can hold it, else its fingerprint."""
    name = re.sub(r"[^A-Za-z0-9._@-]+", "-", comment).strip("-")
    return name or base64.urlsafe_b64encode(hashlib.sha256(blob).digest()).decode()[:FINGERPRINT_LENGTH].strip("-")


def authorized_keys(keys: Mapping[str, Iterable[str]]) -> list[str]:
    """One line per distinct key, sorted, with all the sites it may push to.

    A key in two lines would be two commands, and sshd takes the first only.

    :param keys: site -> its public keys, `<type> <base64> [<comment>]`.
    :raises EngineError: for what is no public key.
    """
    sites: dict[tuple[str, str], list[str]] = {}
    comments: dict[tuple[str, str], str] = {}
    for site in sorted(keys):
        for line in keys[site]:
            kind, encoded, comment = ([*line.split(maxsplit=2), "", "", ""])[:3]
            if not encoded:
                raise EngineError(f"site {site!r} has a deploy key that is not one: {line!r}", "mend deploy_keys")
            known = sites.setdefault((kind, encoded), [])
            if site not in known:
                known.append(site)
            comments[kind, encoded] = comments.get((kind, encoded)) or comment
    lines = []
    for (kind, encoded), names in sites.items():
        try:
            blob = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise EngineError(
                f"site {names[0]!r} has a deploy key that is not whole: {kind} {encoded[:12]}...",
                "copy the line from the .pub file again into deploy_keys",
            ) from None
        name = key_name(comments[kind, encoded], blob)
        command = f"{COMMAND} receive --key={name} {' '.join(names)}"
        lines.append(f'restrict,command="{command}" {kind} {encoded} {name}')
    return sorted(lines)
