#!/usr/bin/env python
# SPDX-License-Identifier: GPL-3.0-or-later
"""Not executable, and it names no settings: those are chosen by the environment."""

import sys

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
