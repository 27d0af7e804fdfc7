# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters: the engine's answers, and its errors as Ansible's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.djdeploy.django.plugins.filter import sites
from ansible_collections.djdeploy.django.plugins.module_utils.engine import sandbox
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths


def test_resolved_sites() -> None:
    given = {"shop": {"domains": ["shop.example.com"]}, "blog": {"domains": ["b.example.com"], "hosts": ["web2"]}}
    resolved = sites.resolved_sites(given, {"shop": {"web": {"workers": 8}}}, "web1", ["web"])
    assert list(resolved) == ["shop"]
    assert resolved["shop"]["web"]["workers"] == 8
    assert sites.resolved_sites(None, None, "web1", []) == {}


def test_resolved_sites_names_every_problem() -> None:
    with pytest.raises(AnsibleFilterError, match=r"did you mean 'domains'\? / site 'blog' is empty"):
        sites.resolved_sites({"shop": {"domain": ["a.de"]}, "blog": None}, {}, "web1", [])


def test_site_paths() -> None:
    assert sites.site_paths("shop")["env_file"] == "/etc/djdeploy/sites/shop.env"
    with pytest.raises(AnsibleFilterError, match="hold only"):
        sites.site_paths("../shop")


def test_unit_view_is_what_the_engine_says() -> None:
    view = sites.unit_view("shop")
    view_of_work = sandbox.site_view(sandbox.SiteBox(SitePaths("shop")))
    assert {f"TemporaryFileSystem={view['hidden']}", f"InaccessiblePaths={view['told']}"} <= set(view_of_work)
    assert tuple(view["confined"]) == sandbox.CONFINED


def test_environment_file_never_repeats_a_value() -> None:
    assert sites.environment_file({"A": "$x"}) == 'A="\\$x"\n'
    with pytest.raises(AnsibleFilterError) as caught:
        sites.environment_file({"A": "hunter2\0"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(sites.FilterModule().filters()))
def test_every_filter_is_documented(name: str) -> None:
    documentation = yaml.safe_load((Path(sites.__file__).parent / f"{name}.yml").read_text())
    assert documentation["DOCUMENTATION"]["name"] == name
    assert documentation["EXAMPLES"]
    assert documentation["RETURN"]["_value"]["type"]
