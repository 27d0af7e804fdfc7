# SPDX-License-Identifier: GPL-3.0-or-later
from .base import *  # noqa: F403

DEBUG = True
SECRET_KEY = "for-development"
INSTALLED_APPS += ["no_such_app_for_development"]  # noqa: F405
