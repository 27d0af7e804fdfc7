# SPDX-License-Identifier: GPL-3.0-or-later
"""Compressed static files, as a browser gets them on both Debian versions."""

from __future__ import annotations

import gzip
import re
import subprocess
from collections.abc import Iterator

import corpus
import pytest
from cases import marks, params
from corpus import pushed_to
from hosts import Site

# Of these the first on a host is looked at, and one of this run if there is one.
HASHED = ("asgi-only", "channels", "decouple", "environ", "pyproject", "sqlite", "uv")
PLAIN, OURS, WHITENOISE = "nothing", "hashed by Django", "whitenoise"


def looked_at() -> Iterator[tuple[str, str, corpus.Case, str]]:
    """Kind of project, form of a file, case, host, of what test_corpus.py has pushed."""
    for host in corpus.HOSTS:
        here = [case for case in corpus.chosen() if host in case.hosts]
        hashed = sorted((case for case in here if case.name in HASHED), key=lambda case: host not in pushed_to(case))
        for case in here:
            if case.name == PLAIN or case in hashed[:1]:
                yield from ((PLAIN if case.name == PLAIN else OURS, form, case, host) for form in ("br", "gzip"))
            if case.name == WHITENOISE:
                yield WHITENOISE, "gzip", case, host


LOOKED_AT = [
    pytest.param(kind, form, case, host, id=f"{kind}, {form}, {host}", marks=marks(case, host))
    for kind, form, case, host in looked_at()
]


@pytest.mark.parametrize(("kind", "form", "case", "host"), LOOKED_AT)
def test_compressed_form_is_served(kind: str, form: str, case: corpus.Case, host: str, site: Site) -> None:
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


@pytest.mark.parametrize(("case", "host"), params(WHITENOISE))
def test_whitenoise_is_left_alone(case: corpus.Case, host: str, site: Site) -> None:
    """It compressed by itself, so nothing is compressed again: neither its own list of forms nor its files change."""
    told = site.machine.root("cd /srv/whitenoise/current/static/admin && ls css/base.*.css*; find . -name '*.br'")
    names = told.split()
    assert len(names) == 2 and names[1] == f"{names[0]}.gz", told
