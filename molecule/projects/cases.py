# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus as parameters of tests."""

from __future__ import annotations

import corpus
import pytest
from _pytest.mark import ParameterSet


def params(*names: str) -> list[ParameterSet]:
    """A test for each case of these names, or of the whole corpus, on each of its hosts: `("case", "host")`.

    Those of a host are worked one after the other; those that are not of this run's ring are left to full ones.
    """
    return [
        pytest.param(case, host, id=f"{case.name} on {host}", marks=marks(case, host))
        for case in corpus.chosen()
        if not names or case.name in names
        for host in case.hosts
    ]


def marks(case: corpus.Case, host: str) -> list[pytest.MarkDecorator]:
    left = [] if host in corpus.pushed_to(case) else [pytest.mark.full]
    return [pytest.mark.xdist_group(host), *left]
