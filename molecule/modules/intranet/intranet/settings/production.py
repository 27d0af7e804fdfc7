# SPDX-License-Identifier: GPL-3.0-or-later
from .base import *  # noqa: F403  # how a project splits its settings

DEBUG = False
ALLOWED_HOSTS = ["intranet.example.com"]
