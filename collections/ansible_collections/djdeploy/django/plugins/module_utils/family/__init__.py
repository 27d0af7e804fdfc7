# SPDX-License-Identifier: GPL-3.0-or-later
"""The manage.py modules as data, by what they are about; each module is its documentation and one of these."""
