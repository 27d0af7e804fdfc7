# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain script's one Django process: system checks, a look whether migrations are pending, static files."""

import django
from django.core.management import call_command

django.setup()
call_command("check", fail_level="ERROR")
call_command("migrate", check_unapplied=True)
call_command("collectstatic", interactive=False, verbosity=0)
