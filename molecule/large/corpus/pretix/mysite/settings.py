# SPDX-License-Identifier: GPL-3.0-or-later
"""pretix's settings, which read variables of their own."""

import os

os.environ |= {
    "PRETIX_PRETIX_URL": "http://" + os.environ["ALLOWED_HOSTS"].partition(",")[0],
    "PRETIX_PRETIX_DATADIR": os.path.join(os.environ["HOME"], "data"),  # HOME outlives releases
    "PRETIX_DATABASE_BACKEND": "postgresql",
    "PRETIX_REDIS_LOCATION": os.environ["REDIS_URL"],
    "PRETIX_REDIS_SESSIONS": "true",
    "PRETIX_CELERY_BROKER": os.environ["CELERY_BROKER_URL"],
    "PRETIX_CELERY_BACKEND": os.environ["CELERY_BROKER_URL"],
    "PRETIX_MAIL_FROM": "tickets@pretix.test",
}

from pretix.settings import *  # noqa: F403
