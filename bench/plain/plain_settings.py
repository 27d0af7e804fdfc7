# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain script's settings: the project's own, with what production needs, as one writes them by hand."""

import os

from shop.settings import *  # noqa: F403

DEBUG = False
SECRET_KEY = "only-for-a-host-that-lives-for-some-minutes-and-is-then-removed"
ALLOWED_HOSTS = ["plain.test"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "plain"}}
STATIC_ROOT = os.environ["STATIC_ROOT"]
