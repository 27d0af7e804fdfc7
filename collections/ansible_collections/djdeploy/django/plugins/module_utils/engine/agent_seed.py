# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's step `seed`: data of the tree, carried once to where it outlives a release."""

# mypy: disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import errno
import os

from .agent_words import Outcome, Request, listing, outcome


def seed(request: Request, predict: bool) -> Outcome:
    """Carry data of the tree to where it outlives a release, once: what holds anything already is never touched.

    Without `files` it is what the generated settings moved out of the release.
    """
    from django.conf import settings

    files = request.get("files")
    if files is None:
        files = getattr(settings, "DJDEPLOY_RELOCATED", [])
    wanted = [(source, target) for source, target in files if os.path.exists(source)]
    made = [target for source, target in wanted if is_vacant(target) and (predict or plant(source, target))]
    return outcome(
        bool(made),
        {"missing": len(made)},
        {"missing": 0},
        new=listing(made),
        seeded=made,
        kept=[target for _source, target in wanted if target not in made],
        absent=[source for source, _target in files if not os.path.exists(source)],
    )


def is_vacant(target: str) -> bool:
    """Whether nothing is lost by putting something there: it is missing, or an empty directory."""
    if os.path.isdir(target) and not os.path.islink(target):
        return not os.listdir(target)
    return not os.path.lexists(target)


def plant(source: str, target: str) -> bool:
    """Copy to a name aside, then move it into place in one go, so that half a copy is never taken for data.

    link(2) and, for directories, rename(2) refuse to replace what holds anything.

    :return: False when something appeared there meanwhile.
    """
    import shutil
    import tempfile

    def copy(origin: str, place: str) -> str:
        shutil.copyfile(origin, place)
        os.chmod(place, 0o644)
        return place

    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=".seed-") as aside:
        ready = os.path.join(aside, os.path.basename(target))
        try:
            if os.path.isdir(source):
                shutil.copytree(source, ready, copy_function=copy, symlinks=True)
                for folder, _folders, _files in os.walk(ready):
                    os.chmod(folder, 0o755)  # the web server reads uploads by itself
                os.rename(ready, target)
            else:
                os.chmod(copy(source, ready), 0o640)
                os.link(ready, target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return False
    return True
