# SPDX-License-Identifier: GPL-3.0-or-later
"""Kiwi TCMS's settings, with what differs here."""

from tcms.settings.product import *  # noqa: F403
