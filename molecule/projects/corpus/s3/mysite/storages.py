# SPDX-License-Identifier: GPL-3.0-or-later
from django.conf import settings
from storages.backends.s3 import S3ManifestStaticStorage


class Static(S3ManifestStaticStorage):
    """Static files, which visitors fetch without asking the application."""

    location = "static"
    custom_domain = settings.STATIC_DOMAIN
    url_protocol = "http:"
