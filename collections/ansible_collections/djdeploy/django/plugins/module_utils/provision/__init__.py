# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles make of a host: packages, accounts, files, units, databases, the engine itself.

Each file looks at what is there, plans as a function of data, and applies the plan; check mode
stops before the last. It stands on the engine (its errors, its runner, its paths) and never the
other way round: a host that only makes releases needs nothing of this.
"""
