# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's storage of static files with a list of names that is the release's own."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.djdeploy.django.plugins.module_utils.engine import overlay_static

SITE = {"static_manifest": "staticfiles.0123.json"}
S3 = "storages.backends.s3.S3ManifestStaticStorage"
DJANGOS = "django.contrib.staticfiles.storage"
DEFAULT = {"BACKEND": "django.core.files.storage.FileSystemStorage"}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, set()),
        ({"STORAGES": {"default": DEFAULT}}, set()),
        ({"STORAGES": {"staticfiles": {"BACKEND": f"{DJANGOS}.ManifestStaticFilesStorage"}}}, set()),
        ({"STORAGES": {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}}}, set()),
        ({"STORAGES": {"staticfiles": {"BACKEND": S3, "OPTIONS": {"location": "x"}}}}, {"STORAGES"}),
        ({"STORAGES": {"default": DEFAULT, "staticfiles": {"BACKEND": "shop.storages.Static"}}}, {"STORAGES"}),
        ({"STATICFILES_STORAGE": S3}, {"STATICFILES_STORAGE"}),
        ({"STATICFILES_STORAGE": f"{DJANGOS}.StaticFilesStorage"}, set()),
    ],
)
def test_which_storages_may_share_their_list(settings: dict[str, Any], names: set[str]) -> None:
    gaps = dict(overlay_static.close_gaps(settings, SITE))
    assert set(gaps) == names
    assert not dict(overlay_static.close_gaps(settings, {})), "a release from before has no name for it"
    if names == {"STORAGES"}:
        new, old = gaps["STORAGES"][0], settings["STORAGES"]
        assert new == {**old, "staticfiles": {**old["staticfiles"], "BACKEND": overlay_static.BACKEND}}
    if names == {"STATICFILES_STORAGE"}:
        assert gaps["STATICFILES_STORAGE"][0] == overlay_static.BACKEND


def test_class_with_its_own_list() -> None:
    """A subclass, so that whoever asks what it is gets the same answer; of others the very class."""
    from django.contrib.staticfiles.storage import ManifestFilesMixin, ManifestStaticFilesStorage, StaticFilesStorage
    from django.core.files.storage import Storage

    class Static(ManifestFilesMixin, Storage):
        pass

    class Named(Static):
        manifest_name = "shop.json"

    found = overlay_static.with_own_list(Static, "staticfiles.0123.json")
    assert issubclass(found, Static) and found.manifest_name == "staticfiles.0123.json"
    assert (found.__name__, found.__module__) == (Static.__name__, Static.__module__)
    assert Static.manifest_name == "staticfiles.json"
    for same in (Named, Storage, StaticFilesStorage, ManifestStaticFilesStorage):
        assert overlay_static.with_own_list(same, "x.json") is same
