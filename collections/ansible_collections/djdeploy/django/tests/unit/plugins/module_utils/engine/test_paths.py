# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths and unit names: what they must fit into, and that templates get all of them."""

from __future__ import annotations

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import site_values
from ansible_collections.djdeploy.django.plugins.module_utils.engine.paths import SitePaths

LONGEST = SitePaths("s" * site_values.SITE_NAME_LENGTH)
RELEASE = LONGEST.release("20260301T120000.01-abcdef0")


def test_longest_socket_fits_sun_path() -> None:
    assert len(str(RELEASE.socket)) < 108, "unix(7)"
    assert len(str(LONGEST.current / RELEASE.socket_link.name)) < 108, "nginx goes through the pointer"


def test_longest_names_fit_the_system() -> None:
    assert len(LONGEST.build_user) <= 32, "useradd(8)"
    assert len(RELEASE.service_unit) < 256, "systemd.unit(5)"


def test_places_of_a_site() -> None:
    shop = SitePaths("shop")
    assert str(shop.current) == "/srv/shop/current"
    assert str(shop.env_file) == "/etc/djdeploy/sites/shop.env"
    assert shop.boot_unit == "djdeploy-shop.service"
    assert str(shop.service_template) == "/etc/systemd/system/djdeploy-shop@.service"
    assert str(shop.nginx_server) == "/etc/nginx/sites-enabled/djdeploy-shop.conf"


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("shop", "djdeploy-shop.slice"),
        ("shop_eu", "djdeploy-shop_eu.slice"),
        ("shop-eu", r"djdeploy-shop\x2deu.slice"),
        ("a--b-c", r"djdeploy-a\x2d\x2db\x2dc.slice"),
    ],
)
def test_no_slice_lies_in_that_of_another_site(site: str, expected: str) -> None:
    assert SitePaths(site).slice == expected
    assert expected.removesuffix(".slice").split("-")[1:] == [expected[9:-6]], "systemd.slice(5): a dash is a level"


def test_who_may_be_waited_for_is_for_root_alone() -> None:
    shop = SitePaths("shop")
    assert {shop.lock.parent, shop.hold.parent} == {shop.locks}, "a directory that nobody else may enter"
    assert shop.locks != shop.run, "nginx has to enter that one"


def test_places_of_a_release() -> None:
    release = SitePaths("shop").release("20260301T120000-abcdef0")
    assert str(release.root) == "/srv/shop/releases/20260301T120000-abcdef0"
    assert str(release.socket) == "/run/djdeploy/shop/20260301T120000-abcdef0.sock"
    assert release.socket_unit == "djdeploy-shop@20260301T120000-abcdef0.socket"
    assert release.service_unit == "djdeploy-shop@20260301T120000-abcdef0.service"


def test_as_dict_is_text_and_whole() -> None:
    site, release = LONGEST.as_dict(), RELEASE.as_dict()
    assert site["media"] == f"/srv/{LONGEST.site}/shared/media"
    assert {"root", "current", "user", "build_user", "boot_unit", "unit_prefix", "service_template"} <= site.keys()
    assert {"site", "release_id", "code", "public", "socket_unit"} <= release.keys()
    assert all(isinstance(value, str) for value in (*site.values(), *release.values()))


def test_no_two_places_are_the_same() -> None:
    for places in (SitePaths("shop").as_dict(), SitePaths("shop").release("x").as_dict()):
        values = [value for name, value in places.items() if name not in ("user", "site", "release_id")]
        assert len(set(values)) == len(values)
