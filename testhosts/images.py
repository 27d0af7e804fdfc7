# SPDX-License-Identifier: GPL-3.0-or-later
"""Which images of hosts nobody will boot again, bare and provisioned ones alike. Data in, data out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

CHECKOUT_LABEL = "djdeploy.checkout"  # an image has it from the host it was made of, or from its recipe
#: How long an image outlives the checkout that made it. Whoever runs tests in short-lived clones, one after another,
#: makes their common images once.
OUTLIVES_ITS_CHECKOUT = timedelta(days=1)


def unwanted(
    images: Iterable[Mapping[str, Any]],
    used: Collection[str],
    checkout: str,
    exists: Callable[[str], bool],
    now: datetime,
) -> list[str]:
    """Tell which images go when a checkout tidies up: those it made itself, and old ones whose checkout is gone.

    What another checkout made stays, although no host runs on it now: its next test would have to make it again. What
    nobody is known to have made stays too.

    :param images: as `podman image inspect` describes them.
    :param used: ids of images that stay, those of hosts above all, whoever booted them.
    :param exists: whether a checkout is still there.
    """
    return [image["Id"] for image in images if image["Id"] not in used and is_unwanted(image, checkout, exists, now)]


def is_unwanted(image: Mapping[str, Any], checkout: str, exists: Callable[[str], bool], now: datetime) -> bool:
    """Tell whether an image that nobody uses is to go."""
    owner = (image["Labels"] or {}).get(CHECKOUT_LABEL, "")
    if not owner or owner == checkout:
        return bool(owner)
    return not exists(owner) and now - created(image["Created"]) > OUTLIVES_ITS_CHECKOUT


def created(text: str) -> datetime:
    """Read podman's time, whose fraction of a second has as many digits as it happens to have."""
    seconds, _fraction, _zone = text.partition(".")
    return datetime.fromisoformat(seconds.removesuffix("Z") + "+00:00")
