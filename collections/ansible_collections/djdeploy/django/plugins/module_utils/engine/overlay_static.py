# SPDX-License-Identifier: GPL-3.0-or-later
"""The project's storage of static files, its list of names the release's own: a part of the generated settings.

A storage that gives files names with digests keeps the list of them beside them, as `staticfiles.json`. In a bucket
all releases would share it: a worker of the old one that starts again would ask for files it does not know. So
`Storage` is the project's class, with another name of the list. It is the very class where the list
is not shared: files on the host, which each release has of its own, and a name the project chose itself.

It runs inside the site's process, as `djdeploy_static`: standard library only, no relative import, Python 3.10.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

BACKEND = "djdeploy_static.Storage"
#: Backends that are known to keep their files on the host; of others only their class tells.
LOCAL = ("django.contrib.staticfiles.storage.", "django.core.files.storage.", "whitenoise.")
DJANGOS_NAME = "staticfiles.json"
REASON = "the list of its names with digests is each release's own, if it is not kept on this host"

Gap = tuple[Any, str]


def close_gaps(settings: Mapping[str, Any], site: Mapping[str, Any]) -> Iterator[tuple[str, Gap]]:
    """What makes Django ask for our `Storage`, if the project's own may be elsewhere: (name, (new value, reason)).

    :param site: as in `overlay.close_gaps`; besides `static_manifest`.
    """
    backend, storages = backend_of(settings), settings.get("STORAGES") or {}
    if not backend or backend.startswith(LOCAL) or not site.get("static_manifest"):
        return
    if storages.get("staticfiles"):
        static = {**storages["staticfiles"], "BACKEND": BACKEND}
        yield "STORAGES", ({**storages, "staticfiles": static}, f"staticfiles: {REASON}")
    else:
        yield "STATICFILES_STORAGE", (BACKEND, REASON)


def backend_of(settings: Mapping[str, Any]) -> str:
    """The backend the project names for its static files; empty when it names none."""
    static = (settings.get("STORAGES") or {}).get("staticfiles") or {}
    # STATICFILES_STORAGE is known until Django 5.0, and refused beside STORAGES.
    return str(static.get("BACKEND") or settings.get("STATICFILES_STORAGE") or "")


def with_own_list(storage: Any, manifest: str) -> Any:
    """A class of the project, or the same with another name of its list."""
    from django.contrib.staticfiles.storage import ManifestFilesMixin
    from django.core.files.storage import FileSystemStorage

    shares = issubclass(storage, ManifestFilesMixin) and not issubclass(storage, FileSystemStorage)
    if not shares or storage.manifest_name != DJANGOS_NAME:
        return storage
    own = {"manifest_name": manifest, "djdeploy_manifest": manifest}
    return type(storage.__name__, (storage,), {**own, "__module__": storage.__module__, "__doc__": storage.__doc__})


def __getattr__(name: str) -> Any:
    """`Storage`, made when it is asked for: the project's class may want settings, which are complete by then."""
    if name != "Storage":
        raise AttributeError(name)
    from django.conf import settings
    from django.utils.module_loading import import_string

    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "site.json"), encoding="utf-8") as file:
        manifest = json.load(file)["static_manifest"]
    found = with_own_list(import_string(settings.DJDEPLOY_STATIC_BACKEND), manifest)
    globals()[name] = found
    return found
