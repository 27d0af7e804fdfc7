# SPDX-License-Identifier: GPL-3.0-or-later
"""Compressed static files, as a browser gets them on both Debian versions."""

from __future__ import annotations

import gzip
import re
import subprocess
from pathlib import Path

import corpus
import pytest
from hosts import Machine, Site

HASHED = ("asgi-only", "channels", "decouple", "environ", "pyproject", "sqlite", "uv")  # one host each has two of them
PLAIN, OURS, WHITENOISE = "nothing", "hashed by Django", "whitenoise"


def cases() -> list[tuple[str, str, str, str]]:
    """Kind of project, form of a file, site, host, of what test_corpus.py has pushed."""
    found = []
    for host in corpus.HOSTS:
        here = [case.name for case in corpus.chosen() if host in case.hosts]
        hashed = [name for name in here if name in HASHED][:1]
        found += [(PLAIN, form, name, host) for name in here if name == PLAIN for form in ("br", "gzip")]
        found += [(OURS, form, name, host) for name in hashed for form in ("br", "gzip")]
        found += [(WHITENOISE, "gzip", name, host) for name in here if name == WHITENOISE]
    return found


CASES = [pytest.param(*case, marks=pytest.mark.xdist_group(case[-1])) for case in cases()]
WITH_WHITENOISE = [
    pytest.param(host, marks=pytest.mark.xdist_group(host)) for kind, *_, host in cases() if kind == WHITENOISE
]


@pytest.mark.parametrize(("kind", "form", "name", "host"), CASES)
def test_compressed_form_is_served(
    kind: str, form: str, name: str, host: str, fleet: dict[str, Machine], ephemeral: Path
) -> None:
    site = Site(name, fleet[host], ephemeral / "projects" / host)
    link = re.search(r'href="(/static/admin/css/base[.0-9a-f]*\.css)"', site.get("/admin/login/").text)
    assert link and bool(re.search(r"\.[0-9a-f]{12}\.", link[1])) == (kind != PLAIN)
    plain, packed = site.get(link[1]), site.get(link[1], headers={"Accept-Encoding": form})
    assert (plain.status, plain.headers["Content-Encoding"]) == (200, None)
    assert (packed.status, packed.headers["Content-Encoding"]) == (200, form)
    assert packed.headers["Content-Type"] == plain.headers["Content-Type"] == "text/css"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert len(packed.body) == int(packed.headers["Content-Length"]) < len(plain.body), (
        "made beforehand, not on the fly"
    )
    if form == "gzip":
        content = gzip.decompress(packed.body)
    else:
        words = site.machine.ssh_words("brotli", "--decompress", "--stdout")
        content = subprocess.run(words, input=packed.body, capture_output=True, check=True).stdout
    assert content == plain.body
    for answer in (plain, packed):
        for_ever = "max-age=31536000" in str(answer.headers["Cache-Control"])
        assert for_ever == (kind != PLAIN), "only a name with a digest means the same for ever"


@pytest.mark.parametrize("host", WITH_WHITENOISE)
def test_whitenoise_is_left_alone(host: str, fleet: dict[str, Machine]) -> None:
    """It compressed by itself, so nothing is compressed again: neither its own list of forms nor its files change."""
    told = fleet[host].root("cd /srv/whitenoise/current/static/admin && ls css/base.*.css*; find . -name '*.br'")
    names = told.split()
    assert len(names) == 2 and names[1] == f"{names[0]}.gz", told
