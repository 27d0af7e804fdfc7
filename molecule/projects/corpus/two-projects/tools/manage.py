# SPDX-License-Identifier: GPL-3.0-or-later
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
