# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in env and secrets of a site reaches its processes byte for byte: our writer, systemd's reader."""

from __future__ import annotations

import os
import random

import environments
import pytest


@pytest.mark.full
def test_ten_thousand_values_come_through_systemd_as_given(web):
    seed = int(os.environ.get("DJDEPLOY_SEED") or random.SystemRandom().randrange(2**32))
    print(f"DJDEPLOY_SEED={seed}")
    assert environments.FILES * environments.VALUES == 10_000
    assert environments.lost(web, seed) == []
