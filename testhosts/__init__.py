# SPDX-License-Identifier: GPL-3.0-or-later
"""What script/host is made of: throwaway hosts and their images. Standard library only: it runs before .venv exists."""
