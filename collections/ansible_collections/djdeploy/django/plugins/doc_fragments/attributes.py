# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module of this collection can do."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes shared by all modules; `INFO` adds what is true of those that only read."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
    description: Tells what would change without changing it.
  diff_mode:
    support: full
    description: Shows what changed, or would.
  platform:
    support: full
    platforms: debian
    description: Debian 12 and 13.
"""

    INFO = r"""
attributes:
  check_mode:
    support: full
    description: Only reads.
  diff_mode:
    support: N/A
    description: Only reads.
"""
