# SPDX-License-Identifier: GPL-3.0-or-later
"""What script/test does. Plain Python without packages: it runs before anything is installed."""
