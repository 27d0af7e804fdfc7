# SPDX-License-Identifier: GPL-3.0-or-later
from django.contrib import admin

from .models import Note

admin.site.register(Note)
