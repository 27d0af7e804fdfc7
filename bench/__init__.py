# SPDX-License-Identifier: GPL-3.0-or-later
"""What djdeploy costs, measured on a throwaway host: a deploy, its visitors, a run with nothing to do, memory."""
