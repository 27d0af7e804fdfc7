# SPDX-License-Identifier: GPL-3.0-or-later
"""Weblate's example settings, with what differs here."""

import os

from weblate.settings_example import *  # noqa: F403

SITE_DOMAIN = os.environ["ALLOWED_HOSTS"].partition(",")[0]
SITE_URL = f"http://{SITE_DOMAIN}"
OTP_WEBAUTHN_RP_ID = SITE_DOMAIN
OTP_WEBAUTHN_ALLOWED_ORIGINS = [f"https://{SITE_DOMAIN}"]  # a check refuses http: passkeys have to have https
ADMINS = ["Ann <ann@weblate.test>"]
DEFAULT_FROM_EMAIL = SERVER_EMAIL = "weblate@weblate.test"

DATA_DIR = os.path.join(os.environ["HOME"], "data")  # HOME outlives releases
CACHE_DIR = os.path.join(DATA_DIR, "cache")
MEDIA_ROOT = os.path.join(DATA_DIR, "media")

DATABASES["default"]["ALTER_ROLE"] = "weblate"  # noqa: F405  (a migration names the role; it is the site's)

CACHES["default"]["LOCATION"] = os.environ["REDIS_URL"]  # noqa: F405
CACHES["avatar"]["LOCATION"] = os.path.join(CACHE_DIR, "avatar")  # noqa: F405
CELERY_BROKER_URL = CELERY_RESULT_BACKEND = os.environ["CELERY_BROKER_URL"]
